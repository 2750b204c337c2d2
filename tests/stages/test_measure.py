"""The measurement on drawn cracks whose length, width and direction are known in closed form."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from crackmap.calibration.errors import CalibrationError, InputError
from crackmap.calibration.plane import GroundLimits, GroundPlane
from crackmap.stages.measure.measure import measure, measure_dense
from crackmap.stages.measure.settings import MeasureSettings
from crackmap.stages.polyline import principal_direction_deg
from crackmap.stages.records import BLOCK_PX, Crack, CrackMask
from crackmap.stages.render.stroke import draw_coverage

FloatArray = NDArray[np.float64]
ANGLES_DEG = np.arange(0.0, 180.0, 7.5)


def grid(height: int, width: int) -> tuple[FloatArray, FloatArray]:
    y, x = np.mgrid[:height, :width] + 0.5
    return x, y


def covered(distance: FloatArray, width_px: float) -> FloatArray:
    """Covered share of each pixel of a stroke, from the distance to its axis."""
    return np.clip(0.5 + width_px / 2 - distance, 0.0, 1.0)


def stroke(
    a: tuple[float, float], b: tuple[float, float], width_px: float, shape: tuple[int, int] = (300, 300)
) -> FloatArray:
    """A straight stroke with round caps: `width_px` longer, tip to tip, than from a to b."""
    x, y = grid(*shape)
    dx, dy = b[0] - a[0], b[1] - a[1]
    t = np.clip(((x - a[0]) * dx + (y - a[1]) * dy) / (dx * dx + dy * dy), 0.0, 1.0)
    return covered(np.hypot(x - a[0] - t * dx, y - a[1] - t * dy), width_px)


def blunt(angle_deg: float, width_px: float, length_px: float, shift: float = 0.0) -> FloatArray:
    """A stroke with square ends through the middle, exact within 1/36 of a pixel's area."""
    along = np.array([np.sin(np.radians(angle_deg)), -np.cos(np.radians(angle_deg))])
    x, y = grid(260, 260)
    share = np.zeros(x.shape)
    for oy in (np.arange(6) + 0.5) / 6 - 0.5:
        for ox in (np.arange(6) + 0.5) / 6 - 0.5:
            u, v = x + ox - 130.37 - shift, y + oy - 129.81 - 0.6 * shift
            s, n = u * along[0] + v * along[1], v * along[0] - u * along[1]
            share += (np.abs(s) <= length_px / 2) & (np.abs(n) <= width_px / 2)
    return share / 36


def the_one(cracks: tuple[Crack, ...]) -> Crack:
    assert len(cracks) == 1
    return cracks[0]


def turned_by(a_deg: float, b_deg: float) -> float:
    return abs((a_deg - b_deg + 90.0) % 180.0 - 90.0)


@pytest.mark.parametrize("width_px", [2.0, 3.3, 7.0, 20.0])
def test_straight_line_has_right_length_width_and_direction_at_every_angle(width_px: float) -> None:
    for angle in ANGLES_DEG:
        crack = the_one(measure_dense(blunt(angle, width_px, 180.0), ground=None))
        assert crack.length_px == pytest.approx(180.0, rel=0.015)
        assert crack.width_px.mean() == pytest.approx(width_px, abs=0.15)
        assert crack.width_px.max() < width_px + 0.4
        assert turned_by(crack.orientation_deg, angle) < 1.0
        assert not crack.touches_border


@pytest.mark.parametrize("width_px", [2.0, 5.0, 12.0])
def test_binary_mask_gives_unbiased_width_and_length(width_px: float) -> None:
    # One thresholded stroke at 0 or 45 degrees is wider or narrower by up to a row of pixels: taken over positions.
    for angle in (0.0, 12.0, 45.0, 71.0):
        widths = []
        for shift in np.arange(8) / 8 * 1.42:
            crack = the_one(measure_dense(blunt(angle, width_px, 180.0, shift) >= 0.5, ground=None))
            assert crack.length_px == pytest.approx(180.0, rel=0.015)
            assert turned_by(crack.orientation_deg, angle) < 1.0
            widths.append(crack.width_px.mean())
        assert np.mean(widths) == pytest.approx(width_px, abs=0.35)


@pytest.mark.parametrize(("radius", "width_px"), [(30.0, 2.0), (30.0, 8.0), (60.0, 5.0), (110.0, 10.0)])
@pytest.mark.parametrize("binary", [False, True])
def test_arc_is_neither_cut_short_nor_staircased(radius: float, width_px: float, binary: bool) -> None:
    x, y = grid(300, 300)
    turn = np.arctan2(y - 149.6, x - 150.2) % (2 * np.pi)
    image = covered(np.abs(np.hypot(x - 150.2, y - 149.6) - radius), width_px) * (turn < 1.2 * np.pi)
    crack = the_one(measure_dense(image >= 0.5 if binary else image, ground=None))
    assert crack.length_px == pytest.approx(1.2 * np.pi * radius, rel=0.015)
    assert crack.width_px.mean() == pytest.approx(width_px, abs=0.35 if binary else 0.15)
    off = np.abs(np.hypot(*(crack.centreline_xy_px[3:-3] - (150.2, 149.6)).T) - radius)
    assert off.max() < 0.5


def test_closed_ring_is_one_closed_line() -> None:
    x, y = grid(200, 200)
    crack = the_one(measure_dense(covered(np.abs(np.hypot(x - 100, y - 100) - 60), 4.0), ground=None))
    assert crack.length_px == pytest.approx(2 * np.pi * 60, rel=0.01)
    assert (crack.centreline_xy_px[0] == crack.centreline_xy_px[-1]).all()
    assert not crack.touches_border


def test_round_caps_are_measured_to_their_tips() -> None:
    crack = the_one(measure_dense(stroke((40, 60), (250, 200), 8.0), ground=None))
    assert crack.length_px == pytest.approx(np.hypot(210, 140) + 8.0, abs=1.0)


def test_wide_crack_with_doubt_is_not_thinner() -> None:
    crack = the_one(measure_dense(0.7 * stroke((40, 60), (250, 200), 8.0), ground=None))
    assert crack.width_px[5:-5].mean() == pytest.approx(8.0, abs=0.2)
    assert crack.confidence == pytest.approx(0.7, abs=0.03)


def wavy() -> FloatArray:
    x, y = grid(280, 400)
    slope = 40 / 30 * np.cos(x / 30)
    return covered(np.abs(y - 140 - 40 * np.sin(x / 30)) / np.hypot(1, slope), 4.0) * ((x > 20) & (x < 380))


@pytest.mark.parametrize(
    ("change", "direction"),
    [
        (lambda image: image.T, lambda deg: 90 - deg),
        (lambda image: image[::-1], lambda deg: -deg),
        (lambda image: image[:, ::-1], lambda deg: -deg),
        (lambda image: np.rot90(image), lambda deg: deg - 90),
    ],
    ids=["transposed", "upside down", "mirrored", "turned"],
)
def test_flipping_the_image_flips_the_result(
    change: Callable[[FloatArray], FloatArray], direction: Callable[[float], float]
) -> None:
    image = wavy()
    before = the_one(measure_dense(image, ground=None))
    after = the_one(measure_dense(np.ascontiguousarray(change(image)), ground=None))
    assert after.length_px == pytest.approx(before.length_px, rel=0.005)
    assert after.width_px.mean() == pytest.approx(before.width_px.mean(), abs=0.05)
    assert turned_by(after.orientation_deg, direction(before.orientation_deg)) < 1.0


def test_twice_the_picture_is_twice_the_crack() -> None:
    x = np.linspace(30, 370, 90)
    line, width = np.column_stack([x, 140 + 40 * np.sin(x / 40)]), np.linspace(3.0, 6.0, 90)
    one = the_one(measure_dense(draw_coverage(line, width, (400, 280)), ground=None))
    two = the_one(measure_dense(draw_coverage(2 * line, 2 * width, (800, 560)), ground=None))
    assert two.length_px == pytest.approx(2 * one.length_px, rel=0.005)
    assert two.width_px.mean() == pytest.approx(2 * one.width_px.mean(), rel=0.01)
    assert turned_by(two.orientation_deg, one.orientation_deg) < 0.2


@pytest.mark.parametrize("width_px", [2.0, 5.0, 10.0])
def test_three_arms_are_three_cracks_that_meet(width_px: float) -> None:
    arms = [(150 + 100 * np.cos(a), 150 + 100 * np.sin(a)) for a in np.radians([90.0, 210.0, 330.0])]
    cracks = measure_dense(np.maximum.reduce([stroke((150, 150), arm, width_px) for arm in arms]), ground=None)
    assert len(cracks) == 3
    for crack in cracks:
        assert crack.length_px == pytest.approx(100 + width_px / 2, abs=1.5)
        assert crack.width_px.max() < width_px + 0.3
    meeting = [crack.centreline_xy_px[-1 if crack.centreline_xy_px[0, 1] < 140 else 0] for crack in cracks]
    assert np.ptp(meeting, axis=0).max() < 1e-9


@pytest.mark.parametrize("width_px", [2.0, 5.0, 10.0])
def test_long_crack_runs_on_past_a_side_branch(width_px: float) -> None:
    image = np.maximum(stroke((20, 150), (280, 150), width_px), stroke((150, 150), (150, 280), width_px))
    cracks = measure_dense(image, ground=None)
    assert len(cracks) == 2
    main, side = sorted(cracks, key=lambda crack: -crack.length_px)
    assert main.length_px == pytest.approx(260 + width_px, abs=1.5)
    assert np.abs(main.centreline_xy_px[:, 1] - 150).max() < 0.3
    assert main.width_px.max() < width_px + 0.3
    assert turned_by(main.orientation_deg, 90) < 0.5
    assert turned_by(side.orientation_deg, 0) < 1.0


@pytest.mark.parametrize("half_angle_deg", [17.0, 30.0, 45.0])
@pytest.mark.parametrize("width_px", [2.0, 8.0])
def test_two_cracks_that_cross_are_two_straight_lines(half_angle_deg: float, width_px: float) -> None:
    dx, dy = 120 * np.cos(np.radians(half_angle_deg)), 120 * np.sin(np.radians(half_angle_deg))
    first = stroke((150 - dx, 150 - dy), (150 + dx, 150 + dy), width_px)
    cracks = measure_dense(np.maximum(first, first[:, ::-1]), ground=None)
    assert len(cracks) == 2
    assert sorted(crack.orientation_deg for crack in cracks) == pytest.approx(
        [90 - half_angle_deg, 90 + half_angle_deg], abs=1.0
    )
    for crack in cracks:
        assert crack.length_px == pytest.approx(240 + width_px, rel=0.015)


def test_side_branch_at_a_sharp_angle_back_is_not_folded_into_one_line() -> None:
    image = np.maximum(stroke((20, 150), (280, 150), 2.0), stroke((20, 150), (280, 220), 2.0))
    cracks = measure_dense(image, ground=None)
    assert len(cracks) == 2
    assert max(crack.length_px for crack in cracks) < 280


def test_parallel_cracks_8_px_apart_keep_their_own_widths() -> None:
    image = np.maximum(stroke((20, 50), (270, 130), 3.0), stroke((20, 58.4), (270, 138.4), 4.0))
    cracks = measure_dense(image, ground=None)
    assert [round(float(crack.width_px.mean()), 1) for crack in cracks] == pytest.approx([3.0, 4.0], abs=0.15)
    assert all(crack.width_px.max() < 4.4 for crack in cracks)


def test_rough_edges_do_not_grow_spurs() -> None:
    rng = np.random.default_rng(3)
    _, y = grid(200, 400)
    edge = np.repeat(rng.uniform(-1.5, 1.5, 134), 3)[:400]
    crack = the_one(measure_dense(np.abs(y - 100 - edge) < 4.0, ground=None))
    assert crack.length_px == pytest.approx(400, rel=0.02)


def test_crack_over_a_block_boundary_is_one_crack_whatever_the_blocks() -> None:
    image = stroke((200, 240), (330, 275), 4.0, (512, 768))
    mask = CrackMask.from_dense(image)
    crack = the_one(measure(mask, ground=None))
    assert crack.length_px == pytest.approx(np.hypot(130, 35) + 4.0, rel=0.015)
    zero = np.zeros((BLOCK_PX, BLOCK_PX), np.uint8)
    blocks = {(row, column): mask.blocks.get((row, column), zero) for row in range(2) for column in range(3)}
    again = the_one(measure(CrackMask(mask.size_wh_px, blocks, mask.segmented_px), ground=None))
    np.testing.assert_allclose(again.centreline_xy_px, crack.centreline_xy_px, atol=1e-9)
    np.testing.assert_allclose(again.width_px, crack.width_px, atol=1e-6)


def test_cracks_come_from_top_to_bottom_and_start_at_their_upper_end() -> None:
    ends = [((30, 200), (120, 290)), ((250, 20), (160, 60)), ((20, 150), (100, 110))]
    cracks = measure_dense(np.maximum.reduce([stroke(a, b, 3.0) for a, b in ends]), ground=None)
    tops = [crack.centreline_xy_px[0, 1] for crack in cracks]
    assert tops == sorted(tops)
    assert all(crack.centreline_xy_px[0, 1] < crack.centreline_xy_px[-1, 1] for crack in cracks)


def test_line_out_of_the_image_ends_at_the_border_and_says_so() -> None:
    crack = the_one(measure_dense(stroke((-30, 120), (330, 160), 6.0), ground=None))
    assert crack.touches_border
    assert sorted(crack.centreline_xy_px[[0, -1], 0]) == pytest.approx([0.0, 300.0], abs=0.3)
    assert crack.width_px == pytest.approx(6.0, abs=0.3)


def test_island_that_ends_inside_the_image_does_not_touch_its_border() -> None:
    image = stroke((30, 100), (254, 100), 3.0, (256, 700))
    assert not the_one(measure_dense(image, ground=None)).touches_border


@pytest.mark.parametrize("shape", [(1, 200), (200, 1)])
def test_image_of_one_row_or_column_is_a_line_one_pixel_wide(shape: tuple[int, int]) -> None:
    crack = the_one(measure_dense(np.ones(shape), ground=None))
    assert crack.length_px == pytest.approx(200.0, abs=1.0)
    assert crack.width_px == pytest.approx(1.0, abs=0.05)


def test_line_longer_than_opencv_can_address_is_measured() -> None:
    assert the_one(measure_dense(np.ones((1, 40_000)), ground=None)).length_px == pytest.approx(40_000, abs=1.0)


def test_one_pixel_line_along_the_border_is_one_pixel_wide() -> None:
    image = np.zeros((50, 200))
    image[0] = 1.0
    assert the_one(measure_dense(image, ground=None)).width_px == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((40, 50)),
        np.full((40, 50), np.nan),
        np.ones((1, 1)),
        np.ones((1500, 1500)),
        np.pad(np.ones((1, 1)), 20),
        np.pad(np.ones((30, 30)), 20),
    ],
    ids=["empty", "nan", "one pixel image", "all crack", "single pixel", "blob"],
)
def test_what_is_no_line_gives_no_crack(image: FloatArray) -> None:
    assert measure_dense(image, ground=None) == ()


def test_line_into_a_wide_patch_keeps_the_line() -> None:
    image = stroke((20, 250), (500, 250), 4.0, (500, 900))
    image[100:400, 500:800] = 1.0
    crack = the_one(measure_dense(image, ground=None))
    assert 430 < crack.length_px < 482
    assert crack.width_px == pytest.approx(4.0, abs=0.3)


def test_noise_is_measured_without_error() -> None:
    image = np.random.default_rng(5).random((160, 160))
    for crack in measure_dense(image, ground=None):
        assert np.isfinite(crack.width_px).all()
        assert crack.length_px > 0


@pytest.mark.parametrize("angle_deg", [0.0, 25.0, 90.0, 140.0])
def test_unequal_pixels_give_lengths_and_widths_on_the_ground(angle_deg: float) -> None:
    ground = GroundPlane.from_gsd(gsd_mm=(2.0, 5.0), size_wh_px=(400, 300))
    crack = the_one(measure_dense(on_ground(ground, (0.0, 0.75), angle_deg, 0.55, 24.0), ground=ground))
    assert crack.length_m == pytest.approx(0.55, rel=0.015)
    assert crack.width_mm is not None and crack.width_mm.mean() == pytest.approx(24.0, abs=0.6)
    assert turned_by(crack.orientation_deg, angle_deg) < 1.0
    assert crack.gsd_mm == pytest.approx((2.0, 5.0))


def oblique(limits: GroundLimits | None = None) -> GroundPlane:
    """A camera 2 m above the road, 25 degrees down, 640 x 480."""
    focal, height, pitch = 700.0, 2.0, np.radians(25.0)
    forward, down = np.array([0, np.cos(pitch), -np.sin(pitch)]), np.array([0, -np.sin(pitch), -np.cos(pitch)])
    rotation = np.stack([[1.0, 0, 0], down, forward])
    camera = np.array([[focal, 0, 320.0], [0, focal, 240.0], [0, 0, 1]])
    pixel_from_ground = camera @ np.column_stack([rotation[:, 0], rotation[:, 1], rotation @ [0, 0, -height]])
    homography = np.linalg.inv(pixel_from_ground)
    if (homography @ [320.0, 479.0, 1.0])[2] < 0:
        homography = -homography
    return GroundPlane(homography, (640, 480), limits or GroundLimits())


def on_ground(
    ground: GroundPlane, middle_m: tuple[float, float], angle_deg: float, length_m: float, width_mm: float
) -> FloatArray:
    """The image of a straight crack with square ends on the road, by 5 x 5 samples in each pixel."""
    along = np.array([np.sin(np.radians(angle_deg)), np.cos(np.radians(angle_deg))])
    width, height = ground.size_wh_px
    x, y = grid(height, width)
    share = np.zeros(x.shape)
    for oy in (np.arange(5) - 2) / 5:
        for ox in (np.arange(5) - 2) / 5:
            xy = ground.to_ground_xy_m(np.column_stack([(x + ox).ravel(), (y + oy).ravel()])) - middle_m
            s, n = xy @ along, xy @ [along[1], -along[0]]
            inside = (np.abs(s) <= length_m / 2) & (np.abs(n) <= width_mm / 2e3)
            share += inside.reshape(x.shape)
    return share / 25


@pytest.mark.parametrize("angle_deg", [0.0, 30.0, 60.0, 90.0, 135.0])
def test_oblique_camera_gives_lengths_and_widths_on_the_ground(angle_deg: float) -> None:
    ground = oblique()
    crack = the_one(measure_dense(on_ground(ground, (0.2, 4.0), angle_deg, 1.2, 40.0), ground=ground))
    assert crack.length_m == pytest.approx(1.2, rel=0.015)
    assert crack.width_mm is not None and crack.width_mm.mean() == pytest.approx(40.0, rel=0.05)
    assert turned_by(crack.orientation_deg, angle_deg) < 1.0
    assert crack.centreline_xy_m is not None
    assert crack.centreline_xy_m.mean(axis=0) == pytest.approx((0.2, 4.0), abs=0.05)


def test_nothing_is_measured_where_the_ground_is_not_trusted() -> None:
    image = stroke((320, 10), (320, 470), 6.0, (480, 640))
    limited = oblique(GroundLimits(farthest_m=5.0))
    crack = the_one(measure_dense(image, ground=limited))
    assert crack.centreline_xy_m is not None
    assert 4.9 < crack.centreline_xy_m[:, 1].max() <= 5.0
    sideways = oblique(GroundLimits(lateral_m=(-0.4, 0.4)))
    across = the_one(measure_dense(stroke((20, 300), (620, 300), 6.0, (480, 640)), ground=sideways))
    assert across.centreline_xy_m is not None
    assert np.abs(across.centreline_xy_m[:, 0]).max() <= 0.4
    assert not across.touches_border


def test_ring_cut_by_the_limit_is_one_open_line() -> None:
    x, y = grid(200, 200)
    image = covered(np.abs(np.hypot(x - 100, y - 100) - 60), 4.0)
    ground = GroundPlane.from_gsd(gsd_mm=1.0, size_wh_px=(200, 200), limits=GroundLimits(lateral_m=(-0.03, 1.0)))
    crack = the_one(measure_dense(image, ground=ground))
    assert crack.length_px == pytest.approx(60 * 2 * np.pi * 2 / 3, rel=0.04)


def test_ground_of_another_image_size_is_refused() -> None:
    with pytest.raises(CalibrationError, match="calibration of the camera"):
        measure_dense(np.ones((20, 20)), ground=GroundPlane.from_gsd(gsd_mm=1.0, size_wh_px=(30, 20)))


@pytest.mark.parametrize(("end", "expected"), [((0, 1), 0), ((1, 1), 45), ((1, 0), 90), ((1, -1), 135), ((0, -1), 0)])
def test_orientation_is_clockwise_from_travel(end: tuple[int, int], expected: float) -> None:
    assert principal_direction_deg(np.array([(0.0, 0.0), end])) == pytest.approx(expected)


def test_settings_out_of_range_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="threshold"):
        MeasureSettings(threshold=0.0)
    with pytest.raises(InputError, match="vertex_spacing_px"):
        MeasureSettings(vertex_spacing_px=0.0)


def test_lines_account_for_the_area_of_real_masks() -> None:
    data = Path(os.environ.get("CRACKMAP_DATA", Path(__file__).parents[2] / "../shared/data"))
    paths = sorted((data / "cracksc" / "masks").glob("*.png"))[::10]
    if not paths:
        pytest.skip(f"no real masks at {data}: set CRACKMAP_DATA")
    masks = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 127 for path in paths]
    area = [sum(c.length_px * c.width_px.mean() for c in measure_dense(mask, ground=None)) for mask in masks]
    assert sum(area) == pytest.approx(sum(int(mask.sum()) for mask in masks), rel=0.1)
