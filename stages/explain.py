"""Where a net looks: Grad-CAM, and its local form for nets that answer in many places.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017.
Draelos, Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations", arXiv 2011.08891, 2020.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crackmap.calibration.errors import require
from crackmap.stages.detect.detector import Detector
from crackmap.stages.detect.retinanet import CRACK_LABEL, as_input
from crackmap.stages.encoders import IMAGENET

Heat = NDArray[np.float32]

LEAST_SCORE = 0.05
"""The detector's heat explains all scores from this on, which is what the net can report; else the best one."""


def grad_cam(net: Callable[[Tensor], Tensor], layer: nn.Module, image: NDArray[np.uint8]) -> Heat:
    """Heat of an image: how much each place of `layer` speaks for the net's answer.

    Args:
        net: from (1, 3, H, W) RGB images, 0 to 255, to scores, which are added up.
        layer: part of the net whose output is a feature map (1, C, h, w).
        image: (H, W, 3) uint8 RGB.

    Returns:
        (H, W) from 0 to 1, the strongest place 1; all 0 where nothing speaks for the answer.
    """
    return normalised(raw_heat(net, layer, image))


def raw_heat(
    net: Callable[[Tensor], Tensor], layer: nn.Module, image: NDArray[np.uint8], *, local: bool = False
) -> Heat:
    """(H, W) heat of an image in units of the score, which tiles of one picture share.

    Args:
        net: as `grad_cam`.
        layer: as there.
        image: as there.
        local: weigh each place of the layer by its own gradient (HiResCAM), not by the mean over all places (Grad-CAM).
            A detector answers in many places, and the mean says nothing about one of them.
    """
    require(image.ndim == 3 and image.shape[2] == 3, "image", "shape (H, W, 3)", image.shape)
    maps: list[Tensor] = []

    def watch(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        # Cut off from what lies before: an encoder may be frozen, and its gradients would cost for nothing.
        maps.append(output.detach().requires_grad_())
        # A later layer may work in place, which the map itself must not suffer.
        return maps[-1].clone()

    parameter = next(layer.parameters())
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].to(parameter.device, torch.float32)
    hook = layer.register_forward_hook(watch)
    try:
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(net(tensor).float().sum(), maps)
    finally:
        hook.remove()
    weights = gradient if local else gradient.mean(dim=(2, 3), keepdim=True)
    # What speaks against the answer is dropped.
    heat = torch.relu((weights * maps[0].detach()).sum(dim=1))[0].float().cpu().numpy()
    return _resized(heat, (image.shape[0], image.shape[1]))


def _resized(heat: Heat, shape: tuple[int, int]) -> Heat:
    return np.asarray(cv2.resize(heat, shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def normalised(heat: Heat) -> Heat:
    """The heat divided by its greatest value; unchanged if that is 0."""
    greatest = float(heat.max(initial=0.0))
    return heat / np.float32(greatest) if greatest > 0 else heat


def detector_heat(detector: Detector, image: NDArray[np.uint8]) -> Heat:
    """(H, W) heat of the detector's crack scores from LEAST_SCORE on, in units of the score.

    Over the finest features that the encoder hands to the pyramid, at 1/8: there short boxes are decided. Those of its
    last block, 1/32 of a halved image, light up the surroundings, texture and shadow.
    """
    net, scale = detector.net, detector.config.scale
    small_wh = tuple(max(round(length * scale), 32) for length in image.shape[1::-1])
    small = np.asarray(cv2.resize(image, small_wh, interpolation=cv2.INTER_AREA), np.uint8)
    # torchvision pads to multiples of 32 with what is 0 once normalised. Padded here, the heat keeps its place.
    right, below = (-length % 32 for length in small_wh)
    mean = tuple(round(255 * value) for value in IMAGENET[0])
    padded = np.asarray(cv2.copyMakeBorder(small, 0, below, 0, right, cv2.BORDER_CONSTANT, value=mean), np.uint8)

    def scores(images: Tensor) -> Tensor:
        batch, _ = net.transform([as_input(images[0])])
        logits = net.head(list(net.backbone(batch.tensors).values()))["cls_logits"][0, :, CRACK_LABEL]
        found = torch.sigmoid(logits.float())
        return found[found >= min(LEAST_SCORE, float(found.detach().max()))]

    finest = net.backbone.pyramid.inner_blocks[0]
    heat = raw_heat(scores, finest, padded, local=True)[: small_wh[1], : small_wh[0]]
    return _resized(heat, (image.shape[0], image.shape[1]))


def heat_share_on_crack(heat: Heat, crack: NDArray[np.bool_]) -> tuple[float, float]:
    """Share of the heat that lies on a crack, and its ratio to what evenly spread heat would give.

    Args:
        heat: (H, W), 0 or more.
        crack: (H, W) the crack, usually dilated: a feature map is coarse.

    Returns:
        Share from 0 to 1 (0 without any heat), and share / (share of the area that is crack).

    Raises:
        InputError: the shapes differ, or there is no crack pixel.
    """
    require(heat.shape == crack.shape, "heat", f"shape {crack.shape}", heat.shape)
    require(bool(crack.any()), "crack", "one crack pixel or more", 0)
    total = float(heat.sum(dtype=np.float64))
    share = float(heat[crack].sum(dtype=np.float64)) / total if total > 0 else 0.0
    return share, share / float(crack.mean())
