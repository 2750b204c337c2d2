"""What a drive does with a route: which way it goes, where it turns, where it leaves, in which lane it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crackmap.calibration.errors import require
from crackmap.calibration.route.follow import Located
from crackmap.calibration.route.geometry import IntArray

MAX_OFFSET_M = 25.0
"""Farther than this from its line a vehicle is on another road: both carriageways of a motorway fit in."""

TURN_M = 20.0
"""A vehicle has turned when it has come back by this much: more than a receiver wanders while it stands."""

LANE_WIDTH_M = 3.5
"""Width of a lane on main roads (AASHTO: 3.6 m; Germany, RAL: 3.5 m)."""


@dataclass(frozen=True, slots=True)
class Travel:
    """The way of a drive along a route.

    Attributes:
        direction: +1 with rising chainage, -1 against it, 0 if it turns on the way or never moves by `TURN_M`.
        turns: indices of the positions at which it turns round.
    """

    direction: int
    turns: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Leave:
    """A stretch of a drive that is not on the route.

    Attributes:
        first, last: indices of its positions, both included.
        spike: a single position that the neighbours on both sides, which are on the route, do not bear out: it has no
            place, but the survey is not cut.
        reason: a sentence for the user.
    """

    first: int
    last: int
    spike: bool
    reason: str


def travel_direction(chainage_m: ArrayLike, *, turn_m: float = TURN_M) -> Travel:
    """Which way a drive goes along a route; positions without chainage (NaN) are passed over.

    A turn is where the vehicle stood when it began to come back by at least `turn_m`; less is noise.
    """
    require(turn_m > 0, "turn_m", "metres above 0", turn_m)
    chainage = np.asarray(chainage_m, np.float64).reshape(-1)
    known = np.flatnonzero(np.isfinite(chainage)).tolist()
    way, turns, first_way = 0, [], 0
    low = high = peak = known[0] if known else 0
    for index in known:
        here = chainage[index]
        if way == 0:
            low = index if here < chainage[low] else low
            high = index if here > chainage[high] else high
            if chainage[high] - chainage[low] >= turn_m:
                way = first_way = 1 if high > low else -1
                peak = index
        elif way * (here - chainage[peak]) > 0:
            peak = index
        elif way * (chainage[peak] - here) >= turn_m:
            turns.append(peak)
            way, peak = -way, index
    return Travel(0 if turns else first_way, tuple(turns))


def leaves(located: Located, *, max_offset_m: float = MAX_OFFSET_M) -> tuple[Leave, ...]:
    """Stretches of a drive farther than `max_offset_m` from the route, or beyond its ends.

    A single position that is off while the known ones before and after it are on the route is a spike of the receiver;
    everything longer, or at either end of the drive, is a stretch: the survey is cut there. Positions without a place
    (NaN) belong to neither side and end no stretch.

    Args:
        located: the drive, as `Route.follow` or `Route.locate` gives it.
        max_offset_m: greatest distance from the line.
    """
    require(max_offset_m > 0, "max_offset_m", "metres above 0", max_offset_m)
    known = np.flatnonzero(np.isfinite(located.distance_m))
    off = located.beyond[known] | (located.distance_m[known] > max_offset_m)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], off, [False]]).astype(np.int8)))
    result = []
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        spike = end - start == 1 and start > 0 and end < len(known)
        stretch = known[start:end]
        result.append(Leave(int(stretch[0]), int(stretch[-1]), spike, _reason(located, stretch, max_offset_m, spike)))
    return tuple(result)


def lane_at(
    offset_m: ArrayLike, *, lane_width_m: float = LANE_WIDTH_M, traffic: str = "right"
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lane and its direction of traffic, on a road whose route line lies between the two directions.

    Args:
        offset_m: (N,) to the right of rising chainage.
        lane_width_m: width of each lane.
        traffic: side of the road on which vehicles drive, "right" or "left".

    Returns:
        Lane (N,): 1, 2, ... outwards on the right of the line, -1, -2, ... on its left, 0 where the offset is NaN;
        direction (N,): +1 where that lane is driven with rising chainage, -1 against it, 0 where the lane is 0.
    """
    require(lane_width_m > 0, "lane_width_m", "metres above 0", lane_width_m)
    require(traffic in ("right", "left"), "traffic", "'right' or 'left'", traffic)
    offset = np.atleast_1d(np.asarray(offset_m, np.float64))
    side = np.where(offset < 0, -1, 1) * np.isfinite(offset)
    number = np.floor(np.abs(np.nan_to_num(offset)) / lane_width_m).astype(np.int64) + 1
    return number * side, side if traffic == "right" else -side


def _reason(located: Located, stretch: IntArray, max_offset_m: float, spike: bool) -> str:
    farthest = int(stretch[np.argmax(located.distance_m[stretch])])
    distance, chainage = located.distance_m[farthest], located.chainage_m[stretch[0]]
    if spike:
        return f"{distance:.0f} m off the route at a single position (chainage {chainage:.0f} m): taken as a bad fix"
    count = f"{len(stretch)} positions" if len(stretch) > 1 else "1 position"
    if located.beyond[stretch].all():
        return f"beyond the end of the route, up to {distance:.0f} m from it ({count})"
    side = "right" if located.offset_m[farthest] > 0 else "left"
    return (
        f"off the route from chainage {chainage:.0f} m on: up to {distance:.0f} m to its {side}, where "
        f"{max_offset_m:g} m are allowed ({count})"
    )
