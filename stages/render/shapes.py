"""Courses that cracks take, in any unit: straight, bent, fractal, and the cells of an alligator pattern."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Voronoi

from crackmap.stages.render.paths import smooth_noise

FloatArray = NDArray[np.float64]

Edges = list[tuple[int, int]]


def straight_line(length: float, spacing: float) -> FloatArray:
    """(N, 2) vertices at most `spacing` apart, from the origin along y."""
    along = np.linspace(0.0, length, max(int(np.ceil(length / spacing)), 1) + 1)
    return np.column_stack([np.zeros_like(along), along])


def arc_line(length: float, radius: float, spacing: float) -> FloatArray:
    """(N, 2) vertices at most `spacing` apart on a circle, from the origin, at first along y, bending to positive x."""
    angle = np.linspace(0.0, length / radius, max(int(np.ceil(length / spacing)), 1) + 1)
    return np.column_stack([radius * (1.0 - np.cos(angle)), radius * np.sin(angle)])


def fractal_line(rng: np.random.Generator, length: float, spacing: float, *, roughness: float = 0.14) -> FloatArray:
    """(N, 2) vertices of a jagged line from (0, 0) to (0, length), at least `spacing` apart along its chord.

    Midpoint displacement (Fournier, Fussell and Carpenter 1982): each half is broken again, by a normal deviate of
    `roughness` times its length, until the halves are about `spacing` long.
    """
    line = np.array([[0.0, 0.0], [0.0, length]])
    for _ in range(max(int(np.log2(max(length / spacing, 1.0))), 1)):
        step = np.diff(line, axis=0)
        across = np.column_stack([-step[:, 1], step[:, 0]])
        # Two standard deviations at most: a line that turns back on itself would run into its own edge.
        shift = np.clip(rng.standard_normal(len(step)), -2.0, 2.0) * roughness
        middles = (line[:-1] + line[1:]) / 2 + across * shift[:, None]
        grown = np.empty((len(line) + len(middles), 2))
        grown[::2], grown[1::2] = line, middles
        line = grown
    return line


def turned(line: FloatArray, azimuth_rad: float, start: FloatArray) -> FloatArray:
    """The line, moved to `start` and turned clockwise seen from above (y ahead, x right)."""
    cosine, sine = np.cos(azimuth_rad), np.sin(azimuth_rad)
    return np.asarray(line @ np.array([[cosine, -sine], [sine, cosine]]) + start, np.float64)


def tapered_width(
    rng: np.random.Generator, line: FloatArray, width: float, *, tips: tuple[bool, bool] = (True, True)
) -> FloatArray:
    """(N,) widths around `width` that vary by a tenth and narrow to a third over ten widths before each open tip."""
    steps = np.hypot(*np.diff(line, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    reach = max(min(10.0 * width, 0.15 * along[-1]), 1e-9)
    taper = np.ones_like(along)
    for open_tip, distance in zip(tips, (along, along[-1] - along), strict=True):
        if open_tip:
            taper = np.minimum(taper, 0.35 + 0.65 * distance / reach)
    return np.asarray(width * taper * np.exp(0.12 * np.clip(smooth_noise(rng, len(line), 4), -2.0, 2.0)), np.float64)


def alligator_cells(rng: np.random.Generator, half_axes: tuple[float, float], cell: float) -> tuple[FloatArray, Edges]:
    """The edges of the Voronoi cells of a shaken grid inside an ellipse around the origin.

    Args:
        rng: source of randomness.
        half_axes: of the ellipse, along x and y.
        cell: mean distance of neighbouring cells.

    Returns:
        (N, 2) nodes, and the edges as pairs of nodes in ascending order. Nodes closer together than a sixth of `cell`
        are made one, so that hardly an edge is shorter.
    """
    reach = np.ceil(np.asarray(half_axes) / cell).astype(int) + 2
    grid = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), -1).reshape(-1, 2).astype(float)
    grid[:, 1] += 0.5 * (grid[:, 0] % 2)
    seeds = (grid + rng.uniform(-0.3, 0.3, grid.shape)) * cell
    diagram = Voronoi(seeds)
    kept = np.flatnonzero(((seeds / half_axes) ** 2).sum(axis=1) <= 1.0)
    name = _merged(diagram.vertices, diagram.ridge_vertices, cell / 6)
    found: set[tuple[int, int]] = set()
    for (one, other), ends in zip(diagram.ridge_points.tolist(), diagram.ridge_vertices, strict=True):
        if min(ends) >= 0 and (one in kept or other in kept):
            a, b = sorted((int(name[ends[0]]), int(name[ends[1]])))
            if a != b:
                found.add((a, b))
    nodes = np.array([diagram.vertices[name == group].mean(axis=0) for group in range(name.max() + 1)])
    return nodes, sorted(found)


def _merged(points: FloatArray, ridges: list[list[int]], least: float) -> NDArray[np.int64]:
    """(N,) group of each point: points joined by a ridge shorter than `least` share one."""
    parent = list(range(len(points)))

    def root(index: int) -> int:
        while parent[index] != index:
            index = parent[index]
        return index

    for one, other in ridges:
        if min(one, other) >= 0 and np.hypot(*(points[one] - points[other])) < least:
            a, b = sorted((root(one), root(other)))
            parent[b] = a
    roots = np.array([root(index) for index in range(len(points))])
    return np.asarray(np.unique(roots, return_inverse=True)[1], np.int64)
