"""Tracks in metres: the CRS, the projected fixes, the chainage travelled."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pyproj import CRS, Proj, Transformer
from pyproj.exceptions import CRSError

from crackmap.calibration.errors import InputError, require
from crackmap.calibration.track.clean import WGS84
from crackmap.calibration.track.records import FloatArray, Track

KNOT_M = 1.0
"""Fixes closer than this to the last one that counted add no chainage: a standing vehicle's receiver wanders."""

HEADING_HALF_SPAN_S = 0.5
"""The heading is read between the places half a second before and after: 10 to 20 m at survey speed, on which a
receiver's jitter of centimetres turns it by less than a degree."""

MAX_SCALE_ERROR = 0.004
"""A projection whose scale is farther off no longer measures the road: UTM, 6 degrees from the middle of its zone."""

UPS_SCALE = 0.994
"""Scale of UPS at the pole, by definition, and the least that it has anywhere."""


@dataclass(frozen=True, slots=True)
class ProjectedTrack:
    """The fixes of a track in metres, read out by straight lines between them.

    Attributes:
        time_s: (N,) seconds, strictly ascending where `at` is used.
        xy_m: (N, 2) easting and northing.
        chainage_m: (N,) distance travelled since the first fix, metres on the ground.
        crs_wkt: the projected CRS.
    """

    time_s: FloatArray
    xy_m: FloatArray
    chainage_m: FloatArray
    crs_wkt: str

    def at(self, time_s: ArrayLike, *, max_gap_s: float = 2.0) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Position, azimuth of travel and chainage at given times.

        Linear between fixes; before the first and after the last one along the speed of the first and last second.

        Args:
            time_s: (N,) seconds of the track's clock.
            max_gap_s: farther than this from every fix nothing is known.

        Returns:
            xy_m (N, 2), azimuth_deg (N,) clockwise from grid north in [0, 360), chainage_m (N,); NaN where nothing is
            known, and azimuth NaN where the vehicle has not moved at all.

        Raises:
            InputError: the clock restarts within the track.
        """
        require(bool((np.diff(self.time_s) > 0).all()), "track", "a clock that never goes back", "one that restarts")
        times = np.asarray(time_s, np.float64).reshape(-1)
        after = np.clip(np.searchsorted(self.time_s, times), 1, len(self.time_s) - 1)
        nearest = np.minimum(np.abs(times - self.time_s[after - 1]), np.abs(times - self.time_s[after]))
        lost = ~(nearest <= max_gap_s)
        values = self._values(times)
        behind, ahead = (self._values(times + shift)[:, 2] for shift in (-HEADING_HALF_SPAN_S, HEADING_HALF_SPAN_S))
        azimuth = self._azimuth_deg(values[:, 2], behind, ahead)
        values[lost] = np.nan
        azimuth[lost] = np.nan
        return values[:, :2].copy(), azimuth, values[:, 2].copy()

    def _values(self, times: FloatArray) -> FloatArray:
        """(N, 3) easting, northing, chainage."""
        known = np.column_stack([self.xy_m, self.chainage_m])
        result = np.column_stack([np.interp(times, self.time_s, known[:, i]) for i in range(3)])
        for end, other in ((0, min(int(np.searchsorted(self.time_s, self.time_s[0] + 1.0)), len(known) - 1)),
                           (-1, max(int(np.searchsorted(self.time_s, self.time_s[-1] - 1.0)) - 1, 0))):  # fmt: skip
            outside = times < self.time_s[0] if end == 0 else times > self.time_s[-1]
            speed = (known[other] - known[end]) / (self.time_s[other] - self.time_s[end])
            result[outside] = known[end] + (times[outside] - self.time_s[end])[:, None] * speed
        return np.asarray(result, np.float64)

    def _azimuth_deg(self, here: FloatArray, behind: FloatArray, ahead: FloatArray) -> FloatArray:
        """Direction between two places on the track, found by chainage: a standing vehicle keeps its heading."""
        first, last = self.chainage_m[0], self.chainage_m[-1]
        half = np.maximum((ahead - behind) / 2, KNOT_M / 2)
        start = np.clip(here - half, first, max(last - KNOT_M, first))
        end = np.clip(here + half, min(first + KNOT_M, last), last)
        rising = np.concatenate([[True], np.diff(self.chainage_m) > 0])
        chainage, xy = self.chainage_m[rising], self.xy_m[rising]
        dx, dy = (np.interp(end, chainage, xy[:, i]) - np.interp(start, chainage, xy[:, i]) for i in (0, 1))
        azimuth = np.mod(np.degrees(np.arctan2(dx, dy)), 360.0)
        return np.where((dx == 0) & (dy == 0), np.nan, azimuth)


def project_track(track: Track, crs: str | None = None) -> ProjectedTrack:
    """The fixes in metres, with the chainage travelled since the first.

    Chainage is measured on the WGS 84 ellipsoid, not in the projection, whose scale is off by up to 0.04 %.

    Args:
        track: the fixes.
        crs: a projected CRS in metres, as "EPSG:25833"; the UTM or UPS zone of the first fix without.

    Raises:
        InputError: the CRS is unknown, not projected or not in metres; or the track strays so far from the middle of
            the projection that its scale is off by more than 0.4 %.
    """
    chosen = track_crs(track, crs)
    xy = to_metres(chosen, track.lon_deg, track.lat_deg)
    refuse_stray(chosen, track)
    knots = knots_of(xy, KNOT_M)
    steps = _steps(track, knots)
    # Where the clock restarts, time does not ascend; what has elapsed does.
    elapsed = np.concatenate([[0.0], np.cumsum(np.maximum(np.diff(track.time_s), 1e-9))])
    chainage = np.interp(elapsed, elapsed[knots], np.concatenate([[0.0], np.cumsum(steps)]))
    return ProjectedTrack(track.time_s, xy, np.asarray(chainage, np.float64), chosen.to_wkt())


def track_crs(track: Track, crs: str | None = None) -> CRS:
    """The CRS given, else the UTM zone of the first fix, UPS beyond 84 degrees north and 80 degrees south.

    Raises:
        InputError: the CRS is unknown, not projected or not in metres.
    """
    if crs is None:
        return CRS.from_epsg(zone_epsg(float(track.lon_deg[0]), float(track.lat_deg[0])))
    try:
        chosen = CRS.from_user_input(crs)
    except CRSError as error:
        raise InputError(f"crs: {crs!r} is not known; write a code such as EPSG:25833") from error
    metres = chosen.is_projected and all(axis.unit_conversion_factor == 1.0 for axis in chosen.axis_info[:2])
    if not metres:
        raise InputError(f"crs: expected a projected CRS in metres such as EPSG:25833, got {chosen.name}")
    return chosen


def zone_epsg(lon_deg: float, lat_deg: float) -> int:
    """EPSG code of the UTM zone (with the exceptions of Norway and Svalbard) or of UPS."""
    if lat_deg >= 84.0:
        return 32661
    if lat_deg < -80.0:
        return 32761
    zone = min(int((lon_deg + 180.0) // 6.0) + 1, 60)
    if 56.0 <= lat_deg < 64.0 and 3.0 <= lon_deg < 12.0:
        zone = 32
    elif lat_deg >= 72.0 and 0.0 <= lon_deg < 42.0:
        zone = 31 if lon_deg < 9 else 33 if lon_deg < 21 else 35 if lon_deg < 33 else 37
    return (32600 if lat_deg >= 0 else 32700) + zone


def to_metres(crs: CRS, lon_deg: FloatArray, lat_deg: FloatArray) -> FloatArray:
    """(N, 2) easting and northing, without a jump where a track passes the edge of a zone or 180 degrees."""
    easting, northing = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon_deg, lat_deg)
    return np.column_stack([easting, northing]).astype(np.float64)


def to_degrees(crs: CRS, xy_m: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Longitudes and latitudes, (N,) each."""
    lon, lat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(xy_m[:, 0], xy_m[:, 1])
    return np.asarray(lon, np.float64), np.asarray(lat, np.float64)


def refuse_stray(crs: CRS, track: Track) -> FloatArray:
    """(N,) metres of the grid per metre on the ground, at each fix.

    Raises:
        InputError: it is off by more than MAX_SCALE_ERROR.
    """
    scale = np.asarray(Proj(crs).get_factors(track.lon_deg, track.lat_deg).meridional_scale, np.float64)
    polar = crs.to_epsg() in (32661, 32761)
    off = np.where(np.isfinite(scale), np.abs(scale - 1.0), np.inf)
    if polar:
        off[(scale >= UPS_SCALE - 1e-6) & (scale <= 1.0)] = 0.0
    worst = int(np.argmax(off))
    if off[worst] > MAX_SCALE_ERROR:
        much = f"is off by {100 * off[worst]:.1f} %" if np.isfinite(off[worst]) else "is unknown"
        raise InputError(
            f"track: at latitude {track.lat_deg[worst]:.4f}, longitude {track.lon_deg[worst]:.4f} the scale of "
            f"{crs.name} {much} (at most {100 * MAX_SCALE_ERROR:.1f} %); split the survey there, or name a projected "
            "CRS that covers all of it"
        )
    return scale


def knots_of(xy: FloatArray, knot_m: float) -> NDArray[np.intp]:
    """Indices of places at least `knot_m` from the knot before, and the first and last."""
    kept, anchor = [0], xy[0]
    for index in range(1, len(xy)):
        if math.hypot(xy[index, 0] - anchor[0], xy[index, 1] - anchor[1]) >= knot_m:
            kept.append(index)
            anchor = xy[index]
    if kept[-1] != len(xy) - 1:
        kept.append(len(xy) - 1)
    return np.asarray(kept, np.intp)


def _steps(track: Track, knots: NDArray[np.intp]) -> FloatArray:
    """Metres on the ellipsoid from knot to knot; nothing over a cut."""
    lon, lat = track.lon_deg[knots], track.lat_deg[knots]
    _, _, steps = WGS84.inv(lon[:-1], lat[:-1], lon[1:], lat[1:])
    return np.where(np.diff(track.stretches[knots]) == 0, steps, 0.0)
