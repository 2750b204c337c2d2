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

_NOWHERE_PX = np.float32(-1e4)

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


def places_px(
    ground: GroundPlane, ground_from_target: Affine, box: Box
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(height, width) x and y in the picture of the pixels in a box (left, top, right, bottom)."""
    return _all_places(_nodes_px(box, ground, ground_from_target), box)


def in_picture(x_px: NDArray[np.float32], y_px: NDArray[np.float32], size_wh_px: tuple[int, int]) -> NDArray[np.bool_]:
    """Whether places lie in a picture; NaN does not."""
    with np.errstate(invalid="ignore"):
        found = (x_px >= 0) & (x_px <= size_wh_px[0]) & (y_px >= 0) & (y_px <= size_wh_px[1])
    return np.asarray(found, bool)


def remapped(
    source: Readable, x_px: NDArray[np.float32], y_px: NDArray[np.float32], shown: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """The picture at the places (height, width) that are shown, bilinear; 0 at the others.

    Returns:
        (height, width) or (height, width, channels).
    """
    window = _window(x_px, y_px, shown, source.size_wh_px)
    if window is None:
        return np.zeros((*shown.shape, *source.read(0, 0, 1, 1).shape[2:]), np.uint8)
    if max(window[2:]) > MOST_SIDE_PX and max(shown.shape) > 1:
        axis = int(shown.shape[1] > shown.shape[0])
        halves = zip(*(np.array_split(values, 2, axis) for values in (x_px, y_px, shown)), strict=True)
        return np.concatenate([remapped(source, *half) for half in halves], axis)
    seen = source.read(*window)
    columns: Any = np.where(shown, x_px - np.float32(window[0] + CENTRE_PX), _NOWHERE_PX)
    rows: Any = np.where(shown, y_px - np.float32(window[1] + CENTRE_PX), _NOWHERE_PX)
    picture = np.asarray(cv2.remap(seen, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)
    if not shown.all():
        picture[~shown] = 0
    return picture


def _window(
    x_px: NDArray[np.float32], y_px: NDArray[np.float32], counted: NDArray[np.bool_], size_wh_px: tuple[int, int]
) -> tuple[int, int, int, int] | None:
    """Left, top, width and height of what is needed of a picture for the places that count; None if all lie beside
    it.
    """
    mask = counted.view(np.uint8)
    if not cv2.countNonZero(mask):
        return None
    starts, lengths = [], []
    for places, side in zip((x_px, y_px), size_wh_px, strict=True):
        least, most, _, _ = cv2.minMaxLoc(places, mask)
        if most < 0 or least > side:
            return None
        starts.append(min(max(int(least) - MARGIN_PX, 0), side - 1))
        lengths.append(min(max(int(most) + 1 + MARGIN_PX, starts[-1] + 1), side) - starts[-1])
    return starts[0], starts[1], lengths[0], lengths[1]


def is_empty(pixels: NDArray[np.uint8]) -> bool:
    """Whether all are 0."""
    return not cv2.countNonZero(pixels.reshape(len(pixels), -1))


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
    # Between nodes places are linear, so no pixel of the box lies beyond them.
    seen = np.isfinite(nodes[0]) & np.isfinite(nodes[1])
    window = _window(*nodes, seen, source.size_wh_px)
    if window is None or (max(window[2:]) <= MOST_SIDE_PX and is_empty(source.read(*window))):
        return
    x_px, y_px = _all_places(nodes, box)
    result[top:bottom, left:right] = remapped(source, x_px, y_px, in_picture(x_px, y_px, source.size_wh_px))


def _nodes_px(
    box: Box, ground: GroundPlane, ground_from_target: Affine
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(rows, columns) x and y in the picture of points NODE_PX pixels apart, from one before the box to one beyond.

    NaN behind the camera.
    """
    left, top, right, bottom = box
    x, y = (_node_places(start, stop) for start, stop in ((left, right), (top, bottom)))
    xy = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    x_px, y_px = ground.to_pixel_xy(applied(ground_from_target, xy)).astype(np.float32).T
    return np.ascontiguousarray(x_px).reshape(len(y), len(x)), np.ascontiguousarray(y_px).reshape(len(y), len(x))


def _node_places(start: int, stop: int) -> FloatArray:
    """Where cv2.resize takes the values to lie that it enlarges by NODE_PX; the first pixel of the box is the result's
    number NODE_PX.
    """
    count = -(-(stop - start + NODE_PX) // NODE_PX) + 1
    return start - NODE_PX / 2 + NODE_PX * np.arange(count, dtype=np.float64)


def _all_places(
    nodes: tuple[NDArray[np.float32], NDArray[np.float32]], box: Box
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(height, width) x and y of all pixels of a box from those of its nodes."""
    left, top, right, bottom = box
    size = (nodes[0].shape[1] * NODE_PX, nodes[0].shape[0] * NODE_PX)
    rows, columns = slice(NODE_PX, NODE_PX + bottom - top), slice(NODE_PX, NODE_PX + right - left)
    x_px, y_px = (cv2.resize(places, size, interpolation=cv2.INTER_LINEAR)[rows, columns] for places in nodes)
    return np.asarray(x_px, np.float32), np.asarray(y_px, np.float32)
