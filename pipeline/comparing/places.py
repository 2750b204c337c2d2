"""One survey of a comparison: its cracks as points, the road it saw, and where along the road a point lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely

from crackmap.pipeline.comparing.records import BoolArray, IntArray, Samples
from crackmap.pipeline.footprint import visible_polygon_m
from crackmap.pipeline.records import FrameOutcome, RoadCrack
from crackmap.pipeline.survey_result import SurveyResult
from crackmap.stages.polyline import arc_length, segment_lengths
from crackmap.stages.records import FloatArray

COURSE_SPAN_M = 0.15
"""Length of line on which a local direction is read: a dozen pixels or more at survey resolutions."""

GAP_STEPS = 3.0
GAP_SLACK = 1.1
"""Vertices of a measured line are evenly spaced; a bridge is a single segment, longer than this many steps."""

Move = Callable[[FloatArray], FloatArray]
"""(N, 2) coordinates of one survey to those of the other."""


def compared_cracks(result: SurveyResult) -> list[RoadCrack]:
    """The cracks that are compared: those with a length in metres, joints left out."""
    return [crack for crack in result.cracks if crack.length_m is not None and not crack.joint]


def sample_lines(cracks: Sequence[RoadCrack], move: Move, spacing_m: float) -> Samples:
    """Points in the middle of equal parts of every crack, about `spacing_m` long, moved by `move`."""
    parts: list[tuple[FloatArray, ...]] = []
    lines = moved_lines([crack.line_xy for crack in cracks], move)
    for index, (crack, line) in enumerate(zip(cracks, lines, strict=True)):
        along = arc_length(line)
        count = max(round(float(along[-1]) / spacing_m), 1)
        at = (np.arange(count) + 0.5) / count * along[-1]
        ends = np.clip([at - COURSE_SPAN_M / 2, at + COURSE_SPAN_M / 2], 0.0, along[-1])
        behind, ahead = (np.column_stack([np.interp(end, along, axis) for axis in line.T]) for end in ends)
        step = ahead - behind
        size = np.maximum(np.hypot(step[:, 0], step[:, 1]), 1e-12)[:, None]
        width = np.interp(at, along, crack.width_mm) if crack.width_mm is not None else np.zeros(count)
        xy = np.column_stack([np.interp(at, along, axis) for axis in line.T])
        place = np.interp(at, along, np.arange(len(line), dtype=np.float64))
        bridged = bridged_segments(crack)[np.minimum(place.astype(np.int64), len(line) - 2)]
        length = np.full(count, (crack.length_m or 0.0) / count)
        parts.append((np.full(count, float(index)), xy, step / size, length, width, place, bridged))
    if not parts:
        empty = np.empty(0)
        return Samples(
            np.empty(0, np.int64), np.empty((0, 2)), np.empty((0, 2)), empty, empty, empty, np.empty(0, bool)
        )
    number, xy, course, length, width, place, bridged = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Samples(number.astype(np.int64), xy, course, length, width, place, bridged.astype(bool))


def bridged_segments(crack: RoadCrack) -> BoolArray:
    """(N - 1,) the segments of a line that bridge its gaps: the long ones, as far as they make up `gap_m`."""
    lengths = segment_lengths(crack.line_xy)
    bridged = np.zeros(len(lengths), bool)
    longest = np.argsort(-lengths, kind="stable")
    gap = (crack.gap_m or 0.0) * GAP_SLACK
    chosen = longest[np.cumsum(lengths[longest]) <= gap]
    bridged[chosen[lengths[chosen] > GAP_STEPS * np.median(lengths)]] = True
    return bridged


def moved_lines(lines: Sequence[FloatArray], move: Move) -> list[FloatArray]:
    """Every line moved, all in one call."""
    if not lines:
        return []
    whole = move(np.concatenate(lines))
    return [np.asarray(part, np.float64) for part in np.split(whole, np.cumsum([len(line) for line in lines])[:-1])]


@dataclass(frozen=True, slots=True)
class SeenRoad:
    """The road that a survey measured.

    Attributes:
        outcomes: the measured frames.
        polygons: (F, 4, 2) what each answers for.
        recording: (F,) number of its recording, by name.
        names: of the recordings.
        tree: of the polygons.
    """

    outcomes: tuple[FrameOutcome, ...]
    polygons: FloatArray
    recording: IntArray
    names: tuple[str, ...]
    tree: shapely.STRtree

    def moved(self, move: Move) -> SeenRoad:
        """The same road in other coordinates."""
        polygons = move(self.polygons.reshape(-1, 2)).reshape(-1, 4, 2)
        return replace(self, polygons=polygons, tree=shapely.STRtree(shapely.polygons(polygons)))

    def recording_at(self, xy: FloatArray) -> IntArray:
        """(N,) number of the first recording, by name, that saw each point (N, 2); -1 where none did."""
        points, frames = self.tree.query(shapely.points(xy), predicate="intersects")
        first = np.full(len(xy), len(self.names), np.int64)
        np.minimum.at(first, points, self.recording[frames])
        return np.where(first < len(self.names), first, -1)

    def covers(self, xy: FloatArray, margin_m: float) -> BoolArray:
        """(N,) whether the survey saw each point (N, 2) and the road around it."""
        covered = np.ones(len(xy), bool)
        for turn in (0.0, 0.5, 1.0, 1.5):
            probe = margin_m * np.array([np.cos(turn * np.pi), np.sin(turn * np.pi)])
            found = np.zeros(len(xy), bool)
            found[self.tree.query(shapely.points(xy + probe), predicate="intersects")[0]] = True
            covered &= found
        return covered


def seen_road(result: SurveyResult) -> SeenRoad:
    """The measured frames of a survey that have a place and a ground scale."""
    outcomes = tuple(
        outcome for outcome in result.outcomes
        if not outcome.lost and outcome.frame.ground is not None and len(outcome.footprint_xy) == 4
    )  # fmt: skip
    names = tuple(sorted({outcome.frame.recording for outcome in outcomes}))
    polygons = np.array([outcome.footprint_xy for outcome in outcomes], np.float64).reshape(-1, 4, 2)
    recording = np.array([names.index(outcome.frame.recording) for outcome in outcomes], np.int64)
    return SeenRoad(outcomes, polygons, recording, names, shapely.STRtree(shapely.polygons(polygons)))


@dataclass(frozen=True, slots=True)
class Axis:
    """The course of a survey's road: one straight piece for each frame's strip.

    Attributes:
        names: of its recordings; without chainage, of its images.
        stream: (P,) number of the recording (or image) of each piece.
        start_xy, end_xy: (P, 2) ends of each piece, from less to more chainage.
        chainage_m: (P, 2) there; NaN without chainage.
        tree: of the pieces; of a raster its outline.
    """

    names: tuple[str, ...]
    stream: IntArray
    start_xy: FloatArray
    end_xy: FloatArray
    chainage_m: FloatArray
    tree: shapely.STRtree

    @property
    def has_chainage(self) -> bool:
        """Whether there is a direction along the road."""
        return bool(np.isfinite(self.chainage_m).all())

    def locate(self, xy: FloatArray) -> tuple[IntArray, FloatArray, FloatArray]:
        """Of points (N, 2): number of the nearest piece, chainage (NaN without), and offset to the right of it."""
        if not len(xy):
            return np.empty(0, np.int64), np.empty(0), np.empty(0)
        points, pieces = self.tree.query_nearest(shapely.points(xy), all_matches=False)
        piece = np.empty(len(xy), np.int64)
        piece[points] = pieces
        ahead = self.ahead(piece)
        from_start = xy - self.start_xy[piece]
        length = np.hypot(*(self.end_xy - self.start_xy).T)[piece]
        share = np.clip((from_start * ahead).sum(axis=1) / np.maximum(length, 1e-9), 0.0, 1.0)
        low, high = self.chainage_m[piece].T
        offset = from_start[:, 0] * ahead[:, 1] - from_start[:, 1] * ahead[:, 0]
        return piece, low + share * (high - low), offset

    def ahead(self, piece: IntArray) -> FloatArray:
        """(N, 2) unit vectors towards more chainage; north without chainage."""
        step = self.end_xy[piece] - self.start_xy[piece]
        size = np.hypot(step[:, 0], step[:, 1])[:, None]
        return np.where(size > 1e-9, step / np.maximum(size, 1e-9), [0.0, 1.0])


def road_axis(road: SeenRoad) -> Axis:
    """The course of the road a survey saw."""
    directed = all(outcome.frame.chainage_m is not None for outcome in road.outcomes)
    if not directed:
        middles = road.polygons.mean(axis=1)
        names = tuple(outcome.frame.key for outcome in road.outcomes)
        stream = np.arange(len(names), dtype=np.int64)
        return Axis(names, stream, middles, middles, np.full((len(names), 2), np.nan), road.tree)
    starts, ends, chainage = [], [], []
    for outcome in road.outcomes:
        frame, polygon = outcome.frame, visible_polygon_m(outcome.frame)
        x = float(polygon[:, 0].min() + polygon[:, 0].max()) / 2
        y = np.array([polygon[:, 1].min(), polygon[:, 1].max()])
        y = y if frame.chainage_scale > 0 else y[::-1]
        place = frame.placement.to_output_xy(np.column_stack([np.full(2, x), y]))
        starts.append(place[0])
        ends.append(place[1])
        chainage.append([frame.chainage_at(float(value)) for value in y])
    tree = shapely.STRtree(shapely.linestrings(np.stack([starts, ends], axis=1)))
    return Axis(road.names, road.recording, np.array(starts), np.array(ends), np.array(chainage), tree)
