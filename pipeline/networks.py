"""Crack patterns of the road: networks among the merged cracks, and their area in each section."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely

from crackmap.calibration.errors import require
from crackmap.pipeline.assembly.columns import CrackColumns
from crackmap.pipeline.records import RoadNetwork, Section
from crackmap.stages.measure.networks import Network, find_networks
from crackmap.stages.polyline import vertex_weights
from crackmap.stages.records import FloatArray

ALLIGATOR = "alligator"
BLOCK = "block"

BLOCK_CELL_M = 0.3
"""From this mean cell side on a pattern is block cracking: alligator pieces are usually less than 0.3 m on the longest
side, blocks have 0.1 m2 or more (Miller and Bellinger, Distress Identification Manual for the LTPP, FHWA 2014)."""

SNAP_PIXELS = 3.0
"""Side branches end up to about 1.5 px beside the line they come from; twice that is allowed."""

REACH_PIXELS = 15.0
"""Thin cracks fade out before they meet: ends go on straight by this many pixels at most. On 26 frames of DNIT with
pixels of 11 mm it finds four times the area that touching cracks enclose."""

MEMBER_SHARE = 0.5
"""A crack belongs to a pattern if this share of its length lies in it: a long crack that passes through does not."""


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """What counts as a pattern.

    Attributes:
        snap_m: how far an end may lie from the crack it should meet; three pixels where those are larger. Frames
            disagree by a few centimetres at their seams.
        reach_m: how far an end goes on straight to meet a crack; 15 pixels at most.
        max_cell_m: greatest side of a cell, as the square of equal area.
        min_cells: least number of cells that lie side by side.
    """

    snap_m: float = 0.03
    reach_m: float = 0.15
    max_cell_m: float = 0.5
    min_cells: int = 3

    def __post_init__(self) -> None:
        require(self.snap_m > 0, "snap_m", "metres above 0", self.snap_m)
        require(self.reach_m >= 0, "reach_m", "metres, not negative", self.reach_m)
        require(self.max_cell_m > self.snap_m, "max_cell_m", f"metres above snap_m = {self.snap_m}", self.max_cell_m)
        require(self.min_cells >= 1, "min_cells", "1 or more", self.min_cells)


_DEFAULTS = NetworkSettings()


def find_patterns(
    cracks: CrackColumns, *, settings: NetworkSettings = _DEFAULTS
) -> tuple[CrackColumns, tuple[RoadNetwork, ...]]:
    """The cracks with the patterns they belong to, and the patterns.

    Cracks of one recording are looked at together, those of a frame without chainage by themselves: two recordings,
    or two rasters, may show the same road twice. Without a ground scale there are no patterns.

    Args:
        cracks: merged, in their final order.
        settings: what counts as a pattern.

    Returns:
        The cracks in the order given, and the patterns, named «P0001»..., in the order of their first cracks.
    """
    placed, recordings, keys = cracks.known["chainage_at_m"], cracks.plain["recording"], cracks.plain["frame_keys"]
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index in np.flatnonzero(cracks.known["length_m"] & cracks.open).tolist():
        groups[recordings[index], "" if placed[index] else keys[index][0]].append(index)
    lines = np.split(cracks["line_xy"], cracks.ends[1:-1])
    found = []
    for members in groups.values():
        pixel_m = _pixel_m(cracks["gsd_mm"][members])
        snap_m = max(settings.snap_m, SNAP_PIXELS * pixel_m)
        networks = find_networks(
            [lines[index] for index in members],
            snap=snap_m,
            max_cell=max(settings.max_cell_m, 2 * snap_m),
            min_cells=settings.min_cells,
            reach=min(settings.reach_m, REACH_PIXELS * pixel_m) if pixel_m > 0 else settings.reach_m,
        )
        found += [(replace(item, members=tuple(members[k] for k in item.members)), snap_m) for item in networks]
    found.sort(key=lambda item: item[0].members)
    named = [(f"P{number:04d}", *item) for number, item in enumerate(found, start=1)]
    patterns = tuple(_road_network(name, network, cracks, snap_m) for name, network, snap_m in named)
    return _with_names(cracks, lines, [(name, network) for name, network, _ in named]), patterns


def with_pattern_areas(sections: Sequence[Section], patterns: Sequence[RoadNetwork]) -> tuple[Section, ...]:
    """The sections with the area of the patterns inside their outlines; what lies in two outlines goes to the first."""
    inside_m2: dict[int, float] = defaultdict(float)
    for section, _, area_m2 in areas_in_sections(sections, patterns):
        inside_m2[section] += area_m2
    return tuple(replace(section, pattern_area_m2=inside_m2.get(k, 0.0)) for k, section in enumerate(sections))


def areas_in_sections(sections: Sequence[Section], patterns: Sequence[RoadNetwork]) -> Iterator[tuple[int, int, float]]:
    """Yields (number of the section, number of the pattern, square metres) where a pattern lies in an outline."""
    drawn = [k for k, section in enumerate(sections) if len(section.outline_xy) >= 3]
    outlines = shapely.make_valid(np.array([shapely.Polygon(sections[k].outline_xy) for k in drawn], dtype=object))
    tree = shapely.STRtree(outlines)
    for number, pattern in enumerate(patterns):
        rest = polygon_of(pattern)
        for place in sorted(tree.query(rest, predicate="intersects").tolist()):
            if sections[drawn[place]].recording == pattern.recording:
                yield drawn[place], number, float(shapely.area(shapely.intersection(rest, outlines[place])))
                rest = shapely.difference(rest, outlines[place])


def polygon_of(pattern: RoadNetwork) -> shapely.Polygon:
    """The outline of a pattern with its holes."""
    return shapely.Polygon(pattern.outline_xy, pattern.holes_xy)


def _pixel_m(gsd_mm: FloatArray) -> float:
    """Median of the longer sides of pixels (n, 2); 0 where none is known."""
    sides = gsd_mm.max(axis=1)
    sides = sides[~np.isnan(sides)]
    return float(np.median(sides)) / 1e3 if len(sides) else 0.0


def _road_network(name: str, network: Network, cracks: CrackColumns, snap_m: float) -> RoadNetwork:
    near = shapely.buffer(network.outline, snap_m)
    shapely.prepare(near)
    length_m = float(network.length_inside.sum())
    width_mm = confidence = 0.0
    chainage: list[FloatArray] = []
    shares = (network.length_inside / length_m).tolist()
    for crack, inside_m in zip(cracks.cracks(network.members), shares, strict=True):
        inside = shapely.contains_xy(near, crack.line_xy)
        if not inside.any():
            # It only passes between two of its vertices.
            inside = np.full(len(crack.line_xy), True)
        weights = vertex_weights(crack.line_xy) * inside
        if crack.width_mm is not None:
            width_mm += inside_m * float(crack.width_mm @ weights / weights.sum())
        confidence += inside_m * crack.confidence
        if crack.chainage_at_m is not None:
            chainage.append(crack.chainage_at_m[inside])
    along = np.concatenate(chainage) if chainage else None
    side_m = float(np.sqrt(network.mean_cell_area))
    return RoadNetwork(
        pattern_id=name,
        kind=ALLIGATOR if side_m < BLOCK_CELL_M else BLOCK,
        recording=cracks.plain["recording"][network.members[0]],
        outline_xy=shapely.get_coordinates(network.outline.exterior),
        holes_xy=tuple(shapely.get_coordinates(ring) for ring in network.outline.interiors),
        cell_count=network.cell_count,
        area_m2=network.area,
        mean_cell_m=side_m,
        crack_length_m=length_m,
        mean_width_mm=width_mm,
        confidence=min(confidence, 1.0),
        chainage_from_m=None if along is None else float(along.min()),
        chainage_to_m=None if along is None else float(along.max()),
    )


def _with_names(
    cracks: CrackColumns, lines: Sequence[FloatArray], named: Sequence[tuple[str, Network]]
) -> CrackColumns:
    most: dict[int, tuple[float, str]] = {}
    for name, network in named:
        for index, inside_m in zip(network.members, network.length_inside.tolist(), strict=True):
            line = float(shapely.length(shapely.LineString(lines[index])))
            if inside_m >= MEMBER_SHARE * line and inside_m > most.get(index, (0.0, ""))[0]:
                most[index] = (inside_m, name)
    names = [most[index][1] if index in most else "" for index in range(len(cracks))]
    return replace(cracks, plain={**cracks.plain, "pattern_id": names})
