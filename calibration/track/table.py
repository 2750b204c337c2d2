"""Tables: tracks and odometers from CSV files with a header line."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from crackmap.calibration.errors import InputError
from crackmap.calibration.track.records import FloatArray, RawFixes, TrackReport

COMMON_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "time": ("time_s", "time", "t", "timestamp", "timestamp_s", "seconds", "gps_time", "utc", "datetime"),
    "lat": ("lat_deg", "lat", "latitude", "latitude_deg", "gps_latitude"),
    "lon": ("lon_deg", "lon", "long", "lng", "longitude", "longitude_deg", "gps_longitude"),
    "speed": ("speed_m_s", "speed_mps", "speed"),
    "speed_kmh": ("speed_kmh", "speed_km_h", "kmh"),
    "alt": ("alt_m", "alt", "altitude", "altitude_m", "ele", "elevation"),
    "accuracy": ("accuracy_m", "accuracy", "h_accuracy_m", "hacc", "sigma_m"),
    "hdop": ("hdop",),
    "distance": ("distance_m", "odometer_m", "distance", "odometer"),
}
"""Column names that are understood without being told, case and blanks aside, best first."""

M_PER_HDOP = 3.0 / math.sqrt(2.0)
"""1 sigma of either coordinate per unit of HDOP: a range error of 3 m, usual for a receiver without corrections (GPS
SPS Performance Standard, 5th edition, with atmosphere and receiver noise), spread over two coordinates."""

M_S_PER_KMH = 1.0 / 3.6


@dataclass(frozen=True, slots=True)
class Table:
    """A table as read.

    Attributes:
        name: of the file, for messages.
        header: column names.
        rows: cells.
        decimal_comma: whether 1,5 is a number.
    """

    name: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    decimal_comma: bool

    def place(self, key: str, wanted: str | None = None) -> int | None:
        """Index of a column by the name given, else among COMMON_COLUMNS; None where there is none.

        Raises:
            InputError: a name was given and no column has it.
        """
        names = [column.lower() for column in self.header]
        for candidate in COMMON_COLUMNS[key] if wanted is None else (wanted.lower(),):
            if candidate in names:
                return names.index(candidate)
        if wanted is not None:
            raise self._missing(key, wanted)
        return None

    def needed(self, key: str, wanted: str | None = None) -> int:
        """Like `place`.

        Raises:
            InputError: there is no such column.
        """
        place = self.place(key, wanted)
        if place is None:
            raise self._missing(key, key)
        return place

    def values(self, place: int | None) -> FloatArray:
        """(N,) numbers of a column, NaN where a cell is none; empty without the column."""
        if place is None:
            return np.empty(0)
        cells = (row[place] if place < len(row) else "" for row in self.rows)
        return np.array([_number(cell, self.decimal_comma) for cell in cells], np.float64)

    def _missing(self, key: str, wanted: str) -> InputError:
        return InputError(
            f"{self.name}: no column {wanted!r}; it has {', '.join(self.header) or 'none'}. "
            f'Name the right one: columns = {{ {key} = "..." }}'
        )


def read_table(path: Path) -> Table:
    """Reads a table separated by commas, semicolons or tabs; the latter two allow a decimal comma.

    Raises:
        InputError: the file cannot be read, is no text, or is empty.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path.name}: the track cannot be read as a text table ({error}); save it as CSV in UTF-8"
        ) from error
    lines = text.splitlines()
    if not any(line.strip() for line in lines):
        raise InputError(f"{path.name}: expected a table with a header line, got an empty file; export the track again")
    head = next(line for line in lines if line.strip())
    separator = max((",", ";", "\t"), key=head.count)
    try:
        rows = [tuple(row) for row in csv.reader(lines, delimiter=separator) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(f"{path.name}: not a table ({error}); save it as CSV in UTF-8") from error
    wider = sum(len(row) > len(rows[0]) for row in rows[1:])
    if separator == "," and 2 * wider > len(rows) - 1 > 0:
        raise InputError(
            f"{path.name}: row 2 has {len(rows[1])} fields, the header has {len(rows[0])}; decimal commas "
            "need «;» or tabs between the fields"
        )
    return Table(path.name, tuple(name.strip() for name in rows[0]), tuple(rows[1:]), separator != ",")


def read_fixes(path: Path, columns: Mapping[str, str] | None = None) -> RawFixes:
    """The fixes of a table, as they stand.

    Args:
        path: the file.
        columns: key of COMMON_COLUMNS -> name of the column; those left out are found among COMMON_COLUMNS.

    Raises:
        InputError: the file cannot be read, or has no column for time, latitude or longitude.
    """
    table, named = read_table(path), dict(columns or {})
    unknown = sorted(set(named) - set(COMMON_COLUMNS))
    if unknown:
        raise InputError(f"columns: expected {', '.join(COMMON_COLUMNS)}, got {', '.join(unknown)}")
    places = [table.needed(key, named.get(key)) for key in ("time", "lat", "lon")]
    time, lat, lon = (table.values(place) for place in places)
    accuracy, notes = table.values(table.place("accuracy", named.get("accuracy"))), []
    if not accuracy.size:
        accuracy = M_PER_HDOP * table.values(table.place("hdop", named.get("hdop")))
        if accuracy.size:
            notes.append(f"accuracy taken as {M_PER_HDOP:.1f} m per unit of HDOP")
    return RawFixes(
        time,
        lat,
        lon,
        speed_column(table, named),
        accuracy,
        table.values(table.place("alt", named.get("alt"))),
        table.values(table.place("distance", named.get("distance"))),
        np.empty(0, np.intp),
        TrackReport("table", len(table.rows), notes=tuple(notes)),
        f"write columns = {{ lat = {table.header[places[2]]!r}, lon = {table.header[places[1]]!r} }}",
    )


def speed_column(table: Table, named: Mapping[str, str]) -> FloatArray:
    """(N,) speeds in m/s from a column in m/s or km/h; empty without either."""
    speed = table.values(table.place("speed", named.get("speed")))
    if speed.size:
        return speed
    return M_S_PER_KMH * table.values(table.place("speed_kmh", named.get("speed_kmh")))


def parse_moment(text: str) -> float:
    """Seconds since 1970 of an ISO 8601 moment, UTC where it names no zone; NaN if it is none."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return math.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _number(cell: str, decimal_comma: bool) -> float:
    text = cell.strip()
    try:
        return float(text.replace(",", ".") if decimal_comma else text)
    except ValueError:
        return parse_moment(text)
