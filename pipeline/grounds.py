"""The ground plane of every frame, by the method that [ground] of survey.toml names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import CalibrationError, InputError, UnreadableImageError
from crackmap.calibration.fit import fit_lane_view, plane_from_lane, plane_from_points
from crackmap.calibration.mount import Mount, plane_from_mount
from crackmap.calibration.plane import GroundLimits, GroundPlane
from crackmap.calibration.store import Calibration, read_calibration
from crackmap.pipeline.config import CameraConfig, GroundConfig, LimitsConfig
from crackmap.pipeline.footprint import seen_polygon_m, visible_y_m
from crackmap.pipeline.images import open_image
from crackmap.pipeline.listing import Entry, Skipped, View, by_recording

LANE_UNCERTAINTY_PERCENT = 3.0
"""Scale from a lane of nominal width: lanes of one class of road differ by a decimetre or so."""

MOST_OVERLAP = 0.6
"""Cameras side by side overlap by a margin; two whose ranges share more than this of the narrower see the same road."""

MOST_MASKS = 60
"""Lane masks read per recording: the median of 60 moves by less than a pixel when more are added."""


@dataclass(slots=True)
class Grounds:
    """Ground planes of a survey.

    Attributes:
        planes: recording, camera and size -> plane; no entry where nothing says how large a pixel is.
        skipped: frames that cannot have the plane of their recording.
        notes: how the planes came about.
    """

    planes: dict[View, GroundPlane] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def trust_limits(limits: LimitsConfig, *, pixel_mm: float | None = None) -> GroundLimits:
    """The limits of a plane: those configured; the coarsest GSD else twice the pixel of a downward image, or 50 mm."""
    coarsest = limits.coarsest_gsd_mm
    if coarsest is None:
        coarsest = GroundLimits().coarsest_gsd_mm if pixel_mm is None else 2.0 * pixel_mm
    return GroundLimits(coarsest, limits.lateral_m, limits.farthest_m, limits.nearest_m)


def find_grounds(
    entries: Sequence[Entry],
    ground: GroundConfig,
    limits: LimitsConfig,
    *,
    cameras: Mapping[str, CameraConfig] | None = None,
    folder: Path = Path(),
    gsd_mm: float | tuple[float, float] | None = None,
) -> Grounds:
    """The ground planes of all frames.

    Args:
        entries: the frames.
        ground: the method and its numbers, where there is one camera.
        limits: where planes are trusted, where there is one camera.
        cameras: each with its own method and limits, where there are several.
        folder: of the survey, where calibration files are looked for.
        gsd_mm: given by the user for this run: goes before `ground`.

    Raises:
        CalibrationError: no plane can be made for any recording, or two cameras see the same road.
    """
    if not cameras or gsd_mm is not None:
        return _of_camera(entries, ground, limits, folder, gsd_mm)
    result = Grounds()
    for name, camera in cameras.items():
        own = [entry for entry in entries if entry.camera == name]
        if own:
            found = _of_camera(own, camera.ground, camera.limits, folder, None)
            result.planes |= found.planes
            result.skipped += found.skipped
            result.notes += [f"camera {name}: {note}" for note in found.notes]
    return share_road(entries, result)


def _of_camera(
    entries: Sequence[Entry],
    ground: GroundConfig,
    limits: LimitsConfig,
    folder: Path,
    gsd_mm: float | tuple[float, float] | None,
) -> Grounds:
    calibration = None
    if ground.calibration is not None and gsd_mm is None:
        calibration = read_calibration(inside(folder, ground.calibration))
    result = _find(entries, ground, limits, calibration, gsd_mm)
    percent = ground.scale_uncertainty_percent
    if percent is None and gsd_mm is None and ground.method == "lane":
        percent = LANE_UNCERTAINTY_PERCENT
    if percent is not None:
        vague = {id(plane): replace(plane, u_scale=percent / 100) for plane in result.planes.values()}
        # Frames of one recording go on sharing one plane: strips are planned once for each.
        result.planes = {view: vague[id(plane)] for view, plane in result.planes.items()}
    return result


def _find(
    entries: Sequence[Entry],
    ground: GroundConfig,
    limits: LimitsConfig,
    calibration: Calibration | None,
    gsd_mm: float | tuple[float, float] | None,
) -> Grounds:
    pixel_mm = gsd_mm if gsd_mm is not None else ground.gsd_mm if ground.method == "gsd" else None
    if pixel_mm is not None and calibration is None:
        trust = trust_limits(limits, pixel_mm=float(np.max(pixel_mm)))
        sizes = {entry.header.size_wh_px for entry in entries}
        made = {size: GroundPlane.from_gsd(gsd_mm=pixel_mm, size_wh_px=size, limits=trust) for size in sizes}
        return Grounds({entry.view: made[entry.header.size_wh_px] for entry in entries})
    if ground.method == "none":
        return Grounds()
    result = Grounds()
    failures: list[CalibrationError] = []
    for recording, group in by_recording(entries).items():
        try:
            _of_recording(recording, group, ground, limits, calibration, result)
        except CalibrationError as error:
            failures.append(error)
            result.skipped += [(entry.key, f"no ground plane for {recording}: {error}") for entry in group]
    if not result.planes:
        raise failures[0]
    # One file, one plane: recordings share it.
    same: dict[tuple[bytes, tuple[int, int]], GroundPlane] = {}
    result.planes = {
        view: same.setdefault((plane.ground_from_pixel.tobytes(), plane.size_wh_px), plane)
        for view, plane in result.planes.items()
    }
    return result


def _of_recording(
    recording: str,
    entries: list[Entry],
    ground: GroundConfig,
    limits: LimitsConfig,
    calibration: Calibration | None,
    result: Grounds,
) -> None:
    size = Counter(entry.header.size_wh_px for entry in entries).most_common(1)[0][0]
    fitting = [entry for entry in entries if entry.header.size_wh_px == size]
    if calibration is not None and calibration.size_wh_px != size:
        raise CalibrationError(
            f"{ground.calibration}: is for images of {calibration.size_wh_px[0]} x {calibration.size_wh_px[1]} px, "
            f"those of {recording} have {size[0]} x {size[1]}; calibrate at the size the survey is taken in"
        )
    plane = _plane(recording, fitting, size, ground, limits, calibration, result)
    result.planes |= {entry.view: plane for entry in fitting}
    result.skipped += [
        (entry.key, f"its size {entry.header.size_wh_px} differs from {size} of the other frames of {recording}")
        for entry in entries
        if entry.header.size_wh_px != size
    ]


def _plane(
    recording: str,
    entries: list[Entry],
    size: tuple[int, int],
    ground: GroundConfig,
    limits: LimitsConfig,
    calibration: Calibration | None,
    result: Grounds,
) -> GroundPlane:
    trust, lens = trust_limits(limits), None if calibration is None else calibration.lens
    if ground.method == "file":
        if calibration is None or calibration.plane is None:
            raise CalibrationError(
                f"{ground.calibration}: holds a lens but no road plane; make one with `crackmap calibrate plane --lens`"
            )
        note = f"{ground.calibration}: lengths on the road uncertain by {calibration.plane.u_scale:.2%}"
        result.notes += [] if note in result.notes else [note]
        return replace(calibration.plane, limits=_limits_over(calibration.plane.limits, limits))
    if ground.method == "gsd":
        raise CalibrationError(
            'method = "gsd" knows no lens; make a calibration file with `crackmap calibrate plane --lens` from the '
            'mounting or from points, and use method = "file"'
        )
    if ground.method == "points":
        pixels, metres = ground.points_px or (), ground.points_m or ()
        return plane_from_points(pixels, metres, size_wh_px=size, limits=trust, lens=lens)
    focal = None if lens is not None else ground.focal_px
    if ground.method == "mount":
        mount = Mount(
            ground.height_m or 0.0, ground.pitch_deg or 0.0, ground.roll_deg, ground.yaw_deg, ground.position_m
        )  # fmt: skip
        return plane_from_mount(mount, size_wh_px=size, lens=lens, focal_px=focal, limits=trust)
    # The configuration is checked for these keys when it is read.
    width_m, endings = ground.lane_width_m or 0.0, ground.mask_replace or ("", "")
    view = fit_lane_view(_lane_masks(recording, entries, endings), lens=lens)
    result.notes.append(
        f"{recording}: ground plane from {view.used} of {view.seen} lane masks; vanishing point "
        f"({view.vanishing_point_xy_px[0]:.0f}, {view.vanishing_point_xy_px[1]:.0f}) px, "
        f"spread ({view.spread_px[0]:.0f}, {view.spread_px[1]:.0f}) px"
    )
    return plane_from_lane(
        view, lane_width_m=width_m, focal_px=focal, size_wh_px=size, limits=trust, lens=lens, roll_deg=ground.roll_deg
    )


def _limits_over(stored: GroundLimits, limits: LimitsConfig) -> GroundLimits:
    """The limits of a calibration file with those of survey.toml in their place, where it has any."""
    return GroundLimits(
        limits.coarsest_gsd_mm or stored.coarsest_gsd_mm,
        limits.lateral_m if limits.lateral_m is not None else stored.lateral_m,
        limits.farthest_m if limits.farthest_m is not None else stored.farthest_m,
        limits.nearest_m if limits.nearest_m is not None else stored.nearest_m,
    )


def share_road(entries: Sequence[Entry], grounds: Grounds) -> Grounds:
    """The grounds with lateral limits such that no two cameras of a drive answer for the same road.

    Where the ranges of two neighbours overlap, the middle of the overlap divides them; the other sides stay open.

    Raises:
        CalibrationError: one camera sees (nearly) all the road of another: every crack there would count twice.
    """
    notes: dict[str, None] = {}
    made: dict[tuple[int, tuple[float, float]], GroundPlane] = {}
    by_drive: dict[str, dict[View, None]] = {}
    for entry in entries:
        if entry.view in grounds.planes:
            by_drive.setdefault(entry.recording, {})[entry.view] = None
    for views in by_drive.values():
        planes: dict[str, GroundPlane] = {}
        for view in views:
            planes.setdefault(view[1], grounds.planes[view])
        limits = _divided(planes, notes)
        for view in views:
            plane, camera = grounds.planes[view], view[1]
            if camera in limits:
                lateral = limits[camera]
                grounds.planes[view] = made.setdefault(
                    (id(plane), lateral), replace(plane, limits=replace(plane.limits, lateral_m=lateral))
                )
    grounds.notes += list(notes)
    return grounds


def _divided(planes: Mapping[str, GroundPlane], notes: dict[str, None]) -> dict[str, tuple[float, float]]:
    """Camera -> lateral limits, of those that have a neighbour whose view overlaps theirs."""
    if len(planes) < 2:
        return {}
    ranges = {camera: _lateral_m(plane, near=True) for camera, plane in planes.items()}
    ordered = sorted(ranges, key=lambda camera: (sum(ranges[camera]), camera))
    limits: dict[str, list[float]] = {}
    for left, right in pairwise(ordered):
        overlap = ranges[left][1] - ranges[right][0]
        narrower = min(high - low for low, high in (ranges[left], ranges[right]))
        if overlap > MOST_OVERLAP * narrower:
            raise CalibrationError(
                f"cameras {left} and {right} see the same road ({_metres(ranges[left])} and {_metres(ranges[right])}): "
                "every crack there would count twice; leave one out with [frames] exclude, or set lateral_m of "
                f"[cameras.{left}.limits] and [cameras.{right}.limits]"
            )
        if overlap > 0 or planes[left].limits.lateral_m is None or planes[right].limits.lateral_m is None:
            # Views that do not touch near the vehicle may cross farther ahead.
            middle = (ranges[left][1] + ranges[right][0]) / 2
            limits.setdefault(left, list(_lateral_m(planes[left])))[1] = middle
            limits.setdefault(right, list(_lateral_m(planes[right])))[0] = middle
        if overlap > 0:
            notes[f"cameras {left} and {right} overlap by {overlap:.2f} m: divided at {middle:+.2f} m"] = None
    return {camera: (low, high) for camera, (low, high) in limits.items()}


def _lateral_m(plane: GroundPlane, *, near: bool = False) -> tuple[float, float]:
    """Lateral range that a plane answers for: its limits, else what it shows; `near`: of its nearest trusted road."""
    if plane.limits.lateral_m is not None:
        return plane.limits.lateral_m
    first, last = visible_y_m(plane)
    low, high = sorted((first, first + (0.1 if near else 1.0) * (last - first)))
    seen = seen_polygon_m(plane, (low, high))
    return float(seen[:, 0].min()), float(seen[:, 0].max())


def _metres(interval: tuple[float, float]) -> str:
    return f"{interval[0]:+.1f} to {interval[1]:+.1f} m"


def inside(folder: Path, name: str) -> Path:
    """A file that survey.toml names, which lies in the survey folder or below it.

    Raises:
        InputError: the name leads out of the folder, or there is no such file.
    """
    path = folder / name
    try:
        within = not Path(name).is_absolute() and path.resolve().is_relative_to(folder.resolve())
        there = within and path.is_file()
    except (OSError, ValueError) as error:
        raise InputError(f"{name!r}: no name of a file ({error}); correct survey.toml") from error
    if not within:
        raise InputError(f"{name}: survey.toml may name files in the survey folder only; copy it there")
    if not there:
        raise InputError(f"{name}: no such file in the survey folder {folder.name}")
    return path


def _lane_masks(recording: str, entries: list[Entry], endings: tuple[str, str]) -> Iterator[NDArray[np.bool_]]:
    """Yields up to MOST_MASKS lane masks, evenly chosen from those that are there and can be read."""
    ending, mask_ending = endings
    paths = [
        entry.path.with_name(entry.path.name.removesuffix(ending) + mask_ending)
        for entry in entries
        if entry.path.name.endswith(ending)
    ]
    there = [path for path in paths if path.is_file()]
    if not there:
        raise CalibrationError(
            f"{recording}: no lane mask found; [ground] mask_replace looks for names that end in {mask_ending!r} "
            f"beside images whose names end in {ending!r}"
        )
    for index in np.unique(np.linspace(0, len(there) - 1, MOST_MASKS).round().astype(int)):
        try:
            with open_image(there[index]) as mask:
                yield mask.read_all()[:, :, 0] > 127
        except UnreadableImageError:
            # One mask more or less does not matter; that none can be read is an error of the fit.
            continue
