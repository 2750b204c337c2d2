"""Anti-aliased strokes of varying width: the share of each pixel that a crack covers."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SUPERSAMPLING = 4
"""Sub-pixels a side: coverage is exact to 1/16, enough for labels; fixed-point vertices keep strokes unbiased."""

_SHIFT = 6
_FIXED = 1 << _SHIFT


def draw_coverage(
    xy_px: NDArray[np.float64], width_px: NDArray[np.float64], size_wh_px: tuple[int, int]
) -> NDArray[np.float32]:
    """(height, width) coverage, 0 to 1, of one polyline drawn with the given full width at each vertex."""
    width, height = size_wh_px
    result = np.zeros((height, width), np.float32)
    reach = float(width_px.max()) / 2 + 2
    x0, y0 = np.floor(np.clip(xy_px.min(axis=0) - reach, 0, size_wh_px)).astype(int)
    x1, y1 = np.ceil(np.clip(xy_px.max(axis=0) + reach, 0, size_wh_px)).astype(int)
    if x1 <= x0 or y1 <= y0:
        return result
    fine = np.zeros(((y1 - y0) * SUPERSAMPLING, (x1 - x0) * SUPERSAMPLING), np.uint8)
    # OpenCV counts from pixel centres, ours from corners: half a fine pixel between them.
    points = (xy_px - (x0, y0)) * SUPERSAMPLING - 0.5
    _fill_stroke(fine, points, width_px * SUPERSAMPLING / 2)
    result[y0:y1, x0:x1] = cv2.resize(fine, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA) / np.float32(255)
    return result


def _fill_stroke(canvas: NDArray[np.uint8], points: NDArray[np.float64], radius: NDArray[np.float64]) -> None:
    """Fills the quadrilateral of every segment, and a disc at every vertex to close the bends."""
    # OpenCV's filled shapes also paint the pixels their outline crosses: half a pixel comes off.
    radius = np.maximum(radius - 0.5, 0.05)
    tangent = np.diff(points, axis=0)
    length = np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    normal = np.column_stack([-tangent[:, 1], tangent[:, 0]]) / length
    a, b = points[:-1], points[1:]
    ra, rb = radius[:-1, None] * normal, radius[1:, None] * normal
    quads = np.stack([a + ra, b + rb, b - rb, a - ra], axis=1)
    for quad in np.round(quads * _FIXED).astype(np.int32):
        cv2.fillConvexPoly(canvas, quad, 255, lineType=cv2.LINE_8, shift=_SHIFT)
    centres = np.round(points * _FIXED).astype(int)
    for (x, y), r in zip(centres.tolist(), np.round(radius * _FIXED).astype(int).tolist(), strict=True):
        cv2.circle(canvas, (x, y), r, 255, thickness=-1, lineType=cv2.LINE_8, shift=_SHIFT)
