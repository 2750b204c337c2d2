"""crackmap check: what a run would lose, before it is started."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from crackmap.cli.console import echo, one_line
from crackmap.cli.options import existing_path, gsd_option, loading_options
from crackmap.cli.progress import frame_progress

if TYPE_CHECKING:
    from crackmap.pipeline.storage.urls import Location


@click.command()
@click.argument("survey_path", metavar="SURVEY", type=existing_path(bucket=True))
@click.option("--survey", metavar="FILE|PRESET", help="As of `crackmap run`.")
@gsd_option()
@loading_options()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON on standard output.")
def command(
    survey_path: Location, survey: str | None, gsd_mm: float | tuple[float, float] | None, workers: int,
    follow_links: bool, max_mpx: int, as_json: bool,
) -> int:  # fmt: skip
    """Name every image of SURVEY that a run would lose, and why: a dry run without the nets that writes nothing.

    SURVEY may be s3://BUCKET/PREFIX. Every image is decoded as a whole. Exit code 3 if anything was found.

    \b
    crackmap check survey
    crackmap check survey --survey dnit --json
    """
    from crackmap.pipeline.checking import check_survey
    from crackmap.pipeline.loading import LoadLimits
    from crackmap.pipeline.survey import read_survey

    found = read_survey(survey_path, survey=survey, gsd_mm=gsd_mm, follow_links=follow_links)
    for note in found.notes:
        echo(one_line(f"Note: {note}"), err=True)
    limits = LoadLimits(pixels=max_mpx * 10**6)
    with frame_progress("Checking", len(found.measurable)) as progress:
        findings = check_survey(found, workers=workers, limits=limits, progress=progress)
    total = len(found.measurable) + len(found.skipped)
    if as_json:
        echo(json.dumps({"images": total, "findings": [asdict(finding) for finding in findings]}, indent=2))
        return 3 if findings else 0
    for finding in findings:
        echo(one_line(f"{finding.status}  {finding.key}: {finding.reason}"))
    counts = Counter(finding.status for finding in findings)
    parts = [f"{count} {status}" for status, count in sorted(counts.items())]
    echo(f"{total} images: {total - len(findings)} would be measured{''.join(f', {part}' for part in parts)}.")
    return 3 if findings else 0
