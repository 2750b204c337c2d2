"""The layers of the GeoPackage beside the cracks, and what all coordinates mean."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely
from pyproj import CRS

from crackmap.pipeline.assembly.store import PORTION
from crackmap.pipeline.networks import polygon_of
from crackmap.pipeline.products.notes import all_notes
from crackmap.pipeline.products.profile_tables import layer_name, profile_layer
from crackmap.pipeline.products.rows import (
    FRAME_FIELDS,
    PATTERN_FIELDS,
    SECTION_FIELDS,
    Field,
    Record,
    printable,
    table,
)
from crackmap.pipeline.products.styles import layer_styles, profile_style
from crackmap.pipeline.profiles import ProfileTable
from crackmap.pipeline.records import CoordinateKind, OutputFrame
from crackmap.pipeline.survey_result import SurveyResult
from crackmap.stages.records import FloatArray

FIXED_DATE = "2000-01-01T00:00:00.000Z"
"""Written as the date of change, so that equal results are equal bytes; run.json is where the real date belongs."""

MEANING = {
    CoordinateKind.MAP: "Coordinates are map coordinates of the CRS of this file, in metres.",
    CoordinateKind.ROAD: "Road coordinates, not a map: x is the offset to the right of the route line, y the chainage "
    "along the route, in metres.",
    CoordinateKind.SHEET: "A contact sheet, not a map: no position is known, so the images lie one above the other.",
}
"""What the output coordinates are, in a sentence that goes into every product."""


def meaning(output: OutputFrame) -> str:
    """What the coordinates mean, with their unit where it is pixels."""
    extra = " No ground scale is known, so the unit is pixels." if output.unit == "px" else ""
    return MEANING[output.kind] + extra


def write_other_layers(path: Path, result: SurveyResult, profiles: Sequence[ProfileTable] = ()) -> None:
    """Adds patterns, sections (once more for each profile) and frames to a GeoPackage, with QGIS styles, and what the
    coordinates mean.
    """
    sections = section_layer(result)
    _write_polygons(path, "patterns", (pattern_layer(result),))
    _write_polygons(path, "sections", (sections,))
    _write_polygons(path, "frames", frame_layers(result, PORTION))
    for profile in profiles:
        _write_polygons(path, layer_name(profile), (profile_layer(sections, profile),))
    pyogrio.write_dataframe(_info(result), path, layer="crackmap_info", driver="GPKG")
    styles = layer_styles(result.output, directed=not result.of_rasters)
    styles |= {layer_name(profile): profile_style(profile) for profile in profiles}
    pyogrio.write_dataframe(style_table(styles), path, layer="layer_styles", driver="GPKG", FID="id")


def _write_polygons(path: Path, name: str, parts: Iterable[gpd.GeoDataFrame]) -> None:
    for number, part in enumerate(parts):
        pyogrio.write_dataframe(part, path, layer=name, driver="GPKG", geometry_type="Polygon", append=number > 0)


def polygon_layers(result: SurveyResult, profiles: Sequence[ProfileTable] = ()) -> dict[str, gpd.GeoDataFrame]:
    """Patterns, sections, frames, and the sections by each profile, as they are written."""
    sections, (frames,) = section_layer(result), frame_layers(result, max(len(result.outcomes), 1))
    layers = {"patterns": pattern_layer(result), "sections": sections, "frames": frames}
    return layers | {layer_name(profile): profile_layer(sections, profile) for profile in profiles}


def pattern_layer(result: SurveyResult) -> gpd.GeoDataFrame:
    """The patterns, as they are written."""
    return _layer(PATTERN_FIELDS, result.networks, [polygon_of(pattern) for pattern in result.networks], result)


def section_layer(result: SurveyResult) -> gpd.GeoDataFrame:
    """The sections, as they are written."""
    return _layer(SECTION_FIELDS, result.sections, [_polygon(one.outline_xy) for one in result.sections], result)


def frame_layers(result: SurveyResult, size: int) -> Iterator[gpd.GeoDataFrame]:
    """Yields the frames, `size` at a time, as they are written; of none at all one empty layer."""
    for start in range(0, max(len(result.outcomes), 1), size):
        outcomes = result.outcomes[start : start + size]
        yield _layer(FRAME_FIELDS, outcomes, [_polygon(one.footprint_xy) for one in outcomes], result)


def _layer(
    fields: Sequence[Field[Record]], records: Sequence[Record], geometry: list[shapely.Polygon | None],
    result: SurveyResult,
) -> gpd.GeoDataFrame:  # fmt: skip
    return gpd.GeoDataFrame(table(fields, records), geometry=gpd.GeoSeries(geometry), crs=crs_of(result.output))


def crs_of(output: OutputFrame) -> CRS:
    """The CRS of all geometry of a run."""
    return CRS.from_wkt(output.crs_wkt)


def _polygon(outline_xy: FloatArray) -> shapely.Polygon | None:
    if len(outline_xy) < 3 or not np.isfinite(outline_xy).all():
        return None
    return shapely.Polygon(outline_xy)


def _info(result: SurveyResult) -> pd.DataFrame:
    rows = {
        "coordinates": result.output.kind.value,
        "coordinates_mean": meaning(result.output),
        "unit": result.output.unit,
        "crs_wkt": result.output.crs_wkt,
        "notes": json.dumps([printable(note) for note in all_notes(result)], ensure_ascii=False),
    }
    return pd.DataFrame({"name": list(rows), "value": list(rows.values())})


def style_table(styles: Mapping[str, str]) -> pd.DataFrame:
    """The table in which QGIS looks for the default style (QML) of each layer; column names are QGIS's."""
    count = len(styles)
    return pd.DataFrame({
        "f_table_catalog": [""] * count,
        "f_table_schema": [""] * count,
        "f_table_name": list(styles),
        "f_geometry_column": ["geom"] * count,
        "styleName": [f"crackmap {name}" for name in styles],
        "styleQML": list(styles.values()),
        "styleSLD": [""] * count,
        "useAsDefault": [True] * count,
        "description": ["written by crackmap"] * count,
        "owner": [""] * count,
        "ui": [""] * count,
        "update_time": pd.to_datetime([FIXED_DATE] * count),
    })  # fmt: skip


@contextlib.contextmanager
def fixed_date() -> Iterator[None]:
    """GeoPackages written inside carry FIXED_DATE; with GDAL's time of day equal content would differ."""
    before = pyogrio.get_gdal_config_option("OGR_CURRENT_DATE")
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": FIXED_DATE})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": before})
