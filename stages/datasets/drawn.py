"""Labels drawn as outlines, run lengths and boxes, turned into pixels.

Coordinates count from the top-left corner of the top-left pixel (docs/frames.md), as Labelme and COCO have them.
A pixel belongs to an outline if its centre lies inside: OpenCV's and Pillow's fills add the pixels that the border
runs through, and would make every crack a pixel wider.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import require
from crackmap.stages.datasets.labels import Labels, Mask
from crackmap.stages.datasets.meanings import CRACK, IGNORE, NOTHING

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One labelled thing.

    Attributes:
        meaning: what it is.
        areas: each of them outlines (N, 2), of which those inside another one are holes.
        counts: run lengths of its mask by columns, first of pixels outside; None if it has none.
        counts_hw: rows and columns of that mask.
        box_xyxy_px: its box where that is all there is.
    """

    meaning: str
    areas: tuple[tuple[FloatArray, ...], ...] = ()
    counts: tuple[int, ...] | None = None
    counts_hw: tuple[int, int] | None = None
    box_xyxy_px: tuple[float, float, float, float] | None = None

    @property
    def has_pixels(self) -> bool:
        """Whether it says which pixels it covers."""
        return bool(self.areas) or self.counts is not None

    def mask(self, shape_hw: tuple[int, int]) -> Mask:
        """(height, width) its pixels; none for a box."""
        result = np.zeros(shape_hw, bool)
        for rings in self.areas:
            result |= filled(rings, shape_hw)
        if self.counts is not None:
            result |= decode_runs(self.counts, shape_hw)
        return result


def filled(rings: Sequence[FloatArray], shape_hw: tuple[int, int]) -> Mask:
    """(height, width) pixels whose centre lies inside an odd number of the rings, of which each closes itself."""
    height, width = shape_hw
    toggles = np.zeros((height, width + 1), np.int32)
    for ring in rings:
        starts, ends = np.asarray(ring, float), np.roll(ring, -1, axis=0)
        for (x0, y0), (x1, y1) in zip(starts.tolist(), ends.tolist(), strict=True):
            low, high = sorted((y0, y1))
            # Rows whose centre r + 0.5 lies in [low, high): shared corners then count once.
            first, beyond = np.clip(np.ceil(np.array([low, high]) - 0.5), 0, height).astype(int)
            if first == beyond:
                continue
            rows = np.arange(first, beyond)
            x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            # From here on, to the right, every pixel centre is on the other side.
            toggles[rows, np.clip(np.ceil(x - 0.5), 0, width).astype(int)] += 1
    return np.asarray(np.cumsum(toggles, axis=1)[:, :width] % 2 == 1)


def decode_runs(counts: Sequence[int], shape_hw: tuple[int, int]) -> Mask:
    """(height, width) mask of COCO's run lengths: column by column, pixels outside first, then inside, in turn.

    Raises:
        InputError: they do not add up to the size of the image.
    """
    height, width = shape_hw
    require(all(count >= 0 for count in counts), "run lengths", "0 or more each", min(counts, default=0))
    require(sum(counts) == height * width, "run lengths", f"a sum of {width} x {height} px", sum(counts))
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape((height, width), order="F")


def draw_labels(image: NDArray[np.uint8], things: Sequence[Drawn], *, others: Sequence[str], own_boxes: bool) -> Labels:
    """The labels of one image.

    A crack that is only a box leaves its pixels unknown: weight 0. So does the meaning "ignore". A joint or cover that
    is only a box is no crack, and that is all it says.

    Args:
        image: (height, width, 3) RGB.
        things: what is labelled in it.
        others: names, other than crack, of things that the set labels by pixels.
        own_boxes: whether the set has cracks that are only boxes; then every crack gives its box.
    """
    shape = (image.shape[0], image.shape[1])
    crack, unknown = np.zeros(shape, bool), np.zeros(shape, bool)
    masks: Mapping[str, Mask] = {name: np.zeros(shape, bool) for name in others}
    boxes: list[tuple[float, float, float, float]] = []
    for thing in things:
        if thing.meaning == NOTHING:
            continue
        pixels = thing.mask(shape)
        box = _inside(thing.box_xyxy_px, shape) if thing.box_xyxy_px is not None else _around(pixels)
        if thing.meaning in (CRACK, IGNORE):
            if thing.meaning == CRACK:
                crack |= pixels
            if box is not None and own_boxes:
                boxes.append(box)
            if thing.meaning == IGNORE:
                unknown |= pixels
            if not thing.has_pixels and box is not None:
                x0, y0, x1, y1 = (int(edge) for edge in (*np.floor(box[:2]), *np.ceil(box[2:])))
                unknown[y0:y1, x0:x1] = True
        elif thing.has_pixels:
            masks[thing.meaning][pixels] = True
    weight = (crack | ~unknown).astype(np.float32)
    own = np.array(boxes, np.float32).reshape(-1, 4) if own_boxes else None
    return Labels(image, crack, weight, masks, own)


def pixel_meanings(things: Sequence[Drawn]) -> list[str]:
    """Names, other than crack, of the things drawn by pixels, in order."""
    return sorted({thing.meaning for thing in things if thing.has_pixels} - {CRACK, IGNORE, NOTHING})


def has_own_boxes(things: Sequence[Drawn]) -> bool:
    """Whether a crack among the things is only a box."""
    return any(thing.meaning in (CRACK, IGNORE) and not thing.has_pixels for thing in things)


def _around(pixels: Mask) -> tuple[float, float, float, float] | None:
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if not len(rows):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _inside(
    box: tuple[float, float, float, float], shape_hw: tuple[int, int]
) -> tuple[float, float, float, float] | None:
    """The part of a box in the image; None if there is none."""
    x0, y0, x1, y1 = np.clip(box, 0, [shape_hw[1], shape_hw[0]] * 2).tolist()
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None
