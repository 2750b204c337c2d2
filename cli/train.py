"""crackmap train: train the nets on your own machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crackmap.cli.console import echo
from crackmap.cli.options import Decorator, data_option, device_option, existing_path
from crackmap.cli.types import AssignmentType, MixtureType

if TYPE_CHECKING:
    from crackmap.stages.training.run import TrainingRun


PRESET = {"segment": "crackseg-light", "detect": "retinanet-light", "screen": "screen-light"}
"""What is trained by default."""


@click.group()
def command() -> None:
    """Train a stage; a training goes on after an interruption (--resume).

    What is trained, and how, is a preset (`crackmap models list`); options change parts of it. All of it is written to
    training.json in the folder of the run, from which --config starts the same training again.
    """


def _training_options(stage: str) -> Decorator:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option("--preset", show_default=PRESET[stage], help="See `crackmap models list`."),
            click.option("--config", "config_file", type=existing_path(folder=False),
                         help="training.json of another run, to train the same again; instead of --preset and all "
                              "options from --steps on."),
            data_option(required=False),
            click.option("--out", "-o", required=True, type=click.Path(file_okay=False, path_type=Path),
                         help="Folder for checkpoints, logs, curves and the weights."),
            click.option("--resume", is_flag=True, help="Go on from the last checkpoint in --out."),
            click.option("--steps", type=click.IntRange(1), help="Optimiser steps in all."),
            click.option("--batch", type=click.IntRange(1), help="Crops a step."),
            click.option("--side", "side_px", type=click.IntRange(32),
                         help="Side of a crop, pixels; not for train screen (--net side_px=...)."),
            click.option("--rate", "learning_rate", type=click.FloatRange(0, min_open=True), help="Peak rate."),
            click.option("--seed", type=click.IntRange(0), help="Of weights, crops and their order."),
            click.option("--workers", type=click.IntRange(0), help="Loader processes; the crops do not depend on it."),
            click.option("--set", "settings", type=AssignmentType(), multiple=True, metavar="KEY=VALUE",
                         help="Any other setting of the training, e.g. «loss=focal+dice», «patience=3»."),
            click.option("--net", "net_settings", type=AssignmentType(), multiple=True, metavar="KEY=VALUE",
                         help="A setting of the net, e.g. «fuse_block3=false», «branches=[[1,1],[3,6],[3,12]]»."),
            click.option("--encoder-weights", type=existing_path(folder=False),
                         help="To start from: ImageNet weights of the encoder (a plain state dictionary), or weights "
                              "(.safetensors) of any stage with the same encoder."),
            click.option("--start", type=existing_path(folder=False),
                         help="Weights (.safetensors) of an earlier training to start from."),
            click.option("--mix", "mixture", type=MixtureType(),
                         help="Shares of the sources, e.g. «rendered=0.5,dnit=0.5»; `crackmap datasets` lists them; "
                              "«patches:FOLDER» for train screen."),
        ):  # fmt: skip
            function = option(function)
        return function

    return decorate


def _run_of(
    stage: str, *, preset: str | None, config_file: Path | None, mixture: dict[str, float] | None,
    encoder_weights: Path | None, start: Path | None, settings: tuple[tuple[str, Any], ...],
    net_settings: tuple[tuple[str, Any], ...], teacher: Path | None = None, **training: Any,
) -> TrainingRun:  # fmt: skip
    """The training that the options describe."""
    from dataclasses import replace

    from crackmap.calibration.errors import InputError
    from crackmap.stages.presets import preset_called
    from crackmap.stages.training.run import NO_EFFECT, TrainingRun, from_json

    given = {key: value for key, value in training.items() if value is not None} | dict(settings)
    if config_file is not None:
        if given or preset or mixture or encoder_weights or start or net_settings or teacher:
            raise click.UsageError("--config takes everything from its file; leave the other options out")
        run = from_json(config_file)
        if run.stage != stage:
            raise click.UsageError(f"{config_file.name} is of `crackmap train {run.stage}`")
        return run
    idle = [name for name in NO_EFFECT[stage] if name in given]
    if idle:
        instead = "; what it sees is set by --net side_px=... and --net scale=..." if stage == "screen" else ""
        raise InputError(f"{idle[0]}: has no effect on a {stage} stage, leave it out{instead}")
    chosen = preset_called(preset or PRESET[stage], stage=stage)
    try:
        return TrainingRun(
            replace(chosen.net, **dict(net_settings)), replace(chosen.training, **given),
            mixture or chosen.mixture, (), encoder_weights, start, chosen.augmentation, teacher,
        )  # fmt: skip
    except TypeError as error:
        raise InputError(f"--set or --net: {error}; `crackmap models show {chosen.name}` lists the settings") from error


def _train(stage: str, *, data: Path | None, out: Path, resume: bool, **options: Any) -> None:
    from crackmap.pipeline.training import train_and_draw

    try:
        path = train_and_draw(_run_of(stage, **options), data=data, out=out, resume=resume)
    except KeyboardInterrupt:
        begun = (out / "last.ckpt").exists()
        advice = "Go on: the same command with --resume." if begun else "There is no checkpoint yet: start it again."
        echo(f"Interrupted. {advice}", err=True)
        click.get_current_context().exit(130)
    echo(f"Weights: {path}\nCurves:  {out / 'curves.png'}")
    echo(f"Score them: crackmap evaluate {stage} --set dnit --{stage}-weights {path}")


@command.command()
@_training_options("segment")
def segment(**options: Any) -> None:
    """Train a segmenter on real labels and rendered cracks.

    \b
    Examples:
      crackmap train segment --data DATA -o run1 --encoder-weights mobilenet_v2-b0353104.pth
      crackmap train segment --preset cracknet --mix pairs:/my/set=1 -o run2
      crackmap train segment --config run1/training.json --data DATA -o again
    """
    _train("segment", **options)


@command.command()
@_training_options("detect")
@click.option("--teacher", type=existing_path(folder=False),
              help="Weights (.safetensors) of a segmenter: boxes are cut from what it finds in the crops, not from "
                   "their labels.")  # fmt: skip
def detect(**options: Any) -> None:
    """Train a detector on boxes cut from the masks.

    \b
    Example:
      crackmap train detect --data DATA -o run3 --encoder-weights mobilenet_v2-b0353104.pth
      crackmap train detect --data DATA -o run5 --teacher run1/segment.safetensors \\
        --start run3/detect.safetensors
    """
    _train("detect", **options)


@command.command()
@_training_options("screen")
def screen(**options: Any) -> None:
    """Train a patch classifier on patches cut from labelled images, or read from folders named after their class.

    \b
    Examples:
      crackmap train screen --data DATA -o run4 --encoder-weights segment.safetensors
      crackmap train screen --preset screen-resnet50 --mix patches:SDNET2018=1 -o run5
    """
    _train("screen", **options)


@command.command()
@click.option("--weights", "weights_path", required=True, type=existing_path(folder=False),
              help="Weights (.safetensors) of a segmenter.")  # fmt: skip
@click.option("--sets", required=True, help="Data sets to fit on, with commas: dnit,paveseg. Each counts the same.")
@click.option("--split", default="val", show_default=True, help="Of the sets; one that was not trained on.")
@click.option("--tolerance", "tolerance_px", default=2.0, show_default=True, type=click.FloatRange(0.0, 8.0),
              help="How far a label may lie from the crack, pixels.")  # fmt: skip
@click.option("--keep-decision", is_flag=True, help="Fit the scale alone: the same pixels stay above 0.5.")
@data_option(required=False)
@device_option()
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path, dir_okay=False),
              help="The calibrated weights.")  # fmt: skip
def calibrate(
    weights_path: Path,
    sets: str,
    split: str,
    tolerance_px: float,
    keep_decision: bool,
    data: Path | None,
    device: str,
    out: Path,
) -> None:
    """Make probabilities what they say: fit scale and offset of the logits on held-back images."""
    from crackmap.stages.training.calibrate import calibrate_weights

    fitted = calibrate_weights(
        weights_path, sets=[name for name in sets.split(",") if name], split=split, data=data,
        tolerance_px=tolerance_px, device=device, out=out, keep_decision=keep_decision,
    )  # fmt: skip
    for name, (scale, offset) in fitted.items():
        echo(f"{name}: probability = sigmoid({scale:.4f} * logit {offset:+.4f})")
    echo(f"Weights: {out}\nCheck them: crackmap evaluate segment --set dnit --segment-weights {out}")
