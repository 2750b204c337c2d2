"""Cracks as GeoJSON (RFC 7946): longitude and latitude of WGS 84, cut at the antimeridian.

Written here and not by GDAL, which takes «-50.9999990» for rounding noise of -51 and moves a vertex by 10 cm.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from pyproj import CRS, Transformer

from crackmap.pipeline.products.publish import publishing
from crackmap.pipeline.products.rows import CRACK_FIELDS, values
from crackmap.pipeline.records import OutputFrame, RoadCrack
from crackmap.stages.records import FloatArray

DECIMALS = 9
"""The ninth decimal of a degree is a tenth of a millimetre; rounded to centimetres, short segments get longer."""


def write_geojson(path: Path, cracks: Sequence[RoadCrack], output: OutputFrame) -> None:
    """Writes one feature per crack with the attributes of the GeoPackage; `output` must be a map.

    Raises:
        StorageError: the file could not be written.
    """
    to_degrees = Transformer.from_crs(CRS.from_wkt(output.crs_wkt), "OGC:CRS84", always_xy=True)
    with publishing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write('{"type": "FeatureCollection", "name": "cracks", "features": [')
        for number, crack in enumerate(cracks):
            degrees = np.column_stack(to_degrees.transform(*crack.line_xy.T))
            properties = dict(zip((field.name for field in CRACK_FIELDS), values(CRACK_FIELDS, crack), strict=True))
            feature = {"type": "Feature", "properties": properties, "geometry": _geometry(degrees)}
            file.write((",\n" if number else "\n") + json.dumps(feature, ensure_ascii=False, allow_nan=False))
        file.write("\n]}\n")


def _geometry(degrees: FloatArray) -> dict[str, Any]:
    parts = [np.asarray(part).round(DECIMALS).tolist() for part in cut_at_antimeridian(degrees)]
    if len(parts) == 1:
        return {"type": "LineString", "coordinates": parts[0]}
    return {"type": "MultiLineString", "coordinates": parts}


def cut_at_antimeridian(degrees: FloatArray) -> Iterator[list[FloatArray]]:
    """Yields the parts of a line (N, 2) of longitudes and latitudes between its crossings of 180 degrees."""
    part = [degrees[0]]
    for here, there in pairwise(degrees):
        if abs(there[0] - here[0]) > 180.0:
            side = np.copysign(180.0, here[0])
            unwrapped = there[0] + 2 * side
            latitude = here[1] + (there[1] - here[1]) * (side - here[0]) / (unwrapped - here[0])
            yield [*part, np.array([side, latitude])]
            part = [np.array([-side, latitude])]
        part.append(there)
    yield part
