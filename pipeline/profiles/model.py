"""A profile: what a standard counts, as data. One TOML file each; a user's own is one more file."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Name = Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,15}$")]

EDGE_TOLERANCE_M = 1e-6


class Table(BaseModel):
    """A table of the file; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SectionRule(Table):
    """[section]: along the road."""

    length_m: Positive = Field(100.0, description="length of a section where the user gives none")


class Zone(Table):
    """A strip of the lane."""

    name: Name
    from_m: Finite | Literal["edge"] = Field(
        description="metres to the right of the lane's middle, in travel direction"
    )
    to_m: Finite | Literal["edge"]


class LaneRule(Table):
    """[lane]: across the road. Lines outside the lane are left out where it has a width."""

    width_m: Positive | None = Field(None, description="width of the lane; without it everything seen counts")
    strips: int | None = Field(None, ge=1, le=20, description="equal strips s1, s2, ... from left to right, as zones")
    zones: tuple[Zone, ...] = Field((), description="zones from left to right; «edge» is the edge of the lane")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.strips or self.zones) and self.width_m is None:
            raise ValueError("zones need a lane: give [lane] width_m, e.g. width_m = 3.5")
        if self.strips and self.zones:
            raise ValueError("give strips or zones, not both")
        bounds = self.bounds_m()
        half = (self.width_m or math.inf) / 2
        for name, low, high in bounds:
            if not -half - EDGE_TOLERANCE_M <= low < high <= half + EDGE_TOLERANCE_M:
                raise ValueError(f"zone {name} from {low:g} to {high:g} m does not lie in a lane of {self.width_m:g} m")
        if any(low >= high for _, low, high in bounds) or any(a[2] > b[1] + 1e-9 for a, b in pairwise(bounds)):
            raise ValueError("zones go from left to right and do not overlap")
        if len({name for name, _, _ in bounds}) < len(bounds):
            raise ValueError("two zones have the same name")
        return self

    def bounds_m(self) -> tuple[tuple[str, float, float], ...]:
        """Name, from and to of every zone, metres to the right of the lane's middle."""
        half = (self.width_m or math.inf) / 2
        if self.strips:
            step = 2 * half / self.strips
            return tuple((f"s{n + 1}", -half + n * step, -half + (n + 1) * step) for n in range(self.strips))
        return tuple(
            (zone.name, -half if zone.from_m == "edge" else zone.from_m, half if zone.to_m == "edge" else zone.to_m)
            for zone in self.zones
        )

    @property
    def tiled(self) -> bool:
        """Whether the zones leave nothing of the lane out."""
        bounds = self.bounds_m()
        if not bounds or self.width_m is None:
            return False
        edges = [-self.width_m / 2, *(high for _, _, high in bounds)]
        starts = [*(low for _, low, _ in bounds), self.width_m / 2]
        return all(abs(a - b) < EDGE_TOLERANCE_M for a, b in zip(edges, starts, strict=True))


class CountRule(Table):
    """[count]: which lines are cracks to this standard at all; each line as a whole."""

    least_width_mm: NotNegative = Field(0.0, description="least mean width")
    greatest_width_mm: Positive | None = Field(None, description="greatest mean width")
    least_length_m: NotNegative = Field(0.0, description="least length")
    sealed: Literal["in", "out"] = Field("out", description="whether sealed cracks count")
    joints: Literal["in", "out"] = Field("out", description="whether joints and saw cuts count")


class ClassRule(Table):
    """[[class]]: a kind of crack. A line belongs to the first class that it fits."""

    name: Name
    says: str = Field(description="what it is, in a few words")
    pattern: tuple[Literal["alligator", "block"], ...] | None = Field(
        None, description="only lines in patterns of these kinds; [] for lines in none; by default any line"
    )
    angle_deg: tuple[float, float] | None = Field(
        None, description="angle to the direction of travel, folded to 0 (along) to 90 (across): from, to"
    )
    least_length_m: NotNegative = 0.0
    sealed: bool | None = Field(None, description="only sealed lines, or only open ones")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.angle_deg is not None and not 0 <= self.angle_deg[0] <= self.angle_deg[1] <= 90:
            raise ValueError("angle_deg: two angles from 0 (along) to 90 (across), the smaller first")
        return self


class SeverityRule(Table):
    """[severity]: classes by width."""

    of: Literal["place", "crack"] = Field(
        "place", description="the width at each place of a line, whose parts then count apart; or its mean width"
    )
    edges_mm: tuple[Positive, ...] = Field(min_length=1)
    names: tuple[Name, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.names) != len(self.edges_mm) + 1:
            raise ValueError(f"names: one more than edges_mm, {len(self.edges_mm) + 1}, expected")
        if any(a >= b for a, b in pairwise(self.edges_mm)):
            raise ValueError("edges_mm: ascending widths expected")
        return self


class Quantity(Table):
    """[[quantity]]: one column of the result, or one for each class, zone and severity that `by` names."""

    kind: Literal["length", "area", "area_share", "pattern_area", "cells", "stations", "decay"]
    name: Name | None = Field(None, description="head of the column's name; by default that of the class")
    classes: tuple[Name, ...] | None = Field(None, description="only these classes; by default all")
    by: tuple[Literal["class", "zone", "severity"], ...] = ()
    mean_width: bool = Field(False, description="length: also the mean width beside each length")
    cell_m: Positive | None = Field(None, description="cells: their length along the road")
    zones: tuple[Name, ...] | None = Field(None, description="cells: only in these zones; by default all")
    of: Literal["cells", "lane"] = Field("cells", description="cells: share of the cells seen, or of the lane's area")
    patterns: tuple[Literal["alligator", "block"], ...] = Field(("alligator", "block"), description="pattern_area")
    spacing_m: Positive | None = Field(None, description="stations: distance along the road")
    length_m: Positive | None = Field(None, description="stations: length of road that is looked at")
    groups: tuple[tuple[Name, tuple[Name, ...], NotNegative], ...] = Field(
        (), description="stations: name, classes and weight, the gravest first; a station counts in the first it shows"
    )
    column: Name | None = Field(None, description="decay: of this column")
    factor: Finite = Field(100.0, description="decay: factor * exp(rate * column)")
    rate: Finite = 0.0
    digits: int = Field(3, ge=0, le=6)

    @model_validator(mode="after")
    def _check(self) -> Self:
        needs = {"cells": ("name", "cell_m"), "stations": ("spacing_m", "length_m", "groups"),
                 "decay": ("name", "column"), "area": ("name",), "area_share": ("name",),
                 "pattern_area": (), "length": ()}  # fmt: skip
        for key in needs[self.kind]:
            if not getattr(self, key):
                raise ValueError(f"{key} is missing: kind {self.kind!r} needs it")
        if self.kind == "length" and "class" not in self.by and self.name is None:
            raise ValueError('name is missing: a length that is not by "class" needs it')
        return self


class GradeRule(Table):
    """[grade]: one word for a section."""

    column: Name
    edges: tuple[Finite, ...] = Field(min_length=1)
    names: tuple[str, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.names) != len(self.edges) + 1 or any(a >= b for a, b in pairwise(self.edges)):
            raise ValueError("one name more than ascending edges expected")
        return self


class Profile(Table):
    """What a standard asks for.

    `unconfirmed` maps a key of the file («lane.width_m») to what is not known for certain about its value.
    """

    title: str
    source: str = Field(description="where it is from")
    not_graded: tuple[str, ...] = Field(description="what the standard grades and a mask from above does not show")
    unconfirmed: dict[str, str] = {}
    section: SectionRule = SectionRule()
    lane: LaneRule = LaneRule()
    count: CountRule = CountRule()
    classes: tuple[ClassRule, ...] = Field(alias="class", min_length=1)
    severity: SeverityRule | None = None
    quantities: tuple[Quantity, ...] = Field(alias="quantity", min_length=1)
    grade: GradeRule | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        for key in self.unconfirmed:
            _refuse_unknown_key(self, key)
        names = [rule.name for rule in self.classes]
        zones = [name for name, _, _ in self.lane.bounds_m()]
        if len(set(names)) < len(names):
            raise ValueError("two classes have the same name")
        for quantity in self.quantities:
            _refuse_unknown(
                "class", (*(quantity.classes or ()), *(c for _, cs, _ in quantity.groups for c in cs)), names
            )
            _refuse_unknown("zone", quantity.zones or (), zones)
            if quantity.kind == "cells" and not zones:
                raise ValueError("cells need zones: give [lane] strips or zones")
            if "zone" in quantity.by and not self.lane.tiled:
                raise ValueError("zones that lengths are given by must fill the lane, or lengths would be lost")
            if "severity" in quantity.by and self.severity is None:
                raise ValueError("a quantity is by severity: give [severity]")
        return self


def _refuse_unknown_key(profile: Profile, key: str) -> None:
    """A key of [unconfirmed]: «table.key», «class.NAME.key» or «quantity.NAME.key», of a kind where it has no name."""
    table, _, rest = key.partition(".")
    name, _, last = rest.rpartition(".")
    known: type[Table] | None = None
    if table == "class" and name in [rule.name for rule in profile.classes]:
        known = ClassRule
    elif table == "quantity" and name in [quantity.name or quantity.kind for quantity in profile.quantities]:
        known = Quantity
    elif not name:
        tables: dict[str, type[Table]] = {"section": SectionRule, "lane": LaneRule, "count": CountRule,
                                          "severity": SeverityRule, "grade": GradeRule}  # fmt: skip
        known = tables.get(table)
    if known is None or last not in known.model_fields:
        raise ValueError(f"unconfirmed: {key!r} is no key of this file; such are lane.width_m, class.NAME.angle_deg")


def _refuse_unknown(what: str, wanted: tuple[str, ...], known: list[str]) -> None:
    for name in wanted:
        if name not in known:
            raise ValueError(f"unknown {what} {name!r}; known are: {', '.join(known) or 'none'}")
