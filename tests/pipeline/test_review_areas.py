"""Cracks as outlines and outlines as pixels, in closed form and there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crackmap.pipeline.review.areas import (
    CLASSES,
    JOINT,
    MASK_VALUES,
    Area,
    areas_of_cracks,
    areas_of_mask,
    mask_image,
    mask_of_areas,
    one_ring,
)
from crackmap.stages.datasets.labels import SEALED
from crackmap.stages.datasets.meanings import CRACK
from crackmap.stages.records import Crack

SIZE = (120, 80)


def crack(xy: object, width_px: float, **flags: bool) -> Crack:
    line = np.array(xy, float)
    return Crack(line, np.full(len(line), width_px), 1.0, 0.0, 1.0, False, **flags)


def corners(area: Area) -> list[tuple[float, float]]:
    return sorted({(x, y) for x, y in area.rings[0].tolist()})


def test_a_line_becomes_its_band_counted_from_the_corner_of_the_picture():
    (area,) = areas_of_cracks([crack([(10, 20.5), (50, 20.5), (110, 20.5)], 5.0)], SIZE)
    assert corners(area) == [(10.0, 18.0), (10.0, 23.0), (110.0, 18.0), (110.0, 23.0)]
    mask = mask_of_areas([area], CRACK, SIZE)
    rows, columns = np.nonzero(mask)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (10, 109, 18, 22)
    assert mask.sum() == 100 * 5


@pytest.mark.parametrize("turn", [lambda xy: xy, lambda xy: xy[:, ::-1], lambda xy: xy[::-1]])
def test_a_slanted_band_covers_its_length_times_its_width(turn):
    line = turn(np.array([(15.0, 10.0), (45.0, 50.0)]))
    (area,) = areas_of_cracks([crack(line, 6.0)], (80, 80))
    assert mask_of_areas([area], CRACK, (80, 80)).sum() == pytest.approx(50 * 6, rel=0.03)


def test_a_hairline_is_drawn_three_pixels_wide_and_hangs_together():
    (area,) = areas_of_cracks([crack([(5, 5), (115, 61)], 0.4)], SIZE)
    mask = mask_of_areas([area], CRACK, SIZE)
    assert len(areas_of_mask(mask, CRACK)) == 1
    assert mask.sum() == pytest.approx(np.hypot(110, 56) * 3, rel=0.03)


def test_an_outline_ends_at_the_edge_of_the_picture():
    (area,) = areas_of_cracks([crack([(0, 1), (120, 1)], 6.0)], SIZE)
    assert corners(area) == [(0.0, 0.0), (0.0, 4.0), (120.0, 0.0), (120.0, 4.0)]


def test_a_loop_keeps_the_road_inside_it():
    turns = np.linspace(0, 2 * np.pi, 60)
    ring = np.column_stack([60 + 30 * np.cos(turns), 40 + 30 * np.sin(turns)])
    (area,) = areas_of_cracks([crack(ring, 4.0)], SIZE)
    assert len(area.rings) == 2
    for shown in (area, Area(CRACK, (one_ring(area),))):
        mask = mask_of_areas([shown], CRACK, SIZE)
        assert not mask[40, 60] and mask[40, 30] and mask[40, 89]
        assert mask.sum() == pytest.approx(np.pi * (32**2 - 28**2), rel=0.03)


def test_a_sharp_bend_leaves_no_hole():
    (area,) = areas_of_cracks([crack([(20, 20), (60, 60), (62, 20), (64, 60)], 9.0)], SIZE)
    assert len(areas_of_mask(mask_of_areas([area], CRACK, SIZE), CRACK)) == 1


def test_what_a_line_is_stays_with_it():
    lines = [crack([(9, 9), (99, 9)], 4.0), crack([(9, 29), (99, 29)], 9.0, sealed=True),
             crack([(9, 49), (99, 49)], 4.0, joint=True)]  # fmt: skip
    areas = areas_of_cracks(lines, SIZE)
    assert tuple(area.meaning for area in areas) == (CRACK, SEALED, JOINT) == CLASSES
    image = mask_image(areas, SIZE)
    assert [image[row, 50] for row in (9, 29, 49, 69)] == [255, 170, 85, 0]


def test_where_classes_overlap_a_crack_counts():
    square = np.array([(0, 0), (9, 0), (9, 9), (0, 9)], float)
    image = mask_image([Area(JOINT, (square,)), Area(CRACK, (square + 5,)), Area(SEALED, (square + 3,))], SIZE)
    assert (image[1, 1], image[4, 4], image[6, 6]) == tuple(MASK_VALUES[name] for name in (JOINT, SEALED, CRACK))


masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


@given(masks)
@settings(max_examples=60)
def test_the_outlines_of_a_mask_hold_its_pixels_and_no_other(mask):
    areas = areas_of_mask(mask, CRACK)
    size = (mask.shape[1], mask.shape[0])
    np.testing.assert_array_equal(mask_of_areas(areas, CRACK, size), mask)
    slit = [Area(CRACK, (one_ring(area),)) for area in areas]
    np.testing.assert_array_equal(mask_of_areas(slit, CRACK, size), mask)


points = st.lists(st.tuples(st.floats(-5, 45), st.floats(-5, 35)), min_size=2, max_size=6, unique=True)


@given(points, st.floats(0.3, 12))
@settings(max_examples=40)
def test_outlines_of_any_line_give_the_same_pixels_there_and_back(xy, width):
    areas = areas_of_cracks([crack(xy, width)], (40, 30))
    mask = mask_of_areas(areas, CRACK, (40, 30))
    np.testing.assert_array_equal(mask_of_areas(areas_of_mask(mask, CRACK), CRACK, (40, 30)), mask)
    for area in areas:
        assert np.isfinite(one_ring(area)).all()
        assert (one_ring(area) >= 0).all() and (one_ring(area) <= (40, 30)).all()
