"""Widths read in the picture: drawn cracks of known width, blurred, noisy, with masks that are too fat."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from crackmap.calibration.errors import InputError
from crackmap.calibration.plane import GroundPlane
from crackmap.stages.measure.measure import measure_dense
from crackmap.stages.measure.settings import MeasureSettings
from crackmap.stages.records import Crack
from crackmap.stages.render.stroke import draw_coverage
from crackmap.stages.render.surface import procedural_road

FloatArray = NDArray[np.float64]
Picture = tuple[NDArray[np.uint8], NDArray[np.float32]]


@cache
def road(seed: int, size: int) -> NDArray[np.float32]:
    return procedural_road(np.random.default_rng(seed), (size, size))


def photographed(
    covered: NDArray[np.float32], *, depth: float = 0.6, blur_px: float = 0.6, noise: float = 2.0, seed: int = 0
) -> NDArray[np.uint8]:
    """A crack that darkens an asphalt road by `depth`, through a camera."""
    seen = road(seed, covered.shape[0])[:, : covered.shape[1]] * (1 - depth * covered[..., None])
    seen = cv2.GaussianBlur(seen, (0, 0), blur_px)
    grain = np.random.default_rng(seed).standard_normal(covered.shape, dtype=np.float32)
    return np.asarray(np.clip(seen + noise * grain[..., None], 0, 255), np.uint8)


def line_at(angle_deg: float, length_px: float = 320.0, size: int = 400) -> FloatArray:
    along = np.array([np.sin(np.radians(angle_deg)), -np.cos(np.radians(angle_deg))])
    return np.array([size / 2 + 0.37, size / 2 - 0.19]) + np.linspace(-0.5, 0.5, 60)[:, None] * length_px * along


def fattened(covered: NDArray[np.float32], by_px: float) -> NDArray[np.float32]:
    """A binary mask that is `by_px` wider than the crack."""
    outside = (
        (covered < 0.5).astype(np.uint8) if covered.max() >= 0.5 else (covered < covered.max() * 0.5).astype(np.uint8)
    )
    return (cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) <= by_px / 2 + 0.3).astype(np.float32)


def mean_width(crack: Crack) -> float:
    return float(crack.width_px.mean())


def the_one(cracks: Sequence[Crack]) -> Crack:
    assert len(cracks) == 1
    return cracks[0]


@pytest.mark.parametrize("width_px", [2.4, 4.0, 7.0, 15.0])
@pytest.mark.parametrize("angle_deg", [0.0, 22.5, 45.0, 70.0])
def test_width_comes_from_the_picture_however_fat_the_mask(width_px: float, angle_deg: float) -> None:
    covered = draw_coverage(line_at(angle_deg), np.full(60, width_px), (400, 400))
    image = photographed(covered)
    for mask in (covered, fattened(covered, 2.0), fattened(covered, 4.0)):
        crack = the_one(measure_dense(mask, ground=None, image=image))
        assert crack.grey_share > 0.95
        assert mean_width(crack) == pytest.approx(width_px, abs=0.2)
        assert crack.u_width_px is not None
        assert abs(mean_width(crack) - width_px) < 3 * crack.u_width_px


def test_lone_thin_crack_tells_little_of_the_blur_and_its_uncertainty_says_so() -> None:
    for angle_deg in (0.0, 30.0, 45.0, 80.0):
        covered = draw_coverage(line_at(angle_deg), np.full(60, 1.4), (400, 400))
        crack = the_one(measure_dense(fattened(covered, 2.0), ground=None, image=photographed(covered)))
        assert crack.u_width_px is not None and 0.1 < crack.u_width_px < 1.0
        assert abs(mean_width(crack) - 1.4) < 2 * crack.u_width_px


@pytest.mark.parametrize(("low", "high"), [(1, 2), (2, 3), (3, 5), (5, 10), (10, 20)])
def test_mean_of_many_widths_is_unbiased(low: float, high: float) -> None:
    rng = np.random.default_rng(7)
    errors, vertex_errors = [], []
    for seed in range(6):
        covered = np.zeros((600, 600), np.float32)
        true = np.exp(rng.uniform(np.log(low), np.log(high), 4))
        for row, width_px in enumerate(true):
            y = 90 + 140 * row + rng.uniform(-5, 5)
            x = np.linspace(40, 560, 80)
            line = np.column_stack([x, y + 12 * np.sin(x / rng.uniform(30, 90))])
            covered += draw_coverage(line, np.full(80, width_px), (600, 600))
        image = photographed(covered, depth=rng.uniform(0.4, 0.75), seed=seed)
        cracks = measure_dense(fattened(covered, 2.0), ground=None, image=image)
        assert len(cracks) == 4
        for width_px, crack in zip(
            true, sorted(cracks, key=lambda c: float(c.centreline_xy_px[:, 1].mean())), strict=True
        ):
            errors.append(mean_width(crack) - width_px)
            vertex_errors.append(np.abs(crack.width_px - width_px).mean())
    assert abs(np.mean(errors)) < 0.1
    if low >= 2:
        assert np.mean(vertex_errors) < 0.35


def test_blurred_camera_does_not_widen_cracks() -> None:
    covered = np.maximum(
        draw_coverage(line_at(80.0), np.full(60, 2.5), (400, 400)),
        draw_coverage(line_at(80.0) + [0.0, 90.0], np.full(60, 8.0), (400, 400)),
    )
    widths = []
    for blur_px in (0.4, 0.8, 1.3):
        cracks = measure_dense(fattened(covered, 2.0), ground=None, image=photographed(covered, blur_px=blur_px))
        widths.append(sorted(mean_width(crack) for crack in cracks))
    assert np.array(widths) == pytest.approx(np.array([[2.5, 8.0]] * 3), abs=0.25)


def test_axis_lies_on_the_crack_where_the_mask_lies_beside_it() -> None:
    covered = draw_coverage(line_at(90.0), np.full(60, 4.0), (400, 400))
    beside = np.roll(fattened(covered, 2.0), 1, axis=0)
    crack = the_one(measure_dense(beside, ground=None, image=photographed(covered)))
    assert crack.centreline_xy_px[5:-5, 1] == pytest.approx(199.81, abs=0.25)


def test_without_contrast_the_mask_decides_and_says_so() -> None:
    covered = draw_coverage(line_at(30.0), np.full(60, 5.0), (400, 400))
    crack = the_one(measure_dense(covered, ground=None, image=photographed(covered, depth=0.0)))
    assert crack.grey_share < 0.3
    assert mean_width(crack) == pytest.approx(5.0, abs=0.3)
    assert crack.u_width_px is not None and crack.u_width_px > 0.8


def test_bright_line_is_no_valley() -> None:
    covered = draw_coverage(line_at(30.0), np.full(60, 5.0), (400, 400))
    cracks = measure_dense(covered, ground=None, image=photographed(covered, depth=-0.4))
    assert all(crack.grey_share == 0.0 for crack in cracks)


def with_patch(image: NDArray[np.uint8], edge_row: int) -> NDArray[np.uint8]:
    """The picture, a third darker below a row."""
    patched = image.astype(np.float32)
    patched[edge_row:] *= 0.67
    return cv2.GaussianBlur(patched, (0, 0), 0.6).astype(np.uint8)


def test_edge_of_a_patch_that_the_mask_took_for_a_crack_is_dropped() -> None:
    mistaken = draw_coverage(np.array([[40.0, 200.0], [360.0, 200.0]]), np.full(2, 4.0), (400, 400))
    sound_road = photographed(np.zeros((400, 400), np.float32))
    assert measure_dense(mistaken, ground=None, image=with_patch(sound_road, 200)) == ()
    kept = measure_dense(
        mistaken, ground=None, image=with_patch(sound_road, 200), settings=MeasureSettings(max_step_share=1.0)
    )
    assert len(kept) == 1


def test_crack_along_the_edge_of_a_patch_is_kept() -> None:
    covered = draw_coverage(np.array([[40.0, 200.0], [360.0, 200.0]]), np.full(2, 4.0), (400, 400))
    crack = the_one(measure_dense(fattened(covered, 2.0), ground=None, image=with_patch(photographed(covered), 200)))
    assert mean_width(crack) == pytest.approx(4.0, abs=0.6)


def test_saw_cut_is_a_joint_and_a_crack_is_none() -> None:
    """Even and straight: a joint; straight with a tenth of variation in width, or even and jagged: a crack."""
    rng = np.random.default_rng(3)
    x = np.linspace(30, 370, 60)
    straight = np.column_stack([x, 200 + 0.02 * x])
    varying = 5.0 * np.exp(0.12 * np.convolve(rng.standard_normal(63), np.full(4, 0.5), mode="valid"))
    jagged = straight + np.column_stack([np.zeros(60), np.cumsum(rng.normal(0, 1.2, 60))])
    found = []
    for line, width in ((straight, np.full(60, 5.0)), (straight, varying), (jagged, np.full(60, 5.0))):
        covered = draw_coverage(line, width, (400, 400))
        found.append(the_one(measure_dense(fattened(covered, 2.0), ground=None, image=photographed(covered))).joint)
    assert found == [True, False, False]


def test_joint_seen_in_perspective_is_a_joint() -> None:
    covered = draw_coverage(np.array([[60.0, 380.0], [250.0, 20.0]]), np.array([9.0, 4.0]), (400, 400))
    assert the_one(measure_dense(fattened(covered, 2.0), ground=None, image=photographed(covered))).joint


def test_without_the_picture_nothing_is_called_a_joint() -> None:
    assert not the_one(measure_dense(draw_coverage(line_at(90.0), np.full(60, 5.0), (400, 400)), ground=None)).joint


def test_part_left_to_the_mask_is_corrected_by_what_the_picture_showed_of_it() -> None:
    covered = draw_coverage(line_at(90.0, 360.0), np.full(60, 5.0), (400, 400))
    image = photographed(covered)
    image[:, 250:] = photographed(covered, depth=0.0)[:, 250:]
    crack = the_one(measure_dense(fattened(covered, 3.0), ground=None, image=image))
    assert 0.3 < crack.grey_share < 0.9
    assert mean_width(crack) == pytest.approx(5.0, abs=0.4)


def test_saturated_crack_is_flagged_and_less_certain() -> None:
    covered = draw_coverage(line_at(60.0), np.full(60, 6.0), (400, 400))
    black = photographed(covered, depth=1.0)
    black[covered > 0.5] = 0
    crack = the_one(measure_dense(covered, ground=None, image=black))
    sound = the_one(measure_dense(covered, ground=None, image=photographed(covered)))
    assert crack.saturated and not sound.saturated
    assert crack.u_width_px is not None and sound.u_width_px is not None
    assert crack.u_width_px > sound.u_width_px + 0.2


@pytest.mark.parametrize("grey", [0, 255])
def test_line_on_plain_black_or_white_is_flagged_although_the_mask_decides(grey: int) -> None:
    covered = draw_coverage(line_at(60.0), np.full(60, 4.0), (400, 400))
    crack = the_one(measure_dense(covered, ground=None, image=np.full((400, 400, 3), grey, np.uint8)))
    assert crack.saturated and crack.grey_share == 0.0


def test_line_without_contrast_does_not_take_over_the_reading_of_another() -> None:
    covered = draw_coverage(np.array([[60.0, 100.0], [340.0, 100.0]]), np.full(2, 3.0), (400, 400))
    invented = draw_coverage(np.array([[60.0, 190.0], [130.0, 190.0]]), np.full(2, 1.5), (400, 400))
    flat = np.repeat((140 - 80 * covered)[..., None], 3, axis=2)
    image = cv2.GaussianBlur(flat, (0, 0), 0.6).astype(np.uint8)
    cracks = measure_dense(np.maximum(covered, invented), ground=None, image=image)
    shares = {round(float(crack.centreline_xy_px[0, 1]), -1): crack.grey_share for crack in cracks}
    assert shares[100.0] == 1.0 and shares[190.0] == 0.0


def test_long_jagged_line_keeps_its_length_and_finite_widths() -> None:
    x = np.arange(20.0, 1980.0, 12.0)
    line = np.column_stack([x, 60 + 9.0 * (np.arange(len(x)) % 2)])
    covered = draw_coverage(line, np.full(len(line), 3.0), (2000, 130))
    image = cv2.GaussianBlur(np.repeat((150 - 90 * covered)[..., None], 3, axis=2), (0, 0), 0.6).astype(np.uint8)
    ground = GroundPlane.from_gsd(gsd_mm=1.0, size_wh_px=(2000, 130))
    read = the_one(measure_dense(covered, ground=ground, image=image))
    in_mask = the_one(measure_dense(covered, ground=ground))
    assert read.width_mm is not None and np.isfinite(read.width_mm).all()
    assert read.u_width_mm is not None and np.isfinite(read.u_width_mm)
    assert read.length_px == pytest.approx(in_mask.length_px, rel=0.01)


def test_uncertainty_does_not_depend_on_which_end_comes_first() -> None:
    rng = np.random.default_rng(2)
    covered = draw_coverage(np.array([[30.0, 330.0], [370.0, 70.0]]), np.array([3.0, 7.0]), (400, 400))
    image = photographed(covered).astype(np.float64)
    image[:, 200:] += rng.normal(0, 20, (400, 200, 1))
    noisy = np.clip(image, 0, 255).astype(np.uint8)
    ground = GroundPlane.from_gsd(gsd_mm=(1.0, 1.0), size_wh_px=(400, 400))
    one = the_one(measure_dense(fattened(covered, 2.0), ground=ground, image=noisy))
    other = the_one(measure_dense(fattened(covered, 2.0)[::-1], ground=ground, image=np.ascontiguousarray(noisy[::-1])))
    assert one.u_width_mm == pytest.approx(other.u_width_mm, rel=0.1)


def test_hairline_below_a_pixel_is_flagged() -> None:
    covered = draw_coverage(line_at(75.0), np.full(60, 0.6), (400, 400))
    image = photographed(covered, depth=0.8, noise=0.5)
    hairline = the_one(measure_dense(fattened(covered, 2.0), ground=None, image=image))
    assert hairline.below_resolution
    wide = draw_coverage(line_at(75.0), np.full(60, 3.0), (400, 400))
    assert not the_one(measure_dense(fattened(wide, 2.0), ground=None, image=photographed(wide))).below_resolution


def test_neighbouring_crack_in_the_flank_does_not_disturb() -> None:
    covered = np.maximum(
        draw_coverage(line_at(90.0), np.full(60, 3.0), (400, 400)),
        draw_coverage(line_at(90.0) + [0.0, 12.0], np.full(60, 5.0), (400, 400)),
    )
    cracks = measure_dense(fattened(covered, 2.0), ground=None, image=photographed(covered))
    assert [round(mean_width(crack), 1) for crack in cracks] == pytest.approx([3.0, 5.0], abs=0.25)


def test_side_branch_does_not_widen_the_crack_at_the_junction() -> None:
    covered = np.maximum(
        draw_coverage(np.array([[30.0, 200.0], [370.0, 200.0]]), np.full(2, 4.0), (400, 400)),
        draw_coverage(np.array([[200.0, 200.0], [260.0, 370.0]]), np.full(2, 4.0), (400, 400)),
    )
    for crack in measure_dense(fattened(covered, 2.0), ground=None, image=photographed(covered)):
        assert crack.width_px.max() < 5.0
        assert mean_width(crack) == pytest.approx(4.0, abs=0.25)


def test_crack_along_the_border_is_measured_in_what_is_seen() -> None:
    covered = draw_coverage(np.array([[30.0, 6.0], [370.0, 6.0]]), np.full(2, 4.0), (400, 400))
    crack = the_one(measure_dense(fattened(covered, 1.0), ground=None, image=photographed(covered)))
    assert mean_width(crack) == pytest.approx(4.0, abs=0.3)


def test_unequal_pixels_and_scale_uncertainty_reach_the_ground_numbers() -> None:
    covered = draw_coverage(line_at(90.0), np.full(60, 4.0), (400, 400))
    ground = GroundPlane.from_gsd(gsd_mm=(1.0, 3.0), size_wh_px=(400, 400))
    crack = the_one(measure_dense(fattened(covered, 2.0), ground=ground, image=photographed(covered)))
    assert crack.width_mm is not None and crack.width_mm.mean() == pytest.approx(12.0, abs=0.6)
    vague = GroundPlane(ground.ground_from_pixel, ground.size_wh_px, ground.limits, u_scale=0.05)
    less = the_one(measure_dense(fattened(covered, 2.0), ground=vague, image=photographed(covered)))
    assert crack.u_width_mm is not None and less.u_width_mm is not None and less.u_length_m is not None
    assert less.u_width_mm == pytest.approx(np.hypot(crack.u_width_mm, 0.05 * 12.0), rel=0.05)
    assert less.u_length_m > 0.05 * 0.3


def test_gamma_of_a_consumer_camera_is_taken_out() -> None:
    covered = draw_coverage(line_at(50.0), np.full(60, 4.0), (400, 400))
    linear = photographed(covered, depth=0.8, noise=0.5).astype(np.float64)
    coded = np.rint(255 * (linear / 255) ** (1 / 2.2)).astype(np.uint8)
    settings = MeasureSettings(gamma=2.2)
    crack = the_one(measure_dense(fattened(covered, 2.0), ground=None, image=coded, settings=settings))
    assert mean_width(crack) == pytest.approx(4.0, abs=0.15)


def test_mask_and_image_of_different_size_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="differ in size"):
        measure_dense(np.zeros((20, 30)), ground=None, image=np.zeros((20, 31, 3), np.uint8))


@pytest.mark.parametrize("shape", [(1, 200), (200, 1), (3, 3)])
def test_tiny_images_are_measured_without_error(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 120, np.uint8)
    for crack in measure_dense(np.ones(shape), ground=None, image=image):
        assert np.isfinite(crack.width_px).all()
