"""From points to groups: what of each survey's lines is compared, added up by group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crackmap.pipeline.comparing.growth import Units
from crackmap.pipeline.comparing.matching import Matches
from crackmap.pipeline.comparing.records import BoolArray, IntArray, Samples
from crackmap.pipeline.records import RoadCrack
from crackmap.stages.records import FloatArray


@dataclass(frozen=True, slots=True)
class Compared:
    """One survey's side of a comparison.

    Attributes:
        cracks: its lines.
        points: on them.
        seen: (N,) points on road that both surveys saw.
        left_out: (N,) those of them that are not compared: the other survey shows something there, or a gap was
            bridged.
    """

    cracks: Sequence[RoadCrack]
    points: Samples
    seen: BoolArray
    left_out: BoolArray

    @property
    def counted(self) -> BoolArray:
        """(N,) points whose length is compared."""
        return self.seen & ~self.left_out


def summed(number: IntArray, values: FloatArray, count: int) -> FloatArray:
    """(count,) sum of the values with each number."""
    return np.asarray(np.bincount(number, values, minlength=count), np.float64)


def make_units(a: Compared, b: Compared, matches: Matches) -> Units:
    """The groups as columns."""
    (found,) = np.nonzero(matches.of_b >= 0)
    partner = matches.of_b[found]
    group, length = matches.group_b[b.points.crack[found]], b.points.length_m[found]
    matched = summed(group, length, matches.groups)

    def mean(values: FloatArray) -> FloatArray:
        total = summed(group, length * values, matches.groups)
        return np.asarray(np.where(matched > 0, total / np.maximum(matched, 1e-12), np.nan), np.float64)

    width_a, width_b = a.points.width_mm[partner], b.points.width_mm[found]
    u_a, u_b = (_stated(side.cracks, "u_width_mm") for side in (a, b))
    return Units(
        length_a_m=_added(a, matches.group_a, matches.groups),
        length_b_m=_added(b, matches.group_b, matches.groups),
        u_length_m=np.hypot(
            _u_length(a, matches.group_a, matches.groups), _u_length(b, matches.group_b, matches.groups)
        ),
        matched_m=matched,
        width_a_mm=mean(width_a),
        width_b_mm=mean(width_b),
        widening_mm=mean(width_b - width_a),
        u_width_mm=np.hypot(mean(u_a[a.points.crack[partner]]), mean(u_b[b.points.crack[found]])),
    )


def _added(side: Compared, group: IntArray, groups: int) -> FloatArray:
    of_point = group[side.points.crack]
    return summed(of_point[side.counted], side.points.length_m[side.counted], groups)


def _u_length(side: Compared, group: IntArray, groups: int) -> FloatArray:
    """Ends are located independently of each other: the uncertainties of lines add in quadrature.

    A line of which a part is compared has the root of that share of its uncertainty, as in `merge`. What is left
    out may be anything from none to all of a difference: evenly spread, that is its length / sqrt(3) from it.
    """
    count = len(side.cracks)
    whole = summed(side.points.crack, side.points.length_m, count)
    kept = summed(side.points.crack[side.counted], side.points.length_m[side.counted], count)
    u = _stated(side.cracks, "u_length_m")
    left_out = side.left_out & ~side.points.bridged
    aside = summed(group[side.points.crack[left_out]], side.points.length_m[left_out], groups)
    variance = summed(group, u**2 * kept / np.maximum(whole, 1e-12), groups) + aside**2 / 3
    return np.asarray(np.sqrt(variance), np.float64)


def _stated(cracks: Sequence[RoadCrack], name: str) -> FloatArray:
    """(K,) stated uncertainty of each crack; that of a crack without one is the median of the others."""
    values = np.array([np.nan if getattr(crack, name) is None else getattr(crack, name) for crack in cracks], float)
    known = values[np.isfinite(values)]
    usual = float(np.median(known)) if len(known) else 0.0
    return np.asarray(np.where(np.isfinite(values), values, usual), np.float64)
