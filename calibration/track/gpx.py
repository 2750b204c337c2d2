"""GPX 1.0 and 1.1: the points of tracks; routes and way points are no track."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import parse

from crackmap.calibration.errors import InputError
from crackmap.calibration.track.records import FloatArray, RawFixes, TrackReport
from crackmap.calibration.track.table import M_PER_HDOP, parse_moment


def read_fixes(path: Path) -> RawFixes:
    """The track points of a GPX file, one segment after the other; `speed` is also found in extensions.

    Raises:
        InputError: no GPX, no track in it, or most of its points have no time.
    """
    try:
        root = parse(path, forbid_dtd=True).getroot()
    except (ParseError, DefusedXmlException, OSError, ValueError) as error:
        raise InputError(f"{path.name}: not a GPX file that can be read ({error}); export the track again") from error
    if root is None or _local(root) != "gpx":
        raise InputError(f"{path.name}: expected a GPX file, got other XML; export the track as GPX or CSV")
    rows, segments = [], []
    for number, segment in enumerate(_all(root, "trkseg")):
        for point in _children(segment, "trkpt"):
            rows.append(_row(point))
            segments.append(number)
    others = {f"{name} outside tracks, not used": sum(1 for _ in _all(root, name)) for name in ("rtept", "wpt")}
    table = np.array(rows, np.float64).reshape(-1, 6)
    _check(path.name, table, any(others.values()))
    time, lat, lon, speed, alt, hdop = (np.ascontiguousarray(column) for column in table.T)
    notes = ["times are UTC, seconds since 1970"]
    if np.isfinite(hdop).any():
        notes.append(f"accuracy taken as {M_PER_HDOP:.1f} m per unit of HDOP")
    report = TrackReport("GPX", len(table), counted=others, notes=tuple(notes))
    return RawFixes(
        time,
        lat,
        lon,
        _any(speed),
        _any(M_PER_HDOP * hdop),
        _any(alt),
        np.empty(0),
        np.array(segments, np.intp),
        report,
    )


def _check(name: str, table: FloatArray, has_others: bool) -> None:
    if not len(table):
        held = "only routes or way points, which have no times" if has_others else "none"
        raise InputError(f"{name}: expected track points (trkpt), got {held}; export the recorded track")
    untimed = int(np.isnan(table[:, 0]).sum())
    if 2 * untimed > len(table):
        raise InputError(
            f"{name}: {untimed} of {len(table)} track points have no time, so frames cannot be matched by time; match "
            "by distance with the line as a route, or export the track with times"
        )


def _row(point: Element) -> tuple[float, ...]:
    speed = next((_float(found.text) for found in _all(point, "speed")), math.nan)
    moment = parse_moment(next((found.text or "" for found in _children(point, "time")), ""))
    alt, hdop = (next((_float(found.text) for found in _children(point, name)), math.nan) for name in ("ele", "hdop"))
    return moment, _float(point.get("lat")), _float(point.get("lon")), speed, alt, hdop


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _all(element: Element, name: str) -> Iterator[Element]:
    return (found for found in element.iter() if _local(found) == name)


def _children(element: Element, name: str) -> Iterator[Element]:
    return (found for found in element if _local(found) == name)


def _float(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return math.nan


def _any(values: FloatArray) -> FloatArray:
    return values if np.isfinite(values).any() else np.empty(0)
