"""Pictures of results: measured cracks drawn over the image they were found in."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.frames import centre_from_corner_xy
from crackmap.stages.records import Crack, Region
from crackmap.stages.tiling import PixelSource

LONGEST_SIDE_PX = 1280
"""Pictures are shrunk to this for the report."""

_SHIFT = 4
CRACK_RGB = (230, 40, 60)
REGION_RGB = (250, 190, 40)


def draw_overlay(
    image: NDArray[np.uint8], cracks: Sequence[Crack], regions: Sequence[Region] = (), *, scale: float = 1.0
) -> NDArray[np.uint8]:
    """A copy of the (height, width, 3) RGB image with centrelines and boxes; `scale` = its px per px of the records."""
    canvas = image.copy()
    for region in regions:
        x0, y0, x1, y1 = (round(value * scale) for value in region.box_xyxy_px)
        cv2.rectangle(canvas, (x0, y0), (x1, y1), REGION_RGB, 1, cv2.LINE_AA)
    for crack in cracks:
        points = np.round(centre_from_corner_xy(crack.centreline_xy_px * scale) * (1 << _SHIFT)).astype(np.int32)
        cv2.polylines(canvas, [points], False, CRACK_RGB, 1, cv2.LINE_AA, _SHIFT)
    return canvas


def overlay_jpeg(source: PixelSource, cracks: Sequence[Crack], regions: Sequence[Region] = ()) -> bytes:
    """A JPEG of the image, at most LONGEST_SIDE_PX a side, with the cracks drawn in."""
    image, scale = shrunk(source, LONGEST_SIDE_PX)
    canvas = draw_overlay(image, cracks, regions, scale=scale)
    _, encoded = cv2.imencode(".jpg", canvas[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    return encoded.tobytes()


def shrunk(source: PixelSource, longest_px: int) -> tuple[NDArray[np.uint8], float]:
    """The image with no side above `longest_px`, and the factor it was shrunk by; large rasters strip by strip."""
    width, height = source.size_wh_px
    scale = min(1.0, longest_px / max(width, height))
    small_width = max(round(width * scale), 1)
    step = max(int(16e6 // width), 1)
    strips = []
    for y in range(0, height, step):
        strip = source.read(0, y, width, min(step, height - y))
        rows = max(round((y + strip.shape[0]) * scale) - round(y * scale), 0)
        if rows:
            strips.append(cv2.resize(strip, (small_width, rows), interpolation=cv2.INTER_AREA))
    return np.asarray(np.vstack(strips), np.uint8), scale
