"""Cracks cut to the strip of road their frame answers for, so that overlapping frames count nothing twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crackmap.pipeline.polyline import places_with_crossings, read_at, runs
from crackmap.pipeline.records import Frame
from crackmap.stages.polyline import segment_lengths
from crackmap.stages.records import Crack, FloatArray

BORDER_PX = 3.0
"""An end this near to the image edge may be there only because the picture ends; a skeleton stops about half a width
short of the edge, so the local width counts where it is greater."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The part of one crack inside the strip of its frame.

    Attributes:
        frame: the frame it was seen in.
        order: the frame's place in the survey.
        crack: the whole crack as measured.
        places: (M,) ascending places along the crack's line (see `polyline`), M >= 2: the vertices of the piece.
        local_xy: (M, 2) ground metres, or pixels with y up where there is no ground scale.
        share: length of the piece over the length of the crack.
        cut: whether the crack goes on beyond the first, and beyond the last vertex.
    """

    frame: Frame
    order: int
    crack: Crack
    places: FloatArray
    local_xy: FloatArray
    share: float
    cut: tuple[bool, bool]

    @property
    def along_m(self) -> float:
        """Chainage of where its frame counts from; 0 where that is not known."""
        return self.frame.chainage_m or 0.0

    def at_vertices(self, values: FloatArray) -> FloatArray:
        """Values (N,) or (N, k) of the crack's vertices at those of the piece."""
        return read_at(self.places, values) if any(self.cut) else values

    def ends_at_border(self, side: int) -> bool:
        """Whether end 0 or 1 stops at the image border, as far as the crack itself is said to touch it."""
        if not self.crack.touches_border or self.cut[side]:
            return False
        distances = [_border_distance_px(self.frame, self.crack, end) for end in (0, -1)]
        nearest = int(np.argmin(distances))
        limit = max(BORDER_PX, float(self.crack.width_px[-side]))
        return distances[side] <= limit or (side == nearest and min(distances) > limit)


def local_line(frame: Frame, crack: Crack) -> FloatArray:
    """(N, 2) vertices of a crack in ground metres, or in pixels with y up where it has no ground scale."""
    if crack.centreline_xy_m is not None:
        return crack.centreline_xy_m
    return crack.centreline_xy_px * [1.0, -1.0] + [0.0, float(frame.size_wh_px[1])]


def cut_to_strip(frame: Frame, order: int, cracks: Sequence[Crack]) -> list[Piece]:
    """The pieces of a frame's cracks inside its strip, from <= y < to, with new vertices exactly at its edges."""
    if not cracks:
        return []
    lines = [local_line(frame, crack) for crack in cracks]
    starts = np.cumsum([0, *(len(line) for line in lines[:-1])])
    y = np.concatenate([line[:, 1] for line in lines])
    nearest, farthest = (found.reduceat(y, starts).tolist() for found in (np.minimum, np.maximum))
    pieces = []
    for crack, line, least, greatest in zip(cracks, lines, nearest, farthest, strict=True):
        owned = frame.owns_y_m if crack.centreline_xy_m is not None else None
        if owned is None or (owned[0] <= least and greatest < owned[1]):
            pieces.append(Piece(frame, order, crack, np.arange(float(len(line))), line, 1.0, (False, False)))
        else:
            pieces += _cut(frame, order, crack, line, owned)
    return pieces


def _cut(frame: Frame, order: int, crack: Crack, line: FloatArray, owned: tuple[float, float]) -> list[Piece]:
    low, high = owned
    last = len(line) - 1
    y = line[:, 1]
    places = places_with_crossings(y, (low, high))
    middle = read_at((places[:-1] + places[1:]) / 2, y)
    total = segment_lengths(line).sum()
    pieces = []
    for first, end in runs((middle >= low) & (middle < high)):
        kept = places[first : end + 1]
        xy = read_at(kept, line)
        xy[:, 1] = np.clip(xy[:, 1], low, high)
        share = float(segment_lengths(xy).sum() / total) if total > 0 else 1.0
        pieces.append(Piece(frame, order, crack, kept, xy, share, (bool(kept[0] > 0), bool(kept[-1] < last))))
    return pieces


def _border_distance_px(frame: Frame, crack: Crack, vertex: int) -> float:
    x, y = crack.centreline_xy_px[vertex]
    width, height = frame.size_wh_px
    return float(min(x, y, width - x, height - y))
