"""Pixel scores of the segmenter on a labelled split: crack, other classes, and what else is called crack."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.pipeline.evaluating.pictures import judged, panels, write_png
from crackmap.pipeline.evaluating.scored import scored_split
from crackmap.stages import plots
from crackmap.stages.datasets.sources import Labels
from crackmap.stages.metrics import (
    TOLERANCES_PX,
    ImageCounts,
    SegmentationScores,
    count_image,
    near,
    score_images,
    segmentation_intervals,
)
from crackmap.stages.metrics_bootstrap import Interval, interval, resampled_sums
from crackmap.stages.metrics_reliability import Reliability, reliability
from crackmap.stages.segment.segmenter import Segmenter
from crackmap.stages.segment.settings import CRACK, SegmentSettings
from crackmap.stages.tiling import ArraySource

Mask = NDArray[np.bool_]
Progress = Callable[[int, int, str], None]

EDGE_PX = 4.0
"""Half-width of the band along the outline of a patch in which its edge is scored."""

NEAR_CRACK_PX = 2.0
"""Pixels of other things this close to a labelled crack are not scored: the crack may be drawn beside its place."""

PATCH, PATCH_EDGE = "patch", "patch edge"


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Scores of one class.

    Attributes:
        scores: of the whole set.
        intervals: 95 % intervals by name of the figure.
        reliability: of the probabilities, strict.
        images: counts of each image, by name in the order of the set.
    """

    scores: SegmentationScores
    intervals: dict[str, Interval]
    reliability: Reliability
    images: dict[str, ImageCounts]


@dataclass(frozen=True, slots=True)
class OtherScores:
    """How much of something that is no crack is called crack.

    Attributes:
        pixels: labelled pixels, over all images.
        share: of them with a crack probability of 0.5 and more.
        interval: its 95 % interval, over the images that show the thing.
        images: images that show it.
    """

    pixels: int
    share: float
    interval: Interval
    images: int


@dataclass(frozen=True, slots=True)
class SegmentEvaluation:
    """All scores of a segmenter on a split: by class, as far as the split shows it, and by name of what is no crack."""

    classes: dict[str, ClassScores]
    others: dict[str, OtherScores]


def evaluate_segment(
    segmenter: Segmenter,
    *,
    data_set: str,
    split: str,
    data: Path | None,
    settings: SegmentSettings | None = None,
    pictures: Path | None = None,
    progress: Progress | None = None,
) -> SegmentEvaluation:
    """Scores of a segmenter over whole images of one split.

    Args:
        segmenter: the net.
        data_set: name of the set.
        split: "train", "val", "test" or "all" of it.
        data: folder of the public sets.
        settings: how it looks at an image.
        pictures: folder for right / false / missed pictures, precision-recall curves and reliability diagrams.
        progress: told (done, total, name) after every image.

    Raises:
        InputError: no such set or split, or no crack pixel in it.
        StorageError: a picture cannot be written.
    """
    settings = settings or SegmentSettings()
    counts: dict[str, dict[str, ImageCounts]] = defaultdict(dict)
    others: dict[str, list[tuple[int, int]]] = defaultdict(list)
    listed = scored_split(data_set, split, data)
    for done, image in enumerate(listed, start=1):
        labels = image.read()
        masks = segmenter.segment_classes(ArraySource(labels.image), None, settings)
        known = labels.weight > 0
        for name, true in {CRACK: labels.crack, **labels.others}.items():
            if name in masks:
                counts[name][image.name] = count_image(masks[name].dense() / np.float32(255), true, known)
        called = (masks[CRACK].dense() >= 128) & known
        for name, part in scored_others(labels).items():
            others[name].append((int(np.count_nonzero(called & part)), int(np.count_nonzero(part))))
        if pictures is not None:
            parts = [("image", labels.image), ("right green, false red, missed blue (5 px)",
                                               judged(labels.image, called, labels.crack & known))]  # fmt: skip
            write_png(pictures, image.name, panels(parts, columns=2))
        if progress is not None:
            progress(done, len(listed), image.name)
    result = SegmentEvaluation(
        {
            name: _class_scores(images)
            for name, images in counts.items()
            if any(one.at(0).true for one in images.values())
        },
        {name: _other_scores(pairs) for name, pairs in others.items()},
    )
    if pictures is not None:
        _draw_curves(result, pictures, f"{data_set} {split}")
    return result


def scored_others(labels: Labels) -> dict[str, Mask]:
    """What is no crack, by name, as far as the labels leave no doubt; with the edges of patches by themselves.

    Left out: pixels whose label says nothing, labelled cracks, and NEAR_CRACK_PX around them.
    """
    clear = (labels.weight > 0) & ~near(labels.crack, NEAR_CRACK_PX)
    parts = {name: mask & clear for name, mask in labels.others.items()}
    if PATCH in labels.others:
        parts[PATCH_EDGE] = _edge(labels.others[PATCH]) & clear
    return parts


def _edge(mask: Mask) -> Mask:
    """Pixels on both sides within EDGE_PX of the outline; the border of the picture is no outline."""
    if not mask.any() or mask.all():
        return np.zeros(mask.shape, bool)
    inner, outer = (
        cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for side in (mask, ~mask)
    )
    # Distances count from pixel centres: the outline lies half a pixel nearer.
    return np.asarray((inner + outer) - 0.5 <= EDGE_PX, bool)


def _class_scores(images: dict[str, ImageCounts]) -> ClassScores:
    counts = list(images.values())
    scores = score_images(counts)
    return ClassScores(scores, segmentation_intervals(counts), reliability(scores.levels), images)


def _other_scores(pairs: list[tuple[int, int]]) -> OtherScores:
    seen = np.array([pair for pair in pairs if pair[1]], float).reshape(-1, 2)
    if not len(seen):
        return OtherScores(0, 0.0, (0.0, 0.0), 0)
    called, pixels = seen.sum(axis=0)
    sums = resampled_sums(seen)
    return OtherScores(int(pixels), float(called / pixels), interval(sums[:, 0] / sums[:, 1]), len(seen))


def _draw_curves(result: SegmentEvaluation, folder: Path, title: str) -> None:
    for name, item in result.classes.items():
        stem = name.replace(" ", "_")
        plots.draw_precision_recall(folder / f"precision_recall_{stem}.png", item.scores, title=f"{title}, {name}")
        plots.draw_reliability(folder / f"reliability_{stem}.png", item.reliability, title=f"{title}, {name}")


def segmentation_report(result: SegmentEvaluation) -> dict[str, Any]:
    """The scores as nested plain values, ready for JSON."""
    return {
        "classes": {name: _class_report(item) for name, item in result.classes.items()},
        "called_crack": {
            name: {"share": item.share, "interval_95": item.interval, "pixels": item.pixels, "images": item.images}
            for name, item in result.others.items()
        },
    }


def _class_report(item: ClassScores) -> dict[str, Any]:
    scores = item.scores
    return {
        "at_0.5": {
            f"{t}px": {name: getattr(counts, name) for name in ("precision", "recall", "f1")}
            | ({"iou": counts.iou} if t == 0 else {})
            for t, counts in scores.at_half.items()
        },
        "best_f1_one_threshold": {f"{t}px": {"f1": f1, "threshold": p} for t, (f1, p) in scores.ods.items()},
        "best_f1_per_image": {f"{t}px": f1 for t, f1 in scores.ois.items()},
        "cl_iou_4px": scores.centrelines.iou,
        "paper_style": scores.paper_style,
        "interval_95": item.intervals,
        "curve": {
            f"{t}px": [{"threshold": p, "precision": a, "recall": b} for p, a, b in points]
            for t, points in scores.curve.items()
        },
        "calibration_error": {"all": item.reliability.error, "from_0.05": item.reliability.spoken_error},
        "reliability": [
            {"stated": float(stated), "found": float(found), "pixels": int(pixels)}
            for stated, found, pixels in zip(
                item.reliability.stated, item.reliability.found, item.reliability.pixels, strict=True
            )
            if pixels
        ],
        "images": [_image_row(name, counts) for name, counts in item.images.items()],
    }


def _image_row(name: str, counts: ImageCounts) -> dict[str, Any]:
    row: dict[str, Any] = {"image": name, "true_px": counts.at(0).true, "cl_iou_4px": counts.centrelines.iou}
    for t in TOLERANCES_PX:
        at = counts.at(t)
        row |= {f"precision_{t}px": at.precision, f"recall_{t}px": at.recall, f"f1_{t}px": at.f1}
    return row


def segmentation_table(result: SegmentEvaluation) -> str:
    """The scores as a table for the terminal."""
    blocks = [_class_table(name, item) for name, item in result.classes.items()]
    if result.others:
        lines = [f"{'called crack':<20}    share  [95 %]               pixels  images"]
        for name, item in result.others.items():
            if item.pixels:
                low, high = item.interval
                lines.append(
                    f"{name:<20} {item.share:8.4f}  [{low:.4f}, {high:.4f}] {item.pixels:12,d} {item.images:7d}"
                )
            else:
                lines.append(f"{name:<20}        -  none in this split")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _class_table(class_name: str, item: ClassScores) -> str:
    scores, ends = item.scores, item.intervals
    lines = [f"{class_name:<16} precision  recall      F1  [95 %]            IoU   best F1 (set, at)  best F1 (image)"]
    for tolerance, counts in scores.at_half.items():
        name = "strict" if tolerance == 0 else f"within {tolerance} px"
        best, at = scores.ods[tolerance]
        iou = f"{counts.iou:7.3f}" if tolerance == 0 else "      -"
        low, high = ends[f"f1_{tolerance}px"]
        lines.append(
            f"{name:<16} {counts.precision:9.3f} {counts.recall:7.3f} {counts.f1:7.3f}  [{low:.3f}, {high:.3f}]"
            f" {iou} {best:11.3f} ({at:.2f}) {scores.ois[tolerance]:16.3f}"
        )
    low, high = ends["cl_iou_4px"]
    lines.append(f"centreline IoU, 4 px      {scores.centrelines.iou:16.3f}  [{low:.3f}, {high:.3f}]")
    lines.append(
        f"calibration error {item.reliability.error:.4f}; of pixels from probability 0.05 on "
        f"{item.reliability.spoken_error:.3f}"
    )
    paper = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in scores.paper_style.items())
    lines.append(f"paper-style (background counts): {paper}")
    return "\n".join(lines)
