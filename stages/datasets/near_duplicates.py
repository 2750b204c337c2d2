"""Finds one photograph twice: saved again, resized, brightened, or moved by a little.

Two steps. Pictures of FIRST_PX are compared with all others at every small shift, which leaves few candidates. Those
are laid over each other at THUMBNAIL_PX, and all of their blocks but the worst must agree. Pictures that one camera
took of different road share its bonnet, lane lines and perspective, so that a figure for the whole picture comes close
to that of a copy; but nowhere do all their blocks agree.

The limits come from the public sets. Copies as JPEG of quality 40, at half size or brighter reach 0.9 and more, nearly
all copies moved by up to 9 % of the side 0.66 and more. Different places reach at most 0.34, neighbouring frames of one
drive included. Copies cut out or enlarged are not found: their blocks do not lie over each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
FloatImage = NDArray[np.float32]

THUMBNAIL_PX = 128
"""Side of the pictures that are laid over each other."""

SAME = 0.6
"""From this correlation of all blocks but the worst on, two pictures are one photograph."""

FIRST_PX, FIRST_SHIFT_PX, FIRST_SAME = 32, 3, 0.5
"""Side, greatest shift either way, and least correlation of the first comparison."""

CANDIDATES = 5
"""Of the pictures that pass it, so many of the most alike are looked at closely: a drive has thousands that pass."""

_BLOCKS = 4
_BLUR_PX = 2.0
_ROWS = 512


def thumbnail(rgb: NDArray[np.uint8]) -> Grey:
    """(THUMBNAIL_PX, THUMBNAIL_PX) uint8 grey of a (height, width, 3) picture, squeezed to a square."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA), np.uint8)


def near_duplicates(left: Sequence[Grey], right: Sequence[Grey]) -> list[tuple[int, int]]:
    """Places of the pictures in `left` and `right`, as from `thumbnail`, that are one photograph; in order.

    The time of the first step grows with the product of both numbers (about a minute for 1,000 and 10,000), that of the
    second with the first number.
    """
    if not left or not right:
        return []
    inner = _unit(_insides(right, FIRST_SHIFT_PX))
    found = []
    for first in range(0, len(left), _ROWS):
        part = left[first : first + _ROWS]
        for row, scores in enumerate(_first_scores(part, inner)):
            alike = np.argsort(-scores, kind="stable")[:CANDIDATES]
            found += [
                (first + row, column)
                for column in sorted(alike[scores[alike] >= FIRST_SAME].tolist())
                if agreement(part[row], right[column]) >= SAME
            ]
    return found


def agreement(one: Grey, other: Grey) -> float:
    """Correlation of the second-worst of 4 x 4 blocks of two thumbnails, the second moved to where it fits best.

    1 for equal pictures, about 0 for different ones and for pictures without texture.
    """
    a, b = _texture(one), _texture(other)
    window = cv2.createHanningWindow((THUMBNAIL_PX, THUMBNAIL_PX), cv2.CV_32F)
    (x, y), _ = cv2.phaseCorrelate(a, b, window)
    lost = int(np.ceil(max(abs(x), abs(y)))) + 1
    if lost > THUMBNAIL_PX // 4:
        return 0.0
    move = np.array([[1, 0, x], [0, 1, y]], np.float32)
    b = np.asarray(cv2.warpAffine(b, move, b.shape, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP), np.float32)
    side = (THUMBNAIL_PX - 2 * lost) // _BLOCKS
    blocks = [
        np.stack([picture[top : top + side, start : start + side] for top in edges for start in edges])
        for picture in (a, b)
        for edges in [range(lost, lost + side * _BLOCKS, side)]
    ]
    return float(np.sort((_unit(blocks[0]) * _unit(blocks[1])).sum(axis=1))[1])


def _first_scores(left: Sequence[Grey], inner: FloatImage) -> FloatImage:
    """(len(left), len(inner)) best correlation over all shifts."""
    small = np.stack([_small(picture) for picture in left])
    side = FIRST_PX - 2 * FIRST_SHIFT_PX
    best = np.full((len(left), len(inner)), -1, np.float32)
    for y in range(2 * FIRST_SHIFT_PX + 1):
        for x in range(2 * FIRST_SHIFT_PX + 1):
            np.maximum(best, _unit(small[:, y : y + side, x : x + side]) @ inner.T, out=best)
    return best


def _insides(pictures: Sequence[Grey], margin_px: int) -> FloatImage:
    return np.stack([_small(picture)[margin_px:-margin_px, margin_px:-margin_px] for picture in pictures])


def _small(picture: Grey) -> FloatImage:
    """The texture of a picture at FIRST_PX; what stands out far, such as paint, is cut down to two deviations."""
    texture = _texture(np.asarray(cv2.resize(picture, (FIRST_PX, FIRST_PX), interpolation=cv2.INTER_AREA), np.uint8))
    limit = 2 * float(texture.std())
    return np.clip(texture, -limit, limit)


def _texture(picture: Grey) -> FloatImage:
    values = picture.astype(np.float32)
    return np.asarray(values - cv2.GaussianBlur(values, (0, 0), _BLUR_PX), np.float32)


def _unit(pictures: FloatImage) -> FloatImage:
    """(N, pixels) vectors of mean 0 and length 1; of length 0 where a picture has no texture."""
    flat = pictures.reshape(len(pictures), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    length = np.sqrt((flat**2).sum(axis=1, keepdims=True))
    return np.asarray(flat / np.maximum(length, 1e-3), np.float32)
