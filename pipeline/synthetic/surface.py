"""The surface of a synthetic road as one frame sees it, fixed to the road: overlapping frames and passes agree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import InputError
from crackmap.pipeline.images import open_image
from crackmap.pipeline.synthetic.settings import Camera, SyntheticSettings
from crackmap.stages.records import FloatArray
from crackmap.stages.render.texture import GreyImage, asphalt_tile, blotch_tile, through_camera, window

Chroma = NDArray[np.uint8]
"""(height, width, 2) Cr and Cb of YCrCb, 128 = grey."""

GRAIN_PX = (512, 2048)
"""Smallest and greatest side of a grain tile: beyond the size of an image nobody sees it repeat."""
SMOOTH_MM = 20.0
"""Pixel of the tiles of unevenness, stains and shadows."""

SMOOTH_WH_PX = (512, 2048)
"""They repeat after 10 m across and 41 m along."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
BLOCK_ROWS = 1024
FADE_ROWS = 96
"""Photographs laid along the road fade into each other over this many rows."""


class Surface(Protocol):
    """Something that knows what the bare road looks like."""

    @property
    def tone(self) -> float:
        """Its mean luminance."""
        ...

    def seen(self, index: int, vehicle_xy_m: tuple[float, float]) -> tuple[GreyImage, Chroma]:
        """Luminance and colour of the frame `index`, taken there; the caller may change both."""
        ...


def tile_from_pixel(
    camera: Camera, vehicle_xy_m: tuple[float, float], texel_m: tuple[float, float], tile_wh_px: tuple[int, int]
) -> FloatArray:
    """(3, 3) from image pixels to a tile that lies on the road from (0, 0), its rows running against the travel."""
    texel, period = np.asarray(texel_m), np.asarray(tile_wh_px)
    origin = np.asarray(vehicle_xy_m) / texel * (1.0, -1.0)
    # Whole periods are taken off: OpenCV keeps tile coordinates in 16 bits.
    origin = np.mod(origin, period)
    road = np.array([[1 / texel[0], 0.0, origin[0]], [0.0, -1 / texel[1], origin[1]], [0.0, 0.0, 1.0]])
    return np.asarray(road @ camera.plane.ground_from_pixel, np.float64)


@dataclass(frozen=True, slots=True)
class Asphalt:
    """A drawn surface.

    Attributes:
        camera: that sees it.
        tone: its mean luminance.
        colour: its Cr and Cb.
        texel_mm: ground length of a grain pixel, across and along.
        grain: tiles of texture, each half as fine as the one before.
        lacking: sigma of the noise that is added to each, as coarse tiles have little contrast.
        smooth: tile of factors: unevenness, wheel paths, stains.
    """

    camera: Camera
    tone: float
    colour: tuple[int, int]
    texel_mm: tuple[float, float]
    grain: tuple[GreyImage, ...]
    lacking: NDArray[np.float32]
    smooth: GreyImage

    def seen(self, index: int, vehicle_xy_m: tuple[float, float]) -> tuple[GreyImage, Chroma]:
        """Luminance and colour of the road under and above the horizon."""
        width, height = self.camera.plane.size_wh_px
        chroma = np.full((height, width, 2), self.colour, np.uint8)
        if len(self.grain) == 1:
            x, y = (round(at * 1e3 / texel) for at, texel in zip(vehicle_xy_m, self.texel_mm, strict=True))
            grey = window(self.grain[0], x - width // 2, -y - height, (width, height))
        else:
            grey = self._far_grain(np.random.default_rng((7, index)), vehicle_xy_m)
        grey += np.float32(self.tone)
        grey *= smooth_seen(self.smooth, self.camera, vehicle_xy_m)
        horizon = horizon_row(self.camera)
        if horizon > 0:
            sky = np.linspace(225, 238, horizon, dtype=np.float32)
            grey[:horizon], chroma[:horizon] = sky[:, None], (120, 134)
        return grey, chroma

    def _far_grain(self, rng: np.random.Generator, vehicle_xy_m: tuple[float, float]) -> GreyImage:
        """Each row from the tile as fine as its pixels; what coarser tiles lack in contrast is made up for by noise."""
        width, height = self.camera.plane.size_wh_px
        horizon = horizon_row(self.camera)
        middles = np.column_stack([np.full(height - horizon, width / 2), np.arange(horizon, height) + 0.5])
        pixel_mm = np.sqrt(np.prod(self.camera.plane.gsd_mm(middles), axis=1))
        level = np.clip(np.round(np.log2(pixel_mm / self.texel_mm[0])), 0, len(self.grain) - 1).astype(int)
        grey = np.zeros((height, width), np.float32)
        for number in np.unique(level).tolist():
            rows = horizon + np.flatnonzero(level == number)
            tile = self.grain[number]
            texel_m = tuple(size * 2**number / 1e3 for size in self.texel_mm)
            matrix = tile_from_pixel(self.camera, vehicle_xy_m, (texel_m[0], texel_m[1]), tile.shape[::-1])
            part = (int(rows[0]), int(rows[-1]) + 1)
            grey[part[0] : part[1]] = through_camera(tile, matrix, (width, height), rows=part)
            if number > 0:
                grey[part[0] : part[1]] += self.lacking[number] * rng.standard_normal((len(rows), width), np.float32)
        return grey


def smooth_seen(tile: GreyImage, camera: Camera, vehicle_xy_m: tuple[float, float]) -> GreyImage:
    """(height, width) factors of a tile of SMOOTH_MM pixels; 1 above the horizon."""
    matrix = tile_from_pixel(camera, vehicle_xy_m, (SMOOTH_MM / 1e3, SMOOTH_MM / 1e3), SMOOTH_WH_PX)
    first, height = horizon_row(camera), camera.plane.size_wh_px[1]
    seen = through_camera(tile, matrix, camera.plane.size_wh_px, rows=(first, height))
    if first == 0:
        return seen
    above = np.ones((first, seen.shape[1]), np.float32)
    return np.asarray(np.vstack([above, seen]), np.float32)


def horizon_row(camera: Camera) -> int:
    """First row whose pixels lie wholly on the road; a few rows are given up to where a pixel is metres long."""
    h = camera.plane.ground_from_pixel
    if h[2, 1] <= 0:
        return 0
    row = -(h[2, 0] * camera.plane.size_wh_px[0] / 2 + h[2, 2]) / h[2, 1]
    return int(np.clip(np.ceil(row) + 3, 0, camera.plane.size_wh_px[1] - 1))


def make_surface(settings: SyntheticSettings, camera: Camera) -> Surface:
    """The surface that `settings` ask for.

    Raises:
        InputError: the background folder holds no image.
    """
    if settings.background is not None:
        return Photographs.of(settings.background, settings, camera)
    rng = np.random.default_rng((settings.seed, 4))
    side = int(np.clip(1 << (max(camera.plane.size_wh_px) - 1).bit_length(), *GRAIN_PX))
    if settings.camera == "downward":
        texel = camera.pixel_mm
        grain: tuple[GreyImage, ...] = (asphalt_tile(rng, (side, side), texel),)
    else:
        nearest = camera.plane.gsd_mm([[camera.plane.size_wh_px[0] / 2, camera.plane.size_wh_px[1]]])[0]
        texel = (float(nearest[0]), float(nearest[0]))
        levels = [asphalt_tile(rng, (side, side), texel)]
        for _ in range(5):
            levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
        grain = tuple(levels)
    tone = float(rng.uniform(95, 155))
    colour = (int(rng.integers(127, 132)), int(rng.integers(124, 129)))
    variance = np.array([tile.var() for tile in grain])
    lacking = (0.35 * np.sqrt(np.maximum(variance[0] - variance, 0.0))).astype(np.float32)
    return Asphalt(camera, tone, colour, texel, grain, lacking, _smooth_tile(rng, settings, camera))


def _smooth_tile(rng: np.random.Generator, settings: SyntheticSettings, camera: Camera) -> GreyImage:
    width = SMOOTH_WH_PX[0]
    factor = 1 + 0.035 * blotch_tile(rng, SMOOTH_WH_PX, 64) + 0.02 * blotch_tile(rng, SMOOTH_WH_PX, 16)
    x = np.arange(width) * SMOOTH_MM / 1e3
    x = np.where(x > x[-1] / 2, x - width * SMOOTH_MM / 1e3, x)
    paths = np.exp(-(((np.abs(x) - 0.55 * camera.half_width_m) / 0.3) ** 2))
    factor = factor * (1 + rng.uniform(-0.05, 0.06) * paths)
    if settings.distractors:
        patchy = blotch_tile(rng, SMOOTH_WH_PX, 16) + 0.5 * blotch_tile(rng, SMOOTH_WH_PX, 4)
        stains = np.clip((patchy - 2.8) * 2.5, 0, 1)
        factor = factor * (1 - 0.3 * stains)
    return np.asarray(factor, np.float32)


def shadow_tile(rng: np.random.Generator) -> GreyImage:
    """Factors of a pass: soft shadows of trees and poles beside the road over about a tenth of it."""
    crowns = blotch_tile(rng, SMOOTH_WH_PX, 128)
    leaves = 0.45 * blotch_tile(rng, SMOOTH_WH_PX, 16) + 0.35 * blotch_tile(rng, SMOOTH_WH_PX, 4)
    shade = np.clip((crowns + leaves - 1.4) * rng.uniform(0.8, 2.5), 0, 1)
    return np.asarray(1 - rng.uniform(0.25, 0.5) * shade, np.float32)


@dataclass(frozen=True, slots=True)
class Photographs:
    """Photographs of crack-free road as the surface.

    Attributes:
        camera: that sees them.
        pictures: YCrCb, (h, w, 3) uint8: of the size of a frame, or blocks of road that follow each other.
        tone: their mean luminance.
    """

    camera: Camera
    pictures: tuple[NDArray[np.uint8], ...]
    tone: float

    @classmethod
    def of(cls, folder: Path, settings: SyntheticSettings, camera: Camera) -> Photographs:
        """The photographs of a folder, in order of their names.

        Raises:
            InputError: there is none.
        """
        if not folder.is_dir():
            raise InputError(f"background {folder}: no such folder; name a folder of crack-free road images")
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        if not paths:
            raise InputError(f"background {folder}: no image ({', '.join(IMAGE_SUFFIXES)}) lies in this folder")
        size = camera.plane.size_wh_px
        needed = -(-settings.frames * round(camera.step_m * 1e3 / camera.pixel_mm[1]) // BLOCK_ROWS) // 2 + 2
        most = settings.frames + 1 if settings.camera == "forward" else needed
        pictures = []
        for path in paths[:most]:
            with open_image(path) as source:
                picture = cv2.cvtColor(source.read_all(), cv2.COLOR_RGB2YCrCb)
            if settings.camera == "forward":
                shrinks = picture.shape[1] > size[0]
                method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
                pictures.append(cv2.resize(picture, size, interpolation=method))
            else:
                pictures.append(_mirrored(picture, (size[0] + 256, BLOCK_ROWS)))
        tone = float(np.mean([picture[..., 0].mean() for picture in pictures]))
        return cls(camera, tuple(np.asarray(picture, np.uint8) for picture in pictures), tone)

    def seen(self, index: int, vehicle_xy_m: tuple[float, float]) -> tuple[GreyImage, Chroma]:
        """The photograph of this frame, or the part of the laid-out ones that a downward camera sees."""
        if self.camera.plane.ground_from_pixel[2, :2].any():
            picture = self.pictures[index % len(self.pictures)]
        else:
            picture = self._laid(vehicle_xy_m)
        return picture[..., 0].astype(np.float32), np.ascontiguousarray(picture[..., 1:])

    def _laid(self, vehicle_xy_m: tuple[float, float]) -> NDArray[np.uint8]:
        width, height = self.camera.plane.size_wh_px
        x, y = (round(at * 1e3 / size) for at, size in zip(vehicle_xy_m, self.camera.pixel_mm, strict=True))
        left = int(np.clip(x + 128, 0, 256))
        top = -y - height
        rows = []
        while top < -y:
            block, start = divmod(top, BLOCK_ROWS)
            count = min(BLOCK_ROWS - start, -y - top)
            rows.append(self._block(block)[start : start + count, left : left + width])
            top += count
        return np.vstack(rows)

    def _block(self, number: int) -> NDArray[np.uint8]:
        """Every picture is laid once as it is and once mirrored; then it fades into the next one."""
        picture = self._facing(number)
        above = self._facing(number - 1)
        if number % 2 == 1 or len(self.pictures) == 1:
            return picture
        result = picture.copy()
        share = np.linspace(0, 1, FADE_ROWS, dtype=np.float32)[:, None, None]
        mixed = (1 - share) * above[::-1][:FADE_ROWS] + share * picture[:FADE_ROWS]
        result[:FADE_ROWS] = mixed.astype(np.uint8)
        return result

    def _facing(self, number: int) -> NDArray[np.uint8]:
        picture = self.pictures[number // 2 % len(self.pictures)]
        return picture if number % 2 == 0 else picture[::-1]


def _mirrored(picture: NDArray[np.uint8], size_wh_px: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture, continued by its mirror images to the right and downwards, or cut, to this size."""
    width, height = size_wh_px
    indices = []
    for have, want in zip(picture.shape[:2], (height, width), strict=True):
        period = np.concatenate([np.arange(have), np.arange(have)[::-1]])
        indices.append(np.resize(period, want))
    return np.ascontiguousarray(picture[np.ix_(*indices)])
