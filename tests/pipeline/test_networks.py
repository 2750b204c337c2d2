"""Patterns of a survey: drawn blocks come out with their area, in every product and in the right section."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyogrio
import pytest
from pyproj import CRS

from crackmap.calibration.errors import InputError
from crackmap.calibration.plane import GroundPlane
from crackmap.pipeline.assembly.columns import CrackColumns
from crackmap.pipeline.networks import NetworkSettings, find_patterns, with_pattern_areas
from crackmap.pipeline.outcome_table import Outcomes
from crackmap.pipeline.products.write import write_products
from crackmap.pipeline.records import (
    CoordinateKind,
    Frame,
    FrameOutcome,
    OutputFrame,
    Placement,
    RoadCrack,
    RoadNetwork,
)
from crackmap.pipeline.sections import footprint, make_sections
from crackmap.pipeline.survey_result import SurveyResult

SIZE = (1000, 3000)
GROUND = GroundPlane.from_gsd(gsd_mm=2.0, size_wh_px=SIZE)
MAP = OutputFrame(CoordinateKind.MAP, CRS.from_epsg(32722).to_wkt())


def crack(start, end, *, recording="R", width_mm=5.0, chainage=True, scale=True, key="R/0.jpg", number=0) -> RoadCrack:
    line = np.linspace(start, end, 60)
    length = float(np.hypot(*(line[-1] - line[0])))
    widths = np.full(len(line), width_mm)
    y = line[:, 1]
    placed = (float(y.min()), float(y.max()), 0.0, (2.0, 2.0), y.copy(), line[:, 0].copy())
    return RoadCrack(
        f"C{number:06d}", line, widths / 2, length * 500, 0.0, 0.8, False, (key,), recording,
        widths if scale else None, length if scale else None,
        *(placed if chainage else (None, None, 0.0, (2.0, 2.0), None, line[:, 0].copy())),
    )  # fmt: skip


def blocks(columns, rows, side, *, at=(0.0, 0.0), **kwargs) -> list[RoadCrack]:
    x, y = at
    across = [crack((x, y + j * side), (x + columns * side, y + j * side), **kwargs) for j in range(rows + 1)]
    along = [crack((x + i * side, y), (x + i * side, y + rows * side), **kwargs) for i in range(columns + 1)]
    return across + along


def patterns_of(
    cracks: list[RoadCrack], settings: NetworkSettings | None = None
) -> tuple[tuple[RoadCrack, ...], tuple[RoadNetwork, ...]]:
    columns, patterns = find_patterns(CrackColumns.of(cracks), settings=settings or NetworkSettings())
    return tuple(columns.cracks()), patterns


def outcomes(count=40) -> list[FrameOutcome]:
    """Frames 5 m apart, 2 m wide, whose strips tile the road from 1 m on."""
    frames = [Frame(f"R/{i}.jpg", "x", SIZE, "R", Placement((0.0, 5.0 * i)), 5.0 * i, GROUND, (1.0, 6.0))
              for i in range(count)]  # fmt: skip
    return [FrameOutcome(frame, "ok", "", footprint(frame)) for frame in frames]


def test_blocks_are_one_pattern_with_their_numbers() -> None:
    lone = crack((0.5, 20.0), (0.5, 30.0), number=1)
    cracks, (pattern,) = patterns_of([lone, *blocks(4, 3, 0.2, at=(-0.4, 50.0), width_mm=4.0)])
    assert (pattern.pattern_id, pattern.kind, pattern.recording, pattern.cell_count) == ("P0001", "alligator", "R", 12)
    assert pattern.area_m2 == pytest.approx(12 * 0.04, rel=1e-6)
    assert pattern.mean_cell_m == pytest.approx(0.2, rel=1e-6)
    assert pattern.crack_length_m == pytest.approx(4 * 0.8 + 5 * 0.6, rel=1e-3)
    assert (pattern.mean_width_mm, pattern.confidence) == pytest.approx((4.0, 0.8))
    assert (pattern.chainage_from_m, pattern.chainage_to_m) == pytest.approx((50.0, 50.6))
    assert [item.pattern_id for item in cracks] == ["", *["P0001"] * 9]
    np.testing.assert_allclose(pattern.outline_xy.min(axis=0), (-0.4, 50.0), atol=1e-6)
    assert pattern.holes_xy == ()


@pytest.mark.parametrize(("side", "kind"), [(0.29, "alligator"), (0.31, "block"), (0.48, "block")])
def test_kind_follows_the_mean_cell(side: float, kind: str) -> None:
    (pattern,) = patterns_of(blocks(3, 3, side))[1]
    assert pattern.kind == kind


def test_a_long_crack_through_a_pattern_is_not_named_after_it() -> None:
    passing = crack((0.1, -10.0), (0.1, 10.0))
    cracks, (pattern,) = patterns_of([passing, *blocks(3, 3, 0.2)])
    assert cracks[0].pattern_id == "" and {item.pattern_id for item in cracks[1:]} == {"P0001"}
    assert pattern.cell_count == 12
    assert pattern.crack_length_m == pytest.approx(8 * 0.6 + 0.6, rel=1e-2)


def test_lines_of_two_recordings_or_two_rasters_do_not_make_cells() -> None:
    lines = blocks(3, 3, 0.2)
    assert patterns_of([replace(item, recording=f"R{k % 2}") for k, item in enumerate(lines)])[1] == ()
    placeless = blocks(3, 3, 0.2, chainage=False)
    assert len(patterns_of(placeless)[1]) == 1
    assert patterns_of([replace(item, frame_keys=(f"{k % 2}.tif",)) for k, item in enumerate(placeless)])[1] == ()


def test_without_a_ground_scale_there_are_no_patterns() -> None:
    cracks = blocks(3, 3, 0.2, scale=False)
    found, patterns = patterns_of(cracks)
    assert patterns == () and [item.pattern_id for item in found] == [""] * len(cracks)
    assert patterns_of([]) == ((), ())


def test_frames_that_disagree_at_a_seam_by_centimetres_do_not_break_a_pattern() -> None:
    upper = [crack((0.2 * i + 0.02, 0.41), (0.2 * i + 0.02, 0.8)) for i in range(4)]
    lower = [crack((0.2 * i, 0.0), (0.2 * i, 0.40)) for i in range(4)]
    across = [crack((0.0, 0.2 * j), (0.6, 0.2 * j)) for j in (0, 1, 3, 4)]
    (pattern,) = patterns_of([*lower, *upper, *across])[1]
    assert pattern.cell_count == 9
    assert pattern.area_m2 == pytest.approx(0.6 * 0.8, rel=0.05)


def test_a_pattern_over_a_boundary_is_shared_out_by_area_and_counted_once() -> None:
    (pattern,) = patterns_of(blocks(4, 5, 0.2, at=(-0.4, 99.4)))[1]
    sections = with_pattern_areas(make_sections(outcomes(), []), [pattern])
    assert [s.pattern_area_m2 for s in sections] == pytest.approx([0.48, 0.32, 0.0], abs=1e-9)
    twice = with_pattern_areas([sections[0], replace(sections[0], section_id="again")], [pattern])
    assert [s.pattern_area_m2 for s in twice] == pytest.approx([0.48, 0.0])
    elsewhere = with_pattern_areas(sections, [replace(pattern, recording="S")])
    assert [s.pattern_area_m2 for s in elsewhere] == [0.0, 0.0, 0.0]


def test_products_hold_the_patterns(tmp_path: Path) -> None:
    east, north = 5e5, 6.7e6
    local = blocks(3, 3, 0.4, at=(-0.6, 50.0))
    cracks = [replace(item, line_xy=item.line_xy + [east, north]) for item in local]
    cracks, networks = patterns_of(cracks)
    frames = [replace(o.frame, placement=Placement((east, north + o.frame.chainage_m))) for o in outcomes(20)]
    placed = [FrameOutcome(frame, "ok", "", footprint(frame)) for frame in frames]
    sections = with_pattern_areas(make_sections(placed, cracks), networks)
    write_products(SurveyResult(MAP, Outcomes.of(placed), cracks, sections, (), networks), tmp_path, run_info={})
    layer = pyogrio.read_dataframe(tmp_path / "crackmap.gpkg", layer="patterns")
    assert layer.geometry.area.tolist() == pytest.approx([9 * 0.16], rel=1e-6)
    assert layer.crs == CRS.from_epsg(32722)
    assert layer.kind.tolist() == ["block"]
    with (tmp_path / "patterns.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert list(row) == [name for name in layer.columns if name != "geometry"]
    assert (row["pattern_id"], row["cells"], float(row["area_m2"])) == ("P0001", "9", pytest.approx(1.44))
    assert set(pyogrio.read_dataframe(tmp_path / "crackmap.gpkg", layer="cracks").pattern_id) == {"P0001"}
    table = pyogrio.read_dataframe(tmp_path / "crackmap.gpkg", layer="sections", read_geometry=False)
    assert table.pattern_area_m2.sum() == pytest.approx(1.44, abs=1e-3)
    html = (tmp_path / "report.html").read_text("utf-8")
    assert "of crack patterns, 1 in all" in html and "A pattern is a place" in html
    run = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert run["counts"]["patterns"] == 1
    assert "patterns.csv" in [product["path"] for product in run["products"]]


def test_a_pattern_around_a_hole_keeps_it(tmp_path: Path) -> None:
    edges = [crack(a, b) for a, b in _segments_around_a_hole()]
    (pattern,) = patterns_of(edges, settings=NetworkSettings(max_cell_m=0.25))[1]
    assert (pattern.cell_count, len(pattern.holes_xy)) == (12, 1)
    assert pattern.area_m2 == pytest.approx(12 * 0.04, rel=1e-6)
    result = SurveyResult(MAP, Outcomes.of(()), tuple(edges), (), (), (pattern,))
    write_products(result, tmp_path, run_info={})
    (polygon,) = pyogrio.read_dataframe(tmp_path / "crackmap.gpkg", layer="patterns").geometry
    assert polygon.area == pytest.approx(0.48, rel=1e-6) and len(polygon.interiors) == 1


def _segments_around_a_hole():
    """The edges of 4 x 4 squares of 0.2 m without those inside the middle 2 x 2."""
    for i in range(5):
        for j in range(4):
            if not (i == 2 and j in (1, 2)):
                yield (0.2 * i, 0.2 * j), (0.2 * i, 0.2 * j + 0.2)
                yield (0.2 * j, 0.2 * i), (0.2 * j + 0.2, 0.2 * i)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="max_cell_m"):
        NetworkSettings(max_cell_m=0.01)
    with pytest.raises(InputError, match="min_cells"):
        NetworkSettings(min_cells=0)
