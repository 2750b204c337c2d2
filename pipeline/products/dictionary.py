"""The data dictionary: what every column of every table says, written beside the tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from crackmap.pipeline.products.crack_rows import CRACK_FIELDS
from crackmap.pipeline.products.profile_tables import PLACE_FIELDS, layer_name
from crackmap.pipeline.products.publish import publish_bytes
from crackmap.pipeline.products.rows import FRAME_FIELDS, PATTERN_FIELDS, SECTION_FIELDS, Field
from crackmap.pipeline.products.shapefile import LISTS, SHORT, short_names
from crackmap.pipeline.profiles import ProfileTable

NAME = "dictionary.csv"

_U = "standard uncertainty (one sigma) of "

CRACKS: Mapping[str, str] = {
    "crack_id": "stable name, in the order of the road",
    "recording": "the drive it was seen in",
    "length_m": "length along the line; bridged gaps are part of it",
    "u_length_m": _U + "length_m",
    "mean_w_mm": "mean width along the line",
    "u_mean_w_mm": _U + "mean_w_mm",
    "max_w_mm": "greatest width",
    "p95_w_mm": "width that 95 % of the length stays below",
    "length_px": "length in pixels of the images",
    "u_length_px": _U + "length_px",
    "mean_w_px": "mean width in pixels",
    "u_mean_w_px": _U + "mean_w_px",
    "max_w_px": "greatest width in pixels",
    "orient_deg": "0 along the direction of travel, 90 across, in [0, 180); azimuth from north for rasters",
    "u_pos_m": _U + "the vehicle's position; empty without a track",
    "confidence": "mean crack probability along the line, 0 to 1",
    "chainage_m": "chainage of its middle",
    "chain_from_m": "least chainage",
    "chain_to_m": "greatest chainage",
    "offset_m": "mean offset to the right of the route line, or of the vehicle's path",
    "border": "1: it ends at the edge of the picture, so it is longer on the road",
    "joint": "1: a joint or saw cut; in no number of cracks",
    "sealed": "1: a sealed crack; in no number of open cracks",
    "saturated": "1: black or white in the picture where its width would be read",
    "below_res": "1: narrower than a pixel, or may be: an order of magnitude",
    "grey_share": "share of the length whose width was read in the picture",
    "gap_m": "length of bridged gaps; part of length_m",
    "pattern_id": "the pattern it belongs to; empty if none",
    "frames": "the frames it was seen in, with ; between them",
    "gsd_row_mm": "median size of a pixel along an image row",
    "gsd_col_mm": "median size of a pixel along an image column",
    "widths_mm": "width at every vertex, as a JSON list",
    "widths_px": "width at every vertex in pixels, as a JSON list",
}

PATTERNS: Mapping[str, str] = {
    "pattern_id": "stable name, in the order of its first crack",
    "recording": "the drive it was seen in",
    "kind": "alligator (mean cell below 0.3 m a side) or block",
    "area_m2": "area of its cells",
    "cells": "number of cells that cracks enclose",
    "mean_cell_m": "side of the square whose area is the mean of the cells",
    "crack_length_m": "length of crack in it and on its outline",
    "mean_w_mm": "mean width of those cracks",
    "confidence": "mean crack probability of those cracks, 0 to 1",
    "chain_from_m": "least chainage",
    "chain_to_m": "greatest chainage",
}

SECTIONS: Mapping[str, str] = {
    "section_id": "recording and chainage, or the name in your list",
    "recording": "the drive it was seen in",
    "from_m": "chainage of its beginning",
    "to_m": "chainage of its end",
    "covered_m": "length of road that was measured",
    "covered_pct": "covered_m over covered_m + invalid_m + missing_m",
    "invalid_m": "length whose frames could not be used",
    "invalid_why": "how much of it by which status of its frames",
    "missing_m": "length that no frame shows",
    "area_m2": "measured area",
    "crack_count": "open cracks with their middle in the section",
    "crack_length_m": "length of open crack; a crack across a boundary is shared out",
    "u_crack_len_m": _U + "crack_length_m, of the cracks that were found",
    "crack_m_per_m": "crack_length_m over covered_m",
    "crack_area_m2": "integral of the width along the open cracks",
    "crack_area_pct": "crack_area_m2 over area_m2",
    "mean_w_mm": "mean width, weighted by length",
    "max_w_mm": "greatest width",
    "joint_length_m": "length of joints and saw cuts; in no number of cracks",
    "sealed_length_m": "length of sealed cracks; in no number of open cracks",
    "pattern_area_m2": "area of alligator and block patterns",
    "longitudinal_m": "length of open crack within 20 degrees of the direction of travel",
    "transverse_m": "length of open crack within 20 degrees of across",
    "other_m": "length of other open crack",
    "direction": "with or against increasing chainage, as the vehicle drove",
    "lane": "as the names of the frames say",
}

FRAMES: Mapping[str, str] = {
    "key": "path below the survey folder",
    "recording": "the drive it belongs to",
    "status": "ok, no_crack, no_position, duplicate, skipped or failed",
    "reason": "why it is missing on the map",
    "chainage_m": "chainage of the vehicle",
    "time_s": "time in its name",
    "u_pos_m": _U + "the vehicle's position",
    "camera": "which of the vehicle's cameras took it",
    "lane": "as its name says",
    "segmented": "share of the image that the segmenter looked at, 0 to 1",
    "crack_count": "open cracks found in it, before joining",
    "mask": "its file below masks/",
    "source": "nets, or corrected by a person",
}

_UNITS = {"_m2": "m2", "_mm": "mm", "_px": "px", "_deg": "degree", "_pct": "%", "_m": "m", "_s": "s"}


def write_dictionary(out: Path, profiles: Sequence[ProfileTable]) -> None:
    """Writes dictionary.csv: layer, column, name in Shapefiles, type, unit, meaning.

    Raises:
        StorageError: it could not be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["layer", "column", "shapefile", "type", "unit", "meaning"])
    writer.writerows(_rows(profiles))
    publish_bytes(out / NAME, text.getvalue().encode("utf-8"))


def _rows(profiles: Sequence[ProfileTable]) -> Iterator[tuple[str, ...]]:
    tables = (("cracks", CRACK_FIELDS, CRACKS), ("patterns", PATTERN_FIELDS, PATTERNS),
              ("sections", SECTION_FIELDS, SECTIONS), ("frames", FRAME_FIELDS, FRAMES))  # fmt: skip
    for layer, fields, meanings in tables:
        for field in fields:
            yield _row(layer, field, meanings)
    for profile in profiles:
        names = [*(field.name for field in PLACE_FIELDS), *(column.name for column in profile.columns)]
        short = short_names(names)
        for field in PLACE_FIELDS:
            yield _row(layer_name(profile), field, SECTIONS)
        for column in profile.columns:
            kind = "text" if column.digits is None else "real"
            yield layer_name(profile), column.name, short[column.name], kind, unit_of(column.name), column.says


def _row(layer: str, field: Field[object] | object, meanings: Mapping[str, str]) -> tuple[str, ...]:
    name, kind = str(getattr(field, "name", "")), str(getattr(field, "kind", ""))
    short = "" if name in LISTS else SHORT.get(name, name)
    return layer, name, short, kind, "" if kind == "text" else unit_of(name), meanings[name]


def unit_of(name: str) -> str:
    """The unit that a column's name ends in; empty for none."""
    if name == "crack_m_per_m":
        return "m/m"
    return next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "")
