"""RetinaNet for cracks: torchvision's detector on an encoder of segmentation-models-pytorch.

The detector looks at the road at reduced scale: it must say where a crack may be, not how wide it is, and at
full resolution it would cost more than the segmenter it is to spare. Its boxes are short pieces of crack
(stages.datasets.boxes), so a light net needs no pyramid level for large objects.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from crackmap.calibration.errors import require
from crackmap.stages.checks import check_channels, check_types
from crackmap.stages.encoders import IMAGENET, build_encoder

FIRST_LEVEL = 3
"""The finest pyramid level is P3, at 1/8."""


NET = "retinanet"
"""The kind of net in weight files."""


@dataclass(frozen=True, slots=True)
class RetinaNetConfig:
    """The shape of the detector; the defaults are the light net that ships.

    Attributes:
        encoder: name of an encoder of segmentation-models-pytorch.
        scale: the image is shrunk by this factor before the net sees it.
        levels: pyramid levels from P3 on: 3 = P3..P5, 5 = P3..P7 (published).
        channels: width of pyramid and heads (256 published).
        smallest_anchor_px: side of the finest level's smallest anchor, at the net's scale (32 published).
        longest_box_px: training boxes are cut to this, pixels of the full image; 0 = whole cracks.
        smallest_box_px: and grown to this: boxes of a few pixels are too small to be found reliably.
    """

    encoder: str = "mobilenet_v2"
    scale: float = 0.75
    levels: int = 3
    channels: int = 64
    smallest_anchor_px: int = 12
    longest_box_px: int = 48
    smallest_box_px: int = 32

    def __post_init__(self) -> None:
        check_types(self)
        require(0 < self.scale <= 1, "scale", "above 0, at most 1", self.scale)
        require(self.levels in (3, 5), "levels", "3 or 5", self.levels)
        check_channels(channels=self.channels)
        require(self.channels % 16 == 0, "channels", "a multiple of 16", self.channels)
        require(self.smallest_anchor_px >= 1, "smallest_anchor_px", "1 or more", self.smallest_anchor_px)
        for name in ("longest_box_px", "smallest_box_px"):
            require(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))


PUBLISHED = RetinaNetConfig("resnet50", 1.0, 5, 256, 32, 0, 40)
"""The detector as published: ResNet-50, P3..P7, anchors 32 to 512, whole image."""


class PyramidBackbone(nn.Module):
    """Encoder features at 1/8, 1/16, 1/32 turned into a feature pyramid."""

    def __init__(self, config: RetinaNetConfig) -> None:
        super().__init__()
        self.encoder = build_encoder(config.encoder)
        self.out_channels = config.channels
        extra = LastLevelP6P7(config.channels, config.channels) if config.levels == 5 else None
        self.pyramid = FeaturePyramidNetwork(list(self.encoder.out_channels[3:6]), config.channels, extra)

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Feature maps by level name, finest first."""
        features = self.encoder(images)
        maps: OrderedDict[str, Tensor] = self.pyramid(OrderedDict(zip("345", features[3:6], strict=True)))
        return maps


def build_retinanet(config: RetinaNetConfig) -> RetinaNet:
    """A RetinaNet that takes lists of (3, H, W) images from 0 to 1 and does not resize them."""
    sides = [config.smallest_anchor_px * 2**level for level in range(config.levels)]
    sizes = tuple(tuple(int(side * 2 ** (step / 3)) for step in range(3)) for side in sides)
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * config.levels)
    head = RetinaNetHead(
        config.channels,
        anchors.num_anchors_per_location()[0],
        num_classes=2,
        norm_layer=partial(nn.GroupNorm, 16),
    )
    net = RetinaNet(
        PyramidBackbone(config),
        num_classes=2,
        anchor_generator=anchors,
        head=head,
        score_thresh=0.05,
        nms_thresh=0.5,
        detections_per_img=1000,
        topk_candidates=2000,
    )
    mean, deviation = IMAGENET
    net.transform = _AsItComes(1, 1, list(mean), list(deviation))
    return net


class _AsItComes(GeneralizedRCNNTransform):
    """Normalises and pads, and leaves the size alone: torchvision's own `_skip_resize` holds while training only."""

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        return image, target


CRACK_LABEL = 1
"""Class 0 is torchvision's background."""


def as_input(image_rgb: Tensor) -> Tensor:
    """(3, H, W) uint8 or float 0..255 as the 0..1 float32 that torchvision's detectors expect."""
    return image_rgb.to(torch.float32) / 255.0
