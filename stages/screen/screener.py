"""The screen stage: which patches of an image may hold cracks, and which windows the detector need look at."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crackmap.calibration.errors import WeightsError
from crackmap.stages.runtime import Engine, TorchEngine, choose_device, choose_engine, in_batches
from crackmap.stages.screen.classifier import ScreenConfig, ScreenNet
from crackmap.stages.screen.patches import even_patches
from crackmap.stages.tiling import PixelSource, Window
from crackmap.stages.weights import Weights, net_from

NET = "screen"
"""Name of the architecture in weight files."""


@dataclass(frozen=True, slots=True)
class Screener:
    """A loaded patch classifier, ready to screen.

    Attributes:
        net: what tells cracked patches.
        device: where it computes.
        engine: computes it; None: PyTorch does.
    """

    net: ScreenNet
    device: torch.device
    engine: Engine | None = None

    @classmethod
    def load(cls, weights: Weights, device: str = "auto", *, engine: str = "auto", streams: int = 1) -> Screener:
        """The classifier of a weight file, on `device`; `engine` and `streams` as `choose_engine` takes them.

        Raises:
            WeightsError: the file holds another net, or one that cannot be built.
            DeviceError: the device or the engine is not there.
        """
        if weights.net != NET:
            raise WeightsError(f"weights {weights.name}: expected a {NET} net, got {weights.net}; "
                               "give a file that `crackmap train screen` wrote")  # fmt: skip
        _, net = net_from(weights, lambda fields: ScreenConfig(**fields), ScreenNet)
        chosen = choose_device(device)
        net = net.eval().to(chosen).to(memory_format=torch.channels_last)
        return cls(net, chosen, choose_engine(ScreenGraph(net), chosen, engine, key=weights.sha256, streams=streams))

    def on_cpu(self) -> Screener:
        """The same on the CPU; this one stays where it is."""
        if self.device.type == "cpu":
            return self
        cpu = torch.device("cpu")
        return replace(self, net=copy.deepcopy(self.net).to(cpu), device=cpu, engine=None)

    def patches(self, size_wh_px: tuple[int, int]) -> list[Window]:
        """The patches of an image, rows first."""
        return even_patches(size_wh_px, patch_px=self.net.config.patch_px)

    def scores(self, source: PixelSource, tiles: Sequence[Window], *, batch: int = 16) -> NDArray[np.float64]:
        """(N,) probability that each tile holds a crack; tiles are resized to what the net sees."""

        def scored(few: Sequence[Window]) -> list[float]:
            images = [self.seen(source.read(t.x0, t.y0, t.width, t.height)) for t in few]
            return list(self.probabilities(np.stack(images)).tolist())

        return np.array([score for _, score in in_batches(tiles, scored, batch=batch)], np.float64)

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """(B,) probability that each (side, side, 3) RGB image of the batch holds a crack."""
        (found,) = (self.engine or TorchEngine(ScreenGraph(self.net), self.device))(images)
        return np.asarray(found, np.float64)

    def seen(self, patch: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The patch as the net sees it: (side, side, 3), mirrored on where an image is smaller than a patch."""
        config = self.net.config
        missing = [max(config.patch_px - length, 0) for length in patch.shape[:2]]
        if any(missing):
            patch = np.pad(patch, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")
        if patch.shape[:2] == (config.side_px, config.side_px):
            return patch
        method = cv2.INTER_AREA if patch.shape[0] > config.side_px else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(patch, (config.side_px, config.side_px), interpolation=method), np.uint8)


class ScreenGraph(nn.Module):
    """What an engine computes for the screener: from pixels to probabilities."""

    def __init__(self, net: ScreenNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """(B,) probability that each of the (B, side, side, 3) uint8 RGB images holds a crack."""
        pixels = images.permute(0, 3, 1, 2).float().contiguous(memory_format=torch.channels_last)
        return torch.sigmoid(self.net(pixels).float())
