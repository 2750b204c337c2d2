"""Cracks of the road as columns: a few arrays in place of as many objects as there are numbers."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crackmap.pipeline.records import RoadCrack

OF_VERTICES = ("line_xy", "width_px", "width_mm", "chainage_at_m", "offset_at_m")
"""One row for each vertex."""

NUMBERS = (
    "length_px", "orientation_deg", "confidence", "length_m", "chainage_from_m", "chainage_to_m", "offset_m",
    "u_length_px", "u_length_m", "u_width_px", "u_width_mm", "grey_share", "gap_px", "gap_m", "u_xy_m",
)  # fmt: skip

PAIRS = ("gsd_mm",)

FLAGS = ("touches_border", "saturated", "below_resolution", "joint", "sealed")

PLAIN = ("crack_id", "recording", "frame_keys", "pattern_id")
"""Kept as they are."""


@dataclass(frozen=True, slots=True, eq=False)
class CrackColumns:
    """Cracks, in their order.

    Attributes:
        ends: (n + 1,) number of the first vertex of each crack, and at last that of all vertices.
        arrays: field of `RoadCrack` -> (vertices,) or (vertices, 2) for OF_VERTICES, (n,) for NUMBERS and FLAGS, (n, 2)
            for PAIRS; NaN where a crack has no value.
        known: field -> (n,) whether a crack has a value, of the fields of which one may have none.
        plain: field of PLAIN -> n values.
    """

    ends: NDArray[np.int64]
    arrays: Mapping[str, NDArray[Any]]
    known: Mapping[str, NDArray[np.bool_]]
    plain: Mapping[str, Sequence[Any]]

    @classmethod
    def of(cls, cracks: Sequence[RoadCrack]) -> CrackColumns:
        """The columns of cracks."""
        counts = [len(crack.line_xy) for crack in cracks]
        ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        arrays: dict[str, NDArray[Any]] = {name: np.array([getattr(crack, name) for crack in cracks], bool)
                                           for name in FLAGS}  # fmt: skip
        known = {}
        for name in (*OF_VERTICES, *NUMBERS, *PAIRS):
            values = [getattr(crack, name) for crack in cracks]
            known[name] = np.array([value is not None for value in values], bool)
            if name in OF_VERTICES:
                parts = [np.full(n, np.nan) if value is None else value
                         for n, value in zip(counts, values, strict=True)]  # fmt: skip
                arrays[name] = np.concatenate([np.empty((0, 2) if name == "line_xy" else 0), *parts])
            else:
                none = (np.nan, np.nan) if name in PAIRS else np.nan
                shape = (len(cracks), 2) if name in PAIRS else (len(cracks),)
                arrays[name] = np.array([none if v is None else v for v in values], np.float64).reshape(shape)
        return cls(ends, arrays, known, {name: [getattr(crack, name) for crack in cracks] for name in PLAIN})

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, name: str) -> NDArray[Any]:
        """A column of `arrays`."""
        return self.arrays[name]

    @property
    def open(self) -> NDArray[np.bool_]:
        """(n,) whether each is a crack, neither a joint nor sealed."""
        return np.asarray(~(self["joint"] | self["sealed"]), bool)

    def part(self, start: int, stop: int) -> CrackColumns:
        """The cracks from one number to before another, or to the last, as copies: they keep nothing of these alive."""
        stop = min(stop, len(self))
        first, last = self.ends[start], self.ends[stop]
        return CrackColumns(
            self.ends[start : stop + 1] - first,
            {name: column[first:last].copy() if name in OF_VERTICES else column[start:stop].copy()
             for name, column in self.arrays.items()},
            {name: column[start:stop].copy() for name, column in self.known.items()},
            {name: column[start:stop] for name, column in self.plain.items()},
        )  # fmt: skip

    @classmethod
    def joined(cls, parts: Sequence[CrackColumns]) -> CrackColumns:
        """One after the other; at least one part."""
        if len(parts) == 1:
            return parts[0]
        counts = np.concatenate([np.diff(part.ends) for part in parts])
        return cls(
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            {name: np.concatenate([part.arrays[name] for part in parts]) for name in parts[0].arrays},
            {name: np.concatenate([part.known[name] for part in parts]) for name in parts[0].known},
            {name: [value for part in parts for value in part.plain[name]] for name in PLAIN},
        )

    def named(self, cracks_before: int, patterns_before: int) -> CrackColumns:
        """With names that count on from so many cracks and patterns of the survey before them."""
        names = [f"C{cracks_before + number:06d}" for number in range(1, len(self) + 1)]
        patterns = [name and f"P{patterns_before + int(name[1:]):04d}" for name in self.plain["pattern_id"]]
        return replace(self, plain={**self.plain, "crack_id": names, "pattern_id": patterns})

    def crack(self, number: int) -> RoadCrack:
        """One of them; its arrays are copies."""
        return next(self.cracks([number % len(self)]))

    def cracks(self, numbers: Sequence[int] | None = None) -> Iterator[RoadCrack]:
        """Yields all of them, or those of some numbers; their arrays are copies."""
        for number in range(len(self)) if numbers is None else numbers:
            inside = slice(self.ends[number], self.ends[number + 1])
            values: dict[str, Any] = {name: column[number] for name, column in self.plain.items()}
            values |= {name: bool(self.arrays[name][number]) for name in FLAGS}
            for name, known in self.known.items():
                column = self.arrays[name]
                if not known[number]:
                    values[name] = None
                elif name in OF_VERTICES:
                    values[name] = column[inside].copy()
                else:
                    values[name] = tuple(column[number].tolist()) if name in PAIRS else float(column[number])
            yield RoadCrack(**values)

    def to_bytes(self) -> bytes:
        """For `from_bytes`, in another process of the same run or from a file that only it can read."""
        return pickle.dumps((self.ends, self.arrays, self.known, self.plain), pickle.HIGHEST_PROTOCOL)

    @classmethod
    def from_bytes(cls, content: bytes) -> CrackColumns:
        """What `to_bytes` gave."""
        return cls(*pickle.loads(content))
