"""crackmap evaluate: scores of the nets on a labelled data set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from crackmap.cli.console import echo
from crackmap.cli.options import (
    data_option,
    device_option,
    existing_path,
    gsd_option,
    json_option,
    pictures_option,
    weights_options,
)
from crackmap.cli.progress import frame_progress


@click.group()
def command() -> None:
    """Score the nets on labelled data, and the measurement on roads whose cracks are known.

    docs/evaluation.md defines the measures; docs/weights.md has the scores of the shipped weights, docs/measurement.md
    those of the measurement.
    """


def _set_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--set", "data_set", required=True, help="dnit, paveseg, cracksc, cfd, or FORMAT:PATH."),
        click.option("--split", default="test", show_default=True, help="train, val, test or all."),
        data_option(required=False),
        device_option(),
        json_option(),
        pictures_option("right / false / missed pictures and curves"),
    ):
        function = option(function)
    return function


@command.command()
@_set_options
@weights_options(detect=False)
def segment(
    data_set: str, split: str, data: Path | None, device: str, as_json: bool, segment_weights: Path | None,
    pictures: Path | None,
) -> None:  # fmt: skip
    """Pixel scores of the segmenter: crack, sealed crack where labelled, and what else is called crack."""
    from crackmap.pipeline.evaluating.segment import evaluate_segment, segmentation_report, segmentation_table
    from crackmap.pipeline.nets import weights_of
    from crackmap.stages.segment.segmenter import Segmenter

    segmenter = Segmenter.load(weights_of("segment", segment_weights), device)
    with frame_progress("Segmenting", 1) as progress:
        result = evaluate_segment(
            segmenter, data_set=data_set, split=split, data=data, pictures=pictures, progress=progress
        )  # fmt: skip
    if as_json:
        echo(json.dumps({"set": data_set, "split": split, **segmentation_report(result)}, indent=2))
    else:
        echo(f"segment on {data_set} {split}, whole images, probability 0.5\n{segmentation_table(result)}")


@command.command()
@_set_options
@weights_options(segment=False)
@click.option("--score", default=None, type=click.FloatRange(0.05, 1.0, max_open=True),
              help="Least score of a region; by default that of `crackmap run`.")  # fmt: skip
@click.option("--margin", "margin_px", default=None, type=click.FloatRange(0.0),
              help="Regions grow by this, px, before cells are passed on; by default as `crackmap run`.")  # fmt: skip
@click.option("--grow", "grow_px", default=0.0, show_default=True, type=click.FloatRange(0.0),
              help="Boxes grow by this, px, before anything is counted.")  # fmt: skip
def detect(
    data_set: str, split: str, data: Path | None, device: str, as_json: bool, detect_weights: Path | None,
    score: float | None, margin_px: float | None, grow_px: float, pictures: Path | None,
) -> None:  # fmt: skip
    """Boxes of the detector, and what share of crack length and image area it passes on, at one score and at all."""
    from crackmap.pipeline.evaluating.detect import detection_report, detection_table, evaluate_detect
    from crackmap.pipeline.frame import StageSettings
    from crackmap.pipeline.nets import weights_of
    from crackmap.stages.detect.detector import Detector

    detector, settings = Detector.load(weights_of("detect", detect_weights), device), StageSettings()
    score = settings.detect.score if score is None else score
    margin_px = settings.segment.margin_px if margin_px is None else margin_px
    with frame_progress("Detecting", 1) as progress:
        result = evaluate_detect(
            detector, data_set=data_set, split=split, data=data, score=score, margin_px=margin_px,
            grow_px=grow_px, pictures=pictures, progress=progress,
        )  # fmt: skip
    if as_json:
        report = {
            "set": data_set,
            "split": split,
            "margin_px": margin_px,
            "grow_px": grow_px,
            **detection_report(result),
        }
        echo(json.dumps(report, indent=2))
    else:
        echo(f"detect on {data_set} {split}, score {score:g}, margin {margin_px:g} px\n{detection_table(result)}")


@command.command()
@click.option("--set", "data_sets", required=True, help="Sets with commas: dnit,paveseg; or patches:FOLDER, whose "
              "sub-folders are called Positive and Negative, or alike.")  # fmt: skip
@click.option("--split", default="test", show_default=True, help="train, val or test.")
@data_option(required=False)
@click.option("--screen-weights", required=True, type=existing_path(folder=False), help="Weights of the classifier.")
@click.option("--threshold", default=0.5, show_default=True, type=click.FloatRange(0, 1),
              help="From this probability on a patch counts as cracked.")  # fmt: skip
@click.option("--per-image", type=click.IntRange(2), help="Patches cut from an image, at most; by default as trained.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the patches.")
@device_option()
@json_option()
@pictures_option("confusion matrix, ROC and patches with their heat")
def screen(
    data_sets: str, split: str, data: Path | None, screen_weights: Path, threshold: float, per_image: int | None,
    seed: int, device: str, as_json: bool, pictures: Path | None,
) -> None:  # fmt: skip
    """The patch classifier: confusion matrix, AUC, and whether its heat lies on the crack."""
    from crackmap.pipeline.evaluating.screen import evaluate_screen, screen_report, screen_table
    from crackmap.pipeline.nets import weights_of
    from crackmap.stages.screen.screener import Screener

    screener = Screener.load(weights_of("screen", screen_weights), device)
    names = [name for name in data_sets.split(",") if name]
    result = evaluate_screen(
        screener, data_sets=names, split=split, data=data, threshold=threshold, per_image=per_image, seed=seed,
        pictures=pictures,
    )  # fmt: skip
    if as_json:
        echo(json.dumps({"set": names, "split": split, "seed": seed, **screen_report(result)}, indent=2))
    else:
        echo(f"screen on {', '.join(names)} {split}, threshold {threshold:g}\n{screen_table(result)}")


@command.command("false-cracks")
@click.option("--set", "data_set", help="Score crack-free windows of this labelled set instead of drawn surfaces.")
@click.option("--split", default="val", show_default=True, help="Of --set: train, val, test or all.")
@data_option(required=False)
@click.option("--kind", "kinds", multiple=True, help="What the drawn surfaces show; by default every kind in turn.")
@click.option("--count", default=12, show_default=True, type=click.IntRange(1), help="Drawn pictures of each kind.")
@click.option("--side", "side_px", default=1024, show_default=True, type=click.IntRange(64),
              help="Their side, pixels.")  # fmt: skip
@click.option("--gsd", "gsd_mm", type=click.FloatRange(0.0, min_open=True),
              help="Ground length of a pixel, mm; 2 for drawn surfaces, that of its survey for dnit.")  # fmt: skip
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Of the drawn surfaces.")
@weights_options()
@device_option()
@json_option()
@pictures_option("pictures with something false in them")
def false_cracks(
    data_set: str | None, split: str, data: Path | None, kinds: tuple[str, ...], count: int, side_px: int,
    gsd_mm: float | None, seed: int, detect_weights: Path | None, segment_weights: Path | None, device: str,
    as_json: bool, pictures: Path | None,
) -> None:  # fmt: skip
    """Metres of crack found on crack-free road per 100 m of lane, by the whole path of `crackmap run`.

    \b
    Examples:
      crackmap evaluate false-cracks                          drawn surfaces, a line for each kind
      crackmap evaluate false-cracks --set dnit --split val   windows of real frames without any label
    """
    from crackmap.pipeline.evaluating import false_cracks as module
    from crackmap.pipeline.frame import StageSettings
    from crackmap.pipeline.nets import load_stages

    if data_set is not None and kinds:
        raise click.UsageError("--kind belongs to drawn surfaces; leave it or --set out")
    stages = load_stages(StageSettings(), detect_weights=detect_weights, segment_weights=segment_weights, device=device)
    with frame_progress("Looking", 1) as progress:
        if data_set is not None:
            found = module.false_on_set(stages, data_set=data_set, split=split, data=data, gsd_mm=gsd_mm,
                                        pictures=pictures, progress=progress)  # fmt: skip
        else:
            found = module.false_on_drawn_roads(
                stages, count=count, side_px=side_px, gsd_mm=gsd_mm or module.DRAWN_GSD_MM, seed=seed,
                kinds=kinds, pictures=pictures, progress=progress,
            )  # fmt: skip
    scores = module.score_false_lengths(found)
    if as_json:
        echo(json.dumps(module.false_report(found, scores), indent=2))
    else:
        echo(module.false_table(scores))


@command.command()
@click.option("--count", default=24, show_default=True, type=click.IntRange(1), help="Drawn pictures of each class.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Of the pictures.")
@weights_options(detect=False)
@device_option()
@json_option()
@pictures_option("drawn, right / false / missed pictures")
def widths(
    count: int, seed: int, segment_weights: Path | None, device: str, as_json: bool, pictures: Path | None
) -> None:
    """Width of drawn cracks by the net's probabilities, by class of true width."""
    from crackmap.pipeline.evaluating.widths import evaluate_widths, width_report, width_table
    from crackmap.pipeline.nets import weights_of
    from crackmap.stages.segment.segmenter import Segmenter

    segmenter = Segmenter.load(weights_of("segment", segment_weights), device)
    with frame_progress("Drawing", 1) as progress:
        scores = evaluate_widths(segmenter, count=count, seed=seed, pictures=pictures, progress=progress)
    echo(json.dumps(width_report(scores), indent=2) if as_json else width_table(scores))


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
    from crackmap.pipeline.frame import StageSettings
    from crackmap.pipeline.geometry_errors import report, table
    from crackmap.pipeline.nets import load_stages
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
        echo(json.dumps({"mask": mask_kind, "camera": camera, "seed": seed, **report(errors)}, indent=2))
    else:
        echo(f"measure on {frames} drawn frames, {camera} camera, seed {seed}, mask: {mask_kind}\n{table(errors)}")


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
        echo(json.dumps(survey_report([str(run) for run in runs], errors, repeats), indent=2))
    else:
        echo(survey_table([str(run) for run in runs], errors, repeats))
