"""Cracks drawn on a synthetic road, seen by overlapping frames, must come out once, whole, and at the right place."""

from __future__ import annotations

import math
import random
from dataclasses import fields, replace

import numpy as np
import pytest

from crackmap.calibration.errors import InputError
from crackmap.calibration.plane import GroundPlane
from crackmap.pipeline.merge import MergeSettings, merge_cracks
from crackmap.pipeline.records import Frame, Placement, RoadCrack
from crackmap.stages.records import Crack

GSD_MM = 2.0
SIZE = (1000, 3000)  # 2 m x 6 m of road


def road_frame(chainage: float, *, strip=(2.0, 4.0), recording="R1", azimuth=0.0, origin=None, key=None) -> Frame:
    key = key or f"{recording}/{chainage:07.1f}.jpg"
    return Frame(
        key, key, SIZE, recording, Placement(origin or (0.0, chainage), azimuth), chainage,
        GroundPlane.from_gsd(gsd_mm=GSD_MM, size_wh_px=SIZE), strip,
    )  # fmt: skip


def seen(frame: Frame, line, *, width_mm=4.0, touches_border=None) -> Crack | None:
    """The part of a line (x, y ahead of the frame) the camera sees, as the measuring stage reports it."""
    line = np.asarray(line, float)
    px = frame.ground.to_pixel_xy(line)
    inside = (px >= 0).all(axis=1) & (px <= SIZE).all(axis=1)
    line, px = line[inside], px[inside]
    if len(line) < 2:
        return None
    length = float(np.hypot(*np.diff(line, axis=0).T).sum())
    widths = np.broadcast_to(np.asarray(width_mm, float), inside.shape)[inside].copy()
    direction = line[-1] - line[0]
    edge = bool(((px < 3) | (px > np.array(SIZE) - 3)).any())
    return Crack(
        px, widths / GSD_MM, length * 1e3 / GSD_MM, math.degrees(math.atan2(*direction)) % 180.0, 0.8,
        edge if touches_border is None else touches_border, line, widths, length, (GSD_MM, GSD_MM),
    )  # fmt: skip


def dense(start, end, count=200) -> np.ndarray:
    return np.linspace(start, end, count)


def survey(lines_on_road, frames, **kwargs):
    """Every line (x offset, y chainage) as each frame sees it."""
    result = []
    for frame in frames:
        cracks = [seen(frame, np.asarray(line) - [0.0, frame.chainage_m], **kwargs) for line in lines_on_road]
        result.append((frame, tuple(crack for crack in cracks if crack is not None)))
    return result


def merged(per_frame, **settings) -> tuple[RoadCrack, ...]:
    of = {frame.key: cracks for frame, cracks in per_frame}
    found = merge_cracks([f for f, _ in per_frame], lambda frame: of[frame.key], settings=MergeSettings(**settings))
    return tuple(found.cracks())


FRAMES = [road_frame(c) for c in (0.0, 2.0, 4.0, 6.0)]


def test_a_crack_seen_by_three_overlapping_frames_is_one_crack_of_its_true_length():
    line = dense((-0.3, 4.6), (0.4, 7.3))
    per_frame = survey([line], FRAMES)
    assert sum(len(cracks) for _, cracks in per_frame) >= 3
    (crack,) = merged(per_frame)
    true_length = math.hypot(0.7, 2.7)
    assert crack.crack_id == "C000001"
    assert crack.length_m == pytest.approx(true_length, abs=1e-9)
    assert crack.length_px == pytest.approx(true_length * 1e3 / GSD_MM, rel=1e-9)
    assert crack.frame_keys == tuple(frame.key for frame in FRAMES[1:3])
    assert crack.chainage_from_m == pytest.approx(4.6)
    assert crack.chainage_to_m == pytest.approx(7.3)
    assert crack.offset_m == pytest.approx(0.05, abs=1e-9)
    assert not crack.touches_border
    np.testing.assert_allclose(crack.chainage_at_m, crack.line_xy[:, 1], atol=1e-9)
    np.testing.assert_allclose(crack.offset_at_m, crack.line_xy[:, 0], atol=1e-9)
    np.testing.assert_allclose(crack.width_mm, 4.0)


def test_a_line_through_three_strips_takes_a_part_from_each_and_gets_a_vertex_at_each_seam():
    (crack,) = merged(survey([dense((0.1, 2.5), (0.1, 7.9), 7)], FRAMES))
    assert crack.frame_keys == tuple(frame.key for frame in FRAMES[:3])
    assert crack.length_m == pytest.approx(5.4)
    for seam in (4.0, 6.0):
        assert np.isclose(crack.line_xy[:, 1], seam, atol=1e-12).any()
    assert crack.orientation_deg == pytest.approx(0.0, abs=1e-6)


def test_width_and_length_are_interpolated_at_the_cut():
    frame = road_frame(0.0)
    crack = seen(frame, [(0.0, 3.0), (0.0, 5.0)], width_mm=[2.0, 6.0])
    (cut,) = merged([(frame, (crack,))])
    np.testing.assert_allclose(cut.line_xy, [[0, 3], [0, 4]], atol=1e-12)
    np.testing.assert_allclose(cut.width_mm, [2.0, 4.0])
    np.testing.assert_allclose(cut.width_px, [1.0, 2.0])
    assert cut.length_m == pytest.approx(1.0)
    assert cut.length_px == pytest.approx(500.0)


def test_total_length_does_not_depend_on_where_the_strips_lie():
    lines = [dense((-0.8, 3.0), (0.8, 8.9)), dense((-0.9, 5.99), (0.9, 6.01)), dense((0.5, 2.2), (0.5, 9.8))]
    lengths = []
    for shift in (0.0, 0.37, 0.99):
        frames = [road_frame(c + shift, strip=(2.0 - shift, 4.0 - shift)) for c in (0.0, 2.0, 4.0, 6.0)]
        lengths.append(sum(crack.length_m for crack in merged(survey(lines, frames))))
    assert lengths == pytest.approx([sum(np.hypot(*(line[-1] - line[0])) for line in lines)] * 3)


def test_a_line_along_a_seam_is_counted_once():
    cracks = merged(survey([dense((-0.8, 4.0), (0.8, 4.0))], FRAMES))
    assert [crack.length_m for crack in cracks] == pytest.approx([1.6])


def test_a_line_that_crosses_a_seam_back_and_forth_is_one_line():
    t = np.linspace(0, 1, 400)
    line = np.column_stack([t * 1.6 - 0.8, 6.0 + 0.2 * np.sin(2 * np.pi * 1.5 * t)])
    (crack,) = merged(survey([line], FRAMES))
    assert crack.length_m == pytest.approx(np.hypot(*np.diff(line, axis=0).T).sum())


def test_a_crack_over_two_seams_with_a_gap_at_one_of_them_is_one_crack_and_its_gap_is_counted_once():
    parts = [dense((0.1, 2.6), (0.1, 5.95)), dense((0.1, 6.05), (0.1, 7.9))]
    (crack,) = merged(survey(parts, FRAMES))
    assert crack.frame_keys == tuple(frame.key for frame in FRAMES[:3])
    assert crack.length_m == pytest.approx(5.3)


def test_a_ring_across_a_seam_stays_one_open_line():
    t = np.linspace(0.1, 0.1 + 2 * np.pi, 400)
    line = np.column_stack([0.5 * np.cos(t), 6.0 + 0.5 * np.sin(t)])
    cracks = merged(survey([line], FRAMES))
    assert len(cracks) == 1
    assert cracks[0].length_m == pytest.approx(np.pi, rel=1e-3)


@pytest.mark.parametrize("azimuth", [0.0, 33.0, 180.0, 271.5])
def test_joining_works_in_every_direction_of_travel_on_a_map(azimuth):
    a = math.radians(azimuth)
    frames = [
        road_frame(c, azimuth=azimuth, origin=(6e5 + c * math.sin(a), 7.1e6 + c * math.cos(a)))
        for c in (0.0, 2.0, 4.0, 6.0)
    ]
    (crack,) = merged(survey([dense((-0.4, 3.0), (0.4, 9.0))], frames))
    assert crack.length_m == pytest.approx(math.hypot(0.8, 6.0), abs=1e-6)
    start = np.array([6e5, 7.1e6]) + [
        -0.4 * math.cos(a) + 3 * math.sin(a), 0.4 * math.sin(a) + 3 * math.cos(a)
    ]  # fmt: skip
    ends = crack.line_xy[[0, -1]]
    assert np.hypot(*(ends - start).T).min() < 1e-6
    assert crack.orientation_deg == pytest.approx(math.degrees(math.atan2(0.8, 6.0)), abs=1e-6)


def two_frames(lower, upper, **kwargs):
    """One crack in each of two frames; coordinates on the road, seam at 4 m."""
    first, second = FRAMES[:2]
    return [
        (first, (seen(first, np.asarray(lower, float), **kwargs),)),
        (second, (seen(second, np.asarray(upper, float) - [0.0, 2.0], **kwargs),)),
    ]


def test_a_lateral_jump_within_the_gap_is_bridged_and_its_length_added():
    (crack,) = merged(two_frames(dense((0.0, 3.0), (0.0, 4.5)), dense((0.12, 3.5), (0.12, 5.0))))
    assert crack.length_m == pytest.approx(2.0 + 0.12)
    assert crack.length_px == pytest.approx(1060.0)


@pytest.mark.parametrize(
    ("lower", "upper", "widths", "why"),
    [
        (((0.0, 3.0), (0.0, 4.5)), ((0.4, 3.5), (0.4, 5.0)), (4, 4), "too far aside"),
        (((0.0, 3.0), (0.0, 3.8)), ((0.0, 4.2), (0.0, 5.0)), (4, 4), "too far ahead"),
        (((0.0, 3.0), (0.0, 4.5)), ((-0.05, 3.95), (0.9, 4.3)), (4, 4), "turns too much"),
        (((0.0, 3.0), (0.0, 4.5)), ((0.0, 3.5), (0.0, 5.0)), (2, 20), "not as wide"),
    ],
)
def test_ends_that_do_not_fit_are_not_joined(lower, upper, widths, why):
    (first, (a,)), (second, (b,)) = two_frames(dense(*lower), dense(*upper))
    b = Crack(b.centreline_xy_px, b.width_px * widths[1] / 4, b.length_px, b.orientation_deg, b.confidence,
              b.touches_border, b.centreline_xy_m, b.width_mm * widths[1] / 4, b.length_m, b.gsd_mm)  # fmt: skip
    assert len(merged([(first, (a,)), (second, (b,))])) == 2, why


def test_the_best_of_two_candidates_is_joined_whatever_the_order():
    first, second = FRAMES[:2]
    lower = seen(first, dense((0.0, 3.0), (0.0, 4.5)))
    near = seen(second, dense((0.02, 1.5), (0.02, 3.0)))
    far = seen(second, dense((0.2, 1.5), (0.2, 3.5)))
    for cracks in ((near, far), (far, near)):
        result = merged([(first, (lower,)), (second, cracks)])
        assert sorted(len(crack.frame_keys) for crack in result) == [1, 2]
        joined = next(crack for crack in result if len(crack.frame_keys) == 2)
        assert joined.length_m == pytest.approx(2.02)


def test_frames_of_different_recordings_are_never_joined():
    first, second = road_frame(0.0, recording="R1"), road_frame(2.0, recording="R2")
    cracks = merged(survey([dense((0.0, 3.0), (0.0, 5.0))], [first, second]))
    assert [(crack.recording, crack.length_m) for crack in cracks] == [
        ("R1", pytest.approx(1)),
        ("R2", pytest.approx(1)),
    ]


def test_a_missing_frame_leaves_a_gap_and_nothing_is_bridged():
    cracks = merged(survey([dense((0.0, 3.0), (0.0, 7.0))], [FRAMES[0], FRAMES[2]]))
    assert [crack.length_m for crack in cracks] == pytest.approx([1.0, 1.0])


def test_a_cut_end_is_not_a_border_end_but_an_end_at_the_image_edge_is():
    (through,) = merged(survey([dense((0.0, 2.5), (0.0, 7.5), 400)], FRAMES))
    assert not through.touches_border
    frame = road_frame(0.0)
    (aside,) = merged([(frame, (seen(frame, dense((0.0, 3.0), (1.0, 3.5))),))])
    assert aside.touches_border
    alone = road_frame(0.0, strip=(2.0, 6.0))
    (leaving,) = merged([(alone, (seen(alone, dense((0.0, 3.0), (0.0, 6.0))),))])
    assert leaving.touches_border
    beyond = road_frame(0.0)
    (cut_before_edge,) = merged([(beyond, (seen(beyond, dense((0.0, 3.0), (0.0, 6.0)), touches_border=True),))])
    assert not cut_before_edge.touches_border


def test_a_sliver_without_continuation_is_dropped_but_one_with_a_continuation_is_kept():
    first, second = FRAMES[:2]
    sliver = seen(first, dense((0.0, 3.98), (0.0, 4.6)))
    assert merged([(first, (sliver,)), (second, ())]) == ()
    (crack,) = merged([(first, (sliver,)), (second, (seen(second, dense((0.0, 1.9), (0.0, 2.6))),))])
    assert crack.length_m == pytest.approx(0.62)
    whole = seen(first, dense((0.0, 3.0), (0.0, 3.03)))
    assert len(merged([(first, (whole,))])) == 1


def test_order_of_the_frames_given_does_not_matter():
    rng = np.random.default_rng(5)
    lines = [dense(rng.uniform((-0.9, 2.1), (0.9, 9.9)), rng.uniform((-0.9, 2.1), (0.9, 9.9))) for _ in range(12)]
    per_frame = survey(lines, FRAMES)
    expected = merged(per_frame)
    assert [crack.crack_id for crack in expected] == [f"C{n:06d}" for n in range(1, len(expected) + 1)]
    starts = [crack.chainage_from_m for crack in expected]
    assert starts == sorted(starts)
    shuffled = list(per_frame)
    random.Random(1).shuffle(shuffled)
    for a, b in zip(expected, merged(shuffled), strict=True):
        assert a.frame_keys == b.frame_keys
        np.testing.assert_array_equal(a.line_xy, b.line_xy)


def test_joined_orientation_is_the_principal_axis_of_the_whole_line():
    line = np.array([(0.0, 3.0), (0.0, 4.0), (0.5, 4.5)])
    (crack,) = merged(survey([line], FRAMES[:2]))
    along = np.linspace(0, 1 + math.sqrt(0.5), 20001)
    corner = np.array([0.0, 1.0, 1 + math.sqrt(0.5)])
    points = np.column_stack([np.interp(along, corner, column) for column in line.T])
    axis = np.linalg.eigh(np.cov(points.T))[1][:, 1]
    assert crack.orientation_deg == pytest.approx(math.degrees(math.atan2(axis[0], axis[1])) % 180, abs=0.01)


def test_without_a_ground_scale_lines_stay_in_pixels_with_y_up():
    frame = Frame("a.jpg", "a.jpg", (200, 100), "R", Placement((10.0, 1000.0)))
    crack = Crack(np.array([[20.0, 30.0], [60.0, 30.0]]), np.array([2.0, 3.0]), 40.0, 90.0, 0.5, False)
    (result,) = merged([(frame, (crack,))])
    np.testing.assert_allclose(result.line_xy, [[30.0, 1070.0], [70.0, 1070.0]])
    assert (result.length_m, result.width_mm, result.chainage_m, result.offset_m, result.gsd_mm) == (None,) * 5
    assert (result.length_px, result.orientation_deg) == (40.0, 90.0)


def test_no_frames_and_no_cracks_give_no_cracks():
    assert merged([]) == ()
    assert merged([(FRAMES[0], ())]) == ()


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="join_gap_m"):
        MergeSettings(join_gap_m=0.0)


def test_uncertainty_of_length_is_whole_for_a_whole_crack_and_never_averages_out_over_pieces():
    numbers = {"u_length_m": 0.01, "u_length_px": 5.0, "u_width_mm": 0.4, "u_width_px": 0.2}
    (whole,) = merged([(FRAMES[0], (replace(seen(FRAMES[0], dense((0, 2.5), (0, 3.5))), **numbers),))])
    assert [getattr(whole, name) for name in numbers] == list(numbers.values())
    per_frame = survey([dense((0.0, 3.0), (0.0, 5.0))], FRAMES[:2])
    per_frame = [(frame, tuple(replace(crack, **numbers) for crack in cracks)) for frame, cracks in per_frame]
    (joined,) = merged(per_frame)
    # Each frame keeps a metre of the two it sees: 0.01 * sqrt(1 / 2) twice, added plainly.
    assert joined.length_m == pytest.approx(2.0)
    assert joined.u_length_m == pytest.approx(2 * 0.01 * math.sqrt(0.5), rel=1e-6)
    assert joined.u_length_m / joined.length_m >= 0.01 / 2.0
    assert joined.u_width_mm == pytest.approx(0.4)


def test_the_gap_at_a_seam_adds_to_the_uncertainty_of_length():
    lower, upper = two_frames(dense((0.0, 3.0), (0.0, 4.5)), dense((0.12, 3.5), (0.12, 5.0)))
    (a,), (b,) = ((replace(crack, u_length_m=0.0, u_length_px=0.0),) for _, (crack,) in (lower, upper))
    (crack,) = merged([(lower[0], (a,)), (upper[0], (b,))])
    assert crack.u_length_m == pytest.approx(0.12 / math.sqrt(3))
    assert crack.u_length_px == pytest.approx(60 / math.sqrt(3))
    assert crack.gap_m == pytest.approx(0.12) and crack.gap_px == pytest.approx(60)


def test_numbers_of_the_pieces_are_weighted_by_length_and_flags_hold_for_any():
    lower, upper = two_frames(dense((0.0, 3.0), (0.0, 4.0)), dense((0.0, 4.0), (0.0, 7.0)))
    seen_by = FRAMES[1]
    a = replace(lower[1][0], u_width_mm=0.2, grey_share=1.0, gap_px=50.0, saturated=True)
    b = replace(upper[1][0], u_width_mm=0.6, grey_share=0.5, below_resolution=True)
    (crack,) = merged([(lower[0], (a,)), (replace(seen_by, owns_y_m=(2.0, 5.0)), (b,))])
    assert crack.length_m == pytest.approx(4.0)
    assert crack.u_width_mm == pytest.approx((0.2 + 3 * 0.6) / 4)
    assert crack.grey_share == pytest.approx((1.0 + 3 * 0.5) / 4)
    assert crack.gap_m == pytest.approx(0.1)
    assert crack.saturated and crack.below_resolution
    assert crack.u_length_m is None


def test_an_uncertainty_that_one_piece_lacks_is_unknown_for_the_whole():
    per_frame = survey([dense((0.0, 3.0), (0.0, 5.0))], FRAMES[:2])
    first, second = per_frame
    known = replace(first[1][0], u_length_m=0.01, u_length_px=5.0, u_width_mm=0.4, u_width_px=0.2)
    (crack,) = merged([(first[0], (known,)), second])
    assert (crack.u_length_m, crack.u_length_px, crack.u_width_mm, crack.u_width_px) == (None,) * 4


def test_no_number_of_a_line_depends_on_the_lines_beside_it():
    rng = np.random.default_rng(5)
    ahead = np.array([math.sin(math.radians(33.0)), math.cos(math.radians(33.0))])
    frames = [road_frame(c, azimuth=33.0, origin=tuple([5e5, 6e6] + c * ahead)) for c in (0.0, 2.0, 4.0, 6.0)]
    lines = []
    for x in np.linspace(-0.9, 0.9, 7):
        along = np.sort(rng.uniform(2.0, 9.5, int(rng.integers(2, 40))))
        lines.append(np.column_stack([x + rng.uniform(-0.02, 0.02, len(along)), along]))
    lines.append(dense((-0.8, 2.5), (0.8, 3.5)))
    together = merged(survey(lines, frames, width_mm=3.0), join_gap_m=0.05)
    alone = [crack for line in lines for crack in merged(survey([line], frames, width_mm=3.0), join_gap_m=0.05)]
    assert {len(crack.frame_keys) > 1 for crack in together} == {True, False}

    def numbers(crack):
        return repr([getattr(crack, field.name) for field in fields(RoadCrack) if field.name != "crack_id"])

    assert sorted(map(numbers, together)) == sorted(map(numbers, alone))
    assert [crack.crack_id for crack in together] == [f"C{n:06d}" for n in range(1, len(together) + 1)]
