"""Fragments of drawn cracks: what is one crack becomes one line, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from crackmap.stages.measure.centreline import MeasuredLine
from crackmap.stages.measure.joining import joined
from crackmap.stages.measure.measure import measure_dense
from crackmap.stages.measure.profile import ProbabilityField
from crackmap.stages.measure.settings import MeasureSettings
from crackmap.stages.render.stroke import draw_coverage

FloatArray = NDArray[np.float64]
SIZE = (400, 300)


def field(probability: float = 0.0) -> ProbabilityField:
    window = np.full((SIZE[1], SIZE[0]), round(255 * probability), np.uint8)
    return ProbabilityField.from_window(window, x0_px=0, y0_px=0, size_wh_px=SIZE)


def line(*points: tuple[float, float], width_px: float = 2.0, free=(True, True), closed=False) -> MeasuredLine:
    corners = np.array(points, float)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(corners, axis=0).T))])
    at = np.linspace(0, along[-1], max(round(along[-1] / 3), 1) + 1)
    xy = np.column_stack([np.interp(at, along, corners[:, axis]) for axis in (0, 1)])
    return MeasuredLine(xy, np.full(len(xy), width_px), np.full(len(xy), 0.9), free, closed, np.full(len(xy), True))


def length(one: MeasuredLine) -> float:
    return float(np.hypot(*np.diff(one.xy_px, axis=0).T).sum())


def run(*lines: MeasuredLine, probability: float = 0.0, **settings: float) -> list[MeasuredLine]:
    return joined(list(lines), field(probability), MeasureSettings(**settings))


def turned(one: MeasuredLine, degrees: float) -> MeasuredLine:
    a = np.radians(degrees)
    rotation = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return MeasuredLine(
        (one.xy_px - 150) @ rotation.T + 150, one.width_px, one.probability, one.free, one.closed, one.clear
    )


@pytest.mark.parametrize("degrees", [0.0, 17.0, 45.0, 90.0, 200.0])
def test_two_fragments_in_line_become_one_of_the_full_length(degrees: float) -> None:
    parts = [turned(line((100, 150), (146, 150), width_px=2.0), degrees),
             turned(line((200, 150), (152, 150), width_px=3.0), degrees)]  # fmt: skip
    (one,) = run(*parts)
    assert length(one) == pytest.approx(100.0)
    assert one.gap_px == pytest.approx(6.0)
    assert one.free == (True, True) and not one.closed
    steps = np.hypot(*np.diff(one.xy_px, axis=0).T)
    assert steps.min() > 1.5 and steps.max() < 4.5
    bridge = (one.width_px > 2.0) & (one.width_px < 3.0)
    np.testing.assert_allclose(one.width_px[bridge], 2.5)
    np.testing.assert_allclose(one.probability[bridge], 0.0)
    np.testing.assert_array_equal(one.clear, ~bridge)


def test_probability_of_the_bridge_is_read_from_the_field() -> None:
    (one,) = run(line((100, 150), (140, 150)), line((152, 150), (200, 150)), probability=0.4)
    inside = (one.xy_px[:, 0] > 140.1) & (one.xy_px[:, 0] < 151.9)
    assert inside.sum() == 3
    np.testing.assert_allclose(one.probability[inside], 0.4, atol=0.002)


@pytest.mark.parametrize(
    ("gap_px", "probability", "count"),
    [(7.9, 0.0, 1), (8.1, 0.0, 2), (8.1, 0.3, 1), (15.9, 0.3, 1), (16.1, 0.3, 2)],
)
def test_longer_gaps_need_evidence_and_the_longest_are_left(gap_px: float, probability: float, count: int) -> None:
    parts = line((100, 150), (140, 150)), line((140 + gap_px, 150), (200, 150))
    assert len(run(*parts, probability=probability)) == count


def test_the_greatest_gap_is_a_setting_and_zero_joins_nothing() -> None:
    parts = line((50, 150), (140, 150), width_px=9.0), line((164.0, 150), (250, 150), width_px=9.0)
    assert len(run(*parts, probability=0.3)) == 1
    assert len(run(*parts, probability=0.3, join_gap_px=23.0)) == 2
    assert len(run(*parts, probability=0.3, join_gap_px=0.0)) == 2


def test_a_gap_longer_than_the_shorter_fragment_is_left() -> None:
    assert len(run(line((100, 150), (140, 150)), line((154, 150), (164, 150)), probability=0.5)) == 2


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (line((144, 156), (190, 156)), "beside the line's direction"),
        (line((144, 150), (170, 190)), "turns by more than 30 degrees"),
        (line((144, 150), (190, 150), width_px=6.0), "three times as wide"),
        (line((144, 150), (190, 150), free=(False, True)), "ends at a junction"),
        (line((136, 151.5), (190, 151.5)), "overlaps"),
    ],
)
def test_ends_that_do_not_fit_are_left(other: MeasuredLine, why: str) -> None:
    assert len(run(line((100, 150), (140, 150)), other, probability=0.5)) == 2, why


def test_a_bend_within_the_angle_is_joined() -> None:
    (one,) = run(line((100, 150), (140, 150)), line((144, 151), (180, 166)))
    assert one.gap_px == pytest.approx(np.hypot(4, 1))


def test_junction_ends_stay_and_free_ends_behind_them_join() -> None:
    (one,) = run(line((100, 150), (140, 150), free=(False, True)), line((200, 150), (145, 150), free=(False, True)))
    assert one.free == (False, False)


def test_parallel_dashes_are_joined_along_and_never_across() -> None:
    rows = [line((x, y), (x + 14, y)) for y in (140, 145, 150) for x in range(40, 200, 20)]
    result = run(*rows)
    assert len(result) == 3
    for one, y in zip(result, (140, 145, 150), strict=True):
        np.testing.assert_allclose(one.xy_px[:, 1], y)
        assert length(one) == pytest.approx(154.0)
        assert one.gap_px == pytest.approx(7 * 6.0)


def test_the_better_of_two_continuations_is_taken_whatever_the_order() -> None:
    start, near, off = line((100, 150), (140, 150)), line((144, 150), (190, 150)), line((144, 151.5), (190, 165))
    for parts in ((start, near, off), (off, near, start), (near, off, start)):
        result = run(*parts)
        assert sorted(round(length(one)) for one in result) == [48, 90]


def test_a_ring_of_fragments_stays_open() -> None:
    arcs = []
    for first in range(0, 360, 90):
        turn = np.radians(np.linspace(first, first + 84, 30))
        arcs.append(line(*zip(150 + 50 * np.cos(turn), 150 + 50 * np.sin(turn), strict=True)))
    (one,) = run(*arcs)
    assert not one.closed
    assert one.gap_px == pytest.approx(3 * 2 * 50 * np.sin(np.radians(3)))
    alone = np.radians(np.linspace(0, 354, 120))
    (open_ring,) = run(line(*zip(150 + 50 * np.cos(alone), 150 + 50 * np.sin(alone), strict=True)))
    assert open_ring.gap_px == 0.0


def test_a_closed_loop_is_left_alone() -> None:
    turn = np.linspace(0, 2 * np.pi, 60)
    ring = line(*zip(100 + 20 * np.cos(turn), 150 + 20 * np.sin(turn), strict=True), free=(False, False), closed=True)
    result = run(ring, line((123, 150), (180, 150)))
    assert result[0] is ring and len(result) == 2


def test_result_keeps_the_order_of_first_fragments_and_gaps_add_up() -> None:
    a, lone, b, c = (line((100, 150), (130, 150)), line((20, 20), (60, 20)),
                     line((166, 150), (200, 150)), line((134, 150), (162, 150)))  # fmt: skip
    first, second = run(a, lone, b, c)
    assert first.gap_px == pytest.approx(8.0) and length(first) == pytest.approx(100.0)
    assert second is lone
    (again,) = run(first, line((204, 150), (240, 150)))
    assert again.gap_px == pytest.approx(12.0)


def test_lines_of_a_window_inside_the_image_read_the_field_at_their_place() -> None:
    window = np.full((100, 100), 102, np.uint8)
    there = ProbabilityField.from_window(window, x0_px=1000, y0_px=2000, size_wh_px=(5000, 5000))
    (one,) = joined([line((1010, 2050), (1040, 2050)), line((1052, 2050), (1090, 2050))], there, MeasureSettings())
    inside = (one.xy_px[:, 0] > 1040.1) & (one.xy_px[:, 0] < 1051.9)
    np.testing.assert_allclose(one.probability[inside], 0.4, atol=0.002)


def test_ten_thousand_fragments_become_a_hundred_lines() -> None:
    rows = [line((x, y), (x + 15, y)) for y in range(10, 1010, 10) for x in range(0, 2000, 20)]
    big = ProbabilityField.from_window(np.zeros((1020, 2020), np.uint8), x0_px=0, y0_px=0, size_wh_px=(2020, 1020))
    assert len(joined(rows, big, MeasureSettings())) == 100


@pytest.mark.parametrize("degrees", [0.0, 22.5, 45.0, 70.0])
def test_a_dashed_crack_in_an_image_is_measured_as_one(degrees: float) -> None:
    a = np.radians(degrees)
    along, image = np.array([np.cos(a), np.sin(a)]), np.zeros((300, 300), np.float32)
    for start in range(-100, 100, 22):
        ends = 150.3 + np.outer([start, start + 16.0], along)
        image = np.maximum(image, draw_coverage(ends, np.array([3.0, 3.0]), (300, 300)))
    (crack,) = measure_dense(image, ground=None)
    assert crack.length_px == pytest.approx(214.0, rel=0.01)
    apart = measure_dense(image, ground=None, settings=MeasureSettings(join_gap_px=0.0))
    assert len(apart) == 10


def test_a_free_end_before_the_flank_of_another_crack_is_left() -> None:
    image = draw_coverage(np.array([[20.0, 100.0], [280.0, 100.0]]), np.array([3.0, 3.0]), (300, 300))
    image = np.maximum(image, draw_coverage(np.array([[150.0, 107.0], [150.0, 250.0]]), np.full(2, 3.0), (300, 300)))
    lengths = sorted(crack.length_px for crack in measure_dense(image, ground=None))
    assert lengths == pytest.approx([143.0, 260.0], abs=1.5)
