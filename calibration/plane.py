"""The ground plane: from pixels to metres on the road and back.

One class serves every camera: a downward camera, a line-scan camera with unequal pixel sizes and a georeferenced raster
are affine cases of the homography of an oblique one. Where a lens bends the picture, points are straightened first, so
that images are measured as they were taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crackmap.calibration.errors import CalibrationError, require
from crackmap.calibration.lens import Lens

FloatArray = NDArray[np.float64]


LARGEST = 1e12
"""No road needs greater numbers in a homography; with those near the greatest floats nothing can be computed."""


@dataclass(frozen=True, slots=True)
class GroundLimits:
    """How far a ground plane is trusted.

    Attributes:
        coarsest_gsd_mm: no measurement where one pixel step, along row or column, covers more ground than this.
        lateral_m: leftmost and rightmost ground x that counts as road, metres; None for no limit.
        nearest_m: least distance ahead, or behind, that counts, metres: before it the vehicle itself is in the picture.
        farthest_m: greatest distance ahead, or behind, that counts, metres; None for no limit.
    """

    coarsest_gsd_mm: float = 50.0
    lateral_m: tuple[float, float] | None = None
    farthest_m: float | None = None
    nearest_m: float | None = None

    def __post_init__(self) -> None:
        require(self.coarsest_gsd_mm > 0, "coarsest_gsd_mm", "millimetres above 0", self.coarsest_gsd_mm)
        if self.lateral_m is not None:
            require(self.lateral_m[0] < self.lateral_m[1], "lateral_m", "left below right", self.lateral_m)


@dataclass(frozen=True, slots=True)
class GroundPlane:
    """A plane road seen by one camera.

    Attributes:
        ground_from_pixel: (3, 3) homography from pixel (x, y, 1), of the ideal camera where there is a lens, to ground
            (x_m, y_m, w): x to the right of travel, y ahead, metres. Its sign is such that w > 0 for points in front of
            the camera.
        size_wh_px: the image size the homography belongs to.
        limits: where the plane is trusted.
        u_scale: relative standard uncertainty of lengths on the ground; 0 takes the plane as exact.
        lens: what the lens does to the picture; None where it does nothing.
    """

    ground_from_pixel: FloatArray
    size_wh_px: tuple[int, int]
    limits: GroundLimits = GroundLimits()
    u_scale: float = 0.0
    lens: Lens | None = None

    def __post_init__(self) -> None:
        require(0.0 <= self.u_scale < 1.0, "u_scale", "a share of 0 to 1", self.u_scale)
        require(
            self.lens is None or self.lens.size_wh_px == self.size_wh_px,
            "lens",
            f"one for images of size {self.size_wh_px}",
            None if self.lens is None else self.lens.size_wh_px,
        )
        require(
            self.ground_from_pixel.shape == (3, 3), "ground_from_pixel", "shape (3, 3)", self.ground_from_pixel.shape
        )
        plain = (np.abs(self.ground_from_pixel) <= LARGEST).all()
        if not plain or abs(np.linalg.det(self.ground_from_pixel)) < 1e-15:
            raise CalibrationError(
                f"ground_from_pixel: expected an invertible homography of numbers to {LARGEST:.0e}, got "
                f"{'a singular one' if plain else 'others'}; check that the points it was made from are not on one line"
            )

    @classmethod
    def from_gsd(
        cls, *, gsd_mm: float | tuple[float, float], size_wh_px: tuple[int, int], limits: GroundLimits | None = None
    ) -> GroundPlane:
        """A camera that looks straight down, image-up = direction of travel.

        Args:
            gsd_mm: ground length of one pixel, or of one pixel step along a row and along a column, millimetres.
            size_wh_px: image width and height. Ground x = 0 lies in the middle of the image, y = 0 at its bottom.
            limits: trust limits; by default none but a GSD far above the given one.
        """
        across, along = (gsd_mm, gsd_mm) if isinstance(gsd_mm, (int, float)) else gsd_mm
        require(across > 0 and along > 0, "gsd_mm", "millimetres per pixel above 0", gsd_mm)
        width, height = size_wh_px
        homography = np.array(
            [[across / 1e3, 0.0, -across / 1e3 * width / 2], [0.0, -along / 1e3, along / 1e3 * height], [0.0, 0.0, 1.0]]
        )
        return cls(homography, size_wh_px, limits or GroundLimits(coarsest_gsd_mm=2.0 * max(across, along)))

    @property
    def is_affine(self) -> bool:
        """Whether the picture is a straight image of the road: no perspective, no lens distortion."""
        return self.lens is None and not self.ground_from_pixel[2, :2].any()

    def to_ground_xy_m(self, xy_px: ArrayLike) -> FloatArray:
        """Ground points (N, 2) in metres of pixels (N, 2); NaN on and above the horizon."""
        return _project(self.ground_from_pixel, xy_px if self.lens is None else self.lens.undistorted_xy(xy_px))

    def to_pixel_xy(self, xy_m: ArrayLike) -> FloatArray:
        """Pixels (N, 2) of ground points (N, 2) in metres; NaN for points behind the camera."""
        xy_px = _project(np.asarray(np.linalg.inv(self.ground_from_pixel), np.float64), xy_m)
        return xy_px if self.lens is None else self.lens.distorted_xy(xy_px)

    def jacobian_mm(self, xy_px: ArrayLike) -> FloatArray:
        """(N, 2, 2) local ground millimetres per pixel: [:, :, 0] for a step along the row, [:, :, 1] the column."""
        points = np.asarray(xy_px, float).reshape(-1, 2)
        bend = None
        if self.lens is not None:
            points, bend = self.lens.undistortion(points)
        ground = _project(self.ground_from_pixel, points)
        h = self.ground_from_pixel
        w = points @ h[2, :2] + h[2, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            # d(u/w) = (du - (u/w) dw) / w, for both ground coordinates and both pixel axes.
            result = (h[None, :2, :2] - ground[:, :, None] * h[None, 2:, :2]) / w[:, None, None]
        return np.asarray((result if bend is None else result @ bend) * 1e3, float)

    def gsd_mm(self, xy_px: ArrayLike) -> FloatArray:
        """(N, 2) ground length of one pixel step along the image row and along the column, millimetres."""
        return np.asarray(np.linalg.norm(self.jacobian_mm(xy_px), axis=1), float)

    def trusted(self, xy_px: ArrayLike) -> NDArray[np.bool_]:
        """(N,) whether a measurement at these pixels is within the limits; False above the horizon."""
        ground = self.to_ground_xy_m(xy_px)
        with np.errstate(invalid="ignore"):
            inside = (self.gsd_mm(xy_px) <= self.limits.coarsest_gsd_mm).all(axis=1)
            if self.limits.lateral_m is not None:
                left, right = self.limits.lateral_m
                inside &= (ground[:, 0] >= left) & (ground[:, 0] <= right)
            if self.limits.farthest_m is not None:
                inside &= np.abs(ground[:, 1]) <= self.limits.farthest_m
            if self.limits.nearest_m is not None:
                inside &= np.abs(ground[:, 1]) >= self.limits.nearest_m
        return np.asarray(inside & np.isfinite(ground).all(axis=1), bool)


def _project(homography: FloatArray, xy: ArrayLike) -> FloatArray:
    """(N, 2) mapped points; NaN for those on the horizon or behind the camera."""
    points = np.asarray(xy, float).reshape(-1, 2)
    mapped = points @ homography[:, :2].T + homography[:, 2]
    w = mapped[:, 2:]
    with np.errstate(divide="ignore", invalid="ignore"):
        result = np.asarray(mapped[:, :2] / w, np.float64)
    result[~(w > 1e-12).ravel()] = np.nan
    return result
