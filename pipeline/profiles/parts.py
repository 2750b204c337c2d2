"""Crack lines cut into straight pieces on which nothing changes that a profile asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crackmap.pipeline.polyline import places_with_crossings, read_at
from crackmap.pipeline.records import RoadCrack, Section
from crackmap.stages.polyline import segment_lengths
from crackmap.stages.records import FloatArray

IntArray = NDArray[np.int64]

TOUCH_M = 1e-6


@dataclass(frozen=True, slots=True)
class Parts:
    """Pieces of one line, in its order.

    Attributes:
        section: (M,) number of the section, -1 in none.
        zone: (M,) number of the zone, -1 in none, or where lines have no place across a lane.
        outside: (M,) whether it lies beside the lane.
        severity: (M,) number of the width class.
        chainage_m: (M, 2) at its ends; NaN where there is none.
        length_m, area_m2: (M,) along it; length times width.
    """

    section: IntArray
    zone: IntArray
    outside: NDArray[np.bool_]
    severity: IntArray
    chainage_m: FloatArray
    length_m: FloatArray
    area_m2: FloatArray


class SectionIndex:
    """Finds the section of a place."""

    def __init__(self, sections: Sequence[Section], *, listed: bool) -> None:
        """`listed` sections leave road out; others hold all of it, also what reaches over the ends of a recording."""
        self._listed = listed
        self._of_frame = {item.section_id: number for number, item in enumerate(sections) if item.from_m is None}
        roads: dict[str, list[tuple[float, float, int]]] = {}
        for number, item in enumerate(sections):
            if item.from_m is not None and item.to_m is not None:
                roads.setdefault(item.recording, []).append((item.from_m, item.to_m, number))
        self._roads: Mapping[str, FloatArray] = {name: np.array(sorted(rows)) for name, rows in roads.items()}

    def of_frame(self, key: str) -> int:
        """Number of the section that a frame is by itself; -1 if it is none."""
        return self._of_frame.get(key, -1)

    def inside(self, recording: str, chainage_m: FloatArray) -> FloatArray:
        """Chainage (N,), that beyond the first and the last section moved to their ends where nothing is left out."""
        rows = self._roads.get(recording)
        if rows is None or self._listed:
            return chainage_m
        return np.asarray(np.clip(chainage_m, rows[0, 0], rows[-1, 1] - TOUCH_M), np.float64)

    def bounds(self, recording: str, low: float, high: float) -> list[float]:
        """The ends of sections between two chainages."""
        rows = self._roads.get(recording)
        if rows is None:
            return []
        ends = np.unique(rows[:, :2])
        return [float(end) for end in ends[(ends > low) & (ends < high)]]

    def at(self, recording: str, chainage_m: FloatArray) -> IntArray:
        """(N,) number of the section at each chainage, -1 where there is none."""
        rows = self._roads.get(recording)
        if rows is None:
            return np.full(len(chainage_m), -1)
        place = np.searchsorted(rows[:, 0], chainage_m, side="right") - 1
        found = np.maximum(place, 0)
        inside = (place >= 0) & (chainage_m < rows[found, 1])
        return np.where(inside, rows[found, 2].astype(np.int64), -1)


def parts_of(
    crack: RoadCrack,
    sections: SectionIndex,
    *,
    lateral_m: FloatArray | None,
    zones_m: Sequence[tuple[float, float]],
    lane_width_m: float | None,
    severity_mm: Sequence[float],
    mean_width_mm: float | None = None,
) -> Parts:
    """The pieces of a crack with a ground scale.

    Args:
        crack: its line and widths.
        sections: where sections lie.
        lateral_m: (N,) of its vertices, to the right of the lane's middle in travel direction; None if not known.
        zones_m: from and to of each zone, from left to right.
        lane_width_m: None: nothing lies outside.
        severity_mm: limits between width classes.
        mean_width_mm: given where the class goes by the line as a whole, not by the width at each place.
    """
    width = np.zeros(len(crack.line_xy)) if crack.width_mm is None else crack.width_mm
    chainage = None if crack.chainage_at_m is None else sections.inside(crack.recording, crack.chainage_at_m)
    places = [places_with_crossings(width, severity_mm if mean_width_mm is None else ())]
    if chainage is not None:
        levels = sections.bounds(crack.recording, float(chainage.min()), float(chainage.max()))
        places.append(places_with_crossings(chainage, levels))
    if lateral_m is not None:
        edges = [edge for zone in zones_m for edge in zone]
        edges += [] if lane_width_m is None else [-lane_width_m / 2, lane_width_m / 2]
        places.append(places_with_crossings(lateral_m, sorted(set(edges))))
    cut = np.unique(np.concatenate(places))
    widths = read_at(cut, width)
    lengths = segment_lengths(read_at(cut, crack.line_xy))
    # The measured length may have been taken on a finer line.
    lengths = lengths * ((crack.length_m or 0.0) / max(float(lengths.sum()), 1e-12))
    middle_mm = (widths[:-1] + widths[1:]) / 2
    count = len(lengths)
    lateral = None if lateral_m is None else _middles(cut, lateral_m)
    if chainage is None:
        number = np.full(count, sections.of_frame(crack.frame_keys[0]))
        ends = np.full((count, 2), np.nan)
    else:
        number = sections.at(crack.recording, _middles(cut, chainage))
        along = read_at(cut, chainage)
        ends = np.column_stack([along[:-1], along[1:]])
    by = middle_mm if mean_width_mm is None else np.full(count, mean_width_mm)
    return Parts(
        number, _zone_at(lateral, zones_m, count),
        np.zeros(count, bool) if lateral is None or lane_width_m is None else np.abs(lateral) > lane_width_m / 2,
        np.searchsorted(np.asarray(severity_mm, np.float64), by, side="right"), ends, lengths,
        lengths * middle_mm / 1e3,
    )  # fmt: skip


def _middles(cut: FloatArray, values: FloatArray) -> FloatArray:
    return (read_at(cut[:-1], values) + read_at(cut[1:], values)) / 2


def _zone_at(lateral_m: FloatArray | None, zones_m: Sequence[tuple[float, float]], count: int) -> IntArray:
    if lateral_m is None or not zones_m:
        return np.full(count, -1)
    starts, stops = np.array(zones_m).T
    number = np.searchsorted(starts, lateral_m, side="right") - 1
    return np.where((number >= 0) & (lateral_m < stops[np.maximum(number, 0)]), number, -1)
