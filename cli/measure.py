"""crackmap measure: the cracks of single images or masks, as a table."""

from __future__ import annotations

import json
from pathlib import Path

import click

from crackmap.cli.console import echo, one_line
from crackmap.cli.options import (
    device_option,
    existing_path,
    gsd_option,
    images_argument,
    json_option,
    weights_options,
)
from crackmap.cli.types import EdgesType


@click.command()
@images_argument()
@gsd_option()
@click.option(
    "--mask",
    type=existing_path(),
    help="Take the cracks from this mask (white = crack) instead of the nets, and read their widths in IMAGE. For "
    "several images: a folder, in which the mask of a.jpg is a_crack.png or a.png.",
)
@click.option("--masks-only", is_flag=True, help="Each IMAGE is itself a crack mask (white = crack): no net is run.")
@click.option(
    "--width-classes",
    "width_edges",
    type=EdgesType(),
    default=(),
    help="Also give the length in each width class between these limits, «3,10,20», mm (px without --gsd).",
)
@click.option(
    "--out", "-o", type=click.Path(path_type=Path),
    help="Write pictures there: every crack with its number in the table, its length and its mean width.",
)  # fmt: skip
@weights_options()
@device_option()
@json_option()
def command(
    images: tuple[Path, ...], gsd_mm: float | tuple[float, float] | None, mask: Path | None, masks_only: bool,
    width_edges: tuple[float, ...], out: Path | None, detect_weights: Path | None, segment_weights: Path | None,
    device: str, as_json: bool,
) -> int:  # fmt: skip
    """Measure length, width and orientation of the cracks in each IMAGE.

    Without --gsd the numbers are in pixels, and say so.

    \b
    crackmap measure photo.jpg --gsd 1.0                        find the cracks with the nets, 1 mm pixels
    crackmap measure photo.jpg --gsd 1.0 -o out                 and draw them, numbered, into out/
    crackmap measure photo.jpg --mask photo_mask.png --gsd 1.0  cracks from your own mask, widths from the photo
    crackmap measure photos --mask masks                        a folder of each
    crackmap measure masks --masks-only --gsd 1.0               nothing but masks
    crackmap measure photo.jpg --gsd 1.0 --width-classes 3,10,20
    """
    if mask is not None and masks_only:
        raise click.UsageError(
            "--masks-only says that the images are masks, --mask gives a mask beside an image: choose one"
        )
    from crackmap.pipeline import single
    from crackmap.pipeline.frame import StageSettings
    from crackmap.pipeline.nets import load_stages
    from crackmap.pipeline.single_report import measure_table

    stages = None
    if mask is None and not masks_only:
        stages = load_stages(
            StageSettings(), detect_weights=detect_weights, segment_weights=segment_weights, device=device
        )
    reports, failed = single.measure_images(
        single.image_paths(images), stages, gsd_mm=gsd_mm, out=out, mask=mask, width_edges=width_edges
    )
    echo(json.dumps(reports, indent=1, allow_nan=False) if as_json else measure_table(reports))
    for reason in failed:
        echo(one_line(f"Skipped {reason}"), err=True)
    return 3 if failed else 0
