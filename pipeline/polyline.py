"""Polylines with numbers at their vertices: places on them, cutting, quantiles.

A place along a line is a fractional vertex number t: 2.25 lies a quarter of the way from vertex 2 to vertex 3. All
numbers of a line (coordinates, widths, chainage) are read at the same places, so they never drift apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from crackmap.stages.records import FloatArray


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


def weighted_mean(values: FloatArray, weights: FloatArray) -> float:
    """Of values (N,) with weights (N,) that do not add up to nothing."""
    return float(values @ weights / weights.sum())


def weighted_quantile(values: FloatArray, weights: FloatArray, share: float) -> float:
    """The least of `values` (N,) that at least `share` of the weight does not exceed."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, share * reached[-1] * (1 - 1e-12))])


def lines_by_size(ends: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yields (M,) numbers of the lines of one number of vertices k, and the numbers (M, k) of those.

    Sums over the rows of such a table are those over one line, to the last bit.

    Args:
        ends: (n + 1,) number of the first vertex of each of n lines, and at last that of all vertices.
    """
    sizes = np.diff(ends)
    for size in np.unique(sizes).tolist():
        numbers = np.flatnonzero(sizes == size)
        yield numbers, ends[numbers][:, None] + np.arange(size)


def lengths_of_lines(lines_xy: FloatArray) -> FloatArray:
    """(M, k - 1) lengths of the segments of lines (M, k, 2)."""
    steps = lines_xy[:, 1:] - lines_xy[:, :-1]
    return np.asarray(np.hypot(steps[..., 0], steps[..., 1]), np.float64)


def weights_of_lines(lines_xy: FloatArray) -> FloatArray:
    """(M, k) `vertex_weights` of lines (M, k, 2)."""
    halves = lengths_of_lines(lines_xy) / 2
    weights = np.zeros(lines_xy.shape[:2])
    weights[:, :-1] += halves
    weights[:, 1:] += halves
    weights[~weights.any(axis=1)] = 1.0
    return weights


def weighted_means(values: FloatArray, line_xy: FloatArray, ends: NDArray[np.int64]) -> FloatArray:
    """(n,) `weighted_mean` along each of n lines of values (vertices,) at the vertices (vertices, 2) of all."""
    found = np.empty(len(ends) - 1)
    for numbers, vertices in lines_by_size(ends):
        weights = weights_of_lines(line_xy[vertices])
        found[numbers] = np.vecdot(values[vertices], weights) / weights.sum(axis=1)
    return found
