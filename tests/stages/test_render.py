import numpy as np
import pytest

from crackmap.stages.render.paths import CrackPath
from crackmap.stages.render.scene import coverage, render_crop
from crackmap.stages.render.shapes import alligator_cells, arc_line, fractal_line, straight_line, turned
from crackmap.stages.render.stroke import draw_coverage, edges, quads, weighted_coverage
from crackmap.stages.render.surface import DISTRACTORS, procedural_road
from crackmap.stages.render.texture import asphalt_tile, blotch_tile, through_camera, window


@pytest.mark.parametrize("width", [1.0, 2.5, 6.0, 15.0])
@pytest.mark.parametrize("angle_deg", [0.0, 17.0, 45.0, 80.0])
def test_a_drawn_stroke_covers_exactly_its_area(width: float, angle_deg: float) -> None:
    direction = np.array([np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))]) * 80
    centre = np.array([128.3, 127.9])
    drawn = draw_coverage(np.array([centre - direction, centre + direction]), np.full(2, width), (256, 256))
    assert drawn.sum() == pytest.approx(160 * width, abs=1e-3)


def test_a_stroke_lies_where_its_vertices_are() -> None:
    drawn = draw_coverage(np.array([[20.0, 50.5], [80.0, 50.5]]), np.full(2, 3.0), (100, 100))
    rows = np.arange(100) + 0.5
    assert drawn[:, 50] @ rows / drawn[:, 50].sum() == pytest.approx(50.5, abs=1e-4)


def test_strokes_outside_the_picture_leave_it_empty() -> None:
    path = CrackPath(np.array([[-50.0, -50.0], [-20.0, -50.0]]), np.full(2, 4.0))
    assert not coverage([path], (64, 64)).any()


def test_the_same_seed_gives_the_same_crop() -> None:
    first, second = (
        render_crop(np.random.default_rng(5), procedural_road(np.random.default_rng(6), (96, 96))) for _ in range(2)
    )
    assert np.array_equal(first[0], second[0]) and np.array_equal(first[1], second[1])


@pytest.mark.parametrize("add", [add for add, _ in DISTRACTORS], ids=lambda add: add.__name__)
def test_distractors_change_the_picture_and_keep_it_finite(add: object) -> None:
    changed = False
    for seed in range(6):
        image = procedural_road(np.random.default_rng(1), (128, 96))
        before = image.copy()
        add(np.random.default_rng(seed), image)  # type: ignore[operator]
        assert np.isfinite(image).all() and image.shape == (96, 128, 3)
        changed |= not np.array_equal(before, image)
    assert changed


def test_a_stroke_cut_into_quads_covers_what_the_whole_one_covers() -> None:
    line = np.array([[10.2, 12.0], [40.0, 30.5], [55.0, 70.0], [90.3, 80.0]])
    width = np.array([3.0, 8.0, 5.0, 1.5])
    whole = draw_coverage(line, width, (100, 100))
    cut = weighted_coverage(quads(*edges(line, width)), np.array([0.2, 0.2, 0.2]), (100, 100))
    assert cut is not None
    assert np.allclose(whole[cut.rows, cut.columns], cut.covered, atol=1e-6)
    assert whole.sum() == pytest.approx(cut.covered.sum())
    assert np.allclose(cut.weight[cut.covered > 1e-3], 0.2, atol=1e-6)


def test_where_two_weights_share_a_pixel_it_has_their_mean_by_area() -> None:
    squares = np.array(
        [[[0.0, 0.0], [0.25, 0.0], [0.25, 1.0], [0.0, 1.0]], [[0.25, 0.0], [1.0, 0.0], [1.0, 1.0], [0.25, 1.0]]]
    )
    drawn = weighted_coverage(squares, np.array([0.8, 0.4]), (3, 2))
    assert drawn is not None
    assert drawn.covered == pytest.approx(np.ones((1, 1)))
    assert drawn.weight == pytest.approx(np.array([[0.5]]))


def test_polygons_off_the_picture_leave_no_window() -> None:
    square = np.array([[[-9.0, 3.0], [-5.0, 3.0], [-5.0, 7.0], [-9.0, 7.0]]])
    assert weighted_coverage(square, np.ones(1), (20, 20)) is None


def test_courses_have_the_length_and_the_spacing_that_is_asked_for() -> None:
    def length(line: np.ndarray) -> float:
        return float(np.hypot(*np.diff(line, axis=0).T).sum())

    assert length(straight_line(2.0, 0.03)) == pytest.approx(2.0)
    arc = arc_line(2.0, 1.0, 0.01)
    assert length(arc) == pytest.approx(2.0, rel=1e-4)
    assert np.hypot(*(arc - [1.0, 0.0]).T) == pytest.approx(np.ones(len(arc)))
    jagged = fractal_line(np.random.default_rng(0), 2.0, 0.05)
    assert jagged[[0, -1]].tolist() == [[0.0, 0.0], [0.0, 2.0]]
    assert np.hypot(*np.diff(jagged, axis=0).T).min() > 0.05
    assert 2.02 < length(jagged) < 2.6


def test_a_quarter_turn_clockwise_leads_to_the_right() -> None:
    moved = turned(straight_line(2.0, 1.0), np.pi / 2, np.array([5.0, 7.0]))
    assert moved == pytest.approx(np.array([[5.0, 7.0], [6.0, 7.0], [7.0, 7.0]]))


def test_alligator_edges_join_different_nodes_once() -> None:
    nodes, joined = alligator_cells(np.random.default_rng(2), (0.6, 1.0), 0.2)
    assert len(set(joined)) == len(joined) > 20
    assert all(a < b < len(nodes) for a, b in joined)
    assert min(np.hypot(*(nodes[a] - nodes[b])) for a, b in joined) > 0.02


@pytest.mark.parametrize("pixel_mm", [(1.0, 1.0), (2.0, 5.0)])
def test_texture_repeats_without_a_seam(pixel_mm: tuple[float, float]) -> None:
    rng = np.random.default_rng(4)
    for tile in (asphalt_tile(rng, (256, 256), pixel_mm), blotch_tile(rng, (256, 256), 16)):
        assert abs(float(tile.mean())) < 1e-2
        for turned_tile in (tile, tile.T):
            steps = np.abs(np.diff(turned_tile, axis=0)).mean(axis=1)
            assert np.abs(turned_tile[0] - turned_tile[-1]).mean() < 1.1 * steps.max()


def test_a_window_of_the_endless_plane_repeats_the_tile() -> None:
    tile = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(window(tile, -1, 2, (6, 5)), np.pad(tile, 6, mode="wrap")[8:13, 5:11])


def test_the_camera_sees_the_tile_where_the_homography_says() -> None:
    tile = blotch_tile(np.random.default_rng(1), (64, 64), 16)
    shifted = np.array([[1.0, 0.0, 5.0], [0.0, 1.0, 60.0], [0.0, 0.0, 1.0]])
    expected = window(tile, 5, 60, (40, 30))
    assert through_camera(tile, shifted, (40, 30)) == pytest.approx(expected, abs=1e-4)
    oblique = shifted + np.array([[0, 0, 0], [0, 0, 0], [0, 1e-12, 0]])
    assert through_camera(tile, oblique, (40, 30), rows=(10, 20)) == pytest.approx(expected[10:20], abs=1e-4)
