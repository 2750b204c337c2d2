"""Where the frames of a survey lie in the output, and which strip of road each of them answers for."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS

from crackmap.calibration.errors import CalibrationError, InputError
from crackmap.calibration.fit import plane_from_affine
from crackmap.calibration.plane import GroundPlane
from crackmap.pipeline.along import Drive, Routing
from crackmap.pipeline.config import LimitsConfig
from crackmap.pipeline.footprint import seen_polygon_m, visible_y_m
from crackmap.pipeline.frame_table import Frames, frames_of
from crackmap.pipeline.grounds import trust_limits
from crackmap.pipeline.listing import Entry, Skipped, View, by_recording, natural_key
from crackmap.pipeline.records import CoordinateKind, Frame, OutputFrame

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


@dataclass(frozen=True, slots=True)
class Layout:
    """Frames in place.

    Attributes:
        output: what the coordinates mean.
        frames: in survey order.
        skipped: frames that cannot be used, and why.
        notes: what was assumed.
        unplaced: frames whose position is not known; they are measured, and lie on no map.
        unplaced_why: why, of each.
        routing: how drives lie on the route; None where distance along the drive is all there is.
    """

    output: OutputFrame
    frames: Frames
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    unplaced: Sequence[Frame] = ()
    unplaced_why: tuple[str, ...] = ()
    routing: Routing | None = None


def place_on_road(entries: Sequence[Entry], planes: Mapping[View, GroundPlane], *, direction: str = "auto") -> Layout:
    """Frames along their chainage, recordings side by side.

    Args:
        entries: the frames.
        planes: the ground plane of each view.
        direction: of travel: "with" or "against" chainage; "auto" as the sequence in the names, or the time, says.

    Raises:
        InputError: no frame has a chainage.
        CalibrationError: no recording has visible road.
    """
    numbers = {name: number for number, name in enumerate(dict.fromkeys(entry.recording for entry in entries))}
    known, unknown = with_chainage(entries)
    signs = directions(known, direction)
    sign = np.array([signs[entry.recording] for entry in known], np.float64)
    chainage_m = np.array([entry.chainage_m for entry in known], np.float64)
    across_m = RECORDING_APART_M * np.array([numbers[entry.recording] for entry in known], np.float64)
    grounds = (planes.get(entry.view) for entry in known)
    azimuth_deg = np.where(sign > 0, 0.0, 180.0)
    frames = frames_of(known, grounds, np.column_stack([across_m, chainage_m]), azimuth_deg, sign * chainage_m)
    placed, blind = with_strips(frames.along_the_drive())
    notes = ["position known by chainage only: coordinates are offset and chainage, not a map"]
    drawn = len(list(placed.recordings()))
    if drawn > 1:
        notes.append(f"{drawn} recordings are drawn side by side, {RECORDING_APART_M:.0f} m apart")
    notes += [f"{name}: driven against increasing chainage" for name, sign in signs.items() if sign < 0]
    routing = Routing({name: straight_drive(sign) for name, sign in signs.items()}) if min(signs.values()) < 0 else None
    output = OutputFrame(CoordinateKind.ROAD, ROAD_WKT)
    return Layout(output, placed, (*unknown, *blind), tuple(notes), routing=routing)


def with_chainage(entries: Sequence[Entry]) -> tuple[list[Entry], list[Skipped]]:
    """The entries that have a chainage; and those that have none, and why.

    Raises:
        InputError: none has one.
    """
    known = [entry for entry in entries if entry.chainage_m is not None]
    if not known:
        raise InputError(
            f"{entries[0].key}: no chainage in its name, nor in that of any other image; "
            "check the group chainage_m of [frames] pattern"
        )
    return known, [(entry.key, "no chainage in its name") for entry in entries if entry.chainage_m is None]


def directions(known: Sequence[Entry], direction: str) -> dict[str, int]:
    """Recording -> 1 where the vehicle drove with increasing chainage, -1 where against it.

    "auto" asks whether chainage falls with the time or the sequence in most names of a recording; names that hold
    neither tell nothing, and count as with.
    """
    if direction != "auto":
        return {entry.recording: 1 if direction == "with" else -1 for entry in known}
    found: dict[str, int] = {}
    for recording, entries in by_recording(known).items():
        timed = all(entry.time_s is not None or entry.sequence for entry in entries)
        if not timed:
            found[recording] = 1
            continue
        if not all(before <= after for before, after in pairwise(map(_driven, entries))):
            entries.sort(key=_driven)
        rises = np.sign(np.diff([entry.chainage_m for entry in entries]))
        found[recording] = -1 if rises.sum() < 0 else 1
    return found


def _driven(entry: Entry) -> tuple[float, list[str | int], float]:
    return entry.time_s or 0.0, natural_key(entry.sequence), entry.chainage_m or 0.0


def straight_drive(sign: int) -> Drive:
    """A drive whose distance is the chainage itself, or runs against it."""
    return Drive(np.zeros(1), np.zeros(1), sign)


def place_rasters(entries: Sequence[Entry], limits: LimitsConfig) -> Layout:
    """Georeferenced rasters, each with its own ground plane.

    Raises:
        InputError: they are in different CRSs.
    """
    kept: list[Entry] = []
    grounds: list[GroundPlane] = []
    origins: list[tuple[float, float]] = []
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
                f"{entry.key}: expected the CRS of {kept[0].key}, got another; warp all rasters to one, e.g. gdalwarp"
            )
        a, b, _, d, e, _ = georeference.affine
        pixel_mm = 1e3 * max(float(np.hypot(a, d)), float(np.hypot(b, e)))
        plane, origin = plane_from_affine(
            georeference.affine, size_wh_px=entry.header.size_wh_px, limits=trust_limits(limits, pixel_mm=pixel_mm)
        )
        kept.append(entry)
        grounds.append(plane)
        origins.append(origin)
    frames = frames_of(kept, grounds, np.array(origins))
    return Layout(OutputFrame(CoordinateKind.MAP, crs_wkt), frames, tuple(skipped))


def place_on_sheet(entries: Sequence[Entry], planes: Mapping[View, GroundPlane], *, driven: bool) -> Layout:
    """Images one below the other; in metres where all have a ground plane, else in pixels.

    The sheet grows downwards from y = 0, so that images added at its end leave the others where they are.

    Args:
        entries: the frames.
        planes: the ground plane of each view.
        driven: the chainage in their names is the distance along the drive; else it is only their order.

    Raises:
        CalibrationError: no recording has visible road.
    """
    metric = all(entry.view in planes for entry in entries)
    used = planes if metric else {}
    seen: dict[View, _Extent] = {}
    blind: list[Skipped] = []
    shown: list[Entry] = []
    for stream, group in itertools.groupby(entries, key=lambda entry: entry.stream):
        members = list(group)
        try:
            for entry in members:
                if entry.view not in seen:
                    seen[entry.view] = _extent(entry, used.get(entry.view))
        except CalibrationError as error:
            blind += no_road(stream, [entry.key for entry in members], error)
        else:
            shown += members
    require_road(bool(shown), blind)
    left, low, high = np.array([seen[entry.view] for entry in shown]).T
    # One after the other, so that what lies above an image alone decides where it lies.
    tops = np.array([0.0, *itertools.accumulate(((1.0 + SHEET_GAP) * (low - high)).tolist())])[:-1]
    chainage_m = np.full(len(shown), np.nan)
    if driven:
        chainage_m[:] = [np.nan if entry.chainage_m is None else entry.chainage_m for entry in shown]
    grounds = (used.get(entry.view) for entry in shown)
    frames = frames_of(shown, grounds, np.column_stack([-left, tops - high]), chainage_m=chainage_m)
    kind = CoordinateKind.SHEET
    output = OutputFrame(kind, SHEET_WKT) if metric else PIXELS
    return Layout(output, frames, tuple(blind))


def with_strips(frames: Frames) -> tuple[Frames, list[Skipped]]:
    """The frames with the strip of road that each owns: from its nearest road to that of the next frame.

    Strips of a recording tile the road as long as the next frame begins where this one still sees; a strip ends where
    its frame's sight ends, and what lies between is missing. The last frame of a recording owns one median step.

    Args:
        frames: by stream, then along the drive.

    Returns:
        The frames, and those of recordings without visible road, with the reason.

    Raises:
        CalibrationError: no recording has visible road.
    """
    owns_y_m = np.full((len(frames), 2), np.nan)
    seeing = np.full(len(frames), True)
    blind: list[Skipped] = []
    chainage_m, sights = frames.chainage_m, dict[int, tuple[float, float]]()
    for stream, part in frames.streams():
        try:
            owns_y_m[part] = _strips(*frames.grounds(part), chainage_m[part], sights)
        except CalibrationError as error:
            seeing[part] = False
            blind += no_road(stream, frames.keys[part], error)
    require_road(bool(seeing.any()), blind)
    placed = frames.with_strips(owns_y_m)
    return (placed if seeing.all() else placed.take(seeing)), blind


def no_road(stream: tuple[str, str], keys: Sequence[str], error: CalibrationError) -> list[Skipped]:
    """The frames of a recording and camera that see no road, and why."""
    recording, camera = stream
    name = f"{recording}, camera {camera}" if camera else recording
    return [(key, f"no visible road for {name}: {error}") for key in keys]


def require_road(found: bool, blind: Sequence[Skipped]) -> None:
    """Raises CalibrationError if no frame is left because they see no road."""
    if blind and not found:
        raise CalibrationError(f"{len(blind)} images cannot be placed; the first, {blind[0][0]}: {blind[0][1]}")


def nowhere(entries: Sequence[Entry], planes: Mapping[View, GroundPlane]) -> Sequence[Frame]:
    """The frames of entries whose position is not known."""
    grounds = (planes.get(entry.view) for entry in entries)
    return frames_of(entries, grounds, np.zeros((len(entries), 2))) if entries else ()


def _strips(
    grounds: Sequence[GroundPlane | None],
    which: NDArray[np.intp],
    chainage_m: NDArray[np.float64],
    sights: dict[int, tuple[float, float]],
) -> NDArray[np.float64]:
    """(N, 2) strips of the frames of one stream, along the drive; nan where none can be told.

    `which` of the `grounds` each frame has; `sights` are what was found of planes before.
    """
    seeing = [plane for plane in grounds if plane is not None]
    if len(seeing) < len(grounds) or np.isnan(chainage_m).any():
        return np.full((len(chainage_m), 2), np.nan)
    for plane in seeing:
        if id(plane) not in sights:
            sights[id(plane)] = visible_y_m(plane)
    near, far = np.array([sights[id(plane)] for plane in seeing])[which].T
    # From the near edge of each strip to that of the next: also right where cameras see from different distances.
    steps = np.diff(chainage_m + near)
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
    return np.column_stack([starts, starts + lengths])


_Extent = tuple[float, float, float]


def _extent(entry: Entry, plane: GroundPlane | None) -> _Extent:
    """Left, low and high of what the frame shows, in ground metres or in pixels with y up."""
    _, height = entry.header.size_wh_px
    if plane is None:
        return 0.0, 0.0, float(height)
    limits = (-np.inf, np.inf)
    if not plane.is_affine:
        near, far = visible_y_m(plane)
        limits = (-np.inf, far) if far > near else (far, np.inf)
    seen = seen_polygon_m(plane, limits)
    if not len(seen):
        raise CalibrationError("ground plane: the limits leave no visible road; check [ground] and [limits]")
    (left, low), (_, high) = seen.min(axis=0), seen.max(axis=0)
    return float(left), float(low), float(high)
