"""The detect stage: tiles of an image in, regions out."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.models.detection import RetinaNet
from torchvision.ops import nms

from crackmap.calibration.errors import WeightsError
from crackmap.stages.detect.boxes import best_boxes
from crackmap.stages.detect.retinanet import NET, DetectGraph, RetinaNetConfig, build_retinanet, padded_to_32
from crackmap.stages.detect.settings import DetectSettings
from crackmap.stages.records import Region
from crackmap.stages.runtime import Engine, TorchEngine, choose_device, choose_engine
from crackmap.stages.tiling import PixelSource, Window, even_tiles
from crackmap.stages.weights import Weights, net_from


@dataclass(frozen=True, slots=True)
class Detector:
    """A loaded RetinaNet, ready to detect.

    Attributes:
        net: what finds the boxes.
        config: its shape.
        device: where it computes.
        engine: computes it; None: PyTorch does.
    """

    net: RetinaNet
    config: RetinaNetConfig
    device: torch.device
    engine: Engine | None = None

    @classmethod
    def load(cls, weights: Weights, device: str = "auto", *, engine: str = "auto", streams: int = 1) -> Detector:
        """The detector of a weight file, on `device`; `engine` and `streams` as `choose_engine` takes them.

        Raises:
            WeightsError: the file holds another net, or one that cannot be built.
            DeviceError: the device or the engine is not there.
        """
        if weights.net != NET:
            raise WeightsError(f"weights {weights.name}: expected a {NET} net, got {weights.net}; "
                               "give a file that `crackmap train detect` wrote")  # fmt: skip
        config, net = net_from(weights, lambda fields: RetinaNetConfig(**fields), build_retinanet)
        chosen = choose_device(device)
        net = net.eval().to(chosen).to(memory_format=torch.channels_last)
        computes = choose_engine(DetectGraph(net), chosen, engine, key=weights.sha256, streams=streams)
        return cls(net, config, chosen, computes)

    def on_cpu(self) -> Detector:
        """The same on the CPU; this one stays where it is."""
        if self.device.type == "cpu":
            return self
        cpu = torch.device("cpu")
        return replace(self, net=copy.deepcopy(self.net).to(cpu), device=cpu, engine=None)

    def tiles(self, size_wh_px: tuple[int, int], settings: DetectSettings) -> list[Window]:
        """The tiles of an image of this size."""
        return even_tiles(size_wh_px, tile_px=settings.tile_px, overlap_px=settings.overlap_px)

    def detect(
        self, source: PixelSource, settings: DetectSettings, within: Sequence[Window] | None = None
    ) -> tuple[Region, ...]:
        """The regions of one image, best first; looks at the windows `within` instead of all tiles, if given."""
        windows = self.tiles(source.size_wh_px, settings) if within is None else within
        boxes, scores = [np.zeros((0, 4))], [np.zeros(0)]
        engine = self.engine or TorchEngine(DetectGraph(self.net), self.device)
        computed = engine.each(padded_to_32(self._shrunk(source, tile))[None] for tile in windows)
        for tile, found in zip(windows, computed, strict=True):
            in_tile, tile_scores = best_boxes(self.net, self._seen_wh(tile), *found)
            scale = np.array([tile.width, tile.height] * 2) / (self._seen_wh(tile) * 2)
            tile_boxes = in_tile * scale + (tile.x0, tile.y0, tile.x0, tile.y0)
            keep = (tile_scores >= settings.score) & _away_from_seams(tile_boxes, tile, source.size_wh_px)
            boxes.append(tile_boxes[keep])
            scores.append(tile_scores[keep])
        grown = settings.grow_px, source.size_wh_px
        return _regions(np.vstack(boxes), np.concatenate(scores), settings.nms_iou, *grown)

    def _seen_wh(self, tile: Window) -> tuple[int, int]:
        """Size in which the net sees a tile."""
        if self.config.scale == 1.0:
            return tile.width, tile.height
        return max(round(tile.width * self.config.scale), 32), max(round(tile.height * self.config.scale), 32)

    def _shrunk(self, source: PixelSource, tile: Window) -> NDArray[np.uint8]:
        image, seen_wh = source.read(tile.x0, tile.y0, tile.width, tile.height), self._seen_wh(tile)
        if seen_wh == (tile.width, tile.height):
            return image
        return np.asarray(cv2.resize(image, seen_wh, interpolation=cv2.INTER_AREA), np.uint8)


SEAM_PX = 32
"""Boxes with their middle this close to an inner tile edge are left to the neighbour, which sees them whole."""


def _away_from_seams(boxes: NDArray[np.float64], tile: Window, size_wh_px: tuple[int, int]) -> NDArray[np.bool_]:
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    inside = np.ones(len(boxes), bool)
    if tile.x0 > 0:
        inside &= x >= tile.x0 + SEAM_PX
    if tile.y0 > 0:
        inside &= y >= tile.y0 + SEAM_PX
    if tile.x1 < size_wh_px[0]:
        inside &= x < tile.x1 - SEAM_PX
    if tile.y1 < size_wh_px[1]:
        inside &= y < tile.y1 - SEAM_PX
    return inside


def _regions(
    boxes: NDArray[np.float64], scores: NDArray[np.float64], iou: float, grow_px: float, size_wh_px: tuple[int, int]
) -> tuple[Region, ...]:
    keep = nms(torch.from_numpy(boxes), torch.from_numpy(scores), iou).numpy()
    keep = keep[(boxes[keep, 2:] > boxes[keep, :2]).all(axis=1)]
    grown = np.clip(boxes[keep] + np.array([-1, -1, 1, 1]) * grow_px, 0, np.array(size_wh_px * 2))
    regions = []
    for (x0, y0, x1, y1), score in zip(grown.tolist(), scores[keep].tolist(), strict=True):
        regions.append(Region((x0, y0, x1, y1), min(score, 1.0)))
    return tuple(regions)
