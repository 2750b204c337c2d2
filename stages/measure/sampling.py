"""Images read between their pixels, at many places at once."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Sample = TypeVar("Sample", np.uint8, np.float32)

_MOST_ROWS = 30_000
_MOST_SIDE_PX = 32_000
"""cv2.remap addresses pixels, and its own output, with 16 bits."""


def sampled(
    image: NDArray[Sample], x: NDArray[np.float32], y: NDArray[np.float32], interpolation: int
) -> NDArray[Sample]:
    """Values (M, S) of an image (height, width) at places (M, S), counted from the centre of its first pixel.

    Outside the image its border goes on.

    Args:
        image: the image, of any size.
        x: of the places; those of a row lie close together, and rows that follow each other do, mostly.
        y: of the places.
        interpolation: one of OpenCV's.
    """
    result = np.empty(x.shape, image.dtype)
    if x.size == 0:
        return result
    waiting = [(0, len(x))]
    while waiting:
        first, last = waiting.pop()
        part = slice(first, last)
        if last - first <= _MOST_ROWS and max(image.shape) <= _MOST_SIDE_PX:
            result[part] = _remapped(image, x[part], y[part], interpolation)
            continue
        left, right = _around(x[part], image.shape[1])
        top, bottom = _around(y[part], image.shape[0])
        if last - first > 1 and (last - first > _MOST_ROWS or max(right - left, bottom - top) > _MOST_SIDE_PX):
            middle = (first + last) // 2
            waiting += [(first, middle), (middle, last)]
            continue
        crop = np.ascontiguousarray(image[top:bottom, left:right])
        result[part] = _remapped(crop, x[part] - np.float32(left), y[part] - np.float32(top), interpolation)
    return result


def _around(places: NDArray[np.float32], size: int) -> tuple[int, int]:
    """First pixel and the one after the last that an interpolation at these places needs, inside the image."""
    low = int(np.clip(np.floor(places.min()) - 3, 0, size - 1))
    return low, int(np.clip(np.ceil(places.max()) + 4, low + 1, size))


def _remapped(
    image: NDArray[Sample], x: NDArray[np.float32], y: NDArray[np.float32], interpolation: int
) -> NDArray[Sample]:
    return np.asarray(cv2.remap(image, x, y, interpolation, borderMode=cv2.BORDER_REPLICATE), image.dtype)
