"""Measures of a classifier with two classes: part of the project's measures (stages.metrics)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import require


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Scores of a classifier over a set; "positive" = cracked.

    Attributes:
        true_positive, false_positive, false_negative, true_negative: the confusion matrix at `threshold`.
        threshold: from this probability on an item counts as positive.
        auc: area under the ROC: the chance that a positive item scores above a negative one, ties half.
        roc_fpr_tpr: (N, 2) false and true positive rate at every threshold that changes them, from (0, 0) to (1, 1).
    """

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int
    threshold: float
    auc: float
    roc_fpr_tpr: NDArray[np.float64]

    @property
    def accuracy(self) -> float:
        """Share of items that are right."""
        right = self.true_positive + self.true_negative
        return right / (right + self.false_positive + self.false_negative)

    @property
    def precision(self) -> float:
        """Share of items called positive that are; 1 if none is called so."""
        called = self.true_positive + self.false_positive
        return self.true_positive / called if called else 1.0

    @property
    def recall(self) -> float:
        """Share of positive items that are found."""
        return self.true_positive / (self.true_positive + self.false_negative)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        wrong = self.false_positive + self.false_negative
        return 2 * self.true_positive / (2 * self.true_positive + wrong)


def score_classes(
    probabilities: NDArray[np.float64], positive: NDArray[np.bool_], *, threshold: float = 0.5
) -> ClassScores:
    """Scores of (N,) probabilities against (N,) truth.

    Raises:
        InputError: the lengths differ, or one of the two classes is missing: there is no ROC then.
    """
    require(probabilities.shape == positive.shape, "probabilities", f"shape {positive.shape}", probabilities.shape)
    count = int(positive.sum())
    require(0 < count < len(positive), "positive items", f"some but not all of {len(positive)}", count)
    called = probabilities >= threshold
    roc = roc_points(probabilities, positive)
    return ClassScores(
        int((called & positive).sum()), int((called & ~positive).sum()), int((~called & positive).sum()),
        int((~called & ~positive).sum()), threshold, float(np.trapezoid(roc[:, 1], roc[:, 0])), roc,
    )  # fmt: skip


def roc_points(probabilities: NDArray[np.float64], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N, 2) false and true positive rate, one point for each distinct probability, and (0, 0) in front."""
    order = np.argsort(-probabilities, kind="stable")
    sorted_probabilities, sorted_positive = probabilities[order], positive[order]
    # Equal probabilities cannot be told apart: the curve goes straight from before them to behind them.
    ends = np.append(np.flatnonzero(np.diff(sorted_probabilities)), len(order) - 1)
    true_positives = np.cumsum(sorted_positive)[ends]
    false_positives = ends + 1 - true_positives
    points = np.column_stack([false_positives / (~positive).sum(), true_positives / positive.sum()])
    return np.vstack([[0.0, 0.0], points])
