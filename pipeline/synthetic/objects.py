"""What lies on a synthetic road beside its cracks, fixed to the road and no part of the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from crackmap.pipeline.synthetic.settings import Camera, SyntheticSettings
from crackmap.pipeline.synthetic.strokes import Strokes, strokes_of
from crackmap.pipeline.synthetic.truth import RoadTruth
from crackmap.stages.records import FloatArray
from crackmap.stages.render.paths import smooth_noise
from crackmap.stages.render.shapes import fractal_line, turned

Line = tuple[FloatArray, FloatArray, FloatArray]

BEYOND_M = 200.0
"""Paint and verge go on this far before and behind the road: a forward camera looks beyond its end."""

CLEAR_M = 0.12
"""Joints and sealed cracks keep this far from true cracks where they can: which of two touching lines is meant would
be unclear."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Strokes of one look; layers are painted one over the other.

    Attributes:
        strokes: where they are; weight is opacity.
        tone: luminance as a multiple of that of the road.
        relief: share of the road's texture that shows through.
        soft_px: sigma of the softness of their edges.
        chroma: Cr and Cb, 128 = grey; None leaves the road's.
        sight_m: it is drawn at least this far ahead.
    """

    strokes: Strokes
    tone: float
    relief: float
    soft_px: float = 0.0
    chroma: tuple[int, int] | None = None
    sight_m: float = 0.0


def draw_objects(settings: SyntheticSettings, camera: Camera, truth: RoadTruth) -> tuple[Layer, ...]:
    """The layers of the road, lowest first; none where distractors are off or the surface is a photograph."""
    if not settings.distractors or settings.background is not None:
        return ()
    rng = np.random.default_rng((settings.seed, 3))
    ahead = settings.camera == "forward"
    far = BEYOND_M if ahead else 0.0
    span = (-10.0, truth.length_m + 10.0 + far)
    edge = camera.half_width_m + 0.12
    cracks = shapely.STRtree([shapely.LineString(crack.road_xy_m) for crack in truth.cracks])
    verge = [_along(side * (edge + 102.6), span, 200.0, np.ones(2)) for side in (-1.0, 1.0)]
    paint = [_along(edge, span, 0.12, _wear(rng)), *_dashes(rng, -edge, span)]
    yellow = rng.random() < 0.5
    colour = (152, 80) if yellow else None
    return (
        Layer(strokes_of(_patches(rng, camera, span)), rng.uniform(0.68, 0.85), 0.8, 0.7),
        Layer(strokes_of(_sealed(rng, camera, span, cracks)), rng.uniform(0.42, 0.55), 0.35, 0.8),
        Layer(strokes_of(_joints(rng, camera, span, cracks)), 0.4, 0.5, 0.4),
        Layer(strokes_of(paint[:1]), rng.uniform(1.55, 1.8), 0.45, sight_m=far),
        Layer(strokes_of(paint[1:]), 1.35 if yellow else 1.7, 0.45, 0.0, colour, far),
        Layer(strokes_of(verge), 0.8, 2.2, 2.0, (126, 116), far),
    )


def _along(x: float, span: tuple[float, float], width_m: float, opacity: FloatArray) -> Line:
    y = np.linspace(*span, len(opacity))
    return np.column_stack([np.full_like(y, x), y]), np.full_like(y, width_m), opacity


def _wear(rng: np.random.Generator, count: int = 400) -> FloatArray:
    return np.asarray(np.clip(0.8 + 0.12 * smooth_noise(rng, count, 8), 0.35, 0.97), np.float64)


def _dashes(rng: np.random.Generator, x: float, span: tuple[float, float]) -> list[Line]:
    """A broken line, 4 m painted and 8 m not."""
    starts = np.arange(span[0] + rng.uniform(0, 12), span[1], 12.0)
    return [_along(x, (float(start), float(start) + 4.0), 0.12, _wear(rng, 30)) for start in starts]


def _places(rng: np.random.Generator, span: tuple[float, float], every_m: float) -> FloatArray:
    """Places along the road, one in each stretch of every_m, anywhere in it."""
    count = max(round((span[1] - span[0]) / every_m), 1)
    return np.asarray(span[0] + (np.arange(count) + rng.uniform(0, 1, count)) * (span[1] - span[0]) / count, np.float64)


def _patches(rng: np.random.Generator, camera: Camera, span: tuple[float, float]) -> list[Line]:
    result = []
    for y in _places(rng, span, 22.0):
        length, width = rng.uniform(0.8, 2.5), rng.uniform(0.5, 0.9) * camera.half_width_m
        x = rng.uniform(-1, 1) * (camera.half_width_m - width / 2)
        line = np.array([[x + rng.normal(0, 0.02), y], [x + rng.normal(0, 0.02), y + length]])
        result.append((line, np.full(2, width), np.full(2, rng.uniform(0.7, 0.95))))
    return result


def _sealed(rng: np.random.Generator, camera: Camera, span: tuple[float, float], cracks: shapely.STRtree) -> list[Line]:
    result = []
    for y in _places(rng, span, 9.0):
        for _ in range(12):
            length = rng.uniform(0.6, 2.5)
            azimuth = rng.choice([rng.normal(0, 0.15), rng.normal(np.pi / 2, 0.15)])
            start = np.array([rng.uniform(-1, 1) * camera.half_width_m, y + rng.uniform(-2, 2)])
            line = turned(fractal_line(rng, length, 0.06, roughness=0.08), azimuth, start)
            width = rng.uniform(0.02, 0.055) * np.exp(0.12 * smooth_noise(rng, len(line), 4))
            if _clear(line, cracks):
                result.append((line, width, np.full(len(line), rng.uniform(0.75, 0.95))))
                break
    return result


def _joints(rng: np.random.Generator, camera: Camera, span: tuple[float, float], cracks: shapely.STRtree) -> list[Line]:
    """Saw cuts right across the road, even and straight."""
    reach = camera.half_width_m + 2.5
    result = []
    for y in _places(rng, span, 18.0):
        for _ in range(12):
            slant, shift = rng.normal(0, 0.02), rng.uniform(-4, 4)
            line = np.array([[-reach, y + shift - slant * reach], [reach, y + shift + slant * reach]])
            if _clear(line, cracks):
                result.append((line, np.full(2, rng.uniform(0.004, 0.012)), np.full(2, rng.uniform(0.5, 0.9))))
                break
    return result


def _clear(line: FloatArray, cracks: shapely.STRtree) -> bool:
    return not len(cracks.query(shapely.LineString(line), predicate="dwithin", distance=CLEAR_M))
