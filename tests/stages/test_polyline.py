"""Lines with known lengths, bends and directions, and images read between pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackmap.stages.measure.sampling import sampled
from crackmap.stages.polyline import arc_length, principal_direction_deg, resampled, turning_rad, vertex_weights

coordinates = st.floats(-1e4, 1e4).map(lambda value: round(value, 6))
lines = st.lists(st.tuples(coordinates, coordinates), min_size=2, max_size=30).map(lambda points: np.array(points))


@given(lines)
def test_weights_of_the_vertices_add_up_to_the_length(line):
    length = arc_length(line)[-1]
    assert vertex_weights(line).sum() == pytest.approx(length if length > 0 else len(line))


@given(lines, st.floats(0.5, 50.0))
def test_resampling_keeps_both_ends_and_never_lengthens(line, spacing):
    points = resampled(line, spacing)
    np.testing.assert_allclose(points[[0, -1]], line[[0, -1]], atol=1e-6)
    assert arc_length(points)[-1] <= arc_length(line)[-1] * (1 + 1e-9) + 1e-6


@given(lines)
def test_direction_does_not_depend_on_the_sense_of_the_line(line):
    forth, back = principal_direction_deg(line), principal_direction_deg(line[::-1])
    assert 0 <= forth < 180
    assert min(abs(forth - back), 180 - abs(forth - back)) < 1e-3 or np.ptp(line, axis=0).max() < 1e-3


def test_direction_of_a_zigzag_is_that_of_its_whole():
    along = np.linspace(0, 100, 41)
    line = np.column_stack([along, np.where(np.arange(41) % 2, 3.0, 0.0)])
    assert principal_direction_deg(line) == pytest.approx(90.0, abs=0.1)


def test_a_square_turns_by_a_right_angle_at_each_corner():
    assert turning_rad(np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float)) == pytest.approx(np.pi)
    assert turning_rad(np.array([(0, 0), (1, 0), (2, 0)], float)) == 0


def test_images_wider_than_opencv_can_address_are_read_all_the_same():
    image = np.add.outer(np.zeros(6), np.arange(40_000)).astype(np.float32)
    x = np.array([[5.25, 6.5], [39_990.75, 39_991.0]], np.float32)
    values = sampled(image, x, np.full(x.shape, 2.5, np.float32), cv2.INTER_LINEAR)
    np.testing.assert_allclose(values, x, atol=0.02)


def test_more_rows_than_opencv_can_address_are_read_all_the_same():
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    x = np.tile(np.array([[0.0, 3.0]], np.float32), (70_000, 1))
    values = sampled(image, x, np.ones_like(x), cv2.INTER_LINEAR)
    assert (values == [4.0, 7.0]).all()


def test_no_place_gives_no_value():
    empty = np.empty((0, 5), np.float32)
    assert sampled(np.ones((3, 3), np.uint8), empty, empty, cv2.INTER_LINEAR).shape == (0, 5)
