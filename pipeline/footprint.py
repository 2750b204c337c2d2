"""The stretch of road a frame answers for: its strip, as far as the camera sees it and the ground plane is trusted."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import CalibrationError
from crackmap.calibration.lens import Lens
from crackmap.calibration.plane import GroundLimits, GroundPlane
from crackmap.pipeline.records import Frame
from crackmap.stages.records import FloatArray

HORIZON_MARGIN = 1e-9
"""Least depth term of a visible ground point, as a share of the greatest in the image: on the horizon it is 0."""

FARTHEST_M = 200.0
"""No camera measures cracks beyond this; the search for the end of the visible road stops here."""

EDGE_POINTS = 65
"""Points along one edge of the image where the lens bends it."""

Interval = tuple[float, float]


def footprint(frame: Frame) -> FloatArray:
    """Outline of what a frame answers for, output coordinates.

    Returns:
        (4, 2) corners: the owned strip, clipped to what the camera sees and to the limits of the ground plane; the
        image outline where there is no ground plane; (0, 2) if nothing of the strip is seen. Where limits or the lens
        cut more corners than four, the widths at the near and at the far edge are joined.
    """
    if frame.ground is None:
        width, height = frame.size_wh_px
        return frame.placement.to_output_xy(np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64))
    polygon = visible_polygon_m(frame)
    if not len(polygon):
        return np.empty((0, 2))
    return frame.placement.to_output_xy(polygon if len(polygon) == 4 else near_and_far_edge(polygon))


def visible_polygon_m(frame: Frame) -> FloatArray:
    """(N, 2) polygon of the strip of a frame with a ground plane, ground metres; (0, 2) if nothing is seen."""
    if frame.ground is None:
        return np.empty((0, 2))
    return seen_polygon_m(frame.ground, frame.owns_y_m or (-np.inf, np.inf))


def seen_polygon_m(ground: GroundPlane, owns_y_m: Interval = (-np.inf, np.inf)) -> FloatArray:
    """(N, 2) polygon of the road that a camera sees within its limits and between two distances; convex but for lens
    distortion; (0, 2) if nothing is seen.

    Every limit is a straight line in the (ideal) image too: with h the rows of the homography, a h_x + b h_y + c h_w
    has the sign of a x + b y + c on the ground as long as h_w > 0. So the image outline is clipped in pixels, and
    points on the horizon never get a coordinate.
    """
    return _seen_polygon_m(ground.ground_from_pixel.tobytes(), ground.size_wh_px, ground.limits, ground.lens, owns_y_m)


# One plane serves thousands of frames, which often are equally far apart.
@lru_cache(maxsize=4096)
def _seen_polygon_m(
    homography: bytes, size_wh_px: tuple[int, int], limits: GroundLimits, lens: Lens | None, owns_y_m: Interval
) -> FloatArray:
    ground = GroundPlane(np.frombuffer(homography).reshape(3, 3), size_wh_px, limits, lens=lens)
    h = ground.ground_from_pixel
    polygon = _image_outline(ground.size_wh_px, ground.lens)
    depth = polygon @ h[2, :2] + h[2, 2]
    planes = [h[2] - [0.0, 0.0, HORIZON_MARGIN * float(depth.max(initial=0.0))]]
    trusted = trusted_y_m(ground)
    low, high = max(owns_y_m[0], trusted[0]), min(owns_y_m[1], trusted[1])
    if not low <= high:
        return np.empty((0, 2))
    planes += [h[1] - low * h[2]] if np.isfinite(low) else []
    planes += [high * h[2] - h[1]] if np.isfinite(high) else []
    if ground.limits.lateral_m is not None:
        left, right = ground.limits.lateral_m
        planes += [h[0] - left * h[2], right * h[2] - h[0]]
    for plane in planes:
        polygon = _clip(polygon, plane)
    if len(polygon) < 3:
        return np.empty((0, 2))
    projected = _ground_of_ideal(ground, polygon)
    projected.flags.writeable = False
    return projected if area(projected) > 0 else np.empty((0, 2))


def trusted_y_m(ground: GroundPlane) -> Interval:
    """Least and greatest ground y within the limits of a plane; infinite where the pixel size is the same everywhere.

    Found by looking at every row and every column in their middle and at both ends; (inf, -inf) if no pixel is trusted.
    """
    return _trusted_y_m(ground.ground_from_pixel.tobytes(), ground.size_wh_px, ground.limits, ground.lens)


# One plane serves thousands of frames.
@lru_cache(maxsize=256)
def _trusted_y_m(homography: bytes, size_wh_px: tuple[int, int], limits: GroundLimits, lens: Lens | None) -> Interval:
    ground = GroundPlane(np.frombuffer(homography).reshape(3, 3), size_wh_px, limits, lens=lens)
    width, height = size_wh_px
    farthest, nearest = ground.limits.farthest_m or np.inf, ground.limits.nearest_m
    if ground.is_affine:
        fine = bool((ground.gsd_mm([[width / 2, height / 2]]) <= ground.limits.coarsest_gsd_mm).all())
        return (-farthest if nearest is None else nearest, farthest) if fine else (np.inf, -np.inf)
    rows, columns = np.arange(height + 1.0), np.arange(width + 1.0)
    points = np.concatenate(
        [np.column_stack([np.full_like(rows, x), rows]) for x in (0.0, width / 2, width)]
        + [np.column_stack([columns, np.full_like(columns, y)]) for y in (0.0, height / 2, height)]
    )
    metres = ground.to_ground_xy_m(points)
    with np.errstate(invalid="ignore"):
        good = (ground.gsd_mm(points) <= ground.limits.coarsest_gsd_mm).all(axis=1) & np.isfinite(metres).all(axis=1)
        if ground.limits.lateral_m is not None:
            left, right = ground.limits.lateral_m
            middle = (points == [width / 2, height / 2]).any(axis=1)
            good &= middle | ((metres[:, 0] >= left) & (metres[:, 0] <= right))
    if not good.any():
        return np.inf, -np.inf
    y = metres[good, 1]
    looks_ahead = y.mean() > metres[good][np.argmin(ground.gsd_mm(points[good]).prod(axis=1)), 1]
    # Near the camera the picture ends, not the trust: only the far side is a limit.
    if looks_ahead:
        low, high = -np.inf if nearest is None else nearest, float(y.max())
    else:
        low, high = float(y.min()), np.inf if nearest is None else -nearest
    return max(low, -farthest), min(high, farthest)


def visible_y_m(plane: GroundPlane) -> Interval:
    """Ground y of the nearest and of the farthest road that a frame can answer for; the latter is less for a camera
    that looks back.

    The nearest is seen over the whole width of the image, rounded to 0.1 m so that frames of nearly the same view
    begin alike; the farthest lies on the last image row within the trust limits, in the middle of the road.

    Raises:
        CalibrationError: the trust limits leave no visible road.
    """
    edge, ahead = _near_edge(plane)
    near = float(np.ceil((edge[:, 1] * ahead).max() * 10 - 1e-6) / 10)
    near = max(near, plane.limits.nearest_m or near)
    lateral = plane.limits.lateral_m
    x = float((edge[0, 0] + edge[-1, 0]) / 2) if lateral is None else (lateral[0] + lateral[1]) / 2
    size = np.array(plane.size_wh_px, np.float64)

    def seen(y: FloatArray) -> NDArray[np.bool_]:
        pixels = plane.to_pixel_xy(np.column_stack([np.full_like(y, x), ahead * y]))
        with np.errstate(invalid="ignore"):
            inside = np.asarray(((pixels >= -1e-6) & (pixels <= size + 1e-6)).all(axis=1), bool)
        inside[inside] = plane.trusted(np.clip(pixels[inside], 0.0, size))
        return inside

    if not (np.isfinite(near) and seen(np.array([near + 1e-6]))[0]):
        raise CalibrationError(
            "ground plane: nothing at the near edge of the image lies within the trust limits; check [ground], and "
            "[limits] coarsest_gsd_mm, lateral_m, nearest_m and farthest_m"
        )
    opposite = plane.to_ground_xy_m(size - plane.to_pixel_xy([(x, ahead * (near + 1e-6))]))[0, 1] * ahead
    step = (float(opposite) if near < opposite < near + FARTHEST_M else near + FARTHEST_M) / 1000 - near / 1000
    places = np.asarray(near + 1e-6 + step * np.arange(1, 1202), np.float64)
    unseen = np.flatnonzero(~seen(places))
    first = int(unseen[0]) if len(unseen) else len(places) - 1
    low, high = places[first] - step, places[first]
    for _ in range(4):
        places = np.asarray(np.linspace(low, high, 1000), np.float64)
        first = int(np.argmin(seen(places[1:]))) + 1
        low, high = places[first - 1], places[first]
    return float(ahead * near), float(ahead * low)


def area(polygon_xy: FloatArray) -> float:
    """Area of a simple polygon (N, 2), in its unit squared (shoelace formula)."""
    x, y = (polygon_xy - polygon_xy[:1]).T
    next_x, next_y = (np.concatenate([part[1:], part[:1]]) for part in (x, y))
    return float(abs((x * next_y - y * next_x).sum()) / 2)


def near_and_far_edge(polygon: FloatArray) -> FloatArray:
    """(4, 2) near left, near right, far right, far left: the widths of a polygon at its least and greatest y.

    Near means within 2 % of its length: where a lens bends the edge of the image, a single corner reaches farthest.
    """
    near, far = polygon[:, 1].min(), polygon[:, 1].max()
    edge = (1e-6 if len(polygon) <= 8 else 0.02) * (far - near)
    low, high = polygon[polygon[:, 1] <= near + edge, 0], polygon[polygon[:, 1] >= far - edge, 0]
    return np.array([[low.min(), near], [low.max(), near], [high.max(), far], [high.min(), far]])


def _near_edge(plane: GroundPlane) -> tuple[FloatArray, float]:
    """(N, 2) ground points of the image edge nearest to the camera; 1 if the road is seen ahead of it, -1 if behind.

    The nearest edge is the one with the finest pixels; of a picture without perspective, and of a camera that looks
    to the side, the rearmost.
    """
    width, height = plane.size_wh_px
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64)
    share = np.linspace(0.0, 1.0, EDGE_POINTS)[:, None]
    edges = [a + share * (b - a) for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True)]
    ground = [plane.to_ground_xy_m(edge) for edge in edges]
    whole = [index for index in range(4) if np.isfinite(ground[index]).all()]
    if not whole:
        raise CalibrationError("ground plane: no edge of the image sees the road over its whole length; check [ground]")
    if not plane.is_affine:
        pixel_mm2 = [float(plane.gsd_mm(edges[index]).prod(axis=1).mean()) for index in whole]
        nearest = ground[whole[int(np.argmin(pixel_mm2))]]
        x, y = _middle_of_view(plane) - nearest.mean(axis=0)
        if abs(y) >= abs(x):
            return nearest, 1.0 if y > 0 else -1.0
    return min((ground[index] for index in whole), key=lambda points: float(points[:, 1].mean())), 1.0


def _middle_of_view(plane: GroundPlane) -> FloatArray:
    """(2,) median ground point of what is below the horizon."""
    width, height = plane.size_wh_px
    x, y = np.meshgrid(np.linspace(0.0, width, 9), np.linspace(0.0, height, 9))
    seen = plane.to_ground_xy_m(np.column_stack([x.ravel(), y.ravel()]))
    return np.asarray(np.nanmedian(seen, axis=0), np.float64)


@lru_cache(maxsize=256)
def _image_outline(size_wh_px: tuple[int, int], lens: Lens | None) -> FloatArray:
    """(N, 2) corners of the image; where there is a lens, its whole outline in the picture of the ideal camera."""
    width, height = size_wh_px
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    if lens is None:
        return corners
    share = np.linspace(0.0, 1.0, EDGE_POINTS)[:-1, None]
    outline = np.concatenate([a + share * (b - a) for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True)])
    ideal = lens.undistorted_xy(outline)
    return np.asarray(ideal[np.isfinite(ideal).all(axis=1)], np.float64)


def _ground_of_ideal(ground: GroundPlane, polygon: FloatArray) -> FloatArray:
    mapped = polygon @ ground.ground_from_pixel[:, :2].T + ground.ground_from_pixel[:, 2]
    return np.asarray(mapped[:, :2] / mapped[:, 2:], np.float64)


def _clip(polygon: FloatArray, plane: FloatArray) -> FloatArray:
    """The part of a polygon (N, 2) where plane . (x, y, 1) >= 0 (Sutherland and Hodgman, 1974)."""
    if not len(polygon):
        return polygon
    signed = polygon @ plane[:2] + plane[2]
    ahead = np.roll(signed, -1)
    crossed = signed * ahead < 0
    if not crossed.any():
        return np.asarray(polygon[signed >= 0], np.float64)
    share = np.where(crossed, signed / np.where(crossed, signed - ahead, 1.0), 0.0)
    crossing = polygon + (np.roll(polygon, -1, axis=0) - polygon) * share[:, None]
    # Each vertex, then the crossing behind it.
    both = np.stack([polygon, crossing], axis=1).reshape(-1, 2)
    return np.asarray(both[np.stack([signed >= 0, crossed], axis=1).ravel()], np.float64)
