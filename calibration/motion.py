"""How far a vehicle moved between two frames, by the texture of the road, and what that says of the camera.

Both frames are rectified with a ground plane. What lies near the camera in the second lay one step farther ahead in
the first: the offset at which the two correlate best is the distance moved on the plane. Where the true step is known
(chainage, odometer), a scale that is still open follows: the focal length where lane lines gave the rest, or the
camera height.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import CalibrationError, require
from crackmap.calibration.fit import LaneView, plane_from_lane
from crackmap.calibration.frames import centre_from_corner_xy
from crackmap.calibration.plane import GroundPlane

FloatArray = NDArray[np.float64]
GreyArray = NDArray[np.uint8]

CELL_M = (0.01, 0.015)
"""Cell of the rectified views, across and along: about a pixel on the nearest road of a survey camera."""

HALF_WIDTH_M = 1.2
"""Only the road between the lane lines: paint looks the same wherever along it one stands."""

PATCH_M = 2.0
"""Length of the patch of the second frame that is looked for in the first."""

SIDEWAYS_M = 0.35
"""The vehicle wanders by less than this between two frames."""

SLOW_M = 0.25
"""Changes along the road slower than this (sigma) are taken out. On the real recording it was
chosen with, 0.15 to 0.4 m and patches of 1.5 to 2.5 m give focal lengths within 1 % of each other."""

STEP_SHARE = 0.4
"""The distance is sought within this share of the step; the trial plane must be that good."""

COARSEST_ROW_M = 0.15
"""Beyond a row of this length on the road no texture is left to match."""

LEAST_PEAK = 0.12
"""Correlation at the peak below which a pair is not believed, whatever the runner-up says."""

LEAST_RATIO = 1.35
"""The peak over the next best place farther than RUNNER_UP_M from it: below, the match is not clear."""

RUNNER_UP_M = 0.12

LEAST_PAIRS = 8
"""Clear pairs needed: four for the estimate, four to check it."""


@dataclass(frozen=True, slots=True)
class PairMotion:
    """The motion between two frames.

    Attributes:
        distance_m: moved ahead on the plane.
        sideways_m: moved to the right.
        peak: correlation at the best place.
        ratio: the peak over that of the runner-up.
    """

    distance_m: float
    sideways_m: float
    peak: float
    ratio: float

    @property
    def clear(self) -> bool:
        """Whether the peak can be believed."""
        return self.peak >= LEAST_PEAK and self.ratio >= LEAST_RATIO


@dataclass(frozen=True, slots=True)
class MotionFit:
    """What the motion of one half of the pairs says, checked on the other half.

    Attributes:
        value: the estimate: focal length in pixels, or the factor that lengths on the plane need.
        uncertainty: its standard uncertainty, from the scatter between pairs.
        plane: the ground plane with it.
        check: median of motion over step in the other half, with that plane; 1 is perfect.
        check_uncertainty: standard uncertainty of `check`.
        clear: number of pairs with a clear peak, of both halves.
        seen: number of pairs looked at.
    """

    value: float
    uncertainty: float
    plane: GroundPlane
    check: float
    check_uncertainty: float
    clear: int
    seen: int


def consecutive_pairs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Indices of neighbouring frames, by a number in their names that rises by one; all neighbours if there is none.

    Of several numbers in a name, the one that rises by one most often counts; at least a tenth of the neighbours must
    do so.
    """
    numbers = [re.findall(r"\d+", name) for name in names]
    neighbours = list(zip(range(len(names) - 1), range(1, len(names)), strict=True))
    best: list[tuple[int, int]] = []
    if names and len({len(found) for found in numbers}) == 1:
        for place in range(len(numbers[0])):
            rising = [(i, j) for i, j in neighbours if int(numbers[j][place]) - int(numbers[i][place]) == 1]
            best = rising if len(rising) > len(best) else best
    return best if len(best) >= max(0.1 * len(neighbours), 1) else neighbours


def pair_motion(before: GreyArray, after: GreyArray, plane: GroundPlane, *, step_m: float) -> PairMotion:
    """The distance moved on `plane` between two (H, W) grey frames that are about `step_m` apart.

    Raises:
        CalibrationError: the plane does not see road as far ahead as needed.
    """
    near_m = nearest_ahead_m(plane)
    slack_m = STEP_SHARE * step_m
    patch = _rectified(after, plane, (near_m, near_m + PATCH_M), HALF_WIDTH_M)
    field_m = (near_m + step_m - slack_m, near_m + step_m + slack_m + PATCH_M)
    seen = plane.to_pixel_xy([(0.0, field_m[1])])
    if not (np.isfinite(seen).all() and seen[0, 1] >= 0 and _row_m(plane, field_m[1]) < COARSEST_ROW_M):
        raise CalibrationError(
            f"motion: frames {step_m:g} m apart do not overlap: the view would have to reach {field_m[1]:.1f} m ahead; "
            "take frames closer together, or check --step and the trial focal length"
        )
    field = _rectified(before, plane, field_m, HALF_WIDTH_M + SIDEWAYS_M)
    # The far road is blurred by its coarse rows, so the near patch is blurred alike, and both lose their slow changes.
    blur = _row_m(plane, (field_m[0] + field_m[1]) / 2) / CELL_M[1] / 2
    score = cv2.matchTemplate(_texture(field, 0.0), _texture(patch, blur), cv2.TM_CCOEFF_NORMED)
    return _peak(score, field_m[1] - near_m - PATCH_M)


def _peak(score: NDArray[np.float32], longest_m: float) -> PairMotion:
    """The best place of a (rows, columns) correlation; its first row stands for a motion of `longest_m`."""
    _, peak, _, (column, row) = cv2.minMaxLoc(score)
    reach = [max(round(RUNNER_UP_M / cell), 1) for cell in CELL_M]
    others = score.copy()
    others[max(row - reach[1], 0) : row + reach[1] + 1, max(column - reach[0], 0) : column + reach[0] + 1] = -1.0
    ratio = float(peak / max(float(others.max()), 1e-3))
    on_edge = row in (0, score.shape[0] - 1) or column in (0, score.shape[1] - 1)
    y = row if on_edge else row + _vertex(score[row - 1 : row + 2, column])
    x = column if on_edge else column + _vertex(score[row, column - 1 : column + 2])
    sideways = (score.shape[1] - 1) / 2 * CELL_M[0] - x * CELL_M[0]
    return PairMotion(longest_m - y * CELL_M[1], sideways, float(peak), 0.0 if on_edge else ratio)


def focal_from_motion(
    view: LaneView,
    pairs: Sequence[tuple[int, int]],
    grey_of: Callable[[int], GreyArray],
    *,
    lane_width_m: float,
    step_m: float,
    trial_focal_px: float | None = None,
    roll_deg: float = 0.0,
) -> MotionFit:
    """The focal length for which the median motion of the even pairs equals the step, checked on the odd ones.

    With the vanishing point and the lane fixed, another focal length stretches the ground along the road by a factor
    known in closed form; so the motion is measured with a trial plane, and again with the one it leads to.

    Args:
        view: the lane lines of the same camera mount.
        pairs: indices of consecutive frames.
        grey_of: the (H, W) grey frame of an index.
        lane_width_m: metres between the lane lines.
        step_m: metres between the frames of a pair.
        trial_focal_px: first guess; by default several are tried, and the one with the clearest pairs is taken.
        roll_deg: as in `Mount`.

    Raises:
        CalibrationError: fewer than LEAST_PAIRS clear pairs.
    """

    def plane_of(focal_px: float) -> GroundPlane:
        return plane_from_lane(
            view, lane_width_m=lane_width_m, focal_px=focal_px, size_wh_px=view.size_wh_px, roll_deg=roll_deg
        )

    focal = trial_focal_px or _first_focal(plane_of, pairs, grey_of, view.size_wh_px[0], step_m)
    even = pairs[::2]
    ratio, spread = _half(even, grey_of, plane_of(focal), step_m)[:2]
    for _ in range(3):
        better = _focal_for(plane_of, focal, ratio)
        done, focal = abs(better / focal - 1) < 2e-3, better
        ratio, spread, clear = _half(even, grey_of, plane_of(focal), step_m)
        if done:
            break
    focal = _focal_for(plane_of, focal, ratio)
    check, check_spread, checked = _half(pairs[1::2], grey_of, plane_of(focal), step_m)
    # How much the focal length changes per relative change of the motion.
    slope = (_focal_for(plane_of, focal, 1.01) - _focal_for(plane_of, focal, 0.99)) / 0.02
    return MotionFit(focal, abs(slope) * spread, plane_of(focal), check, check_spread, clear + checked, len(pairs))


def scale_from_motion(
    plane: GroundPlane,
    pairs: Sequence[tuple[int, int]],
    grey_of: Callable[[int], GreyArray],
    *,
    step_m: float,
) -> MotionFit:
    """The factor for the lengths of a plane (and its camera height) by the even pairs, checked on the odd ones.

    Raises:
        CalibrationError: fewer than LEAST_PAIRS clear pairs.
    """
    ratio, spread, clear = _half(pairs[::2], grey_of, plane, step_m)
    scaled = GroundPlane(
        np.diag([1 / ratio, 1 / ratio, 1.0]) @ plane.ground_from_pixel, plane.size_wh_px, plane.limits, plane.u_scale,
        plane.lens,
    )  # fmt: skip
    check, check_spread, checked = _half(pairs[1::2], grey_of, scaled, step_m)
    return MotionFit(1 / ratio, spread / ratio, scaled, check, check_spread, clear + checked, len(pairs))


def nearest_ahead_m(plane: GroundPlane) -> float:
    """Ground y, rounded up to a decimetre, from which on the whole width that motion looks at is in the picture.

    Raises:
        CalibrationError: no road ahead is in the picture.
    """
    width, height = plane.size_wh_px
    ahead = np.arange(0.0, 30.0, 0.1)
    inside = np.ones(len(ahead), bool)
    for side in (-HALF_WIDTH_M, HALF_WIDTH_M):
        pixel = plane.to_pixel_xy(np.column_stack([np.full(len(ahead), side), ahead]))
        with np.errstate(invalid="ignore"):
            inside &= ((pixel >= 0) & (pixel <= (width, height))).all(axis=1)
    if not inside.any():
        raise CalibrationError("motion: the plane shows no road ahead of the camera; check the calibration")
    return float(ahead[inside.argmax()])


def _first_focal(
    plane_of: Callable[[float], GroundPlane],
    pairs: Sequence[tuple[int, int]],
    grey_of: Callable[[int], GreyArray],
    width: int,
    step_m: float,
) -> float:
    """The focal length, of a row of guesses for lenses from wide to long, that gives the most clear pairs."""
    few = pairs[:: max(len(pairs) // 6, 1)][:6]
    scores = []
    for share in (0.6, 0.8, 1.1, 1.5, 2.0):
        try:
            plane = plane_of(share * width)
            motions = [pair_motion(grey_of(i), grey_of(j), plane, step_m=step_m) for i, j in few]
        except CalibrationError:
            continue
        scores.append((sum(motion.peak for motion in motions if motion.clear), share * width))
    if not scores or max(scores)[0] <= 0:
        raise _unclear(0, len(pairs))
    return max(scores)[1]


def _focal_for(plane_of: Callable[[float], GroundPlane], focal_px: float, ratio: float) -> float:
    """The focal length whose plane is 1 / ratio as long along the road as that of `focal_px`."""

    def length(focal: float) -> float:
        plane = plane_of(focal)
        pixels = _reference_pixels(plane_of(focal_px))
        near, far = plane.to_ground_xy_m(pixels)[:, 1]
        return float(far - near)

    wanted = length(focal_px) / ratio
    low, high = 0.2 * focal_px, 5.0 * focal_px
    require(length(low) < wanted < length(high), "motion over step", "near 1", ratio)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if length(middle) < wanted else (low, middle)
    return (low + high) / 2


def _reference_pixels(plane: GroundPlane) -> FloatArray:
    near_m = nearest_ahead_m(plane)
    return plane.to_pixel_xy([(0.0, near_m), (0.0, near_m + 3.0)])


def _half(
    pairs: Sequence[tuple[int, int]],
    grey_of: Callable[[int], GreyArray],
    plane: GroundPlane,
    step_m: float,
) -> tuple[float, float, int]:
    """Median of motion over step of the clear pairs, its standard uncertainty, and their number."""
    ratios = []
    for before, after in pairs:
        motion = pair_motion(grey_of(before), grey_of(after), plane, step_m=step_m)
        if motion.clear:
            ratios.append(motion.distance_m / step_m)
    if len(ratios) < LEAST_PAIRS // 2:
        raise _unclear(len(ratios), len(pairs))
    # The median of n normal values has 1.2533 times the standard uncertainty of their mean.
    spread = 1.2533 * float(np.std(ratios, ddof=1)) / float(np.sqrt(len(ratios)))
    return float(np.median(ratios)), spread, len(ratios)


def _unclear(clear: int, seen: int) -> CalibrationError:
    return CalibrationError(
        f"motion: the road texture of {clear} of {seen} pairs of frames matches clearly, {LEAST_PAIRS // 2} are needed "
        "in each half; give consecutive frames of one recording in the order they were taken, and their distance as "
        "--step"
    )


def _rectified(
    grey: GreyArray, plane: GroundPlane, ahead_m: tuple[float, float], half_width_m: float
) -> NDArray[np.float32]:
    """Top view, far at the top, cells of CELL_M."""
    columns, rows = round(2 * half_width_m / CELL_M[0]), round((ahead_m[1] - ahead_m[0]) / CELL_M[1])
    x = (np.arange(columns) + 0.5 - columns / 2) * CELL_M[0]
    y = ahead_m[1] - (np.arange(rows) + 0.5) * CELL_M[1]
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    pixels = np.nan_to_num(centre_from_corner_xy(plane.to_pixel_xy(grid)), nan=-1e6).astype(np.float32)
    pixels = pixels.reshape(rows, columns, 2)
    return np.asarray(
        cv2.remap(grey, pixels[..., 0], pixels[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32
    )


def _texture(view: NDArray[np.float32], blur_along: float) -> NDArray[np.float32]:
    """The view without its slow changes, at even contrast; blurred along the road as far rows are.

    What changes slowly along the road, like seams, wheel paths and paint, matches anywhere and goes; what stands out,
    like the end of a dash, is cut to a few standard deviations, so that the grain of the road decides.
    """
    fine = cv2.GaussianBlur(view, (0, 0), sigmaX=1.5, sigmaY=max(blur_along, 1.0))
    rest = fine - cv2.GaussianBlur(fine, (0, 0), sigmaX=0.1, sigmaY=SLOW_M / CELL_M[1])
    rest = np.asarray(rest - cv2.blur(rest, (max(round(0.5 / CELL_M[0]), 1), 1)), np.float32)
    contrast = np.sqrt(cv2.GaussianBlur(rest * rest, (0, 0), 30.0))
    return np.asarray(np.clip(rest / np.maximum(contrast, 0.3), -2.5, 2.5), np.float32)


def _row_m(plane: GroundPlane, ahead_m: float) -> float:
    """Length of road that one image row covers there."""
    return float(plane.gsd_mm(plane.to_pixel_xy([(0.0, ahead_m)]))[0, 1]) / 1e3


def _vertex(three: NDArray[np.float32]) -> float:
    """Place of the top of the parabola through three values at -1, 0, 1."""
    a, b, c = (float(value) for value in three)
    bend = a - 2 * b + c
    return 0.0 if bend >= 0 else float(np.clip(0.5 * (a - c) / bend, -0.5, 0.5))
