"""The attributes of patterns, sections and frames: defined once for every format, so that rows are equal.

Those of cracks, of which there are many more, are in `crack_rows`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import pandas as pd

from crackmap.pipeline.polyline import weighted_mean
from crackmap.pipeline.records import FrameOutcome, RoadNetwork, Section
from crackmap.stages.polyline import vertex_weights
from crackmap.stages.records import FloatArray

Value = str | float | int | None
Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Field(Generic[Record]):
    """One attribute of a record.

    Attributes:
        name: with its unit.
        kind: of its values.
        read: reads it from a record; a Value.
        digits: decimals that a real number is rounded to.
    """

    name: str
    kind: Literal["text", "real", "int"]
    read: Callable[[Record], Any]
    digits: int = 0


def printable(text: str) -> str:
    """Text that can be written as UTF-8: bytes of a file name that are not become backslash escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def table(fields: Sequence[Field[Record]], records: Sequence[Record]) -> pd.DataFrame:
    """All records as columns, typed also where every value is missing or there is no record."""
    return pd.DataFrame({field.name: _column(field, records) for field in fields})


def _column(field: Field[Record], records: Sequence[Record]) -> pd.Series[Any]:
    values: list[Any] = [field.read(record) for record in records]
    if field.kind == "text":
        return pd.Series([value if value is None else printable(value) for value in values], dtype=object)
    if field.kind == "int":
        return pd.Series(values, dtype=np.int64)
    return pd.Series(np.array(values, np.float64).round(field.digits))


def plain_rows(fields: Sequence[Field[Record]], rows: pd.DataFrame) -> Iterator[tuple[Value, ...]]:
    """The rows of a `table`, None where there is no value."""
    columns = [rows[field.name].tolist() for field in fields]
    for number, field in enumerate(fields):
        if field.kind == "real":
            columns[number] = [None if value != value else value for value in columns[number]]
    return zip(*columns, strict=True)


def mean_width(line_xy: FloatArray, widths: FloatArray | None) -> float | None:
    """Width averaged along the line, in the unit of `widths`."""
    if widths is None:
        return None
    return weighted_mean(widths, vertex_weights(line_xy))


def per_metre(section: Section) -> float | None:
    """Crack length per metre of measured road; None without measured road or without a direction of travel."""
    return section.crack_length_m / section.covered_m if section.covered_m else None


def _share_percent(section: Section) -> float | None:
    return 100.0 * section.crack_area_m2 / section.area_m2 if section.area_m2 > 0 else None


def _if_measured(section: Section, value: float | None) -> float | None:
    """A number of a section of which anything was measured: where nobody looked there are not no cracks."""
    return value if section.area_m2 > 0 else None


PATTERN_FIELDS: tuple[Field[RoadNetwork], ...] = (
    Field("pattern_id", "text", lambda p: p.pattern_id),
    Field("recording", "text", lambda p: p.recording),
    Field("kind", "text", lambda p: p.kind),
    Field("area_m2", "real", lambda p: p.area_m2, 4),
    Field("cells", "int", lambda p: p.cell_count),
    Field("mean_cell_m", "real", lambda p: p.mean_cell_m, 3),
    Field("crack_length_m", "real", lambda p: p.crack_length_m, 3),
    Field("mean_w_mm", "real", lambda p: p.mean_width_mm, 2),
    Field("confidence", "real", lambda p: p.confidence, 3),
    Field("chain_from_m", "real", lambda p: p.chainage_from_m, 3),
    Field("chain_to_m", "real", lambda p: p.chainage_to_m, 3),
)

SECTION_FIELDS: tuple[Field[Section], ...] = (
    Field("section_id", "text", lambda s: s.section_id),
    Field("recording", "text", lambda s: s.recording),
    Field("from_m", "real", lambda s: s.from_m, 3),
    Field("to_m", "real", lambda s: s.to_m, 3),
    Field("covered_m", "real", lambda s: s.covered_m, 3),
    Field("covered_pct", "real", lambda s: s.covered_percent, 2),
    Field("invalid_m", "real", lambda s: s.invalid_m, 3),
    Field("invalid_why", "text", lambda s: s.invalid_why),
    Field("missing_m", "real", lambda s: s.missing_m, 3),
    Field("area_m2", "real", lambda s: s.area_m2, 3),
    Field("crack_count", "int", lambda s: s.crack_count),
    Field("crack_length_m", "real", lambda s: _if_measured(s, s.crack_length_m), 3),
    Field("u_crack_len_m", "real", lambda s: _if_measured(s, s.u_crack_length_m), 4),
    Field("crack_m_per_m", "real", per_metre, 4),
    Field("crack_area_m2", "real", lambda s: _if_measured(s, s.crack_area_m2), 5),
    Field("crack_area_pct", "real", _share_percent, 4),
    Field("mean_w_mm", "real", lambda s: s.mean_width_mm, 2),
    Field("max_w_mm", "real", lambda s: s.max_width_mm, 2),
    Field("joint_length_m", "real", lambda s: _if_measured(s, s.joint_length_m), 3),
    Field("sealed_length_m", "real", lambda s: _if_measured(s, s.sealed_length_m), 3),
    Field("pattern_area_m2", "real", lambda s: _if_measured(s, s.pattern_area_m2), 4),
    Field("longitudinal_m", "real", lambda s: _if_measured(s, s.longitudinal_m), 3),
    Field("transverse_m", "real", lambda s: _if_measured(s, s.transverse_m), 3),
    Field("other_m", "real", lambda s: _if_measured(s, s.other_m), 3),
    Field("direction", "text", lambda s: s.direction),
    Field("lane", "text", lambda s: s.lane),
)

FRAME_FIELDS: tuple[Field[FrameOutcome], ...] = (
    Field("key", "text", lambda o: o.frame.key),
    Field("recording", "text", lambda o: o.frame.recording),
    Field("status", "text", lambda o: o.status),
    Field("reason", "text", lambda o: o.reason),
    Field("chainage_m", "real", lambda o: o.frame.chainage_m, 3),
    Field("time_s", "real", lambda o: o.frame.time_s, 3),
    Field("u_pos_m", "real", lambda o: o.frame.u_xy_m, 3),
    Field("camera", "text", lambda o: o.frame.camera),
    Field("lane", "text", lambda o: o.frame.lane),
    Field("segmented", "real", lambda o: o.segmented_share, 4),
    Field("crack_count", "int", lambda o: o.crack_count),
    Field("mask", "text", lambda o: o.mask_name),
    Field("source", "text", lambda o: o.source),
)
