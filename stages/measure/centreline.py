"""From strands to sub-pixel centrelines with a width at each vertex."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, median_filter

from crackmap.stages.measure.profile import CrossSections, ProbabilityField, cross_sections, reach_along
from crackmap.stages.measure.settings import MeasureSettings
from crackmap.stages.measure.skeleton import half_width_at
from crackmap.stages.measure.strands import Strand
from crackmap.stages.polyline import arc_length, resampled
from crackmap.stages.records import FloatArray

_END_DISCS = 2.0
"""The skeleton turns into a corner of a blunt end, sqrt(2) half-widths long, or stops short: this much of it, in
half-widths, is replaced by a straight piece up to the tip."""

_TIP_PX = 1.5
"""Closer than this to a free end the profile is blurred by the end itself."""

_JUNCTION_DISCS = 1.3
"""Within this many times the radius of a junction the profile sees the other branches."""


@dataclass(frozen=True, slots=True)
class MeasuredLine:
    """One centreline before it is put on the ground.

    Attributes:
        xy_px: (N, 2) vertices; pixels of the full image.
        width_px: (N,) width at each vertex.
        probability: (N,) crack probability at each vertex.
        free: whether start and end are ends of the crack and not junctions.
        closed: it is a loop; the first vertex is repeated at the end.
        clear: (N,) whether the line runs alone there: away from junctions and tips, on its crack.
        gap_px: length of the gaps between fragments that were joined into this line.
    """

    xy_px: FloatArray
    width_px: FloatArray
    probability: FloatArray
    free: tuple[bool, bool]
    closed: bool
    clear: NDArray[np.bool_]
    gap_px: float = 0.0


@dataclass(frozen=True, slots=True)
class _Draft:
    """A line at steps of about one pixel, (n, 2), and (n,) the crack's rough half-width along it."""

    xy: FloatArray
    half_width: FloatArray
    strand: Strand


def centrelines_of(
    strands: list[Strand], field: ProbabilityField, half_width_px: NDArray[np.float32], settings: MeasureSettings
) -> list[MeasuredLine]:
    """One measured line per strand, in their order.

    Pixel steps are smoothed away, ends are drawn out to the tips, and each point moves to the middle of the
    probability across the line; ends at junctions stay where they are. All profiles are read at once.
    """
    if not strands:
        return []
    drafts = [_smooth_draft(strand, half_width_px, settings.smoothing_px) for strand in strands]
    drafts = _drawn_to_tips(drafts, field)
    normals = [_normals(draft.xy, draft.strand.closed) for draft in drafts]
    sections = cross_sections(
        field,
        np.concatenate([draft.xy for draft in drafts]),
        np.concatenate(normals),
        np.concatenate([draft.half_width for draft in drafts]),
        settings.profile_floor,
    )
    cuts = np.cumsum([len(draft.xy) for draft in drafts])[:-1]
    parts = zip(drafts, normals, np.split(sections.width_px, cuts), np.split(sections.offset_px, cuts), strict=True)
    vertices = [
        _vertices(draft, normal, CrossSections(width, offset), field, settings)
        for draft, normal, width, offset in parts
    ]
    probability = field.at(np.concatenate([rows[:, :2] for rows in vertices])).astype(np.float64)
    of_line = np.split(probability, np.cumsum([len(rows) for rows in vertices])[:-1])
    corner = np.array([field.x0_px, field.y0_px], float)
    return [
        MeasuredLine(rows[:, :2] + corner, rows[:, 2], share, draft.strand.free, draft.strand.closed, rows[:, 3] > 0.5)
        for draft, rows, share in zip(drafts, vertices, of_line, strict=True)
    ]


def _smooth_draft(strand: Strand, half_width_px: NDArray[np.float32], smoothing_px: float) -> _Draft:
    xy = resampled(strand.points_xy_px, 1.0)
    half_width = half_width_at(half_width_px, xy)
    return _Draft(_smoothed(xy, _course_sigma(half_width, smoothing_px), strand.closed), half_width, strand)


def _course_sigma(half_width: FloatArray, smoothing_px: float) -> float:
    # The skeleton of a wide crack follows its ragged edges, while its course bends no faster than it is wide.
    return max(smoothing_px, float(np.median(half_width)))


def _smoothed(xy: FloatArray, sigma: float, closed: bool) -> FloatArray:
    # Gaussian smoothing pulls a curve inwards by sigma^2 / 2R; smoothing what it took away and adding that
    # again (Tukey's twicing) leaves only a term in sigma^4.
    once = _gaussian(xy, sigma, closed)
    return once + _gaussian(xy - once, sigma, closed)


def _gaussian(values: FloatArray, sigma: float, closed: bool) -> FloatArray:
    if closed:
        ring = gaussian_filter1d(values[:-1], sigma, axis=0, mode="wrap")
        return np.concatenate([ring, ring[:1]])
    # Reflected through the end points, so that these stay fixed and a straight line stays straight.
    more = min(int(np.ceil(4 * sigma)), len(values) - 1)
    before = 2 * values[0] - values[more:0:-1]
    after = 2 * values[-1] - values[-2 : -2 - more : -1]
    long = gaussian_filter1d(np.concatenate([before, values, after]), sigma, axis=0, mode="nearest")
    result = np.asarray(long[more : more + len(values)], float)
    result[[0, -1]] = values[[0, -1]]
    return result


def _drawn_to_tips(drafts: list[_Draft], field: ProbabilityField) -> list[_Draft]:
    """The drafts with their free ends cut back to where the skeleton is sound, and drawn on to the true tips."""
    ends = [(k, side) for k, draft in enumerate(drafts) for side in (0, 1) if draft.strand.free[side]]
    sound = {end: _sound_end(drafts[end[0]], end[1]) for end in ends}
    origin = np.array([sound[end][1] for end in ends]).reshape(-1, 2)
    direction = np.array([sound[end][2] for end in ends]).reshape(-1, 2)
    reach = reach_along(field, origin, direction, np.array([sound[end][3] for end in ends]))
    tips = dict(zip(ends, origin + reach[:, None] * direction, strict=True))
    result = []
    for k, draft in enumerate(drafts):
        first = sound[k, 0][0] if (k, 0) in tips else 0
        last = len(draft.xy) - (sound[k, 1][0] if (k, 1) in tips else 0)
        points = np.column_stack([draft.xy, draft.half_width])[first:last]
        head = [[*tips[k, 0], points[0, 2]]] if (k, 0) in tips else []
        tail = [[*tips[k, 1], points[-1, 2]]] if (k, 1) in tips else []
        points = np.concatenate([np.reshape(part, (-1, 3)) for part in (head, points, tail)])
        points = resampled(points, 1.0)
        result.append(replace(draft, xy=_inside_image(points[:, :2], field), half_width=points[:, 2]))
    return result


def _sound_end(draft: _Draft, side: int) -> tuple[int, FloatArray, FloatArray, float]:
    """Points to drop at an end, the last sound point, the direction outwards, and how far the tip may be."""
    xy = draft.xy if side == 0 else draft.xy[::-1]
    half_width = draft.half_width if side == 0 else draft.half_width[::-1]
    along = arc_length(xy)
    most = (len(xy) - 1) // (3 if all(draft.strand.free) else 2)
    cut = min(int(np.argmax(along >= _END_DISCS * half_width)), most)
    back = min(cut + max(int(half_width[cut]), 5), len(xy) - 1)
    step = xy[cut] - xy[back]
    direction = step / max(float(np.hypot(*step)), 1e-9)
    return cut, xy[cut], direction, float(along[cut] + 2.0 * half_width[cut] + 3.0)


def _inside_image(xy: FloatArray, field: ProbabilityField) -> FloatArray:
    low = np.array([-field.x0_px, -field.y0_px], float)
    return np.asarray(np.clip(xy, low, low + np.array(field.size_wh_px)), float)


def _normals(xy: FloatArray, closed: bool) -> FloatArray:
    """(n, 2) unit vectors across the line, a quarter turn clockwise on the image from its direction."""
    smooth = _gaussian(xy, 2.0, closed)
    if closed:
        tangent = np.roll(smooth[:-1], -1, axis=0) - np.roll(smooth[:-1], 1, axis=0)
        tangent = np.concatenate([tangent, tangent[:1]])
    else:
        tangent = np.gradient(smooth, axis=0)
    tangent /= np.maximum(np.hypot(*tangent.T), 1e-9)[:, None]
    return np.column_stack([-tangent[:, 1], tangent[:, 0]])


def _vertices(
    draft: _Draft, normal: FloatArray, sections: CrossSections, field: ProbabilityField, settings: MeasureSettings
) -> FloatArray:
    """(N, 4) x, y, width and whether the line runs alone there, of the vertices of one line; window pixels."""
    along = arc_length(draft.xy)
    clear = (sections.width_px > 0) & _clear_of_junctions(draft)
    offset = _offsets(draft, along, clear, sections.offset_px, settings.smoothing_px)
    xy = _inside_image(draft.xy + offset[:, None] * normal, field)
    width = _widths(draft, along, clear, sections.width_px)
    alone = clear & _clear_of_tips(draft, along, 2 * _TIP_PX)
    rows = resampled(np.column_stack([xy, width, alone]), settings.vertex_spacing_px)
    if draft.strand.closed:
        rows[-1] = rows[0]
    return rows


def _clear_of_junctions(draft: _Draft) -> NDArray[np.bool_]:
    clear = np.ones(len(draft.xy), bool)
    for node in draft.strand.junctions:
        clear &= np.hypot(*(draft.xy - node.xy_px).T) > _JUNCTION_DISCS * node.merged_px + 1.0
    return clear


def _clear_of_tips(draft: _Draft, along: FloatArray, distance: float) -> NDArray[np.bool_]:
    start = along >= distance if draft.strand.free[0] else True
    end = along <= along[-1] - distance if draft.strand.free[1] else True
    return np.asarray(np.ones(len(along), bool) & start & end, bool)


def _offsets(
    draft: _Draft, along: FloatArray, clear: NDArray[np.bool_], offset: FloatArray, smoothing_px: float
) -> FloatArray:
    """(n,) how far each point moves along its normal; 0 at junction ends."""
    end_zone = min(float(np.median(draft.half_width)), along[-1] / 4)
    clear = clear & _clear_of_tips(draft, along, end_zone)
    if not clear.any():
        return np.zeros(len(along))
    offset = np.interp(along, along[clear], offset[clear])
    bound = np.maximum(draft.half_width, 1.0)
    offset = np.clip(offset, -bound, bound)
    mode = "wrap" if draft.strand.closed else "nearest"
    offset = np.asarray(gaussian_filter1d(offset, _course_sigma(draft.half_width, smoothing_px) / 2, mode=mode), float)
    if draft.strand.closed:
        return offset
    zone = np.maximum(2.0 * draft.half_width, 4.0)
    for side, distance in ((0, along), (1, along[-1] - along)):
        if not draft.strand.free[side]:
            offset = offset * np.clip(distance / zone, 0.0, 1.0)
    return offset


def _widths(draft: _Draft, along: FloatArray, clear: NDArray[np.bool_], width: FloatArray) -> FloatArray:
    """(n,) widths, taken across junctions and tips from the clear line beside them, lightly smoothed."""
    clear = clear & _clear_of_tips(draft, along, min(_TIP_PX, along[-1] / 4))
    if not clear.any():
        # A line that lies in junctions throughout: the inscribed discs are all there is to go by.
        return np.asarray(np.maximum(2.0 * draft.half_width - 1.0, 1.0), float)
    width = np.interp(along, along[clear], width[clear])
    mode = "wrap" if draft.strand.closed else "nearest"
    width = median_filter(width, size=min(5, len(width)), mode=mode)
    return np.asarray(gaussian_filter1d(width, 1.5, mode=mode), float)
