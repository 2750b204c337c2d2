"""crackmap synth: a synthetic survey with exact truth."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--frames", default=24, show_default=True, help="Number of images.")
@click.option("--gsd", "gsd_mm", default=2.0, show_default=True, help="Ground length of a pixel, mm.")
@click.option("--cracks", "cracks_per_10m", default=4.0, show_default=True, help="Cracks on 10 m of road.")
@click.option("--gnss-noise", "gnss_noise_m", default=0.0, show_default=True, help="Noise of each fix, m.")
@click.option("--seed", default=0, show_default=True, help="Same seed, same survey.")
def command(out: Path, frames: int, gsd_mm: float, cracks_per_10m: float, gnss_noise_m: float, seed: int) -> None:
    """Draw a survey into OUT: images, GNSS track, survey.toml and truth.json.

    The camera looks straight down; truth.json holds every crack as a line in road metres with its width.
    """
    from crackmap.pipeline.synthetic import SyntheticSettings, write_survey

    settings = SyntheticSettings(
        frames=frames, gsd_mm=gsd_mm, cracks_per_10m=cracks_per_10m, gnss_noise_m=gnss_noise_m, seed=seed
    )
    truth = write_survey(out, settings)
    click.echo(f"{settings.length_m:.0f} m of road, {len(truth)} cracks. Map it: crackmap run {out} -o {out}-result")
