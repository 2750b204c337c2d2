"""From distances along the drive to chainage and offset along the route.

Frames are cut to strips and joined along the drive, where distance always grows. What is written counts along the
route, which the vehicle may have driven the other way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from crackmap.calibration.errors import require
from crackmap.calibration.route import Route
from crackmap.pipeline.assembly.columns import CrackColumns
from crackmap.pipeline.frame_table import Frames
from crackmap.pipeline.polyline import weighted_means
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


def frames_along_route(frames: Frames, routing: Routing | None) -> Frames:
    """Frames with chainage and offset along the route in place of those along the drive."""
    if routing is None:
        return frames
    chainage_m, scale, owns_y_m = frames.chainage_m.copy(), np.ones(len(frames)), frames.owns_y_m
    for recording, part in frames.recordings():
        drive = routing.drives.get(recording)
        if drive is not None:
            chainage_m[part], scale[part] = _along(drive, chainage_m[part], owns_y_m[part])
    offset_m, placed = np.zeros(len(frames)), ~np.isnan(chainage_m)
    if routing.route is not None and placed.any():
        located = routing.route.locate(frames.origin_xy[placed], near_chainage_m=chainage_m[placed])
        offset_m[placed] = located.offset_m
    return frames.along_route(chainage_m, scale, offset_m)


def _along(drive: Drive, drive_m: FloatArray, owns_y_m: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(N,) chainage of frames along a drive, and metres of chainage per metre ahead, by their (N, 2) strips."""
    low, high = np.where(np.isnan(owns_y_m), 0.0, owns_y_m).T
    narrow = high - low < 1e-6
    low, high = np.where(narrow, low - 0.5, low), np.where(narrow, low + 0.5, high)
    # Edges of strips that meet on the drive have one chainage, so strips tile the route as they tile the drive.
    start, end = drive.to_chainage_m(drive_m + low), drive.to_chainage_m(drive_m + high)
    scale = (end - start) / (high - low)
    # The route's line does not get on where a vehicle stood, or cut a sharp corner.
    scale = np.where(scale * drive.direction < LEAST_SCALE, drive.direction * LEAST_SCALE, scale)
    known = ~np.isnan(drive_m)
    return np.where(known, start - scale * low, drive_m), np.where(known, scale, 1.0)


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
