"""Strokes on the road: outlined once in metres, cut into quads, and projected through the camera frame by frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from crackmap.calibration.plane import GroundPlane
from crackmap.stages.records import FloatArray
from crackmap.stages.render.stroke import Window, edges, quads, weighted_coverage

LONGEST_M = 0.25
"""Longest quad: one that reaches into the picture then lies well in front of the camera with all its corners."""


@dataclass(frozen=True, slots=True)
class Strokes:
    """Strokes cut into quads, in order along the road.

    Attributes:
        quads_m: (M, 4, 2) corners in road metres.
        weight: (M,) of each quad.
        y_m: (M,) middle of each quad along the road, ascending.
    """

    quads_m: FloatArray
    weight: FloatArray
    y_m: FloatArray

    def between(self, low_m: float, high_m: float) -> tuple[FloatArray, FloatArray]:
        """Quads and weights of those whose middle lies on this stretch of road."""
        chosen = slice(*np.searchsorted(self.y_m, [low_m, high_m]).tolist())
        return self.quads_m[chosen], self.weight[chosen]


def strokes_of(lines: Iterable[tuple[FloatArray, FloatArray, FloatArray]]) -> Strokes:
    """Strokes from lines: vertices (N, 2) and width (N,) in metres, and the weight (N,) at each vertex.

    Long segments are cut into equal parts, which changes no edge: width and course are linear along a segment.
    """
    shapes, weights = [np.empty((0, 4, 2))], [np.empty(0)]
    for line, width_m, weight in lines:
        one, other = edges(line, width_m)
        count = np.maximum(np.ceil(np.hypot(*np.diff(line, axis=0).T) / LONGEST_M), 1).astype(int)
        place = np.concatenate([np.arange(count.sum()) / np.repeat(count, count), [0.0]])
        starts = np.cumsum(count) - count
        place[:-1] += np.repeat(np.arange(len(count)) - starts / count, count)
        place[-1] = len(line) - 1
        whole = np.arange(len(line))
        one, other = (
            np.column_stack([np.interp(place, whole, edge[:, axis]) for axis in (0, 1)]) for edge in (one, other)
        )
        shapes.append(quads(one, other))
        weights.append(np.interp((place[:-1] + place[1:]) / 2, whole, weight))
    corners, weight = np.concatenate(shapes), np.concatenate(weights)
    y = corners[:, :, 1].mean(axis=1)
    order = np.argsort(y, kind="stable")
    return Strokes(corners[order], weight[order], y[order])


def seen(
    strokes: Strokes, plane: GroundPlane, vehicle_xy_m: tuple[float, float], sight_m: tuple[float, float]
) -> Window | None:
    """What a camera sees of strokes: their exact coverage and mean weight in each pixel; None where there are none.

    Args:
        strokes: in road metres.
        plane: of the camera.
        vehicle_xy_m: road coordinates of the ground point under the camera.
        sight_m: nearest and farthest road ahead that is drawn; in front of the camera by more than LONGEST_M.
    """
    corners_m, weight = strokes.between(
        vehicle_xy_m[1] + sight_m[0] - LONGEST_M, vehicle_xy_m[1] + sight_m[1] + LONGEST_M
    )
    if not len(corners_m):
        return None
    corners = plane.to_pixel_xy(corners_m.reshape(-1, 2) - np.asarray(vehicle_xy_m)).reshape(-1, 4, 2)
    # A quad with a corner behind the camera is NaN, fails the comparisons and is left out.
    inside = ((corners.max(axis=1) > 0) & (corners.min(axis=1) < plane.size_wh_px)).all(axis=1)
    inside &= np.isfinite(corners).all(axis=(1, 2))
    return weighted_coverage(corners[inside], weight[inside], plane.size_wh_px) if inside.any() else None
