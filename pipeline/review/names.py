"""The names that frames have in a folder for review, and which frame a name from there means."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from crackmap.calibration.errors import InputError
from crackmap.pipeline.products.masks import mask_name
from crackmap.stages.datasets.labels import IMAGE_SUFFIXES

_MASK_ENDINGS = ("_mask", "-mask", "_label", "_gt", "_crack")
"""What the name of a mask may add to that of its frame."""


def export_stem(key: str) -> str:
    """Name without suffix of a frame in a folder for review: readable, the same on every system, one for each key."""
    return Path(mask_name(key)).stem


def export_name(key: str) -> str:
    """`export_stem` with the suffix of the image."""
    suffix = PurePosixPath(key).suffix.lower()
    return export_stem(key) + (suffix if re.fullmatch(r"\.[a-z0-9]{1,5}", suffix) else "")


class FrameNames:
    """Finds the frame that a file of labels means; nothing is ever opened by such a name."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._by_name: dict[str, set[str]] = {}
        self._keys = frozenset(keys)
        for key in self._keys:
            path = PurePosixPath(key)
            for name in (export_stem(key), export_name(key), path.name, path.stem):
                self._by_name.setdefault(name, set()).add(key)

    def find(self, said: str, where: str, *, parents: bool = False) -> str:
        """The key of the frame called `said`.

        Args:
            said: its name in the folder for review, its key, or its own file name where no other frame has it; folders
                in front of a name do not count.
            where: the file that says so, for the message.
            parents: whether the name may lead through folders above, as those in Labelme's files do.

        Raises:
            InputError: no such frame, or several.
        """
        shown = repr(said[-100:])
        path = PurePosixPath(said.replace("\\", "/"))
        if path.as_posix() in self._keys:
            return path.as_posix()
        if not parents and (".." in path.parts or path.is_absolute() or re.match(r"[A-Za-z]:", said)):
            raise InputError(f"{where}: {shown} leads out of the folder of the images; name the images alone")
        found = self._by_name.get(path.name) or set()
        if not found and path.suffix.lower() in IMAGE_SUFFIXES:
            found = self._by_name.get(path.stem) or set()
        if len(found) > 1:
            first, second = sorted(found)[:2]
            raise InputError(f"{where}: {shown} may be {first} or {second}; use the names that `crackmap export` gave")
        if not found:
            raise InputError(f"{where}: {shown} is no frame of this run; leave it out, or give the OUT that it was "
                             "exported from")  # fmt: skip
        return next(iter(found))

    def find_mask(self, path: Path) -> str:
        """The key of the frame whose mask a file is, by its name.

        Raises:
            InputError: as `find`.
        """
        stems = [path.stem, *(path.stem[: -len(end)] for end in _MASK_ENDINGS if path.stem.lower().endswith(end))]
        known = [stem for stem in stems if stem in self._by_name]
        return self.find((known or stems)[0], path.name)
