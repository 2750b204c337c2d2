"""The cracks of a single image as plain values, and as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from crackmap.pipeline.classes import ClassPart, split_by_width_class
from crackmap.pipeline.polyline import weighted_quantile
from crackmap.stages.polyline import vertex_weights
from crackmap.stages.records import Crack, FloatArray

LEAST_PART_M = 0.1
LEAST_PART_PX = 30.0
"""Parts of a width class shorter than this go to their neighbour: a decimetre, or ten vertices without a scale."""

Report = dict[str, Any]


def image_report(
    name: str, cracks: Sequence[Crack], *, size_wh_px: tuple[int, int], gsd_mm: float | tuple[float, float] | None,
    mask: str | None = None, notes: Sequence[str] = (), width_edges: Sequence[float] = (),
) -> Report:  # fmt: skip
    """All numbers of one image as values that JSON can hold; unknown ones are None.

    Args:
        name: of the image.
        cracks: as measured; each is numbered from 1 in this order.
        size_wh_px: of the image.
        gsd_mm: the ground length of a pixel, None where everything is in pixels.
        mask: the file the cracks were taken from, if it is not the image.
        notes: what was assumed.
        width_edges: limits between width classes, millimetres, or pixels without a scale; none: no classes.
    """
    metric = gsd_mm is not None
    report: Report = {
        "image": name,
        "mask": mask,
        "size_wh_px": list(size_wh_px),
        "gsd_mm": list(gsd_mm) if isinstance(gsd_mm, tuple) else gsd_mm,
        "notes": list(notes),
        "cracks": [{"number": number, **_crack_report(crack)} for number, crack in enumerate(cracks, start=1)],
    }
    report["totals"] = _totals(report["cracks"], metric)
    if width_edges:
        parts = [class_parts(crack, width_edges) for crack in cracks]
        counted = [part for crack, of_crack in zip(cracks, parts, strict=True) if not crack.sealed for part in of_crack]
        report["width_classes"] = _class_lengths(counted, width_edges, metric)
        unit = "length_m" if metric else "length_px"
        for crack_report, of_crack in zip(report["cracks"], parts, strict=True):
            crack_report["width_class_parts"] = [
                {"class": part.number, unit: round(part.length, 4 if metric else 2)} for part in of_crack
            ]
    return report


def class_parts(crack: Crack, edges: Sequence[float]) -> tuple[ClassPart, ...]:
    """The parts of a crack by width class: in metres and millimetres where it has them, else in pixels."""
    if crack.centreline_xy_m is not None and crack.width_mm is not None:
        return split_by_width_class(crack.centreline_xy_m, crack.width_mm, edges, least_length=LEAST_PART_M)
    return split_by_width_class(crack.centreline_xy_px, crack.width_px, edges, least_length=LEAST_PART_PX)


def _crack_report(crack: Crack) -> Report:
    report: Report = {
        "length_px": round(crack.length_px, 2),
        "u_length_px": _rounded(crack.u_length_px, 3),
        **_widths(crack.centreline_xy_px, crack.width_px, "px"),
        "u_mean_width_px": _rounded(crack.u_width_px, 3),
        "orientation_deg": round(crack.orientation_deg, 1) % 180.0,
        "confidence": round(crack.confidence, 3),
        "grey_share": round(crack.grey_share, 3),
        "gap_px": round(crack.gap_px, 2),
        "touches_border": crack.touches_border,
        "joint": crack.joint,
        "sealed": crack.sealed,
        "saturated": crack.saturated,
        "below_resolution": crack.below_resolution,
    }
    if crack.length_m is not None and crack.width_mm is not None and crack.centreline_xy_m is not None:
        report |= {
            "length_m": round(crack.length_m, 4),
            "u_length_m": _rounded(crack.u_length_m, 5),
            **_widths(crack.centreline_xy_m, crack.width_mm, "mm"),
            "u_mean_width_mm": _rounded(crack.u_width_mm, 3),
            "centreline_xy_m": np.round(crack.centreline_xy_m, 4).tolist(),
            "widths_mm": np.round(crack.width_mm, 3).tolist(),
        }
    report["centreline_xy_px"] = np.round(crack.centreline_xy_px, 2).tolist()
    report["widths_px"] = np.round(crack.width_px, 3).tolist()
    return report


def _widths(line: FloatArray, width: FloatArray, unit: str) -> Report:
    weights = vertex_weights(line)
    return {
        f"mean_width_{unit}": round(float(width @ weights / weights.sum()), 3),
        f"max_width_{unit}": round(float(width.max()), 3),
        f"p95_width_{unit}": round(weighted_quantile(width, weights, 0.95), 3),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _totals(cracks: Sequence[Report], metric: bool) -> Report:
    """Count, length, mean width weighted by length, of what is not sealed; uncertainties add plainly, for one camera
    took all of them.
    """
    cracks = [crack for crack in cracks if not crack["sealed"]]
    unit, across, digits = ("m", "mm", 4) if metric else ("px", "px", 2)
    length = sum(crack[f"length_{unit}"] for crack in cracks)
    known = [crack[f"u_length_{unit}"] for crack in cracks if crack[f"u_length_{unit}"] is not None]
    mean = sum(crack[f"length_{unit}"] * crack[f"mean_width_{across}"] for crack in cracks) / length if length else None
    return {
        "cracks": len(cracks),
        f"length_{unit}": round(length, digits),
        f"u_length_{unit}": round(sum(known), digits + 1) if cracks and len(known) == len(cracks) else None,
        f"mean_width_{across}": _rounded(mean, 3),
    }


def _class_lengths(parts: Sequence[ClassPart], edges: Sequence[float], metric: bool) -> list[Report]:
    length = "length_m" if metric else "length_px"
    across = "mm" if metric else "px"
    return [
        {f"from_{across}": low, f"to_{across}": high,
         length: round(sum(part.length for part in parts if part.number == number), 4)}
        for number, (low, high) in enumerate(pairwise([0.0, *edges, None]))
    ]  # fmt: skip


def measure_table(reports: Sequence[Report]) -> str:
    """A table for the terminal, in millimetres and metres where the scale is known, else in pixels."""
    lines: list[str] = []
    for report in reports:
        lines += _image_lines(report)
    if any(report["cracks"] for report in reports):
        lines += ["direction: 0 = up in the picture (the direction of travel), 90 = across"]
        if any("±" in line for line in lines):
            lines += ["±: standard uncertainty (one sigma)"]
    return "\n".join(lines)


def _image_lines(report: Report) -> list[str]:
    metric = report["gsd_mm"] is not None
    unit, across = ("m", "mm") if metric else ("px", "px")
    count = len(report["cracks"])
    beside = f" (mask {report['mask']})" if report["mask"] else ""
    lines = [f"{report['image']}{beside}: {count} crack{'' if count == 1 else 's'}"]
    lines += [f"  note: {note}" for note in report["notes"]]
    if not count:
        return lines
    rows = [["", f"length {unit}", f"mean width {across}", "max", "p95", "direction", "widths from", "remarks"]]
    digits = (3, 2) if metric else (1, 2)
    for crack in report["cracks"]:
        rows.append([
            str(crack["number"]),
            _with_u(crack[f"length_{unit}"], crack[f"u_length_{unit}"], digits[0]),
            _with_u(crack[f"mean_width_{across}"], crack[f"u_mean_width_{across}"], digits[1]),
            f"{crack[f'max_width_{across}']:.{digits[1]}f}",
            f"{crack[f'p95_width_{across}']:.{digits[1]}f}",
            f"{crack['orientation_deg']:.1f}°",
            _source(crack["grey_share"]),
            ", ".join(_remarks(crack, report)),
        ])  # fmt: skip
    total = report["totals"]
    mean = total[f"mean_width_{across}"]
    rows.append(["total" if total["cracks"] == count else "without sealed",
                 _with_u(total[f"length_{unit}"], total[f"u_length_{unit}"], digits[0]),
                 "-" if mean is None else f"{mean:.{digits[1]}f}", *[""] * 5])  # fmt: skip
    lines += _aligned(rows)
    lines += _class_lines(report, unit, across, digits[0])
    return lines


def _with_u(value: float, u: float | None, digits: int) -> str:
    return f"{value:.{digits}f}" if u is None else f"{value:.{digits}f} ± {u:.{digits}f}"


def _source(grey_share: float) -> str:
    """Where widths were read: in the picture, in the mask (or the net's probability), or in both."""
    percent = round(100 * grey_share)
    return "image" if percent >= 95 else "mask" if percent <= 5 else f"image {percent} %"


def _remarks(crack: Report, report: Report) -> list[str]:
    remarks = []
    if crack["touches_border"]:
        remarks.append("leaves the image")
    if crack["joint"]:
        remarks.append("straight and even: a joint or saw cut")
    if crack["sealed"]:
        remarks.append("sealed: the width of the seal")
    if crack["saturated"]:
        remarks.append("black or white in the image: edges not seen")
    if crack["below_resolution"]:
        remarks.append("under 1 px wide: width is a rough guess")
    if crack["gap_px"] > 0:
        scale = crack["length_m"] / crack["length_px"] if report["gsd_mm"] is not None and crack["length_px"] else None
        gap = f"{crack['gap_px']:.0f} px" if scale is None else f"{1e3 * scale * crack['gap_px']:.0f} mm"
        remarks.append(f"{gap} of gaps joined")
    return remarks


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest entry; numbers to the right, the last two columns to the left."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    left = len(widths) - 2
    return [
        "  " + "  ".join(
            text.ljust(width) if n >= left else text.rjust(width)
            for n, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]  # fmt: skip


def _class_lines(report: Report, unit: str, across: str, digits: int) -> list[str]:
    if "width_classes" not in report:
        return []
    least = f"{LEAST_PART_M:g} m" if unit == "m" else f"{LEAST_PART_PX:g} px"
    lines = [f"  length by width (parts under {least} count with their neighbour)"]
    for item in report["width_classes"]:
        low, high = item[f"from_{across}"], item[f"to_{across}"]
        name = f"{low:g} {across} and wider" if high is None else f"{low:g} to {high:g} {across}"
        lines.append(f"    {name:<18} {item[f'length_{unit}']:>9.{digits}f} {unit}")
    return lines
