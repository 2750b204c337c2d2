"""The settings of the screen stage."""

from __future__ import annotations

from dataclasses import dataclass

from crackmap.calibration.errors import require


@dataclass(frozen=True, slots=True)
class ScreenSettings:
    """How the screen stage looks at an image.

    Attributes:
        threshold: patches below this probability are taken to hold no crack. Low: a crack dropped here is lost for
            good, a patch too many costs a little time.
        margin_px: what the detector sees around the patches that are left.
        batch: patches computed at once; all of one image.
    """

    threshold: float = 0.2
    margin_px: int = 64
    batch: int = 16

    def __post_init__(self) -> None:
        require(0 <= self.threshold <= 1, "threshold", "from 0 to 1", self.threshold)
        require(self.margin_px >= 0, "margin_px", "0 or more", self.margin_px)
        require(self.batch >= 1, "batch", "1 or more", self.batch)
