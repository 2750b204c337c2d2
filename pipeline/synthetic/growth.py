"""What becomes of a road after its first pass: cracks grow at their tips and in width, and new ones open."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import shapely

from crackmap.pipeline.synthetic.cracks import APART_M, GOLDEN, System, fitting, named
from crackmap.pipeline.synthetic.settings import Camera, SyntheticSettings
from crackmap.pipeline.synthetic.truth import RoadTruth, TrueCrack
from crackmap.stages.polyline import arc_length, segment_lengths
from crackmap.stages.records import FloatArray
from crackmap.stages.render.shapes import fractal_line, turned

TIP_SPAN_M = 0.10
"""A tip goes on in the direction of this length before it."""

TAPER_SHARE = 0.15
"""The part of a crack's length before a tip that moves out with it, widths and all."""

TOUCH_M = 1e-4
"""An end this near to another crack of its group is a junction and no tip."""


def grown(truth: RoadTruth, settings: SyntheticSettings, camera: Camera) -> RoadTruth:
    """The road that all passes after the first drive over; `truth` itself where `settings` let nothing grow.

    Cracks keep their names and their vertices, to which others are added before the first and behind the last. New
    cracks come after all others. A tip that would run into another crack, or off the road, stays where it is.
    """
    if not settings.grows:
        return truth
    groups = list(dict.fromkeys(crack.group for crack in truth.cracks))
    rng = np.random.default_rng((settings.seed, 11))
    chosen = set(rng.permutation(groups)[: round(settings.grow_share * len(groups))].tolist())
    opened = _opened(truth, settings, camera, round(settings.grow_new_share * len(groups)))
    shapes = {crack.crack_id: shapely.LineString(crack.road_xy_m) for crack in (*truth.cracks, *opened.cracks)}
    tree = shapely.STRtree(list(shapes.values()))
    cracks = []
    for crack in truth.cracks:
        if crack.group in chosen:
            crack = _longer(rng, crack, settings.grow_length_percent, list(shapes.values()), tree, truth, camera)
            crack = _wider(crack, settings.grow_width_mm)
        cracks.append(crack)
    return replace(truth, cracks=(*cracks, *opened.cracks), networks=(*truth.networks, *opened.networks))


def _opened(truth: RoadTruth, settings: SyntheticSettings, camera: Camera, count: int) -> RoadTruth:
    """New systems, apart from all others, with names that follow those of `truth`."""
    rng = np.random.default_rng((settings.seed, 12))
    systems: dict[str, list[FloatArray]] = {}
    for crack in truth.cracks:
        systems.setdefault(crack.group, []).append(crack.road_xy_m)
    taken = [shapely.MultiLineString(lines) for lines in systems.values()]
    found: list[System] = []
    for index in range(count):
        width_px = settings.width_px[0] * (settings.width_px[1] / settings.width_px[0]) ** (index * GOLDEN % 1.0)
        middle_m = truth.length_m * (index + rng.uniform(0, 1)) / count
        near = [shape for shape in taken if shape.bounds[1] < middle_m + 8.0 and shape.bounds[3] > middle_m - 8.0]
        system = fitting(rng, str(rng.choice(settings.kinds)), width_px, middle_m, near, truth.length_m, camera)
        if system is not None:
            found.append(system)
            taken.append(system.geometry())
    first = (len(truth.cracks) + 1, len(systems) + 1)
    return named(found, truth.length_m, settings, rng=rng, first=first)


def _longer(
    rng: np.random.Generator, crack: TrueCrack, percent: float, shapes: list[shapely.LineString],
    tree: shapely.STRtree, truth: RoadTruth, camera: Camera,
) -> TrueCrack:  # fmt: skip
    line, width = crack.road_xy_m, crack.width_mm
    own = shapely.LineString(line)
    tips = [side for side in (0, -1) if _is_tip(line[side], own, shapes, tree)]
    for side in tips:
        reach = crack.length_m * percent / 100 / len(tips)
        outward = line if side else line[::-1]
        added = _extension(rng, outward, reach)
        if added is None or not _is_free(added, own, shapes, tree, truth, camera):
            continue
        forward = _drawn_out(outward, width if side else width[::-1], added)
        line, width = (forward[0], forward[1]) if side else (forward[0][::-1], forward[1][::-1])
    return replace(crack, road_xy_m=line, width_mm=width)


def _is_tip(
    point: FloatArray, own: shapely.LineString, shapes: list[shapely.LineString], tree: shapely.STRtree
) -> bool:
    touching = tree.query(shapely.Point(point), predicate="dwithin", distance=TOUCH_M)
    return all(shapely.equals(shapes[index], own) for index in touching.tolist())


def _extension(rng: np.random.Generator, line: FloatArray, reach_m: float) -> FloatArray | None:
    """(N, 2) vertices behind the last one of `line`; None where there is nothing to add."""
    spacing = float(np.median(segment_lengths(line)))
    if reach_m < 1e-3:
        return None
    along = arc_length(line)
    back = int(np.searchsorted(along, max(along[-1] - TIP_SPAN_M, 0.0), side="right")) - 1
    ahead = line[-1] - line[min(back, len(line) - 2)]
    course = fractal_line(rng, reach_m, spacing, roughness=0.07)
    # A jagged course is longer than its chord: what is asked for is the length along the crack.
    course *= reach_m / arc_length(course)[-1]
    return np.round(turned(course, float(np.arctan2(ahead[0], ahead[1])), line[-1])[1:], 5)


def _is_free(
    added: FloatArray, own: shapely.LineString, shapes: list[shapely.LineString], tree: shapely.STRtree,
    truth: RoadTruth, camera: Camera,
) -> bool:  # fmt: skip
    edge = camera.half_width_m
    if np.abs(added[:, 0]).max() > edge or added[:, 1].min() < 0.1 or added[:, 1].max() > truth.length_m - 0.1:
        return False
    shape = shapely.LineString(added) if len(added) > 1 else shapely.Point(added[0])
    near = tree.query(shape, predicate="dwithin", distance=APART_M / 2)
    return all(shapely.equals(shapes[index], own) for index in near.tolist())


def _drawn_out(line: FloatArray, width: FloatArray, added: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The line with `added` behind it: the taper of the tip moves out, and what lies behind it is as wide as there."""
    along = arc_length(line)
    whole = np.vstack([line, added])
    place = arc_length(whole)
    start, further = along[-1] * (1 - TAPER_SHARE), place[-1] - along[-1]
    source = np.where(place < start, place, np.maximum(place - further, start))
    return whole, np.round(np.interp(source, along, width), 3)


def _wider(crack: TrueCrack, wider_mm: float) -> TrueCrack:
    """Wider by `wider_mm`, less at tapered tips, which stay tips."""
    share = np.minimum(crack.width_mm / np.median(crack.width_mm), 1.0)
    return replace(crack, width_mm=np.round(crack.width_mm + wider_mm * share, 3))
