"""What products cost: those of a sample of frames, and a few stretches of road seen from above."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import rasterio

from crackmap.pipeline.journal import JOURNAL_NAME, Journal
from crackmap.pipeline.loading import Loader
from crackmap.pipeline.outcome_table import Outcomes
from crackmap.pipeline.planning.sampling import middles
from crackmap.pipeline.products.masks import MASKS_FOLDER
from crackmap.pipeline.products.strip_images import STRIPS_FOLDER, strip_name, write_section_strips
from crackmap.pipeline.records import Frame, FrameOutcome
from crackmap.pipeline.report_pictures import frame_pictures
from crackmap.pipeline.run import RunSettings, publish
from crackmap.pipeline.section_lists import ListedSection
from crackmap.pipeline.sections import make_sections
from crackmap.pipeline.survey import Survey
from crackmap.pipeline.survey_result import SurveyResult

STRETCHES, STRETCH_PX = 3, 20_000_000
"""So many are painted, each a section or what so many pixels of the frames show of it: some seconds of work."""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class ProductsSample:
    """What the products of a sample cost.

    Attributes:
        seconds: all but pictures.
        bytes: all but the report.
        report_bytes: of the report.
        pictures: frames that it shows.
        picture_s, picture_bytes: of all of these.
    """

    seconds: float
    bytes: int
    report_bytes: int
    pictures: int
    picture_s: float
    picture_bytes: int


@dataclass(frozen=True, slots=True)
class StripsSample:
    """What it costs to paint some stretches of road.

    Attributes:
        seconds: of the clock.
        bytes: of the files.
        area_m2: of the road in them.
        px_per_m2: how finely they are painted.
    """

    seconds: float
    bytes: int
    area_m2: float
    px_per_m2: float


NO_STRIPS = StripsSample(0.0, 0, 0.0, 0.0)
"""None are wanted, or there is no road to paint."""


def products_of(survey: Survey, journal: Journal, out: Path, settings: RunSettings, *, workers: int) -> ProductsSample:
    """Makes the products of the frames in a journal, but no strips.

    Raises:
        StorageError: there is no room for them.
    """
    start = time.perf_counter()
    result, _ = publish(survey, journal, out, replace(settings, strips=False), workers=workers)
    seconds = time.perf_counter() - start
    cracked = [outcome for outcome in result.outcomes if outcome.status == "ok"]
    with Loader(workers, scratch=out) as loader:

        def pictured() -> tuple[float, int, int]:
            begun = time.perf_counter()
            pictures = frame_pictures(cracked, journal.cracks, journal.looked, out / MASKS_FOLDER, loader)
            return time.perf_counter() - begun, len(pictures), sum(len(picture.webp) for picture in pictures)

        # The first time starts the decoders, as making the products did.
        first_s, *_ = pictured()
        picture_s, count, picture_bytes = pictured()
    report = (out / "report.html").stat().st_size
    files = [path for path in out.iterdir() if path.is_file() and not path.name.startswith(JOURNAL_NAME)]
    written = sum(path.stat().st_size for path in files) - report
    return ProductsSample(max(seconds - first_s, 0.0), written, report, count, picture_s, picture_bytes)


def strips_of(survey: Survey, sampled: Sequence[Frame], out: Path, settings: RunSettings) -> StripsSample:
    """Paints stretches of road that begin at some of the sampled frames, as long as a section or STRETCH_PX allow.

    Raises:
        StorageError: there is no room for them.
    """
    stretches = list(_stretches(survey, sampled, settings.section_length_m))
    frames = {frame.key: frame for _, members in stretches for frame in members}
    outcomes = Outcomes.of(FrameOutcome(frame, "no_crack") for frame in frames.values())
    sections = make_sections(outcomes, (), listed=[section for section, _ in stretches], output=survey.output)
    painted = [section for section in sections if section.from_m is not None and section.area_m2 > 0]
    start = time.perf_counter()
    write_section_strips(SurveyResult(survey.output, outcomes, (), tuple(painted)), out, wanted=True,
                         pixel_mm=settings.strip_pixel_mm)  # fmt: skip
    seconds = time.perf_counter() - start
    area_m2, pixels, written = 0.0, 0, 0
    for section in painted:
        path = out / STRIPS_FOLDER / strip_name(section)
        if path.exists():
            with rasterio.open(path) as file:
                pixels += file.width * file.height
            area_m2 += section.area_m2
            written += path.stat().st_size
    return StripsSample(seconds, written, area_m2, pixels / area_m2) if area_m2 else NO_STRIPS


def _stretches(
    survey: Survey, sampled: Sequence[Frame], length_m: float
) -> Iterator[tuple[ListedSection, list[Frame]]]:
    placed = [frame for frame in sampled if _strip(frame) is not None]
    for number, place in enumerate(middles(len(placed), min(STRETCHES, len(placed)))):
        first = placed[place]
        start = _strip_of(first)[0]
        beside = [
            frame for frame in survey.frames
            if frame.recording == first.recording and _strip(frame) is not None
            and start - 1e-6 <= _strip_of(frame)[0] < start + length_m
        ]  # fmt: skip
        members: list[Frame] = []
        pixels = 0
        for frame in sorted(beside, key=_strip_of):
            pixels += frame.size_wh_px[0] * frame.size_wh_px[1]
            if members and pixels > STRETCH_PX:
                break
            members.append(frame)
        end = min(max(_strip_of(frame)[1] for frame in members), start + length_m)
        yield ListedSection(f"{number}", start, end, first.recording), members


def _strip(frame: Frame) -> Interval | None:
    """The chainage along the drive that a frame answers for."""
    if frame.chainage_m is None or frame.ground is None or frame.owns_y_m is None:
        return None
    low, high = sorted(frame.chainage_at(y) for y in frame.owns_y_m)
    return (low, high) if high > low else None


def _strip_of(frame: Frame) -> Interval:
    return _strip(frame) or (0.0, 0.0)
