"""A camera's lens from boards seen in photos: which boards fit, how well, and what the photos leave open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.adjustment import Adjusted, Model, Sight, adjust
from crackmap.calibration.board import Board, BoardView
from crackmap.calibration.camera_warnings import (
    bend_warnings,
    corner_warnings,
    coverage_warnings,
    pose_warnings,
    refuse_open_focal,
    relief_mm,
    tilt_deg,
)
from crackmap.calibration.errors import CalibrationError, require
from crackmap.calibration.lens import Lens
from crackmap.calibration.screening import misplaced_note, screen
from crackmap.calibration.store import LensUncertainty

FloatArray = NDArray[np.float64]

COEFFICIENTS: Mapping[Model, tuple[int, ...]] = {"pinhole": (5, 2, 4, 8), "fisheye": (4, 3, 2, 1)}
"""How many distortion coefficients each model may have, the usual number first."""

LEAST_BOARDS = 3
"""Zhang (2000): two views of a plane leave the skew open, three fix all inner parameters."""

BOARD_FACTOR, BOARD_SLACK_PX = 3.0, 0.1
"""A board is left out whose mean residual is so many times the median of the others, and so much above that."""

CORNER_FACTOR, CORNER_SLACK_PX = 6.0, 0.3
"""The same for one corner, by the median of its board or of all; normal noise is beyond 6 medians once in 10^11."""

MOST_CORNERS = 3
"""A board with more misplaced corners than this is left out as a whole."""


@dataclass(frozen=True, slots=True)
class BoardResult:
    """One photo in a calibration.

    Attributes:
        name: of the photo.
        used: whether the lens was fitted to it.
        reason: why not; empty if used.
        notes: what else is to be said: misplaced corners, another image size.
        mean_px, max_px: residuals; None where there was no fit.
        distance_mm: of the middle of the board from the camera.
        tilt_deg: of the board against the image plane.
        corner: (n,) numbers of its corners, as in `BoardView`.
        xy_px: (n, 2) where they were seen.
        residual_px: (n, 2) seen minus computed. All three are empty where there was no fit.
    """

    name: str
    used: bool
    reason: str = ""
    notes: tuple[str, ...] = ()
    mean_px: float | None = None
    max_px: float | None = None
    distance_mm: float | None = None
    tilt_deg: float | None = None
    corner: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    xy_px: FloatArray = field(default_factory=lambda: np.zeros((0, 2)))
    residual_px: FloatArray = field(default_factory=lambda: np.zeros((0, 2)))


@dataclass(frozen=True, slots=True)
class CameraFit:
    """A lens with what is known of its quality.

    Attributes:
        lens: the parameters.
        uncertainty: their standard uncertainties, which allow for corners of one board that err together.
        mean_residual_px, rms_px: over all corners used.
        boards: every view, in the order given.
        image_corner_u_px: standard uncertainty of the straightened place of the worst corner of the image
            (`place_u_px`); None where the model does not reach it.
        seen_u_px: the same for the worst place where a corner of a board was seen.
        clustering: by how much the variance between boards exceeds that of independent corners.
        reach: how far out corners were seen, as a share of the way from the middle of the image to its corners.
        relief_mm: height of the board's relief; None if it was taken as flat.
        warnings: what the photos leave open, each with its remedy.
    """

    lens: Lens
    uncertainty: LensUncertainty
    mean_residual_px: float
    rms_px: float
    boards: tuple[BoardResult, ...]
    image_corner_u_px: float | None
    seen_u_px: float
    clustering: float
    reach: float
    relief_mm: float | None
    warnings: tuple[str, ...]


@dataclass(slots=True)
class _Choice:
    """Which views are fitted, by their number, and what is to be said of any of them."""

    chosen: dict[int, BoardView]
    notes: dict[int, list[str]]
    left_out: dict[int, BoardResult]


def calibrate_camera(
    views: Sequence[BoardView], board: Board, model: Model = "pinhole", *, coefficients: int | None = None,
    bent: bool = False,
) -> CameraFit:  # fmt: skip
    """The lens that explains the views best, without the boards and corners that contradict the others.

    Args:
        views: what `find_board` found.
        board: the board.
        model: the lens model.
        coefficients: number of distortion coefficients, one of COEFFICIENTS; None for the usual number.
        bent: fit the shape of the board too (quadratic and cubic, one shape for all views).

    Raises:
        CalibrationError: fewer than LEAST_BOARDS usable boards, all parallel to the image, or no camera explains them.
    """
    require(model in COEFFICIENTS, "lens model", " or ".join(COEFFICIENTS), model)
    count = COEFFICIENTS[model][0] if coefficients is None else coefficients
    require(count in COEFFICIENTS[model], f"coefficients of a {model} lens", f"one of {COEFFICIENTS[model]}", count)
    require(not bent or board.has_direction, "bent board",
            "a ChArUco board, or one with an odd and an even number of corners, which cannot be taken upside down",
            board.corners_wh)  # fmt: skip
    screened = screen(views, board)
    left_out = {
        number: BoardResult(views[number].name, False, reason) for number, reason in screened.refused.items()
    }  # fmt: skip
    notes = {number: list(lines) for number, lines in screened.notes.items()}
    choice = _Choice(dict(screened.usable), notes, left_out)
    _require_boards(choice)
    fit = _settle(choice, board, screened.size_wh_px, model, count, bent)
    refuse_open_focal(fit)
    return _outcome(fit, choice, len(views), board, model, screened.size_wh_px, bent)


def place_u_px(lens: Lens, covariance: FloatArray, xy_px: FloatArray) -> FloatArray:
    """(n,) standard uncertainty of the straightened places of pixels (n, 2), in pixels of the ideal camera.

    The rays of the pixels are compared, so that a focal length or a centre that is off counts with what it does to the
    direction in which a pixel looks. NaN where the model has no answer.

    Args:
        lens: the lens.
        covariance: (4 + k, 4 + k) of its focal lengths, centre and coefficients.
        xy_px: pixels as taken.
    """
    values = np.array([*lens.focal_xy_px, *lens.centre_xy_px, *lens.distortion])
    spread = np.sqrt(np.diag(covariance))
    slope = np.zeros((len(xy_px), 2, len(values)))
    for k in np.flatnonzero(spread > 0):
        # A thousandth of the spread stays inside the range where the model is as good as linear.
        step = np.zeros(len(values))
        step[k] = spread[k] * 1e-3
        slope[:, :, k] = (_rays(lens, values + step, xy_px) - _rays(lens, values - step, xy_px)) / (2 * step[k])
    slope *= np.asarray(lens.focal_xy_px)[:, None]
    return np.asarray(np.sqrt(np.einsum("nik,kl,nil->n", slope, covariance, slope)), np.float64)


def _rays(lens: Lens, values: FloatArray, xy_px: FloatArray) -> FloatArray:
    fx, fy, cx, cy, *distortion = values.tolist()
    try:
        other = replace(lens, focal_xy_px=(fx, fy), centre_xy_px=(cx, cy), distortion=tuple(distortion))
    except CalibrationError:
        return np.full(xy_px.shape, np.nan)
    return np.asarray((other.undistorted_xy(xy_px) - [cx, cy]) / [fx, fy], np.float64)


def _require_boards(choice: _Choice) -> None:
    if len(choice.chosen) < LEAST_BOARDS:
        why = "; ".join(f"{result.name}: {result.reason}" for _, result in sorted(choice.left_out.items()))
        raise CalibrationError(
            f"camera: expected {LEAST_BOARDS} or more photos in which the board can be used, got {len(choice.chosen)}; "
            f"take 15 to 20 photos with the whole board in them{'. Left out: ' + why if why else ''}"
        )


def _settle(
    choice: _Choice, board: Board, size_wh_px: tuple[int, int], model: Model, count: int, bent: bool
) -> Adjusted:
    """Fits again without the corner or the board that stands out most, until none does.

    At most a third of the boards is left out: beyond that nobody can say which of them are right.
    """
    chosen = choice.chosen
    spare = min(len(chosen) // 3, len(chosen) - LEAST_BOARDS)
    dropped = dict.fromkeys(chosen, 0)
    while True:
        fit = adjust(_sights(choice, board), size_wh_px, model, coefficients=count, bend=bent)
        worst, corner = _worst_board(fit, chosen), _worst_corner(fit, chosen)
        if corner is not None and dropped[corner[0]] < MOST_CORNERS:
            number, misplaced = corner[0], int(chosen[corner[0]].corner[corner[1]])
            choice.notes.setdefault(number, []).append(misplaced_note(chosen[number], misplaced, board))
            chosen[number] = chosen[number].without([misplaced])
            dropped[number] += 1
            continue
        if corner is not None:
            worst = corner[0]
        if worst is None or spare == 0:
            return fit
        spare -= 1
        place = list(chosen).index(worst)
        result = _result(chosen[worst], fit.residual_px[place], fit.poses[place], board)
        others = np.median([_mean(rest) for k, rest in enumerate(fit.residual_px) if k != place])
        reason = f"mean residual {result.mean_px:.2f} px, the others {others:.2f} px: was board or camera moving?"
        choice.left_out[worst] = replace(result, used=False, reason=reason)
        del chosen[worst]


def _worst_board(fit: Adjusted, chosen: Mapping[int, BoardView]) -> int | None:
    means = np.array([_mean(rest) for rest in fit.residual_px])
    place = int(means.argmax())
    others = float(np.median(np.delete(means, place)))
    return list(chosen)[place] if means[place] > BOARD_FACTOR * others + BOARD_SLACK_PX else None


def _worst_corner(fit: Adjusted, chosen: Mapping[int, BoardView]) -> tuple[int, int] | None:
    """The number of the view, and the place in it, of the corner that stands out most."""
    sizes = [np.linalg.norm(rest, axis=1) for rest in fit.residual_px]
    usual = float(np.median(np.concatenate(sizes)))
    excess = [
        float(size.max() - CORNER_FACTOR * max(usual, float(np.median(size))) - CORNER_SLACK_PX) for size in sizes
    ]
    place = int(np.argmax(excess))
    return (list(chosen)[place], int(sizes[place].argmax())) if excess[place] > 0 else None


def _outcome(
    fit: Adjusted, choice: _Choice, views: int, board: Board, model: Model, size_wh_px: tuple[int, int], bent: bool
) -> CameraFit:
    lens = _lens(fit, model, size_wh_px)
    fx, fy, cx, cy, *distortion = np.sqrt(np.diag(fit.covariance)).tolist()
    results = dict(choice.left_out)
    for (number, view), residual_px, pose in zip(choice.chosen.items(), fit.residual_px, fit.poses, strict=True):
        results[number] = _result(view, residual_px, pose, board)
    residual = np.linalg.norm(np.vstack(fit.residual_px), axis=1)
    seen = np.vstack([view.xy_px for view in choice.chosen.values()])
    size = np.asarray(size_wh_px, np.float64)
    corner_u_px = float(place_u_px(lens, fit.covariance, np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * size).max())
    warnings = [
        *pose_warnings(fit), *coverage_warnings(seen, size_wh_px), *corner_warnings(corner_u_px),
        *([] if bent else bend_warnings(fit, _sights(choice, board), board, size_wh_px, model)),
    ]  # fmt: skip
    return CameraFit(
        lens=lens,
        uncertainty=LensUncertainty((fx, fy), (cx, cy), tuple(distortion)),
        mean_residual_px=float(residual.mean()),
        rms_px=float(np.sqrt(np.square(residual).mean())),
        boards=tuple(replace(results[k], notes=tuple(choice.notes.get(k, ()))) for k in range(views)),
        image_corner_u_px=corner_u_px if np.isfinite(corner_u_px) else None,
        seen_u_px=float(np.nanmax(place_u_px(lens, fit.covariance, seen))),
        clustering=fit.clustering,
        reach=float(np.linalg.norm(seen - size / 2, axis=1).max() / np.linalg.norm(size / 2)),
        relief_mm=relief_mm(fit, board) if bent else None,
        warnings=tuple(warnings),
    )


def _sights(choice: _Choice, board: Board) -> list[Sight]:
    return [Sight(board.corners_xy_mm[view.corner], view.xy_px) for view in choice.chosen.values()]


def _lens(fit: Adjusted, model: Model, size_wh_px: tuple[int, int]) -> Lens:
    fx, fy, cx, cy, *distortion = fit.lens.tolist()
    return Lens(model, (fx, fy), (cx, cy), tuple(distortion), size_wh_px)


def _mean(residual_px: FloatArray) -> float:
    return float(np.linalg.norm(residual_px, axis=1).mean())


def _result(view: BoardView, residual_px: FloatArray, pose: FloatArray, board: Board) -> BoardResult:
    turn = cv2.Rodrigues(pose[:3])[0]
    middle = turn[:, :2] @ board.corners_xy_mm.mean(axis=0) + pose[3:]
    return BoardResult(
        name=view.name,
        used=True,
        mean_px=_mean(residual_px),
        max_px=float(np.linalg.norm(residual_px, axis=1).max()),
        distance_mm=float(np.linalg.norm(middle)),
        tilt_deg=tilt_deg(pose),
        corner=view.corner,
        xy_px=view.xy_px,
        residual_px=residual_px,
    )
