"""Which lines of two surveys are the same crack: matched point by point, then put into groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from crackmap.pipeline.comparing.records import BoolArray, IntArray, Samples
from crackmap.stages.records import FloatArray

LEAST_SHARED_M = 0.10
LEAST_SHARE = 0.5
"""Two lines belong together if they share this length, or this share of the shorter one."""

NEIGHBOURS = 8


@dataclass(frozen=True, slots=True)
class Matches:
    """What lies beside each point.

    Attributes:
        of_a: (N,) number of the nearest point of b with like direction within the tolerance, -1 without.
        of_b: (M,) likewise.
        group_a, group_b: group of each crack of a and of b; groups are numbered from 0.
        groups: their number.
    """

    of_a: IntArray
    of_b: IntArray
    group_a: IntArray
    group_b: IntArray
    groups: int


def match_lines(
    a: Samples, b: Samples, usable_a: BoolArray, usable_b: BoolArray, *, counts: tuple[int, int], tolerance_m: float,
    direction_deg: float,
) -> Matches:  # fmt: skip
    """Points beside each other, and the groups of cracks they make.

    Args:
        a: points of the earlier survey.
        b: of the later one, in the same coordinates.
        usable_a: (N,) its points on road that both saw; others match nothing.
        usable_b: (M,) likewise.
        counts: number of cracks of a and of b.
        tolerance_m: greatest distance across the line.
        direction_deg: greatest difference of the local directions.
    """
    of_a = _beside(a, b, usable_a, usable_b, tolerance_m, direction_deg)
    of_b = _beside(b, a, usable_b, usable_a, tolerance_m, direction_deg)
    shared = _shared(a, b, of_a, counts).maximum(_shared(b, a, of_b, counts[::-1]).T).tocoo()
    own_a, own_b = _lengths(a, usable_a, counts[0]), _lengths(b, usable_b, counts[1])
    shorter = np.minimum(own_a[shared.row], own_b[shared.col])
    together = shared.data >= np.minimum(LEAST_SHARED_M, LEAST_SHARE * shorter)
    edges = (np.ones(together.sum()), (shared.row[together], counts[0] + shared.col[together]))
    groups, label = connected_components(coo_matrix(edges, shape=(sum(counts), sum(counts))), directed=False)
    return Matches(of_a, of_b, label[: counts[0]].astype(np.int64), label[counts[0] :].astype(np.int64), int(groups))


def _beside(
    own: Samples, other: Samples, usable: BoolArray, others: BoolArray, tolerance_m: float, direction_deg: float
) -> IntArray:
    partner = np.full(len(own.xy), -1, np.int64)
    (mine,), (theirs,) = np.nonzero(usable), np.nonzero(others)
    if not len(mine) or not len(theirs):
        return partner
    # Points of two lines are out of step by up to half their spacing.
    spacing = float(np.median(other.length_m[theirs]))
    reach = float(np.hypot(tolerance_m, spacing))
    tree = cKDTree(other.xy[theirs])
    distance, index = tree.query(own.xy[mine], k=min(NEIGHBOURS, len(theirs)), distance_upper_bound=reach)
    distance, index = distance.reshape(len(mine), -1), index.reshape(len(mine), -1)
    there = np.isfinite(distance)
    candidate = theirs[np.where(there, index, 0)]
    away = own.xy[mine][:, None] - other.xy[candidate]
    course = other.course[candidate]
    across = np.abs(away[..., 0] * course[..., 1] - away[..., 1] * course[..., 0])
    like = np.abs((own.course[mine][:, None] * course).sum(axis=2)) >= np.cos(np.deg2rad(direction_deg))
    cost = np.where(there & like & (across <= tolerance_m), distance, np.inf)
    best = cost.argmin(axis=1)
    found = np.isfinite(cost[np.arange(len(mine)), best])
    partner[mine[found]] = candidate[np.arange(len(mine)), best][found]
    return partner


def _shared(own: Samples, other: Samples, partner: IntArray, counts: tuple[int, int]) -> coo_matrix:
    (found,) = np.nonzero(partner >= 0)
    places = (own.crack[found], other.crack[partner[found]])
    return coo_matrix((own.length_m[found], places), shape=counts).tocsr()


def _lengths(samples: Samples, usable: BoolArray, count: int) -> FloatArray:
    lengths = np.bincount(samples.crack[usable], samples.length_m[usable], minlength=count)
    return np.asarray(lengths, np.float64)
