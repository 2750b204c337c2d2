"""CrackSeg: a dilated encoder, a multiscale dilated convolution module and an up-sampling module.

After Song, Jia, Zhu, Jia, Gao, "Automated Pavement Crack Damage Detection Using Deep Multiscale Convolutional
Features", Journal of Advanced Transportation 2020, 6412562. Encoders come from segmentation-models-pytorch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from crackmap.calibration.errors import require
from crackmap.stages.checks import check_channels, check_types
from crackmap.stages.encoders import Normalise, build_encoder

LOW_LEVEL = ("conv1", "block1")

LARGEST_KERNEL, LARGEST_RATE, MOST_CONVOLUTIONS = 15, 64, 16


def check_classes(classes: tuple[str, ...]) -> None:
    """Refuses classes of which none is the one that is measured, two are the same, or one is no plain name.

    Masks are written under the names of their classes, and these come from weight files.

    Raises:
        InputError: one of these.
    """
    for name in classes:
        require(re.fullmatch(r"\w[\w +-]{0,59}", name) is not None, "classes",
                "names of letters, digits, blanks, «_», «+» and «-»", name)  # fmt: skip
    require("crack" in classes and len(set(classes)) == len(classes), "classes",
            'different names, one of them "crack", such as ["crack","sealed crack"]', classes)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CrackSegConfig:
    """The shape of a CrackSeg net; the defaults are the light net that ships.

    Attributes:
        encoder: name of an encoder of segmentation-models-pytorch that can run at output stride 16.
        reduce_channels: channels of the fused Block3 + Block4 before the multiscale module; 0 = all (published).
        fuse_block3: whether the multiscale module sees Block3 beside Block4.
        branches: (kernel, dilation rate) of each parallel branch of the multiscale module.
        branch_channels: channels of each branch.
        multiscale_channels: channels behind the multiscale module's 1x1 convolution.
        low_level: which low-level features the up-sampling module joins, out of "conv1" and "block1".
        low_channels: channels of these at 1/4.
        high_channels: channels of the high-level features when they join at 1/4.
        decoder_channels: channels of the 3x3 convolutions at 1/4.
        decoder_convolutions: how many there are.
        classes: what the net tells apart, in the order of its logits; each has its own sigmoid.
        refine_channels: channels of a refinement at 1/2 that ends in a learned up-sampling to full size;
            0 = logits at 1/4, resized (published). Lines of 1-2 px need it.
    """

    encoder: str = "mobilenet_v2"
    reduce_channels: int = 96
    fuse_block3: bool = True
    branches: tuple[tuple[int, int], ...] = ((1, 1), (3, 3), (5, 5))
    branch_channels: int = 64
    multiscale_channels: int = 128
    low_level: tuple[str, ...] = ("conv1", "block1")
    low_channels: int = 32
    high_channels: int = 64
    decoder_channels: int = 64
    decoder_convolutions: int = 3
    refine_channels: int = 32
    classes: tuple[str, ...] = ("crack",)

    def __post_init__(self) -> None:
        check_types(self)
        check_classes(self.classes)
        check_channels(
            branch_channels=self.branch_channels, multiscale_channels=self.multiscale_channels,
            low_channels=self.low_channels, high_channels=self.high_channels, decoder_channels=self.decoder_channels,
        )  # fmt: skip
        check_channels(0, reduce_channels=self.reduce_channels, refine_channels=self.refine_channels)
        require(1 <= self.decoder_convolutions <= MOST_CONVOLUTIONS, "decoder_convolutions",
                f"1 to {MOST_CONVOLUTIONS}", self.decoder_convolutions)  # fmt: skip
        known = set(self.low_level) <= set(LOW_LEVEL) and len(set(self.low_level)) == len(self.low_level)
        require(known, "low_level", f"none, one or both of {', '.join(LOW_LEVEL)}", self.low_level)
        require(1 <= len(self.branches) <= MOST_CONVOLUTIONS, "branches",
                f"1 to {MOST_CONVOLUTIONS} pairs of kernel and dilation rate, such as [[1,1],[3,3]]",
                self.branches)  # fmt: skip
        for kernel, rate in self.branches:
            require(kernel % 2 == 1 and 1 <= kernel <= LARGEST_KERNEL and 1 <= rate <= LARGEST_RATE, "branches",
                    f"odd kernels to {LARGEST_KERNEL} and rates from 1 to {LARGEST_RATE}", (kernel, rate))  # fmt: skip


PUBLISHED = CrackSegConfig(
    encoder="resnet50",
    reduce_channels=0,
    branch_channels=256,
    multiscale_channels=256,
    low_channels=256,
    high_channels=512,
    decoder_channels=256,
    refine_channels=0,
)
"""CrackSeg as published, ResNet-50."""


def convolution_block(channels_in: int, channels_out: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    """Convolution without bias, batch normalisation, ReLU; keeps height and width."""
    padding = dilation * (kernel - 1) // 2
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


def resized_like(features: Tensor, like: Tensor) -> Tensor:
    """`features` at the height and width of `like`, bilinear."""
    return functional.interpolate(features, size=like.shape[-2:], mode="bilinear", align_corners=False)


class MultiscaleDilatedModule(nn.Module):
    """Block3 and Block4 fused, seen by parallel dilated convolutions, concatenated, reduced by a 1x1 convolution.

    The paper's kernels 1x1, 3x3, 5x5 and rates 1, 3, 5 are taken as pairs, one branch each.
    """

    def __init__(self, channels_in: int, config: CrackSegConfig) -> None:
        super().__init__()
        reduces = config.reduce_channels > 0
        self.reduce = convolution_block(channels_in, config.reduce_channels, 1) if reduces else nn.Identity()
        self.fuse_block3 = config.fuse_block3
        width = config.reduce_channels or channels_in
        self.branches = nn.ModuleList(
            convolution_block(width, config.branch_channels, kernel, rate) for kernel, rate in config.branches
        )
        self.merge = convolution_block(config.branch_channels * len(config.branches), config.multiscale_channels, 1)

    def forward(self, block3: Tensor, block4: Tensor) -> Tensor:
        """(B, multiscale_channels, h, w) at 1/16."""
        fused = self.reduce(torch.cat([block3, block4], dim=1) if self.fuse_block3 else block4)
        merged: Tensor = self.merge(torch.cat([branch(fused) for branch in self.branches], dim=1))
        return merged


class UpsamplingModule(nn.Module):
    """Low-level features (Conv1 + Block1) and high-level ones joined at 1/4, then 3x3 convolutions."""

    def __init__(self, conv1: int, block1: int, config: CrackSegConfig) -> None:
        super().__init__()
        self.low_level = config.low_level
        low_in = sum({"conv1": conv1, "block1": block1}[name] for name in config.low_level)
        low_out = config.low_channels if config.low_level else 0
        self.low = convolution_block(low_in, low_out, 1) if config.low_level else None
        self.high = convolution_block(config.multiscale_channels, config.high_channels, 1)
        widths = [low_out + config.high_channels] + [config.decoder_channels] * config.decoder_convolutions
        self.convolutions = nn.Sequential(*(convolution_block(a, b, 3) for a, b in pairwise(widths)))

    def forward(self, conv1: Tensor, block1: Tensor, high: Tensor) -> Tensor:
        """(B, decoder_channels, h, w) at 1/4."""
        joined = [resized_like(self.high(high), block1)]
        if self.low is not None:
            features = {"conv1": functional.max_pool2d(conv1, 2), "block1": block1}
            joined.insert(0, self.low(torch.cat([features[name] for name in self.low_level], dim=1)))
        result: Tensor = self.convolutions(torch.cat(joined, dim=1))
        return result


class Refinement(nn.Module):
    """One step from 1/4 to 1/2 with Conv1's features, and a learned up-sampling from there to full size."""

    def __init__(self, conv1: int, config: CrackSegConfig) -> None:
        super().__init__()
        self.narrow = convolution_block(config.decoder_channels, config.refine_channels, 1)
        self.joined = convolution_block(config.refine_channels + conv1, config.refine_channels, 3)
        self.head = nn.Sequential(
            nn.Conv2d(config.refine_channels, 4 * len(config.classes), 3, padding=1), nn.PixelShuffle(2)
        )

    def forward(self, conv1: Tensor, features: Tensor) -> Tensor:
        """(B, classes, H, W) logits at full size."""
        joined = self.joined(torch.cat([resized_like(self.narrow(features), conv1), conv1], dim=1))
        logits: Tensor = self.head(joined)
        return logits


class CrackSeg(nn.Module):
    """CrackSeg with one logit a class: the softmax over {road, crack} of the paper is a sigmoid of their difference."""

    def __init__(self, config: CrackSegConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_encoder(config.encoder, output_stride=16)
        _, conv1, block1, _, block3, block4 = self.encoder.out_channels
        require(min(conv1, block1) > 0, "encoder", "one with features at every scale, such as mobilenet_v2 or resnet50",
                config.encoder)  # fmt: skip
        self.multiscale = MultiscaleDilatedModule(block4 + block3 * config.fuse_block3, config)
        self.upsampling = UpsamplingModule(conv1, block1, config)
        self.refinement = Refinement(conv1, config) if config.refine_channels else None
        self.head = None if config.refine_channels else nn.Conv2d(config.decoder_channels, len(config.classes), 1)
        self.normalise = Normalise(config.encoder)

    def forward(self, images: Tensor) -> Tensor:
        """(B, classes, H, W) logits of RGB images (B, 3, H, W) from 0 to 255, H and W multiples of 16."""
        _, conv1, block1, _, block3, block4 = self.encoder(self.normalise(images))
        features = self.upsampling(conv1, block1, self.multiscale(block3, block4))
        if self.refinement is not None:
            logits: Tensor = self.refinement(conv1, features)
        elif self.head is not None:
            logits = resized_like(self.head(features), images)
        return logits
