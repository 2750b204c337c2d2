"""Road planes through measured points: drawn cameras whose pixels OpenCV computes."""

import cv2
import numpy as np
import pytest

from crackmap.calibration.errors import CalibrationError
from crackmap.calibration.lens import Lens
from crackmap.calibration.mount import Mount, camera_from_ground, plane_from_mount
from crackmap.calibration.plane import GroundPlane
from crackmap.calibration.points import fit_board, fit_points, implied_focal_px

SIZE = (1280, 960)
CENTRE = (650.0, 470.0)
LENSES = {
    "none": Lens("pinhole", (1100.0, 1100.0), (640.0, 480.0), (), SIZE),
    "pinhole": Lens("pinhole", (1100.0, 1090.0), CENTRE, (-0.22, 0.06, 0.001, -0.0008, 0.01), SIZE),
    "fisheye": Lens("fisheye", (600.0, 605.0), CENTRE, (0.03, -0.01, 0.002, 0.0), SIZE),
}


def seen(mount: Mount, lens: Lens, xy_m: np.ndarray) -> np.ndarray:
    """(N, 2) pixels as OpenCV projects them."""
    matrix = np.array([[lens.focal_xy_px[0], 0, lens.centre_xy_px[0]], [0, lens.focal_xy_px[1], lens.centre_xy_px[1]],
                       [0, 0, 1.0]])  # fmt: skip
    rays = np.column_stack([xy_m, np.ones(len(xy_m))]) @ camera_from_ground(mount).T
    rays = rays[:, None].astype(np.float64)
    zero = np.zeros(3)
    if lens.model == "fisheye":
        return cv2.fisheye.projectPoints(rays, zero, zero, matrix, np.array(lens.distortion))[0][:, 0]
    return cv2.projectPoints(rays, zero, zero, matrix, np.array(lens.distortion or (0.0,) * 5))[0][:, 0]


def road_ahead(mount: Mount, lens: Lens) -> np.ndarray:
    """(N, 2) ground points that the camera sees, on a regular grid around the middle of its view."""
    plane = plane_from_mount(mount, size_wh_px=SIZE, lens=lens)
    x, y = np.meshgrid([250.0, 500.0, 780.0, 1030.0], [520.0, 640.0, 760.0, 880.0])
    return np.round(plane.to_ground_xy_m(np.column_stack([x.ravel(), y.ravel()])), 3)


def transposed(lens: Lens) -> Lens:
    k = [*lens.distortion, *(0.0,) * 5][:5]
    bent = (k[0], k[1], k[3], k[2], k[4]) if lens.model == "pinhole" else lens.distortion
    return Lens(lens.model, lens.focal_xy_px[::-1], lens.centre_xy_px[::-1], bent, SIZE[::-1])


def mirrored(lens: Lens) -> Lens:
    k = [*lens.distortion, *(0.0,) * 5][:5]
    bent = (k[0], k[1], k[2], -k[3], k[4]) if lens.model == "pinhole" else lens.distortion
    return Lens(lens.model, lens.focal_xy_px, (SIZE[0] - lens.centre_xy_px[0], lens.centre_xy_px[1]), bent, SIZE)


@pytest.mark.parametrize("roll_deg", [0.0, -6.0])
@pytest.mark.parametrize("pitch_deg", [20.0, 45.0, 70.0])
@pytest.mark.parametrize("kind", LENSES)
def test_plane_from_four_exact_points_is_exact_under_every_lens(kind, pitch_deg, roll_deg):
    mount, lens = Mount(2.4, pitch_deg, roll_deg, 3.0), LENSES[kind]
    ground = road_ahead(mount, lens)
    pixels = seen(mount, lens, ground)
    change = {
        "as seen": (pixels, lens, SIZE),
        "transposed": (pixels[:, ::-1], transposed(lens), SIZE[::-1]),
        "mirrored": (np.column_stack([SIZE[0] - pixels[:, 0], pixels[:, 1]]), mirrored(lens), SIZE),
    }
    four = [0, 3, 12, 15]
    for name, (xy_px, bent, size) in change.items():
        fit = fit_points(xy_px[four], ground[four], size_wh_px=size, lens=bent)
        assert np.abs(fit.plane.to_ground_xy_m(xy_px) - ground).max() < 1e-6, name
        assert np.abs(fit.plane.to_pixel_xy(fit.plane.to_ground_xy_m(xy_px)) - xy_px).max() < 0.01, name
        assert np.abs(fit.residual_px).max() < 1e-6, name


@pytest.mark.parametrize("kind", LENSES)
def test_nothing_above_the_horizon_is_on_the_road(kind):
    plane = plane_from_mount(Mount(2.4, 5.0), size_wh_px=SIZE, lens=LENSES[kind])
    sky = [(100.0, 20.0), (640.0, 100.0), (1200.0, 20.0)]
    assert np.isnan(plane.to_ground_xy_m(sky)).all()
    assert np.isnan(plane.to_pixel_xy([(0.0, -5.0)])).all()
    assert not plane.trusted(sky).any()


@pytest.mark.parametrize("kind", LENSES)
def test_residuals_and_uncertainty_follow_the_noise(kind):
    mount, lens = Mount(2.4, 25.0, 1.0), LENSES[kind]
    ground = road_ahead(mount, lens)
    errors, stated = [], []
    for seed in range(8):
        noisy = seen(mount, lens, ground) + np.random.default_rng(seed).normal(0.0, 1.0, ground.shape)
        fit = fit_points(noisy, ground, size_wh_px=SIZE, lens=lens)
        freedom = 2 * len(ground) - 8
        assert 0.5 < np.sqrt((fit.residual_px**2).sum() / freedom) < 1.6
        middle = fit.plane.to_pixel_xy([ground.mean(axis=0)])
        true = plane_from_mount(mount, size_wh_px=SIZE, lens=lens)
        area = [abs(np.linalg.det(plane.jacobian_mm(middle)[0])) for plane in (fit.plane, true)]
        errors.append(0.5 * np.log(area[0] / area[1]))
        stated.append(fit.plane.u_scale)
    assert 0.5 < np.sqrt(np.mean(np.square(errors))) / np.mean(stated) < 1.8


def test_a_misplaced_point_is_named_and_noise_is_not():
    mount, lens = Mount(2.4, 25.0), LENSES["pinhole"]
    ground = road_ahead(mount, lens)[::2]
    named = 0
    for seed in range(8):
        noisy = seen(mount, lens, ground) + np.random.default_rng(seed).normal(0.0, 0.5, ground.shape)
        named += fit_points(noisy, ground, size_wh_px=SIZE, lens=lens).outlier is not None
        noisy[5] += (15.0, -9.0)
        fit = fit_points(noisy, ground, size_wh_px=SIZE, lens=lens)
        assert fit.outlier == 5
        assert fit.outlier_px == pytest.approx(17.5, abs=4.0)
    assert named <= 1


@pytest.mark.parametrize("order", ["as read", "half turn", "mirrored rows", "mirrored columns"])
@pytest.mark.parametrize("turn_deg", [0.0, 30.0, 90.0])
def test_a_board_on_the_road_gives_the_plane_however_its_corners_are_listed(turn_deg, order):
    mount, lens, (columns, rows) = Mount(2.0, 35.0, 2.0), LENSES["pinhole"], (9, 6)
    across, towards = np.meshgrid(np.arange(columns) - 4.0, np.arange(rows) - 2.5)
    flat = np.column_stack([across.ravel(), -towards.ravel()]) * 0.1
    angle = np.deg2rad(-turn_deg)
    turned = flat @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    grid = seen(mount, lens, turned + (0.2, 3.0)).reshape(rows, columns, 2)
    listed = {"as read": grid, "half turn": grid[::-1, ::-1], "mirrored rows": grid[:, ::-1],
              "mirrored columns": grid[::-1]}[order]  # fmt: skip
    fit = fit_board(listed.reshape(-1, 2), corners_wh=(columns, rows), square_mm=100.0, centre_m=(0.2, 3.0),
                    turn_deg=turn_deg, size_wh_px=SIZE, lens=lens)  # fmt: skip
    ground = road_ahead(mount, lens)
    assert np.abs(fit.plane.to_ground_xy_m(seen(mount, lens, ground)) - ground).max() < 1e-5


def test_the_focal_length_behind_a_plane_of_points_comes_back():
    mount = Mount(2.4, 25.0, 1.0, 4.0)
    plane = plane_from_mount(mount, size_wh_px=SIZE, focal_px=1100.0)
    assert implied_focal_px(plane) == pytest.approx(1100.0, rel=1e-6)
    assert implied_focal_px(GroundPlane.from_gsd(gsd_mm=1.0, size_wh_px=SIZE)) is None


def test_points_that_fix_no_plane_say_what_to_do():
    mount, lens = Mount(2.4, 25.0), LENSES["none"]
    ground = road_ahead(mount, lens)[[0, 3, 12, 15]]
    pixels = seen(mount, lens, ground)
    with pytest.raises(CalibrationError, match=r"above the horizon.*same order"):
        fit_points(pixels[[1, 0, 2, 3]], ground, size_wh_px=SIZE)
    broken = pixels.copy()
    broken[2, 0] = np.nan
    with pytest.raises(CalibrationError, match="point 3"):
        fit_points(broken, ground, size_wh_px=SIZE, lens=LENSES["fisheye"])
    with pytest.raises(CalibrationError, match="check --board"):
        fit_board(pixels, corners_wh=(9, 6), square_mm=100.0, centre_m=(0, 5), size_wh_px=SIZE)
