"""Settings of nets and trainings: what cannot be meant is refused when they are made, with the field's name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from crackmap.calibration.errors import InputError
from crackmap.stages.checks import check_types
from crackmap.stages.detect.retinanet import RetinaNetConfig
from crackmap.stages.presets import PRESETS, preset_called
from crackmap.stages.screen.classifier import ScreenConfig
from crackmap.stages.segment.cracknet import CrackNetConfig
from crackmap.stages.segment.crackseg import CrackSegConfig
from crackmap.stages.segment.peers import PeerConfig
from crackmap.stages.training.loop import TrainingConfig
from crackmap.stages.training.run import TrainingRun, build_net, train

TRAINING = TrainingConfig(steps=1, batch=1, side_px=64)


@dataclass(frozen=True)
class Sample:
    """A field of each kind."""

    number: int = 1
    real: float = 1.0
    flag: bool = False
    name: str = ""
    pair: tuple[int, float] = (1, 2.0)
    names: tuple[str, ...] = ()
    perhaps: int | None = None


@pytest.mark.parametrize(
    "change", [{"real": 2}, {"names": ("a", "b")}, {"pair": (3, 4)}, {"perhaps": 3}, {"perhaps": None}, {"flag": True}]
)
def test_values_of_the_annotated_type_pass(change: dict[str, Any]) -> None:
    sample = replace(Sample(), **change)
    check_types(sample)
    # It was looked at to its end: what is wrong behind or before the change is still found.
    for wrong in ({"number": "1"}, {"perhaps": 1.5}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            check_types(replace(sample, **wrong))


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("number", 1.0, "a whole number"), ("number", True, "a whole number"), ("real", "1", "a finite number"),
        ("real", float("nan"), "a finite number"), ("real", float("inf"), "a finite number"),
        ("real", False, "a finite number"), ("flag", 1, "true or false"), ("name", 3, "text"),
        ("pair", (1,), "a list of 2"), ("pair", (1.5, 2.0), "a list of 2"), ("names", "ab", "each entry text"),
        ("names", ("a", 1), "each entry text"), ("perhaps", "x", "a whole number or nothing"),
    ],
)  # fmt: skip
def test_others_are_refused_with_field_and_kind(field: str, value: object, expected: str) -> None:
    with pytest.raises(InputError, match=f"^{field}: expected .*{expected}"):
        check_types(replace(Sample(), **{field: value}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        (TRAINING, "learning_rate", "abc"), (TRAINING, "learning_rate", 0), (TRAINING, "seed", -1),
        (TRAINING, "seed", 2**32), (TRAINING, "steps", 1.5), (TRAINING, "workers", 1.5), (TRAINING, "workers", -1),
        (TRAINING, "scales", (1,)), (TRAINING, "scales", 2), (TRAINING, "unsure_edge_px", -3), (TRAINING, "side_px", 0),
        (TRAINING, "weight_decay", -1), (TRAINING, "validation_crops", -1), (TRAINING, "ema_decay", True),
        (CrackSegConfig(), "branch_channels", 0), (CrackSegConfig(), "branch_channels", 100_000),
        (CrackSegConfig(), "refine_channels", -4), (CrackSegConfig(), "decoder_convolutions", 2.5),
        (CrackSegConfig(), "branches", ((2, 1),)), (CrackSegConfig(), "branches", ((3, 0),)),
        (CrackSegConfig(), "branches", 3), (CrackSegConfig(), "low_level", ("conv1", "conv1")),
        (CrackSegConfig(), "classes", ()), (CrackSegConfig(), "classes", "crack"),
        (CrackSegConfig(), "classes", ("sealed crack",)), (CrackSegConfig(), "classes", ("crack", "crack")),
        (CrackNetConfig(), "decoder_channels", (8, 8, 8)), (CrackNetConfig(), "decoder_channels", (8, 8, 8, 8, 0)),
        (CrackNetConfig(), "classes", ("sealed crack",)), (PeerConfig(), "classes", ()), (PeerConfig(), "encoder", 3),
        (RetinaNetConfig(), "channels", 0), (RetinaNetConfig(), "smallest_anchor_px", 0),
        (RetinaNetConfig(), "longest_box_px", -1), (RetinaNetConfig(), "smallest_box_px", -1),
        (ScreenConfig(), "side_px", 10**9), (ScreenConfig(), "frozen_encoder", 1),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_meant_are_refused(config: Any, field: str, value: object) -> None:
    with pytest.raises(InputError, match=f"^{field}: expected"):
        replace(config, **{field: value})


@pytest.mark.parametrize(
    "config",
    [
        CrackSegConfig(encoder="mit_b0"), CrackSegConfig(encoder="vgg11"), CrackNetConfig("nope"),
        PeerConfig("unet", "nope"), RetinaNetConfig("nope"),
    ],
)  # fmt: skip
def test_encoders_that_do_not_fit_are_refused_when_the_net_is_built(config: Any) -> None:
    with pytest.raises(InputError, match="encoder"):
        build_net(config)


@pytest.mark.parametrize("share", [0, -1, float("inf"), float("nan"), True, "half"])
@pytest.mark.parametrize("stage", ["segment", "screen"])
def test_shares_of_a_mixture_are_finite_and_above_0(stage: str, share: Any) -> None:
    net = CrackSegConfig() if stage == "segment" else ScreenConfig()
    with pytest.raises(InputError, match="mixture rendered: expected a share above 0"):
        TrainingRun(net, TRAINING, {"rendered": share})


def test_rendered_cracks_alone_have_nothing_held_back() -> None:
    with pytest.raises(InputError, match=r"validation_crops: .*--mix with a data set"):
        TrainingRun(CrackSegConfig(), replace(TRAINING, validation_crops=4), {"rendered": 1.0})


@pytest.mark.parametrize(
    ("net", "change"),
    [
        (ScreenConfig(), {"scales": (0.9, 1.1)}), (ScreenConfig(), {"unsure_edge_px": 2.0}),
        (RetinaNetConfig(), {"unsure_edge_px": 2.0}),
    ],
)  # fmt: skip
def test_settings_without_effect_are_refused(net: Any, change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="has no effect on a"):
        TrainingRun(net, replace(TRAINING, **change), {"rendered": 1.0})


def test_a_frozen_encoder_has_to_come_from_somewhere(tmp_path: Any) -> None:
    preset = preset_called("screen-mobilenetv2")
    with pytest.raises(InputError, match="give --encoder-weights FILE"):
        train(TrainingRun(preset.net, preset.training, preset.mixture), data=None, out=tmp_path)
    run = TrainingRun(preset.net, replace(TRAINING, side_px=224), {"rendered": 1.0}, encoder_weights=tmp_path / "w.pth")
    with pytest.raises(InputError, match="mixture: expected a data set beside rendered cracks"):
        train(run, data=None, out=tmp_path)


def test_all_presets_are_trainings_that_can_be_meant() -> None:
    for preset in PRESETS.values():
        assert TrainingRun(preset.net, preset.training, preset.mixture).stage == preset.stage
