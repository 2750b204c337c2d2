"""From probabilities to a skeleton: the pixels of the thin lines, and how far the crack's edge is from each."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.morphology import skeletonize

from crackmap.stages.measure.settings import MeasureSettings
from crackmap.stages.records import FloatArray

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Thin lines of a mask.

    Attributes:
        pixels_rc: (N, 2) row and column of the skeleton's pixels, in row-major order.
        half_width_px: (height, width) float32 distance of each mask pixel's centre to the nearest pixel outside the
            mask: about half the crack's width plus 0.5 on a centreline, 0 outside.
    """

    pixels_rc: NDArray[np.int64]
    half_width_px: NDArray[np.float32]


def skeleton_of(window: NDArray[np.uint8], settings: MeasureSettings) -> Skeleton:
    """The skeleton of one window (height, width) of probability * 255."""
    mask = window >= int(np.ceil(settings.threshold * 255.0 - 1e-9))
    mask = _without_small(_without_holes(mask, settings.fill_holes_px), settings.min_length_px)
    distance = _distance_inside(mask)
    core = distance > settings.max_width_px / 2
    if core.any():
        mask = _without_core(mask, core, settings.max_width_px)
        mask = _without_small(mask, settings.min_length_px)
        distance = _distance_inside(mask)
    return Skeleton(np.argwhere(thin(mask)).astype(np.int64), distance)


def thin(mask: BoolArray) -> BoolArray:
    """The one-pixel-wide lines of a mask. Lee's method: Zhang's loses diagonal lines of 1-2 px altogether."""
    return np.asarray(skeletonize(mask, method="lee"), bool) if mask.any() else mask


def _distance_inside(mask: BoolArray) -> NDArray[np.float32]:
    # A rim of zeros: without any background pixel OpenCV's distances would be without bound.
    padded = np.pad(mask.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]
    return np.asarray(distance, np.float32)


def _without_small(mask: BoolArray, min_length_px: float) -> BoolArray:
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    size = np.hypot(boxes[:, cv2.CC_STAT_WIDTH], boxes[:, cv2.CC_STAT_HEIGHT])
    keep = size >= min_length_px
    keep[0] = False
    if keep[1:].all():
        return mask
    return np.asarray(keep[labels], bool) if count > 1 else mask


def _without_holes(mask: BoolArray, fill_holes_px: int) -> BoolArray:
    _, labels, boxes, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    height, width = mask.shape
    right = boxes[:, cv2.CC_STAT_LEFT] + boxes[:, cv2.CC_STAT_WIDTH]
    bottom = boxes[:, cv2.CC_STAT_TOP] + boxes[:, cv2.CC_STAT_HEIGHT]
    # What touches the rim is open ground, not a hole.
    inside = (boxes[:, cv2.CC_STAT_LEFT] > 0) & (boxes[:, cv2.CC_STAT_TOP] > 0) & (right < width) & (bottom < height)
    fill = inside & (boxes[:, cv2.CC_STAT_AREA] <= fill_holes_px)
    fill[0] = False
    return np.asarray(mask | fill[labels], bool) if fill.any() else mask


def _without_core(mask: BoolArray, core: BoolArray, max_width_px: float) -> BoolArray:
    # The discs around the core make up the wide area except its corners; the corner of a square lies at
    # sqrt(2) radii from the last disc's centre, so 1.5 radii leave no slivers there.
    to_core = cv2.distanceTransform((~core).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.asarray(mask & (to_core > 1.5 * max_width_px / 2), bool)


def half_width_at(half_width_px: NDArray[np.float32], xy_px: FloatArray) -> FloatArray:
    """(N,) half-widths of the pixels in which the points (N, 2) lie, corner-based window coordinates."""
    height, width = half_width_px.shape
    column = np.clip(xy_px[:, 0].astype(np.int64), 0, width - 1)
    row = np.clip(xy_px[:, 1].astype(np.int64), 0, height - 1)
    return half_width_px[row, column].astype(np.float64)
