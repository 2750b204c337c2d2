"""crackmap calibrate check: metres drawn on real frames, and what their motion says."""

from __future__ import annotations

import json
from pathlib import Path

import click

from crackmap.cli.console import echo
from crackmap.cli.options import existing_path, images_argument, json_option


@click.command()
@click.argument("calibration", type=existing_path(folder=False))
@images_argument()
@click.option("--out", "-o", type=click.Path(file_okay=False, path_type=Path),
              help="Write pictures there: a grid of metres on the first, middle and last frame, the road from above, "
              "and the pixel size by row.")  # fmt: skip
@click.option("--step", "step_m", type=click.FloatRange(0, 100, min_open=True),
              help="Metres between consecutive frames of one recording: compares their motion with it.")  # fmt: skip
@json_option()
def command(calibration: Path, images: tuple[Path, ...], out: Path | None, step_m: float | None, as_json: bool) -> None:
    """Look at a road plane: is a metre of CALIBRATION a metre in each IMAGE?

    \b
    crackmap calibrate check front.toml frame.jpg -o check
    crackmap calibrate check front.toml frames/*.jpg --step 5.0     and does the motion agree?
    """
    from crackmap.pipeline.calibrating.check import check_plane
    from crackmap.pipeline.calibrating.plane_report import plane_table
    from crackmap.pipeline.single import image_paths

    found = check_plane(calibration, image_paths(images), out=out, step_m=step_m)
    pictures = [str(path) for path in found.pictures]
    if as_json:
        echo(json.dumps({**found.numbers, "pictures": pictures}, indent=1, allow_nan=False))
        return
    for line in [*plane_table(found.numbers), *found.sentences]:
        echo(line)
    if pictures:
        echo(f"Look at the {len(pictures)} pictures in {out}: lane lines must run along the grid.")
