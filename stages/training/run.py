"""One training from its configuration to its weights: all that decides it is kept beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import nn

from crackmap.calibration.errors import InputError
from crackmap.stages.datasets.crops import RENDERED, CropSource
from crackmap.stages.detect.retinanet import RetinaNetConfig, build_retinanet
from crackmap.stages.presets import NetConfig
from crackmap.stages.segment.nets import build_segment_net, name_of, segment_config
from crackmap.stages.training.detect import detect_task
from crackmap.stages.training.loop import RECORD, Task, TrainingConfig, fit, load_encoder, start_from
from crackmap.stages.training.segment import segment_task
from crackmap.stages.weights import nested_tuples, read_weights, save_weights


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """All that decides a training, but the data themselves.

    Attributes:
        net: the shape of the net; it says the stage.
        training: how it is trained.
        mixture: shares of the sources.
        validation: sets whose split "val" is held back; by default those of the mixture that have one.
        encoder_weights: ImageNet weights of the encoder to start from.
        start: weights of an earlier training of the same net to start from.
    """

    net: NetConfig
    training: TrainingConfig
    mixture: Mapping[str, float]
    validation: tuple[str, ...] = ()
    encoder_weights: Path | None = None
    start: Path | None = None

    @property
    def stage(self) -> str:
        """What the net is for: "detect" or "segment"."""
        return "detect" if isinstance(self.net, RetinaNetConfig) else "segment"


def train(run: TrainingRun, *, data: Path | None, out: Path, resume: bool = False) -> Path:
    """Trains a net and returns the path of its weights, out/STAGE.safetensors.

    Args:
        run: what is trained, and how.
        data: folder of the public data sets of the mixture.
        out: folder for checkpoints, logs, the record of the run and the weights.
        resume: go on from the last checkpoint in `out`.

    Raises:
        InputError: data that are not there, weights that do not fit, a folder in use, another run to be resumed.
    """
    pl.seed_everything(run.training.seed, verbose=False)
    net, task = _task(run, data)
    fit(task, out, resume=resume, record=to_json(run))
    path = out / f"{run.stage}.safetensors"
    name = "retinanet" if isinstance(run.net, RetinaNetConfig) else name_of(run.net)
    save_weights(path, net, stage=run.stage, net=name, config=run.net, trained_on=_trained_on(run))
    return path


def build_net(config: NetConfig) -> Any:
    """The net of a configuration, with random weights."""
    return build_retinanet(config) if isinstance(config, RetinaNetConfig) else build_segment_net(config)


def parameter_count(config: NetConfig) -> int:
    """Learnt numbers of a net."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_net(config).parameters())


def _task(run: TrainingRun, data: Path | None) -> tuple[nn.Module, Task]:
    net = build_net(run.net)
    if run.encoder_weights is not None:
        load_encoder(net.backbone.encoder if run.stage == "detect" else net.encoder, run.encoder_weights)
    if run.start is not None:
        start_from(net, read_weights(run.start, stage=run.stage))
    config = run.training
    train_crops = CropSource(data, run.mixture, side_px=config.side_px, scales=config.scales)
    held_back = None
    if config.validation_crops:
        names = run.validation or tuple(name for name in run.mixture if name != RENDERED)
        held_back = CropSource(data, dict.fromkeys(names, 1.0), side_px=config.side_px, scales=(1.0, 1.0), split="val")
    if isinstance(run.net, RetinaNetConfig):
        return net, detect_task(net, run.net, config, train_crops, held_back)
    return net, segment_task(net, config, train_crops, held_back)


def _trained_on(run: TrainingRun) -> list[str]:
    """Sets whose licences the weights carry: those of this training and of the weights it started from."""
    before = read_weights(run.start).trained_on if run.start is not None else ()
    return sorted({*before, *run.mixture})


def to_json(run: TrainingRun) -> str:
    """The record of a run; files stand in it with their hashes."""
    parts = {
        "crackmap": version("crackmap"),
        "stage": run.stage,
        "net_name": "retinanet" if isinstance(run.net, RetinaNetConfig) else name_of(run.net),
        "net": asdict(run.net),
        "training": asdict(run.training),
        "mixture": dict(run.mixture),
        "validation": list(run.validation),
        "encoder_weights": _file(run.encoder_weights),
        "start": _file(run.start),
    }
    return json.dumps(parts, indent=2) + "\n"


def _file(path: Path | None) -> dict[str, str] | None:
    if path is None:
        return None
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def from_json(path: Path) -> TrainingRun:
    """The run of a record that `train` left behind.

    Raises:
        InputError: not such a record, or one of its files is missing or another now.
    """
    try:
        parts = json.loads(path.read_text(encoding="utf-8"))
        fields = {key: nested_tuples(value) for key, value in parts["net"].items()}
        net: NetConfig = (
            RetinaNetConfig(**fields) if parts["net_name"] == "retinanet" else segment_config(parts["net_name"], fields)
        )
        training = TrainingConfig(**{key: nested_tuples(value) for key, value in parts["training"].items()})
        return TrainingRun(
            net, training, parts["mixture"], tuple(parts["validation"]), _checked(path, parts["encoder_weights"]),
            _checked(path, parts["start"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not the record of a training ({error}); give the training.json of one") from error


def _checked(record: Path, file: Mapping[str, str] | None) -> Path | None:
    if file is None:
        return None
    path = Path(file["path"])
    path = path if path.exists() else record.parent / path.name
    if not path.exists() or cast("dict[str, str]", _file(path))["sha256"] != file["sha256"]:
        raise InputError(f"{record}: {file['path']} is missing or another file now; "
                         f"put the one it names beside {RECORD}")  # fmt: skip
    return path
