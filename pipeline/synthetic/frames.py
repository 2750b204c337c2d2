"""One image of a synthetic survey and its exact mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.pipeline.synthetic.objects import Layer, draw_objects
from crackmap.pipeline.synthetic.settings import Camera, SyntheticSettings
from crackmap.pipeline.synthetic.strokes import Strokes, seen, strokes_of
from crackmap.pipeline.synthetic.surface import Chroma, Surface, make_surface, shadow_tile, smooth_seen
from crackmap.pipeline.synthetic.truth import RoadTruth
from crackmap.stages.render.paths import smooth_noise
from crackmap.stages.render.texture import GreyImage

SIGHT_M = 30.0
"""Cracks are drawn this far ahead of a forward camera: beyond it a pixel is half a metre long."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One drive over the road.

    Attributes:
        number: from 1.
        offset_m: of the vehicle's path, to the right of the middle of the road.
        start_m: road coordinate of the point under the camera in the first frame.
        frames: number of images.
        exposure: factor of all luminance.
        shadows: tile of factors, or None.
    """

    number: int
    offset_m: float
    start_m: float
    frames: int
    exposure: float
    shadows: GreyImage | None

    def vehicle_xy_m(self, index: int, step_m: float) -> tuple[float, float]:
        """Road coordinates of the point under the camera in frame `index`."""
        return self.offset_m, self.start_m + index * step_m


@dataclass(frozen=True, slots=True)
class Road:
    """All that a frame is painted from.

    Attributes:
        settings: optics and seed.
        camera: that sees the road.
        surface: the bare road.
        layers: what lies on it.
        cracks: their weight is the share of the brightness they take away.
    """

    settings: SyntheticSettings
    camera: Camera
    surface: Surface
    layers: tuple[Layer, ...]
    cracks: Strokes


def make_road(settings: SyntheticSettings, camera: Camera, truth: RoadTruth, later: RoadTruth | None = None) -> Road:
    """The road with its cracks; the darkness of each varies by a tenth along it.

    Args:
        settings: optics and seed.
        camera: that sees the road.
        truth: of the first pass, around which everything else is laid.
        later: the same road with cracks that have grown, as `growth.grown` gives it, painted in place of `truth`. What
            is common to both looks the same.
    """
    rng = np.random.default_rng((settings.seed, 5))
    before = {crack.crack_id: crack for crack in truth.cracks}
    lines = []
    for crack in (later or truth).cracks:
        first = before.get(crack.crack_id, crack)
        depth = crack.depth * (1 + 0.1 * np.clip(smooth_noise(rng, len(first.width_mm), 5), -2, 2))
        start = int(np.flatnonzero((crack.road_xy_m == first.road_xy_m[0]).all(axis=1))[0])
        depth = np.pad(depth, (start, len(crack.width_mm) - start - len(depth)), "edge")
        lines.append((crack.road_xy_m, crack.width_mm / 1e3, np.clip(depth, 0.0, 0.9)))
    layers = draw_objects(settings, camera, truth)
    return Road(settings, camera, make_surface(settings, camera), layers, strokes_of(lines))


def plan_pass(settings: SyntheticSettings, camera: Camera, number: int) -> Pass:
    """The first pass drives in the middle, from the start of the road; others a little beside it, out of step.

    Those take one frame more, so that they too show the whole road.
    """
    rng = np.random.default_rng((settings.seed, 6, number))
    shaded = settings.distractors and settings.background is None
    shadows = shadow_tile(rng) if shaded else None
    if number == 1:
        return Pass(1, 0.0, -camera.near_m, settings.frames, 1.0, shadows)
    offset = float(rng.uniform(-1, 1)) * min(0.05, 0.06 * camera.half_width_m)
    phase = float(rng.uniform(0.1, 0.9)) * camera.step_m
    exposure = float(rng.uniform(0.85, 1.12))
    return Pass(number, offset, -camera.near_m - phase, settings.frames + 1, exposure, shadows)


def render_frame(road: Road, drive: Pass, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One frame.

    Returns:
        The picture (height, width, 3) BGR, and the share of each pixel that cracks cover, times 255, both uint8.
    """
    camera, settings = road.camera, road.settings
    vehicle = drive.vehicle_xy_m(index, camera.step_m)
    sight = (camera.near_m - 1.0, SIGHT_M) if settings.camera == "forward" else (-0.1, camera.far_m + 0.1)
    grey, chroma = road.surface.seen(index, vehicle)
    for layer in road.layers:
        _paint(layer, grey, chroma, road, vehicle, (sight[0], max(sight[1], layer.sight_m)))
    width, height = camera.plane.size_wh_px
    mask = np.zeros((height, width), np.uint8)
    window = seen(road.cracks, camera.plane, vehicle, sight)
    if window is not None:
        grey[window.rows, window.columns] *= 1 - window.covered * window.weight
        mask[window.rows, window.columns] = np.rint(window.covered * np.float32(255))
    if drive.shadows is not None:
        grey *= smooth_seen(drive.shadows, camera, vehicle)
    rng = np.random.default_rng((settings.seed, 8, drive.number, index))
    luminance = _photographed(grey, rng, drive.exposure, settings)
    picture = cv2.cvtColor(cv2.merge([luminance, chroma]), cv2.COLOR_YCrCb2BGR)
    return np.asarray(picture, np.uint8), mask


def _paint(
    layer: Layer,
    grey: GreyImage,
    chroma: Chroma,
    road: Road,
    vehicle_xy_m: tuple[float, float],
    sight_m: tuple[float, float],
) -> None:
    window = seen(layer.strokes, road.camera.plane, vehicle_xy_m, sight_m)
    if window is None:
        return
    opacity = window.covered * window.weight
    if layer.soft_px > 0:
        opacity = cv2.GaussianBlur(opacity, (0, 0), layer.soft_px)
    part = grey[window.rows, window.columns]
    tone = np.float32(road.surface.tone)
    painted = tone * np.float32(layer.tone) + np.float32(layer.relief) * (part - tone)
    part += opacity * (painted - part)
    if layer.chroma is not None:
        colour = chroma[window.rows, window.columns]
        colour[:] = colour + opacity[..., None] * (np.asarray(layer.chroma, np.float32) - colour)


def _photographed(
    grey: GreyImage, rng: np.random.Generator, exposure: float, settings: SyntheticSettings
) -> NDArray[np.uint8]:
    """Optics, exposure and noise of the sensor."""
    if settings.blur_px > 0:
        grey = cv2.GaussianBlur(grey, (0, 0), settings.blur_px)
    if exposure != 1.0:
        grey *= np.float32(exposure)
    if settings.noise_levels > 0:
        noise = rng.standard_normal(grey.shape, np.float32)
        noise *= np.float32(settings.noise_levels)
        grey += noise
    # Rounds to the nearest level and clips, in one go.
    return np.asarray(cv2.convertScaleAbs(np.maximum(grey, 0, out=grey)), np.uint8)


def encoded(image: NDArray[np.uint8], suffix: str, options: Sequence[int]) -> bytes:
    """The file content of a picture."""
    _, content = cv2.imencode(suffix, image, options)
    return content.tobytes()
