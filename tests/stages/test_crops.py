"""Training crops: boxes and masks go through window, turn and mirror together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crackmap.calibration.errors import InputError
from crackmap.stages.datasets.crops import Crop, CropSource, augment, check_mixture, sure_of_crack
from crackmap.stages.render.surface import procedural_road


def boxed_crop() -> Crop:
    """A crop with a filled rectangle as crack and the same rectangle as box."""
    target = np.zeros((2, 96, 96), np.float32)
    target[0, 20:30, 50:90] = 1
    image = procedural_road(np.random.default_rng(0), (96, 96)).astype(np.uint8)
    return Crop(image, target, np.ones_like(target), np.array([[50.0, 20.0, 90.0, 30.0]]))


@pytest.mark.parametrize("seed", range(12))
def test_boxes_turn_with_the_picture(seed: int) -> None:
    turned = augment(np.random.default_rng(seed), boxed_crop())
    rows, columns = np.nonzero(turned.target[0] > 0.5)
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert turned.boxes_xyxy_px is not None
    np.testing.assert_allclose(turned.boxes_xyxy_px[0], seen)


def test_a_crop_depends_on_its_seed_alone() -> None:
    source = CropSource(None, {"rendered": 1.0}, side_px=96)
    one, other = (source.draw(np.random.default_rng((3, 5))) for _ in range(2))
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.target, other.target)
    assert one.target.shape == one.weight.shape == (2, 96, 96)


def test_mixtures_name_known_sources_and_positive_shares(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="FORMAT:PATH"):
        check_mixture({"rendered": 0.5, "mars": 0.5})
    with pytest.raises(InputError, match="above 0"):
        check_mixture({"rendered": 0.0})


def test_a_label_is_believed_along_its_middle_and_away_from_its_edge() -> None:
    label = np.zeros((40, 40), np.float32)
    label[10:17] = 1.0
    sure = sure_of_crack(label, 2.0)
    assert sure[13].all() and not sure[10:12].any() and not sure[15:17].any()
    assert not sure[8:10].any() and not sure[17:19].any()
    assert sure[:8].all() and sure[19:].all()
    assert (sure_of_crack(label.T, 2.0) == sure.T).all()


def test_a_line_of_one_pixel_is_believed() -> None:
    label = np.zeros((20, 20), np.float32)
    label[:, 7] = 1.0
    sure = sure_of_crack(label, 2.0)
    assert sure[:, 7].all() and not sure[:, 5:7].any() and not sure[:, 8:10].any()


def test_without_a_label_all_is_believed() -> None:
    assert sure_of_crack(np.zeros((8, 8), np.float32), 2.0).all()


def test_what_a_set_does_not_know_stays_unknown_under_drawn_cracks(monkeypatch: pytest.MonkeyPatch) -> None:
    source = CropSource(None, {"rendered": 1.0}, side_px=96)
    weight = np.ones((2, 96, 96), np.float32)
    weight[0, :8] = 0.0
    weight[1] = 0.0
    road = procedural_road(np.random.default_rng(0), (96, 96)).astype(np.uint8)
    window = Crop(road, np.zeros((2, 96, 96), np.float32), weight)
    monkeypatch.setattr(source, "_crack_free", lambda rng: window)
    for seed in range(6):
        crop = source._rendered(np.random.default_rng(seed))
        drawn = (crop.target > 0).any(axis=0)
        assert (crop.weight[:, drawn] == 1).all()
        assert (crop.weight[0, :8][~drawn[:8]] == 0).all() and (crop.weight[1][~drawn] == 0).all()
