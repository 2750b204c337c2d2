"""How straight a line in a picture is: the test of a lens that needs no board."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import map_coordinates

from crackmap.calibration.errors import InputError, require
from crackmap.calibration.frames import centre_from_corner_xy

FloatArray = NDArray[np.float64]

LEAST_CONTRAST = 12.0
"""Grey levels by which the line must stand out of what lies beside it; a place where it does not is passed over."""


def trace_line(grey: NDArray[np.uint8], ends_xy_px: ArrayLike, *, reach_px: tuple[float, float]) -> FloatArray:
    """(n, 2) points in the middle of a bright line near a given one, about one a pixel, in order.

    The picture is scanned by rows where the line is steep, by columns where it is flat. Halfway between the road (lower
    quartile of a scan) and the line (its greatest value) the line ends; the centroid of the light above that is a
    sub-pixel point of it.

    Args:
        grey: (height, width) picture, 8 bits.
        ends_xy_px: (2, 2) approximate ends of the line.
        reach_px: how far the line may lie beside the straight connection of the ends, along the scan, at either end.
            More than the width of the line, so that road is seen beside it.

    Raises:
        InputError: the line is found in fewer than half of the scans.
    """
    ends = np.asarray(ends_xy_px, np.float64)
    require(ends.shape == (2, 2) and bool(np.abs(ends[1] - ends[0]).max() >= 3), "line", "two points apart", ends)
    require(grey.ndim == 2, "picture", "grey", grey.shape)
    run = int(np.abs(ends[1] - ends[0]).argmax())
    places = np.arange(np.floor(ends[:, run].min()) + 0.5, ends[:, run].max())
    order = np.argsort(ends[:, run])
    middle = np.interp(places, ends[order, run], ends[order, 1 - run])
    reach = np.interp(places, ends[order, run], np.asarray(reach_px, np.float64)[order])
    # As many samples everywhere, half a pixel apart where the reach is greatest.
    share = np.linspace(-1.0, 1.0, 4 * int(np.ceil(max(reach_px))) + 1)
    offsets = reach[:, None] * share
    grid = np.empty((*offsets.shape, 2))
    grid[..., run] = places[:, None]
    grid[..., 1 - run] = middle[:, None] + offsets
    column, row = np.moveaxis(centre_from_corner_xy(grid), 2, 0)
    light = map_coordinates(grey.astype(np.float64), [row, column], order=1, mode="constant", cval=np.nan)
    centres = np.array([_centre(scan) for scan in light])
    found = np.isfinite(centres)
    if found.sum() * 2 < len(places):
        raise InputError(
            f"line: found in {found.sum()} of {len(places)} scans; give ends closer to a bright line, or a larger reach"
        )
    points = np.empty((len(places), 2))
    points[:, run] = places
    points[:, 1 - run] = middle + reach * (2 * centres / (len(share) - 1) - 1)
    return np.asarray(points[found], np.float64)


def largest_deviation_px(xy_px: ArrayLike, *, window_px: float = 200.0) -> float:
    """The largest distance of a point from the best line through the points within any stretch of `window_px`.

    The best line is that of least squared distances; single points that the tracer got wrong count too.

    Raises:
        InputError: the points span less than the window.
    """
    points = np.asarray(xy_px, np.float64).reshape(-1, 2)
    points = points[np.isfinite(points).all(axis=1)]
    require(len(points) >= 3, "line", "three points or more", len(points))
    middle = points - points.mean(axis=0)
    along = middle @ np.linalg.svd(middle, full_matrices=False)[2][0]
    order = np.argsort(along)
    points, along = points[order], along[order]
    require(float(np.ptp(along)) >= window_px, "line", f"{window_px:g} px or more", float(np.ptp(along)))
    largest = 0.0
    for start in range(len(points)):
        stop = int(np.searchsorted(along, along[start] + window_px, side="right"))
        part = points[start:stop] - points[start:stop].mean(axis=0)
        largest = max(largest, float(np.abs(part @ np.linalg.svd(part, full_matrices=False)[2][1]).max()))
        if stop == len(points):
            break
    return largest


def _centre(light: FloatArray) -> float:
    """Index, with fraction, of the middle of the bright line in a scan; NaN if there is none or it is cut off."""
    if not np.isfinite(light).all():
        return float("nan")
    road, top = float(np.quantile(light, 0.25)), int(light.argmax())
    half = (road + light[top]) / 2
    if light[top] - road < LEAST_CONTRAST:
        return float("nan")
    dark = np.flatnonzero(light <= half)
    before, after = dark[dark < top], dark[dark > top]
    if len(before) == 0 or len(after) == 0:
        return float("nan")
    inside = np.arange(before[-1], after[0] + 1)
    weight = np.maximum(light[inside] - half, 0.0)
    return float(weight @ inside / weight.sum())
