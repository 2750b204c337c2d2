"""Windows for the segmenter: few, of any shape, that together cost little and cover the cells it has to look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import require
from crackmap.stages.tiling import RIM_PX, Window

STEP_PX = 64
"""Sides of windows are multiples of this where the image has room, so that few shapes occur."""

LEAST_STEP_PX = 16
"""Sides of windows are multiples of this everywhere: what the nets need."""

WINDOW_COST_PX = 20_000
"""What a window costs beside its pixels, in pixels: reading, starting the net in another shape, handing on: 2 ms where
10 Mpx/s are computed."""

HOPELESS = 1.05
"""Where the best cut makes the windows dearer by this, further cuts rarely make up for it, and are not tried."""


@dataclass(frozen=True, slots=True)
class PackedWindow:
    """A window for the segmenter, and the cells it answers for.

    Attributes:
        window: what the net sees; may reach over the image's edges by RIM_PX, and by less than LEAST_STEP_PX more.
        cells_rc: (N, 2) row and column of the cells whose pixels are taken from it.
    """

    window: Window
    cells_rc: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Costs:
    """What rectangles of cells cost, in pixels of their windows."""

    size_wh_px: tuple[int, int]
    cell_px: int
    context_px: int
    longest_px: int

    @property
    def core(self) -> int:
        """The most cells a window has along a side."""
        return (self.longest_px - 2 * self.context_px) // self.cell_px

    def of(
        self, y0: NDArray[np.int64], y1: NDArray[np.int64], x0: NDArray[np.int64], x1: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Of the rectangles of rows y0 to y1 and columns x0 to x1, exclusive, each in as many windows as it needs."""
        height, rows = self._side(y0, y1, self.size_wh_px[1])
        width, columns = self._side(x0, x1, self.size_wh_px[0])
        return np.asarray(height * width + rows * columns * WINDOW_COST_PX, np.float64)

    def _side(
        self, low: NDArray[np.int64], high: NDArray[np.int64], length_px: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pixels that windows have along a side, and how many windows."""
        count = -(-(high - low) // self.core)
        start = np.maximum(low * self.cell_px - self.context_px, -RIM_PX)
        stop = np.minimum(high * self.cell_px + self.context_px, length_px + RIM_PX)
        side = -(-(stop - start) // STEP_PX) * STEP_PX
        whole = length_px + 2 * RIM_PX
        return np.where(count > 1, stop - start + 2 * self.context_px * (count - 1), np.minimum(side, whole)), count


def pack_windows(
    cells: NDArray[np.bool_], size_wh_px: tuple[int, int], *, cell_px: int, context_px: int, longest_px: int
) -> list[PackedWindow]:
    """Windows that cover all marked cells, each with `context_px` of road around its cells.

    The box of all cells is cut in two where that is cheapest, and each part again, as long as the parts cost less than
    the whole. Every cell is answered for exactly once, so nothing depends on the order in which windows are computed.

    Args:
        cells: (rows, columns) marked cells of `cell_px` a side.
        size_wh_px: size of the image.
        cell_px: side of a cell.
        context_px: least road around a cell that its window shows, except at the image's border.
        longest_px: longest side of a window.
    """
    costs = _Costs(size_wh_px, cell_px, context_px, longest_px)
    require(costs.core >= 1, "longest_px", f"at least one cell and its context ({cell_px + 2 * context_px} px)",
            longest_px)  # fmt: skip
    packed = []
    for y0, y1, x0, x1 in _cover(cells, 0, 0, costs)[1] if cells.any() else []:
        cells_rc = np.argwhere(cells[y0:y1, x0:x1]) + (y0, x0)
        packed.append(PackedWindow(_window(y0, y1, x0, x1, costs), cells_rc))
    return packed


Box = tuple[int, int, int, int]


def _cover(cells: NDArray[np.bool_], row: int, column: int, costs: _Costs) -> tuple[float, list[Box]]:
    """The cost of the windows for some marked cells, and their boxes; `cells` begins at (row, column) of the grid."""
    rows, columns = np.flatnonzero(cells.any(axis=1)), np.flatnonzero(cells.any(axis=0))
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    tight, row, column = cells[y0:y1, x0:x1], row + y0, column + x0
    height, width = tight.shape
    box = (row, row + height, column, column + width)
    whole = float(costs.of(*(np.array(side) for side in box)))
    fits = max(height, width) <= costs.core
    least = (costs.cell_px + costs.context_px) ** 2 + WINDOW_COST_PX  # in a corner of the image
    if fits and whole <= 2 * least:
        return whole, [box]
    # Of equally cheap cuts the one nearest the middle, then the upper or left one.
    cuts = [
        (cost, abs(2 * at - length), axis, at)
        for axis, length, found in (
            (0, height, _cut_costs(tight, row, column, costs, transposed=False)),
            (1, width, _cut_costs(tight.T, column, row, costs, transposed=True)),
        )
        for at, cost in enumerate(found.tolist(), start=1)
    ]
    if not cuts:
        return whole, [box]
    cost, _, axis, at = min(cuts)
    if fits and cost > HOPELESS * whole:
        return whole, [box]
    first, second = (tight[:at], tight[at:]) if axis == 0 else (tight[:, :at], tight[:, at:])
    start = (row + at, column) if axis == 0 else (row, column + at)
    cost_1, boxes_1 = _cover(first, row, column, costs)
    cost_2, boxes_2 = _cover(second, *start, costs)
    if fits and whole <= cost_1 + cost_2:
        return whole, [box]
    return cost_1 + cost_2, boxes_1 + boxes_2


def _cut_costs(
    cells: NDArray[np.bool_], row: int, column: int, costs: _Costs, *, transposed: bool
) -> NDArray[np.float64]:
    """(rows - 1,) cost of the boxes of what lies above and below a cut before each row but the first."""
    count, width = cells.shape
    marked = cells.any(axis=1)
    left = np.where(marked, cells.argmax(axis=1), width)
    right = np.where(marked, width - cells[:, ::-1].argmax(axis=1), 0)
    lines = np.arange(count)
    last = np.maximum.accumulate(np.where(marked, lines, -1)) + 1
    first = np.minimum.accumulate(np.where(marked, lines, count)[::-1])[::-1]
    total = np.zeros(count - 1)
    for y0, y1, x0, x1 in (
        (np.zeros(count - 1, int), last[:-1], np.minimum.accumulate(left)[:-1], np.maximum.accumulate(right)[:-1]),
        (first[1:], np.full(count - 1, count), np.minimum.accumulate(left[::-1])[::-1][1:],
         np.maximum.accumulate(right[::-1])[::-1][1:]),
    ):  # fmt: skip
        along, across = (row + y0, row + y1), (column + x0, column + x1)
        total += costs.of(*across, *along) if transposed else costs.of(*along, *across)
    return total


def _window(y0: int, y1: int, x0: int, x1: int, costs: _Costs) -> Window:
    width, height = costs.size_wh_px
    left, window_width = _placed(x0, x1, width, costs)
    top, window_height = _placed(y0, y1, height, costs)
    return Window(left, top, window_width, window_height)


def _placed(low: int, high: int, length_px: int, costs: _Costs) -> tuple[int, int]:
    """Start and length of a window along a side: the cells' and their context's, rounded up into the image."""
    start = max(low * costs.cell_px - costs.context_px, -RIM_PX)
    stop = min(high * costs.cell_px + costs.context_px, length_px + RIM_PX)
    side = -(-(stop - start) // STEP_PX) * STEP_PX
    if side > length_px + 2 * RIM_PX:
        side = -(-(length_px + RIM_PX) // LEAST_STEP_PX) * LEAST_STEP_PX
        return -((side - length_px) // 2), side
    return max(min(start, length_px + RIM_PX - side), -RIM_PX), side
