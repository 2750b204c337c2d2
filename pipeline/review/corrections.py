"""Corrections of a person: measured, kept in the journal, and brought up to date whenever products are made.

The outlines are what is kept. Mask file and cracks are made from them, and made anew where the picture is the same
and its geometry, the settings or this program are others: what a person did is never lost to a run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from crackmap.calibration.errors import InputError, StorageError, require
from crackmap.pipeline.frame_rows import write_frame_mask
from crackmap.pipeline.identity import frame_hasher, measured_rows
from crackmap.pipeline.images import open_image
from crackmap.pipeline.journal import CORRECTED, Correction, Journal, JournalRow, Told
from crackmap.pipeline.products.masks import MASKS_FOLDER, mask_name
from crackmap.pipeline.products.publish import sha256_of
from crackmap.pipeline.records import Frame
from crackmap.pipeline.review.areas import CLASSES, JOINT, Area, areas_of_cracks, mask_of_areas, pixels_of
from crackmap.pipeline.survey import Survey
from crackmap.stages.datasets.labels import SEALED
from crackmap.stages.datasets.meanings import CRACK
from crackmap.stages.measure.measure import measure
from crackmap.stages.measure.settings import MeasureSettings
from crackmap.stages.records import Crack, CrackMask
from crackmap.stages.tiling import PixelSource

_ENDING = re.compile(r"-[0-9a-f]{10}-corrected-[0-9a-f]{10}\.tif")
"""Of the name of a corrected mask: that of the frame's mask, and a hash of what is in it."""


@dataclass(frozen=True, slots=True)
class Reviewed:
    """The journal of a run at review, with what belongs to it.

    Attributes:
        survey: the frames.
        journal: open.
        out: the output folder; the caller holds its lock.
        hash_of: all that decides a frame's numbers.
        settings: of the measurement.
    """

    survey: Survey
    journal: Journal
    out: Path
    hash_of: Callable[[Frame], str]
    settings: MeasureSettings

    @classmethod
    def of(cls, survey: Survey, journal: Journal, out: Path) -> Reviewed:
        """Of a run whose settings are in its journal."""
        settings = MeasureSettings(**journal.fact("settings")["settings"]["measure"])
        return cls(survey, journal, out, frame_hasher(survey, journal), settings)


def bring_up_to_date(survey: Survey, journal: Journal, out: Path) -> list[str]:
    """Measures corrections anew that were made for another geometry, and removes masks that no correction has any more.

    Returns:
        The keys of corrections that rest, because their picture is another now or gone.

    Raises:
        InputError: a picture cannot be read.
        StorageError: a mask file cannot be written or removed.
    """
    resting: list[str] = []
    stale: list[Correction] = []
    named: set[str] = set()
    corrections = list(journal.corrections())
    if corrections:
        of = Reviewed.of(survey, journal, out)
        corrected = {one.key for one in corrections}
        frames = {frame.key: frame for frame in survey.measurable if frame.key in corrected}
        measured_as = ((row, fits) for _, row, fits in measured_rows(survey, journal) if row.key in corrected)
        pictures = {row.key: row.input_sha256 for row, fits in measured_as if fits}
        for one in corrections:
            if one.key not in frames or pictures.get(one.key) != one.input_sha256:
                resting.append(one.key)
            elif one.frame_hash != of.hash_of(frames[one.key]) or not _mask_in_place(one, out):
                stale.append(one)
            named.add(one.mask_name)
        if stale:
            anew = [measured(of, frames[one.key], areas_from_plain(one), one.told, one.input_sha256) for one in stale]
            journal.correct(anew)
            named = {one.mask_name for one in journal.corrections()}
    _remove_unnamed(out / MASKS_FOLDER, named)
    return resting


def resting_note(key: str) -> str:
    """What a reader of the products must know of a correction that rests."""
    return (f"the correction of {key} rests: its image is another file now, or gone; correct it again, restore the "
            f"image, or take the correction back (crackmap import OUT --undo {key})")  # fmt: skip


def _mask_in_place(one: Correction, out: Path) -> bool:
    try:
        return (out / MASKS_FOLDER / one.mask_name).stat().st_size == one.mask_bytes
    except OSError:
        return False


def _remove_unnamed(masks: Path, named: set[str]) -> None:
    for path in sorted(masks.glob("*-corrected-*.tif")):
        if path.name not in named and _ENDING.search(path.name):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise StorageError(f"{path}: could not be removed ({error.strerror}); remove it by hand") from error


def measured(of: Reviewed, frame: Frame, areas: Sequence[Area], told: Told, picture_sha256: str) -> Correction:
    """The correction of one frame, its mask file in place under a name of its own; the journal is not touched.

    Raises:
        InputError: the picture cannot be read, or is not the one that was run.
        StorageError: the mask file cannot be written.
    """
    with open_image(frame.path, limit_px=frame.size_wh_px[0] * frame.size_wh_px[1]) as source:
        if source.identity.sha256 != picture_sha256:
            raise InputError(f"{frame.key}: the image has changed since it was run; run the same `crackmap run` again")
        cracks = cracks_of_areas(areas, source, frame, of.settings)
    plain, frame_hash = plain_areas(areas), of.hash_of(frame)
    digest = sha256(f"{json.dumps(plain)} {frame_hash}".encode()).hexdigest()[:10]
    name = f"{Path(mask_name(frame.key)).stem}-corrected-{digest}.tif"
    path = of.out / MASKS_FOLDER / name
    size = frame.size_wh_px
    mask = CrackMask.from_dense(mask_of_areas(areas, CRACK, size) | mask_of_areas(areas, JOINT, size))
    write_frame_mask(path, mask, frame, output=of.survey.output, located=frame.key not in of.survey.unplaced_keys)
    unsealed = [crack for crack in cracks if not crack.sealed]
    return Correction(
        frame.key, picture_sha256, frame_hash, "ok" if unsealed else "no_crack", name,
        path.stat().st_size, sha256_of(path), len(unsealed), sum(crack.length_px for crack in unsealed),
        plain, told, cracks,
    )  # fmt: skip


def cracks_of_areas(
    areas: Sequence[Area], source: PixelSource, frame: Frame, settings: MeasureSettings
) -> tuple[Crack, ...]:
    """The cracks in outlines that a person vouches for, sealed ones last.

    What an outline is called stands, with confidence 1: nothing in it is dropped as an edge or called a joint, and gaps
    between outlines stay open. Widths are read in the picture; those of sealed cracks are of their outlines.
    """
    size = frame.size_wh_px
    crack = mask_of_areas(areas, CRACK, size)
    vouched = replace(settings, max_step_share=1.0, join_gap_px=0.0)
    found: list[Crack] = []
    for meaning, picture in ((CRACK, source), (JOINT, source), (SEALED, None)):
        mask = crack if meaning == CRACK else mask_of_areas(areas, meaning, size) & ~crack
        lines = measure(CrackMask.from_dense(mask), ground=frame.ground, source=picture, settings=vouched)
        found += [replace(line, confidence=1.0, joint=meaning == JOINT, sealed=meaning == SEALED) for line in lines]
    return tuple(found)


def without_line(areas: Sequence[Area], cracks: Sequence[Crack], size_wh_px: tuple[int, int]) -> int:
    """The number of outlines in which no line was measured: too short, too round, or where no ground is trusted."""
    lines = np.concatenate([crack.centreline_xy_px for crack in cracks] or [np.empty((0, 2))])
    at = np.floor(lines).astype(int)
    empty = 0
    for area in areas:
        x0, y0, window = pixels_of(area, size_wh_px)
        inside = at[((at >= (x0, y0)) & (at < (x0 + window.shape[1], y0 + window.shape[0]))).all(axis=1)] - (x0, y0)
        empty += not window[inside[:, 1], inside[:, 0]].any()
    return empty


def current_areas(journal: Journal, row: JournalRow, frame: Frame) -> tuple[Area, ...]:
    """The outlines of what counts in a frame now: as a person drew them, else around the lines that were measured.

    Raises:
        InputError: the journal is damaged.
    """
    if row.source == CORRECTED:
        return areas_from_plain(next(journal.corrections(row.key)))
    return areas_of_cracks(journal.cracks(row.key), frame.size_wh_px)


def plain_areas(areas: Sequence[Area]) -> tuple[list[object], ...]:
    """Outlines as plain JSON values, as the journal keeps them."""
    return tuple([area.meaning, *(ring.tolist() for ring in area.rings)] for area in areas)


def areas_from_plain(one: Correction) -> tuple[Area, ...]:
    """The outlines of a correction.

    Raises:
        InputError: they are none.
    """
    try:
        areas = tuple(
            Area(str(meaning), tuple(np.asarray(ring, np.float64).reshape(-1, 2) for ring in rings))
            for meaning, *rings in one.areas
        )
        for area in areas:
            require(area.meaning in CLASSES and len(area.rings) > 0, "outline", "a class and rings", area.meaning)
            sound = all(len(ring) >= 3 and np.isfinite(ring).all() for ring in area.rings)
            require(sound, "ring", "3 points or more", area.meaning)
        return areas
    except (TypeError, ValueError) as error:
        raise InputError(f"journal: the outlines of {one.key} are damaged ({error}); restore journal.sqlite") from error


Progress = Callable[[int, int, str], None]
"""Called as (frames done, frames in all, key of the frame just done)."""
