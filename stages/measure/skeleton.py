"""From probabilities to a skeleton: the pixels of the thin lines, and how far the crack's edge is from each."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

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
    mask = _cleaned(mask, settings.min_length_px, settings.fill_holes_px)
    distance = _distance_inside(mask)
    core = distance > settings.max_width_px / 2
    if core.any():
        mask = _without_core(mask, core, settings.max_width_px)
        mask = _cleaned(mask, settings.min_length_px, 0)
        distance = _distance_inside(mask)
    return Skeleton(_thin_pixels(mask), distance)


def thin(mask: BoolArray) -> BoolArray:
    """The one-pixel-wide lines of a mask (height, width)."""
    result = np.zeros(mask.shape, bool)
    rows, columns = _thin_pixels(mask).T
    result[rows, columns] = True
    return result


def _thin_pixels(mask: BoolArray) -> NDArray[np.int64]:
    """(N, 2) row and column of the pixels of the one-pixel-wide lines of a mask, in row-major order.

    The parallel method of Guo and Hall (Comm. ACM 32, 1989, algorithm A1), which keeps diagonal lines of 1-2 px that
    Zhang and Suen's loses. Each pixel holds its neighbours as the bits of one number, kept up to date as pixels go,
    and only pixels beside a change are looked at again: time follows the crack's area and not the window's.
    """
    height, width = mask.shape
    padded = np.zeros((height + 2, width + 2), np.uint8)
    padded[1:-1, 1:-1] = mask
    there = padded.ravel()
    steps = np.array([row * (width + 2) + column for row, column in _AROUND], np.int64)
    crack = np.flatnonzero(there)
    pixels = crack
    neighbours = np.zeros(len(there), np.uint8)
    for bit, step in enumerate(steps):
        neighbours[pixels] |= there[pixels + step] << bit
    listed = np.empty(len(there), np.int32)
    half, changed_before = 0, pixels
    while len(pixels):
        gone = pixels[_GOES[half][neighbours[pixels]] & (there[pixels] > 0)]
        # A pixel is listed once for each change beside it, and must not go twice.
        listed[gone] = np.arange(len(gone))
        gone = gone[listed[gone] == np.arange(len(gone))]
        there[gone] = 0
        for bit, step in enumerate(steps):
            # A pixel is its neighbour's neighbour on the opposite side: four bits on.
            neighbours[gone + step] &= 255 - (1 << (bit + 4) % 8)
        changed = (gone[:, None] + steps).ravel()
        # A pixel can go only if something beside it went since its last look, that is in the last two half-steps.
        pixels = np.concatenate([changed, changed_before])
        changed_before, half = changed, 1 - half
    row, column = np.divmod(crack[there[crack] > 0], width + 2)
    return np.column_stack([row - 1, column - 1])


def _tables() -> tuple[BoolArray, BoolArray]:
    """(256,) for each half-step: whether a pixel goes whose neighbours are set as the bits of the index say."""
    tables = np.zeros((2, 256), bool)
    for code in range(256):
        n, ne, e, se, s, sw, w, nw = (bool(code >> bit & 1) for bit in range(8))
        crossings = (not n and (ne or e)) + (not e and (se or s)) + (not s and (sw or w)) + (not w and (nw or n))
        pairs = min((nw or n) + (ne or e) + (se or s) + (sw or w), (n or ne) + (e or se) + (s or sw) + (w or nw))
        removable = crossings == 1 and 2 <= pairs <= 3
        tables[0, code] = removable and not ((s or sw or not nw) and w)
        tables[1, code] = removable and not ((n or ne or not se) and e)
    return tables[0], tables[1]


_AROUND = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
"""Row and column steps to the neighbours of a pixel, clockwise from the north: one bit each."""

_GOES = _tables()


def _distance_inside(mask: BoolArray) -> NDArray[np.float32]:
    # A rim of zeros: without any background pixel OpenCV's distances would be without bound.
    padded = np.pad(mask.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]
    return np.asarray(distance, np.float32)


def _cleaned(mask: BoolArray, min_length_px: float, fill_holes_px: int) -> BoolArray:
    """The mask without components smaller than `min_length_px` across, and with small holes filled.

    Contours, unlike labels, cost next to nothing where the window is empty.
    """
    clean = mask.astype(np.uint8)
    contours, levels = cv2.findContours(clean, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    for contour, (_, _, _, outer) in zip(contours, levels[0] if len(contours) else (), strict=True):
        x, y, width, height = cv2.boundingRect(contour)
        part = clean[y : y + height, x : x + width]
        if outer >= 0:
            # The contour of a hole runs on the pixels around it.
            if min(width - 2, height - 2) <= fill_holes_px:
                _fill_hole(part, contour - (x, y), fill_holes_px)
        elif np.hypot(width, height) < min_length_px:
            cv2.drawContours(part, [contour - (x, y)], -1, 0, cv2.FILLED)
    return clean.astype(bool)


def _fill_hole(part: NDArray[np.uint8], contour: NDArray[np.int32], fill_holes_px: int) -> None:
    inside = np.zeros_like(part)
    cv2.drawContours(inside, [contour], -1, 1, cv2.FILLED)
    if np.count_nonzero(inside > part) <= fill_holes_px:
        part |= inside


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
