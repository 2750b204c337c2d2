"""Ground planes from what a survey offers: measured points, lane masks, a georeferenced raster."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crackmap.calibration.errors import CalibrationError, require
from crackmap.calibration.plane import GroundLimits, GroundPlane

FloatArray = NDArray[np.float64]

STRAIGHT_SHARE = 0.004
"""A lane edge counts as straight if it leaves its line by no more than this share of the image width (root mean
square): 4 px in 1024, above the raggedness of drawn masks and below the bow of a road with 400 m radius."""

EDGE_ROWS_SHARE = 0.25
"""A lane edge needs to be seen inside the image over at least this share of the rows."""


@dataclass(frozen=True, slots=True)
class LaneView:
    """How one camera mount sees its lane: medians over the frames with a straight road.

    Attributes:
        vanishing_point_xy_px: where the lane edges meet.
        bottom_x_px: x of the left and of the right lane edge on the bottom edge of the image (y = height).
        size_wh_px: image width and height.
        spread_px: robust standard deviation between frames of vanishing x, vanishing y, left x, right x.
        used: number of masks the medians are taken over.
        seen: number of masks given.
    """

    vanishing_point_xy_px: tuple[float, float]
    bottom_x_px: tuple[float, float]
    size_wh_px: tuple[int, int]
    spread_px: tuple[float, float, float, float]
    used: int
    seen: int


def plane_from_points(
    points_xy_px: ArrayLike, points_xy_m: ArrayLike, *, size_wh_px: tuple[int, int], limits: GroundLimits | None = None
) -> GroundPlane:
    """The ground plane through four or more points known in the image and on the road.

    Least squares by the normalised direct linear transform (Hartley and Zisserman, Multiple View Geometry, 4.4).

    Args:
        points_xy_px: (N, 2) pixels.
        points_xy_m: (N, 2) the same points on the road: x to the right of travel, y ahead, metres.
        size_wh_px: image width and height.
        limits: where the plane is trusted.

    Raises:
        CalibrationError: fewer than four points, points (nearly) on one line, or pairs in a different order.
    """
    pixels, ground = (np.asarray(points, np.float64) for points in (points_xy_px, points_xy_m))
    if pixels.ndim != 2 or pixels.shape[1:] != (2,) or pixels.shape != ground.shape or len(pixels) < 4:
        raise CalibrationError(
            f"ground points: expected four or more pairs (x, y) in the image and on the road, got {pixels.shape} and "
            f"{ground.shape}; measure the corners of a rectangle on the road, such as a lane between two marks"
        )
    to_unit, unit_px = _normalise(pixels, "in the image")
    to_unit_m, unit_m = _normalise(ground, "on the road")
    ones, zeros = np.ones((len(pixels), 1)), np.zeros((len(pixels), 3))
    points = np.hstack([unit_px, ones])
    system = np.vstack(
        [np.hstack([points, zeros, -unit_m[:, :1] * points]), np.hstack([zeros, points, -unit_m[:, 1:] * points])]
    )
    _, strength, axes = np.linalg.svd(system)
    if strength[7] < 1e-6 * strength[0]:
        raise CalibrationError("ground points: three of the four lie on one line; choose points that span an area")
    homography = np.linalg.inv(to_unit_m) @ axes[8].reshape(3, 3) @ to_unit
    w = pixels @ homography[2, :2] + homography[2, 2]
    if abs(np.sign(w).sum()) < len(w):
        raise CalibrationError(
            "ground points: no camera sees them this way; check that points in the image and on the road are listed "
            "in the same order"
        )
    return GroundPlane(np.asarray(homography / w.mean(), np.float64), size_wh_px, limits or GroundLimits())


def fit_lane_view(lane_masks: Iterable[NDArray[np.bool_]]) -> LaneView:
    """The vanishing point and lane edges of one camera mount, from lane masks of many frames.

    Each mask gives two straight lines; frames on a bend, with an edge outside the image or with edges that do not
    converge upwards are left out, and the median over the rest is taken, so that single wrong masks do no harm.

    Args:
        lane_masks: (H, W) bool, True on the lane the vehicle drives in; all of one size.

    Raises:
        CalibrationError: no mask shows a straight lane with both edges, or sizes differ.
    """
    rows, seen, size = [], 0, None
    for mask in lane_masks:
        seen += 1
        height, width = mask.shape
        if size not in (None, (width, height)):
            raise CalibrationError(f"lane masks: expected all of size {size}, got {(width, height)}")
        size = (width, height)
        view = _lane_of(mask)
        if view is not None:
            rows.append(view)
    if size is None or not rows:
        raise CalibrationError(
            f"lane masks: none of {seen} shows a straight lane with both edges inside the image; "
            'give frames of a straight road, or use method = "points"'
        )
    table = np.asarray(rows, np.float64)
    middle = np.median(table, axis=0)
    # 1.4826 turns the median absolute deviation into the standard deviation of a normal distribution.
    spread = 1.4826 * np.median(np.abs(table - middle), axis=0)
    x, y, left, right = (float(value) for value in middle)
    s0, s1, s2, s3 = (float(value) for value in spread)
    return LaneView((x, y), (left, right), size, (s0, s1, s2, s3), len(rows), seen)


def plane_from_lane(
    view: LaneView,
    *,
    lane_width_m: float,
    focal_px: float,
    size_wh_px: tuple[int, int],
    limits: GroundLimits | None = None,
) -> GroundPlane:
    """The ground plane of a forward camera that sees a lane of known width on a level road.

    A pinhole camera without roll, principal point (cx, cy) in the middle of the image. A horizontal direction turned
    by psi to the right of the camera has, under a pitch of theta downwards, the vanishing point

        x = cx + f tan(psi) / cos(theta),   y = cy - f tan(theta)

    which gives theta and psi of the lane. A road point x to the right of and y ahead of the camera's foot, seen from
    height h, has the camera coordinates

        X = y sin(psi) + x cos(psi),  a = y cos(psi) - x sin(psi)
        Y = h cos(theta) - a sin(theta),  Z = a cos(theta) + h sin(theta)

    and the pixel (cx + f X / Z, cy + f Y / Z): a homography, linear in h, whose inverse is the ground plane. h
    follows from the lane width, because all ground lengths grow with h.

    Args:
        view: what `fit_lane_view` found.
        lane_width_m: between the edges that bound the lane masks, metres.
        focal_px: focal length over pixel size.
        size_wh_px: image width and height; that of the masks.
        limits: where the plane is trusted.

    Returns:
        Ground x = 0, y = 0 lies under the camera.

    Raises:
        CalibrationError: the masks are of another size, or the lane lies above the horizon.
    """
    require(lane_width_m > 0, "lane_width_m", "metres above 0", lane_width_m)
    require(focal_px > 0, "focal_px", "pixels above 0", focal_px)
    if size_wh_px != view.size_wh_px:
        raise CalibrationError(f"lane masks: expected the size of the images {size_wh_px}, got {view.size_wh_px}")
    width, height = size_wh_px
    pixel_from_ground = _view_from_height_one(view.vanishing_point_xy_px, focal_px, (width / 2, height / 2))
    unit = GroundPlane(np.asarray(np.linalg.inv(pixel_from_ground), np.float64), size_wh_px)
    left, right = unit.to_ground_xy_m([(x, height) for x in view.bottom_x_px])[:, 0]
    if not right > left:
        raise CalibrationError(
            "lane view: the bottom of the image lies above the horizon, or left and right are swapped; "
            "check the lane masks"
        )
    camera_height_m = lane_width_m / (right - left)
    scale = np.diag([camera_height_m, camera_height_m, 1.0])
    return GroundPlane(np.asarray(scale @ unit.ground_from_pixel, np.float64), size_wh_px, limits or GroundLimits())


def plane_from_affine(
    affine: ArrayLike, *, size_wh_px: tuple[int, int], limits: GroundLimits | None = None
) -> tuple[GroundPlane, tuple[float, float]]:
    """The ground plane of a georeferenced raster, and the map coordinates of its ground origin.

    Args:
        affine: a, b, c, d, e, f with x_map = a x + b y + c and y_map = d x + e y + f: rasterio's transform (its last
            three numbers are left aside), or an array (2, 3); metres.
        size_wh_px: raster width and height.
        limits: where the plane is trusted; by default none but a GSD far above the raster's.

    Returns:
        The plane, whose ground coordinates are map coordinates less the origin, and the origin: the lower left of the
        raster's extent, rounded to metres. The difference is taken so that millimetres survive eight-digit northings.
    """
    numbers = np.asarray(affine, np.float64).ravel()[:6]
    require(numbers.size == 6, "affine", "six numbers", numbers.size)
    matrix = numbers.reshape(2, 3).copy()
    width, height = size_wh_px
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)]) @ matrix[:, :2].T + matrix[:, 2]
    origin = np.round(corners.min(axis=0))
    matrix[:, 2] -= origin
    pixel_mm = float(np.linalg.norm(matrix[:, :2], axis=0).max()) * 1e3
    trust = limits or GroundLimits(coarsest_gsd_mm=max(2.0 * pixel_mm, 1e-9))
    return GroundPlane(np.vstack([matrix, [0.0, 0.0, 1.0]]), size_wh_px, trust), (float(origin[0]), float(origin[1]))


def _normalise(points: FloatArray, where: str) -> tuple[FloatArray, FloatArray]:
    """The similarity that centres points at mean distance sqrt(2), and the points under it."""
    centred = points - points.mean(axis=0)
    extent = np.linalg.svd(centred, compute_uv=False)
    if not np.isfinite(points).all() or extent[1] <= 1e-3 * extent[0]:
        raise CalibrationError(f"ground points: they lie (almost) on one line {where}; choose points that span an area")
    scale = np.sqrt(2.0) / np.linalg.norm(centred, axis=1).mean()
    offset = -scale * points.mean(axis=0)
    return np.array([[scale, 0.0, offset[0]], [0.0, scale, offset[1]], [0.0, 0.0, 1.0]]), centred * scale


def _lane_of(mask: NDArray[np.bool_]) -> tuple[float, float, float, float] | None:
    """Vanishing x, y, left and right x on the bottom edge from one mask; None if it does not show a straight lane."""
    height, width = mask.shape
    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1)
    last = width - 1 - mask[rows, ::-1].argmax(axis=1)
    lines = []
    for columns, inside in ((first, first > 0), (last + 1, last < width - 1)):
        line = _straight_line(rows[inside] + 0.5, columns[inside].astype(np.float64), height=height, width=width)
        if line is None:
            return None
        lines.append(line)
    (slope_left, at_left), (slope_right, at_right) = lines
    left, right = slope_left * height + at_left, slope_right * height + at_right
    if right <= left or slope_right <= slope_left:
        return None
    y = (at_left - at_right) / (slope_right - slope_left)
    return slope_left * y + at_left, y, left, right


def _straight_line(y: FloatArray, x: FloatArray, *, height: int, width: int) -> tuple[float, float] | None:
    """Slope and offset of x = slope y + offset through an edge; None if it is too short or bent."""
    if len(y) < max(3.0, EDGE_ROWS_SHARE * height):
        return None
    weights = np.ones_like(y)
    for _ in range(10):
        slope, offset = np.polyfit(y, x, 1, w=np.sqrt(weights))
        residual = np.abs(x - slope * y - offset)
        # Cauchy weights: a mask that bulges into a side road loses to the rest of its edge.
        weights = 1.0 / (1.0 + (residual / max(1.0, 1.5 * float(np.median(residual)))) ** 2)
    if np.sqrt(np.mean(np.sort(residual)[: max(3, int(0.8 * len(residual)))] ** 2)) > STRAIGHT_SHARE * width:
        return None
    return float(slope), float(offset)


def _view_from_height_one(
    vanishing_xy: tuple[float, float], focal: float, centre_xy: tuple[float, float]
) -> FloatArray:
    """(3, 3) homography from ground (x, y, 1) to pixels for a camera one unit above the road (see plane_from_lane)."""
    pitch = np.arctan2(centre_xy[1] - vanishing_xy[1], focal)
    yaw = np.arctan2((vanishing_xy[0] - centre_xy[0]) * np.cos(pitch), focal)
    camera_from_ground = np.array(
        [
            [np.cos(yaw), np.sin(yaw), 0.0],
            [np.sin(pitch) * np.sin(yaw), -np.sin(pitch) * np.cos(yaw), np.cos(pitch)],
            [-np.cos(pitch) * np.sin(yaw), np.cos(pitch) * np.cos(yaw), np.sin(pitch)],
        ]
    )
    intrinsics = np.array([[focal, 0.0, centre_xy[0]], [0.0, focal, centre_xy[1]], [0.0, 0.0, 1.0]])
    return np.asarray(intrinsics @ camera_from_ground, np.float64)
