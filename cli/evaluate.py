"""crackmap evaluate: scores of the nets on a labelled data set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from crackmap.cli.options import data_option, device_option, json_option, weights_options


@click.group()
def command() -> None:
    """Score the nets on a labelled data set (docs/weights.md has the shipped weights' scores)."""


def _set_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--set", "data_set", required=True, help="dnit, paveseg, cracksc or cfd."),
        click.option("--split", default="test", show_default=True, help="train, val, test or all."),
        data_option(),
        device_option(),
        json_option(),
    ):
        function = option(function)
    return function


@command.command()
@_set_options
@weights_options(detect=False)
@click.option("--pictures", type=click.Path(path_type=Path), help="Write right / false / missed pictures there.")
def segment(
    data_set: str, split: str, data: Path, device: str, as_json: bool, segment_weights: Path | None,
    pictures: Path | None,
) -> None:  # fmt: skip
    """Pixel scores of the segmenter, crack class."""
    from crackmap.pipeline import evaluate
    from crackmap.pipeline.frame import weights_of
    from crackmap.stages.segment.segmenter import Segmenter

    segmenter = Segmenter.load(weights_of("segment", segment_weights), device)
    scores = evaluate.evaluate_segment(segmenter, data_set=data_set, split=split, data=data, pictures=pictures)
    if as_json:
        click.echo(json.dumps({"set": data_set, "split": split, **evaluate.segmentation_report(scores)}, indent=2))
    else:
        click.echo(
            f"segment on {data_set} {split}, whole images, probability 0.5\n{evaluate.segmentation_table(scores)}"
        )


@command.command()
@_set_options
@weights_options(segment=False)
@click.option("--score", default=None, type=float, help="Least score of a region; by default that of `crackmap run`.")
def detect(
    data_set: str, split: str, data: Path, device: str, as_json: bool, detect_weights: Path | None,
    score: float | None,
) -> None:  # fmt: skip
    """Boxes of the detector, and what share of crack length and image area it passes on."""
    from crackmap.pipeline import evaluate
    from crackmap.pipeline.frame import StageSettings, weights_of
    from crackmap.stages.detect.detector import Detector, DetectSettings

    detector = Detector.load(weights_of("detect", detect_weights), device)
    settings = StageSettings().detect if score is None else DetectSettings(score=score)
    scores = evaluate.evaluate_detect(
        detector, data_set=data_set, split=split, data=data, settings=settings,
        margin_px=StageSettings().segment.margin_px,
    )  # fmt: skip
    if as_json:
        report = {"set": data_set, "split": split, "score": settings.score, **evaluate.detection_report(scores)}
        click.echo(json.dumps(report, indent=2))
    else:
        click.echo(f"detect on {data_set} {split}, score {settings.score}\n{evaluate.detection_table(scores)}")
