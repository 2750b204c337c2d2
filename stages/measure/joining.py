"""Fragments of one crack, seen with gaps between them, become one line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from crackmap.stages.measure.centreline import MeasuredLine
from crackmap.stages.measure.profile import ProbabilityField
from crackmap.stages.measure.settings import MeasureSettings
from crackmap.stages.polyline import arc_length
from crackmap.stages.records import FloatArray

IntArray = NDArray[np.int64]

_READ_PX = 12.0
_READ_WIDTHS = 3.0
"""Direction and width of an end are read over 12 px or three widths: pixel steps of the mask turn less by less."""

_TIP_SLACK_PX = 1.0
"""A tip lies this far off its line by pixel steps alone: at a gap of 2 px that would be 27 degrees."""

_WIDTH_RATIO = 2.5
_WIDTH_SLACK_PX = 1.5
"""Two ends are equally wide within this ratio or this difference."""

_GAP_BASE_PX = 8.0
_GAP_WIDTHS = 4.0
"""A gap with evidence is at most this long: a constant for what the segmenter loses of a thin line, and some widths,
since wide cracks are interrupted by whole stones."""

_BLIND_SHARE = 0.5
"""Without evidence only gaps up to this share of the length are bridged."""

_EVIDENCE = 0.1
"""Mean crack probability along a gap from which on it speaks for a crack: with the shipped weights 99 of 100 places of
sound road beside cracks stay below 0.075 (16 frames of DNIT, means over 9 px)."""

_SAMPLES = 16
"""Probabilities read along a gap: at most 1.5 px apart at the default greatest gap."""


@dataclass(frozen=True, slots=True)
class _Ends:
    """The free ends of all lines, one row per end.

    Attributes:
        line: (E,) index of the line.
        side: (E,) 0 for its first vertex, 1 for its last.
        xy: (E, 2) the tip, pixels of the full image.
        outward: (E, 2) unit vector in which the line would go on.
        width: (E,) width of the line near the end.
        length: (E,) length of the whole line.
    """

    line: IntArray
    side: IntArray
    xy: FloatArray
    outward: FloatArray
    width: FloatArray
    length: FloatArray


def joined(lines: list[MeasuredLine], field: ProbabilityField, settings: MeasureSettings) -> list[MeasuredLine]:
    """The lines with fragments of one crack made one.

    Two free ends of two lines (never ends at junctions) are joined when

    - the gap is at most `join_gap_px`, 8 px + 4 widths, and the length of the shorter line; without evidence (mean
      probability along the gap of at least 0.1) half of 8 px + 4 widths;
    - each line points to the tip of the other: it lies off the line's direction by at most `join_angle_deg`, with
      1 px of slack for the tip itself; and the two directions differ by at most `join_angle_deg`;
    - their widths agree within a factor of 2.5 or within 1.5 px.

    The best pairs are joined first (gap, change of direction and width ratio, each over its limit, added up), each
    end once. A join that would close a ring is left out: such a ring stays open by one gap.

    Args:
        lines: in pixels of the full image.
        field: the crack probability of the window they were found in.
        settings: `join_gap_px`, 0 for no joining, and `join_angle_deg`.

    Returns:
        One line for each chain of fragments, in the order of their first fragments. A gap is bridged by a straight
        line with vertices about `vertex_spacing_px` apart, widths interpolated between its ends and probabilities
        read from the field. `gap_px` is the length of all gaps in the line.
    """
    ends = _free_ends(lines)
    if settings.join_gap_px == 0 or len(ends.line) < 2:
        return lines
    first, second, cost = _candidates(ends, field, settings)
    if len(first) == 0:
        return lines
    partner = _paired(ends, first, second, cost)
    keys = list(zip(ends.line.tolist(), ends.side.tolist(), strict=True))
    links = {keys[end]: keys[other] for end, other in partner.items()}
    return [_chained(lines, chain, field, settings.vertex_spacing_px) for chain in _chains(len(lines), links)]


def _free_ends(lines: list[MeasuredLine]) -> _Ends:
    found = [(k, side) for k, line in enumerate(lines) if not line.closed for side in (0, 1) if line.free[side]]
    rows = [_read_end(lines[k], side) for k, side in found]
    index = np.array(found, np.int64).reshape(-1, 2)
    numbers = np.array(rows, float).reshape(-1, 6)
    return _Ends(index[:, 0], index[:, 1], numbers[:, 0:2], numbers[:, 2:4], numbers[:, 4], numbers[:, 5])


def _read_end(line: MeasuredLine, side: int) -> tuple[float, ...]:
    xy, width = (line.xy_px, line.width_px) if side == 0 else (line.xy_px[::-1], line.width_px[::-1])
    along = arc_length(xy)
    near = float(np.median(width[along <= _READ_PX]))
    reach = min(max(_READ_PX, _READ_WIDTHS * near), float(along[-1]))
    inside = xy[along <= reach]
    # From the tip to the middle of the stretch the direction is that of the chord over all its vertices.
    step = xy[0] - inside[1:].mean(axis=0) if len(inside) > 1 else xy[0] - xy[1]
    outward = step / max(float(np.hypot(*step)), 1e-9)
    return (*xy[0].tolist(), *outward.tolist(), near, float(along[-1]))


def _candidates(
    ends: _Ends, field: ProbabilityField, settings: MeasureSettings
) -> tuple[IntArray, IntArray, FloatArray]:
    """Pairs of ends that may be joined and how badly each fits, 0 to 3."""
    pairs = cKDTree(ends.xy).query_pairs(settings.join_gap_px, output_type="ndarray").astype(np.int64)
    pairs = pairs[ends.line[pairs[:, 0]] != ends.line[pairs[:, 1]]]
    step = ends.xy[pairs[:, 1]] - ends.xy[pairs[:, 0]]
    gap = np.hypot(*step.T)
    width = ends.width[pairs]
    longest = np.minimum(_GAP_BASE_PX + _GAP_WIDTHS * width.mean(axis=1), settings.join_gap_px)
    slope = np.tan(np.radians(settings.join_angle_deg))
    fits = gap <= np.minimum(longest, ends.length[pairs].min(axis=1))
    for side, sign in ((0, 1.0), (1, -1.0)):
        outward = ends.outward[pairs[:, side]]
        ahead = sign * (step * outward).sum(axis=1)
        aside = np.abs(step[:, 0] * outward[:, 1] - step[:, 1] * outward[:, 0])
        fits &= (ahead > 0) & (aside <= slope * ahead + _TIP_SLACK_PX)
    facing = -(ends.outward[pairs[:, 0]] * ends.outward[pairs[:, 1]]).sum(axis=1)
    turn_deg = np.degrees(np.arccos(np.clip(facing, -1.0, 1.0)))
    thin, thick = np.maximum(width.min(axis=1), 1e-9), width.max(axis=1)
    fits &= turn_deg <= settings.join_angle_deg
    fits &= (thick <= _WIDTH_RATIO * thin) | (thick - thin <= _WIDTH_SLACK_PX)
    blind = np.minimum(_BLIND_SHARE * (_GAP_BASE_PX + _GAP_WIDTHS * width.mean(axis=1)), settings.join_gap_px)
    pairs, gap, turn_deg, thin, thick = pairs[fits], gap[fits], turn_deg[fits], thin[fits], thick[fits]
    longest, blind = longest[fits], blind[fits]
    shown = (gap <= blind) | (_probability_along(ends.xy[pairs], field) >= _EVIDENCE)
    ratio = np.minimum(np.log(thick / thin) / np.log(_WIDTH_RATIO), 1.0)
    cost = gap / longest + turn_deg / settings.join_angle_deg + ratio
    return pairs[shown, 0], pairs[shown, 1], cost[shown]


def _probability_along(tips_xy_px: FloatArray, field: ProbabilityField) -> FloatArray:
    """(P,) mean crack probability on the straight lines between two points (P, 2, 2), full-image pixels."""
    share = ((np.arange(_SAMPLES) + 0.5) / _SAMPLES)[None, :, None]
    places = tips_xy_px[:, :1] * (1 - share) + tips_xy_px[:, 1:] * share
    return np.asarray(field.at(_in_window(places, field)).mean(axis=1), float)


def _in_window(xy_px: FloatArray, field: ProbabilityField) -> FloatArray:
    return np.asarray(xy_px - np.array([field.x0_px, field.y0_px], float), float)


def _paired(ends: _Ends, first: IntArray, second: IntArray, cost: FloatArray) -> dict[int, int]:
    """The partner of each joined end, by end number."""
    partner: dict[int, int] = {}
    parent = list(range(int(ends.line.max()) + 1))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    order = np.lexsort((second, first, cost))
    for a, b in zip(first[order].tolist(), second[order].tolist(), strict=True):
        one, other = root(int(ends.line[a])), root(int(ends.line[b]))
        if a not in partner and b not in partner and one != other:
            partner[a], partner[b] = b, a
            parent[one] = other
    return partner


def _chains(count: int, links: dict[tuple[int, int], tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Yields every chain of lines as (index, side it is entered at), by its least index."""
    seen: set[int] = set()
    for start in range(count):
        if start in seen:
            continue
        entry = (start, 0)
        while entry in links:
            line, side = links[entry]
            entry = (line, 1 - side)
        chain = [entry]
        while (leave := (chain[-1][0], 1 - chain[-1][1])) in links:
            chain.append(links[leave])
        seen.update(line for line, _ in chain)
        yield chain


def _chained(
    lines: list[MeasuredLine], chain: list[tuple[int, int]], field: ProbabilityField, spacing_px: float
) -> MeasuredLine:
    if len(chain) == 1:
        return lines[chain[0][0]]
    parts: list[FloatArray] = []
    gap_px = 0.0
    for k, side in chain:
        line = lines[k]
        part = np.column_stack([line.xy_px, line.width_px, line.probability, line.clear])[:: 1 if side == 0 else -1]
        if parts:
            bridge = _bridge(parts[-1][-1], part[0], field, spacing_px)
            gap_px += float(np.hypot(*(part[0, :2] - parts[-1][-1, :2])))
            parts.append(bridge)
        gap_px += line.gap_px
        parts.append(part)
    (first, side_in), (last, side_at) = chain[0], chain[-1]
    free = lines[first].free[side_in], lines[last].free[1 - side_at]
    xy, width, probability, clear = np.split(np.concatenate(parts), [2, 3, 4], axis=1)
    return MeasuredLine(xy, width[:, 0], probability[:, 0], free, False, clear[:, 0] > 0.5, gap_px)


def _bridge(start: FloatArray, end: FloatArray, field: ProbabilityField, spacing_px: float) -> FloatArray:
    """(n, 5) x, y, width, probability and clearness (none: no crack is seen there) of the vertices between."""
    pieces = max(round(float(np.hypot(*(end[:2] - start[:2]))) / spacing_px), 1)
    share = (np.arange(1, pieces) / pieces)[:, None]
    vertices = start * (1 - share) + end * share
    vertices[:, 3] = field.at(_in_window(vertices[:, :2], field))
    vertices[:, 4] = 0.0
    return np.asarray(vertices, float)
