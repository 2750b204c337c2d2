"""Statistics of road sections: what was measured, what is missing, and how much crack lies in between."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import shapely
from numpy.typing import NDArray

from crackmap.calibration.errors import require
from crackmap.pipeline.footprint import area, footprint, near_and_far_edge, visible_polygon_m
from crackmap.pipeline.polyline import places_with_crossings, read_at
from crackmap.pipeline.records import CoordinateKind, Frame, FrameOutcome, OutputFrame, RoadCrack, Section
from crackmap.stages.polyline import segment_lengths
from crackmap.stages.records import FloatArray

__all__ = ["footprint", "make_sections"]

AXIS_TOLERANCE_DEG = 20.0
"""Longitudinal within 20 degrees of the direction of travel (AASHTO R 85-18); the same is used for transverse."""

TOUCH_M = 1e-6
"""A strip reaches into a section from this length on; below is rounding."""

LONGEST_HOLE = 10_000
"""A hole of more sections than this is one row: no survey has it, but one wrong chainage would make millions."""

MEASURED = ("ok", "no_crack")

Interval = tuple[float, float]


@dataclass(slots=True)
class _Tally:
    """Crack quantities of one section while they are added up."""

    count: int = 0
    joint_m: float = 0.0
    length_m: float = 0.0
    area_m2: float = 0.0
    max_width_mm: float = 0.0
    by_class_m: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, length_m: float, area_m2: float, max_width_mm: float, kind: str) -> None:
        self.length_m += length_m
        self.area_m2 += area_m2
        self.max_width_mm = max(self.max_width_mm, max_width_mm)
        self.by_class_m[kind] += length_m


@dataclass(frozen=True, slots=True)
class _Strip:
    """The chainage a frame answers for, the part of it no earlier frame has, and the width of the road it sees there.

    `share` is the part its camera has in the width that all cameras of the recording see.
    """

    outcome: FrameOutcome
    chainage: Interval
    new: tuple[Interval, ...]
    width_m: float
    share: float = 1.0


def make_sections(
    outcomes: Iterable[FrameOutcome],
    cracks: Sequence[RoadCrack],
    *,
    length_m: float = 100.0,
    width_m: float | None = None,
    output: OutputFrame | None = None,
) -> tuple[Section, ...]:
    """Sections of all recordings, in order of recording and chainage.

    Frames with a chainage share sections between multiples of `length_m`, every one from the first to the last frame
    of their recording: covered and missing lengths add up to that extent. Where several cameras see the road side by
    side, a metre that one of them misses counts as covered by the share of the width that the others see. A section
    that no frame reaches into has no outline. A frame without chainage is a section of its own. Frames without a
    ground scale have no section: nothing there is in metres.

    Args:
        outcomes: every frame of the survey, also the skipped ones, which count as missing where their place is known.
        cracks: of the same survey, joined. A line that crosses a boundary is cut there, at a new vertex.
        length_m: section length along the road.
        width_m: width of road that counts; by default the area of the frames' footprints decides.
        output: what the coordinates of the survey mean. A frame without chainage on a map is a georeferenced raster,
            which has no direction of travel: no lengths along the road and no classes by direction are given.
    """
    require(length_m > 0, "length_m", "metres above 0", length_m)
    require(width_m is None or width_m > 0, "width_m", "metres above 0, or None", width_m)
    by_road: dict[str, list[FrameOutcome]] = defaultdict(list)
    alone: dict[str, list[FrameOutcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.status == "no_position":
            continue
        if outcome.frame.chainage_m is not None:
            by_road[outcome.frame.recording].append(outcome)
        elif outcome.frame.ground is not None:
            alone[outcome.frame.recording].append(outcome)
    directed = output is None or output.kind is not CoordinateKind.MAP
    strips = {
        recording: _strips_of_cameras(members, width_m)
        for recording, members in by_road.items()
        if any(outcome.frame.ground is not None for outcome in members)
    }
    tallies = _tally_by_chainage(cracks, {name: _extent(members) for name, members in strips.items()}, length_m)
    own = _tally_by_frame(cracks)
    sections: list[Section] = []
    for recording in sorted({*by_road, *alone}):
        if recording in strips:
            sections += _road_sections(recording, strips[recording], tallies, length_m)
        sections += [_frame_section(o, own.get(o.frame.key, _Tally()), directed=directed) for o in alone[recording]]
    return tuple(sections)


def _road_sections(
    recording: str, strips: Sequence[_Strip], tallies: dict[tuple[str, int], _Tally], length_m: float
) -> list[Section]:
    extent = _extent(strips)
    outcomes = [strip.outcome for strip in strips]
    touched: dict[int, list[_Strip]] = defaultdict(list)
    for strip in strips:
        for index in _section_numbers(strip.chainage, length_m):
            touched[index].append(strip)
    sections = []
    for first, end in _rows(touched):
        bounds = (first * length_m, end * length_m)
        inside = touched.get(first, [])
        measured = [(strip, _overlap(part, bounds)) for strip in inside for part in strip.new]
        covered = sum(strip.share * length for strip, length in measured)
        sections.append(_section(
            f"{recording}:{bounds[0]:.12g}-{bounds[1]:.12g}", recording, bounds, _outline(inside, bounds),
            covered, max(0.0, _overlap(extent, bounds) - covered),
            sum(strip.width_m * length / abs(strip.outcome.frame.chainage_scale) for strip, length in measured),
            tallies.get((recording, first), _Tally()),
        ))  # fmt: skip
    lanes = {outcome.frame.lane for outcome in outcomes}
    lane = next(iter(lanes)) if len(lanes) == 1 else ""
    return [replace(section, direction=_direction(outcomes), lane=lane) for section in sections]


def _extent(strips: Sequence[_Strip]) -> Interval:
    return min(strip.chainage[0] for strip in strips), max(strip.chainage[1] for strip in strips)


def _direction(outcomes: Sequence[FrameOutcome]) -> str:
    signs = {outcome.frame.chainage_scale > 0 for outcome in outcomes if outcome.frame.ground is not None}
    return "" if len(signs) != 1 else "with" if signs.pop() else "against"


def _rows(touched: Mapping[int, object]) -> list[tuple[int, int]]:
    """(number, one past the last number) of sections: those touched and those in the holes between them."""
    numbers = sorted(touched)
    rows = []
    for number, following in zip(numbers, [*numbers[1:], numbers[-1] + 1], strict=True):
        rows.append((number, number + 1))
        hole = range(number + 1, following)
        rows += [(hole.start, hole.stop)] if len(hole) > LONGEST_HOLE else [(empty, empty + 1) for empty in hole]
    return rows


def _strips_of_cameras(outcomes: Sequence[FrameOutcome], width_m: float | None) -> list[_Strip]:
    """The strips of each camera of a recording, in order of chainage, with the share of the width it sees."""
    cameras: dict[str, list[FrameOutcome]] = defaultdict(list)
    for outcome in outcomes:
        cameras[outcome.frame.camera].append(outcome)
    if len(cameras) == 1:
        return _strips(outcomes, width_m)
    width = {camera: _usual_width_m(group) for camera, group in cameras.items()}
    total = sum(width.values()) or 1.0
    strips = [
        replace(strip, share=width[camera] / total, width_m=strip.width_m * (width[camera] / total if width_m else 1.0))
        for camera, group in sorted(cameras.items())
        for strip in _strips(group, width_m)
    ]
    return sorted(strips, key=lambda strip: (strip.chainage, strip.outcome.frame.key))


def _usual_width_m(outcomes: Sequence[FrameOutcome]) -> float:
    """Median width of the road in a camera's strips, measured or not."""
    polygons = [visible_polygon_m(outcome.frame) for outcome in outcomes]
    widths = [area(polygon) / float(np.ptp(polygon[:, 1])) for polygon in polygons if len(polygon)]
    return float(np.median(widths)) if widths else 0.0


def _strips(outcomes: Sequence[FrameOutcome], width_m: float | None) -> list[_Strip]:
    """Strips in order of chainage; road that two strips share belongs to the first, so it is counted once."""
    strips, reached = [], -math.inf
    placed = sorted(((_chainage_of(o), o) for o in outcomes), key=lambda item: (item[0], item[1].frame.key))
    for (low, high), outcome in placed:
        polygon = visible_polygon_m(outcome.frame) if outcome.status in MEASURED else np.empty((0, 2))
        new: tuple[Interval, ...] = ()
        width = 0.0
        if len(polygon):
            seen = _seen_y_m(polygon)
            low_seen, high_seen = sorted(outcome.frame.chainage_at(y) for y in seen)
            new = ((max(low_seen, reached), high_seen),) if high_seen > max(low_seen, reached) else ()
            reached = max(reached, high_seen)
            width = width_m or area(polygon) / (seen[1] - seen[0])
        strips.append(_Strip(outcome, (low, high), new, width))
    return strips


def _chainage_of(outcome: FrameOutcome) -> Interval:
    """The chainage of a frame's strip, measured or not; a point where the strip is not known."""
    frame = outcome.frame
    polygon = visible_polygon_m(frame) if frame.owns_y_m is None else np.empty((0, 2))
    ends = frame.owns_y_m or (_seen_y_m(polygon) if len(polygon) else (0.0, 0.0))
    low, high = sorted(frame.chainage_at(y) for y in ends)
    return low, high


def _seen_y_m(polygon: FloatArray) -> Interval:
    return float(polygon[:, 1].min()), float(polygon[:, 1].max())


def _section_numbers(chainage: Interval, length_m: float) -> range:
    low, high = chainage
    first = math.floor((low + TOUCH_M) / length_m)
    return range(first, max(first, math.floor((high - TOUCH_M) / length_m)) + 1)


def _overlap(a: Interval, b: Interval) -> float:
    return max(0.0, min(a[1], b[1]) - max(a[0], b[0]))


def _tally_by_chainage(
    cracks: Sequence[RoadCrack], extents: Mapping[str, Interval], length_m: float
) -> dict[tuple[str, int], _Tally]:
    tallies: dict[tuple[str, int], _Tally] = defaultdict(_Tally)
    for crack in cracks:
        if crack.chainage_at_m is None or crack.width_mm is None or crack.length_m is None:
            continue
        # On a route the edge of a strip has no single chainage: what reaches over the ends belongs to the end rows.
        low, high = extents.get(crack.recording, (-math.inf, math.inf))
        chainage = np.clip(crack.chainage_at_m, low, max(low, high - TOUCH_M))
        first = math.floor(float(chainage.min()) / length_m)
        last = math.floor(float(chainage.max()) / length_m)
        if first == last:
            lengths = _scaled_lengths(crack.line_xy, crack.length_m)
            _count(tallies[crack.recording, first], crack, _quantities(lengths, crack.width_mm))
            tallies[crack.recording, first].count += not crack.joint
            continue
        levels = [index * length_m for index in range(first + 1, last + 1)]
        places = places_with_crossings(chainage, levels)
        middle = (read_at(places[:-1], chainage) + read_at(places[1:], chainage)) / 2
        number = np.floor(middle / length_m).astype(np.int64)
        widths = read_at(places, crack.width_mm)
        lengths = _scaled_lengths(read_at(places, crack.line_xy), crack.length_m)
        for index in np.unique(number):
            of_section = number == index
            _count(tallies[crack.recording, int(index)], crack, _quantities(lengths, widths, of_section))
        centre = (float(chainage.min()) + float(chainage.max())) / 2
        tallies[crack.recording, math.floor(centre / length_m)].count += not crack.joint
    return tallies


def _tally_by_frame(cracks: Sequence[RoadCrack]) -> dict[str, _Tally]:
    tallies: dict[str, _Tally] = defaultdict(_Tally)
    for crack in cracks:
        if crack.chainage_at_m is not None or crack.width_mm is None or crack.length_m is None:
            continue
        tally = tallies[crack.frame_keys[0]]
        _count(tally, crack, _quantities(_scaled_lengths(crack.line_xy, crack.length_m), crack.width_mm))
        tally.count += not crack.joint
    return tallies


def _count(tally: _Tally, crack: RoadCrack, quantities: tuple[float, float, float]) -> None:
    """Adds length, area and greatest width of a crack, or of a part of it; of a joint the length alone."""
    if crack.joint:
        tally.joint_m += quantities[0]
    else:
        tally.add(*quantities, _class_of(crack))


def _scaled_lengths(line_xy: FloatArray, length_m: float) -> FloatArray:
    """Segment lengths that add up to the measured length, which may have been taken on a finer line."""
    lengths = segment_lengths(line_xy)
    total = lengths.sum()
    return lengths * (length_m / total) if total > 0 else np.full(len(lengths), length_m / len(lengths))


def _quantities(
    lengths: FloatArray, widths: FloatArray, chosen: NDArray[np.bool_] | None = None
) -> tuple[float, float, float]:
    """Length (m), area (m2) and greatest width (mm) of a line, or of its chosen segments."""
    starts, ends = widths[:-1], widths[1:]
    if chosen is not None:
        lengths, starts, ends = lengths[chosen], starts[chosen], ends[chosen]
    area_m2 = float(lengths @ (starts + ends)) / 2e3
    return float(lengths.sum()), area_m2, float(max(starts.max(), ends.max()))


def _class_of(crack: RoadCrack) -> str:
    from_axis = min(crack.orientation_deg, 180.0 - crack.orientation_deg)
    if from_axis <= AXIS_TOLERANCE_DEG:
        return "longitudinal"
    return "transverse" if from_axis >= 90.0 - AXIS_TOLERANCE_DEG else "other"


def _frame_section(outcome: FrameOutcome, tally: _Tally, *, directed: bool) -> Section:
    polygon = visible_polygon_m(outcome.frame)
    low, high = _seen_y_m(polygon) if len(polygon) else (0.0, 0.0)
    measured = outcome.status in MEASURED
    covered, missing = (high - low, 0.0) if measured else (0.0, high - low)
    return _section(
        outcome.frame.key, outcome.frame.recording, None, footprint(outcome.frame),
        covered if directed else None, missing if directed else None,
        area(polygon) if measured and len(polygon) else 0.0, tally,
    )  # fmt: skip


def _section(
    section_id: str,
    recording: str,
    bounds: Interval | None,
    outline_xy: FloatArray,
    covered_m: float | None,
    missing_m: float | None,
    area_m2: float,
    tally: _Tally,
) -> Section:
    directed = covered_m is not None
    return Section(
        section_id=section_id,
        recording=recording,
        from_m=bounds[0] if bounds else None,
        to_m=bounds[1] if bounds else None,
        outline_xy=outline_xy,
        covered_m=covered_m,
        missing_m=missing_m,
        area_m2=area_m2,
        crack_count=tally.count,
        joint_length_m=tally.joint_m,
        crack_length_m=tally.length_m,
        crack_area_m2=tally.area_m2,
        mean_width_mm=tally.area_m2 / tally.length_m * 1e3 if tally.length_m > 0 else None,
        max_width_mm=tally.max_width_mm if tally.length_m > 0 else None,
        longitudinal_m=tally.by_class_m["longitudinal"] if directed else None,
        transverse_m=tally.by_class_m["transverse"] if directed else None,
        other_m=tally.by_class_m["other"] if directed else None,
    )


def _outline(strips: Sequence[_Strip], bounds: Interval) -> FloatArray:
    """One ring around the strips of a section; its hull if that is not one piece."""
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


def _ring(strips: Sequence[_Strip], bounds: Interval) -> FloatArray:
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
    inside = shapely.clip_by_rect(shapely.Polygon(polygon), -1e6, low, 1e6, high)
    points = shapely.get_coordinates(inside)
    if len(points) < 4:
        return np.empty((0, 2))
    return frame.placement.to_output_xy(near_and_far_edge(points))
