"""One training from its configuration to its weights: all that decides it is kept beside them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from textwrap import shorten
from typing import Any

import pytorch_lightning as pl
import torch

from crackmap.calibration.errors import CrackmapError, InputError, require
from crackmap.stages.datasets.crops import RENDERED, CropSource
from crackmap.stages.datasets.patch_source import Augmentation
from crackmap.stages.detect.retinanet import NET as DETECTOR
from crackmap.stages.detect.retinanet import RetinaNetConfig, build_retinanet
from crackmap.stages.presets import NetConfig
from crackmap.stages.screen.classifier import ScreenConfig, ScreenNet
from crackmap.stages.screen.screener import NET as SCREENER
from crackmap.stages.segment.nets import build_segment_net, name_of, segment_config
from crackmap.stages.segment.segmenter import Segmenter
from crackmap.stages.training.detect import detect_task
from crackmap.stages.training.loop import Task, TrainingConfig, fit
from crackmap.stages.training.screen import screen_task
from crackmap.stages.training.segment import segment_task
from crackmap.stages.training.start import origin, start_encoder, start_from
from crackmap.stages.weights import nested_tuples, read_weights, save_weights

NO_EFFECT: Mapping[str, tuple[str, ...]] = {
    "screen": ("side_px", "scales", "unsure_edge_px"), "detect": ("unsure_edge_px",), "segment": (),
}  # fmt: skip
"""Settings of the training that change nothing at a stage. What the screen stage sees is a setting of its net; boxes
are cut from labels as they are."""


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """All that decides a training, but the data themselves.

    Attributes:
        net: the shape of the net; it says the stage.
        training: how it is trained.
        mixture: shares of the sources.
        validation: sets whose split "val" is held back; by default those of the mixture that have one.
        encoder_weights: ImageNet weights of the encoder, or weights of a stage with the same one, to start from.
        start: weights of an earlier training of the same net to start from.
        augmentation: of the patches that a screen stage is trained on; None: the default one.
        teacher: weights of a segmenter. A detector then learns where that one would find cracks, not where labels are:
            what it is to pass on.
    """

    net: NetConfig
    training: TrainingConfig
    mixture: Mapping[str, float]
    validation: tuple[str, ...] = ()
    encoder_weights: Path | None = None
    start: Path | None = None
    augmentation: Augmentation | None = None
    teacher: Path | None = None

    def __post_init__(self) -> None:
        for name, share in self.mixture.items():
            right = isinstance(share, (int, float)) and not isinstance(share, bool) and 0 < share < math.inf
            require(right, f"mixture {name}", "a share above 0", share)
        held_back = self.validation or [name for name in self.mixture if name != RENDERED]
        require(self.training.validation_crops == 0 or len(held_back) > 0, "validation_crops",
                "0 where only rendered cracks are trained on: they have no held-back images; "
                "give --set validation_crops=0, or --mix with a data set", self.training.validation_crops)  # fmt: skip
        require(self.stage != "screen" or not self.validation, "validation", "none: the screen stage holds back "
                "part of its mixture", self.validation)  # fmt: skip
        require(self.teacher is None or self.stage == "detect", "teacher", "none: a detector has one", self.teacher)
        for setting in fields(self.training):
            if setting.name in NO_EFFECT[self.stage] and setting.default is not MISSING:
                given = getattr(self.training, setting.name)
                require(given == setting.default, setting.name, f"no value: it has no effect on a {self.stage} stage",
                        given)  # fmt: skip

    @property
    def stage(self) -> str:
        """What the net is for: "detect", "segment" or "screen"."""
        if isinstance(self.net, ScreenConfig):
            return "screen"
        return "detect" if isinstance(self.net, RetinaNetConfig) else "segment"

    @property
    def net_name(self) -> str:
        """The name of the kind of net in weight files."""
        if isinstance(self.net, ScreenConfig):
            return SCREENER
        return DETECTOR if isinstance(self.net, RetinaNetConfig) else name_of(self.net)


def train(run: TrainingRun, *, data: Path | None, out: Path, resume: bool = False) -> Path:
    """Trains a net and returns the path of its weights, out/STAGE.safetensors.

    Args:
        run: what is trained, and how.
        data: folder of the public data sets of the mixture.
        out: folder for checkpoints, logs, the record of the run and the weights.
        resume: go on from the last checkpoint in `out`.

    Raises:
        InputError: data that are not there, weights that do not fit, a net that cannot be built, a frozen encoder that
            never learnt anything, a folder in use, another run to be resumed, a loss that is not finite.
        StorageError: `out` cannot be written.
        WeightsError: the training diverged with its last step.
    """
    require(len(run.mixture) > 0, "mixture", "one source or more", dict(run.mixture))
    if isinstance(run.net, ScreenConfig) and run.net.frozen_encoder:
        require(run.encoder_weights is not None or run.start is not None, "encoder_weights", "weights for the frozen "
                "encoder, which learns nothing itself; give --encoder-weights FILE (ImageNet), or --net "
                "frozen_encoder=false", None)  # fmt: skip
        require({*run.mixture} != {RENDERED}, "mixture", "a data set beside rendered cracks: the features of a frozen "
                "encoder are computed once, for the patches of a set; give --mix with one, or --net "
                "frozen_encoder=false", dict(run.mixture))  # fmt: skip
    pl.seed_everything(run.training.seed, verbose=False)
    net, before = _started(run)
    fit(_task(run, net, data), out, resume=resume, record=to_json(run))
    path = out / f"{run.stage}.safetensors"
    save_weights(
        path, net, stage=run.stage, net=run.net_name, config=run.net, trained_on=sorted(before | {*run.mixture})
    )
    return path


def build_net(config: NetConfig) -> Any:
    """The net of a configuration, with random weights.

    Raises:
        InputError: there is no such net.
    """
    try:
        if isinstance(config, ScreenConfig):
            return ScreenNet(config).to(memory_format=torch.channels_last)
        return build_retinanet(config) if isinstance(config, RetinaNetConfig) else build_segment_net(config)
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        # What the libraries make of an encoder or a width that fits nothing.
        if isinstance(error, CrackmapError):
            raise
        raise InputError(f"net: cannot be built with these settings ({shorten(str(error), 300)}); "
                         "change --net") from error  # fmt: skip


def parameter_count(config: NetConfig) -> int:
    """Learnt numbers of a net."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_net(config).parameters())


def _started(run: TrainingRun) -> tuple[Any, set[str]]:
    """The net with the weights it starts from, and the sets these were trained on, whose licences they carry."""
    net, before = build_net(run.net), set()
    if run.encoder_weights is not None:
        encoder = net.backbone.encoder if run.stage == "detect" else net.encoder
        before |= start_encoder(encoder, run.encoder_weights)
    if run.start is not None:
        given = read_weights(run.start, stage=run.stage)
        start_from(net, given)
        before |= origin(given)
    if run.teacher is not None:
        before |= origin(read_weights(run.teacher, stage="segment"))
    return net, before


def _task(run: TrainingRun, net: Any, data: Path | None) -> Task:
    config = run.training
    if isinstance(run.net, ScreenConfig):
        return screen_task(net, config, data, run.mixture, run.augmentation or Augmentation())
    train_crops = CropSource(data, run.mixture, side_px=config.side_px, scales=config.scales,
                             unsure_edge_px=config.unsure_edge_px)  # fmt: skip
    held_back = None
    if config.validation_crops:
        names = run.validation or tuple(name for name in run.mixture if name != RENDERED)
        held_back = CropSource(data, dict.fromkeys(names, 1.0), side_px=config.side_px, scales=(1.0, 1.0), split="val")
    if isinstance(run.net, RetinaNetConfig):
        teacher = None if run.teacher is None else Segmenter.load(
            read_weights(run.teacher, stage="segment"), "cpu", engine="pytorch"
        )  # fmt: skip
        return detect_task(net, run.net, config, train_crops, held_back, teacher)
    return segment_task(net, config, train_crops, held_back)


def to_json(run: TrainingRun) -> str:
    """The record of a run; files stand in it with their hashes."""
    parts = {
        "crackmap": version("crackmap"),
        "stage": run.stage,
        "net_name": run.net_name,
        "net": asdict(run.net),
        "training": asdict(run.training),
        "mixture": dict(run.mixture),
        "validation": list(run.validation),
        "encoder_weights": _file(run.encoder_weights),
        "start": _file(run.start),
        "augmentation": None if run.augmentation is None else asdict(run.augmentation),
        "teacher": _file(run.teacher),
    }
    return json.dumps(parts, indent=2) + "\n"


def _file(path: Path | None) -> dict[str, str] | None:
    if path is None:
        return None
    return {"path": str(path), "sha256": _sha256(path)}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def from_json(path: Path) -> TrainingRun:
    """The run of a record that `train` left behind.

    Raises:
        InputError: not such a record, or one of its files is missing or another now.
    """
    try:
        parts = json.loads(path.read_text(encoding="utf-8"))
        shape = {key: nested_tuples(value) for key, value in parts["net"].items()}
        net = _net_config(parts["net_name"], shape)
        training = TrainingConfig(**{key: nested_tuples(value) for key, value in parts["training"].items()})
        return TrainingRun(
            net, training, parts["mixture"], tuple(parts["validation"]), _found(path, parts["encoder_weights"]),
            _found(path, parts["start"]), Augmentation(**parts["augmentation"]) if parts["augmentation"] else None,
            _found(path, parts.get("teacher")),
        )  # fmt: skip
    except CrackmapError as error:
        raise InputError(f"{path}: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not the record of a training ({error}); give the training.json of one") from error


def _net_config(name: str, fields: Mapping[str, Any]) -> NetConfig:
    if name == SCREENER:
        return ScreenConfig(**fields)
    return RetinaNetConfig(**fields) if name == DETECTOR else segment_config(name, fields)


def _found(record: Path, file: Mapping[str, str] | None) -> Path | None:
    """The file that a record names by its hash: where it was, or beside the record."""
    if file is None:
        return None
    was = Path(file["path"])
    for path in (was, record.parent / was.name):
        if path.is_file() and _sha256(path) == file["sha256"]:
            return path
    raise InputError(f"{was} is missing or another file now; put the one of the training beside {record.name}")
