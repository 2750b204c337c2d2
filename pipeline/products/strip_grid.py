"""The pixels of a strip image: how they lie on the road, and which of them a frame can fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rasterio.transform import Affine

from crackmap.pipeline.footprint import visible_polygon_m
from crackmap.pipeline.products.rectified import Box, applied
from crackmap.pipeline.records import Frame, Section
from crackmap.stages.records import FloatArray

MOST_PX = 300_000_000
"""Greatest strip image; a section that would need more gets coarser pixels."""

SEAM_M = 0.10
"""How far a frame's picture reaches beyond its strip where no other has anything: in bends strips gape by a wedge."""


@dataclass(frozen=True, slots=True)
class StripGrid:
    """The pixels of a strip image.

    Attributes:
        transform: output coordinates of pixel corners (column, row).
        size_wh: columns across and rows along the road, the first row farthest along the drive.
        pixel_m: ground size of a pixel.
    """

    transform: Affine
    size_wh: tuple[int, int]
    pixel_m: float


def strip_grid(section: Section, frames: Sequence[Frame], pixel_mm: float | None = None) -> StripGrid | None:
    """The pixels that hold the strips of all frames; None if none of them shows any road.

    `pixel_mm` is the ground size of a pixel; by default that of the frames in the middle of their strips.
    """
    polygons = [(frame, visible_polygon_m(frame)) for frame in frames]
    polygons = [(frame, polygon) for frame, polygon in polygons if len(polygon)]
    if not polygons or section.from_m is None:
        return None
    azimuths = np.deg2rad([frame.placement.azimuth_deg for frame, _ in polygons])
    turn = float(np.arctan2(np.sin(azimuths).sum(), np.cos(azimuths).sum()))
    # Columns: to the right of travel; rows: backwards.
    across, ahead = np.array([np.cos(turn), -np.sin(turn)]), np.array([np.sin(turn), np.cos(turn)])
    corners = np.concatenate(
        [frame.placement.to_output_xy(_inside(frame, polygon, section)) for frame, polygon in polygons]
    )
    origin = corners[0]
    x, y = (corners - origin) @ across, (corners - origin) @ ahead
    pixel_m = pixel_mm / 1e3 if pixel_mm else float(np.median([_middle_pixel_m(f, polygon) for f, polygon in polygons]))
    width_m, length_m = float(np.ptp(x)), float(np.ptp(y))
    pixel_m = max(pixel_m, float(np.sqrt(width_m * length_m / MOST_PX)))
    size = (max(1, int(np.ceil(width_m / pixel_m))), max(1, int(np.ceil(length_m / pixel_m))))
    x0, y0 = origin + x.min() * across + y.max() * ahead
    step_x, step_y = across * pixel_m, -ahead * pixel_m
    transform = Affine(step_x[0], step_y[0], x0, step_x[1], step_y[1], y0)
    return StripGrid(transform, size, pixel_m)


def box_of_frame(frame: Frame, section: Section, grid: StripGrid) -> Box | None:
    """The pixels (left, top, right, bottom) that a frame's strip, and SEAM_M beyond it, can fill; None if there are
    none.
    """
    polygon = visible_polygon_m(frame)
    if not len(polygon):
        return None
    shown = polygon + np.where(polygon[:, 1:] > polygon[:, 1].mean(), SEAM_M, -SEAM_M) * [0.0, 1.0]
    corners = applied(~grid.transform, frame.placement.to_output_xy(_inside(frame, shown, section)))
    left, top = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0).tolist()
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)).astype(int), grid.size_wh).tolist()
    return (left, top, right, bottom) if left < right and top < bottom else None


def section_y_m(frame: Frame, section: Section) -> tuple[float, float]:
    """Ground y of a frame between which its section lies."""
    bounds = (section.from_m or 0.0, section.to_m or 0.0)
    low, high = sorted((bound - frame.chainage_at(0.0)) / frame.chainage_scale for bound in bounds)
    return low, high


def _inside(frame: Frame, polygon: FloatArray, section: Section) -> FloatArray:
    """The polygon with its y cut to the section."""
    return np.column_stack([polygon[:, 0], np.clip(polygon[:, 1], *section_y_m(frame, section))])


def _middle_pixel_m(frame: Frame, polygon: FloatArray) -> float:
    if frame.ground is None:
        return 1.0
    middle = frame.ground.to_pixel_xy([(polygon.min(axis=0) + polygon.max(axis=0)) / 2])
    pixel_mm = float(np.sqrt(frame.ground.gsd_mm(middle)[0].prod()))
    return pixel_mm / 1e3 if np.isfinite(pixel_mm) else 1.0
