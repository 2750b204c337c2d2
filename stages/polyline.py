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


def turning_rad(xy: FloatArray) -> float:
    """Sum of the bends of a polyline without their signs, radians: how rough its course is."""
    azimuth = np.arctan2(*(xy[1:] - xy[:-1]).T)
    return float(np.abs((np.diff(azimuth) + np.pi) % (2 * np.pi) - np.pi).sum())


def percentile(values: FloatArray, percent: float) -> float:
    """As np.percentile gives it, which for a short line takes twenty times as long."""
    ordered = np.sort(values)
    at = percent / 100 * (len(ordered) - 1)
    below = int(at)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (ordered[above] - ordered[below]) * (at - below))


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


def principal_direction_deg(xy: FloatArray) -> float:
    """Direction of a line (N, 2): the principal axis of its length; from +y, growing towards +x, degrees in [0, 180).

    Each segment counts with its length as a thin rod, as in the moments that give a shape its orientation (Hu, IRE
    Trans. Information Theory 8, 1962). The mean of the segments' directions would hang on the two end points alone.
    """
    step, middle, length = xy[1:] - xy[:-1], (xy[1:] + xy[:-1]) / 2, segment_lengths(xy)
    total = max(float(length.sum()), 1e-300)
    offset = middle - length @ middle / total
    # About its own middle a rod of length L has the second moment L^2 / 12 per unit of length.
    xx, yy = ((length[:, None] * (offset**2 + step**2 / 12)).sum(axis=0)).tolist()
    xy_moment = float((length * (offset[:, 0] * offset[:, 1] + step[:, 0] * step[:, 1] / 12)).sum())
    degrees = float(np.degrees(np.arctan2(2 * xy_moment, yy - xx)) / 2 % 180.0)
    # A tiny negative angle is rounded up to 180 by the modulo.
    return 0.0 if degrees >= 180.0 else degrees
