"""NMEA 0183 logs: GGA, GNS, RMC, GST and ZDA of any talker, among vendor sentences, other sentences and rubbish."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import reduce
from operator import xor
from pathlib import Path

import numpy as np

from crackmap.calibration.errors import InputError
from crackmap.calibration.track.records import FloatArray, RawFixes, TrackReport
from crackmap.calibration.track.table import M_PER_HDOP

SENTENCE = re.compile(rb"\$([A-Z][A-Z0-9]{2,7}),([\x20-\x23\x25-\x29\x2b-\x7e]*)(?:\*([0-9A-Fa-f]{2}))?")
"""One sentence anywhere in a line, so that binary messages in front of it do not hide it."""

DAY_S = 86400.0
M_S_PER_KNOT = 1852.0 / 3600.0

QUALITY_FACTOR: Mapping[int, float] = {1: 1.0, 2: 0.4, 3: 1.0, 4: 0.01, 5: 0.1, 6: 3.0}
"""Fix quality of GGA -> share of the accuracy without corrections, where GST does not state one: rough, for weighing
fixes of different quality. 0 is no fix, 7 (manual) and 8 (simulator) are no measurement."""

_BAD = "bad checksum"
_BARE = "no checksum"


@dataclass(slots=True)
class _Epoch:
    """What the sentences of one moment say."""

    day: int
    second: float
    lat: float = math.nan
    lon: float = math.nan
    rank: int = 0
    valid: bool = True
    speed: float = math.nan
    alt: float = math.nan
    hdop: float = math.nan
    quality: int = 1
    sigma: float = math.nan


class _Log:
    """Gathers sentences into epochs; days are counted from the first epoch until a sentence names the date."""

    def __init__(self) -> None:
        self.epochs: list[_Epoch] = []
        self.first_date: int | None = None
        self._day = 0

    def epoch(self, text: str) -> _Epoch | None:
        """The epoch of a time hhmmss.ss; a new one when the time differs from the last."""
        second = _second_of_day(text)
        if second is None:
            return None
        last = self.epochs[-1] if self.epochs else None
        if last is not None and last.second == second:
            return last
        # A clock that falls by most of a day has passed midnight; one that falls by less jumps, which cleaning sees.
        if last is not None and last.second - second > DAY_S / 2:
            self._day += 1
        self.epochs.append(_Epoch(self._day, second))
        return self.epochs[-1]

    def dated(self, epoch: _Epoch, moment: date | None) -> None:
        """Puts an epoch on its date."""
        if moment is None:
            return
        if self.first_date is None:
            self.first_date = moment.toordinal() - epoch.day
        self._day = epoch.day = moment.toordinal() - self.first_date


def read_fixes(path: Path) -> RawFixes:
    """The fixes of an NMEA log in the order of the file, one for each moment.

    Position, height and HDOP come from GGA or GNS, else the position from RMC; speed and date from RMC, the date also
    from ZDA, accuracy from GST, else from HDOP. Lines with a bad checksum are counted and not used; so are lines
    without one, if others have one. A moment whose GGA says quality 0 (7, 8), GNS mode N or RMC status V is dropped.

    Raises:
        InputError: the file cannot be read, or no sentence holds a position.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path.name}: the track cannot be read ({error})") from error
    log, counted = _Log(), Counter[str]()
    for kind, fields in _sentences(data, counted):
        _READ[kind](log, fields)
    epochs = [epoch for epoch in log.epochs if epoch.rank or not epoch.valid]
    if not epochs:
        raise InputError(
            f"{path.name}: no position in this NMEA log ({_told(counted)}); log the sentences GGA or RMC and keep "
            "their checksums"
        )
    return _fixes(log, epochs, counted)


def _fixes(log: _Log, epochs: list[_Epoch], counted: Counter[str]) -> RawFixes:
    valid = [epoch for epoch in epochs if epoch.valid]
    notes, origin = ["times are UTC, seconds since 1970"], 0.0
    if log.first_date is None:
        notes = ["no date in the log (no RMC or ZDA): times are UTC seconds of the first day"]
    else:
        origin = DAY_S * (log.first_date - date(1970, 1, 1).toordinal())
    sigma = _column(valid, lambda epoch: epoch.sigma)
    guessed = M_PER_HDOP * _column(valid, lambda epoch: epoch.hdop * QUALITY_FACTOR.get(epoch.quality, 1.0))
    if np.isfinite(guessed[np.isnan(sigma)]).any():
        notes.append(f"accuracy without GST taken as {M_PER_HDOP:.1f} m per unit of HDOP, less with corrections")
    report = TrackReport(
        "NMEA",
        len(epochs),
        {"the receiver calls it invalid": len(epochs) - len(valid)},
        {what: counted[what] for what in sorted(counted)},
        tuple(notes),
    )
    return RawFixes(
        origin + _column(valid, lambda epoch: DAY_S * epoch.day + epoch.second),
        _column(valid, lambda epoch: epoch.lat),
        _column(valid, lambda epoch: epoch.lon),
        _column(valid, lambda epoch: epoch.speed),
        np.where(np.isnan(sigma), guessed, sigma),
        _column(valid, lambda epoch: epoch.alt),
        np.empty(0),
        np.empty(0, np.intp),
        report,
    )


def _column(epochs: list[_Epoch], value: Callable[[_Epoch], float]) -> FloatArray:
    return np.array([value(epoch) for epoch in epochs], np.float64)


def _told(counted: Counter[str]) -> str:
    return ", ".join(f"{counted[what]} {what}" for what in sorted(counted)) or "no sentence at all"


def _sentences(data: bytes, counted: Counter[str]) -> Iterator[tuple[str, list[str]]]:
    """Kind (last three letters) and fields of the sentences that count; the others go into `counted`."""
    found = SENTENCE.findall(data)
    # Some loggers strip all checksums; among lines that have one, a line without is cut off.
    all_bare = not any(checksum for _, _, checksum in found)
    counted["lines without a sentence"] = sum(
        1 for line in data.splitlines() if line.strip() and not SENTENCE.search(line)
    )
    for address, body, checksum in found:
        if not all_bare and not checksum:
            counted[f"sentences with {_BARE}"] += 1
        elif checksum and reduce(xor, address + b"," + body) != int(checksum, 16):
            counted[f"sentences with a {_BAD}"] += 1
        elif address.startswith(b"P"):
            counted["vendor sentences"] += 1
        elif len(address) == 5 and address[2:].decode() in _READ:
            yield address[2:].decode(), body.decode("ascii").split(",")
        else:
            counted["other sentences"] += 1


def _gga(log: _Log, fields: list[str]) -> None:
    epoch = log.epoch(_at(fields, 0))
    if epoch is None:
        return
    quality = int(_float(_at(fields, 5), 0.0))
    epoch.valid &= quality in QUALITY_FACTOR
    if _place(epoch, fields, 1, rank=3):
        epoch.quality, epoch.hdop, epoch.alt = quality, _float(_at(fields, 7)), _float(_at(fields, 8))


def _gns(log: _Log, fields: list[str]) -> None:
    epoch = log.epoch(_at(fields, 0))
    if epoch is None:
        return
    epoch.valid &= bool(_at(fields, 5).strip("N"))
    if _place(epoch, fields, 1, rank=2):
        epoch.hdop, epoch.alt = _float(_at(fields, 7)), _float(_at(fields, 8))


def _rmc(log: _Log, fields: list[str]) -> None:
    epoch = log.epoch(_at(fields, 0))
    if epoch is None:
        return
    text = _at(fields, 8)
    log.dated(epoch, _date(text[0:2], text[2:4], text[4:6]))
    epoch.valid &= _at(fields, 1) == "A"
    epoch.speed = M_S_PER_KNOT * _float(_at(fields, 6))
    _place(epoch, fields, 2, rank=1)


def _gst(log: _Log, fields: list[str]) -> None:
    epoch = log.epoch(_at(fields, 0))
    if epoch is not None:
        epoch.sigma = math.hypot(_float(_at(fields, 5)), _float(_at(fields, 6))) / math.sqrt(2.0)


def _zda(log: _Log, fields: list[str]) -> None:
    epoch = log.epoch(_at(fields, 0))
    if epoch is not None:
        log.dated(epoch, _date(_at(fields, 1), _at(fields, 2), _at(fields, 3)))


_READ: Mapping[str, Callable[[_Log, list[str]], None]] = {
    "GGA": _gga, "GNS": _gns, "RMC": _rmc, "GST": _gst, "ZDA": _zda,
}  # fmt: skip


def _place(epoch: _Epoch, fields: list[str], start: int, *, rank: int) -> bool:
    """Takes the position of a sentence unless a better kind of sentence has given one; True if taken."""
    lat = _degrees(_at(fields, start), _at(fields, start + 1), "NS")
    lon = _degrees(_at(fields, start + 2), _at(fields, start + 3), "EW")
    if rank <= epoch.rank or not (math.isfinite(lat) and math.isfinite(lon)):
        return False
    epoch.lat, epoch.lon, epoch.rank = lat, lon, rank
    return True


def _degrees(text: str, side: str, sides: str) -> float:
    """Decimal degrees of (d)ddmm.mmmm and its side; NaN if it is none."""
    degrees, minutes = text.partition(".")[0][:-2], text[len(text.partition(".")[0][:-2]) :]
    value = _float(minutes)
    if side not in sides or len(side) != 1 or not degrees.isdigit() or not 0.0 <= value < 60.0:
        return math.nan
    return (1.0 if side == sides[0] else -1.0) * (int(degrees) + value / 60.0)


def _second_of_day(text: str) -> float | None:
    if not re.fullmatch(r"\d{6}(\.\d*)?", text):
        return None
    # 60 is a leap second: it is the first second of the next minute for everything that counts in UTC.
    hour, minute, second = int(text[:2]), int(text[2:4]), float(text[4:])
    return 3600.0 * hour + 60.0 * minute + second if hour < 24 and minute < 60 and second < 61.0 else None


def _date(day: str, month: str, year: str) -> date | None:
    try:
        number = int(year)
        # Two digits: no receiver logged before 1980, where GPS time begins.
        return date(number + (0 if number > 99 else 2000 if number < 80 else 1900), int(month), int(day))
    except ValueError:
        return None


def _float(text: str, otherwise: float = math.nan) -> float:
    try:
        return float(text)
    except ValueError:
        return otherwise


def _at(fields: list[str], place: int) -> str:
    return fields[place] if place < len(fields) else ""
