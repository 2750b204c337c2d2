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
WIDTH_LIMITS = (0.5, 3.0)
LONE_LIMITS_M = (0.08, 1.0)
"""Least: what drawn roads show at best. Greatest: a comparison that would need more has another cause, such as growth
of all cracks, and must not explain it away."""

LONE_PRIOR = 3
"""The least mean length of a lone line counts like this many lines."""

COMMON_LENGTH = 0.015
"""Of lengths, between two passes over drawn roads (docs/compare.md): light and blur differ for all cracks alike."""

COMMON_WIDTH_PX = 0.06
"""Of widths, pixels: the valley model's 0.04 px (docs/measurement.md) in both surveys."""

WIDTH_SHARE = 0.1
WIDTH_SPAN_M = 0.3
"""Beside junctions and tips widths are taken over from their surroundings, uncertain by a tenth (stages/measure); so
they are all along a line shorter than this."""

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
    Society B 57, 1995, over all tests of length and width): on an unchanged road nothing at all with probability
    1 - false_share. Beside that a change must be beyond two standard uncertainties.

    Args:
        units: the groups.
        false_share: see above.
        pixel_mm: the coarser pixel of both surveys.
    """
    both, lone = units.both, units.lone_m
    growth = units.length_b_m - units.length_a_m
    length = np.maximum(units.length_a_m, units.length_b_m)
    shape = np.sqrt(length / (length + 1.0))
    stated = _width_scale(units)
    common = COMMON_LENGTH
    common_width = max(COMMON_WIDTH_PX * pixel_mm, abs(_middle(units.widening_mm[both], units.matched_m[both])))
    k, k_from, count = _spread(growth[both], units.u_length_m[both], shape[both], LENGTH_LIMITS_M)
    factor, factor_from, _ = _spread(units.widening_mm[both], np.zeros(both.sum()), stated[both], WIDTH_LIMITS)
    mean_lone, lone_from = _lone_length(lone)
    u_growth = np.sqrt(units.u_length_m**2 + (k * shape) ** 2 + (common * length) ** 2)
    # Of a line that stands alone all may be chance: it is not in the uncertainty of what is called new.
    u_widening = np.where(both, np.sqrt((factor * stated) ** 2 + common_width**2), np.nan)
    p_growth = np.where(both, _two_sided(growth, u_growth), np.exp(-np.abs(lone) / mean_lone))
    p_growth = np.where(length > 0, p_growth, np.nan)
    p_widening = np.where(both, _two_sided(units.widening_mm, u_widening), np.nan)
    called = _false_discovery(np.concatenate([p_growth, p_widening]), false_share)
    changed_length = called[: len(length)] & (~both | (np.abs(growth) > 2 * u_growth))
    changed_width = called[len(length) :] & both & (np.abs(units.widening_mm) > 2 * np.nan_to_num(u_widening))
    repeatability = Repeatability(
        k, k_from, factor, factor_from, mean_lone, lone_from, common, common_width, count
    )  # fmt: skip
    notes = _notes(common_width, pixel_mm)
    return Judged(
        growth, u_growth, u_widening, p_growth, p_widening, changed_length, changed_width, repeatability, notes
    )


def _width_scale(units: Units) -> FloatArray:
    width = np.nan_to_num((units.width_a_mm + units.width_b_mm) / 2)
    short = np.minimum(1.0, WIDTH_SPAN_M / np.maximum(units.matched_m, 1e-6))
    return np.asarray(np.sqrt(np.nan_to_num(units.u_width_mm) ** 2 + short * (WIDTH_SHARE * width) ** 2), np.float64)


def _middle(values: FloatArray, weights: FloatArray) -> float:
    """Median of values, each counting with its weight."""
    if not len(values):
        return 0.0
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])


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
        f"half of the matched length differs in width by {common_width:.2f} mm or more in one direction: that may be light, "
        "focus or another camera as well as growth, and is held against every widening",
    )
