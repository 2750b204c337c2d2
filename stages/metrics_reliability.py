"""Are probabilities what they say? Reliability and expected calibration error, from counts by probability level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import require

BINS = 10

SPOKEN = 0.05
"""From this probability on a pixel counts in `spoken_error`: nearly all pixels of a road are plain background at 0."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """How often pixels of a stated probability are crack.

    Attributes:
        stated: (BINS,) mean probability of the pixels of each bin; NaN in an empty bin.
        found: (BINS,) share of them that is crack; NaN in an empty bin.
        pixels: (BINS,) pixels of each bin.
        error: expected calibration error: mean over pixels of |found - stated| of their bin (Guo et al., "On
            Calibration of Modern Neural Networks", ICML 2017).
        spoken_error: the same over the pixels with a probability of at least SPOKEN.
    """

    stated: NDArray[np.float64]
    found: NDArray[np.float64]
    pixels: NDArray[np.int64]
    error: float
    spoken_error: float


def reliability(levels: NDArray[np.integer]) -> Reliability:
    """Reliability from counts by level.

    Args:
        levels: (L, 2) pixels off and on the truth of probability 0, 1 / (L - 1), ..., 1.

    Raises:
        InputError: the counts have another shape.
    """
    require(levels.ndim == 2 and levels.shape[1] == 2 and len(levels) > 1, "levels", "shape (L, 2)", levels.shape)
    probability = np.linspace(0, 1, len(levels))
    stated, found, pixels = _binned(levels, probability)
    spoken = levels * (probability >= SPOKEN)[:, None]
    return Reliability(stated, found, pixels, _error(stated, found, pixels), _error(*_binned(spoken, probability)))


def _binned(
    levels: NDArray[np.integer], probability: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    place = np.minimum((probability * BINS).astype(int), BINS - 1)
    pixels = np.bincount(place, levels.sum(axis=1), BINS)
    empty = np.full(BINS, np.nan)
    stated = np.divide(np.bincount(place, levels.sum(axis=1) * probability, BINS), pixels, out=empty.copy(),
                       where=pixels > 0)  # fmt: skip
    found = np.divide(np.bincount(place, levels[:, 1], BINS), pixels, out=empty, where=pixels > 0)
    return stated, found, pixels.astype(np.int64)


def _error(stated: NDArray[np.float64], found: NDArray[np.float64], pixels: NDArray[np.int64]) -> float:
    total = int(pixels.sum())
    return float(np.nansum(np.abs(found - stated) * pixels)) / total if total else 0.0
