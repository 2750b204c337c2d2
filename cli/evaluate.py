"""crackmap evaluate: scores of the nets on a labelled data set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from crackmap.cli.options import data_option, device_option, existing_path, gsd_option, json_option, weights_options
from crackmap.cli.progress import frame_progress


@click.group()
def command() -> None:
    """Score the nets on labelled data, and the measurement on roads whose cracks are known.

    docs/weights.md has the scores of the shipped weights, docs/measurement.md those of the measurement.
    """


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


@command.command()
@click.option("--mask", "mask_kind", default="fat", show_default=True,
              type=click.Choice(["exact", "binary", "fat", "mask-only", "nets"]),
              help="Where the mask comes from: exact coverage; half covered and more; that, 2 px too fat; half covered "
                   "and without the picture; the nets.")  # fmt: skip
@click.option("--camera", default="downward", show_default=True, type=click.Choice(["downward", "forward"]),
              help="Which camera drives over the drawn road.")  # fmt: skip
@gsd_option()
@click.option("--frames", default=24, show_default=True, type=click.IntRange(2), help="Number of frames drawn.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Of the road.")
@weights_options()
@device_option()
@json_option()
def measure(
    mask_kind: str, camera: str, gsd_mm: float | tuple[float, float] | None, frames: int, seed: int,
    detect_weights: Path | None, segment_weights: Path | None, device: str, as_json: bool,
) -> None:  # fmt: skip
    """Errors of length, width and direction on drawn frames, crack by crack.

    \b
    Examples:
      crackmap evaluate measure                         a mask 2 px too fat, widths from the picture
      crackmap evaluate measure --camera forward --mask nets
      crackmap evaluate measure --gsd 1,2.5 --mask exact
    """
    from crackmap.pipeline.evaluate_measure import evaluate_measure
    from crackmap.pipeline.frame import StageSettings, load_stages
    from crackmap.pipeline.geometry_errors import report, table
    from crackmap.pipeline.synthetic import SyntheticSettings

    if camera == "forward" and gsd_mm is not None:
        raise click.UsageError("--gsd belongs to --camera downward; the pixels of a forward camera grow with distance")
    stages = None
    if mask_kind == "nets":
        stages = load_stages(
            StageSettings(), detect_weights=detect_weights, segment_weights=segment_weights, device=device
        )
    settings = SyntheticSettings(
        frames=frames, seed=seed, camera="forward" if camera == "forward" else "downward",
        gsd_mm=2.0 if gsd_mm is None else gsd_mm,
    )  # fmt: skip
    with frame_progress("Measuring", frames) as progress:
        errors = evaluate_measure(settings, mask_kind=mask_kind, stages=stages, progress=progress)
    if as_json:
        click.echo(json.dumps({"mask": mask_kind, "camera": camera, "seed": seed, **report(errors)}, indent=2))
    else:
        click.echo(
            f"measure on {frames} drawn frames, {camera} camera, seed {seed}, mask: {mask_kind}\n{table(errors)}"
        )


@command.command()
@click.argument("truth", type=existing_path())
@click.argument("runs", nargs=-1, required=True, type=existing_path(folder=True))
@click.option("--length", "section_length_m", default=100.0, show_default=True, type=click.FloatRange(1.0),
              help="Length of the compared sections, m.")  # fmt: skip
@json_option()
def survey(truth: Path, runs: tuple[Path, ...], section_length_m: float, as_json: bool) -> None:
    """Finished runs against the TRUTH of a synthetic survey, section by section.

    RUNS are -o folders of `crackmap run`. Several, of several passes over the same road, are also compared with the
    first: that is the repeatability.

    \b
    Example:
      crackmap synth road --passes 2 --frames 60
      crackmap run road/pass1 -o one && crackmap run road/pass2 -o two
      crackmap evaluate survey road/pass1 one two
    """
    from crackmap.pipeline.evaluate_survey import evaluate_surveys, survey_report, survey_table

    errors, repeats = evaluate_surveys(truth, runs, section_length_m=section_length_m)
    if as_json:
        click.echo(json.dumps(survey_report([str(run) for run in runs], errors, repeats), indent=2))
    else:
        click.echo(survey_table([str(run) for run in runs], errors, repeats))
