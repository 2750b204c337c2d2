"""What a run of a survey will take, before it is begun."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from crackmap.calibration.errors import require
from crackmap.pipeline.frame import Stages
from crackmap.pipeline.journal import JOURNAL_NAME, on_network
from crackmap.pipeline.loading import LoadLimits
from crackmap.pipeline.planning.counting import Inventory, count_survey
from crackmap.pipeline.planning.estimate import Estimate, Range, estimate
from crackmap.pipeline.planning.machine import existing, free_bytes, memory_bytes
from crackmap.pipeline.planning.measuring import Progress, Sample, measure_sample
from crackmap.pipeline.planning.sampling import choose_sample
from crackmap.pipeline.planning.shortages import Room, Shortage, shortages
from crackmap.pipeline.planning.timing import Rates, Timing, time_on
from crackmap.pipeline.run import RunSettings
from crackmap.pipeline.survey import Survey


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What is asked.

    Attributes:
        sample: frames to measure; 0: only count.
        machines: numbers of machines, each as this one, to tell the time for.
        workers: frames that are worked on at a time on each.
        storage_bytes_per_s: that the storage of the images gives to all machines together; None: it is no limit.
        price_per_hour: of a machine, in any currency; None: no costs.
        out: where the run would write; None: not known.
        most_unreadable: as of `RunOptions`.
        limits: what an image may cost.
        rates: what is taken for given.
    """

    sample: int = 16
    machines: tuple[int, ...] = (1, 10, 100)
    workers: int = 2
    storage_bytes_per_s: float | None = None
    price_per_hour: float | None = None
    out: Path | None = None
    most_unreadable: float = 0.05
    limits: LoadLimits = field(default_factory=LoadLimits)
    rates: Rates = field(default_factory=Rates)

    def __post_init__(self) -> None:
        require(self.sample >= 0, "sample", "0 or more", self.sample)
        require(self.workers >= 1, "workers", "1 or more", self.workers)
        require(bool(self.machines) and min(self.machines) >= 1, "machines", "1 or more each", self.machines)
        price = self.price_per_hour
        require(price is None or price >= 0, "price_per_hour", "0 or more", price)


@dataclass(frozen=True, slots=True)
class Expected:
    """The time on some machines.

    Attributes:
        timing: by its terms.
        total_s: with its range.
        machine_hours: hours of all machines, none given back before the end, with their range.
        cost: of those hours; None without a price.
    """

    timing: Timing
    total_s: Range
    machine_hours: Range
    cost: Range | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will take.

    Attributes:
        survey: name of the survey.
        inventory: what it holds.
        sample: what was measured; None where only counting was asked for.
        estimate: of a run on this machine; None without a sample, or where no sampled frame could be used.
        expected: on each number of machines asked for; empty as well.
        room: what there is.
        shortages: warnings, the certain ones first.
    """

    survey: str
    inventory: Inventory
    sample: Sample | None
    estimate: Estimate | None
    expected: tuple[Expected, ...]
    room: Room
    shortages: tuple[Shortage, ...]

    @property
    def possible(self) -> bool:
        """Whether nothing is known that would certainly stop the run."""
        return not any(item.certain for item in self.shortages)


def make_plan(
    survey: Survey,
    load: Callable[[], Stages],
    settings: RunSettings,
    options: PlanOptions,
    *,
    begun_s: float = 0.0,
    progress: Progress = lambda done, total, key: None,
    warn: Callable[[str], None] = lambda text: None,
) -> Plan:
    """Counts a survey, measures a sample of its frames on this machine, and says what a run will take.

    Args:
        survey: as a run would read it.
        load: loads the nets; not called where no sample is wanted.
        settings: of the run.
        options: what is asked.
        begun_s: that loading the program and reading the survey took, which a run does once more.
        progress: told after every frame of the sample.
        warn: told of a frame that does not get on.

    Raises:
        StorageError: there is no room for the temporary files of the sample.
        WeightsError, DeviceError: as `load` does.
    """
    inventory = count_survey(survey)
    sample, found = None, None
    chosen = choose_sample(survey.measurable, options.sample)
    if chosen:
        sample = measure_sample(
            survey, chosen, load, settings, workers=options.workers, limits=options.limits, progress=progress, warn=warn
        )
        found = estimate(inventory, sample, settings, begun_s=begun_s, rates=options.rates)
    room = _room(survey, options)
    told = shortages(inventory, sample, found, room, most_unreadable=options.most_unreadable)
    expected = tuple(expected_on(number, found, options) for number in options.machines) if found else ()
    return Plan(survey.name, inventory, sample, found, expected, room, told)


def expected_on(machines: int, found: Estimate, options: PlanOptions) -> Expected:
    """The time and the costs of an estimate on some machines; the ends of the range by the same formula."""

    def on(factor: float) -> Timing:
        work = replace(found.work, compute_s=factor * found.work.compute_s, assembly_s=factor * found.work.assembly_s)
        return time_on(machines, work, options.rates, storage_bytes_per_s=options.storage_bytes_per_s)

    timing = on(1.0)
    ends = (None, None) if found.spread is None else (on(found.spread[0]).total_s, on(found.spread[1]).total_s)
    seconds = Range(timing.total_s, *ends)
    hours = _times(seconds, machines / 3600)
    price = options.price_per_hour
    return Expected(timing, seconds, hours, None if price is None else _times(hours, price))


def _times(some: Range, factor: float) -> Range:
    low, high = (None if end is None else end * factor for end in (some.low, some.high))
    return Range(some.value * factor, low, high)


def _room(survey: Survey, options: PlanOptions) -> Room:
    out = options.out
    return Room(
        disk_bytes=None if out is None else free_bytes(out),
        continued=out is not None and (out / JOURNAL_NAME).exists(),
        memory_bytes=memory_bytes(),
        survey_on_network=on_network(survey.root),
        out_on_network=out is not None and on_network(existing(out)),
    )
