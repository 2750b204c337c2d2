import numpy as np
import pytest

from crackmap.calibration.errors import InputError
from crackmap.stages.records import BLOCK_PX, Crack, CrackMask, Region


def test_a_mask_reads_back_what_it_was_made_from() -> None:
    rng = np.random.default_rng(0)
    dense = np.where(rng.random((700, 900)) < 0.001, 1.0, 0.0)
    mask = CrackMask.from_dense(dense)
    assert np.array_equal(mask.dense() == 255, dense == 1.0)
    assert np.array_equal(mask.read(-10, 300, 50, 500)[:400, 10:], mask.dense()[300:700, :40])
    assert not mask.read(-10, 300, 50, 500)[400:].any()


def test_islands_hold_every_pixel_once_and_touching_blocks_together() -> None:
    dense = np.zeros((5 * BLOCK_PX, 5 * BLOCK_PX))
    dense[10, 10] = dense[BLOCK_PX + 5, BLOCK_PX + 5] = dense[4 * BLOCK_PX + 1, 4 * BLOCK_PX + 1] = 1.0
    islands = list(CrackMask.from_dense(dense).islands())
    assert [(x, y, window.shape) for x, y, window in islands] == [
        (0, 0, (2 * BLOCK_PX, 2 * BLOCK_PX)),
        (4 * BLOCK_PX, 4 * BLOCK_PX, (BLOCK_PX, BLOCK_PX)),
    ]
    assert sum(int((window > 0).sum()) for _, _, window in islands) == 3


def test_nan_probability_counts_as_no_crack() -> None:
    assert not CrackMask.from_dense(np.full((4, 4), np.nan)).blocks


@pytest.mark.parametrize("box", [(10, 0, 10, 5), (0, 5, 5, 5), (5, 0, 0, 5)])
def test_a_region_without_area_is_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(InputError, match="box_xyxy_px"):
        Region(box, 0.5)


def test_a_crack_has_all_metric_fields_or_none() -> None:
    line = np.array([[0.0, 0.0], [1.0, 1.0]])
    with pytest.raises(InputError, match="metric fields"):
        Crack(line, np.ones(2), 1.4, 45.0, 0.9, False, length_m=1.0)
