"""The segment stage: crack probabilities, computed only inside the cells that hold regions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from crackmap.calibration.errors import WeightsError, require
from crackmap.stages.records import BLOCK_PX, CrackMask, Region
from crackmap.stages.regions import CELL_PX, area_share, cell_grid_shape, cells_of_regions
from crackmap.stages.runtime import choose_device, inference
from crackmap.stages.segment.crackseg import CrackSeg, CrackSegConfig
from crackmap.stages.tiling import PackedWindow, PixelSource, pack_windows
from crackmap.stages.weights import Weights, load_into, nested_tuples


@dataclass(frozen=True, slots=True)
class SegmentSettings:
    """How the segment stage looks at an image.

    Attributes:
        margin_px: regions are grown by this on each side, so that a crack is not cut at a box edge.
        window_px: side of the windows the net sees, a multiple of 32; smaller in images smaller than it.
        context_px: least road around a cell that the net sees. With 64 the crack length of survey frames differs by
            1.5 % between windows of 256 and 512 px, with 32 by 2.4 %.
        batch: windows computed at once; all of one image.
    """

    margin_px: float = 16.0
    window_px: int = 384
    context_px: int = 64
    batch: int = 8

    def __post_init__(self) -> None:
        require(self.window_px % 32 == 0, "window_px", "a multiple of 32", self.window_px)
        require(self.batch >= 1, "batch", "1 or more", self.batch)


@dataclass(frozen=True, slots=True)
class Segmenter:
    """A loaded CrackSeg, ready to segment."""

    net: CrackSeg
    device: torch.device

    @classmethod
    def load(cls, weights: Weights, device: str = "auto") -> Segmenter:
        """The segmenter of a weight file, on `device`.

        Raises:
            WeightsError: the file holds another net.
        """
        if weights.net != "crackseg":
            raise WeightsError(f"weights {weights.name}: expected a crackseg, got {weights.net}")
        net = CrackSeg(CrackSegConfig(**{key: nested_tuples(value) for key, value in weights.config.items()}))
        load_into(net, weights)
        chosen = choose_device(device)
        return cls(net.eval().to(chosen).to(memory_format=torch.channels_last), chosen)

    def segment(self, source: PixelSource, regions: Iterable[Region] | None, settings: SegmentSettings) -> CrackMask:
        """Crack probabilities inside `regions`, or of the whole image if that is None."""
        size = source.size_wh_px
        if regions is None:
            cells = np.ones(cell_grid_shape(size), bool)
        else:
            cells = cells_of_regions(regions, size, margin_px=settings.margin_px)
        windows = pack_windows(
            cells, size, cell_px=CELL_PX, window_px=_window_px(size, settings), context_px=settings.context_px
        )
        canvas = _SparseCanvas(size)
        for first in range(0, len(windows), settings.batch):
            batch = windows[first : first + settings.batch]
            for packed, probability in zip(batch, self._probabilities(source, batch), strict=True):
                canvas.take(packed, probability)
        return CrackMask(size, canvas.blocks, round(area_share(cells, size) * size[0] * size[1]))

    def _probabilities(self, source: PixelSource, batch: Sequence[PackedWindow]) -> NDArray[np.uint8]:
        """(B, window, window) probability * 255."""
        images = np.stack([_read_padded(source, packed) for packed in batch])
        tensor = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float()
        with inference(self.device):
            logits = self.net(tensor.contiguous(memory_format=torch.channels_last))
            quantised = torch.sigmoid(logits.float()).mul(255.0).round().to(torch.uint8)
        return np.asarray(quantised[:, 0].cpu().numpy(), np.uint8)


def _window_px(size_wh_px: tuple[int, int], settings: SegmentSettings) -> int:
    """The window's side: not larger than the image, of which the net would else see a mirrored copy."""
    smallest = CELL_PX + 2 * settings.context_px
    fitting = -(-min(size_wh_px) // CELL_PX) * CELL_PX
    return min(settings.window_px, max(fitting, smallest))


def _read_padded(source: PixelSource, packed: PackedWindow) -> NDArray[np.uint8]:
    """The window's pixels, the image mirrored where the window reaches past its right and lower edge."""
    window, (width, height) = packed.window, source.size_wh_px
    inside_w, inside_h = min(window.width, width - window.x0), min(window.height, height - window.y0)
    image = source.read(window.x0, window.y0, inside_w, inside_h)
    padding = ((0, window.height - inside_h), (0, window.width - inside_w), (0, 0))
    return np.pad(image, padding, mode="symmetric") if padding != ((0, 0), (0, 0), (0, 0)) else image


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
