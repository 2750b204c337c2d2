"""A training that is stopped and taken up again ends with the weights of one that was not."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from crackmap.calibration.errors import InputError, StorageError
from crackmap.stages.segment.cracknet import CrackNetConfig
from crackmap.stages.training import loop
from crackmap.stages.training.loop import TrainingConfig
from crackmap.stages.training.run import TrainingRun, from_json, train
from crackmap.stages.training.segment import SegmentModule
from crackmap.stages.weights import read_weights

Losses = dict[str, torch.Tensor]

NET = CrackNetConfig("mobilenet_v2", (16, 8, 8, 8, 8))
"""It has dropout."""
TRAINING = TrainingConfig(steps=5, batch=2, side_px=64, workers=0, seed=3, learning_rate=1e-2, ema_decay=0.5)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two images with one dark line each, one of them held back."""
    folder, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for number in range(2):
        mask = np.zeros((96, 96), np.uint8)
        cv2.line(mask, (8, 10 + 40 * number), (90, 70), 255, 3)
        image = rng.integers(90, 140, (96, 96, 3)).astype(np.uint8)
        image[mask > 0] //= 2
        cv2.imwrite(str(folder / "images" / f"{number}.png"), image)
        cv2.imwrite(str(folder / "masks" / f"{number}.png"), mask)
    (folder / "split.csv").write_text("image,split\n0,train\n1,val\n")
    return f"pairs:{folder}"


@pytest.fixture(autouse=True)
def short_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "STEPS_PER_EPOCH", 2)


def run_of(pairs: str, **training: object) -> TrainingRun:
    return TrainingRun(NET, replace(TRAINING, **training), {pairs: 1.0})  # type: ignore[arg-type]


def stop_after(
    steps: int, monkeypatch: pytest.MonkeyPatch, go: Callable[[], Path], error: type[BaseException] = RuntimeError
) -> None:
    """Runs a training of which the step after `steps` fails."""
    losses = SegmentModule.losses

    def failing(module: SegmentModule, batch: Losses) -> Losses:
        if module.training and module.trainer.global_step == steps:
            raise error
        return losses(module, batch)

    with monkeypatch.context() as patch, pytest.raises(error):
        patch.setattr(SegmentModule, "losses", failing)
        go()


def validate_as(by_step: dict[int, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the loss on held-back crops after each number of steps what is given."""
    losses = SegmentModule.losses

    def given(module: SegmentModule, batch: Losses) -> Losses:
        if module.training:
            return losses(module, batch)
        return {"loss": torch.tensor(by_step[module.trainer.global_step])}

    monkeypatch.setattr(SegmentModule, "losses", given)


def assert_equal(one: Path, other: Path) -> None:
    first, second = read_weights(one).tensors, read_weights(other).tensors
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


def checkpoint(path: Path) -> dict[str, Any]:
    return dict(torch.load(path, weights_only=False))


def rate_in(path: Path) -> float:
    return float(checkpoint(path)["optimizer_states"][0]["param_groups"][0]["lr"])


@pytest.mark.parametrize(("decay", "step"), [(0.0, 3), (0.5, 4)])
def test_with_dropout_it_ends_as_the_unbroken_one(
    pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decay: float, step: int
) -> None:
    run = run_of(pairs, ema_decay=decay)
    whole = train(run, data=None, out=tmp_path / "whole")
    stop_after(step, monkeypatch, lambda: train(run, data=None, out=tmp_path / "cut"))
    assert_equal(whole, train(run, data=None, out=tmp_path / "cut", resume=True))


def test_the_rate_is_turned_down_after_two_validations_that_are_no_better_also_when_stopped_between_them(
    pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validate_as({2: 3.0, 4: 4.0, 6: 5.0, 7: 2.0}, monkeypatch)
    run = run_of(pairs, schedule="plateau", steps=7, validation_crops=2)
    whole = train(run, data=None, out=tmp_path / "whole")
    stop_after(5, monkeypatch, lambda: train(run, data=None, out=tmp_path / "cut"))
    assert rate_in(tmp_path / "cut" / "last.ckpt") == 1e-2
    assert_equal(whole, train(run, data=None, out=tmp_path / "cut", resume=True))
    for name in ("whole", "cut"):
        assert rate_in(tmp_path / name / "last.ckpt") == pytest.approx(1e-2 / 3)


def test_which_weights_were_best_is_known_after_an_interruption_and_the_last_step_is_validated(
    pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validate_as({2: 3.0, 4: 1.0, 6: 2.0, 7: 0.5}, monkeypatch)
    six, seven = (run_of(pairs, steps=steps, validation_crops=2) for steps in (6, 7))
    stop_after(5, monkeypatch, lambda: train(six, data=None, out=tmp_path / "six"))
    train(six, data=None, out=tmp_path / "six", resume=True)
    assert checkpoint(tmp_path / "six" / "best.ckpt")["global_step"] == 4
    train(seven, data=None, out=tmp_path / "seven")
    assert checkpoint(tmp_path / "seven" / "best.ckpt")["global_step"] == 7


def test_a_finished_training_keeps_its_weights_when_resumed(pairs: str, tmp_path: Path) -> None:
    run = run_of(pairs, steps=3)
    kept = train(run, data=None, out=tmp_path).rename(tmp_path / "kept.safetensors")
    assert_equal(kept, train(run, data=None, out=tmp_path, resume=True))
    assert [folder.name for folder in tmp_path.glob("logs*")] == ["logs1"]


def test_a_training_that_stopped_early_keeps_its_best_weights_when_resumed(
    pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validate_as({2: 1.0, 4: 2.0, 6: 3.0}, monkeypatch)
    run = run_of(pairs, steps=100, validation_crops=2, patience=2)
    stop_after(5, monkeypatch, lambda: train(run, data=None, out=tmp_path))
    kept = train(run, data=None, out=tmp_path, resume=True).rename(tmp_path / "kept.safetensors")
    assert checkpoint(tmp_path / "last.ckpt")["global_step"] == 6
    assert_equal(kept, train(run, data=None, out=tmp_path, resume=True))
    assert checkpoint(tmp_path / "last.ckpt")["global_step"] == 6


def test_a_loss_that_is_not_finite_stops_the_training_and_names_the_rate(
    pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SegmentModule, "losses", lambda module, batch: {"loss": torch.tensor(float("nan"))})
    with pytest.raises(InputError, match=r"after 0 steps.* --rate below 0\.01"):
        train(run_of(pairs), data=None, out=tmp_path)


def test_ctrl_c_stays_ctrl_c(pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What a shell starts in the background ignores it from the beginning.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        stop_after(3, monkeypatch, lambda: train(run_of(pairs), data=None, out=tmp_path), KeyboardInterrupt)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / "last.ckpt").exists()


def test_files_to_start_from_may_move_but_not_change(
    pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = tmp_path / "start.safetensors"
    train(run_of(pairs, steps=1), data=None, out=tmp_path / "first").rename(start)
    out, run = tmp_path / "run", replace(run_of(pairs, steps=3), start=start)
    stop_after(2, monkeypatch, lambda: train(run, data=None, out=out))
    beside = start.rename(out / "start.safetensors")
    found = from_json(out / "training.json")
    assert found == replace(run, start=beside)
    train(found, data=None, out=out, resume=True)
    beside.write_bytes(b"others")
    with pytest.raises(InputError, match=r"^.*training.json: .*start.safetensors is missing or another file now; put"):
        from_json(out / "training.json")


def test_a_folder_that_cannot_be_written_is_named(pairs: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="choose another --out"):
        train(run_of(pairs), data=None, out=tmp_path / "file" / "run")


def test_a_damaged_checkpoint_is_named(pairs: str, tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"PK cut")
    with pytest.raises(InputError, match=r"last\.ckpt: cannot be read"):
        train(run_of(pairs), data=None, out=tmp_path, resume=True)
