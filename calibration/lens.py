"""What a lens does to a picture: from pixels as taken to pixels of an ideal pinhole camera, and back.

The ideal camera has the same focal length and principal point and no distortion, so that straight lines of the road are
straight in it. Both models are those of OpenCV, so that its parameters can be used as they are; only the principal
point is counted from the corner of the top-left pixel (docs/frames.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crackmap.calibration.errors import CalibrationError, require

FloatArray = NDArray[np.float64]

STEEPEST_RAD = np.deg2rad(85.0)
"""Rays farther than this from the optical axis have no place in a pinhole picture: 85 degrees are 11 focal lengths from
its centre."""

CLOSE_PX = 1e-9
"""The inverse is iterated until it is exact to this; four to eight Newton steps."""


@dataclass(frozen=True, slots=True)
class Lens:
    """The inner parameters of a camera.

    Attributes:
        model: "pinhole": Brown's radial and tangential distortion, rational with eight coefficients; "fisheye": Kannala
            and Brandt's polynomial in the angle from the optical axis.
        focal_xy_px: focal length over the pixel size, along a row and along a column.
        centre_xy_px: principal point, from the top-left corner.
        distortion: pinhole: k1, k2, p1, p2, k3 and, if given, k4, k5, k6; fisheye: k1, k2, k3, k4. May be shorter:
            what is missing is 0.
        size_wh_px: the image size it belongs to.
    """

    model: Literal["pinhole", "fisheye"]
    focal_xy_px: tuple[float, float]
    centre_xy_px: tuple[float, float]
    distortion: tuple[float, ...]
    size_wh_px: tuple[int, int]

    def __post_init__(self) -> None:
        require(self.model in ("pinhole", "fisheye"), "lens model", "pinhole or fisheye", self.model)
        require(min(self.focal_xy_px) > 0, "focal_xy_px", "pixels above 0", self.focal_xy_px)
        most = 8 if self.model == "pinhole" else 4
        require(len(self.distortion) <= most, "distortion", f"at most {most} numbers", self.distortion)
        numbers = [*self.focal_xy_px, *self.centre_xy_px, *self.distortion]
        require(bool(np.isfinite(numbers).all()), "lens", "finite numbers", numbers)
        # The corners of a wide fisheye see past STEEPEST_RAD; the inner half of every picture is of use.
        width, height = self.size_wh_px
        inner = np.array([(x * width, y * height) for x in (0.25, 0.5, 0.75) for y in (0.25, 0.5, 0.75)])
        if not np.isfinite(self._ideal(self._units(inner))).all():
            raise CalibrationError(
                "lens: its distortion folds the picture over itself inside the image; calibrate again with boards that "
                "reach into the corners, or with fewer coefficients"
            )

    def undistorted_xy(self, xy_px: ArrayLike) -> FloatArray:
        """(N, 2) pixels of the ideal camera that see what pixels (N, 2) see; NaN where the model has no answer."""
        return self._pixels(self._ideal(self._units(_points(xy_px))))

    def distorted_xy(self, xy_px: ArrayLike) -> FloatArray:
        """(N, 2) pixels of the picture as taken, of pixels (N, 2) of the ideal camera; NaN beyond the model's range."""
        return self._pixels(self._seen(self._units(_points(xy_px)))[0])

    def undistortion(self, xy_px: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """As `undistorted_xy`, and (N, 2, 2) its derivative: [:, :, 0] for a step along the row as taken."""
        ideal = self._ideal(self._units(_points(xy_px)))
        _, slope = self._seen(ideal)
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = _inverse_2x2(slope)
        focal = np.asarray(self.focal_xy_px)
        return self._pixels(ideal), np.asarray(inverse * focal[:, None] / focal[None, :], np.float64)

    def _units(self, xy_px: FloatArray) -> FloatArray:
        return np.asarray((xy_px - np.asarray(self.centre_xy_px)) / np.asarray(self.focal_xy_px), np.float64)

    def _pixels(self, units: FloatArray) -> FloatArray:
        return np.asarray(units * np.asarray(self.focal_xy_px) + np.asarray(self.centre_xy_px), np.float64)

    def _seen(self, units: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Distorted places (N, 2) of ideal ones, in focal lengths, and the derivative (N, 2, 2)."""
        seen, slope = (_brown if self.model == "pinhole" else _fisheye)(units, self.distortion)
        # Beyond the radius where distortion turns back the model sees one ray in two places: the outer one is not real.
        outside = np.linalg.norm(units, axis=1) > _reach(self.model, self.distortion)
        seen[outside], slope[outside] = np.nan, np.nan
        return seen, slope

    def _ideal(self, seen: FloatArray) -> FloatArray:
        """Ideal places (N, 2) of distorted ones, in focal lengths: Newton's method from the distorted place."""
        reach = _reach(self.model, self.distortion)
        ideal = _shortened(seen if self.model == "pinhole" else _unrolled(seen), 0.999 * reach)
        close = CLOSE_PX / max(self.focal_xy_px)
        error = np.full(len(seen), np.inf)
        with np.errstate(all="ignore"):
            for _ in range(50):
                there, slope = self._seen(ideal)
                rest = seen - there
                error = np.linalg.norm(rest, axis=1)
                if not (error > close).any():
                    break
                step = np.einsum("nij,nj->ni", _inverse_2x2(slope), rest)
                ideal = _shortened(np.where(np.isfinite(step), ideal + step, ideal), 0.999999 * reach)
        # What does not converge lies outside all that the lens shows.
        ideal[~(error <= 100 * close)] = np.nan
        return ideal


@lru_cache(maxsize=64)
def _reach(model: str, distortion: tuple[float, ...]) -> float:
    """Ideal radius, in focal lengths, up to which the distorted radius grows with it."""
    radius = np.linspace(0.0, np.tan(STEEPEST_RAD), 4000)
    line = np.column_stack([radius, np.zeros_like(radius)])
    radial = (*distortion[:2], 0.0, 0.0, *distortion[4:])
    _, slope = _brown(line, radial) if model == "pinhole" else _fisheye(line, distortion)
    falling = np.flatnonzero(~(slope[:, 0, 0] > 0))
    return float(radius[falling[0] - 1] if len(falling) else radius[-1])


def _points(xy_px: ArrayLike) -> FloatArray:
    return np.asarray(xy_px, np.float64).reshape(-1, 2)


def _brown(units: FloatArray, distortion: tuple[float, ...]) -> tuple[FloatArray, FloatArray]:
    """Brown (1966), as in OpenCV: x' = x R + 2 p1 x y + p2 (r2 + 2 x2), y' = y R + p1 (r2 + 2 y2) + 2 p2 x y."""
    k1, k2, p1, p2, k3, k4, k5, k6 = (*distortion, *(0.0,) * 8)[:8]
    x, y = units.T
    r2 = x**2 + y**2
    above, below = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)), 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
    factor = above / below
    d_above, d_below = k1 + r2 * (2 * k2 + 3 * r2 * k3), k4 + r2 * (2 * k5 + 3 * r2 * k6)
    d_factor = (d_above * below - above * d_below) / below**2
    seen = np.column_stack([
        x * factor + 2 * p1 * x * y + p2 * (r2 + 2 * x**2),
        y * factor + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y,
    ])  # fmt: skip
    mixed = 2 * x * y * d_factor + 2 * p1 * x + 2 * p2 * y
    slope = np.empty((len(units), 2, 2))
    slope[:, 0, 0] = factor + 2 * x**2 * d_factor + 2 * p1 * y + 6 * p2 * x
    slope[:, 0, 1] = slope[:, 1, 0] = mixed
    slope[:, 1, 1] = factor + 2 * y**2 * d_factor + 6 * p1 * y + 2 * p2 * x
    return seen, slope


def _fisheye(units: FloatArray, distortion: tuple[float, ...]) -> tuple[FloatArray, FloatArray]:
    """Kannala and Brandt (2006), as in OpenCV: r' = t (1 + k1 t^2 + k2 t^4 + k3 t^6 + k4 t^8), t = atan r."""
    k1, k2, k3, k4 = (*distortion, *(0.0,) * 4)[:4]
    radius = np.linalg.norm(units, axis=1)
    angle = np.arctan(radius)
    a2 = angle**2
    bent = angle * (1 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))
    d_bent = (1 + a2 * (3 * k1 + a2 * (5 * k2 + a2 * (7 * k3 + a2 * 9 * k4)))) / (1 + radius**2)
    safe = np.maximum(radius, 1e-12)
    factor = np.where(radius > 1e-9, bent / safe, 1.0)
    # d(x b / r) / dx = b / r + x^2 (b' - b / r) / r^2
    along = np.where(radius > 1e-9, (d_bent - factor) / safe**2, 0.0)
    slope = along[:, None, None] * units[:, :, None] * units[:, None, :] + factor[:, None, None] * np.eye(2)
    return units * factor[:, None], np.asarray(slope, np.float64)


def _unrolled(seen: FloatArray) -> FloatArray:
    """A first guess for a fisheye: as if the distorted radius were the angle."""
    radius = np.linalg.norm(seen, axis=1, keepdims=True)
    return np.asarray(seen * np.tan(np.minimum(radius, STEEPEST_RAD)) / np.maximum(radius, 1e-12), np.float64)


def _shortened(units: FloatArray, longest: float) -> FloatArray:
    radius = np.linalg.norm(units, axis=1, keepdims=True)
    return np.asarray(units * np.minimum(1.0, longest / np.maximum(radius, 1e-12)), np.float64)


def _inverse_2x2(matrix: FloatArray) -> FloatArray:
    result = np.empty_like(matrix)
    result[:, 0, 0], result[:, 1, 1] = matrix[:, 1, 1], matrix[:, 0, 0]
    result[:, 0, 1], result[:, 1, 0] = -matrix[:, 0, 1], -matrix[:, 1, 0]
    determinant = matrix[:, 0, 0] * matrix[:, 1, 1] - matrix[:, 0, 1] * matrix[:, 1, 0]
    return np.asarray(result / determinant[:, None, None], np.float64)
