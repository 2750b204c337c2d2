import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crackmap.stages.datasets.boxes import boxes_from_mask


@given(st.integers(0, 2**32 - 1), st.floats(0.0005, 0.05))
def test_boxes_hold_every_crack_pixel_and_stay_short(seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((120, 200)) < share
    boxes = boxes_from_mask(mask, longest_px=32, smallest_px=12)
    inside = np.zeros(mask.shape, bool)
    for x0, y0, x1, y1 in boxes:
        assert max(x1 - x0, y1 - y0) <= 32
        inside[int(np.floor(y0)) : int(np.ceil(y1)), int(np.floor(x0)) : int(np.ceil(x1))] = True
    assert inside[mask].all()


def test_a_long_line_is_cut_into_boxes_that_hug_it() -> None:
    mask = np.zeros((300, 300), bool)
    mask[np.arange(300), np.arange(300)] = True
    boxes = boxes_from_mask(mask, longest_px=64, smallest_px=8)
    area = np.sum((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    assert len(boxes) == 8
    assert area < 0.15 * 300 * 300


def test_an_empty_mask_has_no_box() -> None:
    assert boxes_from_mask(np.zeros((10, 10), bool)).shape == (0, 4)
