"""What all trainings share: configuration, loaders, schedule, checkpoints, logs, resuming."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, EMAWeightAveraging, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from crackmap.calibration.errors import InputError, require

STEPS_PER_EPOCH = 200
"""Optimiser steps between two checkpoints, and two validations; a resumed training goes on from the last one."""

RECORD = "training.json"
"""What a run folder can be read back from."""

OPTIMISERS = ("adamw", "adam", "sgd")
SCHEDULES = ("cosine", "plateau", "constant")
VALIDATION_LOSS = "validation_loss"


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How one training goes.

    Attributes:
        steps: optimiser steps in all.
        batch: crops a step, on each device.
        side_px: side of a crop as the net sees it.
        learning_rate: peak of the schedule.
        weight_decay: of the optimiser.
        optimiser: one of OPTIMISERS; sgd with momentum 0.9.
        schedule: cosine (5 % linear warm-up, then down to 1 %), plateau (a third of the rate after two validations that
            are no better), or constant.
        ema_decay: of the moving average of the weights, which is what is kept; 0 = the weights themselves.
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
        require(self.steps >= 1, "steps", "1 or more", self.steps)
        require(self.batch >= 1, "batch", "1 or more", self.batch)
        require(self.side_px % 32 == 0, "side_px", "a multiple of 32", self.side_px)
        require(self.optimiser in OPTIMISERS, "optimiser", f"one of {', '.join(OPTIMISERS)}", self.optimiser)
        require(self.schedule in SCHEDULES, "schedule", f"one of {', '.join(SCHEDULES)}", self.schedule)
        require(0 <= self.ema_decay < 1, "ema_decay", "0 to below 1", self.ema_decay)
        require(0 < self.scales[0] <= self.scales[1], "scales", "two ascending numbers above 0", self.scales)
        needs = self.patience > 0 or self.schedule == "plateau"
        require(self.validation_crops > 0 or not needs, "validation_crops", "above 0 for patience and the plateau "
                "schedule", self.validation_crops)  # fmt: skip


class CrackModule(pl.LightningModule):
    """A net with the project's optimisers and schedules; subclasses say what the loss of a batch is."""

    def __init__(self, net: nn.Module, config: TrainingConfig) -> None:
        super().__init__()
        self.net = net
        self.config = config

    def losses(self, batch: Any) -> dict[str, Tensor]:
        """The losses of a batch by name; "loss" is what is minimised."""
        raise NotImplementedError

    def size_of(self, batch: Any) -> int:
        """Samples in a batch."""
        return len(next(iter(batch.values()))) if isinstance(batch, dict) else len(batch[0])

    def training_step(self, batch: Any, _: int) -> Tensor:
        """The loss of one batch."""
        found = self.losses(batch)
        self.log_dict(found, prog_bar=True, batch_size=self.size_of(batch))
        return found["loss"]

    def validation_step(self, batch: Any, _: int) -> None:
        """Logs the losses of one held-back batch."""
        found = {f"validation_{name}": value for name, value in self.losses(batch).items()}
        self.log_dict(found, prog_bar=True, batch_size=self.size_of(batch), sync_dist=True)

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
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=1 / 3, patience=2)
            schedule = {"scheduler": plateau, "monitor": VALIDATION_LOSS, "strict": False}
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
        steps, a_step = min(STEPS_PER_EPOCH, self._config.steps), self._config.batch * devices
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

    Args:
        task: what is to be learnt.
        out: folder of the run.
        resume: go on from out/last.ckpt.
        record: JSON of all that decides the training.

    Raises:
        InputError: `resume` without a checkpoint or of another training, or a run already in `out` without `resume`.
    """
    config, checkpoint, recorded = task.module.config, out / "last.ckpt", out / RECORD
    if resume and not checkpoint.exists():
        raise InputError(f"--resume: expected a checkpoint {checkpoint}; leave --resume out to start a new training")
    if not resume and checkpoint.exists():
        raise InputError(f"{out}: a training lies there already; give --resume to go on, or another --out")
    if resume and recorded.exists() and json.loads(recorded.read_text(encoding="utf-8")) != json.loads(record):
        raise InputError(f"--resume: {recorded} is of another training; give the same options, or another --out")
    out.mkdir(parents=True, exist_ok=True)
    recorded.write_text(record, encoding="utf-8")
    best = ModelCheckpoint(out, filename="best", monitor=VALIDATION_LOSS) if config.validation_crops else None
    trainer = pl.Trainer(
        max_steps=config.steps,
        precision="bf16-mixed",
        logger=CSVLogger(out, name="", version=f"logs{len(list(out.glob('logs*'))) + 1}"),
        callbacks=_callbacks(config, out, best),
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
        trainer.fit(task.module, datamodule=loader, ckpt_path=checkpoint if resume else None, weights_only=False)
    if best is not None and best.best_model_path:
        state = torch.load(best.best_model_path, map_location="cpu", weights_only=False)["state_dict"]
        task.module.load_state_dict(state)


def _callbacks(config: TrainingConfig, out: Path, best: ModelCheckpoint | None) -> list[Callback]:
    last = ModelCheckpoint(out, filename="step{step}", save_last=True, auto_insert_metric_name=False)
    callbacks: list[Callback] = [last, TQDMProgressBar(refresh_rate=20)]
    if config.ema_decay:
        callbacks.append(EMAWeightAveraging(decay=config.ema_decay))
    if best is not None:
        callbacks.append(best)
    if config.patience:
        callbacks.append(EarlyStopping(VALIDATION_LOSS, patience=config.patience))
    return callbacks
