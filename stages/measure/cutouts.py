"""The parts of a picture that measuring reads, by themselves: small enough to hand to another process."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import InputError
from crackmap.stages.measure.picture import window_around
from crackmap.stages.records import CrackMask
from crackmap.stages.tiling import PixelSource


@dataclass(frozen=True, slots=True)
class Cutouts:
    """What measuring a mask reads of its picture; a PixelSource for that mask alone.

    Attributes:
        size_wh_px: width and height of the whole picture.
        parts: x and y of the top-left corner, and the (height, width, 3) pixels.
    """

    size_wh_px: tuple[int, int]
    parts: tuple[tuple[int, int, NDArray[np.uint8]], ...]

    @classmethod
    def around(cls, mask: CrackMask, source: PixelSource) -> Cutouts:
        """The cutouts of a picture for a mask; they hold nothing of the picture itself."""
        width, height = source.size_wh_px
        boxes = [window_around((x0, y0, window.shape[1], window.shape[0]), (width, height))
                 for x0, y0, window in mask.islands()]  # fmt: skip
        return cls((width, height), tuple((box[0], box[1], np.array(source.read(*box))) for box in boxes))

    def read(self, x0: int, y0: int, width: int, height: int) -> NDArray[np.uint8]:
        """The (height, width, 3) RGB uint8 window whose top-left pixel is (x0, y0).

        Raises:
            InputError: it is not in a cutout.
        """
        for left, top, pixels in self.parts:
            x, y = x0 - left, y0 - top
            if x >= 0 and y >= 0 and x + width <= pixels.shape[1] and y + height <= pixels.shape[0]:
                return pixels[y : y + height, x : x + width]
        raise InputError(f"window {(x0, y0, width, height)} is in no cutout; use those of the same mask")
