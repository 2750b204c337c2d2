"""From the fixes of a file to a track: bad ones dropped, the rest in order, cut where the clock or the place breaks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pyproj import Geod

from crackmap.calibration.errors import InputError, require
from crackmap.calibration.track.records import FloatArray, IntArray, RawFixes, Track

WGS84 = Geod(ellps="WGS84")

SHORT_RUN = 10
"""A run of fixes in ascending time that jumps back and is shorter than this is out of order, if the time before it
goes on afterwards; else the clock has restarted."""

MIXED_SHARE = 0.1
"""Above this share of steps back in time the rows of a file are in no order of time at all."""

FEW = 3
"""A stretch shorter than this between two cuts is no way that a vehicle drove."""


@dataclass(frozen=True, slots=True)
class CleanSettings:
    """Rules of bad fixes.

    Attributes:
        max_speed_kmh: a step that is faster is an error, of one fix or of the place.
        outlier_fixes: at most so many fixes in a row are outliers if the vehicle is found on its way after them.
        clock_back_s: a clock that jumps back by more than this and goes on from there has restarted.
    """

    max_speed_kmh: float = 200.0
    outlier_fixes: int = 10
    clock_back_s: float = 1.0

    def __post_init__(self) -> None:
        require(self.max_speed_kmh > 0, "max_speed_kmh", "a positive number", self.max_speed_kmh)
        require(self.outlier_fixes >= 0, "outlier_fixes", "0 or more", self.outlier_fixes)
        require(self.clock_back_s >= 0, "clock_back_s", "0 or more", self.clock_back_s)


def clean(raw: RawFixes, name: str, settings: CleanSettings | None = None) -> Track:
    """The usable fixes of a file as a track.

    Args:
        raw: as a reader found them.
        name: of the file, for messages.
        settings: rules of bad fixes.

    Raises:
        InputError: most latitudes and longitudes look swapped, no fix has a time, or fewer than two fixes are left.
    """
    settings = settings or CleanSettings()
    _refuse_swapped(raw, name)
    drops: dict[str, int] = dict(raw.report.dropped)
    kept = _sensible(raw, drops)
    if not len(kept) and len(raw.time_s) and not np.isfinite(raw.time_s).any():
        raise InputError(
            f"{name}: none of {len(raw.time_s)} fixes has a time that can be read; name the column of seconds or "
            'ISO 8601 times: columns = { time = "..." }'
        )
    if len(kept) < 2:
        raise _too_few(name, len(kept), raw)
    segment = raw.segment[kept] if raw.segment.size else np.zeros(len(kept), np.intp)
    order, stretch, restarts = _in_time(raw.time_s[kept], segment, settings)
    kept = kept[order]
    kept, stretch = _first_of_equal(raw.time_s, kept, stretch, drops)
    kept, stretch, jumps = _on_the_way(raw, kept, stretch, settings, drops)
    if len(kept) < 2:
        raise _too_few(name, len(kept), raw)
    notes = [*raw.report.notes]
    notes += [f"the clock goes back {restarts} times: the track is cut there"] if restarts else []
    notes += [f"the place jumps {jumps} times: the track is cut there"] if jumps else []

    def column(values: FloatArray) -> FloatArray | None:
        return values[kept] if values.size and np.isfinite(values[kept]).any() else None

    accuracy = column(raw.accuracy_m)
    return Track(
        raw.time_s[kept],
        raw.lon_deg[kept],
        raw.lat_deg[kept],
        column(raw.speed_m_s),
        None if accuracy is None else np.where(accuracy > 0, accuracy, np.nan),
        column(raw.alt_m),
        column(raw.distance_m),
        np.cumsum(np.diff(stretch, prepend=stretch[0]) != 0),
        replace(raw.report, dropped=drops, notes=tuple(notes)),
    )


def _refuse_swapped(raw: RawFixes, name: str) -> None:
    lat, lon = np.abs(raw.lat_deg), np.abs(raw.lon_deg)
    # Where both stay below 90 degrees nothing tells a swapped pair from a true one.
    swapped = (lat > 90) & (lat <= 180) & (lon <= 90)
    if 2 * swapped.sum() > len(lat):
        raise InputError(
            f"{name}: latitudes go beyond 90 degrees, as if latitude and longitude were swapped; {raw.swap_hint}"
        )


def _sensible(raw: RawFixes, drops: dict[str, int]) -> IntArray:
    lat, lon = raw.lat_deg, raw.lon_deg
    number = np.isfinite(raw.time_s) & np.isfinite(lat) & np.isfinite(lon)
    nowhere = number & (lat == 0) & (lon == 0)
    beyond = number & ((np.abs(lat) > 90) | (np.abs(lon) > 180))
    drops["no time, latitude or longitude"] = int((~number).sum())
    drops["latitude and longitude both 0"] = int(nowhere.sum())
    drops["out of range"] = int(beyond.sum())
    return np.flatnonzero(number & ~nowhere & ~beyond)


def _in_time(time: FloatArray, segment: IntArray, settings: CleanSettings) -> tuple[IntArray, IntArray, int]:
    """Order of the fixes, stretch of each fix in that order, and how often the clock restarts."""
    back = np.diff(time) < 0
    far_back = np.flatnonzero(np.diff(time) < -settings.clock_back_s) + 1
    mixed = len(far_back) > MIXED_SHARE * len(back) and (len(far_back) > 2 or len(time) < 4)
    cuts = [] if mixed else _restarts(time, far_back, settings)
    clock = np.zeros(len(time), np.intp)
    clock[cuts] = 1
    stretch = np.cumsum(clock)
    order = np.lexsort((np.arange(len(time)), time, stretch))
    both = np.column_stack([stretch, segment])[order]
    changed = (np.diff(both, axis=0, prepend=both[:1]) != 0).any(axis=1)
    return order, np.cumsum(changed), len(cuts)


def _restarts(time: FloatArray, far_back: IntArray, settings: CleanSettings) -> list[int]:
    """Where the clock jumps back and goes on from there."""
    cuts: list[int] = []
    peak, start = -np.inf, 0
    for jump in far_back.tolist():
        if jump < start:
            continue
        peak = max(peak, float(time[start:jump].max())) if jump > start else peak
        soon = time[jump : jump + SHORT_RUN] >= peak - settings.clock_back_s
        if soon.any():
            start = jump + int(np.argmax(soon))
            continue
        cuts.append(jump)
        peak, start = -np.inf, jump
    return cuts


def _first_of_equal(
    time: FloatArray, kept: IntArray, stretch: IntArray, drops: dict[str, int]
) -> tuple[IntArray, IntArray]:
    same = (np.diff(time[kept]) <= 0) & (np.diff(stretch) == 0)
    first = np.concatenate([[True], ~same])
    drops["the time of another fix"] = int((~first).sum())
    return kept[first], stretch[first]


def _on_the_way(
    raw: RawFixes, kept: IntArray, stretch: IntArray, settings: CleanSettings, drops: dict[str, int]
) -> tuple[IntArray, IntArray, int]:
    """Without outliers; cut where the place changes faster than a vehicle can."""
    time, lat, lon = raw.time_s[kept], raw.lat_deg[kept], raw.lon_deg[kept]
    limit = settings.max_speed_kmh / 3.6
    _, _, step = WGS84.inv(lon[:-1], lat[:-1], lon[1:], lat[1:])
    joined = np.diff(stretch) == 0
    fast = joined & (np.asarray(step) > limit * np.diff(time) + _noise(raw, kept)[1:])
    cut, good = _walk(time, lat, lon, fast, joined, limit, settings.outlier_fixes)
    jumps = int(cut.sum())
    stretch = stretch + np.cumsum(cut)
    _, place, count = np.unique(stretch[good], return_inverse=True, return_counts=True)
    if jumps and (count >= FEW).any():
        good = good[count[place] >= FEW]
        jumps = max(0, len(np.unique(stretch[good])) - 1 - int((~joined).sum()))
    drops["faster than a vehicle both ways"] = len(kept) - len(good)
    return kept[good], stretch[good], jumps


def _noise(raw: RawFixes, kept: IntArray) -> FloatArray:
    """Three sigma of the distance of two fixes, where the receiver states their accuracy."""
    if not raw.accuracy_m.size:
        return np.zeros(len(kept))
    return np.asarray(3.0 * np.sqrt(2.0) * np.clip(np.nan_to_num(raw.accuracy_m[kept]), 0.0, 100.0), np.float64)


def _walk(
    time: FloatArray, lat: FloatArray, lon: FloatArray, fast: NDArray[np.bool_], joined: NDArray[np.bool_],
    limit: float, few: int,
) -> tuple[NDArray[np.bool_], IntArray]:  # fmt: skip
    """(N,) True where a new stretch begins, and the indices of the fixes on the way."""
    cut, good = np.zeros(len(time), bool), np.ones(len(time), bool)
    trouble, last_end = np.flatnonzero(fast), 0
    for before in trouble.tolist():
        if before < last_end:
            continue
        ends = np.flatnonzero(~joined[before:])
        stop = before + 1 + int(ends[0]) if len(ends) else len(time)
        ahead = np.arange(before + 2, min(before + 2 + few, stop))
        if len(ahead):
            here = np.full(len(ahead), before)
            _, _, away = WGS84.inv(lon[here], lat[here], lon[ahead], lat[ahead])
            back = ahead[np.asarray(away) <= limit * (time[ahead] - time[before])]
            if len(back):
                last_end = int(back[0])
                good[before + 1 : last_end] = False
                continue
        cut[before + 1] = True
    return cut, np.flatnonzero(good)


def _too_few(name: str, count: int, raw: RawFixes) -> InputError:
    return InputError(
        f"{name}: expected two or more fixes, got {count} in {raw.report.read} rows"
        + "".join(f"; {text}" for text in raw.report.sentences())
        + "; check the log or its columns"
    )
