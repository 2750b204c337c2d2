"""Training of the segmenter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional

from crackmap.stages.datasets.crops import SEGMENT_MIXTURE, CropDataset, CropSource
from crackmap.stages.segment.crackseg import CrackSeg, CrackSegConfig
from crackmap.stages.training.loop import CrackModule, TrainingConfig, fit, load_encoder
from crackmap.stages.weights import read_weights, save_weights

POSITIVE_WEIGHT = 2.0
"""A crack pixel counts this often in the cross-entropy, so that half-covered pixels of hairlines pass 0.5."""

CRACK_COVERAGE = 0.4
"""From this coverage on a pixel is crack for the Dice term."""


def segmentation_loss(logits: Tensor, crack: Tensor, weight: Tensor) -> Tensor:
    """Weighted cross-entropy plus Dice over the batch.

    The cross-entropy keeps the sub-pixel coverage of an edge; the Dice term makes the net decide: without it the
    probability of a line whose place is uncertain by a pixel stays below 0.5 all along.

    Args:
        logits: (B, 1, H, W).
        crack: (B, 1, H, W) coverage 0 to 1.
        weight: (B, 1, H, W) trust in the label.
    """
    emphasis = logits.new_tensor(POSITIVE_WEIGHT)
    entropy = functional.binary_cross_entropy_with_logits(
        logits, crack, weight=weight, pos_weight=emphasis, reduction="sum"
    )
    decided = (crack > CRACK_COVERAGE).float() * weight
    probability = torch.sigmoid(logits) * weight
    dice = 1 - (2 * (probability * decided).sum() + 1) / (probability.sum() + decided.sum() + 1)
    return entropy / weight.sum().clamp(min=1) + dice


class SegmentModule(CrackModule):
    """CrackSeg under `segmentation_loss`."""

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """The loss of one batch of crops."""
        images = batch["image"].float().contiguous(memory_format=torch.channels_last)
        loss = segmentation_loss(self.net(images).float(), batch["crack"], batch["weight"])
        self.log("loss", loss, prog_bar=True)
        return loss


def train_segment(
    config: TrainingConfig,
    net_config: CrackSegConfig,
    *,
    data: Path,
    out: Path,
    mixture: Mapping[str, float] = SEGMENT_MIXTURE,
    encoder_weights: Path | None = None,
    start: Path | None = None,
    resume: bool = False,
) -> Path:
    """Trains a segmenter and returns the path of its weights, out/segment.safetensors.

    Args:
        config: the training run.
        net_config: the shape of the net.
        data: data folder with the sets of the mixture.
        out: folder of the run.
        mixture: share of each source in the crops.
        encoder_weights: ImageNet weights of the encoder to start from.
        start: weights of an earlier training of the same net to start from.
        resume: go on from the last checkpoint in `out`.
    """
    pl.seed_everything(config.seed)
    net = CrackSeg(net_config)
    if encoder_weights is not None:
        load_encoder(net.encoder, encoder_weights)
    if start is not None:
        net.load_state_dict(read_weights(start).tensors)
    net = net.to(memory_format=torch.channels_last)
    source = CropSource(data, mixture, side_px=config.side_px)
    module = SegmentModule(net, config)
    fit(
        module,
        lambda first, length: CropDataset(source, length=length, seed=config.seed, start=first),
        out,
        resume=resume,
    )
    path = out / "segment.safetensors"
    save_weights(path, net, stage="segment", net="crackseg", config=net_config)
    return path
