"""What all trainings share: configuration, loaders, schedule, checkpoints, logs, resuming."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from crackmap.calibration.errors import InputError

STEPS_PER_EPOCH = 200
"""Optimiser steps between two checkpoints; a resumed training goes on from the last one."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """One training run. Saved beside its checkpoints as training.json.

    Attributes:
        steps: optimiser steps in all.
        batch: crops a step.
        side_px: side of a crop as the net sees it.
        learning_rate: peak of the one-cycle schedule (5 % linear warm-up, cosine to 1 % of it).
        weight_decay: of AdamW.
        ema_decay: of the exponential moving average of the weights, which is what is kept.
        seed: of weights, crops and order.
        workers: loader processes; the crops do not depend on it.
    """

    steps: int
    batch: int
    side_px: int
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    ema_decay: float = 0.998
    seed: int = 0
    workers: int = 1


class CrackModule(pl.LightningModule):
    """A net with the project's optimiser and schedule; subclasses say what the loss is."""

    def __init__(self, net: nn.Module, config: TrainingConfig) -> None:
        super().__init__()
        self.net = net
        self.config = config

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW with linear warm-up and cosine decay, stepped every step."""
        optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, _warm_cosine(self.config.steps))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _warm_cosine(steps: int) -> Callable[[int], float]:
    warm = max(steps // 20, 1)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        progress = min((step - warm) / max(steps - warm, 1), 1.0)
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))

    return factor


class _EpochCrops(pl.LightningDataModule):
    """A fresh set of crops every epoch, so that a resumed run sees the crops an unbroken one would."""

    def __init__(self, dataset: Callable[[int, int], Dataset[Any]], config: TrainingConfig,
                 collate: Callable[[list[Any]], Any] | None) -> None:  # fmt: skip
        super().__init__()
        self._dataset, self._config, self._collate = dataset, config, collate

    def train_dataloader(self) -> DataLoader[Any]:
        epoch = self.trainer.current_epoch if self.trainer is not None else 0
        steps = min(STEPS_PER_EPOCH, self._config.steps)
        length = steps * self._config.batch
        return DataLoader(
            self._dataset(epoch * length, length),
            batch_size=self._config.batch,
            num_workers=self._config.workers,
            collate_fn=self._collate,
            multiprocessing_context="fork" if self._config.workers else None,
        )


def fit(
    module: CrackModule,
    dataset: Callable[[int, int], Dataset[Any]],
    out: Path,
    *,
    resume: bool,
    collate: Callable[[list[Any]], Any] | None = None,
) -> None:
    """Trains `module` in place; checkpoints, logs (CSV) and training.json go to `out`.

    Args:
        module: net and loss.
        dataset: (first crop, number of crops) -> the crops of one epoch.
        out: folder of the run.
        resume: go on from out/last.ckpt.
        collate: how samples become a batch, where stacking tensors does not do.

    Raises:
        InputError: `resume` without a checkpoint, or a run already in `out` without `resume`.
    """
    checkpoint = out / "last.ckpt"
    if resume and not checkpoint.exists():
        raise InputError(f"--resume: expected a checkpoint {checkpoint}; leave --resume out to start a new training")
    if not resume and checkpoint.exists():
        raise InputError(f"{out}: a training lies there already; give --resume to go on, or another --out")
    out.mkdir(parents=True, exist_ok=True)
    (out / "training.json").write_text(json.dumps(asdict(module.config), indent=2) + "\n", encoding="utf-8")
    trainer = pl.Trainer(
        max_steps=module.config.steps,
        precision="bf16-mixed",
        logger=CSVLogger(out, name="", version="logs"),
        callbacks=[
            EMAWeightAveraging(decay=module.config.ema_decay),
            ModelCheckpoint(out, filename="step{step}", save_last=True, auto_insert_metric_name=False),
            TQDMProgressBar(refresh_rate=20),
        ],
        reload_dataloaders_every_n_epochs=1,
        gradient_clip_val=5.0,
        log_every_n_steps=20,
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )
    loader = _EpochCrops(dataset, module.config, collate)
    trainer.fit(module, datamodule=loader, ckpt_path=checkpoint if resume else None, weights_only=False)


def load_encoder(encoder: nn.Module, path: Path) -> None:
    """Loads ImageNet weights into an encoder; classifier weights in the file are ignored.

    Raises:
        InputError: the file is not a plain weight file, or does not fit the encoder.
    """
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        own = encoder.state_dict()
        fitting = {key: value for key, value in state.items() if key in own}
        missing = [key for key in own if key not in fitting and not key.endswith("num_batches_tracked")]
        if missing:
            raise InputError(f"{path.name}: lacks {len(missing)} tensors of the encoder, first {missing[0]!r}; "
                             "give weights of the same architecture")  # fmt: skip
        nn.Module.load_state_dict(encoder, fitting, strict=False)
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path.name}: cannot be read as encoder weights ({error})") from error
