"""crackmap measure: the cracks of single images or masks, as a table."""

from __future__ import annotations

import json
from pathlib import Path

import click

from crackmap.cli.options import device_option, gsd_option, images_argument, json_option, weights_options


@click.command()
@images_argument()
@gsd_option()
@click.option("--mask", "is_mask", is_flag=True, help="The images are crack masks (white = crack): no net is run.")
@click.option("--out", "-o", type=click.Path(path_type=Path), help="Write pictures with the measured lines there.")
@weights_options()
@device_option()
@json_option()
def command(
    images: tuple[Path, ...], gsd_mm: float | tuple[float, float] | None, is_mask: bool, out: Path | None,
    detect_weights: Path | None, segment_weights: Path | None, device: str, as_json: bool,
) -> int:  # fmt: skip
    """Measure length, width and orientation of the cracks in each IMAGE.

    Without --gsd the numbers are in pixels, and say so.
    """
    from crackmap.pipeline import single
    from crackmap.pipeline.frame import StageSettings, load_stages

    stages = None
    if not is_mask:
        stages = load_stages(
            StageSettings(), detect_weights=detect_weights, segment_weights=segment_weights, device=device
        )
    reports, failed = single.measure_images(single.image_paths(images), stages, gsd_mm=gsd_mm, out=out)
    click.echo(json.dumps(reports, indent=1) if as_json else single.measure_table(reports))
    for reason in failed:
        click.echo(f"Skipped {reason}", err=True)
    return 3 if failed else 0
