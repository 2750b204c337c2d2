"""Frames and a route: placed on its line by their chainage, or given a chainage by their place."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from crackmap.calibration.errors import InputError
from crackmap.calibration.plane import GroundPlane
from crackmap.calibration.route import Route, leaves, read_calibration_points, read_route, travel_direction
from crackmap.pipeline.along import Drive, Routing
from crackmap.pipeline.config import RouteConfig
from crackmap.pipeline.frame_table import Frames, frames_of
from crackmap.pipeline.grounds import inside
from crackmap.pipeline.listing import Entry, Skipped, View, by_recording
from crackmap.pipeline.placing import Layout, directions, straight_drive, with_chainage, with_strips
from crackmap.pipeline.records import CoordinateKind, OutputFrame
from crackmap.stages.records import FloatArray


def survey_route(route: RouteConfig, folder: Path, crs: str | None) -> Route:
    """The route that survey.toml names, in the CRS of the products.

    Raises:
        InputError: it cannot be read, or is no single line.
    """
    points = (
        () if route.calibration_points is None else read_calibration_points(inside(folder, route.calibration_points))
    )
    return read_route(
        inside(folder, route.file or ""), layer=route.layer, name=route.name, crs=crs, start_m=route.start_m,
        reverse=route.reverse, calibration_points=points,
    )  # fmt: skip


def place_on_route(
    entries: Sequence[Entry], planes: Mapping[View, GroundPlane], config: RouteConfig, route: Route
) -> Layout:
    """Frames on the map, by the chainage in their names and the line of the route.

    Raises:
        InputError: no frame has a chainage on the route.
        CalibrationError: no recording has visible road.
    """
    known, skipped = with_chainage(entries)
    signs = directions(known, config.direction)
    first, last = route.extent_m
    chainage_m = np.array([entry.chainage_m for entry in known], np.float64)
    on = (first - 1e-6 <= chainage_m) & (chainage_m <= last + 1e-6)
    skipped += [
        (known[place].key, f"chainage {chainage_m[place]:.1f} m is not on the route ({first:.1f} to {last:.1f} m)")
        for place in np.flatnonzero(~on).tolist()
    ]
    drives = {name: straight_drive(sign) for name, sign in signs.items()}
    found: list[Entry] = []
    parts: list[tuple[FloatArray, FloatArray, FloatArray]] = []
    for recording, members in by_recording(itertools.compress(known, on)).items():
        sign, chainage = signs[recording], np.array([entry.chainage_m for entry in members], np.float64)
        drives[recording] = drive = _drive_along(chainage, sign, config, route)
        xy, azimuth = route.frame_at(chainage, config.offset_m, direction=sign)
        parts.append((xy, azimuth, np.interp(sign * chainage, sign * drive.chainage_m, drive.drive_m)))
        found += members
    if not found:
        raise InputError(
            f"{route.name}: no frame lies on the route; the first, {skipped[0][0]}: {skipped[0][1]}; check [route] "
            "start_m and calibration_points, and [position] chainage_scale"
        )
    columns = (np.concatenate(column) for column in zip(*parts, strict=True))
    frames = frames_of(found, (planes.get(entry.view) for entry in found), *columns)
    placed, blind = with_strips(frames.along_the_drive())
    routing = Routing(drives, route)
    notes = (
        f"placed on the line of {route.name} by chainage: across the road as exact as the vehicle kept to "
        f"{config.offset_m:+.2f} m from it",
        *(f"{name}: driven against increasing chainage" for name, sign in signs.items() if sign < 0),
    )
    return Layout(OutputFrame(CoordinateKind.MAP, route.crs_wkt), placed, (*skipped, *blind), notes, routing=routing)


def _drive_along(chainage_m: FloatArray, sign: int, config: RouteConfig, route: Route) -> Drive:
    """The drive of a recording along the line, in metres on the ground between its frames.

    Metres of chainage differ: kilometre posts stretch them, and bends driven at an offset shorten them.
    """
    chainage = sign * np.unique(sign * chainage_m)
    places = route.point_at(chainage, config.offset_m)
    steps = np.hypot(*np.diff(places, axis=0).T) if len(places) > 1 else np.empty(0)
    return Drive(np.concatenate([[0.0], np.cumsum(steps)]), chainage, sign)


def routed(layout: Layout, config: RouteConfig, route: Route) -> Layout:
    """A layout on the map with the chainage of its recordings along a route; what lies off the route is cut off.

    Raises:
        InputError: no frame is on the route, or a recording turns round on it.
    """
    skipped: list[Skipped] = []
    notes: list[str] = []
    drives: dict[str, Drive] = {}
    on = np.full(len(layout.frames), True)
    for recording, part in layout.frames.recordings():
        members = np.arange(len(layout.frames))[part]
        members = members[np.argsort(np.nan_to_num(layout.frames.chainage_m[part]), kind="stable")]
        lost, drive = _follow(recording, layout.frames.take(members), config, route, notes)
        skipped += lost
        gone = {key for key, _ in lost}
        on[part] = [key not in gone for key in layout.frames.keys[part]]
        if drive is not None:
            drives[recording] = drive
    if not on.any():
        raise InputError(
            f"{route.name}: no frame is on the route; the first, {skipped[0][0]}: {skipped[0][1]}; is it the right "
            "line, and are its coordinates in the CRS that the file says?"
        )
    # Strips again: one must not reach over road that has been cut off.
    placed, blind = with_strips(layout.frames.take(on))
    return replace(
        layout,
        frames=placed,
        skipped=(*layout.skipped, *skipped, *blind),
        notes=(*layout.notes, *notes),
        routing=Routing(drives, route),
    )


def _follow(
    recording: str, frames: Frames, config: RouteConfig, route: Route, notes: list[str]
) -> tuple[list[Skipped], Drive | None]:
    """The frames of one recording, along the drive, that are off the route, and why; and the drive of the others."""
    keys, drive_m = frames.keys, frames.chainage_m
    located = route.follow(frames.origin_xy, travelled_m=drive_m)
    on = np.full(len(frames), True)
    skipped: list[Skipped] = []
    for leave in leaves(located, max_offset_m=config.max_offset_m):
        on[leave.first : leave.last + 1] = False
        skipped += [(key, leave.reason) for key in keys[leave.first : leave.last + 1]]
        notes.append(f"{recording}, {keys[leave.first]}: {leave.reason}: cut off")
    if not on.any():
        return skipped, None
    chainage = located.chainage_m[on]
    travel = travel_direction(chainage)
    if travel.turns:
        turn = keys[int(np.flatnonzero(on)[travel.turns[0]])]
        raise InputError(
            f"{recording}: the vehicle turns round on the route at {turn}, so that its sections would "
            "mix two drives; put the images before and after it into two folders, or two recordings of [frames] pattern"
        )
    sign = travel.direction or (1 if chainage[-1] >= chainage[0] else -1)
    if config.direction != "auto" and sign != (1 if config.direction == "with" else -1):
        raise InputError(
            f'{recording}: [route] direction = "{config.direction}", but by its positions the vehicle drove '
            'the other way; write direction = "auto", or reverse = true if the line is drawn the wrong way round'
        )
    if sign < 0:
        notes.append(f"{recording}: driven against increasing chainage")
    _, first = np.unique(drive_m[on], return_index=True)
    return skipped, Drive(drive_m[on][first], chainage[first], sign)
