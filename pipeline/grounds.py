"""The ground plane of every frame, by the method that [ground] of survey.toml names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import CalibrationError, UnreadableImageError
from crackmap.calibration.fit import fit_lane_view, plane_from_lane, plane_from_points
from crackmap.calibration.plane import GroundLimits, GroundPlane
from crackmap.pipeline.config import GroundConfig, LimitsConfig
from crackmap.pipeline.images import open_image
from crackmap.pipeline.listing import Entry, Skipped

LANE_UNCERTAINTY_PERCENT = 3.0
"""Scale from a lane of nominal width: lanes of one class of road differ by a decimetre or so."""

MOST_MASKS = 60
"""Lane masks read per recording: the median of 60 moves by less than a pixel when more are added."""


@dataclass(slots=True)
class Grounds:
    """Ground planes of a survey.

    Attributes:
        planes: key of a frame -> its plane; no entry where nothing says how large a pixel is.
        skipped: frames that cannot have the plane of their recording.
        notes: how the planes came about.
    """

    planes: dict[str, GroundPlane] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def trust_limits(limits: LimitsConfig, *, pixel_mm: float | None = None) -> GroundLimits:
    """The limits of a plane: those configured; the coarsest GSD else twice the pixel of a downward image, or 50 mm."""
    coarsest = limits.coarsest_gsd_mm
    if coarsest is None:
        coarsest = GroundLimits().coarsest_gsd_mm if pixel_mm is None else 2.0 * pixel_mm
    return GroundLimits(coarsest, limits.lateral_m, limits.farthest_m)


def find_grounds(
    entries: Sequence[Entry],
    ground: GroundConfig,
    limits: LimitsConfig,
    *,
    gsd_mm: float | tuple[float, float] | None = None,
) -> Grounds:
    """The ground planes of all frames.

    Args:
        entries: the frames.
        ground: the method and its numbers.
        limits: where planes are trusted.
        gsd_mm: given by the user for this run: goes before `ground`.

    Raises:
        CalibrationError: no plane can be made for any recording.
    """
    result = _find(entries, ground, limits, gsd_mm)
    percent = ground.scale_uncertainty_percent
    if percent is None:
        percent = LANE_UNCERTAINTY_PERCENT if gsd_mm is None and ground.method == "lane" else 0.0
    vague = {id(plane): replace(plane, u_scale=percent / 100) for plane in result.planes.values()}
    # Frames of one recording go on sharing one plane: strips are planned once for each.
    result.planes = {key: vague[id(plane)] for key, plane in result.planes.items()}
    return result


def _find(
    entries: Sequence[Entry], ground: GroundConfig, limits: LimitsConfig, gsd_mm: float | tuple[float, float] | None
) -> Grounds:
    pixel_mm = gsd_mm if gsd_mm is not None else ground.gsd_mm if ground.method == "gsd" else None
    if pixel_mm is not None:
        trust = trust_limits(limits, pixel_mm=float(np.max(pixel_mm)))
        sizes = {entry.header.size_wh_px for entry in entries}
        made = {size: GroundPlane.from_gsd(gsd_mm=pixel_mm, size_wh_px=size, limits=trust) for size in sizes}
        return Grounds({entry.key: made[entry.header.size_wh_px] for entry in entries})
    if ground.method == "none":
        return Grounds()
    result = Grounds()
    failures: list[CalibrationError] = []
    for recording in dict.fromkeys(entry.recording for entry in entries):
        group = [entry for entry in entries if entry.recording == recording]
        try:
            _of_recording(recording, group, ground, trust_limits(limits), result)
        except CalibrationError as error:
            failures.append(error)
            result.skipped += [(entry.key, f"no ground plane for {recording}: {error}") for entry in group]
    if not result.planes:
        raise failures[0]
    return result


def _of_recording(
    recording: str, entries: list[Entry], ground: GroundConfig, limits: GroundLimits, result: Grounds
) -> None:
    size = Counter(entry.header.size_wh_px for entry in entries).most_common(1)[0][0]
    fitting = [entry for entry in entries if entry.header.size_wh_px == size]
    if ground.method == "points":
        plane = plane_from_points(ground.points_px or (), ground.points_m or (), size_wh_px=size, limits=limits)
    else:
        # The configuration is checked for these keys when it is read.
        width_m, focal_px, endings = ground.lane_width_m or 0.0, ground.focal_px or 0.0, ground.mask_replace or ("", "")
        view = fit_lane_view(_lane_masks(recording, fitting, endings))
        plane = plane_from_lane(view, lane_width_m=width_m, focal_px=focal_px, size_wh_px=size, limits=limits)
        result.notes.append(
            f"{recording}: ground plane from {view.used} of {view.seen} lane masks; vanishing point "
            f"({view.vanishing_point_xy_px[0]:.0f}, {view.vanishing_point_xy_px[1]:.0f}) px, "
            f"spread ({view.spread_px[0]:.0f}, {view.spread_px[1]:.0f}) px"
        )
    result.planes |= {entry.key: plane for entry in fitting}
    result.skipped += [
        (entry.key, f"its size {entry.header.size_wh_px} differs from {size} of the other frames of {recording}")
        for entry in entries
        if entry.header.size_wh_px != size
    ]


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
