"""crackmap import: corrected cracks back into a run."""

from __future__ import annotations

from pathlib import Path

import click

from crackmap.cli.console import echo, one_line
from crackmap.cli.options import existing_path
from crackmap.cli.progress import frame_progress

EMPTY = "shorter than 12 px, less than twice as long as wide, thinner than a pixel, or where the scale is not trusted"


@click.command("import")
@click.argument("out", type=existing_path(file=False))
@click.argument("arguments", metavar="CORRECTED | --undo [KEY]...", nargs=-1)
@click.option("--format", "kind", default="auto", show_default=True,
              type=click.Choice(["auto", "labelme", "cvat", "coco", "pairs"]), help="Of CORRECTED.")  # fmt: skip
@click.option("--by", default="", metavar="NAME", help="Who corrected; kept with the frames.")
@click.option("--unchanged-too", is_flag=True, help="Measure frames whose outlines are as they were as well, and "
              "count them as corrected; otherwise they keep their numbers.")  # fmt: skip
@click.option("--undo", is_flag=True, help="Bring back what the nets found, in the frames KEY or in all.")
def command(out: Path, arguments: tuple[str, ...], kind: str, by: str, unchanged_too: bool, undo: bool) -> None:
    """Take corrected outlines into OUT, a finished run: measure them and make all products anew.

    CORRECTED is what the annotation tool saved: a folder of Labelme or of mask PNGs, or a file of CVAT or COCO. A frame
    in it without outlines has no crack; frames that are not in it stay as they are.

    \b
    crackmap import out review --by "A. Person"
    crackmap import out annotations.xml
    crackmap import out --undo
    crackmap import out --undo drive/0012.jpg
    """
    from crackmap.pipeline.review.importing import import_corrections, undo_corrections

    if undo:
        keys, result = undo_corrections(out, arguments)
        echo(f"{len(keys)} frames are again as the nets found them; {len(result.cracks)} cracks in all.")
        return
    if len(arguments) != 1:
        raise click.UsageError("expected OUT and one CORRECTED, a file or a folder")
    corrected = Path(arguments[0])
    if not corrected.exists():
        raise click.UsageError(f"{corrected} does not exist")
    with frame_progress("Measuring", 1) as progress:
        summary = import_corrections(out, corrected, kind=kind, by=by, unchanged_too=unchanged_too, progress=progress)
    for change in summary.changes:
        (cracks, now), (length, then) = change.cracks, change.length_px
        echo(one_line(f"{change.key}: {cracks} cracks, {length:.0f} px -> {now} cracks, {then:.0f} px"))
        if change.empty:
            echo(one_line(f"Warning: {change.key}: no line could be measured in {change.empty} outlines: {EMPTY}"),
                 err=True)  # fmt: skip
    for label, count in summary.left_out.items():
        echo(one_line(f"Left out, as no crack: {count} x {label}"), err=True)
    echo(f"{len(summary.changes)} frames corrected, {summary.unchanged} as they were.")
    if summary.result is not None:
        echo(f"{len(summary.result.cracks)} cracks in all.")
        echo(one_line(f"Take it back: crackmap import {out} --undo"))
