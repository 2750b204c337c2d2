"""Width from the picture: a crack is a dark valley, and its edges lie where the valley's shape says.

Networks inherit the fat labels they were taught; the picture does not. A crack of width w under a camera whose
point spread is Gaussian with standard deviation s shows, across it, the valley

    B(x) - D [ Phi((x + w/2) / s) - Phi((x - w/2) / s) ],     B(x) = a + b x the road beside it.

The best w is the one whose valley, with D, a and b free, leaves the least squares (variable projection: Golub and
Pereyra, SIAM J. Numer. Anal. 10, 1973). The depth D is free, so a narrow crack that looks grey because it is blurred
does not come out too thin; that rests on s, which is found from all cracks of the picture together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from crackmap.stages.measure.picture import ALONG_PX, Profiles, offsets_px, smoothed_along
from crackmap.stages.records import FloatArray

_NOISY_PX = 0.3
_NARROW_PX = 4.0
_LONGER_PX = (12.0, 36.0)
"""Above this uncertainty, and below this width, a row is read over longer stretches of line (standard deviations).
Wide cracks need it not, and would lose their taper."""

_WIDTH_STEP_PX = 0.3
_NARROWEST_PX = 0.4
_LEAST_FLANK_PX = 2.5

_LEAST_FIT = 0.4
"""Share of a profile's variance that its valley must explain: below, texture decides."""

_LEAST_DEPTH_GREY = 5.0
"""Least depth of a valley in grey levels of 255."""

_LEAST_STEP_FIT = 0.5
"""Share of a profile's variance that an edge must explain to be called one."""

_STEP_PLACES_PX = 0.5
_STEP_BESIDE_PX = 2.0
"""Edges are looked for this far apart, and up to so far beside the mask."""

_WIDER_THAN_MASK_PX = 4.0
"""A valley wider than the mask by more than this is shade or texture, not the crack."""

PRIOR_SPREAD_PX = 0.75
"""Point spread of a well-focused survey camera: optics, half a pixel of pixel size, JPEG; where nothing says more."""

_PRIOR_LOG_SD = 0.35

_LONG_ROWS = 60

_LOG_SD_OF_A_LINE = 0.12
"""By how much one line alone misleads about the point spread: its edges are rough, its profiles not quite aligned."""

_SPREADS_PX = tuple(np.geomspace(0.35, 3.0, 28).tolist())
_SAMPLES_ACROSS = 4.0
"""Neighbouring samples of a profile share their noise (texture of a grain or two): this many count as one."""

_ROWS_ALONG = 2 * np.sqrt(np.pi) * ALONG_PX
"""Rows that count as one after smoothing along the line."""


@dataclass(frozen=True, slots=True)
class PointSpread:
    """The camera's blur, pixel size included.

    Attributes:
        sigma_px: standard deviation of the point spread.
        u_sigma_px: its standard uncertainty.
    """

    sigma_px: float = PRIOR_SPREAD_PX
    u_sigma_px: float = PRIOR_SPREAD_PX * _PRIOR_LOG_SD


@dataclass(frozen=True, slots=True)
class ValleyWidths:
    """What the profiles say, one entry per row.

    Attributes:
        width_px: (M,) width.
        u_noise_px: (M,) standard uncertainty from the noise of the picture; rows within `along_px` share it.
        along_px: (M,) standard deviation, along the line, over which the row was read.
        slope: (M,) change of width per change of the point spread: how strongly the width hangs on it.
        valid: (M,) whether the contrast allows to read it.
        step: (M,) whether the picture shows a step there, dark on one side and bright on the other, and no valley.
    """

    width_px: FloatArray
    u_noise_px: FloatArray
    along_px: FloatArray
    slope: FloatArray
    valid: NDArray[np.bool_]
    step: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Valleys:
    """Valley shapes of all widths under one point spread, without their constant and slope.

    Attributes:
        sigma_px: the point spread.
        width_px: (K,).
        shape: (K, S).
        energy: (K,) sum of squares.
    """

    sigma_px: float
    width_px: FloatArray
    shape: NDArray[np.float32]
    energy: FloatArray


def valley_widths(profiles: Profiles, spread: PointSpread) -> ValleyWidths:
    """The width of every profile under a point spread.

    A row that is too noisy to be read by itself is read together with more of its line, up to 36 px (a standard
    deviation) to either side: the fit is not linear in a narrow crack's width, and noise would make it too wide.
    """
    valleys = _valleys(profiles.x_px, spread.sigma_px)
    slope = _slope_of(profiles.x_px, valleys, spread.sigma_px)
    result = _read(profiles, profiles.grey, valleys, slope, ALONG_PX)
    for along_px in _LONGER_PX:
        noisy = profiles.clear & ((result.u_noise_px > _NOISY_PX) | ~result.valid) & (result.width_px < _NARROW_PX)
        if not noisy.any():
            break
        grey = profiles.grey.copy()
        for rows in profiles.rows_by_line():
            if noisy[rows].any():
                # Line by line: this smoothing reaches farther than the empty rows between lines.
                sigma = float(np.sqrt(along_px**2 - ALONG_PX**2))
                grey[rows] = smoothed_along(profiles.grey[rows], profiles.clear[rows], sigma)
        result = _merged(result, _read(profiles, grey, valleys, slope, along_px), noisy)
    return result


def _read(
    profiles: Profiles, grey: NDArray[np.floating], valleys: _Valleys, slope: FloatArray, along_px: float
) -> ValleyWidths:
    free = _without_road(grey, profiles.x_px)
    explained, depth = _explained(free, valleys, profiles.width_px)
    width, bend, best = _at_peak(explained, valleys.width_px)
    rows = np.arange(len(best))
    energy = (free * free).sum(axis=1)
    share = explained[rows, best] / np.maximum(energy, 1e-9)
    # Least squares: u^2 = 2 sigma^2 / curvature, with the sigma^2 that the fit leaves over.
    noise = (energy - explained[rows, best]) / len(profiles.x_px) * _SAMPLES_ACROSS
    u_noise = np.sqrt(2 * np.maximum(noise, 0.0) / bend)
    valid = profiles.clear & (share >= _LEAST_FIT) & (depth[rows, best] >= _LEAST_DEPTH_GREY)
    # A width that is less certain than it is wide is none.
    valid &= (best > 0) & (best < len(valleys.width_px) - 1) & (u_noise < width)
    along = np.full(len(width), along_px)
    by_step = _explained_by_step(free, profiles, valleys.sigma_px)
    step = profiles.clear & (by_step > explained[rows, best]) & (by_step > _LEAST_STEP_FIT * energy)
    return ValleyWidths(width, u_noise, along, np.interp(width, valleys.width_px, slope), valid & ~step, step)


def _explained_by_step(free: NDArray[np.floating], profiles: Profiles, sigma_px: float) -> FloatArray:
    """(M,) sum of squares that the best edge near the mask explains, dark on one side and bright on the other."""
    x = profiles.x_px
    places = np.arange(-(x[-1] - _LEAST_FLANK_PX), x[-1] - _LEAST_FLANK_PX + 1e-9, _STEP_PLACES_PX)
    shape = _without_road(ndtr((x[None, :] - places[:, None]) / sigma_px), x)
    explained = (free @ shape.T.astype(np.float32)) ** 2 / (shape * shape).sum(axis=1)
    explained[np.abs(places)[None, :] > profiles.width_px[:, None] / 2 + _STEP_BESIDE_PX] = 0.0
    return np.asarray(explained.max(axis=1), np.float64)


def _merged(short: ValleyWidths, long: ValleyWidths, noisy: NDArray[np.bool_]) -> ValleyWidths:
    """The rows of `long` where the short reading is noisy and the long one is valid."""
    use = noisy & long.valid
    pairs = ((getattr(short, f.name), getattr(long, f.name)) for f in fields(ValleyWidths))
    return ValleyWidths(*(np.where(use, b, a) for a, b in pairs))


def point_spread(samples: Sequence[Profiles]) -> PointSpread:
    """The point spread that explains the profiles best, weighed against PRIOR_SPREAD_PX."""
    logs = np.log(_SPREADS_PX)
    lines = 0
    posterior = -((logs - np.log(PRIOR_SPREAD_PX)) ** 2) / (2 * _PRIOR_LOG_SD**2)
    for profiles in samples:
        kept = profiles.clear & _of_long_lines(profiles)
        if not kept.any():
            continue
        free = _without_road(profiles.grey[kept], profiles.x_px)
        energy = (free * free).sum(axis=1)
        best = np.stack([
            _explained(free, _valleys(profiles.x_px, s), profiles.width_px[kept])[0].max(axis=1) for s in _SPREADS_PX
        ])  # fmt: skip
        good = best.max(axis=0) >= _LEAST_FIT * energy
        # What even the best spread leaves over is this row's noise, so that rough rows count for less.
        noise = (energy - best.max(axis=0)) / len(profiles.x_px) + 0.25
        lines += len(np.unique(profiles.line[kept][good]))
        posterior += (best[:, good] / (2 * noise[good])).sum(axis=1) / (_SAMPLES_ACROSS * _ROWS_ALONG)
    place, curvature = _parabola_peak(posterior)
    sigma = float(np.exp(np.interp(place, np.arange(len(logs)), logs)))
    log_sd = (logs[1] - logs[0]) / np.sqrt(max(curvature, 1e-6))
    log_sd = float(np.hypot(log_sd, _LOG_SD_OF_A_LINE / np.sqrt(max(lines, 1))))
    return PointSpread(sigma, sigma * min(log_sd, _PRIOR_LOG_SD))


def _of_long_lines(profiles: Profiles) -> NDArray[np.bool_]:
    """(M,) rows of lines with at least _LONG_ROWS clear rows; all rows where there is no such line.

    The short edges of a network wobble, and their profiles blur what they are to tell.
    """
    rows = np.bincount(profiles.line[profiles.clear] + 1, minlength=int(profiles.line.max()) + 2)
    long = rows[profiles.line + 1] >= _LONG_ROWS
    return long if long.any() else np.ones(len(long), bool)


def _valleys(x: FloatArray, sigma_px: float) -> _Valleys:
    """The valleys on the offsets of a profile, which are multiples of STEP_PX to either side."""
    return _valleys_of(len(x) // 2, sigma_px)


# Every picture asks for the same ones while its point spread is sought. Those of wide cracks take 1 MB.
@lru_cache(maxsize=8 * len(_SPREADS_PX))
def _valleys_of(count: int, sigma_px: float) -> _Valleys:
    x = offsets_px(count)
    width = np.arange(_NARROWEST_PX, 2 * (x[-1] - _LEAST_FLANK_PX) + 1e-9, _WIDTH_STEP_PX)
    half = width[:, None] / 2
    shape = ndtr((x + half) / sigma_px) - ndtr((x - half) / sigma_px)
    shape = _without_road(shape, x)
    return _Valleys(sigma_px, width, shape.astype(np.float32), (shape * shape).sum(axis=1))


def _without_road(rows: NDArray[np.floating], x: FloatArray) -> NDArray[np.floating]:
    """Rows (M, S) without their mean and slope: what is left holds nothing of an evenly lit road."""
    ramp = (x / np.sqrt(x @ x)).astype(rows.dtype)
    centred = rows - rows.mean(axis=1, keepdims=True)
    return np.asarray(centred - (centred @ ramp)[:, None] * ramp)


def _explained(
    free: NDArray[np.floating], valleys: _Valleys, mask_width_px: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """(M, K) sum of squares that a valley of each width explains, and its depth in grey levels; 0 where bright."""
    likeness = np.maximum(-(free @ valleys.shape.T), 0.0)
    likeness[valleys.width_px[None, :] > mask_width_px[:, None] + _WIDER_THAN_MASK_PX] = 0.0
    return likeness**2 / valleys.energy, likeness / valleys.energy


def _at_peak(score: FloatArray, width: FloatArray) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """(M,) width at the highest of each row's scores, by a parabola, the curvature there, and its grid index."""
    best = score.argmax(axis=1)
    inner = np.clip(best, 1, score.shape[1] - 2)
    rows = np.arange(len(best))
    low, mid, high = score[rows, inner - 1], score[rows, inner], score[rows, inner + 1]
    bend = np.maximum(2 * mid - low - high, 1e-12)
    shift = np.clip(0.5 * (high - low) / bend, -0.5, 0.5)
    return np.asarray(width[inner] + shift * _WIDTH_STEP_PX, np.float64), bend / _WIDTH_STEP_PX**2, best


def _slope_of(x: FloatArray, valleys: _Valleys, sigma_px: float) -> FloatArray:
    """(K,) change of the fitted width when the point spread is taken for wider, per pixel of spread."""
    change = 0.05 * sigma_px
    wider = _valleys(x, sigma_px + change)
    likeness = np.maximum(valleys.shape @ wider.shape.T, 0.0)
    fitted, _, _ = _at_peak(likeness**2 / wider.energy, wider.width_px)
    same, _, _ = _at_peak(np.maximum(valleys.shape @ valleys.shape.T, 0.0) ** 2 / valleys.energy, valleys.width_px)
    return np.asarray((fitted - same) / change, np.float64)


def _parabola_peak(values: FloatArray) -> tuple[float, float]:
    """Place (index) and curvature of the highest value's parabola."""
    inner = int(np.clip(values.argmax(), 1, len(values) - 2))
    low, mid, high = values[inner - 1 : inner + 2]
    curvature = max(2 * mid - low - high, 0.0)
    shift = float(np.clip(0.5 * (high - low) / max(curvature, 1e-12), -1.0, 1.0))
    return inner + shift, float(curvature)
