"""The drawings of the report as numbers: coordinates of SVG shapes, without markup.

Along and across are in the units of the drawing: a strip is `STRIP_WIDTH` by `STRIP_HEIGHT`, travel to the right, so
what is right of the route line lies below it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from crackmap.pipeline.assembly.store import portions
from crackmap.pipeline.products.rows import mean_width
from crackmap.pipeline.products.styles import WidthClass, class_of, width_classes
from crackmap.pipeline.records import FrameOutcome, RoadCrack
from crackmap.pipeline.survey_result import SurveyResult
from crackmap.stages.polyline import segment_lengths
from crackmap.stages.records import FloatArray

STRIP_WIDTH, STRIP_HEIGHT = 1000, 90

MOST_ROWS = 8
"""Rows a recording is drawn in, at most."""

MOST_LINES = 4000
"""Cracks drawn, the longest first: a page with more is slow to open and shows no more."""

MOST_RECORDINGS = 12

MOST_BOUNDS = 200
"""Section boundaries drawn in a row: closer together they would hide the cracks, and none is drawn."""

MOST_PLATES = 24
"""Frames drawn by themselves where no chainage is known."""

ASIDE = 5
"""In place of a width class: a joint or a sealed crack."""

SIMPLER = 0.2
"""Lines are drawn this exactly, in units of the drawing."""

PLATE_SIDE = 240.0

_TRAILING_BITS = 44
"""Of a double; the others tell widths apart that differ by 1/256."""


@dataclass(frozen=True, slots=True)
class Line:
    """An SVG polyline: «x,y x,y ...», the number of its width class, what to say about it, and its crack."""

    points: str
    width_class: int
    title: str
    crack_id: str


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a strip, from x to x + width."""

    x: float
    width: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class StripRow:
    """One row of a strip diagram: chainage labels at its ends, measured stretches, section bounds, cracks."""

    from_m: float
    to_m: float
    measured: tuple[Span, ...]
    sections: tuple[Span, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Strip:
    """The strip diagram of a recording; `half_width_m` is the offset at its upper and lower edge."""

    recording: str
    half_width_m: float
    rows: tuple[StripRow, ...]


@dataclass(frozen=True, slots=True)
class Plate:
    """One frame by itself: size of the drawing, outline and cracks."""

    title: str
    width: float
    height: float
    outline: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Sector:
    """A sector of a rose as the path of an SVG shape, and what it means."""

    path: str
    title: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a histogram: share of the tallest (0 to 1), share of the whole, class, text below it and its meaning."""

    height: float
    share: float
    width_class: int
    tick: str
    title: str


@dataclass(frozen=True, slots=True)
class Longest:
    """The longest cracks first, MOST_LINES at most: of all, of those with a known chainage, and of those without."""

    all: Sequence[RoadCrack]
    placed: Sequence[RoadCrack]
    placeless: Sequence[RoadCrack]


def strips(result: SurveyResult, drawn: Longest) -> tuple[Strip, ...]:
    """Strip diagrams of the recordings with a chainage, at most `MOST_RECORDINGS`."""
    classes = width_classes(metric=True)
    cracks: dict[str, list[RoadCrack]] = defaultdict(list)
    for crack in drawn.placed:
        cracks[crack.recording].append(crack)
    measured: dict[str, list[tuple[float, float]]] = {}
    for outcome in result.outcomes:
        if (strip := _measured_m(outcome)) is not None:
            measured.setdefault(outcome.frame.recording, []).append(strip)
            if len(measured) > MOST_RECORDINGS:
                measured.pop(max(measured))
    return tuple(_strip(name, sorted(measured[name]), cracks[name], result, classes) for name in sorted(measured))


def plates(result: SurveyResult, drawn: Longest) -> tuple[Plate, ...]:
    """Drawings of the frames without chainage that show most crack, at most `MOST_PLATES`."""
    metric = result.output.unit == "m"
    classes = width_classes(metric=metric)
    by_frame: dict[str, list[RoadCrack]] = defaultdict(list)
    for crack in drawn.placeless:
        by_frame[crack.frame_keys[0]].append(crack)
    outcomes = {key: o for key, o in result.outcomes.of_keys(by_frame).items() if len(o.footprint_xy) >= 3}
    order = sorted(by_frame, key=lambda key: (-sum(crack.length_px for crack in by_frame[key]), key))
    return tuple(_plate(outcomes[key], by_frame[key], classes) for key in order if key in outcomes)[:MOST_PLATES]


def width_histogram(cracks: Sequence[RoadCrack], *, metric: bool) -> tuple[Bar, ...]:
    """Length of open cracks by width at each place of the lines; the last bar holds all that is wider."""
    name = "width_mm" if metric else "width_px"
    widest = _widest(cracks, name)
    if widest is None:
        return ()
    step = round_up(max(widest, 1e-3) / 16, (1.0, 2.0, 2.5, 5.0, 10.0))
    count = max(4, math.ceil(widest / step))
    classes = width_classes(metric=metric)
    sums = np.zeros(count + 1)
    for width, length in _segments(cracks, name):
        np.add.at(sums, np.minimum((width / step).astype(int), count), length)
    unit = "mm" if metric else "px"
    bars = []
    for number, value in enumerate(sums):
        low = number * step
        title = f"{low:g} {unit} and wider" if number == count else f"{low:g} to {low + step:g} {unit}"
        tick = f"{low:g}" if number % 2 == 0 else ""
        bars.append((float(value), class_of(low + step / 2, classes), tick, title))
    return _bars(bars)


def orientation_histogram(cracks: Sequence[RoadCrack], *, directed: bool = True) -> tuple[Bar, ...]:
    """Length of open cracks by direction of the segments' whole lines, in steps of 10 degrees.

    The angle counts from the direction of travel, or from grid north where there is none (`directed` False).
    """
    sums = np.zeros(18)
    for part in portions(cracks):
        length = np.where(part.known["length_m"], part["length_m"], part["length_px"])
        # Bars are centred on 0, 10, ... 170, so that «along» and «across» have a bar of their own.
        number = np.rint(part["orientation_deg"] / 10).astype(int) % 18
        np.add.at(sums, number[part.open], length[part.open])
    if not sums.sum() > 0:
        return ()
    ahead, aside = ("along", "across") if directed else ("north", "east")
    named = {0: f"0° {ahead}", 3: "30°", 6: "60°", 9: f"90° {aside}", 12: "120°", 15: "150°"}
    return _bars([(float(value), 2, named.get(n, ""), f"{n * 10}° ± 5°") for n, value in enumerate(sums)])


def rose(bars: Sequence[Bar]) -> tuple[Sector, ...]:
    """The orientation histogram as a rose of radius 100: every direction and its opposite; areas are lengths."""
    sectors = []
    for number, bar in enumerate(bars):
        radius = 100.0 * math.sqrt(bar.height)
        for turn in (0.0, 180.0):
            start, end = (math.radians(number * 10.0 + side + turn) for side in (-4.6, 4.6))
            corners = [f"{radius * math.sin(angle):.1f} {-radius * math.cos(angle):.1f}" for angle in (start, end)]
            path = f"M0 0L{corners[0]}A{radius:.1f} {radius:.1f} 0 0 1 {corners[1]}Z"
            sectors.append(Sector(path, f"{bar.title}: {100 * bar.share:.1f} % of the length"))
    return tuple(sectors)


def _bars(items: Sequence[tuple[float, int, str, str]]) -> tuple[Bar, ...]:
    tallest, total = max(item[0] for item in items), sum(item[0] for item in items)
    return tuple(Bar(value / tallest, value / total, kind, tick, title) for value, kind, tick, title in items)


def longest(cracks: Sequence[RoadCrack]) -> Longest:
    """The cracks that are drawn, found while going through all of them twice."""
    kept = {name: (np.empty(0), np.empty(0, np.int64)) for name in ("all", "placed", "placeless")}
    before = 0
    for part in portions(cracks):
        metres = np.where(part.known["length_m"], part["length_m"], 0.0)
        length = np.where(metres != 0.0, metres, part["length_px"])
        placed = part.known["chainage_at_m"]
        for name, wanted in (("all", placed | ~placed), ("placed", placed), ("placeless", ~placed)):
            lengths, numbers = kept[name]
            lengths = np.concatenate([lengths, length[wanted]])
            numbers = np.concatenate([numbers, before + np.flatnonzero(wanted)])
            if len(lengths) > MOST_LINES:
                # Those that are as long as the last one stay: names decide between them.
                long = lengths >= np.partition(lengths, -MOST_LINES)[-MOST_LINES]
                lengths, numbers = lengths[long], numbers[long]
            kept[name] = lengths, numbers
        before += len(part)
    of = {number: cracks[number] for number in np.unique(np.concatenate([n for _, n in kept.values()])).tolist()}
    return Longest(*(_longest_first([of[number] for number in numbers.tolist()]) for _, numbers in kept.values()))


def _longest_first(cracks: Sequence[RoadCrack]) -> list[RoadCrack]:
    return sorted(cracks, key=lambda crack: (-(crack.length_m or crack.length_px), crack.crack_id))[:MOST_LINES]


def _segments(cracks: Sequence[RoadCrack], name: str) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Yields widths and lengths of the segments of open cracks, some at a time."""
    for part in portions(cracks):
        counted = np.repeat(part.open & part.known[name], np.diff(part.ends))
        inside = counted[:-1] & counted[1:]
        # What leads from one line to the next is no segment.
        inside[part.ends[1:-1] - 1] = False
        widths = (part[name][:-1] + part[name][1:]) / 2
        yield widths[inside], segment_lengths(part["line_xy"])[inside]


def _widest(cracks: Sequence[RoadCrack], name: str) -> float | None:
    """The least width that 98 % of the length does not exceed; None without length.

    Found by twice going through the cracks, as all their segments at once may be more than memory holds: first for the
    length by the leading bits of the width, of which numbers not below 0 have the order, then among those of one value.
    """
    sums = np.zeros(1 << (63 - _TRAILING_BITS))
    for width, length in _segments(cracks, name):
        np.add.at(sums, _leading_bits(width), length)
    reached = np.cumsum(sums)
    if not reached[-1] > 0:
        return None
    wanted = 0.98 * reached[-1]
    place = int(np.searchsorted(reached, wanted))
    chosen = [(width[_leading_bits(width) == place], length[_leading_bits(width) == place])
              for width, length in _segments(cracks, name)]  # fmt: skip
    width, length = (np.concatenate(values) for values in zip(*chosen, strict=True))
    order = np.argsort(width, kind="stable")
    upto = (reached[place - 1] if place else 0.0) + np.cumsum(length[order])
    return float(width[order][min(np.searchsorted(upto, wanted), len(order) - 1)])


def _leading_bits(width: FloatArray) -> NDArray[np.int64]:
    # A zero may have a sign.
    return np.asarray((width + 0.0).view(np.int64) >> _TRAILING_BITS, np.int64)


def _measured_m(outcome: FrameOutcome) -> tuple[float, float] | None:
    """Chainage from and to of the road measured in a frame, None if there is none."""
    frame = outcome.frame
    if outcome.lost or frame.chainage_m is None or frame.owns_y_m is None or frame.ground is None:
        return None
    low, high = sorted(frame.chainage_at(y) for y in frame.owns_y_m)
    return low, high


def _strip(
    recording: str,
    measured: Sequence[tuple[float, float]],
    cracks: Sequence[RoadCrack],
    result: SurveyResult,
    classes: tuple[WidthClass, ...],
) -> Strip:
    start, end = min(low for low, _ in measured), max(high for _, high in measured)
    row_m = round_up(max(end - start, 1.0) / MOST_ROWS, (1.0, 2.0, 5.0, 10.0))
    offsets = [np.abs(crack.offset_at_m).max() for crack in cracks if crack.offset_at_m is not None]
    half_width = max(2.0, math.ceil(2 * float(np.quantile(offsets, 0.98)) + 0.2) / 2) if offsets else 2.0
    bounds = [(s.from_m, s.to_m) for s in result.sections if s.recording == recording]
    rows = []
    for number in range(math.floor(start / row_m), math.ceil(end / row_m)):
        low, high = number * row_m, (number + 1) * row_m
        spans = _joined([(max(a, low), min(b, high)) for a, b in measured if a < high and b > low])
        inside = [(a, b) for a, b in bounds if a is not None and b is not None and a < high and b > low]
        if spans:
            rows.append(StripRow(
                low, high,
                tuple(_span(a, b, low, row_m) for a, b in spans),
                tuple(_span(max(a, low), min(b, high), low, row_m, f"{a:g}") for a, b in inside)
                if len(inside) <= MOST_BOUNDS else (),
                tuple(_road_line(crack, low, row_m, half_width, classes) for crack in sorted(
                    cracks, key=lambda crack: crack.crack_id) if _reaches(crack, low, high)),
            ))  # fmt: skip
    return Strip(recording, half_width, tuple(rows))


def _reaches(crack: RoadCrack, low: float, high: float) -> bool:
    start, end = crack.chainage_from_m, crack.chainage_to_m
    return start is not None and end is not None and start < high and end > low


def _joined(intervals: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Intervals in ascending order, with those that touch made one."""
    merged: list[tuple[float, float]] = []
    for low, high in intervals:
        if merged and low <= merged[-1][1] + 0.01:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    return merged


def _span(low: float, high: float, origin: float, row_m: float, label: str = "") -> Span:
    scale = STRIP_WIDTH / row_m
    return Span(round((low - origin) * scale, 1), round((high - low) * scale, 1), label)


def _road_line(
    crack: RoadCrack, origin_m: float, row_m: float, half_width_m: float, classes: tuple[WidthClass, ...]
) -> Line:
    along = np.zeros(0) if crack.chainage_at_m is None else crack.chainage_at_m
    across = np.zeros(0) if crack.offset_at_m is None else crack.offset_at_m
    x = (along - origin_m) * (STRIP_WIDTH / row_m)
    y = (across + half_width_m) * (STRIP_HEIGHT / (2 * half_width_m))
    return _line(np.column_stack([x, y]), crack, classes)


def _line(xy: FloatArray, crack: RoadCrack, classes: tuple[WidthClass, ...]) -> Line:
    rounded = shapely.get_coordinates(shapely.simplify(shapely.LineString(xy), SIMPLER)).round(1)
    moved = np.concatenate([[True], (np.diff(rounded, axis=0) != 0).any(axis=1)])
    points = " ".join(f"{x:g},{y:g}" for x, y in rounded[moved])
    metric = crack.width_mm is not None
    width = mean_width(crack.line_xy, crack.width_mm if metric else crack.width_px) or 0.0
    size = f"{crack.length_m:.2f} m, {width:.1f} mm" if metric else f"{crack.length_px:.0f} px, {width:.1f} px"
    return Line(
        points, class_of(width, classes) if crack.open else ASIDE, f"{crack.crack_id}: {size} wide", crack.crack_id
    )


def _plate(outcome: FrameOutcome, cracks: Sequence[RoadCrack], classes: tuple[WidthClass, ...]) -> Plate:
    low, high = outcome.footprint_xy.min(axis=0), outcome.footprint_xy.max(axis=0)
    scale = PLATE_SIDE / float(max(high - low))

    def drawn(xy: FloatArray) -> FloatArray:
        return np.column_stack([xy[:, 0] - low[0], high[1] - xy[:, 1]]) * scale

    outline = " ".join(f"{x:.1f},{y:.1f}" for x, y in drawn(outcome.footprint_xy))
    lines = tuple(_line(drawn(crack.line_xy), crack, classes) for crack in cracks)
    width, height = ((high - low) * scale).tolist()
    return Plate(outcome.frame.key, width, height, outline, lines)


def round_up(value: float, steps: Sequence[float]) -> float:
    """The least round number not below `value`: a step times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in steps if step * power >= value * (1 - 1e-9))
