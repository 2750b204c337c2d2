"""crackmap run: from a survey folder to a crack map."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crackmap.cli.cluster import cluster_options, cluster_settings
from crackmap.cli.console import echo, one_line
from crackmap.cli.options import (
    device_option,
    engine_option,
    existing_path,
    gsd_option,
    loading_options,
    output_path,
    section_option,
    usable_processors,
    weights_options,
    work_option,
)
from crackmap.cli.profile import print_profile
from crackmap.cli.progress import frame_progress

if TYPE_CHECKING:
    from crackmap.pipeline.run import RunSummary
    from crackmap.pipeline.storage.urls import Location


@click.command()
@click.argument("survey_path", metavar="SURVEY", type=existing_path(bucket=True))
@click.option("--out", "-o", required=True, type=output_path(), help="Output folder, or s3://BUCKET/PREFIX.")
@work_option()
@click.option(
    "--survey",
    metavar="FILE|PRESET",
    help="survey.toml that describes the folder, or the name of a preset (dnit); by default SURVEY/survey.toml.",
)
@gsd_option()
@section_option("--section")
@click.option("--strips/--no-strips", default=True, show_default=True,
              help="Write the road surface of each section, seen from above, to OUT/strips.")  # fmt: skip
@click.option("--shapefile", is_flag=True, help="Write the layers as Shapefiles as well, with short names.")
@click.option("--segment-everything", is_flag=True, help="Skip the detector and segment whole images: slower.")
@click.option("--screen", is_flag=True, help="Let a patch classifier spare the detector road without cracks; "
              "needs --screen-weights.")  # fmt: skip
@weights_options(screen=True)
@device_option()
@engine_option()
@loading_options()
@click.option("--max-unreadable", default=5.0, show_default=True, type=click.FloatRange(0, 100), metavar="PERCENT",
              help="Stop where more of the images cannot be read.")  # fmt: skip
@click.option("--strict", is_flag=True, help="Stop at the first image that cannot be used.")
@click.option("--require-calibration", is_flag=True, help="Refuse images without a ground scale, which are measured in "
              "pixels otherwise.")  # fmt: skip
@click.option("--verify", is_flag=True, help="Compare the content of finished frames' files, not only size and time.")
@click.option("--rerun-changed", is_flag=True, help="OUT holds a run with other settings: replace it.")
@cluster_options()
@click.option("--profile", is_flag=True, help="Show at the end where the time went; timings.json holds it anyway.")
def command(
    survey_path: Location, out: Location, work: Path | None, survey: str | None,
    gsd_mm: float | tuple[float, float] | None, section_length_m: float,
    strips: bool, shapefile: bool, segment_everything: bool, screen: bool,
    detect_weights: Path | None,
    segment_weights: Path | None, screen_weights: Path | None, device: str, engine: str, workers: int,
    follow_links: bool, max_mpx: int, max_unreadable: float, strict: bool, require_calibration: bool, verify: bool,
    rerun_changed: bool, executor: str, address: str | None, gpus_per_worker: float | None, profile: bool,
) -> int:  # fmt: skip
    """Turn SURVEY, a folder of road images (or one image or GeoTIFF), into a crack map in OUT.

    Either may be in a bucket: s3://BUCKET/PREFIX. Safe to stop and run again: what is done is kept.

    \b
    crackmap run photos -o out --gsd 1.0           downward photos, 1 mm a pixel
    crackmap run survey -o out                     described by survey/survey.toml
    crackmap run survey -o out --survey dnit       described by a preset
    crackmap run ortho.tif -o out                  a georeferenced raster
    crackmap run survey -o out --executor ray --address auto
                                                   on all machines of a Ray cluster
    crackmap run s3://roads/a7 -o s3://roads/out   in a bucket (pip install 'crackmap[s3]')
    """
    from crackmap.pipeline.cluster.crew import Crew
    from crackmap.pipeline.frame import StageSettings
    from crackmap.pipeline.loading import LoadLimits
    from crackmap.pipeline.run import RunOptions, RunSettings, run_survey
    from crackmap.pipeline.storage.staging import working_copy
    from crackmap.pipeline.survey import read_survey
    from crackmap.stages.measure.settings import MeasureSettings
    from crackmap.stages.screen.settings import ScreenSettings

    if screen_weights is not None and not screen:
        raise click.UsageError("--screen-weights are used with --screen only")
    if screen and segment_everything:
        raise click.UsageError("--screen spares the detector work, --segment-everything does without it: choose one")
    found = read_survey(survey_path, survey=survey, gsd_mm=gsd_mm, follow_links=follow_links)
    for note in found.notes:
        echo(one_line(f"Note: {note}"), err=True)
    settings = RunSettings(
        StageSettings(
            measure=MeasureSettings(gamma=found.config.image.gamma), segment_everything=segment_everything,
            screen=ScreenSettings() if screen else None,
        ),
        section_length_m=section_length_m, strips=strips, shapefile=shapefile,
    )  # fmt: skip
    # It takes PyTorch along, for which nobody with a wrong description need wait.
    from crackmap.pipeline.nets import load_stages

    cluster = cluster_settings(executor, address, workers, gpus_per_worker)
    load = partial(
        load_stages, settings.stages, detect_weights=_absolute(detect_weights),
        segment_weights=_absolute(segment_weights), screen_weights=_absolute(screen_weights), device=device,
        engine=engine,
    )  # fmt: skip
    with ExitStack() as stack:
        place = stack.enter_context(working_copy(out, work=work))
        options = RunOptions(
            workers=workers if cluster is None else usable_processors(), verify=verify, rerun_changed=rerun_changed,
            strict=strict, require_calibration=require_calibration,
            most_unreadable=max_unreadable / 100, limits=LoadLimits(pixels=max_mpx * 10**6), bucket=place.bucket,
        )  # fmt: skip
        nets = load(streams=workers) if cluster is None else stack.enter_context(Crew(load, cluster, _warn))
        progress = stack.enter_context(frame_progress("Finding cracks", len(found.measurable)))
        summary = run_survey(
            found, place.folder, nets, settings, options=options, progress=place.checked(progress), warn=_warn,
            command=" ".join(["crackmap", *sys.argv[1:]]),
        )  # fmt: skip
        if isinstance(nets, Crew):
            workers = nets.workers
    print_summary(summary, out)
    if profile:
        print_profile(summary, workers=workers, engine=nets.engine)
    return 3 if summary.skipped else 0


def _absolute(path: Path | None) -> Path | None:
    """A worker has another working folder."""
    return None if path is None else path.resolve()


def _warn(text: str) -> None:
    echo(one_line(f"Warning: {text}"), err=True)


def print_summary(summary: RunSummary, out: Location) -> None:
    """A few lines on standard output: what was found, what was skipped, where to look."""
    from crackmap.pipeline.products.totals import whole_length

    result = summary.result
    metres, pixels = whole_length(result.cracks)
    scaled = metres is not None or any(outcome.frame.ground is not None for outcome in result.outcomes)
    length = f"{metres or 0.0:.1f} m" if scaled else f"{pixels:.0f} px"
    if summary.done_before:
        echo(f"{summary.done_before} frames were done before and kept.")
    if corrected := result.outcomes.corrected_count:
        echo(f"{corrected} frames are as a person corrected them; `crackmap import {out} --undo` takes that back.")
    measured, found = len(result.outcomes) - len(summary.skipped), len(result.outcomes)
    frames = f"{found} frames" if measured == found else f"{measured} of {found} frames"
    echo(f"{frames}, {len(result.cracks)} cracks, {length} of crack in all.")
    for outcome in summary.skipped:
        echo(one_line(f"Skipped {outcome.frame.key}: {outcome.reason}"), err=True)
    echo(f"Report: {out / 'report.html'}\nMap:    {out / 'crackmap.gpkg'} (opens in QGIS)")
