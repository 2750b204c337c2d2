"""crackmap export: frames of a run for a person to correct."""

from __future__ import annotations

from pathlib import Path

import click

from crackmap.cli.console import echo, one_line
from crackmap.cli.options import existing_path
from crackmap.cli.progress import frame_progress


@click.command()
@click.argument("out", type=existing_path(file=False))
@click.option("--folder", "-o", required=True, type=click.Path(path_type=Path), help="Folder to write: new or empty.")
@click.option("--format", "kind", required=True, type=click.Choice(["labelme", "cvat", "coco", "pairs"]),
              help="For Labelme, for CVAT (for images 1.1), as COCO instances, or as images and masks.")  # fmt: skip
@click.option("--frames", multiple=True, default=("worst:50",), show_default=True,
              metavar="worst:N|all|corrected|LIST.txt|KEY",
              help="Which frames; several times for several. LIST.txt has a key in each line.")  # fmt: skip
def command(out: Path, folder: Path, kind: str, frames: tuple[str, ...]) -> None:
    """Write frames of OUT, a finished run, as images with the outlines of their cracks.

    Correct the outlines in an annotation tool and give them back with `crackmap import`. As pairs, corrected frames are
    training data.

    \b
    crackmap export out -o review --format labelme
    crackmap export out -o review --format cvat --frames all
    crackmap export out -o mine --format pairs --frames corrected
    """
    from crackmap.pipeline.review.exporting import export_frames

    with frame_progress("Copying", 1) as progress:
        summary = export_frames(out, folder, kind, frames, progress=progress)
    echo(one_line(f"{summary.frames} frames, {summary.outlines} outlines: {folder}"))
    if summary.training_name:
        echo(one_line(f"For `crackmap datasets` and `crackmap train segment --mix`: {summary.training_name}"))
    else:
        echo(one_line(f"Corrected? crackmap import {out} {folder}"))
