"""Training of the segmenters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from crackmap.calibration.errors import require
from crackmap.stages.datasets.crops import CLASSES, CropDataset, CropSource
from crackmap.stages.datasets.labels import SEALED
from crackmap.stages.segment.nets import SegmentNet
from crackmap.stages.training.loop import CrackModule, Task, TrainingConfig

CRACK_COVERAGE = 0.4
"""From this coverage on a pixel is crack for the Dice term."""

CLASS_WEIGHTS = {SEALED: 0.3}
"""Share of a class in the loss; 1 if not named. What is no crack only helps to tell what is."""

LOSSES = ("entropy+dice", "entropy+tversky", "entropy", "focal+dice", "dice")
"""The first is the default: the cross-entropy keeps the sub-pixel coverage of an edge; the Dice term makes the net
decide: without it the probability of a line whose place is uncertain by a pixel stays below 0.5 all along."""

FALSE_SHARE = {"dice": 0.5, "tversky": 0.65}
"""Weight of false pixels against missed ones in the overlap term (Salehi et al., MLMI 2017). Where labels are uncertain
Dice is won by drawing fat: a pixel pays from a probability of half the Dice score on, which is 0.3 on labels drawn by
hand."""

FOCUS = 2.0
"""Gamma of the focal loss (Lin et al., ICCV 2017)."""


def segmentation_loss(logits: Tensor, target: Tensor, weight: Tensor, *, loss: str = LOSSES[0]) -> Tensor:
    """(classes,) loss over the batch.

    Args:
        logits: (B, classes, H, W).
        target: (B, classes, H, W) coverage 0 to 1.
        weight: (B, classes, H, W) trust in the label.
        loss: one of LOSSES.
    """
    dims = (0, 2, 3)
    total = torch.zeros(logits.shape[1], device=logits.device)
    if loss != "dice":
        entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        if loss.startswith("focal"):
            entropy = entropy * (torch.sigmoid(logits) - target).abs() ** FOCUS
        total = total + (entropy * weight).sum(dims) / weight.sum(dims).clamp(min=1)
    overlap = loss.rpartition("+")[2]
    if overlap in FALSE_SHARE:
        false = FALSE_SHARE[overlap]
        decided = (target > CRACK_COVERAGE).float() * weight
        probability = torch.sigmoid(logits) * weight
        both = (probability * decided).sum(dims)
        drawn = false * probability.sum(dims) + (1 - false) * decided.sum(dims)
        total = total + 1 - (2 * both + 1) / (2 * drawn + 1)
    return total


class SegmentModule(CrackModule):
    """A segmenter under `segmentation_loss`."""

    net: SegmentNet

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The loss, and that of each class."""
        classes = self.net.config.classes
        images = batch["image"].float().contiguous(memory_format=torch.channels_last)
        target, weight = (batch[name][:, [CLASSES.index(item) for item in classes]] for name in ("target", "weight"))
        logits = self.net(images).float()
        each = segmentation_loss(logits, target, weight, loss=self.config.loss or LOSSES[0])
        shares = each.new_tensor([CLASS_WEIGHTS.get(item, 1.0) for item in classes])
        named = {f"loss_{name.replace(' ', '_')}": value for name, value in zip(classes, each, strict=True)}
        return {"loss": (each * shares).sum(), **named}


def segment_task(net: SegmentNet, config: TrainingConfig, train: CropSource, held_back: CropSource | None) -> Task:
    """The training of a segmenter on crops."""
    require((config.loss or LOSSES[0]) in LOSSES, "loss", f"one of {', '.join(LOSSES)}", config.loss)
    unknown = [name for name in net.config.classes if name not in CLASSES]
    require(not unknown, "classes", f"out of {', '.join(CLASSES)}", unknown)

    def crops(source: CropSource, first: int, length: int) -> Any:
        return CropDataset(source, length=length, seed=config.seed, start=first)

    return Task(
        SegmentModule(net.to(memory_format=torch.channels_last), config),
        lambda first, length: crops(train, first, length),
        None if held_back is None else lambda length: crops(held_back, 0, length),
    )
