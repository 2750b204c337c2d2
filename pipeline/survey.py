"""A survey folder, read: which frames there are, where they lie and how large their pixels are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crackmap.calibration.errors import InputError
from crackmap.calibration.plane import GroundPlane
from crackmap.pipeline.along import Routing
from crackmap.pipeline.collecting import no_collection
from crackmap.pipeline.config import SurveyConfig, load_survey_config, named_files, preset_names
from crackmap.pipeline.frame_table import Frames, Joined, keys_of
from crackmap.pipeline.grounds import find_grounds
from crackmap.pipeline.idle import idle_keys
from crackmap.pipeline.images import ImageHeader
from crackmap.pipeline.listing import Entry, Skipped, View, list_entries, natural_key
from crackmap.pipeline.on_route import place_on_route, routed, survey_route
from crackmap.pipeline.on_track import place_on_track
from crackmap.pipeline.placing import Layout, nowhere, place_on_road, place_on_sheet, place_rasters
from crackmap.pipeline.records import Frame, OutputFrame, Placement
from crackmap.pipeline.storage.remote import RemoteImages
from crackmap.pipeline.storage.shadow import fetch_named, listed
from crackmap.pipeline.storage.urls import BucketUrl, Location

BY_CHAINAGE = ("chainage", "counter")
"""Sources of position that give frames the chainage in their names."""


@dataclass(frozen=True, slots=True)
class Survey:
    """A survey ready to run.

    Attributes:
        root: the survey folder, or the folder of the one image given.
        name: of the folder, or of the image without its suffix.
        frames: by recording, then along the road; made anew each time they are looked at.
        skipped: key and reason of every image that cannot be a frame.
        output: the coordinate system of all products.
        notes: what was found, assumed or done without, in sentences a user reads.
        config: the description it was read by.
        source: the arguments of `read_survey` that read it again, as plain values: path, survey, gsd_mm, follow_links.
        named: key -> what the name says, of skipped images whose name can be read.
        unplaced: frames whose position is not known; they are measured, and lie on no map.
        unplaced_why: why, of each.
        routing: how the drives lie on the route, None where distance along the drive is all there is.
        unreadable: keys of skipped images whose header cannot be read.
        remote: the bucket that the images are in; `root` then holds placeholders.
    """

    root: Path
    name: str
    frames: Frames
    skipped: tuple[Skipped, ...]
    output: OutputFrame
    notes: tuple[str, ...]
    config: SurveyConfig
    source: Mapping[str, Any]
    named: Mapping[str, Entry]
    unplaced: Sequence[Frame] = ()
    unplaced_why: tuple[str, ...] = ()
    routing: Routing | None = None
    unreadable: frozenset[str] = frozenset()
    remote: RemoteImages | None = None

    @property
    def measurable(self) -> Sequence[Frame]:
        """All frames that are measured, with or without a place."""
        return Joined(self.frames, self.unplaced) if self.unplaced else self.frames

    @property
    def unplaced_keys(self) -> frozenset[str]:
        """Of the frames without a place."""
        return frozenset(keys_of(self.unplaced))

    def unplaced_frame(self, key: str) -> Frame:
        """The frame of a skipped image: recording and time as its name says; no size, no ground plane.

        Its chainage is the one it would have been placed by: named or counted; None where the name does not say it, or
        where frames are not placed by chainage.
        """
        unnamed = Entry(key, self.root, key, ImageHeader((0, 0)), key.rpartition("/")[0] or self.name)
        entry = self.named.get(key, unnamed)
        chainage_m = entry.chainage_m if self.config.position.source in BY_CHAINAGE else None
        place = Placement((0.0, chainage_m or 0.0))
        return Frame(
            key, str(entry.path), (0, 0), entry.recording, place, chainage_m,
            time_s=entry.time_s, camera=entry.camera, lane=entry.lane,
        )  # fmt: skip


@no_collection()
def read_survey(
    place: Location,
    *,
    survey: str | None = None,
    gsd_mm: float | tuple[float, float] | None = None,
    follow_links: bool = False,
) -> Survey:
    """Reads a survey folder, or one image as a survey of its own.

    Only headers are read, and lane masks where the ground plane comes from them. An image that cannot be used is
    named in `skipped` and stops nothing.

    Args:
        place: folder, or image file; of this machine or in a bucket.
        survey: file or preset that describes it; by default survey.toml in the folder, or nothing.
        gsd_mm: ground length of a pixel, or of a step along a row and along a column, for cameras that look straight
            down; goes before what the description says. Georeferenced rasters keep their own.
        follow_links: take links in the folder for what they lead to.

    Raises:
        InputError: no image is found or can be placed, a sub-folder cannot be read, or the description is wrong.
        CalibrationError: the description asks for a ground plane that cannot be computed.
        StorageError: a bucket does not answer.
    """
    shadow = listed(place) if isinstance(place, BucketUrl) else None
    source = shadow.source if shadow else Path(str(place))
    if not source.exists():
        raise InputError(f"{source}: no such folder or image")
    single = source.is_file()
    root = source.parent if single else source
    config = load_survey_config(root, survey)
    if shadow:
        fetch_named(shadow, [*named_files(config), config.route.file or "", config.route.calibration_points or ""])
    if gsd_mm is not None and config.cameras:
        raise InputError(
            "--gsd: the survey has several cameras, which would all lie on the same road; give each its own in "
            '[cameras.NAME.ground], method = "gsd" or, with its place on the vehicle, "mount"'
        )
    listing = list_entries(source, config.frames, config.position, config.cameras, follow_links=follow_links)
    entries, skipped = listing.entries, listing.skipped
    notes = [_preset_hint(entries)] if config == SurveyConfig() and not single else []
    notes += idle_keys(config)
    if listing.links:
        notes.append(f"{listing.links} links are not followed; --follow-links takes them for what they lead to")
    layout = _laid_out(entries, config, root, gsd_mm)
    unusable = {key for key, _ in layout.skipped}
    named = {entry.key: entry for entry in entries if entry.key in unusable}
    notes += [f"{entry.key}: {entry.header.note}" for entry in entries if entry.header.note]
    skipped = sorted((*skipped, *layout.skipped), key=lambda item: natural_key(item[0]))
    return Survey(
        root=root,
        name=source.stem if single else source.resolve().name,
        frames=layout.frames,
        skipped=tuple(skipped),
        output=layout.output,
        notes=tuple(note for note in (*notes, *layout.notes) if note),
        config=config,
        source={
            "path": str(place if shadow else source.resolve()),
            **_arguments(survey, gsd_mm),
            "follow_links": follow_links,
        },
        named=listing.named | named,
        unplaced=layout.unplaced,
        unplaced_why=layout.unplaced_why,
        routing=layout.routing,
        unreadable=listing.unreadable,
        remote=RemoteImages(shadow.url) if shadow else None,
    )


def _arguments(survey: str | None, gsd_mm: float | tuple[float, float] | None) -> dict[str, Any]:
    """How a survey is described, as plain values."""
    return {
        "survey": str(Path(survey).resolve()) if survey and survey not in preset_names() else survey,
        "gsd_mm": list(gsd_mm) if isinstance(gsd_mm, tuple) else gsd_mm,
    }


def _laid_out(
    entries: list[Entry], config: SurveyConfig, root: Path, gsd_mm: float | tuple[float, float] | None
) -> Layout:
    """Frames in place, rasters by their own georeference, all others by the planes of their cameras."""
    if config.position.source == "none" and any(entry.header.georeference for entry in entries):
        layout = place_rasters(entries, config.limits)
        if gsd_mm is None:
            return layout
        return replace(layout, notes=("georeferenced rasters carry their own scale: the given pixel size is not used",
                                      *layout.notes))  # fmt: skip
    found = find_grounds(entries, config.ground, config.limits, cameras=config.cameras, folder=root, gsd_mm=gsd_mm)
    lost = {key for key, _ in found.skipped}
    placeable = [entry for entry in entries if entry.key not in lost] if lost else entries
    layout = _place(placeable, found.planes, config, root)
    return replace(layout, skipped=(*found.skipped, *layout.skipped), notes=(*found.notes, *layout.notes))


def _place(entries: list[Entry], planes: dict[View, GroundPlane], config: SurveyConfig, root: Path) -> Layout:
    """Frames where the configured position puts them; on a sheet without one, or without a scale to place them by."""
    positioned = config.position.source != "none"
    if planes and positioned:
        seeing = [entry for entry in entries if entry.view in planes]
        return _with_blind(_place_seeing(seeing, planes, config, root), [e for e in entries if e.view not in planes])
    layout = place_on_sheet(entries, planes, driven=config.position.source in BY_CHAINAGE)
    why = "no ground scale" if positioned else "no position known"
    notes = [f"{why}: images are laid out on a sheet, one above the other"]
    if not planes:
        notes.append("no ground scale: lengths are in pixels; give --gsd MM_PER_PX, or [ground] in survey.toml")
    return replace(layout, notes=(*layout.notes, *notes))


def _place_seeing(entries: list[Entry], planes: dict[View, GroundPlane], config: SurveyConfig, root: Path) -> Layout:
    """Frames, each with a ground plane, where the configured position puts them."""
    if config.position.source in BY_CHAINAGE:
        if config.route.file is None:
            return place_on_road(entries, planes, direction=config.route.direction)
        route = survey_route(config.route, root, config.position.crs)
        return place_on_route(entries, planes, config.route, route)
    placed = place_on_track(entries, planes, config.position, root)
    if config.route.file is None:
        return placed
    return routed(placed, config.route, survey_route(config.route, root, placed.output.crs_wkt))


def _with_blind(layout: Layout, blind: list[Entry]) -> Layout:
    """The layout and the frames of cameras without a ground plane, which are measured in pixels and lie on no map."""
    notes = [
        f"camera {camera}: no ground scale, its images are measured in pixels and lie on no map; give it a "
        f"[cameras.{camera}.ground]"
        for camera in dict.fromkeys(entry.camera for entry in blind)
    ]
    return replace(
        layout, unplaced=Joined(layout.unplaced, nowhere(blind, {})),
        unplaced_why=(*layout.unplaced_why, *["no ground scale for its camera"] * len(blind)),
        notes=(*layout.notes, *notes),
    )  # fmt: skip


def _preset_hint(entries: list[Entry]) -> str:
    """A note where most names without a description fit a preset; empty otherwise."""
    for name in preset_names():
        pattern = load_survey_config(Path(), name).frames.pattern
        if pattern is not None and any(re.search(pattern, entry.key) for entry in entries):
            return f"file names look like those of the preset {name}: try --survey {name}"
    return ""
