"""Which files of a survey folder are frames, what their names say, and in which order they come."""

from __future__ import annotations

import math
import os
import re
import signal
import sys
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase, translate
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from crackmap.calibration.errors import InputError
from crackmap.pipeline.config import CameraConfig, FramesConfig, PositionConfig
from crackmap.pipeline.images import ImageHeader, read_header
from crackmap.pipeline.storage.shadow import fetch_heads

_DIGITS = re.compile(r"([0-9]+)")

RUN_FILE = "journal.sqlite"
"""A folder with this file holds the products of a run, not frames."""

_NO_HEADER = ImageHeader((0, 0))

RUN_FOLDERS = ("masks", "strips")
"""Where a run puts its images, in a survey folder that is the output folder too."""

NAMES_S, NAME_S = 10.0, 0.001
"""Longest time that reading names by a pattern may take, and the share of each name; it takes some 5 µs."""


Skipped = tuple[str, str]
"""Key of an image that cannot be a frame, and why."""

View = tuple[str, str, tuple[int, int]]
"""Recording, camera and size of image: frames that have them in common have one ground plane."""


class Entry(NamedTuple):
    """One image of a survey, before it is known where it lies.

    A million are in memory at once, so they are tuples, and what is the same for many of them is one object.

    Attributes:
        key: path relative to the survey folder, with forward slashes.
        root: the survey folder.
        file: path below it as the file system has it: the key, but for bytes that are no text.
        header: its size and georeference.
        recording: from its name, else its folder.
        chainage_m, time_s: from its name, in metres and in seconds of the track's clock; None if not there.
        sequence, camera, lane: from its name, or empty.
        distance_m: from its name: what the vehicle's odometer read.
    """

    key: str
    root: Path
    file: str
    header: ImageHeader
    recording: str
    chainage_m: float | None = None
    time_s: float | None = None
    sequence: str = ""
    camera: str = ""
    lane: str = ""
    distance_m: float | None = None

    @property
    def stream(self) -> tuple[str, str]:
        """Recording and camera."""
        return self.recording, self.camera

    @property
    def view(self) -> View:
        """What decides its ground plane."""
        return self.recording, self.camera, self.header.size_wh_px

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self.root / self.file


@dataclass(frozen=True, slots=True)
class Listing:
    """The images of a survey.

    Attributes:
        entries: by recording, camera, chainage, time, sequence and name.
        skipped: images whose name or header cannot be read, and why, by key.
        unreadable: keys of those whose header cannot be read.
        links: links to files and folders that were not followed.
        named: key -> what the name says, of skipped images whose name can be read; sizes are (0, 0).
    """

    entries: list[Entry]
    skipped: list[Skipped]
    named: dict[str, Entry]
    unreadable: frozenset[str] = frozenset()
    links: int = 0


def list_entries(
    source: Path,
    frames: FramesConfig,
    position: PositionConfig,
    cameras: Mapping[str, CameraConfig] | None = None,
    *,
    follow_links: bool = False,
) -> Listing:
    """The images of a folder, or the one image given.

    Args:
        source: folder or image.
        frames: which files are frames, and the pattern of their names.
        position: the units of what the names say.
        cameras: of the vehicle, where it has several.
        follow_links: take links to files and folders for what they lead to.

    Raises:
        InputError: no image is found, none can be read, a sub-folder cannot be read, or two names are one on file
            systems that do not tell large letters from small ones, or one Unicode form from another.
    """
    links = 0
    if source.is_file():
        root, name, files = source.parent, source.stem, [source.name]
    else:
        root, name = source, source.resolve().name
        files, links = _files(root, follow_links=follow_links)
        found, files = files, _chosen(files, frames)
        if not files:
            raise InputError(_nothing_found(root, frames, found, links))
    entries, failed = _named(root, _by_key(root, files), frames, position, cameras, name)
    if position.source == "counter" and position.step_m is not None:
        # Before headers are read: an image that cannot be read must not move the chainage of the others.
        entries = _count_chainage(entries, position.step_m)
    fetch_heads(entry.path for entry in entries)
    unreadable = _read_headers(entries, failed)
    entries = [entry for entry in entries if entry.key not in unreadable] if unreadable else entries
    skipped = [(key, failed[key]) for key in sorted(failed, key=lambda key: (natural_key(key), key))]
    if not entries:
        key, reason = min(skipped)
        raise InputError(f"{source.name}: none of {len(skipped)} images can be used; the first, {key}: {reason}")
    return Listing(_in_order(entries), skipped, unreadable, frozenset(unreadable), links)


def _named(
    root: Path,
    spelled: Mapping[str, str],
    frames: FramesConfig,
    position: PositionConfig,
    cameras: Mapping[str, CameraConfig] | None,
    name: str,
) -> tuple[list[Entry], dict[str, str]]:
    """What the names say; and key -> why, of those that cannot be read."""
    pattern = None if frames.pattern is None else re.compile(frames.pattern)
    entries: list[Entry] = []
    failed: dict[str, str] = {}
    with _patience(len(spelled), frames.pattern):
        for key, file in spelled.items():
            try:
                entry = _entry_from_name(root, key, file, pattern, position, name)
                entries.append(_of_camera(entry, frames, cameras, name) if cameras else entry)
            except InputError as error:
                failed[key] = str(error)
    return entries, failed


def _read_headers(entries: list[Entry], failed: dict[str, str]) -> dict[str, Entry]:
    """Gives the entries their headers; key -> entry of those that have none, whose reasons are added to `failed`."""
    unreadable: dict[str, Entry] = {}
    for place, entry in enumerate(entries):
        try:
            entries[place] = entry._replace(header=read_header(f"{entry.root}/{entry.file}"))
        except InputError as error:
            failed[entry.key] = str(error).removeprefix(f"{entry.path.name}: ")
            unreadable[entry.key] = entry
    return unreadable


@contextmanager
def _patience(names: int, pattern: str | None) -> Iterator[None]:
    """Ends reading names by a pattern that takes for ever: «(a+)+» on forty letters tries a million million ways.

    The alarm reaches the main thread alone; in any other, or where a host has set one, nothing watches.

    Raises:
        InputError: it took longer than NAMES_S and NAME_S for each name.
    """
    alone = threading.current_thread() is threading.main_thread() and signal.getitimer(signal.ITIMER_REAL)[0] == 0
    if pattern is None or not alone:
        yield
        return
    before = signal.signal(signal.SIGALRM, _out_of_patience)
    signal.setitimer(signal.ITIMER_REAL, NAMES_S + NAME_S * names)
    try:
        yield
    except TimeoutError as error:
        raise InputError(
            f"[frames] pattern takes too long on these names: {pattern!r}; take repetitions out of repetitions such as "
            "(a+)+ or (.*)*"
        ) from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _out_of_patience(_signal: int, _frame: object) -> None:
    raise TimeoutError


def by_recording(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Entries by their recording, in the order of its first one."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.recording, []).append(entry)
    return groups


def natural_key(text: str) -> list[str | int]:
    """Sort key in which img9 comes before img10."""
    parts: list[str | int] = list(_DIGITS.split(text))
    parts[1::2] = map(int, parts[1::2])
    return parts


def _files(root: Path, *, follow_links: bool) -> tuple[list[str], int]:
    """Paths below a folder of all files, in order, with "/", and the number of links that were left alone.

    Hidden files and the products of earlier runs are left out. A folder that links lead to in two ways is gone through
    once.
    """
    files: list[str] = []
    links, gone_through, waiting = 0, set(), [""]
    while waiting:
        below = waiting.pop()
        folder = f"{root}/{below}" if below else str(root)
        if follow_links:
            real = os.path.realpath(folder)
            if real in gone_through:
                continue
            gone_through.add(real)
        found = {item.name: item for item in _in_folder(folder) if not item.name.startswith(".")}
        folders = {name for name, item in found.items() if _is_folder(item)}
        produced = RUN_FOLDERS if RUN_FILE in found.keys() - folders else ()
        if produced and below:
            continue
        inner: list[str] = []
        for name, item in found.items():
            if name in folders and name in produced:
                continue
            if item.is_symlink() and not follow_links:
                links += 1
                continue
            (inner if name in folders else files).append(f"{below}/{name}" if below else name)
        waiting += sorted(inner, reverse=True)
    return sorted(files), links


def _is_folder(item: os.DirEntry[str]) -> bool:
    try:
        return item.is_dir()
    except OSError:
        # A link that leads back to itself.
        return False


def _in_folder(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError as error:
        raise InputError(
            f"{folder}: this folder cannot be read ({error.strerror}), and its images would be missing; "
            "give yourself the right to read it, or move it out of the survey folder"
        ) from error


def _by_key(root: Path, files: list[str]) -> dict[str, str]:
    """Key -> file; bytes of a name that are no text are written as «\\xff»."""
    spelled = {file if file.isascii() else _as_text(file): file for file in files}
    # A million numbers take half the room of as many names.
    if len({hash(_folded(key)) for key in spelled}) < len(files):
        _refuse_alike(root, files)
    return spelled


def _refuse_alike(root: Path, files: list[str]) -> None:
    """Raises InputError with the first two of the files that are one on some file systems."""
    alike: dict[str, str] = {}
    for key in map(_as_text, files):
        before = alike.get(_folded(key))
        if before is not None:
            raise InputError(
                f"{root.name}: {before!r} and {key!r} are one name on other file systems, and their results would "
                "be mixed up; rename one, or keep them in folders of their own"
            )
        alike[_folded(key)] = key


def _folded(key: str) -> str:
    return key.casefold() if key.isascii() else unicodedata.normalize("NFC", key).casefold()


def _as_text(file: str) -> str:
    return os.fsencode(file).decode("utf-8", "backslashreplace")


def _chosen(files: list[str], frames: FramesConfig) -> list[str]:
    """Those that are frames by their names; a million are matched at once."""
    included, excluded = (_by_globs(globs) for globs in (frames.include, frames.exclude))
    return [file for file in files if included(file) and not excluded(file)]


def _by_globs(globs: tuple[str, ...]) -> Callable[[str], object]:
    """As `_matches`, for many names."""
    if any("/" in glob for glob in globs):
        return lambda key: _matches(key, globs)
    lowered = [glob.lower() for glob in globs]
    # "*.jpg" and its like ask for an ending alone, which is told in a tenth of the time.
    endings = tuple(glob[1:] for glob in lowered if glob.startswith("*") and not set(glob[1:]) & set("*?["))
    patterns = [translate(glob) for glob in lowered if not glob.startswith("*") or glob[1:] not in endings]
    if not patterns:
        return lambda key: key.lower().endswith(endings)
    match = re.compile("|".join(patterns)).match
    return lambda key: (name := key.lower().rpartition("/")[2]).endswith(endings) or match(name)


def _matches(key: str, globs: tuple[str, ...]) -> bool:
    path, name = key.lower(), key.lower().rpartition("/")[2]
    return any(fnmatchcase(path if "/" in glob else name, glob.lower()) for glob in globs)


def _of_camera(entry: Entry, frames: FramesConfig, cameras: Mapping[str, CameraConfig], name: str) -> Entry:
    """The entry with its camera. Folders that only tell cameras apart do not tell recordings apart."""
    camera = _camera_of(entry, cameras)
    if "recording" in frames.groups:
        return entry._replace(camera=camera)
    folders = entry.key.split("/")[:-1]
    glob = next((glob for glob in cameras[camera].match if _matches(entry.key, (glob,))), "")
    for part in [*glob.split("/")[:-1], camera]:
        same = [folder for folder in folders if fnmatchcase(folder.lower(), part.lower())]
        if same and part.strip("*?"):
            folders.remove(same[0])
    return entry._replace(camera=camera, recording=sys.intern("/".join(folders) or name))


def _camera_of(entry: Entry, cameras: Mapping[str, CameraConfig]) -> str:
    if entry.camera:
        if entry.camera not in cameras:
            raise InputError(f"camera {entry.camera!r} of its name is none of [cameras] ({', '.join(cameras)})")
        return entry.camera
    found = [name for name, camera in cameras.items() if _matches(entry.key, camera.match)]
    if len(found) != 1:
        raise InputError(f"expected one camera to match it, got {', '.join(found) or 'none'}; check [cameras] match")
    return found[0]


def _entry_from_name(
    root: Path, key: str, file: str, pattern: re.Pattern[str] | None, position: PositionConfig, name: str
) -> Entry:
    """What an image's name says; its size is left (0, 0).

    Args:
        root: the survey folder.
        key: path below it.
        file: the same as the file system has it.
        pattern: names are read by it.
        position: holds the units of chainage and time.
        name: recording of images without one that lie in the survey folder itself.

    Raises:
        InputError: the name does not fit the pattern, or holds no number where one is expected.
    """
    said: dict[str, str | None] = {}
    if pattern is not None:
        match = pattern.search(key)
        if match is None:
            raise InputError("its name does not fit [frames] pattern")
        said = match.groupdict()
    chainage, time, distance = _number(said, "chainage_m"), _number(said, "time_s"), _number(said, "distance_m")
    offset_s = position.time_offset_s if isinstance(position.time_offset_s, float) else 0.0
    return Entry(
        key,
        root,
        file,
        _NO_HEADER,
        sys.intern(said.get("recording") or key.rpartition("/")[0] or name),
        None if chainage is None else chainage * position.chainage_scale,
        None if time is None else time * position.time_scale + offset_s,
        _counter(said, position),
        sys.intern(said.get("camera") or ""),
        sys.intern(said.get("lane") or ""),
        None if distance is None else distance * position.distance_scale + position.distance_offset_m,
    )


def _count_chainage(entries: Sequence[Entry], step_m: float) -> list[Entry]:
    """The entries with the chainage their counter says, from the named chainage (or 0) of the first of each stream."""
    first: dict[tuple[str, str], tuple[int, float]] = {}
    for entry in entries:
        start = (int(entry.sequence), entry.chainage_m or 0.0)
        first[entry.stream] = min(first.get(entry.stream, start), start)
    result = []
    for entry in entries:
        count, start_m = first[entry.stream]
        result.append(entry._replace(chainage_m=start_m + (int(entry.sequence) - count) * step_m))
    return result


def _counter(said: dict[str, str | None], position: PositionConfig) -> str:
    sequence = said.get("sequence") or ""
    if position.source == "counter" and not (sequence.isascii() and sequence.isdigit()):
        raise InputError(f"the group sequence of [frames] pattern found {sequence!r}, which is not a count")
    return sequence


def _number(said: dict[str, str | None], group: str) -> float | None:
    text = said.get(group)
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"the group {group} of [frames] pattern found {text!r}, which is not a number")
    return number


def _in_order(entries: list[Entry]) -> list[Entry]:
    """By recording, then as `_order` says.

    Keys to sort by take more memory than the entries: so they are made for one recording at a time, and kept only where
    its names, as text, are in another order.
    """
    groups = by_recording(entries)
    found: list[Entry] = []
    for name in sorted(groups, key=lambda name: (natural_key(name), name)):
        group = groups[name]
        ordered = all(_follows(before, after) for before, after in pairwise(group))
        found += group if ordered else sorted(group, key=_order)
    return found


def _follows(before: Entry, after: Entry) -> bool:
    """Whether two entries are in the order of `_order`; keys of text are made only where places do not tell."""
    first, then = _place(before), _place(after)
    return first < then or (first == then and _order(before) <= _order(after))


def _place(entry: Entry) -> tuple[str, float, float]:
    return entry.camera, entry.chainage_m or 0.0, entry.time_s or entry.distance_m or 0.0


def _order(entry: Entry) -> tuple[str, float, float, list[str | int], list[str | int]]:
    sequence: list[str | int] = natural_key(entry.sequence) if entry.sequence else [""]
    return (*_place(entry), sequence, natural_key(entry.key))


def _nothing_found(root: Path, frames: FramesConfig, files: list[str], links: int) -> str:
    kinds = Counter(Path(key).suffix.lower() or "no suffix" for key in files)
    there = ", ".join(f"{kinds[kind]} x {kind}" for kind in sorted(kinds, key=lambda kind: (-kinds[kind], kind)))
    without = f", without {', '.join(frames.exclude)}" if frames.exclude else ""
    linked = f" and {links} links, which are followed with --follow-links" if links else ""
    return (
        f"{root.name}: no image found; looked for {', '.join(frames.include)}{without}; the folder holds "
        f"{there or 'no file'}{linked}. Give the folder with the images, or say in survey.toml [frames] include which "
        "they are"
    )
