"""The ground plane through points that are known in the image and on the road."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares
from scipy.stats import f as f_distribution

from crackmap.calibration.errors import CalibrationError, require
from crackmap.calibration.lens import Lens
from crackmap.calibration.plane import GroundLimits, GroundPlane

FloatArray = NDArray[np.float64]

LEAST_ERROR_PX = 0.5
"""Standard error of a point in the image that is assumed where the residuals say less: what a careful click reaches."""

OUTLIER_CHANCE = 0.01
"""A point is called an outlier if residuals like its own come up by chance in fewer than this share of all sets."""

LEAST_OUTLIER_PX = 2.0
"""Nobody has to measure again for less than this."""

FAR_OFF_PX = 1e4
"""Residual of a point that a trial plane puts behind the camera."""


@dataclass(frozen=True, slots=True)
class PointsFit:
    """A ground plane and how well it agrees with the points it was made from.

    Attributes:
        plane: the ground plane; its `u_scale` is that of lengths amid the points.
        residual_px: (N, 2) pixels as taken less what the plane says; 0 for four points.
        residual_mm: (N, 2) the same on the road, millimetres.
        outlier: index of the point that does not belong to the others; None if there is none, or fewer than six points.
        outlier_px: how far it lies from where the others put it; 0 without one.
    """

    plane: GroundPlane
    residual_px: FloatArray
    residual_mm: FloatArray
    outlier: int | None = None
    outlier_px: float = 0.0


def fit_points(
    points_xy_px: ArrayLike,
    points_xy_m: ArrayLike,
    *,
    size_wh_px: tuple[int, int],
    limits: GroundLimits | None = None,
    lens: Lens | None = None,
) -> PointsFit:
    """The ground plane through four or more points, with its residuals.

    Starts from the normalised direct linear transform (Hartley and Zisserman, Multiple View Geometry, 4.4) and makes
    the squared distances in the picture as taken least. With six or more points, each is tried as an outlier by the
    F test of the residuals with and without it, at OUTLIER_CHANCE over all points.

    Args:
        points_xy_px: (N, 2) pixels as taken.
        points_xy_m: (N, 2) the same points on the road: x to the right of travel, y ahead, metres.
        size_wh_px: image width and height.
        limits: where the plane is trusted.
        lens: what bends the picture; None for a lens without distortion.

    Raises:
        CalibrationError: fewer than four points, points (nearly) on one line, pairs in a different order, or points
            outside of what the lens shows.
    """
    pixels, ground = (np.asarray(points, np.float64) for points in (points_xy_px, points_xy_m))
    like = GroundPlane(np.eye(3), size_wh_px, limits or GroundLimits(), lens=lens)
    return _with_outlier(_fit_of_all(pixels, ground, like), pixels, ground)


def _fit_of_all(pixels: FloatArray, ground: FloatArray, like: GroundPlane) -> PointsFit:
    """The fit of all points, none of which is tried as an outlier; size, limits and lens are those of `like`."""
    if pixels.ndim != 2 or pixels.shape[1:] != (2,) or pixels.shape != ground.shape or len(pixels) < 4:
        raise CalibrationError(
            f"ground points: expected four or more pairs (x, y) in the image and on the road, got {pixels.shape} and "
            f"{ground.shape}; measure the corners of a rectangle on the road, such as a lane between two marks"
        )
    plane, slope = _fitted(pixels, ground, like)
    residual_px = pixels - plane.to_pixel_xy(ground)
    freedom = 2 * len(pixels) - 8
    error_px = LEAST_ERROR_PX
    if freedom:
        error_px = max(error_px, float(np.sqrt((residual_px**2).sum() / freedom)))
    plane = _with(plane, plane.ground_from_pixel, min(_scale_spread(plane, ground, slope, error_px), 0.99))
    return PointsFit(plane, residual_px, (plane.to_ground_xy_m(pixels) - ground) * 1e3)


def _with_outlier(fit: PointsFit, pixels: FloatArray, ground: FloatArray) -> PointsFit:
    outlier, outlier_px = _outlier(fit.plane, pixels, ground) if len(pixels) >= 6 else (None, 0.0)
    return replace(fit, outlier=outlier, outlier_px=outlier_px)


def fit_board(
    corners_xy_px: ArrayLike,
    *,
    corners_wh: tuple[int, int],
    square_mm: float,
    centre_m: tuple[float, float],
    turn_deg: float = 0.0,
    size_wh_px: tuple[int, int],
    limits: GroundLimits | None = None,
    lens: Lens | None = None,
) -> PointsFit:
    """The ground plane of the road a chessboard lies on.

    A chessboard looks the same turned by 180 degrees, and finders begin at any of its corners: of the orders in which
    the corners may be listed, the one is taken that is not mirrored and has the far side of the board higher in the
    picture. So `turn_deg` is needed to within a half turn only.

    Args:
        corners_xy_px: (N, 2) inner corners as taken, row by row, `corners_wh[0]` to a row.
        corners_wh: inner corners along the rows of the board, and number of rows.
        square_mm: side of a square.
        centre_m: of the middle of the inner corners on the road: to the right of travel and ahead.
        turn_deg: of the board's rows, clockwise seen from above: 0 if they lie across the road, 90 along it.
        size_wh_px: image width and height.
        limits: where the plane is trusted.
        lens: what bends the picture.

    Raises:
        CalibrationError: as `fit_points`; or the number of corners is another.
    """
    columns, rows = corners_wh
    corners = np.asarray(corners_xy_px, np.float64)
    require(square_mm > 0, "square_mm", "millimetres above 0", square_mm)
    if corners.shape != (columns * rows, 2):
        raise CalibrationError(f"board: expected {columns} x {rows} corners (N, 2), got {corners.shape}; check --board")
    # Across the board, and towards the driver row by row, as in a board that is read like a page.
    across, towards = np.meshgrid(np.arange(columns) - (columns - 1) / 2, np.arange(rows) - (rows - 1) / 2)
    flat = np.column_stack([across.ravel(), -towards.ravel()]) * square_mm / 1e3
    cos, sin = np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg))
    ground = flat @ np.array([[cos, -sin], [sin, cos]]) + np.asarray(centre_m, np.float64)
    grid = corners.reshape(rows, columns, 2)
    like = GroundPlane(np.eye(3), size_wh_px, limits or GroundLimits(), lens=lens)
    for order in (grid, grid[::-1, ::-1], grid[::-1], grid[:, ::-1]):
        pixels = order.reshape(-1, 2)
        fit = _fit_of_all(pixels, ground, like)
        ahead_m = np.asarray(centre_m) + [(0.0, 0.0), (0.0, square_mm / 1e3), (square_mm / 1e3, 0.0)]
        here, ahead, right = fit.plane.to_pixel_xy(ahead_m)
        (ax, ay), (rx, ry) = ahead - here, right - here
        if ay < 0 and rx * ay - ry * ax < 0:
            return _with_outlier(fit, pixels, ground)
    raise CalibrationError(
        "board: its corners cannot be told apart; turn the board so that a side lies across the road"
    )


def implied_focal_px(plane: GroundPlane) -> float | None:
    """The focal length that a plane without a lens implies, pixels; None where it is not determined.

    With square pixels and the principal point in the middle of the image, the two columns of K^-1 H that belong to
    the road's axes are at right angles and equally long (Zhang, 2000): two equations for 1 / f^2, solved together.
    """
    if plane.is_affine:
        return None
    width, height = plane.size_wh_px
    pixel_from_ground = np.linalg.inv(plane.ground_from_pixel)
    x, y, z = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1.0]]) @ pixel_from_ground[:, :2]
    flat = np.array([x[0] * x[1] + y[0] * y[1], x[0] ** 2 + y[0] ** 2 - x[1] ** 2 - y[1] ** 2])
    deep = np.array([z[0] * z[1], z[0] ** 2 - z[1] ** 2])
    inverse_square = -(flat @ deep) / (flat @ flat) if flat @ flat else 0.0
    if not inverse_square > 0:
        return None
    focal = float(1.0 / np.sqrt(inverse_square))
    return focal if focal < 50 * max(width, height) else None


def _fitted(pixels: FloatArray, ground: FloatArray, like: GroundPlane) -> tuple[GroundPlane, FloatArray]:
    """The plane of least squared residuals, and (2N, 8) their derivative by its parameters (see `_with_parameters`)."""
    ideal = pixels if like.lens is None else like.lens.undistorted_xy(pixels)
    if not np.isfinite(ideal).all():
        number = int(np.flatnonzero(~np.isfinite(ideal).all(axis=1))[0]) + 1
        raise CalibrationError(
            f"ground points: point {number} cannot be used; check its numbers, and that it lies inside what the lens "
            "shows"
        )
    start = _with(like, _linear(ideal, ground))

    def residuals(parameters: FloatArray) -> FloatArray:
        seen = _with_parameters(start, parameters).to_pixel_xy(ground)
        return np.asarray(np.nan_to_num(seen - pixels, nan=FAR_OFF_PX).ravel(), np.float64)

    if len(pixels) == 4:
        # Four points are met exactly: there is nothing to weigh, only the slope is wanted.
        solution = least_squares(residuals, np.zeros(8), method="trf", max_nfev=1)
        return start, np.asarray(solution.jac, np.float64)
    solution = least_squares(residuals, np.zeros(8), x_scale="jac", xtol=1e-12, ftol=1e-12, gtol=1e-12, max_nfev=200)
    return _with_parameters(start, solution.x), np.asarray(solution.jac, np.float64)


def _with(plane: GroundPlane, homography: FloatArray, u_scale: float = 0.0) -> GroundPlane:
    return GroundPlane(homography, plane.size_wh_px, plane.limits, u_scale, plane.lens)


def _with_parameters(plane: GroundPlane, parameters: FloatArray) -> GroundPlane:
    """The plane seen by a camera whose picture is shifted, sheared and tilted a little by eight numbers near 0.

    They act on pixels from the middle of the image in units of its width, so that all are of one size.
    """
    width, height = plane.size_wh_px
    unit = np.array([[1 / width, 0, -0.5], [0, 1 / width, -0.5 * height / width], [0, 0, 1.0]])
    change = np.eye(3) + np.append(parameters, 0.0).reshape(3, 3)
    return _with(plane, np.asarray(plane.ground_from_pixel @ np.linalg.inv(unit) @ change @ unit, np.float64))


def _linear(pixels: FloatArray, ground: FloatArray) -> FloatArray:
    """(3, 3) homography to the ground by the normalised direct linear transform."""
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
            "ground points: no camera sees them this way, some would lie above the horizon; check that points in the "
            "image and on the road are listed in the same order"
        )
    return np.asarray(homography / w.mean(), np.float64)


def _normalise(points: FloatArray, where: str) -> tuple[FloatArray, FloatArray]:
    """The similarity that centres points at mean distance sqrt(2), and the points under it."""
    centred = points - points.mean(axis=0)
    if not np.isfinite(points).all():
        raise CalibrationError(f"ground points: not all are numbers {where}; check the list")
    extent = np.linalg.svd(centred, compute_uv=False)
    if extent[1] <= 1e-3 * extent[0]:
        raise CalibrationError(f"ground points: they lie (almost) on one line {where}; choose points that span an area")
    scale = np.sqrt(2.0) / np.linalg.norm(centred, axis=1).mean()
    offset = -scale * points.mean(axis=0)
    return np.array([[scale, 0.0, offset[0]], [0.0, scale, offset[1]], [0.0, 0.0, 1.0]]), centred * scale


def _scale_spread(plane: GroundPlane, ground: FloatArray, slope: FloatArray, error_px: float) -> float:
    """Relative standard uncertainty of lengths at the middle of the points, from the error of a point in the image.

    The covariance of the eight parameters is error^2 (J^T J)^-1; the length is the side of the square that a pixel
    covers, whose derivative by them is taken numerically.
    """
    middle = plane.to_pixel_xy(ground.mean(axis=0))
    covariance = error_px**2 * np.linalg.pinv(slope.T @ slope)

    def log_length(parameters: FloatArray) -> float:
        area = np.abs(np.linalg.det(_with_parameters(plane, parameters).jacobian_mm(middle)[0]))
        return 0.5 * float(np.log(area))

    step = 1e-6
    by = np.array([(log_length(step * axis) - log_length(-step * axis)) / (2 * step) for axis in np.eye(8)])
    spread = float(np.sqrt(by @ covariance @ by))
    return spread if np.isfinite(spread) else 0.99


def _outlier(plane: GroundPlane, pixels: FloatArray, ground: FloatArray) -> tuple[int | None, float]:
    """The point whose absence helps most, if more than chance would let it, and its distance from its place."""
    number = len(pixels)
    all_px2 = float(((pixels - plane.to_pixel_xy(ground)) ** 2).sum())
    best, best_px2, best_off_px = -1, np.inf, 0.0
    for index in range(number):
        rest = np.arange(number) != index
        try:
            without, _ = _fitted(pixels[rest], ground[rest], plane)
        except CalibrationError:
            # Without this point the others fix no plane: nothing can be said of it.
            continue
        rest_px2 = float(((pixels[rest] - without.to_pixel_xy(ground[rest])) ** 2).sum())
        if rest_px2 < best_px2:
            off = pixels[index] - without.to_pixel_xy(ground[index])[0]
            best, best_px2 = index, rest_px2
            best_off_px = float(np.nan_to_num(np.linalg.norm(off), nan=FAR_OFF_PX))
    freedom = 2 * (number - 1) - 8
    ratio = (all_px2 - best_px2) / 2 / max(best_px2 / freedom, 1e-12)
    chance = number * float(f_distribution.sf(max(ratio, 0.0), 2, freedom))
    if best < 0 or chance >= OUTLIER_CHANCE or best_off_px < LEAST_OUTLIER_PX:
        return None, 0.0
    return best, best_off_px
