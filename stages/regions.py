"""From detected boxes to the cells of the image that the segmenter looks at."""

from __future__ import annotations

import base64
import zlib
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


def packed_cells(cells: NDArray[np.bool_]) -> str:
    """Marked cells (rows, columns) as a short text."""
    return base64.b64encode(zlib.compress(np.packbits(cells).tobytes(), 9)).decode("ascii")


def unpacked_cells(text: str, size_wh_px: tuple[int, int]) -> NDArray[np.bool_] | None:
    """The (rows, columns) cells of an image from their text; None if it is not one of `packed_cells` for that size."""
    rows, columns = cell_grid_shape(size_wh_px)
    try:
        # One byte more than can be right: what would grow without end is not unpacked.
        bits = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), -(-rows * columns // 8) + 1)
    except (ValueError, zlib.error):
        return None
    if len(bits) != -(-rows * columns // 8):
        return None
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=rows * columns).reshape(rows, columns).astype(bool)


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
