"""crackmap calibrate camera: the lens of a camera from photos of a board."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crackmap.cli.console import echo
from crackmap.cli.options import existing_path, json_option
from crackmap.cli.progress import frame_progress
from crackmap.cli.types import BoardType, LengthType

if TYPE_CHECKING:
    from crackmap.calibration.adjustment import Model


@click.command()
@click.argument("photos", nargs=-1, required=True, type=existing_path())
@click.option("--board", "corners_wh", type=BoardType(), required=True,
              help="Inner corners of the board, in a row x rows: a board of 10 x 7 squares is 9x6.")  # fmt: skip
@click.option("--square", "square_mm", type=LengthType(), required=True, help="Side of a square: 25mm.")
@click.option(
    "--charuco", "dictionary", metavar="DICT", help="A ChArUco board with markers of DICT, such as DICT_5X5_100."
)
@click.option("--marker", "marker_mm", type=LengthType(), help="Side of its markers: 18mm.")
@click.option("--model", type=click.Choice(("pinhole", "fisheye")), default="pinhole", show_default=True,
              help="fisheye: lenses that show more than about 110 degrees.")  # fmt: skip
@click.option("--coefficients", type=click.IntRange(1, 8),
              help="Distortion coefficients: pinhole 2, 4, 5 (default) or 8; fisheye 1 to 4 (default).")  # fmt: skip
@click.option("--bent-board", is_flag=True, help="Also find the shape of a board that is not flat.")
@click.option("--out", "-o", type=click.Path(dir_okay=False, path_type=Path), required=True,
              help="The calibration file (.toml).")  # fmt: skip
@click.option("--pictures", type=click.Path(file_okay=False, path_type=Path),
              help="Write pictures there: residuals, coverage, a photo before and after straightening.")  # fmt: skip
@json_option()
def command(
    photos: tuple[Path, ...], corners_wh: tuple[int, int], square_mm: float, dictionary: str | None,
    marker_mm: float | None, model: Model, coefficients: int | None, bent_board: bool, out: Path, pictures: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """The lens of a camera from 15 to 20 PHOTOS (or folders) of one board, tilted, and in every part of the image.

    \b
    crackmap calibrate camera photos --board 9x6 --square 25mm -o camera.toml --pictures check
    crackmap calibrate camera photos --board 9x6 --square 25mm --charuco DICT_5X5_100 --marker 18mm -o camera.toml

    Photos without the board and boards that contradict the others are left out, each with its reason.
    """
    if (dictionary is None) != (marker_mm is None):
        raise click.UsageError("--charuco and --marker belong together: a dictionary, and the side of its markers")
    from crackmap.calibration.board import Board
    from crackmap.pipeline.calibrating.camera import calibrate_photos
    from crackmap.pipeline.calibrating.camera_report import camera_lines, camera_report
    from crackmap.pipeline.single import image_paths

    board = Board(corners_wh, square_mm, marker_mm, dictionary)
    paths = image_paths(photos)
    with frame_progress("Boards", len(paths)) as tell:
        made = calibrate_photos(
            paths,
            board,
            out=out,
            model=model,
            coefficients=coefficients,
            bent=bent_board,
            pictures=pictures,
            progress=tell,
        )
    if as_json:
        echo(json.dumps(camera_report(made), indent=1, allow_nan=False))
        return
    for line in camera_lines(made):
        echo(line)
    echo(f"\nWritten: {', '.join(map(str, (out, *made.pictures)))}")
    echo(f"Next: crackmap calibrate plane --lens {out} ... gives the road plane of this camera.")
