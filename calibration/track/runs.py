"""Runs: the parts of a track over which the way is known without a gap, smoothed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from crackmap.calibration.errors import InputError, require
from crackmap.calibration.track.clean import WGS84
from crackmap.calibration.track.odometer import Odometer
from crackmap.calibration.track.project import knots_of, refuse_stray, to_degrees, to_metres
from crackmap.calibration.track.records import FloatArray, Track
from crackmap.calibration.track.smooth import (
    Q_M2_S3,
    SLOW_M_S,
    Nodes,
    Smoothed,
    between,
    heading_of,
    scatter_m,
    smooth,
)

KNOT_M = 1.0
"""Places closer than this to the last one that counted add no chainage, or closer than KNOT_SIGMAS of their scatter: a
standing vehicle's receiver wanders, and a noisy way is longer than the road."""

KNOT_SIGMAS = 8.0
FINE_STEP_S = 0.1

HEADING_HALF_SPAN_S = 0.25
"""The heading is the direction from the place before to the place after by this time: exact on an arc, within half a
degree where a street corner begins, and calmer than the velocity at one moment."""

ODOMETER_STEP_S = 0.2

U_SPEED_M_S = 0.05
U_SPEED_SHARE = 0.01
"""A wheel speed over one second: its resolution, and slip and tyre as a share of it."""

U_DOPPLER_M_S = 0.3
"""A receiver's own speed over one second: good to 0.1 m/s, but filtered, so that it lags while the speed changes."""

BRIDGE_SLACK_M = 5.0
BRIDGE_SLACK_SHARE = 0.05
"""Ends of a gap that are farther apart than the odometer's distance by more than this are not joined by this way."""


@dataclass(frozen=True, slots=True)
class SmoothSettings:
    """Rules of gaps, and what is known of the receiver.

    Attributes:
        max_gap_s, max_gap_m: between fixes farther apart than either nothing is known.
        max_bridge_s: the odometer bridges gaps up to this.
        tolerance_s: before the first and after the last fix positions go straight on for this long.
        accuracy_m: 1 sigma of either coordinate of the receiver, where its file states none; None: the scatter.
        q_m2_s3: density of the acceleration noise, see `smooth`.
    """

    max_gap_s: float = 2.0
    max_gap_m: float = 50.0
    max_bridge_s: float = 30.0
    tolerance_s: float = 0.25
    accuracy_m: float | None = None
    q_m2_s3: float = Q_M2_S3

    def __post_init__(self) -> None:
        for name in ("max_gap_s", "max_gap_m", "q_m2_s3"):
            require(getattr(self, name) > 0, name, "a positive number", getattr(self, name))
        for name in ("max_bridge_s", "tolerance_s"):
            require(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))
        require(self.accuracy_m is None or self.accuracy_m > 0, "accuracy_m", "a positive number", self.accuracy_m)


@dataclass(frozen=True, slots=True)
class Run:
    """A part of a track over which the way is known, ends included.

    Attributes:
        node_s: (N,) times of the smoother's nodes.
        way: positions and velocities there.
        stated_m: (N,) what the receiver is off by as a whole, 1 sigma of either coordinate: smoothing cannot lower it.
        fine_s: (M,) ascending times, FINE_STEP_S or less apart.
        azimuth_deg: (M,) heading there, not wrapped; NaN where the vehicle has not moved yet.
        travelled_m: (M,) since the track's first fix.
        counter_m: (M,) reading of the file's distance counter, or empty.
        stretch: number of the track's stretch.
    """

    node_s: FloatArray
    way: Smoothed
    stated_m: FloatArray
    fine_s: FloatArray
    azimuth_deg: FloatArray
    travelled_m: FloatArray
    counter_m: FloatArray
    stretch: int

    @property
    def start_s(self) -> float:
        """Time of the first fix."""
        return float(self.node_s[0])

    @property
    def end_s(self) -> float:
        """Time of the last fix."""
        return float(self.node_s[-1])


def smoothed_runs(
    track: Track, crs: CRS, odometer: Odometer | None, settings: SmoothSettings
) -> tuple[tuple[Run, ...], int]:
    """The runs of a track in its order, and how many gaps the odometer bridges.

    Raises:
        InputError: the fixes are so sparse that most of the track is gaps, or it strays from its projection.
    """
    scale = refuse_stray(crs, track)
    xy = to_metres(crs, track.lon_deg, track.lat_deg)
    joined, bridged = _joined(track, odometer, settings)
    bounds = np.concatenate([[0], np.flatnonzero(~joined) + 1, [len(xy)]])
    runs: list[Run] = []
    for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        if last - first >= 2:
            before = runs[-1] if runs else None
            runs.append(_run(track, xy, scale, slice(first, last), crs, odometer, settings, before))
    if not runs:
        raise _sparse(track, settings)
    return tuple(runs), bridged


def _joined(track: Track, odometer: Odometer | None, settings: SmoothSettings) -> tuple[NDArray[np.bool_], int]:
    """(N - 1,) True where the way from a fix to the next is known, and how many of these steps are bridged."""
    together = np.diff(track.stretches) == 0
    step = np.diff(track.time_s)
    _, _, away = WGS84.inv(track.lon_deg[:-1], track.lat_deg[:-1], track.lon_deg[1:], track.lat_deg[1:])
    away = np.asarray(away, np.float64)
    # A step of 2 s written as 1533226490.3 - 1533226488.3 is a few 1e-7 longer.
    near = together & (step <= settings.max_gap_s + 1e-6) & (away <= settings.max_gap_m + 1e-6)
    if 2 * (together & ~near).sum() > together.sum() and odometer is None:
        raise _sparse(track, settings)
    bridged = 0
    for index in np.flatnonzero(together & ~near & (step <= settings.max_bridge_s)).tolist() if odometer else ():
        start, end = float(track.time_s[index]), float(track.time_s[index + 1])
        if odometer is not None and odometer.covers(start, end):
            driven = float(np.diff(odometer.distance_at([start, end]))[0])
            near[index] = away[index] <= (1.0 + BRIDGE_SLACK_SHARE) * driven + BRIDGE_SLACK_M
            bridged += int(near[index])
    return near, bridged


def _sparse(track: Track, settings: SmoothSettings) -> InputError:
    together = np.diff(track.stretches) == 0
    step = np.diff(track.time_s)[together]
    _, _, away = WGS84.inv(track.lon_deg[:-1], track.lat_deg[:-1], track.lon_deg[1:], track.lat_deg[1:])
    typical_s = float(np.median(step)) if len(step) else math.nan
    typical_m = float(np.median(np.asarray(away)[together])) if len(step) else math.nan
    return InputError(
        f"track: fixes come each {typical_s:.3g} s and {typical_m:.3g} m (median), beyond max_gap_s = "
        f"{settings.max_gap_s:g} or max_gap_m = {settings.max_gap_m:g}, so that nothing is known between most of them; "
        "raise these settings if the track is sparse by design, or give an odometer"
    )


def _run(
    track: Track, xy: FloatArray, scale: FloatArray, part: slice, crs: CRS, odometer: Odometer | None,
    settings: SmoothSettings, before: Run | None,
) -> Run:  # fmt: skip
    time, stated = track.time_s[part], _stated(track, part, settings)
    scatter = scatter_m(time, xy[part])
    if len(time) < 7 and stated is not None:
        scatter = float(np.median(stated))
    nodes = _nodes(track, part, xy[part], _relative(stated, len(time)) * scatter, odometer, scale)
    way = smooth(nodes, settings.q_m2_s3)
    fine = _finer(nodes.time_s, np.full(len(nodes.time_s) - 1, FINE_STEP_S))
    places, velocity = between(way, nodes.time_s, fine)
    u_velocity = np.interp(fine, nodes.time_s, way.u_velocity_m_s)
    behind, ahead = (
        between(way, nodes.time_s, fine + shift)[0] for shift in (-HEADING_HALF_SPAN_S, HEADING_HALF_SPAN_S)
    )
    chord = (ahead - behind) / (2 * HEADING_HALF_SPAN_S)
    lon, lat = to_degrees(crs, places)
    start = 0.0 if before is None else float(before.travelled_m[-1])
    held = math.nan
    if before is not None and before.stretch == int(track.stretches[part.start]):
        start += _apart(crs, before, lon[0], lat[0])
        held = float(before.azimuth_deg[-1])
    counter = np.empty(0)
    if track.distance_m is not None and np.isfinite(track.distance_m[part]).all():
        counter = np.maximum.accumulate(np.interp(fine, time, track.distance_m[part]))
    return Run(
        nodes.time_s,
        way,
        np.interp(nodes.time_s, time, np.full(len(time), scatter) if stated is None else stated),
        fine,
        heading_of(chord, u_velocity, held),
        start + _travelled(places, velocity, u_velocity, fine, lon, lat, float(np.median(way.u_xy_m))),
        counter,
        int(track.stretches[part.start]),
    )


def _nodes(
    track: Track, part: slice, xy: FloatArray, sigma: FloatArray, odometer: Odometer | None, scale: FloatArray
) -> Nodes:
    """The fixes of a run; with an odometer also places between them, each with its speed."""
    fix_s = track.time_s[part]
    time = fix_s
    if odometer is not None:
        middle = (fix_s[:-1] + fix_s[1:]) / 2
        finer = np.where(np.isfinite(odometer.speed_at(middle)), ODOMETER_STEP_S, np.inf)
        time = _finer(fix_s, finer)
    own = np.searchsorted(time, fix_s)
    places, spread = np.full((len(time), 2), np.nan), np.full(len(time), np.inf)
    places[own], spread[own] = xy, sigma
    speed = np.full(len(time), np.nan)
    if odometer is not None:
        speed = odometer.speed_at(time)
        u_speed = np.hypot(U_SPEED_M_S, U_SPEED_SHARE * np.nan_to_num(speed))
    else:
        u_speed = np.full(len(time), U_DOPPLER_M_S)
        if track.speed_m_s is not None:
            speed[own] = track.speed_m_s[part]
    # The uncertainties hold for one second; errors of readings within it are not independent.
    share_s = np.clip(np.gradient(time), 1e-3, 1.0)
    grid = np.interp(time, fix_s, scale[part])
    return Nodes(time, places, spread, grid * speed, u_speed / np.sqrt(share_s))


def _finer(time: FloatArray, longest: FloatArray) -> FloatArray:
    """Times with each step divided evenly into steps of at most `longest`."""
    step = np.diff(time)
    # A step of 0.1 s in seconds since 1970 may be a little longer, and needs no division.
    count = np.maximum(np.ceil(step / longest - 0.5), 1).astype(int)
    place = np.repeat(np.arange(len(step)), count)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    inner = time[place] + step[place] * within / count[place]
    return np.concatenate([inner, time[-1:]])


def _stated(track: Track, part: slice, settings: SmoothSettings) -> FloatArray | None:
    """(N,) accuracy stated by the file, else by the settings; None without either."""
    given = None if track.accuracy_m is None else track.accuracy_m[part]
    if given is not None and np.isfinite(given).any():
        return np.where(np.isfinite(given), given, np.nanmedian(given))
    return None if settings.accuracy_m is None else np.full(part.stop - part.start, settings.accuracy_m)


def _relative(stated: FloatArray | None, count: int) -> FloatArray:
    """(N,) how much worse than usual each fix is said to be."""
    if stated is None:
        return np.ones(count)
    return np.clip(stated / np.median(stated), 0.1, 100.0)


def _apart(crs: CRS, before: Run, lon_deg: float, lat_deg: float) -> float:
    lon, lat = to_degrees(crs, before.way.xy_m[-1:])
    return float(WGS84.inv(lon[0], lat[0], lon_deg, lat_deg)[2])


def _travelled(
    places: FloatArray, velocity: FloatArray, u_velocity: FloatArray, time: FloatArray, lon: FloatArray,
    lat: FloatArray, scatter: float,
) -> FloatArray:  # fmt: skip
    """(N,) metres on the ellipsoid since the first place; a standing vehicle gains none."""
    knots = knots_of(places, max(KNOT_M, KNOT_SIGMAS * scatter))
    _, _, steps = WGS84.inv(lon[knots[:-1]], lat[knots[:-1]], lon[knots[1:]], lat[knots[1:]])
    at_knots = np.concatenate([[0.0], np.cumsum(steps)])
    speed = np.hypot(*velocity.T)
    driven = np.where(speed > np.maximum(SLOW_M_S, 3.0 * u_velocity), speed, 0.0)
    way = np.concatenate([[0.0], np.cumsum((driven[1:] + driven[:-1]) / 2 * np.diff(time))])
    # Between knots by the way driven; the tiny share of time decides where no movement is certain.
    way += 1e-9 * (time - time[0])
    return np.asarray(np.interp(way, way[knots], at_knots), np.float64)
