"""Polylines with numbers at their vertices: cutting, lengths, directions.

A place along a line is a fractional vertex number t: 2.25 lies a quarter of the way from vertex 2 to vertex 3. All
numbers of a line (coordinates, widths, chainage) are read at the same places, so they never drift apart.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from crackmap.stages.records import FloatArray


def segment_lengths(xy: FloatArray) -> FloatArray:
    """(N - 1,) lengths of the segments of a line (N, 2), in its unit."""
    steps = xy[1:] - xy[:-1]
    return np.asarray(np.hypot(steps[:, 0], steps[:, 1]), np.float64)


def vertex_weights(xy: FloatArray) -> FloatArray:
    """(N,) length each vertex stands for: half of its segments. Equal weights where the line has no length."""
    halves = segment_lengths(xy) / 2
    weights = np.zeros(len(xy))
    weights[:-1] += halves
    weights[1:] += halves
    return weights if weights.any() else np.ones(len(xy))


def places_with_crossings(coordinate: FloatArray, levels: Iterable[float]) -> FloatArray:
    """(M,) ascending places: every vertex of the line, and every place where `coordinate` (N,) passes a level."""
    places = [np.arange(len(coordinate), dtype=np.float64)]
    for level in levels:
        below, above = coordinate[:-1] - level, coordinate[1:] - level
        (segments,) = np.nonzero(below * above < 0)
        places.append(segments + below[segments] / (below[segments] - above[segments]))
    return np.asarray(np.unique(np.concatenate(places)), np.float64)


def read_at(places: FloatArray, values: FloatArray) -> FloatArray:
    """Values (N,) or (N, k) of the vertices, interpolated linearly at places (M,)."""
    first = np.minimum(places.astype(np.int64), len(values) - 2)
    share = places - first
    share = share.reshape(-1, *([1] * (values.ndim - 1)))
    return np.asarray(values[first] * (1 - share) + values[first + 1] * share, np.float64)


def runs(inside: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(first segment, last segment + 1) of every unbroken run of True among the segments of a line."""
    flags = np.concatenate([[False], inside, [False]])
    edges = np.flatnonzero(flags[1:] != flags[:-1])
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def axial_direction_deg(segments_xy: FloatArray) -> float:
    """Length-weighted principal direction of segments (N, 2): from +y, growing towards +x, degrees in [0, 180).

    The mean of doubled angles (Mardia and Jupp, Directional Statistics, 2000, section 9.2), because a segment and its
    reverse are the same direction.
    """
    x, y = segments_xy.T
    length = np.hypot(x, y)
    doubled = 2 * np.arctan2(x, y)
    angle = np.degrees(np.arctan2((length * np.sin(doubled)).sum(), (length * np.cos(doubled)).sum())) / 2
    wrapped = float(angle % 180.0)
    return 0.0 if wrapped >= 180.0 else wrapped


def weighted_quantile(values: FloatArray, weights: FloatArray, share: float) -> float:
    """The least of `values` (N,) that at least `share` of the weight does not exceed."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, share * reached[-1] * (1 - 1e-12))])
