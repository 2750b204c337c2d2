"""A portion of the cracks as each format wants it: what is work and not writing, so that another process can do it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

from crackmap.pipeline.assembly.columns import CrackColumns
from crackmap.pipeline.products.crack_rows import CRACK_FIELDS, crack_table, plain_columns
from crackmap.pipeline.products.geojson import geometries
from crackmap.pipeline.products.rows import Value
from crackmap.pipeline.products.tables import safe_cell

_ARROW = {"text": pa.string(), "real": pa.float64(), "int": pa.int64()}

GEOMETRY = "geometry"

SCHEMA = pa.schema([*((field.name, _ARROW[field.kind]) for field in CRACK_FIELDS), (GEOMETRY, pa.binary())])
"""Of `CrackPortion.table`."""


@dataclass(frozen=True, slots=True)
class CrackPortion:
    """Some cracks, ready to be written.

    Attributes:
        table: as `crack_rows.crack_table` gives it, null where there is no value, and their lines as well-known binary.
        csv: their rows, UTF-8.
        geojson: their features, UTF-8, with commas between; empty where coordinates are no map.
    """

    table: pa.Table
    csv: bytes
    geojson: bytes


def crack_portion(crs_wkt: str | None, content: bytes) -> CrackPortion:
    """Makes a portion.

    Args:
        crs_wkt: of the coordinates if they are a map, which goes into GeoJSON too; else None.
        content: the cracks, by `CrackColumns.to_bytes`.
    """
    cracks = CrackColumns.from_bytes(content)
    table = crack_table(cracks)
    columns = plain_columns(table)
    geojson = b"" if crs_wkt is None else _geojson(cracks, columns, crs_wkt)
    return CrackPortion(_arrow(table, shapely.to_wkb(lines_of(cracks))), _csv(columns), geojson)


def _arrow(table: Mapping[str, NDArray[Any]], wkb: Sequence[bytes]) -> pa.Table:
    columns = [pa.array(table[field.name], type=_ARROW[field.kind], from_pandas=True) for field in CRACK_FIELDS]
    return pa.Table.from_arrays([*columns, pa.array(wkb, pa.binary())], schema=SCHEMA)


def lines_of(cracks: CrackColumns) -> NDArray[np.object_]:
    """(n,) shapely lines."""
    of_crack = np.repeat(np.arange(len(cracks)), np.diff(cracks.ends))
    return np.asarray(shapely.linestrings(cracks["line_xy"], indices=of_crack), object)


def _csv(columns: Sequence[Sequence[Value]]) -> bytes:
    safe = [
        [safe_cell(value) for value in column] if field.kind == "text" else column
        for field, column in zip(CRACK_FIELDS, columns, strict=True)
    ]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(zip(*safe, strict=True))
    return text.getvalue().encode("utf-8")


def _geojson(cracks: CrackColumns, columns: Sequence[Sequence[Value]], crs_wkt: str) -> bytes:
    to_degrees = Transformer.from_crs(crs_wkt, "OGC:CRS84", always_xy=True)
    names = [field.name for field in CRACK_FIELDS]
    rows = zip(*columns, strict=True)
    features = (
        {"type": "Feature", "properties": dict(zip(names, row, strict=True)), "geometry": geometry}
        for row, geometry in zip(rows, geometries(cracks["line_xy"], cracks.ends, to_degrees), strict=True)
    )
    return ",\n".join(json.dumps(one, ensure_ascii=False, allow_nan=False) for one in features).encode("utf-8")
