"""The settings of the segment stage."""

from __future__ import annotations

from dataclasses import dataclass

from crackmap.calibration.errors import require

CRACK = "crack"
"""The class that is measured."""

SEALED = "sealed_crack"
"""The class of cracks that were filled, which are told apart."""


@dataclass(frozen=True, slots=True)
class SegmentSettings:
    """How the segment stage looks at an image.

    Attributes:
        margin_px: regions are grown by this on each side, before they are rounded out to cells. None: on validation
            frames more passes on area, not length.
        longest_px: longest side of a window the net sees.
        context_px: least road around a cell that the net sees. On validation frames F1 is the same with 64, with none
            crack length changes by 5 to 7 %.
        batch: windows of one shape that a graphics card computes at once; all of one image.
    """

    margin_px: float = 0.0
    longest_px: int = 1152
    context_px: int = 32
    batch: int = 8

    def __post_init__(self) -> None:
        require(self.longest_px % 32 == 0, "longest_px", "a multiple of 32", self.longest_px)
        require(self.context_px % 32 == 0, "context_px", "a multiple of 32", self.context_px)
        require(self.batch >= 1, "batch", "1 or more", self.batch)
