"""The measures of the first stage: boxes, the cells passed on, and how both change with the score.

The net runs once an image; every figure at every score comes from the best score over each pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import require
from crackmap.stages.measure.skeleton import thin
from crackmap.stages.metrics_bootstrap import Interval, interval, resampled_sums
from crackmap.stages.records import Region
from crackmap.stages.regions import CELL_PX

Mask = NDArray[np.bool_]
ScoreMap = NDArray[np.float32]

FIELDS = (
    "boxes", "boxes_with_crack", "crack_px", "crack_px_in_boxes", "pixels", "box_px", "length_px", "length_px_in_boxes",
    "length_px_in_cells", "cell_px",
)  # fmt: skip
"""What is counted at each score; "length" is pixels of the truth's centreline."""

LEVELS = np.round(np.concatenate([np.arange(0.01, 0.2, 0.0025), np.arange(0.2, 1.0, 0.01)]), 4)
"""Scores of the curve, finer where nets trained with a focal loss put theirs."""

LENGTH_WANTED = 0.98


def score_map(regions: Sequence[Region], size_wh_px: tuple[int, int]) -> ScoreMap:
    """(height, width) best score of the boxes over each pixel, 0 where there is none: the confidence heat map."""
    scores = np.zeros(size_wh_px[::-1], np.float32)
    for region in sorted(regions, key=lambda item: item.score):
        x0, y0, x1, y1 = pixel_box(region)
        scores[y0:y1, x0:x1] = region.score
    return scores


def pixel_box(region: Region) -> tuple[int, int, int, int]:
    """The region's box rounded to whole pixels: left, top, right, bottom."""
    x0, y0, x1, y1 = np.round(region.box_xyxy_px).astype(int).clip(0).tolist()
    return x0, y0, x1, y1


def cell_score_map(
    regions: Sequence[Region], size_wh_px: tuple[int, int], *, margin_px: float, cell_px: int = CELL_PX
) -> ScoreMap:
    """(height, width) best score of the regions whose box, grown by `margin_px`, touches the pixel's cell.

    Where it is at least s, `cells_of_regions` of the regions of score s and more has its cells.
    """
    width, height = size_wh_px
    cells = np.zeros((-(-height // cell_px), -(-width // cell_px)), np.float32)
    for region in sorted(regions, key=lambda item: item.score):
        low = np.maximum(np.floor((np.array(region.box_xyxy_px[:2]) - margin_px) / cell_px), 0).astype(int)
        high = np.maximum(np.ceil((np.array(region.box_xyxy_px[2:]) + margin_px) / cell_px), 0).astype(int)
        cells[low[1] : high[1], low[0] : high[0]] = region.score
    full = np.repeat(np.repeat(cells, cell_px, axis=0), cell_px, axis=1)
    return np.asarray(full[:height, :width], np.float32)


@dataclass(frozen=True, slots=True)
class DetectionCounts:
    """Counts of one image.

    Attributes:
        table: (scores, fields) int64, FIELDS at each score that was asked for.
    """

    table: NDArray[np.int64]


def count_detection(
    regions: Sequence[Region],
    true: Mask,
    *,
    scores: Sequence[float],
    margin_px: float,
    known: Mask | None = None,
    cell_px: int = CELL_PX,
) -> DetectionCounts:
    """Counts of one image at each of `scores`, from the regions of the lowest one.

    Args:
        regions: what the detector found.
        true: (height, width) crack pixels.
        scores: ascending; at each only regions of at least this score count.
        margin_px: regions are grown by this before their cells are passed on.
        known: where the label says something. Cracks elsewhere do not count, nor boxes without crack half of which
            or more lie elsewhere.
        cell_px: side of a cell.
    """
    size = (true.shape[1], true.shape[0])
    if known is not None:
        true = true & known
    at, boxes = np.asarray(scores, np.float32), score_map(regions, size)
    cells = cell_score_map(regions, size, margin_px=margin_px, cell_px=cell_px)
    centreline = thin(true)
    hits, misses = _hits(regions, true, known)
    columns = {
        "boxes": _at_least(np.array(hits + misses), at),
        "boxes_with_crack": _at_least(np.array(hits), at),
        "crack_px": np.full(len(at), np.count_nonzero(true)),
        "crack_px_in_boxes": _at_least(boxes[true], at),
        "pixels": np.full(len(at), true.size),
        "box_px": _at_least(boxes, at),
        "length_px": np.full(len(at), np.count_nonzero(centreline)),
        "length_px_in_boxes": _at_least(boxes[centreline], at),
        "length_px_in_cells": _at_least(cells[centreline], at),
        "cell_px": _at_least(cells, at),
    }
    return DetectionCounts(np.column_stack([columns[name] for name in FIELDS]).astype(np.int64))


def _hits(regions: Sequence[Region], true: Mask, known: Mask | None) -> tuple[list[float], list[float]]:
    """Scores of the boxes that hold crack, and of those that hold none."""
    hits: list[float] = []
    misses: list[float] = []
    for region in regions:
        x0, y0, x1, y1 = pixel_box(region)
        if true[y0:y1, x0:x1].any():
            hits.append(region.score)
        elif known is None or (inside := known[y0:y1, x0:x1]).size == 0 or inside.mean() > 0.5:
            misses.append(region.score)
    return hits, misses


def _at_least(values: NDArray[np.floating], at: NDArray[np.float32]) -> NDArray[np.int64]:
    """(scores,) how many of `values` are at least each score."""
    ordered = np.sort(values.ravel().astype(np.float32))
    return np.asarray(len(ordered) - np.searchsorted(ordered, at, side="left"), np.int64)


@dataclass(frozen=True, slots=True)
class DetectionScores:
    """Scores of the first stage over a set of images, at one score.

    Attributes:
        score: least score of the boxes counted.
        precision: share of boxes that hold crack pixels (Pr).
        segmentation_error: share of crack pixels outside every box (Es).
        reduction: 1 - share of pixels inside the union of boxes.
        length_share: share of crack LENGTH inside the cells passed on.
        area_share: share of the image area passed on.
        length_share_boxes: share of crack length inside the union of boxes.
    """

    score: float
    precision: float
    segmentation_error: float
    reduction: float
    length_share: float
    area_share: float
    length_share_boxes: float


def score_curve(images: Sequence[DetectionCounts], scores: Sequence[float]) -> list[DetectionScores]:
    """Scores of the set at each score, lowest first; pixels of all images count alike.

    Raises:
        InputError: no image.
    """
    require(len(images) > 0, "images", "the counts of one image or more", 0)
    total = np.sum([image.table for image in images], axis=0).astype(np.float64)
    shares = _shares(total)
    return [
        DetectionScores(float(score), *(float(shares[name][i]) for name in DetectionScores.__slots__[1:]))
        for i, score in enumerate(scores)
    ]


def detection_intervals(images: Sequence[DetectionCounts], row: int, *, seed: int = 0) -> dict[str, Interval]:
    """95 % bootstrap intervals over images of every field of DetectionScores at the score number `row`."""
    sums = resampled_sums(np.stack([image.table[row] for image in images]), seed=seed)
    return {name: interval(values) for name, values in _shares(sums).items()}


def _shares(counts: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The fields of DetectionScores from counts (..., fields)."""

    def ratio(part: str, whole: str, empty: float) -> NDArray[np.float64]:
        over, under = counts[..., FIELDS.index(part)], counts[..., FIELDS.index(whole)]
        return np.divide(over, under, out=np.full_like(over, empty), where=under > 0)

    return {
        "precision": ratio("boxes_with_crack", "boxes", 1.0),
        "segmentation_error": 1 - ratio("crack_px_in_boxes", "crack_px", 1.0),
        "reduction": 1 - ratio("box_px", "pixels", 0.0),
        "length_share": ratio("length_px_in_cells", "length_px", 1.0),
        "area_share": ratio("cell_px", "pixels", 0.0),
        "length_share_boxes": ratio("length_px_in_boxes", "length_px", 1.0),
    }


def area_for_length(curve: Sequence[DetectionScores], wanted: float = LENGTH_WANTED) -> DetectionScores | None:
    """The point of the curve with the highest score that passes `wanted` of the crack length; None if none does."""
    enough = [point for point in curve if point.length_share >= wanted]
    return max(enough, key=lambda point: point.score) if enough else None
