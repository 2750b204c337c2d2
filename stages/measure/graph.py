"""The branch graph of a skeleton: branches between ends and junctions, without spurs."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components, depth_first_order

from crackmap.calibration.frames import corner_from_centre_xy
from crackmap.stages.measure.settings import MeasureSettings
from crackmap.stages.measure.skeleton import Skeleton
from crackmap.stages.records import FloatArray

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Node:
    """An end, a junction, or the seam of a closed loop.

    Attributes:
        xy_px: its place, window pixels from the top-left corner.
        half_width_px: half the crack's width there.
    """

    xy_px: FloatArray
    half_width_px: float


@dataclass(frozen=True, slots=True)
class Branch:
    """A chain of pixels between two nodes.

    Attributes:
        nodes: indices of its first and last node; equal for a loop.
        points_xy_px: (M, 2) from node to node, both included, M >= 2.
        length_px: length of the chain of pixels (up to 8 % more than that of the line it draws).
    """

    nodes: tuple[int, int]
    points_xy_px: FloatArray
    length_px: float


@dataclass(slots=True)
class BranchGraph:
    """Branches and nodes of one skeleton, edited in place while spurs are removed.

    Attributes:
        nodes: never removed, so indices stay valid.
        branches: by a number that is never used again.
        incident: for each node the numbers of its branches; a loop counts twice.
    """

    nodes: list[Node] = field(default_factory=list)
    branches: dict[int, Branch] = field(default_factory=dict)
    incident: list[list[int]] = field(default_factory=list)
    _next: int = 0

    def add_node(self, node: Node) -> int:
        """Its index."""
        self.nodes.append(node)
        self.incident.append([])
        return len(self.nodes) - 1

    def add_branch(self, nodes: tuple[int, int], points_xy_px: FloatArray) -> int:
        """Its number."""
        number, self._next = self._next, self._next + 1
        length = float(np.hypot(*np.diff(points_xy_px, axis=0).T).sum())
        self.branches[number] = Branch(nodes, points_xy_px, length)
        for node in nodes:
            self.incident[node].append(number)
        return number

    def remove_branch(self, number: int) -> Branch:
        """Takes the branch out and returns it."""
        branch = self.branches.pop(number)
        for node in branch.nodes:
            self.incident[node].remove(number)
        return branch

    def degree(self, node: int) -> int:
        """Number of branch ends at the node."""
        return len(self.incident[node])

    def dissolve(self, node: int) -> int | None:
        """Joins the two branches of a node of degree 2; the new branch's number, None if there is nothing to join."""
        if self.degree(node) != 2 or len(set(self.incident[node])) == 1:
            return None
        first, second = (self.remove_branch(number) for number in tuple(self.incident[node]))
        before, after = ends_at(first, node), starts_at(second, node)
        nodes = (before.nodes[0], after.nodes[1])
        return self.add_branch(nodes, np.concatenate([before.points_xy_px, after.points_xy_px[1:]]))


def starts_at(branch: Branch, node: int) -> Branch:
    """The branch, turned if need be, so that it starts at the node."""
    return branch if branch.nodes[0] == node else _turned(branch)


def ends_at(branch: Branch, node: int) -> Branch:
    """The branch, turned if need be, so that it ends at the node."""
    return branch if branch.nodes[1] == node else _turned(branch)


def _turned(branch: Branch) -> Branch:
    return Branch(branch.nodes[::-1], branch.points_xy_px[::-1], branch.length_px)


def graph_of(skeleton: Skeleton) -> BranchGraph:
    """The branch graph: junction pixels that touch are one node at their centroid, closed loops have one node."""
    graph = BranchGraph()
    rc = skeleton.pixels_rc
    if len(rc) == 0:
        return graph
    xy = corner_from_centre_xy(rc[:, ::-1])
    half_width = skeleton.half_width_px[rc[:, 0], rc[:, 1]].astype(np.float64)
    edges = _edges(rc, skeleton.half_width_px.shape[1])
    is_junction = np.bincount(edges.ravel(), minlength=len(rc)) >= 3
    cluster = _add_junctions(graph, xy, half_width, edges, is_junction)
    at_junction = _junction_contacts(edges, cluster)
    for chain in _chains(edges, is_junction):
        _add_chain(graph, chain, xy, half_width, at_junction)
    return graph


def _edges(rc: IntArray, width: int) -> IntArray:
    """(E, 2) pairs of neighbouring pixels, without a diagonal where a pixel beside it already links the two.

    Pixels are found by bisection in their sorted numbers, so memory follows the skeleton and not the window.
    """
    stride = width + 2
    number = rc[:, 0] * stride + rc[:, 1] + 1

    def there(offset: int) -> tuple[NDArray[np.bool_], IntArray]:
        place = np.minimum(np.searchsorted(number, number + offset), len(number) - 1)
        return number[place] == number + offset, place

    right, right_at = there(1)
    below, below_at = there(stride)
    left, _ = there(-1)
    down_right, down_right_at = there(stride + 1)
    down_left, down_left_at = there(stride - 1)
    everyone = np.arange(len(rc))
    found = [
        (right, right_at),
        (below, below_at),
        (down_right & ~right & ~below, down_right_at),
        (down_left & ~left & ~below, down_left_at),
    ]
    return np.concatenate([np.column_stack([everyone[has], at[has]]) for has, at in found])


def _links(edges: IntArray, count: int) -> csr_array:
    return coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(count, count)).tocsr()


def _add_junctions(
    graph: BranchGraph, xy: FloatArray, half_width: FloatArray, edges: IntArray, is_junction: NDArray[np.bool_]
) -> IntArray:
    """Adds one node per group of touching junction pixels; (N,) node of each pixel, -1 for other pixels."""
    inner = edges[is_junction[edges].all(axis=1)]
    _, label = connected_components(_links(inner, len(xy)), directed=False)
    cluster = np.full(len(xy), -1, np.int64)
    pixels = np.flatnonzero(is_junction)
    _, cluster[pixels] = np.unique(label[pixels], return_inverse=True)
    order = pixels[np.argsort(cluster[pixels], kind="stable")]
    for group in np.split(order, np.flatnonzero(np.diff(cluster[order])) + 1) if len(order) else []:
        graph.add_node(Node(xy[group].mean(axis=0), float(half_width[group].max())))
    return cluster


def _junction_contacts(edges: IntArray, cluster: IntArray) -> dict[int, list[int]]:
    """For each chain pixel beside a junction: the junction nodes it touches."""
    contacts: dict[int, list[int]] = {}
    for a, b in ((edges[:, 0], edges[:, 1]), (edges[:, 1], edges[:, 0])):
        mixed = (cluster[a] < 0) & (cluster[b] >= 0)
        for pixel, node in zip(a[mixed].tolist(), cluster[b[mixed]].tolist(), strict=True):
            contacts.setdefault(pixel, []).append(node)
    return contacts


def _chains(edges: IntArray, is_junction: NDArray[np.bool_]) -> list[IntArray]:
    """The non-junction pixels as ordered chains; a closed loop starts at its first pixel and repeats it at the end.

    One depth-first walk orders all chains at once: it starts from an artificial root that is linked to one end of
    every chain, and a chain has nowhere to branch.
    """
    count = len(is_junction)
    inner = edges[~is_junction[edges].any(axis=1)]
    degree = np.bincount(inner.ravel(), minlength=count)
    _, label = connected_components(_links(inner, count), directed=False)
    free = np.flatnonzero(~is_junction)
    # The start of a chain: its first pixel with at most one neighbour, or in a loop its first pixel.
    candidates = free[np.lexsort((free, degree[free] >= 2, label[free]))]
    starts = candidates[np.unique(label[candidates], return_index=True)[1]]
    rooted = np.concatenate([inner, np.column_stack([np.full(len(starts), count), starts])])
    order = depth_first_order(_links(rooted, count + 1), count, directed=False, return_predecessors=False)[1:]
    cuts = np.flatnonzero(np.diff(label[order])) + 1
    chains = np.split(order.astype(np.int64), cuts) if len(order) else []
    chains.sort(key=lambda chain: int(chain[0]))
    return [np.append(c, c[0]) if len(c) > 2 and degree[c[0]] == 2 else c for c in chains]


def _add_chain(
    graph: BranchGraph, chain: IntArray, xy: FloatArray, half_width: FloatArray, contacts: dict[int, list[int]]
) -> None:
    points = xy[chain]
    first, last = int(chain[0]), int(chain[-1])
    if first == last and len(chain) > 1:
        node = graph.add_node(Node(points[0], float(half_width[first])))
        graph.add_branch((node, node), points)
        return
    at_first, at_last = contacts.get(first, []), contacts.get(last, [])
    if len(chain) == 1:
        at_first, at_last = at_first[:1], at_first[1:2]
    ends = []
    for pixel, touching in ((first, at_first), (last, at_last)):
        ends.append(touching[0] if touching else graph.add_node(Node(xy[pixel], float(half_width[pixel]))))
    head = [graph.nodes[ends[0]].xy_px] if at_first else []
    tail = [graph.nodes[ends[1]].xy_px] if at_last else []
    points = np.concatenate([np.reshape(part, (-1, 2)) for part in (head, points, tail)])
    if len(points) == 1:
        points = np.repeat(points, 2, axis=0)
    graph.add_branch((ends[0], ends[1]), points)


def simplify(graph: BranchGraph, settings: MeasureSettings) -> None:
    """Removes spurs and tiny loops, and makes one junction of two whose inscribed discs overlap. Edits the graph."""
    _prune(graph, settings)
    _contract_bridges(graph)
    _prune(graph, settings)


def _prune(graph: BranchGraph, settings: MeasureSettings) -> None:
    # Shortest first: of the two corners of a blunt end one goes, and the other becomes part of the line.
    queue = [(branch.length_px, number) for number, branch in graph.branches.items()]
    heapq.heapify(queue)
    while queue:
        _, number = heapq.heappop(queue)
        branch = graph.branches.get(number)
        if branch is None or not _is_spur(graph, branch, settings):
            continue
        graph.remove_branch(number)
        for node in sorted(set(branch.nodes)):
            joined = graph.dissolve(node)
            if joined is not None:
                heapq.heappush(queue, (graph.branches[joined].length_px, joined))


def _is_spur(graph: BranchGraph, branch: Branch, settings: MeasureSettings) -> bool:
    a, b = branch.nodes
    if a == b:
        return graph.degree(a) > 2 and branch.length_px < max(settings.min_length_px, 4 * graph.nodes[a].half_width_px)
    degrees = graph.degree(a), graph.degree(b)
    if min(degrees) != 1 or max(degrees) < 3:
        return False
    junction = graph.nodes[a if degrees[0] > 1 else b]
    return branch.length_px < max(settings.min_length_px, settings.spur_ratio * junction.half_width_px)


def _contract_bridges(graph: BranchGraph) -> None:
    """Two lines that cross are thinned to two junctions a short way apart: these become one."""
    for number in sorted(graph.branches, key=lambda n: (graph.branches[n].length_px, n)):
        a, b = graph.branches[number].nodes
        if a == b or min(graph.degree(a), graph.degree(b)) < 3:
            continue
        if graph.branches[number].length_px >= graph.nodes[a].half_width_px + graph.nodes[b].half_width_px:
            continue
        graph.remove_branch(number)
        middle = (graph.nodes[a].xy_px + graph.nodes[b].xy_px) / 2
        merged = graph.add_node(Node(middle, max(graph.nodes[a].half_width_px, graph.nodes[b].half_width_px)))
        for other in sorted(set(graph.incident[a] + graph.incident[b])):
            _move_ends(graph, other, {a, b}, merged)


def _move_ends(graph: BranchGraph, number: int, from_nodes: set[int], to_node: int) -> None:
    branch = graph.branches[number]
    points = branch.points_xy_px.copy()
    nodes = tuple(to_node if node in from_nodes else node for node in branch.nodes)
    for end, node in ((0, branch.nodes[0]), (-1, branch.nodes[1])):
        graph.incident[node].remove(number)
        if node in from_nodes:
            points[end] = graph.nodes[to_node].xy_px
    graph.branches[number] = Branch((nodes[0], nodes[1]), points, branch.length_px)
    for node in nodes:
        graph.incident[node].append(number)
