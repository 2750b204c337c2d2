"""Nets of segmentation-models-pytorch behind the same interface: what CrackSeg is measured against."""

from __future__ import annotations

from dataclasses import dataclass

import segmentation_models_pytorch as smp
from torch import Tensor, nn

from crackmap.calibration.errors import require
from crackmap.stages.encoders import Normalise

ARCHITECTURES = ("unet", "pspnet", "deeplabv3plus")


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """A net of segmentation-models-pytorch as that library builds it by default.

    Attributes:
        architecture: one of ARCHITECTURES.
        encoder: name of its encoder.
        classes: what the net tells apart, in the order of its logits.
    """

    architecture: str = "unet"
    encoder: str = "mobilenet_v2"
    classes: tuple[str, ...] = ("crack",)

    def __post_init__(self) -> None:
        require(self.architecture in ARCHITECTURES, "architecture", f"one of {ARCHITECTURES}", self.architecture)


class PeerNet(nn.Module):
    """One logit a class."""

    def __init__(self, config: PeerConfig) -> None:
        super().__init__()
        self.config = config
        self.normalise = Normalise(config.encoder)
        self.net = smp.create_model(
            config.architecture, config.encoder, encoder_weights=None, classes=len(config.classes)
        )

    @property
    def encoder(self) -> nn.Module:
        """What ImageNet weights are for."""
        encoder: nn.Module = self.net.encoder
        return encoder

    def forward(self, images: Tensor) -> Tensor:
        """(B, classes, H, W) logits of RGB images (B, 3, H, W) from 0 to 255, H and W multiples of 32."""
        logits: Tensor = self.net(self.normalise(images))
        return logits
