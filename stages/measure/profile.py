"""Probabilities between pixels: sampled anywhere, integrated across and along a line."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.frames import centre_from_corner_xy
from crackmap.stages.measure.sampling import sampled
from crackmap.stages.records import FloatArray

_STEP_PX = 0.5
"""Distance between samples. The sampled surface is bilinear, so a finer step changes widths by less than 0.01 px."""

_VALLEY_RISE = 0.1
"""A rise by this much after the probability fell below one half is the flank of a neighbouring crack."""

_SAMPLES_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class ProbabilityField:
    """A window of an image's crack probability, readable at any point.

    Attributes:
        padded: (height + 2, width + 2) uint8 probability * 255, with a rim: zero towards the inside of the image,
            the edge value repeated along the image's border, so that a crack is not thinner at the border.
        x0_px, y0_px: the window's top-left corner in the image.
        size_wh_px: width and height of the full image.
    """

    padded: NDArray[np.uint8]
    x0_px: int
    y0_px: int
    size_wh_px: tuple[int, int]

    @classmethod
    def from_window(
        cls, window: NDArray[np.uint8], *, x0_px: int, y0_px: int, size_wh_px: tuple[int, int]
    ) -> ProbabilityField:
        """The field of a window (height, width) that lies at (x0, y0) in its image."""
        padded = np.pad(window, 1)
        height, width = window.shape
        if y0_px == 0:
            padded[0] = padded[1]
        if y0_px + height == size_wh_px[1]:
            padded[-1] = padded[-2]
        if x0_px == 0:
            padded[:, 0] = padded[:, 1]
        if x0_px + width == size_wh_px[0]:
            padded[:, -1] = padded[:, -2]
        return cls(padded, x0_px, y0_px, size_wh_px)

    def at(self, xy_px: FloatArray) -> NDArray[np.float32]:
        """Bilinear probability, 0 to 1, at points (..., 2) in window pixels from the top-left corner."""
        # The rim is one pixel more on each side.
        places = (centre_from_corner_xy(xy_px) + 1.0).astype(np.float32)
        rows = places if places.ndim == 3 else places[:, None, :]
        x, y = np.ascontiguousarray(rows[..., 0]), np.ascontiguousarray(rows[..., 1])
        values = sampled(self.padded, x, y, cv2.INTER_LINEAR).reshape(places.shape[:-1])
        return np.asarray(values * np.float32(1 / 255.0), np.float32)

    def is_far_inside(self, xy_px: FloatArray, reach_px: float) -> bool:
        """Whether all points (N, 2) lie farther than `reach_px` from the image border."""
        low, high = xy_px.min(axis=0) + (self.x0_px, self.y0_px), xy_px.max(axis=0) + (self.x0_px, self.y0_px)
        return bool((low > reach_px).all() and (high < np.array(self.size_wh_px) - reach_px).all())

    def share_inside(self, xy_px: FloatArray, cell_px: float) -> NDArray[np.float32]:
        """Share, 0 to 1, of a cell around each point (..., 2) that lies in the image; half on its border."""
        x, y = xy_px[..., 0] + self.x0_px, xy_px[..., 1] + self.y0_px
        width, height = self.size_wh_px
        inwards = np.minimum(np.minimum(x, width - x), np.minimum(y, height - y))
        return np.asarray(np.clip(0.5 + inwards / cell_px, 0.0, 1.0), np.float32)


@dataclass(frozen=True, slots=True)
class CrossSections:
    """What lies across a line, one entry per point.

    Attributes:
        width_px: (N,) width of the crack; 0 where the point is not on one.
        offset_px: (N,) from the point to the middle of the crack, positive along the normal.
    """

    width_px: FloatArray
    offset_px: FloatArray


def cross_sections(
    field: ProbabilityField, xy_px: FloatArray, normal_xy: FloatArray, half_width_px: FloatArray, floor: float
) -> CrossSections:
    """Width and middle of the crack at each point, from the probability along the normal.

    The width is the integral of the probability, which is exact where the probability is the covered share of a
    pixel. From the highest value near the point it reaches to both sides, until the probability falls below
    `floor`, or rises again (a neighbouring crack), or 1.5 half-widths + 2.5 px are passed. The plateau of a crack
    wide enough to fill pixels counts as 1: there a lower value is the segmenter's doubt, not a thinner crack.

    Args:
        field: the probabilities.
        xy_px: (N, 2) points, window pixels.
        normal_xy: (N, 2) unit vectors across the line.
        half_width_px: (N,) rough half-width of the crack at the points.
        floor: probability at which the crack ends.
    """
    width, offset = np.zeros(len(xy_px)), np.zeros(len(xy_px))
    reach = np.maximum(np.ceil((1.5 * half_width_px + 2.5) / _STEP_PX), 1).astype(np.int64)
    # Points with about the same reach are taken together, so that one wide crack does not make all profiles long.
    bucket = 1 << np.ceil(np.log2(reach)).astype(np.int64)
    for size in np.unique(bucket):
        members = np.flatnonzero(bucket == size)
        for part in np.array_split(members, -(-len(members) * 2 * int(size) // _SAMPLES_AT_ONCE)):
            width[part], offset[part] = _sections(
                field, xy_px[part], normal_xy[part], half_width_px[part], reach[part], floor
            )
    return CrossSections(width, offset)


def _sections(
    field: ProbabilityField, xy: FloatArray, normal: FloatArray, half_width: FloatArray, reach: NDArray[np.int64],
    floor: float,
) -> tuple[FloatArray, FloatArray]:  # fmt: skip
    most = int(reach.max())
    steps = np.arange(-most, most + 1)
    places = xy[:, None, :] + (steps * _STEP_PX)[None, :, None] * normal[:, None, :]
    p = field.at(places)
    if not field.is_far_inside(xy, (most + 1) * _STEP_PX):
        p *= field.share_inside(places, _STEP_PX)
    p[np.abs(steps)[None, :] > reach[:, None]] = 0.0
    near = int(max(1.0, 0.5 * half_width.max()) / _STEP_PX)
    middle = p[:, most - near : most + near + 1].copy()
    middle[np.abs(np.arange(-near, near + 1))[None, :] * _STEP_PX > np.maximum(1.0, 0.5 * half_width)[:, None]] = -1.0
    start = most - near + np.argmax(middle, axis=1)
    kept = p * _reached(p, start, floor)
    total = kept.sum(axis=1, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        offset = np.where(total > 0, kept @ steps.astype(np.float32) / total, 0.0) * _STEP_PX
    plateau = kept.max(axis=1).astype(np.float64)
    # From 2.5 px (not yet filled) to 3.5 px (filled at every angle) width at half height.
    filled = np.clip((kept > np.float32(0.5) * plateau[:, None]).sum(axis=1) * _STEP_PX - 2.5, 0.0, 1.0)
    return total * _STEP_PX / np.where(plateau > 0, plateau, 1.0) ** filled, offset


def _reached(p: NDArray[np.float32], start: NDArray[np.int64], floor: float) -> NDArray[np.bool_]:
    """(N, S) the samples that belong to the crack at `start`."""
    right = _reached_rightwards(p, start, floor)
    left = _reached_rightwards(p[:, ::-1], p.shape[1] - 1 - start, floor)[:, ::-1]
    return np.asarray(right | left, bool)


def _reached_rightwards(p: NDArray[np.float32], start: NDArray[np.int64], floor: float) -> NDArray[np.bool_]:
    index = np.arange(p.shape[1])
    beyond = index[None, :] >= start[:, None]
    # Before the start the values are held above all others, so that falls and rises count from there.
    side = np.where(beyond, p, np.float32(2.0))
    lowest = np.minimum.accumulate(side, axis=1)
    stop = (side < floor) | ((side - lowest > _VALLEY_RISE) & (lowest < 0.5))
    before_stop = np.logical_not(np.logical_or.accumulate(stop, axis=1))
    # Where a neighbour rises, the crack ends in the valley between the two.
    first_stop = np.argmax(stop, axis=1)[:, None]
    rises = np.take_along_axis(side, first_stop, axis=1) >= floor
    rises &= np.asarray(stop.any(axis=1))[:, None]
    valley = np.argmin(np.where(before_stop, side, np.float32(3.0)), axis=1)[:, None]
    return np.asarray(beyond & before_stop & (~rises | (index[None, :] <= valley)), bool)


def reach_along(
    field: ProbabilityField, xy_px: FloatArray, direction_xy: FloatArray, farthest_px: FloatArray
) -> FloatArray:
    """(N,) how far a crack goes on from each point in a direction, pixels: to half the point's own probability.

    Args:
        field: the probabilities.
        xy_px: (N, 2) points inside cracks, window pixels.
        direction_xy: (N, 2) unit vectors.
        farthest_px: (N,) the most that is returned.
    """
    if len(xy_px) == 0:
        return np.empty(0)
    steps = np.arange(int(np.ceil(farthest_px.max() / _STEP_PX)) + 2)
    places = xy_px[:, None, :] + (steps * _STEP_PX)[None, :, None] * direction_xy[:, None, :]
    p = (field.at(places) * field.share_inside(places, _STEP_PX)).astype(np.float64)
    level = np.clip(0.5 * p[:, :1], 0.02, 0.5)
    outside = p < level
    outside[:, -1] = True
    first = np.maximum(np.argmax(outside, axis=1), 1)
    rows = np.arange(len(p))
    before, after = p[rows, first - 1], p[rows, first]
    fall = np.maximum(before - after, 1e-9)
    share = np.clip((before - level[:, 0]) / fall, 0.0, 1.0)
    return np.asarray(np.minimum((first - 1 + share) * _STEP_PX, farthest_px), float)
