"""The files of a comparison: GeoPackage with styles, two tables, and all that decided them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import shapely

from crackmap.calibration.errors import InputError
from crackmap.pipeline.comparing.records import STATUSES, Change, Comparison, SectionChange, Shift
from crackmap.pipeline.journal import JOURNAL_NAME
from crackmap.pipeline.products.publish import publish_bytes, publishing, remove_strays
from crackmap.pipeline.products.rows import Field, printable, table
from crackmap.pipeline.products.styles import categorised, fill_symbol, line_symbol
from crackmap.pipeline.products.tables import write_records
from crackmap.pipeline.products.vectors import crs_of, fixed_date, style_table

FORMAT = 1
"""Version of compare.json."""

STATUS_LINES = {
    "new": ("#c2185b", 1.0), "longer_wider": ("#d1345b", 0.9), "longer": ("#e8702a", 0.9), "wider": ("#8f2d8c", 0.9),
    "gone": ("#2f5d8a", 0.9), "less": ("#4a90c2", 0.7), "unchanged": ("#5f9e6e", 0.4), "faint": ("#c9a227", 0.3),
    "not_comparable": ("#8a8f98", 0.3),
}  # fmt: skip

VERDICT_COLOURS = {
    "grown": "#d1345b", "less": "#4a90c2", "no significant change": "#5f9e6e", "not comparable": "#8a8f98",
}  # fmt: skip

CHANGE_FIELDS: tuple[Field[Change], ...] = (
    Field("change_id", "text", lambda c: c.change_id),
    Field("status", "text", lambda c: c.status),
    Field("chainage_m", "real", lambda c: c.chainage_m, 3),
    Field("offset_m", "real", lambda c: c.offset_m, 3),
    Field("length_a_m", "real", lambda c: c.length_a_m, 3),
    Field("length_b_m", "real", lambda c: c.length_b_m, 3),
    Field("growth_m", "real", lambda c: c.growth_m, 3),
    Field("u_growth_m", "real", lambda c: c.u_growth_m, 3),
    Field("mean_w_a_mm", "real", lambda c: c.width_a_mm, 2),
    Field("mean_w_b_mm", "real", lambda c: c.width_b_mm, 2),
    Field("widening_mm", "real", lambda c: c.widening_mm, 2),
    Field("u_widen_mm", "real", lambda c: c.u_widening_mm, 3),
    Field("matched_m", "real", lambda c: c.matched_m, 3),
    Field("left_a_m", "real", lambda c: c.left_out_a_m, 3),
    Field("left_b_m", "real", lambda c: c.left_out_b_m, 3),
    Field("p_growth", "real", lambda c: c.p_growth, 6),
    Field("p_widening", "real", lambda c: c.p_widening, 6),
    Field("cracks_a", "text", lambda c: ";".join(c.cracks_a)),
    Field("cracks_b", "text", lambda c: ";".join(c.cracks_b)),
    Field("note", "text", lambda c: c.note),
)

SECTION_FIELDS: tuple[Field[SectionChange], ...] = (
    Field("section_id", "text", lambda s: s.section_id),
    Field("recording", "text", lambda s: s.recording),
    Field("from_m", "real", lambda s: s.from_m, 3),
    Field("to_m", "real", lambda s: s.to_m, 3),
    Field("common_m", "real", lambda s: s.common_m, 3),
    Field("common_m2", "real", lambda s: s.common_m2, 3),
    Field("length_a_m", "real", lambda s: s.length_a_m, 3),
    Field("length_b_m", "real", lambda s: s.length_b_m, 3),
    Field("growth_m", "real", lambda s: s.growth_m, 3),
    Field("u_growth_m", "real", lambda s: s.u_growth_m, 3),
    Field("widening_mm", "real", lambda s: s.widening_mm, 3),
    Field("u_widen_mm", "real", lambda s: s.u_widening_mm, 3),
    *(Field(status, "int", lambda s, status=status: s.counts[status]) for status in STATUSES),  # type: ignore[misc]
    Field("verdict", "text", lambda s: s.verdict),
)


def write_comparison(found: Comparison, folder: Path) -> None:
    """Writes compare.gpkg, changes.csv, change_sections.csv and, last, compare.json.

    Args:
        found: what is written.
        folder: made if absent.

    Raises:
        InputError: `folder` holds a run.
        StorageError: a file cannot be written; those before it are whole.
    """
    if (folder / JOURNAL_NAME).exists():
        raise InputError(f"{folder}: holds a crackmap run; give a folder of its own for the comparison")
    remove_strays(folder)
    _write_geopackage(folder / "compare.gpkg", found)
    write_records(folder / "changes.csv", CHANGE_FIELDS, found.changes)
    write_records(folder / "change_sections.csv", SECTION_FIELDS, found.sections)
    text = printable(json.dumps(report(found), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False))
    publish_bytes(folder / "compare.json", (text + "\n").encode())


def _write_geopackage(path: Path, found: Comparison) -> None:
    crs = crs_of(found.output)
    lines = gpd.GeoDataFrame(
        table(CHANGE_FIELDS, found.changes), geometry=gpd.GeoSeries([_lines(c) for c in found.changes]),
        crs=crs,
    )  # fmt: skip
    outlines = [shapely.Polygon(s.outline_xy) if len(s.outline_xy) >= 3 else None for s in found.sections]
    sections = gpd.GeoDataFrame(table(SECTION_FIELDS, found.sections), geometry=gpd.GeoSeries(outlines), crs=crs)
    styles = {
        "changes": categorised("status", [
            (name, f"{name}: {STATUSES[name]}", line_symbol(*STATUS_LINES[name])) for name in STATUSES
        ], "line"),
        "sections": categorised("verdict", [
            (name, name, fill_symbol(colour, "#5b6470", 60)) for name, colour in VERDICT_COLOURS.items()
        ], "fill"),
    }  # fmt: skip
    with publishing(path) as temporary, fixed_date():
        for name, layer, kind in (("changes", lines, "MultiLineString"), ("sections", sections, "Polygon")):
            pyogrio.write_dataframe(
                layer, temporary, layer=name, driver="GPKG", geometry_type=kind, dataset_options={"VERSION": "1.3"}
            )
        pyogrio.write_dataframe(style_table(styles), temporary, layer="layer_styles", driver="GPKG", FID="id")


def _lines(change: Change) -> shapely.MultiLineString:
    """The later survey's lines; the earlier one's where it has none."""
    return shapely.MultiLineString(list(change.lines_b_xy or change.lines_a_xy))


def verdict(found: Comparison) -> str:
    """The result in one line."""
    total, counts = found.total, found.total.counts
    called = [f"{counts[name]} {name.replace('_', ' and ')}" for name in STATUSES if counts[name] and name in CALLED]
    compared = sum(counts.values()) - counts["not_comparable"]
    growth = f"crack length {total.growth_m:+.1f} ± {2 * total.u_growth_m:.1f} m"
    if total.length_a_m > 0:
        growth += f" ({100 * total.growth_m / total.length_a_m:+.1f} %)"
    if total.widening_mm is not None and total.u_widening_mm is not None:
        growth += f", mean width {total.widening_mm:+.2f} ± {2 * total.u_widening_mm:.2f} mm"
    cracks = f"{', '.join(called)} of {compared} cracks" if called else f"none of {compared} cracks changed"
    return f"{total.verdict}: {growth}; {cracks}"


CALLED = ("new", "gone", "longer_wider", "longer", "wider", "less")
"""Statuses that are a change."""


def report(found: Comparison) -> dict[str, Any]:
    """All but the lists of changes and sections, as plain values ready for JSON."""
    return {
        "format": FORMAT,
        "crackmap": version("crackmap"),
        "verdict": verdict(found),
        "runs": found.runs,
        "settings": asdict(found.settings),
        "shift": _shift(found.shift),
        "repeatability": {
            name: round(value, 6) if isinstance(value, float) else value
            for name, value in asdict(found.repeatability).items()
        },
        "total": _plain(found.total),
        "sections": [_plain(section) for section in found.sections],
        "statuses": STATUSES,
        "notes": list(found.notes),
    }


def _plain(section: SectionChange) -> dict[str, Any]:
    values = {name: value for name, value in asdict(section).items() if name != "outline_xy"}
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}


def _shift(shift: Shift) -> dict[str, Any]:
    knots = zip(
        shift.recording, _numbers(shift.chainage_m), _numbers(shift.along_m), _numbers(shift.across_m),
        _numbers(shift.u_along_m), _numbers(shift.u_across_m), strict=True,
    )  # fmt: skip
    names = ("recording", "chainage_m", "along_m", "across_m", "u_along_m", "u_across_m")
    return {
        "known": shift.known,
        "residual_m": round(shift.residual_m, 4),
        "tolerance_m": round(shift.tolerance_m, 4),
        "agreement": round(shift.agreement, 4),
        "knots": [dict(zip(names, knot, strict=True)) for knot in knots],
    }


def _numbers(values: Sequence[float] | np.ndarray) -> list[float | None]:
    return [None if not np.isfinite(value) else round(float(value), 4) for value in values]


def summary(found: Comparison) -> str:
    """Sections and verdict for the terminal."""
    lines = ["section              common   length A   length B    growth (2 u)        mean widening (2 u)  changed"]
    for row in (*found.sections, found.total):
        width = "" if row.widening_mm is None else f"{row.widening_mm:+.2f} ± {2 * (row.u_widening_mm or 0):.2f} mm"
        common = f"{row.common_m:7.1f} m" if row.common_m is not None else f"{row.common_m2:6.1f} m2"
        called = sum(row.counts[name] for name in CALLED)
        lines.append(
            f"{row.section_id[-18:]:<18} {common} {row.length_a_m:8.2f} m {row.length_b_m:8.2f} m "
            f"{row.growth_m:+8.2f} ± {2 * row.u_growth_m:5.2f} m {width:>22} {called:8d}  {row.verdict}"
        )
    shift = found.shift
    if shift.known:
        lines.append(
            f"B lay {_range(-shift.along_m)} m ahead of and {_range(-shift.across_m)} m to the right of A; "
            f"what is left across the lines: {1e3 * shift.residual_m:.0f} mm"
        )
    lines += [f"Note: {note}" for note in found.notes]
    return "\n".join([*lines, verdict(found)])


def _range(values: np.ndarray) -> str:
    return f"{values.min():+.2f} to {values.max():+.2f}"
