"""CSV files: UTF-8, comma, a point in decimals, the unit in the column name, nothing a spreadsheet would execute."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from crackmap.pipeline.outcome_table import Outcomes
from crackmap.pipeline.products.publish import publish_bytes
from crackmap.pipeline.products.rows import (
    PATTERN_FIELDS,
    SECTION_FIELDS,
    Field,
    Record,
    Value,
    plain_rows,
    printable,
    table,
)
from crackmap.pipeline.records import RoadNetwork, Section

_FORMULA = re.compile(r"""^(?=[\t\r\n])|(?:^|(?<=;))(?=[\s"']*[=+\-@\uff1d\uff0b\uff0d\uff20])""")
"""A spreadsheet takes a cell that begins so for a formula, some behind blanks and quotes, some the full-width signs too
(OWASP, CSV Injection). Where a comma is the decimal sign a semicolon begins a cell."""

_SUSPECT = re.compile("[\t\r\n=+\\-@\uff1d\uff0b\uff0d\uff20]")
"""Text without any of these is left as it is, which is found out ten times as fast."""


def write_patterns_csv(path: Path, patterns: Sequence[RoadNetwork]) -> None:
    """One row per pattern, equal to the `patterns` layer of the GeoPackage without its geometry."""
    write_records(path, PATTERN_FIELDS, patterns)


def write_sections_csv(path: Path, sections: Sequence[Section]) -> None:
    """One row per section, equal to the `sections` layer of the GeoPackage without its geometry."""
    write_records(path, SECTION_FIELDS, sections)


def write_skipped_csv(path: Path, outcomes: Outcomes) -> None:
    """Key, status and reason of every frame that is missing on the map."""
    lost = ([printable(one.frame.key), one.status, printable(one.reason)] for one in outcomes.lost())
    _write(path, ["key", "status", "reason"], lost)


def write_records(path: Path, fields: Sequence[Field[Record]], records: Sequence[Record]) -> None:
    """One row per record, its fields as columns."""
    _write(path, [field.name for field in fields], plain_rows(fields, table(fields, records)))


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Value]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([safe_cell(value) for value in row] for row in rows)
    publish_bytes(path, text.getvalue().encode("utf-8"))


def safe_cell(value: Value) -> Value:
    """Numbers as they are; text with a quote in front of what a spreadsheet would calculate."""
    if not isinstance(value, str) or _SUSPECT.search(value) is None:
        return value
    # Python's writer leaves a carriage return outside quotes, where it begins a new row.
    return _FORMULA.sub("'", value).replace("\r", "\\r")
