"""How large a pixel is on the road, row by row, and where a plane is valid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.plane import GroundPlane

FloatArray = NDArray[np.float64]

COLUMNS = 65
"""Columns looked at in each row for what is valid: enough for a lateral limit to be met within 2 % of the width."""


@dataclass(frozen=True, slots=True)
class GsdProfile:
    """Pixel sizes down the middle of an image.

    Attributes:
        row_px: (N,) middle of each image row, pixels from the top edge.
        ahead_m: (N,) ground y there; NaN above the horizon.
        along_mm: (N,) ground length of a step to the next row.
        across_mm: (N,) ground length of a step to the next column.
        valid: (N,) whether some pixel of the row is within the limits.
        horizon_px: row of the horizon in the middle column, also outside the image; None where there is none.
        lateral_m: ground x of the leftmost and rightmost valid pixel; None if no pixel is valid.
    """

    row_px: FloatArray
    ahead_m: FloatArray
    along_mm: FloatArray
    across_mm: FloatArray
    valid: NDArray[np.bool_]
    horizon_px: float | None
    lateral_m: tuple[float, float] | None

    def near_middle_far(self) -> tuple[int, ...]:
        """Indices of the first, the middle (by distance) and the last valid row, from near to far; () without any."""
        rows = np.flatnonzero(self.valid & np.isfinite(self.ahead_m))
        if not len(rows):
            return ()
        rows = rows[np.argsort(self.along_mm[rows], kind="stable")]
        if np.ptp(self.ahead_m[rows]) > 0:
            rows = rows[np.argsort(np.abs(self.ahead_m[rows]), kind="stable")]
        near, far = int(rows[0]), int(rows[-1])
        wanted = (self.ahead_m[near] + self.ahead_m[far]) / 2
        middle = int(rows[np.abs(self.ahead_m[rows] - wanted).argmin()])
        return near, middle, far


def gsd_profile(plane: GroundPlane) -> GsdProfile:
    """Pixel sizes at every row of the image, and the region in which the plane is valid."""
    width, height = plane.size_wh_px
    rows = np.arange(height, dtype=np.float64) + 0.5
    middle = np.column_stack([np.full(height, width / 2), rows])
    columns = np.linspace(0.5, width - 0.5, COLUMNS)
    x, y = np.meshgrid(columns, rows)
    grid = np.column_stack([x.ravel(), y.ravel()])
    trusted = plane.trusted(grid).reshape(height, COLUMNS)
    valid = np.asarray(trusted.any(axis=1), bool)
    across, along = plane.gsd_mm(middle).T
    lateral = None
    if trusted.any():
        ground_x = plane.to_ground_xy_m(grid)[trusted.ravel(), 0]
        lateral = (float(ground_x.min()), float(ground_x.max()))
    ahead = plane.to_ground_xy_m(middle)[:, 1]
    return GsdProfile(rows, ahead, along, across, valid, horizon_row_px(plane), lateral)


def horizon_row_px(plane: GroundPlane, x_px: float | None = None) -> float | None:
    """Row of the horizon in column `x_px`, by default the middle; None for a plane without one, or that is upright.

    Outside of what a lens shows, the row of the ideal camera.
    """
    a, b, c = plane.ground_from_pixel[2]
    width, height = plane.size_wh_px
    x = width / 2 if x_px is None else x_px
    if abs(b) * max(width, height) <= 1e-9 * max(abs(a) * width, abs(c)):
        return None
    row = -(a * x + c) / b
    if plane.lens is None:
        return float(row)
    # The horizon of a bent picture crosses the column elsewhere: follow it along the straight one.
    ideal_x = np.linspace(-width, 2 * width, 601) if x_px is None else np.linspace(x - width, x + width, 601)
    bent = plane.lens.distorted_xy(np.column_stack([ideal_x, -(a * ideal_x + c) / b]))
    known = bent[np.isfinite(bent).all(axis=1)]
    if not len(known) or not known[:, 0].min() <= x <= known[:, 0].max():
        return float(row)
    known = known[np.argsort(known[:, 0])]
    return float(np.interp(x, known[:, 0], known[:, 1]))
