"""Training of the detector."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.models.detection import RetinaNet

from crackmap.calibration.errors import require
from crackmap.stages.datasets.boxes import boxes_from_mask
from crackmap.stages.datasets.crops import Crop, CropSource
from crackmap.stages.detect.retinanet import CRACK_LABEL, RetinaNetConfig, as_input
from crackmap.stages.segment.segmenter import Segmenter
from crackmap.stages.segment.settings import SegmentSettings
from crackmap.stages.tiling import ArraySource
from crackmap.stages.training.loop import CrackModule, Task, TrainingConfig

Sample = tuple[Tensor, dict[str, Tensor]]

LABEL_COVERAGE = 0.25
"""A pixel counts as crack for the boxes from this coverage on: hairlines of the renderer cover little."""

TEACHER_FINDS = 127
"""Of 255: what a segmenter is more sure of is measured."""


class BoxDataset(Dataset[Sample]):
    """Crops shrunk to the detector's scale, with their boxes as torchvision's detectors expect them."""

    def __init__(
        self, source: CropSource, net: RetinaNetConfig, teacher: Segmenter | None, *, length: int, seed: int, start: int
    ) -> None:
        self._source, self._net, self._teacher = source, net, teacher
        self._length, self._seed, self._start = length, seed, start

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Sample:
        cv2.setNumThreads(0)
        crop = self._source.draw(np.random.default_rng((self._seed, self._start + index)))
        boxes = self._boxes(crop) * self._net.scale
        image = cv2.resize(crop.image, None, fx=self._net.scale, fy=self._net.scale, interpolation=cv2.INTER_AREA)
        target = {
            "boxes": torch.from_numpy(boxes.astype(np.float32)),
            "labels": torch.full((len(boxes),), CRACK_LABEL, dtype=torch.int64),
        }
        return as_input(torch.from_numpy(image).permute(2, 0, 1)), target

    def _boxes(self, crop: Crop) -> NDArray[np.floating]:
        """(N, 4) boxes in pixels of the crop: cut from what the teacher finds, those of the set, or from the labels."""
        if self._teacher is not None:
            found = self._teacher.segment(ArraySource(crop.image), None, SegmentSettings())
            return self._cut(found.dense() > TEACHER_FINDS)
        if crop.boxes_xyxy_px is not None:
            return crop.boxes_xyxy_px
        # Where lines are not labelled (weight 0: alligator areas) the road is cracked all the same.
        cracked = (crop.target[0] > LABEL_COVERAGE) | (crop.weight[0] == 0)
        return self._cut(cracked)

    def _cut(self, cracked: NDArray[np.bool_]) -> NDArray[np.floating]:
        longest = self._net.longest_box_px or max(cracked.shape)
        return boxes_from_mask(cracked, longest_px=longest, smallest_px=self._net.smallest_box_px)


class DetectModule(CrackModule):
    """RetinaNet under torchvision's focal and box losses."""

    net: RetinaNet

    def losses(self, batch: tuple[list[Tensor], list[dict[str, Tensor]]]) -> dict[str, Tensor]:
        """The sum of both losses, and each of them."""
        # torchvision's detectors give losses only while they train; what has batch statistics must not.
        trains = self.net.training
        self.net.train()
        self.net.backbone.train(trains)
        self.net.head.train(trains)
        found: dict[str, Tensor] = self.net(*batch)
        self.net.train(trains)
        return {"loss": torch.stack(list(found.values())).sum(), **found}


def _as_lists(samples: list[Sample]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    return [image for image, _ in samples], [target for _, target in samples]


def detect_task(
    net: RetinaNet, net_config: RetinaNetConfig, config: TrainingConfig, train: CropSource,
    held_back: CropSource | None, teacher: Segmenter | None,
) -> Task:  # fmt: skip
    """The training of a detector on crops; `config.side_px` is their side before they are shrunk to its scale."""
    require(not config.loss, "loss", "nothing: a detector has one loss", config.loss)

    def boxes(source: CropSource, first: int, length: int) -> BoxDataset:
        return BoxDataset(source, net_config, teacher, length=length, seed=config.seed, start=first)

    return Task(
        DetectModule(net.to(memory_format=torch.channels_last), config),
        lambda first, length: boxes(train, first, length),
        None if held_back is None else lambda length: boxes(held_back, 0, length),
        _as_lists,
    )
