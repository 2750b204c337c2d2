"""Lines as GeoJSON geometries (RFC 7946): longitude and latitude of WGS 84, cut at the antimeridian.

Written here and not by GDAL, which takes «-50.9999990» for rounding noise of -51 and moves a vertex by 10 cm.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from crackmap.stages.records import FloatArray

DECIMALS = 9
"""The ninth decimal of a degree is a tenth of a millimetre; rounded to centimetres, short segments get longer."""


def geometries(lines_xy: FloatArray, ends: NDArray[np.int64], to_degrees: Transformer) -> Iterator[dict[str, Any]]:
    """Yields the geometry of each of n lines.

    Args:
        lines_xy: (vertices, 2) of all lines, one after the other, in map coordinates.
        ends: (n + 1,) number of the first vertex of each, and at last that of all vertices.
        to_degrees: from there to longitude and latitude.
    """
    degrees = np.column_stack(to_degrees.transform(*lines_xy.T))
    rounded = degrees.round(DECIMALS).tolist()
    jumps = np.abs(np.diff(degrees[:, 0], prepend=degrees[:1, 0])) > 180.0
    for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        if jumps[start + 1 : end].any():
            parts = [np.asarray(part).round(DECIMALS).tolist() for part in cut_at_antimeridian(degrees[start:end])]
            yield {"type": "MultiLineString", "coordinates": parts}
        else:
            yield {"type": "LineString", "coordinates": rounded[start:end]}


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
