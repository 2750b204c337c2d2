"""From detected boxes to the cells of the image that the segmenter looks at."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from crackmap.stages.records import Region

CELL_PX = 32
"""Side of a cell. On survey frames cracks touch 11 % of cells of 32 px and 16 % of 64 px."""


def cell_grid_shape(size_wh_px: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of cells that cover the image."""
    return -(-size_wh_px[1] // CELL_PX), -(-size_wh_px[0] // CELL_PX)


def cells_of_regions(
    regions: Iterable[Region], size_wh_px: tuple[int, int], *, margin_px: float = 0.0
) -> NDArray[np.bool_]:
    """(rows, columns) cells touched by any region grown by `margin_px` on each side."""
    cells = np.zeros(cell_grid_shape(size_wh_px), bool)
    for region in regions:
        x0, y0, x1, y1 = region.box_xyxy_px
        rows = slice(max(int((y0 - margin_px) // CELL_PX), 0), max(int(-(-(y1 + margin_px) // CELL_PX)), 0))
        columns = slice(max(int((x0 - margin_px) // CELL_PX), 0), max(int(-(-(x1 + margin_px) // CELL_PX)), 0))
        cells[rows, columns] = True
    return cells


def pixels_of_cells(cells: NDArray[np.bool_], size_wh_px: tuple[int, int]) -> NDArray[np.bool_]:
    """(height, width) mask of the marked cells."""
    full = np.kron(cells, np.ones((CELL_PX, CELL_PX), bool))
    return np.asarray(full[: size_wh_px[1], : size_wh_px[0]], bool)


def area_share(cells: NDArray[np.bool_], size_wh_px: tuple[int, int]) -> float:
    """Share of the image's pixels inside marked cells."""
    width, height = size_wh_px
    columns = np.minimum(CELL_PX, width - np.arange(cells.shape[1]) * CELL_PX)
    rows = np.minimum(CELL_PX, height - np.arange(cells.shape[0]) * CELL_PX)
    return float(rows @ cells @ columns) / (width * height)
