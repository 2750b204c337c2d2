"""The demonstration: a synthetic survey, run end to end, true against measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from crackmap.pipeline.records import RoadCrack
from crackmap.pipeline.synthetic import RoadTruth, TrueCrack

MATCH_M = 0.06
"""A measured line belongs to a drawn crack where it lies within this distance of it."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One drawn crack and what was measured of it.

    Attributes:
        true: the drawn crack.
        length_m: measured length within MATCH_M of it; 0 if it was missed.
        mean_width_mm: mean measured width there, weighted by length; None if missed.
    """

    true: TrueCrack
    length_m: float
    mean_width_mm: float | None


def compare(truth: RoadTruth, measured: Sequence[RoadCrack]) -> tuple[tuple[Comparison, ...], float]:
    """Each drawn crack with its measurement, and the measured length that belongs to no drawn crack, metres.

    Lines that were recognised as joints or as sealed are left out.
    """
    zones = [shapely.LineString(truth.to_map_xy(crack.road_xy_m)).buffer(MATCH_M) for crack in truth.cracks]
    starts, ends, widths = _segments(measured)
    steps = np.hypot(*(ends - starts).T)
    middles = shapely.points((starts + ends) / 2)
    everywhere = np.zeros(len(steps), bool)
    rows = []
    for crack, zone in zip(truth.cracks, zones, strict=True):
        inside = shapely.contains(zone, middles)
        everywhere |= inside
        length = float(steps[inside].sum())
        width = float(steps[inside] @ widths[inside]) / length if length else None
        rows.append(Comparison(crack, length, width))
    return tuple(rows), float(steps[~everywhere].sum())


def _segments(measured: Sequence[RoadCrack]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(M, 2) starts, (M, 2) ends and (M,) mean widths in mm of all segments of all metric lines."""
    metric = [(crack.line_xy, crack.width_mm) for crack in measured if crack.width_mm is not None and crack.open]
    if not metric:
        return np.empty((0, 2)), np.empty((0, 2)), np.empty(0)
    return (
        np.vstack([line[:-1] for line, _ in metric]),
        np.vstack([line[1:] for line, _ in metric]),
        np.concatenate([(width[:-1] + width[1:]) / 2 for _, width in metric]),
    )


def comparison_table(rows: Sequence[Comparison], false_m: float) -> str:
    """True against measured, one line a crack, with the totals below."""
    lines = ["crack   true length  measured     error   true width  measured     error"]
    for row in rows:
        true_m, true_mm = row.true.length_m, row.true.mean_width_mm
        head = f"{row.true.crack_id:<7} {true_m:9.2f} m {row.length_m:7.2f} m"
        if row.mean_width_mm is None:
            lines.append(f"{head}    missed {true_mm:9.1f} mm         -")
            continue
        error_percent = 100 * (row.length_m / true_m - 1)
        lines.append(
            f"{head} {error_percent:+7.1f} % {true_mm:9.1f} mm {row.mean_width_mm:6.1f} mm "
            f"{row.mean_width_mm - true_mm:+6.1f} mm"
        )
    true_total, measured_total = sum(row.true.length_m for row in rows), sum(row.length_m for row in rows)
    lines.append(
        f"total   {true_total:9.2f} m {measured_total:7.2f} m {100 * (measured_total / true_total - 1):+7.1f} %"
        f"    false: {false_m:.2f} m"
    )
    return "\n".join(lines)
