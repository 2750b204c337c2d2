"""How wide the probabilities of a net draw a crack whose width is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from crackmap.calibration.errors import require
from crackmap.stages.metrics_bootstrap import Interval, interval, resampled_sums
from crackmap.stages.polyline import resampled

Mask = NDArray[np.bool_]

WIDTH_CLASSES_PX = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0)
"""Limits of the width classes, px."""

REACH_PX = 6.0
"""Pixels up to this far outside the drawn edge are counted to the crack."""

PIECE_PX = 48.0
"""Cracks are scored in pieces of about this length, of one width each."""

FOUND_WITHIN_PX = 2.0
"""A place of a line is found where a pixel of probability 0.5 lies within this distance of the drawn crack."""

_STEP_PX = 2.0


@dataclass(frozen=True, slots=True)
class WidthPieces:
    """Pieces of drawn cracks.

    Attributes:
        length_px: (N,) length of each piece inside the picture.
        true_px: (N,) mean true width: covered area over length.
        area_px: (N,) mean width from the sum of probability over the pixels of the piece.
        mask_px: (N,) mean width from the number of those pixels with a probability of 0.5 and more.
        found: (N,) share of the piece's length that is found.
    """

    length_px: NDArray[np.float64]
    true_px: NDArray[np.float64]
    area_px: NDArray[np.float64]
    mask_px: NDArray[np.float64]
    found: NDArray[np.float64]


def width_pieces(
    xy_px: NDArray[np.float64],
    width_px: NDArray[np.float64],
    covered: NDArray[np.floating],
    probability: NDArray[np.floating],
) -> WidthPieces:
    """The pieces of one drawn crack, which is the only one in its picture.

    Every pixel near the line belongs to the sample of the line that is nearest, in the truth as in the prediction, so
    bends and crossings change both alike.

    Args:
        xy_px: (N, 2) centreline, pixels from the top-left corner; may leave the picture.
        width_px: (N,) drawn width.
        covered: (height, width) exact covered share of each pixel.
        probability: (height, width).

    Raises:
        InputError: the arrays differ in shape.
    """
    require(covered.shape == probability.shape, "probability", f"shape {covered.shape}", probability.shape)
    samples = resampled(np.column_stack([xy_px, width_px]), _STEP_PX)
    inside = np.all((samples[:, :2] >= 0) & (samples[:, :2] < covered.shape[::-1]), axis=1)
    # A piece's number runs along the whole line, so that a line that leaves the picture starts a new piece.
    piece = (np.arange(len(samples)) * _STEP_PX // PIECE_PX).astype(int)
    count = int(piece[-1]) + 1
    rows, columns, owner = _near(samples, covered.shape)
    kept = inside[owner]
    rows, columns, owner = rows[kept], columns[kept], owner[kept]

    def area(values: NDArray[np.generic]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(piece[owner], values[rows, columns].astype(float), count), np.float64)

    mask = probability >= 0.5
    length = np.asarray(np.bincount(piece[inside], minlength=count) * _STEP_PX, np.float64)
    long = length >= PIECE_PX / 2
    scale = 1 / length[long]
    hit = np.asarray(np.bincount(piece[inside], _found(samples[inside], mask), count) * _STEP_PX, np.float64)
    return WidthPieces(length[long], area(covered)[long] * scale, area(probability)[long] * scale,
                       area(mask)[long] * scale, hit[long] * scale)  # fmt: skip


def _near(
    samples: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the pixels within REACH_PX of the drawn edge, and the nearest sample of each."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    centres = np.column_stack([x.ravel(), y.ravel()]) + 0.5
    reach = samples[:, 2].max() / 2 + REACH_PX
    distance, owner = cKDTree(samples[:, :2]).query(centres, distance_upper_bound=reach)
    hit = np.isfinite(distance)
    hit[hit] = distance[hit] <= samples[owner[hit], 2] / 2 + REACH_PX
    place = np.flatnonzero(hit)
    return place // shape[1], place % shape[1], owner[place]


def _found(samples: NDArray[np.float64], mask: Mask) -> NDArray[np.bool_]:
    """(N,) whether a mask pixel lies within FOUND_WITHIN_PX of the drawn crack at each sample (x, y, width)."""
    if not mask.any() or not len(samples):
        return np.zeros(len(samples), bool)
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    x, y = samples[:, :2].astype(int).T
    return np.asarray(distance[y, x] <= samples[:, 2] / 2 + FOUND_WITHIN_PX, bool)


@dataclass(frozen=True, slots=True)
class WidthScores:
    """Width errors in one class; means are weighted by length, and over pieces found for more than half.

    Where no piece is found, means and interval are NaN.

    Attributes:
        limits_px: the class, true width from and below.
        length_px: drawn length in it.
        found_share: share of it that is found.
        true_px: mean true width of the found pieces.
        area_bias_px, area_mae_px: mean and mean absolute error of the width from the sum of probability.
        mask_bias_px, mask_mae_px: the same of the width from the mask at 0.5.
        area_bias_interval_px: 95 % interval of area_bias_px, by bootstrap over pieces.
    """

    limits_px: tuple[float, float]
    length_px: float
    found_share: float
    true_px: float
    area_bias_px: float
    area_mae_px: float
    mask_bias_px: float
    mask_mae_px: float
    area_bias_interval_px: Interval


def score_widths(pieces: Sequence[WidthPieces]) -> list[WidthScores]:
    """Scores of each of WIDTH_CLASSES_PX that holds a piece, narrowest first."""
    if not pieces:
        return []
    length, true, area, mask, found = (
        np.concatenate([getattr(item, name) for item in pieces]) for name in WidthPieces.__slots__
    )
    result = []
    for low, high in pairwise(WIDTH_CLASSES_PX):
        of_class = (true >= low) & (true < high)
        if of_class.any():
            found_share = float((found * length)[of_class].sum() / length[of_class].sum())
            kept = of_class & (found > 0.5)
            errors = np.column_stack([true, area - true, np.abs(area - true), mask - true, np.abs(mask - true)])
            means, ends = _weighted(errors[kept], length[kept])
            result.append(WidthScores((low, high), float(length[of_class].sum()), found_share, *means, ends))
    return result


def _weighted(
    values: NDArray[np.float64], length: NDArray[np.float64]
) -> tuple[tuple[float, float, float, float, float], Interval]:
    """Weighted means of the columns, and the interval of the second one; NaN where there is no row."""
    if not len(values):
        return (np.nan,) * 5, (np.nan, np.nan)
    mean = (values * length[:, None]).sum(axis=0) / length.sum()
    sums = resampled_sums(np.column_stack([values[:, 1] * length, length]))
    a, b, c, d, e = mean.tolist()
    return (a, b, c, d, e), interval(sums[:, 0] / sums[:, 1])
