"""Networks drawn from cells whose number and area are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray

from crackmap.calibration.errors import InputError
from crackmap.stages.measure.measure import measure_dense
from crackmap.stages.measure.networks import Network, find_networks
from crackmap.stages.render.stroke import coverage_of, outline

FloatArray = NDArray[np.float64]
SIDE = 0.1
HEXAGON = 1.5 * np.sqrt(3) * SIDE**2


def honeycomb(columns: int, rows: int, side: float = SIDE) -> list[FloatArray]:
    """The edges of columns x rows hexagons, each once."""
    edges: dict[tuple[tuple[int, int], ...], FloatArray] = {}
    for i in range(columns):
        for j in range(rows):
            middle = np.array([1.5 * i, np.sqrt(3) * (j + (i % 2) / 2)])
            turn = np.radians(np.arange(0, 360, 60))
            corners = side * (middle + np.column_stack([np.cos(turn), np.sin(turn)]))
            for k in range(6):
                edge = corners[[k, (k + 1) % 6]]
                key = tuple(sorted((round(x * 1e6), round(y * 1e6)) for x, y in edge))
                edges.setdefault(key, np.linspace(edge[0], edge[1], 4))
    return list(edges.values())


def grid(columns: int, rows: int, side: float) -> list[FloatArray]:
    """Straight lines through, as a crack runs on through its junctions; they end on the outer lines."""
    across = [np.array([[0.0, y * side], [columns * side, y * side]]) for y in range(rows + 1)]
    along = [np.array([[x * side, 0.0], [x * side, rows * side]]) for x in range(columns + 1)]
    return across + along


def find(lines, *, snap=0.02, max_cell=0.5, min_cells=3, reach=0.0) -> tuple[Network, ...]:
    return find_networks(lines, snap=snap, max_cell=max_cell, min_cells=min_cells, reach=reach)


def the_one(networks: tuple[Network, ...]) -> Network:
    assert len(networks) == 1
    return networks[0]


def test_honeycomb_has_its_cells_its_area_and_all_its_edges() -> None:
    edges = honeycomb(5, 4)
    network = the_one(find(edges))
    assert network.cell_count == 20
    assert network.area == pytest.approx(20 * HEXAGON, rel=1e-6)
    assert network.mean_cell_area == pytest.approx(HEXAGON, rel=1e-6)
    assert network.outline.area == pytest.approx(network.area) and not network.outline.interiors
    assert network.members == tuple(range(len(edges)))
    np.testing.assert_allclose(network.length_inside, SIDE, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "scale"),
    [
        (lambda xy: xy[:, ::-1], 1.0),
        (lambda xy: xy * [-1.0, 1.0], 1.0),
        (lambda xy: xy * 7.0, 7.0),
        (lambda xy: xy @ [[0.8, 0.6], [-0.6, 0.8]], 1.0),
        (lambda xy: xy + [6e5, 7.1e6], 1.0),
    ],
    ids=["transposed", "mirrored", "scaled", "turned", "map coordinates"],
)
def test_result_moves_with_the_lines(change, scale) -> None:
    lines = [change(line) for line in honeycomb(4, 3)]
    network = the_one(find(lines, snap=0.02 * scale, max_cell=0.5 * scale))
    assert network.cell_count == 12
    assert network.area == pytest.approx(12 * HEXAGON * scale**2, rel=1e-6)
    hull = shapely.MultiPoint(np.concatenate(lines)).bounds
    assert network.outline.bounds == pytest.approx(hull, abs=1e-6 * scale)


def test_order_and_direction_of_the_lines_do_not_matter() -> None:
    lines = honeycomb(4, 3)
    expected = the_one(find(lines))
    order = np.random.default_rng(0).permutation(len(lines))
    network = the_one(find([lines[k][::-1] for k in order]))
    assert (network.cell_count, network.area) == (expected.cell_count, pytest.approx(expected.area, rel=1e-9))
    assert shapely.equals(shapely.set_precision(network.outline, 1e-6), shapely.set_precision(expected.outline, 1e-6))


def test_edges_that_stop_short_or_overshoot_within_snap_are_connected() -> None:
    rng = np.random.default_rng(1)
    lines = []
    for edge in honeycomb(5, 4):
        short = rng.uniform(-0.06, 0.06, (2, 1)) * (edge[-1] - edge[0])
        lines.append(np.array([edge[0] + short[0], edge[-1] - short[1]]))
    network = the_one(find(lines))
    assert network.cell_count == 20
    assert network.area == pytest.approx(20 * HEXAGON, rel=0.1)
    assert find(lines, snap=1e-4) == ()


def test_side_branches_that_end_beside_a_line_are_connected() -> None:
    lines = grid(4, 3, 0.25)
    ladder = [line + 0.012 * np.sign(line - [0.5, 0.375]) * [0, -1] if line[0, 0] == line[1, 0] else line
              for line in lines]  # fmt: skip
    assert the_one(find(ladder)).cell_count == 12


@pytest.mark.parametrize(("side", "cells"), [(0.4, 12), (0.51, 0)])
def test_blocks_up_to_the_greatest_cell_are_found(side: float, cells: int) -> None:
    networks = find(grid(4, 3, side))
    assert sum(network.cell_count for network in networks) == cells
    if cells:
        assert networks[0].area == pytest.approx(12 * side**2, rel=1e-6)
        assert networks[0].length_inside.sum() == pytest.approx(4 * 4 * side + 5 * 3 * side, rel=1e-6)


def test_a_network_ends_at_cells_that_are_too_large_and_goes_around_them() -> None:
    lines = honeycomb(5, 5)
    middle = np.array([3.0 * SIDE, np.sqrt(3) * 2 * SIDE])
    kept = [line for line in lines if np.hypot(*(line.mean(axis=0) - middle)) > 1.05 * SIDE]
    assert len(lines) - len(kept) == 6
    network = the_one(find(kept, max_cell=0.2))
    assert network.cell_count == 18
    assert len(network.outline.interiors) == 1
    assert network.area == pytest.approx(18 * HEXAGON, rel=1e-6)


def ring(middle: tuple[float, float], radius: float, gap: float = 0.0) -> FloatArray:
    turn = np.linspace(gap, 2 * np.pi - gap, 40)
    return np.column_stack([middle[0] + radius * np.cos(turn), middle[1] + radius * np.sin(turn)])


@pytest.mark.parametrize(
    "lines",
    [
        [ring((0, 0), 0.2)],
        [ring((0, 0), 0.2), ring((0.3, 0), 0.2)],
        [ring((0.3 * k, 0), 0.1) for k in range(6)] + [np.array([[-1.0, 0.0], [-0.1, 0.0]])],
        [ring((0.22 * k, 0), 0.1) for k in range(5)]
        + [np.array([[0.22 * k + 0.1, 0.0], [0.22 * k + 0.12, 0.0]]) for k in range(5)],
        [np.array([[0, y], [3, y]]) for y in (0.0, 0.3)] + [np.array([[x, 0], [x, 0.3]]) for x in (0.5, 0.8, 1.1)],
        [np.array([[0, 0.1 * k], [3, 0.1 * k]]) for k in range(8)],
        [np.array([[0, 0], [1, 0]]), np.array([[0, 0.01], [1, -0.01]]), np.array([[0, -0.005], [1, 0.01]])],
        [np.array([[-1, -1], [1, 1]]), np.array([[-1, 1], [1, -1]]), np.array([[-1, 0.1], [1, 0.1]])],
    ],
    ids=["ring", "two rings that cross", "rings apart", "loops strung on a crack", "ladder of two cells", "parallel",
         "one crack drawn three times", "three cracks that cross"],
)  # fmt: skip
def test_what_is_no_network(lines) -> None:
    assert find(lines, min_cells=4 if len(lines) == 2 else 3) == ()


def test_a_ring_that_closes_within_snap_is_a_cell() -> None:
    assert the_one(find([ring((0, 0), 0.2, gap=0.02)], min_cells=1)).area == pytest.approx(np.pi * 0.04, rel=0.01)
    assert find([ring((0, 0), 0.2, gap=0.2)], min_cells=1) == ()


def test_an_edge_drawn_twice_is_neither_a_cell_nor_a_break() -> None:
    edges = honeycomb(3, 2)
    twice = [*edges, *(edge + 0.004 for edge in edges[::4])]
    network = the_one(find(twice))
    assert network.cell_count == 6
    assert network.area == pytest.approx(6 * HEXAGON, rel=0.12)


def test_dead_ends_inside_are_members_and_lines_that_leave_count_by_their_part() -> None:
    lines = [*grid(3, 3, 0.2), np.array([[0.05, 0.05], [0.15, 0.12]]), np.array([[0.6, 0.3], [5.6, 0.3]]),
             np.array([[0.2, 0.1], [3.2, 0.1]])]  # fmt: skip
    network = the_one(find(lines))
    assert network.cell_count == 11
    inside = dict(zip(network.members, network.length_inside, strict=True))
    assert inside[8] == pytest.approx(np.hypot(0.1, 0.07))
    assert 9 not in inside
    assert inside[10] == pytest.approx(0.4, abs=0.005)


def test_two_networks_come_in_order_of_their_first_lines() -> None:
    far = [line + [5.0, 0.0] for line in honeycomb(3, 3)]
    first, second = find([*honeycomb(2, 2), *far])
    assert (first.cell_count, second.cell_count) == (4, 9)
    assert max(first.members) < min(second.members)


def test_nothing_in_gives_nothing_and_bad_limits_are_refused() -> None:
    assert find([]) == ()
    assert find([np.array([[0.0, 0.0], [1.0, 0.0]])]) == ()
    with pytest.raises(InputError, match="snap"):
        find(honeycomb(2, 2), snap=0.0)
    with pytest.raises(InputError, match="max_cell"):
        find(honeycomb(2, 2), max_cell=0.01)


@pytest.mark.parametrize("width_px", [2.0, 5.0])
def test_a_drawn_honeycomb_is_found_in_what_was_measured(width_px: float) -> None:
    edges = [line[[0, -1]] + 60.4 for line in honeycomb(4, 4, side=40.0)]
    image = coverage_of([outline(edge, np.full(2, width_px)) for edge in edges], (380, 380))
    lines = [crack.centreline_xy_px for crack in measure_dense(image, ground=None)]
    network = the_one(find(lines, snap=4.0, max_cell=200.0))
    assert network.cell_count == 16
    assert network.area == pytest.approx(16 * 1.5 * np.sqrt(3) * 40.0**2, rel=0.02)


def test_ends_that_fade_out_go_on_straight_within_reach() -> None:
    crossed = [np.array([[0.06, y], [0.54, y]]) for y in (0.1, 0.3, 0.5)]
    crossed += [np.array([[x, 0.06], [x, 0.54]]) for x in (0.0, 0.6)]
    crossed += [np.array([[0.3, 0.0], [0.3, 0.6]])]
    assert find(crossed) == ()
    network = the_one(find(crossed, reach=0.07))
    assert (network.cell_count, network.area) == (4, pytest.approx(0.6 * 0.4, rel=1e-3))


def test_two_rows_of_dashes_side_by_side_enclose_nothing_within_reach() -> None:
    rows = [np.array([[0.3 * k, y], [0.3 * k + 0.2, y]]) for k in range(10) for y in (0.0, 0.15, 0.3)]
    assert find(rows, reach=0.15) == ()
