"""Exact strokes of varying width: the share of each pixel that a crack covers.

A stroke is the outline between its two edges, mitred at the vertices, and the coverage is the exact area of that
polygon in each pixel. Truth drawn this way holds no sampling error of its own.

The two edges can be made in any plane, mapped to another one and cut into quads there: neighbouring quads share their
cut, so together they cover what the whole outline covers, in perspective too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_MITRE_LIMIT = 2.0
"""A mitre reaches at most this many half-widths from its vertex: up to bends of 120 degrees it is whole."""


@dataclass(frozen=True, slots=True)
class Window:
    """Where polygons fall on an image, and how much of each pixel they cover.

    Attributes:
        rows, columns: the part of the image that is touched.
        covered: (rows, columns) float32, covered share of each pixel, 0 to 1.
        weight: (rows, columns) float32, mean weight of the polygons there by covered area; 0 where nothing is.
    """

    rows: slice
    columns: slice
    covered: NDArray[np.float32]
    weight: NDArray[np.float32]


def edges(xy: FloatArray, width: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Both edges, (N, 2) each, of a stroke along a polyline (N, 2) with the full width (N,) at each vertex."""
    step = np.diff(xy, axis=0)
    direction = step / np.maximum(np.hypot(*step.T), 1e-12)[:, None]
    before, after = np.vstack([direction[:1], direction]), np.vstack([direction, direction[-1:]])
    middle = before + after
    middle /= np.maximum(np.hypot(*middle.T), 1e-12)[:, None]
    # Between two segments the edges meet on the bisector, 1 / cos(half the bend) from the vertex.
    stretch = np.minimum(1.0 / np.maximum((middle * after).sum(axis=1), 1e-9), _MITRE_LIMIT)
    across = np.column_stack([-middle[:, 1], middle[:, 0]]) * (stretch * width / 2)[:, None]
    return xy + across, xy - across


def outline(xy: FloatArray, width: FloatArray) -> FloatArray:
    """(2 N, 2) polygon around a polyline (N, 2) with the full width (N,) at each vertex, square at its ends.

    Any unit that both share. The polygon runs along one edge and back along the other, always the same way round.
    """
    one, other = edges(xy, width)
    return np.concatenate([one, other[::-1]])


def quads(one: FloatArray, other: FloatArray) -> FloatArray:
    """(N - 1, 4, 2) the stroke between two edges (N, 2), cut at its vertices; the same way round as `outline`."""
    return np.stack([one[:-1], one[1:], other[1:], other[:-1]], axis=1)


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
    starts = np.concatenate(outlines)
    ends = np.concatenate([np.roll(polygon, -1, axis=0) for polygon in outlines])
    window = _window(starts, ends, None, size_wh_px)
    if window is not None:
        covered[window.rows, window.columns] = window.covered
    return covered


def weighted_coverage(polygons: FloatArray, weight: FloatArray, size_wh_px: tuple[int, int]) -> Window | None:
    """What many small polygons cover together, and their mean weight in each pixel.

    Args:
        polygons: (M, K, 2) pixels from the top-left corner, all the same way round.
        weight: (M,) of each polygon.
        size_wh_px: image width and height.

    Returns:
        The touched part of the image; None where no polygon touches it.
    """
    starts, ends = polygons.reshape(-1, 2), np.roll(polygons, -1, axis=1).reshape(-1, 2)
    return _window(starts, ends, np.repeat(weight, polygons.shape[1]), size_wh_px)


def draw_coverage(xy_px: FloatArray, width_px: FloatArray, size_wh_px: tuple[int, int]) -> NDArray[np.float32]:
    """(height, width) coverage, 0 to 1, of one polyline (N, 2) with the full width (N,) at each vertex."""
    return coverage_of([outline(xy_px, width_px)], size_wh_px)


def _window(
    starts: FloatArray, ends: FloatArray, weight: FloatArray | None, size_wh_px: tuple[int, int]
) -> Window | None:
    """The window of closed polygons given by their edges (E, 2), with the weight (E,) of each edge or none."""
    if not len(starts):
        return None
    low = np.clip(np.floor(starts.min(axis=0)), 0, size_wh_px).astype(int)
    high = np.clip(np.ceil(starts.max(axis=0)), 0, size_wh_px).astype(int)
    columns, rows = (high - low).tolist()
    if columns < 1 or rows < 1:
        return None
    sign = np.sign((starts[:, 0] * ends[:, 1] - ends[:, 0] * starts[:, 1]).sum()) or 1.0
    cut_starts, cut_ends, owner = _clipped(starts - low, ends - low, columns, rows)
    signed = sign * _signed_area(cut_starts, cut_ends, None, columns, rows)
    covered = np.clip(signed, 0.0, 1.0).astype(np.float32)
    mean = np.ones_like(covered)
    if weight is not None:
        weighted = sign * _signed_area(cut_starts, cut_ends, weight[owner], columns, rows)
        # Below a millionth of a pixel the quotient is rounding error, and nothing is seen.
        mean = np.divide(weighted, signed, out=np.zeros_like(signed), where=signed > 1e-6).astype(np.float32)
    return Window(slice(low[1], high[1]), slice(low[0], high[0]), covered, mean)


def _clipped(
    starts: FloatArray, ends: FloatArray, columns: int, rows: int
) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """Edges cut at every pixel boundary of the window, without those above, below or right of it.

    Returns:
        (P, 2) starts and ends of the pieces, and (P,) the edge that each is of.
    """
    names = np.arange(len(starts))
    inside = (np.maximum(starts[:, 1], ends[:, 1]) > 0) & (np.minimum(starts[:, 1], ends[:, 1]) < rows)
    inside &= (np.minimum(starts[:, 0], ends[:, 0]) < columns) & (starts[:, 1] != ends[:, 1])
    starts, ends, names = starts[inside], ends[inside], names[inside]
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
    pieces, shares = np.concatenate(owner), np.concatenate(share)
    order = np.lexsort((shares, pieces))
    pieces, shares = pieces[order], shares[order]
    until = np.append(shares[1:], 1.0)
    until[np.append(pieces[1:] != pieces[:-1], True)] = 1.0
    step = (ends - starts)[pieces]
    return starts[pieces] + shares[:, None] * step, starts[pieces] + until[:, None] * step, names[pieces]


def _signed_area(
    starts: FloatArray, ends: FloatArray, weight: FloatArray | None, columns: int, rows: int
) -> FloatArray:
    """(rows, columns) winding number of the polygons, averaged over each pixel, from edges inside single pixels."""
    middle = (starts + ends) / 2
    row = np.floor(middle[:, 1]).astype(np.int64)
    kept = (row >= 0) & (row < rows) & (middle[:, 0] < columns)
    row, x, rise = row[kept], middle[kept, 0], (ends - starts)[kept, 1]
    column = np.clip(np.floor(x), 0, columns - 1).astype(np.int64)
    if weight is not None:
        rise = rise * weight[kept]
    right_of = np.clip(x - column, 0.0, 1.0)
    place = row * (columns + 1) + column
    places = np.concatenate([place, place + 1])
    heights = np.concatenate([rise * (1.0 - right_of), rise * right_of])
    summed = np.bincount(places, heights, minlength=rows * (columns + 1)).reshape(rows, columns + 1)
    return np.asarray(-np.cumsum(summed, axis=1)[:, :-1], np.float64)
