"""Frames of a finished run, written to a folder in which a person corrects them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crackmap.calibration.errors import InputError, StorageError, require
from crackmap.pipeline.assembly.kept import copies, picture_of
from crackmap.pipeline.frame_table import keys_of
from crackmap.pipeline.images import LIMIT_PX
from crackmap.pipeline.journal import CORRECTED, Journal, JournalRow
from crackmap.pipeline.products.publish import sha256_of
from crackmap.pipeline.records import Frame
from crackmap.pipeline.review.corrections import Progress, current_areas
from crackmap.pipeline.review.names import export_name
from crackmap.pipeline.review.writing import WRITERS, Exported, images_folder, training_name
from crackmap.pipeline.run import reopened
from crackmap.pipeline.storage.shadow import real_file
from crackmap.pipeline.survey import Survey

_PARTIAL_PREFIX = ".exporting-"


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """What was written.

    Attributes:
        frames: their number.
        outlines: of cracks, sealed cracks and joints.
        training_name: how training names the folder, for the format "pairs"; empty for the others.
    """

    frames: int
    outlines: int
    training_name: str


def export_frames(
    out: Path, folder: Path, kind: str, chosen: Sequence[str], *, progress: Progress = lambda done, total, key: None
) -> ExportSummary:
    """Writes images, as copies, and the outlines of their cracks to `folder`, which must be new or empty.

    Args:
        out: the output folder of a finished run; nothing in it is changed.
        folder: appears whole or not at all.
        kind: one of WRITERS.
        chosen: frames: «worst:N» with the greatest crack length, «all», «corrected», a .txt file with a key in each
            line, or keys.
        progress: told after every frame.

    Raises:
        InputError: there is no finished run, no such frame, an image has changed, or `folder` cannot be taken.
        OutputLockedError: `out` is in use, or its survey is described differently now.
        StorageError: `folder` cannot be written.
    """
    require(kind in WRITERS, "format", ", ".join(WRITERS), kind)
    with reopened(out) as (survey, journal):
        _check_folder(folder, survey)
        rows = reviewable(survey, journal)
        keys, known = _keys(chosen, rows), frames_by_key(survey)
        partial = folder.absolute().parent / f"{_PARTIAL_PREFIX}{folder.name}"
        try:
            shutil.rmtree(partial, ignore_errors=True)
            images = images_folder(partial, kind)
            images.mkdir(parents=True)
            frames = []
            for done, key in enumerate(keys, start=1):
                frames.append(_copied(rows[key], known[key], journal, images))
                progress(done, len(keys), key)
            WRITERS[kind](partial, frames)
            partial.rename(folder.absolute())
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"{folder}: could not be written ({error.strerror}); make room or choose another -o") \
                from error  # fmt: skip
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    name = training_name(folder, frames) if kind == "pairs" else ""
    return ExportSummary(len(frames), sum(len(frame.areas) for frame in frames), name)


def reviewable(survey: Survey, journal: Journal) -> dict[str, JournalRow]:
    """The rows of frames that a person can correct, by key: those that were measured and are no copies of others."""
    keys = keys_of(survey.measurable)
    known = set(keys)
    rows = {row.key: row for row in journal.rows() if row.key in known}
    pictures = [picture_of(rows[key].input_sha256) if key in rows else b"" for key in keys]
    twins = {keys[place] for place in copies(pictures)}
    return {key: row for key, row in rows.items() if row.status in ("ok", "no_crack") and key not in twins}


def frames_by_key(survey: Survey) -> Mapping[str, Frame]:
    """The frames that are measured."""
    return {frame.key: frame for frame in survey.measurable}


def _check_folder(folder: Path, survey: Survey) -> None:
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder}: is there and not empty; choose another -o, or corrections in it would be lost")
    root = survey.root.resolve()
    if root.is_dir() and folder.resolve().is_relative_to(root):
        raise InputError(f"{folder}: lies in the survey folder, where the next run would take the copies for frames; "
                         "choose another -o")  # fmt: skip


def _keys(chosen: Sequence[str], rows: Mapping[str, JournalRow]) -> list[str]:
    """The keys of the chosen frames, each once, in order of choice."""
    keys: list[str] = []
    for item in chosen:
        kind, _, count = item.partition(":")
        if item == "all":
            keys += rows
        elif item == CORRECTED:
            keys += [key for key, row in rows.items() if row.source == CORRECTED]
        elif kind == "worst" and item not in rows:
            require(count.isascii() and count.isdigit() and 0 < int(count) < 10**9, "--frames worst", "worst:50", item)
            cracked = [row for row in rows.values() if row.crack_length_px > 0]
            worst = sorted(cracked, key=lambda row: (-row.crack_length_px, row.key))
            keys += [row.key for row in worst[: int(count)]]
        elif item.lower().endswith(".txt") and item not in rows:
            keys += [_known(key, rows, item) for key in _listed(Path(item))]
        else:
            keys.append(_known(item, rows, "--frames"))
    if not keys:
        raise InputError(f"--frames {' '.join(chosen)}: no such frame in this run; choose others")
    return list(dict.fromkeys(keys))


def _listed(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error}); write a key in each line") from error
    return [line.strip() for line in lines if line.strip()]


def _known(key: str, rows: Mapping[str, JournalRow], where: str) -> str:
    if key not in rows:
        raise InputError(f"{where}: {key!r} is no frame that was measured; the column key of the frames layer in "
                         "crackmap.gpkg lists them")  # fmt: skip
    return key


def _copied(row: JournalRow, frame: Frame, journal: Journal, images: Path) -> Exported:
    """A frame with its image in `images`, the content of the file that was run, never a link to it."""
    width, height = frame.size_wh_px
    if width * height > LIMIT_PX:
        raise InputError(f"{row.key}: {width} x {height} px are more than annotation tools open; cut the raster into "
                         "tiles and run those")  # fmt: skip
    name = export_name(row.key)
    copy = images / name
    try:
        with real_file(frame.path) as file:
            shutil.copyfile(file, copy)
    except FileNotFoundError as error:
        raise InputError(f"{frame.path}: is gone; restore it, or export other frames") from error
    if sha256_of(copy) != row.input_sha256:
        raise InputError(f"{row.key}: the image has changed since it was run; run the same `crackmap run` again")
    return Exported(name, frame.size_wh_px, current_areas(journal, row, frame))
