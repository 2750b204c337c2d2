"""The cracks of a section as a picture over its strip image: the same pixels, coloured by width class, else clear."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.features import rasterize
from rasterio.transform import Affine
from rasterio.windows import Window

from crackmap.pipeline.products.masks import COG_ENVIRONMENT, TILE_PX
from crackmap.pipeline.products.publish import TEMPORARY_PREFIX, publishing
from crackmap.pipeline.products.rectified import is_empty
from crackmap.pipeline.products.rows import mean_width
from crackmap.pipeline.products.strip_grid import StripGrid
from crackmap.pipeline.products.styles import class_of, width_classes
from crackmap.pipeline.records import RoadCrack

LEAST_WIDTH_PX = 2.0
"""Thinner lines would come and go between pixels."""

ASIDE_RGB = (138, 143, 152)
"""Of joints and sealed cracks."""

_PLAIN = {"driver": "GTiff", "count": 1, "dtype": "uint8", "tiled": True, "blockxsize": TILE_PX, "blockysize": TILE_PX,
          "compress": "DEFLATE", "sparse_ok": True, "nodata": 0, "bigtiff": "IF_SAFER"}  # fmt: skip
_COG = {"driver": "COG", "compress": "DEFLATE", "blocksize": TILE_PX, "overviews": "AUTO",
        "overview_resampling": "MODE", "bigtiff": "IF_SAFER"}  # fmt: skip


def overlay_name(strip_name: str) -> str:
    """File name of the overlay of a strip image."""
    return f"{Path(strip_name).stem}-cracks.tif"


def write_overlay(path: Path, cracks: Sequence[RoadCrack], grid: StripGrid, crs: CRS) -> None:
    """Writes a paletted GeoTIFF: 0 nothing, 1 to 5 the width classes of the report, 6 joints and sealed cracks.

    Lines are as wide as they were measured, and at least LEAST_WIDTH_PX.

    Raises:
        StorageError: it could not be written.
    """
    classes = width_classes(metric=True)
    palette = {0: (0, 0, 0, 0), len(classes) + 1: (*ASIDE_RGB, 255)}
    for number, item in enumerate(classes, start=1):
        red, green, blue = (int(item.colour[i : i + 2], 16) for i in (1, 3, 5))
        palette[number] = (red, green, blue, 255)
    size = {"width": grid.size_wh[0], "height": grid.size_wh[1]}
    with publishing(path) as temporary:
        plain = temporary.with_name(f"{temporary.name}{TEMPORARY_PREFIX}.tif")
        with rasterio.Env(**COG_ENVIRONMENT):
            with rasterio.open(plain, "w", **size, crs=crs, transform=grid.transform, **_PLAIN) as file:
                file.write_colormap(1, palette)
                for top, values in _bands(cracks, grid):
                    file.write(values, 1, window=Window(0, top, values.shape[1], values.shape[0]))
            rasterio.shutil.copy(plain, temporary, **_COG)


def _bands(cracks: Sequence[RoadCrack], grid: StripGrid) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yields first row and values of the bands of rows in which anything lies."""
    shapes = [_shape(crack, grid) for crack in cracks]
    tree = shapely.STRtree([shape for shape, _ in shapes])
    width, height = grid.size_wh
    for top in range(0, height, TILE_PX):
        rows = min(TILE_PX, height - top)
        near = sorted(tree.query(shapely.box(0, top, width, top + rows)).tolist())
        if near:
            values = rasterize([shapes[number] for number in near], (rows, width), transform=Affine.translation(0, top),
                               dtype=np.uint8)  # fmt: skip
            if not is_empty(values):
                yield top, values


def _shape(crack: RoadCrack, grid: StripGrid) -> tuple[shapely.Polygon, int]:
    """The area of a crack in pixels of the grid, and the number of its colour."""
    back = ~grid.transform
    x, y = crack.line_xy.T
    line = np.column_stack([back.a * x + back.b * y + back.c, back.d * x + back.e * y + back.f])
    width_mm = mean_width(crack.line_xy, crack.width_mm) or 0.0
    width_px = max(width_mm / 1e3 / grid.pixel_m, LEAST_WIDTH_PX)
    classes = width_classes(metric=True)
    number = class_of(width_mm, classes) + 1 if crack.open else len(classes) + 1
    return shapely.buffer(shapely.LineString(line), width_px / 2, cap_style="flat"), number
