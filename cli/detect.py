"""crackmap detect: the first stage alone."""

from __future__ import annotations

import json
from pathlib import Path

import click

from crackmap.cli.console import echo, one_line
from crackmap.cli.options import device_option, images_argument, json_option, weights_options


@click.command()
@images_argument()
@click.option("--out", "-o", type=click.Path(path_type=Path), help="Write pictures with the regions drawn in there.")
@click.option("--score", default=None, type=click.FloatRange(0.05, 0.99), help="Least score; default as in run.")
@weights_options(segment=False)
@device_option()
@json_option()
def command(
    images: tuple[Path, ...], out: Path | None, score: float | None, detect_weights: Path | None, device: str,
    as_json: bool,
) -> int:  # fmt: skip
    """List the regions of IMAGE... (files or folders) that may hold cracks."""
    from crackmap.pipeline import single
    from crackmap.stages.detect.settings import DetectSettings

    settings = DetectSettings() if score is None else DetectSettings(score=score)
    reports, failed = single.detect_images(
        single.image_paths(images), settings=settings, weights=detect_weights, device=device, out=out
    )
    if as_json:
        echo(json.dumps(reports, indent=1))
    else:
        for report in reports:
            share = 100 * report["area_share"]
            echo(f"{report['image']}: {len(report['regions'])} regions, {share:.1f} % of the image passed on")
    for reason in failed:
        echo(one_line(f"Skipped {reason}"), err=True)
    return 3 if failed else 0
