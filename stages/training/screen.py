"""Training of the patch classifier of the screen stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from crackmap.calibration.errors import require
from crackmap.stages.datasets.crops import RENDERED
from crackmap.stages.datasets.patch_source import Augmentation, PatchDataset, PatchSource
from crackmap.stages.runtime import choose_device, inference
from crackmap.stages.screen.classifier import ScreenNet
from crackmap.stages.training.loop import CrackModule, Task, TrainingConfig

LOSSES = ("cross-entropy", "dice")

COPIES = 4
"""Augmented copies of each patch whose features a frozen encoder computes once."""


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - Dice of the probabilities (B,) against 0 or 1, over the batch."""
    probability = torch.sigmoid(logits)
    return 1 - (2 * (probability * target).sum() + 1) / (probability.sum() + target.sum() + 1)


def screen_loss(name: str, logits: Tensor, target: Tensor) -> Tensor:
    """The loss called `name` ("" = cross-entropy) of logits (B,) against 0 or 1.

    Cross-entropy over two outputs is the binary one of their difference, which is the net's logit.

    Raises:
        InputError: there is none of this name.
    """
    require(name in ("", *LOSSES), "loss", f"one of {', '.join(LOSSES)}", name)
    return dice_loss(logits, target) if name == "dice" else functional.binary_cross_entropy_with_logits(logits, target)


class ScreenModule(CrackModule):
    """A patch classifier under `screen_loss`."""

    net: ScreenNet

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The loss and the share of right answers of patches, or of their features where the encoder is frozen."""
        if "features" in batch:
            logits = self.net.logits(batch["features"])
        else:
            images = batch["image"].float().contiguous(memory_format=torch.channels_last)
            logits = self.net(images)
        logits, target = logits.float(), batch["cracked"]
        right = ((logits > 0) == (target > 0.5)).float().mean()
        return {"loss": screen_loss(self.config.loss, logits, target), "accuracy": right}


class FeatureDataset(Dataset[dict[str, Tensor]]):
    """`length` samples out of features computed once, round and round."""

    def __init__(self, features: Tensor, cracked: Tensor, *, length: int, start: int = 0) -> None:
        self._features, self._cracked, self._length, self._start = features, cracked, length, start

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        place = (self._start + index) % len(self._features)
        return {"features": self._features[place], "cracked": self._cracked[place]}


def features_of(net: ScreenNet, samples: PatchDataset, *, batch: int) -> tuple[Tensor, Tensor]:
    """(N, width) features of all samples by the net's encoder, and (N,) whether each is cracked."""
    device = choose_device()
    net.to(device).eval()
    features, cracked = [], []
    for first in range(0, len(samples), batch):
        items = [samples[index] for index in range(first, min(first + batch, len(samples)))]
        images = torch.stack([item["image"] for item in items]).to(device)
        with inference(device):
            found = net.features(images.float().contiguous(memory_format=torch.channels_last))
        # A tensor made in inference mode cannot be trained upon; a copy made outside can.
        features.append(found.float().cpu().clone())
        cracked += [item["cracked"] for item in items]
    net.cpu().train()
    return torch.cat(features).clone(), torch.stack(cracked)


def screen_task(
    net: ScreenNet, config: TrainingConfig, data: Path | None, mixture: Mapping[str, float], augmentation: Augmentation
) -> Task:
    """What `train_screen` has to learn."""
    train = PatchSource(data, mixture, net.config, seed=config.seed)

    def samples(first: int, length: int) -> PatchDataset:
        return PatchDataset(train, augmentation, length=length, seed=config.seed, start=first)

    held: PatchDataset | None = None
    if config.validation_crops:
        real = {name: share for name, share in mixture.items() if name != RENDERED}
        source = PatchSource(data, real, net.config, split="val", seed=config.seed)
        held = PatchDataset(source, None, length=config.validation_crops, seed=config.seed)
    module = ScreenModule(net, config)
    if not net.config.frozen_encoder:
        return Task(module, samples, None if held is None else lambda _: held)
    known = features_of(net, samples(0, COPIES * train.patches), batch=config.batch)
    known_held = None if held is None else features_of(net, held, batch=config.batch)
    return Task(
        module,
        lambda first, length: FeatureDataset(*known, length=length, start=first),
        None if known_held is None else lambda length: FeatureDataset(*known_held, length=length),
    )
