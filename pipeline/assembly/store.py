"""The cracks of a large survey in a file, of which a part at a time is in memory."""

from __future__ import annotations

import os
import tempfile
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from crackmap.pipeline.assembly.columns import CrackColumns
from crackmap.pipeline.products.publish import TEMPORARY_PREFIX, storing
from crackmap.pipeline.records import RoadCrack

PORTION = 20_000
"""Cracks that are looked at, and written, at a time."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Where some cracks lie in the file, and what their names count on from."""

    offset: int
    size: int
    first: int
    patterns_before: int


class StoredCracks(Sequence[RoadCrack]):
    """The cracks of a survey as a sequence. One chunk, the one that was asked for last, is in memory.

    The file has no name: it goes with this object, and with the process, however that ends.
    """

    def __init__(self, folder: Path) -> None:
        """An empty one, in a file below `folder`.

        Raises:
            StorageError: no file can be made there.
        """
        self._folder = folder
        with storing(folder):
            self._file = tempfile.TemporaryFile(dir=folder, prefix=TEMPORARY_PREFIX)  # noqa: SIM115
        self._chunks: list[_Chunk] = []
        self._firsts: list[int] = []
        self._count = 0
        self._loaded: tuple[int, CrackColumns] | None = None

    def append(self, content: bytes, count: int, *, patterns_before: int) -> None:
        """Adds a chunk of `count` cracks (`CrackColumns.to_bytes`), which get the names that follow.

        Raises:
            StorageError: it cannot be written.
        """
        with storing(self._folder):
            offset = self._file.seek(0, os.SEEK_END)
            self._file.write(content)
            self._file.flush()
        if count:
            self._chunks.append(_Chunk(offset, len(content), self._count, patterns_before))
            self._firsts.append(self._count)
            self._count += count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> RoadCrack: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[RoadCrack, ...]: ...

    def __getitem__(self, index: int | slice) -> RoadCrack | tuple[RoadCrack, ...]:
        if isinstance(index, slice):
            return tuple(self[number] for number in range(*index.indices(self._count)))
        number = range(self._count)[index]
        place = bisect_right(self._firsts, number) - 1
        return self._chunk(place).crack(number - self._firsts[place])

    def __iter__(self) -> Iterator[RoadCrack]:
        for place in range(len(self._chunks)):
            yield from self._chunk(place).cracks()

    def portions(self, size: int = PORTION) -> Iterator[CrackColumns]:
        """Yields all cracks, `size` at a time; of none at all one empty portion."""
        for start in range(0, max(self._count, 1), size):
            yield self._part(start, min(start + size, self._count))

    def _part(self, start: int, stop: int) -> CrackColumns:
        parts = [CrackColumns.of(())]
        for place in range(max(bisect_right(self._firsts, start) - 1, 0), len(self._chunks)):
            first = self._firsts[place]
            if first >= stop:
                break
            parts.append(self._chunk(place).part(max(start - first, 0), stop - first))
        return CrackColumns.joined(parts[1:] or parts)

    def _chunk(self, place: int) -> CrackColumns:
        loaded = self._loaded
        if loaded is None or loaded[0] != place:
            # The one before is let go before this one is read.
            self._loaded = loaded = None
            loaded = self._loaded = place, self._read(self._chunks[place])
        return loaded[1]

    def _read(self, chunk: _Chunk) -> CrackColumns:
        with storing(self._folder):
            self._file.seek(chunk.offset)
            content = self._file.read(chunk.size)
        return CrackColumns.from_bytes(content).named(chunk.first, chunk.patterns_before)


def portions(cracks: Sequence[RoadCrack], size: int = PORTION) -> Iterator[CrackColumns]:
    """Yields cracks as columns, `size` at a time; of none at all one empty portion."""
    if isinstance(cracks, StoredCracks):
        yield from cracks.portions(size)
        return
    for start in range(0, max(len(cracks), 1), size):
        yield CrackColumns.of(cracks[start : start + size])
