"""The list of changes: one for each group of lines, with what it is called."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from crackmap.pipeline.comparing.growth import Judged, Units
from crackmap.pipeline.comparing.matching import Matches
from crackmap.pipeline.comparing.places import Move, moved_lines
from crackmap.pipeline.comparing.records import Change, IntArray
from crackmap.pipeline.comparing.tally import SectionFinder
from crackmap.pipeline.comparing.units import Compared, summed
from crackmap.stages.records import FloatArray

DECIDED_SHARE = 0.5
"""A line is called new or gone only if the other survey shows nothing along at least this share of it."""

PARTLY_SHARE = 0.05
"""From this share of a group on it is said that the other survey did not see all of it."""


def list_changes(
    a: Compared, b: Compared, matches: Matches, units: Units, judged: Judged, finder: SectionFinder, onto_a: Move
) -> tuple[Change, ...]:
    """All groups in the order of the road, named «G00001»...

    Args:
        a: the earlier survey's side.
        b: the later one's.
        matches: their groups.
        units: what is compared, by group.
        judged: what the differences are worth.
        finder: sections of the earlier survey.
        onto_a: coordinates of the later survey to those of the earlier.
    """
    members = [_members(label, matches.groups) for label in (matches.group_a, matches.group_b)]
    lines = [
        [crack.line_xy for crack in a.cracks],
        moved_lines([crack.line_xy for crack in b.cracks], onto_a),
    ]
    sums = [_sums(side, label, matches.groups) for side, label in ((a, matches.group_a), (b, matches.group_b))]
    middle = _middles(a, b, matches)
    piece, chainage, offset = finder.axis.locate(middle)
    section = finder.at(middle)
    order = np.lexsort((np.nan_to_num(offset), np.nan_to_num(chainage), section, finder.axis.stream[piece]))
    changes = []
    for rank, group in enumerate(order.tolist(), start=1):
        status, note = _status(units, judged, sums, group)
        found = Change(
            change_id=f"G{rank:05d}",
            status=status,
            cracks_a=tuple(a.cracks[index].crack_id for index in members[0][group]),
            cracks_b=tuple(b.cracks[index].crack_id for index in members[1][group]),
            lines_a_xy=tuple(lines[0][index] for index in members[0][group]),
            lines_b_xy=tuple(lines[1][index] for index in members[1][group]),
            section=int(section[group]),
            chainage_m=float(chainage[group]) if np.isfinite(chainage[group]) else None,
            offset_m=float(offset[group]) if np.isfinite(chainage[group]) else None,
            length_a_m=float(units.length_a_m[group]),
            length_b_m=float(units.length_b_m[group]),
            growth_m=None,
            u_growth_m=None,
            matched_m=float(units.matched_m[group]),
            width_a_mm=None,
            width_b_mm=None,
            widening_mm=None,
            u_widening_mm=None,
            left_out_a_m=float(sums[0][1][group]),
            left_out_b_m=float(sums[1][1][group]),
            note=note,
        )
        changes.append(_with_numbers(found, units, judged, group))
    return tuple(changes)


def _members(label: IntArray, groups: int) -> list[list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(label.tolist()):
        found[group].append(index)
    return [found[group] for group in range(groups)]


def _sums(side: Compared, label: IntArray, groups: int) -> tuple[FloatArray, FloatArray]:
    """Length of each group in all, and what of it on commonly seen road is left out."""
    group, length = label[side.points.crack], side.points.length_m
    return (
        summed(group, length, groups),
        summed(group[side.left_out], length[side.left_out], groups),
    )


def _middles(a: Compared, b: Compared, matches: Matches) -> FloatArray:
    """(groups, 2) mean place of the points of each group: of the earlier survey's where it has any."""
    middle = np.full((matches.groups, 2), np.nan)
    for side, label in ((b, matches.group_b), (a, matches.group_a)):
        group = label[side.points.crack]
        count = np.bincount(group, minlength=matches.groups)
        there = count > 0
        for axis in (0, 1):
            total = np.bincount(group, side.points.xy[:, axis], minlength=matches.groups)
            middle[there, axis] = total[there] / count[there]
    return middle


def _status(units: Units, judged: Judged, sums: Sequence[tuple[FloatArray, FloatArray]], group: int) -> tuple[str, str]:
    compared = float(units.length_a_m[group] + units.length_b_m[group])
    left_out = float(sum(parts[1][group] for parts in sums))
    unseen = float(sum(parts[0][group] for parts in sums)) - compared - left_out
    note = f"{unseen:.2f} m of its lines lie where the other survey did not see" if (
        unseen > PARTLY_SHARE * (compared + left_out)) else ""  # fmt: skip
    if compared + left_out <= 0:
        return "not_comparable", ""
    if not units.both[group]:
        if compared < DECIDED_SHARE * (compared + left_out):
            return "faint", "the other survey shows it faintly, calls it a joint, or bridged a gap there"
        if not judged.changed_length[group]:
            return "faint", "as short as lines that one survey of two misses by chance"
        return ("new" if units.length_b_m[group] > 0 else "gone"), note
    longer = judged.changed_length[group] and judged.growth_m[group] > 0
    wider = judged.changed_width[group] and units.widening_mm[group] > 0
    if longer or wider:
        return ("longer_wider" if longer and wider else "longer" if longer else "wider"), note
    less = judged.changed_length[group] or judged.changed_width[group]
    return ("less" if less else "unchanged"), note


def _with_numbers(change: Change, units: Units, judged: Judged, group: int) -> Change:
    """The change with what is known of its growth."""
    if change.status == "not_comparable":
        return change
    both = bool(units.both[group])

    def known(values: FloatArray) -> float | None:
        return float(values[group]) if np.isfinite(values[group]) else None

    return replace(
        change,
        growth_m=float(judged.growth_m[group]),
        u_growth_m=float(judged.u_growth_m[group]),
        width_a_mm=known(units.width_a_mm),
        width_b_mm=known(units.width_b_mm),
        widening_mm=known(units.widening_mm) if both else None,
        u_widening_mm=known(judged.u_widening_mm) if both else None,
        p_growth=known(judged.p_growth),
        p_widening=known(judged.p_widening),
    )
