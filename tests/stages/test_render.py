import numpy as np
import pytest

from crackmap.stages.render.paths import CrackPath
from crackmap.stages.render.scene import coverage, render_crop
from crackmap.stages.render.stroke import draw_coverage
from crackmap.stages.render.surface import DISTRACTORS, procedural_road


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
