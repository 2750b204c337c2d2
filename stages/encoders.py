"""Encoders of segmentation-models-pytorch, and how each of them wants its pixels."""

from __future__ import annotations

import re
from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from crackmap.calibration.errors import InputError, require

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def check_encoder(name: str) -> None:
    """Refuses what is no plain name of an encoder.

    To timm, behind the library, «tu-hf-hub:OWNER/NET» is an address to load from and «tu-local-dir:PATH» a folder, and
    the name may come from a weight file of a stranger.

    Raises:
        InputError: it holds anything but letters, digits, «_», «.» and «-».
    """
    require(re.fullmatch(r"[A-Za-z0-9_.-]+", name) is not None, "encoder",
            "a name such as mobilenet_v2, never an address or a path", name)  # fmt: skip


def build_encoder(name: str, **options: Any) -> Any:
    """The encoder called `name`, with random weights; `options` as smp.encoders.get_encoder takes them.

    Raises:
        InputError: there is none of this name, or it cannot be had this way.
    """
    check_encoder(name)
    try:
        return smp.encoders.get_encoder(name, in_channels=3, weights=None, **options)
    except (KeyError, ValueError, NotImplementedError) as error:
        raise InputError(
            f"encoder {name!r}: cannot be built ({error}); give one of segmentation-models-pytorch, for example "
            "mobilenet_v2, resnet50, resnet101 or timm-tf_efficientnet_lite0"
        ) from error


class Normalise(nn.Module):
    """Pixels from 0 to 255 as the ImageNet weights of an encoder expect them."""

    def __init__(self, encoder: str) -> None:
        super().__init__()
        mean, deviation = HALF if "efficientnet_lite" in encoder else IMAGENET
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) float."""
        return (images - self.get_buffer("mean")) / self.get_buffer("deviation")
