"""From what a sample cost to what a survey will: seconds, bytes and memory, with a range."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from crackmap.pipeline.planning.counting import Inventory
from crackmap.pipeline.planning.measuring import Sample, SampledFrame
from crackmap.pipeline.planning.timing import Rates, Work
from crackmap.pipeline.products.strip_grid import MOST_PX
from crackmap.pipeline.report_pictures import MOST_BYTES
from crackmap.pipeline.run import MOST_PICTURES, RunSettings

LEAST_FRAMES = 5
"""Of fewer sampled frames nobody can say how much frames differ."""

DRAWS, SEED = 2000, 20
"""Bootstrap samples: the 10 % and 90 % points are steady to a hundredth of their distance."""

LOW, HIGH = 10, 90
"""Percentiles of the range: of ten surveys as this one, eight should lie in it."""

KINDS = {"decode": "decode", "screen": "nets", "detect": "nets", "segment": "nets", "measure": "measuring",
         "write": "masks"}  # fmt: skip
"""Stage of a journal's row -> part of the time that a plan names."""


@dataclass(frozen=True, slots=True)
class Range:
    """An estimate, and where it lies in eight cases of ten; low and high are None where that cannot be told."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes in the output folder.

    Attributes:
        masks, journal, products, strips: what stays.
        working: what the largest strip, and large pictures unpacked, need for a while.
        total: all of it, with its range.
    """

    masks: int
    journal: int
    products: int
    strips: int
    working: int
    total: Range


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of memory.

    Attributes:
        frames: while frames are worked on, child processes included; None where the system does not tell.
        assembly: while results are put together; None as well.
        each_worker: what one of the workers takes of `frames`, about.
    """

    frames: int | None
    assembly: int | None
    each_worker: int | None

    @property
    def peak(self) -> int | None:
        """The most at any time."""
        return None if self.frames is None or self.assembly is None else max(self.frames, self.assembly)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A run of the whole survey on this machine.

    Attributes:
        work: the terms of `time_on`.
        parts_s: seconds of the clock by part: decode, nets, measuring, masks; strips, pictures, tables.
        spread: (low, high) factors of the time of the frames; None where the sample has too few frames to tell.
        cracks: measured in the frames, before those of neighbours are joined, with its range.
        space: on the disk.
        memory: needed.
    """

    work: Work
    parts_s: dict[str, float]
    spread: tuple[float, float] | None
    cracks: Range
    space: Space
    memory: Memory


def estimate(
    inventory: Inventory, sample: Sample, settings: RunSettings, *, begun_s: float, rates: Rates
) -> Estimate | None:
    """What a run of a survey takes; None if no sampled frame could be used.

    A quantity of the frames is taken to grow with their pixels: each sampled frame stands for `stands_for_px` of
    them. The range is that of a bootstrap over the sampled frames (Efron and Tibshirani 1993, chapter 13), less where
    the sample is much of the survey, and the spread of the clock on top, in quadrature.

    Args:
        inventory: of the survey.
        sample: of the same.
        settings: of the run.
        begun_s: that loading the program and reading the survey took.
        rates: what is taken for given.
    """
    frames = sample.usable
    if not frames:
        return None
    whole = _Whole(frames, inventory.pixels, 1.0 - len(sample.frames) / max(inventory.usable, 1))
    parts = {"decode": 0.0, "nets": 0.0, "measuring": 0.0, "masks": 0.0}
    for stage, kind in KINDS.items():
        parts[kind] += sample.clock_share * whole.total(_seconds_of(stage))
    compute_s = sum(parts.values())
    spread = whole.spread(lambda f: sum(f.seconds.values()), also=rates.clock_spread)
    cracks = whole.ranged(lambda f: f.cracks)
    products = _product_seconds(inventory, sample, cracks.value, rates)
    return Estimate(
        Work(
            begun_s + sample.start_s,
            compute_s,
            sum(products.values()),
            inventory.usable,
            inventory.input_bytes,
            cracks.value,
        ),
        {**parts, **products},
        spread,
        cracks,
        _space(inventory, sample, settings, whole, cracks, rates),
        _memory(inventory, sample, cracks.value, rates),
    )


def _seconds_of(stage: str) -> Callable[[SampledFrame], float]:
    return lambda frame: frame.seconds.get(stage, 0.0)


class _Whole:
    """Sums over a survey from a sample of its frames."""

    def __init__(self, frames: Sequence[SampledFrame], pixels: int, unseen: float) -> None:
        self._frames, self._pixels, self._unseen = frames, pixels, unseen
        self._stands = np.array([frame.stands_for_px for frame in frames])
        self._own = np.array([frame.pixels for frame in frames])

    def total(self, of: Callable[[SampledFrame], float]) -> float:
        """What all frames have together."""
        values = np.array([of(frame) for frame in self._frames], np.float64)
        return float((self._stands * values / self._own).sum() / self._stands.sum() * self._pixels)

    def spread(self, of: Callable[[SampledFrame], float], *, also: float = 0.0) -> tuple[float, float] | None:
        """(low, high) factors of `total`; None where the sample is too small to tell."""
        if self._unseen <= 0:
            return 1.0 - also, 1.0 + also
        total = self.total(of)
        if len(self._frames) < LEAST_FRAMES or total <= 0:
            return None
        values = np.array([of(frame) for frame in self._frames], np.float64) / self._own
        drawn = np.random.default_rng(SEED).integers(len(values), size=(DRAWS, len(values)))
        sums = (self._stands[drawn] * values[drawn]).sum(axis=1) / self._stands[drawn].sum(axis=1) * self._pixels
        ends = np.percentile(sums, [LOW, HIGH]) / total
        # Of few frames a bootstrap says too little by so much (Hesterberg 2015, "expanded percentile interval").
        degrees = len(values) - 1
        narrow = t.ppf(HIGH / 100, degrees) / norm.ppf(HIGH / 100) * math.sqrt(len(values) / degrees)
        low, high = 1.0 + narrow * (ends - 1.0)
        # Of a finite survey the part that was seen is known (Cochran 1977, 2.6).
        below, above = (max(away, 0.0) * math.sqrt(self._unseen) for away in (1 - low, high - 1))
        return max(1 - math.hypot(below, also), 0.0), 1 + math.hypot(above, also)

    def ranged(self, of: Callable[[SampledFrame], float]) -> Range:
        """The total with its range."""
        total, spread = self.total(of), self.spread(of)
        return Range(total, *((None, None) if spread is None else (spread[0] * total, spread[1] * total)))


def _product_seconds(inventory: Inventory, sample: Sample, cracks: float, rates: Rates) -> dict[str, float]:
    made = sample.products
    known = sum(frame.cracks for frame in sample.usable)
    fixed_s = made.seconds - rates.assembly_s_per_crack * known - rates.assembly_s_per_frame * len(sample.frames)
    return {
        "strips": sample.strips.seconds * _share_painted(inventory, sample),
        "pictures": made.picture_s * _pictures_shown(inventory, sample) / max(made.pictures, 1),
        "tables": max(fixed_s, 0.0)
        + rates.assembly_s_per_crack * cracks
        + rates.assembly_s_per_frame * inventory.usable,
    }


def _share_painted(inventory: Inventory, sample: Sample) -> float:
    """All road of the survey, in units of that which was painted."""
    return inventory.area_m2 / sample.strips.area_m2 if sample.strips.area_m2 else 0.0


def _pictures_shown(inventory: Inventory, sample: Sample) -> float:
    """Frames with cracks that the report will show."""
    made = sample.products
    if not made.pictures:
        return 0.0
    cracked = inventory.usable * made.pictures / len(sample.usable)
    return min(cracked, MOST_PICTURES, MOST_BYTES * made.pictures / made.picture_bytes)


def _space(
    inventory: Inventory, sample: Sample, settings: RunSettings, whole: _Whole, cracks: Range, rates: Rates
) -> Space:
    made = sample.products
    known = sum(frame.cracks for frame in sample.usable)
    in_rows = sample.journal_bytes - rates.journal_row_bytes * sample.journal_rows
    crack_journal = max(in_rows, 0) / max(sample.journal_cracks, 1)
    crack_products = max(made.bytes - rates.tables_fixed_bytes, 0) / max(known, 1)
    masks = whole.ranged(lambda frame: frame.mask_bytes)
    journal = rates.journal_row_bytes * inventory.usable + crack_journal * cracks.value
    more_pictures = _pictures_shown(inventory, sample) - made.pictures
    # In base64, which takes four thirds.
    report = made.report_bytes + 4 / 3 * made.picture_bytes * max(more_pictures, 0.0) / max(made.pictures, 1)
    products = report + rates.tables_fixed_bytes + crack_products * cracks.value
    strips = sample.strips.bytes * _share_painted(inventory, sample)
    working = _working_bytes(inventory, sample, settings)
    total = masks.value + journal + products + strips + working
    spread = [
        None if masks_end is None or cracks_end is None else
        total + masks_end - masks.value + (cracks_end - cracks.value) * (crack_journal + crack_products)
        for masks_end, cracks_end in ((masks.low, cracks.low), (masks.high, cracks.high))
    ]  # fmt: skip
    whole_bytes = Range(total, spread[0], spread[1])
    return Space(round(masks.value), round(journal), round(products), round(strips), round(working), whole_bytes)


def _working_bytes(inventory: Inventory, sample: Sample, settings: RunSettings) -> float:
    """Room for the largest section's strip before it is packed, and for large pictures unpacked beside each other."""
    length_m = inventory.pictured_m or 0.0
    width_m = inventory.area_m2 / length_m if length_m else 0.0
    strip_px = min(settings.section_length_m * width_m * sample.strips.px_per_m2, MOST_PX)
    at_hand = min(3 * sample.workers, inventory.usable)
    return 4.0 * strip_px + 3.0 * inventory.unpacked_px * at_hand


def _memory(inventory: Inventory, sample: Sample, cracks: float, rates: Rates) -> Memory:
    if sample.peak_bytes is None:
        return Memory(None, None, None)
    listed = rates.frame_bytes * inventory.usable
    return Memory(
        sample.peak_bytes + listed, sample.peak_bytes + listed + round(rates.crack_bytes * cracks),
        (sample.peak_bytes - (sample.start_bytes or 0)) // sample.workers,
    )  # fmt: skip
