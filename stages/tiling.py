"""Pixels by windows, and even tiles with overlap for the detector."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import require

RIM_PX = 8
"""Windows may show this much beyond the edges of an image, mirrored. At a bare edge a net takes the strip of road
between paint and edge for a crack. Twice as much, or the last pixels drawn out instead, costs F1 on survey frames."""


class PixelSource(Protocol):
    """An image that can be read by windows: a decoded picture or a large raster."""

    @property
    def size_wh_px(self) -> tuple[int, int]:
        """Width and height."""

    def read(self, x0: int, y0: int, width: int, height: int) -> NDArray[np.uint8]:
        """The (height, width, 3) RGB uint8 window, which lies inside the image."""


@dataclass(frozen=True, slots=True)
class ArraySource:
    """A decoded (height, width, 3) uint8 RGB picture as a PixelSource."""

    image: NDArray[np.uint8]

    def __post_init__(self) -> None:
        require(self.image.ndim == 3 and self.image.shape[2] == 3, "image", "shape (H, W, 3)", self.image.shape)
        require(self.image.dtype == np.uint8, "image", "dtype uint8", self.image.dtype)

    @property
    def size_wh_px(self) -> tuple[int, int]:
        """Width and height."""
        return self.image.shape[1], self.image.shape[0]

    def read(self, x0: int, y0: int, width: int, height: int) -> NDArray[np.uint8]:
        """The window as a view."""
        return self.image[y0 : y0 + height, x0 : x0 + width]


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of pixels inside an image."""

    x0: int
    y0: int
    width: int
    height: int

    @property
    def x1(self) -> int:
        """Right edge, exclusive."""
        return self.x0 + self.width

    @property
    def y1(self) -> int:
        """Lower edge, exclusive."""
        return self.y0 + self.height


def even_tiles(size_wh_px: tuple[int, int], *, tile_px: int, overlap_px: int) -> list[Window]:
    """Tiles of at most `tile_px` a side that cover the image, rows first, neighbours sharing >= `overlap_px`.

    All tiles have one size (the net sees one batch shape), as small as their number allows: an image a little
    larger than one tile is not cut into a large and a tiny one.
    """
    require(0 <= overlap_px < tile_px, "overlap_px", f"from 0 to below tile_px = {tile_px}", overlap_px)
    columns, tile_width = _even_starts(size_wh_px[0], tile_px, overlap_px)
    rows, tile_height = _even_starts(size_wh_px[1], tile_px, overlap_px)
    return [Window(x, y, tile_width, tile_height) for y in rows for x in columns]


def _even_starts(length: int, tile: int, overlap: int) -> tuple[list[int], int]:
    count = max(math.ceil((length - overlap) / (tile - overlap)), 1)
    side = min(math.ceil((length + (count - 1) * overlap) / count), length)
    if count == 1:
        return [0], length
    return [round(i * (length - side) / (count - 1)) for i in range(count)], side
