"""Random crack geometry: vector centrelines with a width at each vertex, known exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Voronoi

from crackmap.calibration.errors import require

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CrackPath:
    """One drawn crack.

    Attributes:
        xy_px: (N, 2) centreline vertices, pixels from the top-left corner; may leave the image.
        width_px: (N,) full width at each vertex.
    """

    xy_px: FloatArray
    width_px: FloatArray

    def __post_init__(self) -> None:
        require(len(self.xy_px) >= 2, "xy_px", "two vertices or more", len(self.xy_px))
        require(len(self.xy_px) == len(self.width_px), "width_px", "one width a vertex", len(self.width_px))


def smooth_noise(rng: np.random.Generator, count: int, correlation: float) -> FloatArray:
    """(count,) Gaussian noise of about unit variance that varies over `correlation` samples."""
    taps = max(int(correlation), 1)
    raw = rng.standard_normal(count + taps - 1)
    return np.asarray(np.convolve(raw, np.full(taps, 1 / np.sqrt(taps)), mode="valid"), float)


def random_crack(
    rng: np.random.Generator, size_wh_px: tuple[int, int], *, width_px: float, step_px: float = 4.0
) -> CrackPath:
    """A correlated random walk through the image, with slowly varying width and tapered tips."""
    width, height = size_wh_px
    length = rng.uniform(0.3, 1.6) * max(width, height)
    count = max(int(length / step_px), 4)
    start = rng.uniform((-0.1 * width, -0.1 * height), (1.1 * width, 1.1 * height))
    centre = rng.uniform((0.2 * width, 0.2 * height), (0.8 * width, 0.8 * height))
    heading = np.arctan2(*(centre - start)[::-1])
    wander = np.cumsum(smooth_noise(rng, count, rng.uniform(1, 6))) * rng.uniform(0.03, 0.16)
    jitter = rng.standard_normal(count) * rng.uniform(0.0, 0.45)
    angle = heading + wander - wander[0] + jitter
    steps = step_px * np.column_stack([np.cos(angle), np.sin(angle)])
    xy = start + np.vstack([np.zeros(2), np.cumsum(steps, axis=0)])
    return CrackPath(xy, tapered_widths(rng, len(xy), width_px))


def tapered_widths(rng: np.random.Generator, count: int, width_px: float) -> FloatArray:
    """(count,) widths around `width_px` that vary slowly and narrow towards both tips."""
    varying = width_px * np.exp(0.22 * smooth_noise(rng, count, 8))
    distance_to_tip = np.minimum(np.arange(count), np.arange(count)[::-1])
    return np.asarray(varying * np.clip(0.35 + distance_to_tip / rng.uniform(3, 12), 0, 1), float)


def branches(rng: np.random.Generator, parent: CrackPath, count: int) -> list[CrackPath]:
    """Side cracks that leave `parent` at random vertices, narrower than it."""
    result = []
    for _ in range(count):
        index = int(rng.integers(1, len(parent.xy_px) - 1))
        tangent = parent.xy_px[index] - parent.xy_px[index - 1]
        heading = np.arctan2(tangent[1], tangent[0]) + rng.choice([-1, 1]) * rng.uniform(0.4, 1.5)
        steps = int(rng.integers(5, 30))
        angle = heading + np.cumsum(rng.standard_normal(steps)) * 0.15
        offsets = 4.0 * np.cumsum(np.column_stack([np.cos(angle), np.sin(angle)]), axis=0)
        xy = np.vstack([parent.xy_px[index], parent.xy_px[index] + offsets])
        width = parent.width_px[index] * rng.uniform(0.45, 0.95)
        taper = np.clip(np.arange(len(xy))[::-1] / 5, 0.4, 1)
        result.append(CrackPath(xy, width * taper))
    return result


def crack_network(
    rng: np.random.Generator, size_wh_px: tuple[int, int], *, cell_px: float, width_px: float
) -> list[CrackPath]:
    """Alligator cracks: the edges of a Voronoi diagram with wobbling lines, in a patch of the image."""
    size = np.array(size_wh_px, float)
    patch = size * rng.uniform(0.35, 1.1, 2)
    corner = rng.uniform(-0.2, 0.8, 2) * size
    count = int(np.clip(np.prod(patch) / cell_px**2, 6, 160))
    diagram = Voronoi(corner + rng.uniform(0, 1, (count, 2)) * patch)
    result = []
    for a, b in diagram.ridge_vertices:
        if a < 0 or b < 0 or rng.random() < 0.15:
            continue
        ends = diagram.vertices[[a, b]]
        inside = (ends > corner - 0.1 * patch).all() and (ends < corner + 1.1 * patch).all()
        if inside:
            result.append(_wobbling_edge(rng, ends, width_px))
    return result


def _wobbling_edge(rng: np.random.Generator, ends: FloatArray, width_px: float) -> CrackPath:
    length = float(np.linalg.norm(ends[1] - ends[0]))
    count = max(int(length / 4), 2)
    t = np.linspace(0, 1, count)[:, None]
    normal = np.array([ends[0, 1] - ends[1, 1], ends[1, 0] - ends[0, 0]]) / max(length, 1e-9)
    wobble = smooth_noise(rng, count, 3)[:, None] * np.sin(np.pi * t) * min(0.06 * length, 2.5)
    widths = width_px * np.exp(0.25 * smooth_noise(rng, count, 4))
    return CrackPath(ends[0] + t * (ends[1] - ends[0]) + wobble * normal, widths)
