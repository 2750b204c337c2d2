"""crackmap train: train the nets on your own machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from crackmap.cli.options import Decorator, data_option, existing_path


@click.group()
def command() -> None:
    """Train a stage; the run resumes after an interruption (--resume)."""


class MixtureType(click.ParamType):  # type: ignore[type-arg] # generic in recent click only
    """«rendered=0.4,dnit=0.6»."""

    name = "shares"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, float]:
        """Source -> share."""
        try:
            pairs = [part.split("=") for part in value.split(",")]
            return {name.strip(): float(share) for name, share in pairs}
        except ValueError:
            self.fail(f"expected shares such as rendered=0.4,dnit=0.6, got {value!r}", param, ctx)


def _training_options(steps: int, batch: int, side_px: int, learning_rate: float) -> Decorator:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            data_option(),
            click.option("--out", "-o", required=True, type=click.Path(path_type=Path),
                         help="Folder for checkpoints, logs and the weights."),
            click.option("--steps", default=steps, show_default=True, help="Optimiser steps in all."),
            click.option("--batch", default=batch, show_default=True, help="Crops a step."),
            click.option("--side", "side_px", default=side_px, show_default=True, help="Side of a crop, pixels."),
            click.option("--rate", "learning_rate", default=learning_rate, show_default=True, help="Peak rate."),
            click.option("--seed", default=0, show_default=True, help="Of weights, crops and their order."),
            click.option("--workers", default=1, show_default=True, help="Loader processes."),
            click.option("--encoder-weights", type=existing_path(folder=False),
                         help="ImageNet weights of the encoder (a plain state dictionary) to start from."),
            click.option("--start", type=existing_path(folder=False),
                         help="Weights (.safetensors) of an earlier training to start from."),
            click.option("--mix", "mixture", type=MixtureType(),
                         help="Shares of the sources, e.g. «rendered=0.5,dnit=0.5»; else the stage's own."),
            click.option("--resume", is_flag=True, help="Go on from the last checkpoint in --out."),
        ):  # fmt: skip
            function = option(function)
        return function

    return decorate


@command.command()
@_training_options(steps=2800, batch=12, side_px=256, learning_rate=1.5e-3)
def segment(
    data: Path, out: Path, encoder_weights: Path | None, start: Path | None, mixture: dict[str, float] | None,
    resume: bool, **run: Any,
) -> None:  # fmt: skip
    """Train the segmenter (light CrackSeg) on real labels and rendered cracks."""
    from crackmap.stages.datasets.crops import SEGMENT_MIXTURE
    from crackmap.stages.segment.crackseg import CrackSegConfig
    from crackmap.stages.training.loop import TrainingConfig
    from crackmap.stages.training.segment import train_segment

    path = train_segment(
        TrainingConfig(**run), CrackSegConfig(), data=data, out=out, mixture=mixture or SEGMENT_MIXTURE,
        encoder_weights=encoder_weights, start=start, resume=resume,
    )  # fmt: skip
    click.echo(f"Weights: {path}\nScore them: crackmap evaluate segment --set dnit --segment-weights {path}")


@command.command()
@_training_options(steps=1400, batch=12, side_px=448, learning_rate=1e-3)
def detect(
    data: Path, out: Path, encoder_weights: Path | None, start: Path | None, mixture: dict[str, float] | None,
    resume: bool, **run: Any,
) -> None:  # fmt: skip
    """Train the detector (light RetinaNet) on boxes cut from the masks."""
    from crackmap.stages.datasets.crops import DETECT_MIXTURE
    from crackmap.stages.detect.retinanet import RetinaNetConfig
    from crackmap.stages.training.detect import train_detect
    from crackmap.stages.training.loop import TrainingConfig

    path = train_detect(
        TrainingConfig(**run), RetinaNetConfig(), data=data, out=out, mixture=mixture or DETECT_MIXTURE,
        encoder_weights=encoder_weights, start=start, resume=resume,
    )  # fmt: skip
    click.echo(f"Weights: {path}\nScore them: crackmap evaluate detect --set dnit --detect-weights {path}")
