"""The cracks as GeoPackage layer, CSV, GeoParquet and GeoJSON: the same rows in all of them, made once.

They are written in portions, side by side: memory does not follow the length of the survey. The portions of many cracks
are made in other processes, ahead of the one that is written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pyarrow.parquet as pq
import pyogrio

from crackmap.pipeline.assembly.children import Children
from crackmap.pipeline.assembly.columns import CrackColumns
from crackmap.pipeline.assembly.store import PORTION, portions
from crackmap.pipeline.products.crack_portions import GEOMETRY, SCHEMA, CrackPortion, crack_portion, lines_of
from crackmap.pipeline.products.crack_rows import CRACK_FIELDS, crack_table
from crackmap.pipeline.products.publish import publishing, storing
from crackmap.pipeline.products.vectors import crs_of, fixed_date, write_other_layers
from crackmap.pipeline.profiles import ProfileTable
from crackmap.pipeline.records import CoordinateKind, OutputFrame, RoadCrack
from crackmap.pipeline.survey_result import SurveyResult

GEOPARQUET_VERSION = "1.0.0"
"""Of the metadata below (geoparquet.org)."""

Add = Callable[[CrackPortion], None]
"""Writes one portion; it is called once at least, so that a file without cracks has its columns."""


def write_cracks(out: Path, result: SurveyResult, profiles: Sequence[ProfileTable] = (), *, processes: int = 1) -> None:
    """Writes crackmap.gpkg with all its layers, cracks.csv, cracks.parquet and, of a map, cracks.geojson.

    The bytes are a function of the result alone, whatever the number of processes that help where it has more than one
    portion of cracks.

    Raises:
        StorageError: a file could not be written; each of the others is as before, or whole and new.
    """
    on_map = result.output.kind is CoordinateKind.MAP
    with ExitStack() as files:
        sinks = [
            files.enter_context(_geopackage(out / "crackmap.gpkg", result, profiles)),
            files.enter_context(_csv(out / "cracks.csv")),
            files.enter_context(_geoparquet(out / "cracks.parquet", result.output)),
        ]
        if on_map:
            sinks.append(files.enter_context(_geojson(out / "cracks.geojson")))
        with Children(processes if processes > 1 and len(result.cracks) > PORTION else 0) as children:
            contents = ((columns.to_bytes(),) for columns in portions(result.cracks))
            for portion in children.map(crack_portion, result.output.crs_wkt if on_map else None, contents):
                for add in sinks:
                    add(portion)


def crack_layer(cracks: Sequence[RoadCrack], output: OutputFrame) -> gpd.GeoDataFrame:
    """The attributes of cracks with their lines."""
    columns = CrackColumns.joined(list(portions(cracks)))
    lines = gpd.GeoSeries(lines_of(columns))
    return gpd.GeoDataFrame(pd.DataFrame(crack_table(columns)), geometry=lines, crs=crs_of(output))


@contextmanager
def _geopackage(path: Path, result: SurveyResult, profiles: Sequence[ProfileTable]) -> Iterator[Add]:
    crs = crs_of(result.output)
    epsg = crs.to_epsg()
    written_crs = f"EPSG:{epsg}" if epsg else crs.to_wkt("WKT1_GDAL")
    with publishing(path) as temporary, fixed_date():

        def add(portion: CrackPortion) -> None:
            with storing(path):
                pyogrio.raw.write_arrow(
                    portion.table, temporary, layer="cracks", driver="GPKG", geometry_name=GEOMETRY,
                    geometry_type="LineString", crs=written_crs, append=temporary.exists(),
                    # 1.4 differs in nothing used here, but GDAL before 3.7 and QGIS before 3.32 warn about it.
                    dataset_options={"VERSION": "1.3"},
                )  # fmt: skip

        yield add
        write_other_layers(temporary, result, profiles)


@contextmanager
def _csv(path: Path) -> Iterator[Add]:
    with publishing(path) as temporary, temporary.open("wb") as file:
        file.write((",".join(field.name for field in CRACK_FIELDS) + "\n").encode("utf-8"))

        def add(portion: CrackPortion) -> None:
            with storing(path):
                file.write(portion.csv)

        yield add


@contextmanager
def _geoparquet(path: Path, output: OutputFrame) -> Iterator[Add]:
    geometry = {"encoding": "WKB", "crs": crs_of(output).to_json_dict(), "geometry_types": ["LineString"]}
    about = {"version": GEOPARQUET_VERSION, "primary_column": GEOMETRY, "columns": {GEOMETRY: geometry}}
    schema = SCHEMA.with_metadata({"geo": json.dumps(about)})
    with publishing(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:

        def add(portion: CrackPortion) -> None:
            with storing(path):
                writer.write_table(portion.table)

        yield add


@contextmanager
def _geojson(path: Path) -> Iterator[Add]:
    """RFC 7946: longitude and latitude of WGS 84."""
    with publishing(path) as temporary, temporary.open("wb") as file:
        file.write(b'{"type": "FeatureCollection", "name": "cracks", "features": [')
        before = b"\n"

        def add(portion: CrackPortion) -> None:
            nonlocal before
            if portion.geojson:
                with storing(path):
                    file.write(before + portion.geojson)
                before = b",\n"

        yield add
        file.write(b"\n]}\n")
