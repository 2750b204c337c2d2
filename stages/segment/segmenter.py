"""The segment stage: crack probabilities, computed only inside the cells that hold regions."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from crackmap.calibration.errors import WeightsError, require
from crackmap.stages.records import BLOCK_PX, CrackMask, Region
from crackmap.stages.regions import CELL_PX, area_share, cell_grid_shape, cells_of_regions
from crackmap.stages.runtime import choose_device, in_batches, inference
from crackmap.stages.segment.nets import CONFIGS, SegmentNet, build_segment_net, segment_config
from crackmap.stages.tiling import PackedWindow, PixelSource, pack_windows
from crackmap.stages.weights import Weights, net_from


@dataclass(frozen=True, slots=True)
class SegmentSettings:
    """How the segment stage looks at an image.

    Attributes:
        margin_px: regions are grown by this on each side, before they are rounded out to cells. Of 4, 8 and 12 px the
            least: on validation frames more passes on area, not length.
        window_px: side of the windows the net sees, a multiple of 32; smaller in images smaller than it.
        context_px: least road around a cell that the net sees. With 64 the crack length of survey frames differs by
            1.5 % between windows of 256 and 512 px, with 32 by 2.4 %.
        batch: windows computed at once; all of one image.
    """

    margin_px: float = 4.0
    window_px: int = 384
    context_px: int = 64
    batch: int = 8

    def __post_init__(self) -> None:
        require(self.window_px % 32 == 0, "window_px", "a multiple of 32", self.window_px)
        require(self.batch >= 1, "batch", "1 or more", self.batch)


CRACK = "crack"
"""The class that is measured."""


@dataclass(frozen=True, slots=True)
class Segmenter:
    """A loaded net, ready to segment.

    Attributes:
        net: what computes the logits.
        device: where it computes.
        classes: what it tells apart; CRACK is one of them.
        calibration: class -> scale and offset of its logits, so that probabilities are what they say.
    """

    net: SegmentNet
    device: torch.device
    classes: tuple[str, ...] = (CRACK,)
    calibration: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def load(cls, weights: Weights, device: str = "auto") -> Segmenter:
        """The segmenter of a weight file, on `device`.

        Raises:
            WeightsError: the file holds no net that segments cracks, or one that cannot be built.
        """
        if weights.net not in CONFIGS:
            raise WeightsError(f"weights {weights.name}: expected one of {', '.join(CONFIGS)}, got {weights.net}; "
                               "give a file that `crackmap train segment` wrote")  # fmt: skip
        config, net = net_from(weights, partial(segment_config, weights.net), build_segment_net)
        chosen = choose_device(device)
        net = net.eval().to(chosen).to(memory_format=torch.channels_last)
        return cls(net, chosen, config.classes, weights.calibration)

    def on_cpu(self) -> Segmenter:
        """The same on the CPU; this one stays where it is."""
        if self.device.type == "cpu":
            return self
        cpu = torch.device("cpu")
        return replace(self, net=copy.deepcopy(self.net).to(cpu), device=cpu)

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
            cells, size, cell_px=CELL_PX, window_px=_window_px(size, settings), context_px=settings.context_px
        )
        canvases = {name: _SparseCanvas(size) for name in classes}
        wanted = [self.classes.index(name) for name in classes]
        computed = in_batches(windows, lambda few: list(self._probabilities(source, few, wanted)), batch=settings.batch)
        for packed, probability in computed:
            for canvas, of_class in zip(canvases.values(), probability, strict=True):
                canvas.take(packed, of_class)
        seen_px = round(area_share(cells, size) * size[0] * size[1])
        return {name: CrackMask(size, canvas.blocks, seen_px) for name, canvas in canvases.items()}

    def _probabilities(
        self, source: PixelSource, batch: Sequence[PackedWindow], wanted: Sequence[int]
    ) -> NDArray[np.uint8]:
        """(B, wanted, window, window) probability * 255, of the classes whose numbers are wanted."""
        line = [self.calibration.get(self.classes[number], (1.0, 0.0)) for number in wanted]
        scale, offset = torch.tensor(line, device=self.device).T.view(2, -1, 1, 1)
        images = np.stack([_read_padded(source, packed) for packed in batch])
        tensor = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float()
        with inference(self.device):
            logits = self.net(tensor.contiguous(memory_format=torch.channels_last))[:, wanted].float()
            quantised = torch.sigmoid(logits * scale + offset).mul(255.0).round().to(torch.uint8)
        return np.asarray(quantised.cpu().numpy(), np.uint8)


def _window_px(size_wh_px: tuple[int, int], settings: SegmentSettings) -> int:
    """The window's side: not larger than the image, of which the net would else see a mirrored copy."""
    smallest = CELL_PX + 2 * settings.context_px
    fitting = -(-min(size_wh_px) // CELL_PX) * CELL_PX
    return min(settings.window_px, max(fitting, smallest))


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
