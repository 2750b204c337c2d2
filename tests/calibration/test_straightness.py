"""The straightness of drawn lines, and of the lane lines of a real road."""

import cv2
import numpy as np
import pytest

from crackmap.calibration.errors import InputError
from crackmap.calibration.straightness import largest_deviation_px, trace_line


def drawn(line_y: np.ndarray, *, width_px: float = 5.0, noise: float = 2.0) -> np.ndarray:
    """A line of exact vertical extent, bright on road, by the share of each pixel that it covers."""
    rows = np.arange(200)[:, None]
    cover = np.clip(np.minimum(rows + 1, line_y + width_px / 2) - np.maximum(rows, line_y - width_px / 2), 0, 1)
    picture = 90 + 110 * cover + np.random.default_rng(0).normal(0, noise, cover.shape)
    return np.clip(np.round(picture), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_line_is_traced_to_a_twentieth_of_a_pixel(transposed: bool) -> None:
    x = np.arange(500) + 0.5
    line = 60.3 + 0.17 * x
    picture, ends = drawn(line), np.array([[5.0, 63.0], [495.0, 142.0]])
    if transposed:
        picture, ends = picture.T.copy(), ends[:, ::-1]
    points = trace_line(picture, ends, reach_px=(14, 10))
    across, along = (0, 1) if transposed else (1, 0)
    error = points[:, across] - (60.3 + 0.17 * points[:, along])
    assert len(points) > 480
    assert np.sqrt(np.mean(error**2)) < 0.05


def test_the_deviation_of_an_arc_is_that_of_its_sagitta() -> None:
    # y = c x^2 over 2 a: the best line lies c a^2 / 3 above the middle, 2/3 c a^2 below the ends.
    x = np.linspace(-300, 300, 2401)
    arc = np.column_stack([x, 1e-4 * x**2])
    assert largest_deviation_px(arc, window_px=200) == pytest.approx(2 / 3, rel=0.02)
    assert largest_deviation_px(arc[:, ::-1], window_px=200) == pytest.approx(2 / 3, rel=0.02)
    straight = np.column_stack([x, 0.3 * x])
    assert largest_deviation_px(straight) < 1e-9


def test_lines_that_are_not_there_are_refused() -> None:
    with pytest.raises(InputError, match="found in 0 of"):
        trace_line(np.full((200, 300), 100, np.uint8), [[10, 50], [290, 60]], reach_px=(10, 10))
    with pytest.raises(InputError, match="two points apart"):
        trace_line(np.zeros((200, 300), np.uint8), [[10, 50], [11, 51]], reach_px=(10, 10))
    with pytest.raises(InputError, match="200 px or more"):
        largest_deviation_px([[0, 0], [50, 0], [100, 0]])


def test_gaps_in_a_line_are_passed_over() -> None:
    picture = drawn(np.full(500, 100.0))
    picture[:, 200:300] = cv2.blur(np.full((200, 100), 90, np.uint8), (3, 3))
    points = trace_line(picture, [[0.0, 100.0], [500.0, 100.0]], reach_px=(12, 12))
    assert len(points) == 400
    assert largest_deviation_px(points) < 0.3
