"""Road planes from lane lines and from motion: a drawn road under a known camera."""

import cv2
import numpy as np
import pytest

from crackmap.calibration.errors import CalibrationError
from crackmap.calibration.fit import crossing, fit_lane_view, lane_view, plane_from_lane, view_of_plane
from crackmap.calibration.lane_lines import find_lane_lines
from crackmap.calibration.lens import Lens
from crackmap.calibration.motion import consecutive_pairs, focal_from_motion, scale_from_motion
from crackmap.calibration.mount import Mount, plane_from_mount
from crackmap.calibration.plane import GroundLimits, GroundPlane
from crackmap.calibration.profile import gsd_profile, horizon_row_px

SIZE = (640, 480)
FOCAL = 560.0
CELL_M = 0.01
LENSES = {
    "none": None,
    "pinhole": Lens("pinhole", (560.0, 556.0), (325.0, 236.0), (-0.2, 0.04, 0.001, -0.0005), SIZE),
    "fisheye": Lens("fisheye", (400.0, 402.0), (325.0, 236.0), (0.03, -0.01), SIZE),
}
LANE = (-1.85, 1.75)


def texture(length_m: float, seed: int, half_width_m: float = 4.0) -> np.ndarray:
    """(rows, columns) float32 road seen from above, near at row 0; grains of some centimetres."""
    noise = np.random.default_rng(seed).normal(0.0, 1.0, (round(length_m / CELL_M), round(2 * half_width_m / CELL_M)))
    grain = cv2.GaussianBlur(noise.astype(np.float32), (0, 0), 2.5)
    return 85.0 + 14.0 * grain / grain.std()


def lines_on(road: np.ndarray, edges_m: list[tuple[float, float]], dash_m: float | None = None) -> np.ndarray:
    """The road with painted lines between pairs of x; the first one broken into dashes with equal gaps."""
    middle = road.shape[1] / 2
    painted = road.copy()
    for number, (left, right) in enumerate(edges_m):
        columns = slice(round(middle + left / CELL_M), round(middle + right / CELL_M))
        rows = np.arange(road.shape[0])
        if dash_m is not None and number == 0:
            rows = rows[(rows * CELL_M // dash_m).astype(int) % 2 == 0]
        painted[rows, columns] = 210.0
    return painted


def frame(road: np.ndarray, plane: GroundPlane, at_m: float, sideways_m: float = 0.0) -> np.ndarray:
    """(H, W, 3) uint8 picture from a vehicle at `at_m` along the road; above the horizon a grey sky."""
    width, height = plane.size_wh_px
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    ground = plane.to_ground_xy_m(np.column_stack([x.ravel(), y.ravel()]))
    columns = (ground[:, 0] + sideways_m) / CELL_M + road.shape[1] / 2 - 0.5
    rows = (ground[:, 1] + at_m) / CELL_M - 0.5
    known = np.isfinite(ground).all(axis=1) & (rows < road.shape[0])
    at = np.where(known, np.stack([columns, rows]), -1.0).astype(np.float32).reshape(2, height, width)
    grey = cv2.remap(road, at[0], at[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=70.0)
    grey = np.where(known.reshape(height, width), grey, 120.0)
    return np.repeat(np.clip(np.rint(grey), 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def camera(lens=None, *, pitch_deg=20.0, roll_deg=0.0, yaw_deg=-1.5, height_m=2.2, size=SIZE, limits=None):
    mount = Mount(height_m, pitch_deg, roll_deg, yaw_deg)
    return plane_from_mount(mount, size_wh_px=size, lens=lens, focal_px=None if lens else FOCAL, limits=limits)


def noisy_line(plane, x_m, noise_px, rng):
    """Slope and offset of a line along the road through pixels as taken that are `noise_px` off, one every 4 rows."""
    along = np.linspace(1.0, 40.0, 4000)
    pixels = plane.to_pixel_xy(np.column_stack([np.full(4000, x_m), along]))
    width, height = plane.size_wh_px
    inside = np.isfinite(pixels).all(axis=1) & (pixels >= 0).all(axis=1) & (pixels <= (width, height)).all(axis=1)
    pixels = pixels[inside][np.argsort(pixels[inside][:, 1])]
    rows = np.arange(pixels[0, 1], pixels[-1, 1], 4.0)
    points = np.column_stack([np.interp(rows, pixels[:, 1], pixels[:, 0]), rows])
    points[:, 0] += rng.normal(0.0, noise_px, len(points))
    ideal = points if plane.lens is None else plane.lens.undistorted_xy(points)
    return tuple(np.polyfit(ideal[:, 1], ideal[:, 0], 1))


def worst_gsd_error(plane, truth):
    x, y = np.meshgrid(np.linspace(1, truth.size_wh_px[0] - 1, 21), np.linspace(1, truth.size_wh_px[1] - 1, 41))
    pixels = np.column_stack([x.ravel(), y.ravel()])
    pixels = pixels[truth.trusted(pixels)]
    assert len(pixels) > 100
    return np.abs(plane.gsd_mm(pixels) / truth.gsd_mm(pixels) - 1.0).max()


VALID = GroundLimits(coarsest_gsd_mm=40.0, lateral_m=(-2.5, 2.5))


@pytest.mark.parametrize("turned", ["as seen", "portrait", "mirrored"])
@pytest.mark.parametrize("roll_deg", [0.0, 5.0])
@pytest.mark.parametrize(("kind", "pitch_deg"), [("none", 20.0), ("none", 35.0), ("pinhole", 25.0), ("fisheye", 30.0)])
def test_half_a_pixel_of_noise_on_lane_lines_leaves_gsd_within_one_percent(kind, pitch_deg, roll_deg, turned):
    lens, size = LENSES[kind], SIZE
    yaw_deg, lane = (1.5, (-LANE[1], -LANE[0])) if turned == "mirrored" else (-1.5, LANE)
    roll_deg = -roll_deg if turned == "mirrored" else roll_deg
    if turned == "portrait":
        size = SIZE[::-1]
        if lens is not None:
            lens = Lens(lens.model, lens.focal_xy_px, lens.centre_xy_px[::-1], lens.distortion, size)
    truth = camera(lens, pitch_deg=pitch_deg, roll_deg=roll_deg, yaw_deg=yaw_deg, size=size, limits=VALID)
    rng = np.random.default_rng(3)
    frames = [
        crossing(noisy_line(truth, lane[0], 0.5, rng), noisy_line(truth, lane[1], 0.5, rng), size[1]) for _ in range(10)
    ]
    plane = plane_from_lane(
        lane_view(frames, size_wh_px=size, seen=10), lane_width_m=3.6, focal_px=None if lens else FOCAL,
        size_wh_px=size, lens=lens, roll_deg=roll_deg,
    )  # fmt: skip
    assert worst_gsd_error(plane, truth) < 0.01
    pixels = truth.to_pixel_xy([(0.3, 6.0), (-1.0, 4.5)])
    assert np.abs(plane.to_pixel_xy(plane.to_ground_xy_m(pixels)) - pixels).max() < 0.01


def test_lane_view_of_a_plane_leads_back_to_it():
    truth = camera(roll_deg=2.0)
    view = view_of_plane(truth, lane_width_m=3.5)
    again = plane_from_lane(view, lane_width_m=3.5, focal_px=FOCAL, size_wh_px=SIZE, roll_deg=2.0)
    pixels = [(100.0, 400.0), (320.0, 300.0), (600.0, 470.0)]
    assert np.abs(again.to_ground_xy_m(pixels) - truth.to_ground_xy_m(pixels)).max() < 1e-9
    with pytest.raises(CalibrationError, match="meet"):
        view_of_plane(GroundPlane.from_gsd(gsd_mm=1.0, size_wh_px=SIZE), lane_width_m=3.5)


def test_lane_masks_under_a_lens_give_the_view_of_the_ideal_camera():
    truth = camera(LENSES["pinhole"], pitch_deg=25.0)
    x, y = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
    ground = truth.to_ground_xy_m(np.column_stack([x.ravel(), y.ravel()]))[:, 0].reshape(SIZE[::-1])
    with np.errstate(invalid="ignore"):
        mask = (ground > LANE[0]) & (ground < LANE[1])
    view = fit_lane_view([mask], lens=truth.lens)
    plane = plane_from_lane(view, lane_width_m=3.6, size_wh_px=SIZE, lens=truth.lens)
    assert np.abs(plane.to_ground_xy_m([(320, 400)]) - truth.to_ground_xy_m([(320, 400)])).max() < 0.03


PAINT = [(-2.0, -1.85), (1.75, 1.9), (5.2, 5.35)]


@pytest.mark.parametrize(("kind", "roll_deg"), [("none", 0.0), ("none", 4.0), ("pinhole", 0.0), ("fisheye", 0.0)])
def test_lane_lines_are_found_without_masks(kind, roll_deg):
    truth = camera(LENSES[kind], roll_deg=roll_deg)
    road = lines_on(texture(110.0, 1, 7.0), PAINT, dash_m=3.0)
    frames = [
        frame(road, truth, at, sideways)
        for at, sideways in zip(range(0, 30, 6), (0.1, -0.1, 0.1, -0.1, 0.0), strict=True)
    ]
    frames.append(np.full_like(frames[0], 90))
    view = find_lane_lines(frames, lens=truth.lens)
    assert view.seen == 6
    assert 4 <= view.used <= 5
    plane = plane_from_lane(view, lane_width_m=3.6, focal_px=None if truth.lens else FOCAL, size_wh_px=SIZE,
                            lens=truth.lens, roll_deg=roll_deg)  # fmt: skip
    near = truth.to_pixel_xy([(-0.8, 5.0), (0.8, 5.0)])
    assert np.abs(plane.gsd_mm(near) / truth.gsd_mm(near) - 1.0).max() < 0.02


def test_frames_without_lane_lines_are_refused_with_the_remedy():
    bare = [frame(texture(60.0, 2), camera(), at) for at in (0.0, 5.0, 10.0, 15.0)]
    with pytest.raises(CalibrationError, match=r"0 of 4 frames show both lines.*measure points"):
        find_lane_lines(bare)
    with pytest.raises(CalibrationError, match="all of size"):
        find_lane_lines([bare[0], bare[1][:-2]])
    with pytest.raises(CalibrationError, match="no frame"):
        find_lane_lines([])


@pytest.fixture(scope="module")
def drive():
    """Grey frames 4 m apart on an empty road, and their camera."""
    truth, road = camera(), texture(70.0, 5)
    steps = np.cumsum([0.0, *np.random.default_rng(2).normal(4.0, 0.05, 11)])
    return [frame(road, truth, at, 0.03 * (-1) ** i)[..., 0] for i, at in enumerate(steps)], truth


def neighbours(frames):
    return [(i, i + 1) for i in range(len(frames) - 1)]


def test_motion_gives_the_focal_length_and_the_other_half_agrees(drive):
    frames, truth = drive
    view = view_of_plane(truth, lane_width_m=3.6)
    fit = focal_from_motion(view, neighbours(frames), frames.__getitem__, lane_width_m=3.6, step_m=4.0)
    assert fit.clear == fit.seen == 11
    assert fit.value == pytest.approx(FOCAL, rel=0.02)
    assert abs(fit.value - FOCAL) < 4 * fit.uncertainty
    assert fit.check == pytest.approx(1.0, abs=0.02)


def test_motion_gives_the_camera_height_where_the_lens_is_known(drive):
    frames, truth = drive
    low = GroundPlane(np.diag([0.9, 0.9, 1.0]) @ truth.ground_from_pixel, SIZE)
    fit = scale_from_motion(low, neighbours(frames), frames.__getitem__, step_m=4.0)
    assert fit.value == pytest.approx(1 / 0.9, rel=0.02)
    assert fit.check == pytest.approx(1.0, abs=0.02)


def test_frames_out_of_order_are_no_motion(drive):
    frames, truth = drive
    with pytest.raises(CalibrationError, match="consecutive frames of one recording"):
        scale_from_motion(truth, [(i, (i + 5) % 12) for i in range(12)], frames.__getitem__, step_m=4.0)
    with pytest.raises(CalibrationError, match="do not overlap"):
        scale_from_motion(truth, neighbours(frames), frames.__getitem__, step_m=400.0)


def test_the_counter_in_the_names_says_which_frames_follow_each_other():
    assert consecutive_pairs(["a_1_13170", "a_2_13175", "a_5_13190", "a_6_13195"]) == [(0, 1), (2, 3)]
    assert consecutive_pairs(["10.jpg", "20.jpg", "30.jpg"]) == [(0, 1), (1, 2)]
    assert consecutive_pairs(["one"]) == []


@pytest.mark.parametrize("kind", LENSES)
def test_profile_agrees_with_the_plane_and_knows_the_horizon(kind):
    plane = camera(LENSES[kind], pitch_deg=12.0, limits=VALID)
    profile = gsd_profile(plane)
    near, middle, far = profile.near_middle_far()
    assert near > middle > far
    assert profile.valid[near] and profile.along_mm[far] <= 40.0
    left, right = profile.lateral_m
    assert -2.5 <= left < right <= 2.5
    horizon = horizon_row_px(plane)
    assert np.isnan(plane.to_ground_xy_m([(320.0, horizon - 0.5)])).all()
    assert plane.to_ground_xy_m([(320.0, horizon + 0.5)])[0, 1] > 50.0


def test_a_downward_plane_has_no_horizon_and_one_pixel_size():
    profile = gsd_profile(GroundPlane.from_gsd(gsd_mm=(1.0, 2.5), size_wh_px=(40, 30)))
    assert profile.horizon_px is None
    assert np.allclose(profile.across_mm, 1.0) and np.allclose(profile.along_mm, 2.5)
    assert profile.lateral_m == pytest.approx((-0.0195, 0.0195))
