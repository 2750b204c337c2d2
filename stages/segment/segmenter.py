"""The segment stage: crack probabilities, computed only inside the cells that hold regions."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crackmap.calibration.errors import WeightsError
from crackmap.stages.packing import PackedWindow, pack_windows
from crackmap.stages.records import BLOCK_PX, CrackMask, Region
from crackmap.stages.regions import CELL_PX, area_share, cell_grid_shape, cells_of_regions
from crackmap.stages.runtime import Engine, TorchEngine, choose_device, choose_engine, in_batches
from crackmap.stages.segment.nets import CONFIGS, SegmentNet, build_segment_net, segment_config
from crackmap.stages.segment.settings import CRACK, SegmentSettings
from crackmap.stages.tiling import PixelSource
from crackmap.stages.weights import Weights, net_from


@dataclass(frozen=True, slots=True)
class Segmenter:
    """A loaded net, ready to segment.

    Attributes:
        net: what computes the logits.
        device: where it computes.
        classes: what it tells apart; CRACK is one of them.
        calibration: class -> scale and offset of its logits, so that probabilities are what they say.
        engine: computes the net; None: PyTorch does.
    """

    net: SegmentNet
    device: torch.device
    classes: tuple[str, ...] = (CRACK,)
    calibration: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    engine: Engine | None = None

    @classmethod
    def load(cls, weights: Weights, device: str = "auto", *, engine: str = "auto", streams: int = 1) -> Segmenter:
        """The segmenter of a weight file, on `device`; `engine` and `streams` as `choose_engine` takes them.

        Raises:
            WeightsError: the file holds no net that segments cracks, or one that cannot be built.
            DeviceError: the device or the engine is not there.
        """
        if weights.net not in CONFIGS:
            raise WeightsError(f"weights {weights.name}: expected one of {', '.join(CONFIGS)}, got {weights.net}; "
                               "give a file that `crackmap train segment` wrote")  # fmt: skip
        config, net = net_from(weights, partial(segment_config, weights.net), build_segment_net)
        chosen = choose_device(device)
        net = net.eval().to(chosen).to(memory_format=torch.channels_last)
        computes = choose_engine(
            SegmentGraph(net, config.classes, weights.calibration), chosen, engine, key=weights.sha256, streams=streams
        )
        return cls(net, chosen, config.classes, weights.calibration, computes)

    def on_cpu(self) -> Segmenter:
        """The same on the CPU; this one stays where it is."""
        if self.device.type == "cpu":
            return self
        cpu = torch.device("cpu")
        return replace(self, net=copy.deepcopy(self.net).to(cpu), device=cpu, engine=None)

    def segment(self, source: PixelSource, regions: Iterable[Region] | None, settings: SegmentSettings) -> CrackMask:
        """Crack probabilities inside `regions`, or of the whole image if that is None."""
        return self._masks(source, regions, settings, (CRACK,))[CRACK]

    def segment_classes(
        self, source: PixelSource, regions: Iterable[Region] | None, settings: SegmentSettings
    ) -> dict[str, CrackMask]:
        """Probabilities of every class inside `regions`, or of the whole image if that is None."""
        return self._masks(source, regions, settings, self.classes)

    def _masks(
        self,
        source: PixelSource,
        regions: Iterable[Region] | None,
        settings: SegmentSettings,
        classes: tuple[str, ...],
    ) -> dict[str, CrackMask]:
        size = source.size_wh_px
        if regions is None:
            cells = np.ones(cell_grid_shape(size), bool)
        else:
            cells = cells_of_regions(regions, size, margin_px=settings.margin_px)
        windows = pack_windows(
            cells, size, cell_px=CELL_PX, context_px=settings.context_px, longest_px=settings.longest_px
        )
        canvases = {name: _SparseCanvas(size) for name in classes}
        wanted = [self.classes.index(name) for name in classes]
        for packed, probability in self._computed(source, windows, settings.batch):
            for canvas, number in zip(canvases.values(), wanted, strict=True):
                canvas.take(packed, probability[number])
        seen_px = round(area_share(cells, size) * size[0] * size[1])
        return {name: CrackMask(size, canvas.blocks, seen_px) for name, canvas in canvases.items()}

    def _computed(
        self, source: PixelSource, windows: Sequence[PackedWindow], batch: int
    ) -> Iterator[tuple[PackedWindow, NDArray[np.uint8]]]:
        """Each window with its (classes, height, width) probability * 255."""
        engine = self.engine or TorchEngine(SegmentGraph(self.net, self.classes, self.calibration), self.device)
        if self.device.type == "cpu":
            found = engine.each(_read_padded(source, packed)[None] for packed in windows)
            yield from ((packed, result[0][0]) for packed, result in zip(windows, found, strict=True))
            return
        for alike in _of_one_shape(windows):
            yield from in_batches(alike, partial(_probabilities, engine, source), batch=batch)


class SegmentGraph(nn.Module):
    """What an engine computes for the segmenter: from pixels to probabilities in bytes."""

    scale: Tensor
    offset: Tensor

    def __init__(self, net: SegmentNet, classes: Sequence[str], calibration: Mapping[str, tuple[float, float]]) -> None:
        super().__init__()
        self.net = net
        lines = torch.tensor([calibration.get(name, (1.0, 0.0)) for name in classes])
        device = next(net.parameters(), lines).device
        for name, values in zip(("scale", "offset"), lines.T, strict=True):
            self.register_buffer(name, values.view(1, -1, 1, 1).to(device), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, classes, H, W) uint8 probability * 255 of (B, H, W, 3) uint8 RGB images."""
        pixels = images.permute(0, 3, 1, 2).float().contiguous(memory_format=torch.channels_last)
        probability = torch.sigmoid(self.net(pixels).float() * self.scale + self.offset)
        return probability.mul(255.0).round().to(torch.uint8)


def _of_one_shape(windows: Sequence[PackedWindow]) -> Iterator[list[PackedWindow]]:
    """The windows, by shape."""
    shapes: dict[tuple[int, int], list[PackedWindow]] = {}
    for packed in windows:
        shapes.setdefault((packed.window.width, packed.window.height), []).append(packed)
    yield from shapes.values()


def _probabilities(engine: Engine, source: PixelSource, batch: Sequence[PackedWindow]) -> list[NDArray[np.uint8]]:
    """(classes, height, width) probability * 255 of each window."""
    (found,) = engine(np.stack([_read_padded(source, packed) for packed in batch]))
    return list(found)


def _read_padded(source: PixelSource, packed: PackedWindow) -> NDArray[np.uint8]:
    """The window's pixels; the image is mirrored where the window reaches past its edges."""
    window, (width, height) = packed.window, source.size_wh_px
    x0, y0, x1, y1 = max(window.x0, 0), max(window.y0, 0), min(window.x1, width), min(window.y1, height)
    image = source.read(x0, y0, x1 - x0, y1 - y0)
    padding = ((y0 - window.y0, window.y1 - y1), (x0 - window.x0, window.x1 - x1), (0, 0))
    return np.pad(image, padding, mode="symmetric") if any(map(any, padding)) else image


class _SparseCanvas:
    """Gathers cells of windows into the blocks of a CrackMask."""

    def __init__(self, size_wh_px: tuple[int, int]) -> None:
        self._size = size_wh_px
        self.blocks: dict[tuple[int, int], NDArray[np.uint8]] = {}

    def take(self, packed: PackedWindow, probability: NDArray[np.uint8]) -> None:
        """Copies the cells that the window answers for."""
        for row, column in packed.cells_rc.tolist():
            y, x = row * CELL_PX, column * CELL_PX
            height, width = min(CELL_PX, self._size[1] - y), min(CELL_PX, self._size[0] - x)
            wy, wx = y - packed.window.y0, x - packed.window.x0
            cell = probability[wy : wy + height, wx : wx + width]
            if not cell.any():
                continue
            # A cell never straddles two blocks: BLOCK_PX is a multiple of CELL_PX.
            key = (y // BLOCK_PX, x // BLOCK_PX)
            block = self.blocks.setdefault(key, np.zeros((BLOCK_PX, BLOCK_PX), np.uint8))
            block[y % BLOCK_PX : y % BLOCK_PX + height, x % BLOCK_PX : x % BLOCK_PX + width] = cell
