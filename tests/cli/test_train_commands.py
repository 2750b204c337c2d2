"""`crackmap train` and `crackmap models`: which options are taken, and what an interruption says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from crackmap.calibration.errors import InputError
from crackmap.cli.main import cli
from crackmap.pipeline import training
from crackmap.stages.presets import preset_called
from crackmap.stages.training.run import TrainingRun, to_json


def invoke(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[TrainingRun]:
    """What would have been trained."""
    runs: list[TrainingRun] = []

    def take(run: TrainingRun, **_: object) -> Path:
        runs.append(run)
        return Path("weights")

    monkeypatch.setattr(training, "train_and_draw", take)
    return runs


def test_without_a_preset_the_default_one_of_the_stage_is_trained(trained: list[TrainingRun], tmp_path: Path) -> None:
    for stage, preset in (("segment", "crackseg-light"), ("detect", "retinanet-light"), ("screen", "screen-light")):
        assert invoke("train", stage, "-o", tmp_path).exit_code == 0
        assert (trained[-1].net, trained[-1].training) == (preset_called(preset).net, preset_called(preset).training)


def test_a_record_is_trained_as_it_is_or_not_at_all(trained: list[TrainingRun], tmp_path: Path) -> None:
    preset = preset_called("cracknet-light")
    run = TrainingRun(preset.net, replace(preset.training, seed=7), {"rendered": 1.0})
    record = tmp_path / "training.json"
    record.write_text(to_json(run))
    assert invoke("train", "segment", "--config", record, "-o", tmp_path).exit_code == 0
    assert trained == [run]
    for option, value in (("--preset", "crackseg"), ("--steps", 3), ("--net", "classes=[]"), ("--mix", "dnit=1")):
        result = invoke("train", "segment", "--config", record, option, value, "-o", tmp_path)
        assert result.exit_code == 2 and "leave the other options out" in result.output


@pytest.mark.parametrize("parts", [[], {"net": []}, {"net": {"encoder": 3}, "net_name": "cracknet"}])
def test_other_files_are_no_records(tmp_path: Path, parts: object) -> None:
    record = tmp_path / "training.json"
    record.write_text(json.dumps(parts))
    result = invoke("train", "segment", "--config", record, "-o", tmp_path)
    assert isinstance(result.exception, InputError) and str(record) in str(result.exception)


@pytest.mark.parametrize(
    ("stage", "options", "message"),
    [
        ("screen", ("--side", 64), "side_px: has no effect on a screen stage.*--net side_px"),
        ("screen", ("--set", "scales=[1,2]"), "scales: has no effect"),
        ("screen", ("--set", "unsure_edge_px=0"), "unsure_edge_px: has no effect"),
        ("detect", ("--set", "unsure_edge_px=2"), "unsure_edge_px: has no effect on a detect stage"),
        ("segment", ("--set", "learning_rate=abc"), "learning_rate: expected a finite number"),
        ("segment", ("--set", "nix=1"), "nix.*models show crackseg-light"),
        ("segment", ("--net", "branch_channels=0"), "branch_channels: expected 1 to"),
        ("segment", ("--mix", "rendered=inf"), "mixture rendered: expected a share"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    trained: list[TrainingRun], tmp_path: Path, stage: str, options: tuple[object, ...], message: str
) -> None:
    result = invoke("train", stage, *options, "-o", tmp_path)
    assert isinstance(result.exception, InputError) and not trained
    with pytest.raises(InputError, match=message):
        raise result.exception


def test_out_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = invoke("train", "segment", "-o", tmp_path / "file")
    assert result.exit_code == 2 and "is a file" in result.output


@pytest.mark.parametrize(("begun", "advice"), [(True, "the same command with --resume"), (False, "start it again")])
def test_ctrl_c_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool, advice: str) -> None:
    def interrupted(*_: object, **__: object) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train_and_draw", interrupted)
    if begun:
        (tmp_path / "last.ckpt").write_bytes(b"")
    result = invoke("train", "segment", "--mix", "rendered=1", "-o", tmp_path)
    assert result.exit_code == 130 and advice in result.output


def test_a_preset_with_a_frozen_encoder_is_shown_with_what_it_needs() -> None:
    line = next(line for line in invoke("models", "show", "screen-mobilenetv2").output.splitlines() if "train:" in line)
    assert "--encoder-weights" in line
    assert "--encoder-weights" not in invoke("models", "show", "screen-light").output
