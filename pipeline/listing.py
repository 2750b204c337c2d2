"""Which files of a survey folder are frames, what their names say, and in which order they come."""

from __future__ import annotations

import math
import os
import re
import signal
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase, translate
from functools import lru_cache
from pathlib import Path
from typing import Protocol, TypeVar

from crackmap.calibration.errors import InputError
from crackmap.pipeline.config import CameraConfig, FramesConfig, PositionConfig
from crackmap.pipeline.images import ImageHeader, read_header
from crackmap.pipeline.storage.shadow import fetch_heads

_DIGITS = re.compile(r"([0-9]+)")

RUN_FILE = "journal.sqlite"
"""A folder with this file holds the products of a run, not frames."""

RUN_FOLDERS = ("masks", "strips")
"""Where a run puts its images, in a survey folder that is the output folder too."""

NAMES_S, NAME_S = 10.0, 0.001
"""Longest time that reading names by a pattern may take, and the share of each name; it takes some 5 µs."""


class OfRecording(Protocol):
    """What belongs to a recording: an entry, a frame."""

    @property
    def recording(self) -> str:
        """Its name."""


_Recorded = TypeVar("_Recorded", bound=OfRecording)

Skipped = tuple[str, str]
"""Key of an image that cannot be a frame, and why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of a survey, before it is known where it lies.

    Attributes:
        key: path relative to the survey folder, with forward slashes.
        path: where the file is.
        header: its size and georeference.
        recording: from its name, else its folder.
        chainage_m, time_s: from its name, in metres and in seconds of the track's clock; None if not there.
        sequence, camera, lane: from its name, or empty.
        distance_m: from its name: what the vehicle's odometer read.
    """

    key: str
    path: Path
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


@dataclass(frozen=True, slots=True)
class Listing:
    """The images of a survey.

    Attributes:
        entries: by recording, chainage, time, sequence and name.
        skipped: images whose name or header cannot be read, and why, by key.
        unreadable: keys of those whose header cannot be read.
        links: links to files and folders that were not followed.
        named: key -> what the name says, of every image whose name can be read, also of skipped ones; sizes are (0, 0).
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
        root, name, paths = source.parent, source.stem, {_as_text(source.name): source}
    else:
        root, name = source, source.resolve().name
        files, links = _files(root, follow_links=follow_links)
        chosen = _chosen(files, frames)
        if not chosen:
            raise InputError(_nothing_found(root, frames, files, links))
        paths = _keyed(root, chosen)
    named: dict[str, Entry] = {}
    failed: dict[str, str] = {}
    with _patience(len(paths), frames.pattern):
        for key, path in paths.items():
            try:
                entry = entry_from_name(path, key, frames, position, name)
                named[key] = _of_camera(entry, frames, cameras, name) if cameras else entry
            except InputError as error:
                failed[key] = str(error)
    if position.source == "counter" and position.step_m is not None:
        # Before headers are read: an image that cannot be read must not move the chainage of the others.
        named = _count_chainage(named, position.step_m)
    fetch_heads(entry.path for entry in named.values())
    entries: list[Entry] = []
    unreadable = set()
    for key, entry in named.items():
        try:
            entries.append(_with_header(entry, read_header(entry.path)))
        except InputError as error:
            failed[key] = str(error).removeprefix(f"{entry.path.name}: ")
            unreadable.add(key)
    skipped = [(key, failed[key]) for key in paths if key in failed]
    if not entries:
        key, reason = skipped[0]
        raise InputError(f"{source.name}: none of {len(skipped)} images can be used; the first, {key}: {reason}")
    in_order = sorted(skipped, key=lambda item: natural_key(item[0]))
    return Listing(sorted(entries, key=_order), in_order, named, frozenset(unreadable), links)


def _with_header(entry: Entry, header: ImageHeader) -> Entry:
    # As `replace` does in three times the time.
    return Entry(
        entry.key, entry.path, header, entry.recording, entry.chainage_m, entry.time_s, entry.sequence, entry.camera,
        entry.lane, entry.distance_m,
    )  # fmt: skip


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


def by_recording(items: Iterable[_Recorded]) -> dict[str, list[_Recorded]]:
    """Entries or frames by their recording, in the order of its first one."""
    groups: dict[str, list[_Recorded]] = {}
    for item in items:
        groups.setdefault(item.recording, []).append(item)
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
    links, gone_through = 0, set()
    for folder, inner, names in os.walk(root, onerror=_refuse_folder, followlinks=follow_links):
        real = os.path.realpath(folder)
        if real in gone_through:
            inner.clear()
            continue
        gone_through.add(real)
        produced: tuple[str, ...] = ()
        if RUN_FILE in names:
            if Path(folder) != root:
                inner.clear()
                continue
            produced = RUN_FOLDERS
        inner[:] = sorted(name for name in inner if not name.startswith(".") and name not in produced)
        names = [name for name in names if not name.startswith(".")]
        if not follow_links:
            linked = {name for name in (*inner, *names) if os.path.islink(f"{folder}/{name}")}  # noqa: PTH114
            links += len(linked)
            names = [name for name in names if name not in linked]
        below = Path(folder).relative_to(root).as_posix()
        files += names if below == "." else [f"{below}/{name}" for name in names]
    return sorted(files), links


def _keyed(root: Path, files: list[str]) -> dict[str, Path]:
    """Key -> path of files; bytes of a name that are no text are written as «\\xff»."""
    paths: dict[str, Path] = {}
    alike: dict[str, str] = {}
    for file in files:
        key = file if file.isascii() else _as_text(file)
        folded = key.casefold() if key.isascii() else unicodedata.normalize("NFC", key).casefold()
        before = alike.setdefault(folded, key)
        if key in paths or before != key:
            raise InputError(
                f"{root.name}: {before!r} and {key!r} are one name on other file systems, and their results would "
                "be mixed up; rename one, or keep them in folders of their own"
            )
        paths[key] = root / file
    return paths


def _as_text(file: str) -> str:
    return os.fsencode(file).decode("utf-8", "backslashreplace")


def _refuse_folder(error: OSError) -> None:
    raise InputError(
        f"{error.filename}: this folder cannot be read ({error.strerror}), and its images would be missing; "
        "give yourself the right to read it, or move it out of the survey folder"
    ) from error


def _chosen(files: list[str], frames: FramesConfig) -> list[str]:
    """Those that are frames by their names; a million are matched at once."""
    included, excluded = (_by_globs(globs) for globs in (frames.include, frames.exclude))
    return [file for file in files if included(file) and not excluded(file)]


def _by_globs(globs: tuple[str, ...]) -> Callable[[str], object]:
    """As `_matches`, for many names."""
    if not globs:
        return lambda key: False
    if any("/" in glob for glob in globs):
        return lambda key: _matches(key, globs)
    match = re.compile("|".join(translate(glob.lower()) for glob in globs)).match
    return lambda key: match(key.lower().rpartition("/")[2])


def _matches(key: str, globs: tuple[str, ...]) -> bool:
    path, name = key.lower(), key.lower().rpartition("/")[2]
    return any(fnmatchcase(path if "/" in glob else name, glob.lower()) for glob in globs)


def _of_camera(entry: Entry, frames: FramesConfig, cameras: Mapping[str, CameraConfig], name: str) -> Entry:
    """The entry with its camera. Folders that only tell cameras apart do not tell recordings apart."""
    camera = _camera_of(entry, cameras)
    if "recording" in frames.groups:
        return replace(entry, camera=camera)
    folders = entry.key.split("/")[:-1]
    glob = next((glob for glob in cameras[camera].match if _matches(entry.key, (glob,))), "")
    for part in [*glob.split("/")[:-1], camera]:
        same = [folder for folder in folders if fnmatchcase(folder.lower(), part.lower())]
        if same and part.strip("*?"):
            folders.remove(same[0])
    return replace(entry, camera=camera, recording="/".join(folders) or name)


def _camera_of(entry: Entry, cameras: Mapping[str, CameraConfig]) -> str:
    if entry.camera:
        if entry.camera not in cameras:
            raise InputError(f"camera {entry.camera!r} of its name is none of [cameras] ({', '.join(cameras)})")
        return entry.camera
    found = [name for name, camera in cameras.items() if _matches(entry.key, camera.match)]
    if len(found) != 1:
        raise InputError(f"expected one camera to match it, got {', '.join(found) or 'none'}; check [cameras] match")
    return found[0]


def entry_from_name(path: Path, key: str, frames: FramesConfig, position: PositionConfig, name: str) -> Entry:
    """What an image's name says; its size is left (0, 0).

    Args:
        path: the image.
        key: its path below the survey folder.
        frames: holds the pattern names are read by.
        position: holds the units of chainage and time.
        name: recording of images without one that lie in the survey folder itself.

    Raises:
        InputError: the name does not fit the pattern, or holds no number where one is expected.
    """
    said: dict[str, str | None] = {}
    if frames.pattern is not None:
        match = re.search(frames.pattern, key)
        if match is None:
            raise InputError("its name does not fit [frames] pattern")
        said = match.groupdict()
    chainage, time, distance = (_number(said, group) for group in ("chainage_m", "time_s", "distance_m"))
    offset_s = position.time_offset_s if isinstance(position.time_offset_s, float) else 0.0
    return Entry(
        key=key,
        path=path,
        header=ImageHeader((0, 0)),
        recording=said.get("recording") or key.rpartition("/")[0] or name,
        chainage_m=None if chainage is None else chainage * position.chainage_scale,
        time_s=None if time is None else time * position.time_scale + offset_s,
        sequence=_counter(said, position),
        camera=said.get("camera") or "",
        lane=said.get("lane") or "",
        distance_m=None if distance is None else distance * position.distance_scale + position.distance_offset_m,
    )


def _count_chainage(named: dict[str, Entry], step_m: float) -> dict[str, Entry]:
    """The entries with the chainage their counter says, from the named chainage (or 0) of the first of each stream."""
    first: dict[tuple[str, str], tuple[int, float]] = {}
    for entry in named.values():
        start = (int(entry.sequence), entry.chainage_m or 0.0)
        first[entry.stream] = min(first.get(entry.stream, start), start)
    result = {}
    for key, entry in named.items():
        count, start_m = first[entry.stream]
        result[key] = replace(entry, chainage_m=start_m + (int(entry.sequence) - count) * step_m)
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


@lru_cache(maxsize=1024)
def _natural_recording(name: str) -> list[str | int]:
    return natural_key(name)


def _order(entry: Entry) -> tuple[list[str | int], str, str, float, float, list[str | int], list[str | int]]:
    # The names themselves settle what is equal in natural order, such as a1 and a01.
    return (
        _natural_recording(entry.recording), entry.recording, entry.camera, entry.chainage_m or 0.0,
        entry.time_s or entry.distance_m or 0.0, natural_key(entry.sequence) if entry.sequence else [""],
        natural_key(entry.key),
    )  # fmt: skip


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
