"""Lines of the road out of the pieces that follow each other, all of them at once.

A recording has tens of thousands of short lines: a dozen small arrays for each of them would take most of the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crackmap.pipeline.assembly.columns import NUMBERS, OF_VERTICES, PAIRS, CrackColumns
from crackmap.pipeline.polyline import weighted_means
from crackmap.pipeline.strips import Piece
from crackmap.stages.polyline import principal_direction_deg
from crackmap.stages.records import FloatArray

SAME_POINT_M = 1e-3
"""Joined ends nearer than this become one vertex; a millimetre is below every survey pixel's position error."""

Link = tuple[int, bool]
"""Number of a piece, and whether it runs backwards."""

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Links:
    """The pieces of all lines, line after line.

    Attributes:
        pieces: (P,) in the order in which they follow each other.
        numbers: (P,) their numbers among all pieces.
        backwards: (P,) whether they run backwards.
        line: (P,) number of the line of each.
        count: of the lines.
    """

    pieces: Sequence[Piece]
    numbers: IntArray
    backwards: BoolArray
    line: IntArray
    count: int

    @property
    def first(self) -> IntArray:
        """(lines,) number of the first link of each."""
        return np.searchsorted(self.line, np.arange(self.count))

    def values(self, values: Iterable[float | None]) -> FloatArray:
        """(P,) one for each piece; NaN for None."""
        return np.array(list(values), np.float64)

    def sums(self, values: FloatArray) -> FloatArray:
        """(lines,) of values (P,), one after the other."""
        return np.asarray(np.bincount(self.line, values, self.count), np.float64)

    def any(self, values: Iterable[bool]) -> BoolArray:
        """(lines,) whether it holds for one of the pieces."""
        return np.bincount(self.line, np.array(list(values), bool), self.count) > 0

    def means(self, values: FloatArray, lengths: FloatArray) -> FloatArray:
        """(lines,) of values (P,), weighted by length where there is any."""
        total = self.sums(lengths)
        weighted = self.sums(values * lengths) / np.where(total > 0, total, 1.0)
        return np.where(total > 0, weighted, self.sums(values) / np.bincount(self.line, minlength=self.count))


@dataclass(frozen=True, slots=True)
class _Seams:
    """What lies between two pieces of a line.

    Attributes:
        line: (S,) number of the line of each seam.
        length_m: (S,) gap that was bridged.
        length_px: (S,) the same in pixels of the line; 0 where their size is not known.
    """

    line: IntArray
    length_m: FloatArray
    length_px: FloatArray

    def sums(self, lengths: FloatArray, count: int) -> FloatArray:
        """(lines,) of lengths (S,)."""
        return np.asarray(np.bincount(self.line, lengths, count), np.float64)


def road_cracks(pieces: Sequence[Piece], lines: Sequence[Sequence[Link]]) -> CrackColumns:
    """The cracks of the road in the order of the lines, without names.

    Args:
        pieces: of one recording, frame by frame.
        lines: of which each becomes a crack, as pieces that follow each other.
    """
    if not lines:
        return CrackColumns.of(())
    links = _links(pieces, lines)
    cracks = [piece.crack for piece in links.pieces]
    metric = ~links.any(crack.length_m is None for crack in cracks)
    placed = metric & ~links.any(piece.frame.chainage_m is None for piece in links.pieces)
    vertices, ends, gaps_m = _vertices(pieces, links)
    follows = links.line[1:] == links.line[:-1]
    gsd_mm, sized = _gsd_mm(links), links.any(crack.gsd_mm is not None for crack in cracks)
    seams = _seams(links.line[1:][follows], gaps_m[follows], gsd_mm, sized)
    share = links.values(piece.share for piece in links.pieces)
    lengths_px = links.values(crack.length_px for crack in cracks) * share
    arrays: dict[str, NDArray[Any]] = {
        **_along(vertices, ends, metric, placed),
        **_lengths(links, seams, lengths_px, share, metric),
        **_weighted(links, lengths_px, metric),
        "gsd_mm": gsd_mm,
    }
    known = {name: np.full(links.count, True) for name in (*OF_VERTICES, *NUMBERS, *PAIRS)}
    known |= dict.fromkeys(("width_mm", "length_m", "offset_m", "offset_at_m", "gap_m"), metric)
    known |= dict.fromkeys(("chainage_at_m", "chainage_from_m", "chainage_to_m"), placed)
    known |= {name: ~np.isnan(arrays[name]) for name in ("u_length_px", "u_length_m", "u_width_px", "u_width_mm")}
    known |= {"gsd_mm": sized, "u_xy_m": links.any(piece.frame.u_xy_m is not None for piece in links.pieces)}
    return CrackColumns(ends, arrays, known, _plain(links))


def _plain(links: _Links) -> dict[str, Sequence[Any]]:
    lines = _by_line(links)
    return {
        "crack_id": [""] * links.count,
        "recording": [line[0].frame.recording for line in lines],
        "frame_keys": [tuple(dict.fromkeys(piece.frame.key for piece in sorted(line, key=_order))) for line in lines],
        "pattern_id": [""] * links.count,
    }


def _along(
    vertices: Mapping[str, FloatArray], ends: IntArray, metric: BoolArray, placed: BoolArray
) -> dict[str, FloatArray]:
    """What is known at the vertices, and where on the road that is; NaN where it is not known."""
    of_vertex = np.repeat(np.arange(len(metric)), np.diff(ends))
    offset_at_m = vertices["local_xy"][:, 0]
    chainage_at_m = np.where(placed[of_vertex], vertices["chainage_m"], np.nan)
    return {
        "line_xy": vertices["line_xy"],
        "width_px": vertices["width_px"],
        "width_mm": np.where(metric[of_vertex], vertices["width_mm"], np.nan),
        "chainage_at_m": chainage_at_m,
        "offset_at_m": np.where(metric[of_vertex], offset_at_m, np.nan),
        "chainage_from_m": np.minimum.reduceat(chainage_at_m, ends[:-1]),
        "chainage_to_m": np.maximum.reduceat(chainage_at_m, ends[:-1]),
        "offset_m": np.where(metric, weighted_means(offset_at_m, vertices["line_xy"], ends), np.nan),
    }


def _links(pieces: Sequence[Piece], lines: Sequence[Sequence[Link]]) -> _Links:
    flat = [link for line in lines for link in line]
    return _Links(
        [pieces[number] for number, _ in flat], np.array([number for number, _ in flat], np.int64),
        np.array([backwards for _, backwards in flat], bool),
        np.repeat(np.arange(len(lines)), [len(line) for line in lines]), len(lines),
    )  # fmt: skip


def _by_line(links: _Links) -> list[Sequence[Piece]]:
    first = [*links.first.tolist(), len(links.pieces)]
    return [links.pieces[start:end] for start, end in pairwise(first)]


def _order(piece: Piece) -> int:
    return piece.order


def _vertices(pieces: Sequence[Piece], links: _Links) -> tuple[dict[str, FloatArray], IntArray, FloatArray]:
    """The vertices of all lines: their values; (lines + 1,) where each line begins and the last ends; (P - 1,) metres
    from the end of each piece to the next one.
    """
    sizes = np.array([len(piece.places) for piece in pieces])
    starts = np.cumsum(sizes) - sizes
    size = sizes[links.numbers]
    until = np.cumsum(size)
    within = np.arange(until[-1]) - np.repeat(until - size, size)
    within = np.where(np.repeat(links.backwards, size), np.repeat(size - 1, size) - within, within)
    chosen = np.repeat(starts[links.numbers], size) + within
    along_m = np.array([piece.along_m for piece in pieces])
    local = np.concatenate([piece.local_xy for piece in pieces])
    output = _output_xy(pieces, local)
    gap = output[chosen[until[:-1]]] - output[chosen[until[:-1] - 1]]
    gaps_m = np.hypot(gap[:, 0], gap[:, 1])
    doubled = (gaps_m < SAME_POINT_M) & (links.line[1:] == links.line[:-1])
    chosen = np.delete(chosen, until[:-1][doubled])
    size[1:] -= doubled
    values = {
        "local_xy": local,
        "line_xy": output,
        "width_px": np.concatenate([piece.at_vertices(piece.crack.width_px) for piece in pieces]),
        "width_mm": np.concatenate([_width_mm(piece) for piece in pieces]),
        "chainage_m": local[:, 1] + np.repeat(along_m, sizes),
    }
    counts = np.bincount(links.line, size, links.count).astype(np.int64)
    return {name: value[chosen] for name, value in values.items()}, np.concatenate([[0], np.cumsum(counts)]), gaps_m


def _output_xy(pieces: Sequence[Piece], local_xy: FloatArray) -> FloatArray:
    """(vertices, 2) of all pieces in output coordinates, those of a frame together."""
    parts, start = [], 0
    for _, of_frame in groupby(pieces, _order):
        frame, *others = of_frame
        end = start + len(frame.places) + sum(len(piece.places) for piece in others)
        parts.append(frame.frame.placement.to_output_xy(local_xy[start:end]))
        start = end
    return np.concatenate(parts)


def _width_mm(piece: Piece) -> FloatArray:
    if piece.crack.width_mm is None:
        return np.full(len(piece.places), np.nan)
    return piece.at_vertices(piece.crack.width_mm)


def _seams(line: IntArray, gaps_m: FloatArray, gsd_mm: FloatArray, known: BoolArray) -> _Seams:
    pixel_mm = gsd_mm[line].sum(axis=1) / 2
    return _Seams(line, gaps_m, np.where(known[line], gaps_m * 1e3 / pixel_mm, 0.0))


def _lengths(
    links: _Links, seams: _Seams, lengths_px: FloatArray, share: FloatArray, metric: BoolArray
) -> dict[str, FloatArray]:
    """What is added up along a line, and its uncertainty; NaN where that is not known."""
    cracks = [piece.crack for piece in links.pieces]
    length_px = links.values(crack.length_px for crack in cracks)
    length_m = links.values(crack.length_m for crack in cracks)
    gap_px = links.values(crack.gap_px for crack in cracks)
    # Where on a crack the gaps lie that were bridged in its frame is not kept: a piece has its share of them.
    with np.errstate(divide="ignore", invalid="ignore"):
        gap_m = np.where(length_px > 0, share * gap_px * length_m / length_px, 0.0)
    root = links.values(piece.share**0.5 for piece in links.pieces)
    u_px = links.sums(links.values(crack.u_length_px for crack in cracks) * root)
    u_m = links.sums(links.values(crack.u_length_m for crack in cracks) * root)
    whole = {
        "length_m": links.sums(length_m * share) + seams.sums(seams.length_m, links.count),
        "gap_m": links.sums(gap_m) + seams.sums(seams.length_m, links.count),
        "u_length_m": _with_seams(u_m, seams.line, seams.length_m),
    }
    return {
        "length_px": links.sums(lengths_px) + seams.sums(seams.length_px, links.count),
        "gap_px": links.sums(gap_px * share) + seams.sums(seams.length_px, links.count),
        "u_length_px": _with_seams(u_px, seams.line, seams.length_px),
        **{name: np.where(metric, values, np.nan) for name, values in whole.items()},
    }


def _with_seams(u_pieces: FloatArray, line: IntArray, seams: FloatArray) -> FloatArray:
    """(lines,) standard uncertainty of the length of joined pieces, in the unit of that of their pieces and seams.

    A piece has the root of its share of its crack's uncertainty: right for errors that are independent along the
    line, and more than the share, which an error of the scale would take. Between pieces the uncertainties are added
    plainly, as if all errors went the same way. A gap at a seam counts whole although anything from none of it to all
    of it may be crack: evenly spread, that is gap / sqrt(3) from the value given; seams are independent of each other.
    NaN where that of a piece is unknown.
    """
    joined, first = np.unique(line, return_index=True)
    found = u_pieces.copy()
    if len(joined):
        found[joined] = np.hypot(u_pieces[joined], np.hypot.reduceat(seams, first) / 3**0.5)
    return found


def _weighted(links: _Links, lengths_px: FloatArray, metric: BoolArray) -> dict[str, NDArray[Any]]:
    """What is a mean over the pieces of a line, or holds for it when it holds for one of them.

    The standard uncertainty of the mean width would be less by up to the root of the number of pieces if their errors
    were independent, but optics, segmenter and scale are the same in all of them. NaN where that of one is unknown.
    """
    pieces = links.pieces
    cracks = [piece.crack for piece in pieces]
    means = {
        name: links.means(links.values(getattr(crack, name) for crack in cracks), lengths_px)
        for name in ("confidence", "u_width_px", "u_width_mm", "grey_share", "joint")
    }
    u_xy_m = links.values(piece.frame.u_xy_m for piece in pieces)
    return {
        "confidence": np.clip(means["confidence"], 0.0, 1.0),
        "u_width_px": means["u_width_px"],
        "u_width_mm": np.where(metric, means["u_width_mm"], np.nan),
        "grey_share": means["grey_share"],
        "orientation_deg": _orientations_deg(links),
        "u_xy_m": np.fmax.reduceat(u_xy_m, links.first),
        "touches_border": _touch_border(links),
        "saturated": links.any(crack.saturated for crack in cracks),
        "below_resolution": links.any(crack.below_resolution for crack in cracks),
        "joint": means["joint"] > 0.5,
        "sealed": np.array([cracks[number].sealed for number in links.first.tolist()], bool),
    }


def _touch_border(links: _Links) -> BoolArray:
    """(lines,) only the two free ends count; an end at a seam was seen to go on, or to end, elsewhere."""
    first = links.first
    last = np.append(first[1:], len(links.pieces)) - 1
    backwards = links.backwards.tolist()
    return np.array([
        links.pieces[start].ends_at_border(1 if backwards[start] else 0)
        or links.pieces[end].ends_at_border(0 if backwards[end] else 1)
        for start, end in zip(first.tolist(), last.tolist(), strict=True)
    ])  # fmt: skip


def _cut_lines(links: _Links) -> BoolArray:
    """(lines,) whether it is anything but one whole crack of a frame."""
    return links.any(any(piece.cut) for piece in links.pieces) | (np.bincount(links.line) > 1)


def _orientations_deg(links: _Links) -> FloatArray:
    first = links.first
    found = np.array([links.pieces[number].crack.orientation_deg for number in first.tolist()], np.float64)
    until = np.append(first[1:], len(links.pieces))
    for line in np.flatnonzero(_cut_lines(links)).tolist():
        # Every frame counts from the ground under its own camera: chainage brings the pieces into one.
        courses = [
            (links.pieces[number].local_xy + np.array([0.0, links.pieces[number].along_m]))
            [:: -1 if links.backwards[number] else 1]
            for number in range(first[line], until[line])
        ]  # fmt: skip
        found[line] = principal_direction_deg(np.concatenate(courses))
    return found


def _gsd_mm(links: _Links) -> FloatArray:
    """(lines, 2) size of the pixels; of lines that were cut or joined the median at their vertices; NaN if unknown."""
    lines = _by_line(links)
    found = np.array([line[0].crack.gsd_mm or (np.nan, np.nan) for line in lines], np.float64)
    for number in np.flatnonzero(_cut_lines(links)).tolist():
        if all(piece.crack.gsd_mm is None for piece in lines[number]):
            continue
        per_vertex = [
            piece.frame.ground.gsd_mm(piece.at_vertices(piece.crack.centreline_xy_px))
            if piece.frame.ground is not None
            else np.array([piece.crack.gsd_mm])
            for piece in lines[number]
        ]
        found[number] = np.median(np.concatenate(per_vertex), axis=0)
    return found
