"""Pictures of a frame resampled onto the road: masks and strips are cut from the road plane by the same code."""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from rasterio.transform import Affine

from crackmap.calibration.frames import centre_from_corner_xy
from crackmap.calibration.plane import GroundPlane
from crackmap.pipeline.records import Frame
from crackmap.stages.records import FloatArray

BLOCK_PX = 1024
"""Side of a block resampled at once: the coordinates of a pixel take 40 bytes on the way."""

MOST_SIDE_PX = 30_000
"""cv2.remap addresses pixels with 16 bits."""

MARGIN_PX = 2

_NOWHERE_PX = -1e4

Box = tuple[int, int, int, int]


class Readable(Protocol):
    """Pixels by windows: an image or a crack mask."""

    @property
    def size_wh_px(self) -> tuple[int, int]:
        """Width and height."""

    def read(self, x0: int, y0: int, width: int, height: int) -> NDArray[np.uint8]:
        """The window whose top-left pixel is (x0, y0), (height, width) or (height, width, channels)."""


def resampled(
    source: Readable, ground: GroundPlane, ground_from_target: Affine, size_wh: tuple[int, int]
) -> NDArray[np.uint8]:
    """The picture as seen from above, bilinear: (height, width) or (height, width, channels), 0 where it shows nothing.

    Args:
        source: the picture as taken.
        ground: its ground plane.
        ground_from_target: ground metres of the corners of the wanted pixels.
        size_wh: of the wanted picture.
    """
    width, height = size_wh
    result = np.zeros((height, width, *source.read(0, 0, 1, 1).shape[2:]), np.uint8)
    for top in range(0, height, BLOCK_PX):
        for left in range(0, width, BLOCK_PX):
            box = (left, top, min(left + BLOCK_PX, width), min(top + BLOCK_PX, height))
            _fill(result, box, source, ground, ground_from_target)
    return result


def ground_of_target(ground_from_target: Affine, box: Box) -> FloatArray:
    """(N, 2) ground metres of the centres of the pixels in a box (left, top, right, bottom), row by row."""
    left, top, right, bottom = box
    x, y = np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5)
    return applied(ground_from_target, np.column_stack([x.ravel(), y.ravel()]))


def applied(affine: Affine, xy: FloatArray) -> FloatArray:
    """(N, 2) points under a transform."""
    a, b, c, d, e, f = (float(number) for number in tuple(affine)[:6])
    return np.column_stack([a * xy[:, 0] + b * xy[:, 1] + c, d * xy[:, 0] + e * xy[:, 1] + f])


def placed(frame: Frame, to_ground: Affine) -> Affine:
    """The same transform on to output coordinates, as `Placement.to_output_xy` does it."""
    angle = np.deg2rad(frame.placement.azimuth_deg)
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    x0, y0 = frame.placement.origin_xy
    return composed(Affine(cosine, sine, x0, -sine, cosine, y0), to_ground)


def composed(second: Affine, first: Affine) -> Affine:
    """First `first`, then `second`. (Which operator does it depends on the version of the affine package.)"""
    a, b = (np.array(affine, np.float64).reshape(3, 3) for affine in (second, first))
    product = a @ b
    return Affine(*product[0].tolist(), *product[1].tolist())


def _fill(
    result: NDArray[np.uint8], box: Box, source: Readable, ground: GroundPlane, ground_from_target: Affine
) -> None:
    left, top, right, bottom = box
    xy_px = ground.to_pixel_xy(ground_of_target(ground_from_target, box))
    size = np.array(source.size_wh_px)
    with np.errstate(invalid="ignore"):
        inside = ((xy_px >= 0) & (xy_px <= size)).all(axis=1)
    if not inside.any():
        return
    low = np.maximum(np.floor(xy_px[inside].min(axis=0)).astype(int) - MARGIN_PX, 0)
    high = np.minimum(np.ceil(xy_px[inside].max(axis=0)).astype(int) + MARGIN_PX, size)
    if (high - low).max() > MOST_SIDE_PX and right - left + bottom - top > 2:
        x, y = (left + right) // 2, (top + bottom) // 2
        for part in ((left, top, x, y), (x, top, right, y), (left, y, x, bottom), (x, y, right, bottom)):
            if part[0] < part[2] and part[1] < part[3]:
                _fill(result, part, source, ground, ground_from_target)
        return
    seen = source.read(int(low[0]), int(low[1]), *(int(side) for side in high - low))
    places = centre_from_corner_xy(xy_px - low)
    places[~inside] = _NOWHERE_PX
    shape = (bottom - top, right - left)
    maps: Any = places.astype(np.float32).reshape(*shape, 2)
    picture = np.asarray(cv2.remap(seen, maps, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)
    picture[~inside.reshape(shape)] = 0
    result[top:bottom, left:right] = picture
