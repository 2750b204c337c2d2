"""The lines of the lane a vehicle drives in, found in pictures of the road.

Paint is brighter than the road beside it, narrow, and straight, and all lines along the road meet in one vanishing
point, the same for all frames of one camera mount. So narrow bright runs are sought row by row, straight lines through
them frame by frame, the vanishing point from the lines of all frames, and of the lines through it the nearest on either
side of the camera: their inner edges bound the lane.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import CalibrationError
from crackmap.calibration.fit import LaneView, crossing, lane_view
from crackmap.calibration.lens import Lens

FloatArray = NDArray[np.float64]

ROW_STEP_PX = 2
"""Every second row is looked at: neighbouring rows hardly tell more."""

WIDEST_SHARE = 0.06
"""Paint is at most this share of the image width wide: a line of 0.2 m beside a lane of 3.5 m that fills the width."""

NARROWEST_PX = 3

LEAST_CONTRAST = 14.0
"""Grey levels by which paint is brighter than the road on both sides: above the grain of asphalt after smoothing."""

LINE_TOLERANCE_SHARE = 0.0025
"""A run belongs to a line within this share of the image width: 2.5 px in 1024."""

LEAST_ROWS_SHARE = 0.08
"""A line needs runs in this share of the rows: one dash of a broken line in the near half."""

LEAST_SPAN_SHARE = 0.15
"""From its first to its last run a line spans this share of the height: a shorter one has no direction to speak of."""

LEAST_STREAK_PX = 16
"""Paint is seen in all rows of a stretch at least this long, with single rows missing: grains of the road are not."""

MOST_LINES = 8
TRIALS = 400
"""Pairs of runs tried per line: with a fifth of all runs on one line, it is missed once in ten million."""

LEAST_FRAMES = 3
"""Frames with both lines; below, a single wrong line would decide."""


@dataclass(frozen=True, slots=True)
class PaintLine:
    """A painted line in one picture, in pixels of the ideal camera where there is a lens.

    Attributes:
        left: slope and offset of its left edge, x = slope y + offset.
        right: of its right edge.
        rows: number of rows it was seen in.
    """

    left: tuple[float, float]
    right: tuple[float, float]
    rows: int

    def middle(self) -> tuple[float, float]:
        """Slope and offset of its middle."""
        return (self.left[0] + self.right[0]) / 2, (self.left[1] + self.right[1]) / 2


def find_lane_lines(frames: Iterable[NDArray[np.uint8]], *, lens: Lens | None = None) -> LaneView:
    """The vanishing point and the inner edges of the lane lines of one camera mount.

    Args:
        frames: (H, W, 3) RGB pictures as taken, of one size, road ahead, the vehicle between its lane lines.
        lens: what bends the pictures.

    Returns:
        Medians over the frames that show both lines; the others are counted in `seen` only.

    Raises:
        CalibrationError: sizes differ, or fewer than LEAST_FRAMES frames show both lines.
    """
    found: list[list[PaintLine]] = []
    size: tuple[int, int] | None = None
    for frame in frames:
        height, width = frame.shape[:2]
        if size not in (None, (width, height)):
            raise CalibrationError(f"frames: expected all of size {size}, got {(width, height)}; give one recording")
        size = (width, height)
        found.append(paint_lines(frame, lens=lens))
    if size is None:
        raise CalibrationError("lane lines: no frame was given; give the frames of one recording")
    point = common_point([line.middle() for lines in found for line in lines], size)
    rows = []
    if point is not None:
        pairs = (own_lane(lines, point, size) for lines in found)
        rows = [pair for pair in pairs if pair is not None]
    if len(rows) < LEAST_FRAMES:
        raise CalibrationError(
            f"lane lines: {len(rows)} of {len(found)} frames show both lines of the lane, {LEAST_FRAMES} are needed; "
            "give more frames of a straight road with paint on both sides, give masks of the lane, or measure points"
        )
    return lane_view(rows, size_wh_px=size, seen=len(found))


def paint_lines(frame: NDArray[np.uint8], *, lens: Lens | None = None) -> list[PaintLine]:
    """Straight painted lines of an (H, W, 3) RGB picture that lead upwards, the longest first."""
    height, width = frame.shape[:2]
    runs = _paint_runs(frame)
    left, right = runs[:, [0, 2]], runs[:, [1, 2]]
    if lens is not None:
        left, right = lens.undistorted_xy(left), lens.undistorted_xy(right)
        known = np.isfinite(left).all(axis=1) & np.isfinite(right).all(axis=1)
        left, right = left[known], right[known]
    middle = (left + right) / 2
    rng = np.random.default_rng(0)
    lines: list[PaintLine] = []
    free = np.arange(len(middle))
    least = LEAST_ROWS_SHARE * height / ROW_STEP_PX
    while len(lines) < MOST_LINES and len(free) >= max(least, 2):
        inside = free[_longest_line(middle[free], LINE_TOLERANCE_SHARE * width, rng)]
        if len(inside) < least:
            break
        free = np.setdiff1d(free, inside)
        inside = inside[_in_streaks(middle[inside, 1])]
        if len(inside) < least or np.ptp(middle[inside, 1]) < LEAST_SPAN_SHARE * height:
            continue
        edges = [_robust_line(side[inside]) for side in (left, right)]
        lines.append(PaintLine(edges[0], edges[1], len(inside)))
    return lines


def common_point(lines: Sequence[tuple[float, float]], size_wh_px: tuple[int, int]) -> tuple[float, float] | None:
    """Where most of the lines x = slope y + offset meet; None if fewer than two differ in slope.

    A line through (u, v) has offset = u - v slope: in the plane of slope and offset the lines through one point lie on
    a straight line, which is found robustly, each pair of lines being tried where there are not too many.
    """
    table = np.asarray(lines, np.float64).reshape(-1, 2)
    width, height = size_wh_px
    tolerance = 4 * LINE_TOLERANCE_SHARE * width
    rng = np.random.default_rng(0)
    number = len(table)
    pairs = np.array([(i, j) for i in range(number) for j in range(i)], int).reshape(-1, 2)
    if len(pairs) > 20_000:
        pairs = pairs[np.sort(rng.choice(len(pairs), 20_000, replace=False))]
    slope = table[pairs[:, 0], 0] - table[pairs[:, 1], 0]
    pairs = pairs[np.abs(slope) > 0.2]
    if not len(pairs):
        return None
    v = -(table[pairs[:, 0], 1] - table[pairs[:, 1], 1]) / (table[pairs[:, 0], 0] - table[pairs[:, 1], 0])
    u = table[pairs[:, 0], 1] + v * table[pairs[:, 0], 0]
    # Lines meet above the lower half of the picture; elsewhere they are no lines of the road ahead.
    possible = (v < height / 2) & (v > -3 * height)
    u, v = u[possible], v[possible]
    if not len(u):
        return None
    off = np.abs(table[None, :, 1] - u[:, None] + v[:, None] * table[None, :, 0])
    best = int((np.minimum(off / tolerance, 1.0) ** 2).sum(axis=1).argmin())
    near = off[best] < 2.5 * tolerance
    if near.sum() < 2 or np.ptp(table[near, 0]) < 0.2:
        return float(u[best]), float(v[best])
    slope_offset = _robust_line(table[near][:, ::-1])
    return slope_offset[1], -slope_offset[0]


def own_lane(
    lines: Sequence[PaintLine], point_xy_px: tuple[float, float], size_wh_px: tuple[int, int]
) -> tuple[float, float, float, float] | None:
    """Vanishing x, y and the inner edges on the bottom row of the lines nearest to the camera on both sides, of those
    that lead to the vanishing point of the recording; None if one side has none.
    """
    width, height = size_wh_px
    u, v = point_xy_px
    # The camera's path leaves the picture near the middle of its lower edge.
    path = width / 2
    tolerance = 12 * LINE_TOLERANCE_SHARE * width
    through = [line for line in lines if abs(line.middle()[0] * v + line.middle()[1] - u) < tolerance]
    left = [line for line in through if line.right[0] * height + line.right[1] < path]
    right = [line for line in through if line.left[0] * height + line.left[1] > path]
    if not left or not right:
        return None
    inner_left = max((line.right for line in left), key=lambda edge: edge[0] * height + edge[1])
    inner_right = min((line.left for line in right), key=lambda edge: edge[0] * height + edge[1])
    return crossing(inner_left, inner_right, height)


def _paint_runs(frame: NDArray[np.uint8]) -> FloatArray:
    """(N, 3) left x, right x and y of narrow bright runs along rows, edges to a part of a pixel.

    Brightness is the lesser of red and green: high for white and yellow paint, low for grass and blue sky.
    """
    height, width = frame.shape[:2]
    bright = np.minimum(frame[..., 0], frame[..., 1]).astype(np.float32)
    bright = cv2.GaussianBlur(bright, (0, 0), max(width / 1000, 0.8))
    widest = max(int(WIDEST_SHARE * width), 2 * NARROWEST_PX) | 1
    # The white top-hat: what an opening along the row with the widest run takes away.
    kernel = np.ones((1, widest), np.uint8)
    hat = bright - cv2.morphologyEx(bright, cv2.MORPH_OPEN, kernel, borderType=cv2.BORDER_REPLICATE)
    runs = []
    for row in range(ROW_STEP_PX // 2, height, ROW_STEP_PX):
        over = np.flatnonzero(np.diff(np.concatenate([[0], hat[row] > LEAST_CONTRAST, [0]]).astype(np.int8)))
        for start, stop in over.reshape(-1, 2).tolist():
            if stop - start < NARROWEST_PX or start == 0 or stop == width:
                continue
            half = hat[row, start:stop].max() / 2
            inside = np.flatnonzero(hat[row, start:stop] >= half)
            runs.append((*_edges(hat[row], start + int(inside[0]), start + int(inside[-1]), half), row + 0.5))
    return np.asarray(runs, np.float64).reshape(-1, 3)


def _edges(hat: NDArray[np.float32], first: int, last: int, half: float) -> tuple[float, float]:
    """Where a run of pixels first..last rises above and falls below `half`, from the left edge of the image."""
    left = first + 0.5
    if first > 0:
        left -= float((hat[first] - half) / max(hat[first] - hat[first - 1], 1e-6))
    right = last + 0.5
    if last < len(hat) - 1:
        right += float((hat[last] - half) / max(hat[last] - hat[last + 1], 1e-6))
    return left, right


def _longest_line(points_xy: FloatArray, tolerance: float, rng: np.random.Generator) -> NDArray[np.intp]:
    """Indices of the points on the line x = slope y + offset that has the most (RANSAC)."""
    number = len(points_xy)
    pairs = rng.integers(0, number, (TRIALS, 2))
    x, y = points_xy.T
    rise = y[pairs[:, 1]] - y[pairs[:, 0]]
    usable = np.abs(rise) > 10
    pairs, rise = pairs[usable], rise[usable]
    if not len(pairs):
        return np.empty(0, np.intp)
    slope = (x[pairs[:, 1]] - x[pairs[:, 0]]) / rise
    offset = x[pairs[:, 0]] - slope * y[pairs[:, 0]]
    off = np.abs(x[None] - slope[:, None] * y[None] - offset[:, None])
    best = int((off < tolerance).sum(axis=1).argmax())
    inside = np.flatnonzero(off[best] < tolerance)
    if len(inside) < 2 or np.ptp(y[inside]) == 0:
        return inside
    fitted = np.polyfit(y[inside], x[inside], 1)
    return np.flatnonzero(np.abs(x - np.polyval(fitted, y)) < tolerance)


def _in_streaks(row_px: FloatArray) -> NDArray[np.bool_]:
    """(N,) which rows lie in stretches of at least LEAST_STREAK_PX; a single missing row does not end one."""
    rows = np.unique(row_px)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(rows) > 2.5 * ROW_STEP_PX) + 1, [len(rows)]])
    long = np.zeros(len(rows), bool)
    for first, stop in pairwise(starts.tolist()):
        long[first:stop] = rows[stop - 1] - rows[first] + ROW_STEP_PX >= LEAST_STREAK_PX
    return np.asarray(np.isin(row_px, rows[long]), bool)


def _robust_line(points_xy: FloatArray) -> tuple[float, float]:
    """Slope and offset of x = slope y + offset, points far off counting less (Cauchy weights)."""
    x, y = points_xy.T
    weights = np.ones_like(x)
    slope = offset = 0.0
    for _ in range(10):
        slope, offset = np.polyfit(y, x, 1, w=np.sqrt(weights))
        residual = np.abs(x - slope * y - offset)
        weights = 1.0 / (1.0 + (residual / max(1e-3, 2 * float(np.median(residual)))) ** 2)
    return float(slope), float(offset)
