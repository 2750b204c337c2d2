"""Measured cracks against true ones: errors of length, width, direction and place (the project's geometry measures).

A measured point belongs to the true crack nearest to it, if that lies within the tolerance. Totals count all of it;
errors of single cracks are taken where one measured line stands for one true crack as a whole, because where cracks
meet it is open which line goes on as which.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from crackmap.calibration.errors import require
from crackmap.stages.polyline import arc_length, principal_direction_deg, resampled
from crackmap.stages.records import Crack, FloatArray

WIDTH_CLASSES_PX = ((1, 2), (2, 3), (3, 5), (5, 10), (10, 20))

_WHOLE = 0.9
"""A line stands for a true crack when this share of each lies on the other."""

_DIRECTION_PX = 50.0
"""Shorter cracks have no direction to speak of."""


@dataclass(frozen=True, slots=True)
class TrueLine:
    """A true crack as far as one image could show it, on the ground of that image.

    Attributes:
        name: that of the crack.
        xy_m: (N, 2) vertices.
        width_mm: (N,) width at each vertex.
        whole: all of the crack is in sight.
    """

    name: str
    xy_m: FloatArray
    width_mm: FloatArray
    whole: bool = True


@dataclass(frozen=True, slots=True)
class CrackError:
    """Measured less true, of one crack.

    Attributes:
        name: of the true crack.
        true_length_m: its length.
        length_m: error of the length.
        u_length_m: the standard uncertainty that was stated for it.
        true_width_px: its mean width in pixels across it.
        width_px, width_mm: error of the mean width.
        u_width_mm: the standard uncertainty that was stated for it.
        vertex_px: mean absolute error of the widths at the vertices.
        direction_deg: absolute error of the orientation; None for cracks shorter than 50 px.
        place_mm: mean distance of the measured line from the true one.
        grey_share: share of the widths that were read in the picture.
    """

    name: str
    true_length_m: float
    length_m: float
    u_length_m: float
    true_width_px: float
    width_px: float
    width_mm: float
    u_width_mm: float
    vertex_px: float
    direction_deg: float | None
    place_mm: float
    grey_share: float


@dataclass(slots=True)
class GeometryErrors:
    """Errors over a set of images; add images with `+=`.

    Attributes:
        cracks: of the cracks that were measured whole, by one line.
        true_m, measured_m: length of all true, and of all measured cracks in sight.
        missed_m: true length without a measured line within the tolerance.
        false_m: measured length without a true crack within it.
    """

    cracks: list[CrackError] = field(default_factory=list)
    true_m: float = 0.0
    measured_m: float = 0.0
    missed_m: float = 0.0
    false_m: float = 0.0

    def __iadd__(self, other: GeometryErrors) -> GeometryErrors:
        self.cracks += other.cracks
        self.true_m += other.true_m
        self.measured_m += other.measured_m
        self.missed_m += other.missed_m
        self.false_m += other.false_m
        return self


@dataclass(frozen=True, slots=True)
class _Points:
    """Points at even steps along some lines: places, widths, number of the line, length each stands for."""

    xy_m: FloatArray
    width_mm: FloatArray
    line: NDArray[np.int64]
    step_m: FloatArray


def geometry_errors(
    truth: Sequence[TrueLine], measured: Sequence[Crack], *, tolerance_px: float = 4.0
) -> GeometryErrors:
    """The errors in one image; `measured` have a ground scale.

    Args:
        truth: what the image could show.
        measured: what was measured in it; joints are left out.
        tolerance_px: how far apart a measured and a true line may lie, in pixels beyond half the true width.
    """
    measured = [crack for crack in measured if crack.open]
    require(all(crack.length_m is not None for crack in measured), "measured", "cracks with a ground scale", "without")
    result = GeometryErrors(
        true_m=sum(float(arc_length(line.xy_m)[-1]) for line in truth),
        measured_m=sum(crack.length_m or 0.0 for crack in measured),
    )
    if not truth or not measured:
        result.missed_m, result.false_m = result.true_m, result.measured_m
        return result
    pixel_m = float(np.median([max(crack.gsd_mm or (0.0,)) for crack in measured])) / 1e3
    true = _points([(line.xy_m, line.width_mm) for line in truth], pixel_m / 2)
    found = _points([_metric(crack) for crack in measured], pixel_m / 2)
    distance, nearest = cKDTree(true.xy_m).query(found.xy_m)
    reach = tolerance_px * pixel_m
    belongs = distance <= reach + true.width_mm[nearest] / 2e3
    back, _ = cKDTree(found.xy_m).query(true.xy_m)
    seen = back <= reach + true.width_mm / 2e3
    result.false_m = float(found.step_m[~belongs].sum())
    result.missed_m = float(true.step_m[~seen].sum())
    by_crack = np.split(np.arange(len(found.line)), np.searchsorted(found.line, np.arange(1, len(measured))))
    for crack, rows in zip(measured, by_crack, strict=True):
        owners = np.where(belongs[rows], true.line[nearest[rows]], -1)
        owner = int(np.bincount(owners + 1).argmax()) - 1
        if owner < 0 or not truth[owner].whole:
            continue
        length_m = float(arc_length(truth[owner].xy_m)[-1])
        mine = owners == owner
        covered = found.step_m[rows][mine].sum()
        if mine.mean() >= _WHOLE and _WHOLE <= covered / length_m <= 2 - _WHOLE:
            here = _Points(
                found.xy_m[rows][mine], found.width_mm[rows][mine], found.line[rows][mine], found.step_m[rows][mine]
            )
            result.cracks.append(
                _error(truth[owner], crack, here, true.width_mm[nearest[rows][mine]], distance[rows][mine])
            )
    return result


def _metric(crack: Crack) -> tuple[FloatArray, FloatArray]:
    # Both are there where there is a ground scale.
    return np.asarray(crack.centreline_xy_m, np.float64), np.asarray(crack.width_mm, np.float64)


def _points(lines: Iterable[tuple[FloatArray, FloatArray]], step_m: float) -> _Points:
    parts = []
    for number, (xy, width) in enumerate(lines):
        dense = resampled(np.column_stack([xy, width]), step_m)
        middle = (dense[1:] + dense[:-1]) / 2
        steps = np.hypot(*np.diff(dense[:, :2], axis=0).T)
        parts.append(np.column_stack([middle, np.full(len(steps), number), steps]))
    rows = np.concatenate(parts)
    return _Points(rows[:, :2], rows[:, 2], rows[:, 3].astype(np.int64), rows[:, 4])


def _error(
    true: TrueLine, crack: Crack, found: _Points, true_width_mm: FloatArray, distance_m: FloatArray
) -> CrackError:
    width_mm = np.zeros(1) if crack.width_mm is None else crack.width_mm
    # Millimetres per pixel across the line: the same at a vertex for the width in both units.
    pixel_mm = float(np.mean(width_mm / np.maximum(crack.width_px, 1e-9)))
    mean_true_mm = float(np.average(true_width_mm, weights=found.step_m))
    error_mm = float(np.average(found.width_mm, weights=found.step_m)) - mean_true_mm
    length_m = float(arc_length(true.xy_m)[-1])
    direction = principal_direction_deg(true.xy_m)
    turned = abs((crack.orientation_deg - direction + 90.0) % 180.0 - 90.0)
    return CrackError(
        name=true.name,
        true_length_m=length_m,
        length_m=(crack.length_m or 0.0) - length_m,
        u_length_m=crack.u_length_m or 0.0,
        true_width_px=mean_true_mm / pixel_mm,
        width_px=error_mm / pixel_mm,
        width_mm=error_mm,
        u_width_mm=crack.u_width_mm or 0.0,
        vertex_px=float(np.abs(found.width_mm - true_width_mm).mean()) / pixel_mm,
        direction_deg=turned if crack.length_px >= _DIRECTION_PX else None,
        place_mm=1e3 * float(np.average(distance_m, weights=found.step_m)),
        grey_share=crack.grey_share,
    )


def table(errors: GeometryErrors) -> str:
    """The errors as a table for the terminal, by class of true width."""
    lines = [
        "width class  cracks  width bias      MAE  at vertices     length |mean|     p95   direction"
        "   within 2 u (width, length)"
    ]
    for low, high in (*WIDTH_CLASSES_PX, (0, np.inf)):
        rows = [row for row in errors.cracks if low <= row.true_width_px < high]
        name = f"{low}-{high} px" if np.isfinite(high) else "all"
        lines.append(f"{name:<11} {len(rows):7d}  {_row(rows)}" if rows else f"{name:<11} {0:7d}")
    lines.append(
        f"true length {errors.true_m:.2f} m, measured {errors.measured_m:.2f} m "
        f"({100 * (errors.measured_m / max(errors.true_m, 1e-9) - 1):+.1f} %), "
        f"missed {errors.missed_m:.2f} m, false {errors.false_m:.2f} m"
    )
    return "\n".join(lines)


def _row(rows: Sequence[CrackError]) -> str:
    numbers = summary(rows)
    turned = [row.direction_deg for row in rows if row.direction_deg is not None]
    direction = float(np.mean(turned)) if turned else None
    return (
        f"{numbers['width_bias_px']:+7.2f} px {numbers['width_mae_px']:5.2f} px {numbers['vertex_mae_px']:8.2f} px "
        f"{numbers['length_percent']:12.2f} % {numbers['length_p95_percent']:6.2f} % "
        + ("          -" if direction is None else f"{direction:7.2f} deg")
        + f" {100 * numbers['width_within_2u']:13.0f} %, {100 * numbers['length_within_2u']:3.0f} %"
    )


def report(errors: GeometryErrors) -> dict[str, Any]:
    """The errors as plain values, ready for JSON: in all, by class of true width, and crack by crack."""
    classes = {}
    for low, high in WIDTH_CLASSES_PX:
        rows = [row for row in errors.cracks if low <= row.true_width_px < high]
        classes[f"{low}-{high} px"] = summary(rows) if rows else None
    return {
        "true_m": errors.true_m,
        "measured_m": errors.measured_m,
        "missed_m": errors.missed_m,
        "false_m": errors.false_m,
        "all": summary(errors.cracks) if errors.cracks else None,
        "by_width": classes,
        "cracks": [asdict(row) for row in errors.cracks],
    }


def summary(rows: Sequence[CrackError]) -> dict[str, float]:
    """The figures of some cracks, one or more, as plain values; NaN for a direction that none of them has."""
    width = np.array([row.width_px for row in rows])
    length = np.array([100 * row.length_m / row.true_length_m for row in rows])
    directions = [row.direction_deg for row in rows if row.direction_deg is not None]
    return {
        "cracks": len(rows),
        "width_bias_px": float(width.mean()),
        "width_bias_mm": float(np.mean([row.width_mm for row in rows])),
        "width_mae_px": float(np.abs(width).mean()),
        "width_p95_px": float(np.percentile(np.abs(width), 95)),
        "vertex_mae_px": float(np.mean([row.vertex_px for row in rows])),
        "length_bias_percent": float(length.mean()),
        "length_percent": float(np.abs(length).mean()),
        "length_p95_percent": float(np.percentile(np.abs(length), 95)),
        "direction_deg": float(np.mean(directions)) if directions else float("nan"),
        "place_mm": float(np.mean([row.place_mm for row in rows])),
        "width_within_2u": float(np.mean([abs(row.width_mm) <= 2 * row.u_width_mm for row in rows])),
        "length_within_2u": float(np.mean([abs(row.length_m) <= 2 * row.u_length_m for row in rows])),
        "grey_share": float(np.mean([row.grey_share for row in rows])),
    }
