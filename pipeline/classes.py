"""Lines split where their width class changes: standards record parts of different severity by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crackmap.calibration.errors import require
from crackmap.pipeline.polyline import places_with_crossings, read_at
from crackmap.stages.polyline import segment_lengths
from crackmap.stages.records import FloatArray


@dataclass(frozen=True, slots=True)
class ClassPart:
    """A stretch of a line in one width class.

    Attributes:
        number: of the class: 0 below the first edge, len(edges) from the last edge on.
        line_xy: (M, 2) its vertices; two parts that follow each other share one.
        width: (M,) width at each vertex.
        length: along the part, in the unit of line_xy.
    """

    number: int
    line_xy: FloatArray
    width: FloatArray
    length: float


def split_by_width_class(
    line_xy: FloatArray, width: FloatArray, edges: Sequence[float], *, least_length: float
) -> tuple[ClassPart, ...]:
    """The parts of a line between the places where its width passes an edge.

    ASTM D6433 has cracks whose severity changes recorded part by part. Widths run evenly between vertices, so the
    cut lies where the edge is passed and not at the next vertex. A width on an edge belongs to the wider class.

    A part shorter than `least_length` is given to the longer of its neighbours (of two as long: to the wider),
    the shortest part first, and neighbours of one class become one; so every part that is left has that length,
    unless the whole line is shorter.

    Args:
        line_xy: (N >= 2, 2) vertices.
        width: (N,) width at each vertex.
        edges: ascending limits between the classes, in the unit of `width`.
        least_length: in the unit of `line_xy`.

    Raises:
        InputError: arrays that do not fit, edges that do not ascend, a negative length.
    """
    require(line_xy.ndim == 2 and line_xy.shape[1] == 2 and len(line_xy) > 1, "line_xy", "shape (N >= 2, 2)",
            line_xy.shape)  # fmt: skip
    require(width.shape == (len(line_xy),), "width", f"shape ({len(line_xy)},)", width.shape)
    limits = np.asarray(edges, np.float64)
    require(bool((np.diff(limits) > 0).all()), "edges", "ascending numbers", list(edges))
    require(least_length >= 0, "least_length", "a length, not negative", least_length)
    places = places_with_crossings(width, limits.tolist())
    xy, widths = read_at(places, line_xy), read_at(places, width)
    # Between two places no edge is passed, so the middle tells the class of the whole segment.
    numbers = np.searchsorted(limits, (widths[:-1] + widths[1:]) / 2, side="right")
    changes = np.flatnonzero(np.diff(numbers)) + 1
    bounds = [0, *changes.tolist(), len(numbers)]
    parts = [(int(numbers[bound]), bound) for bound in bounds[:-1]]
    along = np.concatenate([[0.0], np.cumsum(segment_lengths(xy))])
    parts = _without_short(parts, along, least_length)
    ends = [start for _, start in parts[1:]] + [len(numbers)]
    return tuple(
        ClassPart(number, xy[start : end + 1], widths[start : end + 1], float(along[end] - along[start]))
        for (number, start), end in zip(parts, ends, strict=True)
    )


def _without_short(parts: list[tuple[int, int]], along: FloatArray, least_length: float) -> list[tuple[int, int]]:
    """Parts (class, first segment) after short ones have gone to their neighbours."""
    while len(parts) > 1:
        starts = along[[start for _, start in parts] + [len(along) - 1]]
        lengths = np.diff(starts)
        # Rounded, so that a line and its reverse choose alike among parts as long as each other.
        ranks = np.round(lengths, 9)
        shortest = int(np.argmin(ranks))
        if ranks[shortest] >= least_length - 1e-9:
            break
        neighbours = [n for n in (shortest - 1, shortest + 1) if 0 <= n < len(parts)]
        taker = max(neighbours, key=lambda n: (ranks[n], parts[n][0]))
        parts[shortest] = (parts[taker][0], parts[shortest][1])
        parts = [part for n, part in enumerate(parts) if n == 0 or part[0] != parts[n - 1][0]]
    return parts
