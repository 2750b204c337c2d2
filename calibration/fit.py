"""Ground planes from what a survey offers: measured points, lane masks, a georeferenced raster."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crackmap.calibration.errors import CalibrationError, require
from crackmap.calibration.lens import Lens
from crackmap.calibration.mount import Mount, intrinsics, plane_from_mount
from crackmap.calibration.plane import GroundLimits, GroundPlane
from crackmap.calibration.points import fit_points

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
    points_xy_px: ArrayLike,
    points_xy_m: ArrayLike,
    *,
    size_wh_px: tuple[int, int],
    limits: GroundLimits | None = None,
    lens: Lens | None = None,
) -> GroundPlane:
    """The ground plane through four or more points known in the image and on the road.

    As `crackmap.calibration.points.fit_points`, without residuals; and taken as exact, u_scale = 0.

    Raises:
        CalibrationError: fewer than four points, points (nearly) on one line, or pairs in a different order.
    """
    fit = fit_points(points_xy_px, points_xy_m, size_wh_px=size_wh_px, limits=limits, lens=lens)
    return replace(fit.plane, u_scale=0.0)


def fit_lane_view(lane_masks: Iterable[NDArray[np.bool_]], *, lens: Lens | None = None) -> LaneView:
    """The vanishing point and lane edges of one camera mount, from lane masks of many frames.

    Each mask gives two straight lines; frames on a bend, with an edge outside the image or with edges that do not
    converge upwards are left out, and the median over the rest is taken, so that single wrong masks do no harm.

    Args:
        lane_masks: (H, W) bool, True on the lane the vehicle drives in; all of one size.
        lens: the masks are of pictures as taken through it; the view is then one of its ideal camera.

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
        view = _lane_of(mask, lens)
        if view is not None:
            rows.append(view)
    if size is None:
        raise CalibrationError("lane masks: none found; check the ending of their names, or their folder")
    if not rows:
        raise CalibrationError(
            f"lane masks: none of {seen} shows a straight lane with both edges inside the image; "
            "give frames of a straight road, or take the plane from points measured on the road"
        )
    return lane_view(rows, size_wh_px=size, seen=seen)


def lane_view(
    frames: Sequence[tuple[float, float, float, float]], *, size_wh_px: tuple[int, int], seen: int
) -> LaneView:
    """The median over one or more frames of vanishing x, vanishing y, left and right x on the bottom edge, pixels."""
    table = np.asarray(frames, np.float64)
    middle = np.median(table, axis=0)
    # 1.4826 turns the median absolute deviation into the standard deviation of a normal distribution.
    spread = 1.4826 * np.median(np.abs(table - middle), axis=0)
    x, y, left, right = (float(value) for value in middle)
    s0, s1, s2, s3 = (float(value) for value in spread)
    return LaneView((x, y), (left, right), size_wh_px, (s0, s1, s2, s3), len(table), seen)


def crossing(
    left: tuple[float, float], right: tuple[float, float], height_px: float
) -> tuple[float, float, float, float] | None:
    """Vanishing x, y and the x of both lines x = slope y + offset on row `height_px`; None if they do not converge
    upwards.
    """
    (slope_left, at_left), (slope_right, at_right) = left, right
    bottom_left, bottom_right = slope_left * height_px + at_left, slope_right * height_px + at_right
    if bottom_right <= bottom_left or slope_right <= slope_left:
        return None
    y = (at_left - at_right) / (slope_right - slope_left)
    return slope_left * y + at_left, y, bottom_left, bottom_right


def plane_from_lane(
    view: LaneView,
    *,
    lane_width_m: float,
    focal_px: float | None = None,
    size_wh_px: tuple[int, int],
    limits: GroundLimits | None = None,
    lens: Lens | None = None,
    roll_deg: float = 0.0,
) -> GroundPlane:
    """The ground plane of a camera that sees a lane of known width on a level road.

    A horizontal direction turned by psi to the right of a camera without roll has, under a pitch of theta downwards,
    the vanishing point

        x = cx + f tan(psi) / cos(theta),   y = cy - f tan(theta)

    which gives theta and psi of the lane; with a roll, the point is turned back about the principal point first. The
    height follows from the lane width, because all ground lengths grow with it. The lines do not tell the roll.

    Args:
        view: the lane lines, in pixels of the ideal camera where there is a lens.
        lane_width_m: between the edges that bound the lane masks, metres.
        focal_px: focal length over pixel size, for a camera without a lens calibration: no distortion, the principal
            point in the middle.
        size_wh_px: image width and height; that of the masks.
        limits: where the plane is trusted.
        lens: of the camera.
        roll_deg: as in `Mount`; the picture stands upright within 45 degrees.

    Returns:
        Ground x = 0, y = 0 lies under the camera.

    Raises:
        InputError: neither focal length nor lens is given, or both.
        CalibrationError: the masks are of another size, or the lane lies above the horizon.
    """
    require(lane_width_m > 0, "lane_width_m", "metres above 0", lane_width_m)
    require((lens is None) != (focal_px is None), "lens, focal_px", "one of the two", (lens, focal_px))
    require(focal_px is None or focal_px > 0, "focal_px", "pixels above 0", focal_px)
    require(abs(roll_deg) <= 45, "roll_deg", "at most 45 degrees; turn the pictures upright first", roll_deg)
    if size_wh_px != view.size_wh_px:
        raise CalibrationError(f"lane masks: expected the size of the images {size_wh_px}, got {view.size_wh_px}")
    matrix = intrinsics(size_wh_px, lens=lens, focal_px=focal_px)
    x, y, _ = np.linalg.inv(matrix) @ np.array([*view.vanishing_point_xy_px, 1.0])
    cos, sin = np.cos(np.deg2rad(roll_deg)), np.sin(np.deg2rad(roll_deg))
    x, y = cos * x - sin * y, sin * x + cos * y
    pitch = np.arctan(-y)
    yaw = -np.arctan(x * np.cos(pitch))

    def from_height(height_m: float) -> GroundPlane:
        mount = Mount(height_m, float(np.degrees(pitch)), roll_deg, float(np.degrees(yaw)))
        return plane_from_mount(mount, size_wh_px=size_wh_px, lens=lens, focal_px=focal_px, limits=limits)

    ideal = GroundPlane(from_height(1.0).ground_from_pixel, size_wh_px)
    left, right = ideal.to_ground_xy_m([(x, size_wh_px[1]) for x in view.bottom_x_px])[:, 0]
    if not right > left:
        raise CalibrationError(
            "lane view: the bottom of the image lies above the horizon, or left and right are swapped; "
            "check the lane masks"
        )
    return from_height(lane_width_m / (right - left))


def view_of_plane(plane: GroundPlane, *, lane_width_m: float) -> LaneView:
    """How the camera of a plane would see a lane of that width around ground x = 0.

    The inverse of `plane_from_lane` but for what that takes as known: the focal length and the roll.

    Raises:
        CalibrationError: lines along the road do not meet in the picture's plane, as for a downward camera.
    """
    pixel_from_ground = np.linalg.inv(plane.ground_from_pixel)
    vanishing = pixel_from_ground[:, 1]
    height = plane.size_wh_px[1]
    lines = []
    for side in (-lane_width_m / 2, lane_width_m / 2):
        line = np.cross(vanishing, pixel_from_ground @ np.array([side, 0.0, 1.0]))
        if abs(line[0]) < 1e-12 * np.abs(line).max():
            raise CalibrationError(
                "ground plane: lines along the road lie level in the picture; they tell no lane view"
            )
        lines.append((float(-line[1] / line[0]), float(-line[2] / line[0])))
    met = crossing(lines[0], lines[1], height)
    if met is None:
        raise CalibrationError("ground plane: lines along the road do not meet above it; they tell no lane view")
    return lane_view([met], size_wh_px=plane.size_wh_px, seen=1)


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


def _lane_of(mask: NDArray[np.bool_], lens: Lens | None) -> tuple[float, float, float, float] | None:
    """Vanishing x, y, left and right x on the bottom edge from one mask; None if it does not show a straight lane."""
    height, width = mask.shape
    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1)
    last = width - 1 - mask[rows, ::-1].argmax(axis=1)
    lines = []
    for columns, inside in ((first, first > 0), (last + 1, last < width - 1)):
        edge = np.column_stack([columns[inside].astype(np.float64), rows[inside] + 0.5])
        if lens is not None:
            edge = lens.undistorted_xy(edge)
            edge = edge[np.isfinite(edge).all(axis=1)]
        line = _straight_line(edge[:, 1], edge[:, 0], height=height, width=width)
        if line is None:
            return None
        lines.append(line)
    return crossing(lines[0], lines[1], height)


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
