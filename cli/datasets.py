"""crackmap datasets: what is in a labelled set, and what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from crackmap.calibration.errors import InputError
from crackmap.cli.console import echo
from crackmap.cli.options import data_option, json_option
from crackmap.cli.progress import frame_progress


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--split", default="all", show_default=True, help="train, val, test or all.")
@data_option(required=False)
@json_option()
def command(names: tuple[str, ...], split: str, data: Path | None, as_json: bool) -> int:
    """Read sets of labelled images from end to end, and say what they hold and what is wrong with them.

    NAME is a public set (dnit, paveseg, cracksc, cfd) in the data folder, or a set of your own as FORMAT:PATH with the
    formats pairs, coco, labelme, voc and synth. Without NAME: the public sets that are there. docs/datasets.md shows
    how each is laid out. Exit code 4 if something is wrong. A photograph that seems to be in two splits is a warning,
    which does not change the code.

    \b
    Examples:
      crackmap datasets --data DATA
      crackmap datasets pairs:road                     road/images, road/masks
      crackmap datasets pairs:road:crack=30:ignore=150
      crackmap datasets labelme:road:width=4 --split train
    """
    from dataclasses import asdict

    from crackmap.stages.datasets.check import check_set, summary_table
    from crackmap.stages.datasets.public import DATA_SETS
    from crackmap.stages.datasets.sources import data_folder

    if not names:
        folder = data_folder(data)
        names = tuple(name for name in DATA_SETS if (folder / name).is_dir())
        if not names:
            raise InputError(f"{folder}: none of {', '.join(DATA_SETS)} is there; docs/datasets.md says where they go")
    summaries = []
    for name in names:
        with frame_progress(f"Reading {name}", 1) as progress:
            summaries.append(check_set(name, split, data, progress=progress))
    if as_json:
        echo(json.dumps([asdict(summary) for summary in summaries], indent=2))
    else:
        echo(summary_table(summaries))
    return 4 if any(summary.problems for summary in summaries) else 0
