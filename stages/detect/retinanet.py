"""RetinaNet for cracks: torchvision's detector on an encoder of segmentation-models-pytorch.

The detector looks at the road at reduced scale: it must say where a crack may be, not how wide it is, and at
full resolution it would cost more than the segmenter it is to spare. Its boxes are short pieces of crack
(stages.datasets.boxes), so a light net needs no pyramid level for large objects.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
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
    """The shape of the detector.

    Attributes:
        encoder: name of an encoder of segmentation-models-pytorch.
        scale: the image is shrunk by this factor before the net sees it.
        wide_stem: the encoder's first convolution is 6 x 6 with stride 4 instead of 3 x 3 with stride 2: it sees every
            pixel of the image, hairlines too, at the price of an image at half the resolution.
        levels: pyramid levels: 3 = P3..P5, 5 = P3..P7 (published).
        head_levels: how many of them, from the finest on, have anchors, 0 = all; the others only lend them their view.
        channels: width of pyramid and heads (256 published).
        norm: of the heads, "group" or "batch"; batch normalisation costs nothing once the net is trained.
        smallest_anchor_px: side of the finest level's smallest anchor, at the net's scale (32 published).
        longest_box_px: training boxes are cut to this, pixels of the full image; 0 = whole cracks.
        smallest_box_px: and grown to this: boxes of a few pixels are too small to be found reliably.
    """

    encoder: str = "mobilenet_v2"
    scale: float = 0.75
    wide_stem: bool = False
    levels: int = 3
    head_levels: int = 0
    channels: int = 64
    norm: str = "group"
    smallest_anchor_px: int = 12
    longest_box_px: int = 48
    smallest_box_px: int = 32

    def __post_init__(self) -> None:
        check_types(self)
        require(0 < self.scale <= 1, "scale", "above 0, at most 1", self.scale)
        require(self.levels in (3, 5), "levels", "3 or 5", self.levels)
        require(0 <= self.head_levels <= self.levels, "head_levels", f"0 to levels = {self.levels}", self.head_levels)
        require(self.norm in ("group", "batch"), "norm", "group or batch", self.norm)
        check_channels(channels=self.channels)
        require(self.channels % 16 == 0, "channels", "a multiple of 16", self.channels)
        require(self.smallest_anchor_px >= 1, "smallest_anchor_px", "1 or more", self.smallest_anchor_px)
        for name in ("longest_box_px", "smallest_box_px"):
            require(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))

    @property
    def levels_with_anchors(self) -> int:
        """How many pyramid levels the heads look at."""
        return self.head_levels or self.levels


LIGHT = RetinaNetConfig(
    scale=1.0, wide_stem=True, head_levels=1, channels=48, norm="batch", smallest_anchor_px=24, longest_box_px=36,
    smallest_box_px=28,
)  # fmt: skip
"""The light net that ships."""

PUBLISHED = RetinaNetConfig("resnet50", 1.0, False, 5, 0, 256, "group", 32, 0, 40)
"""The detector as published: ResNet-50, P3..P7, anchors 32 to 512, whole image."""


class WideStem(nn.Conv2d):
    """A convolution of 6 x 6 with stride 4 that starts as: shrink by 2, then one of 3 x 3 with stride 2."""

    def __init__(self, channels_out: int) -> None:
        super().__init__(3, channels_out, 6, stride=4, padding=2, bias=False)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        """Takes weights of 3 x 3 as well, such as those of an encoder that was trained on ImageNet."""
        weight = state_dict.get(prefix + "weight")
        if weight is not None and weight.shape[2:] == (3, 3):
            state_dict[prefix + "weight"] = weight.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4
        super()._load_from_state_dict(state_dict, prefix, *rest)


def widen_stem(encoder: nn.Module, name: str) -> None:
    """Puts a WideStem in place of the first convolution of an encoder.

    Raises:
        InputError: that is not one of 3 x 3 with stride 2.
    """
    for path, module in encoder.named_modules():
        if isinstance(module, nn.Conv2d):
            fits = (module.in_channels, module.kernel_size, module.stride, module.bias) == (3, (3, 3), (2, 2), None)
            require(fits, "encoder", "one that begins with a convolution of 3 x 3 and stride 2, such as mobilenet_v2, "
                    "where wide_stem is true", name)  # fmt: skip
            parent, _, child = path.rpartition(".")
            setattr(encoder.get_submodule(parent), child, WideStem(module.out_channels))
            return


class PyramidBackbone(nn.Module):
    """Encoder features at 1/8, 1/16, 1/32 of what the net sees (half that with a wide stem) as a feature pyramid."""

    def __init__(self, config: RetinaNetConfig) -> None:
        super().__init__()
        self.encoder = build_encoder(config.encoder)
        if config.wide_stem:
            widen_stem(self.encoder, config.encoder)
        self.out_channels = config.channels
        self.with_anchors = config.levels_with_anchors
        self.finest_stride_px = 16 if config.wide_stem else 8
        extra = LastLevelP6P7(config.channels, config.channels) if config.levels == 5 else None
        self.pyramid = FeaturePyramidNetwork(list(self.encoder.out_channels[3:6]), config.channels, extra)

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Feature maps of the levels that have anchors by name, finest first."""
        features = self.encoder(images)
        maps: OrderedDict[str, Tensor] = self.pyramid(OrderedDict(zip("345", features[3:6], strict=True)))
        return OrderedDict(list(maps.items())[: self.with_anchors])


def build_retinanet(config: RetinaNetConfig) -> RetinaNet:
    """A RetinaNet that takes lists of (3, H, W) images from 0 to 1 and does not resize them."""
    sides = [config.smallest_anchor_px * 2**level for level in range(config.levels_with_anchors)]
    sizes = tuple(tuple(int(side * 2 ** (step / 3)) for step in range(3)) for side in sides)
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * config.levels_with_anchors)
    head = RetinaNetHead(
        config.channels,
        anchors.num_anchors_per_location()[0],
        num_classes=2,
        norm_layer=partial(nn.GroupNorm, 16) if config.norm == "group" else nn.BatchNorm2d,
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


class DetectGraph(nn.Module):
    """What an engine computes for the detector: from pixels to scores and box deltas, before boxes are chosen."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, net: RetinaNet) -> None:
        super().__init__()
        self.backbone, self.head = net.backbone, net.head
        self.a_place = net.anchor_generator.num_anchors_per_location()[0]
        device = next(net.parameters()).device
        for name, values in zip(("mean", "deviation"), IMAGENET, strict=True):
            self.register_buffer(name, 255 * torch.tensor(values, device=device).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is seen in (B, H, W, 3) uint8 RGB, H and W multiples of 32.

        Returns:
            (B, places) score of the best anchor of each place, (B, anchors) logits and (B, anchors, 4) deltas.
        """
        pixels = images.permute(0, 3, 1, 2).float()
        normalised = ((pixels - self.mean) / self.deviation).contiguous(memory_format=torch.channels_last)
        found = self.head(list(self.backbone(normalised).values()))
        logits = found["cls_logits"][..., CRACK_LABEL].float()
        best = torch.sigmoid(logits.view(len(logits), -1, self.a_place).amax(dim=2))
        return best, logits, found["bbox_regression"].float()


def padded_to_32(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The (H, W, 3) image with what is nothing to the net at its right and below, sides multiples of 32."""
    right, below = -image.shape[1] % 32, -image.shape[0] % 32
    if not (right or below):
        return image
    mean = tuple(round(255 * value) for value in IMAGENET[0])
    return np.asarray(cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT, value=mean), np.uint8)
