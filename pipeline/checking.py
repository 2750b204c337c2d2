"""A dry run: every image of a survey decoded, nothing looked at by the nets, nothing written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from crackmap.calibration.errors import UnreadableImageError
from crackmap.pipeline.frame_table import keys_of
from crackmap.pipeline.loading import ImageSource, Loader, LoadLimits
from crackmap.pipeline.survey import Survey

STRIP_ROWS = 1024
"""Rows of a large raster that are read at a time."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One image that a run would not put on the map.

    Attributes:
        key: which.
        status: what a run would call it; see `records.STATUSES`.
        reason: why.
    """

    key: str
    status: str
    reason: str


def check_survey(
    survey: Survey,
    *,
    workers: int = 2,
    limits: LoadLimits | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, key: None,
) -> tuple[Finding, ...]:
    """What a run of `survey` would lose, in the order of the survey; the skipped images first.

    Raises:
        StorageError: a large picture cannot be unpacked, for want of space.
    """
    findings = [Finding(key, "skipped", reason) for key, reason in survey.skipped]
    frames = survey.measurable
    nowhere = dict(zip(keys_of(survey.unplaced), survey.unplaced_why, strict=True))
    first: dict[str, str] = {}
    with Loader(workers, limits=limits) as loader:
        sources = loader.ahead(frame.path for frame in frames)
        for done, (frame, source) in enumerate(zip(frames, sources, strict=True), start=1):
            problem = _problem(source)
            if problem:
                findings.append(Finding(frame.key, "skipped", problem.removeprefix(f"{frame.path.name}: ")))
            elif isinstance(source, ImageSource):
                original = first.setdefault(source.identity.sha256, frame.key)
                if original != frame.key:
                    findings.append(Finding(frame.key, "duplicate", f"the same file as {original}"))
                elif frame.key in nowhere:
                    findings.append(Finding(frame.key, "no_position", nowhere[frame.key]))
            progress(done, len(frames), frame.key)
    return tuple(findings)


def _problem(source: ImageSource | UnreadableImageError) -> str:
    """What is wrong with an image, every pixel of it; empty if nothing is."""
    if isinstance(source, UnreadableImageError):
        return str(source)
    width, height = source.size_wh_px
    with source:
        try:
            for y0 in range(0, height, STRIP_ROWS):
                source.read(0, y0, width, min(STRIP_ROWS, height - y0))
        except UnreadableImageError as error:
            return str(error)
    return ""
