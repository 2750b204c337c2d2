"""The odometer: speed or distance of the wheels over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from crackmap.calibration.errors import InputError, require
from crackmap.calibration.track.records import FloatArray
from crackmap.calibration.track.table import read_table, speed_column

MAX_STEP_S = 1.5
"""Readings farther apart than this leave the speed between them open: a vehicle brakes by 10 m/s in that time."""

PULSE_SPAN_S = 0.5
"""A distance counter ticks; its speed is taken over this time to both sides."""


@dataclass(frozen=True, slots=True)
class Odometer:
    """Speed of the wheels.

    Attributes:
        time_s: (N,) strictly ascending, seconds.
        speed_m_s: (N,) 0 or more; reversing counts as driving.
        distance_m: (N,) driven since the first reading.
        dropped: rows of the file that are not used.
    """

    time_s: FloatArray
    speed_m_s: FloatArray
    distance_m: FloatArray
    dropped: int = 0

    def __post_init__(self) -> None:
        require(len(self.time_s) >= 2, "odometer", "two or more readings", len(self.time_s))
        require(bool((np.diff(self.time_s) > 0).all()), "odometer time_s", "strictly ascending times", "others")

    def on_track(self, delay_s: float, scale: float = 1.0) -> Odometer:
        """The same readings on the clock of the track: `delay_s` later, and times `scale`."""
        return Odometer(self.time_s + delay_s, scale * self.speed_m_s, scale * self.distance_m, self.dropped)

    def distance_at(self, time_s: ArrayLike) -> FloatArray:
        """(N,) distance driven at times, NaN where unknown."""
        return self._at(time_s, self.distance_m)

    def speed_at(self, time_s: ArrayLike) -> FloatArray:
        """(N,) speed at times, NaN where unknown."""
        return self._at(time_s, self.speed_m_s)

    def covers(self, start_s: float, end_s: float) -> bool:
        """Whether the readings go from start to end without a hole longer than MAX_STEP_S."""
        if start_s < self.time_s[0] or end_s > self.time_s[-1]:
            return False
        first = max(int(np.searchsorted(self.time_s, start_s, side="right")) - 1, 0)
        last = int(np.searchsorted(self.time_s, end_s)) + 1
        return bool((np.diff(self.time_s[first:last]) <= MAX_STEP_S).all())

    def _at(self, time_s: ArrayLike, values: FloatArray) -> FloatArray:
        times = np.asarray(time_s, np.float64)
        after = np.clip(np.searchsorted(self.time_s, times), 1, len(self.time_s) - 1)
        hole = self.time_s[after] - self.time_s[after - 1] > MAX_STEP_S
        outside = (times < self.time_s[0]) | (times > self.time_s[-1])
        return np.where(hole | outside, np.nan, np.interp(times, self.time_s, values))


def odometer_from_speed(time_s: FloatArray, speed_m_s: FloatArray, dropped: int = 0) -> Odometer:
    """An odometer from speeds, whose distance is their integral by the trapezium rule."""
    speed = np.abs(speed_m_s)
    step = np.diff(time_s) * (speed[1:] + speed[:-1]) / 2
    return Odometer(time_s, speed, np.concatenate([[0.0], np.cumsum(step)]), dropped)


def odometer_from_distance(time_s: FloatArray, distance_m: FloatArray, dropped: int = 0) -> Odometer:
    """An odometer from a counter, which may tick in steps; where it falls it counts as standing."""
    driven = np.concatenate([[0.0], np.cumsum(np.maximum(np.diff(distance_m), 0.0))])
    start, end = np.maximum(time_s - PULSE_SPAN_S, time_s[0]), np.minimum(time_s + PULSE_SPAN_S, time_s[-1])
    rise = np.interp(end, time_s, driven) - np.interp(start, time_s, driven)
    return Odometer(time_s, rise / (end - start), driven, dropped)


def read_odometer(path: Path, *, columns: Mapping[str, str] | None = None) -> Odometer:
    """Reads an odometer from a table: time, and speed_m_s, speed_kmh or distance_m.

    Rows without numbers are dropped and counted; rows are ordered by time, of equal times the first is kept.

    Args:
        path: the file.
        columns: "time", "speed", "speed_kmh", "distance" -> name of the column, where it is not a common one.

    Raises:
        InputError: the file cannot be read, a column is missing, or fewer than two readings are left.
    """
    table, named = read_table(path), dict(columns or {})
    time, values = table.values(table.needed("time", named.get("time"))), speed_column(table, named)
    from_speed = bool(values.size)
    if not from_speed:
        place = table.place("distance", named.get("distance"))
        if place is None:
            raise InputError(
                f"{path.name}: expected a column speed_m_s, speed_kmh or distance_m, got {', '.join(table.header)}; "
                'name it: columns = { speed = "..." }'
            )
        values = table.values(place)
    good = np.flatnonzero(np.isfinite(time) & np.isfinite(values))
    _, first = np.unique(time[good], return_index=True)
    kept = good[first]
    if len(kept) < 2:
        raise InputError(f"{path.name}: expected two or more readings, got {len(kept)} in {len(table.rows)} rows")
    make = odometer_from_speed if from_speed else odometer_from_distance
    return make(time[kept], values[kept], len(table.rows) - len(kept))
