"""From distances along the drive to chainage and offset along the route.

Frames are cut to strips and joined along the drive, where distance always grows. What is written counts along the
route, which the vehicle may have driven the other way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from crackmap.calibration.errors import require
from crackmap.calibration.route import Route
from crackmap.pipeline.assembly.columns import CrackColumns
from crackmap.pipeline.polyline import weighted_means
from crackmap.pipeline.records import FrameOutcome
from crackmap.stages.records import FloatArray

LEAST_SCALE = 1e-3
"""Least chainage per metre driven, so that there is a way back from chainage to the picture."""


@dataclass(frozen=True, slots=True)
class Drive:
    """One recording's way along the route.

    Attributes:
        drive_m: (N,) ascending, distance along the drive of places whose chainage is known.
        chainage_m: (N,) there, rising or falling.
        direction: 1 with increasing chainage, -1 against it.
    """

    drive_m: FloatArray
    chainage_m: FloatArray
    direction: int

    def __post_init__(self) -> None:
        require(len(self.drive_m) == len(self.chainage_m) > 0, "drive", "one chainage a place", len(self.chainage_m))
        require(self.direction in (1, -1), "direction", "1 or -1", self.direction)

    def to_chainage_m(self, drive_m: ArrayLike) -> FloatArray:
        """(N,) chainage; linear between the known places, metre for metre beyond them."""
        wanted = np.asarray(drive_m, np.float64).reshape(-1)
        known = np.interp(wanted, self.drive_m, self.chainage_m)
        beyond = wanted - np.clip(wanted, self.drive_m[0], self.drive_m[-1])
        return np.asarray(known + self.direction * beyond, np.float64)


@dataclass(frozen=True, slots=True)
class Routing:
    """How the drives of a survey lie on its route.

    Attributes:
        drives: by recording.
        route: the line, where there is one; then cracks are located on it, not along the drive.
    """

    drives: Mapping[str, Drive]
    route: Route | None = None


def along_route(outcomes: Iterable[FrameOutcome], routing: Routing | None) -> list[FrameOutcome]:
    """Frames with chainage and offset along the route in place of those along the drive."""
    if routing is None:
        return list(outcomes)
    return _with_offsets([_frame_along(outcome, routing) for outcome in outcomes], routing)


def _frame_along(outcome: FrameOutcome, routing: Routing) -> FrameOutcome:
    frame = outcome.frame
    drive = routing.drives.get(frame.recording)
    if drive is None or frame.chainage_m is None:
        return outcome
    low, high = frame.owns_y_m or (0.0, 0.0)
    if high - low < 1e-6:
        low, high = low - 0.5, low + 0.5
    # Edges of strips that meet on the drive have one chainage, so strips tile the route as they tile the drive.
    start, end = drive.to_chainage_m([frame.chainage_at(low), frame.chainage_at(high)]).tolist()
    scale = (end - start) / (high - low)
    if scale * drive.direction < LEAST_SCALE:
        # The route's line does not get on here: a vehicle that stood, or cut a sharp corner.
        scale = drive.direction * LEAST_SCALE
    return replace(outcome, frame=replace(frame, chainage_m=start - scale * low, chainage_scale=scale))


def _with_offsets(outcomes: Sequence[FrameOutcome], routing: Routing) -> list[FrameOutcome]:
    """The outcomes with the vehicle's offset from the route line, where there is one."""
    placed = [number for number, outcome in enumerate(outcomes) if outcome.frame.chainage_m is not None]
    found = list(outcomes)
    if routing.route is None or not placed:
        return found
    frames = [outcomes[number].frame for number in placed]
    near = np.array([frame.chainage_at(0.0) for frame in frames])
    located = routing.route.locate([frame.placement.origin_xy for frame in frames], near_chainage_m=near)
    for number, frame, offset_m in zip(placed, frames, located.offset_m.tolist(), strict=True):
        found[number] = replace(outcomes[number], frame=replace(frame, offset_m=offset_m))
    return found


def cracks_along_route(cracks: CrackColumns, routing: Routing | None) -> CrackColumns:
    """Cracks with chainage and offset along the route in place of those along the drive."""
    placed = cracks.known["chainage_at_m"]
    if routing is None or not placed.any():
        return cracks
    chainage_m, offset_m = cracks["chainage_at_m"].copy(), cracks["offset_at_m"].copy()
    of_vertex = np.repeat(np.arange(len(cracks)), np.diff(cracks.ends))
    recordings = np.array(cracks.plain["recording"], object)
    moved = np.zeros(len(cracks), bool)
    for recording, drive in routing.drives.items():
        driven = placed & (recordings == recording)
        chosen = driven[of_vertex]
        chainage_m[chosen] = drive.to_chainage_m(chainage_m[chosen])
        offset_m[chosen] *= drive.direction
        moved |= driven
    if routing.route is not None:
        chosen = placed[of_vertex]
        located = routing.route.locate(cracks["line_xy"][chosen], near_chainage_m=chainage_m[chosen])
        chainage_m[chosen], offset_m[chosen] = located.chainage_m, located.offset_m
        moved = placed
    means_m = weighted_means(offset_m, cracks["line_xy"], cracks.ends)
    changed = {
        "chainage_at_m": chainage_m,
        "offset_at_m": offset_m,
        "chainage_from_m": np.minimum.reduceat(chainage_m, cracks.ends[:-1]),
        "chainage_to_m": np.maximum.reduceat(chainage_m, cracks.ends[:-1]),
        "offset_m": np.where(moved, means_m, cracks["offset_m"]),
    }
    return replace(cracks, arrays={**cracks.arrays, **changed})
