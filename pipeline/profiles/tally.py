"""The sums a profile is made of: every metre of crack is in one class of one section, or left out with a reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from crackmap.pipeline.coverage import Interval, overlap
from crackmap.pipeline.polyline import weighted_mean
from crackmap.pipeline.profiles.lane import (
    Lanes,
    Seen,
    cells_seen,
    cells_touched,
    sees_zone,
    station_lengths_m,
    stations_near,
    union_m,
)
from crackmap.pipeline.profiles.model import ClassRule, Profile, Quantity
from crackmap.pipeline.profiles.parts import Parts, SectionIndex, parts_of
from crackmap.pipeline.records import RoadCrack, Section
from crackmap.pipeline.survey_result import SurveyResult
from crackmap.stages.polyline import vertex_weights
from crackmap.stages.records import FloatArray

REASONS = ("joint", "sealed", "narrow", "wide", "short", "outside")
"""Why a line is left out, in the order in which reasons are looked for."""

Cells = dict[tuple[int, int], set[int]]
"""Numbers of cells by section and zone."""


@dataclass(slots=True)
class Tally:
    """What all cracks of a survey add up to.

    Attributes:
        length_m, area_m2: (sections, classes, zones + 1, severities); the last zone is «none».
        left_out_m: (sections, reasons).
        touched: by number of the quantity: cells in which a line of its classes lies.
        seen: by number of the quantity: cells that frames saw.
        stations: by number of the quantity: recording and number of a station -> classes it shows.
        stations_seen: by number of the quantity: recording and number of a station that was seen -> its section.
        lane_seen_m2: (sections,) of the lane.
        looked_m: (sections,) length along the road that any camera saw.
    """

    length_m: FloatArray
    area_m2: FloatArray
    left_out_m: FloatArray
    lane_seen_m2: FloatArray
    looked_m: FloatArray
    touched: dict[int, Cells] = field(default_factory=lambda: defaultdict(lambda: defaultdict(set)))
    seen: dict[int, Cells] = field(default_factory=lambda: defaultdict(lambda: defaultdict(set)))
    stations: dict[int, dict[tuple[str, int], set[int]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(set))
    )
    stations_seen: dict[int, dict[tuple[str, int], int]] = field(default_factory=lambda: defaultdict(dict))


@dataclass(frozen=True, slots=True)
class Ground:
    """What cracks are counted against.

    Attributes:
        profile: what counts.
        sections: of the survey.
        index: finds them.
        lanes: where they lie across the lane.
        kinds: kind of each pattern.
    """

    profile: Profile
    sections: Sequence[Section]
    index: SectionIndex
    lanes: Lanes
    kinds: Mapping[str, str]

    @property
    def zones_m(self) -> list[tuple[float, float]]:
        """From and to of the zones."""
        return [(low, high) for _, low, high in self.profile.lane.bounds_m()]


def tally(result: SurveyResult, profile: Profile, *, listed: bool, centre_m: float) -> Tally:
    """Counts the cracks of a survey by a profile.

    Args:
        result: of the survey.
        profile: what counts.
        listed: whether its sections leave road out (SectionIndex).
        centre_m: middle of the lane, to the right of the vehicle's path.
    """
    ground = Ground(
        profile, result.sections, SectionIndex(result.sections, listed=listed),
        Lanes(result.outcomes, centre_m=centre_m), {pattern.pattern_id: pattern.kind for pattern in result.networks},
    )  # fmt: skip
    severities = 1 if profile.severity is None else len(profile.severity.names)
    shape = (len(result.sections), len(profile.classes), len(ground.zones_m) + 1, severities)
    found = Tally(
        np.zeros(shape), np.zeros(shape), np.zeros((shape[0], len(REASONS))), np.zeros(shape[0]), np.zeros(shape[0])
    )
    for crack in result.cracks:
        if crack.length_m is not None and crack.width_mm is not None:
            _add(found, crack, ground)
    _look(found, ground)
    return found


def _add(found: Tally, crack: RoadCrack, ground: Ground) -> None:
    profile = ground.profile
    mean_mm = 0.0 if crack.width_mm is None else weighted_mean(crack.width_mm, vertex_weights(crack.line_xy))
    severity = profile.severity
    parts = parts_of(
        crack, ground.index, lateral_m=ground.lanes.lateral_m(crack), zones_m=ground.zones_m,
        lane_width_m=profile.lane.width_m, severity_mm=() if severity is None else severity.edges_mm,
        mean_width_mm=None if severity is None or severity.of == "place" else mean_mm,
    )  # fmt: skip
    here = parts.section >= 0
    reason = reason_left_out(crack, mean_mm, profile)
    if reason is not None:
        np.add.at(found.left_out_m[:, REASONS.index(reason)], parts.section[here], parts.length_m[here])
        return
    beside = here & parts.outside
    np.add.at(found.left_out_m[:, REASONS.index("outside")], parts.section[beside], parts.length_m[beside])
    counted = here & ~parts.outside
    number = class_of(crack, profile.classes, ground.kinds)
    place = parts.section[counted], np.full(int(counted.sum()), number), parts.zone[counted], parts.severity[counted]
    np.add.at(found.length_m, place, parts.length_m[counted])
    np.add.at(found.area_m2, place, parts.area_m2[counted])
    _touch(found, crack, parts, counted, number, ground)


def reason_left_out(crack: RoadCrack, mean_width_mm: float, profile: Profile) -> str | None:
    """Why a line does not count as a whole, one of REASONS; None if it does."""
    rule = profile.count
    if crack.joint and rule.joints == "out":
        return "joint"
    if crack.sealed and rule.sealed == "out":
        return "sealed"
    if mean_width_mm < rule.least_width_mm:
        return "narrow"
    if rule.greatest_width_mm is not None and mean_width_mm > rule.greatest_width_mm:
        return "wide"
    return "short" if (crack.length_m or 0.0) < rule.least_length_m else None


def class_of(crack: RoadCrack, classes: Sequence[ClassRule], kinds: Mapping[str, str]) -> int:
    """Number of the first class that a line fits; the last one takes what fits none."""
    across = min(crack.orientation_deg, 180.0 - crack.orientation_deg)
    kind = kinds.get(crack.pattern_id)
    for number, rule in enumerate(classes):
        if rule.pattern is not None and (kind not in rule.pattern if rule.pattern else kind is not None):
            continue
        if rule.angle_deg is not None and not rule.angle_deg[0] <= across <= rule.angle_deg[1]:
            continue
        if (crack.length_m or 0.0) < rule.least_length_m:
            continue
        if rule.sealed is None or rule.sealed == crack.sealed:
            return number
    return len(classes) - 1


def classes_of(quantity: Quantity, profile: Profile) -> list[int]:
    """Numbers of the classes that a quantity is of."""
    return [n for n, rule in enumerate(profile.classes) if quantity.classes is None or rule.name in quantity.classes]


def zones_of(quantity: Quantity, profile: Profile) -> list[int]:
    """Numbers of the zones that a quantity is of."""
    bounds = profile.lane.bounds_m()
    return [n for n, (name, _, _) in enumerate(bounds) if quantity.zones is None or name in quantity.zones]


def _touch(
    found: Tally, crack: RoadCrack, parts: Parts, counted: NDArray[np.bool_], number: int, ground: Ground
) -> None:
    """Marks the cells and stations in which a line lies."""
    known = counted & np.isfinite(parts.chainage_m[:, 0])
    for index, quantity in enumerate(ground.profile.quantities):
        if quantity.kind == "cells" and number in classes_of(quantity, ground.profile):
            zones = zones_of(quantity, ground.profile)
            for piece in np.flatnonzero(known & np.isin(parts.zone, zones)).tolist():
                section = int(parts.section[piece])
                bounds = ground.sections[section].from_m or 0.0, ground.sections[section].to_m or 0.0
                low, high = np.sort(parts.chainage_m[piece]).tolist()
                cells = cells_touched((low, high), bounds, quantity.cell_m or 1.0)
                found.touched[index][section, int(parts.zone[piece])].update(cells)
        if quantity.kind == "stations":
            for low, high in np.sort(parts.chainage_m[known], axis=1).tolist():
                for station in stations_near((low, high), quantity.spacing_m or 1.0, quantity.length_m or 1.0):
                    found.stations[index][crack.recording, station].add(number)


def _look(found: Tally, ground: Ground) -> None:
    """Adds what the frames saw of lane, cells and stations."""
    for recording in ground.lanes.recordings:
        placed = [
            (section.from_m, section.to_m, number) for number, section in enumerate(ground.sections)
            if section.recording == recording and section.from_m is not None and section.to_m is not None
        ]  # fmt: skip
        if not placed:
            continue
        stretches = ground.lanes.seen(recording)
        starts, ends = (np.array([row[side] for row in placed]) for side in (0, 1))
        for seen in stretches:
            first = int(np.searchsorted(ends, seen.chainage[0], side="right"))
            for low, high, number in placed[first : int(np.searchsorted(starts, seen.chainage[1]))]:
                _look_at(found, seen, number, (low, high), ground)
        for interval in union_m(stretches):
            first = int(np.searchsorted(ends, interval[0], side="right"))
            for low, high, number in placed[first : int(np.searchsorted(starts, interval[1]))]:
                found.looked_m[number] += overlap(interval, (low, high))
        for index, quantity in enumerate(ground.profile.quantities):
            if quantity.kind == "stations":
                found.stations_seen[index].update(_stations_seen(recording, stretches, quantity, ground))


def _look_at(found: Tally, seen: Seen, section: int, bounds: Interval, ground: Ground) -> None:
    """Adds what was seen of a section on one stretch."""
    half = (ground.profile.lane.width_m or 0.0) / 2
    found.lane_seen_m2[section] += overlap(seen.chainage, bounds) * overlap(seen.lateral_m, (-half, half))
    for index, quantity in enumerate(ground.profile.quantities):
        if quantity.kind == "cells":
            cells = cells_seen(seen, bounds, quantity.cell_m or 1.0)
            for zone in zones_of(quantity, ground.profile):
                if sees_zone(seen, ground.zones_m[zone]):
                    found.seen[index][section, zone].update(cells)


def _stations_seen(
    recording: str, stretches: Sequence[Seen], quantity: Quantity, ground: Ground
) -> Iterator[tuple[tuple[str, int], int]]:
    """Yields recording, number and section of the stations of which at least half was seen."""
    spacing, length = quantity.spacing_m or 1.0, quantity.length_m or 1.0
    cameras = ground.lanes.cameras(recording)
    for station, seen_m in station_lengths_m(stretches, cameras, spacing, length).items():
        (section,) = ground.index.at(recording, np.array([station * spacing])).tolist()
        if seen_m >= length / 2 and section >= 0:
            yield (recording, station), section
