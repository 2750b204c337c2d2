"""Products read back with the libraries others use: rows agree, coordinates agree, hostile names stay text."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import re
import sqlite3
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
from drawn_surveys import HOSTILE, MAP, ROAD, SHEET, drawn_crack, survey
from geopandas.testing import assert_geodataframe_equal
from pyproj import CRS

from crackmap.calibration.errors import CrackmapError, StorageError
from crackmap.calibration.plane import GroundPlane
from crackmap.pipeline.merge import MergeSettings, merge_cracks
from crackmap.pipeline.outcome_table import Outcomes
from crackmap.pipeline.products import vectors
from crackmap.pipeline.products.geojson import cut_at_antimeridian
from crackmap.pipeline.products.notes import OVERLAP_NOTE, RASTER_NOTE, all_notes
from crackmap.pipeline.products.publish import TEMPORARY_PREFIX, publish_bytes
from crackmap.pipeline.products.write import write_products
from crackmap.pipeline.profiles import load_profile, profile_table
from crackmap.pipeline.records import Frame, FrameOutcome, Placement
from crackmap.pipeline.report_pictures import FramePicture
from crackmap.pipeline.sections import footprint, make_sections
from crackmap.pipeline.survey_result import SurveyResult

INFO = {"command": "crackmap run x", "crackmap": "0.1.0", "settings": {"b": 1, "a": 2}}


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    out = tmp_path_factory.mktemp("road")
    result = survey(ROAD)
    write_products(result, out, run_info=INFO)
    return result, out


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def as_text(value) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return str(value)


@pytest.mark.parametrize(("layer", "name"), [("cracks", "cracks.csv"), ("sections", "sections.csv")])
def test_csv_rows_are_the_geopackage_rows(road, layer, name):
    result, out = road
    table = pyogrio.read_dataframe(out / "crackmap.gpkg", layer=layer, read_geometry=False)
    rows = rows_of(out / name)
    assert len(rows) == len(table) == len(getattr(result, layer)) > 0
    assert list(rows[0]) == list(table.columns)
    for row, (_, other) in zip(rows, table.iterrows(), strict=True):
        assert row == {key: as_text(value) for key, value in other.items()}


def test_geopackage_geometry_and_widths_per_vertex_come_back(road):
    result, out = road
    table = pyogrio.read_dataframe(out / "crackmap.gpkg", layer="cracks")
    for crack, geometry, widths in zip(result.cracks, table.geometry, table.widths_mm, strict=True):
        np.testing.assert_allclose(np.array(geometry.coords), crack.line_xy, atol=1e-9)
        np.testing.assert_allclose(json.loads(widths), crack.width_mm, atol=0.005)
    np.testing.assert_allclose(table.length_m, [crack.length_m for crack in result.cracks], atol=5e-4)
    frames = pyogrio.read_dataframe(out / "crackmap.gpkg", layer="frames")
    assert list(frames.key) == [outcome.frame.key for outcome in result.outcomes]
    assert frames.geometry.area.sum() == pytest.approx(30 * 5 * 3.6)


def test_geopackage_is_sound_and_says_what_its_coordinates_mean(road):
    _, out = road
    assert sorted(name for name, _ in pyogrio.list_layers(out / "crackmap.gpkg")) == [
        "crackmap_info", "cracks", "frames", "layer_styles", "patterns", "sections",
    ]  # fmt: skip
    with sqlite3.connect(out / "crackmap.gpkg") as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        assert connection.execute("pragma journal_mode").fetchone() == ("delete",)
        contents = dict(connection.execute("select table_name, data_type from gpkg_contents"))
        info = dict(connection.execute("select name, value from crackmap_info"))
    assert contents["layer_styles"] == contents["crackmap_info"] == "attributes"
    assert contents["cracks"] == "features"
    assert info["coordinates"] == "road" and "chainage" in info["coordinates_mean"]
    assert "LOCAL_CS" in pyogrio.read_info(out / "crackmap.gpkg", layer="cracks")["crs"]


def test_qgis_styles_are_valid_xml_for_every_layer(road):
    _, out = road
    styles = pyogrio.read_dataframe(out / "crackmap.gpkg", layer="layer_styles")
    assert set(styles.f_table_name) == {"cracks", "patterns", "sections", "frames"}
    assert styles.useAsDefault.all()
    for name, qml in zip(styles.f_table_name, styles.styleQML, strict=True):
        renderer = ET.fromstring(qml).find("renderer-v2")
        fields = pyogrio.read_info(out / "crackmap.gpkg", layer=name)["fields"]
        rules = [rule.get("filter") for rule in renderer.iter("rule")]
        named = {field for rule in rules for field in re.findall(r'"(\w+)"', rule)} or {renderer.get("attr")}
        assert named <= set(fields)
        symbols = {symbol.get("name") for symbol in renderer.iter("symbol")}
        drawn = [*renderer.iter("range"), *renderer.iter("category"), *renderer.iter("rule")]
        assert {item.get("symbol") for item in drawn} == symbols


def test_equal_results_are_equal_bytes(road, tmp_path):
    _, out = road
    write_products(survey(ROAD), tmp_path, run_info=INFO)
    names = sorted(path.name for path in out.iterdir())
    assert names == sorted(path.name for path in tmp_path.iterdir())
    for name in names:
        assert (out / name).read_bytes() == (tmp_path / name).read_bytes(), name
    write_products(survey(ROAD), tmp_path, run_info=INFO, seconds={"detect": 9.0})
    differing = [name for name in names if (out / name).read_bytes() != (tmp_path / name).read_bytes()]
    assert differing == ["timings.json"]


def test_parquet_keeps_the_engineering_crs(road):
    result, out = road
    table = gpd.read_parquet(out / "cracks.parquet")
    assert len(table) == len(result.cracks)
    assert table.crs.type_name == "Engineering CRS"
    assert not (out / "cracks.geojson").exists()


def test_geojson_of_a_map_is_longitude_latitude(tmp_path):
    result = survey(MAP, origin=(500000.0, 6700000.0), azimuth=30.0)
    write_products(result, tmp_path, run_info=INFO)
    content = json.loads((tmp_path / "cracks.geojson").read_text("utf-8"))
    assert "crs" not in content and len(content["features"]) == len(result.cracks)
    numbers = re.findall(r"-?\d+\.\d+", json.dumps([f["geometry"] for f in content["features"]]))
    assert max(len(number.split(".")[1]) for number in numbers) <= 9
    back = gpd.read_file(tmp_path / "cracks.geojson").to_crs(32722)
    for geometry, crack in zip(back.geometry, result.cracks, strict=True):
        np.testing.assert_allclose(np.array(geometry.coords), crack.line_xy, atol=0.001)
    assert gpd.read_parquet(tmp_path / "cracks.parquet").crs == CRS.from_epsg(32722)


def test_a_line_across_the_antimeridian_is_cut_there():
    east, west = cut_at_antimeridian(np.array([[179.0, 10.0], [179.5, 10.0], [-179.5, 11.0], [-179.0, 11.0]]))
    np.testing.assert_allclose(east, [[179, 10], [179.5, 10], [180, 10.5]])
    np.testing.assert_allclose(west, [[-180, 10.5], [-179.5, 11], [-179, 11]])
    assert len(list(cut_at_antimeridian(np.array([[-1.0, 0.0], [1.0, 0.0]])))) == 1


@pytest.mark.parametrize("output", [ROAD, SHEET, MAP])
def test_an_empty_survey_gives_valid_empty_products(tmp_path, output):
    write_products(SurveyResult(output, Outcomes.of(()), (), ()), tmp_path, run_info={})
    for layer, kind in (("cracks", "LineString"), ("sections", "Polygon"), ("frames", "Polygon")):
        info = pyogrio.read_info(tmp_path / "crackmap.gpkg", layer=layer)
        assert (info["features"], info["geometry_type"]) == (0, kind)
    assert pyogrio.read_info(tmp_path / "crackmap.gpkg", layer="cracks")["ogr_types"][2] == "OFTReal"
    assert rows_of(tmp_path / "cracks.csv") == rows_of(tmp_path / "sections.csv") == []
    assert len(gpd.read_parquet(tmp_path / "cracks.parquet")) == 0
    assert not (tmp_path / "skipped.csv").exists()
    assert (tmp_path / "cracks.geojson").exists() == (output is MAP)
    assert "Crack survey report" in (tmp_path / "report.html").read_text("utf-8")


def test_a_sheet_in_pixels_has_no_metres_anywhere(tmp_path):
    write_products(survey(SHEET), tmp_path, run_info=INFO)
    table = pyogrio.read_dataframe(tmp_path / "crackmap.gpkg", layer="cracks")
    assert table.length_m.isna().all() and table.mean_w_mm.isna().all() and (table.length_px > 0).all()
    html = (tmp_path / "report.html").read_text("utf-8")
    assert "unit is pixels" in html and "Frame by frame" in html


def rasters(*origins, azimuth=0.0, skip=()) -> SurveyResult:
    """Georeferenced rasters of 3.6 m by 6 m, each with a crack, at these map coordinates."""
    rng = np.random.default_rng(4)
    ground = GroundPlane.from_gsd(gsd_mm=4.0, size_wh_px=(900, 1500))
    frames = [Frame(f"{i}.tif", f"{i}.tif", (900, 1500), "R", Placement(origin, azimuth), None, ground)
              for i, origin in enumerate(origins)]  # fmt: skip
    per_frame = [(frame, (drawn_crack(frame, rng),)) for frame in frames]
    of = {frame.key: cracks for frame, cracks in per_frame}
    merged = merge_cracks([f for f, _ in per_frame], lambda frame: of[frame.key], settings=MergeSettings())
    cracks = tuple(merged.cracks())
    outcomes = [FrameOutcome(f, "skipped" if i in skip else "ok", "", footprint(f)) for i, f in enumerate(frames)]
    return SurveyResult(MAP, Outcomes.of(outcomes), cracks, make_sections(outcomes, cracks, output=MAP))


def test_rasters_have_no_direction_of_travel_in_any_product(tmp_path):
    result = rasters((5e5, 6.7e6), (5e5 + 10, 6.7e6))
    write_products(result, tmp_path, run_info=INFO)
    nowhere = ["covered_m", "missing_m", "crack_m_per_m", "longitudinal_m", "transverse_m", "other_m"]
    rows = rows_of(tmp_path / "sections.csv")
    assert len(rows) == 2 and all(row[name] == "" for row in rows for name in nowhere)
    assert all(float(row["area_m2"]) == pytest.approx(21.6) and float(row["crack_length_m"]) > 0 for row in rows)
    table = pyogrio.read_dataframe(tmp_path / "crackmap.gpkg", layer="sections")
    assert table[nowhere].isna().all(axis=None) and (table.dtypes[nowhere] == np.float64).all()
    styles = pyogrio.read_dataframe(tmp_path / "crackmap.gpkg", layer="layer_styles").set_index("f_table_name")
    assert 'attr="crack_area_pct"' in styles.styleQML["sections"]
    html = (tmp_path / "report.html").read_text("utf-8")
    page = _Collector()
    page.feed(html)
    text = "".join(page.text)
    assert "azimuth from grid north" in html and "pixels without data included" in html and "0° north" in html
    for absent in ("travel, clockwise", "of road measured", "Within 20°", "Missing", "0° along", OVERLAP_NOTE):
        assert absent not in text
    notes = json.loads((tmp_path / "run.json").read_text("utf-8"))["notes"]
    assert notes == [RASTER_NOTE]
    assert pyogrio.read_dataframe(tmp_path / "crackmap.gpkg", layer="crackmap_info").value.str.contains("azimuth").any()


@pytest.mark.parametrize(
    ("second", "azimuth", "skip", "overlap"),
    [
        ((3.5, 0.0), 0.0, (), True),
        ((3.6, 0.0), 0.0, (), False),
        ((3.6 - 1e-6, 6.0 - 1e-6), 0.0, (), False),
        ((0.0, 5.0), 30.0, (), True),
        ((0.0, 5.0), 30.0, (1,), False),
    ],
)
def test_rasters_that_share_ground_are_said_to_overlap(second, azimuth, skip, overlap):
    result = rasters((5e5, 6.7e6), (5e5 + second[0], 6.7e6 + second[1]), azimuth=azimuth, skip=skip)
    assert (OVERLAP_NOTE in all_notes(result)) == overlap


def test_a_survey_on_a_track_carries_only_its_own_notes():
    result = survey(MAP, frames=3)
    assert not result.of_rasters and all_notes(result) == result.notes


def test_a_section_nobody_saw_is_a_row_without_geometry(tmp_path):
    result = survey(ROAD, frames=4)
    far = replace(result.outcomes[0].frame, key="far.jpg", chainage_m=1000.0, placement=Placement((0.0, 1000.0)))
    outcomes = Outcomes.of([*result.outcomes, FrameOutcome(far, "no_crack", "", footprint(far))])
    sections = make_sections(outcomes, result.cracks)
    write_products(replace(result, outcomes=outcomes, sections=sections), tmp_path, run_info=INFO)
    table = pyogrio.read_dataframe(tmp_path / "crackmap.gpkg", layer="sections")
    assert table.geometry.isna().tolist() == [False, *[True] * 9, False]
    rows = rows_of(tmp_path / "sections.csv")
    assert [float(row["missing_m"]) for row in rows[1:10]] == [100.0] * 9
    assert {(row["crack_m_per_m"], row["crack_area_pct"]) for row in rows[1:10]} == {("", "")}
    assert 'class="warn" data-value="100.0">100.0<' in (tmp_path / "report.html").read_text("utf-8")


class _Collector(HTMLParser):
    """What a page holds; of scripts the kind, or the hash by which the page's policy allows them."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text, self.scripts, self.allowed = [], [], [], [], []
        self._kind = None

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        if tag == "script":
            self._kind = dict(attrs).get("type", "code")
        if tag == "meta" and dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.allowed = re.findall(r"sha256-[\w+/=]+", dict(attrs)["content"])

    def handle_data(self, data):
        if self._kind is None:
            self.text.append(data)
            return
        digest = base64.b64encode(hashlib.sha256(data.encode()).digest()).decode()
        self.scripts.append(f"sha256-{digest}" if self._kind == "code" else self._kind)
        self._kind = None


def test_hostile_names_are_harmless_in_every_product(tmp_path):
    result = survey(ROAD, names=HOSTILE, frames=6)
    flagged = [FrameOutcome(o.frame, "skipped", "=1+1 <script>x</script>", o.footprint_xy) for o in result.outcomes]
    result = SurveyResult(ROAD, Outcomes.of(flagged), result.cracks, result.sections, ("<script>alert(2)</script>",))
    write_products(
        result,
        tmp_path,
        run_info={"command": "<script>3</script>"},
        pictures=[FramePicture(HOSTILE[1], b"x", (4, 3), 1.0)],
    )
    rows = rows_of(tmp_path / "skipped.csv")
    assert [row["key"] for row in rows][:4] == [f"'{HOSTILE[0]}", HOSTILE[1], HOSTILE[2], f"'{HOSTILE[3]}"]
    assert all(row["reason"].startswith("'=1+1") for row in rows)
    for name in ("cracks.csv", "sections.csv", "skipped.csv"):
        for row in rows_of(tmp_path / name):
            for value in row.values():
                assert not value.startswith(("=", "+", "@", "\t", "\r"))
                assert not value.startswith("-") or float(value) < 0
    keys = list(pyogrio.read_dataframe(tmp_path / "crackmap.gpkg", layer="frames").key)
    assert keys[:4] == HOSTILE[:4] and keys[4] == "nüß\\udcff.jpg"
    page = _Collector()
    page.feed((tmp_path / "report.html").read_text("utf-8"))
    assert set(page.scripts) <= set(page.allowed) | {"application/json"}
    assert not [item for item in page.attributes if item[1].startswith("on")]
    assert {value[:11] for tag, key, value in page.attributes if tag == "img" and key == "src"} == {"data:image/"}
    assert HOSTILE[1] in "".join(page.text)


def test_the_report_asks_for_nothing_outside_itself(road):
    _, out = road
    html = (out / "report.html").read_text("utf-8")
    page = _Collector()
    page.feed(html)
    assert not {"link", "iframe", "object", "base", "form"} & set(page.tags)
    assert set(page.scripts) <= set(page.allowed) | {"application/json", "text/plain"}
    links = [value for _, key, value in page.attributes if key in ("src", "href", "srcset")]
    assert all(value.startswith(("#", "data:image/")) for value in links)
    assert "url(" not in html and "@import" not in html
    assert "default-src 'none'" in html


def test_the_report_states_the_totals(road):
    result, out = road
    text = (out / "report.html").read_text("utf-8")
    assert f"<b>{len(result.cracks)}</b>" in text
    assert f"<b>{sum(crack.length_m for crack in result.cracks):.1f} <small>m</small></b>" in text
    assert "0.1.0" in text and "crackmap run x" in text
    assert text.count("<polyline") >= len(result.cracks)


def test_frames_are_the_same_layer_in_portions_as_at_once(road, tmp_path, monkeypatch):
    result, out = road
    monkeypatch.setattr(vectors, "PORTION", 2)
    assert len(result.outcomes) > 4
    write_products(result, tmp_path, run_info=INFO)
    at_once, in_portions = (pyogrio.read_dataframe(path / "crackmap.gpkg", layer="frames") for path in (out, tmp_path))
    assert_geodataframe_equal(in_portions, at_once)
    assert list(at_once["key"]) == [outcome.frame.key for outcome in result.outcomes]


def test_run_json_counts_every_frame_and_hashes_every_product(road):
    result, out = road
    text = (out / "run.json").read_text("utf-8")
    content = json.loads(text)
    # It is written piece by piece.
    assert text == json.dumps(content, indent=2, sort_keys=True) + "\n"
    counts = content["counts"]
    assert counts["found"] == counts["ok"] + counts["no_crack"] + counts["skipped"] == len(result.outcomes)
    listed = {item["path"]: item for item in content["products"]}
    assert set(listed) == {path.name for path in out.iterdir()} - {"run.json", "timings.json", "_SUCCESS.json"}
    for name, item in listed.items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == item["sha256"]
    success = json.loads((out / "_SUCCESS.json").read_text("utf-8"))
    assert success["run.json"]["sha256"] == hashlib.sha256((out / "run.json").read_bytes()).hexdigest()


def test_a_frame_counted_twice_is_refused(tmp_path):
    result = survey(ROAD, frames=2)
    with pytest.raises(CrackmapError, match="each frame once"):
        write_products(SurveyResult(ROAD, Outcomes.of([*result.outcomes] * 2), (), ()), tmp_path, run_info={})


def test_what_cannot_be_written_names_path_and_remedy_and_leaves_the_old_file(tmp_path, monkeypatch):
    publish_bytes(tmp_path / "a.csv", b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match=r"a\.csv.*No space left.*disk") as caught:
        publish_bytes(tmp_path / "a.csv", b"new")
    assert caught.value.exit_code == 6
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert (tmp_path / "a.csv").read_bytes() == b"old"


def test_a_folder_that_is_a_file_is_a_storage_error(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(StorageError, match="out"):
        write_products(SurveyResult(ROAD, Outcomes.of(()), (), ()), tmp_path / "out", run_info={})


def test_left_overs_of_a_killed_run_are_removed(tmp_path):
    (tmp_path / f"{TEMPORARY_PREFIX}99-x.gpkg-journal").write_bytes(b"half")
    write_products(SurveyResult(ROAD, Outcomes.of(()), (), ()), tmp_path, run_info={})
    assert not list(tmp_path.glob(f"{TEMPORARY_PREFIX}*"))


def test_profiles_are_tables_layers_and_a_part_of_the_report(tmp_path):
    result = survey(MAP, origin=(500000.0, 6700000.0), azimuth=30.0)
    tables = [profile_table(*load_profile(name), result) for name in ("hpms", "zeb", "dnit-006")]
    write_products(result, tmp_path, run_info=INFO, profiles=tables)
    html = (tmp_path / "report.html").read_text("utf-8")
    styles = pyogrio.read_dataframe(tmp_path / "crackmap.gpkg", layer="layer_styles").set_index("f_table_name")
    for table in tables:
        rows = rows_of(tmp_path / f"sections_{table.name}.csv")
        layer = pyogrio.read_dataframe(tmp_path / "crackmap.gpkg", layer=f"sections_{table.name}")
        assert len(rows) == len(layer) == len(result.sections)
        assert list(rows[0]) == [name for name in layer.columns if name != "geometry"]
        assert [row["section_id"] for row in rows] == list(layer.section_id)
        renderer = ET.fromstring(styles.styleQML[f"sections_{table.name}"]).find("renderer-v2")
        assert renderer.get("attr") in layer.columns
        assert table.profile.title in html and all(text in html for text in table.profile.unconfirmed)
    run = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert set(run["profiles"]) == {"hpms", "zeb", "dnit-006"}
    assert {"sections_hpms.csv", "sections_zeb.csv"} <= {item["path"] for item in run["products"]}
    write_products(result, tmp_path, run_info=INFO, profiles=tables[:1])
    assert sorted(path.name for path in tmp_path.glob("sections_*")) == ["sections_hpms.csv"]


def test_shapefiles_hold_the_same_rows_under_names_that_fit(tmp_path):
    result = survey(MAP, names=HOSTILE, origin=(500000.0, 6700000.0), azimuth=30.0)
    tables = [profile_table(*load_profile("aashto-r85"), result)]
    write_products(result, tmp_path, run_info=INFO, profiles=tables, shapefile=True)
    for layer in ("cracks", "patterns", "sections", "frames", "sections_aashto-r85"):
        short = pyogrio.read_dataframe(tmp_path / "shapefile" / f"{layer}.shp")
        whole = pyogrio.read_dataframe(tmp_path / "crackmap.gpkg", layer=layer)
        lists = [name for name in whole.columns if name.startswith("widths_")]
        assert len(short) == len(whole) and len(short.columns) == len(whole.columns) - len(lists)
        assert all(len(name) <= 10 for name in short.columns)
        assert short.crs == whole.crs
    cracks = pyogrio.read_dataframe(tmp_path / "shapefile" / "cracks.shp")
    np.testing.assert_allclose(cracks.length_m, [crack.length_m for crack in result.cracks], atol=5e-4)
    sections = pyogrio.read_dataframe(tmp_path / "shapefile" / "sections.shp")
    assert {"crack_m", "crk_m_m", "along_m", "cover_pct"} <= set(sections.columns)


def test_the_dictionary_explains_every_column_of_every_table(tmp_path):
    result = survey(MAP, origin=(500000.0, 6700000.0))
    tables = [profile_table(*load_profile("zeb"), result)]
    write_products(result, tmp_path, run_info=INFO, profiles=tables, shapefile=True)
    rows = rows_of(tmp_path / "dictionary.csv")
    for layer in ("cracks", "patterns", "sections", "frames", "sections_zeb"):
        described = [row for row in rows if row["layer"] == layer]
        columns = list(pyogrio.read_info(tmp_path / "crackmap.gpkg", layer=layer)["fields"])
        assert [row["column"] for row in described] == columns
        assert all(row["meaning"] for row in described)
        if layer in ("cracks", "patterns", "sections", "frames"):
            short = list(pyogrio.read_info(tmp_path / "shapefile" / f"{layer}.shp")["fields"])
            assert [row["shapefile"] for row in described if row["shapefile"]] == short
    units = {row["column"]: row["unit"] for row in rows}
    assert (units["length_m"], units["mean_w_mm"], units["area_m2"], units["cells_pct"]) == ("m", "mm", "m2", "%")


def test_shapefiles_of_an_earlier_call_do_not_outlive_it(tmp_path):
    result = survey(ROAD)
    write_products(result, tmp_path, run_info=INFO, shapefile=True)
    listed = {item["path"] for item in json.loads((tmp_path / "run.json").read_text("utf-8"))["products"]}
    assert "shapefile/cracks.dbf" in listed
    write_products(result, tmp_path, run_info=INFO)
    assert not (tmp_path / "shapefile").exists()
