"""crackmap compare: what has changed between two surveys of one road."""

from __future__ import annotations

import json
from pathlib import Path

import click

from crackmap.cli.console import echo, one_line
from crackmap.cli.options import existing_path, json_option, section_option


@click.command()
@click.argument("out_a", type=existing_path(file=False))
@click.argument("out_b", type=existing_path(file=False))
@click.option("-o", "--out", "folder", required=True, type=click.Path(file_okay=False, path_type=Path),
              help="Folder for the comparison.")  # fmt: skip
@section_option("--length")
@click.option("--search", "search_m", type=click.FloatRange(0.1, 50.0),
              help="How far apart, in metres, the surveys may lie; by default from the uncertainties of their "
              "positions, and 2 m where there are none.")  # fmt: skip
@json_option()
def command(
    out_a: Path, out_b: Path, folder: Path, section_length_m: float, search_m: float | None, as_json: bool
) -> None:
    """Compare two surveys of one road: OUT_A, the earlier, and OUT_B, the later output of `crackmap run`.

    Cracks are matched by place and direction. For each, and for each section of OUT_A: growth in length and width
    with its uncertainty, new cracks, and cracks that are gone.

    \b
    compare.gpkg          layers changes and sections, with styles: opens drawn in QGIS
    changes.csv           crack by crack
    change_sections.csv   section by section
    compare.json          verdict, totals, shift between the surveys, how sure it is and why

    \b
    Example:
      crackmap synth road --passes 2 --frames 60 --gnss-noise 0.02 --grow-length 30 --grow-width 2
      crackmap run road/pass1 -o one && crackmap run road/pass2 -o two
      crackmap compare one two -o change
    """
    from crackmap.pipeline.comparing import CompareSettings, compare_surveys
    from crackmap.pipeline.comparing.products import report, summary, write_comparison

    settings = CompareSettings(section_length_m=section_length_m, search_m=search_m)
    found = compare_surveys(out_a, out_b, settings)
    write_comparison(found, folder)
    if as_json:
        echo(json.dumps(report(found), indent=2, sort_keys=True))
        return
    echo(f"A: {one_line(str(out_a))}, B: {one_line(str(out_b))}\n{summary(found)}")
    echo(f"Map: {one_line(str(folder / 'compare.gpkg'))} (opens in QGIS)")
