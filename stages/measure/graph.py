"""The branch graph of a skeleton: branches between ends and junctions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components, depth_first_order

from crackmap.calibration.frames import corner_from_centre_xy
from crackmap.stages.measure.skeleton import Skeleton
from crackmap.stages.records import FloatArray

IntArray = NDArray[np.int64]

_REACH_PX = 10.0


@dataclass(frozen=True, slots=True)
class Node:
    """An end, a junction, or the seam of a closed loop.

    Attributes:
        xy_px: its place, window pixels from the top-left corner.
        half_width_px: half the crack's width there.
        merged_px: how far from the node its branches run as one: the half-width, and more where two junctions
            were made one.
    """

    xy_px: FloatArray
    half_width_px: float
    merged_px: float


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

    def move_ends(self, number: int, from_nodes: set[int], to_node: int) -> None:
        """Lets the ends of a branch that lie at any of `from_nodes` end at `to_node` instead."""
        branch = self.branches[number]
        points = branch.points_xy_px.copy()
        for end, node in ((0, branch.nodes[0]), (-1, branch.nodes[1])):
            self.incident[node].remove(number)
            self.incident[to_node if node in from_nodes else node].append(number)
            if node in from_nodes:
                points[end] = self.nodes[to_node].xy_px
        first, last = (to_node if node in from_nodes else node for node in branch.nodes)
        self.branches[number] = Branch((first, last), points, branch.length_px)

    def ends_at(self, node: int) -> list[tuple[int, int]]:
        """The branch ends at a node: number, and 0 for the branch's start or 1 for its end."""
        numbers = sorted(set(self.incident[node]))
        return [(n, side) for n in numbers for side in (0, 1) if self.branches[n].nodes[side] == node]


def direction_at(branch: Branch, side: int, node: Node) -> FloatArray:
    """Unit vector (2,) in which a branch leaves the node at its start (0) or end (1).

    It is taken where the branch runs alone, and over at least
    10 px: shorter, and pixel steps decide.
    """
    points = branch.points_xy_px if side == 0 else branch.points_xy_px[::-1]
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    begin = min(node.merged_px, along[-1] / 2)
    end = min(begin + max(_REACH_PX, 2 * node.merged_px), along[-1])
    at = np.array([[np.interp(s, along, points[:, axis]) for axis in (0, 1)] for s in (begin, end)])
    step = at[1] - at[0]
    return np.asarray(step / max(float(np.hypot(*step)), 1e-9), float)


def bend_deg(first: FloatArray, second: FloatArray) -> float:
    """By how much a line turns that comes in along one branch and leaves along the other; 0 when they are in line."""
    return float(np.degrees(np.arccos(np.clip(-first @ second, -1.0, 1.0))))


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
        graph.add_node(_node(xy[group].mean(axis=0), half_width[group].max()))
    return cluster


def _node(xy_px: FloatArray, half_width_px: float) -> Node:
    return Node(xy_px, float(half_width_px), float(half_width_px))


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
        node = graph.add_node(_node(points[0], half_width[first]))
        graph.add_branch((node, node), points)
        return
    at_first, at_last = contacts.get(first, []), contacts.get(last, [])
    if len(chain) == 1:
        at_first, at_last = at_first[:1], at_first[1:2]
    ends = []
    for pixel, touching in ((first, at_first), (last, at_last)):
        ends.append(touching[0] if touching else graph.add_node(_node(xy[pixel], half_width[pixel])))
    head = [graph.nodes[ends[0]].xy_px] if at_first else []
    tail = [graph.nodes[ends[1]].xy_px] if at_last else []
    points = np.concatenate([np.reshape(part, (-1, 2)) for part in (head, points, tail)])
    if len(points) == 1:
        points = np.repeat(points, 2, axis=0)
    graph.add_branch((ends[0], ends[1]), points)
