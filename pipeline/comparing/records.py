"""What a comparison of two surveys is asked for, works on and ends with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import require
from crackmap.pipeline.records import OutputFrame
from crackmap.stages.records import FloatArray

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CompareSettings:
    """How two surveys are compared.

    Attributes:
        section_length_m: length of the sections of the earlier survey.
        spacing_m: lines are compared in points this far apart.
        direction_deg: points match where the local directions differ by at most this.
        search_m: farthest that the surveys may lie apart; by default from the uncertainties of their positions.
        false_share: expected share of false ones among the cracks that are called changed.
        margin_m: road this near to the edge of what a survey saw is not compared: there a line may lie just outside.
    """

    section_length_m: float = 100.0
    spacing_m: float = 0.04
    direction_deg: float = 30.0
    search_m: float | None = None
    false_share: float = 0.05
    margin_m: float = 0.10

    def __post_init__(self) -> None:
        require(self.section_length_m > 0, "section_length_m", "metres above 0", self.section_length_m)
        require(0 < self.spacing_m <= 0.5, "spacing_m", "metres above 0, at most 0.5", self.spacing_m)
        require(0 < self.direction_deg <= 90, "direction_deg", "degrees above 0, at most 90", self.direction_deg)
        require(0 < self.false_share < 1, "false_share", "a share between 0 and 1", self.false_share)
        require(self.margin_m >= 0, "margin_m", "0 or more metres", self.margin_m)
        ok = self.search_m is None or 0.1 <= self.search_m <= 50
        require(ok, "search_m", "0.1 to 50 metres, or None", self.search_m)


@dataclass(frozen=True, slots=True)
class Samples:
    """The cracks of one survey as points, each of which stands for an equal part of its crack.

    Attributes:
        crack: (N,) number of the crack.
        xy: (N, 2) place, coordinates of the earlier survey.
        course: (N, 2) unit vector along the line, of either sign.
        length_m: (N,) length it stands for; those of a crack add up to its measured length.
        width_mm: (N,) width there.
        place: (N,) fractional vertex number on the crack's line.
        bridged: (N,) whether it lies in a gap that was bridged, where nothing was measured.
    """

    crack: IntArray
    xy: FloatArray
    course: FloatArray
    length_m: FloatArray
    width_mm: FloatArray
    place: FloatArray
    bridged: BoolArray


@dataclass(frozen=True, slots=True)
class Shift:
    """How far the later survey was moved to lie on the earlier one.

    Attributes:
        known: whether the cracks themselves told it; otherwise it is 0.
        along_m, across_m: (K,) at each knot, positive ahead and to the right of the direction of increasing chainage
            (of a raster: north and east).
        u_along_m, u_across_m: (K,) standard uncertainty.
        recording: (K,) name of the earlier survey's recording.
        chainage_m: (K,) place of the knot along it; NaN for a raster.
        residual_m: robust standard deviation of what is left between matched lines, across them.
        tolerance_m: lines match within this distance.
        agreement: length on which lines lie beside each other, as a share of the length of the survey with less.
    """

    known: bool
    along_m: FloatArray
    across_m: FloatArray
    u_along_m: FloatArray
    u_across_m: FloatArray
    recording: tuple[str, ...]
    chainage_m: FloatArray
    residual_m: float
    tolerance_m: float
    agreement: float


STATUSES = {
    "new": "seen by the later survey alone, where the earlier one shows nothing",
    "gone": "seen by the earlier survey alone, where the later one shows nothing: repaired, covered, or dirt then",
    "longer_wider": "longer and wider, beyond what two surveys of an unchanged road differ by",
    "longer": "longer, beyond that",
    "wider": "wider, beyond that",
    "less": "shorter or narrower, beyond that: repaired in part, or seen worse",
    "unchanged": "the same, as far as can be told",
    "faint": "measured in one survey alone, but too short, unsure or faint to call it new or gone",
    "not_comparable": "the other survey did not see this place",
}
"""What may become of a crack."""


@dataclass(frozen=True, slots=True)
class Change:
    """Lines of both surveys that are the same crack, or a line that only one of them has.

    Attributes:
        change_id: stable name, «G00001» in the order of the road.
        status: one of STATUSES.
        cracks_a, cracks_b: crack_id of its lines in the earlier and the later survey.
        lines_a_xy, lines_b_xy: those lines, coordinates of the earlier survey; B's moved onto A.
        section: number of its section; -1 if it lies in none.
        chainage_m, offset_m: of its middle along the earlier survey; None where unknown.
        length_a_m, length_b_m: on road that both surveys saw.
        growth_m, u_growth_m: their difference, and its standard uncertainty with repeatability.
        matched_m: length on which both have a line.
        width_a_mm, width_b_mm: mean widths on that length; None where there is none.
        widening_mm, u_widening_mm: mean of the differences of widths there, and its standard uncertainty.
        p_growth, p_widening: chance of as great a difference on an unchanged road; None where it is not tested.
        left_out_a_m, left_out_b_m: length of either on such road that is in no length above: the other survey shows it
            faintly or calls it a joint, or a gap was bridged there.
        note: why it is no more than it is; empty otherwise.
    """

    change_id: str
    status: str
    cracks_a: tuple[str, ...]
    cracks_b: tuple[str, ...]
    lines_a_xy: tuple[FloatArray, ...]
    lines_b_xy: tuple[FloatArray, ...]
    section: int
    chainage_m: float | None
    offset_m: float | None
    length_a_m: float
    length_b_m: float
    growth_m: float | None
    u_growth_m: float | None
    matched_m: float
    width_a_mm: float | None
    width_b_mm: float | None
    widening_mm: float | None
    u_widening_mm: float | None
    p_growth: float | None = None
    p_widening: float | None = None
    left_out_a_m: float = 0.0
    left_out_b_m: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Repeatability:
    """By how much two surveys of an unchanged crack differ.

    Attributes:
        length_m: standard uncertainty of the difference in length of a long crack, beside those of both lengths and
            of its width; that of a crack of length L is less by the root of (L + 0.2 m) / (L + 1.2 m).
        width_factor: factor on the stated uncertainties of both widths: their common part cancels in a difference.
        lone_m: mean length of a line that one survey has and the other not, although nothing has changed.
        length_from, width_from, lone_from: "estimated" from this comparison, or "least" or "greatest" where the
            estimate left those limits.
        common_length: standard uncertainty, as a share, that the differences of all lengths have in common.
        common_width_mm: standard uncertainty that the differences of all widths have in common.
        cracks: number of cracks the estimate of length_m rests on.
    """

    length_m: float
    length_from: str
    width_factor: float
    width_from: str
    lone_m: float
    lone_from: str
    common_length: float
    common_width_mm: float
    cracks: int


@dataclass(frozen=True, slots=True)
class SectionChange:
    """One section of the earlier survey, or all of them together.

    Attributes:
        section_id: of the earlier survey.
        recording: likewise.
        from_m, to_m: chainage; None without.
        outline_xy: (N, 2) of the earlier survey.
        common_m: length of road that both surveys saw; None for rasters.
        common_m2: its area.
        length_a_m, length_b_m: length of crack on it.
        growth_m, u_growth_m: their difference.
        widening_mm, u_widening_mm: mean widening where both have a line, weighted by length; None without.
        counts: changes by status.
        verdict: "grown", "less", "no significant change" or "not comparable".
    """

    section_id: str
    recording: str
    from_m: float | None
    to_m: float | None
    outline_xy: FloatArray
    common_m: float | None
    common_m2: float
    length_a_m: float
    length_b_m: float
    growth_m: float
    u_growth_m: float
    widening_mm: float | None
    u_widening_mm: float | None
    counts: dict[str, int]
    verdict: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that the products are made from.

    Attributes:
        settings: what was asked for.
        shift: of the later survey onto the earlier.
        repeatability: of this comparison.
        changes: in the order of the road.
        sections: of the earlier survey, in order.
        total: of all sections; its verdict is that of the road.
        notes: what was assumed or could not be done, in sentences a user reads.
        output: coordinates of the earlier survey, in which everything lies.
        runs: identity of both surveys, as plain values.
    """

    settings: CompareSettings
    shift: Shift
    repeatability: Repeatability
    changes: tuple[Change, ...]
    sections: tuple[SectionChange, ...]
    total: SectionChange
    notes: tuple[str, ...]
    output: OutputFrame
    runs: dict[str, Any]
