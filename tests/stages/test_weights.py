"""Weight files that others made or that a diverged training left: each is refused with its reason, none crashes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from crackmap.calibration.errors import InputError, WeightsError
from crackmap.stages.detect.detector import Detector
from crackmap.stages.detect.retinanet import RetinaNetConfig, build_retinanet
from crackmap.stages.screen.classifier import ScreenConfig, ScreenNet
from crackmap.stages.screen.screener import Screener
from crackmap.stages.segment.cracknet import CrackNet, CrackNetConfig
from crackmap.stages.segment.segmenter import Segmenter
from crackmap.stages.training.start import load_encoder, start_from
from crackmap.stages.weights import FORMAT, read_weights, save_weights

CONFIG = CrackNetConfig("mobilenet_v2", (8, 8, 8, 8, 8))
SMALL = torch.nn.Sequential(torch.nn.Linear(2, 1))
HEADER = {"format": FORMAT, "stage": "segment", "net": "cracknet", "config": "{}"}


def saved(folder: Path, module: torch.nn.Module = SMALL, **header: Any) -> Path:
    """A weight file with HEADER, changed; a value None leaves the key out."""
    path = folder / "w.safetensors"
    metadata = {key: value for key, value in {**HEADER, **header}.items() if value is not None}
    path.write_bytes(save({key: value.half() for key, value in module.state_dict().items()}, metadata=metadata))
    return path


@pytest.mark.parametrize(
    "header",
    [
        {"stage": None}, {"net": None}, {"config": None}, {"config": "{"}, {"config": "[1]"}, {"trained_on": "3"},
        {"trained_on": "[3]"}, {"trained_on": '"abc"'}, {"calibration": "[1]"}, {"calibration": '{"crack": [1]}'},
        {"calibration": '{"crack": ["a", 0]}'}, {"calibration": '{"crack": [NaN, 0]}'},
        {"calibration": '{"crack": [0, 0]}'}, {"calibration": '{"crack": [-1, 0]}'},
        {"calibration": '{"crack": [1, Infinity]}'}, {"calibration": "[" * 100_000},
    ],
    ids=lambda header: str(header)[:40],
)  # fmt: skip
def test_a_header_that_says_nothing_sensible_is_refused(tmp_path: Path, header: dict[str, Any]) -> None:
    with pytest.raises(WeightsError, match=r"^weights w.safetensors: .*; "):
        read_weights(saved(tmp_path, **header))


@pytest.mark.parametrize(
    ("stage", "net", "config"),
    [
        ("segment", "crackseg", {"branch_channels": "x"}), ("segment", "crackseg", {"branch_channels": -3}),
        ("segment", "crackseg", {"branch_channels": 100_000}), ("segment", "crackseg", {"encoder": "nope"}),
        ("segment", "crackseg", {"branches": [[2, 1]]}), ("segment", "crackseg", {"foo": 1}),
        ("segment", "crackseg", {"classes": ["sealed crack"]}), ("segment", "peer", {"encoder": "nope"}),
        ("segment", "cracknet", {"decoder_channels": [8, 8, 8]}), ("segment", "screen", {}),
        ("detect", "retinanet", {"foo": 1}), ("detect", "retinanet", {"levels": "a"}),
        ("detect", "retinanet", {"encoder": "nope"}), ("detect", "cracknet", {}),
        ("screen", "screen", {"foo": 1}), ("screen", "screen", {"side_px": 10**9}),
        ("screen", "screen", {"encoder": None}),
    ],
)  # fmt: skip
def test_a_net_that_cannot_be_is_refused_by_its_stage(
    tmp_path: Path, stage: str, net: str, config: dict[str, Any]
) -> None:
    load_stage = {"segment": Segmenter.load, "detect": Detector.load, "screen": Screener.load}[stage]
    weights = read_weights(saved(tmp_path, stage=stage, net=net, config=json.dumps(config)))
    with pytest.raises(WeightsError, match=r"^weights w.safetensors: .*; give a file that `crackmap train"):
        load_stage(weights, "cpu")


def test_values_that_are_not_finite_are_neither_written_nor_read(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 1))
    with torch.no_grad():
        module[0].bias.fill_(float("nan"))
    with pytest.raises(WeightsError, match=r"1 of 2 tensors .* '0.bias'; train again with a lower --rate"):
        save_weights(tmp_path / "x.safetensors", module, stage="segment", net="cracknet", config=CONFIG)
    assert not (tmp_path / "x.safetensors").exists()
    with pytest.raises(WeightsError, match=r"1 of 2 tensors .* '0.bias'"):
        read_weights(saved(tmp_path, module))


def test_a_calibration_that_turns_probabilities_round_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="scale above 0"):
        save_weights(tmp_path / "x.safetensors", SMALL, stage="segment", net="cracknet", config=CONFIG,
                     calibration={"crack": (-1.0, 0.0)})  # fmt: skip


def test_values_too_large_for_half_precision_are_kept(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 1))
    with torch.no_grad():
        module[0].bias.fill_(1e5)
    path = tmp_path / "x.safetensors"
    save_weights(path, module, stage="segment", net="cracknet", config=CONFIG)
    assert load(path.read_bytes())["0.weight"].dtype == torch.float16
    assert read_weights(path).tensors["0.bias"].item() == 1e5


@pytest.mark.parametrize("content", ["text", "list", "number", "not finite", "safetensors"])
def test_encoder_weights_that_are_none_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "w.pth"
    if content == "text":
        path.write_bytes(b"hello world, not a pickle" * 10)
    elif content == "safetensors":
        path.write_bytes(saved(tmp_path).read_bytes())
    else:
        weight = torch.tensor(float("inf"))
        torch.save({"list": [1, 2], "number": {"weight": 3}, "not finite": {"weight": weight}}[content], path)
    with pytest.raises(InputError, match=r"w\.pth: .*; "):
        load_encoder(torch.nn.Linear(2, 1), path)


def test_weights_of_another_shape_are_no_start(tmp_path: Path) -> None:
    net = CrackNet(CONFIG)
    weights = read_weights(saved(tmp_path, torch.nn.Linear(2, 1)))
    with pytest.raises(InputError, match="give weights of the same net"):
        start_from(net, weights)


def test_the_loaders_give_back_what_training_wrote(tmp_path: Path) -> None:
    narrow = RetinaNetConfig(channels=16)
    for stage, net, module, config, load_stage in (
        ("detect", "retinanet", build_retinanet(narrow), narrow, Detector.load),
        ("screen", "screen", ScreenNet(ScreenConfig()), ScreenConfig(), Screener.load),
        ("segment", "cracknet", CrackNet(CONFIG), CONFIG, Segmenter.load),
    ):
        save_weights(tmp_path / stage, module, stage=stage, net=net, config=config)
        loaded = load_stage(read_weights(tmp_path / stage, stage=stage), "cpu").net.state_dict()
        assert loaded.keys() == module.state_dict().keys()
        for name, value in module.state_dict().items():
            assert torch.allclose(loaded[name].float(), value.float(), rtol=2e-3, atol=1e-4), name
