"""What all formats of users' own sets share: how one is named, where its pictures are, how it is split."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from crackmap.calibration.errors import InputError, require
from crackmap.calibration.files import is_no_file
from crackmap.stages.datasets.labels import IMAGE_SUFFIXES, LabelledImage

SPLIT_FILE = "split.csv"
"""In the folder of a set: columns `image` (name, with or without suffix) and `split` (train, val or test)."""


@dataclass(frozen=True, slots=True)
class Source:
    """A user's set as it was named.

    Attributes:
        text: the name as given, for messages.
        format: which reader.
        path: its file or folder.
        options: what the name says beside, by option.
    """

    text: str
    format: str
    path: Path
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder the set lies in."""
        return self.path if self.path.is_dir() else self.path.parent

    def refuse_options(self, *known: str) -> None:
        """Refuses options that the format does not have.

        Raises:
            InputError: naming the option and those there are.
        """
        for name in self.options:
            require(name in known, f"{self.text}: option", ", ".join(known) or "none", name)

    def number(self, name: str, default: float) -> float:
        """An option as a number above 0.

        Raises:
            InputError: it is none.
        """
        text = self.options.get(name, str(default))
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        require(0 < value < float("inf"), f"{self.text}: {name}", "a number above 0", text)
        return value


def pictures_below(folder: Path) -> dict[str, Path]:
    """The pictures in `folder` and the folders in it, by their path in it with "/"; links to folders are not followed.

    Raises:
        InputError: no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"data set: expected a folder, got {str(folder)!r}; check the path")
    found: dict[str, Path] = {}
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(parent) / name
            if path.suffix.lower() in IMAGE_SUFFIXES and not is_no_file(path):
                found[path.relative_to(folder).as_posix()] = path
    return found


def without_suffix(name: str) -> str:
    """A path with "/" without the suffix of its last part."""
    return str(PurePosixPath(name).with_suffix("")) if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES else name


class Pictures:
    """Finds the picture that a file of labels means: by its path below the folder, else by its name alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._by_path = pictures_below(folder)
        self._by_name: dict[str, list[str]] = {}
        for relative in self._by_path:
            for key in {PurePosixPath(relative).name, PurePosixPath(relative).stem}:
                self._by_name.setdefault(key, []).append(relative)

    def find(self, said: str, labels: str) -> tuple[str, Path]:
        """The picture called `said`: its path in the folder with "/", and the file.

        What lies outside the folder is never opened, whatever `said` holds.

        Args:
            said: a path or name, as written by another machine perhaps.
            labels: the file that says so, for the message.

        Raises:
            InputError: no such picture, or several.
        """
        relative = said.replace("\\", "/")
        if relative in self._by_path:
            return relative, self._by_path[relative]
        found = self._by_name.get(PurePosixPath(relative).name, [])
        if len(found) == 1:
            return found[0], self._by_path[found[0]]
        if found:
            raise InputError(f"{labels}: {said!r} may be {found[0]} or {found[1]}; give its path, or rename one")
        raise InputError(f"{labels}: no picture {said!r} below {self._folder}; put it there, or name the folder of the "
                         "pictures with the option images=FOLDER")  # fmt: skip


def pictures_of(source: Source) -> Pictures:
    """The pictures of a set: those below its folder, or below that of the option `images`."""
    return Pictures(Path(source.options.get("images", source.folder)))


def hash_split(name: str) -> str:
    """The split that an image belongs to by its name alone: 80 % "train", 10 % "val", 10 % "test".

    Adding images moves none of the others. The first 8 bytes of the SHA-256 of the name are read as a number.
    """
    share = int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big") / 2**64
    return "train" if share < 0.8 else "val" if share < 0.9 else "test"


def in_split(images: Sequence[LabelledImage], split: str, folder: Path) -> list[LabelledImage]:
    """Those of one split ("train", "val", "test" or "all"): by the split.csv in `folder` if there is one, else by hash.

    split.csv may leave out the folders of an image if no other has its name. Images that it does not name belong to no
    split, not even to "all".

    Raises:
        InputError: split.csv has other columns or splits, names an image that is not there, or puts one into two.
    """
    path = folder / SPLIT_FILE
    if not path.is_file():
        return [image for image in images if split in ("all", hash_split(image.name))]
    said = _splits_of(images, _read_splits(path), path)
    return [image for image in images if image.name in said and split in ("all", said[image.name])]


def _splits_of(images: Sequence[LabelledImage], rows: Sequence[tuple[str, str]], path: Path) -> dict[str, str]:
    """Split by name of an image."""
    by_name: dict[str, list[str]] = {}
    for image in images:
        by_name.setdefault(PurePosixPath(image.name).name, []).append(image.name)
    known = {image.name: image.name for image in images}
    known |= {name: found[0] for name, found in by_name.items() if len(found) == 1 and name not in known}
    missing = sorted({name for name, _ in rows} - set(known))
    if missing:
        raise InputError(f"{path}: no image {missing[0]!r} in the set ({len(missing)} such); correct the file")
    said: dict[str, str] = {}
    for name, split in rows:
        before = said.setdefault(known[name], split)
        require(before == split, f"{path}: {name}", "one split; take one of its rows away", f"{before} and {split}")
    return said


def _read_splits(path: Path) -> list[tuple[str, str]]:
    """Image, without suffix, and split of each row."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error}); save it as CSV in UTF-8") from error
    said: list[tuple[str, str]] = []
    for row in rows:
        image, split = row.get("image"), row.get("split")
        require(image is not None and split is not None, str(path), "the columns image and split", sorted(
            key for key in row if key is not None))  # fmt: skip
        require(split in ("train", "val", "test"), f"{path}: split of {image}", "train, val or test", split)
        said.append((without_suffix(str(image)), str(split)))
    return said
