"""Measured lines against true ones, with errors that are known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from crackmap.calibration.errors import InputError
from crackmap.calibration.plane import GroundPlane
from crackmap.pipeline.evaluate_measure import as_drawn_by_hand, evaluate_measure, rendered_frames
from crackmap.pipeline.geometry_errors import GeometryErrors, TrueLine, geometry_errors, report, table
from crackmap.pipeline.synthetic import SyntheticSettings
from crackmap.stages.measure.measure import measure_dense
from crackmap.stages.records import Crack
from crackmap.stages.render.stroke import draw_coverage

PLANE = GroundPlane.from_gsd(gsd_mm=2.0, size_wh_px=(400, 300))
SMALL = SyntheticSettings(frames=2, size_wh_px=(480, 360), gsd_mm=3.0, cracks_per_10m=40, kinds=("arc", "fractal"))


def drawn(line_px: list[tuple[float, float]], width_px: float) -> tuple[TrueLine, np.ndarray]:
    xy, width = np.array(line_px), np.full(len(line_px), width_px)
    return TrueLine("T", PLANE.to_ground_xy_m(xy), 2.0 * width), draw_coverage(xy, width, PLANE.size_wh_px)


def measured(mask: np.ndarray) -> tuple[Crack, ...]:
    return measure_dense(mask, ground=PLANE)


def test_a_crack_measured_as_it_is_has_no_error():
    true, mask = drawn([(50, 60), (350, 200)], 5.0)
    errors = geometry_errors([true], measured(mask))
    (row,) = errors.cracks
    assert row.true_width_px == pytest.approx(5.0, abs=0.01)
    assert row.width_px == pytest.approx(0.0, abs=0.1)
    assert row.width_mm == pytest.approx(2.0 * row.width_px, rel=1e-6)
    assert abs(row.length_m) < 0.003
    assert row.direction_deg == pytest.approx(0.0, abs=0.1)
    assert row.place_mm < 0.3
    assert (errors.missed_m, errors.false_m) == pytest.approx((0.0, 0.0), abs=0.01)


def test_a_mask_two_pixels_too_fat_is_two_pixels_in_the_table():
    true, _ = drawn([(50, 60), (350, 200)], 5.0)
    _, mask = drawn([(50, 60), (350, 200)], 7.0)
    (row,) = geometry_errors([true], measured(mask)).cracks
    assert row.width_px == pytest.approx(2.0, abs=0.1)
    assert row.vertex_px == pytest.approx(2.0, abs=0.15)


def test_missed_and_false_length_are_told_apart():
    true, mask = drawn([(50, 60), (350, 60)], 4.0)
    elsewhere, _ = drawn([(50, 250), (150, 250)], 4.0)
    _, invented = drawn([(100, 150), (180, 150)], 4.0)
    errors = geometry_errors([true, elsewhere], measured(np.maximum(mask, invented)))
    assert errors.missed_m == pytest.approx(0.2, abs=0.01)
    assert errors.false_m == pytest.approx(0.16, abs=0.02)
    assert [row.name for row in errors.cracks] == ["T"]


def test_a_crack_in_two_pieces_counts_in_the_totals_and_not_as_one():
    true, mask = drawn([(20, 60), (380, 60)], 4.0)
    mask[:, 180:240] = 0
    errors = geometry_errors([true], measured(mask))
    assert errors.cracks == []
    assert errors.missed_m == pytest.approx(0.11, abs=0.02)


def test_nothing_measured_is_all_missed_and_nothing_true_is_all_false():
    true, mask = drawn([(50, 60), (350, 60)], 4.0)
    assert geometry_errors([true], ()).missed_m == pytest.approx(0.6)
    assert geometry_errors([], measured(mask)).false_m == pytest.approx(0.6, rel=0.02)


def test_images_add_up():
    true, mask = drawn([(50, 60), (350, 60)], 4.0)
    both = GeometryErrors()
    both += geometry_errors([true], measured(mask))
    both += geometry_errors([true], ())
    assert both.true_m == pytest.approx(1.2)
    assert len(both.cracks) == 1
    assert "1.20 m" in table(both)
    assert report(both)["by_width"]["3-5 px"]["cracks"] == 1


def test_mask_of_a_person_is_as_much_wider_as_said():
    _, covered = drawn([(50.0, 100.5), (350.0, 100.5)], 5.0)
    assert as_drawn_by_hand(covered, 0.0)[:, 200].sum() == 5
    assert as_drawn_by_hand(covered, 2.0)[:, 200].sum() == 7


def test_rendered_frames_show_what_their_truth_says():
    for frame in rendered_frames(SMALL):
        area_px = frame.covered.sum()
        true_px = sum(
            np.sum(np.hypot(*np.diff(line.xy_m, axis=0).T) * (line.width_mm[1:] + line.width_mm[:-1]) / 2) / 9e-3
            for line in frame.truth
        )
        assert area_px == pytest.approx(true_px, rel=0.02)


def test_measurement_is_evaluated_on_rendered_frames():
    errors = evaluate_measure(SMALL, mask_kind="fat")
    assert len(errors.cracks) >= 3
    assert abs(errors.measured_m / errors.true_m - 1) < 0.05


def test_unknown_mask_kind_is_refused_by_name():
    with pytest.raises(InputError, match="mask_kind"):
        evaluate_measure(SMALL, mask_kind="thin")
