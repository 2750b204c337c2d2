"""How right is the position of a frame? The real vehicle minute against its fused reference.

CRACKMAP_DATA=... python -m benchmarks.track

Variants: plain interpolation by time, the delay from the data, fixes each second only, a gap of 5 s. The reference is
read here to score, and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.track import (
    Delay,
    Odometer,
    Poses,
    Track,
    TrackReport,
    estimate_delay,
    project_track,
    read_odometer,
    read_track,
    smooth_track,
)

FloatArray = NDArray[np.float64]
DATA = Path(os.environ.get("CRACKMAP_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "tracks"
GAP_S = 5.0
GAP_STARTS_S = (10.0, 20.0, 30.0, 40.0, 50.0)


@dataclass(frozen=True, slots=True)
class Minute:
    """The real minute: what the vehicle recorded, and the truth."""

    track: Track
    odometer: Odometer
    frame_s: FloatArray
    truth_xy_m: FloatArray


@dataclass(frozen=True, slots=True)
class Score:
    """Horizontal errors over the frames with a position.

    Attributes:
        name: of the variant.
        error_m: (N,) of the frames with a position.
        unknown: frames without.
        delay: what was found, if anything was looked for.
    """

    name: str
    error_m: FloatArray
    unknown: int
    delay: Delay | None = None

    def line(self) -> str:
        if not len(self.error_m):
            return f"{self.name:<44}{'-':>8}{'-':>8}{'-':>8}{self.unknown:>10}"
        median, p95, largest = np.percentile(self.error_m, [50, 95, 100])
        found = "" if self.delay is None else f"  {self.delay.seconds:.3f} +- {self.delay.u_seconds:.3f} s"
        return f"{self.name:<44}{median:>8.2f}{p95:>8.2f}{largest:>8.2f}{self.unknown:>10}{found}"


def read_minute(folder: Path = DATA) -> Minute:
    track = read_track(folder / "gnss.csv")
    table = np.genfromtxt(folder / "reference.csv", delimiter=",", names=True)
    truth = Track(table["time_s"], table["lon_deg"], table["lat_deg"])
    return Minute(track, read_odometer(folder / "odometer.csv"), table["time_s"], project_track(truth).xy_m)


def without(track: Track, lost: NDArray[np.bool_]) -> Track:
    """The track without some of its fixes."""
    kept = ~lost
    values = {name: getattr(track, name) for name in ("speed_m_s", "accuracy_m", "alt_m", "distance_m", "stretch")}
    less = {name: None if value is None else value[kept] for name, value in values.items()}
    return replace(
        track, time_s=track.time_s[kept], lon_deg=track.lon_deg[kept], lat_deg=track.lat_deg[kept],
        report=TrackReport(), **less,
    )  # fmt: skip


def each_second(track: Track) -> Track:
    """The first fix of each second."""
    second = np.floor(track.time_s - track.time_s[0] + 1e-6)
    return without(track, np.concatenate([[False], np.diff(second) == 0]))


def subsets(track: Track) -> Sequence[Track]:
    """The ten ways to keep one fix each second."""
    found = []
    for first in range(10):
        places = np.searchsorted(track.time_s, track.time_s[0] + first / 10 + np.arange(59.0))
        kept = np.isin(np.arange(len(track.time_s)), places)
        found.append(without(track, ~kept))
    return found


def over_subsets(minute: Minute, delay: Delay | None) -> str:
    """Mean and worst (median, p95) over the subsets, each with its own delay from the data or all with one."""
    figures = []
    for track in subsets(minute.track):
        found = delay or estimate_delay(track, minute.odometer)
        poses = smooth_track(track).poses_at(minute.frame_s + found.seconds)
        figures.append(np.percentile(score("", poses, minute, found).error_m, [50, 95]))
    mean, worst = np.mean(figures, axis=0), np.max(figures, axis=0)
    return f"median {mean[0]:.2f}, worst {worst[0]:.2f}; p95 {mean[1]:.2f}, worst {worst[1]:.2f}"


def score(name: str, poses: Poses, minute: Minute, delay: Delay | None, part: NDArray[np.bool_] | None = None) -> Score:
    part = np.ones(len(minute.frame_s), bool) if part is None else part
    error = np.hypot(*(poses.xy_m - minute.truth_xy_m).T)
    return Score(name, error[part & poses.known], int((part & ~poses.known).sum()), delay)


def located(name: str, track: Track, minute: Minute, *, with_odometer: bool) -> Score:
    """Delay from the data, smoothed with or without the odometer."""
    delay = estimate_delay(track, minute.odometer)
    odometer = minute.odometer.on_track(delay.seconds, delay.scale) if with_odometer else None
    poses = smooth_track(track, odometer=odometer).poses_at(minute.frame_s + delay.seconds)
    return score(name, poses, minute, delay)


def in_gap(start_s: float, minute: Minute, *, with_odometer: bool) -> Score:
    """Frames inside a gap of GAP_S; the delay is looked for in what is left."""
    lost = (minute.track.time_s > start_s) & (minute.track.time_s < start_s + GAP_S)
    track = without(minute.track, lost)
    delay = estimate_delay(track, minute.odometer)
    odometer = minute.odometer.on_track(delay.seconds, delay.scale) if with_odometer else None
    times = minute.frame_s + delay.seconds
    poses = smooth_track(track, odometer=odometer).poses_at(times)
    ends = track.time_s[[np.searchsorted(track.time_s, start_s, side="right") - 1,
                         np.searchsorted(track.time_s, start_s + GAP_S)]]  # fmt: skip
    inside = (times > ends[0]) & (times < ends[1])
    how = "odometer" if with_odometer else "no odometer"
    return score(f"inside a gap of {GAP_S:.0f} s from {start_s:.0f} s, {how}", poses, minute, None, inside)


def scores(minute: Minute) -> Sequence[Score]:
    plain_xy, _, _ = project_track(minute.track).at(minute.frame_s)
    slow = each_second(minute.track)
    smooth_only = smooth_track(minute.track).poses_at(minute.frame_s)
    result = [
        Score("10 Hz, plain interpolation by time", np.hypot(*(plain_xy - minute.truth_xy_m).T), 0),
        score("10 Hz, smoothed", smooth_only, minute, None),
        located("10 Hz, delay, smoothed", minute.track, minute, with_odometer=False),
        located("10 Hz, delay, smoothed with odometer", minute.track, minute, with_odometer=True),
        located("1 Hz, delay, smoothed", slow, minute, with_odometer=False),
        located("1 Hz, delay, smoothed with odometer", slow, minute, with_odometer=True),
    ]
    for with_odometer in (True, False):
        result += [in_gap(start, minute, with_odometer=with_odometer) for start in GAP_STARTS_S]
    return result


def main() -> None:
    minute = read_minute()
    print(f"{'error, m':<44}{'median':>8}{'p95':>8}{'max':>8}{'unknown':>10}  delay")
    for found in scores(minute):
        print(found.line())
    print("\n1 Hz, all ten ways to keep one fix each second, without odometer:")
    print(f"  each with its own delay:     {over_subsets(minute, None)}")
    print(f"  with the delay of the 10 Hz: {over_subsets(minute, estimate_delay(minute.track, minute.odometer))}")
    doppler = estimate_delay(minute.track, minute.odometer, source="doppler")
    print(
        f"\nThe receiver's Doppler speed lags by {doppler.seconds:.3f} +- {doppler.u_seconds:.3f} s: not its positions."
    )


if __name__ == "__main__":
    main()
