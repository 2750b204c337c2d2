"""What has grown: differences of length and width of each group of lines, their uncertainty, and which are real.

Cracks do not heal. So the lines that came out shorter or thinner in the later survey show how far two surveys of an
unchanged crack differ, whatever share of the others has grown; on an unchanged road differences have either sign alike.
The same holds for lines that only one survey has: chance loses as many in either, so the side with less is the measure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from crackmap.pipeline.comparing.records import BoolArray, Repeatability
from crackmap.stages.records import FloatArray

FREEDOM = 4
"""Degrees of freedom of Student's t: tails are long, because a stretch is found whole or not at all."""

QUANTILE = 0.9
"""The spread is read at this share of the differences on one side: the middle hardly differs and says nothing."""

LENGTH_LIMITS_M = (0.03, 0.5)
WIDTH_LIMITS = (0.25, 3.0)
LONE_LIMITS_M = (0.08, 1.0)
"""Least: what drawn roads show at best. Greatest: a comparison that would need more has another cause, such as growth
of all cracks, and must not explain it away."""

LONE_PRIOR = 10
"""The least mean length of a lone line counts like this many lines."""

TAIL_LEAST_M = 0.05
TAIL_SHARE = 0.2
"""The greatest differences of length on one side, this share of them, tell how great chance makes them: whatever the
length of the crack, what is lost or found is a stretch, and long stretches are rarer exponentially (peaks over a
threshold, Pickands 1975). Student's t with the spread below would call none of them rare."""

COMMON_LENGTH = 0.015
"""Of lengths, between two passes over drawn roads (docs/compare.md): light and blur differ for all cracks alike."""

COMMON_WIDTH_PX = 0.06
"""Of widths, pixels: the valley model's 0.04 px (docs/measurement.md) in both surveys."""

WIDTH_SHARE = 0.1
WIDTH_SPAN_M = 0.3
"""Beside junctions and tips widths are taken over from their surroundings, uncertain by a tenth (stages/measure); so
they are all along a line shorter than this, whose widening is given and not tested."""

LENGTH_OFFSET_M = 0.2
"""A crack of no length would still differ like one of this."""

END_WIDTHS = 2.0
"""Where cracks meet, the mask of one hides the other's end: by this many widths, as drawn networks show."""

COVERING = float(student.isf(0.025, FREEDOM)) / 2
"""Scale of Student's t to the standard uncertainty that is stated: two of them hold 19 differences in 20."""

LEAST_TESTS = 10
"""Fewer differences on one side than this say nothing about the spread: the greatest of the limits is not to be feared,
but twice the least one is taken."""


@dataclass(frozen=True, slots=True)
class Units:
    """Groups of lines as columns, one row a group.

    Attributes:
        length_a_m, length_b_m: lengths that are compared.
        u_length_m: of their difference, from the uncertainties of both lengths.
        matched_m: length on which both have a line.
        width_a_mm, width_b_mm: mean widths there; NaN without.
        widening_mm: mean difference there.
        u_width_mm: of it, from the uncertainties of both widths.
    """

    length_a_m: FloatArray
    length_b_m: FloatArray
    u_length_m: FloatArray
    matched_m: FloatArray
    width_a_mm: FloatArray
    width_b_mm: FloatArray
    widening_mm: FloatArray
    u_width_mm: FloatArray

    @property
    def both(self) -> BoolArray:
        """Groups with lines of both surveys."""
        return np.asarray(self.matched_m > 0, bool)

    @property
    def lone_m(self) -> FloatArray:
        """Length of groups that only one survey has, negative where it is the earlier one; 0 for the others."""
        return np.where(self.both, 0.0, self.length_b_m - self.length_a_m)


@dataclass(frozen=True, slots=True)
class Judged:
    """What the differences are worth.

    Attributes:
        growth_m, u_growth_m: of every unit.
        u_widening_mm: of every unit with widths; NaN without.
        p_growth: chance of as great a difference in length, of a lone line of its length, on an unchanged road.
        p_widening: likewise of the widening; NaN where there is none.
        changed_length, changed_width: whether it is called a change.
        repeatability: what these rest on.
        notes: for the user.
    """

    growth_m: FloatArray
    u_growth_m: FloatArray
    u_widening_mm: FloatArray
    p_growth: FloatArray
    p_widening: FloatArray
    changed_length: BoolArray
    changed_width: BoolArray
    repeatability: Repeatability
    notes: tuple[str, ...]


def judge(units: Units, *, false_share: float, pixel_mm: float) -> Judged:
    """Uncertainties of all differences, and those that are real.

    Of what is called changed, `false_share` is expected to be false (Benjamini and Hochberg, J. Royal Statistical
    Society B 57, 1995; a third of it each for lengths, lines that stand alone, and widths), as far as the tails hold.
    Beside that a change must be beyond two standard uncertainties.

    Args:
        units: the groups.
        false_share: see above.
        pixel_mm: the coarser pixel of both surveys.
    """
    both, lone = units.both, units.lone_m
    growth = units.length_b_m - units.length_a_m
    length = np.maximum(units.length_a_m, units.length_b_m)
    shape = np.sqrt((length + LENGTH_OFFSET_M) / (length + LENGTH_OFFSET_M + 1.0))
    wide = both & (units.matched_m >= WIDTH_SPAN_M)
    stated = _width_scale(units)
    common = COMMON_LENGTH
    common_width = max(COMMON_WIDTH_PX * pixel_mm, abs(_densest(units.widening_mm[wide])))
    own_u = np.hypot(units.u_length_m, END_WIDTHS * _width_mm(units) / 1e3)
    k, k_from, count = _spread(growth[both], own_u[both], shape[both], LENGTH_LIMITS_M)
    factor, factor_from, _ = _spread(units.widening_mm[wide], np.zeros(wide.sum()), stated[wide], WIDTH_LIMITS)
    mean_lone, lone_from = _lone_length(lone)
    u_growth = np.sqrt(own_u**2 + (k * shape) ** 2 + (common * length) ** 2)
    # Of a line that stands alone all may be chance: it is not in the uncertainty of what is called new.
    u_widening = np.where(both, np.sqrt((factor * stated) ** 2 + common_width**2), np.nan)
    start, mean_excess = _tail(growth[both], mean_lone)
    beyond = TAIL_SHARE * np.exp(-np.maximum(np.abs(growth) - start, 0.0) / mean_excess)
    usual = np.maximum(_two_sided(growth, u_growth), TAIL_SHARE)
    p_both = np.where(np.abs(growth) > start, beyond, usual)
    p_growth = np.where(both, p_both, np.exp(-np.abs(lone) / mean_lone))
    p_growth = np.where(length > 0, p_growth, np.nan)
    p_widening = np.where(wide, _two_sided(units.widening_mm, u_widening), np.nan)
    u_growth, u_widening = COVERING * u_growth, COVERING * u_widening
    share = false_share / 3
    changed_length = _false_discovery(np.where(both, p_growth, np.nan), share) & (np.abs(growth) > 2 * u_growth)
    changed_length |= _false_discovery(np.where(both, np.nan, p_growth), share)
    changed_width = _false_discovery(p_widening, share)
    changed_width &= np.abs(np.nan_to_num(units.widening_mm)) > 2 * np.nan_to_num(u_widening)
    repeatability = Repeatability(
        COVERING * k, k_from, COVERING * factor, factor_from, mean_lone, lone_from, common, common_width, count
    )  # fmt: skip
    notes = _notes(common_width, pixel_mm)
    return Judged(
        growth, u_growth, u_widening, p_growth, p_widening, changed_length, changed_width, repeatability, notes
    )


def _width_scale(units: Units) -> FloatArray:
    width = _width_mm(units)
    short = np.minimum(1.0, WIDTH_SPAN_M / np.maximum(units.matched_m, 1e-6))
    return np.asarray(np.sqrt(np.nan_to_num(units.u_width_mm) ** 2 + short * (WIDTH_SHARE * width) ** 2), np.float64)


def _width_mm(units: Units) -> FloatArray:
    return np.asarray(np.nan_to_num((units.width_a_mm + units.width_b_mm) / 2), np.float64)


def _densest(values: FloatArray) -> float:
    """Middle of the shortest interval that holds half of the values (Rousseeuw 1984): growth of a third leaves it."""
    if len(values) < LEAST_TESTS:
        return 0.0
    ordered = np.sort(values)
    half = len(values) // 2
    start = int(np.argmin(ordered[half:] - ordered[: len(values) - half]))
    return float(ordered[start] + ordered[start + half]) / 2


def _spread(
    difference: FloatArray, own_u: FloatArray, shape: FloatArray, limits: tuple[float, float]
) -> tuple[float, str, int]:
    """The factor on `shape` that, with `own_u`, explains the differences below zero; where it is from; their number."""
    below = difference < 0
    size, own, form = np.abs(difference[below]), own_u[below], shape[below]
    low, high = limits
    if below.sum() < LEAST_TESTS:
        return 2 * low, "least", int(below.sum())
    wanted = float(student.isf((1 - QUANTILE) / 2, FREEDOM))

    def too_small(factor: float) -> bool:
        z = size / np.sqrt(own**2 + (factor * form) ** 2 + 1e-18)
        return float(np.quantile(z, QUANTILE)) > wanted

    if not too_small(low):
        return low, "least", len(size)
    if too_small(high):
        return high, "greatest", len(size)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if too_small(middle) else (low, middle)
    return high, "estimated", len(size)


def _tail(difference_m: FloatArray, lone_m: float) -> tuple[float, float]:
    """Where the tail of the differences below zero begins, and the mean length by which they exceed it."""
    size = -difference_m[difference_m < 0]
    if len(size) < LEAST_TESTS:
        return lone_m, lone_m
    start = float(np.quantile(size, 1 - TAIL_SHARE))
    excess = size[size > start] - start
    mean = (float(excess.sum()) + LONE_PRIOR * LONE_LIMITS_M[0]) / (len(excess) + LONE_PRIOR)
    return start, min(max(mean, TAIL_LEAST_M), LONE_LIMITS_M[1])


def _lone_length(lone_m: FloatArray) -> tuple[float, str]:
    """Mean length of a line that only one survey has, on the side with less of it."""
    least, greatest = LONE_LIMITS_M
    means = [
        (float(side.sum()) + LONE_PRIOR * least) / (len(side) + LONE_PRIOR)
        for side in (lone_m[lone_m > 0], -lone_m[lone_m < 0])
    ]
    found = min(means)
    if found <= least:
        return least, "least"
    return (greatest, "greatest") if found > greatest else (found, "estimated")


def _two_sided(difference: FloatArray, u: FloatArray) -> FloatArray:
    return np.asarray(2 * student.sf(np.abs(difference) / np.maximum(u, 1e-12), FREEDOM), np.float64)


def _false_discovery(p: FloatArray, share: float) -> BoolArray:
    """Which of the tests (NaN: none) are called, by Benjamini and Hochberg's rule."""
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    passed = np.flatnonzero(p[order] <= share * np.arange(1, len(order) + 1) / max(len(order), 1))
    called = np.zeros(len(p), bool)
    if len(passed):
        called[order[: passed[-1] + 1]] = True
    return called


def _notes(common_width: float, pixel_mm: float) -> tuple[str, ...]:
    if common_width <= COMMON_WIDTH_PX * pixel_mm:
        return ()
    return (
        f"most widths differ by {common_width:.2f} mm in one direction: that may be light, focus or another camera as "
        "well as growth of all cracks, and is held against every widening",
    )
