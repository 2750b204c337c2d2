"""How wide the net's probabilities draw cracks whose width is known exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import require
from crackmap.pipeline.evaluating.pictures import drawn_mask, judged, panels, write_png
from crackmap.stages.metrics_widths import WIDTH_CLASSES_PX, WidthPieces, WidthScores, score_widths, width_pieces
from crackmap.stages.render.paths import CrackPath, random_crack
from crackmap.stages.render.scene import coverage, paint_cracks, photograph, regular_crack
from crackmap.stages.render.surface import procedural_road
from crackmap.stages.segment.segmenter import Segmenter
from crackmap.stages.segment.settings import SegmentSettings
from crackmap.stages.tiling import ArraySource

SIDE_PX = 384

_OF_FOUND_PIECES = (
    "true_px", "area_bias_px", "area_mae_px", "mask_bias_px", "mask_mae_px", "area_bias_interval_px",
)  # fmt: skip

Progress = Callable[[int, int, str], None]


def evaluate_widths(
    segmenter: Segmenter,
    *,
    count: int,
    seed: int,
    pictures: Path | None = None,
    progress: Progress | None = None,
) -> list[WidthScores]:
    """Width errors by class of drawn width, over `count` drawn pictures for each class.

    Each picture is a plain road surface with one crack of random course and depth. The crack's outline is drawn with
    exact coverage, so the truth holds no error.

    Raises:
        InputError: `count` is below 1.
        StorageError: a picture cannot be written.
    """
    require(count >= 1, "count", "1 or more", count)
    pieces: list[WidthPieces] = []
    classes = list(pairwise(WIDTH_CLASSES_PX))
    for place, (low, high) in enumerate(classes):
        for number in range(count):
            rng = np.random.default_rng((seed, int(10 * low), number))
            picture, crack, covered = drawn_crack(rng, width_px=float(np.exp(rng.uniform(np.log(low), np.log(high)))))
            probability = segmenter.segment(ArraySource(picture), None, SegmentSettings()).dense() / np.float32(255)
            pieces.append(width_pieces(crack.xy_px, crack.width_px, covered, probability))
            name = f"width_{low:g}_{high:g}_px_{number:02d}"
            if pictures is not None:
                judgement = judged(picture, probability >= 0.5, covered >= 0.5)
                parts = [("image", picture), ("drawn", drawn_mask(covered >= 0.5)), ("right, false, missed", judgement)]
                write_png(pictures, name, panels(parts, columns=3))
            if progress is not None:
                progress(place * count + number + 1, len(classes) * count, name)
    return score_widths(pieces)


def drawn_crack(
    rng: np.random.Generator, *, width_px: float
) -> tuple[NDArray[np.uint8], CrackPath, NDArray[np.float32]]:
    """A picture of SIDE_PX with one crack of about `width_px`: the picture, the crack and its exact coverage."""
    size = (SIDE_PX, SIDE_PX)
    image = procedural_road(rng, size)
    while True:
        wanders = rng.random() < 0.5
        crack = random_crack(rng, size, width_px=width_px) if wanders else regular_crack(rng, size, width_px)
        covered = coverage([crack], size)
        # A course may miss the picture.
        if covered.sum() > 0.3 * SIDE_PX * width_px:
            break
    paint_cracks(rng, image, covered, float(crack.width_px.max()))
    return photograph(rng, image), crack, covered


def width_report(scores: Sequence[WidthScores]) -> list[dict[str, Any]]:
    """The scores as plain values, ready for JSON: None for the errors of a class of which no piece is found."""
    return [_report(item) for item in scores]


def _report(item: WidthScores) -> dict[str, Any]:
    row = asdict(item)
    if math.isnan(item.true_px):
        row |= dict.fromkeys(_OF_FOUND_PIECES)
    return row


def width_table(scores: Sequence[WidthScores]) -> str:
    """The scores as a table for the terminal."""
    lines = ["true width    length px   found   mean   bias (area) [95 %]          MAE   bias (mask)   MAE"]
    for item in scores:
        start = f"{item.limits_px[0]:>3g} - {item.limits_px[1]:<3g} px {item.length_px:11,.0f} {item.found_share:7.3f}"
        if math.isnan(item.true_px):
            lines.append(f"{start}      -  no piece found for more than half of its length")
            continue
        low, high = item.area_bias_interval_px
        lines.append(
            f"{start} {item.true_px:6.2f} {item.area_bias_px:+12.3f} [{low:+.3f}, {high:+.3f}] {item.area_mae_px:6.3f}"
            f" {item.mask_bias_px:+12.3f} {item.mask_mae_px:6.3f}"
        )
    lines.append("bias and MAE in px over pieces found for more than half of their length; area: sum of probability")
    return "\n".join(lines)
