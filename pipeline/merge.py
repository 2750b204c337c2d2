"""From cracks in frames to cracks of the road: each counted once, and whole.

Every frame answers only for its own strip, so a crack that three overlapping frames see is cut into three parts that
add up to one. Then ends that meet at a seam between consecutive frames are joined again. The uncertainties of
pieces are added plainly: they share one camera, so an error of its scale is in all of them and does not average out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any

import numpy as np

from crackmap.calibration.errors import require
from crackmap.pipeline.polyline import weighted_mean
from crackmap.pipeline.records import Frame, RoadCrack
from crackmap.pipeline.seams import JoinLimits, chains, join_at_seams
from crackmap.pipeline.strips import Piece, cut_to_strip
from crackmap.stages.polyline import principal_direction_deg, vertex_weights
from crackmap.stages.records import Crack, FloatArray

SAME_POINT_M = 1e-3
"""Joined ends nearer than this become one vertex; a millimetre is below every survey pixel's position error."""


Lines = list[list[tuple[Piece, bool]]]


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
) -> tuple[RoadCrack, ...]:
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
    names = (f"C{number:06d}" for number in count(1))
    return tuple(
        _road_crack(links, next(names))
        for recording in sorted(recordings)
        for links in _lines(sorted(recordings[recording], key=_frame_order), cracks_of, settings)
    )


def _lines(frames: Sequence[Frame], cracks_of: Callable[[Frame], Sequence[Crack]], settings: MergeSettings) -> Lines:
    """The lines of one recording, each as its pieces and whether they run backwards, in their final order."""
    pieces = [
        piece
        for order, frame in enumerate(frames)
        for crack in cracks_of(frame)
        for piece in cut_to_strip(frame, order, crack)
    ]
    limits = JoinLimits(settings.join_gap_m, settings.join_angle_deg, settings.join_width_ratio)
    joins = join_at_seams(frames, pieces, limits)
    lines = [[(pieces[index], backwards) for index, backwards in chain] for chain in chains(len(pieces), joins)]
    return sorted((links for links in lines if not _is_sliver(links, settings.least_piece_m)), key=_line_order)


def _frame_order(frame: Frame) -> tuple[tuple[str, str], float, str]:
    if frame.chainage_m is None:
        return frame.stream, float("-inf"), ""
    return frame.stream, frame.chainage_m, frame.key


def _line_order(links: Sequence[tuple[Piece, bool]]) -> tuple[float, float, float, float]:
    """By chainage or frame, then offset; the far end settles what is still equal."""
    first = links[0][0].frame
    along = min(float(piece.local_xy[:, 1].min()) + _along_m(piece) for piece, _ in links)
    start = along if first.chainage_m is not None else float(min(piece.order for piece, _ in links))
    across = np.concatenate([piece.local_xy[:, 0] for piece, _ in links])
    return round(start, 6), round(float(across.mean()), 6), along, float(across.max())


def _along_m(piece: Piece) -> float:
    return piece.frame.chainage_m or 0.0


def _is_sliver(links: Sequence[tuple[Piece, bool]], least_m: float) -> bool:
    piece = links[0][0]
    length_m = piece.crack.length_m
    return len(links) == 1 and any(piece.cut) and length_m is not None and length_m * piece.share < least_m


def _road_crack(links: Sequence[tuple[Piece, bool]], name: str) -> RoadCrack:
    """One line out of pieces that follow each other; the flag says which of them run backwards."""
    pieces = [piece for piece, _ in links]
    output = _in_turn(links, [piece.output_xy for piece in pieces])
    metric = all(piece.crack.length_m is not None for piece in pieces)
    gaps_m = [float(np.hypot(*(b[0] - a[-1]))) for a, b in pairwise(output)]
    doubled = [False, *(gap < SAME_POINT_M for gap in gaps_m)]

    def joined(parts: Sequence[FloatArray]) -> FloatArray:
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([part[1:] if twice else part for part, twice in zip(parts, doubled, strict=True)])

    def vertices(values: Sequence[FloatArray]) -> FloatArray:
        return joined(_in_turn(links, values))

    lengths_px = [piece.crack.length_px * piece.share for piece in pieces]
    gsd_mm = _gsd_mm(pieces)
    seams_px = [gap * 1e3 / (sum(gsd_mm) / 2) if gsd_mm else 0.0 for gap in gaps_m]
    has_chainage = metric and all(piece.frame.chainage_m is not None for piece in pieces)
    chainage = vertices([piece.local_xy[:, 1] + _along_m(piece) for piece in pieces]) if has_chainage else None
    local = vertices([piece.local_xy for piece in pieces])
    line_xy = joined(output)
    return RoadCrack(
        crack_id=name,
        line_xy=line_xy,
        width_px=vertices([piece.at_vertices(piece.crack.width_px) for piece in pieces]),
        length_px=sum(lengths_px) + sum(seams_px),
        orientation_deg=_orientation_deg(links),
        confidence=min(1.0, max(0.0, _mean([piece.crack.confidence for piece in pieces], lengths_px))),
        touches_border=_touches_border(links),
        frame_keys=tuple(dict.fromkeys(piece.frame.key for piece in sorted(pieces, key=lambda piece: piece.order))),
        recording=pieces[0].frame.recording,
        width_mm=vertices([_width_mm(piece) for piece in pieces]) if metric else None,
        length_m=sum((piece.crack.length_m or 0.0) * piece.share for piece in pieces) + sum(gaps_m) if metric else None,
        chainage_from_m=None if chainage is None else float(chainage.min()),
        chainage_to_m=None if chainage is None else float(chainage.max()),
        offset_m=weighted_mean(local[:, 0], vertex_weights(line_xy)) if metric else None,
        gsd_mm=gsd_mm,
        chainage_at_m=chainage,
        offset_at_m=np.ascontiguousarray(local[:, 0]) if metric else None,
        **_trust(pieces, lengths_px, gaps_m, seams_px, metric=metric),
    )


def _trust(
    pieces: Sequence[Piece], lengths_px: Sequence[float], seams_m: Sequence[float], seams_px: Sequence[float], *,
    metric: bool,
) -> dict[str, Any]:  # fmt: skip
    """What the pieces of a crack, and the gaps at its seams, say about how far its numbers can be trusted."""
    return {
        "u_length_px": _u_length([piece.crack.u_length_px for piece in pieces], pieces, seams_px),
        "u_length_m": _u_length([piece.crack.u_length_m for piece in pieces], pieces, seams_m) if metric else None,
        "u_width_px": _u_width([piece.crack.u_width_px for piece in pieces], lengths_px),
        "u_width_mm": _u_width([piece.crack.u_width_mm for piece in pieces], lengths_px) if metric else None,
        "grey_share": _mean([piece.crack.grey_share for piece in pieces], lengths_px),
        "gap_px": sum(piece.crack.gap_px * piece.share for piece in pieces) + sum(seams_px),
        "gap_m": sum(_gap_m(piece) for piece in pieces) + sum(seams_m) if metric else None,
        "saturated": any(piece.crack.saturated for piece in pieces),
        "below_resolution": any(piece.crack.below_resolution for piece in pieces),
        "joint": _mean([float(piece.crack.joint) for piece in pieces], lengths_px) > 0.5,
        "sealed": pieces[0].crack.sealed,
        "u_xy_m": max((piece.frame.u_xy_m for piece in pieces if piece.frame.u_xy_m is not None), default=None),
    }


def _in_turn(links: Sequence[tuple[Piece, bool]], values: Sequence[FloatArray]) -> list[FloatArray]:
    return [part[::-1] if backwards else part for (_, backwards), part in zip(links, values, strict=True)]


def _width_mm(piece: Piece) -> FloatArray:
    if piece.crack.width_mm is None:
        return np.empty(0)
    return piece.at_vertices(piece.crack.width_mm)


def _mean(values: Sequence[float], lengths: Sequence[float]) -> float:
    total = sum(lengths)
    if total <= 0:
        return sum(values) / len(values)
    return sum(value * length for value, length in zip(values, lengths, strict=True)) / total


def _u_length(known: Sequence[float | None], pieces: Sequence[Piece], seams: Sequence[float]) -> float | None:
    """Standard uncertainty of the length of joined pieces, in the unit of `known` (per piece) and `seams` (per gap).

    A piece has the root of its share of its crack's uncertainty: right for errors that are independent along the
    line, and more than the share, which an error of the scale would take. Between pieces the uncertainties are added
    plainly, as if all errors went the same way. A gap at a seam counts whole although anything from none of it to all
    of it may be crack: evenly spread, that is gap / sqrt(3) from the value given; seams are independent of each other.
    None where that of a piece is unknown.
    """
    parts = [u * piece.share**0.5 for u, piece in zip(known, pieces, strict=True) if u is not None]
    if len(parts) < len(pieces):
        return None
    return float(np.hypot(sum(parts), np.hypot.reduce(np.asarray(seams, float)) / 3**0.5)) if seams else sum(parts)


def _u_width(known: Sequence[float | None], lengths: Sequence[float]) -> float | None:
    """Standard uncertainty of the mean width of joined pieces: the mean of theirs, weighted by length.

    It would be less by up to the root of their number if their errors were independent, but optics, segmenter and
    scale are the same in all of them. None where that of a piece is unknown.
    """
    values = [u for u in known if u is not None]
    return _mean(values, lengths) if len(values) == len(lengths) else None


def _gap_m(piece: Piece) -> float:
    """The piece's share of the gaps that were bridged in its frame; where on the crack they lie is not kept."""
    crack = piece.crack
    if crack.length_m is None or crack.length_px <= 0:
        return 0.0
    return piece.share * crack.gap_px * crack.length_m / crack.length_px


def _touches_border(links: Sequence[tuple[Piece, bool]]) -> bool:
    """Only the two free ends of the whole line count; an end at a seam was seen to go on, or to end, elsewhere."""
    (first, first_backwards), (last, last_backwards) = links[0], links[-1]
    return first.ends_at_border(1 if first_backwards else 0) or last.ends_at_border(0 if last_backwards else 1)


def _is_whole(pieces: Sequence[Piece]) -> bool:
    return len(pieces) == 1 and not any(pieces[0].cut)


def _orientation_deg(links: Sequence[tuple[Piece, bool]]) -> float:
    if _is_whole([piece for piece, _ in links]):
        return links[0][0].crack.orientation_deg
    # Every frame counts from the ground under its own camera: chainage brings the pieces into one.
    return principal_direction_deg(np.concatenate(_in_turn(links, [_course(piece) for piece, _ in links])))


def _course(piece: Piece) -> FloatArray:
    return np.asarray(piece.local_xy + np.array([0.0, _along_m(piece)]), np.float64)


def _gsd_mm(pieces: Sequence[Piece]) -> tuple[float, float] | None:
    known = [piece.crack.gsd_mm for piece in pieces if piece.crack.gsd_mm is not None]
    if not known or _is_whole(pieces):
        return known[0] if known else None
    per_vertex = [
        piece.frame.ground.gsd_mm(piece.at_vertices(piece.crack.centreline_xy_px))
        if piece.frame.ground is not None
        else np.array([piece.crack.gsd_mm])
        for piece in pieces
    ]
    row, column = np.median(np.concatenate(per_vertex), axis=0)
    return float(row), float(column)
