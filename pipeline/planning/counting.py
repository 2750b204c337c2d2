"""What a survey holds: images, pixels, bytes, and the kilometres of road in them. Only headers have been read."""

from __future__ import annotations

import contextlib
import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crackmap.pipeline.along import frames_along_route
from crackmap.pipeline.coverage import extent, strips_of
from crackmap.pipeline.decoding import WHOLE_PX
from crackmap.pipeline.identity import file_identity
from crackmap.pipeline.records import CoordinateKind, FrameOutcome
from crackmap.pipeline.survey import Survey


@dataclass(frozen=True, slots=True)
class RecordingCount:
    """One recording.

    Attributes:
        recording: its name.
        frames: images that will be measured.
        pixels: of those.
        pictured_m: length of road they show, a metre seen by one of several cameras side by side by its share; None
            where position or ground scale is not known.
        extent_m: from the first to the last frame along the road, gaps included; None as well.
        area_m2: road they show; 0 where nobody knows.
    """

    recording: str
    frames: int
    pixels: int
    pictured_m: float | None
    extent_m: float | None
    area_m2: float


@dataclass(frozen=True, slots=True)
class Inventory:
    """A whole survey.

    Attributes:
        found: images, usable or not.
        usable: images that will be measured.
        skipped: key and reason of the others.
        unreadable: how many of the others have a header that cannot be read.
        unplaced: usable ones of which nobody knows where they lie.
        unscaled: usable ones of which nobody knows how large a pixel is.
        pixels: of the usable ones.
        unpacked_px: of the largest JPEG or PNG that is unpacked on the disk while it is looked at; 0 if none is.
        input_bytes: size of their files.
        recordings: in order of name.
    """

    found: int
    usable: int
    skipped: tuple[tuple[str, str], ...]
    unreadable: int
    unplaced: int
    unscaled: int
    pixels: int
    unpacked_px: int
    input_bytes: int
    recordings: tuple[RecordingCount, ...]

    @property
    def pictured_m(self) -> float | None:
        """Length of road in all recordings whose length is known; None if none is."""
        known = [item.pictured_m for item in self.recordings if item.pictured_m is not None]
        return sum(known) if known else None

    @property
    def area_m2(self) -> float:
        """Road shown, of all recordings."""
        return sum(item.area_m2 for item in self.recordings)


def count_survey(survey: Survey) -> Inventory:
    """What `survey` holds."""
    frames = survey.measurable
    pixels = read = unscaled = unpacked = 0
    for frame in frames:
        size = frame.size_wh_px[0] * frame.size_wh_px[1]
        pixels += size
        unscaled += frame.ground is None
        if size > max(WHOLE_PX, unpacked) and not _is_tiff(frame.path):
            unpacked = size
        # A file that is gone by now is the run's to name.
        with contextlib.suppress(OSError):
            read += file_identity(frame.file)[0]
    return Inventory(
        found=len(frames) + len(survey.skipped),
        usable=len(frames),
        skipped=survey.skipped,
        unreadable=len(survey.unreadable),
        unplaced=len(survey.frames) * (survey.output.kind is CoordinateKind.SHEET) + len(survey.unplaced),
        unscaled=unscaled,
        pixels=pixels,
        unpacked_px=unpacked,
        input_bytes=read,
        recordings=_recordings(survey),
    )


def _is_tiff(path: Path) -> bool:
    return path.suffix.lower() in (".tif", ".tiff")


def _recordings(survey: Survey) -> tuple[RecordingCount, ...]:
    lost: dict[str, list[FrameOutcome]] = defaultdict(list)
    for key, reason in survey.skipped:
        outcome = FrameOutcome(survey.unplaced_frame(key), "skipped", reason)
        lost[outcome.frame.recording].append(outcome)
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for frame in survey.measurable:
        counts[frame.recording][0] += 1
        counts[frame.recording][1] += frame.size_wh_px[0] * frame.size_wh_px[1]
    roads: dict[str, _Road] = {}
    # Frames go by recording: those of one are in memory at a time.
    routed = frames_along_route(survey.frames, survey.routing)
    for recording, frames in itertools.groupby(routed, key=lambda frame: frame.recording):
        outcomes = [*(FrameOutcome(frame, "ok") for frame in frames), *lost[recording]]
        roads[recording] = _road([outcome for outcome in outcomes if outcome.frame.chainage_m is not None])
    return tuple(
        RecordingCount(recording, number, pixels, *roads.get(recording, _NO_ROAD))
        for recording, (number, pixels) in sorted(counts.items())
    )


_Road = tuple[float | None, float | None, float]
_NO_ROAD: _Road = None, None, 0.0


def _road(outcomes: Sequence[FrameOutcome]) -> _Road:
    """Pictured length, extent and area of a recording, as its sections will have them."""
    if not any(outcome.frame.ground is not None for outcome in outcomes):
        return _NO_ROAD
    strips = strips_of(outcomes)
    lengths = [(strip, sum(high - low for low, high in strip.measured)) for strip in strips]
    low, high = extent(strips)
    return (
        sum(strip.share * length for strip, length in lengths),
        high - low,
        sum(strip.width_m * length / abs(strip.outcome.frame.chainage_scale) for strip, length in lengths),
    )
