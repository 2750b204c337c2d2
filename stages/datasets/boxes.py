"""Boxes for the detector, derived from pixel masks.

One box around a whole crack would be mostly empty, and box scores punish a crack for being long. A crack is
therefore cut into boxes that hug it: halved along the longer side until none is longer than `longest_px`.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

BoxArray = NDArray[np.float32]


def boxes_from_mask(crack: NDArray[np.bool_], *, longest_px: int = 64, smallest_px: int = 24) -> BoxArray:
    """(N, 4) boxes x0, y0, x1, y1 (right and bottom exclusive) that together hold every crack pixel.

    Args:
        crack: (height, width) mask.
        longest_px: no box is longer than this before growing.
        smallest_px: boxes thinner than this are grown around their middle, within the image.
    """
    # Dotted labels (a crack drawn as a row of blobs) are one object, hence the closing.
    closed = cv2.morphologyEx(crack.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    boxes: list[tuple[int, int, int, int]] = []
    for label in range(1, count):
        x, y, width, height = stats[label, :4]
        inside = (labels[y : y + height, x : x + width] == label) & crack[y : y + height, x : x + width]
        boxes += [(x + a, y + b, x + c, y + d) for a, b, c, d in _halve(inside, longest_px)]
    return _grow(np.array(boxes, np.float32).reshape(-1, 4), smallest_px, crack.shape)


def _halve(mask: NDArray[np.bool_], longest_px: int) -> list[tuple[int, int, int, int]]:
    """Tight boxes of the mask's pixels, none longer than `longest_px`."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return []
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    if max(y1 - y0, x1 - x0) <= longest_px:
        return [(x0, y0, x1, y1)]
    if y1 - y0 >= x1 - x0:
        parts = [(x0, y0, mask[y0 : (y0 + y1) // 2, x0:x1]), (x0, (y0 + y1) // 2, mask[(y0 + y1) // 2 : y1, x0:x1])]
    else:
        parts = [(x0, y0, mask[y0:y1, x0 : (x0 + x1) // 2]), ((x0 + x1) // 2, y0, mask[y0:y1, (x0 + x1) // 2 : x1])]
    return [(x + a, y + b, x + c, y + d) for x, y, part in parts for a, b, c, d in _halve(part, longest_px)]


def _grow(boxes: BoxArray, smallest_px: int, shape_hw: tuple[int, ...]) -> BoxArray:
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = np.maximum(boxes[:, 2:] - boxes[:, :2], smallest_px) / 2
    grown = np.hstack([centre - half, centre + half])
    limit = np.array([shape_hw[1], shape_hw[0]] * 2)
    return np.asarray(np.clip(grown, 0, limit), np.float32)
