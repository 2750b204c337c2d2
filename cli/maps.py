"""crackmap maps: strip maps on paper."""

from __future__ import annotations

from pathlib import Path

import click

from crackmap.cli.console import echo
from crackmap.cli.options import existing_path, section_option
from crackmap.cli.progress import frame_progress


@click.command()
@click.argument("out", type=existing_path(file=False))
@click.option("--to", "-o", "path", type=click.Path(path_type=Path),
              help="NAME.pdf for one page a section, or a folder for a PNG of each; OUT/strip_maps.pdf by default.",
              )  # fmt: skip
@section_option("--length")
@click.option("--section", "only", multiple=True, metavar="NAME", help="Only this section; may be repeated.")
def command(out: Path, path: Path | None, section_length_m: float, only: tuple[str, ...]) -> None:
    """Draw strip maps of OUT, the output of a run: chainage along, lane across, cracks by width, statistics below.

    \b
    Examples:
      crackmap maps OUT
      crackmap maps OUT --length 50 -o pages
      crackmap maps OUT --section "R1:200-300" -o one.pdf
    """
    from crackmap.pipeline.products.strip_maps import write_strip_maps
    from crackmap.pipeline.run import load_result

    result = load_result(out, section_length_m=section_length_m)
    target = path or out / "strip_maps.pdf"
    with frame_progress("Drawing", len(result.sections)) as progress:
        count = write_strip_maps(target, result, only=only, progress=progress)
    echo(f"{count} strip maps: {target}")
