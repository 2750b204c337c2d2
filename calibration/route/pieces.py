"""From the pieces of a file to one line: put in order, turned round where drawn backwards, small gaps bridged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from crackmap.calibration.errors import InputError
from crackmap.calibration.route.geometry import SAME_PLACE_M, FloatArray

JOINT_M = 0.5
"""Ends of pieces this near are one place: digitised joints miss each other by centimetres, other roads by metres."""

NAMED = 5
"""At most so many pieces are named in a message."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the line.

    Attributes:
        xy_m: (N, 2) vertices.
        chainage_m: (N,) measures, or None.
        forward_m: length of what was drawn this way round, less that of what was turned.
        label: which features it is made of, for messages.
    """

    xy_m: FloatArray
    chainage_m: FloatArray | None
    forward_m: float
    label: str

    @property
    def length_m(self) -> float:
        """Length in the CRS."""
        return float(np.hypot(*np.diff(self.xy_m, axis=0).T).sum())


def make_piece(xy_m: FloatArray, chainage_m: FloatArray | None, label: str) -> Piece:
    """A piece as drawn."""
    return Piece(xy_m, chainage_m, float(np.hypot(*np.diff(xy_m, axis=0).T).sum()), label)


def join_pieces(pieces: Sequence[Piece], name: str) -> Piece:
    """One line out of pieces that follow each other, drawn the way in which most of its length was drawn.

    Ends that meet exactly are joined first, then those no more than 0.5 m apart; where three or more ends meet none is.

    Raises:
        InputError: they are no single line; the message says which pieces there are, where, and how far apart.
    """
    chains = list(pieces)
    for tolerance_m in (SAME_PLACE_M, JOINT_M):
        chains = _chained(chains, tolerance_m, name)
    if len(chains) > 1:
        raise InputError(_apart(chains, name))
    line = chains[0]
    return line if line.forward_m >= 0 else _turned(line)


def _chained(pieces: list[Piece], tolerance_m: float, name: str) -> list[Piece]:
    partner = _partners(pieces, tolerance_m)
    used = [False] * len(pieces)
    # Chains begin at ends that meet no other; what is left then runs in circles.
    starts = [end for end in range(2 * len(pieces)) if partner[end] is None]
    chains = []
    for start in [*starts, *range(0, 2 * len(pieces), 2)]:
        if used[start // 2]:
            continue
        links: list[Piece] = []
        end: int | None = start
        while end is not None and not used[end // 2]:
            used[end // 2] = True
            piece = pieces[end // 2]
            links.append(piece if end % 2 == 0 else _turned(piece))
            end = partner[end ^ 1]
        chains.append(_linked(links, name))
    return chains


def _partners(pieces: Sequence[Piece], tolerance_m: float) -> list[int | None]:
    """For each end (2 i: first vertex of piece i, 2 i + 1: its last) the only other end that it meets."""
    ends = np.concatenate([piece.xy_m[[0, -1]] for piece in pieces])
    pairs = cKDTree(ends).query_pairs(tolerance_m, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(ends), len(ends)))
    _, node = connected_components(links, directed=False)
    meeting: dict[int, list[int]] = {}
    for end, number in enumerate(node.tolist()):
        meeting.setdefault(number, []).append(end)
    partner: list[int | None] = [None] * len(ends)
    for group in meeting.values():
        if len(group) == 2 and group[0] // 2 != group[1] // 2:
            partner[group[0]], partner[group[1]] = group[1], group[0]
    return partner


def _turned(piece: Piece) -> Piece:
    measures = None if piece.chainage_m is None else np.ascontiguousarray(piece.chainage_m[::-1])
    return Piece(np.ascontiguousarray(piece.xy_m[::-1]), measures, -piece.forward_m, piece.label)


def _linked(links: Sequence[Piece], name: str) -> Piece:
    if len(links) == 1:
        return links[0]
    xy, measures = [links[0].xy_m], [links[0].chainage_m]
    for before, after in pairwise(links):
        gap_m = float(np.hypot(*(after.xy_m[0] - before.xy_m[-1])))
        _check_joint(before, after, gap_m, name)
        skip = 1 if gap_m <= SAME_PLACE_M else 0
        xy.append(after.xy_m[skip:])
        measures.append(None if after.chainage_m is None else after.chainage_m[skip:])
    known = [part for part in measures if part is not None]
    chainage = np.concatenate(known) if len(known) == len(links) else None
    label = links[0].label if len(links) == 1 else f"{links[0].label} to {links[-1].label}"
    return Piece(np.concatenate(xy), chainage, sum(link.forward_m for link in links), label)


def _check_joint(before: Piece, after: Piece, gap_m: float, name: str) -> None:
    if before.chainage_m is None or after.chainage_m is None:
        return
    jump = abs(float(after.chainage_m[0] - before.chainage_m[-1]))
    if jump > gap_m + JOINT_M:
        raise InputError(
            f"{name}: chainage jumps from {before.chainage_m[-1]:.3f} to {after.chainage_m[0]:.3f} where "
            f"{before.label} and {after.label} meet, {_place(after.xy_m[0])}; chainage equations are not supported: "
            "make it two routes, or correct the measures"
        )


def _apart(chains: Sequence[Piece], name: str) -> str:
    named = [
        f"{chain.label}, {chain.length_m:.1f} m, from {_place(chain.xy_m[0])} to {_place(chain.xy_m[-1])}"
        for chain in chains[:NAMED]
    ]
    more = f"; and {len(chains) - NAMED} more" if len(chains) > NAMED else ""
    return (
        f"{name}: expected one line, got {len(chains)} pieces that do not follow each other: {'; '.join(named)}{more}. "
        f"{_gap(chains)}. Choose one line by name or by an attribute, or join them in a GIS"
    )


def _gap(chains: Sequence[Piece]) -> str:
    """A sentence about the first piece and what is nearest to it."""
    others = np.concatenate([chain.xy_m[[0, -1]] for chain in chains[1:]])
    distance, found = cKDTree(others).query(chains[0].xy_m[[0, -1]])
    end = int(np.argmin(distance))
    other = chains[1 + int(found[end]) // 2]
    place = _place(chains[0].xy_m[[0, -1]][end])
    if distance[end] <= JOINT_M:
        return f"Three or more ends meet at {place} (a branch)"
    return f"From {chains[0].label} at {place} to the nearest end, of {other.label}, it is {distance[end]:.1f} m"


def _place(xy: FloatArray) -> str:
    return f"({xy[0]:.1f}, {xy[1]:.1f})"
