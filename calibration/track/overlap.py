"""Do the times of the frames lie on the track? If not, what is between the two clocks?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from crackmap.calibration.errors import InputError
from crackmap.calibration.track.records import FloatArray, Track

LEAP_S = 18.0
"""GPS time less UTC since 2017-01-01 (IERS Bulletin C 52)."""

GPS_EPOCH_S = 315964800.0
"""1980-01-06, where GPS time begins, in seconds since 1970."""

DAY_S, WEEK_S = 86400.0, 604800.0
SHARE = 0.9
"""An explanation must bring this share of the frames onto the track."""


def require_overlap(frame_s: ArrayLike, track: Track) -> None:
    """Checks that at least one frame lies within the time of the track.

    Args:
        frame_s: (N,) times of the frames on the clock of the track; NaN counts as no time.
        track: the track.

    Raises:
        InputError: none does; the message names both spans and what is probably between the clocks.
    """
    times = np.asarray(frame_s, np.float64).reshape(-1)
    times = times[np.isfinite(times)]
    if not len(times):
        raise InputError("frames: none has a time; check the group time_s of [frames] pattern")
    if _share(times, track) > 0:
        return
    start, end = float(track.time_s.min()), float(track.time_s.max())
    raise InputError(
        f"no frame falls on the track, which lasts from {start:.3f} to {end:.3f} s, the frames from "
        f"{times.min():.3f} to {times.max():.3f} s; {_explained(times, track)}"
    )


def _explained(times: FloatArray, track: Track) -> str:
    start, end = float(track.time_s.min()), float(track.time_s.max())
    for scale, unit in ((1e-3, "milliseconds"), (1e-6, "microseconds"), (1e-9, "nanoseconds")):
        if _share(times * scale, track) >= SHARE:
            return f"the frames seem to count {unit}: set time_scale = {scale:g}"
        if _share(times / scale, track) >= SHARE:
            return f"the track seems to count {unit}: bring its time column to seconds"
    # Frames and track that only just miss each other say as little about hours as a track of a whole day.
    middle = (start + end - times.min() - times.max()) / 2
    for leap in (LEAP_S, -LEAP_S):
        if abs(middle - leap) <= 2.0 and _share(times + leap, track) >= SHARE:
            return f"{LEAP_S:g} s lie between GPS time and UTC: set time_offset_s = {leap:g}"
    halves = sorted((half for half in range(-28, 29) if half), key=lambda half: (half % 2, abs(1800.0 * half - middle)))
    for half in halves:
        for leap in (0.0, LEAP_S, -LEAP_S):
            shift = 1800.0 * half + leap
            if _share(times + shift, track) >= SHARE:
                also = " and the seconds between GPS time and UTC" if leap else ""
                return f"the time zone{also} may differ by {half / 2:g} h: set time_offset_s = {shift:g}"
    for leap in (0.0, LEAP_S):
        if _share(times + GPS_EPOCH_S - leap, track) >= SHARE:
            return f"the frames count from 1980 (GPS): set time_offset_s = {GPS_EPOCH_S - leap:.0f}"
        if _share(times - GPS_EPOCH_S + leap, track) >= SHARE:
            return f"the track counts from 1980 (GPS): set time_offset_s = {leap - GPS_EPOCH_S:.0f}"
    return _periods(times, track)


def _periods(times: FloatArray, track: Track) -> str:
    """Clocks of which one counts from midnight or from the start of the GPS week."""
    middle = (float(track.time_s.min() + track.time_s.max()) - float(times.min() + times.max())) / 2
    for period, name in ((DAY_S, "seconds of the day"), (WEEK_S, "seconds of the GPS week")):
        origin = 0.0 if period == DAY_S else GPS_EPOCH_S - LEAP_S
        whole = period * round((middle - np.sign(middle) * origin) / period) + np.sign(middle) * origin
        if 0 <= min(times.min(), track.time_s.min()) < period and _share(times + whole, track) >= SHARE:
            side = "frames" if middle > 0 else "track"
            return f"the {side} may count {name}: set time_offset_s = {whole:.0f}"
    return "check [position] time_scale and time_offset_s, and that the track is that of this drive"


def _share(times: FloatArray, track: Track) -> float:
    return float(np.mean((times >= track.time_s.min()) & (times <= track.time_s.max())))
