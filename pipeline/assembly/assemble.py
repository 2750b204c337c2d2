"""The result of a survey from its journal: what became of each frame, then one recording after the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crackmap.pipeline.along import along_route
from crackmap.pipeline.assembly.children import Children
from crackmap.pipeline.assembly.columns import CrackColumns
from crackmap.pipeline.assembly.recordings import (
    Assembled,
    Recording,
    Rules,
    assemble_elsewhere,
    assemble_recording,
)
from crackmap.pipeline.assembly.store import StoredCracks
from crackmap.pipeline.footprint import footprint
from crackmap.pipeline.journal import Journal, JournalRow
from crackmap.pipeline.records import Frame, FrameOutcome, RoadCrack, RoadNetwork, Section, SurveyResult
from crackmap.pipeline.sections import road_recordings, unreached_sections
from crackmap.pipeline.survey import Survey

if TYPE_CHECKING:
    from crackmap.pipeline.run import RunSettings

MANY_CRACKS = 5000
"""From so many on cracks are kept in a file, and other processes help: below, starting those takes longer."""


def assemble(
    survey: Survey,
    rows: Mapping[str, JournalRow],
    journal: Journal,
    settings: RunSettings,
    *,
    scratch: Path,
    processes: int = 2,
) -> SurveyResult:
    """The result of a survey as a function of its journal alone.

    Args:
        survey: the frames.
        rows: of the journal, those that count, by frame.
        journal: the cracks of each frame.
        settings: what decides the result beside the journal.
        scratch: folder in which many cracks are kept, in a file without a name.
        processes: that help with many cracks. No number depends on them.

    Raises:
        StorageError: there is no room for that file.
    """
    twins = copies(survey, rows)
    # Made once: outcomes and recordings hold them side by side.
    frames = list(survey.frames)
    outcomes = _outcomes(survey, frames, rows, twins)
    recordings = _recordings(frames, outcomes, lambda key: key in rows and key not in twins)
    rules = Rules(
        settings.merge, settings.networks, settings.section_length_m, settings.section_list,
        len(road_recordings(outcomes)) == 1, survey.output, survey.routing, journal.path,
    )  # fmt: skip
    many = sum(row.crack_count for row in rows.values()) >= MANY_CRACKS
    gathered = _Gathered(StoredCracks(scratch) if many else [])
    for found in _assembled(rules, recordings, journal, processes if many else 1):
        gathered.add(found)
    sections = (*gathered.sections, *unreached_sections(outcomes, settings.section_list or ()))
    cracks = gathered.cracks if isinstance(gathered.cracks, StoredCracks) else tuple(gathered.cracks)
    return SurveyResult(survey.output, tuple(outcomes), cracks, sections, survey.notes, tuple(gathered.networks))


@dataclass(slots=True)
class _Gathered:
    """What came of the recordings so far, with the names it has in the survey."""

    cracks: StoredCracks | list[RoadCrack]
    networks: list[RoadNetwork] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    def add(self, found: Assembled) -> None:
        """Adds the next recording."""
        before = len(self.networks)
        if isinstance(self.cracks, StoredCracks):
            self.cracks.append(found.cracks, found.count, patterns_before=before)
        else:
            self.cracks += CrackColumns.from_bytes(found.cracks).named(len(self.cracks), before).cracks()
        for number, network in enumerate(found.networks, before + 1):
            self.networks.append(replace(network, pattern_id=f"P{number:04d}"))
        self.sections += found.sections


def _assembled(rules: Rules, recordings: Sequence[Recording], journal: Journal, processes: int) -> Iterator[Assembled]:
    """Yields what becomes of each recording, in their order; one process is this one."""
    if min(processes, len(recordings)) < 2 or journal.path is None:
        for recording in recordings:
            yield assemble_recording(rules, recording, journal.cracks)
        return
    with Children(min(processes, len(recordings))) as children:
        yield from children.map(assemble_elsewhere, rules, ((recording,) for recording in recordings))


def _outcomes(
    survey: Survey, frames: Sequence[Frame], rows: Mapping[str, JournalRow], twins: Mapping[str, str]
) -> list[FrameOutcome]:
    """What became of each frame, along the route; `frames` are those with a place."""
    placed = [_outcome(frame, rows.get(frame.key), twins.get(frame.key)) for frame in frames]
    outcomes = along_route(placed, survey.routing)
    for frame, reason in survey.unplaced:
        outcomes.append(_without_position(frame, rows.get(frame.key), reason, twins.get(frame.key)))
    return outcomes + [_unplaced(survey, key, reason) for key, reason in survey.skipped]


def _recordings(
    frames: Sequence[Frame], outcomes: Sequence[FrameOutcome], counts: Callable[[str], bool]
) -> list[Recording]:
    """The recordings in their order; of their frames with the cracks of those that count."""
    counted: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        if counts(frame.key):
            counted[frame.recording].append(frame)
    of: dict[str, list[FrameOutcome]] = defaultdict(list)
    for outcome in outcomes:
        of[outcome.frame.recording].append(outcome)
    return [Recording(counted[name], of[name]) for name in sorted(of)]


def copies(survey: Survey, rows: Mapping[str, JournalRow]) -> dict[str, str]:
    """Key of a frame whose file is the same as that of an earlier one -> key of that one.

    A camera that hangs, or a folder copied twice: the road of the later ones was not seen.
    """
    first: dict[str, str] = {}
    twins = {}
    for frame in survey.measurable:
        row = rows.get(frame.key)
        if row is not None and row.input_sha256:
            original = first.setdefault(row.input_sha256, frame.key)
            if original != frame.key:
                twins[frame.key] = original
    return twins


def _outcome(frame: Frame, row: JournalRow | None, original: str | None) -> FrameOutcome:
    if row is None:
        return FrameOutcome(frame, "skipped", "not processed yet: run the same `crackmap run` again")
    if original is not None:
        return FrameOutcome(frame, "duplicate", f"the same file as {original}: this stretch of road was not seen")
    return FrameOutcome(
        frame, row.status, row.reason, footprint(frame), row.segmented_share, row.crack_count, row.mask_name,
        row.source if row.mask_name else "",
    )  # fmt: skip


def _without_position(frame: Frame, row: JournalRow | None, reason: str, original: str | None) -> FrameOutcome:
    """The outcome of a frame that was measured and lies nobody knows where."""
    if row is None or original is not None or row.status not in ("ok", "no_crack"):
        return _outcome(frame, row, original)
    return FrameOutcome(
        frame, "no_position", reason, np.empty((0, 2)), row.segmented_share, row.crack_count, row.mask_name, row.source
    )  # fmt: skip


def _unplaced(survey: Survey, key: str, reason: str) -> FrameOutcome:
    """The outcome of an image that never became a frame (its header could not be read, it has no position)."""
    return FrameOutcome(survey.unplaced_frame(key), "skipped", reason)
