"""The patches that are screened, and what they leave of the detector's tiles."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crackmap.stages.tiling import Window


def even_patches(size_wh_px: tuple[int, int], *, patch_px: int) -> list[Window]:
    """Patches of `patch_px` a side that cover the image, rows first, as few as do; smaller in images smaller than it.

    They keep their size, unlike the tiles of the detector: a classifier was trained at one scale.
    """

    def starts(length: int) -> list[int]:
        count = math.ceil(length / patch_px)
        return [round(i * (length - patch_px) / (count - 1)) for i in range(count)] if count > 1 else [0]

    width, height = size_wh_px
    side_wh = min(patch_px, width), min(patch_px, height)
    return [Window(x, y, *side_wh) for y in starts(height) for x in starts(width)]


def windows_to_detect(
    tiles: Sequence[Window], patches: Sequence[Window], cracked: NDArray[np.bool_], *, margin_px: int
) -> list[Window]:
    """What is left of the detector's tiles: each cut down to the cracked patches in it, grown by `margin_px`.

    Args:
        tiles: what the detector would look at.
        patches: the patches of the image.
        cracked: (N,) which of them may hold a crack.
        margin_px: road to show around them.

    Returns:
        Windows inside the tiles, in their order; none for a tile without a cracked patch.
    """
    boxes = np.array([(p.x0, p.y0, p.x1, p.y1) for p in patches], np.int64).reshape(-1, 4)[cracked]
    left = []
    for tile in tiles:
        low, high = np.maximum(boxes[:, :2], (tile.x0, tile.y0)), np.minimum(boxes[:, 2:], (tile.x1, tile.y1))
        touches = (low < high).all(axis=1)
        if not touches.any():
            continue
        x0, y0 = np.maximum(low[touches].min(axis=0) - margin_px, (tile.x0, tile.y0)).tolist()
        x1, y1 = np.minimum(high[touches].max(axis=0) + margin_px, (tile.x1, tile.y1)).tolist()
        left.append(Window(x0, y0, x1 - x0, y1 - y0))
    return left
