"""From centrelines to cracks: length, orientation, and the numbers on the ground."""

from __future__ import annotations

import numpy as np

from crackmap.calibration.plane import GroundPlane
from crackmap.stages.measure.centreline import MeasuredLine
from crackmap.stages.measure.settings import MeasureSettings
from crackmap.stages.records import Crack, FloatArray

_BORDER_PX = 1.5


def trusted_parts(line: MeasuredLine, ground: GroundPlane | None) -> list[MeasuredLine]:
    """The parts of a line, each of at least two vertices, that lie where the ground plane is trusted."""
    if ground is None:
        return [line]
    trusted = ground.trusted(line.xy_px)
    if trusted.all():
        return [line]
    xy, width, probability = line.xy_px, line.width_px, line.probability
    if line.closed and trusted.any():
        # A loop is opened where it is cut, so that what is left of it is not split at its seam as well.
        turn = -int(np.argmin(trusted[:-1]))
        xy, width, probability = (np.roll(a[:-1], turn, axis=0) for a in (xy, width, probability))
        trusted = np.roll(trusted[:-1], turn)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], trusted.astype(np.int8), [0]])))
    parts = []
    for first, last in edges.reshape(-1, 2).tolist():
        if last - first < 2:
            continue
        # Where a line is cut it ends: a short rest is dropped like any other fragment.
        free = (first > 0 or line.closed or line.free[0], last < len(xy) or line.closed or line.free[1])
        part = slice(first, last)
        parts.append(MeasuredLine(xy[part], width[part], probability[part], free, False))
    return parts


def is_crack(line: MeasuredLine, settings: MeasureSettings) -> bool:
    """Whether a line is long enough, by itself and against its width, to be kept."""
    length = _length(line.xy_px)
    if not (length > 0 and (line.width_px > 0).all()):
        return False
    if not any(line.free) and not line.closed:
        return True
    lone = all(line.free)
    return length >= settings.min_length_px and not (lone and length < settings.min_elongation * line.width_px.mean())


def crack_of(line: MeasuredLine, *, ground: GroundPlane | None, size_wh_px: tuple[int, int]) -> Crack:
    """The crack of a line; it starts at the upper of its ends, or the left one at equal height."""
    xy, width = line.xy_px, line.width_px
    if (xy[-1, 1], xy[-1, 0]) < (xy[0, 1], xy[0, 0]):
        xy, width = xy[::-1].copy(), width[::-1].copy()
    confidence = float(np.clip(line.probability.mean(), 0.0, 1.0))
    border = False if line.closed else _at_border(xy[[0, -1]], size_wh_px)
    if ground is None:
        upwards = xy * np.array([1.0, -1.0])
        return Crack(xy, width, _length(xy), orientation_deg(upwards), confidence, border)
    xy_m = ground.to_ground_xy_m(xy)
    row_mm, column_mm = np.median(ground.gsd_mm(xy), axis=0).tolist()
    return Crack(
        centreline_xy_px=xy,
        width_px=width,
        length_px=_length(xy),
        orientation_deg=orientation_deg(xy_m),
        confidence=confidence,
        touches_border=border,
        centreline_xy_m=xy_m,
        width_mm=_ground_width_mm(xy, width, ground),
        length_m=_length(xy_m),
        gsd_mm=(row_mm, column_mm),
    )


def orientation_deg(xy: FloatArray) -> float:
    """Main direction of a polyline (N, 2), x right and y ahead: 0 ahead, 90 across, clockwise, in [0, 180).

    Directions have no sign, so the segments' doubled angles are averaged, weighted by length (Mardia and Jupp,
    Directional Statistics, 2000, section 1.1).
    """
    dx, dy = np.diff(xy, axis=0).T
    length = np.maximum(np.hypot(dx, dy), 1e-300)
    # With t the clockwise angle from y: L sin 2t = 2 dx dy / L, L cos 2t = (dy^2 - dx^2) / L.
    doubled = np.arctan2((2 * dx * dy / length).sum(), ((dy - dx) * (dy + dx) / length).sum())
    degrees = float(np.degrees(doubled) / 2 % 180.0)
    # A tiny negative angle is rounded up to 180 by the modulo.
    return 0.0 if degrees >= 180.0 else degrees


def _ground_width_mm(xy_px: FloatArray, width_px: FloatArray, ground: GroundPlane) -> FloatArray:
    """(N,) widths at right angles to the line on the ground.

    A short piece of a line, t long and w wide in the image, covers w |t| px^2, and |det J| times that on the
    ground, where it is |J t| long: its width there is w |det J| |t| / |J t|.
    """
    tangent = np.gradient(xy_px, axis=0)
    tangent /= np.maximum(np.hypot(*tangent.T), 1e-12)[:, None]
    jacobian = ground.jacobian_mm(xy_px)
    stretch = np.linalg.norm(np.einsum("nij,nj->ni", jacobian, tangent), axis=1)
    return np.asarray(width_px * np.abs(np.linalg.det(jacobian)) / stretch, float)


def _length(xy: FloatArray) -> float:
    return float(np.hypot(*np.diff(xy, axis=0).T).sum())


def _at_border(ends_xy_px: FloatArray, size_wh_px: tuple[int, int]) -> bool:
    size = np.array(size_wh_px, float)
    return bool(((ends_xy_px <= _BORDER_PX) | (ends_xy_px >= size - _BORDER_PX)).any())
