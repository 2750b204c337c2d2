"""The cracks as GeoPackage layer, CSV, GeoParquet and GeoJSON: the same rows in all of them, made once.

They are written in portions, side by side: memory does not follow the length of the survey.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import geopandas as gpd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import shapely
from pyproj import Transformer

from crackmap.pipeline.products.geojson import feature
from crackmap.pipeline.products.publish import publishing, storing
from crackmap.pipeline.products.rows import CRACK_FIELDS, plain_rows, table
from crackmap.pipeline.products.tables import safe_cell
from crackmap.pipeline.products.vectors import crs_of, fixed_date, write_other_layers
from crackmap.pipeline.profiles import ProfileTable
from crackmap.pipeline.records import CoordinateKind, OutputFrame, RoadCrack, SurveyResult

PORTION = 20_000
"""Cracks written at once."""

GEOPARQUET_VERSION = "1.0.0"
"""Of the metadata below (geoparquet.org)."""

Add = Callable[[gpd.GeoDataFrame], None]
"""Writes one portion; it is called once at least, so that a file without cracks has its columns."""


def write_cracks(out: Path, result: SurveyResult, profiles: Sequence[ProfileTable] = ()) -> None:
    """Writes crackmap.gpkg with all its layers, cracks.csv, cracks.parquet and, of a map, cracks.geojson.

    The bytes are a function of the result alone.

    Raises:
        StorageError: a file could not be written; each of the others is as before, or whole and new.
    """
    with ExitStack() as files:
        sinks = [
            files.enter_context(_geopackage(out / "crackmap.gpkg", result, profiles)),
            files.enter_context(_csv(out / "cracks.csv")),
            files.enter_context(_geoparquet(out / "cracks.parquet", result.output)),
        ]
        if result.output.kind is CoordinateKind.MAP:
            sinks.append(files.enter_context(_geojson(out / "cracks.geojson", result.output)))
        for start in range(0, max(len(result.cracks), 1), PORTION):
            portion = crack_layer(result.cracks[start : start + PORTION], result.output)
            for add in sinks:
                add(portion)


def crack_layer(cracks: Sequence[RoadCrack], output: OutputFrame) -> gpd.GeoDataFrame:
    """The attributes of cracks with their lines."""
    lines = [shapely.LineString(crack.line_xy) for crack in cracks]
    return gpd.GeoDataFrame(table(CRACK_FIELDS, cracks), geometry=gpd.GeoSeries(lines), crs=crs_of(output))


@contextmanager
def _geopackage(path: Path, result: SurveyResult, profiles: Sequence[ProfileTable]) -> Iterator[Add]:
    with publishing(path) as temporary, fixed_date():

        def add(portion: gpd.GeoDataFrame) -> None:
            with storing(path):
                pyogrio.write_dataframe(
                    portion, temporary, layer="cracks", driver="GPKG", geometry_type="LineString",
                    append=temporary.exists(),
                    # 1.4 differs in nothing used here, but GDAL before 3.7 and QGIS before 3.32 warn about it.
                    dataset_options={"VERSION": "1.3"},
                )  # fmt: skip

        yield add
        write_other_layers(temporary, result, profiles)


@contextmanager
def _csv(path: Path) -> Iterator[Add]:
    with publishing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in CRACK_FIELDS])

        def add(portion: gpd.GeoDataFrame) -> None:
            with storing(path):
                writer.writerows([safe_cell(value) for value in row] for row in plain_rows(CRACK_FIELDS, portion))

        yield add


@contextmanager
def _geoparquet(path: Path, output: OutputFrame) -> Iterator[Add]:
    geometry = {"encoding": "WKB", "crs": crs_of(output).to_json_dict(), "geometry_types": ["LineString"]}
    about = {"version": GEOPARQUET_VERSION, "primary_column": "geometry", "columns": {"geometry": geometry}}
    kinds = {"text": pa.string(), "real": pa.float64(), "int": pa.int64()}
    schema = pa.schema(
        [*((field.name, kinds[field.kind]) for field in CRACK_FIELDS), ("geometry", pa.binary())],
        metadata={"geo": json.dumps(about)},
    )
    with publishing(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:

        def add(portion: gpd.GeoDataFrame) -> None:
            columns = [
                pa.array(portion[field.name], type=kinds[field.kind], from_pandas=True) for field in CRACK_FIELDS
            ]
            with storing(path):
                writer.write_table(pa.Table.from_arrays([*columns, pa.array(portion.geometry.to_wkb())], schema=schema))

        yield add


@contextmanager
def _geojson(path: Path, output: OutputFrame) -> Iterator[Add]:
    """RFC 7946: longitude and latitude of WGS 84."""
    to_degrees = Transformer.from_crs(crs_of(output), "OGC:CRS84", always_xy=True)
    names = [field.name for field in CRACK_FIELDS]
    with publishing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write('{"type": "FeatureCollection", "name": "cracks", "features": [')
        before = "\n"

        def add(portion: gpd.GeoDataFrame) -> None:
            nonlocal before
            with storing(path):
                for line, row in zip(portion.geometry, plain_rows(CRACK_FIELDS, portion), strict=True):
                    properties = dict(zip(names, row, strict=True))
                    found = feature(shapely.get_coordinates(line), properties, to_degrees)
                    file.write(before + json.dumps(found, ensure_ascii=False, allow_nan=False))
                    before = ",\n"

        yield add
        file.write("\n]}\n")
