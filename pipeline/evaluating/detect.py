"""Scores of the first stage on a labelled split, at one score and over all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crackmap.pipeline.evaluating.pictures import Rgb, boxed, drawn_mask, heat, judged_regions, panels, write_png
from crackmap.pipeline.evaluating.scored import scored_split
from crackmap.stages import plots
from crackmap.stages.detect.detector import Detector
from crackmap.stages.detect.settings import DetectSettings
from crackmap.stages.metrics_bootstrap import Interval
from crackmap.stages.metrics_detection import (
    LENGTH_WANTED,
    LEVELS,
    DetectionCounts,
    DetectionScores,
    area_for_length,
    count_detection,
    detection_intervals,
    score_curve,
    score_map,
)
from crackmap.stages.records import Region
from crackmap.stages.tiling import ArraySource

LEAST_SCORE = 0.05
"""The nets keep no box below it, so the curve starts there."""

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class DetectEvaluation:
    """All scores of a detector on a split.

    Attributes:
        at_score: at the score asked for.
        intervals: its 95 % intervals, by field.
        curve: from the lowest score to the highest.
        enough: the point of the curve with the least area that passes LENGTH_WANTED of the length; None if none does.
        images: counts of each image at the score asked for, by name.
    """

    at_score: DetectionScores
    intervals: dict[str, Interval]
    curve: tuple[DetectionScores, ...]
    enough: DetectionScores | None
    images: dict[str, DetectionScores]


def evaluate_detect(
    detector: Detector,
    *,
    data_set: str,
    split: str,
    data: Path | None,
    score: float,
    margin_px: float,
    grow_px: float = 0.0,
    pictures: Path | None = None,
    progress: Progress | None = None,
) -> DetectEvaluation:
    """Scores of a detector over one split; the net runs once an image.

    Args:
        detector: the net.
        data_set: name of the set.
        split: "train", "val", "test" or "all" of it.
        data: folder of the public sets.
        score: least score of the regions of the main figures.
        margin_px: regions are grown by it before their cells are passed on.
        grow_px: boxes are grown by it before anything is counted.
        pictures: folder for pictures of each image five ways, and of the curve.
        progress: told (done, total, name) after every image.

    Raises:
        InputError: no such set or split, no crack pixel in it, or a score the detector cannot have.
        StorageError: a picture cannot be written.
    """
    settings = DetectSettings(score=min(score, LEAST_SCORE), grow_px=grow_px)
    levels = sorted({score, *LEVELS[settings.score <= LEVELS].tolist()})
    counts: dict[str, DetectionCounts] = {}
    listed = scored_split(data_set, split, data)
    for done, image in enumerate(listed, start=1):
        labels = image.read()
        regions = detector.detect(ArraySource(labels.image), settings)
        known = labels.weight > 0
        counts[image.name] = count_detection(regions, labels.crack, scores=levels, margin_px=margin_px, known=known)
        if pictures is not None:
            kept = [region for region in regions if region.score >= score]
            write_png(pictures, image.name, five_ways(labels.image, kept, regions, labels.crack & known))
        if progress is not None:
            progress(done, len(listed), image.name)
    curve, row = score_curve(list(counts.values()), levels), levels.index(score)
    result = DetectEvaluation(
        curve[row],
        detection_intervals(list(counts.values()), row),
        tuple(curve),
        area_for_length(curve),
        {name: score_curve([DetectionCounts(item.table[[row]])], [score])[0] for name, item in counts.items()},
    )
    if pictures is not None:
        plots.draw_length_over_area(
            pictures / "length_over_area.png", curve, title=f"{data_set} {split}", score=score
        )  # fmt: skip
    return result


def five_ways(rgb: Rgb, kept: Sequence[Region], regions: Sequence[Region], true: NDArray[np.bool_]) -> Rgb:
    """Image, boxes, confidence heat map, truth, and right / false / missed, as the RetinaNet paper shows them."""
    scores = score_map(regions, (true.shape[1], true.shape[0]))
    return panels(
        (
            ("image", rgb),
            (f"{len(kept)} boxes", boxed(rgb, kept)),
            (f"score, highest {scores.max():.2f}", heat(rgb, scores)),
            ("truth", drawn_mask(true)),
            ("crack in boxes green, outside blue; boxes without crack red", judged_regions(rgb, kept, true)),
        ),
        columns=3,
    )


def detection_report(result: DetectEvaluation) -> dict[str, Any]:
    """The scores as plain values, ready for JSON."""
    return {
        "at_score": asdict(result.at_score),
        "interval_95": result.intervals,
        "length_wanted": LENGTH_WANTED,
        "least_area_for_length_wanted": None if result.enough is None else asdict(result.enough),
        "curve": [asdict(point) for point in result.curve],
        "images": [{"image": name, **asdict(item)} for name, item in result.images.items()],
    }


def detection_table(result: DetectEvaluation) -> str:
    """The scores as a table for the terminal."""
    scores = result.at_score
    rows = (
        ("precision of boxes (Pr)", "precision"),
        ("crack pixels outside boxes (Es)", "segmentation_error"),
        ("data reduction (1 - area of boxes)", "reduction"),
        ("share of crack length passed on", "length_share"),
        ("share of image area passed on", "area_share"),
        ("share of crack length in plain boxes", "length_share_boxes"),
    )
    lines = []
    for label, name in rows:
        low, high = result.intervals[name]
        lines.append(f"{label:<40} {getattr(scores, name):7.4f}  [{low:.4f}, {high:.4f}]")
    wanted = f"area for {LENGTH_WANTED:.0%} of the length"
    if result.enough is None:
        least = result.curve[0]
        lines.append(f"{wanted:<40} not reached: {least.length_share:.4f} in {least.area_share:.4f} at {least.score:g}")
    else:
        lines.append(f"{wanted:<40} {result.enough.area_share:7.4f}  at score {result.enough.score:g}")
    return "\n".join(lines)
