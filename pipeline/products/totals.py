"""What all cracks of a survey add up to, however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crackmap.pipeline.assembly.store import portions
from crackmap.pipeline.products.crack_rows import mean_widths
from crackmap.pipeline.records import RoadCrack
from crackmap.stages.records import FloatArray


@dataclass(slots=True)
class CrackTotals:
    """Of open cracks, but for the last two.

    Attributes:
        count: of the cracks.
        length_m, length_px: their length; metres of those that have it.
        mean_width_mm, mean_width_px: weighted by length; None without any.
        pixel_mm: median of the longer sides of their pixels; None where none is known.
        uncertain, saturated, below_resolution: those with an uncertainty, and with these flags.
        joints, sealed: the lines that are no open cracks.
    """

    count: int = 0
    length_m: float = 0.0
    length_px: float = 0.0
    mean_width_mm: float | None = None
    mean_width_px: float | None = None
    pixel_mm: float | None = None
    uncertain: int = 0
    saturated: int = 0
    below_resolution: int = 0
    joints: int = 0
    sealed: int = 0


def crack_totals(cracks: Sequence[RoadCrack]) -> CrackTotals:
    """Adds up the cracks of a survey, in their order."""
    totals = CrackTotals()
    weighted = {"mm": 0.0, "px": 0.0}
    pixels = [np.empty(0)]
    for part in portions(cracks):
        chosen = part.open
        metric = chosen & part.known["length_m"]
        totals.count += int(chosen.sum())
        totals.length_m = _added(totals.length_m, part["length_m"][metric])
        totals.length_px = _added(totals.length_px, part["length_px"][chosen])
        weighted["mm"] = _added(weighted["mm"], (mean_widths(part, "width_mm") * part["length_m"])[metric])
        weighted["px"] = _added(weighted["px"], (mean_widths(part, "width_px") * part["length_px"])[chosen])
        pixels.append(part["gsd_mm"].max(axis=1)[chosen & part.known["gsd_mm"]])
        totals.uncertain += int(part.known["u_length_px"][chosen].sum())
        totals.saturated += int(part["saturated"][chosen].sum())
        totals.below_resolution += int(part["below_resolution"][chosen].sum())
        totals.joints += int(part["joint"].sum())
        totals.sealed += int(part["sealed"].sum())
    totals.mean_width_mm = weighted["mm"] / totals.length_m if totals.length_m > 0 else None
    totals.mean_width_px = weighted["px"] / totals.length_px if totals.length_px > 0 else None
    sides = np.concatenate(pixels)
    totals.pixel_mm = float(np.median(sides)) if len(sides) else None
    return totals


def whole_length(cracks: Sequence[RoadCrack]) -> tuple[float | None, float]:
    """Metres, None where no line has them, and pixels of all lines, joints and sealed cracks too."""
    metres, pixels, metric = 0.0, 0.0, False
    for part in portions(cracks):
        known = part.known["length_m"]
        metric |= bool(known.any())
        metres = _added(metres, part["length_m"][known])
        pixels = _added(pixels, part["length_px"])
    return metres if metric else None, pixels


def _added(total: float, values: FloatArray) -> float:
    """A sum gone on with, one value after the other: the same however the values are cut into portions."""
    return float(np.add.accumulate(np.concatenate([[total], values]))[-1])
