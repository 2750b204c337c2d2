"""What the photos of a calibration leave open, in plain words, each with its remedy."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.adjustment import Adjusted, Model, Sight, adjust, bend_basis
from crackmap.calibration.board import Board
from crackmap.calibration.errors import CalibrationError

FloatArray = NDArray[np.float64]

LEAST_TILT_DEG, GOOD_TILT_DEG, GOOD_TILTS = 5.0, 15.0, 3
"""Below the first no board counts as tilted; from the second on it does its part, and so many should."""

OPEN_FOCAL, WEAK_FOCAL = 0.05, 0.01
"""Relative standard uncertainty of the focal length that is refused, and that is warned of."""

WEAK_CORNER_PX = 5.0
"""Standard uncertainty of the straightened image corners that is warned of."""

LEAST_BENT_BOARDS = 6
BEND_GAIN = 0.1
"""A board is called bent if its relief takes away this share of the mean residual, over at least so many views."""

PARTS = ("top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right")


def tilt_deg(pose: FloatArray) -> float:
    """Angle of a board against the image plane."""
    return float(np.rad2deg(np.arccos(min(abs(float(cv2.Rodrigues(pose[:3])[0][2, 2])), 1.0))))


def refuse_open_focal(fit: Adjusted) -> None:
    """Refuses a fit in which the focal length could as well be another.

    Raises:
        CalibrationError: no board is tilted, or the focal length is known to less than OPEN_FOCAL.
    """
    steepest, u = max(map(tilt_deg, fit.poses)), _relative_u(fit)
    if steepest < LEAST_TILT_DEG or not u <= OPEN_FOCAL:
        raise CalibrationError(
            f"camera: the boards do not fix the focal length (tilted by at most {steepest:.0f} degrees; standard "
            f"uncertainty {min(100 * u, 100):.0f} %): seen from the front, a small board nearby looks like a large one "
            "far away. Add photos with the board tilted 20 to 45 degrees to the left, right, top and bottom"
        )


def pose_warnings(fit: Adjusted) -> list[str]:
    """Whether tilted boards are few, or the focal length uncertain."""
    tilted = sum(tilt_deg(pose) > GOOD_TILT_DEG for pose in fit.poses)
    warnings = []
    if tilted < GOOD_TILTS:
        warnings.append(
            f"only {tilted} of {len(fit.poses)} boards are tilted by more than {GOOD_TILT_DEG:.0f} degrees, and the "
            "focal length rests on them; add photos with the board tilted 20 to 45 degrees"
        )
    if _relative_u(fit) > WEAK_FOCAL:
        warnings.append(
            f"the focal length is known to {100 * _relative_u(fit):.1f} % only; add photos of tilted boards"
        )
    return warnings


def coverage_warnings(seen_xy_px: FloatArray, size_wh_px: tuple[int, int]) -> list[str]:
    """Names the ninths of the image in which no corner was seen."""
    thirds = np.clip((3 * seen_xy_px / np.asarray(size_wh_px)).astype(int), 0, 2)
    empty = [part for k, part in enumerate(PARTS) if not (thirds @ [1, 3] == k).any()]
    if not empty:
        return []
    return [
        f"no board was seen in these parts of the image: {', '.join(empty)}. The distortion there is a guess; add "
        "photos with the board in them"
    ]


def corner_warnings(image_corner_u_px: float) -> list[str]:
    """Whether the straightened corners of the image are uncertain."""
    if image_corner_u_px <= WEAK_CORNER_PX:
        return []
    known = f"known to {image_corner_u_px:.0f} px only" if np.isfinite(image_corner_u_px) else "not known"
    return [
        f"where the corners of the image lie once it is straightened is {known}; add photos with boards that reach "
        "into the corners, or try fewer --coefficients"
    ]


def relief_mm(fit: Adjusted, board: Board) -> float:
    """Height of the board's shape above and below the plane that fits it best."""
    places = board.corners_xy_mm
    low, high = places.min(axis=0), places.max(axis=0)
    height = bend_basis(places, (low + high) / 2, float((high - low).max()) / 2) @ fit.bend_mm
    plane = np.column_stack([places, np.ones(len(places))])
    return float(np.ptp(height - plane @ np.linalg.lstsq(plane, height, rcond=None)[0]))


def bend_warnings(
    flat: Adjusted, sights: Sequence[Sight], board: Board, size_wh_px: tuple[int, int], model: Model
) -> list[str]:
    """Whether the photos say that the board is not flat."""
    if not board.has_direction or len(sights) < LEAST_BENT_BOARDS:
        return []
    bent = adjust(sights, size_wh_px, model, coefficients=len(flat.lens) - 4, bend=True)
    flat_px, bent_px = (float(np.linalg.norm(np.vstack(fit.residual_px), axis=1).mean()) for fit in (flat, bent))
    if bent_px > (1 - BEND_GAIN) * flat_px:
        return []
    return [
        f"the board is not flat: a relief of {relief_mm(bent, board):.1f} mm explains the photos better (mean residual "
        f"{bent_px:.2f} instead of {flat_px:.2f} px) and makes the focal length {bent.lens[0]:.0f} instead of "
        f"{flat.lens[0]:.0f} px; glue the board to a stiff plate and take new photos, or use --bent-board"
    ]


def _relative_u(fit: Adjusted) -> float:
    variance = np.diag(fit.covariance)[:2]
    # Where nothing fixes the focal length, rounding may leave any variance, also a negative one.
    return float((np.sqrt(variance) / fit.lens[:2]).max()) if (variance >= 0).all() else np.inf
