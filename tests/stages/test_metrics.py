import numpy as np
import pytest

from crackmap.calibration.errors import InputError
from crackmap.stages.metrics import Counts, count_image, count_pixels, score_segmentation, segmentation_intervals
from crackmap.stages.metrics_bootstrap import interval, resampled_sums
from crackmap.stages.metrics_reliability import reliability


def line_mask(row: int, *, shape: tuple[int, int] = (40, 100)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[row, 10:90] = True
    return mask


@pytest.mark.parametrize(
    ("shift", "tolerance", "f1"), [(0, 0, 1.0), (1, 0, 0.0), (2, 2, 1.0), (3, 2, 0.0), (5, 5, 1.0)]
)
def test_a_shifted_line_is_right_within_the_tolerance_only(shift: int, tolerance: int, f1: float) -> None:
    counts = count_pixels(line_mask(10 + shift), line_mask(10), tolerance_px=tolerance)
    assert counts.f1 == pytest.approx(f1)


def test_half_a_line_found_gives_half_the_recall_and_full_precision() -> None:
    half = line_mask(10)
    half[:, 50:] = False
    counts = count_pixels(half, line_mask(10))
    assert (counts.precision, counts.recall, counts.iou) == (1.0, 0.5, 0.5)


def test_masks_of_different_size_are_refused() -> None:
    with pytest.raises(InputError, match="shape"):
        count_pixels(np.zeros((2, 3), bool), np.zeros((3, 2), bool))


def test_empty_truth_and_empty_prediction_are_perfect() -> None:
    assert count_pixels(np.zeros((5, 5), bool), np.zeros((5, 5), bool), tolerance_px=2).f1 == 1.0


def test_scores_of_a_perfect_and_a_silent_image() -> None:
    truth = line_mask(10)
    scores = score_segmentation([(truth * 0.9, truth), (np.zeros(truth.shape), truth)])
    assert scores.at_half[0].precision == 1.0
    assert scores.at_half[0].recall == pytest.approx(0.5)
    assert scores.ois[2] == pytest.approx(0.5)
    assert scores.centrelines.iou == pytest.approx(0.5)
    assert scores.paper_style["overall_accuracy"] == pytest.approx(1 - 80 / 8000)


def test_best_threshold_is_found() -> None:
    truth = line_mask(10)
    probability = np.where(truth, 0.4, 0.2)
    best, threshold = score_segmentation([(probability, truth)]).ods[0]
    assert best == 1.0
    assert 0.2 < threshold <= 0.4


def test_everything_called_crack_has_full_recall_and_the_share_of_crack_as_precision() -> None:
    truth = line_mask(10)
    counts = count_image(np.ones(truth.shape), truth).at(0)
    assert (counts.recall, counts.precision) == (1.0, pytest.approx(80 / 4000))


def test_pixels_without_a_label_count_neither_for_nor_against() -> None:
    truth = line_mask(10) | line_mask(30)
    known = np.ones(truth.shape, bool)
    known[20:] = False
    counts = count_image(np.where(np.arange(40)[:, None] >= 10, 1.0, 0.0) * truth, truth, known)
    assert counts.at(0) == Counts(80, 80, 80, 80)
    assert counts.levels.sum() == known.sum()


def test_recall_falls_and_the_curve_follows_the_threshold() -> None:
    rng = np.random.default_rng(0)
    truth = line_mask(10)
    scores = score_segmentation([(rng.random(truth.shape), truth)])
    for curve in scores.curve.values():
        recall = [found for _, _, found in curve]
        assert recall == sorted(recall, reverse=True)
        assert [p for p, _, _ in curve] == sorted(p for p, _, _ in curve)


def test_the_interval_of_equal_images_is_a_point_and_that_of_halves_spans_them() -> None:
    truth = line_mask(10)
    perfect, silent = count_image(truth * 1.0, truth), count_image(truth * 0.0, truth)
    assert segmentation_intervals([perfect] * 5)["f1_2px"] == (1.0, 1.0)
    low, high = segmentation_intervals([perfect, silent] * 10)["recall_0px"]
    # 20 images, recall = mean of a fair coin: 0.5 -+ 1.96 * sqrt(0.25 / 20).
    assert low == pytest.approx(0.5 - 0.219, abs=0.06)
    assert high == pytest.approx(0.5 + 0.219, abs=0.06)


def test_the_bootstrap_interval_of_a_mean_is_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(3.0, 1.0, 400)
    sums = resampled_sums(np.column_stack([values, np.ones(400)]))
    low, high = interval(sums[:, 0] / sums[:, 1])
    half = 1.96 * values.std() / 20
    assert (low, high) == (pytest.approx(values.mean() - half, abs=0.02), pytest.approx(values.mean() + half, abs=0.02))
    assert np.array_equal(sums, resampled_sums(np.column_stack([values, np.ones(400)])))


def test_a_calibrated_field_is_reliable_and_an_overconfident_one_is_not() -> None:
    rng = np.random.default_rng(2)
    stated = rng.integers(0, 256, (500, 500)) / 255
    crack = rng.random(stated.shape) < stated
    assert reliability(count_image(stated, crack).levels).error < 0.01
    overconfident = reliability(count_image(stated, rng.random(stated.shape) < stated / 2).levels)
    assert overconfident.error == pytest.approx(0.25, abs=0.01)


def test_the_error_of_one_level_is_its_distance_from_the_truth() -> None:
    levels = np.zeros((256, 2), np.int64)
    levels[204] = (70, 30)
    assert reliability(levels).error == pytest.approx(0.8 - 0.3)
    assert reliability(levels).spoken_error == pytest.approx(0.8 - 0.3)


def test_a_doubled_centreline_is_no_better_than_a_single_one() -> None:
    true, predicted = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    true[20] = True
    predicted[18] = predicted[22] = True
    assert count_pixels(predicted, true, tolerance_px=4).iou == 1.0
    predicted[2] = True
    assert count_pixels(predicted, true, tolerance_px=4).iou == pytest.approx(2 / 3)
