"""From branches to strands: a crack runs straight on through a junction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crackmap.stages.measure.graph import BranchGraph, Node, bend_deg, direction_at
from crackmap.stages.records import FloatArray

End = tuple[int, int]
"""One end of a branch: its number, and 0 for the start or 1 for the end."""


@dataclass(frozen=True, slots=True)
class Strand:
    """The rough line of one crack: a chain of pixels.

    Attributes:
        points_xy_px: (M, 2) window pixels, from end to end. In a closed strand the first point is repeated.
        free: whether the start and the end are ends of the crack; otherwise they are junctions or sharp corners.
        closed: the strand is a loop without any end.
        junctions: every junction or corner it touches, its own ends included.
    """

    points_xy_px: FloatArray
    free: tuple[bool, bool]
    closed: bool
    junctions: tuple[Node, ...]


def strands_of(graph: BranchGraph, straight_deg: float) -> list[Strand]:
    """The strands of a simplified graph; each branch is part of exactly one.

    At each junction the two ends most nearly in line, within `straight_deg`, are joined, then the next two.
    """
    links: dict[End, End] = {}
    for node in range(len(graph.nodes)):
        if graph.degree(node) >= 3:
            links.update(_straight_pairs(graph, node, straight_deg))
    unused = set(graph.branches)
    strands = []
    open_ends = [(number, side) for number in sorted(graph.branches) for side in (0, 1) if (number, side) not in links]
    for start in open_ends + [(number, 0) for number in sorted(graph.branches)]:
        if start[0] in unused:
            strands.append(_strand(graph, _walk(start, links, unused)))
    return strands


def _straight_pairs(graph: BranchGraph, node: int, straight_deg: float) -> dict[End, End]:
    ends = graph.ends_at(node)
    directions = [direction_at(graph.branches[n], side, graph.nodes[node]) for n, side in ends]
    pairs = [(bend_deg(directions[i], directions[j]), ends[i], ends[j])
             for i in range(len(ends)) for j in range(i + 1, len(ends))]  # fmt: skip
    links: dict[End, End] = {}
    for bend, a, b in sorted(pairs):
        if bend <= straight_deg and a not in links and b not in links:
            links[a], links[b] = b, a
    return links


def _walk(start: End, links: dict[End, End], unused: set[int]) -> list[End]:
    """The ends at which a strand enters its branches, in order."""
    path = []
    end: End | None = start
    while end is not None and end[0] in unused:
        path.append(end)
        unused.discard(end[0])
        end = links.get((end[0], 1 - end[1]))
    return path


def _strand(graph: BranchGraph, path: list[End]) -> Strand:
    nodes, parts = [], []
    for number, side in path:
        branch = graph.branches[number]
        nodes.append(branch.nodes[side])
        parts.append(branch.points_xy_px if side == 0 else branch.points_xy_px[::-1])
    nodes.append(graph.branches[path[-1][0]].nodes[1 - path[-1][1]])
    # The skeleton bends towards side branches inside a junction: there the strand runs straight.
    for k, node in enumerate(nodes[1:-1]):
        parts[k] = _outside(parts[k][::-1], graph.nodes[node])[::-1]
        parts[k + 1] = _outside(parts[k + 1], graph.nodes[node])
    free = (graph.degree(nodes[0]) == 1, graph.degree(nodes[-1]) == 1)
    closed = len(path) == 1 and nodes[0] == nodes[1] and graph.degree(nodes[0]) == 2
    junctions = tuple(graph.nodes[node] for node in dict.fromkeys(nodes) if graph.degree(node) >= 2 and not closed)
    return Strand(np.concatenate(parts), free, closed, junctions)


def _outside(points: FloatArray, node: Node) -> FloatArray:
    """The points, which start at the node, without those where branches run as one; at least the last one stays."""
    away = np.hypot(*(points - node.xy_px).T) > node.merged_px
    return points[int(np.argmax(away)) if away.any() else len(points) - 1 :]
