"""Training of the detector."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import Dataset

from crackmap.stages.datasets.boxes import boxes_from_mask
from crackmap.stages.datasets.crops import DETECT_MIXTURE, CropSource
from crackmap.stages.detect.retinanet import CRACK_LABEL, RetinaNetConfig, as_input, build_retinanet
from crackmap.stages.training.loop import CrackModule, TrainingConfig, fit, load_encoder
from crackmap.stages.weights import read_weights, save_weights

Sample = tuple[Tensor, dict[str, Tensor]]

LABEL_COVERAGE = 0.25
"""A pixel counts as crack for the boxes from this coverage on: hairlines of the renderer cover little."""


class BoxDataset(Dataset[Sample]):
    """Crops shrunk to the detector's scale, with their boxes as torchvision's detectors expect them."""

    def __init__(self, source: CropSource, net: RetinaNetConfig, *, length: int, seed: int, start: int) -> None:
        self._source, self._net, self._length, self._seed, self._start = source, net, length, seed, start

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Sample:
        cv2.setNumThreads(0)
        crop = self._source.draw(np.random.default_rng((self._seed, self._start + index)))
        # Where lines are not labelled (weight 0: alligator areas) the road is cracked all the same.
        cracked = (crop.crack > LABEL_COVERAGE) | (crop.weight == 0)
        longest = self._net.longest_box_px or max(cracked.shape)
        boxes = boxes_from_mask(cracked, longest_px=longest, smallest_px=self._net.smallest_box_px) * self._net.scale
        image = cv2.resize(crop.image, None, fx=self._net.scale, fy=self._net.scale, interpolation=cv2.INTER_AREA)
        target = {
            "boxes": torch.from_numpy(boxes.astype(np.float32)),
            "labels": torch.full((len(boxes),), CRACK_LABEL, dtype=torch.int64),
        }
        return as_input(torch.from_numpy(image).permute(2, 0, 1)), target


class DetectModule(CrackModule):
    """RetinaNet under torchvision's focal and box losses."""

    def training_step(self, batch: tuple[list[Tensor], list[dict[str, Tensor]]], _: int) -> Tensor:
        """The loss of one batch of crops."""
        losses: dict[str, Tensor] = self.net(*batch)
        loss = torch.stack(list(losses.values())).sum()
        self.log_dict({**losses, "loss": loss}, prog_bar=True, batch_size=len(batch[0]))
        return loss


def _as_lists(samples: list[Sample]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    return [image for image, _ in samples], [target for _, target in samples]


def train_detect(
    config: TrainingConfig,
    net_config: RetinaNetConfig,
    *,
    data: Path,
    out: Path,
    mixture: Mapping[str, float] = DETECT_MIXTURE,
    encoder_weights: Path | None = None,
    start: Path | None = None,
    resume: bool = False,
) -> Path:
    """Trains a detector and returns the path of its weights, out/detect.safetensors; arguments as `train_segment`.

    `config.side_px` is the side of a crop before it is shrunk to the detector's scale.
    """
    pl.seed_everything(config.seed)
    net: Any = build_retinanet(net_config)
    if encoder_weights is not None:
        load_encoder(net.backbone.encoder, encoder_weights)
    if start is not None:
        net.load_state_dict(read_weights(start).tensors)
    net = net.to(memory_format=torch.channels_last)
    source = CropSource(data, mixture, side_px=config.side_px)
    module = DetectModule(net, config)
    fit(
        module,
        lambda first, length: BoxDataset(source, net_config, length=length, seed=config.seed, start=first),
        out,
        resume=resume,
        collate=_as_lists,
    )
    path = out / "detect.safetensors"
    save_weights(path, module.net, stage="detect", net="retinanet", config=net_config)
    return path
