"""Where lines and frames lie across the lane, and what of it the frames saw."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from crackmap.pipeline.coverage import Interval, Strip, overlap, strips_of
from crackmap.pipeline.footprint import near_and_far_edge, visible_polygon_m
from crackmap.pipeline.outcome_table import Outcomes
from crackmap.pipeline.records import FrameOutcome, RoadCrack
from crackmap.stages.records import FloatArray

SEEN_SHARE = 0.5
"""A zone counts as seen where a frame sees this share of its width."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A stretch of a recording that a frame measured, and the width of the lane it saw there.

    Attributes:
        chainage: from, to.
        lateral_m: from, to; to the right of the lane's middle, in travel direction.
        camera: of the frame.
    """

    chainage: Interval
    lateral_m: Interval
    camera: str = ""


class Lanes:
    """The lanes that the vehicle drove in, its path in their middle or `centre_m` to the left of it."""

    def __init__(self, outcomes: Outcomes, *, centre_m: float = 0.0) -> None:
        """`centre_m`: where the middle of the lane lies, to the right of the vehicle's path."""
        self._centre_m = centre_m
        self._outcomes, self._places = outcomes, outcomes.places_by_recording
        paths = {recording: _path(self._members(recording)) for recording in self._places}
        self._paths = {recording: path for recording, path in paths.items() if path is not None}

    @property
    def recordings(self) -> Sequence[str]:
        """Those with a chainage, sorted."""
        return sorted(self._paths)

    def lateral_m(self, crack: RoadCrack) -> FloatArray | None:
        """(N,) of a crack's vertices: metres to the right of the lane's middle in travel direction; None if unknown."""
        path = self._paths.get(crack.recording)
        if path is None or crack.chainage_at_m is None or crack.offset_at_m is None:
            return None
        chainage, offset, direction = path
        vehicle = np.interp(crack.chainage_at_m, chainage, offset)
        return np.asarray(direction * (crack.offset_at_m - vehicle) - self._centre_m, np.float64)

    def cameras(self, recording: str) -> set[str]:
        """The cameras of a recording, also those all of whose frames were lost."""
        return {outcome.frame.camera for outcome in self._members(recording)}

    def seen(self, recording: str) -> list[Seen]:
        """What the frames of a recording measured, in order of chainage; nothing twice."""
        return [
            Seen(part, self._lateral(strip), strip.outcome.frame.camera)
            for strip in strips_of(self._members(recording))
            for part in strip.measured
        ]  # fmt: skip

    def _members(self, recording: str) -> list[FrameOutcome]:
        """Those with a place along the road."""
        found = self._outcomes.at(self._places[recording])
        return [one for one in found if one.frame.chainage_m is not None and one.status != "no_position"]

    def _lateral(self, strip: Strip) -> Interval:
        """What a frame sees over the whole length of its strip."""
        corners = near_and_far_edge(visible_polygon_m(strip.outcome.frame))
        left, right = float(corners[[0, 3], 0].max()), float(corners[[1, 2], 0].min())
        return left - self._centre_m, right - self._centre_m


def _path(outcomes: Sequence[FrameOutcome]) -> tuple[FloatArray, FloatArray, float] | None:
    """Ascending chainage, the vehicle's offset there, and 1, or -1 where it drove against it; None of none."""
    if not outcomes:
        return None
    places = sorted({(outcome.frame.chainage_at(0.0), outcome.frame.offset_m) for outcome in outcomes})
    chainage, offset = np.array(places).T
    backwards = sum(outcome.frame.chainage_scale < 0 for outcome in outcomes) * 2 > len(outcomes)
    return chainage, offset, -1.0 if backwards else 1.0


def sees_zone(seen: Seen, zone_m: Interval) -> bool:
    """Whether enough of a zone was seen on a stretch."""
    return overlap(seen.lateral_m, zone_m) >= SEEN_SHARE * (zone_m[1] - zone_m[0])


def cells_seen(seen: Seen, section: Interval, cell_m: float) -> range:
    """Numbers of the cells of a section whose middle lies on a stretch; cell 0 begins where the section does."""
    low, high = max(seen.chainage[0], section[0]), min(seen.chainage[1], section[1])
    if high <= low:
        return range(0)
    first = int(np.ceil((low - section[0]) / cell_m - 0.5 - 1e-9))
    last = int(np.ceil((high - section[0]) / cell_m - 0.5 - 1e-9))
    return range(max(first, 0), min(last, cell_count(section, cell_m)))


def cells_touched(chainage: Interval, section: Interval, cell_m: float) -> range:
    """Numbers of the cells of a section in which a stretch of it lies; what lies behind the last one is in that."""
    low, high = chainage[0] - section[0], chainage[1] - section[0]
    last = cell_count(section, cell_m) - 1
    first = min(int(np.floor(low / cell_m + 1e-9)), last)
    # A stretch that ends on the edge of a cell does not touch the next one.
    return range(first, max(first, min(int(np.ceil(high / cell_m - 1e-9)) - 1, last)) + 1)


def cell_count(section: Interval, cell_m: float) -> int:
    """Number of the cells whose middle lies in a section, at least 1."""
    return max(1, int(np.ceil((section[1] - section[0]) / cell_m - 0.5 - 1e-9)))


def station_lengths_m(
    stretches: Iterable[Seen], cameras: Iterable[str], spacing_m: float, length_m: float
) -> Mapping[int, float]:
    """Seen length of each station (number n at chainage n * spacing_m); that of the camera which saw least of it."""
    cameras = sorted(set(cameras))
    found: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for seen in stretches:
        for number in stations_near(seen.chainage, spacing_m, length_m):
            middle = number * spacing_m
            found[number][seen.camera] += overlap(seen.chainage, (middle - length_m / 2, middle + length_m / 2))
    return {number: min(lengths[camera] for camera in cameras) for number, lengths in found.items()}


def union_m(stretches: Iterable[Seen]) -> list[Interval]:
    """The road that any camera saw, as intervals in order and apart."""
    joined: list[Interval] = []
    for low, high in sorted(seen.chainage for seen in stretches):
        if joined and low <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(high, joined[-1][1])
        else:
            joined.append((low, high))
    return joined


def stations_near(chainage: Interval, spacing_m: float, length_m: float) -> range:
    """Numbers of the stations whose length a stretch touches."""
    first = int(np.ceil((chainage[0] - length_m / 2) / spacing_m - 1e-9))
    return range(first, int(np.floor((chainage[1] + length_m / 2) / spacing_m + 1e-9)) + 1)
