"""Planes of mounted cameras: closed forms, there and back through any lens, mirrored and turned."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crackmap.calibration.errors import CalibrationError, InputError
from crackmap.calibration.lens import Lens
from crackmap.calibration.mount import Mount, mount_of_plane, plane_from_mount
from crackmap.calibration.plane import GroundPlane

SIZE = (1280, 720)
PINHOLE = Lens("pinhole", (1150.0, 1160.0), (643.2, 360.7), (-0.25, 0.09, 0.0007, -0.0004, -0.01), SIZE)
FISHEYE = Lens("fisheye", (620.0, 621.0), (643.2, 360.7), (0.02, -0.01, 0.003, -0.0005), SIZE)


def pixels(count: int = 400) -> np.ndarray:
    return np.random.default_rng(1).uniform((0, 0), SIZE, (count, 2))


def test_the_middle_of_the_image_sees_the_road_at_height_over_tangent_of_pitch() -> None:
    plane = plane_from_mount(Mount(2.0, 30.0), size_wh_px=SIZE, focal_px=1000.0)
    assert plane.to_ground_xy_m([[640.0, 360.0]])[0] == pytest.approx((0.0, 2.0 / np.tan(np.radians(30))), abs=1e-12)
    # The horizon lies f tan(pitch) above the middle; above it there is no road, and never one behind the camera.
    row = 360.0 - 1000.0 * np.tan(np.radians(30))
    assert np.isnan(plane.to_ground_xy_m([[640.0, row - 0.1], [0.0, row - 300.0]])).all()
    assert plane.to_ground_xy_m([[640.0, row + 0.1]])[0, 1] > 1000.0
    assert np.isnan(plane.to_pixel_xy([[0.0, -5.0]])).all()


def test_a_camera_straight_down_sees_height_over_focal_length_per_pixel() -> None:
    plane = plane_from_mount(Mount(3.0, 90.0), size_wh_px=SIZE, focal_px=1000.0)
    assert plane.gsd_mm(pixels()) == pytest.approx(np.full((400, 2), 3.0), rel=1e-9)
    assert plane.to_ground_xy_m([[640.0, 0.0]])[0] == pytest.approx((0.0, 1.08), abs=1e-9)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"roll_deg": 90.0}, "right end of the horizon up"),
        ({"yaw_deg": 10.0}, "to the right"),
        ({"position_m": (0.5, -1.0)}, "shifted"),
    ],
)
def test_angles_turn_the_way_they_say(change: dict[str, object], expected: str) -> None:
    plane = plane_from_mount(replace(Mount(2.0, 30.0), **change), size_wh_px=SIZE, focal_px=1000.0)
    middle = plane.to_ground_xy_m([[640.0, 360.0]])[0]
    ahead = 2.0 / np.tan(np.radians(30.0))
    if expected == "shifted":
        assert middle == pytest.approx((0.5, ahead - 1.0))
    elif expected == "to the right":
        assert middle == pytest.approx((ahead * np.sin(np.radians(10)), ahead * np.cos(np.radians(10))))
    else:
        # Turned clockwise by a right angle, the camera's right is down: what was below is now at the right edge.
        near = plane.to_ground_xy_m([[900.0, 360.0]])[0]
        assert near[1] < middle[1]


@pytest.mark.parametrize("pitch_deg", [20.0, 35.0, 50.0, 70.0])
@pytest.mark.parametrize("roll_deg", [-12.0, 0.0, 7.0])
@pytest.mark.parametrize("lens", [None, PINHOLE, FISHEYE], ids=["none", "pinhole", "fisheye"])
@pytest.mark.parametrize("turn", ["as taken", "mirrored", "transposed"])
def test_pixel_to_ground_to_pixel_is_exact(pitch_deg: float, roll_deg: float, lens: Lens | None, turn: str) -> None:
    mount = Mount(2.3, pitch_deg, roll_deg, 15.0, (0.4, -0.7))
    plane = plane_from_mount(mount, size_wh_px=SIZE, lens=lens, focal_px=None if lens else 1000.0)
    if turn == "mirrored":
        flip = np.array([[-1.0, 0.0, SIZE[0]], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        mirrored = lens and replace(lens, centre_xy_px=(SIZE[0] - lens.centre_xy_px[0], lens.centre_xy_px[1]),
                                    distortion=_mirrored(lens))  # fmt: skip
        plane = GroundPlane(plane.ground_from_pixel @ flip, SIZE, lens=mirrored)
    elif turn == "transposed" and lens is None:
        swap = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        plane = GroundPlane(plane.ground_from_pixel @ swap, SIZE[::-1])
    size = plane.size_wh_px
    points = np.random.default_rng(2).uniform((0, 0), size, (300, 2))
    ground = plane.to_ground_xy_m(points)
    seen = np.isfinite(ground).all(axis=1)
    assert seen.sum() > 150
    assert np.abs(plane.to_pixel_xy(ground[seen]) - points[seen]).max() < 0.01
    steps = 1e-3 * np.eye(2)
    ahead, behind = ([plane.to_ground_xy_m(points[seen] + sign * step) for step in steps] for sign in (1, -1))
    numeric = (np.stack(ahead, axis=2) - np.stack(behind, axis=2)) / 2e-3
    assert np.nanmedian(np.abs(numeric * 1e3 / plane.jacobian_mm(points[seen]) - 1)) < 1e-3


def _mirrored(lens: Lens) -> tuple[float, ...]:
    """Distortion of the mirrored picture: tangential p2 changes its sign."""
    values = list(lens.distortion)
    if lens.model == "pinhole" and len(values) > 3:
        values[3] = -values[3]
    return tuple(values)


def test_a_mirrored_picture_is_the_mirrored_road() -> None:
    plane = plane_from_mount(Mount(2.3, 40.0), size_wh_px=SIZE, lens=PINHOLE)
    flipped = replace(PINHOLE, centre_xy_px=(SIZE[0] - PINHOLE.centre_xy_px[0], PINHOLE.centre_xy_px[1]),
                      distortion=_mirrored(PINHOLE))  # fmt: skip
    mirror = plane_from_mount(Mount(2.3, 40.0), size_wh_px=SIZE, lens=flipped)
    other = mirror.to_ground_xy_m(np.column_stack([SIZE[0] - pixels()[:, 0], pixels()[:, 1]]))
    assert np.nanmax(np.abs(other * [-1.0, 1.0] - plane.to_ground_xy_m(pixels()))) < 1e-6


@settings(max_examples=80)
@given(
    pitch=st.floats(3.0, 89.0), roll=st.floats(-45.0, 45.0), yaw=st.floats(-179.0, 179.0), height=st.floats(0.5, 8.0),
    x=st.floats(-2, 2), y=st.floats(-4, 4),
)  # fmt: skip
def test_height_and_angles_come_back_from_the_plane(
    pitch: float, roll: float, yaw: float, height: float, x: float, y: float
) -> None:
    mount = Mount(height, pitch, roll, yaw, (x, y))
    back = mount_of_plane(plane_from_mount(mount, size_wh_px=SIZE, lens=PINHOLE))
    assert (back.height_m, back.pitch_deg, back.roll_deg) == pytest.approx((height, pitch, roll), abs=1e-5)
    assert np.cos(np.radians(back.yaw_deg - yaw)) == pytest.approx(1.0, abs=1e-9)
    assert back.position_m == pytest.approx((x, y), abs=1e-5)


def test_a_camera_that_sees_no_road_and_one_without_inner_parameters_are_refused() -> None:
    with pytest.raises(CalibrationError, match="sees nothing of the road; pitch counts downwards"):
        plane_from_mount(Mount(2.0, -60.0), size_wh_px=SIZE, focal_px=1000.0)
    with pytest.raises(InputError, match="one of the two"):
        plane_from_mount(Mount(2.0, 30.0), size_wh_px=SIZE)
    with pytest.raises(InputError, match="height_m"):
        Mount(0.0, 30.0)
    flat = GroundPlane.from_gsd(gsd_mm=1.0, size_wh_px=SIZE)
    with pytest.raises(CalibrationError, match="no perspective"):
        mount_of_plane(flat, focal_px=1000.0)
