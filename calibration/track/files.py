"""One door for all files that hold a track."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from crackmap.calibration.errors import InputError
from crackmap.calibration.track import gpx, nmea, table
from crackmap.calibration.track.clean import CleanSettings, clean
from crackmap.calibration.track.records import Track

_HEAD_BYTES = 65536
_NMEA = re.compile(rb"\$(?:[A-Z]{2}[A-Z]{3}|P[A-Z]{3}[A-Z0-9]*),")


def read_track(path: Path, *, columns: Mapping[str, str] | None = None, settings: CleanSettings | None = None) -> Track:
    """Reads and cleans a track; the kind of file is told by its content: GPX, NMEA 0183, else a table.

    Args:
        path: the file.
        columns: for a table, as in `read_track_csv`.
        settings: rules of bad fixes.

    Raises:
        InputError: no track in the file, and what to do about it.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise InputError(f"{path.name}: the track cannot be read ({error}); check the path") from error
    if not head.strip():
        raise InputError(f"{path.name}: the file is empty; export the track again")
    if head.startswith((b"\xff\xd8", b"\x89PNG", b"PK\x03\x04")) or b"<kml" in head:
        raise InputError(f"{path.name}: expected CSV, GPX or NMEA, got a picture, an archive or KML; export as GPX")
    xml = head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<") or head.startswith(
        (b"\xff\xfe<", b"\xfe\xff\0<")
    )
    if xml:
        raw = gpx.read_fixes(path)
    elif _NMEA.search(head):
        raw = nmea.read_fixes(path)
    else:
        return read_track_csv(path, columns=columns, settings=settings)
    return clean(raw, path.name, settings)


def read_track_csv(
    path: Path, *, columns: Mapping[str, str] | None = None, settings: CleanSettings | None = None
) -> Track:
    """Reads a track from a table with a header line.

    Separated by commas, semicolons or tabs; with the latter two a decimal comma is understood. Times are seconds, or
    ISO 8601 dates (UTC where they name no zone, returned as seconds since 1970). Optional columns: speed (m/s, or
    speed_kmh), alt, accuracy (1 sigma, metres) or hdop, distance (metres). What is dropped is in the track's report.

    Args:
        path: the file.
        columns: "time", "lat", "lon", "speed", "alt", "accuracy", "hdop", "distance" -> name of the column; those left
            out are found among COMMON_COLUMNS.
        settings: rules of bad fixes.

    Raises:
        InputError: the file cannot be read, a column is missing, latitude and longitude look swapped, or fewer than
            two fixes are left.
    """
    raw = table.read_fixes(path, columns)
    return clean(raw, path.name, settings)
