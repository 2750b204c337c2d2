"""A smoothed track, read out by time or by distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crackmap.calibration.errors import InputError
from crackmap.calibration.track.odometer import Odometer
from crackmap.calibration.track.project import track_crs
from crackmap.calibration.track.records import FloatArray, LeverArm, Poses, Track
from crackmap.calibration.track.runs import Run, SmoothSettings, smoothed_runs
from crackmap.calibration.track.smooth import between, spread_between_m

NO_LEVER = LeverArm()
UNSTATED = (
    "the track states no accuracy: that of a position is the scatter from fix to fix, without what the receiver is off "
    "by for minutes (decimetres to metres); set accuracy_m"
)
NO_HEADING = "no_heading: the vehicle has not moved yet"


@dataclass(frozen=True, slots=True)
class Trajectory:
    """The way of a vehicle, where it is known.

    Attributes:
        runs: parts without a gap, in the order of the track.
        fix_s: (N,) times of all fixes, ascending.
        crs_wkt: the projected CRS.
        settings: the rules it was made by.
        bridged: how many gaps the odometer bridges.
        notes: sentences for the user: what was assumed.
    """

    runs: tuple[Run, ...]
    fix_s: FloatArray
    crs_wkt: str
    settings: SmoothSettings
    bridged: int = 0
    notes: tuple[str, ...] = ()

    @property
    def span_s(self) -> tuple[float, float]:
        """First and last time with a known position."""
        return min(run.start_s for run in self.runs), max(run.end_s for run in self.runs)

    @property
    def gaps(self) -> tuple[tuple[float, float], ...]:
        """Declared gaps (start, end) between the runs, in seconds: no position is given inside any of them."""
        found, reached = [], self.span_s[0]
        for run in sorted(self.runs, key=lambda run: run.start_s):
            if run.start_s > reached:
                found.append((reached, run.start_s))
            reached = max(reached, run.end_s)
        return tuple(found)

    @property
    def length_m(self) -> float:
        """Distance travelled from the first to the last known place."""
        return float(self.runs[-1].travelled_m[-1])

    def poses_at(self, time_s: ArrayLike, *, lever_arm: LeverArm = NO_LEVER) -> Poses:
        """Where the vehicle was at times of the track's clock.

        Times are matched exactly. Inside a declared gap nothing is known; before the first and after the last fix of
        the track positions go straight on for `tolerance_s` of the settings, and no farther.

        Args:
            time_s: (N,) seconds of the track's clock (frame time plus time offset).
            lever_arm: where the antenna sits in the vehicle frame; xy_m is the vehicle's origin.
        """
        times = np.asarray(time_s, np.float64).reshape(-1)
        start, end = self.span_s
        reach = self.settings.tolerance_s + 1e-9
        early = (times < start) & (times >= start - reach)
        late = (times > end) & (times <= end + reach)
        owner = np.full(len(times), -1)
        owners = np.zeros(len(times), int)
        for number, run in enumerate(self.runs):
            within = (times >= run.start_s) & (times <= run.end_s)
            within |= (early & (run.start_s == start)) | (late & (run.end_s == end))
            owner[within] = number
            owners += within
        reason = ["" if count == 1 else self._why(time, int(count)) for time, count in zip(times, owners, strict=True)]
        owner[owners != 1] = -1
        return self._read(times, owner, reason, lever_arm)

    def poses_at_distance(
        self,
        distance_m: ArrayLike,
        *,
        offset_m: float = 0.0,
        by: Literal["travelled", "counter"] = "travelled",
        lever_arm: LeverArm = NO_LEVER,
    ) -> Poses:
        """Where the vehicle was at distances along the track.

        Where it stood at a distance, the moment of its arrival counts.

        Args:
            distance_m: (N,) metres.
            offset_m: added to them: distance along the track less distance of the frames.
            by: "travelled": metres since the first fix; "counter": the file's own distance column.
            lever_arm: as in `poses_at`.

        Raises:
            InputError: by counter, and the track has none.
        """
        wanted = np.asarray(distance_m, np.float64).reshape(-1) + offset_m
        if by == "counter" and not any(run.counter_m.size for run in self.runs):
            raise InputError(
                "track: no distance counter in it; match by the distance travelled, or name its column: "
                'columns = { distance = "..." }'
            )
        times, owner = np.full(len(wanted), np.nan), np.full(len(wanted), -1)
        for number, run in enumerate(self.runs):
            known = run.travelled_m if by == "travelled" else run.counter_m
            if not known.size:
                continue
            rising = np.concatenate([[True], np.diff(known) > 0])
            free = (owner < 0) & (wanted >= known[0] - 1e-9) & (wanted <= known[-1] + 1e-9)
            times[free] = np.interp(wanted[free], known[rising], run.fine_s[rising])
            owner[free] = number
        reason = [
            "" if number >= 0 else f"no_position: {distance:.1f} m is not on the track, or in a gap of it"
            for number, distance in zip(owner.tolist(), wanted.tolist(), strict=True)
        ]
        return self._read(times, owner, reason, lever_arm)

    def _read(self, times: FloatArray, owner: NDArray[np.int_], reason: list[str], lever_arm: LeverArm) -> Poses:
        xy, azimuth = np.full((len(times), 2), np.nan), np.full(len(times), np.nan)
        travelled, spread = np.full(len(times), np.nan), np.full(len(times), np.nan)
        for number, run in enumerate(self.runs):
            mine = owner == number
            at = times[mine]
            if not len(at):
                continue
            xy[mine], velocity = between(run.way, run.node_s, at)
            azimuth[mine] = np.interp(at, run.fine_s, run.azimuth_deg)
            beyond = at - np.clip(at, run.start_s, run.end_s)
            travelled[mine] = np.interp(at, run.fine_s, run.travelled_m) + beyond * np.hypot(*velocity.T)
            own = spread_between_m(run.node_s, run.way.u_xy_m, at, self.settings.q_m2_s3)
            spread[mine] = np.hypot(own, np.interp(at, run.node_s, run.stated_m))
        lost = (owner >= 0) & np.isnan(azimuth)
        for index in np.flatnonzero(lost).tolist():
            reason[index] = NO_HEADING
        if lever_arm != NO_LEVER:
            angle = np.radians(azimuth)
            ahead = np.column_stack([np.sin(angle), np.cos(angle)])
            right = np.column_stack([np.cos(angle), -np.sin(angle)])
            xy -= lever_arm.ahead_m * ahead + lever_arm.right_m * right
            travelled -= lever_arm.ahead_m
            spread[lost] = np.nan
        return Poses(xy, np.mod(azimuth, 360.0), travelled, spread, tuple(reason))

    def _why(self, time: float, owners: int) -> str:
        if not np.isfinite(time):
            return "no_position: no time"
        if owners > 1:
            return f"no_position: the clock restarts, and {time:.3f} s comes {owners} times; split the track there"
        after = int(np.searchsorted(self.fix_s, time))
        near = np.abs(self.fix_s[max(after - 1, 0) : after + 1] - time).min()
        return f"no_position: {near:.1f} s from the nearest fix"


def smooth_track(
    track: Track,
    *,
    crs: str | None = None,
    odometer: Odometer | None = None,
    settings: SmoothSettings | None = None,
) -> Trajectory:
    """The most probable way through the fixes of a track, cut at its gaps.

    Args:
        track: cleaned fixes.
        crs: a projected CRS in metres, as "EPSG:25833"; the UTM or UPS zone of the first fix without.
        odometer: on the clock of the track and with true scale (`Odometer.on_track`); it bridges gaps.
        settings: rules of gaps.

    Raises:
        InputError: the CRS is no projected one in metres, the track strays from it, or its fixes are too sparse.
    """
    rules, chosen = settings or SmoothSettings(), track_crs(track, crs)
    runs, bridged = smoothed_runs(track, chosen, odometer, rules)
    unstated = track.accuracy_m is None and rules.accuracy_m is None
    notes = (UNSTATED,) if unstated else ()
    return Trajectory(runs, np.sort(track.time_s), chosen.to_wkt(), rules, bridged, notes)
