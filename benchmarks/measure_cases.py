"""Drawn cracks whose length, widths and direction are known from their vectors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.stages.render.stroke import FloatArray, draw_coverage

WIDTHS_PX = (1.5, 2.5, 4.0, 7.0, 15.0)
"""One in each class of WIDTH_EDGES_PX."""

WIDTH_EDGES_PX = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0)
MARGIN_PX = 24
LENGTH_PX = 300.0
LEAST_SPACING_PX = 8.0
"""Between the vertices of a fractal line: finer bends are not in the pixels."""


@dataclass(frozen=True, slots=True)
class Case:
    """One drawn crack.

    Attributes:
        kind: "straight", "arc", "fractal" or "taper".
        name: says which, for a reader of the JSON.
        xy_px: (N, 2) vertices.
        width_px: (N,) full width at each vertex.
        size_wh_px: of the picture it is drawn in.
        straight_deg: its direction where it has just one: 0 up, 90 to the right, clockwise, in [0, 180).
    """

    kind: str
    name: str
    xy_px: FloatArray
    width_px: FloatArray
    size_wh_px: tuple[int, int]
    straight_deg: float | None = None

    @property
    def length_px(self) -> float:
        """Length of the vector line."""
        return float(np.hypot(*np.diff(self.xy_px, axis=0).T).sum())

    def coverage(self) -> NDArray[np.float32]:
        """(height, width) exact share of each pixel that the crack covers."""
        return draw_coverage(self.xy_px, self.width_px, self.size_wh_px)

    def width_at(self, xy_px: FloatArray) -> FloatArray:
        """(n,) true width at the points of the line nearest to `xy_px` (n, 2)."""
        start, step = self.xy_px[:-1], np.diff(self.xy_px, axis=0)
        offset = xy_px[:, None] - start
        along = np.clip((offset * step).sum(axis=2) / (step * step).sum(axis=1), 0.0, 1.0)
        apart = np.hypot(*np.moveaxis(offset - along[..., None] * step, 2, 0))
        nearest = apart.argmin(axis=1)
        share = along[np.arange(len(xy_px)), nearest]
        return np.asarray((1 - share) * self.width_px[nearest] + share * self.width_px[nearest + 1], float)


def cases() -> list[Case]:
    """All cracks of the benchmark, the same on every call."""
    return [*_straight(), *_arcs(), *_fractals(), *_tapers()]


def _case(kind: str, name: str, xy: FloatArray, width: FloatArray | float, degrees: float | None, seed: int) -> Case:
    """Moved so that it lies inside its picture, at a random place within a pixel."""
    within = np.random.default_rng(seed).random(2)
    moved = xy - np.floor(xy.min(axis=0)) + MARGIN_PX + within
    right, low = np.ceil(moved.max(axis=0)).astype(int) + MARGIN_PX
    widths = np.broadcast_to(np.asarray(width, float), len(xy)).copy()
    return Case(kind, name, moved, widths, (int(right), int(low)), degrees)


def _line(degrees: float) -> FloatArray:
    angle = math.radians(degrees)
    return np.array([[0.0, 0.0], [LENGTH_PX * math.sin(angle), -LENGTH_PX * math.cos(angle)]])


def _straight() -> Iterator[Case]:
    for number, degrees in enumerate(np.arange(0.0, 90.1, 7.5).tolist()):
        for width in WIDTHS_PX:
            yield _case("straight", f"{width} px at {degrees} deg", _line(degrees), width, degrees, number)


def _arcs() -> Iterator[Case]:
    for number, (radius, turn) in enumerate([(40, 240), (80, 150), (80, 270), (160, 100), (320, 60)]):
        for width in WIDTHS_PX:
            if width * 4 <= radius:
                # Chords of half a pixel differ from the arc by less than 1e-5 of its length.
                at = np.radians(np.linspace(20.0, 20.0 + turn, int(math.radians(turn) * radius * 2)))
                xy = radius * np.column_stack([np.cos(at), np.sin(at)])
                yield _case("arc", f"{width} px, radius {radius}, {turn} deg", xy, width, None, 100 + number)


def fractal_line(length_px: float, degrees: float, roughness: float, rng: np.random.Generator) -> FloatArray:
    """A line by midpoint displacement (Fournier, Fussell and Carpenter, 1982), vertices >= LEAST_SPACING_PX apart.

    Every midpoint moves across by a normal deviate of `roughness` times its segment's length, bounded at two sigma.
    """
    angle = math.radians(degrees)
    points = np.array([[0.0, 0.0], [length_px * math.sin(angle), -length_px * math.cos(angle)]])
    while np.hypot(*np.diff(points, axis=0).T).min() >= 2 * LEAST_SPACING_PX:
        step = np.diff(points, axis=0)
        shift = roughness * np.clip(rng.normal(size=len(step)), -2, 2)
        middle = points[:-1] + step / 2 + shift[:, None] * np.column_stack([-step[:, 1], step[:, 0]])
        finer = np.empty((2 * len(points) - 1, 2))
        finer[::2], finer[1::2] = points, middle
        points = finer
    return points


def _fractals() -> Iterator[Case]:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        xy = fractal_line(320.0, 15.0 * seed, 0.08 if seed % 2 else 0.14, rng)
        for width in WIDTHS_PX[:-1]:
            yield _case("fractal", f"{width} px, seed {seed}", xy, width, None, 200 + seed)


def _tapers() -> Iterator[Case]:
    for number, degrees in enumerate((0.0, 22.5, 37.5, 45.0, 67.5, 90.0)):
        for first, last in ((1.2, 8.0), (2.0, 18.0), (6.0, 1.2)):
            widths = np.array([first, last])
            yield _case(
                "taper", f"{first} to {last} px at {degrees} deg", _line(degrees), widths, degrees, 300 + number
            )


def crack_field(size_wh_px: tuple[int, int], share: float, seed: int) -> NDArray[np.bool_]:
    """(height, width) mask of fractal cracks, 2 to 8 px wide, 150 to 400 px long, that cover `share` of it."""
    rng = np.random.default_rng(seed)
    width, height = size_wh_px
    mask = np.zeros((height, width), np.uint8)
    wanted, drawn = share * width * height, 0
    while drawn < wanted:
        xy = fractal_line(rng.uniform(150, 400), rng.uniform(0, 180), 0.1, rng)
        case = _case(
            "fractal", "", xy, math.exp(rng.uniform(math.log(2), math.log(8))), None, int(rng.integers(1 << 30))
        )
        stamp = (case.coverage() >= 0.5).astype(np.uint8)
        x = int(rng.integers(0, max(width - stamp.shape[1], 1)))
        y = int(rng.integers(0, max(height - stamp.shape[0], 1)))
        part = mask[y : y + stamp.shape[0], x : x + stamp.shape[1]]
        stamp = stamp[: part.shape[0], : part.shape[1]]
        drawn += int((stamp & ~part & 1).sum())
        part |= stamp
    return mask.astype(bool)


def picture_of(coverage: NDArray[np.float32], seed: int) -> NDArray[np.uint8]:
    """(height, width, 3) picture of a crack, 45 % as bright as the road: blur of 0.6 px, noise of 3 grey levels."""
    rng = np.random.default_rng(seed)
    grey = cv2.GaussianBlur(150.0 - 82.0 * coverage, (0, 0), 0.6) + rng.normal(0.0, 3.0, coverage.shape)
    return np.repeat(np.clip(np.rint(grey), 0, 255).astype(np.uint8)[..., None], 3, axis=2)
