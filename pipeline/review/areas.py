"""Cracks as areas of an image: outlines that a person can edit, the pixels in them, and back.

Coordinates count from the top-left corner of the top-left pixel, and a pixel belongs to an area if its centre lies
inside, as everywhere labels are read (docs/datasets.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import rasterio.features
import shapely
from numpy.typing import NDArray

from crackmap.stages.datasets.drawn import filled
from crackmap.stages.datasets.labels import SEALED, Mask
from crackmap.stages.datasets.meanings import CRACK
from crackmap.stages.records import Crack, FloatArray
from crackmap.stages.render.stroke import edges, quads

JOINT = "joint"

CLASSES = (CRACK, SEALED, JOINT)
"""What an area may be, by its meaning."""

MASK_VALUES = {CRACK: 255, SEALED: 170, JOINT: 85}
"""Grey values of the classes in masks."""

LEAST_WIDTH_PX = 3.0
"""Outlines are drawn at least this wide, as lines of Labelme are read: from one pixel on the pixels in them hang
together, and a hand can grip them. Widths are read in the picture all the same."""

SIMPLIFIED_PX = 0.3
"""Outlines keep to the edges of a crack within this: some vertices to move instead of hundreds."""

DIGITS = 2
"""Decimals of outlines in files, as CVAT writes them."""

_LEAST_AREA_PX2 = 0.5
"""Splinters of an outline that is cut at the edge of the picture are left out."""


@dataclass(frozen=True, slots=True)
class Area:
    """One outlined thing.

    Attributes:
        meaning: one of CLASSES.
        rings: (N, 2) outlines in pixels, which close themselves; of those inside another one each is a hole.
    """

    meaning: str
    rings: tuple[FloatArray, ...]


def meaning_of(crack: Crack) -> str:
    """What a measured line is."""
    return SEALED if crack.sealed else JOINT if crack.joint else CRACK


def areas_of_cracks(cracks: Sequence[Crack], size_wh_px: tuple[int, int]) -> tuple[Area, ...]:
    """The outline of each measured line: its width at every vertex about its middle, cut off at the picture's edge."""
    return tuple(
        Area(meaning_of(crack), rings)
        for crack in cracks
        for rings in _outlines(crack.centreline_xy_px, crack.width_px, size_wh_px)
    )


def _outlines(xy_px: FloatArray, width_px: FloatArray, size_wh_px: tuple[int, int]) -> list[tuple[FloatArray, ...]]:
    # One polygon around a bent stroke crosses itself; its pieces from vertex to vertex, put together, do not.
    pieces = shapely.convex_hull(shapely.multipoints(quads(*edges(xy_px, np.maximum(width_px, LEAST_WIDTH_PX)))))
    stroke = shapely.simplify(shapely.union_all(pieces), SIMPLIFIED_PX)
    inside = shapely.intersection(stroke, shapely.box(0, 0, *size_wh_px))
    parts = [part for part in shapely.get_parts(inside) if part.geom_type == "Polygon" and part.area > _LEAST_AREA_PX2]
    return [tuple(_ring(ring) for ring in (part.exterior, *part.interiors)) for part in parts]


def _ring(ring: shapely.LinearRing) -> FloatArray:
    return np.asarray(ring.coords, np.float64)[:-1].round(DIGITS)


def one_ring(area: Area) -> FloatArray:
    """(N, 2) the outline of an area as one ring, for formats that know no holes.

    Holes hang on it by a slit of no width, walked along twice: pixels in an odd number of turns are the same.
    """
    path = area.rings[0]
    for hole in area.rings[1:]:
        apart = np.hypot(*(path[:, None] - hole[None]).transpose(2, 0, 1))
        here, there = np.unravel_index(int(np.argmin(apart)), apart.shape)
        turned = np.roll(hole, -int(there), axis=0)
        path = np.concatenate([path[: here + 1], turned, turned[:1], path[here:]])
    return path


def mask_of_areas(areas: Sequence[Area], meaning: str, size_wh_px: tuple[int, int]) -> Mask:
    """(height, width) the pixels of all areas of one meaning."""
    mask = np.zeros((size_wh_px[1], size_wh_px[0]), bool)
    for area in areas:
        if area.meaning == meaning:
            x0, y0, window = pixels_of(area, size_wh_px)
            mask[y0 : y0 + window.shape[0], x0 : x0 + window.shape[1]] |= window
    return mask


def pixels_of(area: Area, size_wh_px: tuple[int, int]) -> tuple[int, int, Mask]:
    """The window (x0, y0, mask) of the image that holds all pixels of one area; empty where it has none."""
    points = np.concatenate(area.rings)
    low = np.clip(np.floor(points.min(axis=0)), 0, size_wh_px).astype(int)
    high = np.clip(np.ceil(points.max(axis=0)), low, size_wh_px).astype(int)
    width, height = (high - low).tolist()
    return int(low[0]), int(low[1]), filled([ring - low for ring in area.rings], (height, width))


def areas_of_mask(mask: Mask, meaning: str) -> tuple[Area, ...]:
    """Outlines along the edges of the pixels of a (height, width) mask, one area for each group that hangs together."""
    values = mask.astype(np.uint8)
    shapes = rasterio.features.shapes(values, mask=mask, connectivity=8)
    return tuple(
        Area(meaning, tuple(np.array(ring, np.float64)[:-1] for ring in shape["coordinates"])) for shape, _ in shapes
    )


def mask_image(areas: Sequence[Area], size_wh_px: tuple[int, int]) -> NDArray[np.uint8]:
    """(height, width) 0 for road, else the value of the class; where classes overlap the first of CLASSES counts."""
    image = np.zeros((size_wh_px[1], size_wh_px[0]), np.uint8)
    for meaning in reversed(CLASSES):
        image[mask_of_areas(areas, meaning, size_wh_px)] = MASK_VALUES[meaning]
    return image
