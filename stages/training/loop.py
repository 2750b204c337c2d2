"""What all trainings share: configuration, loaders, schedule, checkpoints, logs, resuming."""

from __future__ import annotations

import json
import math
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar, WeightAveraging
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader, Dataset

from crackmap.calibration.errors import InputError, StorageError, require
from crackmap.stages.checks import check_types

STEPS_PER_EPOCH = 200
"""Optimiser steps between two checkpoints, and two validations; a resumed training goes on from the last one. Both are
made after the last step, too."""

RECORD = "training.json"
"""What a run folder can be read back from."""

LAST, BEST = "last.ckpt", "best.ckpt"
"""Checkpoints: to resume from, and with the least loss on held-back crops."""

FINISHED = "training_finished"
"""Key in a checkpoint: nothing is left to train."""

OPTIMISERS = ("adamw", "adam", "sgd")
SCHEDULES = ("cosine", "plateau", "constant")
VALIDATION_LOSS = "validation_loss"


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How one training goes.

    Attributes:
        steps: optimiser steps in all.
        batch: crops a step, on each device.
        side_px: side of a crop as the net sees it; of a screen stage that is a setting of the net.
        learning_rate: peak of the schedule.
        weight_decay: of the optimiser.
        optimiser: one of OPTIMISERS; sgd with momentum 0.9.
        schedule: cosine (5 % linear warm-up, then down to 1 %), plateau (a third of the rate after two validations that
            are no better), or constant.
        ema_decay: of the moving average of the weights, which is what is kept (`moving_average`); 0 = the weights
            themselves.
        loss: one of the stage's losses; "" = its own.
        scales: least and greatest enlargement of a real crop.
        unsure_edge_px: labels drawn by hand are not believed from their middle line to this far outside them: where
            a crack is, they tell; how wide it is, rendered cracks do. 0 = believed as they are. Segmenter only.
        validation_crops: crops of the held-back split that are scored after each epoch; 0 = none. With them the best
            weights are kept, else the last.
        patience: validations without a better loss after which training stops; 0 = never.
        seed: of weights, crops and order.
        workers: loader processes; the crops do not depend on it.
    """

    steps: int
    batch: int
    side_px: int
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    optimiser: str = "adamw"
    schedule: str = "cosine"
    ema_decay: float = 0.998
    loss: str = ""
    scales: tuple[float, float] = (0.65, 1.7)
    unsure_edge_px: float = 0.0
    validation_crops: int = 0
    patience: int = 0
    seed: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        check_types(self)
        require(self.steps >= 1, "steps", "1 or more", self.steps)
        require(self.batch >= 1, "batch", "1 or more", self.batch)
        require(self.side_px >= 32 and self.side_px % 32 == 0, "side_px", "a multiple of 32", self.side_px)
        require(self.learning_rate > 0, "learning_rate", "above 0", self.learning_rate)
        require(0 <= self.seed < 2**32, "seed", "0 to 4294967295", self.seed)
        for name in ("weight_decay", "unsure_edge_px", "validation_crops", "patience", "workers"):
            require(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))
        require(self.optimiser in OPTIMISERS, "optimiser", f"one of {', '.join(OPTIMISERS)}", self.optimiser)
        require(self.schedule in SCHEDULES, "schedule", f"one of {', '.join(SCHEDULES)}", self.schedule)
        require(0 <= self.ema_decay < 1, "ema_decay", "0 to below 1", self.ema_decay)
        require(0 < self.scales[0] <= self.scales[1], "scales", "two ascending numbers above 0", self.scales)
        needs = self.patience > 0 or self.schedule == "plateau"
        require(self.validation_crops > 0 or not needs, "validation_crops", "above 0 for patience and the plateau "
                "schedule", self.validation_crops)  # fmt: skip


class CrackModule(pl.LightningModule, ABC):
    """A net with the project's optimisers and schedules; subclasses say what the loss of a batch is."""

    def __init__(self, net: nn.Module, config: TrainingConfig) -> None:
        super().__init__()
        self.net = net
        self.config = config

    @abstractmethod
    def losses(self, batch: Any) -> dict[str, Tensor]:
        """The losses of a batch by name; "loss" is what is minimised."""

    def size_of(self, batch: Any) -> int:
        """Samples in a batch."""
        return len(next(iter(batch.values()))) if isinstance(batch, dict) else len(batch[0])

    def training_step(self, batch: Any, _: int) -> Tensor:
        """The loss of one batch."""
        # Dropout of step i depends on the seed and i alone, as crop i does: a resumed training draws the same.
        place = (self.config.seed, self.trainer.global_step, self.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))
        found = self._finite(self.losses(batch))
        self.log_dict(found, prog_bar=True, batch_size=self.size_of(batch))
        return found["loss"]

    def validation_step(self, batch: Any, _: int) -> None:
        """Logs the losses of one held-back batch."""
        found = {f"validation_{name}": value for name, value in self._finite(self.losses(batch)).items()}
        self.log_dict(found, prog_bar=True, batch_size=self.size_of(batch), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Turns the rate down where nothing gets better: before the checkpoint, which would else forget it."""
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(float(self.trainer.callback_metrics[VALIDATION_LOSS]))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Notes whether anything is left to train."""
        checkpoint[FINISHED] = self.trainer.should_stop or self.trainer.global_step >= self.config.steps

    def _finite(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        if not torch.isfinite(found["loss"]):
            step, rate = self.trainer.global_step, self.config.learning_rate
            raise InputError(f"training: the loss is {float(found['loss'])} after {step} steps; start again "
                             f"with another --out and a --rate below {rate:g}")  # fmt: skip
        return found

    def configure_optimizers(self) -> dict[str, Any]:
        """The optimiser of the parameters that learn, and its schedule."""
        config = self.config
        learning = [parameter for parameter in self.net.parameters() if parameter.requires_grad]
        rate: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
        optimiser: torch.optim.Optimizer
        if config.optimiser == "sgd":
            optimiser = torch.optim.SGD(learning, momentum=0.9, **rate)
        else:
            optimiser = (torch.optim.AdamW if config.optimiser == "adamw" else torch.optim.Adam)(learning, **rate)
        if config.schedule == "constant":
            return {"optimizer": optimiser}
        if config.schedule == "plateau":
            # torch turns down after one validation more than its patience.
            plateau = ReduceLROnPlateau(optimiser, factor=1 / 3, patience=1)
            # Never by Lightning itself: see `on_validation_epoch_end`.
            schedule = {"scheduler": plateau, "monitor": VALIDATION_LOSS, "frequency": sys.maxsize}
            return {"optimizer": optimiser, "lr_scheduler": schedule}
        cosine = torch.optim.lr_scheduler.LambdaLR(optimiser, _warm_cosine(config.steps))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}


def _warm_cosine(steps: int) -> Callable[[int], float]:
    warm = max(steps // 20, 1)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        progress = min((step - warm) / max(steps - warm, 1), 1.0)
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))

    return factor


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be learnt.

    Attributes:
        module: net and loss.
        samples: (first sample, number of samples) -> the samples of one epoch.
        held_back: (number of samples) -> samples of the held-back split.
        collate: how samples become a batch, where stacking tensors does not do.
    """

    module: CrackModule
    samples: Callable[[int, int], Dataset[Any]]
    held_back: Callable[[int], Dataset[Any]] | None = None
    collate: Callable[[list[Any]], Any] | None = None


class _EpochCrops(pl.LightningDataModule):
    """Fresh samples every epoch; a resumed run sees the samples an unbroken one would."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._task, self._config = task, task.module.config

    def train_dataloader(self) -> DataLoader[Any]:
        # Counted in steps: Lightning begins a resumed training with part of the epoch it had finished.
        done = self.trainer.global_step if self.trainer is not None else 0
        devices = self.trainer.world_size if self.trainer is not None else 1
        steps, a_step = min(STEPS_PER_EPOCH, self._config.steps - done), self._config.batch * devices
        return self._loader(self._task.samples(done * a_step, steps * a_step))

    def _loader(self, samples: Dataset[Any]) -> DataLoader[Any]:
        return DataLoader(
            samples,
            batch_size=self._config.batch,
            num_workers=self._config.workers,
            collate_fn=self._task.collate,
            multiprocessing_context="fork" if self._config.workers else None,
        )


class _HeldBack(_EpochCrops):
    """With a validation; Lightning asks whether the method is there."""

    def val_dataloader(self) -> DataLoader[Any]:
        samples = self._task.held_back
        if samples is None:
            raise InputError("validation: this training has no held-back samples; set validation_crops to 0")
        return self._loader(samples(self._config.validation_crops))


def fit(task: Task, out: Path, *, resume: bool, record: str) -> None:
    """Trains the net of a task in place; checkpoints, logs (CSV) and the record go to `out`.

    A training that is finished already is not taken up again: the net gets the weights that were kept.

    Args:
        task: what is to be learnt.
        out: folder of the run.
        resume: go on from out/last.ckpt.
        record: JSON of all that decides the training.

    Raises:
        InputError: `resume` without a checkpoint or of another training, a run already in `out` without `resume`, or
            a loss that is not finite.
        StorageError: `out` cannot be written.
        KeyboardInterrupt: the user stopped it.
    """
    module, config, checkpoint = task.module, task.module.config, out / LAST
    _check_folder(out, resume=resume, record=record)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / RECORD).write_text(record, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    before = _read_checkpoint(checkpoint) if resume else {}
    if before.get(FINISHED):
        module.load_state_dict(before["state_dict"])
    else:
        _run(task, out, resume=resume)
    if config.validation_crops:
        module.load_state_dict(_read_checkpoint(out / BEST)["state_dict"])


def _check_folder(out: Path, *, resume: bool, record: str) -> None:
    """Refuses to start where a training lies, and to go on with another one."""
    checkpoint, recorded = out / LAST, out / RECORD
    if resume and not checkpoint.exists():
        raise InputError(f"--resume: expected a checkpoint {checkpoint}; leave --resume out to start a new training")
    if not resume and checkpoint.exists():
        raise InputError(f"{out}: a training lies there already; give --resume to go on, or another --out")
    if resume and recorded.exists() and _deciding(recorded.read_text(encoding="utf-8")) != _deciding(record):
        raise InputError(f"--resume: {recorded} is of another training; give the same options, or another --out")


def _deciding(record: str) -> Any:
    """What a record says, but for where its files lie: their hashes decide."""
    try:
        parts = json.loads(record)
    except ValueError:
        return None
    for file in parts.values() if isinstance(parts, dict) else ():
        if isinstance(file, dict) and "sha256" in file:
            file.pop("path", None)
    return parts


def _read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of this program, of which nothing but tensors and plain values is taken."""
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # A cut file fails in whatever way the unpickler gets to.
        raise InputError(f"{path}: cannot be read ({error}); train again into another --out") from error
    return checkpoint


def _run(task: Task, out: Path, *, resume: bool) -> None:
    """The training itself; the net ends with the last weights, or their average."""
    config = task.module.config
    trainer = pl.Trainer(
        max_steps=config.steps,
        precision="bf16-mixed",
        logger=CSVLogger(out, name="", version=f"logs{len(list(out.glob('logs*'))) + 1}"),
        callbacks=_callbacks(config, out),
        reload_dataloaders_every_n_epochs=1,
        gradient_clip_val=5.0,
        log_every_n_steps=min(20, STEPS_PER_EPOCH, config.steps),
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )
    loader = _HeldBack(task) if config.validation_crops else _EpochCrops(task)
    with warnings.catch_warnings():
        # The folder holds the record already, and few workers suffice for what a step costs.
        warnings.filterwarnings("ignore", r"Checkpoint directory .* exists|.*does not have many workers")
        try:
            checkpoint = out / LAST if resume else None
            trainer.fit(task.module, datamodule=loader, ckpt_path=checkpoint, weights_only=True)
        except SystemExit as stopped:
            # What Lightning makes of Ctrl-C.
            if isinstance(stopped.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from stopped
            raise


def moving_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """The rule of the moving average: (average, weights, weights averaged so far) -> new average.

    At first it follows the weights closely, so that a short training does not keep what it started from.
    """

    def average(kept: Tensor, weights: Tensor, number: Tensor | int) -> Tensor:
        held = min(decay, (1 + int(number)) / (10 + int(number)))
        return held * kept + (1 - held) * weights

    return average


def _callbacks(config: TrainingConfig, out: Path) -> list[Callback]:
    callbacks: list[Callback] = [TQDMProgressBar(refresh_rate=20)]
    if config.ema_decay:
        callbacks.append(WeightAveraging(avg_fn=moving_average(config.ema_decay)))
    if config.patience:
        # Not at the end of an epoch: a resumed training begins with one, without a validation.
        callbacks.append(EarlyStopping(VALIDATION_LOSS, patience=config.patience, check_on_train_epoch_end=False))
    # The best before the last: what is resumed from has to know which was the best.
    if config.validation_crops:
        stem = Path(BEST).stem
        callbacks.append(ModelCheckpoint(out, filename=stem, monitor=VALIDATION_LOSS, enable_version_counter=False))
    callbacks.append(ModelCheckpoint(out, filename=Path(LAST).stem, enable_version_counter=False))
    return callbacks
