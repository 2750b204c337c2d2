"""Exact strokes of varying width: the share of each pixel that a crack covers.

A stroke is the outline between its two edges, mitred at the vertices, and the coverage is the exact area of that
polygon in each pixel. Truth drawn this way holds no sampling error of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_MITRE_LIMIT = 2.0
"""A mitre reaches at most this many half-widths from its vertex: up to bends of 120 degrees it is whole."""


def outline(xy: FloatArray, width: FloatArray) -> FloatArray:
    """(2 N, 2) polygon around a polyline (N, 2) with the full width (N,) at each vertex, square at its ends.

    Any unit that both share. The polygon runs along one edge and back along the other, always the same way round.
    """
    step = np.diff(xy, axis=0)
    direction = step / np.maximum(np.hypot(*step.T), 1e-12)[:, None]
    before, after = np.vstack([direction[:1], direction]), np.vstack([direction, direction[-1:]])
    middle = before + after
    middle /= np.maximum(np.hypot(*middle.T), 1e-12)[:, None]
    # Between two segments the edges meet on the bisector, 1 / cos(half the bend) from the vertex.
    stretch = np.minimum(1.0 / np.maximum((middle * after).sum(axis=1), 1e-9), _MITRE_LIMIT)
    across = np.column_stack([-middle[:, 1], middle[:, 0]]) * (stretch * width / 2)[:, None]
    return np.concatenate([xy + across, (xy - across)[::-1]])


def coverage_of(outlines: Sequence[FloatArray], size_wh_px: tuple[int, int]) -> NDArray[np.float32]:
    """(height, width) share of each pixel, 0 to 1, that the polygons cover; pixels from the top-left corner.

    All polygons must run the same way round. Where two meet within one pixel their shares add up.

    The signed area under each edge is summed along the rows, as font rasterisers do (Levien, font-rs, 2016): each
    piece of an edge inside one pixel adds its height to all pixels on its right and its exact share to its own.
    """
    width, height = size_wh_px
    covered = np.zeros((height, width), np.float32)
    if not outlines:
        return covered
    points = np.concatenate(outlines)
    low = np.clip(np.floor(points.min(axis=0)), 0, size_wh_px).astype(int)
    high = np.clip(np.ceil(points.max(axis=0)), 0, size_wh_px).astype(int)
    columns, rows = (high - low).tolist()
    if columns < 1 or rows < 1:
        return covered
    starts = np.concatenate(outlines) - low
    ends = np.concatenate([np.roll(polygon, -1, axis=0) for polygon in outlines]) - low
    signed = _signed_area(*_clipped(starts, ends, columns, rows), columns, rows)
    sign = np.sign(sum(_twice_area(polygon) for polygon in outlines)) or 1.0
    covered[low[1] : high[1], low[0] : high[0]] = np.clip(sign * signed, 0.0, 1.0)
    return covered


def draw_coverage(xy_px: FloatArray, width_px: FloatArray, size_wh_px: tuple[int, int]) -> NDArray[np.float32]:
    """(height, width) coverage, 0 to 1, of one polyline (N, 2) with the full width (N,) at each vertex."""
    return coverage_of([outline(xy_px, width_px)], size_wh_px)


def _twice_area(polygon: FloatArray) -> float:
    x, y = polygon.T
    return float(x @ np.roll(y, -1) - np.roll(x, -1) @ y)


def _clipped(starts: FloatArray, ends: FloatArray, columns: int, rows: int) -> tuple[FloatArray, FloatArray]:
    """Edges cut at every pixel boundary of the window, without those above, below or right of it."""
    inside = (np.maximum(starts[:, 1], ends[:, 1]) > 0) & (np.minimum(starts[:, 1], ends[:, 1]) < rows)
    inside &= (np.minimum(starts[:, 0], ends[:, 0]) < columns) & (starts[:, 1] != ends[:, 1])
    starts, ends = starts[inside], ends[inside]
    owner, share = [np.arange(len(starts))], [np.zeros(len(starts))]
    for axis, most in ((0, columns), (1, rows)):
        a, b = starts[:, axis], ends[:, axis]
        first = np.clip(np.ceil(np.minimum(a, b)), 0, most + 1).astype(np.int64)
        last = np.clip(np.floor(np.maximum(a, b)), -1, most).astype(np.int64)
        count = np.maximum(last - first + 1, 0)
        edge = np.repeat(np.arange(len(a)), count)
        line = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
        with np.errstate(divide="ignore", invalid="ignore"):
            at = (line - a[edge]) / (b - a)[edge]
        cuts = (at > 0) & (at < 1)
        owner.append(edge[cuts])
        share.append(at[cuts])
    edges, shares = np.concatenate(owner), np.concatenate(share)
    order = np.lexsort((shares, edges))
    edges, shares = edges[order], shares[order]
    until = np.append(shares[1:], 1.0)
    until[np.append(edges[1:] != edges[:-1], True)] = 1.0
    step = (ends - starts)[edges]
    return starts[edges] + shares[:, None] * step, starts[edges] + until[:, None] * step


def _signed_area(starts: FloatArray, ends: FloatArray, columns: int, rows: int) -> FloatArray:
    """(rows, columns) winding number of the polygons, averaged over each pixel, from edges inside single pixels."""
    middle = (starts + ends) / 2
    row = np.floor(middle[:, 1]).astype(np.int64)
    kept = (row >= 0) & (row < rows) & (middle[:, 0] < columns)
    row, x, rise = row[kept], middle[kept, 0], (ends - starts)[kept, 1]
    column = np.clip(np.floor(x), 0, columns - 1).astype(np.int64)
    right_of = np.clip(x - column, 0.0, 1.0)
    place = row * (columns + 1) + column
    places = np.concatenate([place, place + 1])
    heights = np.concatenate([rise * (1.0 - right_of), rise * right_of])
    summed = np.bincount(places, heights, minlength=rows * (columns + 1)).reshape(rows, columns + 1)
    return np.asarray(-np.cumsum(summed, axis=1)[:, :-1], np.float64)
