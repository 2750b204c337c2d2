"""The records that pass between stages: regions, sparse masks, measured cracks.

Frozen, and checked when built, so that a wrong record fails where it is made and not three stages later.
Pixel coordinates count from the top-left corner of the top-left pixel (docs/frames.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import require

FloatArray = NDArray[np.float64]
ProbabilityArray = NDArray[np.float32]

BLOCK_PX = 256
"""Side of the square blocks in which a CrackMask keeps its probabilities."""


@dataclass(frozen=True, slots=True)
class Region:
    """A box that may hold a crack.

    Attributes:
        box_xyxy_px: left, top, right, bottom in pixels of the full image; right and bottom are exclusive.
        score: the detector's confidence, 0 to 1.
        label: what the detector takes it for.
    """

    box_xyxy_px: tuple[float, float, float, float]
    score: float
    label: str = "crack"

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.box_xyxy_px
        require(x1 > x0 and y1 > y0, "box_xyxy_px", "left < right and top < bottom", self.box_xyxy_px)
        require(0.0 <= self.score <= 1.0, "score", "a number from 0 to 1", self.score)


@dataclass(frozen=True, slots=True)
class CrackMask:
    """Crack probabilities of one image, held only where the segmenter looked.

    Attributes:
        size_wh_px: width and height of the full image.
        blocks: (row, column) of a block -> uint8 array (BLOCK_PX, BLOCK_PX), probability * 255 rounded; zero where
            the segmenter did not look. A block that was not touched has no entry.
        segmented_px: number of pixels the segmenter looked at.
    """

    size_wh_px: tuple[int, int]
    blocks: Mapping[tuple[int, int], NDArray[np.uint8]]
    segmented_px: int

    def __post_init__(self) -> None:
        width, height = self.size_wh_px
        require(width > 0 and height > 0, "size_wh_px", "a width and height above 0", self.size_wh_px)
        for key, block in self.blocks.items():
            require(block.shape == (BLOCK_PX, BLOCK_PX), f"block {key}", f"shape {BLOCK_PX, BLOCK_PX}", block.shape)
            require(block.dtype == np.uint8, f"block {key}", "dtype uint8", block.dtype)

    @classmethod
    def from_dense(cls, probability: NDArray[np.floating] | NDArray[np.bool_]) -> CrackMask:
        """A mask from a dense (height, width) array of probabilities, all of it counted as segmented; NaN is 0."""
        require(probability.ndim == 2 and probability.size > 0, "probability", "a 2-D array", probability.shape)
        height, width = probability.shape
        quantised = _quantised(probability)
        blocks: dict[tuple[int, int], NDArray[np.uint8]] = {}
        for row in range(-(-height // BLOCK_PX)):
            for column in range(-(-width // BLOCK_PX)):
                part = quantised[row * BLOCK_PX : (row + 1) * BLOCK_PX, column * BLOCK_PX : (column + 1) * BLOCK_PX]
                if part.any():
                    block = np.zeros((BLOCK_PX, BLOCK_PX), np.uint8)
                    block[: part.shape[0], : part.shape[1]] = part
                    blocks[row, column] = block
        return cls((width, height), blocks, width * height)

    @property
    def segmented_share(self) -> float:
        """Share of the image that the segmenter looked at, 0 to 1."""
        width, height = self.size_wh_px
        return self.segmented_px / (width * height)

    def read(self, x0: int, y0: int, width: int, height: int) -> NDArray[np.uint8]:
        """The (height, width) uint8 window whose top-left pixel is (x0, y0); zero outside the image."""
        window = np.zeros((height, width), np.uint8)
        for row in range(y0 // BLOCK_PX, -(-(y0 + height) // BLOCK_PX)):
            for column in range(x0 // BLOCK_PX, -(-(x0 + width) // BLOCK_PX)):
                block = self.blocks.get((row, column))
                if block is None:
                    continue
                top, left = row * BLOCK_PX, column * BLOCK_PX
                ya, yb = max(y0, top), min(y0 + height, top + BLOCK_PX)
                xa, xb = max(x0, left), min(x0 + width, left + BLOCK_PX)
                window[ya - y0 : yb - y0, xa - x0 : xb - x0] = block[ya - top : yb - top, xa - left : xb - left]
        return window

    def dense(self) -> NDArray[np.uint8]:
        """The whole mask as one (height, width) uint8 array: for pictures and small images only."""
        width, height = self.size_wh_px
        return self.read(0, 0, width, height)

    def islands(self) -> Iterator[tuple[int, int, NDArray[np.uint8]]]:
        """Yields (x0, y0, window) for every group of touching blocks, in order of its first block.

        No crack spans two islands, so each can be measured by itself and memory follows the cracked area.
        """
        waiting = set(self.blocks)
        for start in sorted(self.blocks):
            if start not in waiting:
                continue
            group, frontier = [start], [start]
            waiting.discard(start)
            while frontier:
                row, column = frontier.pop()
                near = {(row + dr, column + dc) for dr in (-1, 0, 1) for dc in (-1, 0, 1)} & waiting
                waiting -= near
                group.extend(near)
                frontier.extend(near)
            yield self._island(group)

    def _island(self, group: list[tuple[int, int]]) -> tuple[int, int, NDArray[np.uint8]]:
        rows, columns = zip(*group, strict=True)
        x0, y0 = min(columns) * BLOCK_PX, min(rows) * BLOCK_PX
        width = min((max(columns) + 1) * BLOCK_PX, self.size_wh_px[0]) - x0
        height = min((max(rows) + 1) * BLOCK_PX, self.size_wh_px[1]) - y0
        window = np.zeros((height, width), np.uint8)
        for row, column in group:
            y, x = row * BLOCK_PX - y0, column * BLOCK_PX - x0
            target = window[y : y + BLOCK_PX, x : x + BLOCK_PX]
            target[:] = self.blocks[row, column][: target.shape[0], : target.shape[1]]
        return x0, y0, window


def _quantised(probability: NDArray[np.floating] | NDArray[np.bool_]) -> NDArray[np.uint8]:
    if probability.dtype == np.bool_:
        return probability.view(np.uint8) * np.uint8(255)
    values = np.multiply(probability, 255.0, dtype=np.float32)
    if not np.isfinite(values.sum()):
        values = np.nan_to_num(values, posinf=255.0)
    np.clip(values, 0.0, 255.0, out=values)
    return np.asarray(np.rint(values, out=values).astype(np.uint8))


@dataclass(frozen=True, slots=True)
class Crack:
    """One crack in one image: a branch-free line between two ends or junctions.

    The pixel numbers are always there. The metric ones are None together, when the image has no ground scale.

    Attributes:
        centreline_xy_px: (N, 2) vertices in pixels of the full image, N >= 2.
        width_px: (N,) width across the line at each vertex, pixels.
        length_px: length along the centreline, pixels.
        confidence: mean crack probability along the centreline, 0 to 1.
        touches_border: the line ends at the image border, so it is longer on the road than measured.
        centreline_xy_m: (N, 2) the same vertices on the ground: metres right of and ahead of the vehicle.
        width_mm: (N,) width across the line on the ground, millimetres.
        length_m: length along the centreline on the ground, metres.
        orientation_deg: direction on the ground against the direction of travel: 0 along, 90 across, in [0, 180),
            growing clockwise (to the right of travel). Without a ground scale: the same, taking image-up as travel.
        gsd_mm: median ground length of one pixel step along an image row and along an image column, millimetres.
        u_length_px, u_length_m, u_width_px, u_width_mm: standard uncertainties of length and mean width
            (docs/measurement.md); the ones on the ground hold the calibration's share as well. None where nothing
            estimated them.
        grey_share: share of the length whose width was read in the picture itself; the rest comes from the crack
            probability, which is the coarser source.
        gap_px: length of gaps between fragments that were joined into this line, pixels; part of its length.
        saturated: the picture is black or white where the width would be read, so its edges cannot be located.
        joint: ruler-straight and of even width: a joint or saw cut, not a crack.
        sealed: a sealed crack: its width is that of the seal, from the segmenter alone.
        below_resolution: its mean width less the standard uncertainty is under a pixel: the width is an order of
            magnitude, not a measurement.
    """

    centreline_xy_px: FloatArray
    width_px: FloatArray
    length_px: float
    orientation_deg: float
    confidence: float
    touches_border: bool
    centreline_xy_m: FloatArray | None = None
    width_mm: FloatArray | None = None
    length_m: float | None = None
    gsd_mm: tuple[float, float] | None = None
    u_length_px: float | None = None
    u_length_m: float | None = None
    u_width_px: float | None = None
    u_width_mm: float | None = None
    grey_share: float = 0.0
    gap_px: float = 0.0
    saturated: bool = False
    below_resolution: bool = False
    joint: bool = False
    sealed: bool = False

    @property
    def open(self) -> bool:
        """Whether it is a crack, neither a joint nor sealed."""
        return not (self.joint or self.sealed)

    def __post_init__(self) -> None:
        count = len(self.centreline_xy_px)
        require(
            self.centreline_xy_px.shape == (count, 2) and count >= 2,
            "centreline_xy_px",
            "shape (N >= 2, 2)",
            self.centreline_xy_px.shape,
        )
        require(self.width_px.shape == (count,), "width_px", f"shape ({count},)", self.width_px.shape)
        require(0.0 <= self.orientation_deg < 180.0, "orientation_deg", "degrees in [0, 180)", self.orientation_deg)
        require(0.0 <= self.confidence <= 1.0, "confidence", "a number from 0 to 1", self.confidence)
        metric = (self.centreline_xy_m is None, self.width_mm is None, self.length_m is None, self.gsd_mm is None)
        require(len(set(metric)) == 1, "metric fields", "all given or all None", metric)
        if self.centreline_xy_m is not None and self.width_mm is not None:
            require(
                self.centreline_xy_m.shape == (count, 2),
                "centreline_xy_m",
                f"shape ({count}, 2)",
                self.centreline_xy_m.shape,
            )
            require(self.width_mm.shape == (count,), "width_mm", f"shape ({count},)", self.width_mm.shape)
