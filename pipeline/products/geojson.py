"""Lines as GeoJSON features (RFC 7946): longitude and latitude of WGS 84, cut at the antimeridian.

Written here and not by GDAL, which takes «-50.9999990» for rounding noise of -51 and moves a vertex by 10 cm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from pyproj import Transformer

from crackmap.stages.records import FloatArray

DECIMALS = 9
"""The ninth decimal of a degree is a tenth of a millimetre; rounded to centimetres, short segments get longer."""


def feature(line_xy: FloatArray, properties: Mapping[str, Any], to_degrees: Transformer) -> dict[str, Any]:
    """A line (N, 2) in map coordinates as a GeoJSON feature."""
    degrees = np.column_stack(to_degrees.transform(*line_xy.T))
    return {"type": "Feature", "properties": dict(properties), "geometry": _geometry(degrees)}


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
