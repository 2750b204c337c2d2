"""From centrelines to cracks: length, orientation, and the numbers on the ground."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.plane import GroundPlane
from crackmap.stages.measure.budget import length_uncertainty_px, mean_width_uncertainty
from crackmap.stages.measure.centreline import MeasuredLine
from crackmap.stages.measure.joints import is_joint
from crackmap.stages.measure.settings import MeasureSettings
from crackmap.stages.measure.widths import ReadLine
from crackmap.stages.polyline import arc_length, principal_direction_deg, vertex_weights
from crackmap.stages.records import Crack, FloatArray

_BORDER_PX = 1.5

_SATURATED_SHARE = 0.2
"""Above this share of its length in black or white a crack is flagged."""


def trusted_parts(read: ReadLine, ground: GroundPlane | None) -> list[ReadLine]:
    """The parts of a line, each of at least two vertices, that lie where the ground plane is trusted."""
    if ground is None:
        return [read]
    line = read.line
    trusted = ground.trusted(line.xy_px)
    if trusted.all():
        return [read]
    order = np.arange(len(trusted))
    if line.closed and trusted.any():
        # A loop is opened where it is cut, so that what is left of it is not split at its seam as well.
        order = np.roll(order[:-1], -int(np.argmin(trusted[:-1])))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], trusted[order].astype(np.int8), [0]])))
    parts = []
    for first, last in edges.reshape(-1, 2).tolist():
        if last - first < 2:
            continue
        # Where a line is cut it ends: a short rest is dropped like any other fragment.
        free = (first > 0 or line.closed or line.free[0], last < len(order) or line.closed or line.free[1])
        parts.append(_part(read, order[first:last], free))
    return parts


def _part(read: ReadLine, kept: NDArray[np.int64], free: tuple[bool, bool]) -> ReadLine:
    line = read.line
    share = min(_length(line.xy_px[kept]) / max(_length(line.xy_px), 1e-9), 1.0)
    closed = line.closed and len(kept) == len(line.xy_px)
    part = MeasuredLine(
        line.xy_px[kept], line.width_px[kept], line.probability[kept], free, closed, line.clear[kept],
        line.gap_px * share,
    )  # fmt: skip
    return ReadLine(
        part, read.mask_width_px[kept], read.grey[kept], read.u_common_px[kept], read.noise_px[kept],
        read.clipped[kept], read.vertex_noise_px[kept], read.step_share,
    )  # fmt: skip


def is_crack(read: ReadLine, settings: MeasureSettings) -> bool:
    """Whether a line is long enough, by itself and against its width, and no mere edge in the picture."""
    line = read.line
    length = _length(line.xy_px)
    if not (length > 0 and (line.width_px > 0).all()) or read.step_share > settings.max_step_share:
        return False
    if not any(line.free) and not line.closed:
        return True
    lone = all(line.free)
    return length >= settings.min_length_px and not (lone and length < settings.min_elongation * line.width_px.mean())


def crack_of(read: ReadLine, *, ground: GroundPlane | None, size_wh_px: tuple[int, int]) -> Crack:
    """The crack of a line; it starts at the upper of its ends, or the left one at equal height."""
    first, last = read.line.xy_px[[0, -1]].tolist()
    if (last[1], last[0]) < (first[1], first[0]):
        read = _part(read, np.arange(len(read.grey))[::-1], read.line.free[::-1])
    line = read.line
    xy, width, u_common = line.xy_px, line.width_px, read.u_common_px
    length_px = _length(xy)
    u_length_px = length_uncertainty_px(line)
    weight = vertex_weights(xy)
    u_width_px = mean_width_uncertainty(u_common, read.noise_px, weight, length_px)
    crack = Crack(
        centreline_xy_px=xy,
        width_px=width,
        length_px=length_px,
        orientation_deg=principal_direction_deg(xy * np.array([1.0, -1.0])),
        confidence=float(np.clip(line.probability.mean(), 0.0, 1.0)),
        touches_border=not line.closed and _at_border(xy[[0, -1]], size_wh_px),
        u_length_px=u_length_px,
        u_width_px=u_width_px,
        grey_share=float(np.average(read.grey, weights=weight)),
        gap_px=line.gap_px,
        saturated=float(np.average(read.clipped, weights=weight)) > _SATURATED_SHARE,
        joint=is_joint(read, None if ground is None else ground.lens),
        below_resolution=float(np.average(width, weights=weight)) - u_width_px < 1.0,
    )
    return crack if ground is None else _on_ground(crack, read, u_common, ground)


def _on_ground(crack: Crack, read: ReadLine, u_common_px: FloatArray, ground: GroundPlane) -> Crack:
    xy_m = ground.to_ground_xy_m(crack.centreline_xy_px)
    length_m = _length(xy_m)
    row_mm, column_mm = np.median(ground.gsd_mm(crack.centreline_xy_px), axis=0).tolist()
    across_mm = across_mm_per_px(crack.centreline_xy_px, ground)
    width_mm = crack.width_px * across_mm
    weight = vertex_weights(xy_m)
    mean_width_mm = float(np.average(width_mm, weights=weight))
    noise_mm = read.noise_px * across_mm
    u_width_mm = mean_width_uncertainty(u_common_px * across_mm, noise_mm, weight, crack.length_px)
    u_length_m = (crack.u_length_px or 0.0) * length_m / max(crack.length_px, 1e-9)
    return replace(
        crack,
        orientation_deg=principal_direction_deg(xy_m),
        centreline_xy_m=xy_m,
        width_mm=width_mm,
        length_m=length_m,
        gsd_mm=(row_mm, column_mm),
        u_length_m=float(np.hypot(u_length_m, ground.u_scale * length_m)),
        u_width_mm=float(np.hypot(u_width_mm, ground.u_scale * mean_width_mm)),
    )


def across_mm_per_px(xy_px: FloatArray, ground: GroundPlane) -> FloatArray:
    """(N,) millimetres on the ground, at right angles to the line there, per pixel of width in the picture.

    A short piece of a line, t long and w wide in the picture, covers w |t| px^2, and |det J| times that on the
    ground, where it is |J t| long: its width there is w |det J| |t| / |J t|.
    """
    tangent = np.gradient(xy_px, axis=0)
    tangent /= np.maximum(np.hypot(*tangent.T), 1e-12)[:, None]
    jacobian = ground.jacobian_mm(xy_px)
    stretch = np.linalg.norm(np.einsum("nij,nj->ni", jacobian, tangent), axis=1)
    return np.asarray(np.abs(np.linalg.det(jacobian)) / stretch, float)


def _length(xy: FloatArray) -> float:
    return float(arc_length(xy)[-1])


def _at_border(ends_xy_px: FloatArray, size_wh_px: tuple[int, int]) -> bool:
    size = np.array(size_wh_px, float)
    return bool(((ends_xy_px <= _BORDER_PX) | (ends_xy_px >= size - _BORDER_PX)).any())
