"""Pictures of a frame resampled onto the road: masks and strips are cut from the road plane by the same code."""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from rasterio.transform import Affine

from crackmap.calibration.plane import GroundPlane
from crackmap.pipeline.records import Frame
from crackmap.stages.records import FloatArray

BLOCK_PX = 512
"""Side of a block resampled at once: the coordinates of a pixel take 40 bytes on the way."""

MOST_SIDE_PX = 30_000
"""cv2.remap addresses pixels with 16 bits."""

MARGIN_PX = 2

CENTRE_PX = 0.5
"""The centre of a pixel from its corner: OpenCV counts from centres."""

NODE_PX = 4
"""Of so many pixels one is projected. What lies between is taken as linear: perspective and lens bend by hundredths of
a pixel over so short a way."""

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


def places_px(ground: GroundPlane, ground_from_target: Affine, box: Box) -> tuple[FloatArray, FloatArray]:
    """(height, width) x and y in the picture of the pixels in a box (left, top, right, bottom)."""
    return _all_places(_nodes_px(box, ground, ground_from_target), box)


def in_picture(x_px: FloatArray, y_px: FloatArray, size_wh_px: tuple[int, int]) -> NDArray[np.bool_]:
    """Whether places lie in a picture; NaN does not."""
    with np.errstate(invalid="ignore"):
        found = (x_px >= 0) & (x_px <= size_wh_px[0]) & (y_px >= 0) & (y_px <= size_wh_px[1])
    return np.asarray(found, bool)


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
    nodes = _nodes_px(box, ground, ground_from_target)
    size = np.array(source.size_wh_px)
    # Between nodes places are linear, so no pixel of the box lies beyond them.
    reach = nodes[np.isfinite(nodes).all(axis=2)]
    if not len(reach) or (reach.max(axis=0) < 0).any() or (reach.min(axis=0) > size).any():
        return
    low = np.clip(np.floor(reach.min(axis=0)).astype(int) - MARGIN_PX, 0, size - 1)
    high = np.clip(np.ceil(reach.max(axis=0)).astype(int) + MARGIN_PX, low + 1, size)
    if (high - low).max() > MOST_SIDE_PX and right - left + bottom - top > 2:
        x, y = (left + right) // 2, (top + bottom) // 2
        for part in ((left, top, x, y), (x, top, right, y), (left, y, x, bottom), (x, y, right, bottom)):
            if part[0] < part[2] and part[1] < part[3]:
                _fill(result, part, source, ground, ground_from_target)
        return
    seen = source.read(int(low[0]), int(low[1]), *(int(side) for side in high - low))
    if not seen.any():
        return
    x_px, y_px = _all_places(nodes, box)
    inside = in_picture(x_px, y_px, source.size_wh_px)
    columns: Any = np.where(inside, x_px - low[0] - CENTRE_PX, _NOWHERE_PX).astype(np.float32)
    rows: Any = np.where(inside, y_px - low[1] - CENTRE_PX, _NOWHERE_PX).astype(np.float32)
    picture = np.asarray(cv2.remap(seen, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)
    picture[~inside] = 0
    result[top:bottom, left:right] = picture


def _nodes_px(box: Box, ground: GroundPlane, ground_from_target: Affine) -> FloatArray:
    """(rows, columns, 2) where every NODE_PX-th pixel of a box lies in the picture, and the next one beyond the box.

    NaN behind the camera.
    """
    left, top, right, bottom = box
    x, y = (np.arange(start, stop + NODE_PX, NODE_PX) + 0.5 for start, stop in ((left, right), (top, bottom)))
    xy = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    return ground.to_pixel_xy(applied(ground_from_target, xy)).reshape(len(y), len(x), 2)


def _all_places(nodes: FloatArray, box: Box) -> tuple[FloatArray, FloatArray]:
    """(height, width) x and y of all pixels of a box from those of its nodes."""
    left, top, right, bottom = box
    x_px, y_px = (_between(_between(nodes[..., axis], bottom - top).T, right - left).T for axis in (0, 1))
    return x_px, y_px


def _between(nodes: FloatArray, count: int) -> FloatArray:
    """The first `count` rows, of which every NODE_PX-th is given."""
    share = (np.arange(NODE_PX) / NODE_PX)[None, :, None]
    rows = nodes[:-1, None] * (1 - share) + nodes[1:, None] * share
    return np.asarray(rows.reshape(-1, nodes.shape[1])[:count])
