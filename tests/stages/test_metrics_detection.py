import numpy as np
import pytest

from crackmap.stages.metrics_detection import (
    area_for_length,
    cell_score_map,
    count_detection,
    detection_intervals,
    score_curve,
    score_map,
)
from crackmap.stages.records import Region
from crackmap.stages.regions import cells_of_regions, pixels_of_cells


def line_mask(row: int) -> np.ndarray:
    mask = np.zeros((64, 96), bool)
    mask[row, 8:88] = True
    return mask


def random_regions(seed: int, count: int = 12) -> list[Region]:
    rng = np.random.default_rng(seed)
    corners, sizes = rng.uniform(-5, 200, (count, 2)), rng.uniform(3, 60, (count, 2))
    scores = rng.uniform(0.05, 0.9, count)
    return [Region((*xy, *(xy + wh)), float(s)) for xy, wh, s in zip(corners, sizes, scores, strict=True)]


def test_scores_follow_their_definitions() -> None:
    regions = [Region((0, 0, 48, 32), 0.9), Region((0, 48, 96, 64), 0.4)]
    images = [count_detection(regions, line_mask(10), scores=[0.3, 0.5], margin_px=0)]
    low, high = score_curve(images, [0.3, 0.5])
    assert (low.precision, high.precision) == (0.5, 1.0)
    assert low.segmentation_error == high.segmentation_error == pytest.approx(0.5)
    assert low.reduction == pytest.approx(1 - (48 * 32 + 96 * 16) / (64 * 96))
    # Cells of 32 px: the first box touches two of the upper row, the second one all of the lower row.
    assert (low.area_share, high.area_share) == (pytest.approx(5 / 6), pytest.approx(2 / 6))
    assert low.length_share == pytest.approx(56 / 80)
    assert low.length_share_boxes == pytest.approx(40 / 80)


def test_without_a_region_all_crack_is_missed_and_nothing_passed_on() -> None:
    (scores,) = score_curve([count_detection([], line_mask(10), scores=[0.5], margin_px=16)], [0.5])
    assert (scores.precision, scores.segmentation_error, scores.reduction) == (1.0, 1.0, 1.0)
    assert (scores.length_share, scores.area_share) == (0.0, 0.0)


@pytest.mark.parametrize("margin_px", [0.0, 7.5, 16.0])
@pytest.mark.parametrize("score", [0.05, 0.3, 0.7])
def test_the_cell_map_holds_the_cells_that_the_segmenter_gets(margin_px: float, score: float) -> None:
    regions, size = random_regions(3), (210, 170)
    kept = [region for region in regions if region.score >= score]
    expected = pixels_of_cells(cells_of_regions(kept, size, margin_px=margin_px), size)
    assert np.array_equal(cell_score_map(regions, size, margin_px=margin_px) >= np.float32(score), expected)


def test_the_heat_map_shows_the_best_score_over_each_pixel() -> None:
    scores = score_map([Region((0, 0, 10, 10), 0.8), Region((5, 5, 20, 20), 0.3)], (30, 30))
    assert (scores[7, 7], scores[15, 15], scores[25, 25]) == (np.float32(0.8), np.float32(0.3), 0)


def test_length_and_area_fall_with_the_score() -> None:
    levels = np.linspace(0.05, 0.95, 40).tolist()
    true = np.zeros((170, 210), bool)
    true[np.arange(150), np.arange(150)] = True
    curve = score_curve([count_detection(random_regions(4), true, scores=levels, margin_px=8)], levels)
    for name in ("length_share", "area_share", "length_share_boxes"):
        values = [getattr(point, name) for point in curve]
        assert values == sorted(values, reverse=True)


def test_the_point_for_a_wanted_length_is_the_cheapest_that_has_it() -> None:
    regions = [Region((0, 0, 48, 32), 0.9), Region((48, 0, 96, 32), 0.6), Region((0, 40, 96, 64), 0.3)]
    levels = [0.2, 0.5, 0.8]
    curve = score_curve([count_detection(regions, line_mask(10), scores=levels, margin_px=0)], levels)
    point = area_for_length(curve, 0.98)
    assert point is not None and point.score == 0.5 and point.area_share == pytest.approx(0.5)
    assert area_for_length(curve[2:], 0.98) is None


def test_boxes_where_the_label_says_nothing_are_not_false() -> None:
    known = np.ones((64, 96), bool)
    known[32:] = False
    regions = [Region((0, 0, 48, 20), 0.9), Region((0, 40, 40, 60), 0.9)]
    (scores,) = score_curve([count_detection(regions, line_mask(10), scores=[0.5], margin_px=0, known=known)], [0.5])
    assert scores.precision == 1.0


def test_intervals_of_equal_images_are_points() -> None:
    counts = count_detection([Region((0, 0, 48, 32), 0.9)], line_mask(10), scores=[0.1, 0.5], margin_px=0)
    assert detection_intervals([counts] * 4, 1)["segmentation_error"] == (0.5, 0.5)
