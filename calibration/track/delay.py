"""The delay between the clock of the receiver and that of the vehicle, from the two records of its speed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from crackmap.calibration.errors import CalibrationError, require
from crackmap.calibration.track.odometer import Odometer, odometer_from_speed
from crackmap.calibration.track.records import FloatArray, Track
from crackmap.calibration.track.runs import SmoothSettings
from crackmap.calibration.track.trajectory import smooth_track

COARSE_STEP_S = 0.05
SLOPE_STEP_S = 0.02
WORST_U_S = 0.1
"""A delay known no better than this moves a vehicle at 20 m/s by 2 m: it is no correction."""

LEAST_PAIRS = 20
BLOCK_WINDOWS = 2.0
"""Differences over a window overlap; sums over blocks of two windows are nearly independent of each other."""

LEAST_BLOCKS = 4
"""With fewer blocks their scatter says nothing about the uncertainty."""


@dataclass(frozen=True, slots=True)
class DelaySettings:
    """How the delay is looked for.

    Attributes:
        window_s: speeds are means over this time, the same for both records. Long enough for the scatter of positions
            to fade, short enough for slow drifts of the receiver to cancel. The ten subsets of a real minute with one
            fix each second scatter by 7 to 10 ms for 3 to 10 s, by 13 to 15 ms for 2 s and for 12 s or more.
        max_delay_s: delays up to this, of either sign, are tried.
    """

    window_s: float = 3.0
    max_delay_s: float = 2.0

    def __post_init__(self) -> None:
        require(self.window_s > 0, "window_s", "a positive number", self.window_s)
        require(self.max_delay_s > 0, "max_delay_s", "a positive number", self.max_delay_s)


@dataclass(frozen=True, slots=True)
class Delay:
    """Track time less odometer time.

    Attributes:
        seconds: what to write as [position] time_offset_s: the track's clock shows a place this much later than the
            vehicle's clock does. What the vehicle calls 10.00 s is found in the track at 10.00 s + seconds.
        u_seconds: 1 sigma from the scatter of both speeds; a delay within the odometer itself cannot be seen.
        scale: metres on the ground per metre of the odometer.
        u_scale: its 1 sigma.
        rms_m_s: what is left between the two speeds.
        pairs: differences compared.
        source: which of the receiver's speeds was compared.
    """

    seconds: float
    u_seconds: float
    scale: float
    u_scale: float
    rms_m_s: float
    pairs: int
    source: Literal["positions", "doppler"]


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Distances over windows by the receiver: start_s, end_s, distance_m, (N,) each."""

    start_s: FloatArray
    end_s: FloatArray
    distance_m: FloatArray


def estimate_delay(
    track: Track,
    odometer: Odometer,
    *,
    source: Literal["positions", "doppler"] = "positions",
    settings: DelaySettings | None = None,
    smoothing: SmoothSettings | None = None,
) -> Delay:
    """The delay at which the odometer explains the receiver's way best, by least squares, with the odometer's scale.

    Positions are the default because they are what is to be corrected: receivers filter their Doppler speed otherwise
    than their positions, and the two may lag by different times.

    Args:
        track: cleaned fixes.
        odometer: on the clock of the vehicle (of the frames).
        source: what to compare with the odometer.
        settings: how the delay is looked for.
        smoothing: rules of gaps.

    Raises:
        CalibrationError: the records do not overlap; the speed hardly varies, so that no delay shows; or the best
            delay lies at the end of those tried.
        InputError: the fixes are too sparse.
    """
    rules = settings or DelaySettings()
    pairs = _pairs(track, source, rules.window_s, smoothing)

    def loss(delay: float) -> float:
        model, used = _explained(pairs, odometer, delay)
        left = pairs.distance_m[used] - _scale(model, pairs.distance_m[used]) * model
        return float(np.mean(left**2)) if used.sum() >= LEAST_PAIRS else np.inf

    best = _best(loss, rules.max_delay_s)
    model, used = _explained(pairs, odometer, best)
    measured, start = pairs.distance_m[used], pairs.start_s[used]
    scale = _scale(model, measured)
    rise = _distance(pairs, odometer, best + SLOPE_STEP_S) - _distance(pairs, odometer, best - SLOPE_STEP_S)
    slope = np.nan_to_num(scale * rise[used] / (2 * SLOPE_STEP_S))
    # What a change of scale would explain as well tells nothing about the delay.
    own = slope - model * float(model @ slope) / max(float(model @ model), 1e-9)
    left = measured - scale * model
    u_seconds, u_scale = _spread(own, left, start, rules.window_s), _spread(model, left, start, rules.window_s)
    if u_seconds > WORST_U_S:
        speed = model / rules.window_s
        raise CalibrationError(
            f"delay: the speed varies too little, or the record is too short, to see it ({speed.min():.1f} to "
            f"{speed.max():.1f} m/s over {np.ptp(start):.0f} s, delay +-{u_seconds:.2f} s); use a part with braking "
            "and starting, or give time_offset_s"
        )
    rms = float(np.sqrt(np.mean(left**2))) / rules.window_s
    return Delay(best, u_seconds, scale, u_scale, rms, int(used.sum()), source)


def _pairs(track: Track, source: str, window_s: float, smoothing: SmoothSettings | None) -> _Pairs:
    bare = replace(track, speed_m_s=None)
    runs = smooth_track(bare, settings=smoothing).runs
    parts = []
    for run in runs:
        time, distance = run.node_s, np.interp(run.node_s, run.fine_s, run.travelled_m)
        if source == "doppler":
            distance = _doppler(track, time)
        end = np.searchsorted(time, time + window_s - 1e-6)
        start = np.flatnonzero(end < len(time))
        # A pair over a much longer step of the track is no mean over the window.
        start = start[time[end[start]] - time[start] <= 1.5 * window_s]
        parts.append(np.column_stack([time[start], time[end[start]], distance[end[start]] - distance[start]]))
    start_s, end_s, distance_m = np.concatenate(parts).T
    return _Pairs(start_s, end_s, distance_m)


def _doppler(track: Track, time: FloatArray) -> FloatArray:
    good = np.zeros(0, bool) if track.speed_m_s is None else np.isfinite(track.speed_m_s)
    if track.speed_m_s is None or good.sum() < 2 or (np.diff(track.time_s[good]) <= 0).any():
        raise CalibrationError("delay: the track has no speed of the receiver; compare positions instead")
    return odometer_from_speed(track.time_s[good], track.speed_m_s[good]).distance_at(time)


def _distance(pairs: _Pairs, odometer: Odometer, delay: float) -> FloatArray:
    return odometer.distance_at(pairs.end_s - delay) - odometer.distance_at(pairs.start_s - delay)


def _explained(pairs: _Pairs, odometer: Odometer, delay: float) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Odometer distances of the pairs that it covers, and which those are."""
    model = _distance(pairs, odometer, delay)
    used = np.isfinite(model) & np.isfinite(pairs.distance_m)
    return model[used], used


def _scale(model: FloatArray, measured: FloatArray) -> float:
    power = float(model @ model)
    return float(model @ measured) / power if power > 0 else 1.0


def _best(loss: Callable[[float], float], max_delay_s: float) -> float:
    tried = np.arange(-np.ceil(max_delay_s / COARSE_STEP_S), np.ceil(max_delay_s / COARSE_STEP_S) + 1) * COARSE_STEP_S
    losses = np.array([loss(float(delay)) for delay in tried])
    if not np.isfinite(losses).any():
        raise CalibrationError(
            f"delay: track and odometer have fewer than {LEAST_PAIRS} stretches of time in common; check that both "
            "count from the same moment"
        )
    place = int(np.argmin(losses))
    if not 0 < place < len(tried) - 1:
        raise CalibrationError(
            f"delay: the best of all delays up to {max_delay_s:g} s is the last one tried, or the speed never varies; "
            "raise max_delay_s, or use a part with braking and starting, or give time_offset_s"
        )
    found = minimize_scalar(
        loss, bounds=(tried[place - 1], tried[place + 1]), method="bounded", options={"xatol": 1e-4}
    )
    return float(found.x)


def _spread(slope: FloatArray, left: FloatArray, start_s: FloatArray, window_s: float) -> float:
    """1 sigma of a parameter with this slope, from sums of slope times residual over blocks of time."""
    power = float(slope @ slope)
    if power <= 0:
        return float("inf")
    block = np.floor((start_s - start_s[0]) / (BLOCK_WINDOWS * window_s)).astype(int)
    sums = np.bincount(block - block.min(), weights=slope * left)[np.unique(block - block.min())]
    if len(sums) < LEAST_BLOCKS:
        return float("inf")
    # Two parameters were fitted to these sums.
    return float(np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 2))) / power
