"""Route files: GeoPackage, GeoJSON and Shapefile, told apart by their content, never by their name."""

from __future__ import annotations

import json
import sqlite3
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError

from crackmap.calibration.errors import InputError, require
from crackmap.calibration.route.geometry import FloatArray
from crackmap.calibration.route.line import WGS84, Route, distinct, make_route, metric_crs
from crackmap.calibration.route.pieces import Piece, join_pieces, make_piece
from crackmap.calibration.route.posts import MAX_STRETCH, SLACK_M, CalibrationPoint, calibrated
from crackmap.calibration.track.project import to_metres, zone_epsg

NAME_COLUMNS = ("name", "route", "road", "ref", "road_name", "route_id", "id")
"""Attributes that `name` is looked for in, case aside, best first."""

CHAINAGE_COLUMNS = (("from_m", "to_m"), ("chainage_from_m", "chainage_to_m"), ("from_chainage_m", "to_chainage_m"))
"""Pairs of attributes that are taken as the chainage of a feature's first and last vertex without being told."""

NO_MEASURE = -1e38
"""Shapefiles write measures below this where there is none (ESRI Shapefile Technical Description, 1998)."""

_READ_ERRORS = (
    DataSourceError, DataLayerError, FeatureError, FieldError, GeometryError, pyarrow.ArrowException,
    shapely.GEOSException, OSError, ValueError, KeyError,
)  # fmt: skip
_GEOJSON_TYPES = ("FeatureCollection", "Feature", "LineString", "MultiLineString", "GeometryCollection")


def read_route(
    path: Path,
    *,
    layer: str | None = None,
    name: str | None = None,
    where: Mapping[str, object] | None = None,
    chainage_columns: tuple[str, str] | None = None,
    crs: str | None = None,
    start_m: float = 0.0,
    reverse: bool = False,
    calibration_points: Sequence[CalibrationPoint] = (),
) -> Route:
    """Reads a route: one line, or several that follow each other.

    Chainage comes from `calibration_points`; else from `chainage_columns`; else from the file: its measures (M values),
    or two attributes with the chainage of each feature's first and last vertex; else it is counted from `start_m` along
    the line on the ellipsoid.
    Heights are left out. Measures that are missing everywhere, or the same everywhere, are none.

    Args:
        path: GeoPackage, GeoJSON or Shapefile.
        layer: of a GeoPackage; needed if several hold lines.
        name: takes the features of this name (see NAME_COLUMNS).
        where: takes the features whose attributes have these values.
        chainage_columns: attributes with the chainage of the first and last vertex; by default see CHAINAGE_COLUMNS.
        crs: of the route, projected, in metres; by default the UTM zone of the middle of the line.
        start_m: chainage of the line's first vertex.
        reverse: count from the other end.
        calibration_points: places of known chainage.

    Raises:
        InputError: the file is no such file, or does not hold one line; the message names the remedy.
    """
    where = dict(where or {})
    table, source_crs, geometry = _read(path, layer)
    rows = _chosen(path, table, name, where)
    columns = _chainage_columns(path, table, chainage_columns)
    asked = chainage_columns is not None
    lines = [part for row in rows for part in _parts(path, table, geometry, row, columns, asked=asked)]
    if not lines:
        raise InputError(f"{path.name}: expected a line, got none; the layer is empty")
    working, lines = _to_metres(path, lines, source_crs, crs)
    title = name or path.stem
    pieces = [_piece(path, *part) for part in lines]
    bare = [piece.label for piece in pieces if piece.chainage_m is None]
    if 0 < len(bare) < len(pieces):
        raise InputError(
            f"{path.name}: {bare[0]} has no measures, others have; give measures to all features or to none"
        )
    line = join_pieces(pieces, f"{path.name}, {title}" if name else path.name)
    if calibration_points:
        require(start_m == 0.0, "start_m", "0 beside calibration points, which say where it starts", start_m)
        require(not reverse, "reverse", "False beside calibration points, which say which way it counts", reverse)
        return calibrated(make_route(line.xy_m, working.to_wkt(), name=title), calibration_points)
    if line.chainage_m is not None:
        require(start_m == 0.0, "start_m", f"0, for {path.name} has measures of its own", start_m)
    route = make_route(
        line.xy_m, working.to_wkt(), chainage_m=line.chainage_m, start_m=start_m, reverse=reverse, name=title
    )
    if line.chainage_m is not None:
        _check_unit(path, route)
    return route


def _source(path: Path) -> str:
    """What GDAL is asked to open: with the one driver that the first bytes of the file call for."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise InputError(f"{path.name}: the route cannot be read ({error}); check the path") from error
    full, text = path.resolve(), head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"SQLite format 3\0"):
        _check_geopackage(path)
        return f"GPKG:{full}"
    if head.startswith(b"\x00\x00\x27\x0a") and path.suffix.lower() == ".shp":
        return str(full)
    if text.startswith(b"{"):
        _check_geojson(path)
        return f"GeoJSON:{full}"
    what = "an empty file" if not text else "something else"
    if text.startswith(b"<"):
        what = "a GPX file" if b"<gpx" in text else "a KML file" if b"<kml" in text else "other XML"
    elif path.suffix.lower() in (".csv", ".txt", ".nmea", ".log"):
        what = "a table or log"
    raise InputError(
        f"{path.name}: expected a route as GeoPackage, GeoJSON or Shapefile (.shp), got {what}; convert it to a line, "
        "e.g. in QGIS, or with ogr2ogr -f GPKG route.gpkg FILE"
    )


def _check_geojson(path: Path) -> None:
    try:
        kind = json.loads(path.read_text("utf-8-sig"), object_pairs_hook=_checked).get("type")
    except InputError as error:
        raise InputError(f"{path.name}: {error}; export it as GeoJSON (RFC 7946)") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path.name}: not a GeoJSON file that can be read ({error}); export it again") from error
    if kind not in _GEOJSON_TYPES:
        raise InputError(f"{path.name}: expected GeoJSON, got JSON of type {kind!r}; export it as GeoJSON (RFC 7946)")


def _checked(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; refuses one whose CRS is more than a name: GDAL would fetch it, wherever in the file it stands."""
    for key, value in pairs:
        if key.lower() == "crs" and isinstance(value, dict):
            inner = value.get("properties")
            name = inner.get("name") if isinstance(inner, dict) and value.get("type") == "name" else None
            known = isinstance(name, str) and name.lower().startswith(("urn:ogc:def:crs:", "epsg:", "ogc:"))
            require(known, "crs", "the name of a CRS such as urn:ogc:def:crs:EPSG::25832", value)
    return dict(pairs)


def _check_geopackage(path: Path) -> None:
    """Refuses a GeoPackage with views: what they compute is up to whoever made them, and may never end."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'view'").fetchone()
    except sqlite3.Error as error:
        raise InputError(f"{path.name}: the route cannot be read ({error}); export it again") from error
    if found is not None:
        raise InputError(f"{path.name}: it holds a view ({found[0]!r}); copy the line into a file of its own: "
                         "ogr2ogr -f GPKG route.gpkg FILE LAYER")  # fmt: skip


def _read(path: Path, layer: str | None) -> tuple[Any, str | None, list[Any]]:
    """The layer's table, its CRS, and its geometries (None where a feature has none)."""
    source = _source(path)
    with warnings.catch_warnings():
        # GDAL's layer types have no measures here, the geometries have: nothing is lost that the warning is about.
        warnings.simplefilter("ignore")
        try:
            chosen = _layer(path, pyogrio.list_layers(source), layer)
            # Not raw.read, nor geopandas: those drop measures.
            meta, table = pyogrio.raw.read_arrow(source, layer=chosen)
            column = table.column(meta["geometry_name"] or "wkb_geometry").to_pylist()
            return table, meta["crs"], [None if wkb is None else shapely.from_wkb(wkb) for wkb in column]
        except InputError:
            raise
        except NotImplementedError as error:
            raise InputError(
                f"{path.name}: it holds curves; make lines of them: ogr2ogr -nlt CONVERT_TO_LINEAR OUT.gpkg FILE"
            ) from error
        except _READ_ERRORS as error:
            raise InputError(f"{path.name}: the route cannot be read ({error}); export it again") from error


def _layer(path: Path, layers: Any, wanted: str | None) -> str:
    kinds = {str(name): str(kind) for name, kind in layers}
    held = ", ".join(f"{name} ({kind})" for name, kind in kinds.items()) or "none"
    if wanted is not None:
        require(wanted in kinds, f"{path.name}: layer", f"one of {held}", wanted)
        return wanted
    lines = [name for name, kind in kinds.items() if any(word in kind for word in ("Line", "Curve", "Unknown", "Coll"))]
    if len(lines) != 1:
        what = "several layers may hold it: name one with layer" if lines else "no layer holds lines"
        raise InputError(f"{path.name}: expected one layer with the route, but {what}; it has {held}")
    return lines[0]


def _chosen(path: Path, table: Any, name: str | None, where: Mapping[str, object]) -> list[int]:
    rows = list(range(table.num_rows))
    for column, value in where.items():
        require(column in table.column_names, f"{path.name}: where", f"one of {', '.join(table.column_names)}", column)
        values = table.column(column).to_pylist()
        rows = [row for row in rows if values[row] == value or str(values[row]) == str(value)]
    if where and not rows:
        raise InputError(f"{path.name}: no feature has {', '.join(f'{k} = {v!r}' for k, v in where.items())}")
    if name is None:
        return rows
    lower = {column.lower(): column for column in reversed(table.column_names)}
    found: dict[str, None] = {}
    for key in NAME_COLUMNS:
        if key in lower:
            values = table.column(lower[key]).to_pylist()
            named = [row for row in rows if values[row] is not None and str(values[row]) == name]
            if named:
                return named
            found |= dict.fromkeys(str(values[row]) for row in rows if values[row] is not None)
    held = f"it has {', '.join(list(found)[:10])}" if found else f"it has no column {', '.join(NAME_COLUMNS)}"
    raise InputError(f"{path.name}: no feature is named {name!r}; {held}")


def _chainage_columns(path: Path, table: Any, wanted: tuple[str, str] | None) -> tuple[str, str] | None:
    if wanted is not None:
        for column in wanted:
            held = ", ".join(table.column_names)
            require(column in table.column_names, f"{path.name}: chainage_columns", f"some of {held}", column)
        return wanted
    lower = {column.lower(): column for column in reversed(table.column_names)}
    return next(((lower[a], lower[b]) for a, b in CHAINAGE_COLUMNS if a in lower and b in lower), None)


_Line = tuple[FloatArray, FloatArray | None, "tuple[float, float] | None", str]
"""Vertices, measures, chainage of first and last vertex, label."""


def _parts(
    path: Path, table: Any, geometry: Sequence[Any], row: int, columns: tuple[str, str] | None, *, asked: bool
) -> list[_Line]:
    """The lines of one feature; attributes that nobody asked for give way to measures of the line itself."""
    label, shape = f"feature {row + 1}", geometry[row]
    if shape is None or shape.is_empty:
        raise InputError(
            f"{path.name}: {label} has no geometry; is the file cut off? Export it again or delete the feature"
        )
    if shape.geom_type not in ("LineString", "MultiLineString"):
        raise InputError(
            f"{path.name}: expected lines, {label} is a {shape.geom_type}; give the layer of the road's line"
        )
    parts = list(getattr(shape, "geoms", [shape]))
    result: list[_Line] = []
    for number, part in enumerate(parts, start=1):
        title = label if len(parts) == 1 else f"{label} part {number}"
        values = shapely.get_coordinates(part, include_m=bool(shapely.has_m(part)))
        bad = np.flatnonzero(~np.isfinite(values[:, :2]).all(axis=1))
        if len(bad):
            raise InputError(f"{path.name}: {title} has no finite coordinates at vertex {bad[0] + 1}; correct the line")
        measures = _measures(path, values[:, 2], title) if values.shape[1] == 3 and not asked else None
        ends = None if measures is not None else _ends(path, table, row, columns, len(parts))
        result.append((np.ascontiguousarray(values[:, :2]), measures, ends, title))
    return result


def _ends(path: Path, table: Any, row: int, columns: tuple[str, str] | None, parts: int) -> tuple[float, float] | None:
    if columns is None:
        return None
    try:
        first, last = (float(table.column(column)[row].as_py()) for column in columns)
    except (TypeError, ValueError):
        first = last = np.nan
    if not np.isfinite([first, last]).all():
        raise InputError(f"{path.name}: feature {row + 1} has no number in {columns[0]} or {columns[1]}; correct it")
    if parts > 1:
        raise InputError(
            f"{path.name}: feature {row + 1} has {parts} parts but one chainage from {columns[0]} to {columns[1]}; "
            "split or join its parts in a GIS"
        )
    return first, last


def _measures(path: Path, values: FloatArray, label: str) -> FloatArray | None:
    known = np.isfinite(values) & (values > NO_MEASURE)
    if not known.any() or np.ptp(values[known]) == 0:
        return None
    if not known.all():
        raise InputError(
            f"{path.name}: {label} has measures at {known.sum()} of {len(values)} vertices; give all or none of them"
        )
    return np.ascontiguousarray(values)


def _to_metres(path: Path, lines: Sequence[_Line], source: str | None, crs: str | None) -> tuple[CRS, list[_Line]]:
    """The working CRS and the lines in it."""
    if source is None:
        raise InputError(
            f"{path.name}: the file does not say its CRS (a Shapefile needs its .prj); write it into the file, e.g. "
            f"ogr2ogr -a_srs EPSG:25832 OUT.gpkg {path.name}"
        )
    everything = np.concatenate([line[0] for line in lines])
    try:
        given = CRS.from_user_input(source).to_2d()
        if not (given.is_geographic or given.is_projected):
            raise InputError(f"{path.name}: its CRS, {given.name}, is not tied to the Earth; export it in another one")
        if given.is_geographic:
            _check_degrees(path, everything)
        lon, lat = Transformer.from_crs(given, "EPSG:4326", always_xy=True).transform(*everything.T)
    except (CRSError, ProjError) as error:
        raise InputError(f"{path.name}: its CRS cannot be used ({error}); export it as EPSG:4326") from error
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        raise InputError(f"{path.name}: coordinates lie outside {given.name}, the CRS the file names; correct its CRS")
    working = metric_crs(crs) if crs is not None else CRS.from_epsg(_middle_zone(lon, lat))
    xy = everything if given == working else to_metres(working, np.asarray(lon), np.asarray(lat))
    starts = np.cumsum([len(line[0]) for line in lines])[:-1]
    return working, [(part, *line[1:]) for part, line in zip(np.split(xy, starts), lines, strict=True)]


def _check_degrees(path: Path, lonlat: FloatArray) -> None:
    lon, lat = np.abs(lonlat).T
    if (lat > 90).any() and (lon <= 90).all() and (lat <= 360).all():
        raise InputError(
            f"{path.name}: latitudes go beyond 90 degrees, as if latitude and longitude were swapped; GeoJSON and "
            "others write longitude first: swap them"
        )
    if (lat > 90).any() or (lon > 360).any():
        raise InputError(
            f"{path.name}: its CRS is in degrees but its coordinates are not ({lonlat[0, 0]:.1f}, {lonlat[0, 1]:.1f}); "
            "write the right CRS into the file, e.g. as a GeoPackage"
        )


def _middle_zone(lon: FloatArray, lat: FloatArray) -> int:
    """EPSG code of the zone in which the vertex at half the length lies."""
    steps = np.asarray(WGS84.inv(lon[:-1], lat[:-1], lon[1:], lat[1:])[2])
    middle = int(np.searchsorted(np.cumsum(steps), steps.sum() / 2)) if len(steps) else 0
    wrapped = (float(lon[middle]) + 180.0) % 360.0 - 180.0
    return zone_epsg(wrapped, float(lat[middle]))


def _piece(
    path: Path, xy_m: FloatArray, measures: FloatArray | None, ends: tuple[float, float] | None, label: str
) -> Piece:
    kept = distinct(xy_m)
    if len(kept) < 2:
        raise InputError(f"{path.name}: {label} has no length; delete it")
    xy = xy_m[kept]
    if ends is not None:
        share = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(xy, axis=0).T))])
        return make_piece(xy, ends[0] + (ends[1] - ends[0]) * share / share[-1], label)
    return make_piece(xy, None if measures is None else measures[kept], label)


def _check_unit(path: Path, route: Route) -> None:
    length, (low, high) = float(np.hypot(*np.diff(route.xy_m, axis=0).T).sum()), route.extent_m
    if abs(high - low - length) > max(MAX_STRETCH * length, SLACK_M):
        kilometres = abs(1000.0 * (high - low) - length) <= MAX_STRETCH * length
        hint = "they are kilometres: multiply them by 1000" if kilometres else "correct or remove them"
        raise InputError(
            f"{path.name}: its measures go from {low:.12g} to {high:.12g}, but the line is {length:.1f} m long; {hint}"
        )
