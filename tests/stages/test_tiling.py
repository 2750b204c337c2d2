from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackmap.calibration.errors import InputError
from crackmap.stages.packing import LEAST_STEP_PX, pack_windows
from crackmap.stages.records import Region
from crackmap.stages.regions import CELL_PX, area_share, cell_grid_shape, cells_of_regions, pixels_of_cells
from crackmap.stages.tiling import RIM_PX, even_tiles

sizes = st.tuples(st.integers(1, 3000), st.integers(1, 3000))


@given(sizes, st.integers(200, 900), st.integers(0, 150))
def test_tiles_cover_every_image_shape_with_overlap(size: tuple[int, int], tile: int, overlap: int) -> None:
    tiles = even_tiles(size, tile_px=tile, overlap_px=overlap)
    covered_x, covered_y = np.zeros(size[0], bool), np.zeros(size[1], bool)
    for window in tiles:
        assert 0 <= window.x0 < window.x1 <= size[0] and 0 <= window.y0 < window.y1 <= size[1]
        assert max(window.width, window.height) <= tile
        covered_x[window.x0 : window.x1] = True
        covered_y[window.y0 : window.y1] = True
    assert covered_x.all() and covered_y.all()
    assert len({(window.width, window.height) for window in tiles}) == 1
    columns = sorted({window.x0 for window in tiles})
    assert all(a + tiles[0].width - b >= overlap for a, b in pairwise(columns))


def test_an_image_of_one_tile_is_not_cut() -> None:
    assert len(even_tiles((1024, 630), tile_px=1536, overlap_px=192)) == 1


def test_tiles_refuse_an_overlap_as_large_as_the_tile() -> None:
    with pytest.raises(InputError, match="overlap_px"):
        even_tiles((10, 10), tile_px=100, overlap_px=100)


@given(sizes, st.integers(0, 2**32 - 1), st.floats(0, 1), st.sampled_from([256, 1152]))
def test_packed_windows_answer_for_every_cell_once(
    size: tuple[int, int], seed: int, share: float, longest_px: int
) -> None:
    cells = np.random.default_rng(seed).random(cell_grid_shape(size)) < share
    windows = pack_windows(cells, size, cell_px=CELL_PX, context_px=32, longest_px=longest_px)
    count = np.zeros(cells.shape, int)
    for packed in windows:
        np.add.at(count, tuple(packed.cells_rc.T), 1)
        low = packed.cells_rc.min(axis=0) * CELL_PX
        high = np.minimum((packed.cells_rc.max(axis=0) + 1) * CELL_PX, size[::-1])
        window = packed.window
        context = np.array([low[1] - window.x0, low[0] - window.y0, window.x1 - high[1], window.y1 - high[0]])
        at_border = np.array([window.x0 <= 0, window.y0 <= 0, window.x1 >= size[0], window.y1 >= size[1]])
        assert min(window.x0, window.y0) >= -RIM_PX - LEAST_STEP_PX // 2
        assert max(window.x1 - size[0], window.y1 - size[1]) <= RIM_PX + LEAST_STEP_PX
        assert window.width % LEAST_STEP_PX == window.height % LEAST_STEP_PX == 0
        assert max(window.width, window.height) <= longest_px
        assert (at_border | (context >= 32)).all()
        assert (context >= 0).all()
    assert np.array_equal(count, cells.astype(int))


def cost_px(cells: np.ndarray) -> int:
    size = cells.shape[1] * CELL_PX, cells.shape[0] * CELL_PX
    windows = pack_windows(cells, size, cell_px=CELL_PX, context_px=64, longest_px=1152)
    return sum(packed.window.width * packed.window.height for packed in windows)


def test_an_image_that_is_cracked_all_over_is_one_window() -> None:
    windows = pack_windows(np.ones((20, 32), bool), (1024, 630), cell_px=CELL_PX, context_px=64, longest_px=1152)
    assert [(packed.window.width, packed.window.height) for packed in windows] == [(1040, 640)]


def test_two_cracks_far_apart_cost_what_each_costs() -> None:
    cells = np.zeros((60, 60), bool)
    cells[10:14, 10:12] = True
    alone = cost_px(cells)
    cells[40:42, 45:51] = True
    assert alone == (4 * 32 + 128) * (2 * 32 + 128)
    assert cost_px(cells) == alone + (2 * 32 + 128) * (6 * 32 + 128)


def test_windows_follow_a_long_diagonal_crack() -> None:
    along = np.eye(100, dtype=bool) | np.eye(100, k=1, dtype=bool)
    assert cost_px(along) < 0.25 * (100 * CELL_PX) ** 2
    assert cost_px(along[:, ::-1]) == pytest.approx(cost_px(along), rel=0.05)
    assert cost_px(along.T) == pytest.approx(cost_px(along), rel=0.05)


def test_cells_of_a_region_are_those_it_touches_after_growing() -> None:
    region = Region((33.0, 10.0, 60.0, 20.0), 0.9)
    assert np.argwhere(cells_of_regions([region], (200, 100))).tolist() == [[0, 1]]
    assert np.argwhere(cells_of_regions([region], (200, 100), margin_px=16)).tolist() == [
        [0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]
    ]  # fmt: skip


@given(sizes, st.integers(0, 2**32 - 1))
def test_area_share_counts_the_pixels_of_marked_cells(size: tuple[int, int], seed: int) -> None:
    cells = np.random.default_rng(seed).random(cell_grid_shape(size)) < 0.5
    assert area_share(cells, size) == pytest.approx(pixels_of_cells(cells, size).mean())
