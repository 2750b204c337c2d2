"""CSV files: UTF-8, comma, a point in decimals, the unit in the column name, nothing a spreadsheet would execute."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from crackmap.pipeline.products.publish import publish_bytes
from crackmap.pipeline.products.rows import PATTERN_FIELDS, SECTION_FIELDS, Value, printable, values
from crackmap.pipeline.records import FrameOutcome, RoadNetwork, Section

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a cell that begins so for a formula (OWASP, CSV Injection)."""


def write_patterns_csv(path: Path, patterns: Sequence[RoadNetwork]) -> None:
    """One row per pattern, equal to the `patterns` layer of the GeoPackage without its geometry."""
    _write(path, [field.name for field in PATTERN_FIELDS], (values(PATTERN_FIELDS, pattern) for pattern in patterns))


def write_sections_csv(path: Path, sections: Sequence[Section]) -> None:
    """One row per section, equal to the `sections` layer of the GeoPackage without its geometry."""
    _write(path, [field.name for field in SECTION_FIELDS], (values(SECTION_FIELDS, section) for section in sections))


def write_skipped_csv(path: Path, outcomes: Iterable[FrameOutcome]) -> None:
    """Key, status and reason of every frame that is missing on the map."""
    lost = (o for o in outcomes if o.lost)
    _write(path, ["key", "status", "reason"], ([printable(o.frame.key), o.status, printable(o.reason)] for o in lost))


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Value]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([safe_cell(value) for value in row] for row in rows)
    publish_bytes(path, text.getvalue().encode("utf-8"))


def safe_cell(value: Value) -> Value:
    """Numbers as they are; text with a leading quote where a spreadsheet would calculate."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value
