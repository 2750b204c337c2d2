"""Finished runs of synthetic surveys against the truth, and against each other: `crackmap evaluate survey`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from crackmap.calibration.errors import InputError
from crackmap.pipeline.demo import compare
from crackmap.pipeline.records import Section
from crackmap.pipeline.run import load_result
from crackmap.pipeline.survey_result import SurveyResult
from crackmap.pipeline.synthetic import RoadTruth, read_truth


@dataclass(frozen=True, slots=True)
class SectionError:
    """One section of one run.

    Attributes:
        section_id: of the section.
        length_m: length of road in it.
        true_m, measured_m: length of crack in it.
        true_width_mm, measured_width_mm: mean widths, weighted by length; None without cracks.
        pixel_mm: median pixel of the cracks measured in the run.
    """

    section_id: str
    length_m: float
    true_m: float
    measured_m: float
    true_width_mm: float | None
    measured_width_mm: float | None
    pixel_mm: float

    @property
    def length_percent(self) -> float | None:
        """Error of the crack length; None where there is none to find."""
        return 100 * (self.measured_m / self.true_m - 1) if self.true_m > 0 else None

    @property
    def width_px(self) -> float | None:
        """Error of the mean width in pixels; None where nothing was or could be measured."""
        if self.true_width_mm is None or self.measured_width_mm is None:
            return None
        return (self.measured_width_mm - self.true_width_mm) / self.pixel_mm


@dataclass(frozen=True, slots=True)
class SurveyErrors:
    """One run against the truth.

    Attributes:
        sections: along the road.
        missed_m: what the length measured beside each true crack falls short of it, added up.
        false_m: length of measured line without a true crack beside it.
    """

    sections: tuple[SectionError, ...]
    missed_m: float
    false_m: float


def evaluate_surveys(
    survey: Path, runs: Sequence[Path], *, section_length_m: float
) -> tuple[tuple[SurveyErrors, ...], tuple[tuple[float, float], ...]]:
    """Each run against the truth of the survey folder, and the runs after the first against it.

    Args:
        survey: folder of a synthetic survey, or its truth.json.
        runs: -o folders of `crackmap run`; several for several passes over the same road.
        section_length_m: length of the sections that are compared.

    Returns:
        The errors of each run; and for each run after the first the root mean square, over sections, of the
        difference in crack length (per cent) and in mean width (mm) from the first; NaN where none can be compared.

    Raises:
        InputError: no truth, no finished run, or a run that is not on the map.
    """
    truth = read_truth(survey)
    results = [load_result(out, section_length_m=section_length_m) for out in runs]
    errors = tuple(survey_errors(truth, result, out) for result, out in zip(results, runs, strict=True))
    return errors, tuple(_difference(errors[0], other) for other in errors[1:])


def survey_errors(truth: RoadTruth, result: SurveyResult, out: Path) -> SurveyErrors:
    """One result against the truth; `out` is named where that is not possible."""
    measured = [crack for crack in result.cracks if crack.width_mm is not None]
    if result.output.kind.value != "map" or not all(len(section.outline_xy) for section in result.sections):
        raise InputError(f"{out}: its cracks are not on the map; run the survey with its survey.toml and track")
    pixel_mm = float(np.median([np.mean(crack.gsd_mm) for crack in measured if crack.gsd_mm])) if measured else 1.0
    rows, false_m = compare(truth, measured)
    missed_m = sum(max(row.true.length_m - row.length_m, 0.0) for row in rows)
    return SurveyErrors(tuple(_section(truth, section, pixel_mm) for section in result.sections), missed_m, false_m)


def _section(truth: RoadTruth, section: Section, pixel_mm: float) -> SectionError:
    area = shapely.Polygon(section.outline_xy)
    length = weighted = 0.0
    for crack in truth.cracks:
        line = truth.to_map_xy(crack.road_xy_m)
        if not shapely.LineString(line).intersects(area):
            continue
        parts = shapely.intersection(shapely.linestrings(np.stack([line[:-1], line[1:]], axis=1)), area)
        inside = shapely.length(parts)
        length += float(inside.sum())
        weighted += float(inside @ (crack.width_mm[:-1] + crack.width_mm[1:]) / 2)
    return SectionError(
        section_id=section.section_id,
        length_m=section.covered_m or 0.0,
        true_m=length,
        measured_m=section.crack_length_m,
        true_width_mm=weighted / length if length > 0 else None,
        measured_width_mm=section.mean_width_mm,
        pixel_mm=pixel_mm,
    )


def _difference(first: SurveyErrors, other: SurveyErrors) -> tuple[float, float]:
    """Root mean square difference of the sections of two runs: crack length in per cent, mean width in mm."""
    length, width = [], []
    same = {section.section_id: section for section in other.sections}
    for a in first.sections:
        b = same.get(a.section_id)
        if b is None:
            continue
        if a.measured_m > 0:
            length.append(100 * (b.measured_m / a.measured_m - 1))
        if a.measured_width_mm is not None and b.measured_width_mm is not None:
            width.append(b.measured_width_mm - a.measured_width_mm)
    return _root_mean_square(length), _root_mean_square(width)


def _root_mean_square(values: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values else float("nan")


def survey_report(
    names: Sequence[str], errors: Sequence[SurveyErrors], repeats: Sequence[tuple[float, float]]
) -> dict[str, Any]:
    """The errors as plain values, ready for JSON."""
    return {
        "runs": {name: asdict(error) for name, error in zip(names, errors, strict=True)},
        "repeatability": {
            name: {"length_percent": length, "mean_width_mm": width}
            for name, (length, width) in zip(names[1:], repeats, strict=True)
        },
    }


def survey_table(names: Sequence[str], errors: Sequence[SurveyErrors], repeats: Sequence[tuple[float, float]]) -> str:
    """The errors as a table for the terminal."""
    lines = []
    for name, error in zip(names, errors, strict=True):
        lines.append(f"{name}\nsection                 true    measured   error    true width  measured   error")
        for row in error.sections:
            lines.append(f"{row.section_id:<18} {row.true_m:8.2f} m {row.measured_m:8.2f} m " + _row(row))
        road_km = sum(row.length_m for row in error.sections) / 1e3
        per_km = ""
        if road_km > 0:
            per_km = f" ({error.missed_m / road_km:.0f} and {error.false_m / road_km:.0f} m per km)"
        lines.append(f"missed {error.missed_m:.2f} m, false {error.false_m:.2f} m{per_km}")
    for name, (length, width) in zip(names[1:], repeats, strict=True):
        lines.append(
            f"repeatability, {name} against {names[0]}: crack length of a section {length:.1f} %, "
            f"mean width {width:.2f} mm"
        )
    return "\n".join(lines)


def _row(row: SectionError) -> str:
    length = "      -" if row.length_percent is None else f"{row.length_percent:+6.1f} %"
    if row.true_width_mm is None or row.measured_width_mm is None or row.width_px is None:
        return length
    return f"{length} {row.true_width_mm:9.2f} mm {row.measured_width_mm:6.2f} mm {row.width_px:+6.2f} px"
