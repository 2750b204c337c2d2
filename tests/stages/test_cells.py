"""Cells the segmenter looked at, as a short text."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crackmap.stages.regions import cell_grid_shape, packed_cells, unpacked_cells


@given(st.integers(1, 900), st.integers(1, 900), st.integers(0, 2**32 - 1))
def test_cells_come_back(width: int, height: int, seed: int) -> None:
    cells = np.random.default_rng(seed).random(cell_grid_shape((width, height))) < 0.3
    found = unpacked_cells(packed_cells(cells), (width, height))
    assert found is not None and np.array_equal(found, cells)


@given(st.text(max_size=60))
def test_any_other_text_gives_nothing_and_no_error(text: str) -> None:
    found = unpacked_cells(text, (100, 70))
    assert found is None or found.shape == cell_grid_shape((100, 70))


def test_a_text_that_grows_without_end_is_not_unpacked() -> None:
    bomb = packed_cells(np.zeros((20_000, 20_000), bool))
    assert unpacked_cells(bomb, (100, 70)) is None
