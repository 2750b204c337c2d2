"""Calibration points: places on the route whose chainage is known, such as kilometre posts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pyproj import CRS

from crackmap.calibration.errors import InputError, require
from crackmap.calibration.route.geometry import SAME_PLACE_M, FloatArray
from crackmap.calibration.route.line import Route, ground_steps_m
from crackmap.calibration.track.project import to_metres
from crackmap.calibration.track.table import Table, read_table

OFF_LINE_M = 25.0
"""A post stands beside the road, a motorway's beside its outer lane: farther off it belongs to another road."""

MAX_STRETCH = 0.05
"""Chainage between two points may differ from the length of the line between them by this share."""

SLACK_M = 2.0
"""Between points close together the place of a post itself is no better than this."""

COLUMNS = {
    "chainage": ("chainage_m", "chainage", "station_m", "station", "km_post_m"),
    "lat": ("lat_deg", "lat", "latitude", "latitude_deg"),
    "lon": ("lon_deg", "lon", "long", "lng", "longitude", "longitude_deg"),
    "x": ("x_m", "x", "easting", "easting_m", "east"),
    "y": ("y_m", "y", "northing", "northing_m", "north"),
    "along": ("distance_m", "distance", "along_m"),
    "name": ("name", "label", "post", "id"),
}
"""Column names that are understood, case and blanks aside, best first."""


@dataclass(frozen=True, slots=True)
class CalibrationPoint:
    """One place of known chainage; exactly one of the three places is given.

    Attributes:
        chainage_m: its chainage.
        lonlat_deg: longitude and latitude, WGS 84.
        xy_m: in the CRS of the route.
        along_m: metres on the ground from the first vertex of the line as it was drawn.
        name: how messages call it.
    """

    chainage_m: float
    lonlat_deg: tuple[float, float] | None = None
    xy_m: tuple[float, float] | None = None
    along_m: float | None = None
    name: str = ""

    def __post_init__(self) -> None:
        places = [place for place in (self.lonlat_deg, self.xy_m, self.along_m) if place is not None]
        require(math.isfinite(self.chainage_m), f"{self.label}: chainage_m", "a number", self.chainage_m)
        require(len(places) == 1, self.label, "one of lonlat_deg, xy_m and along_m", f"{len(places)} of them")
        require(bool(np.isfinite(places[0]).all()), f"{self.label}: place", "numbers", places[0])
        if self.lonlat_deg is not None:
            lon, lat = self.lonlat_deg
            require(abs(lat) <= 90, f"{self.label}: latitude", "-90 to 90 (are lat and lon swapped?)", lat)
            require(abs(lon) <= 360, f"{self.label}: longitude", "-180 to 180", lon)

    @property
    def label(self) -> str:
        """Its name, else its chainage."""
        return f"calibration point {self.name or f'at chainage {self.chainage_m:.12g} m'}"


def calibrated(
    route: Route,
    points: Sequence[CalibrationPoint],
    *,
    tolerance_m: float = OFF_LINE_M,
    max_stretch: float = MAX_STRETCH,
) -> Route:
    """The route with the chainage of its calibration points.

    Between two points chainage grows evenly with the length on the ground; beyond the first and last one it goes on
    with the scale of the nearest interval, at most `max_stretch` off. One single point moves the chainage, its scale
    stays 1 and it rises the way the route's does. If the chainage of the points falls along the line, the route's does.
    Chainage equations (two chainages for one place) are not supported: cut the route there.

    Args:
        route: the line; its own chainage counts only for a single point.
        points: in any order.
        tolerance_m: greatest distance of a point from the line.
        max_stretch: greatest difference between chainage and length, as a share; below 2 m none is an error.

    Raises:
        InputError: a point is off the line, out of order, or two of them stretch the line too much; they are named.
    """
    require(len(points) > 0, "calibration points", "one or more", 0)
    require(0 < max_stretch < 1, "max_stretch", "a share between 0 and 1", max_stretch)
    drawn = _drawn(route)
    placed = sorted(
        ((p, _along(drawn, p, tolerance_m)) for p in points), key=lambda item: (item[0].chainage_m, item[1])
    )
    along = np.array([place for _, place in placed])
    chainage = np.array([point.chainage_m for point, _ in placed])
    names = [point.label for point, _ in placed]
    if len(placed) == 1:
        way = 1.0 if route.chainage_m[-1] > route.chainage_m[0] else -1.0
    else:
        way = 1.0 if along[-1] > along[0] else -1.0
    _check_order(along * way, chainage, names)
    _check_stretch(along * way, chainage, names, max_stretch)
    xy, at = _with_vertices(drawn, along)
    known = np.argsort(along)
    return Route(xy, _interpolated(at, along[known], chainage[known], way, max_stretch), route.crs_wkt, route.name)


def read_calibration_points(path: Path) -> tuple[CalibrationPoint, ...]:
    """Calibration points from a table with a header line, separated by commas, semicolons or tabs.

    Columns: chainage_m, and one of lat and lon (WGS 84), x and y (the CRS of the route), or distance_m along the line
    as it was drawn; optionally name. With semicolons or tabs a decimal comma is understood.

    Raises:
        InputError: the file cannot be read, a column is missing, or a cell is no number; the row is named.
    """
    table = read_table(path)
    columns = {key: _column(table, key) for key in COLUMNS}
    if columns["chainage"] is None:
        raise InputError(f"{path.name}: no column chainage_m; it has {', '.join(table.header)}")
    kinds = [kind for kind in (("lat", "lon"), ("x", "y"), ("along",)) if all(columns[key] is not None for key in kind)]
    if not kinds:
        raise InputError(
            f"{path.name}: expected columns lat and lon, x and y, or distance_m, got {', '.join(table.header)}"
        )
    require(len(table.rows) > 0, path.name, "one or more rows below the header", 0)
    values = {key: table.values(columns[key]) for key in ("chainage", *kinds[0])}
    _refuse_swapped(path.name, values)
    points = []
    for row in range(len(table.rows)):
        numbers = {key: float(column[row]) for key, column in values.items()}
        missing = [COLUMNS[key][0] for key, value in numbers.items() if not math.isfinite(value)]
        if missing:
            raise InputError(
                f"{path.name}: row {row + 2} has no number for {' and '.join(missing)}; correct or delete it"
            )
        points.append(_point(numbers, _name(table, columns["name"], row)))
    return tuple(points)


def _point(numbers: dict[str, float], name: str) -> CalibrationPoint:
    lonlat = (numbers["lon"], numbers["lat"]) if "lat" in numbers else None
    xy = (numbers["x"], numbers["y"]) if "x" in numbers else None
    return CalibrationPoint(numbers["chainage"], lonlat, xy, numbers.get("along"), name)


def _refuse_swapped(name: str, values: dict[str, FloatArray]) -> None:
    if "lat" in values and (np.abs(values["lat"]) > 90).any() and (np.abs(values["lon"]) <= 90).all():
        raise InputError(f"{name}: latitudes go beyond 90 degrees; swap the columns lat and lon")


def _column(table: Table, key: str) -> int | None:
    names = [name.lower() for name in table.header]
    return next((names.index(name) for name in COLUMNS[key] if name in names), None)


def _name(table: Table, column: int | None, row: int) -> str:
    cells = table.rows[row]
    return cells[column].strip() if column is not None and column < len(cells) else ""


def _drawn(route: Route) -> Route:
    """The line with the distance on the ground from its first vertex as chainage."""
    steps = ground_steps_m(route.xy_m, CRS.from_wkt(route.crs_wkt), route.name)
    return replace(route, chainage_m=np.concatenate([[0.0], np.cumsum(steps)]))


def _along(drawn: Route, point: CalibrationPoint, tolerance_m: float) -> float:
    length = drawn.extent_m[1]
    if point.along_m is not None:
        if not -SLACK_M <= point.along_m <= length + SLACK_M:
            raise InputError(
                f"{point.label}: {point.along_m:.1f} m along the line, which is {length:.1f} m long; correct the point"
            )
        return min(max(point.along_m, 0.0), length)
    xy = np.asarray(point.xy_m if point.xy_m is not None else (0.0, 0.0), np.float64)
    if point.lonlat_deg is not None:
        lon, lat = (np.array([value]) for value in point.lonlat_deg)
        xy = to_metres(CRS.from_wkt(drawn.crs_wkt), lon, lat)[0]
    place = drawn.locate(xy)
    distance = float(place.distance_m[0])
    if not distance <= tolerance_m:
        raise InputError(
            f"{point.label}: {distance:.1f} m from the line, {tolerance_m:g} m are allowed; correct the point, or give "
            "its distance_m along the line"
        )
    return float(np.clip(place.chainage_m[0], 0.0, length))


def _check_order(along: FloatArray, chainage: FloatArray, names: Sequence[str]) -> None:
    for i in range(1, len(names)):
        if chainage[i] == chainage[i - 1]:
            raise InputError(f"{names[i]} and {names[i - 1]} have one chainage; delete one of them")
        if along[i] - along[i - 1] <= SAME_PLACE_M:
            raise InputError(
                f"{names[i - 1]} and {names[i]} are out of order: their chainages rise the one way, their places along "
                "the line the other; correct one of them (where the road is near itself, give distance_m)"
            )


def _check_stretch(along: FloatArray, chainage: FloatArray, names: Sequence[str], max_stretch: float) -> None:
    for i in range(1, len(names)):
        length, rise = along[i] - along[i - 1], chainage[i] - chainage[i - 1]
        if abs(rise - length) > max(max_stretch * length, SLACK_M):
            raise InputError(
                f"{names[i]}: {rise:.1f} m of chainage since {names[i - 1]}, but {length:.1f} m of line; more than "
                f"{100 * max_stretch:g} % is no survey error: correct one of them, or cut the route there"
            )


def _with_vertices(drawn: Route, along: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Vertices and distances along, with a vertex at each calibration point: there the scale changes."""
    at = drawn.chainage_m
    after = np.clip(np.searchsorted(at, along), 1, len(at) - 1)
    gap = np.minimum(np.abs(along - at[after - 1]), np.abs(along - at[after]))
    new = np.unique(along[gap > SAME_PLACE_M])
    xy = np.concatenate([drawn.xy_m, drawn.point_at(new)])
    order = np.argsort(np.concatenate([at, new]), kind="stable")
    return xy[order], np.concatenate([at, new])[order]


def _interpolated(
    at: FloatArray, along: FloatArray, chainage: FloatArray, way: float, max_stretch: float
) -> FloatArray:
    """Chainage at distances, piecewise linear through the points and straight on beyond them."""
    result = np.interp(at, along, chainage)
    scales = np.diff(chainage) / np.diff(along) if len(along) > 1 else np.array([way])
    scales = way * np.clip(scales * way, 1 - max_stretch, 1 + max_stretch)
    before, after = at < along[0], at > along[-1]
    result[before] = chainage[0] + (at[before] - along[0]) * scales[0]
    result[after] = chainage[-1] + (at[after] - along[-1]) * scales[-1]
    return np.asarray(result, np.float64)
