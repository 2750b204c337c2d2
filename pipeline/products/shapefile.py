"""The layers as Shapefiles, for those whose tools read nothing else: short names, no lists, no styles."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import pyogrio

from crackmap.calibration.errors import StorageError
from crackmap.pipeline.products.cracks import crack_layer
from crackmap.pipeline.products.publish import storing
from crackmap.pipeline.products.vectors import polygon_layers
from crackmap.pipeline.profiles import ProfileTable
from crackmap.pipeline.survey_result import SurveyResult

FOLDER = "shapefile"

LONGEST_NAME = 10
"""Characters of a field name in dBASE."""

LONGEST_TEXT = 254
"""Bytes of a text in dBASE; longer ones are cut."""

LISTS = ("widths_mm", "widths_px")
"""Widths at each vertex do not fit and are left out."""

SHORT = {
    "recording": "record", "u_length_m": "u_length_m", "u_mean_w_mm": "u_mean_mm", "length_px": "length_px",
    "u_length_px": "u_len_px", "u_mean_w_px": "u_mean_px", "confidence": "confid", "chainage_m": "chain_m",
    "chain_from_m": "ch_from_m", "chain_to_m": "ch_to_m", "mean_cell_m": "cell_m", "crack_length_m": "crack_m",
    "u_crack_len_m": "u_crack_m",
    "covered_m": "covered_m", "covered_pct": "cover_pct", "invalid_why": "inval_why", "crack_count": "cracks",
    "crack_m_per_m": "crk_m_m", "crack_area_m2": "crk_area", "crack_area_pct": "crk_pct",
    "joint_length_m": "joint_m", "sealed_length_m": "sealed_m", "pattern_area_m2": "patt_m2",
    "longitudinal_m": "along_m", "transverse_m": "across_m", "direction": "directn", "segmented": "segmented",
}  # fmt: skip
"""Name in the other formats -> name here, where it is too long."""

UNITS = ("_w_mm", "_mm", "_m2", "_pct", "_m")
"""Ends of names, which stay."""

_FIXED_DATE = "2000-01-01"


def write_shapefiles(out: Path, result: SurveyResult, profiles: Sequence[ProfileTable] = ()) -> None:
    """Writes shapefile/ of an output folder anew: cracks, patterns, sections, frames, and sections by each profile.

    Raises:
        StorageError: a file cannot be written.
    """
    folder = out / FOLDER
    layers = {"cracks": crack_layer(result.cracks, result.output), **polygon_layers(result, profiles)}
    remove_shapefiles(out)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise StorageError(f"{folder}: could not be made ({error.strerror}); check that it is writable") from error
    for name, layer in layers.items():
        path = folder / f"{name}.shp"
        with storing(path):
            pyogrio.write_dataframe(
                short_named(layer), path, driver="ESRI Shapefile", encoding="UTF-8",
                geometry_type="LineString" if name == "cracks" else "Polygon",
                layer_options={"DBF_DATE_LAST_UPDATE": _FIXED_DATE},
            )  # fmt: skip


def remove_shapefiles(out: Path) -> None:
    """Removes those of an earlier call: they must not outlive what they stand for.

    Raises:
        StorageError: they cannot be removed.
    """
    try:
        if (out / FOLDER).exists():
            shutil.rmtree(out / FOLDER)
    except OSError as error:
        raise StorageError(f"{out / FOLDER}: could not be removed ({error.strerror}); remove it by hand") from error


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Name -> a name of at most LONGEST_NAME characters with the same unit at its end, no two alike."""
    short: dict[str, str] = {}
    for name in names:
        unit = next((ending for ending in UNITS if name.endswith(ending)), "")
        wanted = SHORT.get(name, name)
        if len(wanted) > LONGEST_NAME:
            wanted = _fitted(name, unit, "")
        number = 1
        while wanted in short.values():
            wanted = _fitted(name, unit, str(number))
            number += 1
        short[name] = wanted
    return short


def _fitted(name: str, unit: str, number: str) -> str:
    """The head of a name without underscores, as long as there is room for a number and the unit."""
    head = name.removesuffix(unit).replace("_", "")
    return head[: LONGEST_NAME - len(number) - len(unit)] + number + unit


def short_named(layer: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """A layer with names and texts that fit into dBASE."""
    kept = layer.drop(columns=[name for name in LISTS if name in layer])
    names = short_names([name for name in kept.columns if name != kept.geometry.name])
    kept = kept.rename(columns=names)
    for name in kept.columns:
        if kept[name].dtype == object and name != kept.geometry.name:
            kept[name] = [None if value is None else _cut(str(value)) for value in kept[name]]
    return kept


def _cut(text: str) -> str:
    return text.encode("utf-8")[:LONGEST_TEXT].decode("utf-8", "ignore")
