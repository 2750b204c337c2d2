"""Pictures of single images with their cracks numbered, their length and width written beside them, and a legend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.frames import centre_from_corner_xy
from crackmap.pipeline.classes import split_by_width_class
from crackmap.pipeline.pictures import shrunk
from crackmap.pipeline.polyline import read_at
from crackmap.pipeline.products.styles import WidthClass, width_classes
from crackmap.stages.polyline import segment_lengths, vertex_weights
from crackmap.stages.records import Crack, FloatArray
from crackmap.stages.tiling import PixelSource

LONGEST_SIDE_PX = 4096
"""Larger images are shrunk to this."""

SHORTEST_SIDE_PX = 960
"""Images whose longer side is less are enlarged to this, or labels would hide them."""

TEXT_SHARE = 0.014
"""Height of the capitals over the longer side of the picture: 13 px at 960, 56 px at 4000."""

COLOURS_RGB = ((245, 191, 61), (245, 137, 74), (240, 88, 127), (207, 116, 204), (165, 151, 255))
"""From thin to wide: the hues of the report, bright enough for the dark of a crack."""

MOST_TEXT_SHARE = 0.15
"""Once labels cover this share of the picture the rest are numbers alone, and these end at twice as much."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_CAPITALS_PX = 21.0
"""Height of this font's capitals at scale 1."""

_SHIFT = 4
_BACK = (24, 28, 34)
_INK = (255, 255, 255)

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Pen:
    """Sizes that follow the size of the picture."""

    scale: float
    line: int
    stroke: int
    capitals: int

    @classmethod
    def of(cls, longest_px: int) -> _Pen:
        capitals = TEXT_SHARE * longest_px
        return cls(capitals / _FONT_CAPITALS_PX, max(round(longest_px / 700), 1), max(round(capitals / 9), 1),
                   round(capitals))  # fmt: skip

    def box_wh(self, text: str) -> tuple[int, int]:
        """Size of a label with its margin."""
        (width, _), _ = cv2.getTextSize(text, _FONT, self.scale, self.stroke)
        return width + self.capitals, 2 * self.capitals


@dataclass(frozen=True, slots=True)
class _Legend:
    """The width classes of a picture: limits between them, names and colours."""

    edges: tuple[float, ...]
    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, edges: Sequence[float], metric: bool) -> _Legend:
        """Of the classes between `edges`, or of those of the report; colours run from thin to wide for any count."""
        unit = "mm" if metric else "px"
        limits = tuple(edges) or tuple(item.least for item in width_classes(metric=metric)[1:])
        bounds = zip((0.0, *limits), (*limits, None), strict=True)
        classes = [WidthClass(low, high, "") for low, high in bounds]
        colours = [COLOURS_RGB[round(n * (len(COLOURS_RGB) - 1) / len(limits))] for n in range(len(classes))]
        return cls(limits, tuple(item.label(unit) for item in classes), tuple(colours))

    def colour_of(self, width: float) -> tuple[int, int, int]:
        """Of the class a width falls into."""
        return self.colours[int(np.searchsorted(self.edges, width, side="right"))]


@dataclass(frozen=True, slots=True)
class _Label:
    """A label that has found its place."""

    text: str
    box: Box
    line: FloatArray
    colour: tuple[int, int, int]


def labelled_jpeg(source: PixelSource, cracks: Sequence[Crack], *, width_edges: Sequence[float] = ()) -> bytes:
    """A JPEG of the image with every crack drawn in the colours of its widths, numbered, and a legend.

    A label says the number of the crack in the table, its length and its mean width. It lies where it hides least;
    where there is no room left it is the number alone, or nothing.

    Args:
        source: the image.
        cracks: in the order of their numbers.
        width_edges: limits between width classes, mm (px without a ground scale); none: those of the report.
    """
    metric = bool(cracks) and all(crack.width_mm is not None for crack in cracks)
    legend = _Legend.of(width_edges, metric)
    image, scale = _sized(source)
    canvas = np.ascontiguousarray(image)
    pen = _Pen.of(max(canvas.shape[:2]))
    drawn = np.zeros(canvas.shape[:2], np.uint8)
    for crack in cracks:
        _draw_crack(canvas, drawn, crack, scale, legend, pen)
    if cracks:
        corner = _legend_box(drawn, legend, pen)
        labels = _placed(drawn, cracks, scale, legend, pen, [corner])
        # All thin lines first, so that none crosses a text.
        for label in labels:
            _draw_pointer(canvas, label, pen)
        _draw_legend(canvas, corner, legend, pen)
        for label in labels:
            _draw_label(canvas, label, pen)
    _, encoded = cv2.imencode(".jpg", canvas[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    return encoded.tobytes()


def _sized(source: PixelSource) -> tuple[NDArray[np.uint8], float]:
    """The image, shrunk or enlarged where it must be, and the factor."""
    image, scale = shrunk(source, LONGEST_SIDE_PX)
    longest = max(image.shape[:2])
    if longest >= SHORTEST_SIDE_PX:
        return image.copy(), scale
    more = SHORTEST_SIDE_PX / longest
    return np.asarray(cv2.resize(image, None, fx=more, fy=more, interpolation=cv2.INTER_CUBIC), np.uint8), scale * more


def _draw_crack(
    canvas: NDArray[np.uint8], drawn: NDArray[np.uint8], crack: Crack, scale: float, legend: _Legend, pen: _Pen
) -> None:
    """One line, each part in the colour of its width class; parts too short to be seen are not told apart."""
    widths = crack.width_px if crack.width_mm is None else crack.width_mm
    line = centre_from_corner_xy(crack.centreline_xy_px * scale)
    for part in split_by_width_class(line, widths, legend.edges, least_length=4.0 * pen.capitals):
        points = np.round(part.line_xy * (1 << _SHIFT)).astype(np.int32)
        cv2.polylines(canvas, [points], False, legend.colours[part.number], pen.line, cv2.LINE_AA, _SHIFT)
        cv2.polylines(drawn, [points], False, 1, pen.line, cv2.LINE_8, _SHIFT)


def _legend_box(drawn: NDArray[np.uint8], legend: _Legend, pen: _Pen) -> Box:
    """The corner with the least crack in it."""
    width = max(pen.box_wh(name)[0] for name in legend.names) + 3 * pen.capitals
    height = 2 * pen.capitals * len(legend.names) + pen.capitals
    edge = pen.capitals // 2
    rows, columns = drawn.shape
    corners = [(x, y) for y in (rows - height - edge, edge) for x in (edge, columns - width - edge)]
    x, y = min(corners, key=lambda corner: int(_window(drawn, (*corner, width, height)).sum()))
    return x, y, width, height


def _draw_legend(canvas: NDArray[np.uint8], box: Box, legend: _Legend, pen: _Pen) -> None:
    _shade(canvas, box)
    for number, (name, colour) in enumerate(zip(legend.names, legend.colours, strict=True)):
        middle = box[1] + pen.capitals // 2 + pen.capitals * (2 * number + 1)
        start = (box[0] + pen.capitals // 2, middle)
        cv2.line(canvas, start, (start[0] + 2 * pen.capitals, middle), colour, 2 * pen.line + 1, cv2.LINE_AA)
        _write(canvas, name, (start[0] + 3 * pen.capitals, middle + pen.capitals // 2), pen)


def _placed(
    drawn: NDArray[np.uint8], cracks: Sequence[Crack], scale: float, legend: _Legend, pen: _Pen, taken: list[Box]
) -> list[_Label]:
    """The labels that find room; the longest cracks choose first."""
    hidden = cv2.integral(drawn)
    labels: list[_Label] = []
    covered_px = 0
    for n in sorted(range(len(cracks)), key=lambda n: (-cracks[n].length_px, n)):
        crack, room = cracks[n], covered_px / drawn.size / MOST_TEXT_SHARE
        texts = ([_text(n + 1, crack)] if room < 1 else []) + ([str(n + 1)] if room < 2 else [])
        line = crack.centreline_xy_px * scale
        for text in texts:
            box = _spot(line, pen.box_wh(text), hidden, taken, pen)
            if box is not None:
                width = _mean(crack.centreline_xy_px, crack.width_px if crack.width_mm is None else crack.width_mm)
                labels.append(_Label(text, box, line, legend.colour_of(width)))
                taken.append(box)
                covered_px += box[2] * box[3]
                break
    return labels


def _draw_pointer(canvas: NDArray[np.uint8], label: _Label, pen: _Pen) -> None:
    """A thin line from the edge of the label to the nearest point of its crack, where they are apart."""
    x, y, width, height = label.box
    near = label.line[np.argmin(np.hypot(*(label.line - [x + width / 2, y + height / 2]).T))]
    edge = np.clip(near, (x, y), (x + width, y + height))
    if np.hypot(*(near - edge)) > pen.capitals / 2:
        (x0, y0), (x1, y1) = np.round([edge, near]).astype(int).tolist()
        cv2.line(canvas, (x0, y0), (x1, y1), _INK, max(pen.line // 2, 1), cv2.LINE_AA)


def _draw_label(canvas: NDArray[np.uint8], label: _Label, pen: _Pen) -> None:
    x, y, width, height = label.box
    _shade(canvas, label.box)
    cv2.rectangle(canvas, (x, y), (x + width, y + height), label.colour, max(pen.line // 2, 1), cv2.LINE_AA)
    _write(canvas, label.text, (x + pen.capitals // 2, y + 3 * pen.capitals // 2), pen)


def _spot(
    line: FloatArray, box_wh: tuple[int, int], hidden: NDArray[np.int32], taken: Sequence[Box], pen: _Pen
) -> Box | None:
    """The box beside the line that hides the fewest crack pixels and no other label; None if there is no room."""
    width, height = box_wh
    rows, columns = hidden.shape[0] - 1, hidden.shape[1] - 1
    best: tuple[float, Box] | None = None
    for cost, (cx, cy) in _places(line, box_wh, pen):
        x, y = round(cx - width / 2), round(cy - height / 2)
        if x < 0 or y < 0 or x + width >= columns or y + height >= rows:
            continue
        if any(x < bx + bw and bx < x + width and y < by + bh and by < y + height for bx, by, bw, bh in taken):
            continue
        covered = hidden[y + height, x + width] - hidden[y, x + width] - hidden[y + height, x] + hidden[y, x]
        total = cost + float(covered) / (pen.line * pen.capitals)
        if best is None or total < best[0]:
            best = total, (x, y, width, height)
    return None if best is None else best[1]


def _places(line: FloatArray, box_wh: tuple[int, int], pen: _Pen) -> Iterator[tuple[float, tuple[float, float]]]:
    """Yields (cost, middle of a label) along the line on both sides; the middle of the line and close by cost least."""
    along = np.concatenate([[0.0], np.cumsum(segment_lengths(line))])
    for share in (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.1, 0.9, 0.0, 1.0):
        place = np.interp(share * along[-1], along, np.arange(len(along)))
        before, at, after = read_at(np.clip(np.array([place - 3, place, place + 3]), 0, len(line) - 1), line)
        tangent = (after - before) / max(float(np.hypot(*(after - before))), 1e-9)
        normal = np.array([-tangent[1], tangent[0]])
        # Half the extent of the box in the direction of the normal, so that its edge stays clear of the line.
        reach = (abs(normal[0]) * box_wh[0] + abs(normal[1]) * box_wh[1]) / 2
        for far, gap in enumerate((0.6, 1.8, 4.0)):
            for side in (-1.0, 1.0):
                x, y = at + side * (reach + gap * pen.capitals) * normal
                yield abs(share - 0.5) + 0.7 * far, (float(x), float(y))


def _text(number: int, crack: Crack) -> str:
    if crack.length_m is not None and crack.width_mm is not None:
        return f"{number}: {crack.length_m:.2f} m, {_mean(crack.centreline_xy_px, crack.width_mm):.1f} mm"
    return f"{number}: {crack.length_px:.0f} px, {_mean(crack.centreline_xy_px, crack.width_px):.1f} px"


def _mean(line: FloatArray, width: FloatArray) -> float:
    return float(np.average(width, weights=vertex_weights(line)))


def _window(pixels: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    x, y, width, height = box
    return pixels[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)]


def _shade(canvas: NDArray[np.uint8], box: Box) -> None:
    window = _window(canvas, box)
    window[:] = np.round(0.3 * window + 0.7 * np.array(_BACK)).astype(np.uint8)


def _write(canvas: NDArray[np.uint8], text: str, at: tuple[int, int], pen: _Pen) -> None:
    cv2.putText(canvas, text, at, _FONT, pen.scale, _INK, pen.stroke, cv2.LINE_AA)
