"""crackmap plan: what a run will take, before it is begun."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crackmap.cli.console import echo, one_line
from crackmap.cli.options import (
    device_option,
    engine_option,
    existing_path,
    finite,
    gsd_option,
    json_option,
    loading_options,
    section_option,
    weights_options,
)
from crackmap.cli.progress import frame_progress
from crackmap.cli.types import CountsType

if TYPE_CHECKING:
    from crackmap.pipeline.frame import Stages
    from crackmap.pipeline.planning import Plan, Timing
    from crackmap.pipeline.planning.estimate import Range

MOST_SHOWN = 10
"""Recordings, and skipped images, that are named one by one; --json has all."""

PARTS = {"decode": "reading and decoding", "nets": "nets", "measuring": "measuring", "masks": "mask files",
         "strips": "strips", "pictures": "pictures of the report", "tables": "map, tables, report"}  # fmt: skip


@click.command()
@click.argument("survey_path", metavar="SURVEY", type=existing_path())
@click.option("--out", "-o", type=click.Path(path_type=Path), help="Where the run would write: is there room? "
              "Nothing is written there now.")  # fmt: skip
@click.option("--survey", metavar="FILE|PRESET", help="As of `crackmap run`.")
@gsd_option()
@section_option("--section")
@click.option("--strips/--no-strips", default=True, show_default=True, help="As of `crackmap run`.")
@click.option("--segment-everything", is_flag=True, help="As of `crackmap run`.")
@click.option("--sample", default=16, show_default=True, type=click.IntRange(0, 10_000), metavar="N",
              help="Frames to measure here. 0: only count.")  # fmt: skip
@click.option("--on", "machines", default="1,10,100", show_default=True, type=CountsType(),
              help="Numbers of machines, each as this one, to tell the time for.")  # fmt: skip
@click.option("--storage-mb-s", type=click.FloatRange(min=0, min_open=True), callback=finite, metavar="MB/S",
              help="What the storage of the images gives to all machines; by default it is no limit.")  # fmt: skip
@click.option("--price-per-hour", type=click.FloatRange(min=0), callback=finite, metavar="PRICE",
              help="Of one machine, in any currency.")  # fmt: skip
@weights_options()
@device_option()
@engine_option()
@loading_options()
@click.option("--max-unreadable", default=5.0, show_default=True, type=click.FloatRange(0, 100), metavar="PERCENT",
              help="As of `crackmap run`.")  # fmt: skip
@json_option()
def command(
    survey_path: Path, out: Path | None, survey: str | None, gsd_mm: float | tuple[float, float] | None,
    section_length_m: float, strips: bool, segment_everything: bool, sample: int, machines: tuple[int, ...],
    storage_mb_s: float | None, price_per_hour: float | None, detect_weights: Path | None,
    segment_weights: Path | None, device: str, engine: str, workers: int, follow_links: bool, max_mpx: int,
    max_unreadable: float, as_json: bool,
) -> int:  # fmt: skip
    """Say what a run of SURVEY will take: images, kilometres, time, costs, disk and memory.

    A sample of the frames goes through the stages on this machine, into a folder that is gone afterwards. How long a
    frame takes depends on how much of it is cracked, so a sample is no promise. Exit code 4 where the run could not
    end: no room on the disk, or too many images that cannot be read.

    \b
    crackmap plan survey                                     what is there, how long here, on 10, on 100
    crackmap plan survey -o /big/out --on 1,8                is there room; one machine or eight
    crackmap plan survey --sample 64 --price-per-hour 2.40   a narrower range, and costs
    crackmap plan survey --sample 0 --json                   only count, for scripts
    """
    from crackmap.pipeline.frame import StageSettings
    from crackmap.pipeline.loading import LoadLimits
    from crackmap.pipeline.planning import PlanOptions, make_plan
    from crackmap.pipeline.planning.machine import process_age_s
    from crackmap.pipeline.run import RunSettings
    from crackmap.pipeline.survey import read_survey
    from crackmap.stages.measure.settings import MeasureSettings

    found = read_survey(survey_path, survey=survey, gsd_mm=gsd_mm, follow_links=follow_links)
    begun_s = process_age_s() or 0.0
    for note in found.notes:
        echo(one_line(f"Note: {note}"), err=True)
    stages = StageSettings(
        measure=MeasureSettings(gamma=found.config.image.gamma), segment_everything=segment_everything
    )

    def load() -> Stages:
        from crackmap.pipeline.nets import load_stages

        return load_stages(stages, detect_weights=detect_weights, segment_weights=segment_weights, device=device,
                           engine=engine, streams=workers)  # fmt: skip

    options = PlanOptions(
        sample, machines, workers, storage_mb_s and storage_mb_s * 1e6, price_per_hour, out, max_unreadable / 100,
        LoadLimits(pixels=max_mpx * 10**6),
    )  # fmt: skip
    with frame_progress("Measuring a sample", 0) as progress:
        plan = make_plan(
            found,
            load,
            RunSettings(stages, section_length_m=section_length_m, strips=strips), options,
            begun_s=begun_s, progress=progress, warn=lambda text: echo(f"Warning: {text}", err=True),
        )  # fmt: skip
    if as_json:
        echo(json.dumps({**asdict(plan), "possible": plan.possible}, indent=2))
    else:
        for line in _lines(plan):
            echo(line)
    for item in plan.shortages:
        echo(one_line(f"{'Cannot work' if item.certain else 'Warning'}: {item.text}"), err=True)
    return 0 if plan.possible else 4


def _lines(plan: Plan) -> Iterator[str]:
    yield from _inventory(plan)
    if plan.sample is not None:
        yield from _measured(plan)
    if plan.estimate is not None:
        yield from _time(plan)
        yield from _space(plan)


def _inventory(plan: Plan) -> Iterator[str]:
    there = plan.inventory
    yield one_line(f"{plan.survey}: {there.found} images, {there.usable} usable, {len(there.skipped)} skipped; "
                   f"{there.pixels / 1e6:.4g} Mpx, {_size(there.input_bytes)} to read")  # fmt: skip
    for key, reason in there.skipped[:MOST_SHOWN]:
        yield one_line(f"  skipped  {key}: {reason}")
    if len(there.skipped) > MOST_SHOWN:
        yield f"  and {len(there.skipped) - MOST_SHOWN} more; `crackmap check` names each"
    width = max(10, *(len(one_line(item.recording)) for item in there.recordings[:MOST_SHOWN]))
    yield f"\n{'recording':<{width}}{'frames':>10}{'Mpx':>10}{'road, km':>10}"
    for item in there.recordings[:MOST_SHOWN]:
        yield (f"{one_line(item.recording):<{width}}{item.frames:>10}{item.pixels / 1e6:>10.1f}"
               f"{_km(item.pictured_m):>10}")  # fmt: skip
    if len(there.recordings) > MOST_SHOWN:
        yield f"and {len(there.recordings) - MOST_SHOWN} more"
    if len(there.recordings) > 1:
        yield f"{'all':<{width}}{there.usable:>10}{there.pixels / 1e6:>10.1f}{_km(there.pictured_m):>10}"
    if there.pictured_m is None:
        yield "No kilometres: nobody knows where along a road the images lie, or how large a pixel is."
    elif any(item.pictured_m is None for item in there.recordings):
        yield "?: nobody knows where along a road its images lie, or how large a pixel is; it is in no sum."


def _measured(plan: Plan) -> Iterator[str]:
    sample = plan.sample
    if sample is None:
        return
    seen = "all frames" if sample.whole else f"{len(sample.frames)} frames"
    yield f"\nMeasured here: {seen}, {sample.workers} at a time, nets: {sample.engine or 'stand-ins'}."
    if plan.estimate is None:
        yield "No sampled image could be used: nothing can be said of time and space."
    elif plan.estimate.spread is None:
        yield "Too few frames for a range; --sample gives more."
    elif sample.whole:
        yield "The range is that of the clock alone: the same work takes longer at another hour."
    else:
        yield "The range is to hold in eight cases of ten, if the rest is like the sample; cracked road takes longer."


def _time(plan: Plan) -> Iterator[str]:
    found = plan.estimate
    if found is None:
        return
    work = found.work
    yield f"\n{'here':<26}{'time':>12}"
    for name, seconds in {"start": work.start_s, **found.parts_s}.items():
        yield f"  {PARTS.get(name, 'program, survey, nets ready'):<24}{_duration(seconds):>12}"
    priced = any(item.cost is not None for item in plan.expected)
    yield f"\n{'machines':<10}{'time':>12}{'range':>26}{'machine hours':>16}{'cost' if priced else '':>12}   bound by"
    for item in plan.expected:
        cost = "" if item.cost is None else f"{item.cost.value:.2f}"
        bound = _longest(item.timing)
        yield (f"{item.timing.machines:<10}{_duration(item.total_s.value):>12}{_range(item.total_s):>26}"
               f"{item.machine_hours.value:>16.2f}{cost:>12}   {bound}")  # fmt: skip
    if priced:
        yield "Costs: all machines are paid until the end."


def _space(plan: Plan) -> Iterator[str]:
    found, room = plan.estimate, plan.room
    if found is None:
        return
    space = found.space
    parts = {"masks": space.masks, "journal": space.journal, "products": space.products, "strips": space.strips,
             "for a while": space.working}  # fmt: skip
    told = ", ".join(f"{name} {_size(size)}" for name, size in parts.items() if size)
    free = "" if room.disk_bytes is None else f"; {_size(room.disk_bytes)} are free"
    need = space.total
    ends = "" if need.low is None or need.high is None else f" ({_size(need.low)} to {_size(need.high)})"
    yield f"\nDisk:   {_size(need.value)}{ends} in the output folder: {told}{free}."
    if found.memory.peak is not None:
        limit = "" if room.memory_bytes is None else f"; {_size(room.memory_bytes)} may be used"
        yield f"Memory: {_size(found.memory.peak)} on the machine that puts results together{limit}."
    if plan.sample is not None and plan.sample.device is not None:
        held = plan.sample.device
        yield f"Card:   {_size(held.peak_bytes)} of {_size(held.total_bytes)} ({held.name})."


def _longest(timing: Timing) -> str:
    """The longest of the terms that follow each other."""
    names = {"compute": "computing", "storage": "storage", "journal": "the journal"}
    terms = {
        names[timing.bound]: max(timing.compute_s, timing.storage_s, timing.journal_s),
        "start": timing.start_s,
        "products, which one machine makes": timing.assembly_s,
    }
    return max(terms, key=lambda name: terms[name])


def _size(size: float) -> str:
    from crackmap.pipeline.planning.shortages import gigabytes

    return gigabytes(size)


def _km(length_m: float | None) -> str:
    return "?" if length_m is None else f"{length_m / 1e3:.3f}"


def _range(some: Range) -> str:
    return "?" if some.low is None or some.high is None else f"{_duration(some.low)} to {_duration(some.high)}"


def _duration(seconds: float) -> str:
    """«45 s», «3.5 min», «12.3 h», «8.1 d»."""
    for unit_s, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.3g} {name}"
    return f"{seconds:.3g} s"
