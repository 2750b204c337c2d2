"""crackmap status: how far a run is."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crackmap.cli.console import echo, one_line
from crackmap.cli.options import existing_path

if TYPE_CHECKING:
    from crackmap.pipeline.storage.urls import Location


@click.command()
@click.argument("out", metavar="OUT", type=existing_path(file=False, bucket=True))
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON on standard output.")
def command(out: Location, as_json: bool) -> None:
    """Say how far the run in OUT is, also while it runs; in a bucket, by the last snapshot of its journal.

    \b
    crackmap status out
    crackmap status s3://roads/out
    """
    from crackmap.pipeline.status import run_status

    if isinstance(out, Path):
        status = run_status(out)
    else:
        from crackmap.pipeline.storage.staging import bucket_status

        status = bucket_status(out)
    if as_json:
        echo(json.dumps(asdict(status), indent=2))
        return
    state = "running" if status.running else "finished" if status.finished else "interrupted"
    done = sum(status.statuses.values())
    parts = ", ".join(f"{count} {name}" for name, count in status.statuses.items())
    echo(f"{state}: {done} of {status.frames if status.frames is not None else '?'} frames{parts and f' ({parts})'}")
    for key, reason in status.lost:
        echo(one_line(f"lost  {key}: {reason}"))
    if status.unusable:
        echo(f"{status.unusable} images could not be used from the start; `crackmap check` names them")
    if state == "interrupted":
        echo(f"The same command goes on: {status.command or 'crackmap run SURVEY -o ' + str(out)}")
