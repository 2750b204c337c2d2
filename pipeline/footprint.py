"""The stretch of road a frame answers for: its strip, as far as the camera sees it and the ground plane is trusted."""

from __future__ import annotations

import numpy as np

from crackmap.calibration.plane import GroundPlane
from crackmap.pipeline.records import Frame
from crackmap.stages.records import FloatArray

HORIZON_MARGIN = 1e-9
"""Least depth term of a visible ground point, as a share of the greatest in the image: on the horizon it is 0."""


def footprint(frame: Frame) -> FloatArray:
    """Outline of what a frame answers for, output coordinates.

    Returns:
        (4, 2) corners: the owned strip, clipped to what the camera sees and to the limits of the ground plane; the
        image outline where there is no ground plane; (0, 2) if nothing of the strip is seen. Where limits cut more
        corners than four, the widths at the near and at the far edge are joined.
    """
    if frame.ground is None:
        width, height = frame.size_wh_px
        return frame.placement.to_output_xy(np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64))
    polygon = visible_polygon_m(frame)
    if not len(polygon):
        return np.empty((0, 2))
    return frame.placement.to_output_xy(polygon if len(polygon) == 4 else near_and_far_edge(polygon))


def visible_polygon_m(frame: Frame) -> FloatArray:
    """(N, 2) convex polygon of the strip of a frame with a ground plane, ground metres; (0, 2) if nothing is seen.

    Every limit is a straight line in the image too: with h the rows of the homography, a h_x + b h_y + c h_w has the
    sign of a x + b y + c on the ground as long as h_w > 0. So the image outline is clipped in pixels, and points on
    the horizon never get a coordinate.
    """
    ground = frame.ground
    if ground is None:
        return np.empty((0, 2))
    h = ground.ground_from_pixel
    width, height = ground.size_wh_px
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    depth = corners @ h[2, :2] + h[2, 2]
    planes = [h[2] - [0.0, 0.0, HORIZON_MARGIN * float(depth.max())]]
    low, high = frame.owns_y_m or (-np.inf, np.inf)
    high = min(high, farthest_trusted_y_m(ground))
    left, right = ground.limits.lateral_m or (-np.inf, np.inf)
    planes += [h[1] - low * h[2]] if np.isfinite(low) else []
    planes += [high * h[2] - h[1]] if np.isfinite(high) else []
    planes += [h[0] - left * h[2], right * h[2] - h[0]] if ground.limits.lateral_m is not None else []
    polygon = corners
    for plane in planes:
        polygon = _clip(polygon, plane)
    projected = ground.to_ground_xy_m(polygon)
    return projected if len(polygon) >= 3 and area(projected) > 0 else np.empty((0, 2))


def farthest_trusted_y_m(ground: GroundPlane) -> float:
    """Greatest ground y within the limits of a plane; infinite where the pixel size is the same everywhere.

    Found by looking at every row at the left, middle and right of the image; -inf if no pixel is trusted.
    """
    width, height = ground.size_wh_px
    if not ground.ground_from_pixel[2, :2].any():
        centre = [[width / 2, height / 2]]
        fine = bool((ground.gsd_mm(centre) <= ground.limits.coarsest_gsd_mm).all())
        return (ground.limits.farthest_m or np.inf) if fine else -np.inf
    lateral = ground.limits.lateral_m
    columns = np.array([0.0, width / 2, float(width)])
    x, y = np.meshgrid(columns, np.arange(height + 1.0))
    points = np.column_stack([x.ravel(), y.ravel()])
    metres = ground.to_ground_xy_m(points)
    with np.errstate(invalid="ignore"):
        good = (ground.gsd_mm(points) <= ground.limits.coarsest_gsd_mm).all(axis=1) & np.isfinite(metres).all(axis=1)
        if lateral is not None:
            near_middle = np.abs(x.ravel() - width / 2) < 1
            good &= near_middle | ((metres[:, 0] >= lateral[0]) & (metres[:, 0] <= lateral[1]))
    if not good.any():
        return -np.inf
    return min(float(metres[good, 1].max()), ground.limits.farthest_m or np.inf)


def area(polygon_xy: FloatArray) -> float:
    """Area of a simple polygon (N, 2), in its unit squared (shoelace formula)."""
    x, y = (polygon_xy - polygon_xy[:1]).T
    return float(abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2)


def _clip(polygon: FloatArray, plane: FloatArray) -> FloatArray:
    """The part of a convex polygon (N, 2) where plane . (x, y, 1) >= 0 (Sutherland and Hodgman, 1974)."""
    if not len(polygon):
        return polygon
    signed = polygon @ plane[:2] + plane[2]
    kept: list[FloatArray] = []
    for here, there, s, t in zip(polygon, np.roll(polygon, -1, axis=0), signed, np.roll(signed, -1), strict=True):
        if s >= 0:
            kept.append(here)
        if s * t < 0:
            kept.append(here + (there - here) * (s / (s - t)))
    return np.array(kept) if kept else np.empty((0, 2))


def near_and_far_edge(polygon: FloatArray) -> FloatArray:
    """(4, 2) near left, near right, far right, far left: the widths of a convex polygon at its least and greatest y."""
    near, far = polygon[:, 1].min(), polygon[:, 1].max()
    edge = 1e-6 * (far - near)
    low, high = polygon[polygon[:, 1] <= near + edge, 0], polygon[polygon[:, 1] >= far - edge, 0]
    return np.array([[low.min(), near], [low.max(), near], [high.max(), far], [high.min(), far]])
