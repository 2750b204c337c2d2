"""CrackNet: a U-shaped net on a ResNet-101 encoder that looks at grey images.

The encoder-decoder for concrete cracks of SEEDS 3, called CrackNet there, not the one for 3D laser images: bilinear
up-sampling and convolution, features of every scale of the encoder joined by concatenation.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from crackmap.stages.checks import check_channels, check_types
from crackmap.stages.encoders import Normalise, build_encoder
from crackmap.stages.segment.crackseg import check_classes, convolution_block, resized_like

LUMINANCE = (0.299, 0.587, 0.114)
"""ITU-R BT.601, as OpenCV turns RGB to grey."""


@dataclass(frozen=True, slots=True)
class CrackNetConfig:
    """The shape of a CrackNet; the defaults are the published net.

    Attributes:
        encoder: name of an encoder of segmentation-models-pytorch.
        decoder_channels: of the up-sampling steps to 1/16, 1/8, 1/4, 1/2 and full size.
        classes: what the net tells apart, in the order of its logits.
    """

    encoder: str = "resnet101"
    decoder_channels: tuple[int, int, int, int, int] = (256, 128, 64, 32, 16)
    classes: tuple[str, ...] = ("crack",)

    def __post_init__(self) -> None:
        check_types(self)
        check_classes(self.classes)
        for channels in self.decoder_channels:
            check_channels(decoder_channels=channels)


class CrackNet(nn.Module):
    """One logit a class; grey images go to the encoder three times, so that its ImageNet weights fit."""

    def __init__(self, config: CrackNetConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_encoder(config.encoder)
        self.normalise = Normalise(config.encoder)
        # Full size has no features of its own but the grey image.
        skips = [*list(self.encoder.out_channels[1:5])[::-1], 1]
        widths = [self.encoder.out_channels[5], *config.decoder_channels]
        self.steps = nn.ModuleList(
            nn.Sequential(convolution_block(a + skip, b, 3), convolution_block(b, b, 3))
            for (a, b), skip in zip(pairwise(widths), skips, strict=True)
        )
        self.head = nn.Conv2d(widths[-1], len(config.classes), 1)
        self.register_buffer("luminance", torch.tensor(LUMINANCE).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, classes, H, W) logits of RGB images (B, 3, H, W) from 0 to 255, H and W multiples of 32."""
        grey = (images * self.get_buffer("luminance")).sum(dim=1, keepdim=True)
        _, *features, deepest = self.encoder(self.normalise(grey.expand(-1, 3, -1, -1)))
        result: Tensor = deepest
        for step, skip in zip(self.steps, [*features[::-1], grey / 255], strict=True):
            result = step(torch.cat([resized_like(result, skip), skip], dim=1))
        logits: Tensor = self.head(functional.dropout(result, 0.1, self.training))
        return logits
