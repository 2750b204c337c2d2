"""Texts made to do harm, given to the real command line: each is refused with its reason, and nothing else happens.

Descriptions, tracks, routes, labels, calibrations, points; the watch is in `hostile.py`.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import geopandas as gpd
import pytest
import shapely
from faults.hostile import BOMB, DEEP, ENDLESS, GPX, Place, geojson, picture

from crackmap.calibration.store import Calibration, read_calibration, write_calibration
from crackmap.pipeline import listing

TRACK = '[frames]\npattern = "_(?P<time_s>[0-9]+)"\n[position]\nsource = "track"\ntrack = {}\n'
ROUTE = '[frames]\npattern = "_(?P<chainage_m>[0-9]+)"\n[position]\nsource = "chainage"\n[route]\nfile = {}\n'
LENS = '[ground]\nmethod = "file"\ncalibration = {}\n'
OUTSIDE = {
    "absolute path": ("/etc/hostname", "in the survey folder only"),
    "path upwards": ("../../canary", "in the survey folder only"),
    "link that leads out": ("link", "in the survey folder only"),
    "name with a NUL": ("a\\u0000b", "no name of a file"),
    "address": ("{url}", "no such file in the survey folder"),
    "GDAL's address": ("/vsicurl/{url}", "in the survey folder only"),
    "pipe": ("pipe", "no such file in the survey folder"),
    "name of 10,000 letters": ("a" * 10_000, "no name of a file"),
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_files_that_a_description_names_lie_in_its_folder(place, crackmap, case):
    name, says = OUTSIDE[case]
    odometer = TRACK.format('"t.gpx"') + "odometer = {}\n"
    posts = ROUTE.format('"r.geojson"') + "calibration_points = {}\n"
    for description in (TRACK, ROUTE, LENS, odometer, posts):
        survey = place.survey(
            description.format(f'"{name.format(url=place.url)}"'), t__gpx=GPX.format("", "").encode(),
            r__geojson=geojson(),
        )  # fmt: skip
        if not (survey / "link").is_symlink():
            (survey / "link").symlink_to(place.canary)
            os.mkfifo(survey / "pipe")
        code, printed = crackmap("check", survey, *([] if description is LENS else ["--gsd", 1]))
        assert (code, says in printed) == (4, True), printed


SURVEYS: dict[str, tuple[str, str]] = {
    "lists nested deeply": (f"a = {DEEP}", "nested too deeply"),
    "50 MB": ("a = [" + "1,\n" * 17_000_000 + "]", "larger than 1 MB"),
    "keys nested deeply": (".".join("a" * 5000) + " = 1", "survey.toml: "),
    "number of 5,000 digits": (f"[ground]\ngsd_mm = {'9' * 5000}", "not TOML"),
    "number of 30,000 digits in hexadecimal": (f"[ground]\ngsd_mm = 0x{'f' * 30_000}", "not TOML"),
    "mask outside the folder": ('[ground]\nmask_replace = [".png", "/../../canary"]', "without a folder"),
    "pattern that takes for ever": ("[frames]\npattern = '(?P<lane>(_|[0-9_]+)+)$'", "takes too long"),
    "pixel of 10^308 mm": ('[ground]\nmethod = "gsd"\ngsd_mm = 1e999', "finite"),
    "CRS from an address": (TRACK.format('"t.gpx"') + 'time_offset_s = 1704067105\ncrs = "{url}"', "is not known"),
    "CRS from a file": (
        TRACK.format('"t.gpx"') + 'time_offset_s = 1704067105\ncrs = "+init={canary}:a"',
        "is not known",
    ),
    "escape sequence as key": ('"\\u001b]0;owned\\u0007" = 1', "\\x1b]0;owned\\x07: unknown key"),
}


@pytest.mark.parametrize("case", SURVEYS)
def test_descriptions_are_refused(place, crackmap, case, monkeypatch):
    monkeypatch.setattr(listing, "NAMES_S", 0.3)
    text, says = SURVEYS[case]
    text = text.replace("{url}", place.url).replace("{canary}", str(place.canary))
    survey = place.survey(text, t__gpx=GPX.format("", "").encode())
    (survey / f"{'_1' * 20}x.png").write_bytes(picture(2))
    code, printed = crackmap("check", survey, "--gsd", 1) if "gsd" not in text else crackmap("check", survey)
    assert (code, says in printed) == (4, True), printed[:2000]


def external(kind: str) -> Callable[[Place], str]:
    return lambda place: GPX.format(f"<!DOCTYPE gpx [{kind}]>".format(file=place.canary.as_uri(), url=place.url), "&x;")


XML: dict[str, tuple[Callable[[Place], str | bytes] | str | bytes, str]] = {
    "billion laughs": (GPX.format(BOMB, "&a11;"), "not a GPX file that can be read"),
    "billion laughs in UTF-16": (
        GPX.format(BOMB, "&a11;").replace('"1.0"', '"1.0" encoding="UTF-16"', 1).encode("utf-16"), "not a GPX file"),
    "quadratic blow-up": (GPX.format(f"<!DOCTYPE gpx [<!ENTITY b '{'b' * 10**6}'>]>", "&b;" * 1000), "not a GPX file"),
    "external entity": (external('<!ENTITY x SYSTEM "{file}">'), "not a GPX file that can be read"),
    "external entity from an address": (external('<!ENTITY x SYSTEM "{url}">'), "not a GPX file that can be read"),
    "parameter entity": (external('<!ENTITY % p SYSTEM "{url}"> %p;'), "not a GPX file that can be read"),
    "external DTD": (lambda place: GPX.format(f'<!DOCTYPE gpx SYSTEM "{place.url}">', ""), "not a GPX file"),
    "KML": ("<kml xmlns='http://www.opengis.net/kml/2.2'><NetworkLink/></kml>", "archive or KML; export as GPX"),
    "archive": (b"PK\x03\x04" + bytes(60), "archive or KML; export as GPX"),
    "elements nested deeply": ("<gpx>" + "<a>" * 100_000, "not a GPX file that can be read"),
    "table with a cell of 1 MB": ("time_s,lat,lon\n1,2," + "9" * 10**6, "not a table"),
    "table of formulas": ("time_s,lat,lon\n=1+1,=cmd|' /C calc'!A0,@SUM(1)\n-1,+2,-3", "t.gpx"),
    "table of NaN and infinity": ("time_s,lat,lon\nnan,inf,-inf\n1e308,1e308,1e308", "t.gpx"),
}  # fmt: skip


@pytest.mark.parametrize("case", XML)
def test_tracks_are_refused(place, crackmap, case):
    made, says = XML[case]
    content = made(place) if callable(made) else made
    survey = place.survey(TRACK.format('"t.gpx"'), t__gpx=content.encode() if isinstance(content, str) else content)
    code, printed = crackmap("check", survey, "--gsd", 1)
    assert (code, says in printed) == (4, True), printed


def test_inclusions_in_a_track_are_not_followed(place, crackmap):
    include = f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" parse="text" href="{place.canary.as_uri()}"/>'
    survey = place.survey(TRACK.format('"t.gpx"'), t__gpx=GPX.format("", include).encode())
    (survey / "a_100.png").rename(survey / "a_1704067205.png")
    code, printed = crackmap("check", survey, "--gsd", 1)
    assert code == 0, printed


def geopackage(path: Path, *statements: str) -> None:
    line = shapely.LineString([(13, 52), (13.01, 52.01)])
    gpd.GeoDataFrame({"name": ["A"]}, geometry=[line], crs=4326).to_file(path, layer="road", driver="GPKG")
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


VIEW = "CREATE VIEW v AS SELECT fid, {} AS name, geom FROM road"
ROUTES: dict[str, tuple[Callable[[Place], bytes] | tuple[str, ...] | bytes, str]] = {
    "nested deeply": (b'{"type": "FeatureCollection", "features": ' + DEEP.encode(), "not a GeoJSON file"),
    "coordinates that are no numbers": (geojson().replace(b"13.0,", b"NaN,"), "no finite coordinates"),
    "CRS from an address": (
        lambda place: geojson(crs={"type": "link", "properties": {"href": place.url}}), "the name of a CRS"),
    "CRS named like an address": (
        lambda place: geojson(crs={"type": "name", "properties": {"name": place.url}}), "the name of a CRS"),
    "CRS of a geometry, given twice": (
        lambda place: geojson(a={"CRS": {"type": "URL", "properties": {"url": place.url}}, "crs": None}), "crs: "),
    "view that reads other files": ((VIEW.format("readfile('/etc/passwd')"),), "it holds a view ('v')"),
    "view that asks the network": ((VIEW.format("ogr_geocode('x')"),), "it holds a view ('v')"),
    "view without end": ((VIEW.format(ENDLESS),), "it holds a view ('v')"),
    "table of another driver": (("PRAGMA writable_schema = ON",
        "INSERT INTO sqlite_master VALUES ('table', 'v', 'v', 0, 'CREATE VIRTUAL TABLE v USING VirtualOGR(''/etc'')')",
        "INSERT INTO gpkg_contents (table_name, data_type) VALUES ('v', 'features')", "DROP TABLE road"),
        "no layer holds"),
    "KML": (b"<kml><NetworkLink/></kml>", "got a KML file"),
    "VRT": (b"<OGRVRTDataSource><SrcDataSource>/etc/passwd</SrcDataSource></OGRVRTDataSource>", "got other XML"),
}  # fmt: skip


@pytest.mark.parametrize("case", ROUTES)
def test_routes_are_refused(place, crackmap, case):
    made, says = ROUTES[case]
    survey = place.survey(ROUTE.format('"r"'))
    if isinstance(made, tuple):
        geopackage(survey / "r.gpkg", *made)
        (survey / "r.gpkg").rename(survey / "r")
    else:
        (survey / "r").write_bytes(made(place) if callable(made) else made)
    code, printed = crackmap("check", survey, "--gsd", 1)
    assert (code, says in printed) == (4, True), printed


def labelled(place: Place, **files: object) -> Path:
    folder = place.files / "set"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture())
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def coco(name: str) -> dict[str, object]:
    return {"images": [{"id": 1, "file_name": name}], "categories": [], "annotations": []}


VOC = "{}<annotation><filename>{}</filename></annotation>"
SETS: dict[str, tuple[str, Callable[[Place], dict[str, object]], str]] = {
    "COCO name upwards": ("coco:{}/c.json", lambda place: {"c__json": coco("../../canary")}, "no picture"),
    "COCO absolute name": ("coco:{}/c.json", lambda place: {"c__json": coco(str(place.canary))}, "no picture"),
    "COCO name with a NUL": ("coco:{}/c.json", lambda place: {"c__json": coco("a.png\0.txt")}, "no picture"),
    "COCO address": ("coco:{}/c.json", lambda place: {"c__json": coco(place.url)}, "no picture"),
    "COCO nested deeply": ("coco:{}/c.json", lambda place: {"c__json": DEEP}, "not JSON"),
    "COCO run lengths of 10^12 pixels": ("coco:{}/c.json", lambda place: {"c__json": {
        "images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "crack"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1,
                         "segmentation": {"counts": [0, 10**12], "size": [10**6, 10**6]}}]}}, "run lengths of size"),
    "Labelme image upwards": (
        "labelme:{}", lambda place: {"a__json": {"shapes": [], "imagePath": "../../canary"}}, "no picture"),
    "Labelme picture inside the file": (
        "labelme:{}", lambda place: {"a__json": {"shapes": [], "imagePath": "b.png", "imageData": "A" * 10**7}},
        "no picture"),
    "VOC billion laughs": ("voc:{}", lambda place: {"a__xml": VOC.format(BOMB.replace("gpx", "annotation"), "&a11;")},
                           "EntitiesForbidden"),
    "VOC external entity": ("voc:{}", lambda place: {"a__xml": VOC.format(
        f'<!DOCTYPE annotation [<!ENTITY x SYSTEM "{place.canary.as_uri()}">]>', "&x;")}, "EntitiesForbidden"),
    "PostScript named .png": ("coco:{}/c.json", lambda place: {
        "c__json": coco("b.png"), "b__png": "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run"}, "not a read"),
}  # fmt: skip


@pytest.mark.parametrize("case", SETS)
def test_data_sets_are_refused(place, crackmap, case):
    name, files, says = SETS[case]
    folder = labelled(place, **files(place))
    code, printed = crackmap("datasets", name.format(folder))
    assert (code, says in printed) == (4, True), printed[:2000]


def test_pipes_in_a_data_set_are_left_out(place, crackmap):
    folder = labelled(place, a__json={"shapes": [], "imagePath": "a.png"})
    for name in ("b.png", "b.json"):
        os.mkfifo(folder / name)
    assert crackmap("datasets", f"labelme:{folder}")[0] == 0


CALIBRATION = """format = 1
size_wh_px = {size}
[lens]
model = "pinhole"
focal_xy_px = [{focal}, {focal}]
centre_xy_px = [80.0, 60.0]
distortion = [{bend}, 0.0, 0.0, 0.0, 0.0]
[plane]
ground_from_pixel = [[{scale}, 0.0, -0.8], [0.0, -0.01, 3.2], [0.0, 0.0, 1.0]]
[limits]
coarsest_gsd_mm = {coarse}
"""
PLAIN = {"size": "[160, 120]", "focal": "100.0", "bend": "0.0", "scale": "0.01", "coarse": "50.0"}
CALIBRATIONS: dict[str, tuple[dict[str, str], str]] = {
    "NaN": ({"scale": "nan"}, "input should be a finite number"),
    "infinity": ({"focal": "inf"}, "input should be a finite number"),
    "1e999": ({"coarse": "1e999"}, "input should be a finite number"),
    "scale of 1e308": ({"scale": "1e308"}, "homography of numbers to"),
    "scale of 1e-308": ({"scale": "1e-308"}, ""),
    "focal length of 1e-308": ({"focal": "1e-308"}, ""),
    "distortion of 1e308": ({"bend": "1e308"}, ""),
    "size of 10^18 pixels": ({"size": "[1000000000000000000, 1]"}, "front.toml: lens"),
    "size of 10^30 pixels": ({"size": "[0xfffffffffffffffffffffffff, 1]"}, "not TOML"),
    "nested deeply": ({"size": DEEP}, "nested too deeply"),
}


@pytest.mark.parametrize("case", CALIBRATIONS)
def test_absurd_calibrations_are_refused(place, crackmap, case):
    changed, says = CALIBRATIONS[case]
    content = CALIBRATION.format(**{**PLAIN, **changed})
    survey = place.survey(LENS.format('"front.toml"'), front__toml=content.encode())
    code, printed = crackmap("check", survey)
    assert (code, says in printed) == (4, True), printed
    shown = crackmap("calibrate", "check", survey / "front.toml", survey / "a_100.png", "-o", place.out)
    assert shown[0] == 4, shown[1]


def test_notes_in_a_calibration_come_back_as_text(tmp_path):
    made = {"command": 'x\udcff\U000e0001\x1b\n"\\ = 1'}
    write_calibration(tmp_path / "c.toml", Calibration((16, 16), made=made))
    assert read_calibration(tmp_path / "c.toml").made == {"command": 'x\\udcff\U000e0001\x1b\n"\\ = 1'}


POINTS = {
    "NaN": ("nan,1,2,3\n" * 6, "expected four numbers"),
    "1e999": ("1e999,1,2,3\n" * 6, "expected four numbers"),
    "formula": ("=1+1,1,2,3\n", "expected four numbers"),
    "cell of 1 MB": ("9" * 10**6, "not a table"),
}


@pytest.mark.parametrize("case", POINTS)
def test_points_that_are_no_numbers_are_refused(place, crackmap, case):
    rows, says = POINTS[case]
    survey = place.survey(p__csv=f"x_px,y_px,x_m,y_m\n{rows}".encode())
    code, printed = crackmap("calibrate", "plane", "--points", survey / "p.csv", "--frame", survey / "a_100.png", "-o",
                             place.out / "front.toml")  # fmt: skip
    assert (code, says in printed) == (4, True), printed[:2000]


def test_a_truth_nested_deeply_is_refused(place, crackmap):
    place.files.joinpath("truth.json").write_text(DEEP)
    code, printed = crackmap("evaluate", "survey", place.files, place.files)
    assert (code, "not the truth of a synthetic survey" in printed) == (4, True), printed
