"""Frames on the map: by the time or the distance in their names and a track, or by the positions in the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import CalibrationError, InputError
from crackmap.calibration.plane import GroundPlane
from crackmap.calibration.track.clean import CleanSettings, clean
from crackmap.calibration.track.delay import estimate_delay
from crackmap.calibration.track.files import read_track
from crackmap.calibration.track.odometer import Odometer, read_odometer
from crackmap.calibration.track.overlap import require_overlap
from crackmap.calibration.track.records import LeverArm, Poses, RawFixes, Track, TrackReport
from crackmap.calibration.track.runs import SmoothSettings
from crackmap.calibration.track.trajectory import Trajectory, smooth_track
from crackmap.pipeline.config import PositionConfig
from crackmap.pipeline.frame_table import Frames, frames_of
from crackmap.pipeline.grounds import inside
from crackmap.pipeline.images import read_fix
from crackmap.pipeline.listing import Entry, View
from crackmap.pipeline.placing import Layout, nowhere, with_strips
from crackmap.pipeline.records import CoordinateKind, OutputFrame
from crackmap.stages.records import FloatArray

JUMP_M = 50.0
"""A place farther from the one before than was travelled by more than this is another road."""


def place_on_track(
    entries: Sequence[Entry], planes: Mapping[View, GroundPlane], position: PositionConfig, folder: Path
) -> Layout:
    """Frames on the map, by a track.

    Args:
        entries: the frames.
        planes: the ground plane of each view.
        position: which track, and how frames find their place on it.
        folder: of the survey.

    Raises:
        InputError: the track or odometer cannot be read, or no frame falls on the track.
        CalibrationError: no recording has visible road.
    """
    notes: list[str] = []
    entries, track = _of_images(entries) if position.source == "exif" else (entries, _of_file(position, folder))
    notes += [f"{position.track or 'EXIF'}: {sentence}" for sentence in track.report.sentences()]
    notes.append(f"the track begins at {_degrees(track.lat_deg[0], 'NS')}, {_degrees(track.lon_deg[0], 'EW')}")
    offset_s, odometer = _clocks(track, position, folder, notes)
    if position.source != "distance":
        require_overlap([np.nan if entry.time_s is None else entry.time_s + offset_s for entry in entries], track)
    trajectory = smooth_track(track, crs=position.crs, odometer=odometer, settings=_rules(position))
    notes += trajectory.notes
    # How well a receiver repeats itself says little about how far it is off as a whole.
    stated = track.accuracy_m is not None or position.accuracy_m is not None
    if trajectory.bridged:
        notes.append(f"{trajectory.bridged} gaps of the track are bridged by the odometer")
    poses = _poses(entries, trajectory, position, offset_s, by_counter=track.distance_m is not None)
    if not poses.known.any():
        _refuse_apart(entries, poses, position)
    unplaced = nowhere([entry for entry, why in zip(entries, poses.reason, strict=True) if why], planes)
    why = tuple(filter(None, poses.reason))
    placed, blind = with_strips(_on_map(entries, planes, poses, notes, stated=stated))
    output = OutputFrame(CoordinateKind.MAP, trajectory.crs_wkt)
    return Layout(output, placed, tuple(blind), tuple(notes), unplaced, why)


def _on_map(
    entries: Sequence[Entry], planes: Mapping[View, GroundPlane], poses: Poses, notes: list[str], *, stated: bool
) -> Frames:
    """The frames with a position, by stream and along the drive; `stated`: how well it is known is known too."""
    by_drive: dict[str, list[int]] = {}
    for place, (entry, reason) in enumerate(zip(entries, poses.reason, strict=True)):
        if not reason:
            by_drive.setdefault(entry.recording, []).append(place)
    order: list[int] = []
    names: list[str] = []
    for recording, places in by_drive.items():
        members = np.array(places)
        time_s = [entries[place].time_s or 0.0 for place in places]
        members = members[np.lexsort((time_s, poses.travelled_m[members]))]
        part = _parts(poses.xy_m[members], poses.travelled_m[members])
        order += members.tolist()
        names += [f"{recording}#{number + 1}" if number else recording for number in part.tolist()]
        notes += [
            f"{recording}: the place jumps at {entries[members[index + 1]].key}: "
            f"what follows is {recording}#{number + 2}"
            for number, index in enumerate(np.flatnonzero(np.diff(part)).tolist())
        ]
    chosen = [entries[place] for place in order]
    u_xy_m = poses.u_xy_m[order] if stated else np.nan
    frames = frames_of(
        chosen, (planes.get(entry.view) for entry in chosen), poses.xy_m[order], poses.azimuth_deg[order],
        poses.travelled_m[order], u_xy_m, recordings=names,
    )  # fmt: skip
    return frames.along_the_drive()


def _parts(xy_m: FloatArray, travelled_m: FloatArray) -> NDArray[np.intp]:
    """(N,) number of the part, from 0, in which each place of a drive lies; a new one begins behind each jump.

    Over a cut of the track the vehicle has travelled nothing and is elsewhere: what lies before and behind it shares no
    strip, no section and no seam, so that each part becomes a recording of its own: «R», «R#2», ...
    """
    apart = np.hypot(*np.diff(xy_m, axis=0).T) if len(xy_m) > 1 else np.empty(0)
    return np.concatenate([[0], np.cumsum(apart - np.diff(travelled_m) > JUMP_M)])


def _of_file(position: PositionConfig, folder: Path) -> Track:
    columns = {name: value for name, value in position.columns.model_dump().items() if value is not None}
    rules = CleanSettings(max_speed_kmh=position.max_speed_kmh)
    return read_track(inside(folder, position.track or ""), columns=columns, settings=rules)


def _of_images(entries: Sequence[Entry]) -> tuple[list[Entry], Track]:
    """The entries with the time of their GPS block, and the track of their positions.

    Raises:
        InputError: fewer than two images have a position with a time.
    """
    fixes = [read_fix(entry.path) for entry in entries]
    timed = [
        entry if fix is None or not np.isfinite(fix.time_s) else entry._replace(time_s=fix.time_s)
        for entry, fix in zip(entries, fixes, strict=True)
    ]
    good = [fix for fix in fixes if fix is not None and np.isfinite(fix.time_s)]
    if len(good) < 2:
        raise InputError(
            f"EXIF: expected two or more images with a GPS position and time, got {len(good)} of {len(entries)} "
            f"({sum(fix is not None for fix in fixes)} have a position); "
            'give a track file instead: [position] source = "track"'
        )
    clocks = sorted({fix.clock for fix in good})
    notes = (f"times of the images are those of: {', '.join(clocks)}",)
    if len(clocks) > 1:
        raise InputError(
            f"EXIF: times of the images come from several clocks ({', '.join(clocks)}), so their order is not known; "
            'give a track file instead: [position] source = "track"'
        )
    table = np.array([(fix.time_s, fix.lat_deg, fix.lon_deg, fix.accuracy_m) for fix in good], np.float64).T
    empty = np.empty(0)
    raw = RawFixes(
        table[0].copy(), table[1].copy(), table[2].copy(),
        speed_m_s=empty, accuracy_m=table[3].copy() if np.isfinite(table[3]).all() else empty, alt_m=empty,
        distance_m=empty, segment=np.empty(0, np.intp), report=TrackReport("EXIF", len(entries), notes=notes),
    )  # fmt: skip
    return timed, clean(raw, "EXIF")


def _clocks(track: Track, position: PositionConfig, folder: Path, notes: list[str]) -> tuple[float, Odometer | None]:
    """What is still to be added to the times of frames, and the odometer on the clock of the track, in its metres."""
    if position.odometer is None or position.source == "exif":
        # Positions in the images themselves are on no other clock.
        return 0.0, None
    odometer = read_odometer(inside(folder, position.odometer))
    wanted = position.time_offset_s == "estimate"
    try:
        delay = estimate_delay(track, odometer)
    except CalibrationError as error:
        if wanted:
            raise
        notes.append(f"the odometer is taken as exact, because its scale cannot be estimated: {error}")
        return 0.0, odometer.on_track(float(position.time_offset_s))
    if wanted:
        notes.append(
            f"track time less frame time: {delay.seconds:+.3f} s (standard uncertainty {delay.u_seconds:.3f} s), "
            f"estimated from the odometer, whose metre is {delay.scale:.4f} m"
        )
        return delay.seconds, odometer.on_track(delay.seconds, delay.scale)
    return 0.0, odometer.on_track(float(position.time_offset_s), delay.scale)


def _rules(position: PositionConfig) -> SmoothSettings:
    return SmoothSettings(
        max_gap_s=position.max_gap_s, max_gap_m=position.max_gap_m, max_bridge_s=position.max_bridge_s,
        accuracy_m=position.accuracy_m,
    )  # fmt: skip


def _poses(
    entries: Sequence[Entry], trajectory: Trajectory, position: PositionConfig, offset_s: float, *, by_counter: bool
) -> Poses:
    lever = LeverArm(*position.antenna_m)
    if position.source == "distance":
        distance = [np.nan if entry.distance_m is None else entry.distance_m for entry in entries]
        return trajectory.poses_at_distance(
            distance, by="counter" if by_counter else "travelled", lever_arm=lever
        )  # fmt: skip
    times = np.array([np.nan if entry.time_s is None else entry.time_s for entry in entries], np.float64)
    return trajectory.poses_at(times + offset_s, lever_arm=lever)


def _degrees(value: float, sides: str) -> str:
    return f"{abs(value):.5f} {sides[0] if value >= 0 else sides[1]}"


def _refuse_apart(entries: Sequence[Entry], poses: Poses, position: PositionConfig) -> None:
    """Raises InputError with what is probably wrong where no frame has a position."""
    raise InputError(
        f"{position.track or 'EXIF'}: none of {len(entries)} frames has a position on the track; the first, "
        f"{entries[0].key}: {poses.reason[0]}; check [position] time_scale, time_offset_s, max_gap_s and max_gap_m"
        if position.source != "distance"
        else f"{position.track}: none of {len(entries)} frames has a position on the track; the first, "
        f"{entries[0].key}: {poses.reason[0]}; check [position] distance_scale and distance_offset_m"
    )
