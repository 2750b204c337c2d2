"""One recording from its rows in the journal to cracks, patterns and sections. Cracks never join across recordings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from crackmap.pipeline.along import Routing, cracks_along_route
from crackmap.pipeline.journal import journal_to_read
from crackmap.pipeline.merge import MergeSettings, merge_cracks
from crackmap.pipeline.networks import NetworkSettings, find_patterns, with_pattern_areas
from crackmap.pipeline.records import Frame, FrameOutcome, OutputFrame, RoadNetwork, Section
from crackmap.pipeline.section_lists import ListedSection
from crackmap.pipeline.sections import sections_of_recordings
from crackmap.stages.records import Crack

CracksOf = Callable[[str], tuple[Crack, ...]]
"""The cracks of a frame by its key, as measured in it alone."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is the same for all recordings of a survey.

    Attributes:
        merge, networks: how cracks are joined, and what is a pattern.
        section_length_m, listed: the sections.
        alone: whether there is one recording along the road.
        output: what coordinates mean.
        routing: how drives lie on the route.
        journal: the file, for who has not opened it.
    """

    merge: MergeSettings
    networks: NetworkSettings
    section_length_m: float
    listed: tuple[ListedSection, ...] | None
    alone: bool
    output: OutputFrame
    routing: Routing | None
    journal: Path | None


@dataclass(frozen=True, slots=True)
class Recording:
    """What is put together.

    Attributes:
        frames: those whose cracks count, along the drive.
        outcomes: of all frames, along the route.
    """

    frames: Sequence[Frame]
    outcomes: Sequence[FrameOutcome]


@dataclass(frozen=True, slots=True)
class Assembled:
    """What became of a recording. Names of cracks and patterns count within it.

    Attributes:
        cracks: their columns, as bytes.
        count: of the cracks.
        networks: its patterns.
        sections: of the road, and of frames without a chainage.
    """

    cracks: bytes
    count: int
    networks: tuple[RoadNetwork, ...]
    sections: tuple[Section, ...]


def assemble_recording(rules: Rules, recording: Recording, cracks_of: CracksOf) -> Assembled:
    """Puts one recording together: a function of its rows in the journal alone."""
    cracks = merge_cracks(recording.frames, lambda frame: cracks_of(frame.key), settings=rules.merge)
    cracks = cracks_along_route(cracks, rules.routing)
    cracks, networks = find_patterns(cracks, settings=rules.networks)
    sections = sections_of_recordings(
        recording.outcomes, cracks, alone=rules.alone, length_m=rules.section_length_m, listed=rules.listed,
        output=rules.output,
    )  # fmt: skip
    return Assembled(cracks.to_bytes(), len(cracks), networks, with_pattern_areas(sections, networks))


def assemble_elsewhere(rules: Rules, recording: Recording) -> Assembled:
    """`assemble_recording` in a process that does not hold the journal."""
    if rules.journal is None:
        raise ValueError("a journal without a file cannot be read in another process")
    with journal_to_read(rules.journal) as journal:
        return assemble_recording(rules, recording, journal.cracks)
