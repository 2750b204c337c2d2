import numpy as np
import pytest

from crackmap.stages.metrics_widths import score_widths, width_pieces
from crackmap.stages.render.stroke import draw_coverage

SIZE = (300, 80)


def straight(width: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A level line through the middle row: centreline, widths, exact coverage."""
    xy = np.array([[-20.0, 40.0], [320.0, 40.0]])
    widths = np.full(2, width)
    return xy, widths, draw_coverage(xy, widths, SIZE)


@pytest.mark.parametrize("width", [1.5, 2.4, 4.0, 7.3, 12.0])
def test_exact_coverage_has_no_width_error(width: float) -> None:
    xy, widths, covered = straight(width)
    (scores,) = score_widths([width_pieces(xy, widths, covered, covered)])
    assert scores.area_bias_px == 0.0
    assert scores.found_share == 1.0
    assert scores.true_px == pytest.approx(width, rel=0.03)
    assert scores.limits_px[0] <= width < scores.limits_px[1]


@pytest.mark.parametrize("wider", [-1.0, 0.5, 2.0])
def test_a_wider_prediction_has_that_bias(wider: float) -> None:
    xy, widths, covered = straight(4.0)
    _, _, predicted = straight(4.0 + wider)
    (scores,) = score_widths([width_pieces(xy, widths, covered, predicted)])
    assert scores.area_bias_px == pytest.approx(wider, rel=0.03)
    assert scores.area_mae_px == pytest.approx(abs(wider), rel=0.03)


def test_blur_keeps_the_area_and_half_a_line_is_half_found() -> None:
    xy, widths, covered = straight(4.0)
    blurred = (np.roll(covered, 1, 0) + covered + np.roll(covered, -1, 0)) / 3
    (scores,) = score_widths([width_pieces(xy, widths, covered, blurred)])
    assert scores.area_bias_px == pytest.approx(0.0, abs=1e-6)
    half = np.where(np.arange(SIZE[0]) < 150, covered, 0.0)
    (scores,) = score_widths([width_pieces(xy, widths, covered, half)])
    assert scores.found_share == pytest.approx(0.5, abs=0.03)


def test_an_empty_prediction_finds_nothing_and_has_no_width() -> None:
    xy, widths, covered = straight(4.0)
    (scores,) = score_widths([width_pieces(xy, widths, covered, np.zeros_like(covered))])
    assert scores.found_share == 0.0 and np.isnan(scores.area_bias_px)
    assert score_widths([]) == []
