"""Polylines as (N, 2) arrays of vertices: lengths along them, and points at even distances."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def segment_lengths(xy: FloatArray) -> FloatArray:
    """(N - 1,) lengths of the segments of a line (N, 2), in its unit."""
    steps = xy[1:] - xy[:-1]
    return np.asarray(np.hypot(steps[:, 0], steps[:, 1]), np.float64)


def arc_length(xy: FloatArray) -> FloatArray:
    """(N,) distance of each vertex from the first one, along the line (N, 2)."""
    return np.concatenate([[0.0], np.cumsum(segment_lengths(xy))])


def vertex_weights(xy: FloatArray) -> FloatArray:
    """(N,) length each vertex stands for: half of its segments. Equal weights where the line has no length."""
    halves = segment_lengths(xy) / 2
    weights = np.zeros(len(xy))
    weights[:-1] += halves
    weights[1:] += halves
    return weights if weights.any() else np.ones(len(xy))


def resampled(points: FloatArray, spacing: float) -> FloatArray:
    """Points (n >= 2, k) at equal distances along a polyline of (m, k) points, whose first two columns are x and y.

    The distance is as near to `spacing` as an even division allows; first and last point stay.
    """
    along = arc_length(points[:, :2])
    count = max(round(float(along[-1]) / spacing), 1) + 1
    at = np.linspace(0.0, along[-1], count)
    return np.column_stack([np.interp(at, along, column) for column in points.T])
