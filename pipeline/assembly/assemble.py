"""The result of a survey from its journal: what became of each frame, then one recording after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crackmap.pipeline.along import frames_along_route
from crackmap.pipeline.assembly.children import Children
from crackmap.pipeline.assembly.columns import CrackColumns
from crackmap.pipeline.assembly.kept import KeptRows, copies
from crackmap.pipeline.assembly.recordings import (
    Assembled,
    Recording,
    Rules,
    assemble_elsewhere,
    assemble_recording,
)
from crackmap.pipeline.assembly.store import StoredCracks
from crackmap.pipeline.footprint import footprint
from crackmap.pipeline.frame_table import Joined, keys_of
from crackmap.pipeline.journal import Journal
from crackmap.pipeline.outcome_table import STATUS_NAMES, OutcomeColumns, Outcomes
from crackmap.pipeline.records import Frame, RoadCrack, RoadNetwork, Section
from crackmap.pipeline.sections import road_recordings, unreached_sections
from crackmap.pipeline.survey import Survey
from crackmap.pipeline.survey_result import SurveyResult

if TYPE_CHECKING:
    from crackmap.pipeline.run import RunSettings

MANY_CRACKS = 5000
"""From so many on cracks are kept in a file, and other processes help: below, starting those takes longer."""

NOT_YET = "not processed yet: run the same `crackmap run` again"
"""Why a frame without a row is lost."""

_OK, _NO_CRACK, _NO_POSITION, _DUPLICATE, _SKIPPED = map(
    STATUS_NAMES.index, ("ok", "no_crack", "no_position", "duplicate", "skipped")
)


def assemble(
    survey: Survey,
    rows: KeptRows,
    journal: Journal,
    settings: RunSettings,
    *,
    scratch: Path,
    processes: int = 2,
) -> SurveyResult:
    """The result of a survey as a function of its journal alone.

    Args:
        survey: the frames.
        rows: of the journal, those of frames that lie where they were measured.
        journal: the cracks of each frame.
        settings: what decides the result beside the journal.
        scratch: folder in which many cracks are kept, in a file without a name.
        processes: that help with many cracks. No number depends on them.

    Raises:
        StorageError: there is no room for that file.
    """
    twins = copies(rows.pictures.tolist())
    counts = rows.known.copy()
    counts[list(twins)] = False
    outcomes = _outcomes(survey, rows, twins, counts)
    rules = Rules(
        settings.merge, settings.networks, settings.section_length_m, settings.section_list,
        len(road_recordings(outcomes)) == 1, survey.output, survey.routing, journal.path,
    )  # fmt: skip
    places = outcomes.places_by_recording
    recordings = _recordings(survey, outcomes, places, counts)
    many = rows.crack_count.sum() >= MANY_CRACKS
    gathered = _Gathered(StoredCracks(scratch) if many else [])
    for found in _assembled(rules, recordings, len(places), journal, processes if many else 1):
        gathered.add(found)
    sections = (*gathered.sections, *unreached_sections(outcomes, settings.section_list or ()))
    cracks = gathered.cracks if isinstance(gathered.cracks, StoredCracks) else tuple(gathered.cracks)
    return SurveyResult(survey.output, outcomes, cracks, sections, survey.notes, tuple(gathered.networks))


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


def _assembled(
    rules: Rules, recordings: Iterable[Recording], count: int, journal: Journal, processes: int
) -> Iterator[Assembled]:
    """Yields what becomes of each of `count` recordings, in their order; one process is this one."""
    if min(processes, count) < 2 or journal.path is None:
        for recording in recordings:
            yield assemble_recording(rules, recording, journal.cracks)
        return
    with Children(min(processes, count)) as children:
        yield from children.map(assemble_elsewhere, rules, ((recording,) for recording in recordings))


def _recordings(
    survey: Survey, outcomes: Outcomes, places: Mapping[str, Sequence[int]], counts: NDArray[np.bool_]
) -> Iterator[Recording]:
    """Yields the recordings in their order; of their frames with a place, those that count."""
    for name in sorted(places):
        of = places[name]
        frames = [survey.frames[place] for place in of if place < len(survey.frames) and counts[place]]
        yield Recording(frames, outcomes.at(of))


def _outcomes(survey: Survey, rows: KeptRows, twins: Mapping[int, int], counts: NDArray[np.bool_]) -> Outcomes:
    """What became of each frame, along the route: those with a place, those without, those that never became one.

    `counts` says which have a row and are no copy of another.
    """
    placed = len(survey.frames)
    never = [survey.unplaced_frame(key) for key, _ in survey.skipped]
    status = np.where(rows.known, rows.status, _SKIPPED)
    status[list(twins)] = _DUPLICATE
    lost = (np.arange(len(status)) >= placed) & np.isin(status, (_OK, _NO_CRACK))
    status[lost] = _NO_POSITION
    reasons = _reasons(survey, rows, twins)
    reasons |= {place: survey.unplaced_why[place - placed] for place in np.flatnonzero(lost).tolist()}
    mask_names = rows.mask_names.copy()
    mask_names[~counts] = ""
    frames = Joined(frames_along_route(survey.frames, survey.routing), survey.unplaced, never)
    return Outcomes(frames, OutcomeColumns(
        status.astype(np.uint8), reasons, *_outlines(frames, counts & ~lost),
        np.where(counts, rows.segmented_share, 0.0), np.where(counts, rows.crack_count, 0), mask_names,
        np.where(lost | (mask_names != ""), rows.source, 0).astype(np.uint8),
    ))  # fmt: skip


def _reasons(survey: Survey, rows: KeptRows, twins: Mapping[int, int]) -> dict[int, str]:
    """Why frames are lost, by their place."""
    keys = keys_of(survey.measurable)
    reasons = dict.fromkeys(np.flatnonzero(~rows.known).tolist(), NOT_YET)
    reasons |= rows.reasons
    reasons |= {place: f"the same file as {keys[original]}: this stretch of road was not seen"
                for place, original in twins.items()}  # fmt: skip
    return reasons | {len(keys) + number: reason for number, (_, reason) in enumerate(survey.skipped)}


def _outlines(frames: Sequence[Frame], wanted: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(N, 4, 2) footprints of the wanted frames, and (N,) whether there is one."""
    outlines_xy, outlined = np.full((len(frames), 4, 2), np.nan), np.zeros(len(frames), bool)
    for place, frame in enumerate(frames):
        if wanted[place] and len(outline_xy := footprint(frame)):
            outlines_xy[place], outlined[place] = outline_xy, True
    return outlines_xy, outlined
