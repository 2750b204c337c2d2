"""What must be equal for finished frames to be taken over: the settings, and what decides a frame's numbers."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, TypeVar

from crackmap.calibration.errors import OutputLockedError, UnreadableImageError
from crackmap.pipeline.config import named_files
from crackmap.pipeline.frame import StageSettings
from crackmap.pipeline.frame_table import keys_of
from crackmap.pipeline.journal import Finished, Journal, JournalRow
from crackmap.pipeline.products.publish import sha256_of
from crackmap.pipeline.records import Frame
from crackmap.pipeline.storage.shadow import real_file
from crackmap.pipeline.survey import Survey

_Row = TypeVar("_Row", JournalRow, Finished)


class Nets(Protocol):
    """What decides numbers of nets, wherever they are loaded: as in `Stages`."""

    @property
    def weights(self) -> Mapping[str, str]:
        """Name -> sha256 of the weight files."""

    @property
    def engine(self) -> str:
        """What computes them."""


def run_identity(survey: Survey, nets: Nets, settings: StageSettings) -> dict[str, Any]:
    """What must be equal for two runs to give the same numbers, as plain JSON values."""
    return {
        "crackmap": version("crackmap"),
        "survey": survey_identity(survey),
        "settings": _plain(asdict(settings)),
        "weights": dict(nets.weights),
        "engine": nets.engine,
    }


def survey_identity(survey: Survey) -> dict[str, Any]:
    """How a survey is described, and the content of the files that its description names, as plain JSON values."""
    facts = {
        "path": survey.source["path"],
        "gsd_mm": survey.source["gsd_mm"],
        # The route only enters when results are put together; where it places frames, their hash tells.
        "description": survey.config.model_dump(mode="json", exclude={"route"}),
        "files": {name: sha256_of(survey.root / name) for name in named_files(survey.config)},
    }
    return dict(_plain(facts))


def _plain(value: Any) -> Any:
    """As it comes back from JSON: tuples as lists."""
    return json.loads(json.dumps(value))


def check_identity(journal: Journal, identity: Mapping[str, Any], out: Path, *, rerun_changed: bool) -> None:
    """Sets the identity of a journal's run; refuses another one than it has, unless `rerun_changed`.

    Raises:
        OutputLockedError: saying what differs.
    """
    before = journal.fact("settings")
    if before == identity:
        return
    if before is not None and not rerun_changed:
        changed = ", ".join(_changes(before, identity))
        raise OutputLockedError(
            f"{out}: holds a run with another configuration ({changed} differ); "
            "choose another -o, or give --rerun-changed to replace it"
        )
    # Until the new run has finished there is nothing that `rebuild` could publish.
    journal.set_fact("source", None)
    journal.set_fact("settings", identity)


def _changes(before: Mapping[str, Any], identity: Mapping[str, Any]) -> list[str]:
    """What differs: the parts of an identity, and the files that survey.toml names."""
    parts = sorted(name for name in identity if before.get(name) != identity[name])
    old, new = (part.get("survey", {}).get("files", {}) for part in (before, identity))
    return [*parts, *sorted(name for name in {*old, *new} if old.get(name) != new.get(name))]


def with_rows(keys: Sequence[str], rows: Iterator[_Row]) -> Iterator[tuple[int, _Row | None]]:
    """Yields the place of every key and its row, None if there is none.

    Rows come in the order of their keys as text, so that a million of them need not be in memory at once.
    """
    row = next(rows, None)
    for place in sorted(range(len(keys)), key=keys.__getitem__):
        while row is not None and row.key < keys[place]:
            row = next(rows, None)
        yield place, row if row is not None and row.key == keys[place] else None
    # Those of no frame are read too: a damaged row must not pass because it sorts behind the last frame.
    for _ in rows:
        pass


def measured_rows(survey: Survey, journal: Journal) -> Iterator[tuple[int, JournalRow, bool]]:
    """Yields place and row of all frames of a survey, and whether each was measured where its frame lies now.

    Raises:
        InputError: as `Journal.rows`.
    """
    frames, hash_of = survey.measurable, frame_hasher(survey, journal)
    for place, row in with_rows(keys_of(frames), journal.rows()):
        if row is not None:
            yield place, row, hash_of(frames[place]) == row.frame_hash


def frame_hasher(survey: Survey, journal: Journal) -> Callable[[Frame], str]:
    """What hashes all that decides a frame's numbers and the place of its mask: run, ground plane, strip, place.

    A ground plane fitted to all frames of a recording changes when frames are added: then its frames are done again.
    """
    run = hashlib.sha256((json.dumps(journal.fact("settings"), sort_keys=True) + survey.output.crs_wkt).encode())
    planes: dict[int, str] = {}

    def of(frame: Frame) -> str:
        plane = frame.ground
        if id(plane) not in planes:
            ground = plane and (
                plane.ground_from_pixel.tolist(), asdict(plane.limits), plane.u_scale, plane.lens and asdict(plane.lens)
            )  # fmt: skip
            planes[id(plane)] = json.dumps(ground)
        (x, y), owns = frame.placement.origin_xy, frame.owns_y_m
        # As `json` writes them, in a quarter of the time: finite numbers and null.
        strip = "null" if owns is None else f"[{owns[0]!r}, {owns[1]!r}]"
        place = f'{{"origin_xy": [{x!r}, {y!r}], "azimuth_deg": {frame.placement.azimuth_deg!r}}}'
        drive = "null" if frame.chainage_m is None else repr(frame.chainage_m)
        width, height = frame.size_wh_px
        hashed = run.copy()
        hashed.update(f"[{planes[id(plane)]}, {strip}, {place}, {drive}, [{width}, {height}]]".encode())
        return hashed.hexdigest()

    return of


def file_identity(path: Path | str) -> tuple[int, int]:
    """Size in bytes and time of the last change, nanoseconds. A path of text is looked up in a third of the time."""
    stat = os.stat(path)  # noqa: PTH116
    return stat.st_size, stat.st_mtime_ns


def still_valid(row: JournalRow | Finished, frame: Frame, frame_hash: str, masks: Path, *, content: bool) -> bool:
    """Whether a finished frame needs not be done again: same image file, same decisions, mask in place.

    Args:
        row: of the frame.
        frame: as it is now.
        frame_hash: of what decides its numbers now.
        masks: folder of the mask files.
        content: compare the content of both files, not only their sizes and the image's time.
    """
    if row.status not in ("ok", "no_crack") or row.frame_hash != frame_hash:
        return False
    mask = f"{masks}/{row.mask_name}"
    try:
        if (row.input_bytes, row.input_mtime_ns) != file_identity(frame.file):
            return False
        if os.stat(mask).st_size != row.mask_bytes:  # noqa: PTH116
            return False
        return not content or (_picture_sha256(frame.path), sha256_of(Path(mask))) == (
            row.input_sha256,
            row.mask_sha256,
        )
    except OSError:
        return False


def _picture_sha256(path: Path) -> str:
    """Hash of an image's content; empty where it is another one than was listed."""
    try:
        with real_file(path) as file:
            return sha256_of(file)
    except UnreadableImageError:
        return ""
