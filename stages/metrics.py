"""The project's measures, defined once: training, `crackmap evaluate` and the benchmarks all use these.

Segmentation scores are of the crack class alone. With a tolerance t a predicted pixel is right if a true one lies
within t pixels, and a true one is found if a predicted one does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import require
from crackmap.stages.measure.skeleton import thin
from crackmap.stages.metrics_bootstrap import Interval, interval, resampled_sums

Mask = NDArray[np.bool_]
TOLERANCES_PX = (0, 2, 5)
CENTRELINE_TOLERANCE_PX = 4
THRESHOLDS = tuple(np.round(np.arange(0.05, 1.0, 0.05), 2).tolist())
"""Thresholds searched for the best F1 (ODS, OIS)."""

LEVELS = 256
"""Steps in which probabilities are kept: those of a CrackMask."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Right and all predicted pixels, found and all true pixels; adds up over images."""

    right: int = 0
    predicted: int = 0
    found: int = 0
    true: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.right + other.right,
            self.predicted + other.predicted,
            self.found + other.found,
            self.true + other.true,
        )

    @property
    def precision(self) -> float:
        """Share of predicted pixels that are right; 1 if none is predicted."""
        return self.right / self.predicted if self.predicted else 1.0

    @property
    def recall(self) -> float:
        """Share of true pixels that are found; 1 if there is none."""
        return self.found / self.true if self.true else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0

    @property
    def iou(self) -> float:
        """Intersection over union. With a tolerance: right over predicted and missed ones, never above 1."""
        union = self.predicted + self.true - self.found
        return self.right / union if union else 1.0


def near(mask: Mask, tolerance_px: float) -> Mask:
    """Pixels within `tolerance_px` of a true pixel of `mask`."""
    if tolerance_px == 0 or not mask.any():
        return mask
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance <= tolerance_px, bool)


def count_pixels(predicted: Mask, true: Mask, *, tolerance_px: float = 0) -> Counts:
    """Counts of one image.

    Raises:
        InputError: the masks differ in shape.
    """
    require(predicted.shape == true.shape, "predicted", f"shape {true.shape}", predicted.shape)
    return Counts(
        int(np.count_nonzero(predicted & near(true, tolerance_px))),
        int(np.count_nonzero(predicted)),
        int(np.count_nonzero(true & near(predicted, tolerance_px))),
        int(np.count_nonzero(true)),
    )


def count_centrelines(predicted: Mask, true: Mask) -> Counts:
    """Counts of the centrelines of both masks at CENTRELINE_TOLERANCE_PX; `.iou` of the sum is clIoU."""
    return count_pixels(thin(predicted), thin(true), tolerance_px=CENTRELINE_TOLERANCE_PX)


@dataclass(frozen=True, slots=True)
class ImageCounts:
    """What one image adds to SegmentationScores; also of a class other than crack.

    Attributes:
        table: (tolerances, thresholds, 4) int64, the fields of Counts by TOLERANCES_PX and THRESHOLDS.
        centrelines: counts of centrelines at probability 0.5.
        levels: (LEVELS, 2) int64, pixels off and on the truth by probability * 255, rounded.
    """

    table: NDArray[np.int64]
    centrelines: Counts
    levels: NDArray[np.int64]

    def at(self, tolerance_px: int, threshold: float = 0.5) -> Counts:
        """Counts at one of TOLERANCES_PX and one of THRESHOLDS."""
        row = self.table[TOLERANCES_PX.index(tolerance_px), THRESHOLDS.index(threshold)]
        return Counts(*row.tolist())

    @property
    def best_f1(self) -> NDArray[np.float64]:
        """(tolerances,) F1 at the threshold that suits this image best."""
        return np.asarray(f1_of(self.table).max(axis=1), np.float64)


def f1_of(counts: NDArray[np.generic]) -> NDArray[np.float64]:
    """(...) F1 of counts (..., 4) in the order of Counts, with its conventions for empty masks."""
    right, predicted, found, true = np.moveaxis(counts.astype(np.float64), -1, 0)
    precision = np.divide(right, predicted, out=np.ones_like(right), where=predicted > 0)
    recall = np.divide(found, true, out=np.ones_like(right), where=true > 0)
    total = precision + recall
    return np.asarray(np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0), np.float64)


def count_image(probability: NDArray[np.floating], true: Mask, known: Mask | None = None) -> ImageCounts:
    """Counts of one image.

    Args:
        probability: (height, width), 0 to 1.
        true: (height, width).
        known: (height, width), where the label says something; elsewhere a pixel counts neither for nor against.

    Raises:
        InputError: the arrays differ in shape.
    """
    require(probability.shape == true.shape, "probability", f"shape {true.shape}", probability.shape)
    if known is not None:
        require(known.shape == true.shape, "known", f"shape {true.shape}", known.shape)
        probability, true = np.where(known, probability, 0.0), true & known
    near_true = {t: near(true, t) for t in TOLERANCES_PX}
    table = np.zeros((len(TOLERANCES_PX), len(THRESHOLDS), 4), np.int64)
    for column, threshold in enumerate(THRESHOLDS):
        table[:, column] = _rows_by_tolerance(probability >= threshold, true, near_true)
    level = np.rint(probability * (LEVELS - 1)).astype(np.int64) * 2 + true
    counted = level.ravel() if known is None else level[known]
    levels = np.bincount(counted, minlength=2 * LEVELS).reshape(LEVELS, 2)
    return ImageCounts(table, count_centrelines(probability >= 0.5, true), levels)


def _rows_by_tolerance(predicted: Mask, true: Mask, near_true: dict[int, Mask]) -> list[tuple[int, int, int, int]]:
    n_predicted, n_true = int(np.count_nonzero(predicted)), int(np.count_nonzero(true))
    if not n_predicted:
        return [(0, 0, 0, n_true) for _ in near_true]
    distance = cv2.distanceTransform((~predicted).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    on_true = distance[true]
    return [
        (int(np.count_nonzero(predicted & allowed)), n_predicted, int(np.count_nonzero(on_true <= t)), n_true)
        for t, allowed in near_true.items()
    ]


@dataclass(frozen=True, slots=True)
class SegmentationScores:
    """Scores of a set of images, one class.

    Attributes:
        at_half: counts at probability 0.5 by tolerance in pixels.
        centrelines: counts of centrelines at 0.5.
        ods: best F1 over one threshold for the set, by tolerance; with that threshold.
        ois: mean over images of each image's best F1, by tolerance.
        paper_style: overall accuracy, class-averaged and support-weighted precision, recall and F1, mean IoU over
            road and crack: how papers report; the background dominates them.
        curve: by tolerance, (threshold, precision, recall) of the whole set, thresholds ascending.
        levels: (LEVELS, 2) pixels off and on the truth by probability * 255.
    """

    at_half: dict[int, Counts]
    centrelines: Counts
    ods: dict[int, tuple[float, float]]
    ois: dict[int, float]
    paper_style: dict[str, float]
    curve: dict[int, list[tuple[float, float, float]]]
    levels: NDArray[np.int64]


def score_segmentation(pairs: Iterable[tuple[NDArray[np.floating], Mask]]) -> SegmentationScores:
    """Scores of (probability, truth) pairs, each (height, width)."""
    return score_images([count_image(probability, true) for probability, true in pairs])


def score_images(images: Sequence[ImageCounts]) -> SegmentationScores:
    """Scores of a set from the counts of its images; pixels of all images count alike.

    Raises:
        InputError: no image.
    """
    require(len(images) > 0, "images", "the counts of one image or more", 0)
    total = np.sum([image.table for image in images], axis=0)
    levels = np.sum([image.levels for image in images], axis=0)
    best = np.mean([image.best_f1 for image in images], axis=0)
    rows = {t: [Counts(*row) for row in total[i].tolist()] for i, t in enumerate(TOLERANCES_PX)}
    at_half = {t: rows[t][THRESHOLDS.index(0.5)] for t in TOLERANCES_PX}
    return SegmentationScores(
        at_half=at_half,
        centrelines=sum((image.centrelines for image in images), Counts()),
        ods={t: max((c.f1, p) for c, p in zip(rows[t], THRESHOLDS, strict=True)) for t in TOLERANCES_PX},
        ois={t: float(best[i]) for i, t in enumerate(TOLERANCES_PX)},
        paper_style=_paper_style(at_half[0], int(levels.sum())),
        curve={
            t: [(p, c.precision, c.recall) for c, p in zip(rows[t], THRESHOLDS, strict=True)] for t in TOLERANCES_PX
        },
        levels=levels,
    )


def segmentation_intervals(images: Sequence[ImageCounts], *, seed: int = 0) -> dict[str, Interval]:
    """95 % bootstrap intervals over images of precision, recall, F1, best F1 and clIoU.

    Returns:
        By name, "precision_2px" for probability 0.5, "ods_2px", "ois_2px", "cl_iou_4px".
    """
    sums = resampled_sums(np.stack([image.table for image in images]), seed=seed)
    best = resampled_sums(np.stack([np.append(image.best_f1, 1.0) for image in images]), seed=seed)
    lines = resampled_sums(np.array([_fields(image.centrelines) for image in images]), seed=seed)
    half, result = THRESHOLDS.index(0.5), {}
    for i, t in enumerate(TOLERANCES_PX):
        right, predicted, found, true = np.moveaxis(sums[:, i, half], -1, 0)
        result[f"precision_{t}px"] = interval(_ratio(right, predicted))
        result[f"recall_{t}px"] = interval(_ratio(found, true))
        result[f"f1_{t}px"] = interval(f1_of(sums[:, i, half]))
        result[f"ods_{t}px"] = interval(f1_of(sums[:, i]).max(axis=1))
        result[f"ois_{t}px"] = interval(best[:, i] / best[:, -1])
    right, predicted, found, true = lines.T
    result["cl_iou_4px"] = interval(_ratio(right, predicted + true - found))
    return result


def _fields(counts: Counts) -> tuple[int, int, int, int]:
    return counts.right, counts.predicted, counts.found, counts.true


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.ones_like(part), where=whole > 0)


def _paper_style(crack: Counts, pixels: int) -> dict[str, float]:
    wrong = crack.predicted + crack.true - 2 * crack.right
    road_right = pixels - crack.predicted - crack.true + crack.right
    road = Counts(road_right, pixels - crack.predicted, road_right, pixels - crack.true)
    share = crack.true / pixels if pixels else 0.0
    scores = {"overall_accuracy": 1 - wrong / pixels if pixels else 1.0, "mean_iou": (crack.iou + road.iou) / 2}
    for name in ("precision", "recall", "f1"):
        of_crack, of_road = getattr(crack, name), getattr(road, name)
        scores[f"class_averaged_{name}"] = (of_crack + of_road) / 2
        scores[f"support_weighted_{name}"] = share * of_crack + (1 - share) * of_road
    return scores
