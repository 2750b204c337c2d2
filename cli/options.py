"""Options that several commands share, parsed and explained in one place."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from crackmap.calibration.errors import InputError
from crackmap.cli.types import GsdType

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class _Place(click.Path):
    """A path as pathlib.Path; where buckets are allowed, s3://BUCKET/PREFIX as a BucketUrl."""

    def __init__(self, *, bucket: bool, **options: Any) -> None:
        super().__init__(path_type=Path, **options)
        self._bucket = bucket

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The place; one of another kind is refused."""
        if not isinstance(value, str) or "://" not in value:
            return super().convert(value, param, ctx)
        from crackmap.pipeline.storage.urls import is_url, location

        if not is_url(value):
            return super().convert(value, param, ctx)
        try:
            place = location(value)
        except InputError as error:
            self.fail(str(error), param, ctx)
        if not self._bucket:
            self.fail(f"{place}: it takes a folder or file of this machine; copy it here first, e.g. with "
                      "`aws s3 sync`", param, ctx)  # fmt: skip
        return place


def existing_path(*, folder: bool = True, file: bool = True, bucket: bool = False) -> click.Path:
    """An existing path as pathlib.Path; where `bucket` says so, also s3://BUCKET/PREFIX."""
    return _Place(bucket=bucket, exists=True, dir_okay=folder, file_okay=file)


def output_path() -> click.Path:
    """The path of an output folder as pathlib.Path, or s3://BUCKET/PREFIX."""
    return _Place(bucket=True)


def work_option() -> Decorator:
    """--work."""
    return click.option(
        "--work", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
        help="Folder to work in where OUT is s3://BUCKET/PREFIX; by default one in the cache.",
    )  # fmt: skip


def finite(_context: click.Context, _parameter: click.Parameter, value: float | None) -> float | None:
    """A callback that refuses nan and infinity."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"expected a number, got {value}")
    return value


def section_option(name: str) -> Decorator:
    """The option `name` for the section length."""
    return click.option(
        name,
        "section_length_m",
        default=100.0,
        show_default=True,
        type=click.FloatRange(min=1.0, max=100_000.0),
        callback=finite,
        help="Section length in metres.",
    )


def gsd_option() -> Decorator:
    """--gsd."""
    return click.option(
        "--gsd",
        "gsd_mm",
        type=GsdType(),
        help="Ground length of one pixel in mm, for cameras that look straight down. Two numbers, "
        "«2.0,5.0», if a step along a row and a step along a column differ.",
    )


def usable_processors() -> int:
    """Processors this process may use, at most 16."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, 16)


def together(*options: Decorator) -> Decorator:
    """Several options as one decorator, in the order of the help."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def loading_options() -> Decorator:
    """--workers, --follow-links and --max-mpx."""
    options = (
        click.option("--workers", default=usable_processors, show_default="one for each processor, at most 16",
                     type=click.IntRange(1, 4096),
                     help="Images decoded and worked on at a time. Results do not depend on it."),
        click.option("--follow-links", is_flag=True, help="Take links in SURVEY for what they lead to."),
        click.option("--max-mpx", default=250, show_default=True, type=click.IntRange(min=1), metavar="MPX",
                     help="Refuse JPEGs and PNGs of more million pixels."),
    )  # fmt: skip
    return together(*options)


def device_option() -> Decorator:
    """--device."""
    return click.option(
        "--device", default="auto", show_default=True, help="auto (a GPU if there is one), cpu, cuda or cuda:N."
    )


def engine_option() -> Decorator:
    """--engine."""
    return click.option(
        "--engine", default="auto", show_default=True, type=click.Choice(["auto", "pytorch", "openvino"]),
        help="What computes the nets. auto: OpenVINO on the CPU if it is installed (twice as fast), else PyTorch.",
    )  # fmt: skip


def data_option(required: bool = True) -> Decorator:
    """--data."""
    return click.option(
        "--data",
        type=existing_path(file=False),
        envvar="CRACKMAP_DATA",
        required=required,
        help="Folder that holds the data sets (dnit, paveseg, cracksc, cfd), or the variable CRACKMAP_DATA.",
    )


def weights_options(detect: bool = True, segment: bool = True, screen: bool = False) -> Decorator:
    """--detect-weights, --segment-weights and --screen-weights."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        if screen:
            command = click.option(
                "--screen-weights",
                type=existing_path(folder=False),
                help="Weights of the screen stage (.safetensors), as `crackmap train screen` writes them.",
            )(command)
        for stage, wanted in (("segment", segment), ("detect", detect)):
            if wanted:
                command = click.option(
                    f"--{stage}-weights",
                    type=existing_path(folder=False),
                    help=f"Weights of the {stage} stage (.safetensors); by default those that come with crackmap.",
                )(command)
        return command

    return decorate


def images_argument() -> Decorator:
    """IMAGE..."""
    return click.argument("images", nargs=-1, required=True, type=existing_path())


def json_option() -> Decorator:
    """--json."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")


def pictures_option(what: str) -> Decorator:
    """--pictures."""
    return click.option(
        "--pictures", type=click.Path(path_type=Path, file_okay=False), help=f"Folder to write {what} to."
    )
