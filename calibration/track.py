"""Where the vehicle was: a track of fixes from a CSV file, in metres, read out at the times of the frames."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pyproj import CRS, Geod, Transformer

from crackmap.calibration.errors import InputError, require

FloatArray = NDArray[np.float64]

COMMON_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "time": ("time_s", "time", "t", "timestamp", "timestamp_s", "seconds", "gps_time", "utc", "datetime"),
    "lat": ("lat_deg", "lat", "latitude", "latitude_deg", "gps_latitude"),
    "lon": ("lon_deg", "lon", "long", "lng", "longitude", "longitude_deg", "gps_longitude"),
}
"""Column names that are understood without being told, case and blanks aside, best first."""

KNOT_M = 1.0
"""Fixes closer than this to the last one that counted add no chainage: a standing vehicle's receiver wanders."""

HEADING_HALF_SPAN_S = 0.5
"""The heading is read between the places half a second before and after: 10 to 20 m at survey speed, on which a
receiver's jitter of centimetres turns it by less than a degree."""


@dataclass(frozen=True, slots=True)
class Track:
    """Fixes of one receiver, in order of time.

    Attributes:
        time_s: (N,) strictly ascending, seconds.
        lon_deg, lat_deg: (N,) WGS 84.
        dropped: rows of the file that held no usable fix.
    """

    time_s: FloatArray
    lon_deg: FloatArray
    lat_deg: FloatArray
    dropped: int = 0

    def __post_init__(self) -> None:
        count = len(self.time_s)
        require(count >= 2, "track", "two or more fixes", count)
        require(
            self.lon_deg.shape == self.lat_deg.shape == (count,),
            "lon_deg, lat_deg",
            f"shape ({count},)",
            (self.lon_deg.shape, self.lat_deg.shape),
        )
        require(bool((np.diff(self.time_s) > 0).all()), "time_s", "strictly ascending times", "others")

    def project(self) -> ProjectedTrack:
        """The track in the UTM zone of its first fix, with the chainage travelled since then.

        Chainage is measured on the WGS 84 ellipsoid, not in the projection, whose scale is off by up to 0.04 %.
        """
        zone = min(int((self.lon_deg[0] + 180.0) // 6.0) + 1, 60)
        crs = CRS.from_epsg((32600 if self.lat_deg[0] >= 0 else 32700) + zone)
        easting, northing = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(self.lon_deg, self.lat_deg)
        xy = np.column_stack([easting, northing]).astype(np.float64)
        knots = _knots(xy)
        _, _, steps = Geod(ellps="WGS84").inv(
            self.lon_deg[knots[:-1]], self.lat_deg[knots[:-1]], self.lon_deg[knots[1:]], self.lat_deg[knots[1:]]
        )
        at_knots = np.concatenate([[0.0], np.cumsum(steps)])
        chainage = np.interp(self.time_s, self.time_s[knots], at_knots)
        return ProjectedTrack(self.time_s, xy, np.asarray(chainage, np.float64), crs.to_wkt())


@dataclass(frozen=True, slots=True)
class ProjectedTrack:
    """A track in metres.

    Attributes:
        time_s: (N,) strictly ascending, seconds.
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
        """
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


def read_track_csv(path: Path, *, columns: Mapping[str, str] | None = None) -> Track:
    """Reads a track from a table with a header line.

    Comma- or semicolon-separated; with semicolons a decimal comma is understood. Times are seconds, or ISO 8601 dates
    (UTC where they name no zone, returned as seconds since 1970). Rows that are not a fix (empty, not a number, out of
    range, or latitude and longitude both 0) are dropped and counted; of several rows of one time the first is kept.

    Args:
        path: the file.
        columns: "time", "lat", "lon" -> name of the column; those left out are found among COMMON_COLUMNS.

    Raises:
        InputError: the file cannot be read, a column is missing, latitude and longitude look swapped, or fewer than
            two fixes are left.
    """
    header, rows, decimal_comma = _read_table(path)
    places = [_column(path, header, name, (columns or {}).get(name)) for name in ("time", "lat", "lon")]
    table = np.array(
        [[_number(row[place], decimal_comma) if place < len(row) else math.nan for place in places] for row in rows],
        np.float64,
    ).reshape(-1, 3)
    time, lat, lon = table.T
    swapped = (np.abs(lat) > 90) & (np.abs(lat) <= 180) & (np.abs(lon) <= 90)
    if swapped.sum() > len(table) / 2:
        raise InputError(
            f"{path.name}: latitudes go beyond 90 degrees, as if latitude and longitude were swapped; write "
            f"columns = {{ lat = {header[places[2]]!r}, lon = {header[places[1]]!r} }}"
        )
    good = np.isfinite(table).all(axis=1) & (np.abs(lat) <= 90) & (np.abs(lon) <= 180) & ((lat != 0) | (lon != 0))
    _, first = np.unique(time[good], return_index=True)
    kept = np.flatnonzero(good)[first]
    if len(kept) < 2:
        raise InputError(f"{path.name}: expected two or more fixes, got {len(kept)} in {len(rows)} rows")
    return Track(time[kept].copy(), lon[kept].copy(), lat[kept].copy(), len(rows) - len(kept))


def _knots(xy: FloatArray) -> NDArray[np.intp]:
    """Indices of fixes at least KNOT_M from the one before, and the first and last."""
    kept, anchor = [0], xy[0]
    for index in range(1, len(xy)):
        if math.hypot(xy[index, 0] - anchor[0], xy[index, 1] - anchor[1]) >= KNOT_M:
            kept.append(index)
            anchor = xy[index]
    if kept[-1] != len(xy) - 1:
        kept.append(len(xy) - 1)
    return np.asarray(kept, np.intp)


def _read_table(path: Path) -> tuple[list[str], list[list[str]], bool]:
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name}: the track cannot be read as a text table ({error})") from error
    lines = text.splitlines()
    if not lines:
        raise InputError(f"{path.name}: expected a table with a header line, got an empty file")
    separator = ";" if lines[0].count(";") > lines[0].count(",") else ","
    try:
        rows = [row for row in csv.reader(lines, delimiter=separator) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(f"{path.name}: not a table ({error})") from error
    return [name.strip() for name in rows[0]] if rows else [], rows[1:], separator == ";"


def _column(path: Path, header: Sequence[str], name: str, wanted: str | None) -> int:
    names = [column.lower() for column in header]
    for candidate in COMMON_COLUMNS[name] if wanted is None else (wanted.lower(),):
        if candidate in names:
            return names.index(candidate)
    raise InputError(
        f"{path.name}: no column {wanted or name!r}; it has {', '.join(header) or 'none'}. "
        f'Name the right one: columns = {{ {name} = "..." }}'
    )


def _number(cell: str, decimal_comma: bool) -> float:
    """The number or the ISO 8601 time in a cell; NaN if it is neither."""
    text = cell.strip()
    try:
        return float(text.replace(",", ".") if decimal_comma else text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return math.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
