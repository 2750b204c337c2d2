"""Widths and their uncertainties: from the picture where the contrast allows, from the probabilities elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from crackmap.stages.measure.centreline import MeasuredLine
from crackmap.stages.measure.picture import GreyWindow, Profiles, profile_reach_px, profiles_of
from crackmap.stages.measure.profile import ProbabilityField
from crackmap.stages.measure.valley import PointSpread, ValleyWidths, valley_widths
from crackmap.stages.polyline import arc_length, turning_rad
from crackmap.stages.records import FloatArray

_BRIDGED_PX = 16.0
"""A stretch without a reading of its own takes its neighbours' if they are at most this far away."""

_LEAST_GREY_SHARE = 0.3
"""A line of which less could be read in the picture is measured in the mask altogether."""

_U_SPREAD_SHARE = 0.02
"""The point spread differs by this much across a picture and from a Gaussian, whatever the fit says."""

_U_VALLEY_PX = 0.04
_U_STEADY_PX2 = 0.06
"""What the valley model leaves: 0.04 px, and 0.06 px^2 / width from profiles that are not aligned to better than a
tenth of a pixel (misalignment widens a narrow valley)."""

_U_BENT_PX = 0.35
"""Of the width, for each radian of bends in a pixel of line: across a rough wide crack normals fan out and cross."""

_TURNS_EVERY = 3
"""Bends are taken between pixels of line this far apart, as between its vertices."""

_U_PHASE_PX = 0.3
"""Of a crack about a pixel wide that runs along a row or column of pixels, so that all its profiles show the same few
samples of the valley. Less by a factor e for each pixel of width."""

_U_UNCLEAR = 0.1
"""Of the width, where it is taken over from the clear line beside a junction or tip."""

_U_SATURATED_PX = 0.5
"""Black or white cuts off the valley's shape: its edges are then known to about half a pixel."""

_U_SOFT_MASK_PX = 0.08
_U_BINARY_MASK_PX = 0.25
"""A soft mask gives its own width this well at every angle; a binary one hides where in a pixel its edges lie
(1 / sqrt(12) px each side, which lines along rows, columns and diagonals do not average out)."""

_MASK_NOISE = 0.6
"""Standard deviation of a mask's width over one pixel of line, px."""

_U_FAT_MASK_PX = 1.0
"""How much fatter or thinner than its crack a mask may be where no crack of the picture tells."""

_LEAST_COMPARED = 20
"""Vertices read both ways from which the fatness of a picture's mask is taken."""

_LEAST_WIDTH_PX = 0.3


@dataclass(frozen=True, slots=True)
class ReadLine:
    """A line with its final widths and what they rest on, (N,) each.

    Attributes:
        line: the line; its widths and axis as read.
        mask_width_px: width that the probabilities gave.
        grey: whether the width was read in the picture.
        u_common_px: standard uncertainty that neighbouring vertices share: the mean does not average it out.
        noise_px: standard uncertainty over one pixel of line: over L pixels it is this / sqrt(L).
        clipped: whether the picture is black or white there.
        vertex_noise_px: standard uncertainty of the width at the vertex itself, from noise alone.
        step_share: share of the line, one number, along which the picture shows a step instead of a valley: the edge
            of a patch, of paint, of a shadow.
    """

    line: MeasuredLine
    mask_width_px: FloatArray
    grey: NDArray[np.bool_]
    u_common_px: FloatArray
    noise_px: FloatArray
    clipped: NDArray[np.bool_]
    vertex_noise_px: FloatArray
    step_share: float = 0.0


def read_in_mask(line: MeasuredLine, *, binary: bool) -> ReadLine:
    """The line with the widths of its mask."""
    count = len(line.xy_px)
    nowhere = np.zeros(count, bool)
    u_common = np.full(count, _U_BINARY_MASK_PX if binary else _U_SOFT_MASK_PX)
    noise = np.full(count, _MASK_NOISE)
    return ReadLine(line, line.width_px, nowhere, u_common, noise, nowhere, noise)


@dataclass(frozen=True, slots=True)
class LineProfiles:
    """The profiles of lines that share a reach.

    Attributes:
        members: which of the lines.
        profiles: of them.
    """

    members: list[int]
    profiles: Profiles


def line_profiles(lines: Sequence[MeasuredLine], picture: GreyWindow, field: ProbabilityField) -> list[LineProfiles]:
    """The profiles of some lines, by reach."""
    return [
        LineProfiles(members, profiles_of([lines[k] for k in members], reach, picture, field))
        for reach, members in _by_reach(lines)
    ]


def read_in_picture(
    lines: Sequence[MeasuredLine], groups: Sequence[LineProfiles], spread: PointSpread, *, binary: bool
) -> list[ReadLine]:
    """The lines, in their order, with axis and widths read in the picture where it allows."""
    result = [read_in_mask(line, binary=binary) for line in lines]
    for group in groups:
        members, profiles = group.members, group.profiles
        valleys = valley_widths(profiles, spread)
        for k, rows in zip(members, profiles.rows_by_line(), strict=True):
            result[k] = _read_line(result[k], profiles, valleys, rows, spread)
    return result


def settled(lines: Sequence[ReadLine]) -> list[ReadLine]:
    """The lines of one picture, where widths left to the mask are corrected by what the picture showed of it.

    Segmenters and people draw a crack fatter than it is, by much the same all over a picture: what the mask has too
    much where both could be read is taken off where only the mask can be. Where too little could be read in the
    picture nothing is taken off, and the uncertainty says so.
    """
    excess = np.concatenate([(read.mask_width_px - read.line.width_px)[read.grey] for read in lines] or [np.empty(0)])
    fat, u_fat = 0.0, _U_FAT_MASK_PX
    if len(excess) >= _LEAST_COMPARED:
        fat = float(np.median(excess))
        u_fat = min(1.48 * float(np.median(np.abs(excess - fat))) + _U_BINARY_MASK_PX, _U_FAT_MASK_PX)
    return [_corrected(read, fat, u_fat) for read in lines]


def _corrected(read: ReadLine, fat_px: float, u_fat_px: float) -> ReadLine:
    if read.grey.all():
        return read
    width = np.maximum(read.mask_width_px - fat_px, _LEAST_WIDTH_PX)
    return replace(
        read,
        line=replace(read.line, width_px=np.where(read.grey, read.line.width_px, width)),
        u_common_px=np.where(read.grey, read.u_common_px, np.hypot(read.u_common_px, u_fat_px)),
    )


def _by_reach(lines: Sequence[MeasuredLine]) -> list[tuple[float, list[int]]]:
    groups: dict[float, list[int]] = {}
    for k, line in enumerate(lines):
        groups.setdefault(profile_reach_px(line), []).append(k)
    return sorted(groups.items())


def _read_line(
    read: ReadLine, profiles: Profiles, valleys: ValleyWidths, rows: NDArray[np.int64], spread: PointSpread
) -> ReadLine:
    """The line's own vertices with what the rows beside them say."""
    line, valid = read.line, valleys.valid[rows]
    along, good = profiles.along_px[rows], rows[valid]
    place = arc_length(line.xy_px)
    clipped = np.interp(place, along, profiles.clipped[rows].astype(np.float64)) > 0.5
    if valid.mean() < _LEAST_GREY_SHARE:
        step_share = float(valleys.step[rows].sum() / max(profiles.clear[rows].sum(), 1))
        u_common = np.hypot(read.u_common_px, np.where(clipped, _U_SATURATED_PX, 0.0))
        return replace(read, clipped=clipped, u_common_px=u_common, step_share=step_share)
    at = along[valid]

    def there(values: FloatArray) -> FloatArray:
        return np.asarray(np.interp(place, at, values), np.float64)

    width = np.maximum(there(median_filter(valleys.width_px[good], size=9, mode="nearest")), _LEAST_WIDTH_PX)
    unclear = 1.0 - np.interp(place, along, profiles.clear[rows].astype(np.float64))
    u_spread = np.hypot(spread.u_sigma_px, _U_SPREAD_SHARE * spread.sigma_px) * np.abs(there(valleys.slope[good]))
    u_valley = _u_valley(width, unclear, profiles.xy_px[rows]) + np.where(clipped, _U_SATURATED_PX, 0.0)
    # After smoothing by sigma along the line, 2 sqrt(pi) sigma rows share their noise.
    noise = there(valleys.u_noise_px[good] * np.sqrt(2 * np.sqrt(np.pi) * valleys.along_px[good]))
    next_at = np.clip(np.searchsorted(at, place), 0, len(at) - 1)
    distance = np.minimum(np.abs(at[next_at] - place), np.abs(at[np.maximum(next_at - 1, 0)] - place))
    grey = distance <= _BRIDGED_PX
    axis = np.column_stack([np.interp(place, along, column) for column in profiles.xy_px[rows].T])
    return ReadLine(
        replace(line, xy_px=_moved(line, axis, place), width_px=np.where(grey, width, line.width_px)),
        read.mask_width_px,
        grey,
        np.where(grey, np.hypot(u_spread, u_valley), read.u_common_px),
        np.where(grey, noise, read.noise_px),
        clipped,
        np.where(grey, there(valleys.u_noise_px[good]), read.vertex_noise_px),
    )


def _u_valley(width_px: FloatArray, unclear: FloatArray, xy_px: FloatArray) -> FloatArray:
    """(N,) what the model of the valley leaves, for a line with the pixels `xy_px` (M, 2)."""
    bends = turning_rad(xy_px[::_TURNS_EVERY]) / max(float(arc_length(xy_px)[-1]), 1.0)
    # From 0 to 1: how far the line keeps to one place within the rows or columns of pixels.
    phase = float(np.abs(np.exp(2j * np.pi * xy_px).mean(axis=0)).max())
    result = (
        _U_VALLEY_PX
        + _U_STEADY_PX2 / np.maximum(width_px, 0.5)
        + (_U_BENT_PX * bends + _U_UNCLEAR * unclear) * width_px
    )
    return np.asarray(result + _U_PHASE_PX * phase * np.exp(1.0 - np.maximum(width_px, 1.0)), np.float64)


def _moved(line: MeasuredLine, axis_xy_px: FloatArray, place: FloatArray) -> FloatArray:
    """The vertices on the valley's axis; ends at junctions stay, so that cracks go on meeting there."""
    share = np.ones(len(place))
    if not line.closed:
        for free, distance in zip(line.free, (place, place[-1] - place), strict=True):
            if not free:
                share = np.minimum(share, distance / np.maximum(line.width_px, 4.0))
    xy = line.xy_px + np.clip(share, 0.0, 1.0)[:, None] * (axis_xy_px - line.xy_px)
    if line.closed:
        xy[-1] = xy[0]
    return np.asarray(xy, np.float64)
