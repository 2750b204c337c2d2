"""What became of the frames of a survey, in columns: as objects, a million of them would take gigabytes."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from crackmap.pipeline.frame_table import AT_A_TIME, keys_of, places_of_recordings
from crackmap.pipeline.journal import CORRECTED, NETS
from crackmap.pipeline.records import STATUSES, Frame, FrameOutcome

STATUS_NAMES = tuple(STATUSES)

SOURCE_NAMES = ("", NETS, CORRECTED)


@dataclass(frozen=True, slots=True, eq=False)
class OutcomeColumns:
    """The fields of outcomes, beside the frame.

    Attributes:
        status: (N,) numbers of STATUS_NAMES.
        reasons: place -> reason, where there is one.
        outlines_xy: (N, 4, 2) footprints, output coordinates.
        outlined: (N,) whether there is one.
        segmented_share, crack_count: (N,) as of an outcome.
        mask_names: (N,) texts.
        source: (N,) numbers of SOURCE_NAMES.
    """

    status: NDArray[np.uint8]
    reasons: Mapping[int, str]
    outlines_xy: NDArray[np.float64]
    outlined: NDArray[np.bool_]
    segmented_share: NDArray[np.float64]
    crack_count: NDArray[np.int64]
    mask_names: NDArray[Any]
    source: NDArray[np.uint8]


class Outcomes(Sequence[FrameOutcome]):
    """Outcomes that are made when they are asked for, and each time anew."""

    def __init__(self, frames: Sequence[Frame], columns: OutcomeColumns) -> None:
        """Those of `frames`, in their order."""
        self._frames, self._columns = frames, columns
        # They are handed out as they lie here.
        columns.outlines_xy.flags.writeable = False

    @classmethod
    def of(cls, outcomes: Iterable[FrameOutcome]) -> Outcomes:
        """Those that have been made elsewhere, one by one."""
        made = list(outcomes)
        outlined = np.array([len(one.footprint_xy) > 0 for one in made], bool)
        outlines_xy = np.full((len(made), 4, 2), np.nan)
        for place in np.flatnonzero(outlined):
            outlines_xy[place] = made[place].footprint_xy
        return cls([one.frame for one in made], OutcomeColumns(
            np.array([STATUS_NAMES.index(one.status) for one in made], np.uint8),
            {place: one.reason for place, one in enumerate(made) if one.reason}, outlines_xy, outlined,
            np.array([one.segmented_share for one in made], np.float64),
            np.array([one.crack_count for one in made], np.int64),
            np.array([one.mask_name for one in made], np.dtypes.StringDType()),
            np.array([SOURCE_NAMES.index(one.source) for one in made], np.uint8),
        ))  # fmt: skip

    def __len__(self) -> int:
        return len(self._frames)

    @overload
    def __getitem__(self, index: int) -> FrameOutcome: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[FrameOutcome, ...]: ...

    def __getitem__(self, index: int | slice) -> FrameOutcome | tuple[FrameOutcome, ...]:
        if isinstance(index, slice):
            places = range(len(self))[index]
            if places.step != 1:
                return tuple(map(self.__getitem__, places))
            return tuple(self._made(places.start, places.stop, self._frames[places.start : places.stop]))
        place = range(len(self))[index]
        return next(self._made(place, place + 1, (self._frames[place],)))

    def __iter__(self) -> Iterator[FrameOutcome]:
        frames = iter(self._frames)
        for start in range(0, len(self), AT_A_TIME):
            yield from self._made(start, min(start + AT_A_TIME, len(self)), frames)

    def _made(self, start: int, stop: int, frames: Iterable[Frame]) -> Iterator[FrameOutcome]:
        part, columns = slice(start, stop), self._columns
        values = zip(
            range(start, stop), columns.status[part].tolist(), columns.outlines_xy[part],
            columns.outlined[part].tolist(), columns.segmented_share[part].tolist(),
            columns.crack_count[part].tolist(), columns.mask_names[part].tolist(), columns.source[part].tolist(),
            strict=True,
        )  # fmt: skip
        # The frames come last: they may go on behind this part.
        for (place, status, outline_xy, outlined, share, count, mask, source), frame in zip(values, frames):  # noqa: B905
            yield FrameOutcome(
                frame, STATUS_NAMES[status], columns.reasons.get(place, ""), outline_xy if outlined else _NO_OUTLINE,
                share, count, mask, SOURCE_NAMES[source],
            )  # fmt: skip

    def at(self, places: Sequence[int]) -> list[FrameOutcome]:
        """Those at ascending places; those of places side by side are made at once."""
        if len(places) and places[-1] - places[0] == len(places) - 1:
            return list(self[places[0] : places[-1] + 1])
        return [self[place] for place in places]

    def of_keys(self, keys: Collection[str]) -> dict[str, FrameOutcome]:
        """Key -> outcome of some frames."""
        return {key: self[place] for place, key in enumerate(self.keys) if key in keys}

    def lost(self) -> Iterator[FrameOutcome]:
        """Yields those that are missing on the map."""
        for place in np.flatnonzero(~np.isin(self._columns.status, _SEEN)).tolist():
            yield self[place]

    # For what the columns say, no outcome is made.

    @property
    def keys(self) -> Sequence[str]:
        """The key of every frame."""
        return keys_of(self._frames)

    @property
    def mask_names(self) -> list[str]:
        """The mask of every frame that has one."""
        return [name for name in self._columns.mask_names.tolist() if name]

    @property
    def status_counts(self) -> Counter[str]:
        """Status -> number."""
        numbers = np.bincount(self._columns.status, minlength=len(STATUS_NAMES)).tolist()
        return Counter({name: number for name, number in zip(STATUS_NAMES, numbers, strict=True) if number})

    @property
    def corrected_count(self) -> int:
        """How many a person corrected."""
        return int((self._columns.source == SOURCE_NAMES.index(CORRECTED)).sum())

    @property
    def places_by_recording(self) -> dict[str, array[int]]:
        """Recording -> the places of its outcomes, 8 bytes each."""
        found: dict[str, array[int]] = {}
        for recording, places in places_of_recordings(self._frames):
            found.setdefault(recording, array("q")).extend(places)
        return found


_SEEN = STATUS_NAMES.index("ok"), STATUS_NAMES.index("no_crack")

_NO_OUTLINE = np.empty((0, 2))
_NO_OUTLINE.flags.writeable = False
