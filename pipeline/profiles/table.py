"""The result of a profile: one row of numbers for each section."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from crackmap.calibration.errors import InputError
from crackmap.pipeline.networks import areas_in_sections
from crackmap.pipeline.profiles.lane import SEEN_SHARE
from crackmap.pipeline.profiles.model import Profile, Quantity
from crackmap.pipeline.profiles.tally import REASONS, Tally, classes_of, tally, zones_of
from crackmap.pipeline.records import Section
from crackmap.pipeline.survey_result import SurveyResult
from crackmap.stages.records import FloatArray

DIRECTION, PLACE = "direction", "place"

PLACE_COLUMNS = frozenset((
    "section_id", "recording", "lane", "direction", "from_m", "to_m", "covered_m", "covered_pct", "invalid_m",
    "invalid_why", "missing_m", "area_m2",
))  # fmt: skip
"""Columns that stand before those of every profile."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a profile's table.

    Attributes:
        name: with its unit.
        says: what it is.
        digits: its decimals; None for text.
        needs: DIRECTION or PLACE, if it has no value where there is no direction of travel, or no place in a lane.
    """

    name: str
    says: str
    digits: int | None = 3
    needs: str = ""


@dataclass(frozen=True, slots=True)
class ProfileTable:
    """What a profile says of the sections of a survey.

    Attributes:
        name: of the profile.
        profile: its rules.
        columns: of the numbers.
        rows: one for each section, in their order; None where nothing was measured or a number needs what is unknown.
    """

    name: str
    profile: Profile
    columns: tuple[Column, ...]
    rows: tuple[tuple[float | str | None, ...], ...]

    def column(self, name: str) -> list[float | str | None]:
        """The values of a column."""
        number = [column.name for column in self.columns].index(name)
        return [row[number] for row in self.rows]


Values = list[float | str | None]


def profile_table(
    name: str, profile: Profile, result: SurveyResult, *, listed: bool = False, centre_m: float = 0.0
) -> ProfileTable:
    """Counts a survey by a profile.

    Args:
        name: of the profile.
        profile: its rules.
        result: of the survey.
        listed: whether its sections are from a list, and leave road out.
        centre_m: where the middle of the lane lies, to the right of the vehicle's path.

    Raises:
        InputError: a rule names a column that there is not.
    """
    found = tally(result, profile, listed=listed, centre_m=centre_m)
    columns: list[Column] = []
    values: list[Values] = []
    for index, quantity in enumerate(profile.quantities):
        for column, of_sections in _COMPUTED[quantity.kind](index, quantity, profile, result, found):
            columns.append(column)
            values.append(of_sections)
        if quantity.kind == "decay":
            says = f"{quantity.factor:g} exp({quantity.rate:g} {quantity.column})"
            source = _named(str(quantity.column), name, columns, values)
            columns.append(Column(str(quantity.name), says, quantity.digits))
            values.append([_decayed(value, quantity) for value in source])
    for column, of_sections in _accounts(profile, found):
        columns.append(column)
        values.append(of_sections)
    if profile.grade is not None:
        graded = _named(profile.grade.column, name, columns, values)
        columns.append(Column("grade", f"of {profile.grade.column}: {', '.join(profile.grade.names)}", None))
        values.append([_grade(value, profile) for value in graded])
    _refuse_names(name, columns)
    rows = tuple(
        tuple(value if _known(column, section) else None for column, value in zip(columns, row, strict=True))
        for section, row in zip(result.sections, zip(*values, strict=True), strict=True)
    )
    return ProfileTable(name, profile, tuple(columns), rows)


def _known(column: Column, section: Section) -> bool:
    """Whether a section can have a value of a column: measured road, and what the column needs."""
    if not section.area_m2 > 0:
        return False
    return not (column.needs == DIRECTION and section.covered_m is None) and not (
        column.needs == PLACE and section.from_m is None
    )


def _refuse_names(profile: str, columns: Sequence[Column]) -> None:
    names = [column.name for column in columns]
    wrong = next((name for name in names if name in PLACE_COLUMNS or names.count(name) > 1), None)
    if wrong is not None:
        raise InputError(
            f"profile {profile}: two columns would be called {wrong}; name the quantity or class otherwise"
        )


def _named(column: str, profile: str, columns: Sequence[Column], values: Sequence[Values]) -> Values:
    """The values of a column that a rule of a profile names."""
    names = [item.name for item in columns]
    if column not in names:
        raise InputError(f"profile {profile}: it has no column {column}; its columns are: {', '.join(names)}")
    return values[names.index(column)]


Computed = Iterator[tuple[Column, Values]]


def _lengths(index: int, quantity: Quantity, profile: Profile, result: SurveyResult, found: Tally) -> Computed:
    needs = _needs(quantity, profile)
    for suffix, says, length, area in _split(quantity, profile, found):
        head = quantity.name or ""
        name = "_".join(part for part in (head, suffix) if part)
        yield Column(f"{name}_m", f"length: {says or 'all classes'}", quantity.digits, needs), list(length.tolist())
        if quantity.mean_width:
            with np.errstate(divide="ignore", invalid="ignore"):
                mean_mm = area / length * 1e3
            widths = [None if value != value else value for value in mean_mm.tolist()]
            yield Column(f"{name}_w_mm", f"mean width: {says or 'all classes'}", 2, needs), list(widths)


def _needs(quantity: Quantity, profile: Profile) -> str:
    """What the lengths of a quantity need: a place across the lane, or a direction of travel."""
    if "zone" in quantity.by:
        return PLACE
    by_class = "class" in quantity.by or quantity.classes is not None
    return DIRECTION if by_class and any(rule.angle_deg is not None for rule in profile.classes) else ""


def _split(quantity: Quantity, profile: Profile, found: Tally) -> Iterator[tuple[str, str, FloatArray, FloatArray]]:
    """Suffix, meaning, and (sections,) length and area of every combination of what a quantity is by."""
    chosen = classes_of(quantity, profile)
    classes = [(rule.name, rule.says, [n]) for n, rule in enumerate(profile.classes) if n in chosen]
    zones = [(name, f"zone {name}", [n]) for n, (name, _, _) in enumerate(profile.lane.bounds_m())]
    severities = [(name, _severity_says(profile, n), [n]) for n, name in enumerate(_severity_names(profile))]
    every_zone = ("", "", list(range(found.length_m.shape[2])))
    for class_name, class_says, of_class in classes if "class" in quantity.by else [("", "", chosen)]:
        for zone_name, zone_says, of_zone in zones if "zone" in quantity.by else [every_zone]:
            for name, says, of_severity in (
                severities if "severity" in quantity.by else [("", "", list(range(found.length_m.shape[3])))]
            ):
                place = np.ix_(range(len(found.length_m)), of_class, of_zone, of_severity)
                yield (
                    "_".join(part for part in (class_name, zone_name, name) if part),
                    ", ".join(part for part in (class_says, zone_says, says) if part),
                    found.length_m[place].sum(axis=(1, 2, 3)), found.area_m2[place].sum(axis=(1, 2, 3)),
                )  # fmt: skip


def _severity_names(profile: Profile) -> tuple[str, ...]:
    return () if profile.severity is None else profile.severity.names


def _severity_says(profile: Profile, number: int) -> str:
    edges = () if profile.severity is None else profile.severity.edges_mm
    if number == 0:
        return f"under {edges[0]:g} mm"
    return (
        f"{edges[number - 1]:g} mm and wider"
        if number == len(edges)
        else f"{edges[number - 1]:g} to {edges[number]:g} mm"
    )


def _areas(index: int, quantity: Quantity, profile: Profile, result: SurveyResult, found: Tally) -> Computed:
    area = found.area_m2[:, classes_of(quantity, profile)].sum(axis=(1, 2, 3))
    yield Column(f"{quantity.name}_m2", "length times width of the cracks", quantity.digits), list(area.tolist())


def _area_shares(index: int, quantity: Quantity, profile: Profile, result: SurveyResult, found: Tally) -> Computed:
    area = found.area_m2[:, classes_of(quantity, profile)].sum(axis=(1, 2, 3))
    whole = np.array([section.area_m2 for section in result.sections]) if profile.lane.width_m is None \
        else found.lane_seen_m2  # fmt: skip
    yield (
        Column(f"{quantity.name}_pct", "length times width of the cracks over the measured area", quantity.digits),
        [100.0 * a / b if b > 0 else None for a, b in zip(area.tolist(), whole.tolist(), strict=True)],
    )


def _pattern_areas(index: int, quantity: Quantity, profile: Profile, result: SurveyResult, found: Tally) -> Computed:
    names = _severity_names(profile) if "severity" in quantity.by else ("",)
    edges = profile.severity.edges_mm if profile.severity is not None and "severity" in quantity.by else ()
    sums = {(kind, name): np.zeros(len(result.sections)) for kind in quantity.patterns for name in names}
    for section, number, area_m2 in areas_in_sections(result.sections, result.networks):
        pattern = result.networks[number]
        if pattern.kind in quantity.patterns:
            place = int(np.searchsorted(np.array(edges), pattern.mean_width_mm, side="right"))
            sums[pattern.kind, names[place]][section] += area_m2
    for (kind, name), area in sums.items():
        says = f"area of {kind} patterns" + (
            f", cracks on average {_severity_says(profile, names.index(name))}" if name else ""
        )
        yield Column("_".join(part for part in (kind, name, "m2") if part), says, quantity.digits), list(area.tolist())


def _cells(index: int, quantity: Quantity, profile: Profile, result: SurveyResult, found: Tally) -> Computed:
    zones, bounds = zones_of(quantity, profile), profile.lane.bounds_m()
    shares: Values = []
    for number, section in enumerate(result.sections):
        touched = [found.touched[index].get((number, zone), set()) for zone in zones]
        # A cell in which a crack lies was seen, also where its middle was not.
        looked = [t | found.seen[index].get((number, zone), set()) for t, zone in zip(touched, zones, strict=True)]
        most = max(map(len, looked))
        if section.from_m is None or not most:
            shares.append(None)
        elif quantity.of == "cells":
            shares.append(100.0 * sum(map(len, touched)) / sum(map(len, looked)))
        elif min(map(len, looked)) < SEEN_SHARE * most:
            # Of a wheel path that nobody saw there is no share of the lane to give.
            shares.append(None)
        else:
            width_m = profile.lane.width_m or 1.0
            parts = [len(t) / len(s) * (bounds[z][2] - bounds[z][1]) / width_m
                     for t, s, z in zip(touched, looked, zones, strict=True)]  # fmt: skip
            shares.append(round(100.0 * sum(parts), quantity.digits))
    of = "cells seen" if quantity.of == "cells" else "lane's area; none where a zone was not seen"
    where = ", ".join(bounds[zone][0] for zone in zones)
    says = f"cells of {quantity.cell_m:g} m that a crack touches in {where}, share of the {of}"
    yield Column(f"{quantity.name}_pct", says, quantity.digits, PLACE), shares


def _stations(index: int, quantity: Quantity, profile: Profile, result: SurveyResult, found: Tally) -> Computed:
    """Relative frequencies, times weights, and their sum."""
    names = [rule.name for rule in profile.classes]
    looked = np.zeros(len(result.sections))
    shown = np.zeros((len(result.sections), len(quantity.groups)))
    for place, section in found.stations_seen[index].items():
        looked[section] += 1
        classes = {names[number] for number in found.stations[index].get(place, ())}
        group = next((n for n, (_, of, _) in enumerate(quantity.groups) if classes & set(of)), None)
        if group is not None:
            shown[section, group] += 1
    yield Column("stations", f"stations seen, one every {quantity.spacing_m:g} m", 0, PLACE), list(looked.tolist())
    total: Values = [0.0 if count else None for count in looked.tolist()]
    for number, (name, of, weight) in enumerate(quantity.groups):
        share: Values = [100.0 * n / count if count else None
                         for n, count in zip(shown[:, number].tolist(), looked.tolist(), strict=True)]  # fmt: skip
        yield Column(f"{name}_pct", f"stations that show {', '.join(of)}", quantity.digits, PLACE), share
        part: Values = [None if value is None else weight * float(value) for value in share]
        yield Column(f"igi_{name}", f"{name}_pct times {weight:g}", quantity.digits, PLACE), part
        total = [None if a is None or b is None else float(a) + float(b) for a, b in zip(total, part, strict=True)]
    yield Column("igg_cracks", "sum of the parts above: of cracks alone", quantity.digits, PLACE), total


def _nothing(index: int, quantity: Quantity, profile: Profile, result: SurveyResult, found: Tally) -> Computed:
    yield from ()


_COMPUTED: dict[str, Callable[[int, Quantity, Profile, SurveyResult, Tally], Computed]] = {
    "length": _lengths, "area": _areas, "area_share": _area_shares, "pattern_area": _pattern_areas, "cells": _cells,
    "stations": _stations, "decay": _nothing,
}  # fmt: skip


def _accounts(profile: Profile, found: Tally) -> Computed:
    """Where every metre of the section's cracks went."""
    counted = found.length_m.sum(axis=(1, 2, 3))
    yield Column("counted_m", "length of all lines that count"), list(counted.tolist())
    yield Column("left_out_m", "length of the lines that do not; with counted_m all of cracks.csv"), \
        list(found.left_out_m.sum(axis=1).tolist())  # fmt: skip
    why: Values = [
        ", ".join(f"{length:.1f} m {reason}" for reason, length in zip(REASONS, row, strict=True) if length >= 0.05)
        for row in found.left_out_m.tolist()
    ]
    yield Column("left_why", "why: joint, sealed, narrow, wide, short, outside the lane", None), why
    if profile.lane.width_m is not None:
        width = profile.lane.width_m
        seen: Values = [
            min(100.0, 100.0 * area / (width * length)) if length > 0 else None
            for area, length in zip(found.lane_seen_m2.tolist(), found.looked_m.tolist(), strict=True)
        ]
        says = f"share of a lane of {width:g} m that was seen, where any camera measured"
        yield Column("lane_seen_pct", says, 1, PLACE), seen


def _decayed(value: float | str | None, quantity: Quantity) -> float | None:
    return None if not isinstance(value, float) else quantity.factor * math.exp(quantity.rate * value)


def _grade(value: float | str | None, profile: Profile) -> str | None:
    if profile.grade is None or not isinstance(value, float):
        return None
    return profile.grade.names[int(np.searchsorted(np.array(profile.grade.edges), value, side="right"))]
