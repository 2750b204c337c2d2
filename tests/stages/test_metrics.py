import numpy as np
import pytest

from crackmap.calibration.errors import InputError
from crackmap.stages.metrics import count_detection, count_pixels, score_detection, score_segmentation


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


def test_detection_scores_follow_their_definitions() -> None:
    truth = line_mask(10)
    boxes = np.array([[0.0, 5.0, 50.0, 15.0], [0.0, 30.0, 100.0, 40.0]])
    passed = np.zeros(truth.shape, bool)
    passed[:20] = True
    scores = score_detection([count_detection(boxes, passed, truth)])
    assert scores.precision == 0.5
    assert scores.segmentation_error == pytest.approx(0.5)
    assert scores.reduction == pytest.approx(1 - (500 + 1000) / 4000)
    assert scores.length_share == 1.0
    assert scores.area_share == 0.5
