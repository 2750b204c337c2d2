"""Records of a track: what a file held, its fixes, and positions read out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import require

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class TrackReport:
    """What a file held and what became of it.

    Attributes:
        kind: "table", "GPX" or "NMEA".
        read: rows, points or epochs that were read.
        dropped: reason -> how many of them are not used.
        counted: what else was met -> how often, such as "sentences with a bad checksum".
        notes: sentences for the user: which clock, what was assumed.
    """

    kind: str = "table"
    read: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    counted: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def sentences(self) -> tuple[str, ...]:
        """The report in sentences, the counts first."""
        lost = [f"{count} of {self.read} fixes dropped: {reason}" for reason, count in self.dropped.items() if count]
        met = [f"{count} {what}" for what, count in self.counted.items() if count]
        return (*lost, *met, *self.notes)


@dataclass(frozen=True, slots=True)
class RawFixes:
    """Fixes as a reader found them: any order, any nonsense; NaN where a value is missing.

    Attributes:
        time_s, lat_deg, lon_deg: (N,).
        speed_m_s, accuracy_m, alt_m, distance_m: (N,), or empty where the file has no such value.
        segment: (N,) number of the part of the file, or empty; parts are not joined.
        report: what the file held.
        swap_hint: how the user swaps latitude and longitude back.
    """

    time_s: FloatArray
    lat_deg: FloatArray
    lon_deg: FloatArray
    speed_m_s: FloatArray
    accuracy_m: FloatArray
    alt_m: FloatArray
    distance_m: FloatArray
    segment: IntArray
    report: TrackReport
    swap_hint: str = "write the file again with latitude and longitude in their places"


@dataclass(frozen=True, slots=True)
class Track:
    """Cleaned fixes of one receiver.

    Attributes:
        time_s: (N,) seconds, strictly ascending within a stretch.
        lon_deg, lat_deg: (N,) WGS 84.
        speed_m_s: (N,) the receiver's own (Doppler) speed, NaN where missing; None without any.
        accuracy_m: (N,) 1 sigma of either horizontal coordinate as stated by the receiver; None without any.
        alt_m: (N,) altitude; None without any.
        distance_m: (N,) reading of a distance counter; None without any.
        stretch: (N,) number of the stretch, ascending by one at each cut: the clock restarts there, or the place
            changes without a way between; None for one stretch.
        report: what the file held.
    """

    time_s: FloatArray
    lon_deg: FloatArray
    lat_deg: FloatArray
    speed_m_s: FloatArray | None = None
    accuracy_m: FloatArray | None = None
    alt_m: FloatArray | None = None
    distance_m: FloatArray | None = None
    stretch: IntArray | None = None
    report: TrackReport = field(default_factory=TrackReport)

    def __post_init__(self) -> None:
        count = len(self.time_s)
        require(count >= 2, "track", "two or more fixes", count)
        for name in ("lon_deg", "lat_deg", "speed_m_s", "accuracy_m", "alt_m", "distance_m", "stretch"):
            values = getattr(self, name)
            if values is not None:
                require(values.shape == (count,), name, f"shape ({count},)", values.shape)
        stretch = self.stretches
        require(bool(np.isin(np.diff(stretch), (0, 1)).all()), "stretch", "numbers that go up by one", "others")
        joined = np.diff(stretch) == 0
        require(bool((np.diff(self.time_s) > 0)[joined].all()), "time_s", "strictly ascending times", "others")

    @property
    def stretches(self) -> IntArray:
        """(N,) number of the stretch of each fix."""
        return np.zeros(len(self.time_s), np.intp) if self.stretch is None else self.stretch

    @property
    def dropped(self) -> int:
        """How many rows of the file hold no usable fix."""
        return sum(self.report.dropped.values())


@dataclass(frozen=True, slots=True)
class LeverArm:
    """Where the antenna sits in the vehicle frame; (0, 0) is the vehicle's origin.

    Attributes:
        right_m: to the right of the direction of travel.
        ahead_m: ahead of the origin.
    """

    right_m: float = 0.0
    ahead_m: float = 0.0


@dataclass(frozen=True, slots=True)
class Poses:
    """Where the vehicle was.

    Attributes:
        xy_m: (N, 2) easting and northing of the vehicle's origin, NaN where unknown.
        azimuth_deg: (N,) direction of travel, clockwise from grid north in [0, 360), NaN where unknown.
        travelled_m: (N,) metres on the ground since the first fix, NaN where unknown.
        u_xy_m: (N,) 1 sigma of either coordinate, NaN where unknown.
        reason: (N,) "" where all is known, else a word and a sentence, as "no_position: 3.4 s from the nearest fix".
    """

    xy_m: FloatArray
    azimuth_deg: FloatArray
    travelled_m: FloatArray
    u_xy_m: FloatArray
    reason: Sequence[str]

    @property
    def known(self) -> NDArray[np.bool_]:
        """(N,) True where position and heading are known."""
        return np.array([not text for text in self.reason], bool)
