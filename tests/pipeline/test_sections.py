"""Section statistics of drawn cracks, where every length and area is known in closed form."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import shapely

from crackmap.calibration.errors import InputError
from crackmap.calibration.plane import GroundLimits, GroundPlane
from crackmap.pipeline.footprint import area, visible_polygon_m
from crackmap.pipeline.records import CoordinateKind, Frame, FrameOutcome, OutputFrame, Placement, RoadCrack
from crackmap.pipeline.section_lists import ListedSection
from crackmap.pipeline.sections import LONGEST_HOLE, footprint, make_sections

SIZE = (1000, 3000)
DOWNWARD = GroundPlane.from_gsd(gsd_mm=2.0, size_wh_px=SIZE)


def oblique(limits: GroundLimits | None = None, *, pitch_deg=10.0, height_m=2.0) -> GroundPlane:
    """A pinhole camera 2 m above the road that looks ahead and down; the horizon lies inside the image."""
    focal, (width, height) = 900.0, (1280, 960)
    a = np.deg2rad(pitch_deg)
    right, down, ahead = (
        np.array([1.0, 0, 0]),
        np.array([0, -np.sin(a), -np.cos(a)]),
        np.array([0, np.cos(a), -np.sin(a)]),
    )
    rotation = np.array([right, down, ahead])
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    camera = -rotation @ np.array([0.0, 0.0, height_m])
    pixel_from_ground = intrinsics @ np.column_stack([rotation[:, 0], rotation[:, 1], camera])
    homography = np.linalg.inv(pixel_from_ground)
    probe = homography @ np.array([width / 2, height, 1.0])
    return GroundPlane(homography * np.sign(probe[2]), (width, height), limits or GroundLimits())


def frame_at(chainage, *, strip=(1.0, 6.0), recording="R", ground=DOWNWARD, placement=None, key=None) -> Frame:
    key = key or f"{recording}/{chainage}.jpg"
    size = ground.size_wh_px if ground else SIZE
    return Frame(key, key, size, recording, placement or Placement((0.0, chainage or 0.0)), chainage, ground, strip)


def outcome(frame: Frame, status="ok") -> FrameOutcome:
    return FrameOutcome(frame, status, "" if status != "skipped" else "unreadable", footprint(frame))


def crack(points, *, width_mm=5.0, recording="R", chainage=True, orientation=0.0, keys=("R/0.0.jpg",)) -> RoadCrack:
    """A crack in road coordinates: x offset, y chainage."""
    line = np.asarray(points, float)
    widths = np.broadcast_to(np.asarray(width_mm, float), len(line)).copy()
    length = float(np.hypot(*np.diff(line, axis=0).T).sum())
    y = line[:, 1]
    return RoadCrack(
        "C", line, widths / 2, length * 500, orientation, 0.9, False, keys, recording, widths, length,
        float(y.min()) if chainage else None, float(y.max()) if chainage else None, 0.0, (2.0, 2.0),
        y.copy() if chainage else None, line[:, 0].copy(),
    )  # fmt: skip


def tiled(count, **kwargs):
    """Frames 5 m apart whose strips tile the road from 1 m on."""
    return [outcome(frame_at(5.0 * i, **kwargs)) for i in range(count)]


def test_a_crack_across_a_boundary_is_shared_out_by_length():
    sections = make_sections(tiled(40), [crack([(0, 90), (0, 130)])])
    assert [s.section_id for s in sections] == ["R:0-100", "R:100-200", "R:200-300"]
    assert [s.crack_length_m for s in sections] == pytest.approx([10.0, 30.0, 0.0])
    assert [s.crack_area_m2 for s in sections] == pytest.approx([0.05, 0.15, 0.0])
    assert [s.crack_count for s in sections] == [0, 1, 0]
    assert [s.mean_width_mm for s in sections] == [pytest.approx(5), pytest.approx(5), None]


def test_widths_are_interpolated_at_the_boundary():
    first, second = make_sections(tiled(39), [crack([(0, 90), (0, 110)], width_mm=[2.0, 6.0])])[:2]
    assert (first.mean_width_mm, first.max_width_mm) == pytest.approx((3.0, 4.0))
    assert (second.mean_width_mm, second.max_width_mm) == pytest.approx((5.0, 6.0))


@pytest.mark.parametrize("length_m", [7.0, 20.0, 33.3, 100.0, 1000.0])
def test_totals_do_not_depend_on_the_section_length(length_m):
    rng = np.random.default_rng(2)
    cracks = [crack(rng.uniform((-1, 2), (1, 190), (6, 2)), width_mm=rng.uniform(1, 9, 6)) for _ in range(20)]
    sections = make_sections(tiled(40), cracks, length_m=length_m)
    assert sum(s.crack_length_m for s in sections) == pytest.approx(sum(c.length_m for c in cracks))
    assert sum(s.crack_count for s in sections) == 20
    assert sum(s.covered_m for s in sections) == pytest.approx(200.0)
    assert sum(s.area_m2 for s in sections) == pytest.approx(400.0)
    assert sum(s.missing_m for s in sections) == pytest.approx(0.0, abs=1e-9)
    for s in sections:
        assert s.longitudinal_m + s.transverse_m + s.other_m == pytest.approx(s.crack_length_m)


def test_skipped_frames_are_invalid_road_and_holes_are_missing_road():
    outcomes = tiled(20)
    outcomes[3] = outcome(outcomes[3].frame, "skipped")
    outcomes[5:7] = [outcome(item.frame, "duplicate") for item in outcomes[5:7]]
    del outcomes[10:12]
    (first, second) = make_sections(outcomes, [])
    assert (first.covered_m, first.invalid_m, first.missing_m) == pytest.approx((74.0, 15.0, 10.0))
    assert first.invalid_why == "10.0 m duplicate, 5.0 m skipped"
    assert first.covered_percent == pytest.approx(100 * 74 / 99)
    assert (second.covered_m, second.missing_m, second.invalid_why) == (pytest.approx(1.0), 0.0, "")
    assert first.area_m2 == pytest.approx(148.0)


def test_road_that_another_frame_measured_is_not_invalid():
    whole = [frame_at(c, strip=None) for c in (0.0, 2.0, 4.0)]
    (section,) = make_sections([outcome(f, "skipped" if i == 1 else "ok") for i, f in enumerate(whole)], [])
    assert (section.covered_m, section.invalid_m, section.missing_m) == pytest.approx((10.0, 0.0, 0.0))
    (section,) = make_sections([outcome(f, "skipped" if i != 1 else "ok") for i, f in enumerate(whole)], [])
    assert (section.covered_m, section.invalid_m, section.missing_m) == pytest.approx((6.0, 4.0, 0.0))


def test_sections_that_no_frame_reaches_into_are_missing_road():
    near, far = tiled(10), [outcome(frame_at(430.0 + 5.0 * i)) for i in range(4)]
    sections = make_sections([*near, *far], [crack([(0, 440), (0, 441)])])
    assert [s.section_id for s in sections] == ["R:0-100", "R:100-200", "R:200-300", "R:300-400", "R:400-500"]
    assert [s.covered_m for s in sections] == pytest.approx([50.0, 0.0, 0.0, 0.0, 20.0])
    assert [s.missing_m for s in sections] == pytest.approx([49.0, 100.0, 100.0, 100.0, 31.0])
    assert [len(s.outline_xy) > 0 for s in sections] == [True, False, False, False, True]
    assert [(s.area_m2, s.crack_length_m, s.mean_width_mm) for s in sections[1:4]] == [(0.0, 0.0, None)] * 3
    assert sections[4].crack_length_m == pytest.approx(1.0)


@pytest.mark.parametrize("length_m", [7.0, 33.3, 100.0, 1000.0])
def test_covered_and_missing_add_up_to_the_extent_of_a_recording(length_m):
    rng = np.random.default_rng(5)
    chainages = np.sort(rng.uniform(-500, 4000, 60))
    outcomes = [outcome(frame_at(c), rng.choice(["ok", "no_crack", "skipped"])) for c in chainages]
    sections = make_sections(outcomes, [], length_m=length_m)
    extent = chainages[-1] + 6.0 - (chainages[0] + 1.0)
    assert sum(s.covered_m + s.invalid_m + s.missing_m for s in sections) == pytest.approx(extent)
    assert all(b.from_m == a.to_m for a, b in pairwise(sections))


def test_a_hole_no_survey_can_have_is_one_row_and_still_counted():
    longest = 100.0 * LONGEST_HOLE
    for chainage, rows in ((100.0 + longest, LONGEST_HOLE + 2), (200.0 + longest, 3), (1e9, 3)):
        sections = make_sections([outcome(frame_at(0.0)), outcome(frame_at(chainage))], [])
        assert len(sections) == rows
        assert sum(s.covered_m for s in sections) == pytest.approx(10.0)
        assert sum(s.covered_m + s.missing_m for s in sections) == pytest.approx(chainage + 5.0)


def test_strips_that_overlap_are_counted_once():
    whole = [outcome(frame_at(c, strip=None)) for c in (0.0, 2.0, 4.0)]
    (section,) = make_sections(whole, [])
    assert section.covered_m == pytest.approx(10.0)
    assert section.area_m2 == pytest.approx(20.0)


def test_types_follow_the_angle_to_travel():
    cracks = [crack([(0, 2), (0, 3)], orientation=a) for a in (0.0, 19.0, 165.0, 45.0, 71.0, 90.0, 109.0)]
    (section,) = make_sections(tiled(4), cracks)
    assert (section.longitudinal_m, section.transverse_m, section.other_m) == pytest.approx((3.0, 3.0, 1.0))


def test_recordings_are_kept_apart_and_sorted():
    outcomes = [*tiled(3, recording="B"), *tiled(3, recording="A")]
    sections = make_sections(outcomes, [crack([(0, 2), (0, 4)], recording="B")])
    assert [(s.recording, s.crack_length_m) for s in sections] == [("A", 0.0), ("B", pytest.approx(2.0))]


def test_frames_without_chainage_are_sections_of_their_own():
    frames = [frame_at(None, strip=None, key=f"{i}.png", placement=Placement((0.0, 10.0 * i))) for i in (0, 1)]
    lone = crack([(0, 1), (0, 2)], chainage=False, keys=("1.png",))
    a, b = make_sections([outcome(frame) for frame in frames], [lone])
    assert (a.section_id, a.from_m, a.area_m2, a.crack_length_m) == ("0.png", None, pytest.approx(12.0), 0.0)
    assert (b.section_id, b.crack_count, b.crack_length_m) == ("1.png", 1, pytest.approx(1.0))
    (skipped,) = make_sections([outcome(frames[0], "skipped")], [])
    assert (skipped.covered_m, skipped.invalid_m, skipped.missing_m, skipped.area_m2) == pytest.approx((0, 6, 0, 0))


def test_a_raster_on_a_map_has_no_lengths_along_the_road():
    frame = frame_at(None, strip=None, key="1.tif")
    lone = crack([(0, 1), (0, 2)], chainage=False, keys=("1.tif",))
    for status, area_m2 in (("ok", 12.0), ("skipped", 0.0)):
        (section,) = make_sections([outcome(frame, status)], [lone], output=OutputFrame(CoordinateKind.MAP, "WKT"))
        assert (section.covered_m, section.missing_m) == (None, None)
        assert (section.longitudinal_m, section.transverse_m, section.other_m) == (None, None, None)
        assert (section.area_m2, section.crack_length_m) == pytest.approx((area_m2, 1.0))
    (sheet,) = make_sections([outcome(frame)], [lone], output=OutputFrame(CoordinateKind.SHEET, "WKT"))
    assert (sheet.covered_m, sheet.longitudinal_m) == pytest.approx((6.0, 1.0))
    (road,) = make_sections(tiled(4), [], output=OutputFrame(CoordinateKind.MAP, "WKT"))
    assert road.covered_m == pytest.approx(20.0)


def test_without_a_ground_scale_there_are_no_sections():
    bare = frame_at(None, ground=None)
    assert make_sections([outcome(bare), outcome(frame_at(0.0, ground=None, recording="Q"))], []) == ()
    assert make_sections([], []) == ()


def test_outline_in_road_coordinates_is_the_measured_rectangle():
    first, second = make_sections(tiled(30), [])
    np.testing.assert_allclose(shapely.bounds(shapely.Polygon(first.outline_xy)), [-1, 1, 1, 100], atol=1e-6)
    np.testing.assert_allclose(shapely.bounds(shapely.Polygon(second.outline_xy)), [-1, 100, 1, 151], atol=1e-6)
    assert area(first.outline_xy) == pytest.approx(first.area_m2)


def test_width_given_by_the_user_decides_the_area():
    (section,) = make_sections(tiled(4), [], width_m=3.5)
    assert section.area_m2 == pytest.approx(20.0 * 3.5)


def test_footprint_of_a_downward_frame_is_its_strip_turned_and_placed():
    frame = frame_at(0.0, placement=Placement((100.0, 200.0), 90.0))
    polygon = shapely.Polygon(footprint(frame))
    np.testing.assert_allclose(polygon.bounds, [101, 199, 106, 201], atol=1e-9)


def test_footprint_of_an_oblique_camera_is_the_trapezium_it_sees():
    ground = oblique()
    frame = frame_at(0.0, strip=(4.0, 9.0), ground=ground)
    corners = footprint(frame)
    assert corners.shape == (4, 2)
    np.testing.assert_allclose(np.unique(corners[:, 1].round(9)), [4.0, 9.0])
    x_px = ground.to_pixel_xy(corners)[:, 0]
    np.testing.assert_allclose(np.sort(x_px), [0, 0, 1280, 1280], atol=1e-6)


def test_lateral_limits_cut_the_footprint_and_the_area_is_exact():
    frame = frame_at(0.0, strip=(4.0, 9.0), ground=oblique(GroundLimits(50.0, (-1.75, 1.75))))
    np.testing.assert_allclose(np.abs(footprint(frame)[:, 0]), 1.75)
    (section,) = make_sections([outcome(frame)], [])
    assert section.area_m2 == pytest.approx(3.5 * 5.0)
    assert section.covered_m == pytest.approx(5.0)


def test_a_horizon_in_the_image_never_gives_nan_or_endless_footprints():
    limits = GroundLimits(coarsest_gsd_mm=20.0)
    frame = frame_at(0.0, strip=None, ground=oblique(limits))
    polygon = visible_polygon_m(frame)
    assert np.isfinite(polygon).all() and np.isfinite(footprint(frame)).all()
    far = frame.ground.to_pixel_xy([[0.0, polygon[:, 1].max()]])
    assert frame.ground.gsd_mm(far).max() == pytest.approx(20.0, rel=0.02)
    (section,) = make_sections([outcome(frame)], [])
    assert section.covered_m == pytest.approx(np.ptp(polygon[:, 1]))


def test_a_strip_nobody_sees_has_no_footprint_and_covers_nothing():
    frame = frame_at(0.0, strip=(500.0, 600.0), ground=oblique())
    assert footprint(frame).shape == (0, 2)
    assert [section.covered_m for section in make_sections([outcome(frame)], [])] == [0.0]


def test_nonsense_settings_are_refused():
    with pytest.raises(InputError, match="length_m"):
        make_sections([], [], length_m=0.0)


LISTED = (ListedSection("bridge", 20.0, 50.0), ListedSection("ramp", 95.0, 130.0), ListedSection("far", 500.0, 600.0))


def test_listed_sections_take_what_lies_in_them():
    sections = make_sections(tiled(20), [crack([(0, 10), (0, 100)], width_mm=4.0)], listed=LISTED)
    assert [s.section_id for s in sections] == ["bridge", "ramp", "far"]
    assert [s.crack_length_m for s in sections] == pytest.approx([30.0, 5.0, 0.0])
    assert [s.crack_count for s in sections] == [0, 0, 0]
    assert [s.covered_m for s in sections] == pytest.approx([30.0, 6.0, 0.0])
    assert [s.missing_m for s in sections] == pytest.approx([0.0, 29.0, 100.0])
    np.testing.assert_allclose(shapely.bounds(shapely.Polygon(sections[0].outline_xy)), [-1, 20, 1, 50], atol=1e-6)


@pytest.mark.parametrize("length_m", [7.0, 33.3, 100.0])
def test_a_list_of_equal_sections_gives_what_their_length_gives(length_m):
    rng = np.random.default_rng(4)
    cracks = [crack(rng.uniform((-1, 2), (1, 190), (6, 2)), width_mm=rng.uniform(1, 9, 6)) for _ in range(20)]
    by_length = make_sections(tiled(40), cracks, length_m=length_m)
    listed = [ListedSection(s.section_id, s.from_m, s.to_m) for s in by_length]
    for one, other in zip(by_length, make_sections(tiled(40), cracks, listed=listed), strict=True):
        assert (one.section_id, one.crack_count) == (other.section_id, other.crack_count)
        for name in ("crack_length_m", "crack_area_m2", "covered_m", "area_m2", "transverse_m"):
            assert getattr(one, name) == pytest.approx(getattr(other, name))


def test_a_listed_section_belongs_to_the_recording_it_names():
    outcomes = [*tiled(10, recording="A"), *tiled(10, recording="B")]
    listed = [ListedSection("s", 10.0, 20.0, "B"), ListedSection("t", 20.0, 30.0), ListedSection("u", 0.0, 9.0, "C")]
    sections = make_sections(outcomes, [], listed=listed)
    assert [(s.section_id, s.recording) for s in sections] == [("A:t", "A"), ("s", "B"), ("B:t", "B"), ("u", "C")]
    assert [s.covered_m for s in sections] == pytest.approx([10.0, 10.0, 10.0, 0.0])
