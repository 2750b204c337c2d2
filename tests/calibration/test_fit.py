"""Ground planes from points, lanes and georeferences: drawn cameras with known pose."""

import numpy as np
import pytest

from crackmap.calibration.errors import CalibrationError
from crackmap.calibration.fit import LaneView, fit_lane_view, plane_from_affine, plane_from_lane, plane_from_points

SIZE = (1024, 640)


def camera(*, focal=1290.0, pitch_deg=18.0, yaw_deg=3.0, height_m=2.7, size=SIZE):
    """Pixel of a ground point by plain ray geometry, independent of the code under test."""
    pitch, yaw = np.deg2rad([pitch_deg, yaw_deg])
    # World axes: x right of travel, y ahead, z up. The vehicle's y axis appears turned by yaw to the camera's right.
    level_right = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    level_ahead = np.array([-np.sin(yaw), np.cos(yaw), 0.0])
    up = np.array([0.0, 0.0, 1.0])
    axis = np.cos(pitch) * level_ahead - np.sin(pitch) * up
    down = -np.sin(pitch) * level_ahead - np.cos(pitch) * up

    def project(xy_m):
        xy_m = np.asarray(xy_m, float)
        rays = np.column_stack([xy_m, np.full(len(xy_m), -height_m)])
        depth = rays @ axis
        return np.column_stack(
            [size[0] / 2 + focal * (rays @ level_right) / depth, size[1] / 2 + focal * (rays @ down) / depth]
        )

    return project


def lane_mask(project, left_m, right_m, size=SIZE, bend=0.0):
    """Lane between two ground x, drawn by testing every pixel centre; `bend` shifts the lane by bend * y**2."""
    width, height = size
    far = np.linspace(1.0, 60.0, 4000)
    mask = np.zeros((height, width), bool)
    edges = []
    for x in (left_m, right_m):
        pixels = project(np.column_stack([x + bend * far**2, far]))
        order = np.argsort(pixels[:, 1])
        edges.append(np.interp(np.arange(height) + 0.5, pixels[order, 1], pixels[order, 0]))
    columns = np.arange(width) + 0.5
    for row in range(height):
        mask[row] = (columns >= edges[0][row]) & (columns < edges[1][row])
    return mask


def view_of(project, left_m=-1.9, right_m=1.7):
    ends = project([(left_m, 5.0), (left_m, 9.0), (right_m, 5.0), (right_m, 9.0)])
    lines = [np.polyfit(ends[i : i + 2, 1], ends[i : i + 2, 0], 1) for i in (0, 2)]
    y = (lines[0][1] - lines[1][1]) / (lines[1][0] - lines[0][0])
    bottom = tuple(float(np.polyval(line, SIZE[1])) for line in lines)
    return LaneView((float(np.polyval(lines[0], y)), float(y)), bottom, SIZE, (0.0, 0.0, 0.0, 0.0), 1, 1)


@pytest.mark.parametrize("yaw_deg", [-4.0, 0.0, 3.0])
@pytest.mark.parametrize(("pitch_deg", "height_m"), [(18.0, 2.7), (35.0, 1.6), (8.0, 2.2)])
def test_lane_plane_is_the_drawn_camera(pitch_deg, height_m, yaw_deg):
    project = camera(pitch_deg=pitch_deg, height_m=height_m, yaw_deg=yaw_deg)
    plane = plane_from_lane(view_of(project), lane_width_m=3.6, focal_px=1290.0, size_wh_px=SIZE)
    ground = np.array([(-1.5, 6.0), (0.0, 8.0), (2.0, 12.0), (0.3, 25.0)])
    assert np.abs(plane.to_ground_xy_m(project(ground)) - ground).max() < 1e-8
    assert np.abs(plane.to_pixel_xy(ground) - project(ground)).max() < 0.01


def test_lane_lines_are_parallel_and_along_y_on_the_ground():
    project = camera()
    plane = plane_from_lane(view_of(project), lane_width_m=3.6, focal_px=1290.0, size_wh_px=SIZE)
    left = plane.to_ground_xy_m(project([(-1.9, 5.0), (-1.9, 20.0)]))
    assert abs(left[0, 0] - left[1, 0]) < 1e-9


def test_lane_width_scales_all_lengths():
    view = view_of(camera())
    narrow, wide = (plane_from_lane(view, lane_width_m=width, focal_px=1290.0, size_wh_px=SIZE) for width in (3.0, 3.6))
    pixels = [(200, 500), (700, 300)]
    assert np.allclose(wide.to_ground_xy_m(pixels), 1.2 * narrow.to_ground_xy_m(pixels))


def test_fitted_lane_view_gives_the_drawn_camera_back():
    project = camera()
    masks = [lane_mask(project, -1.9 + shift, 1.7 + shift) for shift in (-0.2, -0.1, 0.0, 0.1, 0.2)]
    view = fit_lane_view(masks)
    expected = view_of(project)
    assert view.used == view.seen == 5
    assert np.allclose(view.vanishing_point_xy_px, expected.vanishing_point_xy_px, atol=1.0)
    assert np.allclose(view.bottom_x_px, expected.bottom_x_px, atol=1.0)
    plane = plane_from_lane(view, lane_width_m=3.6, focal_px=1290.0, size_wh_px=SIZE)
    ground = np.array([(-1.5, 6.0), (1.5, 10.0)])
    assert np.abs(plane.to_ground_xy_m(project(ground)) - ground).max() < 0.03


def test_bends_wrong_masks_and_border_rows_do_not_move_the_view():
    project = camera()
    good = [lane_mask(project, -1.9, 1.7)] * 4
    bends = [lane_mask(project, -1.9, 1.7, bend=0.01), lane_mask(project, -1.9, 1.7, bend=-0.01)]
    empty, full = np.zeros(SIZE[::-1], bool), np.ones(SIZE[::-1], bool)
    bulge = good[0].copy()
    bulge[300:330, :700] = True
    view = fit_lane_view([*good, *bends, empty, full, bulge])
    expected = view_of(project)
    assert view.used == 5
    assert view.seen == 9
    assert np.allclose(view.vanishing_point_xy_px, expected.vanishing_point_xy_px, atol=1.5)
    # The lane is wider than the image at the bottom here: its edges there are extrapolated.
    wide = fit_lane_view([lane_mask(project, -2.6, 2.4)])
    assert wide.bottom_x_px[0] < 0 < SIZE[0] < wide.bottom_x_px[1]
    assert np.allclose(wide.vanishing_point_xy_px, expected.vanishing_point_xy_px, atol=1.5)


def test_mirrored_masks_give_the_mirrored_view():
    mask = lane_mask(camera(), -1.9, 1.7)
    view, mirrored = fit_lane_view([mask]), fit_lane_view([mask[:, ::-1]])
    assert mirrored.vanishing_point_xy_px[0] == pytest.approx(SIZE[0] - view.vanishing_point_xy_px[0], abs=1e-6)
    assert mirrored.bottom_x_px == pytest.approx([SIZE[0] - x for x in view.bottom_x_px[::-1]], abs=1e-6)


def test_lane_masks_without_a_straight_lane_are_refused():
    with pytest.raises(CalibrationError, match="none of 1 shows a straight lane"):
        fit_lane_view([np.zeros((64, 64), bool)])
    with pytest.raises(CalibrationError, match="all of size"):
        fit_lane_view([np.zeros((64, 64), bool), np.zeros((64, 65), bool)])
    with pytest.raises(CalibrationError, match="size of the images"):
        plane_from_lane(view_of(camera()), lane_width_m=3.6, focal_px=1290.0, size_wh_px=(640, 480))


QUAD_M = np.array([(-1.8, 9.0), (1.8, 9.0), (1.8, 5.0), (-1.8, 5.0)])


@pytest.mark.parametrize("change", ["as seen", "mirrored", "transposed", "scaled"])
def test_plane_from_four_exact_points_is_exact(change):
    project = camera()

    def seen(xy_m):
        pixels = project(xy_m)
        if change == "mirrored":
            return np.column_stack([SIZE[0] - pixels[:, 0], pixels[:, 1]])
        return pixels[:, ::-1] if change == "transposed" else pixels * (4.0 if change == "scaled" else 1.0)

    plane = plane_from_points(seen(QUAD_M), QUAD_M, size_wh_px=SIZE)
    others = np.array([(0.0, 7.0), (1.0, 14.0), (-2.0, 6.0)])
    assert np.abs(plane.to_ground_xy_m(seen(others)) - others).max() < 1e-6
    assert np.abs(plane.to_pixel_xy(others) - seen(others)).max() < 0.01


def test_more_points_average_their_errors():
    grid = np.array([(x, y) for x in np.linspace(-1.8, 1.8, 5) for y in np.linspace(5.0, 10.0, 6)])
    noise = np.random.default_rng(0).normal(0.0, 0.3, grid.shape)
    plane = plane_from_points(camera()(grid) + noise, grid, size_wh_px=SIZE)
    assert np.abs(plane.to_ground_xy_m(camera()(grid)) - grid).max() < 0.02


def test_points_that_fix_no_plane_are_refused():
    pixels = camera()(QUAD_M)
    with pytest.raises(CalibrationError, match="four or more"):
        plane_from_points(pixels[:3], QUAD_M[:3], size_wh_px=SIZE)
    line = np.column_stack([np.zeros(4), [5.0, 6.0, 7.0, 8.0]])
    with pytest.raises(CalibrationError, match="one line"):
        plane_from_points(camera()(line), line, size_wh_px=SIZE)
    three = np.array([(-1.8, 9.0), (0.0, 9.0), (1.8, 9.0), (0.0, 5.0)])
    with pytest.raises(CalibrationError, match="three of the four"):
        plane_from_points(camera()(three), three, size_wh_px=SIZE)
    with pytest.raises(CalibrationError, match="same order"):
        plane_from_points(pixels[[1, 0, 2, 3]], QUAD_M, size_wh_px=SIZE)


def test_georeferenced_plane_keeps_millimetres_beside_large_northings():
    angle = np.deg2rad(30.0)
    cos, sin = 0.002 * np.cos(angle), 0.002 * np.sin(angle)
    affine = np.array([[cos, sin, 392_000.123], [sin, -cos, 5_820_000.456]])
    plane, origin = plane_from_affine(affine, size_wh_px=(3000, 2000))
    assert all(value == round(value) for value in origin)
    pixel = np.array([(0.0, 0.0), (1234.5, 678.25)])
    expected = pixel @ affine[:, :2].T + affine[:, 2]
    assert np.abs(plane.to_ground_xy_m(pixel) + origin - expected).max() < 1e-8
    assert np.allclose(plane.gsd_mm(pixel), 2.0)
    assert plane.trusted(pixel).all()
