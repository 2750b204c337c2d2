"""The result of a survey: what all products are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from crackmap.pipeline.outcome_table import Outcomes
from crackmap.pipeline.records import CoordinateKind, OutputFrame, RoadCrack, RoadNetwork, Section


# Without slots, for what is worked out once.
@dataclass(frozen=True)
class SurveyResult:
    """All that the products are made from: a pure function of the journal.

    Attributes:
        output: the coordinate system of all geometry below.
        outcomes: one per frame, in survey order, made when they are asked for and each time anew: go through them; a
            list of all may be more than memory holds.
        cracks: in order of crack_id. Those of a large survey are in a file (`crackmap.pipeline.assembly.store`): go
            through them once, or in portions; a copy of all may be more than memory holds.
        sections: in order of recording and chainage.
        notes: what was done without, or assumed, in sentences a user reads ("no position known: ...").
        networks: patterns, in order of pattern_id.
    """

    output: OutputFrame
    outcomes: Outcomes
    cracks: Sequence[RoadCrack]
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()
    networks: tuple[RoadNetwork, ...] = ()

    @cached_property
    def of_rasters(self) -> bool:
        """Whether the frames are georeferenced rasters: on a map, with a scale, but with no direction of travel."""
        frames = (outcome.frame for outcome in self.outcomes)
        return self.output.kind is CoordinateKind.MAP and any(
            frame.ground is not None and frame.chainage_m is None for frame in frames
        )
