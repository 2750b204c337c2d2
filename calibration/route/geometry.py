"""A line as a chain of cells: from a place on the map to distance along and offset, and back.

Next to a bend neither the nearest point of the line nor the perpendicular of a segment gives a smooth chainage: outside
the bend all places of a wedge share one vertex, inside it some places lie on two perpendiculars. Here the cell of a
segment reaches from the bisector at its first vertex to the bisector at its last one, and across it the chainage grows
evenly. The lines of equal offset are then the mitred parallels of the line, they pass each vertex without a jump, and
both directions are closed formulas: with k = tan(turn / 2) at either end, the parallel at offset o right of a segment
of length L runs from -o k_a to L + o k_b, counted along the segment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from crackmap.calibration.errors import InputError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]

CHUNK = 1 << 16
"""Points that are located at a time: the index works on some 10 MB."""

STEEPEST = 1.0
"""tan(turn / 2) is limited to this, a turn of 90 degrees; beyond it parallels would run far away from the vertex."""

SAME_PLACE_M = 1e-3
"""Vertices nearer than a millimetre are one: below the precision of every map."""

_ROUNDING_M = 1e-7


@dataclass(frozen=True, slots=True)
class Cells:
    """A line prepared for questions, with a value along it that rises.

    Attributes:
        xy_m: (N, 2) vertices, no two in a row the same.
        along_m: (N,) strictly ascending value at the vertices.
        closed: the line ends where it begins, so nothing lies beyond its ends.
    """

    xy_m: FloatArray
    along_m: FloatArray
    closed: bool = field(init=False)
    _length_m: FloatArray = field(init=False, repr=False)
    _ahead: FloatArray = field(init=False, repr=False)
    _steep: FloatArray = field(init=False, repr=False)
    _tree: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        steps = np.diff(self.xy_m, axis=0)
        length = np.hypot(*steps.T)
        ahead = steps / length[:, None]
        segments = shapely.linestrings(np.stack([self.xy_m[:-1], self.xy_m[1:]], axis=1))
        set_once = object.__setattr__
        set_once(self, "closed", bool(len(length) > 2 and np.hypot(*(self.xy_m[0] - self.xy_m[-1])) < SAME_PLACE_M))
        set_once(self, "_length_m", length)
        set_once(self, "_ahead", ahead)
        set_once(self, "_steep", _half_turn_tangents(ahead))
        set_once(self, "_tree", shapely.STRtree(segments))

    def nearest_segment(self, xy_m: FloatArray) -> tuple[IntArray, FloatArray]:
        """Index of the nearest segment and the distance to it, (M,) each."""
        found, distance = self._tree.query_nearest(shapely.points(xy_m), return_distance=True, all_matches=False)
        return np.asarray(found[1], np.intp), np.asarray(distance, np.float64)

    def segments_within(self, xy_m: FloatArray, reach_m: FloatArray) -> tuple[IntArray, IntArray]:
        """Pairs (place, segment) no farther apart than the reach of the place, in ascending order."""
        place, segment = self._tree.query(shapely.points(xy_m), predicate="dwithin", distance=reach_m)
        order = np.lexsort((segment, place))
        return np.asarray(place[order], np.intp), np.asarray(segment[order], np.intp)

    def distance_to(self, xy_m: FloatArray, segment: IntArray) -> FloatArray:
        """(M,) distance of each place to the segment named for it."""
        along, across = self._local(xy_m, segment)
        over = along - np.clip(along, 0.0, self._length_m[segment])
        return np.asarray(np.hypot(over, across), np.float64)

    def read_off(
        self, xy_m: FloatArray, segment: IntArray, distance_m: FloatArray
    ) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Value along the line, offset to the right, and whether the place is beyond an end, (M,) each.

        Args:
            xy_m: (M, 2) places.
            segment: (M,) the nearest segment of each, or the nearest of the part of the line it belongs to.
            distance_m: (M,) the distance to it.
        """
        # Outside a bend two segments are equally near: the bisector says which cell the place is in.
        part, offset, excess = self._in_cell(xy_m, segment)
        neighbour = np.clip(segment + np.sign(excess).astype(np.intp), 0, len(self._length_m) - 1)
        move = np.flatnonzero((excess != 0) & (neighbour != segment))
        part_2, offset_2, excess_2 = self._in_cell(xy_m[move], neighbour[move])
        better = np.abs(excess_2) < np.abs(excess[move])
        chosen = move[better]
        segment = segment.copy()
        segment[chosen] = neighbour[chosen]
        part[chosen], offset[chosen], excess[chosen] = part_2[better], offset_2[better], excess_2[better]
        last = len(self._length_m) - 1
        beyond = ((segment == 0) & (excess < 0)) | ((segment == last) & (excess > 0))
        beyond &= not self.closed
        # What no cell holds lies at the tip of a sharp corner: there the vertex is the place on the line.
        tip = (excess != 0) & ~beyond
        offset[tip] = np.copysign(distance_m[tip], offset[tip])
        part = np.where(beyond, part, np.clip(part, 0.0, 1.0))
        rise = self.along_m[segment + 1] - self.along_m[segment]
        return self.along_m[segment] + part * rise, offset, beyond

    def place(self, along_m: FloatArray, offset_m: FloatArray) -> FloatArray:
        """(M, 2) the place at a value along the line and an offset; beyond the ends straight on."""
        segment = self._segment_of(along_m)
        part = (along_m - self.along_m[segment]) / (self.along_m[segment + 1] - self.along_m[segment])
        start, end = self._parallel(segment, offset_m)
        ahead = self._ahead[segment]
        right = np.column_stack([ahead[:, 1], -ahead[:, 0]])
        shift = start + part * (end - start)
        return np.asarray(self.xy_m[segment] + shift[:, None] * ahead + offset_m[:, None] * right, np.float64)

    def azimuth_deg(self, along_m: FloatArray, half_span_m: float) -> FloatArray:
        """(M,) direction between the places half a span before and after, grid azimuth in [0, 360).

        Towards the ends the span shrinks evenly on both sides, so that the direction stays that of the place.
        """
        inside = np.minimum(along_m - self.along_m[0], self.along_m[-1] - along_m)
        half = np.clip(np.minimum(half_span_m, inside), SAME_PLACE_M, None)
        zero = np.zeros(len(along_m))
        dx, dy = (self.place(along_m + half, zero) - self.place(along_m - half, zero)).T
        segment = self._segment_of(along_m)
        # A line that turns back on itself has no chord; its own segment still has a direction.
        none = np.hypot(dx, dy) < SAME_PLACE_M * 1e-3
        dx, dy = np.where(none, self._ahead[segment, 0], dx), np.where(none, self._ahead[segment, 1], dy)
        return np.asarray(np.mod(np.degrees(np.arctan2(dx, dy)), 360.0), np.float64)

    def _segment_of(self, along_m: FloatArray) -> IntArray:
        found = np.searchsorted(self.along_m, along_m, side="right") - 1
        return np.clip(found, 0, len(self._length_m) - 1)

    def _local(self, xy_m: FloatArray, segment: IntArray) -> tuple[FloatArray, FloatArray]:
        """Metres along and to the right of each segment, from its first vertex."""
        from_start, ahead = xy_m - self.xy_m[segment], self._ahead[segment]
        along = (from_start * ahead).sum(axis=1)
        return along, from_start[:, 0] * ahead[:, 1] - from_start[:, 1] * ahead[:, 0]

    def _parallel(self, segment: IntArray, offset_m: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Where the parallel begins and ends, along the segment."""
        return -offset_m * self._steep[segment], self._length_m[segment] + offset_m * self._steep[segment + 1]

    def _in_cell(self, xy_m: FloatArray, segment: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Share of the cell that lies behind, offset, and metres by which the place is before (-) or after the cell."""
        along, offset = self._local(xy_m, segment)
        start, end = self._parallel(segment, offset)
        width = end - start
        # Inside a bend, beyond its centre, the bisectors have crossed and the cell is none: the segment itself decides.
        none = width < _ROUNDING_M
        start, width = np.where(none, 0.0, start), np.where(none, self._length_m[segment], width)
        part = (along - start) / width
        excess = np.where(part < 0, part, np.where(part > 1, part - 1.0, 0.0)) * width
        return part, offset, np.where(np.abs(excess) < _ROUNDING_M, 0.0, excess)


def finite_rows(xy_m: FloatArray) -> BoolArray:
    """(M,) whether both coordinates are finite."""
    return np.asarray(np.isfinite(xy_m).all(axis=1), np.bool_)


def _half_turn_tangents(ahead: FloatArray) -> FloatArray:
    """(N,) tan(turn / 2) at the vertices, positive to the left, 0 at both ends."""
    before, after = ahead[:-1], ahead[1:]
    sine = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    cosine = (before * after).sum(axis=1)
    inner = np.clip(sine / np.maximum(1.0 + cosine, 1e-12), -STEEPEST, STEEPEST)
    return np.concatenate([[0.0], inner, [0.0]])


def checked_xy(xy_m: ArrayLike, field_name: str = "xy_m") -> FloatArray:
    """(M, 2) floats from whatever was given; one place may be given as a pair.

    Raises:
        InputError: another shape.
    """
    xy = np.asarray(xy_m, np.float64)
    xy = xy[None, :] if xy.shape == (2,) else xy
    if xy.ndim != 2 or xy.shape[1] != 2:
        raise InputError(f"{field_name}: expected shape (N, 2), got {np.shape(xy_m)}")
    return xy
