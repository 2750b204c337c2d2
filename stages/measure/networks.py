"""Networks of cracks (alligator and block patterns): where lines enclose cells that lie side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from crackmap.calibration.errors import require
from crackmap.stages.records import FloatArray

IntArray = NDArray[np.int64]
GeometryArray = NDArray[np.object_]

_PIECE_SEGMENTS = 16
_LEAST_PIECES = 4
"""Lines are searched in pieces, whose boxes hug them; four at least, so that the two ends of a ring are not in
neighbouring pieces."""

_AIM = 6
"""An end points away from its sixth vertex: at 3 px between vertices, 15 px back."""

_WELD = 1e-3
"""Vertices within this share of `snap` become one: points equal but for rounding make the noding fragile and slow."""

_OVERSHOOT = 1e-2
"""Stitches pass the line they lead to by this share of `snap`, so that rounding cannot let them stop short of it."""

_RIM = 0.1
"""Lines on the outline count as inside although rounding puts them beside it: this share of `snap`."""


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Cells that share edges, and the lines that make them. Lengths in the unit of the lines.

    Attributes:
        outline: the cells and the slivers between them; its holes are faces too large for a cell.
        cell_count: number of cells.
        area: of the outline without its holes.
        mean_cell_area: area of the cells over their number.
        members: indices of the lines of which more than `snap` lies in the outline or on it, ascending.
        length_inside: (M,) length of each member in the outline or on it.
    """

    outline: shapely.Polygon
    cell_count: int
    area: float
    mean_cell_area: float
    members: tuple[int, ...]
    length_inside: FloatArray


@dataclass(frozen=True, slots=True)
class _Drawn:
    """The lines and their pieces; for each piece the line it belongs to and its number within that line."""

    lines: Sequence[FloatArray]
    pieces: GeometryArray
    owner: IntArray
    number: IntArray
    tree: shapely.STRtree


@dataclass(frozen=True, slots=True)
class _Contacts:
    """Places where lines meet: (C,) the two lines of each, one of them twice where a line meets itself."""

    first: IntArray
    second: IntArray


def find_networks(
    lines: Sequence[FloatArray], *, snap: float, max_cell: float, min_cells: int = 3, reach: float = 0.0
) -> tuple[Network, ...]:
    """The networks in a set of lines.

    Every end is connected to the lines (and the farther parts of its own line) within `snap`; an end without one goes
    on straight until it meets a line within `reach`, for cracks that fade out before they meet. The faces which the
    lines then enclose are cells if the side of the square of equal area is at most `max_cell`, and if they are
    somewhere wider than `snap`; narrower ones are slivers where the same crack was drawn twice: they belong to a
    network but are not counted. Cells that share an edge are one network if there are at least `min_cells`. A lone
    ring, loops strung on one crack, or two cracks with a few rungs between them are none.

    Args:
        lines: (N >= 2, 2) vertices each, one plane and one unit for all.
        snap: how far an end may lie from the line at which it should end.
        max_cell: greatest equivalent side, sqrt(area), of a cell.
        min_cells: least number of cells of a network.
        reach: how far an end may go on straight, 0 for not at all.

    Returns:
        Networks in order of their first line; the same whatever the direction of the lines.
    """
    require(snap > 0, "snap", "a length above 0", snap)
    require(max_cell > snap, "max_cell", f"a length above snap = {snap}", max_cell)
    require(min_cells >= 1, "min_cells", "1 or more", min_cells)
    if not lines:
        return ()
    # Map coordinates of millions of metres would cost the noding half of its digits.
    origin = np.floor(lines[0][0])
    local = [np.asarray(line, float) - origin for line in lines]
    pieces, owner, number = _pieces(local)
    drawn = _Drawn(local, pieces, owner, number, shapely.STRtree(pieces))
    stitches, stitched, contacts = _stitches(drawn, snap, reach)
    worth = _may_hold_cells(len(local), contacts, min_cells)
    linework = np.concatenate([pieces[worth[owner]], stitches[worth[stitched]]])
    faces = _faces(linework, _WELD * snap)
    faces = faces[np.sqrt(shapely.area(faces)) <= max_cell]
    is_cell = ~shapely.is_empty(shapely.buffer(faces, -snap / 2, quad_segs=2))
    whole = shapely.linestrings(np.concatenate(local), indices=np.repeat(np.arange(len(local)), [*map(len, local)]))
    tree = shapely.STRtree(whole)
    networks = [
        _network(faces[group], is_cell[group], whole, tree, snap, origin)
        for group in _side_by_side(faces)
        if is_cell[group].sum() >= min_cells
    ]
    return tuple(sorted(networks, key=lambda network: (network.members, network.outline.bounds)))


def _pieces(lines: Sequence[FloatArray]) -> tuple[GeometryArray, IntArray, IntArray]:
    """The lines cut at vertices: the pieces, the line each belongs to, and its number within that line."""
    vertices = np.array([len(line) for line in lines], np.int64)
    segments = vertices - 1
    count = np.minimum(np.maximum(-(-segments // _PIECE_SEGMENTS), _LEAST_PIECES), segments)
    owner = np.repeat(np.arange(len(lines)), count)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    first = segments[owner] * number // count[owner]
    sizes = segments[owner] * (number + 1) // count[owner] - first + 1
    part = np.repeat(np.arange(len(sizes)), sizes)
    within = np.arange(len(part)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    start = (np.cumsum(vertices) - vertices)[owner] + first
    pieces = np.asarray(shapely.linestrings(np.concatenate(lines)[start[part] + within], indices=part), object)
    return pieces, owner, number


def _stitches(drawn: _Drawn, snap: float, reach: float) -> tuple[GeometryArray, IntArray, _Contacts]:
    """Short lines from ends to the pieces they should meet, the line each starts from, and all contacts."""
    until = np.cumsum([len(line) for line in drawn.lines])
    first, last = np.concatenate([[0], until[:-1]]), until - 1
    vertices = np.concatenate(drawn.lines)
    tip = vertices[np.column_stack([first, last])].reshape(-1, 2)
    aim = np.minimum(first + _AIM - 1, last), np.maximum(last - _AIM + 1, first)
    back = vertices[np.column_stack(aim)].reshape(-1, 2)
    way = tip - back
    way /= np.maximum(np.hypot(*way.T), 1e-300)[:, None]
    end, piece, foot = _near_ends(drawn, tip, snap)
    step = foot - tip[end]
    distance = np.hypot(*step.T)
    # An end that lies on the other line already is drawn out in its own direction.
    step = np.where((distance > _WELD * snap)[:, None], step / np.maximum(distance, 1e-300)[:, None], way[end])
    to_vertex = shapely.distance(shapely.points(tip[end]), shapely.extract_unique_points(drawn.pieces[piece]))
    needed = to_vertex > _WELD * snap
    far_end, far_piece, far_foot = _aimed_at(drawn, tip, way, np.setdiff1d(np.arange(len(tip)), end), reach)
    start = np.concatenate([tip[end][needed], tip[far_end]])
    middle = np.concatenate([foot[needed], far_foot])
    beyond = middle + _OVERSHOOT * snap * np.concatenate([step[needed], way[far_end]])
    # The foot is a vertex, so that it is welded to the end of a line if it lies there.
    stitches = np.asarray(shapely.linestrings(np.stack([start, middle, beyond], axis=1)), object)
    from_line = np.concatenate([end[needed], far_end]) // 2
    one, other = _crossings(drawn)
    first = np.concatenate([end // 2, far_end // 2, drawn.owner[one]])
    second = np.concatenate([drawn.owner[piece], drawn.owner[far_piece], drawn.owner[other]])
    return stitches, from_line, _Contacts(first, second)


def _near_ends(drawn: _Drawn, tip: FloatArray, snap: float) -> tuple[IntArray, IntArray, FloatArray]:
    """Ends (two of each line) and the pieces within `snap` of them, and the nearest points on those."""
    end, piece = _sorted_pairs(*drawn.tree.query(shapely.points(tip), predicate="dwithin", distance=snap))
    foreign = _foreign(drawn, end, piece)
    end, piece = end[foreign], piece[foreign]
    foot = shapely.get_coordinates(shapely.shortest_line(shapely.points(tip[end]), drawn.pieces[piece]))[1::2]
    return end, piece, foot


def _foreign(drawn: _Drawn, end: IntArray, piece: IntArray) -> NDArray[np.bool_]:
    """Whether a piece is neither that of the end itself nor its neighbour."""
    count = np.bincount(drawn.owner)
    at_piece = np.where(end % 2 == 0, 0, count[end // 2] - 1)
    return np.asarray((drawn.owner[piece] != end // 2) | (np.abs(drawn.number[piece] - at_piece) > 1), bool)


def _aimed_at(
    drawn: _Drawn, tip: FloatArray, way: FloatArray, open_ends: IntArray, reach: float
) -> tuple[IntArray, IntArray, FloatArray]:
    """The first piece that each open end meets when it goes on straight, and where; only ends that meet one."""
    if reach == 0 or len(open_ends) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 2))
    rays = shapely.linestrings(np.stack([tip[open_ends], (tip + reach * way)[open_ends]], axis=1))
    ray, piece = drawn.tree.query(rays, predicate="intersects")
    foreign = _foreign(drawn, open_ends[ray], piece)
    ray, piece = ray[foreign], piece[foreign]
    start = shapely.points(tip[open_ends[ray]])
    foot = shapely.get_coordinates(shapely.shortest_line(start, shapely.intersection(rays[ray], drawn.pieces[piece])))
    distance = np.hypot(*(foot[1::2] - foot[::2]).T)
    order = np.lexsort((piece, distance, ray))
    first = order[np.concatenate([[True], np.diff(ray[order]) > 0])[: len(order)]]
    return open_ends[ray[first]], piece[first], foot[1::2][first]


def _crossings(drawn: _Drawn) -> tuple[IntArray, IntArray]:
    """The pieces that cross, each pair as often as it crosses."""
    one, other = _sorted_pairs(*drawn.tree.query(drawn.pieces, predicate="intersects"))
    apart = (drawn.owner[one] != drawn.owner[other]) | (np.abs(drawn.number[one] - drawn.number[other]) > 1)
    crosses = (one < other) & apart
    one, other = one[crosses], other[crosses]
    times = shapely.get_num_coordinates(shapely.intersection(drawn.pieces[one], drawn.pieces[other]))
    return np.repeat(one, times), np.repeat(other, times)


def _sorted_pairs(first: IntArray, second: IntArray) -> tuple[IntArray, IntArray]:
    order = np.lexsort((second, first))
    return first[order], second[order]


def _may_hold_cells(count: int, contacts: _Contacts, min_cells: int) -> NDArray[np.bool_]:
    """(count,) whether a line hangs together with others in a way that can enclose `min_cells` faces.

    A connected drawing of n lines with c contacts has c - n + 1 independent rings (Euler), and as many inner faces.
    Contacts that are counted more than once only let too much through. Most cracks of a road are left out here.
    """
    ones = np.ones(len(contacts.first), np.int8)
    links = coo_array((ones, (contacts.first, contacts.second)), shape=(count, count)).tocsr()
    groups, label = connected_components(links, directed=False)
    rings = np.bincount(label[contacts.first], minlength=groups) - np.bincount(label, minlength=groups) + 1
    return np.asarray(rings[label] >= min_cells, bool)


def _faces(linework: GeometryArray, weld: float) -> GeometryArray:
    """The polygons that the lines enclose, after their vertices within `weld` were made one."""
    if len(linework) == 0:
        return np.empty(0, object)
    points, same = np.unique(shapely.get_coordinates(linework), axis=0, return_inverse=True)
    pairs = cKDTree(points).query_pairs(weld, output_type="ndarray")
    links = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(len(points), len(points)))
    _, group = connected_components(links.tocsr(), directed=False)
    _, first = np.unique(group, return_index=True)
    welded = shapely.set_coordinates(linework.copy(), points[first[group]][same.ravel()])
    noded = shapely.unary_union(shapely.multilinestrings(welded))
    return np.asarray(shapely.get_parts(shapely.polygonize([noded])), object)


def _side_by_side(faces: GeometryArray) -> list[IntArray]:
    """Groups of faces that share edges, as ascending indices. Faces of one noded drawing share whole segments."""
    if len(faces) == 0:
        return []
    rings, face = shapely.get_rings(faces, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    same = ring[1:] == ring[:-1]
    start, stop = points[:-1][same], points[1:][same]
    swap = (start[:, 0] > stop[:, 0]) | ((start[:, 0] == stop[:, 0]) & (start[:, 1] > stop[:, 1]))
    key = np.where(swap[:, None], np.column_stack([stop, start]), np.column_stack([start, stop]))
    of_face = face[ring[:-1][same]]
    _, segment = np.unique(key, axis=0, return_inverse=True)
    order = np.argsort(segment.ravel(), kind="stable")
    shared = segment.ravel()[order][1:] == segment.ravel()[order][:-1]
    pairs = of_face[order][:-1][shared], of_face[order][1:][shared]
    links = coo_array((np.ones(len(pairs[0]), np.int8), pairs), shape=(len(faces), len(faces))).tocsr()
    _, label = connected_components(links, directed=False)
    order = np.argsort(label, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(label[order])) + 1)


def _network(
    faces: GeometryArray,
    is_cell: NDArray[np.bool_],
    lines: GeometryArray,
    tree: shapely.STRtree,
    snap: float,
    origin: FloatArray,
) -> Network:
    outline = shapely.coverage_union_all(faces)
    rim = shapely.buffer(outline, _RIM * snap)
    near = np.sort(tree.query(rim, predicate="intersects"))
    inside = shapely.length(shapely.intersection(lines[near], rim))
    kept = inside > snap
    cells = shapely.area(faces[is_cell])
    return Network(
        outline=shapely.normalize(shapely.transform(outline, lambda xy: xy + origin)),
        cell_count=len(cells),
        area=float(shapely.area(outline)),
        mean_cell_area=float(cells.mean()),
        members=tuple(near[kept].tolist()),
        length_inside=inside[kept],
    )
