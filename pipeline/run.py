"""A whole survey through the stages, resumable, and from its journal to the products."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from crackmap.calibration.errors import InputError, OutputLockedError, require
from crackmap.pipeline.assembly.assemble import assemble
from crackmap.pipeline.assembly.kept import KeptRows
from crackmap.pipeline.cluster.crew import Crew
from crackmap.pipeline.collecting import no_collection
from crackmap.pipeline.executor import Job, finished_rows
from crackmap.pipeline.frame import Stages, StageSettings
from crackmap.pipeline.frame_table import Picked, keys_of
from crackmap.pipeline.identity import (
    check_identity,
    frame_hasher,
    measured_rows,
    run_identity,
    still_valid,
    survey_identity,
    with_rows,
)
from crackmap.pipeline.journal import JOURNAL_NAME, Journal, JournalRow, open_journal
from crackmap.pipeline.loading import Loader, LoadLimits
from crackmap.pipeline.merge import MergeSettings
from crackmap.pipeline.networks import NetworkSettings
from crackmap.pipeline.products.masks import MASKS_FOLDER
from crackmap.pipeline.products.publish import remove_strays
from crackmap.pipeline.products.strip_images import write_section_strips
from crackmap.pipeline.products.write import write_products
from crackmap.pipeline.profiles import profile_table
from crackmap.pipeline.profiles.model import Profile
from crackmap.pipeline.records import Frame, FrameOutcome
from crackmap.pipeline.report_pictures import FramePicture, frame_pictures
from crackmap.pipeline.review.corrections import bring_up_to_date, resting_note
from crackmap.pipeline.section_lists import ListedSection
from crackmap.pipeline.storage.remote import RemoteOut
from crackmap.pipeline.storage.urls import location
from crackmap.pipeline.survey import Survey, read_survey
from crackmap.pipeline.survey_result import SurveyResult

MOST_PICTURES = 1500
"""Frames that the report may show, at most."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Everything that decides a run's numbers, beside survey and weights.

    Attributes:
        stages: settings of detect, segment, measure.
        merge: how cracks are cut to strips and joined.
        networks: what counts as a pattern.
        section_length_m: length of a section.
        strips: whether the road surface of every section is written as a picture.
        strip_pixel_mm: ground size of its pixels; None: that of the frames.
        section_list: sections in place of those of one length.
        profiles: standards to count by, with their names.
        lane_centre_m: where the middle of the lane lies, to the right of the vehicle's path.
        shapefile: whether the layers are written as Shapefiles as well.
    """

    stages: StageSettings = field(default_factory=StageSettings)
    merge: MergeSettings = field(default_factory=MergeSettings)
    networks: NetworkSettings = field(default_factory=NetworkSettings)
    section_length_m: float = 100.0
    strips: bool = True
    section_list: tuple[ListedSection, ...] | None = None
    profiles: tuple[tuple[str, Profile], ...] = ()
    lane_centre_m: float = 0.0
    shapefile: bool = False
    strip_pixel_mm: float | None = None

    def of_products(self) -> dict[str, Any]:
        """What decides the products, as plain JSON values."""
        return {
            "section_length_m": self.section_length_m,
            "strips": self.strips,
            "section_list": None if self.section_list is None else [asdict(item) for item in self.section_list],
            "profiles": [[name, profile.model_dump(mode="json", by_alias=True)] for name, profile in self.profiles],
            "lane_centre_m": self.lane_centre_m,
            "shapefile": self.shapefile,
            "strip_pixel_mm": self.strip_pixel_mm,
        }

    @classmethod
    def from_products(cls, values: Mapping[str, Any]) -> RunSettings:
        """Settings by which products are made again as they were made last; those of the stages are the run's."""
        listed = values["section_list"]
        return cls(
            section_length_m=values["section_length_m"], strips=values["strips"],
            section_list=None if listed is None else tuple(ListedSection(**item) for item in listed),
            profiles=tuple((name, Profile.model_validate(item)) for name, item in values["profiles"]),
            lane_centre_m=values["lane_centre_m"], shapefile=values["shapefile"],
            strip_pixel_mm=values["strip_pixel_mm"],
        )  # fmt: skip


LEAST_UNREADABLE = 10
"""Fewer images that cannot be read than this stop no run, however few there are in all."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run is carried out. Nothing here changes a number.

    Attributes:
        workers: images that are decoded at a time, and frames that are worked on at a time.
        verify: compare the content of finished frames' files, not only their size and time.
        rerun_changed: do frames again that another configuration has done, instead of refusing.
        strict: stop at the first image that cannot be used.
        require_calibration: refuse a survey in which a camera has no ground scale, instead of measuring it in pixels.
        most_unreadable: stop where more than this share of the images cannot be read: it is the wrong folder, or a bad
            card.
        limits: what an image may cost.
        bucket: gets every mask when it is finished, if the output folder stands for a prefix there.
    """

    workers: int = 2
    verify: bool = False
    rerun_changed: bool = False
    strict: bool = False
    require_calibration: bool = False
    most_unreadable: float = 0.05
    limits: LoadLimits = field(default_factory=LoadLimits)
    bucket: RemoteOut | None = None

    def __post_init__(self) -> None:
        require(self.workers >= 1, "workers", "1 or more", self.workers)
        require(0 <= self.most_unreadable <= 1, "most_unreadable", "from 0 to 1", self.most_unreadable)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run ended with.

    Attributes:
        result: all records, as they stand in the products.
        done_before: frames taken over from an earlier, interrupted run.
        seconds: total per stage, of this run and the ones it continues.
        wall_s: what this run took by the clock: "frames", and the "products" made from them.
        pixels: of the frames done in this run.
    """

    result: SurveyResult
    done_before: int
    seconds: dict[str, float]
    wall_s: dict[str, float] = field(default_factory=dict)
    pixels: int = 0

    @property
    def skipped(self) -> tuple[FrameOutcome, ...]:
        """Frames that could not be used, or not be put on the map."""
        return tuple(self.result.outcomes.lost())


Progress = Callable[[int, int, str], None]
"""Called as (frames done, frames in all, key of the frame just done)."""


def run_survey(
    survey: Survey,
    out: Path,
    nets: Stages | Crew,
    settings: RunSettings,
    *,
    options: RunOptions | None = None,
    progress: Progress = lambda done, total, key: None,
    warn: Callable[[str], None] = lambda text: None,
    command: str = "",
) -> RunSummary:
    """Runs what is not done yet of `survey` and writes all products to `out`.

    Args:
        survey: the frames.
        out: output folder; may hold an interrupted run of the same survey with the same settings.
        nets: loaded nets, or the crew of a cluster that has them.
        settings: must hold the settings `nets` was loaded with.
        options: how it is carried out.
        progress: told after every frame.
        warn: told of a frame that does not get on.
        command: the command line, kept in run.json.

    Raises:
        InputError: too many images cannot be read, or one and `options.strict` says that it must, or a camera lacks the
            ground scale that `options.require_calibration` asks for.
        OutputLockedError: `out` is in use, or holds a run with other settings.
        StorageError: an output cannot be written.
    """
    start = time.perf_counter()
    options = options or RunOptions()
    if options.require_calibration:
        _refuse_pixels(survey)
    identity = run_identity(survey, nets, settings.stages)
    with open_journal(out) as journal:
        check_identity(journal, identity, out, rerun_changed=options.rerun_changed)
        remove_strays(out)
        remove_strays(out / MASKS_FOLDER)
        hash_of = frame_hasher(survey, journal)
        todo = _not_done(survey, journal, hash_of, out / MASKS_FOLDER, verify=options.verify)
        total = len(survey.measurable)
        losses = _Losses(survey, options)
        job = Job(survey, out, hash_of, options.bucket)
        done = total - len(todo)
        journal.set_fact("plan", {"frames": total, "skipped": len(survey.skipped), "command": command})
        with closing(_rows(job, todo, nets, options, warn)) as groups:
            for rows in groups:
                journal.write(*rows)
                for row in rows:
                    done += 1
                    progress(done, total, row.key)
                    losses.add(row)
        job.bring_masks(journal)
        journal.set_fact("products", settings.of_products())
        journal.set_fact("source", {**survey.source, "command": command})
        middle = time.perf_counter()
        result, seconds = publish(survey, journal, out, settings, workers=options.workers)
    wall_s = {"frames": middle - start, "products": time.perf_counter() - middle}
    pixels = sum(frame.size_wh_px[0] * frame.size_wh_px[1] for frame in todo)
    return RunSummary(result, total - len(todo), seconds, wall_s, pixels)


def _rows(
    job: Job, todo: Sequence[Frame], nets: Stages | Crew, options: RunOptions, warn: Callable[[str], None]
) -> Generator[Sequence[JournalRow]]:
    """The rows of frames, in groups, as they are finished here or on a cluster."""
    if isinstance(nets, Crew):
        yield from nets.rows(job, todo, limits=options.limits)
        return
    with Loader(options.workers, limits=options.limits, scratch=job.out) as loader:
        yield from finished_rows(job, todo, nets, loader, workers=options.workers, warn=warn)


def _refuse_pixels(survey: Survey) -> None:
    blind = [frame for frame in survey.measurable if frame.ground is None]
    if blind:
        raise InputError(
            f"{len(blind)} of {len(survey.measurable)} images have no ground scale, the first {blind[0].key}: "
            "give --gsd or [ground] in survey.toml, or leave --require-calibration out to "
            "measure in pixels"
        )


@no_collection()
def _not_done(
    survey: Survey, journal: Journal, hash_of: Callable[[Frame], str], masks: Path, *, verify: bool
) -> Sequence[Frame]:
    """The frames to do, in their order."""
    frames = survey.measurable
    todo = []
    for place, row in with_rows(keys_of(frames), journal.finished()):
        if row is not None:
            frame = frames[place]
            if still_valid(row, frame, hash_of(frame), masks, content=verify):
                continue
        todo.append(place)
    return Picked(frames, sorted(todo))


class _Losses:
    """Stops a run in which too many images cannot be used, before a day has gone into the wrong folder."""

    def __init__(self, survey: Survey, options: RunOptions) -> None:
        self._options = options
        self._found = len(survey.measurable) + len(survey.skipped)
        self._lost = len(survey.unreadable)
        if options.strict and survey.skipped:
            key, reason = survey.skipped[0]
            raise InputError(f"{key}: {reason}; --strict stops at the first image that cannot be used")
        self._check()

    def add(self, row: JournalRow) -> None:
        """Counts a frame."""
        if row.status in ("ok", "no_crack"):
            return
        if self._options.strict:
            raise InputError(f"{row.key}: {row.reason}; --strict stops at the first image that cannot be used")
        self._lost += 1
        self._check()

    def _check(self) -> None:
        if self._lost >= LEAST_UNREADABLE and self._lost > self._options.most_unreadable * self._found:
            raise InputError(
                f"{self._lost} of {self._found} images cannot be read, more than "
                f"{self._options.most_unreadable:.0%}: is it the right folder, and is the card in order? "
                "`crackmap check` names each; --max-unreadable lets more pass"
            )


def rebuild(out: Path, settings: RunSettings) -> SurveyResult:
    """Writes the products in `out` again from its journal, for other sections or profiles. No net is run.

    Images are read again only for pictures. The settings of the stages are those of the run.

    Raises:
        InputError: `out` holds no finished run, or its survey folder has moved.
        OutputLockedError: the survey is described differently now than when it was run.
    """
    with reopened(out) as (survey, journal):
        journal.set_fact("products", settings.of_products())
        result, _ = publish(survey, journal, out, settings)
    return result


def load_result(out: Path, *, section_length_m: float) -> SurveyResult:
    """The result of a finished run from its journal. Nothing is written.

    Raises:
        InputError: `out` holds no finished run, or its survey folder has moved.
        OutputLockedError: the survey is described differently now than when it was run, or `out` is in use.
    """
    with reopened(out) as (survey, journal):
        rows = _valid_rows(survey, journal)
        return assemble(survey, rows, journal, RunSettings(section_length_m=section_length_m), scratch=out)


def run_facts(out: Path) -> dict[str, Any]:
    """What decided a finished run's numbers (version, weights, engine, settings, survey) and its command.

    Raises:
        InputError: `out` holds no finished run, or its survey folder has moved.
        OutputLockedError: the survey is described differently now than when it was run, or `out` is in use.
    """
    with reopened(out) as (_, journal):
        return {**journal.fact("settings"), "command": journal.fact("source")["command"]}


@contextmanager
def reopened(out: Path) -> Iterator[tuple[Survey, Journal]]:
    """The survey and the journal of a finished run, whose lock is held until the block ends.

    Raises:
        InputError: `out` holds no finished run, or its survey folder has moved.
        OutputLockedError: the survey is described differently now than when it was run, or `out` is in use.
    """
    if not (out / JOURNAL_NAME).exists():
        raise InputError(f"{out}: holds no crackmap run (no {JOURNAL_NAME}); give the -o folder of `crackmap run`")
    with open_journal(out) as journal:
        source, settings = journal.fact("source"), journal.fact("settings")
        if source is None or settings is None:
            raise InputError(f"{out}: its run was interrupted before the products; run the same `crackmap run` again")
        survey = read_survey(
            location(source["path"]), survey=source["survey"], gsd_mm=_as_gsd(source["gsd_mm"]),
            follow_links=source["follow_links"],
        )  # fmt: skip
        if survey_identity(survey) != settings["survey"]:
            raise OutputLockedError(
                f"{out}: the survey, or a file that survey.toml names, is another now than when it was run; "
                "run `crackmap run` with --rerun-changed, or restore the files"
            )
        _refuse_stale(survey, journal, out)
        yield survey, journal


def _refuse_stale(survey: Survey, journal: Journal, out: Path) -> None:
    """Raises OutputLockedError where frames were measured with another plane, place or strip than they have now."""
    stale = [row.key for _, row, fits in measured_rows(survey, journal) if not fits]
    if stale:
        raise OutputLockedError(
            f"{out}: {len(stale)} of {len(survey.measurable)} frames lie elsewhere now than when they were measured, "
            f"the first {stale[0]}: a file that survey.toml names (track, odometer, calibration, route, lane masks) "
            "has changed, or images were added; run the same `crackmap run` again, which does those frames anew"
        )


def _as_gsd(value: float | list[float] | None) -> float | tuple[float, float] | None:
    return (value[0], value[1]) if isinstance(value, list) else value


def publish(
    survey: Survey, journal: Journal, out: Path, settings: RunSettings, *, workers: int = 2
) -> tuple[SurveyResult, dict[str, float]]:
    """Writes all products from the journal; returns the result and the seconds per stage.

    Raises:
        StorageError: a product cannot be written.
    """
    resting = bring_up_to_date(survey, journal, out)
    source, rows = journal.fact("source"), _valid_rows(survey, journal)
    result = assemble(survey, rows, journal, settings, scratch=out, processes=workers)
    result = replace(result, notes=(*result.notes, *map(resting_note, resting)))
    seconds = {stage: round(total, 3) for stage, total in rows.seconds.items()}
    info = {
        "crackmap": version("crackmap"),
        "command": source["command"],
        **journal.fact("settings"),
        "merge": asdict(settings.merge),
        "networks": asdict(settings.networks),
        "section_length_m": settings.section_length_m if settings.section_list is None else None,
    }
    listed = settings.section_list is not None
    tables = [
        profile_table(name, profile, result, listed=listed, centre_m=settings.lane_centre_m)
        for name, profile in settings.profiles
    ]
    if tables:
        info["lane_centre_m"] = settings.lane_centre_m
    if corrections := [{"key": one.key, **asdict(one.told)} for one in journal.corrections() if one.key not in resting]:
        info["corrections"] = corrections
    write_section_strips(result, out, wanted=settings.strips, pixel_mm=settings.strip_pixel_mm)
    with Loader(workers, scratch=out) as loader:
        pictures = _pictures(result, rows, journal, out, loader)
    write_products(
        result, out, run_info=info, pictures=pictures, seconds=seconds, profiles=tables, shapefile=settings.shapefile,
        processes=workers,
    )  # fmt: skip
    return result, seconds


def _valid_rows(survey: Survey, journal: Journal) -> KeptRows:
    return KeptRows.of(survey, ((place, row) for place, row, fits in measured_rows(survey, journal) if fits))


def _pictures(
    result: SurveyResult, rows: KeptRows, journal: Journal, out: Path, loader: Loader
) -> tuple[FramePicture, ...]:
    """Small pictures of the frames with the greatest crack length, whose files are those that were measured."""
    cracked = (
        (-rows.crack_length_px[place], outcome.frame.key, place)
        for place, outcome in enumerate(result.outcomes) if outcome.status == "ok"
    )  # fmt: skip
    worst = [(place, result.outcomes[place]) for _, _, place in heapq.nsmallest(MOST_PICTURES, cracked)]
    shown = [outcome for place, outcome in worst if rows.is_of_file(place, outcome.frame.file)]
    return frame_pictures(shown, journal.cracks, journal.looked, out / MASKS_FOLDER, loader)
