"""crackmap segment: the first two stages, masks out."""

from __future__ import annotations

from pathlib import Path

import click

from crackmap.cli.console import echo, one_line
from crackmap.cli.options import device_option, images_argument, weights_options


@click.command()
@images_argument()
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path), help="Folder for the masks (PNG).")
@click.option("--segment-everything", is_flag=True, help="Segment whole images, without the detector.")
@weights_options()
@device_option()
def command(
    images: tuple[Path, ...], out: Path, segment_everything: bool, detect_weights: Path | None,
    segment_weights: Path | None, device: str,
) -> int:  # fmt: skip
    """Write masks (probability * 255) of each IMAGE, in its own pixels: NAME_crack.png, NAME_sealed_crack.png."""
    from crackmap.pipeline import single
    from crackmap.pipeline.frame import StageSettings
    from crackmap.pipeline.nets import load_stages

    stages = load_stages(
        StageSettings(segment_everything=segment_everything),
        detect_weights=detect_weights, segment_weights=segment_weights, device=device,
    )  # fmt: skip
    failed: list[str] = []
    for line in single.segment_images(single.image_paths(images), stages, out=out, failed=failed):
        echo(line)
    for reason in failed:
        echo(one_line(f"Skipped {reason}"), err=True)
    return 3 if failed else 0
