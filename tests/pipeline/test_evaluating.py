"""Scores of stand-in nets on tiny sets whose answers are known."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from crackmap.calibration.errors import InputError
from crackmap.calibration.plane import GroundPlane
from crackmap.pipeline.evaluating.detect import detection_report, detection_table, evaluate_detect
from crackmap.pipeline.evaluating.false_cracks import (
    FalseLength,
    crack_free_windows,
    false_on_drawn_roads,
    length_inside_m,
    road_area_m2,
    score_false_lengths,
)
from crackmap.pipeline.evaluating.pictures import write_png
from crackmap.pipeline.evaluating.segment import (
    evaluate_segment,
    scored_others,
    segmentation_report,
    segmentation_table,
)
from crackmap.pipeline.evaluating.widths import drawn_crack, evaluate_widths, width_report, width_table
from crackmap.pipeline.frame import Stages, StageSettings
from crackmap.stages.datasets.sources import Labels
from crackmap.stages.measure.measure import measure_dense
from crackmap.stages.records import Region
from crackmap.stages.render.crack_free import PLAIN, crack_free_kinds, crack_free_surface
from crackmap.stages.segment.segmenter import Segmenter


class DarkIsCrack(torch.nn.Module):
    """Black is crack, white is not."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 6 - images.mean(dim=1, keepdim=True) * (12 / 255)


class Nothing(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.full_like(images[:, :1], -9.0)


class OneBox:
    """A detector that always finds the left half, surely, and everything, hardly."""

    def detect(self, source: object, settings: object) -> tuple[Region, ...]:
        return Region((0, 0, 64, 96), 0.8), Region((0, 0, 128, 96), 0.1)


def stand_in(net: torch.nn.Module) -> Segmenter:
    return Segmenter(net, torch.device("cpu"))  # type: ignore[arg-type]


def horizontal(rows: slice, shape: tuple[int, int] = (96, 128)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[rows, :] = True
    return mask


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    """Two images: the crack where the picture is black, and one row of pixels with half of it 3 px off."""
    for name, drawn, labelled in (("a", slice(40, 43), slice(40, 43)), ("b", slice(40, 41), slice(43, 44))):
        image = np.where(horizontal(drawn), 0, 255).astype(np.uint8)
        for folder, array in (("images", image), ("masks", horizontal(labelled).astype(np.uint8) * 255)):
            (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "set" / folder / f"{name}.png"), array)
    return f"pairs:{tmp_path / 'set'}"


def test_segment_scores_a_right_and_a_shifted_line(pairs: str, tmp_path: Path) -> None:
    result = evaluate_segment(
        stand_in(DarkIsCrack()), data_set=pairs, split="all", data=None, pictures=tmp_path / "out"
    )
    crack = result.classes["crack"].scores
    assert (crack.at_half[0].precision, crack.at_half[5].f1) == (0.75, 1.0)
    rows = segmentation_report(result)["classes"]["crack"]["images"]
    assert [(row["image"], row["f1_0px"], row["f1_5px"]) for row in rows] == [("a", 1.0, 1.0), ("b", 0.0, 1.0)]
    assert "within 5 px" in segmentation_table(result)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"a.png", "b.png", "precision_recall_crack.png", "reliability_crack.png"}


def boxes_only(folder: Path) -> str:
    folder.mkdir()
    cv2.imwrite(str(folder / "a.jpg"), np.full((96, 128, 3), 150, np.uint8))
    edges = "<xmin>10</xmin><ymin>10</ymin><xmax>60</xmax><ymax>80</ymax>"
    thing = f"<object><name>D00</name><bndbox>{edges}</bndbox></object>"
    (folder / "a.xml").write_text(f"<annotation><filename>a.jpg</filename>{thing}</annotation>")
    return f"voc:{folder}"


def test_a_set_without_a_crack_pixel_is_not_scored(tmp_path: Path) -> None:
    (tmp_path / "free").mkdir()
    (tmp_path / "free" / "ann.json").write_text(
        '{"images": [{"id": 1, "file_name": "a.png"}], "annotations": [], "categories": []}'
    )
    cv2.imwrite(str(tmp_path / "free" / "a.png"), np.full((96, 128, 3), 150, np.uint8))
    boxes = (boxes_only(tmp_path / "boxes"), "boxes only.*set with masks")
    free = (f"coco:{tmp_path / 'free' / 'ann.json'}", "no crack pixel in this split.*false-cracks")
    for name, says in (boxes, free):
        with pytest.raises(InputError, match=says):
            evaluate_segment(stand_in(Nothing()), data_set=name, split="all", data=None)
        with pytest.raises(InputError, match=says):
            evaluate_detect(OneBox(), data_set=name, split="all", data=None, score=0.5, margin_px=0)  # type: ignore[arg-type]


def test_a_picture_never_leaves_its_folder(tmp_path: Path) -> None:
    black = np.zeros((4, 4, 3), np.uint8)
    for name in ("/abs/a", "../a", "b/../../a", "..\\a", "C:\\a"):
        with pytest.raises(InputError, match="leads out of"):
            write_png(tmp_path / "out", name, black)
    assert list(tmp_path.iterdir()) == []
    write_png(tmp_path / "out", "north/a..b", black)
    assert (tmp_path / "out" / "north" / "a..b.png").is_file()


def test_two_evaluations_write_the_same_bytes(pairs: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        evaluate_segment(stand_in(DarkIsCrack()), data_set=pairs, split="all", data=None, pictures=tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_detect_scores_at_its_score_and_over_all(pairs: str, tmp_path: Path) -> None:
    result = evaluate_detect(
        OneBox(), data_set=pairs, split="all", data=None, score=0.5, margin_px=0, pictures=tmp_path / "out"  # type: ignore[arg-type]
    )  # fmt: skip
    assert result.at_score.reduction == 0.5
    assert result.at_score.length_share == pytest.approx(0.5, abs=0.02)
    assert result.enough is not None and result.enough.score == pytest.approx(0.1)
    assert result.enough.area_share == 1.0
    assert detection_report(result)["least_area_for_length_wanted"]["area_share"] == 1.0
    assert "98%" in detection_table(result)
    assert (tmp_path / "out" / "length_over_area.png").exists() and (tmp_path / "out" / "a.png").exists()


def test_what_is_no_crack_is_scored_away_from_cracks_and_patches_at_their_edge_too() -> None:
    crack, patch = horizontal(slice(50, 51)), horizontal(slice(20, 80))
    labels = Labels(np.zeros((96, 128, 3), np.uint8), crack, np.ones(crack.shape, np.float32), {"patch": patch})
    parts = scored_others(labels)
    assert np.flatnonzero(parts["patch"][:, 0]).tolist() == [*range(20, 48), *range(53, 80)]
    assert np.flatnonzero(parts["patch edge"][:, 0]).tolist() == [*range(16, 24), *range(76, 84)]


def test_crack_free_windows_keep_away_from_labels_and_from_roads_that_nobody_labelled() -> None:
    crack, weight = np.zeros((384, 512), bool), np.ones((384, 512), np.float32)
    crack[60, 60] = True
    weight[:, 400:] = 0.6
    labels = Labels(np.zeros((384, 512, 3), np.uint8), crack, weight)
    free = crack_free_windows(labels, lane_only=False)
    assert not free[:128, :128].any() and free[:128, 128:].all() and free[128:].all()
    assert not crack_free_windows(labels, lane_only=True)[:, 400:].any()


def test_area_and_length_are_those_on_the_ground() -> None:
    ground = GroundPlane.from_gsd(gsd_mm=4.0, size_wh_px=(200, 100))
    free = np.zeros((100, 200), bool)
    free[:, :100] = True
    assert road_area_m2(ground, free) == pytest.approx(100 * 100 * 16e-6)
    line = np.zeros((100, 200))
    line[50:53, 20:180] = 1.0
    (crack,) = measure_dense(line, ground=ground)
    assert length_inside_m(crack, free) == pytest.approx(80 * 0.004, abs=0.012)


def test_false_length_is_per_hundred_metres_of_lane() -> None:
    # 3.6 m wide: 36 m2 are 10 m of lane.
    (scores,) = score_false_lengths([FalseLength("k", "a", 36.0, 0.2, 0.0), FalseLength("k", "b", 36.0, 0.0, 1.0)])
    assert (scores.lane_m, scores.crack_per_100m, scores.joint_per_100m) == (
        pytest.approx(20.0), pytest.approx(1.0), pytest.approx(5.0),
    )  # fmt: skip
    assert scores.interval == (pytest.approx(0.0), pytest.approx(2.0))


def test_a_net_that_sees_nothing_finds_no_false_crack_on_any_surface() -> None:
    stages = Stages(None, stand_in(Nothing()), StageSettings(segment_everything=True), {})
    found = false_on_drawn_roads(stages, count=1, side_px=64, gsd_mm=2.0, seed=1)
    assert [item.kind for item in found] == list(crack_free_kinds())
    assert sum(item.crack_m + item.joint_m for item in found) == 0
    with pytest.raises(InputError, match="kind"):
        false_on_drawn_roads(stages, count=1, side_px=64, gsd_mm=2.0, seed=1, kinds=["moon"])


def test_a_drawn_surface_depends_on_its_arguments_alone() -> None:
    one = crack_free_surface(PLAIN, side_px=48, seed=3, number=2)
    assert np.array_equal(one, crack_free_surface(PLAIN, side_px=48, seed=3, number=2))
    assert not np.array_equal(one, crack_free_surface(PLAIN, side_px=48, seed=3, number=1))


def test_a_net_that_sees_nothing_finds_no_width() -> None:
    scores = evaluate_widths(stand_in(Nothing()), count=1, seed=0)
    assert scores and all(item.found_share == 0 for item in scores)
    (row, *_) = json.loads(json.dumps(width_report(scores), allow_nan=False))
    assert row["found_share"] == 0 and row["true_px"] is None and row["area_bias_interval_px"] is None
    assert "no piece found" in width_table(scores) and "nan" not in width_table(scores)
    _, crack, covered = drawn_crack(np.random.default_rng(0), width_px=6.0)
    assert covered.max() == pytest.approx(1.0) and crack.width_px.max() > 3
