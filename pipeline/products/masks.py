"""Crack probability of a frame as a Cloud Optimized GeoTIFF that lies where the lines of the frame lie."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import Affine
from rasterio.windows import Window

from crackmap.calibration.plane import GroundPlane
from crackmap.pipeline.footprint import visible_polygon_m
from crackmap.pipeline.products.publish import TEMPORARY_PREFIX, publishing
from crackmap.pipeline.products.rectified import is_empty, placed, resampled
from crackmap.pipeline.records import Frame, OutputFrame
from crackmap.stages.records import BLOCK_PX, CrackMask, FloatArray

MASKS_FOLDER = "masks"
"""Of the output folder."""

MAX_SIDE_PX = 4096
"""Greatest side of a rectified mask."""

TILE_PX = 512

COG_ENVIRONMENT = {
    # MB of blocks that GDAL keeps; by itself it takes a twentieth of all memory.
    "GDAL_CACHEMAX": 64,
    # Of overviews while a file is made: packing what is thrown away a second later takes up to half of the time.
    "COG_TMP_COMPRESSION": "NONE",
}
"""Of GDAL while it writes a Cloud Optimized GeoTIFF."""

_PROFILE = {"driver": "GTiff", "count": 1, "dtype": "uint8", "tiled": True, "blockxsize": TILE_PX,
            "blockysize": TILE_PX, "sparse_ok": True}  # fmt: skip

# The least effort: a fifth larger, and written in two thirds of the time.
_COG = {"driver": "COG", "compress": "DEFLATE", "level": 1, "blocksize": TILE_PX, "overviews": "AUTO",
        "overview_resampling": "RMS", "sparse_ok": True}  # fmt: skip
"""RMS overviews: an average fades a crack of two pixels to nothing, the root of the mean square keeps it visible."""


def mask_name(frame_key: str) -> str:
    """File name below masks/ of a frame: readable, safe on every file system, different for different keys."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(frame_key).with_suffix("").as_posix()).strip("_")[-80:]
    digest = hashlib.sha256(frame_key.encode("utf-8", "surrogateescape")).hexdigest()[:10]
    return f"{readable or 'frame'}-{digest}.tif"


def write_mask_cog(path: Path, mask: CrackMask, *, frame: Frame, output: OutputFrame) -> None:
    """Writes the probabilities (uint8, probability * 255, no no-data value) as a georeferenced COG.

    Where pixels are a straight image of the road (a downward camera, a raster) or there is no ground scale, pixels
    are written as they are, with an exact, possibly rotated, transform. Under perspective the owned strip is
    rectified onto the road plane at the finest pixel size it was seen with, at most `MAX_SIDE_PX` a side.

    Raises:
        StorageError: the file could not be written.
    """
    with publishing(path) as temporary:
        plain = temporary.with_name(f"{temporary.name}{TEMPORARY_PREFIX}.tif")
        if frame.ground is None or frame.ground.is_affine:
            transform = _affine_transform(frame)
            size, blocks = mask.size_wh_px, _mask_tiles(mask)
        else:
            rectified, transform = rectify(mask, frame, frame.ground)
            size, blocks = (rectified.shape[1], rectified.shape[0]), _filled_tiles(rectified)
        crs = CRS.from_wkt(output.crs_wkt)
        with rasterio.Env(**COG_ENVIRONMENT):
            placed_at = {"width": size[0], "height": size[1], "crs": crs, "transform": transform}
            with rasterio.open(plain, "w", **placed_at, **_PROFILE) as file:
                for (x0, y0), values in blocks:
                    file.write(values, 1, window=Window(x0, y0, values.shape[1], values.shape[0]))
            rasterio.shutil.copy(plain, temporary, **_COG)


def rectify(mask: CrackMask, frame: Frame, ground: GroundPlane) -> tuple[NDArray[np.uint8], Affine]:
    """The strip of a frame as seen from above: (rows, columns) uint8, first row farthest, and its transform.

    A frame that sees nothing of its strip gives one zero pixel at its origin.
    """
    strip = visible_polygon_m(frame)
    if not len(strip):
        return np.zeros((1, 1), np.uint8), placed(frame, Affine(1e-3, 0, 0, 0, -1e-3, 0))
    (left, near), (right, far) = strip.min(axis=0), strip.max(axis=0)
    step = _step_m(ground, strip, max(right - left, far - near))
    width, height = (max(1, int(np.ceil(round(extent / step, 6)))) for extent in (right - left, far - near))
    to_ground = Affine(step, 0, left, 0, -step, far)
    return resampled(mask, ground, to_ground, (width, height)), placed(frame, to_ground)


def _step_m(ground: GroundPlane, strip: FloatArray, longest_m: float) -> float:
    """Ground size of a pixel: the finest seen along the outline of the strip, coarser if the side would be too long."""
    around = np.concatenate([np.linspace(a, b, 16) for a, b in zip(strip, np.roll(strip, -1, axis=0), strict=True)])
    finest = float(np.nanmin(ground.gsd_mm(ground.to_pixel_xy(around)))) / 1e3
    return max(finest, longest_m / MAX_SIDE_PX)


def _affine_transform(frame: Frame) -> Affine:
    """Output coordinates of pixel corners (column, row) of a frame without perspective."""
    if frame.ground is None:
        return placed(frame, Affine(1, 0, 0, 0, -1, frame.size_wh_px[1]))
    h = frame.ground.ground_from_pixel / frame.ground.ground_from_pixel[2, 2]
    return placed(frame, Affine(*h[0], *h[1]))


def _mask_tiles(mask: CrackMask) -> Iterator[tuple[tuple[int, int], NDArray[np.uint8]]]:
    """The tiles that hold anything, so that a gigapixel raster with few cracks is written in their time."""
    ratio = TILE_PX // BLOCK_PX
    width, height = mask.size_wh_px
    for row, column in sorted({(row // ratio, column // ratio) for row, column in mask.blocks}):
        x0, y0 = column * TILE_PX, row * TILE_PX
        yield (x0, y0), mask.read(x0, y0, min(TILE_PX, width - x0), min(TILE_PX, height - y0))


def _filled_tiles(values: NDArray[np.uint8]) -> Iterator[tuple[tuple[int, int], NDArray[np.uint8]]]:
    for y0 in range(0, values.shape[0], TILE_PX):
        for x0 in range(0, values.shape[1], TILE_PX):
            tile = values[y0 : y0 + TILE_PX, x0 : x0 + TILE_PX]
            if not is_empty(tile):
                yield (x0, y0), tile
