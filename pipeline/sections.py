"""Statistics of road sections: what was measured, what is missing, and how much crack lies in between."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import require
from crackmap.pipeline.assembly.columns import CrackColumns
from crackmap.pipeline.coverage import MEASURED, Interval, Strip, extent, lost_lengths_m, overlap, seen_y_m, strips_of
from crackmap.pipeline.footprint import area, footprint, visible_polygon_m
from crackmap.pipeline.outcome_table import Outcomes
from crackmap.pipeline.outlines import section_outline
from crackmap.pipeline.polyline import lengths_of_lines, lines_by_size, places_with_crossings, read_at
from crackmap.pipeline.records import CoordinateKind, FrameOutcome, OutputFrame, RoadCrack, Section
from crackmap.pipeline.section_lists import ListedSection
from crackmap.stages.polyline import segment_lengths
from crackmap.stages.records import FloatArray

__all__ = ["footprint", "make_sections"]

AXIS_TOLERANCE_DEG = 20.0
"""Longitudinal within 20 degrees of the direction of travel (AASHTO R 85-18); the same is used for transverse."""

TOUCH_M = 1e-6
"""A strip reaches into a section from this length on; below is rounding."""

Quantities = tuple[float, float, float]
"""Length (m), area (m2) and greatest width (mm)."""

SHOWN_M = 0.05
"""Shorter losses are not named."""

LONGEST_HOLE = 10_000
"""A hole of more sections than this is one row: no survey has it, but one wrong chainage would make millions."""


@dataclass(slots=True)
class _Tally:
    """Crack quantities of one section while they are added up."""

    count: int = 0
    joint_m: float = 0.0
    sealed_m: float = 0.0
    length_m: float = 0.0
    area_m2: float = 0.0
    max_width_mm: float = 0.0
    u_length_m: float | None = 0.0
    by_class_m: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, length_m: float, area_m2: float, max_width_mm: float, kind: str, u_share: float | None) -> None:
        self.length_m += length_m
        self.u_length_m = None if self.u_length_m is None or u_share is None else self.u_length_m + u_share * length_m
        self.area_m2 += area_m2
        self.max_width_mm = max(self.max_width_mm, max_width_mm)
        self.by_class_m[kind] += length_m


@dataclass(frozen=True, slots=True)
class _Cut:
    """A section of a recording: its name and its chainage."""

    name: str
    bounds: Interval


def make_sections(
    outcomes: Iterable[FrameOutcome],
    cracks: Sequence[RoadCrack],
    *,
    length_m: float = 100.0,
    listed: Sequence[ListedSection] | None = None,
    width_m: float | None = None,
    output: OutputFrame | None = None,
) -> tuple[Section, ...]:
    """Sections of all recordings, in order of recording and chainage.

    Frames with a chainage share sections between multiples of `length_m`, every one from the first to the last frame
    of their recording, or the listed ones. Covered, invalid and missing lengths add up to that extent, of a listed
    section to its length. Where several cameras see the road side by side, a metre that one of them misses counts as
    covered by the share of the width that the others see. A section that no frame reaches into has no outline. A frame
    without chainage is a section of its own. Frames without a ground scale have no section: nothing there is in metres.

    Args:
        outcomes: every frame of the survey, also the skipped ones, which count as invalid where their place is known.
        cracks: of the same survey, joined. A line that crosses a boundary is cut there, at a new vertex.
        length_m: section length along the road.
        listed: sections instead of `length_m`. Those that no recording reaches are rows of their own, wholly missing.
        width_m: width of road that counts; by default the area of the frames' footprints decides.
        output: what the coordinates of the survey mean. A frame without chainage on a map is a georeferenced raster,
            which has no direction of travel: no lengths along the road and no classes by direction are given.
    """
    seen = list(outcomes)
    alone = len(road_recordings(seen)) == 1
    found = sections_of_recordings(
        seen, CrackColumns.of(cracks), length_m=length_m, listed=listed, width_m=width_m, output=output, alone=alone
    )
    return (*found, *unreached_sections(Outcomes.of(seen), listed or ()))


def road_recordings(outcomes: Iterable[FrameOutcome]) -> set[str]:
    """The recordings that have sections along the road: with a chainage, and somewhere a ground scale."""
    placed = (o.frame for o in outcomes if o.status != "no_position")
    return {frame.recording for frame in placed if frame.chainage_m is not None and frame.ground is not None}


def sections_of_recordings(
    outcomes: Iterable[FrameOutcome],
    cracks: CrackColumns,
    *,
    alone: bool,
    length_m: float = 100.0,
    listed: Sequence[ListedSection] | None = None,
    width_m: float | None = None,
    output: OutputFrame | None = None,
) -> list[Section]:
    """Sections of some recordings, as `make_sections` makes them of all; listed ones where they reach them.

    `alone` says that the survey has one recording along the road: listed sections are not named after it then.
    """
    require(length_m > 0, "length_m", "metres above 0", length_m)
    require(width_m is None or width_m > 0, "width_m", "metres above 0, or None", width_m)
    by_road: dict[str, list[FrameOutcome]] = defaultdict(list)
    placeless: dict[str, list[FrameOutcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.status == "no_position":
            continue
        if outcome.frame.chainage_m is not None:
            by_road[outcome.frame.recording].append(outcome)
        elif outcome.frame.ground is not None:
            placeless[outcome.frame.recording].append(outcome)
    directed = output is None or output.kind is not CoordinateKind.MAP
    roads = road_recordings(outcome for members in by_road.values() for outcome in members)
    strips = {recording: strips_of(members, width_m) for recording, members in by_road.items() if recording in roads}
    cuts = {
        recording: _cuts(recording, of_recording, length_m) if listed is None
        else _listed_cuts(recording, of_recording, listed, alone=alone)
        for recording, of_recording in strips.items()
    }  # fmt: skip
    # On a route the edge of a strip has no single chainage: what reaches over the ends belongs to the end rows.
    ends = {} if listed is not None else {recording: extent(members) for recording, members in strips.items()}
    counted = _Counted.of(cracks)
    tallies = _tally_by_chainage(cracks, counted, cuts, ends)
    own = _tally_by_frame(cracks, counted)
    sections: list[Section] = []
    for recording in sorted({*by_road, *placeless}):
        if recording in strips:
            sections += _road_sections(recording, strips[recording], cuts[recording], tallies, listed is not None)
        sections += [_frame_section(o, own.get(o.frame.key, _Tally()), directed=directed) for o in placeless[recording]]
    return sections


def unreached_sections(outcomes: Outcomes, listed: Sequence[ListedSection]) -> list[Section]:
    """Rows of the listed sections that belong to no recording of the survey."""
    if not listed:
        return []
    roads: list[str] = []
    extents: list[Interval] = []
    # Recordings one by one: all frames at once may be more than memory holds.
    for recording, places in outcomes.places_by_recording.items():
        placed = [one for one in outcomes.at(places) if one.status != "no_position"]
        members = [one for one in placed if one.frame.chainage_m is not None]
        if road_recordings(members):
            roads.append(recording)
            extents.append(extent(strips_of(members)))
    missing = []
    for item in sorted(listed, key=lambda item: (item.recording, item.from_m)):
        bounds = item.from_m, item.to_m
        reached = item.recording in roads or any(overlap(whole, bounds) > TOUCH_M for whole in extents)
        if not (reached if not item.recording else item.recording in roads):
            missing.append(_section(
                item.name, item.recording, bounds, np.empty((0, 2)), 0.0, {}, bounds[1] - bounds[0], 0.0, _Tally()
            ))  # fmt: skip
    return missing


def _road_sections(
    recording: str, strips: Sequence[Strip], cuts: Sequence[_Cut], tallies: Mapping[tuple[str, int], _Tally],
    listed: bool,
) -> list[Section]:  # fmt: skip
    whole = extent(strips)
    touched = _touched(strips, cuts)
    sections = []
    for number, cut in enumerate(cuts):
        inside = touched.get(number, [])
        measured = [(strip, overlap(part, cut.bounds)) for strip in inside for part in strip.measured]
        covered = sum(strip.share * length for strip, length in measured)
        lost = lost_lengths_m(inside, cut.bounds)
        length = cut.bounds[1] - cut.bounds[0] if listed else overlap(whole, cut.bounds)
        sections.append(_section(
            cut.name, recording, cut.bounds, section_outline(inside, cut.bounds), covered, lost,
            max(0.0, length - covered - sum(lost.values())),
            sum(strip.width_m * length / abs(strip.outcome.frame.chainage_scale) for strip, length in measured),
            tallies.get((recording, number), _Tally()),
        ))  # fmt: skip
    outcomes = [strip.outcome for strip in strips]
    lanes = {outcome.frame.lane for outcome in outcomes}
    lane = next(iter(lanes)) if len(lanes) == 1 else ""
    return [replace(section, direction=_direction(outcomes), lane=lane) for section in sections]


def _direction(outcomes: Sequence[FrameOutcome]) -> str:
    signs = {outcome.frame.chainage_scale > 0 for outcome in outcomes if outcome.frame.ground is not None}
    return "" if len(signs) != 1 else "with" if signs.pop() else "against"


def _cuts(recording: str, strips: Sequence[Strip], length_m: float) -> list[_Cut]:
    """Sections between multiples of a length: those touched by a strip, and those in the holes between them."""
    numbers = sorted({number for strip in strips for number in _section_numbers(strip.chainage, length_m)})
    rows = []
    for number, following in zip(numbers, [*numbers[1:], numbers[-1] + 1], strict=True):
        rows.append((number, number + 1))
        hole = range(number + 1, following)
        rows += [(hole.start, hole.stop)] if len(hole) > LONGEST_HOLE else [(empty, empty + 1) for empty in hole]
    bounds = [(first * length_m, end * length_m) for first, end in rows]
    return [_Cut(f"{recording}:{low:.12g}-{high:.12g}", (low, high)) for low, high in bounds]


def _section_numbers(chainage: Interval, length_m: float) -> range:
    low, high = chainage
    first = math.floor((low + TOUCH_M) / length_m)
    return range(first, max(first, math.floor((high - TOUCH_M) / length_m)) + 1)


def _listed_cuts(
    recording: str, strips: Sequence[Strip], listed: Sequence[ListedSection], *, alone: bool
) -> list[_Cut]:
    """The listed sections of a recording in order; those for any recording where it reaches them."""
    whole = extent(strips)
    chosen = [
        item for item in listed
        if item.recording == recording or (not item.recording and overlap(whole, (item.from_m, item.to_m)) > TOUCH_M)
    ]  # fmt: skip
    named = [(item.name if alone or item.recording else f"{recording}:{item.name}", item) for item in chosen]
    return sorted((_Cut(name, (item.from_m, item.to_m)) for name, item in named), key=lambda cut: cut.bounds)


def _touched(strips: Sequence[Strip], cuts: Sequence[_Cut]) -> dict[int, list[Strip]]:
    """The strips that reach into each section, by its number."""
    starts, ends = (np.array([cut.bounds[side] for cut in cuts]) for side in (0, 1))
    touched: dict[int, list[Strip]] = defaultdict(list)
    for strip in strips:
        low, high = strip.chainage
        first = int(np.searchsorted(ends, low + TOUCH_M, side="right"))
        last = int(np.searchsorted(starts, max(high - TOUCH_M, low + TOUCH_M), side="right"))
        for number in range(first, last):
            touched[number].append(strip)
    return touched


@dataclass(frozen=True, slots=True)
class _Counted:
    """Of each crack: the quantities of the whole, its class (or «joint», «sealed»), and its uncertainty over its length
    (None if unknown).
    """

    quantities: Sequence[Quantities]
    kinds: Sequence[str]
    u_shares: Sequence[float | None]

    @classmethod
    def of(cls, cracks: CrackColumns) -> _Counted:
        """Of all cracks; those without a ground scale have NaN."""
        lengths = cracks["length_m"]
        known = cracks.known["u_length_m"] & cracks.known["length_m"] & (lengths != 0.0)
        u_shares = cracks["u_length_m"] / np.where(known, lengths, 1.0)
        kinds = np.select([cracks["joint"], cracks["sealed"]], ["joint", "sealed"], _classes(cracks["orientation_deg"]))
        shares = zip(u_shares.tolist(), known.tolist(), strict=True)
        return cls(_whole_quantities(cracks), kinds.tolist(), [share if there else None for share, there in shares])

    def add(self, tally: _Tally, number: int, part: Quantities | None = None) -> None:
        """Adds a crack, or a part of it; of joints and seals the length alone. The whole of one counts as one."""
        kind, (length_m, area_m2, max_width_mm) = self.kinds[number], part or self.quantities[number]
        if kind == "joint":
            tally.joint_m += length_m
        elif kind == "sealed":
            tally.sealed_m += length_m
        else:
            tally.add(length_m, area_m2, max_width_mm, kind, self.u_shares[number])
            tally.count += part is None

    def is_open(self, number: int) -> bool:
        """Whether it is a crack, neither a joint nor sealed."""
        return self.kinds[number] not in ("joint", "sealed")


def _tally_by_chainage(
    cracks: CrackColumns, counted: _Counted, cuts: Mapping[str, Sequence[_Cut]], ends: Mapping[str, Interval]
) -> dict[tuple[str, int], _Tally]:
    """Quantities by recording and number of the section; what lies in none is left out."""
    tallies: dict[tuple[str, int], _Tally] = defaultdict(_Tally)
    metric = cracks.known["chainage_at_m"] & cracks.known["length_m"]
    recordings = np.array(cracks.plain["recording"], object)
    for recording, of_road in cuts.items():
        starts, stops = (np.array([cut.bounds[side] for cut in of_road]) for side in (0, 1))
        low, high = ends.get(recording, (-math.inf, math.inf))
        chainage = np.clip(cracks["chainage_at_m"], low, max(low, high - TOUCH_M))
        least, greatest = (
            found.reduceat(chainage, cracks.ends[:-1]) if len(cracks) else np.empty(0)
            for found in (np.minimum, np.maximum)
        )
        first, last, centre = (
            _number_at(places, starts, stops) for places in (least, greatest, (least + greatest) / 2)
        )
        for number in np.flatnonzero(metric & (recordings == recording)).tolist():
            if first[number] >= 0 and first[number] == last[number]:
                counted.add(tallies[recording, int(first[number])], number)
                continue
            inside = slice(cracks.ends[number], cracks.ends[number + 1])
            for index, part in _parts(cracks, number, chainage[inside], starts, stops):
                counted.add(tallies[recording, index], number, part)
            if centre[number] >= 0:
                tallies[recording, int(centre[number])].count += counted.is_open(number)
    return tallies


def _parts(
    cracks: CrackColumns, number: int, chainage: FloatArray, starts: FloatArray, stops: FloatArray
) -> Iterator[tuple[int, Quantities]]:
    """Yields number of the section and quantities of every part of a crack that lies in one."""
    vertices = slice(cracks.ends[number], cracks.ends[number + 1])
    reached = [float(chainage.min()), float(chainage.max())]
    inside = slice(*np.searchsorted(starts, reached)), slice(*np.searchsorted(stops, reached))
    levels = sorted({*starts[inside[0]].tolist(), *stops[inside[1]].tolist()})
    places = places_with_crossings(chainage, levels)
    section = _number_at((read_at(places[:-1], chainage) + read_at(places[1:], chainage)) / 2, starts, stops)
    widths = read_at(places, cracks["width_mm"][vertices])
    lengths = _scaled_lengths(read_at(places, cracks["line_xy"][vertices]), float(cracks["length_m"][number]))
    for index in np.unique(section[section >= 0]).tolist():
        yield index, _quantities(lengths, widths, section == index)


def _number_at(chainage: FloatArray, starts: FloatArray, stops: FloatArray) -> NDArray[np.int64]:
    """Number of the section at each chainage, -1 where there is none; a boundary belongs to the section it begins."""
    if not len(starts):
        return np.full(len(chainage), -1)
    number = np.searchsorted(starts, chainage, side="right") - 1
    return np.where((number >= 0) & (chainage < stops[np.maximum(number, 0)]), number, -1)


def _tally_by_frame(cracks: CrackColumns, counted: _Counted) -> dict[str, _Tally]:
    tallies: dict[str, _Tally] = defaultdict(_Tally)
    for number in np.flatnonzero(~cracks.known["chainage_at_m"] & cracks.known["length_m"]).tolist():
        counted.add(tallies[cracks.plain["frame_keys"][number][0]], number)
    return tallies


def _scaled_lengths(line_xy: FloatArray, length_m: float) -> FloatArray:
    """Segment lengths that add up to the measured length, which may have been taken on a finer line."""
    lengths = segment_lengths(line_xy)
    total = lengths.sum()
    return lengths * (length_m / total) if total > 0 else np.full(len(lengths), length_m / len(lengths))


def _quantities(lengths: FloatArray, widths: FloatArray, chosen: NDArray[np.bool_]) -> Quantities:
    """Length (m), area (m2) and greatest width (mm) of the chosen segments of a line."""
    lengths, starts, ends = lengths[chosen], widths[:-1][chosen], widths[1:][chosen]
    area_m2 = float(lengths @ (starts + ends)) / 2e3
    return float(lengths.sum()), area_m2, float(max(starts.max(), ends.max()))


def _whole_quantities(cracks: CrackColumns) -> list[Quantities]:
    """`_quantities` of every crack, all its segments chosen; NaN for those without a ground scale."""
    found = np.empty((len(cracks), 3))
    for numbers, vertices in lines_by_size(cracks.ends):
        widths, length_m = cracks["width_mm"][vertices], cracks["length_m"][numbers]
        lengths = lengths_of_lines(cracks["line_xy"][vertices])
        total = lengths.sum(axis=1)
        lengths *= (length_m / np.where(total > 0, total, 1.0))[:, None]
        lengths[total <= 0] = (length_m[total <= 0] / lengths.shape[1])[:, None]
        area_m2 = np.vecdot(lengths, widths[:, :-1] + widths[:, 1:]) / 2e3
        found[numbers] = np.column_stack([lengths.sum(axis=1), area_m2, widths.max(axis=1)])
    return [(length_m, area_m2, width_mm) for length_m, area_m2, width_mm in found.tolist()]


def _classes(orientation_deg: FloatArray) -> NDArray[np.str_]:
    """(n,) class of each direction."""
    from_axis = np.minimum(orientation_deg, 180.0 - orientation_deg)
    along, across = from_axis <= AXIS_TOLERANCE_DEG, from_axis >= 90.0 - AXIS_TOLERANCE_DEG
    return np.select([along, across], ["longitudinal", "transverse"], "other")


def _frame_section(outcome: FrameOutcome, tally: _Tally, *, directed: bool) -> Section:
    polygon = visible_polygon_m(outcome.frame)
    low, high = seen_y_m(polygon) if len(polygon) else (0.0, 0.0)
    measured = outcome.status in MEASURED
    covered, lost = (high - low, {}) if measured else (0.0, {outcome.status: high - low})
    return _section(
        outcome.frame.key, outcome.frame.recording, None, footprint(outcome.frame),
        covered if directed else None, lost if directed else {}, 0.0 if directed else None,
        area(polygon) if measured and len(polygon) else 0.0, tally,
    )  # fmt: skip


def _section(
    section_id: str,
    recording: str,
    bounds: Interval | None,
    outline_xy: FloatArray,
    covered_m: float | None,
    lost_m: Mapping[str, float],
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
        invalid_m=sum(lost_m.values()) if directed else None,
        invalid_why=", ".join(f"{length:.1f} m {status}" for status, length in lost_m.items() if length >= SHOWN_M),
        missing_m=missing_m,
        area_m2=area_m2,
        crack_count=tally.count,
        joint_length_m=tally.joint_m,
        sealed_length_m=tally.sealed_m,
        u_crack_length_m=tally.u_length_m,
        crack_length_m=tally.length_m,
        crack_area_m2=tally.area_m2,
        mean_width_mm=tally.area_m2 / tally.length_m * 1e3 if tally.length_m > 0 else None,
        max_width_mm=tally.max_width_mm if tally.length_m > 0 else None,
        longitudinal_m=tally.by_class_m["longitudinal"] if directed else None,
        transverse_m=tally.by_class_m["transverse"] if directed else None,
        other_m=tally.by_class_m["other"] if directed else None,
    )
