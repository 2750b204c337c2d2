"""How good the nets are on a labelled data set: scores, and pictures of right, false and missed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.stages.datasets.sources import LabelledImage, load_split
from crackmap.stages.detect.detector import Detector, DetectSettings
from crackmap.stages.metrics import (
    DetectionScores,
    SegmentationScores,
    count_detection,
    near,
    score_detection,
    score_segmentation,
)
from crackmap.stages.regions import cells_of_regions, pixels_of_cells
from crackmap.stages.segment.segmenter import Segmenter, SegmentSettings
from crackmap.stages.tiling import ArraySource

PICTURE_TOLERANCE_PX = 5


def evaluate_segment(
    segmenter: Segmenter,
    *,
    data_set: str,
    split: str,
    data: Path,
    settings: SegmentSettings | None = None,
    pictures: Path | None = None,
) -> SegmentationScores:
    """Scores of a segmenter over whole images of one split; pictures go to the folder `pictures` if given."""
    settings = settings or SegmentSettings()

    def pairs() -> Iterator[tuple[NDArray[np.floating], NDArray[np.bool_]]]:
        for image in load_split(data_set, split, data):
            labels = image.read()
            probability = segmenter.segment(ArraySource(labels.image), None, settings).dense() / np.float32(255)
            if pictures is not None:
                _write_picture(pictures, image, labels.image, probability >= 0.5, labels.crack)
            # Labels that say nothing about a pixel (weight 0) count neither for nor against.
            unknown = labels.weight == 0
            yield np.where(unknown, 0.0, probability), labels.crack & ~unknown

    return score_segmentation(pairs())


def evaluate_detect(
    detector: Detector,
    *,
    data_set: str,
    split: str,
    data: Path,
    settings: DetectSettings,
    margin_px: float,
) -> DetectionScores:
    """Scores of a detector over one split at `settings.score`, with regions grown by `margin_px`."""
    counts = []
    for image in load_split(data_set, split, data):
        labels = image.read()
        source = ArraySource(labels.image)
        regions = detector.detect(source, settings)
        boxes = np.array([region.box_xyxy_px for region in regions]).reshape(-1, 4)
        cells = cells_of_regions(regions, source.size_wh_px, margin_px=margin_px)
        counts.append(count_detection(boxes, pixels_of_cells(cells, source.size_wh_px), labels.crack))
    return score_detection(counts)


def segmentation_report(scores: SegmentationScores) -> dict[str, Any]:
    """The scores as nested plain values, ready for JSON."""
    at_half = {
        f"tolerance_{t}px": {name: getattr(counts, name) for name in ("precision", "recall", "f1", "iou")}
        for t, counts in scores.at_half.items()
    }
    return {
        "crack_class_at_0.5": at_half,
        "best_f1_one_threshold": {f"tolerance_{t}px": {"f1": f1, "threshold": p} for t, (f1, p) in scores.ods.items()},
        "best_f1_per_image": {f"tolerance_{t}px": f1 for t, f1 in scores.ois.items()},
        "cl_iou_4px": scores.centrelines.iou,
        "paper_style": scores.paper_style,
    }


def segmentation_table(scores: SegmentationScores) -> str:
    """The scores as a table for the terminal."""
    lines = ["crack class          precision  recall      F1     IoU   best F1 (set, at)  best F1 (image)"]
    for tolerance, counts in scores.at_half.items():
        name = "strict" if tolerance == 0 else f"within {tolerance} px"
        best, at = scores.ods[tolerance]
        iou = f"{counts.iou:7.3f}" if tolerance == 0 else "      -"
        lines.append(
            f"{name:<20} {counts.precision:9.3f} {counts.recall:7.3f} {counts.f1:7.3f} {iou}"
            f" {best:11.3f} ({at:.2f}) {scores.ois[tolerance]:16.3f}"
        )
    lines.append(f"centreline IoU, 4 px {scores.centrelines.iou:9.3f}")
    paper = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in scores.paper_style.items())
    lines.append(f"paper-style (background counts): {paper}")
    return "\n".join(lines)


def detection_table(scores: DetectionScores) -> str:
    """The scores as a table for the terminal."""
    return "\n".join(
        (
            f"precision of boxes (Pr)                  {scores.precision:7.4f}",
            f"crack pixels outside boxes (Es)          {scores.segmentation_error:7.4f}",
            f"data reduction (1 - area of boxes)       {scores.reduction:7.4f}",
            f"share of crack length passed on          {scores.length_share:7.4f}",
            f"share of image area passed on            {scores.area_share:7.4f}",
        )
    )


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Writes a report as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def detection_report(scores: DetectionScores) -> dict[str, Any]:
    """The scores as plain values, ready for JSON."""
    return asdict(scores)


def _write_picture(
    folder: Path, image: LabelledImage, rgb: NDArray[np.uint8], predicted: NDArray[np.bool_], true: NDArray[np.bool_]
) -> None:
    """Image beside a map: right green, false red, missed blue (at PICTURE_TOLERANCE_PX)."""
    folder.mkdir(parents=True, exist_ok=True)
    canvas = (rgb[..., ::-1] * 0.5).astype(np.uint8)
    canvas[predicted & near(true, PICTURE_TOLERANCE_PX)] = (60, 200, 60)
    canvas[predicted & ~near(true, PICTURE_TOLERANCE_PX)] = (60, 60, 235)
    canvas[true & ~near(predicted, PICTURE_TOLERANCE_PX)] = (255, 120, 30)
    _, encoded = cv2.imencode(".png", np.hstack([rgb[..., ::-1], canvas]))
    (folder / f"{image.name}.png").write_bytes(encoded.tobytes())
