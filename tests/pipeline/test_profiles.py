"""Profiles of standards on a drawn section of 100 m, against sums worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from crackmap.calibration.errors import InputError
from crackmap.calibration.plane import GroundPlane
from crackmap.pipeline.networks import with_pattern_areas
from crackmap.pipeline.outcome_table import Outcomes
from crackmap.pipeline.profiles import (
    ProfileTable,
    common_length_m,
    load_profile,
    load_profiles,
    profile_names,
    profile_table,
)
from crackmap.pipeline.records import (
    CoordinateKind,
    Frame,
    FrameOutcome,
    OutputFrame,
    Placement,
    RoadCrack,
    RoadNetwork,
)
from crackmap.pipeline.section_lists import ListedSection
from crackmap.pipeline.sections import footprint, make_sections
from crackmap.pipeline.survey_result import SurveyResult

OUTPUT = OutputFrame(CoordinateKind.ROAD, "WKT")
GROUND = GroundPlane.from_gsd(gsd_mm=4.0, size_wh_px=(1000, 1250))
"""4 m wide and 5 m long."""


def frames(count=20, *, width_px=1000, offset_m=0.0, backwards=False) -> list[FrameOutcome]:
    """Frames 5 m apart that see the road from 0 to `count` * 5 m."""
    ground = GroundPlane.from_gsd(gsd_mm=4.0, size_wh_px=(width_px, 1250))
    outcomes = []
    for number in range(count):
        start = 5.0 * (number + 1 if backwards else number)
        frame = Frame(
            f"{number}.jpg", "x", (width_px, 1250), "R", Placement((offset_m, start)), start, ground, (0.0, 5.0),
            chainage_scale=-1.0 if backwards else 1.0, offset_m=offset_m,
        )  # fmt: skip
        outcomes.append(FrameOutcome(frame, "ok", "", footprint(frame)))
    return outcomes


def line(*points, mm=5.0, pattern="", **flags) -> RoadCrack:
    """A crack through (offset, chainage) points in metres."""
    xy = np.array(points, float)
    widths = np.broadcast_to(np.asarray(mm, float), len(xy)).copy()
    dx, dy = xy[-1] - xy[0]
    length = float(np.hypot(*np.diff(xy, axis=0).T).sum())
    return RoadCrack(
        "C", xy, widths / 4, length * 250, float(np.degrees(np.arctan2(dx, dy)) % 180), 0.9, False, ("0.jpg",), "R",
        widths, length, xy[:, 1].min(), xy[:, 1].max(), xy[:, 0].mean(), (4.0, 4.0), xy[:, 1].copy(), xy[:, 0].copy(),
        pattern_id=pattern, **flags,
    )  # fmt: skip


def pattern(name: str, kind: str, low, high, *, mm=5.0) -> RoadNetwork:
    """A rectangle from (offset, chainage) to (offset, chainage)."""
    (x0, y0), (x1, y1) = low, high
    ring = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]], float)
    return RoadNetwork(name, kind, "R", ring, (), 9, (x1 - x0) * (y1 - y0), 0.2, 5.0, mm, 0.9, y0, y1)


def counted(name: str, cracks, networks=(), *, outcomes=None, length_m=100.0, listed=None, **options) -> ProfileTable:
    outcomes = frames() if outcomes is None else outcomes
    sections = make_sections(outcomes, cracks, length_m=length_m, listed=listed)
    sections = with_pattern_areas(sections, networks)
    result = SurveyResult(OUTPUT, Outcomes.of(outcomes), tuple(cracks), sections, (), tuple(networks))
    lane = options.pop("lane_width_m", None)
    return profile_table(*load_profile(name, lane_width_m=lane), result, listed=listed is not None, **options)


def only(table: ProfileTable) -> dict[str, float | str | None]:
    """The one row of a table, by column."""
    (row,) = table.rows
    return dict(zip((column.name for column in table.columns), row, strict=True))


ALONG, ACROSS, ASLANT = line((0.5, 10), (0.5, 30)), line((-1, 40), (1, 40)), line((-1, 50), (0, 51))
"""20 m along in the right wheel path; 2 m across; 1.414 m at 45 degrees."""


def test_plain_gives_lengths_by_direction_and_the_share_of_the_area():
    row = only(counted("plain", [ALONG, ACROSS, ASLANT]))
    assert (row["long_m"], row["trans_m"], row["other_m"]) == pytest.approx((20.0, 2.0, 2**0.5))
    # (20 + 2 + 1.414) m of 5 mm on 100 m of 4 m: 0.11707 / 400 = 0.0293 %.
    assert row["area_pct"] == pytest.approx(100 * (22 + 2**0.5) * 0.005 / 400)
    assert (row["long_w_mm"], row["counted_m"], row["left_out_m"]) == pytest.approx((5.0, 22 + 2**0.5, 0.0))


def test_plain_splits_a_line_where_its_width_passes_a_limit():
    # From 2 to 8 mm over 12 m: 2 m below 3 mm, 6 m from 3 to 6 mm, 4 m above.
    row = only(counted("plain", [line((0, 10), (0, 22), mm=[2.0, 8.0])]))
    assert (row["all_w0_3mm_m"], row["all_w3_6mm_m"], row["all_w6_10mm_m"]) == pytest.approx((2.0, 6.0, 4.0))
    assert (row["all_w10_20mm_m"], row["all_w20mm_m"]) == (0.0, 0.0)


def test_aashto_gives_lengths_by_zone_and_transverse_by_section():
    row = only(counted("aashto-r85", [ALONG, ACROSS, ASLANT]))
    # 0.5 m to the right lies in zone 4 (0.375 to 1.375 m). The slanted line from -1 to 0 m leaves zone 2 at -0.375 m:
    # 0.625 of its 1.414 m lie in zone 2, 0.375 in zone 3.
    assert (row["long_z4_m"], row["trans_m"]) == pytest.approx((20.0, 2.0))
    assert (row["other_z2_m"], row["other_z3_m"]) == pytest.approx((0.625 * 2**0.5, 0.375 * 2**0.5))
    assert row["long_z4_w_mm"] == pytest.approx(5.0) and row["long_z2_w_mm"] is None


def test_aashto_leaves_out_what_is_narrow_wide_short_sealed_or_beside_the_lane():
    cracks = [
        ALONG, line((0, 5), (0, 6), mm=0.9), line((0, 7), (0, 9), mm=26.0), line((0, 10), (0.01, 10.02)),
        line((0, 20), (0, 23), sealed=True), line((0, 30), (0, 34), joint=True),
        # From 1.3 to 1.95 m to the right: 0.5 of 0.65 m of it inside the lane of 3.6 m.
        line((1.3, 60), (1.95, 60)), line((0.0, 70), (0.0, 70.2)),
    ]  # fmt: skip
    row = only(counted("aashto-r85", cracks))
    assert row["left_out_m"] == pytest.approx(1 + 2 + np.hypot(0.01, 0.02) + 3 + 4 + 0.15)
    assert row["left_why"] == "4.0 m joint, 3.0 m sealed, 1.0 m narrow, 2.0 m wide, 0.1 m outside"
    # 0.2 m along is too short for a longitudinal crack: «other».
    assert (row["other_z3_m"], row["trans_m"], row["long_z4_m"]) == pytest.approx((0.2, 0.5, 20.0))


def test_aashto_counts_lines_in_patterns_as_pattern():
    networks = [pattern("P0001", "alligator", (0.4, 10), (0.6, 30))]
    row = only(counted("aashto-r85", [replace(ALONG, pattern_id="P0001"), ACROSS], networks))
    assert (row["pat_z4_m"], row["long_z4_m"], row["trans_m"]) == pytest.approx((20.0, 0.0, 2.0))


def test_e3303_gives_the_metric_and_its_index():
    # 40 m of 20 mm and 100 m of 8 mm: 0.8 + 0.8 m2 on 400 m2: PSCM 0.4; PSCI 100 exp(-0.18) = 83.53.
    row = only(counted("astm-e3303", [line((1, 10), (1, 50), mm=20), line((0, 0), (0, 100), mm=8)]))
    assert (row["crack_area_m2"], row["pscm_pct"]) == pytest.approx((1.6, 0.4))
    assert row["psci"] == pytest.approx(83.527, abs=1e-3)


def test_e3303_leaves_out_cracks_under_1_mm_and_under_01_m():
    row = only(counted("astm-e3303", [line((0, 10), (0, 20), mm=0.99), line((0, 30), (0, 30.09)), ALONG]))
    # 20 m of 5 mm: 0.1 m2 of 400 m2.
    assert (row["crack_m"], row["pscm_pct"], row["left_out_m"]) == pytest.approx((20.0, 0.025, 10.09))


def test_d6433_records_each_part_by_its_severity():
    # From 5 to 85 mm over 16 m: 1 m below 10 mm, 13 m to 75 mm, 2 m above.
    row = only(counted("astm-d6433", [line((0, 10), (0, 26), mm=[5.0, 85.0]), line((0, 40), (0, 43), sealed=True)]))
    assert (row["lt_low_m"], row["lt_med_m"], row["lt_high_m"]) == pytest.approx((1.0, 13.0, 2.0))
    assert (row["seal_m"], row["counted_m"]) == pytest.approx((3.0, 19.0))


def test_d6433_gives_patterns_as_areas_and_blocks_by_their_cracks():
    networks = [pattern("P0001", "alligator", (0, 10), (1, 14)), pattern("P0002", "block", (-1, 50), (1, 53), mm=12)]
    row = only(counted("astm-d6433", [replace(ALONG, pattern_id="P0001"), ACROSS], networks))
    assert (row["alligator_m2"], row["block_low_m2"], row["block_med_m2"]) == pytest.approx((4.0, 0.0, 6.0))
    assert (row["inside_m"], row["lt_low_m"]) == pytest.approx((20.0, 2.0))


def test_zeb_counts_the_cells_that_a_crack_touches():
    # 300 cells. Along in the middle third (-0.583 to 0.583 m), from 10.5 to 12.5 m: cells 10, 11, 12 there.
    row = only(counted("zeb", [line((0, 10.5), (0, 12.5))]))
    assert (row["cells_pct"], row["middle_pct"], row["left_pct"]) == pytest.approx((1.0, 3.0, 0.0))
    assert row["lane_seen_pct"] == pytest.approx(100.0)


def test_zeb_counts_sealed_cracks_and_only_cells_that_were_seen():
    # Across all three cells of one row, and 50 of 100 rows seen: 3 of 150 cells.
    row = only(counted("zeb", [line((-1.7, 10.5), (1.7, 10.5), sealed=True)], outcomes=frames(10)))
    assert row["cells_pct"] == pytest.approx(2.0)
    # Frames of 2 m see 1 m of the outer cells' 1.167 m on neither side: less than half, so only the middle counts.
    narrow = only(counted("zeb", [line((0, 10.5), (0, 12.4))], outcomes=frames(width_px=500)))
    assert (narrow["cells_pct"], narrow["left_pct"]) == (pytest.approx(3.0), None)
    assert narrow["lane_seen_pct"] == pytest.approx(100 * 2 / 3.5)


def test_dnit_counts_stations_by_the_gravest_class_they_show():
    # Stations at 0, 40, 80 m (100 m of road): at 40 a network and a crack, at 80 a crack, within 3 m of each.
    networks = [pattern("P0001", "alligator", (0, 38), (1, 41))]
    cracks = [line((0, 38), (0, 41), pattern="P0001"), line((-1, 42.5), (1, 42.5)), line((0, 82), (0, 90)), ASLANT]
    row = only(counted("dnit-006", cracks, networks))
    # One of three each: 33.3 * 0.5 + 33.3 * 0.2 = 23.3.
    assert (row["stations"], row["net_pct"], row["iso_pct"]) == pytest.approx((3, 100 / 3, 100 / 3))
    assert row["igg_cracks"] == pytest.approx(100 / 3 * 0.7)


def test_dnit_looks_only_at_stations_that_were_seen():
    outcomes = [item if i not in (7, 8) else replace(item, status="skipped") for i, item in enumerate(frames())]
    row = only(counted("dnit-006", [line((0, 1), (0, 2)), line((0, 60), (0, 65), mm=0.5)], outcomes=outcomes))
    # The road from 35 to 45 m is missing, and with it the station at 40 m: one of two stations shows a crack.
    assert (row["stations"], row["iso_pct"], row["igi_iso"]) == pytest.approx((2, 50.0, 10.0))
    assert (row["all_fc1_m"], row["all_fc2_m"]) == pytest.approx((5.0, 1.0))


def test_hpms_gives_the_share_of_the_lane_that_is_cracked_wheel_path():
    # 30 m in the right wheel path: cells of 0.3 m from 0 to 30 m, 100 of 334 seen (those whose middle lies in 100 m:
    # 333). 100 * 1.0 / (3.6576 * 333) = 8.2 %, in whole percent 8: fair.
    row = only(counted("hpms", [line((0.9, 0.01), (0.9, 29.99))]))
    assert (row["cracking_pct"], row["grade"]) == (8.0, "fair")


def test_hpms_counts_neither_cracks_between_the_paths_nor_transverse_ones():
    row = only(counted("hpms", [line((0, 10), (0, 60)), ACROSS]))
    assert (row["cracking_pct"], row["grade"]) == (0.0, "good")
    both = [line((x, 0.01), (x, 99.9)) for x in (-0.9, 0.9)]
    # Both paths over the whole length: 2 * 1.0 / 3.6576 = 54.7 %.
    row = only(counted("hpms", both))
    assert (row["cracking_pct"], row["grade"]) == (55.0, "poor")


@pytest.mark.parametrize("name", profile_names())
@pytest.mark.parametrize("length_m", [7.0, 33.3, 100.0])
def test_what_counts_and_what_is_left_out_add_up_to_all_cracks(name, length_m):
    rng = np.random.default_rng(3)
    cracks = [
        line(*rng.uniform((-2, 0), (2, 100), (5, 2)), mm=rng.uniform(0.2, 40, 5), sealed=bool(n % 7 == 0),
             joint=bool(n % 11 == 0))
        for n in range(40)
    ]  # fmt: skip
    table = counted(name, cracks, length_m=length_m)
    total = sum(table.column("counted_m")) + sum(table.column("left_out_m"))
    assert total == pytest.approx(sum(crack.length_m for crack in cracks))
    by_class = [c.name for q in table.profile.quantities if q.kind == "length" and "class" in q.by
                for c in table.columns if any(c.name.startswith(f"{rule.name}_") and c.name.endswith("_m")
                                              for rule in table.profile.classes)]  # fmt: skip
    if by_class:
        lengths = sum(sum(table.column(column)) for column in set(by_class))
        assert lengths == pytest.approx(sum(table.column("counted_m")))


def test_a_vehicle_that_drives_against_the_chainage_has_its_right_on_the_other_side():
    against = frames(offset_m=-2.0, backwards=True)
    # 0.5 m to the left of the path on the map is 0.5 m to the right as one drives.
    row = only(counted("aashto-r85", [line((-2.5, 10), (-2.5, 30))], outcomes=against))
    assert row["long_z4_m"] == pytest.approx(20.0)


def test_the_middle_of_the_lane_and_its_width_may_be_given():
    row = only(counted("aashto-r85", [ALONG], centre_m=0.5))
    assert row["long_z3_m"] == pytest.approx(20.0)
    row = only(counted("zeb", [ALONG], lane_width_m=1.2))
    assert row["right_pct"] == pytest.approx(20.0)


def test_listed_sections_count_what_lies_in_them():
    listed = [ListedSection("A", 0, 15), ListedSection("B", 20, 25)]
    table = counted("plain", [ALONG, ACROSS], listed=listed)
    assert table.column("long_m") == pytest.approx([5.0, 5.0])


def test_a_section_of_which_nothing_was_measured_has_no_numbers():
    outcomes = frames(10) + [replace(item, status="skipped") for item in frames(20)[10:]]
    table = counted("hpms", [ALONG], outcomes=outcomes, length_m=50.0)
    assert table.rows[0][0] is not None and set(table.rows[1]) == {None}


@pytest.mark.parametrize("name", profile_names())
def test_profiles_state_source_limits_and_what_is_unconfirmed(name):
    _, profile = load_profile(name)
    assert profile.title and profile.source and profile.not_graded
    if name != "plain":
        assert profile.unconfirmed
    table = counted(name, [])
    names = [column.name for column in table.columns]
    assert len(set(names)) == len(names) and all(column.says for column in table.columns)


OWN = 'title = "t"\nsource = "s"\nnot_graded = []\n[[class]]\nname = "a"\nsays = "x"\n[[quantity]]\nkind = "length"\n'


def own(tmp_path, text: str):
    (tmp_path / "own.toml").write_text(text, encoding="utf-8")
    return load_profile(str(tmp_path / "own.toml"))


def test_a_file_of_ones_own_is_a_profile(tmp_path):
    name, profile = own(tmp_path, OWN + 'by = ["class"]\n')
    assert (name, profile.classes[0].name) == ("own", "a")


@pytest.mark.parametrize(("text", "message"), [
    (OWN, "name is missing"),
    (OWN + 'by = ["class", "zone"]\n', "must fill the lane"),
    (OWN + 'by = ["class", "severity"]\n', r"give \[severity\]"),
    (OWN + 'by = ["class"]\nclases = ["a"]\n', "did you mean 'classes'"),
    (OWN + 'by = ["class"]\nclasses = ["b"]\n', "unknown class 'b'; known are: a"),
    (OWN + 'by = ["class"]\n[lane]\nstrips = 3\n', "zones need a lane"),
    (OWN + 'by = ["class"]\n[count]\nleast_width_mm = -1\n', "greater than or equal to 0"),
    (OWN + 'by = ["class"]\n[grade]\ncolumn = "a_m"\nedges = [5]\nnames = ["x"]\n', "one name more"),
    (OWN + 'by = ["class"]\n[grade]\ncolumn = "b_m"\nedges = [5]\nnames = ["x", "y"]\n', "no column b_m"),
    ("title = 3", "title"),
    ("[", "docs/profiles.md"),
])  # fmt: skip
def test_a_faulty_profile_says_what_is_wrong(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        counted(str(tmp_path / "own.toml"), []) if own(tmp_path, text) else None


def test_an_unknown_name_lists_the_profiles():
    with pytest.raises(InputError, match="did you mean 'hpms'"):
        load_profile("hmps")


def side_by_side(lost: str = "") -> list[FrameOutcome]:
    """Two cameras, 2 m wide each, left and right of the middle."""
    outcomes = []
    for camera, left_m in (("left", -2.0), ("right", 0.0)):
        plane = np.array([[0.004, 0, left_m], [0, -0.004, 5.0], [0, 0, 1.0]])
        ground = GroundPlane(plane, (500, 1250))
        for number in range(20):
            frame = Frame(
                f"{camera}{number:02d}.jpg", "x", (500, 1250), "R", Placement((0.0, 5.0 * number)), 5.0 * number,
                ground, (0.0, 5.0), camera=camera,
            )  # fmt: skip
            outcomes.append(FrameOutcome(frame, "skipped" if camera == lost else "ok", "", footprint(frame)))
    return outcomes


def test_a_camera_that_saw_nothing_is_missing_in_what_the_lane_shows():
    both = only(counted("hpms", [], outcomes=side_by_side()))
    assert (both["cracking_pct"], both["grade"]) == (0.0, "good")
    assert both["lane_seen_pct"] == pytest.approx(100.0)
    half = only(counted("hpms", [], outcomes=side_by_side("right")))
    # Of the right wheel path nobody knows anything: no share of the lane, no grade.
    assert (half["cracking_pct"], half["grade"]) == (None, None)
    assert half["lane_seen_pct"] == pytest.approx(50.0)
    stations = only(counted("dnit-006", [], outcomes=side_by_side("right")))
    assert stations["stations"] == 0.0


@pytest.mark.parametrize(("low", "high", "cells"), [(90, 110, 10), (90.0, 92.0, 2), (90.2, 92.2, 3), (99.6, 100.4, 1)])
def test_a_crack_touches_the_cells_of_its_section_alone(low, high, cells):
    table = counted("zeb", [line((0, low), (0, high))], outcomes=frames(40))
    assert table.column("middle_pct")[0] == pytest.approx(cells)


def test_the_last_piece_of_a_section_is_a_cell_only_if_its_middle_is_inside():
    listed = [ListedSection("A", 0.5, 15.0)]
    # 14 cells of 1 m and half a metre that is none: a crack from 8 m on lies in cells 7 to 13.
    table = counted("zeb", [line((0, 8), (0, 22))], outcomes=frames(10), listed=listed)
    assert table.column("middle_pct")[0] == pytest.approx(100 * 7 / 14)


def test_a_raster_has_no_lengths_by_direction_or_place():
    frame = replace(frames(1)[0].frame, chainage_m=None, owns_y_m=None)
    outcomes = [FrameOutcome(frame, "ok", "", footprint(frame))]
    crack = replace(line((0.5, 1), (0.5, 4)), chainage_at_m=None, chainage_from_m=None, chainage_to_m=None)
    output = OutputFrame(CoordinateKind.MAP, "WKT")
    result = SurveyResult(output, Outcomes.of(outcomes), (crack,), make_sections(outcomes, [crack], output=output))
    row = only(profile_table(*load_profile("plain"), result))
    assert (row["long_m"], row["counted_m"]) == (None, pytest.approx(3.0))
    row = only(profile_table(*load_profile("aashto-r85"), result))
    assert (row["long_z4_m"], row["lane_seen_pct"], row["counted_m"]) == (None, None, pytest.approx(3.0))
    assert only(profile_table(*load_profile("dnit-006"), result))["stations"] is None
    assert only(profile_table(*load_profile("astm-e3303"), result))["pscm_pct"] == pytest.approx(100 * 0.015 / 20)


def test_zones_must_lie_in_the_lane():
    with pytest.raises(InputError, match="does not lie in a lane of 2 m"):
        load_profile("hpms", lane_width_m=2.0)


def test_profiles_of_one_name_or_of_different_lengths_are_refused(tmp_path):
    (tmp_path / "hpms.toml").write_text(OWN + 'by = ["class"]\n', encoding="utf-8")
    with pytest.raises(InputError, match="call your file otherwise"):
        load_profile(str(tmp_path / "hpms.toml"))
    with pytest.raises(InputError, match="different lengths"):
        common_length_m(load_profiles(["hpms", "zeb"]))
    assert common_length_m(load_profiles(["zeb", "plain"])) == 100.0
    with pytest.raises(InputError, match="none of these profiles has a lane"):
        load_profiles(["astm-d6433"], lane_width_m=3.0)


@pytest.mark.parametrize(
    ("quantity", "name"),
    [
        ('kind = "area"\nname = "area"\n', "area_m2"),
        ('by = ["class"]\n[[quantity]]\nkind = "length"\nby = ["class"]\n', "a_m"),
    ],
)
def test_columns_that_are_there_already_are_refused(tmp_path, quantity, name):
    text = OWN.replace('kind = "length"\n', "") if quantity.startswith("kind") else OWN
    (tmp_path / "own.toml").write_text(text + quantity, encoding="utf-8")
    with pytest.raises(InputError, match=f"two columns would be called {name}"):
        counted(str(tmp_path / "own.toml"), [])


def test_what_is_unconfirmed_must_be_a_key_of_the_file(tmp_path):
    with pytest.raises(InputError, match="widht_m' is no key"):
        own(tmp_path, OWN + 'by = ["class"]\n[unconfirmed]\n"lane.widht_m" = "?"\n')
