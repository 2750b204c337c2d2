"""Two surveys of one road: from their finished runs to what has changed between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pyproj import CRS, Transformer
from scipy.spatial import cKDTree

from crackmap.calibration.errors import InputError
from crackmap.pipeline.comparing.changes import list_changes
from crackmap.pipeline.comparing.faint import SOUND_PROBABILITY, beside_joints, lone, probability_beside
from crackmap.pipeline.comparing.growth import judge
from crackmap.pipeline.comparing.matching import match_lines
from crackmap.pipeline.comparing.places import (
    Axis,
    Move,
    SeenRoad,
    compared_cracks,
    moved_lines,
    road_axis,
    sample_lines,
    seen_road,
)
from crackmap.pipeline.comparing.records import BoolArray, CompareSettings, Comparison, IntArray, Samples
from crackmap.pipeline.comparing.registration import GREATEST_TOLERANCE_M, LEAST_AGREED_M, Registration, register
from crackmap.pipeline.comparing.tally import SectionFinder, common_road, tally
from crackmap.pipeline.comparing.units import Compared, make_units
from crackmap.pipeline.products.vectors import crs_of
from crackmap.pipeline.records import CoordinateKind, RoadCrack
from crackmap.pipeline.run import load_result, run_facts
from crackmap.pipeline.survey_result import SurveyResult
from crackmap.stages.records import FloatArray

ACROSS_SHARE = 0.6
"""A mask is asked this part of the tolerance to either side of a line: beyond it lie other cracks."""


COURSE_STEP_M = 0.05


@dataclass(frozen=True, slots=True)
class Survey:
    """One of the two surveys.

    Attributes:
        out: its output folder.
        result: its records.
        cracks: those that are compared.
        road: what it saw, its own coordinates.
    """

    out: Path
    result: SurveyResult
    cracks: Sequence[RoadCrack]
    road: SeenRoad


def compare_surveys(out_a: Path, out_b: Path, settings: CompareSettings) -> Comparison:
    """What has changed on a road between two surveys.

    Args:
        out_a: -o folder of the finished run of the earlier survey.
        out_b: of the later one.
        settings: how they are compared.

    Raises:
        InputError: a folder holds no finished run, a run has no positions or no ground scale, or the two have no
            coordinates or no road in common.
        OutputLockedError: a folder is in use, or its survey is described differently now than when it was run.
    """
    if out_a.resolve() == out_b.resolve():
        raise InputError(
            f"{out_a}: expected two surveys, got the same folder twice; give the earlier and the later one"
        )
    results = [load_result(out, section_length_m=settings.section_length_m) for out in (out_a, out_b)]
    runs = {name: _identity(out, result) for name, out, result in zip("ab", (out_a, out_b), results, strict=True)}
    return compare_results(results[0], results[1], settings, outs=(out_a, out_b), runs=runs)


def compare_results(
    result_a: SurveyResult, result_b: SurveyResult, settings: CompareSettings, *, outs: tuple[Path, Path],
    runs: dict[str, Any] | None = None,
) -> Comparison:  # fmt: skip
    """As `compare_surveys`, of results that are loaded already; `outs` are named in errors and hold the masks."""
    for result, out in zip((result_a, result_b), outs, strict=True):
        _refuse_unplaced(result, out)
    to_a, from_a = _between(result_b, result_a, outs)
    a, b = _survey(outs[0], result_a), _survey(outs[1], result_b)
    axis = road_axis(a.road)
    pixel_mm = _pixel_mm([*a.cracks, *b.cracks])
    points_a = sample_lines(a.cracks, _same, settings.spacing_m)
    start_b = sample_lines(b.cracks, to_a, settings.spacing_m)
    registration = register(points_a, start_b, axis, settings, u_xy_m=_u_between(a, b), pixel_m=pixel_mm / 1e3)

    _refuse_chance(registration, a, b, outs)

    def onto_a(xy: FloatArray) -> FloatArray:
        return registration.moved(to_a(xy))

    def onto_b(xy: FloatArray) -> FloatArray:
        return from_a(registration.back(xy))

    road_b = b.road.moved(onto_a)
    points_b = sample_lines(b.cracks, onto_a, settings.spacing_m)
    finder = SectionFinder(result_a.sections, axis)
    common = common_road(finder, a.road, road_b)
    if common[1].sum() <= 0:
        raise InputError(
            f"{outs[0]} and {outs[1]}: saw no road in common; give two surveys of one road, with positions in one "
            "system (a chainage counted from the same start, a CRS that is stated right)"
        )
    margin = settings.margin_m + float(registration.u_m.mean())
    seen = [
        _comparable(points, own, own_road, a.road, road_b, margin)
        for points, own, own_road in ((points_a, a, a.road), (points_b, b, road_b))
    ]  # fmt: skip
    matches = match_lines(
        points_a, points_b, seen[0] & ~points_a.bridged, seen[1] & ~points_b.bridged,
        counts=(len(a.cracks), len(b.cracks)), tolerance_m=registration.shift.tolerance_m,
        direction_deg=settings.direction_deg,
    )  # fmt: skip
    tolerance = registration.shift.tolerance_m
    side_a, missing_b = _side(a, points_a, seen[0], matches.of_a, b, points_b, tolerance, onto_b, onto_a)
    side_b, missing_a = _side(b, points_b, seen[1], matches.of_b, a, points_a, tolerance, _same, _same)
    units = make_units(side_a, side_b, matches)
    judged = judge(units, false_share=settings.false_share, pixel_mm=pixel_mm)
    changes = list_changes(side_a, side_b, matches, units, judged, finder, onto_a)
    sections, total = tally(finder, common, side_a, side_b, matches, units, judged, changes)
    notes = [*judged.notes, *_notes(registration, axis, outs, (missing_a, missing_b))]
    return Comparison(
        settings, registration.shift, judged.repeatability, changes, sections, total, tuple(notes), result_a.output,
        runs or {},
    )  # fmt: skip


def _same(xy: FloatArray) -> FloatArray:
    return xy


def _survey(out: Path, result: SurveyResult) -> Survey:
    return Survey(out, result, compared_cracks(result), seen_road(result))


def _refuse_unplaced(result: SurveyResult, out: Path) -> None:
    if result.output.kind is CoordinateKind.SHEET:
        raise InputError(
            f"{out}: its images have no position, so nothing can be compared place by place; describe where they lie "
            "in survey.toml ([position], docs/survey.md) and run again"
        )
    if not seen_road(result).outcomes:
        raise InputError(
            f"{out}: has no measured image with a place and a ground scale; give [ground] in survey.toml or --gsd and "
            "run again"
        )


def _between(later: SurveyResult, earlier: SurveyResult, outs: tuple[Path, Path]) -> tuple[Move, Move]:
    """From the later survey's coordinates to the earlier's, and back."""
    if later.output.kind is not earlier.output.kind:
        raise InputError(
            f"{outs[0]} is in {earlier.output.kind.value} coordinates, {outs[1]} in {later.output.kind.value} "
            "coordinates; run one of them again with positions of the other's kind (docs/survey.md)"
        )
    from_crs, to_crs = crs_of(later.output), crs_of(earlier.output)
    if earlier.output.kind is CoordinateKind.ROAD or from_crs == to_crs:
        return _same, _same
    return _transform(from_crs, to_crs), _transform(to_crs, from_crs)


def _transform(from_crs: CRS, to_crs: CRS) -> Move:
    transformer = Transformer.from_crs(from_crs, to_crs, always_xy=True)

    def move(xy: FloatArray) -> FloatArray:
        return np.column_stack(transformer.transform(xy[:, 0], xy[:, 1])).reshape(-1, 2)

    return move


def _refuse_chance(registration: Registration, a: Survey, b: Survey, outs: tuple[Path, Path]) -> None:
    """Where lines match within a metre, cracks of two roads match by chance, and nothing would seem to change."""
    tolerance = registration.shift.tolerance_m
    lengths = [sum(crack.length_m or 0.0 for crack in survey.cracks) for survey in (a, b)]
    if not registration.shift.known and tolerance > GREATEST_TOLERANCE_M and min(lengths) >= LEAST_AGREED_M:
        raise InputError(
            f"{outs[0]} and {outs[1]}: their cracks do not lie on each other, however far one is shifted within the "
            f"search, and their positions tell no better than {tolerance:.2f} m which crack is which. Is it one road? "
            "Give a greater --search if they lie farther apart. If the road was renewed in between, all its cracks are "
            "new and there is nothing to match: read the sections of both runs"
        )


def _pixel_mm(cracks: Sequence[RoadCrack]) -> float:
    sizes = [max(crack.gsd_mm) for crack in cracks if crack.gsd_mm is not None]
    return float(np.median(sizes)) if sizes else 1.0


def _u_between(a: Survey, b: Survey) -> float | None:
    """Standard uncertainty of the difference of both positions; None where one of them states none."""
    known = [
        [outcome.frame.u_xy_m for outcome in survey.road.outcomes if outcome.frame.u_xy_m is not None]
        for survey in (a, b)
    ]
    return float(np.hypot(float(np.median(known[0])), float(np.median(known[1])))) if all(known) else None


def _comparable(
    points: Samples, own: Survey, own_road: SeenRoad, road_a: SeenRoad, road_b: SeenRoad, margin_m: float
) -> BoolArray:
    """Points on road that both surveys saw.

    What a survey saw in two recordings is taken from the first, by name, or its cracks would count twice.
    """
    if not len(points.xy):
        return np.zeros(0, bool)
    names = [own_road.names.index(crack.recording) if crack.recording in own_road.names else -1 for crack in own.cracks]
    first = own_road.recording_at(points.xy) == np.array(names)[points.crack]
    return np.asarray(first & road_a.covers(points.xy, margin_m) & road_b.covers(points.xy, margin_m), bool)


def _side(
    own: Survey, points: Samples, seen: BoolArray, partner: IntArray, other: Survey, others: Samples,
    tolerance_m: float, into_other: Move, other_onto_a: Move,
) -> tuple[Compared, int]:  # fmt: skip
    """One survey's points, those left out beside which the other shows something; and the masks it lacks.

    `into_other` takes coordinates of the earlier survey to those of `other`, `other_onto_a` the other way.
    """
    alone = lone(points, partner, seen & ~points.bridged)
    xy, course = points.xy[alone], points.course[alone]
    there = into_other(xy)
    direction = (into_other(xy + COURSE_STEP_M * course) - there) / COURSE_STEP_M
    probability, missing = probability_beside(other.road, other.out, there, direction, tolerance_m * ACROSS_SHARE)
    joints = moved_lines([crack.line_xy for crack in other.result.cracks if crack.joint], other_onto_a)
    shown = np.nan_to_num(probability) >= SOUND_PROBABILITY
    shown |= beside_joints(joints, xy, tolerance_m)
    bridged = others.xy[others.bridged]
    if len(bridged) and len(xy):
        shown |= np.isfinite(cKDTree(bridged).query(xy, distance_upper_bound=tolerance_m)[0])
    left_out = seen & points.bridged
    left_out[alone[shown]] = True
    return Compared(own.cracks, points, seen, left_out), missing


def _notes(registration: Registration, axis: Axis, outs: tuple[Path, Path], missing: tuple[int, int]) -> list[str]:
    notes = []
    if not registration.shift.known:
        notes.append(
            "the cracks did not tell how far the surveys lie beside each other; lines are matched within "
            f"{registration.shift.tolerance_m:.2f} m, from the uncertainty of the positions"
        )
    for out, count in zip(outs, missing, strict=True):
        if count:
            notes.append(
                f"{out}: {count} masks cannot be read; where nothing was measured there, it is taken that nothing shows"
            )
    if not axis.has_chainage:
        notes.append("the earlier survey has no direction of travel: the shift is one for each of its images")
    return notes


def _identity(out: Path, result: SurveyResult) -> dict[str, Any]:
    """What a run was, as plain values."""
    covered = [section.covered_m for section in result.sections if section.covered_m is not None]
    return {
        "out": str(out),
        **run_facts(out),
        "coordinates": {"kind": result.output.kind.value, "crs": crs_of(result.output).name},
        "frames": len(result.outcomes),
        "cracks": len(result.cracks),
        "covered_m": round(sum(covered), 3) if covered else None,
        "recordings": sorted({outcome.frame.recording for outcome in result.outcomes}),
    }
