"""How far one survey lies beside the other, found from the cracks that both show.

Positions of two drives differ by decimetres, slowly along the road. First every pair of points with like direction
votes for the shift that would lay one on the other, in windows along the road; the best chain of windows is the start.
Then the points are laid onto the nearest lines, again and again, by shifts that are linear between knots along the road
and change little from one to the next (least squares, point to line, as in Chen and Medioni 1992).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d, maximum_filter
from scipy.sparse import coo_matrix, identity
from scipy.sparse.linalg import spsolve
from scipy.spatial import cKDTree

from crackmap.pipeline.comparing.places import Axis
from crackmap.pipeline.comparing.records import BoolArray, CompareSettings, IntArray, Samples, Shift
from crackmap.stages.records import FloatArray

KNOT_M = 25.0
"""Distance of knots: GNSS noise changes over seconds, that is tens of metres."""

DRIFT_M = 0.05
"""Standard deviation of the change of the shift from knot to knot."""

BIN_M = 0.05
PEAKS = 6
"""Best shifts of each window that the chain chooses from."""

JUMP_M = 0.15
"""A change of the voted shift by this from window to window costs as much as a whole window's votes."""

REACHES_M = (0.30, 0.20, 0.15, 0.12, 0.10, 0.10)
"""How far from a line its points may lie, round by round: what is farther is another crack."""

INDEPENDENT_M = 0.30
"""Points nearer than this share their error: the position of a frame, the course of a line."""

LEAST_RESIDUAL_M = 0.005
LEAST_TOLERANCE_M = 0.05
GREATEST_TOLERANCE_M = 0.15
"""Limits of the distance within which lines match: cells of fine networks are a decimetre wide."""

UNKNOWN_TOLERANCE_M = 1.0
"""Limit where the shift could not be found."""

LEAST_AGREEMENT = 0.4
CHANCE_FACTOR = 2.0
"""A shift is believed if this share of the length of the survey with less of it agrees under it, and this many times
what agrees with a mirrored road under the shift that is best for that."""

LEAST_AGREED_M = 1.0

DEFAULT_SEARCH_M = 2.0
SEARCH_LIMITS_M = (1.0, 5.0)


@dataclass(frozen=True, slots=True)
class Knots:
    """Places along the earlier survey between which the shift is linear.

    Attributes:
        stream: (K,) recording, or image of a raster survey, that a knot belongs to.
        chainage_m: (K,) its place there; NaN for rasters, which have one knot each.
    """

    stream: IntArray
    chainage_m: FloatArray

    @property
    def neighbours(self) -> BoolArray:
        """(K - 1,) whether a knot and the next one lie on one recording."""
        return np.asarray((self.stream[1:] == self.stream[:-1]) & np.isfinite(self.chainage_m[1:]), bool)

    def weights(self, stream: IntArray, chainage_m: FloatArray) -> tuple[IntArray, IntArray, FloatArray]:
        """Of points: the knots before and behind, and the weight of the latter."""
        first = np.searchsorted(self.stream, stream, side="left")
        last = np.searchsorted(self.stream, stream, side="right") - 1
        start = np.where(np.isfinite(self.chainage_m[first]), self.chainage_m[first], 0.0)
        number = np.where(np.isfinite(chainage_m), (chainage_m - start) / KNOT_M, 0.0)
        before = np.clip(first + np.floor(number).astype(np.int64), first, np.maximum(last - 1, first))
        behind = np.minimum(before + 1, last)
        share = np.clip(number - (before - first), 0.0, 1.0)
        return before, behind, np.where(behind > before, share, 0.0)


def knots_of(axis: Axis) -> Knots:
    """A knot each KNOT_M of every recording, from its start to behind its end; one for each raster."""
    streams, places = [], []
    for number in range(len(axis.names)):
        own = axis.chainage_m[axis.stream == number]
        if not len(own):
            continue
        at = np.arange(own.min(), own.max() + KNOT_M, KNOT_M) if axis.has_chainage else np.array([np.nan])
        places.append(at)
        streams.append(np.full(len(at), number, np.int64))
    return Knots(np.concatenate(streams), np.concatenate(places))


@dataclass(frozen=True, slots=True)
class Registration:
    """The shift, and how it is applied.

    Attributes:
        shift: as it is reported.
        axis, knots: of the earlier survey.
        shift_xy: (K, 2) what is added to the later survey's coordinates at each knot.
        u_m: (K,) standard uncertainty, the greater of both directions.
    """

    shift: Shift
    axis: Axis
    knots: Knots
    shift_xy: FloatArray
    u_m: FloatArray

    def moved(self, xy: FloatArray) -> FloatArray:
        """(N, 2) places of the later survey, moved onto the earlier one."""
        return np.asarray(xy + _read(self.shift_xy, self._weights(xy)), np.float64)

    def back(self, xy: FloatArray) -> FloatArray:
        """(N, 2) places of the earlier survey where the later one has them; the shift changes slowly."""
        return np.asarray(xy - _read(self.shift_xy, self._weights(xy)), np.float64)

    def _weights(self, xy: FloatArray) -> tuple[IntArray, IntArray, FloatArray]:
        piece, chainage, _ = self.axis.locate(xy)
        return self.knots.weights(self.axis.stream[piece], chainage)


def _read(values: FloatArray, weights: tuple[IntArray, IntArray, FloatArray]) -> FloatArray:
    before, behind, share = weights
    return np.asarray(values[before] * (1 - share[:, None]) + values[behind] * share[:, None], np.float64)


def register(
    a: Samples, b: Samples, axis: Axis, settings: CompareSettings, *, u_xy_m: float | None, pixel_m: float
) -> Registration:
    """The shift that lays the later survey's cracks on the earlier one's.

    Args:
        a: cracks of the earlier survey.
        b: of the later one.
        axis: course of the earlier survey.
        settings: how far is searched.
        u_xy_m: standard uncertainty of the difference of both positions; None if unknown.
        pixel_m: the coarser pixel of both, on the road.
    """
    knots = knots_of(axis)
    search = settings.search_m or float(np.clip(3 * (u_xy_m or DEFAULT_SEARCH_M / 3), *SEARCH_LIMITS_M))
    least = max(LEAST_TOLERANCE_M, 3 * pixel_m)
    if len(a.xy) and len(b.xy):
        shift_xy, covariance, residual = _fitted(a, b, axis, knots, search, settings, u_xy_m)
        tolerance = float(np.clip(4 * residual, least, GREATEST_TOLERANCE_M))
        agreed_m = _agreed_m(a, b, axis, knots, shift_xy, tolerance, settings)
        # A mirrored road has the same cracks as densely, so what agrees with it agrees by chance.
        decoy = _mirrored(b, axis)
        chance_xy, _, _ = _fitted(a, decoy, axis, knots, search, settings, u_xy_m)
        chance_m = _agreed_m(a, decoy, axis, knots, chance_xy, tolerance, settings)
        agreement = agreed_m / max(min(float(a.length_m.sum()), float(b.length_m.sum())), 1e-9)
        if agreement >= LEAST_AGREEMENT and agreed_m >= max(LEAST_AGREED_M, CHANCE_FACTOR * chance_m):
            return _registration(axis, knots, shift_xy, covariance, residual, tolerance, agreement)
    u = u_xy_m if u_xy_m is not None else DEFAULT_SEARCH_M / 3
    return _unknown(axis, knots, u)


def _unknown(axis: Axis, knots: Knots, u_m: float) -> Registration:
    count = len(knots.stream)
    tolerance = min(LEAST_TOLERANCE_M + 2 * u_m, UNKNOWN_TOLERANCE_M)
    names = tuple(axis.names[stream] for stream in knots.stream.tolist())
    zero, u = np.zeros(count), np.full(count, u_m)
    shift = Shift(False, zero, zero, u, u, names, knots.chainage_m, u_m, tolerance, 0.0)
    return Registration(shift, axis, knots, np.zeros((count, 2)), u)


def _registration(
    axis: Axis, knots: Knots, shift_xy: FloatArray, covariance: FloatArray, residual: float, tolerance: float,
    agreement: float,
) -> Registration:  # fmt: skip
    ahead = _ahead_at(axis, knots)
    right = np.column_stack([ahead[:, 1], -ahead[:, 0]])
    names = tuple(axis.names[stream] for stream in knots.stream.tolist())
    parts = [(shift_xy * unit).sum(axis=1) for unit in (ahead, right)]
    spread = [np.sqrt(np.einsum("ki,kij,kj->k", unit, covariance, unit)) for unit in (ahead, right)]
    shift = Shift(
        True, parts[0], parts[1], spread[0], spread[1], names, knots.chainage_m, residual, tolerance, agreement
    )
    return Registration(shift, axis, knots, shift_xy, np.maximum(*spread))


def _ahead_at(axis: Axis, knots: Knots) -> FloatArray:
    """(K, 2) direction of the road at each knot."""
    pieces = []
    for stream, chainage in zip(knots.stream.tolist(), knots.chainage_m.tolist(), strict=True):
        own = np.flatnonzero(axis.stream == stream)
        far = np.abs(axis.chainage_m[own].mean(axis=1) - chainage) if np.isfinite(chainage) else np.zeros(len(own))
        pieces.append(int(own[np.argmin(far)]))
    return axis.ahead(np.array(pieces, np.int64))


def _pairs(
    a: Samples, b_xy: FloatArray, b: Samples, reach_m: float, settings: CompareSettings
) -> tuple[IntArray, IntArray]:
    """Numbers of the points of both within reach of each other whose directions agree."""
    near = cKDTree(a.xy).sparse_distance_matrix(cKDTree(b_xy), reach_m, output_type="coo_matrix")
    one, other = near.row.astype(np.int64), near.col.astype(np.int64)
    like = np.abs((a.course[one] * b.course[other]).sum(axis=1)) >= np.cos(np.deg2rad(settings.direction_deg))
    return one[like], other[like]


def _thinned(samples: Samples, every: int) -> Samples:
    return Samples(*(getattr(samples, name)[::every] for name in Samples.__dataclass_fields__))


def _voted(a: Samples, b: Samples, axis: Axis, knots: Knots, search_m: float, settings: CompareSettings) -> FloatArray:
    """(K, 2) the shift at each knot by the votes of the pairs around it, knot after knot as smooth as they allow."""
    every = max(round(2 * BIN_M / settings.spacing_m), 1)
    a, b = _thinned(a, every), _thinned(b, every)
    piece, chainage, _ = axis.locate(a.xy)
    before, behind, share = knots.weights(axis.stream[piece], chainage)
    knot = np.where(share < 0.5, before, behind)
    one, other = _pairs(a, b.xy, b, search_m, settings)
    half = int(np.ceil(search_m / BIN_M))
    side, count = 2 * half + 1, len(knots.stream)
    step = np.rint((a.xy[one] - b.xy[other]) / BIN_M).astype(np.int64) + half
    flat = (knot[one] * side + step[:, 0]) * side + step[:, 1]
    votes = np.bincount(flat, minlength=count * side * side).reshape(count, side, side).astype(np.float32)
    votes = gaussian_filter(votes, (0, 1, 1), mode="constant")
    for stream in np.unique(knots.stream):
        own = knots.stream == stream
        votes[own] = gaussian_filter1d(votes[own], 1.0, axis=0, mode="constant")
    return np.asarray((_chained(votes, knots) - half) * BIN_M, np.float64)


def _chained(votes: FloatArray, knots: Knots) -> FloatArray:
    """(K, 2) bins of the chain of peaks, one a knot, with the most votes less what its jumps cost (Viterbi 1967)."""
    count, side = len(votes), votes.shape[1]
    total: list[FloatArray] = []
    places: list[FloatArray] = []
    back: list[IntArray] = []
    neighbours = knots.neighbours
    usual = max(float(np.median(votes.max(axis=(1, 2)))), 1.0)
    for number in range(count):
        grid = votes[number]
        peak = np.where(grid == maximum_filter(grid, 3), grid, 0.0).ravel()
        best = np.argsort(-peak, kind="stable")[:PEAKS]
        place = np.column_stack([best // side, best % side]).astype(np.float64)
        gain = peak[best] / usual
        if number and neighbours[number - 1]:
            jump = ((place[:, None] - places[-1][None]) ** 2).sum(axis=2) * (BIN_M / JUMP_M) ** 2
            score = total[-1][None] - np.minimum(jump, 4.0)
            back.append(score.argmax(axis=1))
            gain = gain + score.max(axis=1)
        else:
            back.append(np.full(len(best), int(total[-1].argmax()) if total else 0))
            gain = gain + (total[-1].max() if total else 0.0)
        places.append(place)
        total.append(gain)
    chosen = [int(total[-1].argmax())]
    for number in range(count - 1, 0, -1):
        chosen.append(int(back[number][chosen[-1]]))
    return np.array([places[number][at] for number, at in enumerate(reversed(chosen))])


def _laid(
    a: Samples, b: Samples, axis: Axis, knots: Knots, start: FloatArray, settings: CompareSettings, u_start_m: float
) -> tuple[FloatArray, FloatArray, float]:
    """(K, 2) shifts, their (K, 2, 2) covariance, and the robust standard deviation of what is left across the lines."""
    piece, chainage, _ = axis.locate(b.xy)
    weights = knots.weights(axis.stream[piece], chainage)
    tree = cKDTree(a.xy)
    shift, residual = start, 0.05
    whole: Any = None
    for reach in REACHES_M:
        moved = b.xy + _read(shift, weights)
        found, partner = _nearest(tree, a, moved, b, reach, settings)
        across = np.column_stack([-a.course[partner, 1], a.course[partner, 0]])
        left = ((a.xy[partner] - moved[found]) * across).sum(axis=1)
        if len(left):
            residual = max(1.4826 * float(np.median(np.abs(left))), LEAST_RESIDUAL_M)
        # Beyond two standard deviations a point counts less (Huber 1964); points along one line share their error.
        trust = np.minimum(1.0, 2 * residual / np.maximum(np.abs(left), 1e-9))
        trust *= min(settings.spacing_m / INDEPENDENT_M, 1.0) / residual**2
        normal, known = _normal_equations(across, left, trust, [part[found] for part in weights], len(start))
        tie, pull = _ties(knots, shift, start, u_start_m)
        whole = (normal + tie).tocsr()
        step = spsolve(whole.tocsc(), known + pull)
        shift = shift + step.reshape(-1, 2)
    return shift, _diagonal_of_inverse(whole, len(start)), residual


def _nearest(
    tree: cKDTree, a: Samples, moved: FloatArray, b: Samples, reach_m: float, settings: CompareSettings
) -> tuple[IntArray, IntArray]:
    """Points of b with a point of a of like direction in reach, and the nearest such one."""
    distance, index = tree.query(moved, k=min(6, len(a.xy)), distance_upper_bound=reach_m)
    distance, index = distance.reshape(len(moved), -1), index.reshape(len(moved), -1)
    there = np.isfinite(distance)
    index = np.where(there, index, 0)
    like = np.abs((a.course[index] * b.course[:, None]).sum(axis=2)) >= np.cos(np.deg2rad(settings.direction_deg))
    good = there & like
    (found,) = np.nonzero(good.any(axis=1))
    return found, index[found, good[found].argmax(axis=1)]


def _normal_equations(
    across: FloatArray, left: FloatArray, trust: FloatArray, weights: Sequence[Any], count: int
) -> tuple[Any, FloatArray]:
    """Sparse matrix and right side: what the points say about the shift of each knot."""
    before, behind, share = weights
    columns = np.column_stack([2 * before, 2 * before + 1, 2 * behind, 2 * behind + 1])
    values = np.column_stack([across * (1 - share)[:, None], across * share[:, None]])
    rows = np.repeat(np.arange(len(left)), 4)
    design = coo_matrix((values.ravel(), (rows, columns.ravel())), shape=(len(left), 2 * count)).tocsr()
    weighted = design.multiply(trust[:, None]).tocsr()
    return design.T @ weighted, np.asarray(weighted.T @ left, np.float64).ravel()


def _ties(knots: Knots, shift: FloatArray, start: FloatArray, u_start_m: float) -> tuple[Any, FloatArray]:
    """What holds knots together, and near the voted shift, when the cracks do not: sparse matrix and right side."""
    size = shift.size
    pairs = np.flatnonzero(knots.neighbours)
    one, other = (np.concatenate([2 * index, 2 * index + 1]) for index in (pairs, pairs + 1))
    stiff = np.full(len(one), 1 / DRIFT_M**2)
    rows, columns = np.concatenate([one, other, one, other]), np.concatenate([one, other, other, one])
    elastic = coo_matrix((np.concatenate([stiff, stiff, -stiff, -stiff]), (rows, columns)), shape=(size, size)).tocsr()
    loose = identity(size, format="csr") / u_start_m**2
    return elastic + loose, -(elastic @ shift.ravel()) - (shift - start).ravel() / u_start_m**2


def _diagonal_of_inverse(matrix: Any, count: int) -> FloatArray:
    """(K, 2, 2) blocks on the diagonal of the inverse of a block tridiagonal matrix, by elimination from both ends."""
    own = [matrix[2 * k : 2 * k + 2, 2 * k : 2 * k + 2].toarray() for k in range(count)]
    off = [matrix[2 * k : 2 * k + 2, 2 * k + 2 : 2 * k + 4].toarray() for k in range(count - 1)]
    forward, backward = [own[0]], [own[-1]]
    for k in range(1, count):
        forward.append(own[k] - off[k - 1].T @ np.linalg.solve(forward[-1], off[k - 1]))
    for k in range(count - 2, -1, -1):
        backward.append(own[k] - off[k] @ np.linalg.solve(backward[-1], off[k].T))
    backward.reverse()
    return np.array([np.linalg.inv(forward[k] + backward[k] - own[k]) for k in range(count)])


def _fitted(
    a: Samples, b: Samples, axis: Axis, knots: Knots, search_m: float, settings: CompareSettings, u_xy_m: float | None
) -> tuple[FloatArray, FloatArray, float]:
    """Voted, then laid: see `_laid`."""
    start = _voted(a, b, axis, knots, search_m, settings)
    return _laid(a, b, axis, knots, start, settings, u_xy_m or search_m / 2)


def _mirrored(b: Samples, axis: Axis) -> Samples:
    """The points on the other side of the road's axis."""
    piece, _, offset = axis.locate(b.xy)
    ahead = axis.ahead(piece)
    right = np.column_stack([ahead[:, 1], -ahead[:, 0]])
    course = b.course - 2 * (b.course * right).sum(axis=1)[:, None] * right
    return replace(b, xy=b.xy - 2 * offset[:, None] * right, course=course)


def _agreed_m(
    a: Samples, b: Samples, axis: Axis, knots: Knots, shift: FloatArray, tolerance: float, settings: CompareSettings
) -> float:
    """Length of a with a line of b beside it."""
    piece, chainage, _ = axis.locate(b.xy)
    moved = b.xy + _read(shift, knots.weights(axis.stream[piece], chainage))
    found, _ = _nearest(cKDTree(moved), replace(b, xy=moved), a.xy, a, tolerance, settings)
    return float(a.length_m[found].sum())
