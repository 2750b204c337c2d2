"""Lenses: as OpenCV has them, there and back, and no answer where there is none."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crackmap.calibration.errors import CalibrationError, InputError
from crackmap.calibration.lens import Lens

SIZE = (1280, 720)
FOCAL, CENTRE = (1150.0, 1160.0), (643.2, 360.7)
LENSES = {
    "barrel": Lens("pinhole", FOCAL, CENTRE, (-0.25, 0.09, 0.0007, -0.0004, -0.01), SIZE),
    "pincushion": Lens("pinhole", FOCAL, CENTRE, (0.12, -0.02, 0.0, 0.001), SIZE),
    "rational": Lens("pinhole", FOCAL, CENTRE, (0.4, -0.1, 0.001, 0.002, 0.1, 0.5, -0.05, 0.06), SIZE),
    "none": Lens("pinhole", FOCAL, CENTRE, (), SIZE),
    "fisheye": Lens("fisheye", (560.0, 561.0), CENTRE, (0.02, -0.01, 0.003, -0.0005), SIZE),
}


def pixels(count: int = 500) -> np.ndarray:
    return np.random.default_rng(0).uniform((0, 0), SIZE, (count, 2))


@pytest.mark.parametrize("name", LENSES)
def test_a_pixel_comes_back_through_the_lens(name: str) -> None:
    lens = LENSES[name]
    ideal = lens.undistorted_xy(pixels())
    assert np.abs(lens.distorted_xy(ideal) - pixels()).max() < 1e-6


@pytest.mark.parametrize("name", LENSES)
def test_the_models_are_those_of_opencv(name: str) -> None:
    lens = LENSES[name]
    rays = (lens.undistorted_xy(pixels()) - lens.centre_xy_px) / lens.focal_xy_px
    points = np.column_stack([rays, np.ones(len(rays))]).reshape(-1, 1, 3)
    # OpenCV counts from the centre of the first pixel.
    centre = np.array(CENTRE) - 0.5
    matrix = np.array([[lens.focal_xy_px[0], 0, centre[0]], [0, lens.focal_xy_px[1], centre[1]], [0, 0, 1.0]])
    project = cv2.fisheye.projectPoints if lens.model == "fisheye" else cv2.projectPoints
    least = 4 if len(lens.distortion) <= 4 else len(lens.distortion)
    coefficients = np.array([*lens.distortion, *(0.0,) * 4][:least])
    seen, _ = project(points, np.zeros(3), np.zeros(3), matrix, coefficients)
    assert np.abs(seen.reshape(-1, 2) + 0.5 - pixels()).max() < 1e-6


@pytest.mark.parametrize("name", LENSES)
def test_the_derivative_is_that_of_the_way_there(name: str) -> None:
    lens, step = LENSES[name], 1e-4
    _, slope = lens.undistortion(pixels(50))
    for axis, shift in enumerate(([step, 0.0], [0.0, step])):
        numeric = (lens.undistorted_xy(pixels(50) + shift) - lens.undistorted_xy(pixels(50) - shift)) / (2 * step)
        assert np.abs(numeric - slope[:, :, axis]).max() < 1e-6


def test_beyond_the_fold_of_the_distortion_there_is_no_answer() -> None:
    # r (1 - 0.3 r^2) is greatest at r = 1 / sqrt(0.9), 0.703 focal lengths from the centre.
    lens = Lens("pinhole", (640.0, 640.0), (640.0, 360.0), (-0.3,), SIZE)
    outside, inside = [[640.0 + 640 * 0.71, 360.0]], [[640.0 + 640 * 0.70, 360.0]]
    assert np.isnan(lens.undistorted_xy(outside)).all()
    assert np.isfinite(lens.undistorted_xy(inside)).all()
    # A ray beyond the fold would land on a pixel that sees another one.
    assert np.isnan(lens.distorted_xy([[640.0 + 640 * 1.2, 360.0]])).all()


def test_rays_across_the_axis_have_no_place_in_a_pinhole_picture() -> None:
    lens = Lens("fisheye", (300.0, 300.0), (640.0, 360.0), (), SIZE)
    # 300 px a radian: 86 degrees are 450 px from the centre.
    assert np.isnan(lens.undistorted_xy([[640.0 + 452.0, 360.0]])).all()
    assert np.isfinite(lens.undistorted_xy([[640.0 + 440.0, 360.0]])).all()


def test_a_lens_that_folds_the_whole_picture_is_refused() -> None:
    with pytest.raises(CalibrationError, match="folds the picture over itself"):
        Lens("pinhole", (100.0, 100.0), (640.0, 360.0), (-0.3,), SIZE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"focal_xy_px": (0.0, 100.0)}, "focal_xy_px: expected pixels above 0"),
        ({"distortion": (0.0,) * 9}, "distortion: expected at most 8 numbers"),
        ({"model": "thin"}, "lens model: expected pinhole or fisheye"),
        ({"distortion": (float("nan"),)}, "lens: expected finite numbers"),
    ],
)
def test_impossible_lenses_are_refused(change: dict[str, object], message: str) -> None:
    values = {"model": "pinhole", "focal_xy_px": FOCAL, "centre_xy_px": CENTRE, "distortion": (), "size_wh_px": SIZE}
    with pytest.raises(InputError, match=message):
        Lens(**{**values, **change})  # type: ignore[arg-type]


@settings(max_examples=60)
@given(
    k=st.tuples(st.floats(-0.35, 0.35), st.floats(-0.1, 0.1), st.floats(-2e-3, 2e-3), st.floats(-2e-3, 2e-3)),
    model=st.sampled_from(["pinhole", "fisheye"]),
)
def test_every_answer_is_one_that_comes_back(k: tuple[float, float, float, float], model: str) -> None:
    try:
        lens = Lens(model, (900.0, 900.0), CENTRE, k, SIZE)  # type: ignore[arg-type]
    except CalibrationError:
        # Folded over itself: refused, as it should be.
        return
    ideal = lens.undistorted_xy(pixels(100))
    known = np.isfinite(ideal).all(axis=1)
    assert np.abs(lens.distorted_xy(ideal[known]) - pixels(100)[known]).max(initial=0.0) < 0.01
