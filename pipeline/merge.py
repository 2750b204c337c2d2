"""From cracks in frames to cracks of the road: each counted once, and whole.

Every frame answers only for its own strip, so a crack that three overlapping frames see is cut into three parts that
add up to one. Then ends that meet at a seam between consecutive frames are joined again. The uncertainties of
pieces are added plainly: they share one camera, so an error of its scale is in all of them and does not average out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import require
from crackmap.pipeline.assembly.columns import CrackColumns
from crackmap.pipeline.polyline import lines_by_size
from crackmap.pipeline.records import Frame
from crackmap.pipeline.road_cracks import Link, road_cracks
from crackmap.pipeline.seams import JoinLimits, chains, join_at_seams
from crackmap.pipeline.strips import Piece, cut_to_strip
from crackmap.stages.records import Crack, FloatArray

Lines = list[list[Link]]


@dataclass(frozen=True, slots=True)
class MergeSettings:
    """How cracks are joined across frames.

    Attributes:
        join_gap_m: greatest distance, along and across the road, between two ends that are joined at a seam.
        join_angle_deg: greatest change of direction where they meet.
        join_width_ratio: greatest ratio of the two widths there; differences within a pixel are always allowed.
        least_piece_m: a part cut off at a seam that finds no continuation is dropped below this length: it is what
            the disagreement of two frames about a seam leaves behind.
    """

    join_gap_m: float = 0.30
    join_angle_deg: float = 45.0
    join_width_ratio: float = 3.0
    least_piece_m: float = 0.05

    def __post_init__(self) -> None:
        require(self.join_gap_m > 0, "join_gap_m", "metres above 0", self.join_gap_m)
        require(0 < self.join_angle_deg <= 90, "join_angle_deg", "degrees above 0, at most 90", self.join_angle_deg)
        require(self.join_width_ratio >= 1, "join_width_ratio", "a ratio of at least 1", self.join_width_ratio)
        require(self.least_piece_m >= 0, "least_piece_m", "metres, not negative", self.least_piece_m)


def merge_cracks(
    frames: Sequence[Frame], cracks_of: Callable[[Frame], Sequence[Crack]], *, settings: MergeSettings
) -> CrackColumns:
    """The cracks of the road, in output coordinates.

    Args:
        frames: every frame that was measured, also without cracks. Those with a chainage, which here is that along the
            drive, may come in any order; the others are taken in the order given.
        cracks_of: the cracks of a frame, in its own coordinates. Asked once for each, recording after recording.
        settings: how ends are joined at seams.

    Returns:
        One line per crack, named «C000001»... by recording, chainage (without one: frame) and offset.
    """
    recordings: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        recordings[frame.recording].append(frame)
    parts = [CrackColumns.of(())]
    for recording in sorted(recordings):
        pieces, lines = _lines(sorted(recordings[recording], key=_frame_order), cracks_of, settings)
        parts.append(road_cracks(pieces, lines))
    return CrackColumns.joined(parts[1:] or parts).named(0, 0)


def _lines(
    frames: Sequence[Frame], cracks_of: Callable[[Frame], Sequence[Crack]], settings: MergeSettings
) -> tuple[list[Piece], Lines]:
    """The pieces of one recording, frame by frame, and its lines made of them, in their final order."""
    pieces = [piece for order, frame in enumerate(frames) for piece in cut_to_strip(frame, order, cracks_of(frame))]
    limits = JoinLimits(settings.join_gap_m, settings.join_angle_deg, settings.join_width_ratio)
    joined = chains(len(pieces), join_at_seams(frames, pieces, limits))
    lines = [line for line in joined if not _is_sliver(line, pieces, settings.least_piece_m)]
    orders = _line_orders(lines, pieces)
    return pieces, [lines[number] for number in sorted(range(len(lines)), key=orders.__getitem__)]


def _frame_order(frame: Frame) -> tuple[tuple[str, str], float, str]:
    if frame.chainage_m is None:
        return frame.stream, float("-inf"), ""
    return frame.stream, frame.chainage_m, frame.key


def _line_orders(lines: Lines, pieces: Sequence[Piece]) -> list[tuple[float, float, float, float]]:
    """Of each line: by chainage or frame, then offset; the far end settles what is still equal."""
    if not lines:
        return []
    links = [pieces[number] for line in lines for number, _ in line]
    first = np.cumsum([0, *(len(line) for line in lines[:-1])])
    ends = np.cumsum([0, *(len(piece.places) for piece in links)])
    local = np.concatenate([piece.local_xy for piece in links])
    nearest = np.minimum.reduceat(local[:, 1], ends[:-1]) + np.array([piece.along_m for piece in links])
    along = np.minimum.reduceat(nearest, first)
    farthest = np.maximum.reduceat(local[:, 0], ends[first])
    across = _means(local[:, 0], np.append(ends[first], ends[-1]))
    placed = np.array([links[number].frame.chainage_m is not None for number in first.tolist()])
    frame = np.minimum.reduceat(np.array([piece.order for piece in links]), first)
    start = np.where(placed, along, frame)
    columns = (values.tolist() for values in (start, across, along, farthest))
    return [(round(start, 6), round(offset, 6), near, far) for start, offset, near, far in zip(*columns, strict=True)]


def _means(values: FloatArray, ends: NDArray[np.int64]) -> FloatArray:
    """(n,) of the values of each of n lines, which follow each other."""
    found = np.empty(len(ends) - 1)
    for numbers, vertices in lines_by_size(ends):
        found[numbers] = values[vertices].mean(axis=1)
    return found


def _is_sliver(line: Sequence[Link], pieces: Sequence[Piece], least_m: float) -> bool:
    piece = pieces[line[0][0]]
    length_m = piece.crack.length_m
    return len(line) == 1 and any(piece.cut) and length_m is not None and length_m * piece.share < least_m
