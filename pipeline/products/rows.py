"""The attributes of cracks, patterns, sections and frames: defined once for every format, so that rows are equal."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
import pandas as pd

from crackmap.pipeline.polyline import weighted_mean, weighted_quantile
from crackmap.pipeline.records import FrameOutcome, RoadCrack, RoadNetwork, Section
from crackmap.stages.polyline import vertex_weights
from crackmap.stages.records import FloatArray

Value = str | float | int | None
Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Field(Generic[Record]):
    """One attribute: its name (with its unit), its type, and how to read it from a record."""

    name: str
    kind: Literal["text", "real", "int"]
    read: Callable[[Record], Value]


def printable(text: str) -> str:
    """Text that can be written as UTF-8: bytes of a file name that are not become backslash escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def values(fields: Sequence[Field[Record]], record: Record) -> list[Value]:
    """The attributes of one record, in the order of `fields`."""
    return [printable(value) if isinstance(value, str) else value for value in (field.read(record) for field in fields)]


def table(fields: Sequence[Field[Record]], records: Sequence[Record]) -> pd.DataFrame:
    """All records as columns, typed also where every value is missing or there is no record."""
    rows = [values(fields, record) for record in records]
    columns = {}
    for number, field in enumerate(fields):
        column = [row[number] for row in rows]
        if field.kind == "text":
            columns[field.name] = pd.Series(column, dtype=object)
        else:
            columns[field.name] = pd.Series(column, dtype=np.float64 if field.kind == "real" else np.int64)
    return pd.DataFrame(columns)


def mean_width(line_xy: FloatArray, widths: FloatArray | None) -> float | None:
    """Width averaged along the line, in the unit of `widths`."""
    if widths is None:
        return None
    return weighted_mean(widths, vertex_weights(line_xy))


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(float(value), digits)


def _width_list(widths: FloatArray | None) -> str | None:
    return None if widths is None else json.dumps(widths.round(2).tolist())


def _p95(crack: RoadCrack) -> float | None:
    if crack.width_mm is None:
        return None
    return weighted_quantile(crack.width_mm, vertex_weights(crack.line_xy), 0.95)


def _orientation(crack: RoadCrack) -> float:
    return round(crack.orientation_deg, 1) % 180.0


def per_metre(section: Section) -> float | None:
    """Crack length per metre of measured road; None without measured road or without a direction of travel."""
    return section.crack_length_m / section.covered_m if section.covered_m else None


def _share_percent(section: Section) -> float | None:
    return 100.0 * section.crack_area_m2 / section.area_m2 if section.area_m2 > 0 else None


CRACK_FIELDS: tuple[Field[RoadCrack], ...] = (
    Field("crack_id", "text", lambda c: c.crack_id),
    Field("recording", "text", lambda c: c.recording),
    Field("length_m", "real", lambda c: _rounded(c.length_m, 3)),
    Field("u_length_m", "real", lambda c: _rounded(c.u_length_m, 4)),
    Field("mean_w_mm", "real", lambda c: _rounded(mean_width(c.line_xy, c.width_mm), 2)),
    Field("u_mean_w_mm", "real", lambda c: _rounded(c.u_width_mm, 3)),
    Field("max_w_mm", "real", lambda c: None if c.width_mm is None else _rounded(c.width_mm.max(), 2)),
    Field("p95_w_mm", "real", lambda c: _rounded(_p95(c), 2)),
    Field("length_px", "real", lambda c: _rounded(c.length_px, 1)),
    Field("u_length_px", "real", lambda c: _rounded(c.u_length_px, 2)),
    Field("mean_w_px", "real", lambda c: _rounded(mean_width(c.line_xy, c.width_px), 2)),
    Field("u_mean_w_px", "real", lambda c: _rounded(c.u_width_px, 3)),
    Field("max_w_px", "real", lambda c: _rounded(c.width_px.max(), 2)),
    Field("orient_deg", "real", _orientation),
    Field("u_pos_m", "real", lambda c: _rounded(c.u_xy_m, 3)),
    Field("confidence", "real", lambda c: _rounded(c.confidence, 3)),
    Field("chainage_m", "real", lambda c: _rounded(c.chainage_m, 3)),
    Field("chain_from_m", "real", lambda c: _rounded(c.chainage_from_m, 3)),
    Field("chain_to_m", "real", lambda c: _rounded(c.chainage_to_m, 3)),
    Field("offset_m", "real", lambda c: _rounded(c.offset_m, 3)),
    Field("border", "int", lambda c: int(c.touches_border)),
    Field("joint", "int", lambda c: int(c.joint)),
    Field("saturated", "int", lambda c: int(c.saturated)),
    Field("below_res", "int", lambda c: int(c.below_resolution)),
    Field("grey_share", "real", lambda c: _rounded(c.grey_share, 3)),
    Field("gap_m", "real", lambda c: _rounded(c.gap_m, 3)),
    Field("pattern_id", "text", lambda c: c.pattern_id),
    Field("frames", "text", lambda c: ";".join(c.frame_keys)),
    Field("gsd_row_mm", "real", lambda c: _rounded(c.gsd_mm[0], 3) if c.gsd_mm else None),
    Field("gsd_col_mm", "real", lambda c: _rounded(c.gsd_mm[1], 3) if c.gsd_mm else None),
    Field("widths_mm", "text", lambda c: _width_list(c.width_mm)),
    Field("widths_px", "text", lambda c: _width_list(c.width_px)),
)

PATTERN_FIELDS: tuple[Field[RoadNetwork], ...] = (
    Field("pattern_id", "text", lambda p: p.pattern_id),
    Field("recording", "text", lambda p: p.recording),
    Field("kind", "text", lambda p: p.kind),
    Field("area_m2", "real", lambda p: _rounded(p.area_m2, 4)),
    Field("cells", "int", lambda p: p.cell_count),
    Field("mean_cell_m", "real", lambda p: _rounded(p.mean_cell_m, 3)),
    Field("crack_length_m", "real", lambda p: _rounded(p.crack_length_m, 3)),
    Field("mean_w_mm", "real", lambda p: _rounded(p.mean_width_mm, 2)),
    Field("confidence", "real", lambda p: _rounded(p.confidence, 3)),
    Field("chain_from_m", "real", lambda p: _rounded(p.chainage_from_m, 3)),
    Field("chain_to_m", "real", lambda p: _rounded(p.chainage_to_m, 3)),
)

SECTION_FIELDS: tuple[Field[Section], ...] = (
    Field("section_id", "text", lambda s: s.section_id),
    Field("recording", "text", lambda s: s.recording),
    Field("from_m", "real", lambda s: _rounded(s.from_m, 3)),
    Field("to_m", "real", lambda s: _rounded(s.to_m, 3)),
    Field("covered_m", "real", lambda s: _rounded(s.covered_m, 3)),
    Field("missing_m", "real", lambda s: _rounded(s.missing_m, 3)),
    Field("area_m2", "real", lambda s: _rounded(s.area_m2, 3)),
    Field("crack_count", "int", lambda s: s.crack_count),
    Field("crack_length_m", "real", lambda s: _rounded(s.crack_length_m, 3)),
    Field("crack_m_per_m", "real", lambda s: _rounded(per_metre(s), 4)),
    Field("crack_area_m2", "real", lambda s: _rounded(s.crack_area_m2, 5)),
    Field("crack_area_pct", "real", lambda s: _rounded(_share_percent(s), 4)),
    Field("mean_w_mm", "real", lambda s: _rounded(s.mean_width_mm, 2)),
    Field("max_w_mm", "real", lambda s: _rounded(s.max_width_mm, 2)),
    Field("joint_length_m", "real", lambda s: _rounded(s.joint_length_m, 3)),
    Field("pattern_area_m2", "real", lambda s: _rounded(s.pattern_area_m2, 4)),
    Field("longitudinal_m", "real", lambda s: _rounded(s.longitudinal_m, 3)),
    Field("transverse_m", "real", lambda s: _rounded(s.transverse_m, 3)),
    Field("other_m", "real", lambda s: _rounded(s.other_m, 3)),
    Field("direction", "text", lambda s: s.direction),
    Field("lane", "text", lambda s: s.lane),
)

FRAME_FIELDS: tuple[Field[FrameOutcome], ...] = (
    Field("key", "text", lambda o: o.frame.key),
    Field("recording", "text", lambda o: o.frame.recording),
    Field("status", "text", lambda o: o.status),
    Field("reason", "text", lambda o: o.reason),
    Field("chainage_m", "real", lambda o: _rounded(o.frame.chainage_m, 3)),
    Field("time_s", "real", lambda o: _rounded(o.frame.time_s, 3)),
    Field("u_pos_m", "real", lambda o: _rounded(o.frame.u_xy_m, 3)),
    Field("camera", "text", lambda o: o.frame.camera),
    Field("lane", "text", lambda o: o.frame.lane),
    Field("segmented", "real", lambda o: _rounded(o.segmented_share, 4)),
    Field("crack_count", "int", lambda o: o.crack_count),
    Field("mask", "text", lambda o: o.mask_name),
)
