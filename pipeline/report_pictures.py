"""Small pictures of the frames with most crack, for the report: the photograph, what was measured in it, the mask."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from PIL import Image
from rasterio.errors import RasterioError
from rasterio.transform import Affine

from crackmap.calibration.errors import CrackmapError
from crackmap.pipeline.loading import ImageSource, Loader
from crackmap.pipeline.pictures import shrunk
from crackmap.pipeline.records import Frame, FrameOutcome, RoadCrack
from crackmap.stages.records import Crack, FloatArray
from crackmap.stages.regions import CELL_PX, unpacked_cells
from crackmap.stages.tiling import PixelSource

LONGEST_SIDE_PX = 480
"""A crack of the report's size on the screen is still told from its surroundings."""

WEBP = {"quality": 60, "method": 1}
"""Half the size of a JPEG of its looks, and as quick to make."""

MOST_BYTES = 6_000_000
"""All pictures together: with the rest, the report stays small enough for e-mail."""

WITH_MASK = 8
"""The worst frames are shown with their masks as well, this many."""


SHADE = 150
"""Opacity, of 255, where the segmenter was not sent."""

SIMPLER_PX = 0.5
"""Lines are drawn this exactly."""


@dataclass(frozen=True, slots=True)
class FramePicture:
    """A frame, made small.

    Attributes:
        key: of the frame.
        webp: the photograph.
        size_wh_px: of the small picture.
        scale: its pixels per pixel of the photograph.
        lines_xy_px: (N, 2) lines measured in this frame, in pixels of the small picture.
        mask_png: crack probability, as large as the picture; None for all but the worst frames.
        looked_png: one pixel for each cell of the photograph, dark where the segmenter was not sent; None where it was
            sent everywhere, and for all but the worst frames.
        cells_wh: the size of the cells together, as shares of the photograph's.
    """

    key: str
    webp: bytes
    size_wh_px: tuple[int, int]
    scale: float
    lines_xy_px: tuple[FloatArray, ...] = ()
    mask_png: bytes | None = None
    looked_png: bytes | None = None
    cells_wh: tuple[float, float] = (1.0, 1.0)


def frame_pictures(
    worst_first: Sequence[FrameOutcome],
    cracks_of: Callable[[str], tuple[Crack, ...]],
    looked_of: Callable[[str], str],
    masks: Path,
    loader: Loader,
) -> tuple[FramePicture, ...]:
    """Pictures of frames in the order given, until MOST_BYTES are reached; what cannot be read any more is left out.

    Args:
        worst_first: frames, those with most crack first.
        cracks_of: as measured in a frame alone.
        looked_of: where the segmenter was sent, as `packed_cells` writes it.
        masks: folder of the mask files.
        loader: decodes.
    """
    found: list[FramePicture] = []
    total = 0
    sources = loader.ahead([outcome.frame.path for outcome in worst_first])
    try:
        for outcome, source in zip(worst_first, sources, strict=True):
            if not isinstance(source, ImageSource):
                continue
            with source:
                try:
                    picture = _picture(outcome, source, cracks_of)
                    if len(found) < WITH_MASK:
                        picture = _with_stages(picture, outcome, masks, looked_of(outcome.frame.key))
                except CrackmapError:
                    continue
            total += len(picture.webp)
            if total > MOST_BYTES:
                break
            found.append(picture)
    finally:
        sources.close()
    return tuple(found)


def pixels_of_crack(crack: RoadCrack, frame: Frame) -> FloatArray:
    """(M, 2) the part of a road crack that a frame shows, in pixels of its photograph; may be empty."""
    angle = np.deg2rad(frame.placement.azimuth_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    local = (crack.line_xy - np.asarray(frame.placement.origin_xy)) @ turn.T
    width, height = frame.size_wh_px
    if frame.ground is None:
        pixels = np.column_stack([local[:, 0], height - local[:, 1]])
    else:
        with np.errstate(invalid="ignore", divide="ignore"):
            pixels = frame.ground.to_pixel_xy(local)
    with np.errstate(invalid="ignore"):
        inside = ((pixels >= -1.0) & (pixels <= [width + 1.0, height + 1.0])).all(axis=1)
    return np.asarray(pixels[inside], np.float64)


def simpler(line_xy_px: FloatArray) -> FloatArray:
    """(M, 2) a line of a small picture without the vertices that nobody would see."""
    line = shapely.simplify(shapely.LineString(line_xy_px), SIMPLER_PX)
    return np.asarray(shapely.get_coordinates(line), np.float64)


def _with_stages(picture: FramePicture, outcome: FrameOutcome, masks: Path, looked: str) -> FramePicture:
    """The picture with what the stages before measuring made of it."""
    mask = _mask_png(masks / outcome.mask_name, outcome.frame, picture.size_wh_px, picture.scale)
    cells = unpacked_cells(looked, outcome.frame.size_wh_px) if looked else None
    if cells is None:
        return replace(picture, mask_png=mask)
    shade = np.zeros((*cells.shape, 4), np.uint8)
    shade[~cells, 3] = SHADE
    _, png = cv2.imencode(".png", shade)
    width, height = outcome.frame.size_wh_px
    share = cells.shape[1] * CELL_PX / width, cells.shape[0] * CELL_PX / height
    return replace(picture, mask_png=mask, looked_png=png.tobytes(), cells_wh=share)


def _picture(outcome: FrameOutcome, source: PixelSource, cracks_of: Callable[[str], tuple[Crack, ...]]) -> FramePicture:
    image, scale = shrunk(source, LONGEST_SIDE_PX)
    size = image.shape[1], image.shape[0]
    webp = io.BytesIO()
    Image.fromarray(image).save(webp, "WEBP", **WEBP)
    lines = tuple(simpler(crack.centreline_xy_px * scale) for crack in cracks_of(outcome.frame.key) if crack.open)
    return FramePicture(outcome.frame.key, webp.getvalue(), size, scale, lines)


def _mask_png(path: Path, frame: Frame, size_wh: tuple[int, int], scale: float) -> bytes | None:
    """The mask file as the camera saw it; None if it cannot be read, or the frame lies on no map."""
    try:
        with rasterio.open(path) as file:
            mask, transform = file.read(1), file.transform
    except (OSError, RasterioError):
        return None
    columns, rows = np.meshgrid(np.arange(size_wh[0]) + 0.5, np.arange(size_wh[1]) + 0.5)
    pixels = np.column_stack([columns.ravel(), rows.ravel()]) / scale
    if frame.ground is None:
        local = np.column_stack([pixels[:, 0], frame.size_wh_px[1] - pixels[:, 1]])
    else:
        with np.errstate(invalid="ignore", divide="ignore"):
            local = frame.ground.to_ground_xy_m(pixels)
    values = _sampled(mask, transform, frame.placement.to_output_xy(local), 1.0 / scale)
    _, png = cv2.imencode(".png", values.reshape(size_wh[::-1]))
    return png.tobytes()


def _sampled(mask: NDArray[np.uint8], transform: Affine, xy: FloatArray, spread_px: float) -> NDArray[np.uint8]:
    """(N,) values at output coordinates; the greatest around, or thin cracks would be lost in a small picture."""
    reach = max(1, round(spread_px))
    widened = cv2.dilate(mask, np.ones((reach, reach), np.uint8)) if reach > 1 else mask
    back = ~transform
    x = back.a * xy[:, 0] + back.b * xy[:, 1] + back.c
    y = back.d * xy[:, 0] + back.e * xy[:, 1] + back.f
    with np.errstate(invalid="ignore"):
        inside = (x >= 0) & (y >= 0) & (x < mask.shape[1]) & (y < mask.shape[0])
    values = np.zeros(len(xy), np.uint8)
    values[inside] = widened[y[inside].astype(np.int64), x[inside].astype(np.int64)]
    return values
