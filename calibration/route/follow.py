"""Following a drive along a line that may come near itself: every nearby part is a candidate, the likeliest way wins.

This is map matching with a hidden Markov model (Newson and Krumm 2009): the distance of a position to a part of the
line is weighed with normal noise, and a step of chainage that differs from the distance moved costs in proportion, so
that a single step that cannot be explained, where a vehicle left the line, does not outweigh all positions after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crackmap.calibration.errors import require
from crackmap.calibration.route.geometry import BoolArray, Cells, FloatArray, IntArray, finite_rows

NOISE_M = 3.0
"""1 sigma of a receiver without corrections, with half a carriageway between line and lane."""

REACH_SIGMAS = 5.0
"""A part of the line is a candidate if it is at most this much farther off than the nearest one: 15 m at 3 m noise."""

FAR_M = 100.0
"""Farther off than this a position is on no part of the line: the nearest place alone is kept."""

BATCH = 1 << 12
"""Points whose candidates are gathered at a time: a line with ten vertices a metre brings 2,000 segments for each."""

STEP_COST = 1.0
"""Cost of one sigma of chainage that the movement does not explain; a position one sigma off costs 0.5."""


@dataclass(frozen=True, slots=True)
class Located:
    """Places of points on a line; N values each, NaN for points that are not finite.

    Attributes:
        chainage_m: of the place on the line; beyond an end it goes on along the straight prolongation.
        offset_m: to the right of rising chainage.
        distance_m: to the line itself, the smallest to the part it was assigned to; never negative.
        beyond: whether the point is beyond an end of the line.
    """

    chainage_m: FloatArray
    offset_m: FloatArray
    distance_m: FloatArray
    beyond: BoolArray

    def __len__(self) -> int:
        return len(self.chainage_m)

    @classmethod
    def read(cls, cells: Cells, xy: FloatArray, known: BoolArray, segment: IntArray, distance: FloatArray) -> Located:
        """Places of those points that are known, given the segment of each of these."""
        values = np.full((3, len(xy)), np.nan)
        beyond = np.zeros(len(xy), np.bool_)
        values[0, known], values[1, known], beyond[known] = cells.read_off(xy[known], segment, distance)
        values[2, known] = distance
        return cls(values[0].copy(), values[1].copy(), values[2].copy(), beyond)

    @classmethod
    def joined(cls, parts: Sequence[Located]) -> Located:
        """One after the other."""
        if not parts:
            return cls(np.empty(0), np.empty(0), np.empty(0), np.empty(0, np.bool_))
        return cls(
            np.concatenate([part.chainage_m for part in parts]),
            np.concatenate([part.offset_m for part in parts]),
            np.concatenate([part.distance_m for part in parts]),
            np.concatenate([part.beyond for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class Candidates:
    """Parts of the line near N points, those of a point in a row.

    Attributes:
        first: (N + 1,) index of the first candidate of each point.
        segment: (K,) nearest segment of the part.
        distance_m: (K,) distance of the point to it.
        chainage_m: (K,) chainage of the place.
    """

    first: IntArray
    segment: IntArray
    distance_m: FloatArray
    chainage_m: FloatArray


def gather(cells: Cells, xy: FloatArray, noise_m: float) -> Candidates:
    """All places of the line where its distance to a point is smallest around, as far as they come into question."""
    parts = [_gather(cells, xy[start : start + BATCH], noise_m) for start in range(0, len(xy), BATCH)]
    if not parts:
        return Candidates(np.zeros(1, np.intp), np.empty(0, np.intp), np.empty(0), np.empty(0))
    counts = np.concatenate([np.diff(part.first) for part in parts])
    return Candidates(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.intp),
        np.concatenate([part.segment for part in parts]),
        np.concatenate([part.distance_m for part in parts]),
        np.concatenate([part.chainage_m for part in parts]),
    )


def choose(cells: Cells, candidates: Candidates, near_m: FloatArray, noise_m: float) -> tuple[IntArray, FloatArray]:
    """Segment and distance of the candidate of each point that suits a chainage best."""
    owner = np.repeat(np.arange(len(near_m)), np.diff(candidates.first))
    cost = 0.5 * (candidates.distance_m / noise_m) ** 2
    cost += STEP_COST * np.abs(candidates.chainage_m - near_m[owner]) / noise_m
    order = np.lexsort((cost, owner))
    best = order[candidates.first[:-1]]
    return candidates.segment[best], candidates.distance_m[best]


def follow_along(cells: Cells, xy: FloatArray, travelled_m: FloatArray | None, noise_m: float) -> Located:
    """Places of a drive: see `Route.follow`."""
    known = finite_rows(xy)
    if travelled_m is not None:
        steps = np.diff(travelled_m[known])
        require(bool(np.isfinite(steps).all()), "travelled_m", "a number for each known position", "others")
        require(bool((steps >= 0).all()), "travelled_m", "distances that never fall", "falling ones")
    places = xy[known]
    candidates = gather(cells, places, noise_m)
    moved = np.hypot(*np.diff(places, axis=0).T) if travelled_m is None else steps
    best = _likeliest(candidates, moved, noise_m, exact=travelled_m is not None)
    return Located.read(cells, xy, known, candidates.segment[best], candidates.distance_m[best])


def _gather(cells: Cells, xy: FloatArray, noise_m: float) -> Candidates:
    nearest, least = cells.nearest_segment(xy)
    close = np.flatnonzero(least <= FAR_M)
    far = np.flatnonzero(least > FAR_M)
    # A little more than the distance itself, or rounding could leave out the nearest segment.
    place, segment = cells.segments_within(xy[close], least[close] + REACH_SIGMAS * noise_m + 1e-6)
    place, segment = np.concatenate([close[place], far]), np.concatenate([segment, nearest[far]])
    order = np.argsort(place, kind="stable")
    place, segment = place[order], segment[order]
    distance = cells.distance_to(xy[place], segment)
    joined = (np.diff(place) == 0) & (np.diff(segment) == 1)
    lower_after = np.append(joined & (distance[1:] < distance[:-1]), False)
    not_above_before = np.concatenate([[False], joined & (distance[1:] >= distance[:-1])])
    kept = np.flatnonzero(~lower_after & ~not_above_before)
    place, segment, distance = place[kept], segment[kept], distance[kept]
    chainage, _, _ = cells.read_off(xy[place], segment, distance)
    first = np.searchsorted(place, np.arange(len(xy) + 1))
    return Candidates(first.astype(np.intp), segment, distance, chainage)


def _likeliest(candidates: Candidates, moved_m: FloatArray, noise_m: float, *, exact: bool) -> IntArray:
    """Index of the candidate of each position on the cheapest way through all of them (Viterbi)."""
    first = candidates.first.tolist()
    count = len(first) - 1
    own = 0.5 * (candidates.distance_m / noise_m) ** 2
    came_from: list[IntArray | None] = [None] * count
    cost = own[: first[1]] if count else own
    for i in range(1, count):
        before, here, after = first[i - 1], first[i], first[i + 1]
        if here - before == 1 and after - here == 1:
            # One way only: what it costs decides nothing.
            cost = own[here:after]
            continue
        jump = np.abs(candidates.chainage_m[here:after, None] - candidates.chainage_m[None, before:here])
        beyond = np.abs(jump - moved_m[i - 1]) if exact else np.maximum(jump - moved_m[i - 1], 0.0)
        total = cost[None, :] + (STEP_COST / noise_m) * beyond
        came_from[i] = np.argmin(total, axis=1)
        cost = own[here:after] + total.min(axis=1)
    best = np.zeros(count, np.intp)
    at = int(np.argmin(cost)) if count else 0
    for i in range(count - 1, -1, -1):
        best[i] = first[i] + at
        back = came_from[i]
        at = 0 if back is None else int(back[at])
    return best
