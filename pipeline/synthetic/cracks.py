"""Cracks laid on a road, in metres: each system keeps apart from all others."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import shapely

from crackmap.pipeline.records import Placement
from crackmap.pipeline.synthetic.settings import Camera, SyntheticSettings
from crackmap.pipeline.synthetic.truth import ORIGIN_XY_M, RoadTruth, TrueCrack, TrueNetwork
from crackmap.stages.records import FloatArray
from crackmap.stages.render.shapes import alligator_cells, arc_line, fractal_line, straight_line, tapered_width, turned

APART_M = 0.25
"""Least distance of two systems: a measured line belongs to one of them without doubt."""

TRIES = 60
GOLDEN = 0.6180339887498949
"""Multiples of it, modulo 1, fill an interval evenly from the first few on: every width class occurs early."""


@dataclass(slots=True)
class System:
    """Cracks that touch, before they have names."""

    lines: list[tuple[str, FloatArray, FloatArray]] = field(default_factory=list)
    outline_xy_m: FloatArray | None = None
    cell_count: int = 0

    def add(self, kind: str, line: FloatArray, width_m: FloatArray) -> None:
        """Adds a crack; rounded to 0.01 mm and 0.001 mm, so that the truth that is written is the one drawn."""
        self.lines.append((kind, np.round(line, 5), np.round(width_m * 1e3, 3)))

    def geometry(self) -> shapely.MultiLineString:
        """All its lines."""
        return shapely.MultiLineString([line for _, line, _ in self.lines])


def draw_cracks(settings: SyntheticSettings, camera: Camera) -> RoadTruth:
    """The cracks of the road: a function of the settings alone, the same for every pass.

    Where the road is too crowded for a system, it is left out.
    """
    length_m = settings.frames * camera.step_m
    rng = np.random.default_rng((settings.seed, 1))
    wanted = round(length_m / 10 * settings.cracks_per_10m)
    first = rng.random()
    kinds: list[str] = []
    systems: list[tuple[shapely.MultiLineString, System]] = []
    for index in range(wanted):
        kinds = kinds or [str(kind) for kind in rng.permutation(settings.kinds)]
        share = (first + index * GOLDEN) % 1.0
        width_px = settings.width_px[0] * (settings.width_px[1] / settings.width_px[0]) ** share
        # Even stretches of the road in turn: crowding stays local, and cracks are compared with neighbours only.
        middle_m = length_m * (index + rng.uniform(0, 1)) / wanted
        near = [shape for shape, _ in systems[-round(settings.cracks_per_10m * 2 + 4) :]]
        found = fitting(rng, kinds.pop(), width_px, middle_m, near, length_m, camera)
        if found is not None:
            systems.append((found.geometry(), found))
    rng = np.random.default_rng((settings.seed, 2))
    return named([system for _, system in systems], length_m, settings, rng=rng)


def fitting(
    rng: np.random.Generator,
    kind: str,
    width_px: float,
    middle_m: float,
    near: list[shapely.MultiLineString],
    length_m: float,
    camera: Camera,
) -> System | None:
    """A system on the road around `middle_m`, apart from those near; shorter with each try; None after TRIES."""
    pixel_m = float(np.sqrt(np.prod(camera.pixel_mm))) / 1e3
    margin = min(0.2, 0.1 * length_m)
    for attempt in range(TRIES):
        longest = min(3.0, 4.0 * camera.half_width_m, 0.8 * (length_m - 2 * margin)) * 0.98**attempt
        system = _drawn(rng, kind, width_px * camera.nearest_mm / 1e3, longest, pixel_m)
        shape = system.geometry()
        left, low, right, high = shape.bounds
        x = rng.uniform(-camera.half_width_m, camera.half_width_m) - (left + right) / 2
        y = float(np.clip(middle_m + rng.normal(0, 0.3 + 0.05 * attempt), margin, length_m - margin)) - (low + high) / 2
        if (
            max(abs(left + x), abs(right + x)) > camera.half_width_m
            or not margin < low + y < high + y < length_m - margin
        ):
            continue
        moved = shapely.transform(shape, lambda points, shift=(x, y): points + np.asarray(shift))
        if all(other.distance(moved) > APART_M for other in near):
            return _moved(system, np.array([x, y]))
    return None


def _drawn(rng: np.random.Generator, kind: str, width_m: float, longest_m: float, pixel_m: float) -> System:
    system = System()
    if kind == "network":
        return _network(rng, width_m, longest_m, pixel_m)
    length = longest_m * float(np.exp(rng.uniform(np.log(0.25), 0.0)))
    # A crack is much longer than wide; on a road too short for that it is as long as fits.
    length = min(max(length, 20.0 * width_m), longest_m)
    # Finer vertices than these a raster does not carry, and edges of wide cracks would fold in bends.
    spacing = max(8.0 * pixel_m, 1.2 * width_m)
    azimuth = np.deg2rad(rng.choice([rng.normal(0, 5), rng.normal(90, 5), rng.uniform(15, 75), rng.uniform(105, 165)]))
    if kind == "straight":
        line = straight_line(length, spacing)
    elif kind == "arc":
        line = arc_line(length, length * rng.uniform(0.45, 1.6), spacing) * (rng.choice([-1.0, 1.0]), 1.0)
    else:
        line = fractal_line(rng, length, spacing)
    line = np.round(turned(line, float(azimuth), np.zeros(2)), 5)
    width = tapered_width(rng, line, width_m)
    system.add("fractal" if kind == "branch" else kind, line, width)
    if kind == "branch":
        _add_branches(rng, system, line, width, length, spacing)
    return system


def _add_branches(
    rng: np.random.Generator, system: System, parent: FloatArray, width: FloatArray, length: float, spacing: float
) -> None:
    """One to three side branches that start in a vertex of the parent; a third of them go on beyond it: a crossing."""
    if len(parent) < 5:
        return
    free = np.arange(2, len(parent) - 2)
    for index in rng.permutation(free)[: int(rng.integers(1, 4))].tolist():
        ahead = parent[index + 1] - parent[index - 1]
        side = rng.choice([-1.0, 1.0]) * rng.uniform(np.deg2rad(40), np.deg2rad(110))
        azimuth = float(np.arctan2(ahead[0], ahead[1])) + side
        reach, thickness = length * rng.uniform(0.15, 0.4), width[index] * rng.uniform(0.5, 0.95)
        line = turned(fractal_line(rng, reach, spacing), azimuth, parent[index])
        tips = (False, True)
        if rng.random() < 0.35:
            back = turned(fractal_line(rng, reach * rng.uniform(0.5, 1.0), spacing), azimuth + np.pi, parent[index])
            line, tips = np.vstack([back[:0:-1], line]), (True, True)
        others = system.geometry()
        # The branch may touch the system where it starts, and nowhere else.
        hole = shapely.Point(parent[index]).buffer(max(1.5 * spacing, 2 * thickness))
        away = shapely.LineString(line).difference(hole)
        if not away.is_empty and others.distance(away) > max(spacing / 2, 2 * thickness):
            system.add("branch", line, tapered_width(rng, line, thickness, tips=tips))


def _network(rng: np.random.Generator, width_m: float, longest_m: float, pixel_m: float) -> System:
    """An alligator pattern of cells a few decimetres wide, each edge a crack; widths at most a sixteenth of a cell."""
    cell = min(max(float(rng.uniform(0.1, 0.28)), 24 * pixel_m, 8 * width_m), 0.12 * longest_m)
    half = (rng.uniform(1.4, 2.6) * cell, rng.uniform(1.8, 3.6) * cell)
    nodes, joined = alligator_cells(rng, half, cell)
    system = System()
    nodes = np.round(nodes, 5)
    for a, b in joined:
        ends = nodes[[a, b]]
        line = _wobbling(rng, ends, max(8.0 * pixel_m, cell / 12))
        width = min(width_m, cell / 16) * rng.uniform(0.7, 1.2)
        system.add("network", line, tapered_width(rng, line, width, tips=(False, False)))
    cells = shapely.get_parts(shapely.polygonize([shapely.LineString(line) for _, line, _ in system.lines]))
    whole = shapely.union_all(cells)
    largest = max(shapely.get_parts(whole), key=lambda part: part.area)
    system.outline_xy_m = shapely.get_coordinates(largest.exterior)[:-1]
    system.cell_count = len(cells)
    return system


def _wobbling(rng: np.random.Generator, ends: FloatArray, spacing: float) -> FloatArray:
    """A line between two nodes that leaves the straight one by a few per cent."""
    step = ends[1] - ends[0]
    count = max(int(np.hypot(*step) / spacing), 1) + 1
    t = np.linspace(0.0, 1.0, count)
    bow = rng.normal(0, 0.04) * np.sin(np.pi * t) + rng.normal(0, 0.02) * np.sin(2 * np.pi * t)
    line = ends[0] + t[:, None] * step + bow[:, None] * np.array([-step[1], step[0]])
    line[0], line[-1] = ends
    return np.asarray(line, np.float64)


def _moved(system: System, shift: FloatArray) -> System:
    shift = np.round(shift, 5)
    lines = [(kind, np.round(line + shift, 5), width) for kind, line, width in system.lines]
    outline = system.outline_xy_m
    return System(lines, None if outline is None else np.round(outline + shift, 5), system.cell_count)


def named(
    systems: list[System], length_m: float, settings: SyntheticSettings, *, rng: np.random.Generator,
    first: tuple[int, int] = (1, 1),
) -> RoadTruth:  # fmt: skip
    """Systems in order of their start along the road, with darkness, and names from the numbers `first` on."""
    cracks: list[TrueCrack] = []
    networks: list[TrueNetwork] = []
    for number, system in enumerate(sorted(systems, key=lambda item: item.geometry().bounds[1]), start=first[1]):
        group = f"G{number:03d}"
        depth = rng.uniform(*settings.depth)
        for kind, line, width_mm in system.lines:
            own = round(float(np.clip(depth + rng.normal(0, 0.02), *settings.depth)), 4)
            cracks.append(TrueCrack(f"T{first[0] + len(cracks):03d}", kind, group, line, width_mm, own))
        if system.outline_xy_m is not None:
            networks.append(TrueNetwork(group, system.outline_xy_m, system.cell_count))
    placement = Placement(ORIGIN_XY_M, settings.azimuth_deg)
    return RoadTruth(length_m, tuple(cracks), tuple(networks), placement)
