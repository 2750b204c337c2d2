"""Finished products opened in Python: what was written comes back, and nothing unfinished does."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_hex
from pyproj import CRS

from crackmap.calibration.errors import InputError
from crackmap.calibration.plane import GroundPlane
from crackmap.pipeline import open_results
from crackmap.pipeline.journal import open_journal
from crackmap.pipeline.outcome_table import Outcomes
from crackmap.pipeline.placing import PIXELS, RECORDING_APART_M, ROAD_WKT
from crackmap.pipeline.products.masks import mask_name, write_mask_cog
from crackmap.pipeline.products.styles import COLOURS
from crackmap.pipeline.products.write import write_products
from crackmap.pipeline.records import CoordinateKind, Frame, FrameOutcome, OutputFrame, Placement, RoadCrack, Section
from crackmap.pipeline.survey_result import SurveyResult
from crackmap.stages.records import BLOCK_PX, CrackMask

ROAD = OutputFrame(CoordinateKind.ROAD, ROAD_WKT)
MAP = OutputFrame(CoordinateKind.MAP, CRS.from_epsg(32722).to_wkt())
SIZE = (1000, 2500)
LINE = np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 5.0]])
"""5 m and 1 m."""


def crack(number: int, line_xy, widths_mm, *, joint=False, recording="R1", chainage=True) -> RoadCrack:
    line = np.asarray(line_xy, float)
    length = float(np.hypot(*np.diff(line, axis=0).T).sum())
    metric = widths_mm is not None
    widths = np.asarray(widths_mm if metric else np.full(len(line), 3.0), float)
    place = {"chainage_from_m": line[:, 1].min(), "chainage_to_m": line[:, 1].max()} if chainage else {}
    return RoadCrack(
        f"C{number:06d}", line, widths / 2, length * 500, 10.0, 0.9, False, ("R1/0.jpg",), recording,
        width_mm=widths if metric else None, length_m=length if metric else None, joint=joint, **place,
    )  # fmt: skip


def section(start: float, end: float, outline, recording="R1") -> Section:
    name, long = f"{recording}:{start:g}-{end:g}", end - start
    return Section(name, recording, start, end, np.asarray(outline, float), long, 0.0, 0.0, "", 4 * long, 1, 1.0, 0.01,
                   5.0, 5.0, 1.0, 0.0, 0.0)  # fmt: skip


def box(left: float, low: float, right: float, high: float) -> list[tuple[float, float]]:
    return [(left, low), (right, low), (right, high), (left, high)]


def frame(number: int, output: OutputFrame, at=(0.0, 0.0)) -> Frame:
    ground = None if output.unit == "px" else GroundPlane.from_gsd(gsd_mm=2.0, size_wh_px=SIZE)
    return Frame(f"R1/{number}.jpg", f"{number}.jpg", SIZE, "R1", Placement(at), 5.0 * number, ground)


def written(out: Path, output: OutputFrame, cracks, sections) -> Path:
    """A run of two frames: the first with a mask, the second unreadable."""
    seen, lost = frame(0, output), frame(1, output)
    name = mask_name(seen.key)
    mask = CrackMask(SIZE, {(1, 2): np.full((BLOCK_PX, BLOCK_PX), 255, np.uint8)}, BLOCK_PX**2)
    write_mask_cog(out / "masks" / name, mask, frame=seen, output=output)
    outcomes = (
        FrameOutcome(seen, "ok", "", np.array(box(-1, 0, 1, 5), float), 0.5, len(cracks), name),
        FrameOutcome(lost, "skipped", "cut off"),
    )
    write_products(
        SurveyResult(output, Outcomes.of(outcomes), tuple(cracks), tuple(sections)), out, run_info={"crackmap": "0.1.0"}
    )
    return out


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cracks = [crack(1, LINE, [2.0, 4.0, 6.0]), crack(2, [[-1, 12], [-1, 13]], [7.0, 7.0], joint=True)]
    return written(tmp_path_factory.mktemp("road") / "out", ROAD, cracks, [section(0, 100, box(-2, 0, 2, 20))])


@pytest.fixture
def road(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "out"))


def drawn(axes) -> list[tuple[str, np.ndarray]]:
    """Colour and vertices of every line on a pair of axes."""
    (lines,) = (item for item in axes.collections if isinstance(item, LineCollection))
    return [(to_hex(colour), path) for colour, path in zip(lines.get_colors(), lines.get_segments(), strict=True)]


def test_importing_the_package_loads_none_of_the_libraries_that_take_long() -> None:
    code = "import sys, crackmap.pipeline; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert not {"torch", "numpy", "geopandas", "pandas", "matplotlib", "shapely"} & set(done.stdout.split())


def test_tables_are_those_that_were_written(road: Path) -> None:
    results = open_results(str(road))
    assert list(results.cracks["crack_id"]) == ["C000001", "C000002"]
    assert np.array_equal(shapely.get_coordinates(results.cracks.geometry.iloc[0]), LINE)
    assert results.cracks["length_m"].iloc[0] == 6.0
    assert results.sections["to_m"].tolist() == [100.0]
    assert results.frames["status"].tolist() == ["ok", "skipped"]
    assert results.frames.geometry.isna().tolist() == [False, True]
    assert results.patterns.empty
    assert results.metric
    assert results.run["counts"]["skipped"] == 1
    assert "2 cracks" in repr(results) and "Road coordinates, not a map" in repr(results)


@pytest.mark.parametrize("output", [ROAD, MAP, PIXELS], ids=["road", "map", "sheet"])
def test_every_layer_keeps_its_crs(tmp_path: Path, output: OutputFrame) -> None:
    results = open_results(written(tmp_path / "out", output, [crack(1, LINE, [1.0, 2.0, 3.0])], []))
    expected = CRS.from_wkt(output.crs_wkt)
    for layer in (results.cracks, results.patterns, results.sections, results.frames):
        assert layer.crs == expected


def test_widths_are_those_of_the_vertices(road: Path) -> None:
    results = open_results(road)
    assert results.widths_mm("C000001").tolist() == [2.0, 4.0, 6.0]
    profile = results.profile("C000001")
    assert profile["along_m"].to_numpy() == pytest.approx([0.0, 5.0, 6.0])
    assert profile["along_px"].to_numpy() == pytest.approx([0.0, 2500.0, 3000.0])
    assert profile["width_mm"].tolist() == [2.0, 4.0, 6.0]
    assert profile["width_px"].tolist() == [1.0, 2.0, 3.0]
    assert profile[["x", "y"]].to_numpy().tolist() == LINE.tolist()


def test_a_profile_ends_at_the_length_of_the_road_not_at_that_of_the_map(tmp_path: Path) -> None:
    stretched = 1.0004 * LINE + (500_000, 7_000_000)
    on_map = RoadCrack("C000001", stretched, np.ones(3), 3000.0, 0.0, 0.9, False, ("R1/0.jpg",), "R1",
                       width_mm=np.ones(3), length_m=6.0)  # fmt: skip
    profile = open_results(written(tmp_path / "out", MAP, [on_map], [])).profile("C000001")
    assert profile["along_m"].to_numpy() == pytest.approx([0.0, 5.0, 6.0])


def test_without_a_scale_widths_are_in_pixels_and_metric_ones_unknown(tmp_path: Path) -> None:
    results = open_results(written(tmp_path / "out", PIXELS, [crack(1, LINE, None, chainage=False)], []))
    assert not results.metric
    profile = results.profile("C000001")
    assert profile["width_px"].tolist() == [1.5, 1.5, 1.5]
    assert profile[["along_m", "width_mm"]].isna().all(axis=None)
    with pytest.raises(InputError, match=r"profile\('C000001'\)\.width_px"):
        results.widths_mm("C000001")


def test_an_unknown_crack_or_frame_is_refused_with_where_to_look(road: Path) -> None:
    results = open_results(road)
    for wrong in (results.widths_mm, results.profile):
        with pytest.raises(InputError, match=r"cracks\.crack_id"):
            wrong("C9")
    with pytest.raises(InputError, match=r"frames\.key"):
        results.mask("0.jpg")
    with pytest.raises(InputError, match="skipped: cut off"):
        results.mask("R1/1.jpg")


def test_a_mask_lies_where_its_frame_lies(road: Path) -> None:
    with rasterio.open(open_results(road).mask("R1/0.jpg")) as file:
        left, top = file.xy(256, 512, offset="ul")
        assert (left, top) == pytest.approx(((512 - 500) * 2e-3, (2500 - 256) * 2e-3))
        values = file.read(1)
    assert values[256:512, 512:768].min() == 255 and values.sum() == 255 * 256**2


def test_a_mask_that_is_not_of_this_run_is_refused_unless_it_is_taken_as_it_is(road: Path) -> None:
    (path,) = (road / "masks").iterdir()
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(InputError, match="is not what the run wrote"):
        open_results(road).mask("R1/0.jpg")
    assert open_results(road, verify=False).mask("R1/0.jpg") == path
    path.unlink()
    with pytest.raises(InputError, match="not there"):
        open_results(road, verify=False).mask("R1/0.jpg")


def test_an_edited_geopackage_is_refused_unless_it_is_taken_as_it_is(road: Path) -> None:
    path = road / "crackmap.gpkg"
    path.write_bytes(path.read_bytes() + bytes(4096))
    with pytest.raises(InputError, match=r"crackmap\.gpkg.*verify=False"):
        open_results(road)
    assert len(open_results(road, verify=False).cracks) == 2


def test_an_unfinished_run_is_refused_with_the_command_that_finishes_it(road: Path) -> None:
    (road / "_SUCCESS.json").unlink()
    with open_journal(road), pytest.raises(InputError, match=r"not finished.*crackmap status.*crackmap run"):
        open_results(road)
    with pytest.raises(InputError, match="not finished"):
        open_results(road)


def test_results_are_read_beside_a_run_that_holds_the_lock_and_leave_nothing(road: Path) -> None:
    with open_journal(road):
        before = {path: path.stat().st_mtime_ns for path in road.rglob("*")}
        assert len(open_results(road).cracks) == 2
        assert {path: path.stat().st_mtime_ns for path in road.rglob("*")} == before


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir, Path.touch], ids=["missing", "empty", "a file"])
def test_a_folder_without_a_run_is_refused_with_the_next_step(tmp_path: Path, make) -> None:
    make(tmp_path / "none")
    with pytest.raises(InputError, match=r"give the -o folder of `crackmap run`"):
        open_results(tmp_path / "none")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"run.json": 1}', b"\xff", b'{"run.json": {"sha256": "0"}}'])
def test_a_damaged_success_file_is_refused(road: Path, content: bytes) -> None:
    (road / "_SUCCESS.json").write_bytes(content)
    with pytest.raises(InputError, match=r"run\.json.*crackmap run"):
        open_results(road)


def test_products_of_another_format_are_refused_with_the_version_that_wrote_them(road: Path) -> None:
    run = json.loads((road / "run.json").read_bytes())
    content = json.dumps({**run, "format": 99}).encode()
    (road / "run.json").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    (road / "_SUCCESS.json").write_text(json.dumps({"format": 99, "run.json": {"sha256": digest}}))
    with pytest.raises(InputError, match=r"format 1, got 99.*0\.1\.0"):
        open_results(road)


def test_a_road_is_drawn_with_chainage_to_the_right_in_the_colours_of_the_widths(road: Path) -> None:
    figure = open_results(road).plot()
    assert figure.get_supxlabel() == "chainage, m"
    assert figure.get_supylabel() == "offset to the right of the route line, m"
    lines = {colour: line for axes in figure.axes for colour, line in drawn(axes)}
    # The mean of 3 mm over 5 m and 5 mm over 1 m is in the class from 3 to 6 mm; a joint has none.
    assert set(lines) == {COLOURS[1], "#9aa0a8"}
    assert np.array_equal(lines[COLOURS[1]], LINE[:, ::-1])
    for axes in figure.axes:
        assert axes.get_aspect() == 1.0
        assert axes.get_ylim()[0] > axes.get_ylim()[1], "right of the road lies below"
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_the_shade_is_what_was_measured_and_sections_are_outlines(road: Path) -> None:
    axes = open_results(road).plot().axes[0]
    shade, outline = (item for item in axes.collections if isinstance(item, PolyCollection))
    assert shade.get_paths()[0].get_extents().get_points().tolist() == [[0, -1], [5, 1]]
    assert outline.get_paths()[0].get_extents().get_points().tolist() == [[0, -2], [20, 2]]
    assert len(shade.get_facecolors()) and not len(outline.get_facecolors())


def test_a_long_road_is_broken_into_rows_that_tile_it_at_one_scale(tmp_path: Path) -> None:
    cracks = [crack(n, [[0, 10 * n + 3], [1, 10 * n + 4]], [5.0, 5.0]) for n in range(100)]
    results = open_results(written(tmp_path / "out", ROAD, cracks, []))
    rows = results.plot().axes
    ends = np.array([axes.get_xlim() for axes in rows])
    assert np.array_equal(ends[1:, 0], ends[:-1, 1])
    assert ends[0, 0] == 0 and ends[-1, 1] == 1000
    assert len({high - low for low, high in ends.tolist()}) == 1 and len(ends) > 5
    assert sum(len(drawn(axes)) for axes in rows) == 100
    rows = results.plot(along=(205, 255)).axes
    assert rows[0].get_xlim()[0] == 205 and rows[-1].get_xlim()[1] == pytest.approx(255)
    shown = {tuple(line[0]) for axes in rows for _, line in drawn(axes)}
    assert shown == {(213, 0), (223, 0), (233, 0), (243, 0), (253, 0)}


def test_a_road_too_long_for_one_figure_is_refused_with_what_to_choose(tmp_path: Path) -> None:
    cracks = [crack(n, [[0, at], [1, at]], [5.0, 5.0]) for n, at in enumerate((0, 90_000))]
    results = open_results(written(tmp_path / "out", ROAD, cracks, [section(0, 90_000, box(-2, 0, 2, 90_000))]))
    with pytest.raises(InputError, match=r"along=\(from_m, to_m\).*from 0 to 90000 m"):
        results.plot()
    assert results.plot(along=(89_990, 90_010)).axes


def test_recordings_side_by_side_are_drawn_with_the_offset_of_each(tmp_path: Path) -> None:
    apart = RECORDING_APART_M
    cracks = [crack(1, [[0.5, 1], [0.5, 2]], [5.0, 5.0]),
              crack(2, [[apart - 0.5, 1], [apart - 0.5, 2]], [5.0, 5.0], recording="R$2$")]  # fmt: skip
    results = open_results(written(tmp_path / "out", ROAD, cracks, []))
    figure = results.plot()
    assert [line[0, 1] for axes in figure.axes for _, line in drawn(axes)] == [0.5, -0.5]
    assert [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")] == ["R1", "R$2$"]
    assert figure._repr_png_()
    assert [line[0, 1] for axes in results.plot(recording="R1").axes for _, line in drawn(axes)] == [0.5]


def test_a_map_is_drawn_as_it_lies_and_a_stretch_of_it_with_all_that_lies_there(tmp_path: Path) -> None:
    # Two cracks in one place of the map, of which the stretch holds one: the road comes back beside itself.
    here, later = crack(1, LINE, [4.0] * 3), crack(3, LINE + (0, 500), [4.0] * 3)
    beside = replace(crack(2, LINE + (1, 0), [11.0] * 3), chainage_from_m=900.0, chainage_to_m=905.0)
    results = open_results(written(tmp_path / "out", MAP, [here, beside, later], []))
    figure = results.plot()
    (axes,) = figure.axes
    assert axes.get_ylim()[0] < 0 and 505 < axes.get_ylim()[1] < 520 and axes.get_aspect() == 1.0
    assert figure.get_supxlabel() == "easting, m (WGS 84 / UTM zone 22S)" and figure.get_supylabel() == "northing, m"
    (axes,) = results.plot(along=(0, 5)).axes
    assert axes.get_ylim()[1] < 10
    assert {colour for colour, _ in drawn(axes)} == {COLOURS[1], COLOURS[3]}


def test_images_without_a_position_are_drawn_in_pixels_and_have_no_stretch(tmp_path: Path) -> None:
    results = open_results(written(tmp_path / "out", PIXELS, [crack(1, LINE, None, chainage=False)], []))
    figure = results.plot()
    assert "px (no position is known" in figure.get_supxlabel()
    ((colour, line),) = drawn(figure.axes[0])
    assert colour == COLOURS[0] and np.array_equal(line, LINE)
    with pytest.raises(InputError, match="knows no chainage"):
        results.plot(along=(100, 200))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"along": (3, 1)}, "ascending"),
        ({"along": (500, 600)}, "from 0 to 100 m"),
        ({"recording": "R9"}, "recordings: R1"),
        ({"width_in": 0}, "above 0"),
    ],
)
def test_a_picture_of_nothing_is_refused_with_what_there_is(road: Path, wrong, words: str) -> None:
    with pytest.raises(InputError, match=words):
        open_results(road).plot(**wrong)
