"""The one place where half a pixel is added or taken away (docs/frames.md)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def corner_from_centre_xy(xy_centre_px: ArrayLike) -> NDArray[np.float64]:
    """Corner-based coordinates of OpenCV / array-index coordinates (x, y), any shape (..., 2)."""
    return np.asarray(xy_centre_px, float) + 0.5


def centre_from_corner_xy(xy_px: ArrayLike) -> NDArray[np.float64]:
    """OpenCV / array-index coordinates (x, y) of corner-based ones, any shape (..., 2)."""
    return np.asarray(xy_px, float) - 0.5
