"""Which stretches of road the frames of a recording measured, and which they lost."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from crackmap.pipeline.footprint import area, visible_polygon_m
from crackmap.pipeline.records import FrameOutcome
from crackmap.stages.records import FloatArray

MEASURED = ("ok", "no_crack")
"""Statuses of frames whose road was looked at."""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Strip:
    """The chainage a frame answers for, and what of it counts.

    Attributes:
        outcome: of the frame.
        chainage: from, to; a point where the strip is not known.
        measured: the part of it that this frame measured and no earlier one.
        lost: of a frame that could not be used: the parts that no other frame measured, and no earlier one lost.
        width_m: of the road it sees there.
        share: the part its camera has in the width that all cameras of the recording see.
    """

    outcome: FrameOutcome
    chainage: Interval
    measured: tuple[Interval, ...] = ()
    lost: tuple[Interval, ...] = ()
    width_m: float = 0.0
    share: float = 1.0


def strips_of(outcomes: Sequence[FrameOutcome], width_m: float | None = None) -> list[Strip]:
    """The strips of one recording in order of chainage.

    Where several cameras see the road side by side, each has its share of the width.

    Args:
        outcomes: frames with a chainage.
        width_m: width of road that counts; by default what the frames see.
    """
    cameras: dict[str, list[FrameOutcome]] = defaultdict(list)
    for outcome in outcomes:
        cameras[outcome.frame.camera].append(outcome)
    if len(cameras) == 1:
        return _strips_of_camera(outcomes, width_m)
    width = {camera: _usual_width_m(group) for camera, group in cameras.items()}
    total = sum(width.values()) or 1.0
    strips = [
        replace(strip, share=width[camera] / total, width_m=strip.width_m * (width[camera] / total if width_m else 1.0))
        for camera, group in sorted(cameras.items())
        for strip in _strips_of_camera(group, width_m)
    ]
    return sorted(strips, key=lambda strip: (strip.chainage, strip.outcome.frame.key))


def extent(strips: Iterable[Strip]) -> Interval:
    """Least and greatest chainage of strips, measured or not."""
    chainages = [strip.chainage for strip in strips]
    return min(low for low, _ in chainages), max(high for _, high in chainages)


def overlap(a: Interval, b: Interval) -> float:
    """Length that two intervals share."""
    return max(0.0, min(a[1], b[1]) - max(a[0], b[0]))


def seen_y_m(polygon: FloatArray) -> Interval:
    """Least and greatest distance ahead of a polygon (N, 2) of the road."""
    return float(polygon[:, 1].min()), float(polygon[:, 1].max())


def lost_lengths_m(strips: Iterable[Strip], bounds: Interval) -> dict[str, float]:
    """Metres inside `bounds` that frames lost, by their status, the longest first; shares of the width count."""
    lost: dict[str, float] = defaultdict(float)
    for strip in strips:
        length = sum(overlap(part, bounds) for part in strip.lost)
        if length > 0:
            lost[strip.outcome.status] += strip.share * length
    return dict(sorted(lost.items(), key=lambda item: (-item[1], item[0])))


def _usual_width_m(outcomes: Sequence[FrameOutcome]) -> float:
    """Median width of the road in a camera's strips, measured or not."""
    polygons = [visible_polygon_m(outcome.frame) for outcome in outcomes]
    widths = [area(polygon) / float(np.ptp(polygon[:, 1])) for polygon in polygons if len(polygon)]
    return float(np.median(widths)) if widths else 0.0


def _strips_of_camera(outcomes: Sequence[FrameOutcome], width_m: float | None) -> list[Strip]:
    """Road that two strips share belongs to the first, so it is counted once."""
    strips, reached = [], -math.inf
    placed = sorted(((_chainage_of(o), o) for o in outcomes), key=lambda item: (item[0], item[1].frame.key))
    for (low, high), outcome in placed:
        polygon = visible_polygon_m(outcome.frame) if outcome.status in MEASURED else np.empty((0, 2))
        measured: tuple[Interval, ...] = ()
        width = 0.0
        if len(polygon):
            seen = seen_y_m(polygon)
            low_seen, high_seen = sorted(outcome.frame.chainage_at(y) for y in seen)
            measured = ((max(low_seen, reached), high_seen),) if high_seen > max(low_seen, reached) else ()
            reached = max(reached, high_seen)
            width = width_m or area(polygon) / (seen[1] - seen[0])
        strips.append(Strip(outcome, (low, high), measured, (), width))
    return _with_losses(strips)


def _with_losses(strips: Sequence[Strip]) -> list[Strip]:
    """The strips with what the unusable ones among them lost."""
    if all(strip.outcome.status in MEASURED for strip in strips):
        return list(strips)
    # Ascending and apart by construction; losses are put between them as they are found.
    taken = [part for strip in strips for part in strip.measured]
    ends = np.array([high for _, high in taken])
    found, reached = [], -math.inf
    for strip in strips:
        if strip.outcome.status in MEASURED:
            found.append(strip)
            continue
        start = max(strip.chainage[0], reached)
        first, end = np.searchsorted(ends, [start, strip.chainage[1]], side="right").tolist()
        found.append(replace(strip, lost=_without((start, strip.chainage[1]), taken[first : end + 1])))
        reached = max(reached, strip.chainage[1])
    return found


def _without(interval: Interval, taken: Sequence[Interval]) -> tuple[Interval, ...]:
    """The parts of an interval outside others, which are in ascending order and apart."""
    start, end = interval
    parts = []
    for low, high in taken:
        if low >= end:
            break
        if low > start:
            parts.append((start, low))
        start = max(start, high)
    return (*parts, (start, end)) if end > start else tuple(parts)


def _chainage_of(outcome: FrameOutcome) -> Interval:
    """The chainage of a frame's strip, measured or not; a point where the strip is not known."""
    frame = outcome.frame
    polygon = visible_polygon_m(frame) if frame.owns_y_m is None else np.empty((0, 2))
    ends = frame.owns_y_m or (seen_y_m(polygon) if len(polygon) else (0.0, 0.0))
    low, high = sorted(frame.chainage_at(y) for y in ends)
    return low, high
