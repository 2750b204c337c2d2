"""The outline of a section: a ring around the strips of road that its frames see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

from crackmap.pipeline.coverage import Interval, Strip
from crackmap.pipeline.footprint import near_and_far_edge, visible_polygon_m
from crackmap.pipeline.records import Frame
from crackmap.stages.records import FloatArray


def section_outline(strips: Sequence[Strip], bounds: Interval) -> FloatArray:
    """(N, 2) ring around the strips of a section; its hull if that is not one piece, (0, 2) if nothing is seen."""
    rings: dict[str, shapely.Polygon] = {}
    for camera in sorted({strip.outcome.frame.camera for strip in strips}):
        ring = _ring([strip for strip in strips if strip.outcome.frame.camera == camera], bounds)
        if len(ring):
            rings[camera] = _valid(ring)
    if not rings:
        return np.empty((0, 2))
    polygon = shapely.union_all(list(rings.values())) if len(rings) > 1 else next(iter(rings.values()))
    if polygon.geom_type != "Polygon":
        polygon = shapely.convex_hull(polygon)
    simple = shapely.simplify(polygon, 1e-6) if polygon.geom_type == "Polygon" else shapely.Polygon()
    return np.asarray(shapely.get_coordinates(simple), np.float64)


def _ring(strips: Sequence[Strip], bounds: Interval) -> FloatArray:
    """(N, 2) up the left side of the strips of one camera and down their right."""
    left, right = [], []
    ordered = sorted(strips, key=lambda strip: strip.outcome.frame.chainage_scale * strip.chainage[0])
    for strip in ordered:
        quad = _cut_quad(strip.outcome.frame, bounds)
        if len(quad):
            left += [quad[0], quad[3]]
            right += [quad[1], quad[2]]
    return np.array(left + right[::-1]) if left else np.empty((0, 2))


def _valid(ring: FloatArray) -> shapely.Polygon:
    polygon = shapely.Polygon(ring)
    return polygon if polygon.is_valid else shapely.convex_hull(shapely.MultiPoint(ring))


def _cut_quad(frame: Frame, bounds: Interval) -> FloatArray:
    """(4, 2) near left, near right, far right, far left of a frame's road inside a section, output coordinates."""
    polygon = visible_polygon_m(frame)
    if not len(polygon):
        return polygon
    low, high = sorted((bound - frame.chainage_at(0.0)) / frame.chainage_scale for bound in bounds)
    points = np.concatenate([polygon, polygon[:1]])
    if polygon[:, 1].min() < low or polygon[:, 1].max() > high:
        points = shapely.get_coordinates(shapely.clip_by_rect(shapely.Polygon(polygon), -1e6, low, 1e6, high))
    if len(points) < 4:
        return np.empty((0, 2))
    return frame.placement.to_output_xy(near_and_far_edge(points))
