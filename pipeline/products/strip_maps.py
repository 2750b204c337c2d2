"""Strip maps as road agencies file them: one page a section, chainage along, lane across, statistics below."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from crackmap.calibration.errors import InputError
from crackmap.pipeline.assembly.store import portions
from crackmap.pipeline.coverage import MEASURED, Interval
from crackmap.pipeline.products.charts import round_up
from crackmap.pipeline.products.publish import publishing
from crackmap.pipeline.products.rows import mean_width, printable
from crackmap.pipeline.products.strip_images import strip_name
from crackmap.pipeline.products.styles import class_of, width_classes
from crackmap.pipeline.records import RoadCrack, Section
from crackmap.pipeline.survey_result import SurveyResult
from crackmap.stages.polyline import segment_lengths
from crackmap.stages.records import FloatArray

PAGE_IN = (11.69, 8.27)
"""A4, lying."""

ROAD_IN = (10.9, 5.0)
"""Room for the road on a page; between two rows GAP_IN are left for chainages."""

GAP_IN = 0.4

MOST_ROWS = 10

LEAST_HALF_WIDTH_M = 2.0

ROAD, PATTERN, ASIDE = "#eceff2", "#c9a7c7", "#8a8f98"

_RC = {"font.size": 8, "axes.linewidth": 0.6, "svg.hashsalt": "crackmap", "pdf.fonttype": 42}

Progress = Callable[[int, int, str], None]


def write_strip_maps(
    path: Path,
    result: SurveyResult,
    *,
    only: Sequence[str] = (),
    progress: Progress = lambda done, total, name: None,
) -> int:
    """Draws the sections of a survey with a chainage, and returns their number.

    Args:
        path: a file NAME.pdf, one page a section; or a folder for a picture NAME.png of each.
        result: what is drawn.
        only: names of sections; all of them if there are none.
        progress: told (done, in all, section) after every page.

    Raises:
        InputError: there is nothing to draw, or no section of a name.
        StorageError: a file cannot be written.
    """
    sections = [section for section in result.sections if section.from_m is not None]
    if not sections:
        raise InputError(
            "strip maps need a chainage along the road, which this survey has not; report.html draws frames"
        )
    unknown = sorted(set(only) - {section.section_id for section in sections})
    if unknown:
        raise InputError(f"section {unknown[0]!r}: not in this survey; its first is {sections[0].section_id!r}")
    chosen = [section for section in sections if not only or section.section_id in only]
    draw = _drawer(result)
    with matplotlib.rc_context(_RC):
        if path.suffix.lower() == ".pdf":
            with publishing(path) as temporary, PdfPages(temporary, metadata={"CreationDate": None}) as pages:
                for done, section in enumerate(chosen, start=1):
                    pages.savefig(draw(section))
                    progress(done, len(chosen), section.section_id)
        else:
            for done, section in enumerate(chosen, start=1):
                with publishing(path / f"{Path(strip_name(section)).stem}.png") as temporary:
                    draw(section).savefig(temporary, dpi=150, metadata={"Software": None})
                progress(done, len(chosen), section.section_id)
    return len(chosen)


def _drawer(result: SurveyResult) -> Callable[[Section], Figure]:
    numbers: dict[str, list[int]] = defaultdict(list)
    before = 0
    for part in portions(result.cracks):
        for number in np.flatnonzero(part.known["chainage_at_m"] & part.known["offset_at_m"]).tolist():
            numbers[part.plain["recording"][number]].append(before + number)
        before += len(part)
    measured: dict[str, list[Interval]] = defaultdict(list)
    for outcome in result.outcomes:
        frame = outcome.frame
        if outcome.status in MEASURED and frame.chainage_m is not None and frame.owns_y_m is not None:
            low, high = sorted(frame.chainage_at(y) for y in frame.owns_y_m)
            measured[frame.recording].append((low, high))

    def page(section: Section) -> Figure:
        cracks = [result.cracks[number] for number in numbers[section.recording]]
        return _page(section, cracks, measured[section.recording])

    return page


def _page(section: Section, cracks: Sequence[RoadCrack], measured: Sequence[Interval]) -> Figure:
    start, end = section.from_m or 0.0, section.to_m or 0.0
    inside = [crack for crack in cracks if (crack.chainage_to_m or 0) > start and (crack.chainage_from_m or 0) < end]
    reach = max(
        (float(np.abs(crack.offset_at_m).max()) for crack in inside if crack.offset_at_m is not None), default=0
    )
    half = max(LEAST_HALF_WIDTH_M, math.ceil(2 * reach + 0.2) / 2)
    row_m = _row_m(end - start, 2 * half)
    rows = math.ceil((end - start) / row_m - 1e-9)
    figure = Figure(figsize=PAGE_IN)
    figure.text(0.05, 0.955, f"Strip map {printable(section.section_id)}", fontsize=14, fontweight="bold")
    lane = f", lane {printable(section.lane)}" if section.lane else ""
    driven = f", driven {section.direction} the chainage" if section.direction else ""
    figure.text(
        0.05, 0.932, f"chainage {start:,.1f} to {end:,.1f} m{lane}{driven}; to the right of the route line is below"
    )
    height = min(2 * half / row_m * ROAD_IN[0], ROAD_IN[1] / rows - GAP_IN) / PAGE_IN[1]
    for number in range(rows):
        low = start + number * row_m
        bottom = 0.905 - (number + 1) * height - number * GAP_IN / PAGE_IN[1]
        axes = figure.add_axes((0.05, bottom, ROAD_IN[0] / PAGE_IN[0], height))
        _row(axes, (low, low + row_m), min(end, low + row_m), half, inside, measured)
    _legend(figure)
    _statistics(figure, section, inside)
    return figure


def _row_m(length_m: float, width_m: float) -> float:
    """The shortest row in round metres with which a section fits on a page, as wide as the page and to scale."""
    fitting = [length_m]
    for count in range(2, MOST_ROWS + 1):
        row_m = round_up(length_m / count, (1.0, 2.0, 2.5, 4.0, 5.0, 10.0))
        rows = math.ceil(length_m / row_m - 1e-9)
        if rows * (width_m / row_m * ROAD_IN[0] + GAP_IN) <= ROAD_IN[1]:
            fitting.append(row_m)
    return min(fitting)


def _row(
    axes: Axes, limits: tuple[float, float], end: float, half_m: float, cracks: Sequence[RoadCrack],
    measured: Sequence[Interval],
) -> None:  # fmt: skip
    low, high = limits
    axes.add_collection(PolyCollection(
        [[(a, -half_m), (b, -half_m), (b, half_m), (a, half_m)]
         for a, b in ((max(a, low), min(b, end)) for a, b in measured) if b > a],
        facecolor=ROAD, edgecolor="none",
    ))  # fmt: skip
    axes.add_collection(PolyCollection(_hulls(cracks), facecolor=PATTERN, edgecolor="none", alpha=0.6))
    classes = width_classes(metric=True)
    for crack in cracks:
        width = mean_width(crack.line_xy, crack.width_mm) or 0.0
        number = class_of(width, classes)
        style = "-" if crack.open else "--" if crack.sealed else ":"
        axes.add_collection(LineCollection(
            [_road_line(crack)], colors=classes[number].colour if crack.open else ASIDE, linewidths=0.7 + 0.35 * number,
            linestyles=style, capstyle="round",
        ))  # fmt: skip
    axes.axhline(0.0, color=ASIDE, linewidth=0.4)
    axes.set_xlim(low, high)
    axes.set_ylim(half_m, -half_m)
    axes.set_aspect("equal", adjustable="box", anchor="W")
    axes.set_ylabel("offset, m")
    axes.tick_params(length=2)
    axes.grid(axis="x", linewidth=0.3, color="#c5cad1")


def _road_line(crack: RoadCrack) -> FloatArray:
    """(N, 2) chainage and offset of a crack that has them."""
    return np.column_stack([np.asarray(crack.chainage_at_m, np.float64), np.asarray(crack.offset_at_m, np.float64)])


def _hulls(cracks: Sequence[RoadCrack]) -> list[FloatArray]:
    """Chainage and offset of an outline around the cracks of each pattern."""
    members: dict[str, list[FloatArray]] = defaultdict(list)
    for crack in cracks:
        if crack.pattern_id:
            members[crack.pattern_id].append(_road_line(crack))
    hulls = [shapely.convex_hull(shapely.MultiPoint(np.vstack(lines))) for _, lines in sorted(members.items())]
    return [shapely.get_coordinates(hull) for hull in hulls if hull.geom_type == "Polygon"]


def _legend(figure: Figure) -> None:
    classes = width_classes(metric=True)
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=item.colour, linewidth=0.7 + 0.35 * number, label=item.label("mm"))
        for number, item in enumerate(classes)
    ]
    handles += [
        Line2D([], [], color=ASIDE, linestyle="--", label="sealed"),
        Line2D([], [], color=ASIDE, linestyle=":", label="joint"),
        Patch(facecolor=PATTERN, alpha=0.6, label="pattern"),
        Patch(facecolor=ROAD, label="measured"),
    ]
    figure.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.045, 0.225), ncols=9, frameon=False, fontsize=8)


def _statistics(figure: Figure, section: Section, cracks: Sequence[RoadCrack]) -> None:
    """Three columns of numbers below the road."""

    def said(value: float | None, unit: str, digits: int = 1) -> str:
        return "–" if value is None else f"{value:,.{digits}f} {unit}"

    looked = section.area_m2 > 0
    share = 100 * section.crack_area_m2 / section.area_m2 if looked else None
    columns = [
        [("covered", said(section.covered_m, "m")), ("invalid", said(section.invalid_m, "m")),
         ("  why", section.invalid_why or "–"), ("missing", said(section.missing_m, "m")),
         ("measured area", said(section.area_m2, "m²"))],
        [("cracks", f"{section.crack_count}" if looked else "–"),
         ("crack length", said(section.crack_length_m if looked else None, "m")),
         ("crack area", said(share, "%", 3)), ("mean width", said(section.mean_width_mm, "mm")),
         ("greatest width", said(section.max_width_mm, "mm"))],
        [("along", said(section.longitudinal_m if looked else None, "m")),
         ("across", said(section.transverse_m if looked else None, "m")),
         ("other", said(section.other_m if looked else None, "m")),
         ("patterns", said(section.pattern_area_m2 if looked else None, "m²", 2)),
         ("sealed, joints", f"{said(section.sealed_length_m, 'm')}, {said(section.joint_length_m, 'm')}")],
        _by_width(section, cracks),
    ]  # fmt: skip
    for number, rows in enumerate(columns):
        for line, (name, value) in enumerate(rows):
            x, y = 0.05 + 0.24 * number, 0.185 - 0.026 * line
            figure.text(x, y, name, color="#5a6472")
            figure.text(x + 0.1, y, printable(value))
    figure.text(
        0.05, 0.03, "Widths, lengths and limits of these numbers: see report.html of the same run.", color="#5a6472"
    )


def _by_width(section: Section, cracks: Sequence[RoadCrack]) -> list[tuple[str, str]]:
    """Crack length in the section by the width at each place."""
    classes = width_classes(metric=True)
    sums = np.zeros(len(classes))
    for crack in cracks:
        if not crack.open or crack.width_mm is None or crack.chainage_at_m is None or crack.length_m is None:
            continue
        lengths = segment_lengths(crack.line_xy)
        lengths = lengths * (crack.length_m / max(lengths.sum(), 1e-12))
        widths = (crack.width_mm[:-1] + crack.width_mm[1:]) / 2
        middle = (crack.chainage_at_m[:-1] + crack.chainage_at_m[1:]) / 2
        here = (middle >= (section.from_m or 0.0)) & (middle < (section.to_m or 0.0))
        for length, width in zip(lengths[here].tolist(), widths[here].tolist(), strict=True):
            sums[class_of(width, classes)] += length
    return [(item.label("mm"), f"{length:,.1f} m") for item, length in zip(classes, sums.tolist(), strict=True)]
