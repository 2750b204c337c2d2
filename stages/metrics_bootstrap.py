"""Confidence intervals by bootstrap over images, from counts: nothing is computed twice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import require

DRAWS = 1000
"""Sets drawn: the ends of a 95 % interval then move by a few hundredths of its width from seed to seed."""

PERCENT = (2.5, 97.5)

Interval = tuple[float, float]
"""Low and high end of a 95 % interval."""


def resampled_sums(counts: NDArray[np.generic], *, draws: int = DRAWS, seed: int = 0) -> NDArray[np.float64]:
    """Sums of the counts of `draws` sets of images, each as large as the set and drawn from it with repetition.

    Images are drawn, not pixels: the pixels of one image are wrong together. (Efron, Tibshirani, "An Introduction to
    the Bootstrap", 1993, chapter 13: percentile intervals.)

    Args:
        counts: (images, ...) what each image adds.
        draws: number of sets.
        seed: of the draws; the same seed and number of images draw the same images, so differences of two nets on
            one set can be resampled together.

    Returns:
        (draws, ...) sums.

    Raises:
        InputError: no image.
    """
    images = len(counts)
    require(images > 0, "counts", "one image or more", images)
    times = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=draws)
    flat = counts.reshape(images, -1).astype(np.float64)
    return np.asarray((times.astype(np.float64) @ flat).reshape(draws, *counts.shape[1:]), np.float64)


def interval(values: NDArray[np.float64]) -> Interval:
    """The 95 % percentile interval of a statistic's values (draws,)."""
    low, high = np.percentile(values, PERCENT)
    return float(low), float(high)
