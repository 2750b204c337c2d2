"""Where the frames of a survey lie in the output, and which strip of road each of them answers for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from rasterio.crs import CRS

from crackmap.calibration.errors import CalibrationError, InputError
from crackmap.calibration.fit import plane_from_affine
from crackmap.calibration.plane import GroundPlane
from crackmap.calibration.track import read_track_csv
from crackmap.pipeline.config import LimitsConfig, PositionConfig
from crackmap.pipeline.grounds import trust_limits
from crackmap.pipeline.listing import Entry, Skipped
from crackmap.pipeline.records import CoordinateKind, Frame, OutputFrame, Placement

RECORDING_APART_M = 50.0
"""Recordings known only by their chainage are drawn side by side, this far apart."""

SHEET_GAP = 0.1
"""Space between the images of a sheet, as a share of the image below it."""

FARTHEST_M = 200.0
"""No camera measures cracks beyond this; the search for the end of the visible road stops here."""

_AXES = 'CS[Cartesian,2],AXIS["{} (x)",east,ORDER[1]],AXIS["{} (y)",north,ORDER[2]],LENGTHUNIT["{}",1]]'
# GDAL (GeoPackage, GeoTIFF), PROJ and GeoParquet all take an engineering CRS in WKT2.
ROAD_WKT = 'ENGCRS["Road: offset to the right and chainage",EDATUM["Start of the route"],' + _AXES.format(
    "offset", "chainage", "metre"
)
SHEET_WKT = 'ENGCRS["Sheet: no position known",EDATUM["First image"],' + _AXES.format("right", "up", "metre")
SHEET_PX_WKT = 'ENGCRS["Sheet in pixels: no scale known",EDATUM["First image"],' + _AXES.format("right", "up", "pixel")

_Item = TypeVar("_Item", Entry, Frame)
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class Layout:
    """Frames in place.

    Attributes:
        output: what the coordinates mean.
        frames: in survey order.
        skipped: frames without a place, and why.
        notes: what was assumed.
    """

    output: OutputFrame
    frames: tuple[Frame, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()


def place_on_road(entries: Sequence[Entry], planes: Mapping[str, GroundPlane]) -> Layout:
    """Frames along their chainage, recordings side by side.

    Raises:
        InputError: no frame has a chainage.
        CalibrationError: no recording has visible road.
    """
    numbers = {name: number for number, name in enumerate(dict.fromkeys(entry.recording for entry in entries))}
    unknown = [(entry.key, "no chainage in its name") for entry in entries if entry.chainage_m is None]
    if len(unknown) == len(entries):
        raise InputError(
            f"{entries[0].key}: no chainage in its name, nor in that of any other image; "
            "check the group chainage_m of [frames] pattern"
        )
    frames, blind = with_strips([
        _frame(
            entry,
            Placement((RECORDING_APART_M * numbers[entry.recording], entry.chainage_m)),
            planes.get(entry.key),
        )
        for entry in entries
        if entry.chainage_m is not None
    ])  # fmt: skip
    notes = ["position known by chainage only: coordinates are offset and chainage, not a map"]
    drawn = len({frame.recording for frame in frames})
    if drawn > 1:
        notes.append(f"{drawn} recordings are drawn side by side, {RECORDING_APART_M:.0f} m apart")
    return Layout(OutputFrame(CoordinateKind.ROAD, ROAD_WKT), frames, (*unknown, *blind), tuple(notes))


def place_on_track(
    entries: Sequence[Entry], planes: Mapping[str, GroundPlane], position: PositionConfig, folder: Path
) -> Layout:
    """Frames on the map, by the time in their names and a track.

    Raises:
        InputError: the track cannot be read, or no frame falls on it.
        CalibrationError: no recording has visible road.
    """
    columns = {name: value for name, value in position.columns.model_dump().items() if value is not None}
    track = read_track_csv(folder / (position.track or ""), columns=columns)
    projected = track.project()
    times = np.array([np.nan if entry.time_s is None else entry.time_s for entry in entries], np.float64)
    xy, azimuth, chainage = projected.at(times, max_gap_s=position.max_gap_s)
    known = np.isfinite(xy).all(axis=1) & np.isfinite(azimuth)
    if not known.any():
        raise InputError(
            f"{position.track}: no frame falls on the track, which lasts from {track.time_s[0]:.3f} to "
            f"{track.time_s[-1]:.3f} s, the frames from {np.nanmin(times, initial=np.inf):.3f} to "
            f"{np.nanmax(times, initial=-np.inf):.3f} s; check [position] time_scale and time_offset_s"
        )
    frames = []
    for index in np.flatnonzero(known).tolist():
        place = Placement((float(xy[index, 0]), float(xy[index, 1])), float(azimuth[index]))
        frame = _frame(entries[index], place, planes.get(entries[index].key))
        frames.append(replace(frame, chainage_m=float(chainage[index])))
    reason = f"no position within {position.max_gap_s:g} s"
    off_track = [(entries[index].key, reason) for index in np.flatnonzero(~known).tolist()]
    placed, blind = with_strips(frames)
    notes = (f"{track.dropped} rows of {position.track} hold no usable fix",) if track.dropped else ()
    return Layout(OutputFrame(CoordinateKind.MAP, projected.crs_wkt), placed, (*off_track, *blind), notes)


def place_rasters(entries: Sequence[Entry], limits: LimitsConfig) -> Layout:
    """Georeferenced rasters, each with its own ground plane.

    Raises:
        InputError: they are in different CRSs.
    """
    frames: list[Frame] = []
    skipped: list[Skipped] = []
    crs_wkt = ""
    for entry in entries:
        georeference = entry.header.georeference
        if georeference is None:
            skipped.append((entry.key, entry.header.note or "it is not georeferenced, other images of the survey are"))
            continue
        crs_wkt = crs_wkt or georeference.crs_wkt
        if CRS.from_wkt(georeference.crs_wkt) != CRS.from_wkt(crs_wkt):
            raise InputError(
                f"{entry.key}: expected the CRS of {frames[0].key}, got another; warp all rasters to one, e.g. gdalwarp"
            )
        a, b, _, d, e, _ = georeference.affine
        pixel_mm = 1e3 * max(float(np.hypot(a, d)), float(np.hypot(b, e)))
        plane, origin = plane_from_affine(
            georeference.affine, size_wh_px=entry.header.size_wh_px, limits=trust_limits(limits, pixel_mm=pixel_mm)
        )
        frames.append(_frame(entry, Placement(origin), plane))
    return Layout(OutputFrame(CoordinateKind.MAP, crs_wkt), tuple(frames), tuple(skipped))


def place_on_sheet(entries: Sequence[Entry], planes: Mapping[str, GroundPlane]) -> Layout:
    """Images one below the other; in metres where all have a ground plane, else in pixels.

    The sheet grows downwards from y = 0, so that images added at its end leave the others where they are.

    Raises:
        CalibrationError: no recording has visible road.
    """
    metric = all(entry.key in planes for entry in entries)
    used = planes if metric else {}
    extents, blind = _by_recording(
        entries, lambda group: [(entry, _extent(entry, used.get(entry.key))) for entry in group]
    )
    frames: list[Frame] = []
    top = 0.0
    for entry, (left, low, _, high) in extents:
        frames.append(_frame(entry, Placement((-left, top - high)), used.get(entry.key)))
        top -= (1.0 + SHEET_GAP) * (high - low)
    kind = CoordinateKind.SHEET
    output = OutputFrame(kind, SHEET_WKT) if metric else OutputFrame(kind, SHEET_PX_WKT, unit="px")
    return Layout(output, tuple(frames), tuple(blind))


def with_strips(frames: Sequence[Frame]) -> tuple[tuple[Frame, ...], list[Skipped]]:
    """The frames with the strip of road that each owns: from its nearest road to that of the next frame.

    Strips of a recording tile the road as long as the next frame begins where this one still sees; a strip ends where
    its frame's sight ends, and what lies between is missing. The last frame of a recording owns one median step.

    Returns:
        The frames, and those of recordings without visible road, with the reason.

    Raises:
        CalibrationError: no recording has visible road.
    """
    result, blind = _by_recording(frames, _strips_of_recording)
    return tuple(result), blind


def visible_y_m(plane: GroundPlane) -> tuple[float, float]:
    """Nearest and farthest ground y that a frame can answer for.

    The nearest is seen over the whole width of the image, rounded up to 0.1 m so that frames of nearly the same view
    begin alike; the farthest lies on the last image row within the trust limits, in the middle of the road.

    Raises:
        CalibrationError: the trust limits leave no visible road.
    """
    width, height = plane.size_wh_px
    bottom = plane.to_ground_xy_m([(0, height), (width, height)])
    top = plane.to_ground_xy_m([(width / 2, 0)])[0, 1]
    near = float(np.ceil(bottom[:, 1].max() * 10 - 1e-6) / 10)
    lateral = plane.limits.lateral_m
    x = float(bottom[:, 0].mean()) if lateral is None else (lateral[0] + lateral[1]) / 2

    def seen(y: float) -> bool:
        pixel = plane.to_pixel_xy([(x, y)])
        inside = (pixel >= -1e-6).all() and pixel[0, 0] <= width + 1e-6 and pixel[0, 1] <= height + 1e-6
        return bool(inside and plane.trusted(pixel)[0])

    step = (float(top) if near < top < near + FARTHEST_M else near + FARTHEST_M) / 1000 - near / 1000
    if not (np.isfinite(near) and seen(near + 1e-6)):
        raise CalibrationError(
            "ground plane: nothing at the bottom of the image lies within the trust limits; check [ground], and "
            "[limits] coarsest_gsd_mm, lateral_m and farthest_m"
        )
    low = near + 1e-6
    while low < near + FARTHEST_M and seen(low + step):
        low += step
    high = low + step
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if seen(middle) else (low, middle)
    return near, low


def _frame(entry: Entry, placement: Placement, plane: GroundPlane | None) -> Frame:
    return Frame(
        key=entry.key,
        path=entry.path,
        size_wh_px=entry.header.size_wh_px,
        recording=entry.recording,
        placement=placement,
        chainage_m=entry.chainage_m,
        ground=plane,
        time_s=entry.time_s,
    )


def _by_recording(
    items: Sequence[_Item], work: Callable[[list[_Item]], list[_Made]]
) -> tuple[list[_Made], list[Skipped]]:
    """What `work` makes of each recording, in order; the items of recordings it finds no visible road for, and why."""
    made: list[_Made] = []
    skipped: list[Skipped] = []
    for recording, group in itertools.groupby(items, key=lambda item: item.recording):
        members = list(group)
        try:
            made += work(members)
        except CalibrationError as error:
            skipped += [(item.key, f"no visible road for {recording}: {error}") for item in members]
    if skipped and not made:
        raise CalibrationError(f"{len(skipped)} images cannot be placed; the first, {skipped[0][0]}: {skipped[0][1]}")
    return made, skipped


def _strips_of_recording(frames: list[Frame]) -> list[Frame]:
    if any(frame.ground is None or frame.chainage_m is None for frame in frames):
        return frames
    sights: dict[int, tuple[float, float]] = {}
    for frame in frames:
        if frame.ground is not None and id(frame.ground) not in sights:
            sights[id(frame.ground)] = visible_y_m(frame.ground)
    near, far = (np.array([sights[id(frame.ground)][side] for frame in frames]) for side in (0, 1))
    chainage = np.array([frame.chainage_m for frame in frames], np.float64)
    # From the start of each strip to the start of the next: also right where two cameras see from different distances.
    steps = np.diff(chainage + near)
    forward = steps[steps > 0]
    last = float(np.median(forward)) if len(forward) else float(far[-1] - near[-1])
    ends = near + np.maximum(np.append(steps, last), 0.0)
    # An image whose length equals the step must not lose it to rounding.
    ends = np.where(ends <= far + 1e-5, ends, far)
    return [
        replace(frame, owns_y_m=(float(start), float(end)))
        for frame, start, end in zip(frames, near, ends, strict=True)
    ]


def _extent(entry: Entry, plane: GroundPlane | None) -> tuple[float, float, float, float]:
    """Left, low, right, high of what the frame shows, in ground metres or in pixels with y up."""
    width, height = entry.header.size_wh_px
    if plane is None:
        return 0.0, 0.0, float(width), float(height)
    corners = [(0.0, 0.0), (width, 0.0), (0.0, height), (width, height)]
    if plane.ground_from_pixel[2, :2].any():
        _, far = visible_y_m(plane)
        middle = float(plane.to_ground_xy_m([(width / 2, height)])[0, 0])
        row = float(plane.to_pixel_xy([(middle, far)])[0, 1])
        corners[:2] = [(0.0, row), (width, row)]
    ground = plane.to_ground_xy_m(corners)
    (left, low), (right, high) = ground.min(axis=0), ground.max(axis=0)
    if plane.limits.lateral_m is not None:
        left, right = max(left, plane.limits.lateral_m[0]), min(right, plane.limits.lateral_m[1])
    return float(left), float(low), float(right), float(high)
