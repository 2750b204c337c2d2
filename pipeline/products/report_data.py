"""What the report's script reads: cracks with their numbers and places, and pictures, as JSON inside the page."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import shapely

from crackmap.pipeline.networks import polygon_of
from crackmap.pipeline.products.charts import ASIDE
from crackmap.pipeline.products.rows import mean_width, printable
from crackmap.pipeline.products.styles import class_of, width_classes
from crackmap.pipeline.records import CoordinateKind, Frame, RoadCrack
from crackmap.pipeline.report_pictures import FramePicture, pixels_of_crack, simpler
from crackmap.pipeline.survey_result import SurveyResult
from crackmap.stages.records import FloatArray

SIMPLER_M = 0.01
"""Lines of the map are drawn this exactly."""

MOST_OUTLINES = 5000
"""Sections and patterns drawn on the map."""

Item = dict[str, Any]


def crack_items(result: SurveyResult, cracks: Sequence[RoadCrack], pictures: Sequence[FramePicture]) -> list[Item]:
    """One item for each crack that can be picked, in the order given."""
    known = {picture.key: (number, picture) for number, picture in enumerate(pictures)}
    frames = {key: outcome.frame for key, outcome in result.outcomes.of_keys(known).items()}
    classes = width_classes(metric=result.output.unit == "m")
    return [_crack_item(crack, frames, known, classes) for crack in cracks]


def picture_items(pictures: Sequence[FramePicture]) -> list[Item]:
    """One item for each picture."""
    return [
        {
            "key": printable(picture.key),
            "size": list(picture.size_wh_px),
            "src": data_uri(picture.webp),
            "lines": [_flat(line) for line in picture.lines_xy_px],
        }
        for picture in pictures
    ]


def map_item(result: SurveyResult, cracks: Sequence[RoadCrack]) -> Item | None:
    """Lines and outlines of the map, in metres from its origin; None where coordinates are no map."""
    if result.output.kind is not CoordinateKind.MAP or not result.outcomes:
        return None
    origin = np.full(2, np.inf)
    for outcome in result.outcomes:
        if len(outcome.footprint_xy) >= 3:
            origin = np.minimum(origin, outcome.footprint_xy.min(axis=0))
    if not np.isfinite(origin).all():
        return None
    origin = np.floor(origin)
    classes = width_classes(metric=True)
    sections = [section for section in result.sections if len(section.outline_xy) >= 3][:MOST_OUTLINES]
    return {
        "origin": origin.tolist(),
        "colours": [item.colour for item in classes],
        "cracks": [
            {"id": crack.crack_id, "xy": _flat(_simpler(crack.line_xy) - origin, 2)} for crack in cracks
        ],
        "sections": [
            {"name": printable(section.section_id), "xy": _flat(section.outline_xy - origin, 1)}
            for section in sections
        ],
        "patterns": [
            {"kind": pattern.kind, "xy": _flat(shapely.get_coordinates(polygon_of(pattern).exterior) - origin, 2)}
            for pattern in result.networks[:MOST_OUTLINES]
        ],
    }  # fmt: skip


def embedded(value: Any) -> str:
    """JSON that can stand inside a script element: nothing in it ends the element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def data_uri(content: bytes) -> str:
    """A WebP or PNG as a link that holds it."""
    kind = "png" if content.startswith(b"\x89PNG") else "webp"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _crack_item(
    crack: RoadCrack, frames: Mapping[str, Frame], known: Mapping[str, tuple[int, FramePicture]], classes: Any
) -> Item:
    metric = crack.width_mm is not None
    width = mean_width(crack.line_xy, crack.width_mm if metric else crack.width_px) or 0.0
    picture, line = _in_picture(crack, frames, known)
    flags = (
        ("a joint or saw cut: in no number of cracks", crack.joint),
        ("sealed: in no number of open cracks", crack.sealed),
        ("leaves the picture", crack.touches_border),
        ("width under a pixel: an order of magnitude", crack.below_resolution),
        ("black or white in the picture", crack.saturated),
    )
    return {
        "id": crack.crack_id,
        "class": class_of(width, classes) if crack.open else ASIDE,
        "length": _rounded(crack.length_m if metric else crack.length_px, 3 if metric else 1),
        "u_length": _rounded(crack.u_length_m if metric else crack.u_length_px, 4),
        "width": _rounded(width, 2),
        "u_width": _rounded(crack.u_width_mm if metric else crack.u_width_px, 2),
        "widest": _rounded(float((crack.width_px if crack.width_mm is None else crack.width_mm).max()), 2),
        "angle": _rounded(crack.orientation_deg, 1),
        "chainage": _rounded(crack.chainage_m, 2),
        "offset": _rounded(crack.offset_m, 2),
        "confidence": _rounded(crack.confidence, 2),
        "pattern": crack.pattern_id,
        "recording": printable(crack.recording),
        "frames": [printable(key) for key in crack.frame_keys],
        "remarks": [text for text, holds in flags if holds],
        "picture": picture,
        "line": line,
    }


def _in_picture(
    crack: RoadCrack, frames: Mapping[str, Frame], known: Mapping[str, tuple[int, FramePicture]]
) -> tuple[int | None, list[float]]:
    """Number of the picture that shows most of a crack, and its line there; None if no picture shows it."""
    best: tuple[int | None, list[float], int] = (None, [], 1)
    for key in crack.frame_keys:
        if key in known and key in frames:
            number, picture = known[key]
            line = pixels_of_crack(crack, frames[key])
            if len(line) > best[2]:
                best = number, _flat(simpler(line * picture.scale)), len(line)
    return best[0], best[1]


def _simpler(line_xy: FloatArray) -> FloatArray:
    return np.asarray(shapely.get_coordinates(shapely.simplify(shapely.LineString(line_xy), SIMPLER_M)), np.float64)


def _flat(xy: FloatArray, digits: int = 1) -> list[float]:
    """x, y, x, y, ..."""
    return [float(value) for value in np.asarray(xy).round(digits).ravel()]


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(float(value), digits)
