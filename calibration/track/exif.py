"""Position and time of a photo from its EXIF data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from crackmap.calibration.track.table import M_PER_HDOP, parse_moment


@dataclass(frozen=True, slots=True)
class Fix:
    """One position.

    Attributes:
        lat_deg, lon_deg: WGS 84.
        time_s: seconds since 1970, NaN without a time.
        clock: what the time is: "GPS (UTC)", "camera, zone +02:00", "camera, zone unknown" (read as UTC), or "".
        accuracy_m: 1 sigma of either coordinate, NaN where the photo states none.
        azimuth_deg: direction of the picture clockwise from true or magnetic north, NaN without.
        magnetic: whether the azimuth counts from magnetic north.
    """

    lat_deg: float
    lon_deg: float
    time_s: float = math.nan
    clock: str = ""
    accuracy_m: float = math.nan
    azimuth_deg: float = math.nan
    magnetic: bool = False


def exif_fix(exif: Image.Exif) -> Fix | None:
    """The position in EXIF data; None where it is missing or makes no sense, never an error.

    The time is that of the GPS (GPSDateStamp, GPSTimeStamp), else that of the camera's clock (DateTimeOriginal,
    SubSecTimeOriginal, OffsetTimeOriginal); `clock` says which. GPSHPositioningError is taken as the 68 % radius.
    """
    try:
        gps = dict(exif.get_ifd(IFD.GPSInfo))
        photo = dict(exif.get_ifd(IFD.Exif))
    # A damaged directory raises whatever its bytes happen to hit, and a photo without position is no fault.
    except Exception:
        return None
    lat = _angle(gps.get(GPS.GPSLatitude), gps.get(GPS.GPSLatitudeRef), "NS", 90.0)
    lon = _angle(gps.get(GPS.GPSLongitude), gps.get(GPS.GPSLongitudeRef), "EW", 180.0)
    if not (math.isfinite(lat) and math.isfinite(lon)) or (lat == 0.0 and lon == 0.0):
        return None
    if _text(gps.get(GPS.GPSStatus)) == "V":
        return None
    time_s, clock = _gps_time(gps)
    if math.isnan(time_s):
        time_s, clock = _camera_time(photo)
    # A radius that holds 68 % of a round normal scatter is 1.515 sigma of one coordinate.
    accuracy = _number(gps.get(GPS.GPSHPositioningError)) / 1.515
    if not accuracy > 0:
        accuracy = M_PER_HDOP * _number(gps.get(GPS.GPSDOP))
    azimuth = _number(gps.get(GPS.GPSImgDirection))
    return Fix(
        lat,
        lon,
        time_s,
        clock,
        accuracy if accuracy > 0 else math.nan,
        azimuth % 360.0 if 0.0 <= azimuth <= 360.0 else math.nan,
        _text(gps.get(GPS.GPSImgDirectionRef)) == "M",
    )


def _angle(parts: object, side: object, sides: str, limit: float) -> float:
    """Decimal degrees of degrees, minutes, seconds and their side; NaN if they are none."""
    letter = _text(side)
    if letter not in sides or len(letter) != 1:
        return math.nan
    degrees, minutes, seconds = _three(parts)
    value = degrees + minutes / 60.0 + seconds / 3600.0
    plain = degrees >= 0 and 0 <= minutes < 60 and 0 <= seconds < 60 and value <= limit
    return (value if letter == sides[0] else -value) if plain else math.nan


def _gps_time(gps: dict[int, object]) -> tuple[float, str]:
    day = parse_moment(_text(gps.get(GPS.GPSDateStamp)).replace(":", "-"))
    hour, minute, second = _three(gps.get(GPS.GPSTimeStamp))
    if not (0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 61):
        return math.nan, ""
    return day + 3600.0 * hour + 60.0 * minute + second, "GPS (UTC)"


def _camera_time(photo: dict[int, object]) -> tuple[float, str]:
    day, _, clock = _text(photo.get(Base.DateTimeOriginal)).partition(" ")
    zone = _text(photo.get(Base.OffsetTimeOriginal)) or _text(photo.get(Base.OffsetTime))
    moment = parse_moment(f"{day.replace(':', '-')}T{clock}{zone}")
    if math.isnan(moment) and zone:
        zone, moment = "", parse_moment(f"{day.replace(':', '-')}T{clock}")
    if math.isnan(moment):
        return math.nan, ""
    digits = _text(photo.get(Base.SubsecTimeOriginal)) or _text(photo.get(Base.SubsecTime))
    part = float(f"0.{digits}") if digits.isdecimal() and digits.isascii() else 0.0
    return moment + part, f"camera, zone {zone or 'unknown'}"


def _three(parts: object) -> tuple[float, float, float]:
    if not isinstance(parts, tuple | list) or len(parts) != 3:
        return math.nan, math.nan, math.nan
    first, second, third = (_number(part) for part in parts)
    return first, second, third


def _number(value: object) -> float:
    """A rational or number as float; NaN for a zero denominator or anything else."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ArithmeticError):
        return math.nan


def _text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return value.strip("\0 ") if isinstance(value, str) else ""
