"""Where the frames of a survey lie in the output, and which strip of road each of them answers for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from rasterio.crs import CRS

from crackmap.calibration.errors import CalibrationError, InputError
from crackmap.calibration.fit import plane_from_affine
from crackmap.calibration.plane import GroundPlane
from crackmap.pipeline.along import Drive, Routing
from crackmap.pipeline.config import LimitsConfig
from crackmap.pipeline.footprint import seen_polygon_m, visible_y_m
from crackmap.pipeline.grounds import trust_limits
from crackmap.pipeline.listing import Entry, Skipped, by_recording, natural_key
from crackmap.pipeline.records import CoordinateKind, Frame, OutputFrame, Placement

RECORDING_APART_M = 50.0
"""Recordings known only by their chainage are drawn side by side, this far apart."""

SHEET_GAP = 0.1
"""Space between the images of a sheet, as a share of the image below it."""

_AXES = 'CS[Cartesian,2],AXIS["{} (x)",east,ORDER[1]],AXIS["{} (y)",north,ORDER[2]],LENGTHUNIT["{}",1]]'
# GDAL (GeoPackage, GeoTIFF), PROJ and GeoParquet all take an engineering CRS in WKT2.
ROAD_WKT = 'ENGCRS["Road: offset to the right and chainage",EDATUM["Start of the route"],' + _AXES.format(
    "offset", "chainage", "metre"
)
SHEET_WKT = 'ENGCRS["Sheet: no position known",EDATUM["First image"],' + _AXES.format("right", "up", "metre")
SHEET_PX_WKT = 'ENGCRS["Sheet in pixels: no scale known",EDATUM["First image"],' + _AXES.format("right", "up", "pixel")

PIXELS = OutputFrame(CoordinateKind.SHEET, SHEET_PX_WKT, unit="px")
"""For what lies nowhere: an image in its own pixels."""

_Item = TypeVar("_Item", Entry, Frame)
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class Layout:
    """Frames in place.

    Attributes:
        output: what the coordinates mean.
        frames: in survey order.
        skipped: frames that cannot be used, and why.
        notes: what was assumed.
        unplaced: frames whose position is not known, and why; they are measured, and lie on no map.
        routing: how drives lie on the route; None where distance along the drive is all there is.
    """

    output: OutputFrame
    frames: tuple[Frame, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    unplaced: tuple[tuple[Frame, str], ...] = ()
    routing: Routing | None = None


def place_on_road(entries: Sequence[Entry], planes: Mapping[str, GroundPlane], *, direction: str = "auto") -> Layout:
    """Frames along their chainage, recordings side by side.

    Args:
        entries: the frames.
        planes: key -> ground plane.
        direction: of travel: "with" or "against" chainage; "auto" as the sequence in the names, or the time, says.

    Raises:
        InputError: no frame has a chainage.
        CalibrationError: no recording has visible road.
    """
    numbers = {name: number for number, name in enumerate(dict.fromkeys(entry.recording for entry in entries))}
    known, unknown = with_chainage(entries)
    signs = directions(known, direction)
    frames = [
        frame_of(
            entry,
            Placement((RECORDING_APART_M * numbers[entry.recording], chainage), 0.0 if sign > 0 else 180.0),
            planes.get(entry.key),
            drive_m=sign * chainage,
        )
        for entry, chainage, sign in ((entry, chainage, signs[entry.recording]) for entry, chainage in known)
    ]
    placed, blind = with_strips(in_order(frames))
    notes = ["position known by chainage only: coordinates are offset and chainage, not a map"]
    drawn = len({frame.recording for frame in placed})
    if drawn > 1:
        notes.append(f"{drawn} recordings are drawn side by side, {RECORDING_APART_M:.0f} m apart")
    notes += [f"{name}: driven against increasing chainage" for name, sign in signs.items() if sign < 0]
    routing = Routing({name: straight_drive(sign) for name, sign in signs.items()}) if min(signs.values()) < 0 else None
    output = OutputFrame(CoordinateKind.ROAD, ROAD_WKT)
    return Layout(output, placed, (*unknown, *blind), tuple(notes), routing=routing)


def with_chainage(entries: Sequence[Entry]) -> tuple[list[tuple[Entry, float]], list[Skipped]]:
    """The entries that have a chainage, with it; and those that have none, and why.

    Raises:
        InputError: none has one.
    """
    known = [(entry, entry.chainage_m) for entry in entries if entry.chainage_m is not None]
    if not known:
        raise InputError(
            f"{entries[0].key}: no chainage in its name, nor in that of any other image; "
            "check the group chainage_m of [frames] pattern"
        )
    return known, [(entry.key, "no chainage in its name") for entry in entries if entry.chainage_m is None]


def directions(known: Sequence[tuple[Entry, float]], direction: str) -> dict[str, int]:
    """Recording -> 1 where the vehicle drove with increasing chainage, -1 where against it.

    "auto" asks whether chainage falls with the time or the sequence in most names of a recording; names that hold
    neither tell nothing, and count as with.
    """
    if direction != "auto":
        return {entry.recording: 1 if direction == "with" else -1 for entry, _ in known}
    found: dict[str, int] = {}
    # `known` are those whose chainage is known.
    for recording, entries in by_recording(entry for entry, _ in known).items():
        timed = all(entry.time_s is not None or entry.sequence for entry in entries)
        entries.sort(key=lambda entry: (entry.time_s or 0.0, natural_key(entry.sequence), entry.chainage_m or 0.0))
        rises = np.sign(np.diff([entry.chainage_m for entry in entries]))
        found[recording] = -1 if timed and rises.sum() < 0 else 1
    return found


def straight_drive(sign: int) -> Drive:
    """A drive whose distance is the chainage itself, or runs against it."""
    return Drive(np.zeros(1), np.zeros(1), sign)


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
        frames.append(frame_of(entry, Placement(origin), plane))
    return Layout(OutputFrame(CoordinateKind.MAP, crs_wkt), tuple(frames), tuple(skipped))


def place_on_sheet(entries: Sequence[Entry], planes: Mapping[str, GroundPlane]) -> Layout:
    """Images one below the other; in metres where all have a ground plane, else in pixels.

    The sheet grows downwards from y = 0, so that images added at its end leave the others where they are.

    Raises:
        CalibrationError: no recording has visible road.
    """
    metric = all(entry.key in planes for entry in entries)
    used = planes if metric else {}
    extents, blind = _by_stream(
        entries, lambda group: [(entry, _extent(entry, used.get(entry.key))) for entry in group]
    )
    frames: list[Frame] = []
    top = 0.0
    for entry, (left, low, _, high) in extents:
        frames.append(frame_of(entry, Placement((-left, top - high)), used.get(entry.key), drive_m=entry.chainage_m))
        top -= (1.0 + SHEET_GAP) * (high - low)
    kind = CoordinateKind.SHEET
    output = OutputFrame(kind, SHEET_WKT) if metric else PIXELS
    return Layout(output, tuple(frames), tuple(blind))


def in_order(frames: Sequence[Frame]) -> list[Frame]:
    """Frames by stream, then along the drive; equal ones keep their order. Recordings stay in theirs."""
    rank = {name: number for number, name in enumerate(dict.fromkeys(frame.recording for frame in frames))}
    return sorted(frames, key=lambda frame: (rank[frame.recording], frame.camera, frame.chainage_m or 0.0))


def with_strips(frames: Sequence[Frame]) -> tuple[tuple[Frame, ...], list[Skipped]]:
    """The frames with the strip of road that each owns: from its nearest road to that of the next frame.

    Strips of a recording tile the road as long as the next frame begins where this one still sees; a strip ends where
    its frame's sight ends, and what lies between is missing. The last frame of a recording owns one median step.

    Returns:
        The frames, and those of recordings without visible road, with the reason.

    Raises:
        CalibrationError: no recording has visible road.
    """
    result, blind = _by_stream(frames, _strips_of_stream)
    return tuple(result), blind


def frame_of(entry: Entry, placement: Placement, plane: GroundPlane | None, *, drive_m: float | None = None) -> Frame:
    """The frame of an entry; `drive_m` is its distance along the drive."""
    return Frame(
        key=entry.key,
        path=entry.path,
        size_wh_px=entry.header.size_wh_px,
        recording=entry.recording,
        placement=placement,
        chainage_m=drive_m,
        ground=plane,
        time_s=entry.time_s,
        camera=entry.camera,
        lane=entry.lane,
    )


def _by_stream(items: Sequence[_Item], work: Callable[[list[_Item]], list[_Made]]) -> tuple[list[_Made], list[Skipped]]:
    """What `work` makes of each recording and camera, in order; the items of those it finds no road for, and why."""
    made: list[_Made] = []
    skipped: list[Skipped] = []
    for (recording, camera), group in itertools.groupby(items, key=lambda item: item.stream):
        members = list(group)
        try:
            made += work(members)
        except CalibrationError as error:
            name = f"{recording}, camera {camera}" if camera else recording
            skipped += [(item.key, f"no visible road for {name}: {error}") for item in members]
    if skipped and not made:
        raise CalibrationError(f"{len(skipped)} images cannot be placed; the first, {skipped[0][0]}: {skipped[0][1]}")
    return made, skipped


def _strips_of_stream(frames: list[Frame]) -> list[Frame]:
    if any(frame.ground is None or frame.chainage_m is None for frame in frames):
        return frames
    sights: dict[int, tuple[float, float]] = {}
    for frame in frames:
        if frame.ground is not None and id(frame.ground) not in sights:
            sights[id(frame.ground)] = visible_y_m(frame.ground)
    near, far = (np.array([sights[id(frame.ground)][side] for frame in frames]) for side in (0, 1))
    chainage = np.array([frame.chainage_m for frame in frames], np.float64)
    # From the near edge of each strip to that of the next: also right where cameras see from different distances.
    steps = np.diff(chainage + near)
    forward = steps[steps > 0]
    lone = float(np.median(forward)) if len(forward) else float(np.abs(far - near)[0])
    # A camera that looks ahead owns the road up to where the next frame begins; one that looks back, the road from
    # where the frame before began.
    ahead = far > near
    lengths = np.maximum(np.where(ahead, np.append(steps, lone), np.insert(steps, 0, lone)), 0.0)
    sight = np.abs(far - near)
    # An image whose length equals the step must not lose it to rounding.
    lengths = np.where(lengths <= sight + 1e-5, lengths, sight)
    starts = np.where(ahead, near, near - lengths)
    strips = zip(frames, starts.tolist(), (starts + lengths).tolist(), strict=True)
    return [replace(frame, owns_y_m=(start, end)) for frame, start, end in strips]


def _extent(entry: Entry, plane: GroundPlane | None) -> tuple[float, float, float, float]:
    """Left, low, right, high of what the frame shows, in ground metres or in pixels with y up."""
    width, height = entry.header.size_wh_px
    if plane is None:
        return 0.0, 0.0, float(width), float(height)
    limits = (-np.inf, np.inf)
    if not plane.is_affine:
        near, far = visible_y_m(plane)
        limits = (-np.inf, far) if far > near else (far, np.inf)
    seen = seen_polygon_m(plane, limits)
    if not len(seen):
        raise CalibrationError("ground plane: the limits leave no visible road; check [ground] and [limits]")
    (left, low), (right, high) = seen.min(axis=0), seen.max(axis=0)
    return float(left), float(low), float(right), float(high)
