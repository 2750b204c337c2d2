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

Mask = NDArray[np.bool_]
TOLERANCES_PX = (0, 2, 5)
CENTRELINE_TOLERANCE_PX = 4
THRESHOLDS = tuple(np.round(np.arange(0.05, 1.0, 0.05), 2).tolist())
"""Thresholds searched for the best F1 (ODS, OIS)."""


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
        """Intersection over union; exact at tolerance 0."""
        union = self.predicted + self.true - self.right
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
class SegmentationScores:
    """Scores of a set of images, crack class.

    Attributes:
        at_half: counts at probability 0.5 by tolerance in pixels.
        centrelines: counts of centrelines at 0.5.
        ods: best F1 over one threshold for the set, by tolerance; with that threshold.
        ois: mean over images of each image's best F1, by tolerance.
        paper_style: overall accuracy, class-averaged and support-weighted precision, recall and F1, mean IoU over
            road and crack: how papers report; the background dominates them.
    """

    at_half: dict[int, Counts]
    centrelines: Counts
    ods: dict[int, tuple[float, float]]
    ois: dict[int, float]
    paper_style: dict[str, float]


def score_segmentation(pairs: Iterable[tuple[NDArray[np.floating], Mask]]) -> SegmentationScores:
    """Scores of (probability, truth) pairs, each (height, width)."""
    totals = {(t, p): Counts() for t in TOLERANCES_PX for p in THRESHOLDS}
    best_per_image: dict[int, list[float]] = {t: [] for t in TOLERANCES_PX}
    centrelines, pixels = Counts(), 0
    for probability, true in pairs:
        near_true = {t: near(true, t) for t in TOLERANCES_PX}
        best = dict.fromkeys(TOLERANCES_PX, 0.0)
        for threshold in THRESHOLDS:
            predicted = probability >= threshold
            for tolerance, counts in _counts_by_tolerance(predicted, true, near_true).items():
                totals[tolerance, threshold] += counts
                best[tolerance] = max(best[tolerance], counts.f1)
        for tolerance, f1 in best.items():
            best_per_image[tolerance].append(f1)
        centrelines += count_centrelines(probability >= 0.5, true)
        pixels += true.size
    at_half = {t: totals[t, 0.5] for t in TOLERANCES_PX}
    ods = {t: max((totals[t, p].f1, p) for p in THRESHOLDS) for t in TOLERANCES_PX}
    ois = {t: float(np.mean(values)) if values else 0.0 for t, values in best_per_image.items()}
    return SegmentationScores(at_half, centrelines, ods, ois, _paper_style(at_half[0], pixels))


def _counts_by_tolerance(predicted: Mask, true: Mask, near_true: dict[int, Mask]) -> dict[int, Counts]:
    n_predicted, n_true = int(np.count_nonzero(predicted)), int(np.count_nonzero(true))
    if not n_predicted:
        return {t: Counts(0, 0, 0, n_true) for t in near_true}
    distance = cv2.distanceTransform((~predicted).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    on_true = distance[true]
    return {
        t: Counts(int(np.count_nonzero(predicted & allowed)), n_predicted, int(np.count_nonzero(on_true <= t)), n_true)
        for t, allowed in near_true.items()
    }


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


@dataclass(frozen=True, slots=True)
class DetectionScores:
    """Scores of the first stage over a set of images.

    Attributes:
        precision: share of boxes that hold crack pixels (Pr).
        segmentation_error: share of crack pixels outside every box (Es).
        reduction: 1 - share of pixels inside the union of boxes.
        length_share: share of crack LENGTH inside the cells passed on.
        area_share: share of the image area passed on.
    """

    precision: float
    segmentation_error: float
    reduction: float
    length_share: float
    area_share: float


@dataclass(frozen=True, slots=True)
class DetectionCounts:
    """What one image adds to DetectionScores."""

    boxes: int
    boxes_with_crack: int
    crack_px: int
    crack_px_in_boxes: int
    pixels: int
    box_px: int
    length_px: int
    length_px_passed: int
    passed_px: int


def count_detection(boxes_xyxy_px: NDArray[np.float64], passed: Mask, true: Mask) -> DetectionCounts:
    """Counts of one image from its boxes (N, 4), the mask of pixels passed on, and the true cracks."""
    inside = np.zeros(true.shape, bool)
    with_crack = 0
    for x0, y0, x1, y1 in np.round(boxes_xyxy_px).astype(int).clip(0).tolist():
        inside[y0:y1, x0:x1] = True
        with_crack += bool(true[y0:y1, x0:x1].any())
    centreline = thin(true)
    return DetectionCounts(
        len(boxes_xyxy_px), with_crack, int(true.sum()), int((true & inside).sum()), true.size, int(inside.sum()),
        int(centreline.sum()), int((centreline & passed).sum()), int(passed.sum()),
    )  # fmt: skip


def score_detection(counts: Sequence[DetectionCounts]) -> DetectionScores:
    """Scores of a set of images from their counts."""

    def ratio(part: str, whole: str, empty: float) -> float:
        total = sum(getattr(item, whole) for item in counts)
        return sum(getattr(item, part) for item in counts) / total if total else empty

    return DetectionScores(
        precision=ratio("boxes_with_crack", "boxes", 1.0),
        segmentation_error=1 - ratio("crack_px_in_boxes", "crack_px", 1.0),
        reduction=1 - ratio("box_px", "pixels", 0.0),
        length_share=ratio("length_px_passed", "length_px", 1.0),
        area_share=ratio("passed_px", "pixels", 0.0),
    )
