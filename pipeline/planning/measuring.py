"""A few frames taken through the very code of a run, into a folder that is gone afterwards, and what they cost."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path

from crackmap.pipeline.executor import MANY_FRAMES, Job, finished_rows
from crackmap.pipeline.frame import Stages
from crackmap.pipeline.frame_table import in_columns
from crackmap.pipeline.identity import frame_hasher, run_identity
from crackmap.pipeline.journal import JOURNAL_NAME, Journal, JournalRow, open_journal
from crackmap.pipeline.loading import Loader, LoadLimits
from crackmap.pipeline.planning.machine import PeakMemory
from crackmap.pipeline.planning.making import NO_STRIPS, ProductsSample, StripsSample, products_of, strips_of
from crackmap.pipeline.planning.sampling import Chosen
from crackmap.pipeline.records import Frame
from crackmap.pipeline.run import RunSettings
from crackmap.pipeline.survey import Survey
from crackmap.stages.device_memory import DeviceMemory, device_memory

Progress = Callable[[int, int, str], None]
"""Called as (frames done, frames in all, key of the frame just done)."""

USABLE = ("ok", "no_crack")
"""Statuses of rows that say what a frame costs."""


@dataclass(frozen=True, slots=True)
class SampledFrame:
    """What one frame cost.

    Attributes:
        key: which.
        pixels: of it.
        stands_for_px: as of `Chosen`.
        seconds: of a worker, by stage.
        cracks: found in it, joints and sealed ones too.
        mask_bytes: of its mask file.
        reason: why a run would not use it; then nothing else is known.
    """

    key: str
    pixels: int
    stands_for_px: float
    seconds: Mapping[str, float]
    cracks: int
    mask_bytes: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a sample showed.

    Attributes:
        frames: in the order of the survey.
        workers: frames that were worked on at a time.
        engine: what computed the nets.
        start_s: nets loaded and made ready, decoders and measurers started.
        clock_share: seconds of the clock for each second of a worker.
        journal_rows, journal_cracks, journal_bytes: what the journal held at the end.
        products: tables, layers and report.
        strips: the road from above.
        start_bytes, peak_bytes: memory of the program and its child processes, before and at most; None where the
            system does not tell.
        device: memory of the graphics card; None without one.
        whole: every frame of the survey is in it.
    """

    frames: tuple[SampledFrame, ...]
    workers: int
    engine: str
    start_s: float
    clock_share: float
    journal_rows: int
    journal_cracks: int
    journal_bytes: int
    products: ProductsSample
    strips: StripsSample
    start_bytes: int | None
    peak_bytes: int | None
    device: DeviceMemory | None
    whole: bool

    @property
    def usable(self) -> tuple[SampledFrame, ...]:
        """Frames that say what frames cost."""
        return tuple(frame for frame in self.frames if not frame.reason)


def measure_sample(
    survey: Survey,
    chosen: Sequence[Chosen],
    load: Callable[[], Stages],
    settings: RunSettings,
    *,
    workers: int,
    limits: LoadLimits | None = None,
    progress: Progress = lambda done, total, key: None,
    warn: Callable[[str], None] = lambda text: None,
) -> Sample:
    """Takes the chosen frames through a run's stages and products; nothing of it is kept.

    Each goes through twice or more: first what is slow only once (nets are prepared for each new shape of window), then
    by the clock, with as many frames before and behind as a long run has at hand.

    Args:
        survey: they belong to.
        chosen: at least one.
        load: loads the nets.
        settings: of the run that is planned.
        workers: frames that are worked on at a time.
        limits: what an image may cost.
        progress: told after every frame.
        warn: told of a frame that does not get on.

    Raises:
        StorageError: there is no room for temporary files.
    """
    frames = [item.frame for item in chosen]
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="crackmap-plan-") as folder, PeakMemory() as memory:
        out = Path(folder)
        stages = load()
        loaded_s = time.perf_counter() - start
        passes = _Passes.of(frames, workers, many=len(survey.measurable) >= MANY_FRAMES)
        with open_journal(out) as journal:
            everything = _only(survey, passes.all)
            journal.set_fact("settings", run_identity(survey, stages, settings.stages))
            journal.set_fact("source", {**survey.source, "command": ""})
            job = Job(everything, out, frame_hasher(everything, journal))
            with Loader(workers, limits=limits, scratch=out) as loader:
                timed = _timed(job, passes, stages, loader, journal, workers=workers, progress=progress, warn=warn)
            rows = {row.key: row for row in timed.rows}
            products = products_of(_only(survey, frames), journal, out, settings, workers=workers)
            strips = strips_of(survey, frames, out, settings) if settings.strips else NO_STRIPS
        journal_bytes = (out / JOURNAL_NAME).stat().st_size
        held = device_memory()
    worked = sum(sum(row.seconds.values()) for row in timed.rows)
    clock_share = timed.clock_s / worked if worked else 0.0
    warm_s = timed.warm_s - clock_share * timed.warm_worked_s
    return Sample(
        tuple(_sampled(item, passes, rows) for item in chosen), workers, stages.engine, loaded_s + max(warm_s, 0.0),
        clock_share, timed.written, timed.written_cracks, journal_bytes, products, strips, memory.start_bytes,
        memory.peak_bytes, held, len(frames) == len(survey.measurable),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Passes:
    """The sample, gone through several times; copies have keys of their own, so that their masks do.

    Attributes:
        warm: before the clock.
        timed: by the clock; the frames themselves come first.
        behind: begun when the clock stops; none where the survey is so small that a run is not long in full swing.
    """

    warm: tuple[Frame, ...]
    timed: tuple[Frame, ...]
    behind: tuple[Frame, ...]

    @classmethod
    def of(cls, frames: Sequence[Frame], workers: int, *, many: bool) -> _Passes:
        """As many as it takes that all workers are at work all the time; of a small survey just twice."""
        at_hand = 2 * workers if many else 0
        turns = -(-max(at_hand, MANY_FRAMES // 2) // len(frames)) if many else 1
        # No key of a survey begins so.
        copies = (replace(frame, key=f"/{turn}/{frame.key}") for turn in count(1) for frame in frames)
        timed = (*frames, *islice(copies, (turns - 1) * len(frames)))
        warm = tuple(islice(copies, turns * len(frames)))
        return cls(warm, timed, tuple(islice(copies, at_hand + workers if many else 0)))

    @property
    def all(self) -> tuple[Frame, ...]:
        """Every copy."""
        return (*self.warm, *self.timed, *self.behind)

    def keys_of(self, frame: Frame) -> list[str]:
        """Keys of a frame's copies in `timed`."""
        return [copy.key for copy in self.timed if copy.file == frame.file]


@dataclass(frozen=True, slots=True)
class _Timed:
    """What the clock said.

    Attributes:
        rows: of `_Passes.timed`.
        clock_s: they took.
        warm_s: the frames before them took, from a standing start.
        warm_worked_s: of that the workers' seconds.
        written, written_cracks: rows of the journal, and cracks in them.
    """

    rows: tuple[JournalRow, ...]
    clock_s: float
    warm_s: float
    warm_worked_s: float
    written: int
    written_cracks: int


def _timed(
    job: Job, passes: _Passes, stages: Stages, loader: Loader, journal: Journal, *, workers: int, progress: Progress,
    warn: Callable[[str], None],
) -> _Timed:  # fmt: skip
    numbers = count(1)
    total = len(passes.warm) + len(passes.timed)

    def done(groups: Generator[Sequence[JournalRow]], wanted: int | None = None) -> Iterator[JournalRow]:
        # The executor of one machine gives rows one by one.
        for (row,) in islice(groups, wanted):
            journal.write(row)
            progress(next(numbers), total, row.key.lstrip("/"))
            yield row

    start = time.perf_counter()
    if passes.behind:
        # In full swing when the clock starts, and when it stops.
        with closing(finished_rows(job, passes.all, stages, loader, workers=workers, warn=warn)) as rows:
            warm = tuple(done(rows, len(passes.warm)))
            middle = time.perf_counter()
            timed = tuple(done(rows, len(passes.timed)))
            end = time.perf_counter()
    else:
        # To their end, or the decoders would be ended with them.
        with closing(finished_rows(job, passes.warm, stages, loader, workers=workers, warn=warn)) as rows:
            warm = tuple(done(rows))
        middle = time.perf_counter()
        with closing(finished_rows(job, passes.timed, stages, loader, workers=workers, warn=warn)) as rows:
            timed = tuple(done(rows))
        end = time.perf_counter()
    # A second time they take what they take: the rest of the first was getting ready.
    again = sum(sum(row.seconds.values()) for row in timed) * len(warm) / len(timed)
    cracks = sum(len(row.cracks) for row in (*warm, *timed))
    return _Timed(timed, end - middle, middle - start, again, len(warm) + len(timed), cracks)


def _sampled(item: Chosen, passes: _Passes, rows: Mapping[str, JournalRow]) -> SampledFrame:
    """What a frame cost, the mean of its turns."""
    frame = item.frame
    own = [rows[key] for key in passes.keys_of(frame)]
    pixels = frame.size_wh_px[0] * frame.size_wh_px[1]
    lost = next((row.reason for row in own if row.status not in USABLE), "")
    if lost:
        return SampledFrame(frame.key, pixels, item.stands_for_px, {}, 0, 0, lost)
    seconds: dict[str, float] = defaultdict(float)
    for row in own:
        for stage, taken in row.seconds.items():
            seconds[stage] += taken / len(own)
    return SampledFrame(frame.key, pixels, item.stands_for_px, dict(seconds), len(own[0].cracks), own[0].mask_bytes)


def _only(survey: Survey, frames: Sequence[Frame]) -> Survey:
    """A survey of some frames of another, or copies of them, by the drive alone."""
    why = dict(zip((frame.file for frame in survey.unplaced), survey.unplaced_why, strict=True))
    return replace(
        survey,
        frames=in_columns([frame for frame in frames if frame.file not in why]),
        unplaced=tuple(frame for frame in frames if frame.file in why),
        unplaced_why=tuple(why[frame.file] for frame in frames if frame.file in why),
        skipped=(),
        unreadable=frozenset(),
        routing=None,
    )
