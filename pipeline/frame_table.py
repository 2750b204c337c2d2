"""The frames of a survey in columns: a million of them take a fifth of the memory that as many objects would."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise, repeat
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.plane import GroundPlane
from crackmap.pipeline.listing import Entry
from crackmap.pipeline.records import Frame, Placement

AT_A_TIME = 1024
"""Frames whose numbers are turned into Python's at once."""

_X, _Y, _AZIMUTH, _CHAINAGE, _FROM, _TO, _TIME, _U_XY = range(8)

_ALONG_THE_DRIVE = [1.0, 0.0]
"""Metres of chainage per metre ahead, and offset, of a frame that is not on a route."""


class FrameSequence(Sequence[Frame], ABC):
    """Frames that are made when they are asked for, and each time anew: they are told apart by their keys."""

    @property
    @abstractmethod
    def keys(self) -> Sequence[str]:
        """The key of every frame."""

    @abstractmethod
    def _at(self, index: int) -> Frame:
        """The frame at an index from 0 on."""

    @overload
    def __getitem__(self, index: int) -> Frame: ...

    @overload
    def __getitem__(self, index: slice) -> FrameSequence: ...

    def __getitem__(self, index: int | slice) -> Frame | FrameSequence:
        count = len(self)
        if isinstance(index, slice):
            return Picked(self, range(count)[index])
        if not -count <= index < count:
            raise IndexError(f"frame {index} of {count}")
        return self._at(index % count)


@dataclass(frozen=True, slots=True)
class _Shared:
    """What is the same for many frames."""

    size_wh_px: tuple[int, int]
    recording: str
    ground: GroundPlane | None
    camera: str
    lane: str


class Frames(FrameSequence):
    """The frames of a survey folder."""

    def __init__(
        self, prefix: str, keys: list[str], numbers: NDArray[np.float64], kinds: NDArray[np.int32],
        shared: Sequence[_Shared], spelled: Mapping[str, str], on_route: NDArray[np.float64] | None = None,
    ) -> None:  # fmt: skip
        """As `frames_of` makes them.

        Args:
            prefix: what stands before a key, or its spelling, in the path of a file.
            keys: of the frames.
            numbers: (N, 8) origin x and y, azimuth, chainage, strip from and to, time, uncertainty of the place; nan
                where unknown.
            kinds: (N,) which of `shared` each frame has.
            shared: every combination of size, recording, ground plane, camera and lane once.
            spelled: key -> file, where the file system spells it otherwise.
            on_route: (N, 2) metres of chainage per metre ahead, and offset, of frames that are on a route.
        """
        self._prefix, self._keys, self._numbers, self._kinds = prefix, keys, numbers, kinds
        self._shared, self._spelled, self._on_route = shared, spelled, on_route

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Frame]:
        return self.between(0, len(self))

    def between(self, first: int, end: int) -> Iterator[Frame]:
        """Yields the frames from one place to before another."""
        for start in range(first, end, AT_A_TIME):
            part = slice(start, min(start + AT_A_TIME, end))
            on_route = repeat(_ALONG_THE_DRIVE) if self._on_route is None else self._on_route[part].tolist()
            columns = self._keys[part], self._kinds[part].tolist(), self._numbers[part].tolist(), on_route
            yield from map(self._frame, *columns)

    def _at(self, index: int) -> Frame:
        on_route = _ALONG_THE_DRIVE if self._on_route is None else self._on_route[index].tolist()
        return self._frame(self._keys[index], int(self._kinds[index]), self._numbers[index].tolist(), on_route)

    def _frame(self, key: str, kind: int, numbers: list[float], on_route: list[float]) -> Frame:
        x, y, azimuth, chainage, start, end, time, u_xy = numbers
        scale, offset = on_route
        shared = self._shared[kind]
        # nan alone is not equal to itself.
        return Frame(
            key,
            self._prefix + self._spelled.get(key, key),
            shared.size_wh_px,
            shared.recording,
            Placement((x, y), azimuth),
            chainage if chainage == chainage else None,
            shared.ground,
            (start, end) if start == start else None,
            time if time == time else None,
            shared.camera,
            scale,
            u_xy if u_xy == u_xy else None,
            shared.lane,
            offset,
        )

    @property
    def keys(self) -> Sequence[str]:
        """The key of every frame."""
        return self._keys

    @property
    def origin_xy(self) -> NDArray[np.float64]:
        """(N, 2) where they lie."""
        return self._numbers[:, [_X, _Y]]

    @property
    def chainage_m(self) -> NDArray[np.float64]:
        """(N,) chainage, which is distance along the drive before they are put on a route; nan where unknown."""
        return self._numbers[:, _CHAINAGE]

    @property
    def owns_y_m(self) -> NDArray[np.float64]:
        """(N, 2) strips that they answer for; nan for all that a frame sees."""
        return self._numbers[:, [_FROM, _TO]]

    def grounds(self, part: slice) -> tuple[list[GroundPlane | None], NDArray[np.intp]]:
        """The ground planes of some frames, each once, and which of them each frame has."""
        kinds, which = np.unique(self._kinds[part], return_inverse=True)
        return [self._shared[kind].ground for kind in kinds.tolist()], which

    def streams(self) -> Iterator[tuple[tuple[str, str], slice]]:
        """Recording, camera and place of frames that follow each other and have them in common."""
        yield from self._runs([(kind.recording, kind.camera) for kind in self._shared])

    def recordings(self) -> Iterator[tuple[str, slice]]:
        """Name and place of the frames of each recording, which follow each other."""
        yield from self._runs([kind.recording for kind in self._shared])

    def _runs(self, of_kind: Sequence[Any]) -> Iterator[tuple[Any, slice]]:
        """Stretches of frames whose kinds have one name; several kinds may, a recording with two sizes for one."""
        numbers = {name: number for number, name in enumerate(dict.fromkeys(of_kind))}
        found = np.array([numbers[name] for name in of_kind], np.intp)[self._kinds]
        edges = [0, *(np.flatnonzero(np.diff(found)) + 1).tolist(), len(found)]
        for start, stop in pairwise(edges):
            if stop > start:
                yield of_kind[int(self._kinds[start])], slice(start, stop)

    def along_the_drive(self) -> Frames:
        """By recording as they come, camera and distance along the drive; equal ones keep their order."""
        recordings = {name: rank for rank, name in enumerate(dict.fromkeys(
            self._shared[kind].recording for kind in dict.fromkeys(self._kinds.tolist())))}  # fmt: skip
        cameras = {name: rank for rank, name in enumerate(sorted({kind.camera for kind in self._shared}))}
        recording = np.array([recordings.get(kind.recording, 0) for kind in self._shared], np.intp)
        camera = np.array([cameras[kind.camera] for kind in self._shared], np.intp)
        chainage_m = np.nan_to_num(self.chainage_m, nan=0.0)
        order = np.lexsort((chainage_m, camera[self._kinds], recording[self._kinds]))
        return self if np.array_equal(order, np.arange(len(self))) else self.take(order)

    def take(self, chosen: NDArray[Any]) -> Frames:
        """Those with the given indices, or where it is True, in that order."""
        places = np.arange(len(self))[chosen]
        keys = [self._keys[place] for place in places.tolist()]
        numbers, kinds = self._numbers[places], self._kinds[places]
        on_route = None if self._on_route is None else self._on_route[places]
        return Frames(self._prefix, keys, numbers, kinds, self._shared, self._spelled, on_route)

    def with_strips(self, owns_y_m: NDArray[np.float64]) -> Frames:
        """The same with (N, 2) strips; nan for all that a frame sees."""
        numbers = self._numbers.copy()
        numbers[:, [_FROM, _TO]] = owns_y_m
        return Frames(self._prefix, self._keys, numbers, self._kinds, self._shared, self._spelled, self._on_route)

    def along_route(
        self, chainage_m: NDArray[np.float64], scale: NDArray[np.float64], offset_m: NDArray[np.float64]
    ) -> Frames:
        """The same with (N,) chainages, metres of chainage per metre ahead, and offsets of a route."""
        numbers = self._numbers.copy()
        numbers[:, _CHAINAGE] = chainage_m
        on_route = np.column_stack([scale, offset_m])
        return Frames(self._prefix, self._keys, numbers, self._kinds, self._shared, self._spelled, on_route)


class Picked(FrameSequence):
    """Some of the frames of a sequence."""

    def __init__(self, frames: Sequence[Frame], places: Sequence[int]) -> None:
        """Those at `places`, in their order."""
        self._frames, self._places = frames, places

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Frame]:
        places = self._places
        if isinstance(places, range) and places.step == 1 and isinstance(self._frames, Frames | Joined):
            return self._frames.between(places.start, places.stop)
        return map(self._frames.__getitem__, places)

    def _at(self, index: int) -> Frame:
        return self._frames[self._places[index]]

    @property
    def keys(self) -> Sequence[str]:
        """The key of every frame."""
        keys = keys_of(self._frames)
        return [keys[place] for place in self._places]


class Joined(FrameSequence):
    """Sequences of frames, one after the other."""

    def __init__(self, *parts: Sequence[Frame]) -> None:
        """All frames of `parts`."""
        self._parts = parts
        self._firsts = [0, *accumulate(map(len, parts))]

    def __len__(self) -> int:
        return self._firsts[-1]

    def __iter__(self) -> Iterator[Frame]:
        return chain.from_iterable(self._parts)

    def between(self, first: int, end: int) -> Iterator[Frame]:
        """Yields the frames from one place to before another."""
        for start, part in zip(self._firsts, self._parts, strict=False):
            low, high = max(first - start, 0), min(end - start, len(part))
            if low < high:
                yield from part[low:high]

    def _at(self, index: int) -> Frame:
        part = bisect_right(self._firsts, index) - 1
        return self._parts[part][index - self._firsts[part]]

    def recordings(self) -> Iterator[tuple[str, range]]:
        """Recording and places of frames that follow each other and are of one."""
        for start, part in zip(self._firsts, self._parts, strict=False):
            for name, places in places_of_recordings(part):
                yield name, range(start + places.start, start + places.stop)

    @property
    def keys(self) -> Sequence[str]:
        """The key of every frame."""
        return [key for part in self._parts for key in keys_of(part)]


def places_of_recordings(frames: Sequence[Frame]) -> Iterator[tuple[str, range]]:
    """Yields recording and places of frames that follow each other and are of one, without making frames where that
    can be helped.
    """
    if isinstance(frames, Frames):
        yield from ((name, range(part.start, part.stop)) for name, part in frames.recordings())
    elif isinstance(frames, Joined):
        yield from frames.recordings()
    else:
        yield from ((frame.recording, range(place, place + 1)) for place, frame in enumerate(frames))


def keys_of(frames: Sequence[Frame]) -> Sequence[str]:
    """The key of every frame, without making frames where that can be helped."""
    return frames.keys if isinstance(frames, FrameSequence) else [frame.key for frame in frames]


class _Known:
    """Every combination of what frames have in common, once."""

    def __init__(self) -> None:
        self.shared: list[_Shared] = []
        self._numbers: dict[tuple[Any, ...], int] = {}

    def number(
        self, size_wh_px: tuple[int, int], recording: str, ground: GroundPlane | None, camera: str, lane: str
    ) -> int:
        """Which of `shared` it is."""
        kind = size_wh_px, recording, id(ground), camera, lane
        if kind not in self._numbers:
            self._numbers[kind] = len(self.shared)
            self.shared.append(_Shared(size_wh_px, recording, ground, camera, lane))
        return self._numbers[kind]


def frames_of(
    entries: Sequence[Entry],
    grounds: Iterable[GroundPlane | None],
    origin_xy: NDArray[np.float64],
    azimuth_deg: NDArray[np.float64] | float = 0.0,
    chainage_m: NDArray[np.float64] | float = np.nan,
    u_xy_m: NDArray[np.float64] | float = np.nan,
    *,
    recordings: Iterable[str] | None = None,
) -> Frames:
    """The frames of entries, one or more.

    Args:
        entries: what their names and headers say.
        grounds: the ground plane of each.
        origin_xy: (N, 2) where they lie.
        azimuth_deg: (N,) direction of travel.
        chainage_m: (N,) distance along the drive.
        u_xy_m: (N,) standard uncertainty of the place.
        recordings: the names of their recordings, if not those of the entries.
    """
    numbers = np.full((len(entries), 8), np.nan)
    numbers[:, [_X, _Y]] = origin_xy
    numbers[:, _AZIMUTH], numbers[:, _CHAINAGE], numbers[:, _U_XY] = azimuth_deg, chainage_m, u_xy_m
    numbers[:, _TIME] = [np.nan if entry.time_s is None else entry.time_s for entry in entries]
    kinds = np.empty(len(entries), np.int32)
    known = _Known()
    names = (entry.recording for entry in entries) if recordings is None else recordings
    for place, (entry, recording, ground) in enumerate(zip(entries, names, grounds, strict=True)):
        kinds[place] = known.number(entry.header.size_wh_px, recording, ground, entry.camera, entry.lane)
    spelled = {entry.key: entry.file for entry in entries if entry.file is not entry.key and entry.file != entry.key}
    prefix = os.path.join(entries[0].root, "")  # noqa: PTH118
    return Frames(prefix, [entry.key for entry in entries], numbers, kinds, known.shared, spelled)


def in_columns(frames: Sequence[Frame]) -> Frames:
    """Some frames as columns."""
    numbers = np.array([_numbers(frame) for frame in frames], np.float64).reshape(-1, 8)
    on_route = np.array([(frame.chainage_scale, frame.offset_m) for frame in frames]).reshape(-1, 2)
    known = _Known()
    kinds = [known.number(one.size_wh_px, one.recording, one.ground, one.camera, one.lane) for one in frames]
    spelled = {frame.key: frame.file for frame in frames}
    keys = [frame.key for frame in frames]
    return Frames("", keys, numbers, np.array(kinds, np.int32), known.shared, spelled, on_route)


def _numbers(frame: Frame) -> tuple[float | None, ...]:
    return (
        *frame.placement.origin_xy, frame.placement.azimuth_deg, frame.chainage_m, *(frame.owns_y_m or (None, None)),
        frame.time_s, frame.u_xy_m,
    )  # fmt: skip
