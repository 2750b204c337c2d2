"""crackmap screen: patches that may hold cracks."""

from __future__ import annotations

import json
from pathlib import Path

import click

from crackmap.cli.console import echo, one_line
from crackmap.cli.options import device_option, images_argument, json_option, weights_options


@click.command()
@images_argument()
@click.option("--out", "-o", type=click.Path(path_type=Path), help="Write pictures with the patches tinted there.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="From this probability on a patch counts as cracked; "
              "by default that of `crackmap run --screen`.")  # fmt: skip
@weights_options(detect=False, segment=False, screen=True)
@device_option()
@json_option()
def command(
    images: tuple[Path, ...], out: Path | None, threshold: float | None, screen_weights: Path | None, device: str,
    as_json: bool,
) -> int:  # fmt: skip
    """Tell which IMAGE (files or folders) holds cracks, and in which patches.

    \b
    Example:
      crackmap train screen --data DATA -o run --encoder-weights mobilenet_v2-b0353104.pth
      crackmap screen photos --screen-weights run/screen.safetensors -o tinted
    """
    from crackmap.pipeline.explain import screen_images
    from crackmap.pipeline.single import image_paths
    from crackmap.stages.screen.settings import ScreenSettings

    settings = ScreenSettings() if threshold is None else ScreenSettings(threshold=threshold)
    reports, failed = screen_images(
        image_paths(images), settings=settings, weights=screen_weights, device=device, out=out
    )  # fmt: skip
    if as_json:
        echo(json.dumps(reports, indent=1))
    else:
        for report in reports:
            echo(f"{report['image']}: probability {report['probability']:.3f}, "
                 f"{report['cracked_patches']} of {len(report['patches'])} patches")  # fmt: skip
    for reason in failed:
        echo(one_line(f"Skipped {reason}"), err=True)
    return 3 if failed else 0
