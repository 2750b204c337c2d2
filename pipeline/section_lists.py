"""Sections that an agency has named: from a CSV file, or from a layer that GDAL reads."""

from __future__ import annotations

import io
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pyogrio
from pyogrio.errors import DataSourceError

from crackmap.calibration.errors import InputError

_NAMES = {
    "name": ("section_id", "section", "name", "id"),
    "from_m": ("from_m", "from", "start_m", "begin_m"),
    "to_m": ("to_m", "to", "end_m"),
    "recording": ("recording", "route"),
}
"""Accepted names of each column, case aside."""


@dataclass(frozen=True, slots=True)
class ListedSection:
    """A section by name.

    Attributes:
        name: as the list has it; «from-to» where it has none.
        from_m, to_m: chainage.
        recording: the one it belongs to; empty: any.
    """

    name: str
    from_m: float
    to_m: float
    recording: str = ""


def read_section_list(path: Path) -> tuple[ListedSection, ...]:
    """The sections of a list, in its order.

    The file is CSV (comma or semicolon), or whatever GDAL reads (GeoPackage, Shapefile: the first layer); it has
    columns from_m and to_m, and may have section_id and recording.

    Raises:
        InputError: it cannot be read, a column is missing, a row has no length, or two sections overlap.
    """
    rows = _table(path)
    columns = {key: next((name for name in names if name in rows.columns), None) for key, names in _NAMES.items()}
    for key in ("from_m", "to_m"):
        if columns[key] is None:
            raise InputError(
                f"{path}: expected a column {key} (chainage in metres), got {', '.join(rows.columns) or 'none'}; "
                "rename the column that holds it"
            )
    listed = [_section(path, number, row, columns) for number, row in enumerate(rows.to_dict("records"), start=1)]
    if not listed:
        raise InputError(f"{path}: holds no section; give one row for each, with from_m and to_m")
    names = [item.name for item in listed]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise InputError(f"{path}: two sections are called {twice!r}; give each a section_id of its own")
    _refuse_overlaps(path, listed)
    return tuple(listed)


def _table(path: Path) -> pd.DataFrame:
    try:
        if path.suffix.lower() in (".csv", ".txt"):
            text = path.read_text("utf-8-sig")
            separator = max(",;\t", key=text.partition("\n")[0].count)
            rows = pd.read_csv(io.StringIO(text), sep=separator, dtype=str)
        else:
            rows = pyogrio.read_dataframe(path, read_geometry=False)
    except (OSError, ValueError, DataSourceError, pd.errors.ParserError) as error:
        raise InputError(
            f"{path}: not a table of sections ({error}); give CSV with columns section_id, from_m, to_m"
        ) from error
    return rows.rename(columns={name: str(name).strip().lower() for name in rows.columns})


def _section(path: Path, number: int, row: Mapping[Hashable, Any], columns: dict[str, str | None]) -> ListedSection:
    low, high = (_number(path, number, row, str(columns[key])) for key in ("from_m", "to_m"))
    if not low < high:
        raise InputError(f"{path}, section {number}: expected from_m below to_m, got {low:g} and {high:g}")
    name, recording = (_text(row, columns[key]) for key in ("name", "recording"))
    return ListedSection(name or f"{low:.12g}-{high:.12g}", low, high, recording)


def _number(path: Path, number: int, row: Mapping[Hashable, Any], column: str) -> float:
    try:
        value = float(row[column])
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{path}, section {number}: expected metres in {column}, got {row[column]!r}")
    return value


def _text(row: Mapping[Hashable, Any], column: str | None) -> str:
    value = row[column] if column is not None else None
    return "" if value is None or value != value else str(value).strip()


def _refuse_overlaps(path: Path, listed: Sequence[ListedSection]) -> None:
    """What lies in two sections would be counted twice."""
    recordings = {item.recording for item in listed}
    for recording in sorted(recordings):
        same = [item for item in listed if item.recording in ("", recording)]
        for one, other in pairwise(sorted(same, key=lambda item: (item.from_m, item.to_m))):
            if other.from_m < one.to_m - 1e-6:
                raise InputError(
                    f"{path}: sections {one.name} and {other.name} overlap between {other.from_m:g} and "
                    f"{min(one.to_m, other.to_m):g} m, where cracks would count twice; give such lists one by one"
                )
