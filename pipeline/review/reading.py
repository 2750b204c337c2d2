"""Corrected annotations from files of strangers: read and checked as a whole before anything is done with them.

COCO and Labelme are read by the readers of training data, so that a shape has the same pixels in both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from crackmap.calibration.errors import InputError, UnreadableImageError, require
from crackmap.calibration.files import is_no_file
from crackmap.pipeline.images import open_image
from crackmap.pipeline.journal import Told
from crackmap.pipeline.products.rows import printable
from crackmap.pipeline.records import Frame
from crackmap.pipeline.review import cvat
from crackmap.pipeline.review.areas import CLASSES, MASK_VALUES, Area, areas_of_mask
from crackmap.pipeline.review.names import FrameNames
from crackmap.stages.datasets.coco import things_by_image
from crackmap.stages.datasets.drawn import Drawn, decode_runs
from crackmap.stages.datasets.jsonfiles import listed, size_of, text_of
from crackmap.stages.datasets.labelme import LINE_WIDTH_PX, files_below, thing_of_shape
from crackmap.stages.datasets.meanings import CRACK, IGNORE, KNOWN_NAMES, plain
from crackmap.stages.datasets.own import Source
from crackmap.stages.records import FloatArray

MOST_BYTES = 500_000_000
"""Of a file of annotations; ten thousand frames have less."""

MOST_NAME = 100
"""Characters of a stranger's name in a message."""

OUTSIDE_PX = 2.0
"""Tools let outlines reach beyond the picture by a hair; what reaches farther belongs to another one."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file says of one frame.

    Attributes:
        key: the frame.
        areas: its outlines, none where it has no crack.
        told: file and time; nobody is named yet.
        left_out: labels of other things than cracks, by name.
    """

    key: str
    areas: tuple[Area, ...]
    told: Told
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Shapes:
    """The outlines of one frame as they come together."""

    frame: Frame
    where: str
    areas: list[Area] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    def check_size(self, stated_wh: tuple[int, int] | None) -> None:
        if stated_wh != self.frame.size_wh_px:
            drawn = "of no stated size" if stated_wh is None else f"of {stated_wh[0]} x {stated_wh[1]} px"
            width, height = self.frame.size_wh_px
            raise InputError(f"{self.where}: drawn on an image {drawn}, {self.frame.key} has {width} x {height} px; "
                             "draw on the exported image")  # fmt: skip

    def add(self, label: str, thing: Drawn) -> None:
        meaning = self._meaning(label)
        if meaning is None:
            return
        if not thing.has_pixels:
            raise InputError(f"{self.where}: a {label!r} is a box, which does not say where the line is; outline it")
        for rings in thing.areas:
            self.areas.append(Area(meaning, tuple(self._inside(ring, label) for ring in rings)))
        if thing.counts is not None:
            width, height = self.frame.size_wh_px
            require(thing.counts_hw == (height, width), f"{self.where}: size of run lengths", f"{[height, width]}",
                    thing.counts_hw)  # fmt: skip
            try:
                mask = decode_runs(thing.counts, (height, width))
            except InputError as error:
                raise InputError(f"{self.where}: {error}; export it again") from error
            self.areas += areas_of_mask(mask, meaning)

    def reading(self, told: Told) -> Reading:
        return Reading(self.frame.key, tuple(self.areas), told, self.left_out)

    def _meaning(self, label: str) -> str | None:
        """What a label means here; None for a thing that is no crack."""
        meaning = KNOWN_NAMES.get(plain(label))
        if meaning is None or meaning == IGNORE:
            why = "is no name of a crack" if meaning is None else "marks an area and no line: outline the cracks in it"
            raise InputError(
                f"{self.where}: {printable(label)[:60]!r} {why}; the classes are crack, sealed_crack, joint"
            )
        if meaning not in CLASSES:
            self.left_out[label] = self.left_out.get(label, 0) + 1
            return None
        return meaning

    def _inside(self, ring: FloatArray, label: str) -> FloatArray:
        size = np.array(self.frame.size_wh_px, float)
        require(len(ring) >= 3, f"{self.where}: outline of {label!r}", "3 points or more", len(ring))
        far = ring[~((ring >= -OUTSIDE_PX) & (ring <= size + OUTSIDE_PX)).all(axis=1)]
        if len(far):
            raise InputError(f"{self.where}: an outline of {label!r} reaches to {far[0].tolist()}, outside of its "
                             f"{size.astype(int).tolist()} px; draw it again on the exported image")  # fmt: skip
        return np.clip(ring, 0.0, size).round(2)


def read_corrected(path: Path, kind: str, frames: Mapping[str, Frame]) -> tuple[str, list[Reading]]:
    """What a file or folder of corrected annotations says of the frames of a run.

    Args:
        path: one JSON of COCO, one XML of CVAT, a JSON of Labelme or a folder of them, a mask PNG or a folder of them.
        kind: one of READERS, or "auto".
        frames: of the run, by key.

    Returns:
        The format, and the readings in order of key.

    Raises:
        InputError: anything in it cannot be used; the message names file and remedy.
    """
    kind = _kind_of(path) if kind == "auto" else kind
    require(kind in READERS, "format", ", ".join((*READERS, "auto")), kind)
    names = FrameNames(frames)
    readings = sorted(READERS[kind](path, names, frames), key=lambda reading: reading.key)
    for one, following in pairwise(readings):
        if one.key == following.key:
            raise InputError(f"{path}: {one.key} is corrected twice, in {one.told.file} and {following.told.file}; "
                             "take one of them away")  # fmt: skip
    if not readings:
        raise InputError(f"{path}: holds no corrected frame; give what the annotation tool has saved")
    return kind, readings


def _kind_of(path: Path) -> str:
    if path.is_dir():
        found = [kind for kind, there in (
            ("cvat", (path / "annotations.xml").is_file()),
            ("pairs", (path / "masks").is_dir()),
            ("coco", (path / "annotations.json").is_file()),
        ) if there]  # fmt: skip
        if not found:
            found = ["labelme"] if files_below(path, ".json") else ["pairs"] if files_below(path, ".png") else []
    else:
        suffix = path.suffix.lower()
        found = {".xml": ["cvat"], ".png": ["pairs"]}.get(suffix, [])
        if suffix == ".json":
            found = ["labelme" if "shapes" in _json(path)[0] else "coco"]
    if len(found) != 1:
        raise InputError(f"{path}: {'may be ' + ' or '.join(found) if found else 'of no known format'}; give --format, "
                         "and of an archive what is in it")  # fmt: skip
    return found[0]


def _coco(path: Path, names: FrameNames, frames: Mapping[str, Frame]) -> list[Reading]:
    file = path / "annotations.json" if path.is_dir() else path
    stored, content = _json(file)
    where = file.name
    rows = listed(stored, "images", where)
    for name in ("images", "annotations", "categories"):
        for row in listed(stored, name, where):
            known = all(isinstance(row.get(key), int | str | None) for key in ("id", "image_id", "category_id"))
            require(known, f"{where}: {name}", "ids that are numbers", str(row)[:80])
    ids = {row.get("id"): row for row in rows}
    require(len(ids) == len(rows), f"{where}: images", "ids that occur once", len(rows) - len(ids))
    _check_labels((row.get("name") for row in listed(stored, "categories", where)), where)
    labels = {row.get("id"): str(row.get("name")) for row in stored["categories"]}
    things = things_by_image(stored, set(ids), Source(str(file), "coco", file), where)
    annotations: dict[Any, list[str]] = {}
    for row in stored["annotations"]:
        annotations.setdefault(row["image_id"], []).append(labels[row["category_id"]])
    info = stored.get("info")
    told = _told(file, content, str(info.get("date_created", "")) if isinstance(info, dict) else "")
    readings = []
    for number, row in ids.items():
        said = text_of(row, "file_name", f"{where}: image {number}")
        shapes = _Shapes(frames[names.find(said, where)], f"{where}: {printable(said)[:MOST_NAME]}")
        shapes.check_size(_wh(size_of(row, "width", "height")))
        for label, thing in zip(annotations.get(number, []), things.get(number, []), strict=True):
            shapes.add(label, thing)
        readings.append(shapes.reading(told))
    return readings


def _check_labels(labels: Any, where: str) -> None:
    """Refuses names without a meaning; the readers of training data would offer options that are none here."""
    for label in labels:
        require(isinstance(label, str) and plain(label) in KNOWN_NAMES, f"{where}: class",
                "crack, sealed_crack or joint", str(label)[:60])  # fmt: skip


def _labelme(path: Path, names: FrameNames, frames: Mapping[str, Frame]) -> list[Reading]:
    readings = []
    for file in files_below(path, ".json") if path.is_dir() else [path]:
        stored, content = _json(file)
        said = text_of(stored, "imagePath", file.name)
        # Labelme leads from its file to the image, which may lie in a folder beside.
        shapes = _Shapes(frames[names.find(said, file.name, parents=True)], file.name)
        shapes.check_size(_wh(size_of(stored, "imageWidth", "imageHeight")))
        for row in listed(stored, "shapes", file.name):
            label = text_of(row, "label", file.name)
            shapes.add(label, thing_of_shape(row, label, LINE_WIDTH_PX, file.name))
        readings.append(shapes.reading(_told(file, content)))
    return readings


def _cvat(path: Path, names: FrameNames, frames: Mapping[str, Frame]) -> list[Reading]:
    file = path / "annotations.xml" if path.is_dir() else path
    content = _content(file)
    root = cvat.read_root(content, file.name)
    told = _told(file, content, cvat.said_time(root))
    readings = []
    for image in root.iter("image"):
        said = image.get("name", "")
        where = f"{file.name}: {printable(said)[:MOST_NAME]}"
        shapes = _Shapes(frames[names.find(said, file.name)], where)
        shapes.check_size(cvat.size_wh_of(image, where))
        for label, thing in cvat.drawn_in(image, where):
            shapes.add(label, thing)
        readings.append(shapes.reading(told))
    return readings


def _masks(path: Path, names: FrameNames, frames: Mapping[str, Frame]) -> list[Reading]:
    folder = path / "masks" if (path / "masks").is_dir() else path
    readings = []
    for file in files_below(folder, ".png") if path.is_dir() else [path]:
        frame = frames[names.find_mask(file)]
        shapes = _Shapes(frame, file.name)
        content = _content(file)
        try:
            with open_image(file, limit_px=250_000_000) as source:
                shapes.check_size(source.size_wh_px)
                pixels = source.read_all()
        except UnreadableImageError as error:
            raise InputError(f"{error}; save the mask again") from error
        grey = pixels[..., 0]
        require(bool((pixels == grey[..., None]).all()), file.name, "grey values, one a pixel", "colours")
        for value, meaning in _values(grey, file.name).items():
            shapes.areas += areas_of_mask(grey == value, meaning)
        readings.append(shapes.reading(_told(file, content)))
    return readings


def _values(grey: np.ndarray[Any, np.dtype[np.uint8]], where: str) -> dict[int, str]:
    """Meaning by grey value: those that `crackmap export` writes, or 0 and one other value, which is crack."""
    found = set(np.unique(grey).tolist()) - {0}
    exported = {value: meaning for meaning, value in MASK_VALUES.items() if value in found}
    if found == set(exported):
        return exported
    if len(found) == 1:
        return {found.pop(): CRACK}
    values = ", ".join(f"{value} {meaning}" for meaning, value in MASK_VALUES.items())
    raise InputError(f"{where}: expected 0 and one other value, or 0, {values}; got {len(found)} values beside 0; "
                     "store it as PNG without smooth edges")  # fmt: skip


READERS: Mapping[str, Callable[[Path, FrameNames, Mapping[str, Frame]], list[Reading]]] = {
    "coco": _coco, "labelme": _labelme, "cvat": _cvat, "pairs": _masks,
}  # fmt: skip
"""Readers by the name of their format."""


def _content(file: Path) -> bytes:
    if is_no_file(file):
        raise InputError(f"{file}: expected a file; check the path")
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); check the path") from error
    if len(content) > MOST_BYTES:
        raise InputError(f"{file}: larger than {MOST_BYTES // 10**6} MB; export fewer frames at a time")
    return content


def _json(file: Path) -> tuple[dict[str, Any], bytes]:
    content = _content(file)
    try:
        stored = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not JSON in UTF-8 ({error}); save or export it again") from error
    require(isinstance(stored, dict), str(file), "a JSON object", type(stored).__name__)
    return dict(stored), content


def _wh(shape_hw: tuple[int, int] | None) -> tuple[int, int] | None:
    return None if shape_hw is None else (shape_hw[1], shape_hw[0])


def _told(file: Path, content: bytes, said: str = "") -> Told:
    """Where a reading comes from; the time is that of the file where it says none that can be read."""
    try:
        time = datetime.fromisoformat(said)
    except ValueError:
        time = datetime.fromtimestamp(int(file.stat().st_mtime), UTC)
    return Told("", printable(file.name), hashlib.sha256(content).hexdigest(), time.isoformat())
