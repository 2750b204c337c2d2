"""Patch classifiers: does this piece of road hold a crack? The networks of torchvision with a head of our own.

Two published systems are presets. Polat, Colak, Kilic, "Road Surface Crack Detection Using Deep Learning in Smart
Cities", 2025: MobileNetV2, a frozen base, one sigmoid output behind a dropout of 0.5. And a ResNet-50 with two outputs,
trained on SDNET2018.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor, nn

from crackmap.calibration.errors import require
from crackmap.stages.checks import check_types
from crackmap.stages.encoders import IMAGENET

ENCODERS = ("mobilenet_v2", "resnet50")
HEADS = ("sigmoid", "softmax")
NORMALISATIONS = {"imagenet": IMAGENET, "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))}
"""Mean and deviation, by channel, of pixels from 0 to 1."""
POOLS = ("mean", "max", "both")

LARGEST_SIDE_PX = 4096
"""Of what the net sees: beyond it a wrong number fills the memory."""

DROPOUT = 0.5
"""In front of the sigmoid head, as published."""


@dataclass(frozen=True, slots=True)
class ScreenConfig:
    """The shape of a patch classifier; the defaults are the light net of this project.

    Attributes:
        encoder: "mobilenet_v2" or "resnet50" of torchvision.
        head: "sigmoid" = dropout and one output; "softmax" = two outputs. Both answer with one logit.
        frozen_encoder: only the head is trained; the encoder keeps its statistics too.
        side_px: side of the square the net sees.
        scale: an image is resized by this before patches of `side_px` are cut from it.
        normalisation: "imagenet" = mean and deviation that ImageNet weights expect; "unit" = 0 to 1 (published with
            MobileNetV2).
        pool: how the last feature map becomes one vector: "mean" (published), "max", or "both" side by side. A
            hairline fills a thousandth of a patch, and its trace drowns in a mean.
    """

    encoder: str = "mobilenet_v2"
    head: str = "sigmoid"
    frozen_encoder: bool = False
    side_px: int = 224
    scale: float = 1.0
    normalisation: str = "imagenet"
    pool: str = "both"

    def __post_init__(self) -> None:
        check_types(self)
        require(self.encoder in ENCODERS, "encoder", f"one of {', '.join(ENCODERS)}", self.encoder)
        require(self.head in HEADS, "head", f"one of {', '.join(HEADS)}", self.head)
        require(self.normalisation in NORMALISATIONS, "normalisation", f"one of {', '.join(NORMALISATIONS)}",
                self.normalisation)  # fmt: skip
        require(self.pool in POOLS, "pool", f"one of {', '.join(POOLS)}", self.pool)
        require(32 <= self.side_px <= LARGEST_SIDE_PX, "side_px", f"32 to {LARGEST_SIDE_PX}", self.side_px)
        require(0 < self.scale <= 4, "scale", "above 0, at most 4", self.scale)

    @property
    def patch_px(self) -> int:
        """Side of a patch in pixels of the image."""
        return max(round(self.side_px / self.scale), 1)


PUBLISHED_MOBILENETV2 = ScreenConfig(frozen_encoder=True, normalisation="unit", pool="mean")
"""As published: MobileNetV2 with ImageNet weights, which stay, and a new head."""

PUBLISHED_RESNET50 = ScreenConfig(encoder="resnet50", head="softmax", pool="mean")
"""As published: ResNet-50 with two outputs, all of it trained."""


class ScreenNet(nn.Module):
    """A patch classifier with one logit a patch: the softmax over two outputs is a sigmoid of their difference."""

    def __init__(self, config: ScreenConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, channels = _feature_maps(config.encoder)
        width = 2 * channels if config.pool == "both" else channels
        self.dropout = nn.Dropout(DROPOUT if config.head == "sigmoid" else 0.0)
        self.head = nn.Linear(width, 1 if config.head == "sigmoid" else 2)
        mean, deviation = NORMALISATIONS[config.normalisation]
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(1, 3, 1, 1) * 255, persistent=False)
        if config.frozen_encoder:
            self.encoder.requires_grad_(False)

    @property
    def last_block(self) -> nn.Module:
        """The last block of the encoder: layer4 of ResNet-50, the last of MobileNetV2."""
        *_, last = self.encoder.children()
        return last if self.config.encoder == "resnet50" else last[-1]  # type: ignore[index]

    @property
    def sharp_block(self) -> nn.Module:
        """The last block at 1/16, layer3 of ResNet-50: its heat tells places 16 px apart, that of the last block 32."""
        if self.config.encoder == "resnet50":
            return self.encoder.get_submodule("layer3")
        return self.encoder.get_submodule("features.13")

    def train(self, mode: bool = True) -> ScreenNet:
        """As nn.Module.train; a frozen encoder stays as it is for inference."""
        super().train(mode)
        if self.config.frozen_encoder:
            self.encoder.eval()
        return self

    def features(self, images: Tensor) -> Tensor:
        """(B, width) pooled features of RGB images (B, 3, H, W) from 0 to 255."""
        maps = self.encoder((images - self.get_buffer("mean")) / self.get_buffer("deviation"))
        pooled = []
        if self.config.pool in ("mean", "both"):
            pooled.append(maps.mean(dim=(2, 3)))
        if self.config.pool in ("max", "both"):
            pooled.append(maps.amax(dim=(2, 3)))
        return torch.cat(pooled, dim=1)

    def logits(self, features: Tensor) -> Tensor:
        """(B,) logits of "cracked" of pooled features."""
        outputs: Tensor = self.head(self.dropout(features))
        return outputs[:, 0] if self.config.head == "sigmoid" else outputs[:, 1] - outputs[:, 0]

    def forward(self, images: Tensor) -> Tensor:
        """(B,) logits of "cracked" of RGB images (B, 3, H, W) from 0 to 255."""
        return self.logits(self.features(images))


def _feature_maps(encoder: str) -> tuple[nn.Sequential, int]:
    """The layers in front of the pooling, named as in torchvision's weight files, and their number of channels."""
    if encoder == "mobilenet_v2":
        net = torchvision.models.mobilenet_v2(weights=None)
        return nn.Sequential(OrderedDict(features=net.features)), net.last_channel
    net = torchvision.models.resnet50(weights=None)
    layers = OrderedDict(list(net.named_children())[:-2])
    return nn.Sequential(layers), net.fc.in_features
