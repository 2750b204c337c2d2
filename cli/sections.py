"""crackmap sections: section statistics again, without the nets."""

from __future__ import annotations

from pathlib import Path

import click

from crackmap.cli.console import echo
from crackmap.cli.options import existing_path, section_option


@click.command()
@click.argument("out", type=existing_path(file=False))
@section_option("--length")
@click.option("--strips/--no-strips", default=True, show_default=True,
              help="Write the road surface of each section, seen from above, to OUT/strips.")  # fmt: skip
def command(out: Path, section_length_m: float, strips: bool) -> None:
    """Compute the statistics of OUT, the output of a run, for another section length.

    All products in OUT are written again from its journal; images are not analysed again.
    """
    from crackmap.pipeline.run import rebuild

    result = rebuild(out, section_length_m=section_length_m, strips=strips)
    echo(f"{len(result.sections)} sections: {out / 'sections.csv'}")
