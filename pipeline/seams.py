"""Which ends of crack pieces belong together across the seam between two consecutive frames."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np

from crackmap.pipeline.records import Frame, Placement
from crackmap.pipeline.strips import Piece, local_line
from crackmap.stages.polyline import segment_lengths

TANGENT_SPAN_M = 0.25
"""Length of line on which direction and width at an end are read: a dozen pixels or more at survey resolutions."""

_ASIDE = 0.6
"""Of the greatest gap: along their course two frames may disagree by all of it (the track's error is greatest there),
sideways by less, or the neighbour in a field of cracks is taken for the continuation."""

_ROUNDING_M = 1e-6
"""Two ways to the same map coordinates differ by less."""

EndKey = tuple[int, int]
"""Number of the piece, and 0 for its first or 1 for its last vertex."""


@dataclass(frozen=True, slots=True)
class JoinLimits:
    """Greatest gap (m, along and across), change of direction (degrees) and width ratio of two ends that are joined."""

    gap_m: float
    angle_deg: float
    width_ratio: float


@dataclass(frozen=True, slots=True)
class _End:
    key: EndKey
    output_xy: tuple[float, float]
    outward_xy: tuple[float, float]
    width_mm: float
    pixel_mm: float
    sealed: bool


def join_at_seams(frames: Sequence[Frame], pieces: Sequence[Piece], limits: JoinLimits) -> dict[EndKey, EndKey]:
    """The joined ends, each pair in both directions.

    Best pairs first (gap, change of direction and width ratio, each over its limit, added up), each end once; a join
    that would close a ring is left out, so that every chain of pieces has two ends.

    Args:
        frames: in survey order; `Piece.order` counts them.
        pieces: of all frames.
        limits: what may be joined.
    """
    tops, bottoms = _seam_ends(pieces, limits.gap_m)
    tips = _tips(pieces)
    # Most ends have no other near them, and what else is to be known of an end takes long.
    near_m = math.sqrt(2.0) * limits.gap_m + _ROUNDING_M
    ends: dict[EndKey, _End] = {}
    candidates: list[tuple[float, EndKey, EndKey]] = []
    for near, far in _consecutive(frames):
        for lower, upper in product(tops.get(near, ()), bottoms.get(far, ())):
            if math.dist(tips[lower[0]][lower[1]], tips[upper[0]][upper[1]]) > near_m:
                continue
            for key in (lower, upper):
                if key not in ends:
                    ends[key] = _end(key, pieces[key[0]])
            cost = _cost(frames[near].placement, ends[lower], ends[upper], limits)
            if cost is not None:
                candidates.append((cost, lower, upper))
    return _pair_up(sorted(candidates), len(pieces))


def chains(count: int, joins: Mapping[EndKey, EndKey]) -> Iterator[list[tuple[int, bool]]]:
    """Yields every chain of joined pieces as (number of the piece, whether it runs backwards), by least number."""
    seen: set[int] = set()
    for start in range(count):
        if start in seen:
            continue
        entry: EndKey = (start, 0)
        while entry in joins:
            index, side = joins[entry]
            entry = (index, 1 - side)
        chain = []
        while True:
            index, side = entry
            seen.add(index)
            chain.append((index, side == 1))
            leave = (index, 1 - side)
            if leave not in joins:
                break
            entry = joins[leave]
        yield chain


def _consecutive(frames: Sequence[Frame]) -> Iterator[tuple[int, int]]:
    strips = [
        i for i, frame in enumerate(frames) if frame.owns_y_m is not None and frame.owns_y_m[0] < frame.owns_y_m[1]
    ]
    for near, far in pairwise(strips):
        if frames[near].stream == frames[far].stream:
            yield near, far


def _seam_ends(pieces: Sequence[Piece], gap_m: float) -> tuple[dict[int, list[EndKey]], dict[int, list[EndKey]]]:
    """Ends near the far edge, and ends near the near edge of their frame's strip, by frame."""
    tops: dict[int, list[EndKey]] = {}
    bottoms: dict[int, list[EndKey]] = {}
    for number, piece in enumerate(pieces):
        if piece.frame.owns_y_m is None or piece.crack.centreline_xy_m is None:
            continue
        low, high = piece.frame.owns_y_m
        for side in (0, 1):
            y = piece.local_xy[-side, 1]
            if high - y <= gap_m:
                tops.setdefault(piece.order, []).append((number, side))
            if y - low <= gap_m:
                bottoms.setdefault(piece.order, []).append((number, side))
    return tops, bottoms


def _tips(pieces: Sequence[Piece]) -> list[list[list[float]]]:
    """Output coordinates of the two ends of each piece, but for rounding."""
    if not pieces:
        return []
    local = np.array([piece.local_xy[[0, -1]] for piece in pieces])
    azimuth = np.deg2rad([[piece.frame.placement.azimuth_deg] for piece in pieces])
    origin = np.array([[piece.frame.placement.origin_xy] for piece in pieces])
    x, y = local[..., 0], local[..., 1]
    turned = [np.cos(azimuth) * x + np.sin(azimuth) * y, np.cos(azimuth) * y - np.sin(azimuth) * x]
    ends: list[list[list[float]]] = (np.stack(turned, axis=-1) + origin).tolist()
    return ends


def _end(key: EndKey, piece: Piece) -> _End:
    """Direction and width are read on the whole crack, on both sides of a cut: a sliver alone has no direction."""
    side = key[1]
    line = local_line(piece.frame, piece.crack)
    arc = np.concatenate([[0.0], np.cumsum(segment_lengths(line))])
    here = float(np.interp(piece.places[-side], np.arange(len(arc)), arc))
    outward = 1.0 if side else -1.0
    span = np.clip(here + outward * TANGENT_SPAN_M * np.array([-1.0, 1.0]), 0.0, arc[-1])
    x, y = (np.interp(span, arc, line[:, axis]) for axis in (0, 1))
    tip = piece.local_xy[-side]
    placed = piece.frame.placement.to_output_xy(np.array([tip, tip + np.array([x[1] - x[0], y[1] - y[0]])]))
    direction = placed[1] - placed[0]
    inside = np.linspace(span[0], here, 5)
    widths = np.zeros(5) if piece.crack.width_mm is None else np.interp(inside, arc, piece.crack.width_mm)
    pixel_mm = max(piece.crack.gsd_mm) if piece.crack.gsd_mm is not None else 0.0
    return _End(key, (float(placed[0, 0]), float(placed[0, 1])),
                (float(direction[0]), float(direction[1])), float(widths.mean()), pixel_mm,
                piece.crack.sealed)  # fmt: skip


def _cost(placement: Placement, lower: _End, upper: _End, limits: JoinLimits) -> float | None:
    """How badly two ends fit, 0 to 3; None where they must not be joined."""
    dx, dy = upper.output_xy[0] - lower.output_xy[0], upper.output_xy[1] - lower.output_xy[1]
    azimuth = math.radians(placement.azimuth_deg)
    across = dx * math.cos(azimuth) - dy * math.sin(azimuth)
    along = dx * math.sin(azimuth) + dy * math.cos(azimuth)
    if max(abs(across), abs(along)) > limits.gap_m or lower.sealed != upper.sealed:
        return None
    turn = _angle_deg(lower.outward_xy, (-upper.outward_xy[0], -upper.outward_xy[1]))
    if turn > limits.angle_deg:
        return None
    if _aside(lower, upper, dx, dy) > _ASIDE * limits.gap_m:
        return None
    thin, thick = sorted((lower.width_mm, upper.width_mm))
    pixel = max(lower.pixel_mm, upper.pixel_mm)
    if thick > limits.width_ratio * thin and thick - thin > pixel:
        return None
    ratio = (thick + pixel + 1e-9) / (thin + pixel + 1e-9)
    return math.hypot(dx, dy) / limits.gap_m + turn / limits.angle_deg + math.log(ratio) / math.log(
        max(limits.width_ratio, 1.1))  # fmt: skip


def _aside(lower: _End, upper: _End, dx: float, dy: float) -> float:
    """How far the upper end lies beside the course on which the two lines would go on as one."""
    x = lower.outward_xy[0] - upper.outward_xy[0]
    y = lower.outward_xy[1] - upper.outward_xy[1]
    return abs(dx * y - dy * x) / max(math.hypot(x, y), 1e-9)


def _angle_deg(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Angle between two directions; 180 where one of them has no length."""
    if math.hypot(*a) == 0 or math.hypot(*b) == 0:
        return 180.0
    return math.degrees(abs(math.atan2(a[0] * b[1] - a[1] * b[0], a[0] * b[0] + a[1] * b[1])))


def _pair_up(candidates: Sequence[tuple[float, EndKey, EndKey]], count: int) -> dict[EndKey, EndKey]:
    joins: dict[EndKey, EndKey] = {}
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for _, lower, upper in candidates:
        if lower in joins or upper in joins or root(lower[0]) == root(upper[0]):
            continue
        joins[lower], joins[upper] = upper, lower
        parent[root(lower[0])] = root(upper[0])
    return joins
