"""Corrected outlines taken into the journal of a run, and taken back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from crackmap.calibration.errors import InputError
from crackmap.pipeline.frame import SATURATED_SHARE
from crackmap.pipeline.images import LIMIT_PX
from crackmap.pipeline.journal import Correction, Journal, JournalRow
from crackmap.pipeline.products.rows import printable
from crackmap.pipeline.products.write import mark_unfinished
from crackmap.pipeline.records import Frame
from crackmap.pipeline.review.areas import mask_image
from crackmap.pipeline.review.corrections import Progress, Reviewed, current_areas, measured, without_line
from crackmap.pipeline.review.exporting import frames_by_key, reviewable
from crackmap.pipeline.review.reading import Reading, read_corrected
from crackmap.pipeline.run import RunSettings, publish, reopened
from crackmap.pipeline.survey import Survey
from crackmap.pipeline.survey_result import SurveyResult

LONGEST_NAME = 80
"""Of who corrected, in characters."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one corrected frame.

    Attributes:
        key: the frame.
        cracks, length_px: number and total length of its cracks before and after, sealed ones apart.
        empty: outlines in which no line was measured.
    """

    key: str
    cracks: tuple[int, int]
    length_px: tuple[float, float]
    empty: int


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What an import did.

    Attributes:
        format: of the annotations.
        changes: one a corrected frame, in order of key.
        unchanged: frames whose outlines are as they were: they keep their numbers.
        left_out: shapes of other things than cracks, by label.
        result: all records, as they stand in the products; None where nothing changed and they were left alone.
    """

    format: str
    changes: tuple[Change, ...]
    unchanged: int
    left_out: Mapping[str, int]
    result: SurveyResult | None


def import_corrections(
    out: Path, corrected: Path, *, kind: str = "auto", by: str = "", unchanged_too: bool = False,
    progress: Progress = lambda done, total, key: None,
) -> ImportSummary:  # fmt: skip
    """Puts corrected outlines in the place of what the nets found, measures them, and makes the products anew.

    All or nothing: everything is read, checked and measured before the journal changes, in one transaction.

    Args:
        out: the output folder of a finished run.
        corrected: annotations of frames that `export_frames` wrote, or of the survey's own images.
        kind: their format, or "auto".
        by: who corrected them.
        unchanged_too: frames whose outlines are as they were are measured in them as well, and count as corrected.
        progress: told after every frame that is measured.

    Raises:
        InputError: there is no finished run, or the annotations cannot be used.
        OutputLockedError: `out` is in use, or its survey is described differently now.
        StorageError: an output cannot be written.
    """
    by = printable(" ".join(by.split()))
    if len(by) > LONGEST_NAME:
        raise InputError(f"--by: expected at most {LONGEST_NAME} characters, got {len(by)}")
    with reopened(out) as (survey, journal):
        rows, frames = reviewable(survey, journal), frames_by_key(survey)
        form, readings = read_corrected(corrected, kind, frames)
        _check(readings, rows, frames, journal)
        todo = [one for one in readings if unchanged_too or _differs(one, rows, frames, journal)]
        of = Reviewed.of(survey, journal, out)
        corrections = []
        for done, one in enumerate(todo, start=1):
            told = replace(one.told, by=by)
            corrections.append(measured(of, frames[one.key], one.areas, told, rows[one.key].input_sha256))
            progress(done, len(todo), one.key)
        changes = tuple(
            _change(one, correction, rows, frames) for one, correction in zip(todo, corrections, strict=True)
        )
        result = None
        if corrections:
            mark_unfinished(out)
            journal.correct(corrections)
            result = _publish_again(survey, journal, out)
    left_out = Counter[str]()
    for one in readings:
        left_out.update(one.left_out)
    return ImportSummary(form, changes, len(readings) - len(todo), dict(sorted(left_out.items())), result)


def undo_corrections(out: Path, keys: Sequence[str]) -> tuple[list[str], SurveyResult]:
    """Takes corrections back, those of `keys` or all; the products are again as if there had been none.

    Returns:
        The frames that count again as the nets found them, and the records as they stand in the products.

    Raises:
        InputError: there is no finished run, or no such correction.
        OutputLockedError: `out` is in use, or its survey is described differently now.
        StorageError: an output cannot be written.
    """
    with reopened(out) as (survey, journal):
        there = [one.key for one in journal.corrections()]
        missing = sorted(set(keys) - set(there))
        if missing or not there:
            raise InputError(f"{out}: {repr(missing[0]) + ' was not corrected' if missing else 'nothing was corrected'}"
                             "; run.json lists what was, under corrections")  # fmt: skip
        taken_back = sorted(set(keys) or there)
        mark_unfinished(out)
        journal.withdraw(taken_back)
        result = _publish_again(survey, journal, out)
    return taken_back, result


def _check(
    readings: Sequence[Reading], rows: Mapping[str, JournalRow], frames: Mapping[str, Frame], journal: Journal
) -> None:
    for one in readings:
        if one.key not in rows:
            status = {row.key: f"{row.status} ({row.reason})" for row in journal.rows() if row.reason}
            why = status.get(one.key, "a copy of another frame")
            raise InputError(f"{one.told.file}: {one.key} was not measured: {why}; take it out of the annotations")
        width, height = frames[one.key].size_wh_px
        if width * height > LIMIT_PX:
            raise InputError(f"{one.key}: {width} x {height} px are too many to correct; cut the raster into tiles, "
                             "and run those")  # fmt: skip
        share = float(np.count_nonzero(mask_image(one.areas, frames[one.key].size_wh_px)))
        share /= width * height
        if share > SATURATED_SHARE:
            raise InputError(f"{one.told.file}: {share:.0%} of {one.key} is marked as crack; outline the cracks alone, "
                             "or where the mask is inverted, turn it round")  # fmt: skip


def _differs(
    one: Reading, rows: Mapping[str, JournalRow], frames: Mapping[str, Frame], journal: Journal
) -> bool:  # fmt: skip
    """Whether any pixel is another class than it is now."""
    frame = frames[one.key]
    now = mask_image(current_areas(journal, rows[one.key], frame), frame.size_wh_px)
    return not np.array_equal(now, mask_image(one.areas, frame.size_wh_px))


def _change(
    one: Reading, correction: Correction, rows: Mapping[str, JournalRow], frames: Mapping[str, Frame]
) -> Change:  # fmt: skip
    before = rows[one.key]
    return Change(
        one.key, (before.crack_count, correction.crack_count), (before.crack_length_px, correction.crack_length_px),
        without_line(one.areas, correction.cracks, frames[one.key].size_wh_px),
    )  # fmt: skip


def _publish_again(survey: Survey, journal: Journal, out: Path) -> SurveyResult:
    """All products, made as they were made last."""
    before = journal.fact("products")
    result, _ = publish(survey, journal, out, RunSettings.from_products(before))
    return result
