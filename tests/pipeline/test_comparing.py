"""Two surveys of one road, drawn: every shift, growth and gap is known in closed form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pyproj import CRS, Transformer

from crackmap.calibration.errors import InputError
from crackmap.calibration.plane import GroundPlane
from crackmap.pipeline.comparing import Change, CompareSettings, Comparison, compare_results
from crackmap.pipeline.comparing.growth import Units, judge
from crackmap.pipeline.comparing.products import verdict
from crackmap.pipeline.footprint import footprint
from crackmap.pipeline.outcome_table import Outcomes
from crackmap.pipeline.placing import ROAD_WKT
from crackmap.pipeline.records import CoordinateKind, Frame, FrameOutcome, OutputFrame, Placement, RoadCrack
from crackmap.pipeline.sections import make_sections
from crackmap.pipeline.survey_result import SurveyResult
from crackmap.stages.polyline import resampled, segment_lengths

ORIGIN = np.array([320_000.0, 5_820_000.0])
PLANE = GroundPlane.from_gsd(gsd_mm=2.0, size_wh_px=(2000, 1000))
"""4 m of road across, 2 m along."""

UTM33 = OutputFrame(CoordinateKind.MAP, CRS.from_epsg(32633).to_wkt())
ROAD = OutputFrame(CoordinateKind.ROAD, ROAD_WKT)

Lines = Sequence[np.ndarray]


def crack(line, *, width_mm=5.0, number=1, u_xy_m=0.03, **more) -> RoadCrack:
    """A measured line, with a vertex each 5 mm."""
    xy = resampled(np.asarray(line, float), 0.005)
    width = np.broadcast_to(np.asarray(width_mm, float), len(xy)).copy()
    length = float(segment_lengths(xy).sum())
    return RoadCrack(
        f"C{number:06d}", xy, width / 2, length * 500, 0.0, 0.9, False, ("f",), "R", width, length,
        float(xy[:, 1].min()), float(xy[:, 1].max()), 0.0, (2.0, 2.0), xy[:, 1].copy(), xy[:, 0].copy(),
        1.0, 0.004, 0.2, 0.3, gap_m=0.0,
        u_xy_m=u_xy_m, **more,
    )  # fmt: skip


def survey(
    cracks: Sequence[RoadCrack], *, length_m=100.0, output=UTM33, shift=(0.0, 0.0), missing=(), recording="R"
) -> SurveyResult:
    """A straight drive north that saw `cracks` (road metres), all of it laid `shift` beside where it is."""
    origin = ORIGIN if output.kind is CoordinateKind.MAP else np.zeros(2)
    outcomes = []
    for number, y in enumerate(np.arange(0.0, length_m, 2.0)):
        place = (float(origin[0] + shift[0]), float(origin[1] + y + shift[1]))
        key = f"{recording}/{number:04d}.jpg"
        frame = Frame(key, key, PLANE.size_wh_px, recording, Placement(place), float(y), PLANE, (0.0, 2.0), u_xy_m=0.03)
        status = "skipped" if any(low <= y <= high for low, high in missing) else "ok"
        outcomes.append(FrameOutcome(frame, status, "", footprint(frame)))
    moved = tuple(
        replace(item, crack_id=f"C{number:06d}", recording=recording, line_xy=item.line_xy + origin + np.asarray(shift))
        for number, item in enumerate(cracks, start=1)
    )
    sections = make_sections(outcomes, moved, length_m=50.0, output=output)
    return SurveyResult(output, Outcomes.of(outcomes), moved, sections)


def road(seed=0, count=40, length_m=100.0) -> list[np.ndarray]:
    """Crooked lines all over the road, apart from each other, none near its edge."""
    rng = np.random.default_rng(seed)
    lines = []
    for y in np.linspace(2.0, length_m - 4.0, count):
        angle, size = rng.uniform(0, np.pi), rng.uniform(0.6, 1.4)
        course = np.array([np.sin(angle), abs(np.cos(angle))])
        bend = rng.normal(0, 0.05, (5, 2))
        lines.append(np.array([rng.uniform(-0.3, 0.3), y]) + np.linspace(-0.5, 0.5, 5)[:, None] * size * course + bend)
    return lines


def compared(a: SurveyResult, b: SurveyResult, tmp_path: Path, **settings) -> Comparison:
    return compare_results(a, b, CompareSettings(**{"section_length_m": 50.0, **settings}), outs=(tmp_path, tmp_path))


def drawn(lines: Lines, **more) -> list[RoadCrack]:
    return [crack(line, **more) for line in lines]


def longer(line: np.ndarray, by_m: float) -> np.ndarray:
    ahead = line[-1] - line[-2]
    return np.vstack([line, line[-1] + by_m * ahead / np.hypot(*ahead)])


def counts(found: Comparison) -> Counter[str]:
    return Counter(change.status for change in found.changes)


def change_of(found: Comparison, crack_id: str) -> Change:
    (change,) = [item for item in found.changes if crack_id in (*item.cracks_a, *item.cracks_b)]
    return change


@pytest.mark.parametrize("output", [UTM33, ROAD], ids=["map", "road"])
def test_the_same_road_twice_has_not_changed(tmp_path, output):
    found = compared(survey(drawn(road()), output=output), survey(drawn(road()), output=output), tmp_path)
    assert counts(found) == {"unchanged": 40}
    assert found.total.growth_m == pytest.approx(0.0, abs=1e-6)
    assert found.total.common_m == pytest.approx(100.0)
    assert found.total.length_a_m == pytest.approx(sum(c.length_m for c in drawn(road())))
    assert verdict(found).startswith("no significant change")


@pytest.mark.parametrize("shift", [(0.31, -0.47), (-1.2, 0.8), (0.0, 0.05)])
def test_a_constant_shift_is_found_to_the_millimetre_and_changes_nothing(tmp_path, shift):
    found = compared(survey(drawn(road())), survey(drawn(road()), shift=shift), tmp_path, search_m=2.0)
    assert found.shift.known and found.shift.agreement > 0.99
    assert found.shift.across_m == pytest.approx(-shift[0], abs=2e-3)
    assert found.shift.along_m == pytest.approx(-shift[1], abs=2e-3)
    assert counts(found)["unchanged"] == 40


def test_a_shift_that_drifts_along_the_road_is_followed(tmp_path):
    def drifted(line):
        return line + np.column_stack([0.15 * np.sin(line[:, 1] / 16), 0.1 * np.cos(line[:, 1] / 16)])

    later = [crack(drifted(resampled(line, 0.02))) for line in road()]
    found = compared(survey(drawn(road())), survey(later), tmp_path)
    knots = np.arange(0.0, 100.0, 25.0)
    assert found.shift.across_m[:4] == pytest.approx(-0.15 * np.sin(knots / 16), abs=0.04)
    assert counts(found)["unchanged"] == 40


def test_growth_in_length_is_found_and_the_others_are_unchanged(tmp_path):
    lines = road()
    later = [longer(line, 0.8) if number in (3, 17, 30) else line for number, line in enumerate(lines)]
    found = compared(survey(drawn(lines)), survey(drawn(later), shift=(0.1, 0.2)), tmp_path)
    assert counts(found) == {"unchanged": 37, "longer": 3}
    for name in ("C000004", "C000018", "C000031"):
        change = change_of(found, name)
        assert change.growth_m == pytest.approx(0.8, abs=2 * change.u_growth_m)
        assert change.growth_m == pytest.approx(0.8, abs=0.02) and change.widening_mm == pytest.approx(0, abs=0.01)
    assert found.total.growth_m == pytest.approx(2.4, abs=2 * found.total.u_growth_m)
    assert found.total.verdict == "grown" and "3 longer of 40 cracks" in verdict(found)
    assert sum(section.growth_m for section in found.sections) == pytest.approx(found.total.growth_m)


def test_widths_are_compared_on_the_stretch_that_both_have(tmp_path):
    lines = road()
    earlier = [crack(line, width_mm=np.linspace(3, 9, len(resampled(line, 0.005)))) for line in lines]
    later = [
        crack(line, width_mm=np.linspace(3, 9, len(resampled(line, 0.005))) + 3.0 * (number < 6))
        for number, line in enumerate(lines)
    ]
    half = later[0]
    kept = len(half.line_xy) // 2
    later[0] = crack(half.line_xy[:kept], width_mm=half.width_mm[:kept])
    found = compared(survey(earlier), survey(later), tmp_path)
    assert counts(found)["wider"] + counts(found)["less"] == 6
    for change in found.changes:
        wanted = 3.0 if {*change.cracks_a} & {f"C{number:06d}" for number in range(1, 7)} else 0.0
        assert change.widening_mm == pytest.approx(wanted, abs=0.05)


def test_one_line_and_the_three_pieces_it_came_out_in_are_one_crack(tmp_path):
    lines = road()
    pieces = []
    for line in lines:
        fine = resampled(line, 0.005)
        third = len(fine) // 3
        pieces += [fine[: third + 1], fine[third : 2 * third + 1], fine[2 * third :]]
    found = compared(survey(drawn(lines)), survey(drawn(pieces)), tmp_path)
    assert counts(found) == {"unchanged": 40}
    assert {(len(change.cracks_a), len(change.cracks_b)) for change in found.changes} == {(1, 3)}
    assert found.total.growth_m == pytest.approx(0.0, abs=0.01)


def test_new_and_gone_cracks_are_told(tmp_path):
    lines = road()
    found = compared(survey(drawn(lines[2:])), survey(drawn(lines[:-1])), tmp_path)
    assert counts(found) == {"unchanged": 37, "new": 2, "gone": 1}
    assert found.total.counts["new"] == 2 and found.total.counts["gone"] == 1
    (gone,) = [change for change in found.changes if change.status == "gone"]
    assert gone.cracks_a == ("C000038",) and gone.growth_m == pytest.approx(-gone.length_a_m)


def test_what_the_other_survey_did_not_see_is_neither_new_nor_gone(tmp_path):
    lines = road()
    there = [line for line in lines if not 41.0 < line[:, 1].mean() < 60.0]
    a, b = survey(drawn(lines)), survey(drawn(there), missing=[(40.0, 61.0)])
    for earlier, later, sign in ((a, b, 1), (b, a, -1)):
        found = compared(earlier, later, tmp_path)
        assert counts(found)["new"] == counts(found)["gone"] == 0
        assert counts(found)["not_comparable"] >= len(lines) - len(there) - 2
        assert found.total.growth_m == pytest.approx(0.0, abs=0.2), sign
        assert found.total.common_m == pytest.approx(78.0, abs=0.01)


def test_a_line_half_of_which_was_not_seen_is_compared_on_the_rest(tmp_path):
    lines = [*road()[:20], np.array([[0.0, 55.0], [0.0, 65.0]])]
    short = [*road()[:20], np.array([[0.0, 55.0], [0.0, 60.0]])]
    found = compared(survey(drawn(lines)), survey(drawn(short), missing=[(59.5, 70.0)]), tmp_path)
    long = change_of(found, "C000021")
    assert long.status == "unchanged" and long.length_a_m == pytest.approx(4.87, abs=0.06)
    assert "did not see" in long.note


def test_joints_are_left_out_also_where_one_survey_alone_calls_them_so(tmp_path):
    lines = road()
    later = drawn(lines)
    later[5] = replace(later[5], joint=True)
    found = compared(survey(drawn(lines)), survey(later), tmp_path)
    assert counts(found) == {"unchanged": 39, "faint": 1}
    assert change_of(found, "C000006").left_out_a_m == pytest.approx(later[5].length_m, rel=0.01)


def test_bridged_gaps_are_no_growth(tmp_path):
    lines = road()
    fine = resampled(lines[7], 0.005)
    a, b = len(fine) // 3, 2 * len(fine) // 3
    gap = float(np.hypot(*(fine[b] - fine[a])))
    bridged = crack(fine)
    keep = np.r_[0 : a + 1, b : len(fine)]
    bridged = replace(
        bridged, line_xy=fine[keep], width_mm=bridged.width_mm[keep], width_px=bridged.width_px[keep], gap_m=gap,
        chainage_at_m=None, offset_at_m=None,
    )  # fmt: skip
    later = drawn(lines)
    later[7] = bridged
    found = compared(survey(drawn(lines)), survey(later), tmp_path)
    change = change_of(found, "C000008")
    assert change.status == "unchanged" and change.left_out_b_m == pytest.approx(gap, abs=0.05)
    assert abs(change.growth_m) < 0.1


def test_surveys_in_two_utm_zones_are_compared_in_the_first_ones_coordinates(tmp_path):
    to_32 = Transformer.from_crs(32633, 32632, always_xy=True)
    utm32 = OutputFrame(CoordinateKind.MAP, CRS.from_epsg(32632).to_wkt())
    b = survey(drawn(road()))

    def moved(xy):
        return np.column_stack(to_32.transform(*xy.T))

    outcomes = Outcomes.of(replace(o, footprint_xy=moved(o.footprint_xy)) for o in b.outcomes)
    cracks = tuple(replace(c, line_xy=moved(c.line_xy)) for c in b.cracks)
    found = compared(survey(drawn(road())), replace(b, output=utm32, outcomes=outcomes, cracks=cracks), tmp_path)
    assert counts(found) == {"unchanged": 40} and found.total.growth_m == pytest.approx(0.0, abs=1e-6)


def test_two_recordings_of_one_place_in_one_survey_count_once(tmp_path):
    one, again = survey(drawn(road())), survey(drawn(road()), recording="S")
    both = replace(
        one, outcomes=Outcomes.of([*one.outcomes, *again.outcomes]), cracks=one.cracks + again.cracks,
        sections=one.sections + again.sections,
    )  # fmt: skip
    found = compared(one, both, tmp_path)
    assert counts(found)["unchanged"] == 40 and found.total.growth_m == pytest.approx(0.0, abs=1e-6)


def test_surveys_without_a_crack_in_common_say_that_the_shift_is_unknown(tmp_path):
    found = compared(survey(drawn(road(1)[::2])), survey([]), tmp_path)
    assert not found.shift.known and any("did not tell" in note for note in found.notes)
    assert found.total.length_b_m == 0


def test_surveys_without_any_crack_have_not_changed(tmp_path):
    found = compared(survey([]), survey([]), tmp_path)
    assert not found.changes and verdict(found).startswith("no significant change")


def test_what_cannot_be_compared_is_refused_with_the_next_step(tmp_path):
    sheet = replace(survey([]), output=OutputFrame(CoordinateKind.SHEET, ROAD_WKT))
    with pytest.raises(InputError, match=r"no position.*survey\.toml"):
        compared(sheet, survey([]), tmp_path)
    with pytest.raises(InputError, match="in road coordinates"):
        compared(survey([]), survey([], output=ROAD), tmp_path)
    with pytest.raises(InputError, match="no road in common"):
        compared(survey(drawn(road())), survey(drawn(road()), shift=(5000.0, 0.0)), tmp_path)
    other = survey([replace(item, u_xy_m=None) for item in drawn(road(7, count=43))])
    other = replace(
        other, outcomes=Outcomes.of(replace(o, frame=replace(o.frame, u_xy_m=None)) for o in other.outcomes)
    )
    with pytest.raises(InputError, match="do not lie on each other"):
        compared(survey(drawn(road())), other, tmp_path)
    with pytest.raises(InputError, match="search_m"):
        CompareSettings(search_m=float("nan"))


def noisy_units(seed: int, count: int, *, grown=0, by_m=0.0) -> Units:
    """Differences as two passes have them: most small, some whole stretches."""
    rng = np.random.default_rng(seed)
    length = rng.uniform(0.2, 3.0, count)
    flicker = np.where(rng.random(count) < 0.15, rng.exponential(0.1, count), 0.0) * rng.choice([-1, 1], count)
    difference = rng.normal(0, 0.02, count) + flicker + by_m * (np.arange(count) < grown)
    widening = rng.standard_t(5, count) * 0.2
    u = np.full(count, 0.3)
    return Units(length, length + difference, np.full(count, 0.01), length, np.full(count, 5.0), 5.0 + widening,
                 widening, u)  # fmt: skip


@pytest.mark.parametrize("count", [30, 300, 3000])
def test_on_an_unchanged_road_at_most_a_twentieth_is_called_changed(count):
    called = [judge(noisy_units(seed, count), false_share=0.05, pixel_mm=2.0) for seed in range(20)]
    share = np.mean([(item.changed_length | item.changed_width).mean() for item in called])
    assert share < 0.01
    within = [np.abs(item.growth_m) <= 2 * item.u_growth_m for item in called]
    assert np.mean(within) > 0.9


def test_growth_of_a_third_of_the_cracks_does_not_hide_itself():
    units = noisy_units(0, 300, grown=100, by_m=1.0)
    judged = judge(units, false_share=0.05, pixel_mm=2.0)
    assert judged.changed_length[:100].mean() > 0.9
    assert judged.changed_length[100:].mean() < 0.05
    assert np.mean(np.abs(judged.growth_m[:100] - 1.0) <= 2 * judged.u_growth_m[:100]) > 0.9
