"""The report: one HTML file that opens offline, without a single request."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import jinja2

from crackmap.pipeline.products import charts
from crackmap.pipeline.products.notes import all_notes
from crackmap.pipeline.products.publish import publish_bytes
from crackmap.pipeline.products.report_data import crack_items, data_uri, embedded, map_item, picture_items
from crackmap.pipeline.products.rows import per_metre, printable
from crackmap.pipeline.products.styles import width_classes
from crackmap.pipeline.products.totals import crack_totals
from crackmap.pipeline.products.vectors import meaning
from crackmap.pipeline.profiles import ProfileTable
from crackmap.pipeline.records import STATUSES
from crackmap.pipeline.report_pictures import WITH_MASK, FramePicture
from crackmap.pipeline.survey_result import SurveyResult

MOST_SECTIONS = 1000
"""Rows of the section table; sections.csv has them all."""

MOST_SKIPPED = 200
"""Rows of the table of skipped frames; skipped.csv has them all."""

MOST_LISTED = 500
"""Rows of the table of cracks; cracks.csv has them all."""

THIN_SPACE = "\u202f"


@dataclass(frozen=True, slots=True)
class Summary:
    """The numbers at the head of the report.

    Metric ones are None where nothing says how large a pixel is, lengths along and across the road for rasters.
    `section_length_m` is the crack length inside of sections, which may leave road out. `uncertain`, `saturated` and
    `below_resolution` count the cracks with an uncertainty and with these flags; `joints` and `sealed` count the lines
    that are none.
    """

    ok: int
    no_crack: int
    skipped: int
    recordings: tuple[str, ...]
    cracks: int
    length_m: float | None
    length_px: float
    section_length_m: float
    covered_m: float | None
    invalid_m: float | None
    missing_m: float | None
    area_m2: float
    mean_width_mm: float | None
    mean_width_px: float | None
    pixel_mm: float | None
    patterns: int
    pattern_area_m2: float
    uncertain: int
    saturated: int
    below_resolution: int
    joints: int
    sealed: int
    longitudinal_m: float | None
    transverse_m: float | None
    other_m: float | None

    @property
    def frames(self) -> int:
        """All frames."""
        return self.ok + self.no_crack + self.skipped


def write_report(
    path: Path,
    result: SurveyResult,
    *,
    run_info: Mapping[str, Any],
    pictures: Sequence[FramePicture] = (),
    profiles: Sequence[ProfileTable] = (),
) -> None:
    """Writes the report.

    Args:
        path: of the HTML file.
        result: what is reported.
        run_info: versions, weights, command and settings, shown as they are.
        pictures: of frames, the worst first.
        profiles: what standards say of the sections.

    Raises:
        StorageError: the file could not be written.
    """
    metric = result.output.unit == "m"
    densities = [per_metre(section) for section in result.sections]
    drawn, pictured = charts.longest(result.cracks), {picture.key for picture in pictures}
    items = crack_items(result, drawn.all, pictures)
    on_map = map_item(result, drawn.all)
    bars = charts.orientation_histogram(result.cracks, directed=not result.of_rasters)
    libraries, script = map_library() if on_map is not None else (), _asset("report.js")
    html = _template().render(
        result=result,
        summary=summarise(result),
        metric=metric,
        rasters=result.of_rasters,
        notes=all_notes(result),
        meaning=meaning(result.output),
        classes=[item.label("mm" if metric else "px") for item in width_classes(metric=metric)],
        strips=charts.strips(result, drawn),
        plates=charts.plates(result, drawn),
        charts=charts,
        width_bars=charts.width_histogram(result.cracks, metric=metric),
        rose=charts.rose(bars),
        sections=result.sections[:MOST_SECTIONS],
        densities=densities,
        section_bars=_bar_shares(densities),
        skipped=list(islice(result.outcomes.lost(), MOST_SKIPPED)),
        profiles=profiles,
        items=items,
        listed=[item for item in items if item["class"] != charts.ASIDE][:MOST_LISTED],
        worst=[_worst(picture) for picture in pictures[:WITH_MASK]],
        statuses=_statuses(result),
        css=_asset("report.css"),
        libraries=libraries,
        script=script,
        script_hashes=" ".join(_hash(text) for text in (script, *libraries)),
        crack_json=embedded(items),
        picture_jsons=[embedded(item) for item in picture_items(pictures)],
        map=None if on_map is None else embedded(on_map),
        crack_counts={key: one.crack_count for key, one in result.outcomes.of_keys(pictured).items()},
        provenance=_provenance(run_info),
    )
    publish_bytes(path, printable(html).encode("utf-8"))


def map_library() -> tuple[str, ...]:
    """The scripts that draw the map: Bokeh's, as they come with its package."""
    folder = files("bokeh").joinpath("server", "static", "js")
    return tuple(folder.joinpath(name).read_text("utf-8") for name in ("bokeh.min.js", "bokeh-api.min.js"))


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["num"] = number
    return environment.from_string(_asset("report.html.j2"))


def _asset(name: str) -> str:
    return files("crackmap.pipeline.products").joinpath(name).read_text("utf-8")


def _hash(script: str) -> str:
    """What a content security policy calls a script that may run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode('utf-8')).digest()).decode('ascii')}'"


def _worst(picture: FramePicture) -> dict[str, Any]:
    width, height = picture.size_wh_px
    return {
        "key": picture.key, "width": width, "height": height, "src": data_uri(picture.webp),
        "mask": None if picture.mask_png is None else data_uri(picture.mask_png),
        "looked": None if picture.looked_png is None else data_uri(picture.looked_png),
        "cells": [f"{100 * share:.2f}%" for share in picture.cells_wh],
        "lines": [" ".join(f"{x:.1f},{y:.1f}" for x, y in line) for line in picture.lines_xy_px],
    }  # fmt: skip


def _statuses(result: SurveyResult) -> list[tuple[str, str, int]]:
    """Status, its meaning and the number of frames, where there are any."""
    counts = result.outcomes.status_counts
    return [(status, says, counts[status]) for status, says in STATUSES.items() if counts[status]]


def summarise(result: SurveyResult) -> Summary:
    """The totals of a survey."""
    status = result.outcomes.status_counts
    sections, totals = result.sections, crack_totals(result.cracks)
    return Summary(
        ok=status["ok"],
        no_crack=status["no_crack"],
        skipped=len(result.outcomes) - status["ok"] - status["no_crack"],
        recordings=tuple(sorted(result.outcomes.places_by_recording)),
        cracks=totals.count,
        length_m=totals.length_m if result.output.unit == "m" else None,
        length_px=totals.length_px,
        section_length_m=sum(section.crack_length_m for section in sections),
        covered_m=_total(section.covered_m for section in sections),
        invalid_m=_total(section.invalid_m for section in sections),
        missing_m=_total(section.missing_m for section in sections),
        area_m2=sum(section.area_m2 for section in sections),
        mean_width_mm=totals.mean_width_mm,
        mean_width_px=totals.mean_width_px,
        pixel_mm=totals.pixel_mm,
        patterns=len(result.networks),
        pattern_area_m2=sum(network.area_m2 for network in result.networks),
        uncertain=totals.uncertain,
        saturated=totals.saturated,
        below_resolution=totals.below_resolution,
        joints=totals.joints,
        sealed=totals.sealed,
        longitudinal_m=_total(section.longitudinal_m for section in sections),
        transverse_m=_total(section.transverse_m for section in sections),
        other_m=_total(section.other_m for section in sections),
    )


def number(value: float | None, digits: int = 0) -> str:
    """A number for reading: thousands apart, an en dash where there is none."""
    return "–" if value is None else f"{value:,.{digits}f}".replace(",", THIN_SPACE)


def _total(values: Iterable[float | None]) -> float | None:
    """The sum of what is known; None where there are values and none is known."""
    items = list(values)
    known = [value for value in items if value is not None]
    return sum(known) if known or not items else None


def _bar_shares(densities: list[float | None]) -> list[float]:
    """Crack length per metre of road of each section, as a share of the greatest."""
    values = [density or 0.0 for density in densities]
    greatest = max(values, default=0.0)
    return [value / greatest if greatest > 0 else 0.0 for value in values]


def _provenance(run_info: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """(name, text, whether it is long) of every part of the run information that equal runs share."""
    parts = []
    for name in sorted(run_info):
        value = run_info[name]
        text = value if isinstance(value, str) else json.dumps(value, indent=2, sort_keys=True, default=str)
        parts.append((name, printable(text), "\n" in text))
    return sorted(parts, key=lambda part: part[2])
