"""What products need of a journal's rows, in columns: of a million frames, a tenth of what the rows would take."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crackmap.pipeline.identity import file_identity
from crackmap.pipeline.journal import JournalRow
from crackmap.pipeline.outcome_table import SOURCE_NAMES, STATUS_NAMES
from crackmap.pipeline.survey import Survey

PICTURE_BYTES = 16
"""Of a hash that tells pictures apart."""


@dataclass(frozen=True, slots=True, eq=False)
class KeptRows:
    """The rows of a survey's frames, by their place: that in `Survey.measurable`, behind which come the skipped images.

    Where there is no row there are zeros.

    Attributes:
        known: (N,) whether there is a row.
        status: (N,) numbers of STATUS_NAMES.
        reasons: place -> reason, where there is one.
        segmented_share, crack_count, crack_length_px: (N,) as of a row.
        mask_names: (N,) texts.
        source: (N,) numbers of SOURCE_NAMES.
        pictures: (N,) `picture_of` the image.
        input_bytes, input_mtime_ns: (N,) as of a row.
        seconds: time per stage, of all rows.
    """

    known: NDArray[np.bool_]
    status: NDArray[np.uint8]
    segmented_share: NDArray[np.float64]
    crack_count: NDArray[np.int64]
    crack_length_px: NDArray[np.float64]
    mask_names: NDArray[Any]
    source: NDArray[np.uint8]
    pictures: NDArray[np.bytes_]
    input_bytes: NDArray[np.int64]
    input_mtime_ns: NDArray[np.int64]
    reasons: dict[int, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, survey: Survey, rows: Iterable[tuple[int, JournalRow | None]]) -> KeptRows:
        """Of all images of a survey, from places and rows."""
        count = len(survey.measurable) + len(survey.skipped)
        kept = cls(
            np.zeros(count, np.bool_), np.zeros(count, np.uint8), np.zeros(count), np.zeros(count, np.int64),
            np.zeros(count), np.zeros(count, np.dtypes.StringDType()), np.zeros(count, np.uint8),
            np.zeros(count, f"S{PICTURE_BYTES}"), np.zeros(count, np.int64), np.zeros(count, np.int64),
        )  # fmt: skip
        for place, row in rows:
            if row is not None:
                kept._keep(place, row)
        return kept

    def _keep(self, place: int, row: JournalRow) -> None:
        self.known[place] = True
        self.status[place] = STATUS_NAMES.index(row.status)
        self.segmented_share[place], self.crack_count[place] = row.segmented_share, row.crack_count
        self.crack_length_px[place], self.mask_names[place] = row.crack_length_px, row.mask_name
        self.source[place], self.pictures[place] = SOURCE_NAMES.index(row.source), picture_of(row.input_sha256)
        self.input_bytes[place], self.input_mtime_ns[place] = row.input_bytes, row.input_mtime_ns
        if row.reason:
            self.reasons[place] = row.reason
        for stage, seconds in row.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def is_of_file(self, place: int, file: str) -> bool:
        """Whether an image is the one that was measured, by size and time."""
        try:
            return file_identity(file) == (self.input_bytes[place], self.input_mtime_ns[place])
        except OSError:
            return False


def picture_of(input_sha256: str) -> bytes:
    """What is equal for equal pictures, a quarter as long as the text of their hash; empty where there is none."""
    return hashlib.blake2b(input_sha256.encode(), digest_size=PICTURE_BYTES).digest() if input_sha256 else b""


def copies(pictures: Iterable[bytes]) -> dict[int, int]:
    """Place of a frame whose file is the same as that of an earlier one -> place of that one.

    A camera that hangs, or a folder copied twice: the road of the later ones was not seen.

    Args:
        pictures: `picture_of` each frame, in survey order.
    """
    first: dict[bytes, int] = {}
    twins = {}
    for place, picture in enumerate(pictures):
        if picture:
            original = first.setdefault(picture, place)
            if original != place:
                twins[place] = original
    return twins
