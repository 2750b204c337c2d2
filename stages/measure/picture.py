"""The picture's grey values across a line: sampled along normals, aligned with the valley, smoothed along the line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from crackmap.stages.measure.centreline import MeasuredLine
from crackmap.stages.measure.profile import ProbabilityField
from crackmap.stages.measure.sampling import sampled
from crackmap.stages.polyline import arc_length, percentile, resampled
from crackmap.stages.records import FloatArray
from crackmap.stages.tiling import PixelSource

Real = TypeVar("Real", np.float32, np.float64)

STEP_PX = 0.5
"""Distance between the samples of a profile."""

ALONG_PX = 4.0
"""Standard deviation of the smoothing of profiles along the line: some ten pixels of crack share their noise."""

_FLANK_PX = 6.0
"""Road beside the crack that a profile shows on either side."""

_MARGIN_PX = 48
"""Road around a window of probabilities that its profiles may reach into."""

_ALIGN_ALONG_PX = 3.0
_REST = 16
"""Empty rows between two lines, so that smoothing along one does not reach the next: four times ALONG_PX."""


def window_around(box: tuple[int, int, int, int], size_wh_px: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, width and height of what is read of a picture for a window of probabilities given likewise."""
    x0, y0, width, height = box
    left, top = max(x0 - _MARGIN_PX, 0), max(y0 - _MARGIN_PX, 0)
    right, bottom = min(x0 + width + _MARGIN_PX, size_wh_px[0]), min(y0 + height + _MARGIN_PX, size_wh_px[1])
    return left, top, right - left, bottom - top


@dataclass(frozen=True, slots=True)
class GreyWindow:
    """A window of the picture in grey.

    Attributes:
        grey: (height, width) float32, 0 to 255.
        x0_px, y0_px: its top-left corner in the image.
    """

    grey: NDArray[np.float32]
    x0_px: int
    y0_px: int

    @classmethod
    def around(cls, source: PixelSource, field: ProbabilityField, gamma: float) -> GreyWindow:
        """The window of a probability field with _MARGIN_PX more on each side, made linear in light with `gamma`."""
        rows, columns = field.padded.shape[0] - 2, field.padded.shape[1] - 2
        x0, y0, width, height = window_around((field.x0_px, field.y0_px, columns, rows), source.size_wh_px)
        grey = cv2.cvtColor(np.ascontiguousarray(source.read(x0, y0, width, height)), cv2.COLOR_RGB2GRAY)
        table = (255.0 * (np.arange(256) / 255.0) ** gamma).astype(np.float32)
        return cls(table[grey], x0, y0)

    def at(self, xy_px: FloatArray) -> NDArray[np.float32]:
        """(M, S) grey at image points (M, S, 2), by cubic interpolation; NaN outside the window."""
        places = (xy_px - np.array([self.x0_px + 0.5, self.y0_px + 0.5])).astype(np.float32)
        x, y = np.ascontiguousarray(places[..., 0]), np.ascontiguousarray(places[..., 1])
        values = sampled(self.grey, x, y, cv2.INTER_CUBIC)
        height, width = self.grey.shape
        values[(x < -0.5) | (x > width - 0.5) | (y < -0.5) | (y > height - 0.5)] = np.nan
        return values


@dataclass(frozen=True, slots=True)
class Profiles:
    """Grey profiles across some lines, one row per pixel of line.

    Attributes:
        x_px: (S,) offsets across the line.
        grey: (M, S) grey, smoothed along the line; other cracks in the flanks and what lies outside the image are
            filled with the flank's own grey.
        xy_px: (M, 2) where each profile's middle lies: on the valley's axis.
        width_px: (M,) width that the probabilities gave there.
        along_px: (M,) distance along its line.
        line: (M,) number of the line, -1 in the empty rows between lines.
        clear: (M,) whether the row shows the crack alone: no junction, no tip, no image border.
        clipped: (M,) whether the crack or the road beside it is black or white.
    """

    x_px: FloatArray
    grey: NDArray[np.float32]
    xy_px: FloatArray
    width_px: FloatArray
    along_px: FloatArray
    line: NDArray[np.int64]
    clear: NDArray[np.bool_]
    clipped: NDArray[np.bool_]

    def rows_by_line(self) -> list[NDArray[np.int64]]:
        """The rows of each line, in the order of their numbers."""
        rows = np.flatnonzero(self.line >= 0)
        number = self.line[rows]
        return np.split(rows, np.searchsorted(number, np.arange(1, number[-1] + 1)) if len(number) else [])


def profile_reach_px(line: MeasuredLine) -> float:
    """How far the profiles of a line reach to either side; one of few values, so that lines share them."""
    needed = 0.65 * percentile(line.width_px, 95) + _FLANK_PX
    return float(np.ceil(8.0 * 1.25 ** np.ceil(np.log(max(needed, 8.0) / 8.0) / np.log(1.25) - 1e-9)))


def offsets_px(count: int) -> FloatArray:
    """Offsets of the samples of a profile, `count` on either side of its middle."""
    return np.arange(-count, count + 1, dtype=np.float64) * STEP_PX


def profiles_of(
    lines: Sequence[MeasuredLine], reach_px: float, picture: GreyWindow, field: ProbabilityField
) -> Profiles:
    """Profiles of lines that share a reach, each one pixel from the next."""
    rows = _rows_of(lines)
    x = offsets_px(int(reach_px / STEP_PX))
    normal = _normals(rows)
    grey = picture.at(_places(rows.xy, normal, x))
    offset = _offset_to_valley(grey, x, rows)
    rows.xy = rows.xy + offset[:, None] * normal
    normal = _normals(rows)
    places = _places(rows.xy, normal, x)
    grey = picture.at(places)
    inner = np.abs(x)[None, :] <= rows.width[:, None] / 2 + 1.0
    clear = rows.clear & ~np.asarray((np.isnan(grey) & inner).any(axis=1))
    clipped = np.asarray((((grey <= 1.0) | (grey >= 254.0)) & inner).any(axis=1))
    # The line's own mask lies where the line was before it moved onto the valley.
    nearest = np.minimum(np.abs(x)[None, :], np.abs(x[None, :] + offset[:, None]))
    _fill_strangers(grey, places, x, nearest > rows.width[:, None] / 2 + 1.0, field)
    return Profiles(
        x, smoothed_along(grey, clear, ALONG_PX), rows.xy, rows.width, rows.along, rows.line, clear, clipped
    )


@dataclass(slots=True)
class _Rows:
    """All pixels of all lines one below the other, with `_REST` empty rows between lines."""

    xy: FloatArray
    width: FloatArray
    along: FloatArray
    line: NDArray[np.int64]
    clear: NDArray[np.bool_]


def _rows_of(lines: Sequence[MeasuredLine]) -> _Rows:
    xy, width, along, number, clear = [], [], [], [], []
    for k, line in enumerate(lines):
        dense = resampled(np.column_stack([line.xy_px, line.width_px, line.clear]), 1.0)
        count = len(dense)
        xy.append(np.concatenate([dense[:, :2], np.repeat(dense[-1:, :2], _REST, axis=0)]))
        width.append(np.concatenate([dense[:, 2], np.repeat(dense[-1:, 2], _REST)]))
        # Counted along the line itself: the chords between its pixels are a little shorter.
        along.append(np.concatenate([np.linspace(0.0, arc_length(line.xy_px)[-1], count), np.zeros(_REST)]))
        number.append(np.concatenate([np.full(count, k), np.full(_REST, -1)]))
        clear.append(np.concatenate([dense[:, 3] > 0.99, np.zeros(_REST, bool)]))
    return _Rows(
        np.concatenate(xy), np.concatenate(width), np.concatenate(along), np.concatenate(number), np.concatenate(clear)
    )


def _normals(rows: _Rows) -> FloatArray:
    inside = rows.line >= 0
    smooth = smoothed_along(rows.xy, inside, 2.0)
    tangent = np.gradient(smooth, axis=0)
    # At the first and last pixel of a line the neighbour belongs to another: the tangent beside it serves.
    edge = np.flatnonzero(np.diff(rows.line, prepend=-1, append=-1))
    for at in edge.tolist():
        for place, beside in ((at, at + 1), (at - 1, at - 2)):
            if 0 <= place < len(tangent) and 0 <= beside < len(tangent):
                tangent[place] = tangent[beside]
    tangent /= np.maximum(np.hypot(*tangent.T), 1e-9)[:, None]
    return np.column_stack([-tangent[:, 1], tangent[:, 0]])


def _places(xy: FloatArray, normal: FloatArray, x: FloatArray) -> FloatArray:
    return np.asarray(xy[:, None, :] + x[None, :, None] * normal[:, None, :], np.float64)


def _offset_to_valley(grey: NDArray[np.float32], x: FloatArray, rows: _Rows) -> FloatArray:
    """(M,) from the line to the middle of the dark valley, within the crack's width, smooth along the line."""
    grey = smoothed_along(np.nan_to_num(grey, nan=255.0), rows.clear, 2.0)
    inside = np.abs(x)[None, :] <= rows.width[:, None] / 2 + 1.5
    brightest = np.percentile(grey, 75, axis=1, keepdims=True)
    depth = np.where(inside, np.maximum(brightest - grey, 0.0), 0.0)
    depth = np.maximum(depth - 0.3 * depth.max(axis=1, keepdims=True), 0.0)
    total = depth.sum(axis=1)
    offset = np.where(total > 0, depth @ x / np.maximum(total, 1e-9), 0.0)
    offset = np.clip(offset, -rows.width / 2, rows.width / 2)
    return smoothed_along(offset[:, None], rows.clear, _ALIGN_ALONG_PX)[:, 0].astype(np.float64)


def _fill_strangers(
    grey: NDArray[np.float32], places: FloatArray, x: FloatArray, flank: NDArray[np.bool_], field: ProbabilityField
) -> None:
    """Puts the median of a side's flank where another crack, or no image, lies in it. Edits `grey`."""
    local = places - np.array([field.x0_px, field.y0_px], float)
    other = np.isnan(grey) | (flank & (field.at(local) > 0.3))
    affected = np.flatnonzero(other.any(axis=1))
    if len(affected) == 0:
        return
    hidden = other[affected]
    road = np.where(flank[affected] & ~hidden, grey[affected], np.nan)
    levels = [_row_medians(road[:, x < 0]), _row_medians(road[:, x > 0])]
    anywhere = np.nan_to_num(_row_medians(road), nan=float(np.nanmedian(grey)) if np.isfinite(grey).any() else 0.0)
    left, right = (np.where(np.isnan(level), anywhere, level)[:, None] for level in levels)
    grey[affected] = np.where(hidden, np.where(x[None, :] < 0, left, right), grey[affected])


def _row_medians(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(M,) medians of the numbers in each row; NaN where there is none."""
    # Sorting puts NaN last.
    ordered = np.sort(values, axis=1)
    count = np.count_nonzero(~np.isnan(values), axis=1)
    rows = np.arange(len(values))
    lower, upper = ordered[rows, np.maximum(count - 1, 0) // 2], ordered[rows, np.minimum(count // 2, count - 1)]
    return np.asarray((lower + upper) / 2, np.float32)


def smoothed_along(values: NDArray[Real], weight: NDArray[np.bool_], sigma: float) -> NDArray[Real]:
    """Gaussian means along axis 0 over rows with a weight; rows without any near neighbour of weight keep theirs."""
    w = weight.astype(values.dtype)[:, None]
    below = gaussian_filter1d(w, sigma, axis=0, mode="constant", truncate=3.0)
    above = gaussian_filter1d(np.where(w > 0, values, 0), sigma, axis=0, mode="constant", truncate=3.0)
    return np.asarray(np.where(below > 1e-3, above / np.maximum(below, 1e-3), values), values.dtype)
