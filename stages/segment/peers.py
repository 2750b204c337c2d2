"""Nets of segmentation-models-pytorch behind the same interface: what CrackSeg is measured against."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import shorten

import segmentation_models_pytorch as smp
from torch import Tensor, nn

from crackmap.calibration.errors import InputError, require
from crackmap.stages.checks import check_types
from crackmap.stages.encoders import Normalise, check_encoder
from crackmap.stages.segment.crackseg import check_classes

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
        check_types(self)
        check_classes(self.classes)
        check_encoder(self.encoder)
        require(self.architecture in ARCHITECTURES, "architecture", f"one of {', '.join(ARCHITECTURES)}",
                self.architecture)  # fmt: skip


class PeerNet(nn.Module):
    """One logit a class."""

    def __init__(self, config: PeerConfig) -> None:
        super().__init__()
        self.config = config
        self.normalise = Normalise(config.encoder)
        try:
            self.net = smp.create_model(
                config.architecture, config.encoder, encoder_weights=None, classes=len(config.classes)
            )
        except (KeyError, ValueError, NotImplementedError, RuntimeError) as error:
            reason = shorten(str(error), 300)
            raise InputError(f"{config.architecture} on encoder {config.encoder!r}: cannot be built ({reason}); "
                             "give an encoder such as mobilenet_v2 or resnet50") from error  # fmt: skip

    @property
    def encoder(self) -> nn.Module:
        """What ImageNet weights are for."""
        encoder: nn.Module = self.net.encoder
        return encoder

    def forward(self, images: Tensor) -> Tensor:
        """(B, classes, H, W) logits of RGB images (B, 3, H, W) from 0 to 255, H and W multiples of 32."""
        logits: Tensor = self.net(self.normalise(images))
        return logits
