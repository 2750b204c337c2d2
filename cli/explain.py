"""crackmap explain: where a net looks."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from crackmap.cli.console import echo, one_line
from crackmap.cli.options import device_option, images_argument, weights_options


@click.command()
@images_argument()
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path), help="Folder for the pictures.")
@click.option("--what", default="detect", show_default=True, type=click.Choice(["detect", "screen"]),
              help="Which stage: the scores of the detector, or the patch classifier.")  # fmt: skip
@weights_options(segment=False, screen=True)
@device_option()
def command(
    images: tuple[Path, ...], out: Path, what: Literal["detect", "screen"], detect_weights: Path | None,
    screen_weights: Path | None, device: str,
) -> int:  # fmt: skip
    """Write each IMAGE beside a heat map of what speaks for cracks (Grad-CAM).

    \b
    Examples:
      crackmap explain photo.jpg -o heat
      crackmap explain photos -o heat --what screen --screen-weights run/screen.safetensors
    """
    unused = {"detect": screen_weights, "screen": detect_weights}[what]
    if unused is not None:
        raise click.UsageError(f"--what {what} takes --{what}-weights; leave the other weights out")
    from crackmap.pipeline.explain import explain_images
    from crackmap.pipeline.single import image_paths

    weights = detect_weights if what == "detect" else screen_weights
    written, failed = explain_images(image_paths(images), what=what, weights=weights, device=device, out=out)
    for path in written:
        echo(str(path))
    for reason in failed:
        echo(one_line(f"Skipped {reason}"), err=True)
    return 3 if failed else 0
