"""Trainings of a few steps on drawn images: what they leave behind, and that they can be had again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from crackmap.calibration.errors import InputError, WeightsError
from crackmap.stages.detect.detector import Detector
from crackmap.stages.detect.retinanet import RetinaNetConfig
from crackmap.stages.presets import DEFAULTS, PRESETS, preset_called
from crackmap.stages.segment.cracknet import CrackNetConfig
from crackmap.stages.segment.crackseg import CrackSegConfig
from crackmap.stages.segment.nets import build_segment_net
from crackmap.stages.segment.peers import ARCHITECTURES, PeerConfig
from crackmap.stages.segment.segmenter import Segmenter
from crackmap.stages.training import loop
from crackmap.stages.training.loop import TrainingConfig, moving_average
from crackmap.stages.training.run import TrainingRun, from_json, to_json, train
from crackmap.stages.training.segment import LOSSES, SegmentModule, segmentation_loss
from crackmap.stages.training.start import UNKNOWN, origin
from crackmap.stages.weights import Weights, load_into, read_weights

NET = CrackSegConfig(
    encoder="mobilenet_v2", reduce_channels=16, branch_channels=8, multiscale_channels=16, low_channels=8,
    high_channels=16, decoder_channels=16, decoder_convolutions=1, refine_channels=16,
    classes=("crack", "sealed crack"),
)  # fmt: skip
TRAINING = TrainingConfig(steps=4, batch=2, side_px=64, workers=0, seed=3)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A set of four images with one dark line each, in train and val."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for number in range(4):
        mask = np.zeros((96, 128), np.uint8)
        cv2.line(mask, (8, 10 + 9 * number), (120, 70), 255, 3)
        image = rng.integers(90, 140, (96, 128, 3)).astype(np.uint8)
        image[mask > 0] //= 2
        cv2.imwrite(str(folder / "images" / f"{number}.png"), image)
        cv2.imwrite(str(folder / "masks" / f"{number}.png"), mask)
    rows = "".join(f"{number},{'val' if number == 3 else 'train'}\n" for number in range(4))
    (folder / "split.csv").write_text("image,split\n" + rows)
    return f"pairs:{folder}"


def run_of(pairs: str, **changes: object) -> TrainingRun:
    return replace(TrainingRun(NET, TRAINING, {pairs: 0.7, "rendered": 0.3}), **changes)


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return dict(read_weights(path).tensors)


def assert_equal(one: Path, other: Path) -> None:
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


def test_a_training_leaves_weights_that_segment_and_say_what_they_learnt_from(pairs: str, tmp_path: Path) -> None:
    weights = read_weights(train(run_of(pairs), data=None, out=tmp_path / "run"))
    assert (weights.stage, weights.net) == ("segment", "crackseg")
    assert weights.trained_on == tuple(sorted((pairs, "rendered")))
    assert Segmenter.load(weights, "cpu").classes == ("crack", "sealed crack")


def test_its_record_trains_the_same_weights_again(pairs: str, tmp_path: Path) -> None:
    first = train(run_of(pairs), data=None, out=tmp_path / "one")
    second = train(from_json(tmp_path / "one" / "training.json"), data=None, out=tmp_path / "two")
    assert_equal(first, second)


def test_an_interrupted_training_goes_on_as_if_nothing_had_been(
    pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "STEPS_PER_EPOCH", 2)
    whole = train(run_of(pairs), data=None, out=tmp_path / "whole")
    calls, losses = iter(range(9)), SegmentModule.losses

    def failing(module: SegmentModule, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if next(calls) == 3:
            raise RuntimeError("power cut")
        return losses(module, batch)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        patch.setattr(SegmentModule, "losses", failing)
        train(run_of(pairs), data=None, out=tmp_path / "cut")
    assert_equal(whole, train(run_of(pairs), data=None, out=tmp_path / "cut", resume=True))


def test_the_best_held_back_weights_are_kept(pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "STEPS_PER_EPOCH", 2)
    training = replace(TRAINING, validation_crops=2, schedule="plateau", patience=5)
    path = train(run_of(pairs, training=training), data=None, out=tmp_path / "run")
    best = torch.load(tmp_path / "run" / "best.ckpt", weights_only=False)["state_dict"]
    for key, value in tensors(path).items():
        kept = best[f"net.{key}"]
        assert torch.equal(kept.half().float() if kept.is_floating_point() else kept, value), key


def test_a_detector_is_trained_on_boxes(pairs: str, tmp_path: Path) -> None:
    run = run_of(pairs, net=RetinaNetConfig(channels=16), training=replace(TRAINING, validation_crops=2, side_px=128))
    weights = read_weights(train(run, data=None, out=tmp_path / "run"), stage="detect")
    assert Detector.load(weights, "cpu").config == run.net


def test_a_net_with_more_classes_starts_from_one_with_fewer(pairs: str, tmp_path: Path) -> None:
    one = train(run_of(pairs, net=replace(NET, classes=("crack",))), data=None, out=tmp_path / "one")
    two = train(run_of(pairs, start=one, training=replace(TRAINING, steps=1)), data=None, out=tmp_path / "two")
    assert read_weights(two).config["classes"] == ["crack", "sealed crack"]
    with pytest.raises(InputError, match="weights of another net"):
        train(run_of(pairs, start=one, net=CrackNetConfig("mobilenet_v2")), data=None, out=tmp_path / "three")


def test_folders_in_use_and_records_of_another_training_are_refused(pairs: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a checkpoint"):
        train(run_of(pairs), data=None, out=tmp_path / "run", resume=True)
    train(run_of(pairs), data=None, out=tmp_path / "run")
    with pytest.raises(InputError, match="a training lies there already"):
        train(run_of(pairs), data=None, out=tmp_path / "run")
    with pytest.raises(InputError, match="another training"):
        train(run_of(pairs, training=replace(TRAINING, seed=9)), data=None, out=tmp_path / "run", resume=True)


def test_records_name_files_by_their_content(pairs: str, tmp_path: Path) -> None:
    start = tmp_path / "start.safetensors"
    start.write_bytes(b"weights")
    record = tmp_path / "training.json"
    record.write_text(to_json(run_of(pairs, start=start)))
    assert from_json(record).start == start
    start.write_bytes(b"others")
    with pytest.raises(InputError, match="another file now"):
        from_json(record)
    record.write_text("{}")
    with pytest.raises(InputError, match="not the record of a training"):
        from_json(record)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_perfect_prediction_costs_nothing_and_unknown_pixels_do_not_count(loss: str) -> None:
    target = torch.zeros(1, 1, 8, 8)
    target[..., 3] = 1
    logits = (target * 2 - 1) * 40
    weight = torch.ones_like(target)
    assert segmentation_loss(logits, target, weight, loss=loss).item() == pytest.approx(0, abs=1e-4)
    logits[..., 6], weight[..., 6] = 40, 0
    assert segmentation_loss(logits, target, weight, loss=loss).item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(
    "config", [CrackNetConfig("mobilenet_v2"), *(PeerConfig(architecture) for architecture in ARCHITECTURES)]
)
def test_every_net_gives_a_logit_for_each_pixel_and_class(config: CrackNetConfig | PeerConfig) -> None:
    net = build_segment_net(replace(config, classes=("crack", "sealed crack"))).eval()
    with torch.inference_mode():
        assert net(torch.zeros(1, 3, 64, 96)).shape == (1, 2, 64, 96)


@pytest.mark.parametrize(
    "change", [{"fuse_block3": False}, {"low_level": ()}, {"low_level": ("block1",)}, {"branches": ((3, 6), (3, 12))}]
)
def test_the_ablations_of_crackseg_are_settings_of_the_same_net(change: dict[str, object]) -> None:
    net = build_segment_net(replace(NET, **change)).eval()
    with torch.inference_mode():
        assert net(torch.zeros(1, 3, 64, 64)).shape == (1, 2, 64, 64)


def test_presets_are_found_by_name_and_stage() -> None:
    assert all(preset_called(name).name == name for name in PRESETS)
    assert {preset_called(name, stage=stage).stage for stage, name in DEFAULTS.items()} == set(DEFAULTS)
    with pytest.raises(InputError, match="models list"):
        preset_called("yolo")
    with pytest.raises(InputError, match="preset of the detect stage"):
        preset_called("cracknet", stage="detect")


def test_weights_of_another_shape_are_refused(pairs: str, tmp_path: Path) -> None:
    weights = read_weights(train(run_of(pairs), data=None, out=tmp_path / "run"))
    with pytest.raises(WeightsError, match="do not fit"):
        load_into(build_segment_net(replace(NET, decoder_channels=32)), weights)


def test_trainings_that_cannot_be_meant_are_refused() -> None:
    for change in ({"steps": 0}, {"side_px": 100}, {"optimiser": "lion"}, {"schedule": "plateau"}, {"patience": 2}):
        with pytest.raises(InputError, match=next(iter(change)) + "|validation_crops"):
            replace(TRAINING, **change)


def test_the_moving_average_forgets_its_start_within_a_short_training() -> None:
    average = moving_average(0.998)
    kept = torch.tensor(1.0)
    for step in range(1, 300):
        kept = average(kept, torch.tensor(0.0), step)
    assert kept < 1e-3


def test_the_moving_average_of_a_long_training_has_its_decay() -> None:
    assert float(moving_average(0.9)(torch.tensor(1.0), torch.tensor(0.0), 10_000)) == pytest.approx(0.9)


def test_a_false_pixel_costs_more_than_a_missed_one_under_tversky_and_as_much_under_dice() -> None:
    def overlap(name: str, found: list[float], true: list[float]) -> float:
        logits = (torch.tensor(found) * 2 - 1).view(1, 1, 1, -1) * 20
        target = torch.tensor(true).view(1, 1, 1, -1)
        both = segmentation_loss(logits, target, torch.ones_like(target), loss=f"entropy+{name}")
        return float(both - segmentation_loss(logits, target, torch.ones_like(target), loss="entropy"))

    right, more = [1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]
    false, missed = (more, right), (right, more)
    assert overlap("dice", *false) == pytest.approx(overlap("dice", *missed), abs=1e-6)
    assert overlap("tversky", *false) > overlap("tversky", *missed)
    assert overlap("tversky", right, right) == pytest.approx(0, abs=1e-6)


def test_weights_that_do_not_say_what_they_learnt_from_pass_that_on() -> None:
    known = read_weights_of(("dnit",))
    assert origin(known) == {"dnit"} and origin(read_weights_of(())) == {UNKNOWN}


def read_weights_of(trained_on: tuple[str, ...]) -> Weights:
    return Weights("segment", "crackseg", {}, {}, "0" * 64, "w.safetensors", {}, trained_on)
