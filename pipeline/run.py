"""A whole survey through the stages, resumable, and from its journal to the products."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from crackmap.calibration.errors import InputError, OutputLockedError, UnreadableImageError
from crackmap.pipeline.along import along_route
from crackmap.pipeline.config import named_files
from crackmap.pipeline.frame import FrameResult, Stages, StageSettings, process_image
from crackmap.pipeline.images import ImageSource, open_image
from crackmap.pipeline.journal import JOURNAL_NAME, Journal, JournalRow, open_journal
from crackmap.pipeline.merge import MergeSettings, merge_cracks
from crackmap.pipeline.networks import NetworkSettings, find_patterns, with_pattern_areas
from crackmap.pipeline.pictures import overlay_jpeg
from crackmap.pipeline.placing import PIXELS
from crackmap.pipeline.products import write_products
from crackmap.pipeline.products.masks import mask_name, write_mask_cog
from crackmap.pipeline.products.strip_images import write_section_strips
from crackmap.pipeline.records import Frame, FrameOutcome, SurveyResult
from crackmap.pipeline.sections import footprint, make_sections
from crackmap.pipeline.survey import Survey, read_survey
from crackmap.stages.tiling import ArraySource, PixelSource

LARGE_IMAGE_PX = 60_000_000
"""Images above this many pixels are read by windows instead of being decoded as a whole."""

PICTURES = 8
"""The report shows the frames with the greatest crack length, this many."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Everything that decides a run's numbers, beside survey and weights.

    Attributes:
        stages: settings of detect, segment, measure.
        merge: how cracks are cut to strips and joined.
        networks: what counts as a pattern.
        section_length_m: length of a section.
        strips: whether the road surface of every section is written as a picture.
    """

    stages: StageSettings = field(default_factory=StageSettings)
    merge: MergeSettings = field(default_factory=MergeSettings)
    networks: NetworkSettings = field(default_factory=NetworkSettings)
    section_length_m: float = 100.0
    strips: bool = True


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run ended with.

    Attributes:
        result: all records, as they stand in the products.
        done_before: frames taken over from an earlier, interrupted run.
        seconds: total per stage, of this run and the ones it continues.
    """

    result: SurveyResult
    done_before: int
    seconds: dict[str, float]

    @property
    def skipped(self) -> tuple[FrameOutcome, ...]:
        """Frames that could not be used, or not be put on the map."""
        return tuple(outcome for outcome in self.result.outcomes if outcome.lost)


Progress = Callable[[int, int, str], None]
"""Called as (frames done, frames in all, key of the frame just done)."""


def run_survey(
    survey: Survey,
    out: Path,
    stages: Stages,
    settings: RunSettings,
    *,
    progress: Progress = lambda done, total, key: None,
    rerun_changed: bool = False,
    command: str = "",
) -> RunSummary:
    """Runs what is not done yet of `survey` and writes all products to `out`.

    Args:
        survey: the frames.
        out: output folder; may hold an interrupted run of the same survey with the same settings.
        stages: loaded nets.
        settings: must hold the settings `stages` was loaded with.
        progress: told after every frame.
        rerun_changed: do frames again that another configuration has done, instead of refusing.
        command: the command line, kept in run.json.

    Raises:
        OutputLockedError: `out` is in use, or holds a run with other settings.
        StorageError: an output cannot be written.
    """
    identity = _identity(survey, stages, settings)
    with open_journal(out) as journal:
        _check_identity(journal, identity, out, rerun_changed)
        hashes = _frame_hashes(survey, journal)
        done = {row.key for row in journal.rows() if _still_valid(row, hashes, survey, out)}
        todo = [frame for frame in survey.measurable if frame.key not in done]
        total = len(survey.measurable)
        for index, (frame, source) in enumerate(_decoded(todo), start=total - len(todo)):
            journal.write(_process(frame, source, survey, stages, out, hashes[frame.key]))
            progress(index + 1, total, frame.key)
        journal.set_fact("source", {**survey.source, "command": command})
        result, seconds = _publish(survey, journal, out, settings)
    return RunSummary(result, len(done), seconds)


def rebuild(out: Path, *, section_length_m: float, strips: bool = True) -> SurveyResult:
    """Writes the products in `out` again from its journal, for another section length. No net is run.

    Images are read again only for the pictures of sections (`strips`).

    Raises:
        InputError: `out` holds no finished run, or its survey folder has moved.
        OutputLockedError: the survey is described differently now than when it was run.
    """
    with _reopened(out) as (survey, journal):
        settings = RunSettings(section_length_m=section_length_m, strips=strips)
        result, _ = _publish(survey, journal, out, settings)
    return result


def load_result(out: Path, *, section_length_m: float) -> SurveyResult:
    """The result of a finished run from its journal. Nothing is written.

    Raises:
        InputError: `out` holds no finished run, or its survey folder has moved.
        OutputLockedError: the survey is described differently now than when it was run, or `out` is in use.
    """
    with _reopened(out) as (survey, journal):
        return assemble(survey, _valid_rows(survey, journal), RunSettings(section_length_m=section_length_m))


@contextmanager
def _reopened(out: Path) -> Iterator[tuple[Survey, Journal]]:
    if not (out / JOURNAL_NAME).exists():
        raise InputError(f"{out}: holds no crackmap run (no {JOURNAL_NAME}); give the -o folder of `crackmap run`")
    with open_journal(out) as journal:
        source = journal.fact("source")
        if source is None:
            raise InputError(f"{out}: its run was interrupted before the products; run the same `crackmap run` again")
        survey = read_survey(Path(source["path"]), survey=source["survey"], gsd_mm=_as_gsd(source["gsd_mm"]))
        if _plain(_survey_identity(survey)) != journal.fact("settings")["survey"]:
            raise OutputLockedError(
                f"{out}: the survey, or a file that survey.toml names, is another now than when it was run; "
                "run `crackmap run` with --rerun-changed, or restore the files"
            )
        _refuse_stale(survey, journal, out)
        yield survey, journal


def _refuse_stale(survey: Survey, journal: Journal, out: Path) -> None:
    """Raises OutputLockedError where frames were measured with another plane, place or strip than they have now."""
    hashes = _frame_hashes(survey, journal)
    stale = [row.key for row in journal.rows() if row.key in hashes and hashes[row.key] != row.frame_hash]
    if stale:
        raise OutputLockedError(
            f"{out}: {len(stale)} of {len(hashes)} frames lie elsewhere now than when they were measured, the first "
            f"{stale[0]}: a file that survey.toml names (track, odometer, calibration, route, lane masks) has changed, "
            "or images were added; run the same `crackmap run` again, which does those frames anew"
        )


def _as_gsd(value: float | list[float] | None) -> float | tuple[float, float] | None:
    return (value[0], value[1]) if isinstance(value, list) else value


def _publish(
    survey: Survey, journal: Journal, out: Path, settings: RunSettings
) -> tuple[SurveyResult, dict[str, float]]:
    """Writes all products from the journal; returns the result and the seconds per stage."""
    source, rows = journal.fact("source"), _valid_rows(survey, journal)
    result = assemble(survey, rows, settings)
    seconds = _total_seconds(rows.values())
    info = {
        "crackmap": version("crackmap"),
        "command": source["command"],
        **journal.fact("settings"),
        "merge": asdict(settings.merge),
        "networks": asdict(settings.networks),
        "section_length_m": settings.section_length_m,
        "seconds": seconds,
    }
    write_section_strips(result, out, wanted=settings.strips)
    write_products(result, out, run_info=info, pictures=_pictures(result, rows))
    return result, seconds


def _valid_rows(survey: Survey, journal: Journal) -> dict[str, JournalRow]:
    hashes = _frame_hashes(survey, journal)
    return {row.key: row for row in journal.rows() if hashes.get(row.key) == row.frame_hash}


def assemble(survey: Survey, rows: Mapping[str, JournalRow], settings: RunSettings) -> SurveyResult:
    """The result of a survey as a function of its journal rows alone."""
    outcomes = [_outcome(frame, rows.get(frame.key)) for frame in survey.frames]
    cracks = merge_cracks(
        [(frame, rows[frame.key].cracks) for frame in survey.frames if frame.key in rows], settings=settings.merge
    )
    outcomes, cracks = along_route(outcomes, cracks, survey.routing)
    outcomes += [_without_position(frame, rows.get(frame.key), reason) for frame, reason in survey.unplaced]
    outcomes += [_unplaced(survey, key, reason) for key, reason in survey.skipped]
    cracks, networks = find_patterns(cracks, settings=settings.networks)
    sections = make_sections(outcomes, cracks, length_m=settings.section_length_m, output=survey.output)
    sections = with_pattern_areas(sections, networks)
    return SurveyResult(survey.output, tuple(outcomes), cracks, sections, survey.notes, networks)


def _identity(survey: Survey, stages: Stages, settings: RunSettings) -> dict[str, Any]:
    """What must be equal for two runs to give the same numbers, as plain JSON values."""
    return {
        "crackmap": version("crackmap"),
        "survey": _plain(_survey_identity(survey)),
        "settings": _plain(asdict(settings.stages)),
        "weights": dict(stages.weights),
    }


def _survey_identity(survey: Survey) -> dict[str, Any]:
    return {
        "path": survey.source["path"],
        "gsd_mm": survey.source["gsd_mm"],
        # The route only enters when results are put together; where it places frames, their hash tells.
        "description": survey.config.model_dump(mode="json", exclude={"route"}),
        "files": {name: _sha256(survey.root / name) for name in named_files(survey.config)},
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(value: Any) -> Any:
    """As it comes back from JSON: tuples as lists."""
    return json.loads(json.dumps(value))


def _check_identity(journal: Journal, identity: Mapping[str, Any], out: Path, rerun_changed: bool) -> None:
    before = journal.fact("settings")
    if before == identity:
        return
    if before is not None and not rerun_changed:
        changed = ", ".join(_changes(before, identity))
        raise OutputLockedError(
            f"{out}: holds a run with another configuration ({changed} differ); "
            "choose another -o, or give --rerun-changed to replace it"
        )
    # Until the new run has finished there is nothing that `rebuild` could publish.
    journal.set_fact("source", None)
    journal.set_fact("settings", identity)


def _changes(before: Mapping[str, Any], identity: Mapping[str, Any]) -> list[str]:
    """What differs: the parts of an identity, and the files that survey.toml names."""
    parts = sorted(name for name in identity if before.get(name) != identity[name])
    old, new = (part.get("survey", {}).get("files", {}) for part in (before, identity))
    return [*parts, *sorted(name for name in {*old, *new} if old.get(name) != new.get(name))]


def _frame_hashes(survey: Survey, journal: Journal) -> dict[str, str]:
    """Key -> hash of all that decides a frame's numbers and the place of its mask: run, ground plane, strip, place.

    A ground plane fitted to all frames of a recording changes when frames are added: then its frames are done again.
    """
    run = json.dumps(journal.fact("settings"), sort_keys=True) + survey.output.crs_wkt

    def of(frame: Frame) -> str:
        plane = frame.ground
        ground = plane and (
            plane.ground_from_pixel.tolist(), asdict(plane.limits), plane.u_scale, plane.lens and asdict(plane.lens)
        )  # fmt: skip
        facts = json.dumps([ground, frame.owns_y_m, asdict(frame.placement), frame.chainage_m, frame.size_wh_px])
        return hashlib.sha256((run + facts).encode()).hexdigest()

    return {frame.key: of(frame) for frame in survey.measurable}


def _file_identity(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _still_valid(row: JournalRow, hashes: Mapping[str, str], survey: Survey, out: Path) -> bool:
    """Whether a finished frame needs not be done again: same image file, same decisions, mask in place."""
    return (
        row.status != "skipped"
        and hashes.get(row.key) == row.frame_hash
        and (row.input_bytes, row.input_mtime_ns) == _file_identity(survey.root / row.key)
        and (out / "masks" / row.mask_name).is_file()
    )


def _decoded(frames: Sequence[Frame]) -> Iterator[tuple[Frame, ImageSource | PixelSource | UnreadableImageError]]:
    """Frames in order with their pixels; the next image is decoded while the nets work on this one."""
    with ThreadPoolExecutor(1) as decoder:
        ahead: Future[ImageSource | PixelSource | UnreadableImageError] | None = None
        for index, frame in enumerate(frames):
            current = ahead or decoder.submit(_decode, frame)
            ahead = decoder.submit(_decode, frames[index + 1]) if index + 1 < len(frames) else None
            yield frame, current.result()


def _decode(frame: Frame) -> ImageSource | PixelSource | UnreadableImageError:
    try:
        source = open_image(frame.path)
        width, height = source.size_wh_px
        return source if width * height > LARGE_IMAGE_PX else ArraySource(source.read_all())
    except UnreadableImageError as error:
        return error


def _process(
    frame: Frame,
    source: ImageSource | PixelSource | UnreadableImageError,
    survey: Survey,
    stages: Stages,
    out: Path,
    frame_hash: str,
) -> JournalRow:
    size, mtime = _file_identity(frame.path)

    def row(status: str, *, reason: str = "", name: str = "", result: FrameResult | None = None) -> JournalRow:
        share, seconds, cracks = (result.mask.segmented_share, result.seconds, result.cracks) if result else (0, {}, ())
        return JournalRow(frame.key, size, mtime, frame_hash, status, reason, share, name, seconds, cracks)

    if isinstance(source, UnreadableImageError):
        return row("skipped", reason=str(source))
    try:
        result = process_image(source, stages, ground=frame.ground)
    except UnreadableImageError as error:
        return row("skipped", reason=str(error))
    start = time.perf_counter()
    name = mask_name(frame.key)
    located = frame.key not in survey.unplaced_keys
    write_mask_cog(
        out / "masks" / name, result.mask,
        frame=frame if located else replace(frame, ground=None), output=survey.output if located else PIXELS,
    )  # fmt: skip
    result.seconds["write"] = time.perf_counter() - start
    return row("ok" if result.cracks else "no_crack", name=name, result=result)


def _outcome(frame: Frame, row: JournalRow | None) -> FrameOutcome:
    if row is None:
        return FrameOutcome(frame, "skipped", "not processed yet: run the same `crackmap run` again")
    return FrameOutcome(
        frame, row.status, row.reason, footprint(frame), row.segmented_share, len(row.cracks), row.mask_name
    )


def _without_position(frame: Frame, row: JournalRow | None, reason: str) -> FrameOutcome:
    """The outcome of a frame that was measured and lies nobody knows where."""
    if row is None or row.status == "skipped":
        return _outcome(frame, row)
    return FrameOutcome(
        frame, "no_position", reason, np.empty((0, 2)), row.segmented_share, len(row.cracks), row.mask_name
    )  # fmt: skip


def _unplaced(survey: Survey, key: str, reason: str) -> FrameOutcome:
    """The outcome of an image that never became a frame (its header could not be read, it has no position)."""
    return FrameOutcome(survey.unplaced_frame(key), "skipped", reason)


def _total_seconds(rows: Iterable[JournalRow]) -> dict[str, float]:
    total: dict[str, float] = {}
    for row in rows:
        for stage, seconds in row.seconds.items():
            total[stage] = total.get(stage, 0.0) + seconds
    return {stage: round(seconds, 3) for stage, seconds in total.items()}


def _pictures(result: SurveyResult, rows: Mapping[str, JournalRow]) -> dict[str, bytes]:
    """JPEG pictures, cracks drawn in, of the frames with the greatest crack length."""

    def crack_length_px(outcome: FrameOutcome) -> float:
        return sum(crack.length_px for crack in rows[outcome.frame.key].cracks)

    cracked = [outcome for outcome in result.outcomes if outcome.status == "ok"]
    worst = sorted(cracked, key=lambda outcome: (-crack_length_px(outcome), outcome.frame.key))[:PICTURES]
    return {item.frame.key: overlay_jpeg(open_image(item.frame.path), rows[item.frame.key].cracks) for item in worst}
