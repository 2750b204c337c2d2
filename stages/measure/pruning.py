"""The clean-up of a branch graph: spurs off, double junctions made one, branches re-joined."""

from __future__ import annotations

import heapq

import numpy as np

from crackmap.stages.measure.graph import BranchGraph, Node, bend_deg, direction_at
from crackmap.stages.measure.settings import MeasureSettings

_CORNER_DEG = 90.0
"""Two branches that turn back by more than this are two cracks that meet, not one that is folded."""

_CROSSING_DEG = 25.0
"""The arms of a crossing are in line within this."""

_CROSSING_DISCS = 2.5
"""Two lines that cross at 30 degrees are thinned to two junctions about this many half-width sums apart."""


def simplify(graph: BranchGraph, settings: MeasureSettings) -> None:
    """Removes spurs and tiny loops and makes one junction of two that belong together. Edits the graph.

    Afterwards a node has one branch end (a free end), three or more (a junction), or two: the seam of a closed
    loop, or a sharp corner.
    """
    _prune(graph, settings)
    _contract_bridges(graph)
    _prune(graph, settings)


def _prune(graph: BranchGraph, settings: MeasureSettings) -> None:
    # Shortest first: of the two corners of a blunt end one goes, and the other becomes part of the line.
    queue = [(branch.length_px, number) for number, branch in graph.branches.items()]
    heapq.heapify(queue)
    while queue:
        _, number = heapq.heappop(queue)
        if number not in graph.branches or not _is_spur(graph, number, settings):
            continue
        branch = graph.remove_branch(number)
        for node in sorted(set(branch.nodes)):
            joined = _dissolve(graph, node)
            if joined is not None:
                heapq.heappush(queue, (graph.branches[joined].length_px, joined))


def _is_spur(graph: BranchGraph, number: int, settings: MeasureSettings) -> bool:
    branch = graph.branches[number]
    a, b = branch.nodes
    if a == b:
        return graph.degree(a) > 2 and branch.length_px < max(settings.min_length_px, 4 * graph.nodes[a].half_width_px)
    degrees = graph.degree(a), graph.degree(b)
    if min(degrees) != 1 or max(degrees) < 2:
        return False
    junction = graph.nodes[a if degrees[0] > 1 else b]
    return branch.length_px < max(settings.min_length_px, settings.spur_ratio * junction.half_width_px)


def _dissolve(graph: BranchGraph, node: int) -> int | None:
    """Joins the two branches of a node without a third; the new branch's number, None if there is nothing to join."""
    ends = graph.ends_at(node)
    if len(ends) != 2 or ends[0][0] == ends[1][0]:
        return None
    directions = [direction_at(graph.branches[n], side, graph.nodes[node]) for n, side in ends]
    if bend_deg(*directions) > _CORNER_DEG:
        return None
    nodes, parts = [], []
    for number, side in ends:
        branch = graph.remove_branch(number)
        nodes.append(branch.nodes[1 - side])
        parts.append(branch.points_xy_px if side == 0 else branch.points_xy_px[::-1])
    return graph.add_branch((nodes[0], nodes[1]), np.concatenate([parts[0][::-1], parts[1][1:]]))


def _contract_bridges(graph: BranchGraph) -> None:
    """Makes one junction of two that are joined by a bridge: lines that cross are thinned to such a pair."""
    for number in sorted(graph.branches, key=lambda n: (graph.branches[n].length_px, n)):
        bridge = graph.branches[number]
        a, b = bridge.nodes
        if a == b or min(graph.degree(a), graph.degree(b)) < 3:
            continue
        discs = graph.nodes[a].half_width_px + graph.nodes[b].half_width_px
        if bridge.length_px >= discs and not (
            bridge.length_px < _CROSSING_DISCS * discs and _is_crossing(graph, number)
        ):
            continue
        pair = graph.nodes[a], graph.nodes[b]
        half_width = max(node.half_width_px for node in pair)
        merged_px = bridge.length_px / 2 + max(node.merged_px for node in pair)
        if merged_px > (1 + _CROSSING_DISCS) * half_width:
            # Else a honeycomb of short branches would fold up into one star.
            continue
        graph.remove_branch(number)
        merged = graph.add_node(Node((pair[0].xy_px + pair[1].xy_px) / 2, half_width, merged_px))
        for other in sorted(set(graph.incident[a] + graph.incident[b])):
            graph.move_ends(other, {a, b}, merged)


def _is_crossing(graph: BranchGraph, number: int) -> bool:
    """Whether two arms at one end of a bridge go on in two arms at its other end."""
    arms = []
    for node in graph.branches[number].nodes:
        ends = [end for end in graph.ends_at(node) if end[0] != number]
        arms.append([direction_at(graph.branches[n], side, graph.nodes[node]) for n, side in ends])
    if len(arms[0]) != 2 or len(arms[1]) != 2:
        return False
    (a, b), (c, d) = arms
    return min(max(bend_deg(a, c), bend_deg(b, d)), max(bend_deg(a, d), bend_deg(b, c))) <= _CROSSING_DEG
