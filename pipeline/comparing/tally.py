"""Growth section by section: what both surveys saw of each section of the earlier one, and what changed there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from crackmap.pipeline.comparing.growth import COVERING, Judged, Units
from crackmap.pipeline.comparing.matching import Matches
from crackmap.pipeline.comparing.places import Axis, SeenRoad
from crackmap.pipeline.comparing.records import STATUSES, BoolArray, Change, IntArray, SectionChange
from crackmap.pipeline.comparing.units import Compared
from crackmap.pipeline.footprint import area
from crackmap.pipeline.records import Section
from crackmap.stages.records import FloatArray

PROBES = (8, 4)
"""Points along and across the strip of a frame at which it is asked whether the other survey saw it."""

LEAST_COMMON_M2 = 0.01

GROWN, LESS, SAME, NOT_COMPARABLE = "grown", "less", "no significant change", "not comparable"


@dataclass(frozen=True, slots=True)
class SectionFinder:
    """Which section of the earlier survey a place lies in.

    Attributes:
        sections: of the earlier survey, in order.
        axis: of the earlier survey.
    """

    sections: tuple[Section, ...]
    axis: Axis

    def at(self, xy: FloatArray) -> IntArray:
        """(N,) number of the section of each point; -1 where there is none."""
        piece, chainage, _ = self.axis.locate(xy)
        stream = self.axis.stream[piece]
        number = np.full(len(xy), -1, np.int64)
        for index, name in enumerate(self.axis.names):
            (own,) = np.nonzero(stream == index)
            if not self.axis.has_chainage:
                named = [at for at, section in enumerate(self.sections) if section.section_id == name]
                number[own] = named[0] if named else -1
                continue
            rows = [
                (section.from_m, at) for at, section in enumerate(self.sections)
                if section.recording == name and section.from_m is not None
            ]  # fmt: skip
            if rows and len(own):
                starts = np.array([start for start, _ in rows])
                row = np.clip(np.searchsorted(starts, chainage[own], side="right") - 1, 0, len(rows) - 1)
                number[own] = np.array([at for _, at in rows])[row]
        return number


def common_road(finder: SectionFinder, road_a: SeenRoad, road_b: SeenRoad) -> tuple[FloatArray, FloatArray]:
    """Of each section: the share of its road that both surveys saw, and the area of that, square metres."""
    count = len(finder.sections)
    along, across = ((np.arange(number) + 0.5) / number for number in PROBES)
    s, t = (grid.ravel()[None, :, None] for grid in np.meshgrid(along, across))
    near_left, near_right, far_right, far_left = (road_a.polygons[:, corner][:, None] for corner in range(4))
    probes = (1 - s) * ((1 - t) * near_left + t * near_right) + s * ((1 - t) * far_left + t * far_right)
    xy = probes.reshape(-1, 2)
    areas = np.array([area(polygon) for polygon in road_a.polygons])
    weight = np.repeat(areas / (PROBES[0] * PROBES[1]), PROBES[0] * PROBES[1])
    first = road_a.recording_at(xy) == np.repeat(road_a.recording, PROBES[0] * PROBES[1])
    seen = first & (road_b.recording_at(xy) >= 0)
    number = finder.at(xy)
    known = number >= 0
    whole = np.bincount(number[known], weight[known], minlength=count)
    common = np.bincount(number[known & seen], weight[known & seen], minlength=count)
    return np.asarray(common / np.maximum(whole, 1e-12), np.float64), np.asarray(common, np.float64)


def tally(
    finder: SectionFinder, common: tuple[FloatArray, FloatArray], a: Compared, b: Compared, matches: Matches,
    units: Units, judged: Judged, changes: Sequence[Change],
) -> tuple[tuple[SectionChange, ...], SectionChange]:  # fmt: skip
    """All sections, and the whole road as one."""
    count, groups = len(finder.sections), matches.groups
    cells = [
        _by_section(finder, side, label, count, groups)
        for side, label in ((a, matches.group_a), (b, matches.group_b))
    ]  # fmt: skip
    total = cells[0] + cells[1]
    whole = np.maximum(total.sum(axis=0), 1e-12)
    # What stands alone and is not called new or gone is chance: its length is its uncertainty.
    u_unit = np.where(
        units.both | judged.changed_length, judged.u_growth_m, np.abs(units.lone_m)
    )  # fmt: skip
    of_change = Counter((change.section, change.status) for change in changes)
    threshold = float(norm.isf(0.025 / max(int((common[1] > LEAST_COMMON_M2).sum()), 1)))
    rows = []
    for number, section in enumerate(finder.sections):
        share = total[number] / whole
        lengths = (float(cells[0][number].sum()), float(cells[1][number].sum()))
        counts = {status: of_change[number, status] for status in STATUSES}
        covered = None if section.covered_m is None else section.covered_m * float(common[0][number])
        rows.append(
            _row(section, covered, float(common[1][number]), lengths, u_unit * share, share, units, judged, counts,
                 threshold)
        )  # fmt: skip
    lengths = (float(cells[0].sum()), float(cells[1].sum()))
    counts = {status: sum(of_change[number, status] for number in range(-1, count)) for status in STATUSES}
    covers = [row.common_m for row in rows if row.common_m is not None]
    road = _row(
        None, sum(covers) if covers else None, float(common[1].sum()), lengths, u_unit, np.ones(groups), units, judged,
        counts, 2.0,
    )  # fmt: skip
    return tuple(rows), road


def _by_section(finder: SectionFinder, side: Compared, label: IntArray, count: int, groups: int) -> FloatArray:
    """(sections, groups) compared length of one survey."""
    counted: BoolArray = side.counted
    number = finder.at(side.points.xy[counted])
    group = label[side.points.crack[counted]]
    known = number >= 0
    flat = np.bincount(
        number[known] * groups + group[known], side.points.length_m[counted][known], minlength=count * groups
    )
    return np.asarray(flat.reshape(count, groups), np.float64)


def _row(
    section: Section | None, common_m: float | None, common_m2: float, lengths: tuple[float, float],
    u_units: FloatArray, share: FloatArray, units: Units, judged: Judged, counts: dict[str, int], threshold: float,
) -> SectionChange:  # fmt: skip
    growth = lengths[1] - lengths[0]
    common_part = COVERING * judged.repeatability.common_length * max(lengths)
    # The part of a group's uncertainty that all lengths have in common is added once, for the whole.
    common_own = common_part / max(*lengths, 1e-12) * share * np.maximum(units.length_a_m, units.length_b_m)
    own = np.maximum(u_units**2 - common_own**2, 0.0)
    u_growth = float(np.hypot(np.sqrt(own.sum()), common_part))
    widening, u_widening = _mean_widening(units, judged, share)
    verdict = SAME
    if common_m2 <= LEAST_COMMON_M2:
        verdict = NOT_COMPARABLE
    elif abs(growth) > threshold * u_growth:
        verdict = GROWN if growth > 0 else LESS
    elif widening is not None and u_widening is not None and abs(widening) > threshold * u_widening:
        verdict = GROWN if widening > 0 else LESS
    return SectionChange(
        section_id=section.section_id if section else "all",
        recording=section.recording if section else "",
        from_m=section.from_m if section else None,
        to_m=section.to_m if section else None,
        outline_xy=section.outline_xy if section else np.empty((0, 2)),
        common_m=common_m,
        common_m2=common_m2,
        length_a_m=lengths[0],
        length_b_m=lengths[1],
        growth_m=growth,
        u_growth_m=u_growth,
        widening_mm=widening,
        u_widening_mm=u_widening,
        counts=counts,
        verdict=verdict,
    )


def _mean_widening(units: Units, judged: Judged, share: FloatArray) -> tuple[float | None, float | None]:
    """Mean over the matched length, and its uncertainty: the part that widths share does not average out."""
    weight = np.where(units.both, units.matched_m * share, 0.0)
    total = float(weight.sum())
    if total <= 0:
        return None, None
    common = COVERING * judged.repeatability.common_width_mm
    own = np.nan_to_num(judged.u_widening_mm) ** 2 - common**2
    u = float(np.sqrt((weight**2 * np.maximum(own, 0.0)).sum()) / total)
    return float((weight * np.nan_to_num(units.widening_mm)).sum() / total), float(np.hypot(u, common))
