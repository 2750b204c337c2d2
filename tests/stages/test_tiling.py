from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackmap.calibration.errors import InputError
from crackmap.stages.records import Region
from crackmap.stages.regions import CELL_PX, area_share, cell_grid_shape, cells_of_regions, pixels_of_cells
from crackmap.stages.tiling import RIM_PX, even_tiles, pack_windows

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


@given(sizes, st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_packed_windows_answer_for_every_cell_once(size: tuple[int, int], seed: int, share: float) -> None:
    cells = np.random.default_rng(seed).random(cell_grid_shape(size)) < share
    windows = pack_windows(cells, size, cell_px=CELL_PX, window_px=256, context_px=32)
    count = np.zeros(cells.shape, int)
    for packed in windows:
        np.add.at(count, tuple(packed.cells_rc.T), 1)
        low = packed.cells_rc.min(axis=0) * CELL_PX
        high = np.minimum((packed.cells_rc.max(axis=0) + 1) * CELL_PX, size[::-1])
        window = packed.window
        context = np.array([low[1] - window.x0, low[0] - window.y0, window.x1 - high[1], window.y1 - high[0]])
        at_border = np.array([window.x0 <= 0, window.y0 <= 0, window.x1 >= size[0], window.y1 >= size[1]])
        assert min(window.x0, window.y0) >= -RIM_PX
        assert (at_border | (context >= 32)).all()
        assert (context >= 0).all()
    assert np.array_equal(count, cells.astype(int))


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
