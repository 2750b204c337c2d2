"""The cracks of a run as a picture to scale: a map, rows of road, or columns of images."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from crackmap.calibration.errors import InputError, require
from crackmap.pipeline.placing import RECORDING_APART_M
from crackmap.pipeline.products.styles import class_of, width_classes
from crackmap.pipeline.records import CoordinateKind
from crackmap.pipeline.results import Results
from crackmap.stages.records import FloatArray

ROAD_SHADE, ROAD_EDGE = "#f3efe6", "#b9b2a3"

JOINT_COLOUR, UNKNOWN_COLOUR = "#9aa0a8", "#2d8a86"

NOT_COUNTED = {"joint": JOINT_COLOUR, "width not known": UNKNOWN_COLOUR}
"""What is drawn in no colour of a width."""

MOST_ROWS = 40
"""Rows of road in one figure: a lane of 20 km, 500 m a row. On longer rows a lane is a line itself."""

ROW_ASPECT = 1.5
"""Put together, the rows of a road are about this much wider than high."""

LOWEST_IN, HIGHEST_IN = 0.25, 9.0
"""Height of one pair of axes, inches."""

NICE_M = tuple(step * 10.0**power for power in range(5) for step in (1, 2, 5))
"""Lengths of a row; 2.5 would break sections of 100 m as well, but give ticks that nobody reads."""

Window = tuple[float, float]


class RoadFigure(Figure):
    """A figure that notebooks show without pyplot, so nothing is shown twice and no figure stays open."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=100)
        return file.getvalue()


@dataclass(frozen=True, slots=True)
class Layers:
    """What is drawn, or chosen: cracks, sections as outlines, and what was measured, image by image, as a shade."""

    cracks: gpd.GeoDataFrame
    sections: gpd.GeoDataFrame
    images: gpd.GeoDataFrame

    def each(self, change: Callable[..., gpd.GeoDataFrame], *how: object) -> Layers:
        """The three changed alike, by `change(table, *how)`."""
        return Layers(change(self.cracks, *how), change(self.sections, *how), change(self.images, *how))


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: above it, may be empty.
        layers: what is drawn; the cracks with `colour` and `points`.
        x_limits, y_limits: of the axes; the second may fall.
    """

    title: str
    layers: Layers
    x_limits: Window
    y_limits: Window

    @property
    def aspect(self) -> float:
        """Height over width."""
        return abs(self.y_limits[1] - self.y_limits[0]) / abs(self.x_limits[1] - self.x_limits[0])


def draw(results: Results, *, along: Window | None, recording: str | None, width_in: float) -> Figure:
    """As `Results.plot`."""
    require(width_in > 0, "width_in", "inches above 0", width_in)
    require(along is None or along[0] < along[1], "along", "chainage from and to, metres, ascending", along)
    kind, unit = (results.run["coordinates"][name] for name in ("kind", "unit"))
    measured = results.frames[results.frames["status"].isin(("ok", "no_crack"))]
    everything = Layers(_with_looks(results.cracks, results.metric), results.sections, measured)
    layers = everything.each(_of_recording, recording)
    # What chooses the place; whatever else lies there is drawn as well, so that no crack seems to be missing.
    wanted = _wanted(layers, along)
    if wanted.images.empty and (wanted.cracks.empty or kind == CoordinateKind.SHEET):
        raise InputError(f"nothing to draw: no measured image and no crack lies there. {_extent(results.sections)}")
    if kind == CoordinateKind.ROAD:
        panels = _rows(layers, wanted, along)
        labels = ("chainage, m", "offset to the right of the route line, m")
    elif kind == CoordinateKind.MAP:
        left, low, right, high = _bounds(wanted.cracks, wanted.images)
        panels = [Panel("", layers, _padded(left, right), _padded(low, high))]
        labels = (f"easting, m ({results.cracks.crs.name})", "northing, m")
    else:
        panels = _columns(layers, wanted)
        where = "no position is known: images lie one above the other, broken into columns"
        labels = (f"to the right, {unit} ({where})", f"up, {unit}")
    figure = _figure(panels, len(panels) if kind == CoordinateKind.SHEET else 1, labels, width_in)
    columns = max(2, int(width_in / 1.4))
    handles = _legend(layers, results.metric)
    figure.legend(handles=handles, loc="outside upper center", frameon=False, fontsize=8, ncols=columns)
    return figure


def _of_recording(table: gpd.GeoDataFrame, recording: str | None) -> gpd.GeoDataFrame:
    """The rows of a recording that have a geometry."""
    placed = table[table.geometry.notna()]
    return placed if recording is None else placed[placed["recording"] == recording]


def _wanted(layers: Layers, along: Window | None) -> Layers:
    """The cracks that reach into a stretch, and the images taken there."""
    if along is None:
        return layers
    cracks, (low, high) = layers.cracks, along
    inside = cracks[(cracks["chain_to_m"] > low) & (cracks["chain_from_m"] < high)]
    return replace(layers, cracks=inside, images=layers.images[layers.images["chainage_m"].between(low, high)])


def _extent(sections: gpd.GeoDataFrame) -> str:
    """What there is to be chosen, as a sentence."""
    known = sections.dropna(subset=["from_m", "to_m"])
    if known.empty:
        return "This run knows no chainage: leave `along` out; frames.status says what became of the images."
    names = ", ".join(sorted(set(known["recording"])))
    return f"Sections run from {known['from_m'].min():g} to {known['to_m'].max():g} m, recordings: {names}."


def _with_looks(cracks: gpd.GeoDataFrame, metric: bool) -> gpd.GeoDataFrame:
    """Cracks with the `colour` and the width in `points` that they are drawn with."""
    classes = width_classes(metric=metric)
    colours, points = [], []
    for width, joint in zip(cracks["mean_w_mm" if metric else "mean_w_px"], cracks["joint"], strict=True):
        number = None if joint or pd.isna(width) else class_of(width, classes)
        colours.append((JOINT_COLOUR if joint else UNKNOWN_COLOUR) if number is None else classes[number].colour)
        points.append(1.0 if number is None else 1.0 + 0.4 * number)
    return cracks.assign(colour=colours, points=points)


def _rows(layers: Layers, wanted: Layers, along: Window | None) -> list[Panel]:
    """Road coordinates with chainage to the right, recording by recording, broken into rows of one length."""
    names = list(dict.fromkeys([*wanted.images["recording"], *wanted.cracks["recording"]]))
    turned = [layers.each(_turned, name) for name in names]
    bounds = np.array([_bounds(item.cracks, item.images) for item in turned])
    right, left = _padded(bounds[:, 3].max(), bounds[:, 1].min())
    spans = [along or (low, high) for low, _, high, _ in bounds.tolist()]
    step = _nice(math.sqrt(ROW_ASPECT * abs(right - left) * sum(high - low for low, high in spans)))
    if along is not None:
        # Rows that end with the stretch: nobody asked for what lies beyond.
        step = (along[1] - along[0]) / math.ceil((along[1] - along[0]) / step)
    panels = []
    for name, item, (low, high) in zip(names, turned, spans, strict=True):
        start = low if along else math.floor(low / step) * step
        for number in range(max(1, math.ceil((high - start) / step - 1e-9))):
            window = (start + number * step, start + (number + 1) * step)
            inside = item.each(_reaching, 0, window)
            panels.append(Panel(name if len(names) > 1 and not number else "", inside, window, (right, left)))
    if len(panels) > MOST_ROWS:
        raise InputError(
            f"plot: expected at most {MOST_ROWS} rows of road, got {len(panels)}; draw a part of it, by "
            f"along=(from_m, to_m) or recording=. {_extent(layers.sections)}"
        )
    return panels


def _turned(table: gpd.GeoDataFrame, recording: str) -> gpd.GeoDataFrame:
    """Road coordinates of one recording as (chainage, offset), its place beside other recordings taken away."""
    table = table[table["recording"] == recording]
    if table.empty:
        return table
    middle = float(np.median(shapely.get_coordinates(table.geometry.to_numpy())[:, 0]))
    apart = RECORDING_APART_M * round(middle / RECORDING_APART_M)
    return table.set_geometry(
        shapely.transform(table.geometry.to_numpy(), lambda xy: np.column_stack([xy[:, 1], xy[:, 0] - apart])),
        crs=None,
    )


def _columns(layers: Layers, wanted: Layers) -> list[Panel]:
    """A sheet, from its top, in columns side by side; cut between images."""
    images = wanted.images
    left, low, right, high = _bounds(images)
    count = max(1, min(len(images), round(math.sqrt(ROW_ASPECT * (high - low) / (right - left)))))
    order = np.argsort(-images.geometry.bounds["maxy"].to_numpy(), kind="stable")
    parts = [images.iloc[rows] for rows in np.array_split(order, count)]
    ends = [(low, high) for _, low, _, high in (_bounds(part) for part in parts)]
    height = max(high - low for low, high in ends)
    panels = []
    for low, high in ends:
        inside = layers.each(_reaching, 1, (low, high))
        panels.append(Panel("", inside, _padded(left, right), _padded(high - height, high)))
    return panels


def _bounds(*tables: gpd.GeoDataFrame) -> tuple[float, float, float, float]:
    """Left, low, right and high of everything in the tables."""
    bounds = np.vstack([table.geometry.bounds.to_numpy(np.float64) for table in tables if len(table)])
    low, high = bounds[:, :2].min(axis=0).tolist(), bounds[:, 2:].max(axis=0).tolist()
    return low[0], low[1], high[0], high[1]


def _reaching(table: gpd.GeoDataFrame, axis: int, window: Window) -> gpd.GeoDataFrame:
    """The rows that reach into a window of x (0) or y (1)."""
    bounds = table.geometry.bounds.to_numpy(np.float64)
    return table[(bounds[:, axis + 2] >= window[0]) & (bounds[:, axis] <= window[1])]


def _padded(start: float, end: float) -> Window:
    """Limits of an axis with a little air, and something to see where there is no extent."""
    air = 0.02 * (end - start) or 0.5
    return start - air, end + air


def _nice(length_m: float) -> float:
    """The least round length that is not below `length_m`."""
    return next((step for step in NICE_M if step >= length_m), NICE_M[-1])


def _figure(panels: Sequence[Panel], columns: int, labels: tuple[str, str], width_in: float) -> RoadFigure:
    """All panels to one scale, in one row or in one column."""
    rows = len(panels) // columns
    wanted_in = max(panel.aspect for panel in panels) * (width_in - 1.0) / columns
    height_in = 1.1 + rows * (min(max(wanted_in, LOWEST_IN), HIGHEST_IN) + 0.35)
    figure = RoadFigure(figsize=(width_in, height_in), layout="constrained")
    for axes, panel in zip(figure.subplots(rows, columns, squeeze=False).flat, panels, strict=True):
        _draw_panel(axes, panel, narrow=columns > 4)
    figure.supxlabel(labels[0], fontsize=9, parse_math=False)
    figure.supylabel(labels[1], fontsize=9)
    return figure


def _draw_panel(axes: Axes, panel: Panel, *, narrow: bool) -> None:
    cracks = panel.layers.cracks
    # The edge closes the hairlines between strips that touch.
    for table, inside, edge in ((panel.layers.images, ROAD_SHADE, ROAD_SHADE),
                                (panel.layers.sections, "none", ROAD_EDGE)):  # fmt: skip
        rings = [ring for outline in table.geometry for ring in _rings(outline)]
        axes.add_collection(PolyCollection(rings, facecolors=inside, edgecolors=edge, linewidths=0.6))
    lines = [shapely.get_coordinates(line) for line in cracks.geometry]
    axes.add_collection(
        LineCollection(lines, colors=list(cracks["colour"]), linewidths=list(cracks["points"]), capstyle="round")
    )
    axes.set(xlim=panel.x_limits, ylim=panel.y_limits, aspect="equal")
    axes.set_title(panel.title, fontsize=9, loc="left", parse_math=False)
    low = panel.aspect < 0.05
    axes.xaxis.set_major_locator(MaxNLocator(2 if narrow else 10, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(1 if low else 4, steps=[1, 2, 5, 10]))
    axes.ticklabel_format(style="plain", useOffset=False)
    axes.tick_params(labelsize=6 if narrow else 8)


def _rings(outline: shapely.Geometry) -> list[FloatArray]:
    """The outer rings of a polygon, or of several."""
    return [shapely.get_coordinates(part.exterior) for part in shapely.get_parts(outline)]


def _legend(layers: Layers, metric: bool) -> list[Line2D | Patch]:
    unit = "mm" if metric else "px"
    looks = [(item.label(unit), item.colour, 1.0 + 0.4 * n) for n, item in enumerate(width_classes(metric=metric))]
    drawn = set(layers.cracks["colour"])
    looks += [(text, colour, 1.0) for text, colour in NOT_COUNTED.items() if colour in drawn]
    lines = [Line2D([], [], color=colour, linewidth=points, label=text) for text, colour, points in looks]
    areas = [Patch(facecolor=ROAD_SHADE, edgecolor=ROAD_SHADE, label="measured")]
    if len(layers.sections):
        areas.append(Patch(facecolor="none", edgecolor=ROAD_EDGE, label="section"))
    return [*lines, *areas]
