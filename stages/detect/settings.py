"""The settings of the detect stage."""

from __future__ import annotations

from dataclasses import dataclass

from crackmap.calibration.errors import require


@dataclass(frozen=True, slots=True)
class DetectSettings:
    """How the detect stage looks at an image.

    Attributes:
        score: regions below this are dropped. Placed on validation frames; low, because a crack missed here is lost
            for good, and hairlines in oblique views score low.
        tile_px: longest side of a tile in pixels of the full image; larger images are tiled.
        overlap_px: least overlap of neighbouring tiles.
        nms_iou: of two boxes that overlap more than this the weaker one is dropped.
        grow_px: boxes that are left grow by this on each side, inside the image.
    """

    score: float = 0.12
    tile_px: int = 2048
    overlap_px: int = 192
    nms_iou: float = 0.5
    grow_px: float = 0.0

    def __post_init__(self) -> None:
        require(0.05 <= self.score < 1, "score", "from 0.05 to below 1", self.score)
        require(0 <= self.grow_px < 1e6, "grow_px", "0 or more", self.grow_px)
