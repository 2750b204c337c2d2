"""Pictures to judge a road plane by: metres drawn on a frame, the road from above, and the pixel size by row."""

from __future__ import annotations

import io

import cv2
import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from crackmap.calibration.frames import centre_from_corner_xy
from crackmap.calibration.plane import GroundPlane
from crackmap.calibration.profile import gsd_profile, horizon_row_px

FloatArray = NDArray[np.float64]
RgbArray = NDArray[np.uint8]

FINE_RGB, STRONG_RGB, HORIZON_RGB = (90, 220, 255), (255, 235, 60), (255, 80, 80)
SHADE = 0.45
"""Brightness left where the plane is not valid."""

LONGEST_PX = 1600
TOP_VIEW_PX = 1200
SMALL_M = 3.0
"""Where less road than this is seen, the grid has decimetres instead of metres."""


def grid_jpeg(frame: RgbArray, plane: GroundPlane) -> bytes:
    """The (H, W, 3) frame with a grid of metres on the road: every fifth line strong and labelled, what is not valid
    darkened, the horizon marked.
    """
    scale = min(1.0, LONGEST_PX / max(plane.size_wh_px))
    canvas = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else frame.copy()
    height, width = canvas.shape[:2]
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    centres = np.column_stack([x.ravel(), y.ravel()]) / scale
    trusted = plane.trusted(centres)
    canvas[~trusted.reshape(height, width)] = (canvas[~trusted.reshape(height, width)] * SHADE).astype(np.uint8)
    if trusted.any():
        ground = plane.to_ground_xy_m(centres[trusted])
        low, high = ground.min(axis=0), ground.max(axis=0)
        step_m = 1.0 if (high - low).max() > SMALL_M else 0.1
        for strong in (False, True):
            _draw_lines(canvas, plane, scale, (low, high), step_m, strong=strong)
    _draw_horizon(canvas, plane, scale)
    _, encoded = cv2.imencode(".jpg", canvas[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    return encoded.tobytes()


def top_view_png(frame: RgbArray, plane: GroundPlane) -> bytes | None:
    """The road from above, with metres at its edges; None if no pixel is valid."""
    profile = gsd_profile(plane)
    rows = profile.near_middle_far()
    if not rows or profile.lateral_m is None:
        return None
    (left, right), ahead = profile.lateral_m, profile.ahead_m[list(rows)]
    low, high = float(ahead.min()), float(ahead.max())
    # The outermost pixels of a wide view see far to the side: the road beside the camera is what matters.
    reach = max(high - low, 1.0)
    left, right = max(left, -reach), min(right, reach)
    cell = max((high - low) / TOP_VIEW_PX, (right - left) / TOP_VIEW_PX, 1e-4)
    x = np.arange(left + cell / 2, right, cell)
    y = np.arange(high - cell / 2, low, -cell)
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    pixels = plane.to_pixel_xy(grid)
    seen = _trusted(plane, pixels)
    at = np.where(seen[:, None], centre_from_corner_xy(pixels), -1e6).astype(np.float32).reshape(len(y), len(x), 2)
    view = cv2.remap(frame, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderValue=(255, 255, 255))
    return _plot_top(np.asarray(view, np.uint8), (left, right, low, high))


def gsd_png(plane: GroundPlane) -> bytes:
    """Pixel sizes by row, the valid rows marked."""
    profile = gsd_profile(plane)
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    limit = plane.limits.coarsest_gsd_mm
    with np.errstate(invalid="ignore"):
        shown = np.isfinite(profile.along_mm) & (profile.along_mm < 3 * limit)
    axes.plot(profile.row_px[shown], profile.along_mm[shown], color="#c03020", label="along (one row)")
    axes.plot(profile.row_px[shown], profile.across_mm[shown], color="#2060b0", label="across (one column)")
    axes.axhline(limit, color="0.5", lw=1, ls="--", label=f"limit {limit:g} mm")
    if profile.valid.any():
        rows = profile.row_px[profile.valid]
        axes.axvspan(rows.min() - 0.5, rows.max() + 0.5, color="#40a040", alpha=0.12, label="valid rows")
    axes.set(xlabel="image row, px from the top", ylabel="mm on the road per pixel", xlim=(0, plane.size_wh_px[1]))
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    axes.grid(color="0.9")
    return _png(figure)


def _plot_top(view: RgbArray, extent_m: tuple[float, float, float, float]) -> bytes:
    left, right, low, high = extent_m
    shape = (high - low) / (right - left)
    tall = float(np.clip(6.5 * shape, 2.5, 11))
    figure = Figure(figsize=(float(np.clip(tall / shape, 3.0, 9)) + 0.9, tall + 0.7), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(view, extent=extent_m, aspect="equal", interpolation="antialiased")
    step = 1.0 if max(right - left, high - low) > SMALL_M else 0.1
    axes.set_xticks(np.arange(np.ceil(left / step), np.floor(right / step) + 1) * step)
    axes.set_yticks(np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step)
    axes.grid(color="#5adcff", lw=0.6, alpha=0.8)
    axes.set(xlabel="m to the right", ylabel="m ahead")
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    with matplotlib.rc_context({"savefig.dpi": 110}):
        # Without the version of matplotlib in it, equal pictures are equal files.
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw_lines(
    canvas: RgbArray, plane: GroundPlane, scale: float, box_m: tuple[FloatArray, FloatArray], step_m: float, *,
    strong: bool,
) -> None:  # fmt: skip
    """Lines of equal x and of equal y; the strong ones are every fifth, with their metres."""
    low, high = box_m
    for axis in (0, 1):
        # A view up to the horizon must not draw a thousand lines.
        numbers = np.arange(
            np.ceil(low[axis] / step_m), min(np.floor(high[axis] / step_m), low[axis] / step_m + 200) + 1
        )
        for number in numbers[(numbers % 5 == 0) == strong]:
            along = np.linspace(low[1 - axis], high[1 - axis], 600)
            points = np.empty((len(along), 2))
            points[:, axis], points[:, 1 - axis] = number * step_m, along
            pixels = plane.to_pixel_xy(points)
            inside = _trusted(plane, pixels)
            drawn = [part for part in np.split(pixels, _breaks(inside)) if len(part)]
            flags = [part for part in np.split(inside, _breaks(inside)) if len(part)]
            visible = [part for part, flag in zip(drawn, flags, strict=True) if flag[0] and len(part) > 1]
            for part in visible:
                _draw(canvas, part * scale, STRONG_RGB if strong else FINE_RGB, 2 if strong else 1)
            if strong and visible:
                middle = visible[0][len(visible[0]) // 2] if axis == 1 else visible[0][0]
                _label(canvas, middle * scale, f"{number * step_m:g} m {'right' if axis == 0 else 'ahead'}")


def _trusted(plane: GroundPlane, pixels: FloatArray) -> NDArray[np.bool_]:
    """(N,) which of the pixels lie in the image and within the limits; NaN does not."""
    with np.errstate(invalid="ignore"):
        inside = np.asarray(((pixels >= 0) & (pixels <= plane.size_wh_px)).all(axis=1), bool)
    inside[inside] = plane.trusted(pixels[inside])
    return inside


def _breaks(inside: NDArray[np.bool_]) -> NDArray[np.intp]:
    return np.flatnonzero(np.diff(inside.astype(np.int8))) + 1


def _draw_horizon(canvas: RgbArray, plane: GroundPlane, scale: float) -> None:
    height, width = canvas.shape[:2]
    rows = [(x, horizon_row_px(plane, x / scale)) for x in np.linspace(0, width, 17)]
    points = np.array([(x, y * scale) for x, y in rows if y is not None and -1e4 < y < 1e5])
    if len(points) > 1 and ((points[:, 1] > 0) & (points[:, 1] < height)).any():
        _draw(canvas, points, HORIZON_RGB, 2)
        _label(canvas, points[len(points) // 2], "horizon")


def _draw(canvas: RgbArray, points_xy: FloatArray, rgb: tuple[int, int, int], width: int) -> None:
    at = np.round(centre_from_corner_xy(points_xy) * 16).astype(np.int32)
    cv2.polylines(canvas, [at], False, rgb, width, cv2.LINE_AA, 4)


def _label(canvas: RgbArray, at_xy: FloatArray, text: str) -> None:
    size = max(canvas.shape[1] / 2200, 0.4)
    (wide, tall), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    x = int(np.clip(at_xy[0] + 4, 2, canvas.shape[1] - wide - 2))
    y = int(np.clip(at_xy[1] - 4, tall + 2, canvas.shape[0] - 4))
    # The dark rim is the same text beside itself: thicker text would be wider.
    for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1), (0, 0)):
        rgb = (0, 0, 0) if dx or dy else (255, 255, 255)
        cv2.putText(canvas, text, (x + dx, y + dy), cv2.FONT_HERSHEY_SIMPLEX, size, rgb, 1, cv2.LINE_AA)
