"""Route files: what is read, how pieces become one line, what is refused."""

import json
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
from pyproj import Geod

from crackmap.calibration.errors import InputError
from crackmap.calibration.route import CalibrationPoint, read_route

EAST, NORTH = 500_000.0, 5_000_000.0
DRIVERS = {".gpkg": "GPKG", ".shp": "ESRI Shapefile"}


def moved(xy):
    return [(EAST + x, NORTH + y, *rest) for x, y, *rest in xy]


def write(path, lines, *, crs="EPSG:32632", layer=None, append=False, kind="Unknown", **columns):
    """A GeoPackage or Shapefile of WKB, which keeps measures."""
    wkb = np.array([shapely.to_wkb(line, output_dimension=4, flavor="iso") for line in lines], object)
    pyogrio.raw.write(
        path, wkb, [np.array(values) for values in columns.values()], list(columns), crs=crs,
        geometry_type=kind, driver=DRIVERS[path.suffix], layer=layer, append=append,
    )  # fmt: skip
    return path


def geojson(path, *geometries, properties=None, **members):
    features = [
        {"type": "Feature", "properties": (properties or [{}] * len(geometries))[i], "geometry": geometry}
        for i, geometry in enumerate(geometries)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features, **members}), encoding="utf-8")
    return path


def line(*xy):
    return shapely.LineString(moved(xy))


def degrees(*lonlat):
    return {"type": "LineString", "coordinates": [list(point) for point in lonlat]}


@pytest.mark.parametrize("suffix", [".gpkg", ".shp"])
def test_a_line_is_read_in_its_utm_zone_with_chainage_on_the_ground(tmp_path, suffix):
    route = read_route(write(tmp_path / f"road{suffix}", [line((0, 0), (0, 999.6))], name=["A 1"]), start_m=100.0)
    assert route.extent_m == pytest.approx((100.0, 1100.0), abs=1e-3)
    assert np.allclose(route.xy_m, [[EAST, NORTH], [EAST, NORTH + 999.6]])
    assert "UTM zone 32N" in route.crs_wkt
    assert route.name == "road"


def test_geojson_is_longitude_first_and_heights_are_left_out(tmp_path):
    path = geojson(tmp_path / "road.geojson", degrees((9.0, 45.0, 200.0), (9.1, 45.0, 300.0), (9.1, 45.1, 9.0)))
    route = read_route(path)
    assert route.extent_m[1] == pytest.approx(
        Geod(ellps="WGS84").line_length([9.0, 9.1, 9.1], [45.0, 45.0, 45.1]), abs=1e-4
    )
    assert read_route(path, crs="EPSG:25832").xy_m == pytest.approx(route.xy_m, abs=1e-3)
    backwards = read_route(path, reverse=True)
    assert np.allclose(backwards.xy_m, route.xy_m[::-1])
    assert backwards.extent_m == pytest.approx(route.extent_m)


@pytest.mark.parametrize(
    ("lonlat", "zone"),
    [
        ([(5.9, 45.0), (6.05, 45.0), (6.2, 45.0)], "UTM zone 32N"),
        ([(179.9, -17.0), (-179.99, -17.0), (-179.8, -17.0)], "UTM zone 1S"),
        ([(15.0, 84.0), (15.1, 84.02), (15.2, 84.04)], "UPS North"),
    ],
    ids=["zone edge", "antimeridian", "84 degrees north"],
)
def test_zone_edges_and_the_antimeridian_are_no_break(tmp_path, lonlat, zone):
    route = read_route(geojson(tmp_path / "road.geojson", degrees(*lonlat)))
    assert zone in route.crs_wkt
    assert route.extent_m[1] == pytest.approx(Geod(ellps="WGS84").line_length(*np.transpose(lonlat)), abs=1e-4)


def test_a_line_cut_at_180_degrees_is_one_line(tmp_path):
    parts = {
        "type": "MultiLineString",
        "coordinates": [[[179.9, 10.0], [180.0, 10.0]], [[-180.0, 10.0], [-179.9, 10.0]]],
    }
    route = read_route(geojson(tmp_path / "road.geojson", parts))
    assert len(route.xy_m) == 3
    assert route.extent_m[1] == pytest.approx(Geod(ellps="WGS84").line_length([-0.1, 0.0, 0.1], [10.0] * 3), abs=1e-4)


@pytest.mark.parametrize("suffix", [".gpkg", ".shp"])
@pytest.mark.parametrize("z", ["M", "ZM"])
def test_measures_are_the_chainage(tmp_path, suffix, z):
    height = "7 " if z == "ZM" else ""
    vertices = [(0, 500.0), (60, 561.0), (100, 600.0)]
    wkt = ", ".join(f"{EAST + x} {NORTH} {height}{m}" for x, m in vertices)
    path = write(tmp_path / f"road{suffix}", [shapely.from_wkt(f"LINESTRING {z} ({wkt})")], name=["a"])
    route = read_route(path)
    assert route.chainage_m.tolist() == [500.0, 561.0, 600.0]
    with pytest.raises(InputError, match="start_m"):
        read_route(path, start_m=5.0)
    with pytest.raises(InputError, match="reverse"):
        read_route(path, reverse=True)


def measured(values, step=100.0):
    return shapely.from_wkt(
        "LINESTRING M (" + ", ".join(f"{EAST + step * i} {NORTH} {m}" for i, m in enumerate(values)) + ")"
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 100, 90), "neither rise nor fall"),
        ((0, 0.1, 0.2), "they are kilometres: multiply them by 1000"),
        ((0, 50, 100), "correct or remove them"),
    ],
)
def test_measures_that_cannot_be_chainage_are_refused(tmp_path, values, message):
    with pytest.raises(InputError, match=message):
        read_route(write(tmp_path / "road.gpkg", [measured(values)], name=["a"]))


def test_measures_that_are_all_the_same_are_none_and_falling_ones_turn_the_route(tmp_path):
    assert read_route(write(tmp_path / "a.gpkg", [measured((0, 0, 0))], name=["a"])).extent_m[1] > 200.0
    route = read_route(write(tmp_path / "b.gpkg", [measured((300, 200, 100))], name=["a"]))
    assert route.chainage_m.tolist() == [300.0, 200.0, 100.0]
    assert route.azimuth_at(150.0) == pytest.approx([270.0])


def test_attributes_with_the_chainage_of_both_ends_are_used(tmp_path):
    lines = [line((100, 0), (200, 0)), line((0, 0), (40, 0), (100, 0))]
    path = write(
        tmp_path / "road.gpkg", lines, from_m=[1100.0, 1000.0], to_m=[1201.0, 1100.0], a=[1.0, 0.0], b=[2.0, 1.0]
    )
    assert read_route(path).chainage_m == pytest.approx([1000.0, 1040.0, 1100.0, 1201.0])
    with pytest.raises(InputError, match=r"kilometres|correct"):
        read_route(path, chainage_columns=("a", "b"))
    with pytest.raises(InputError, match="chainage_columns"):
        read_route(path, chainage_columns=("a", "nope"))


def test_measures_of_the_line_go_before_attributes_that_nobody_asked_for(tmp_path):
    path = write(tmp_path / "road.gpkg", [measured((500, 600, 700))], from_m=[0.0], to_m=[200.0])
    assert read_route(path).extent_m == (500.0, 700.0)
    assert read_route(path, chainage_columns=("from_m", "to_m")).extent_m == (0.0, 200.0)


def test_a_feature_without_a_number_in_its_chainage_columns_is_named(tmp_path):
    lines = [line((0, 0), (100, 0)), line((100, 0), (200, 0))]
    path = write(tmp_path / "road.gpkg", lines, from_m=[0.0, np.nan], to_m=[100.0, 200.0])
    with pytest.raises(InputError, match="feature 2 has no number in from_m or to_m"):
        read_route(path)


def test_a_jump_of_chainage_between_pieces_is_named(tmp_path):
    lines = [line((0, 0), (100, 0)), line((100, 0), (200, 0))]
    path = write(tmp_path / "road.gpkg", lines, from_m=[0.0, 155.0], to_m=[100.0, 255.0])
    with pytest.raises(InputError, match=r"jumps from 100\.000 to 155\.000 where feature 1 and feature 2 meet"):
        read_route(path)


def test_pieces_in_any_order_and_direction_become_one_line(tmp_path):
    lines = [
        line((300, 0), (200.3, 0)),
        line((0, 0), (100, 0)),
        line((100, 0), (150, 20), (200, 0)),
        line((300, 0), (450, 0)),
    ]
    route = read_route(write(tmp_path / "road.gpkg", lines, name=["a"] * 4))
    x = route.xy_m[:, 0] - EAST
    assert np.allclose(x, [0.0, 100.0, 150.0, 200.0, 200.3, 300.0, 450.0])


def test_most_of_the_length_says_which_way_the_line_was_drawn(tmp_path):
    lines = [line((0, 0), (100, 0)), line((400, 0), (100, 0))]
    route = read_route(write(tmp_path / "road.gpkg", lines, name=["a", "b"]))
    assert np.allclose(route.xy_m[:, 0] - EAST, [400.0, 100.0, 0.0])


def test_a_ring_of_pieces_is_a_line_that_ends_where_it_begins(tmp_path):
    lines = [line((0, 0), (100, 0)), line((100, 100), (100, 0)), line((100, 100), (0, 100), (0, 0))]
    route = read_route(write(tmp_path / "road.gpkg", lines, name=["a", "b", "c"]))
    assert np.allclose(route.xy_m[0], route.xy_m[-1])
    assert route.cells.closed


def test_pieces_that_are_no_single_line_are_named_with_their_distance(tmp_path):
    apart = [line((0, 0), (100, 0)), line((103, 4), (200, 0))]
    with pytest.raises(InputError, match=r"got 2 pieces.*feature 1, 100\.0 m.*feature 2.* it is 5\.0 m\. Choose one"):
        read_route(write(tmp_path / "apart.gpkg", apart, name=["a", "b"]))
    branch = [line((0, 0), (100, 0)), line((100, 0), (200, 0)), line((100, 0), (100, 80))]
    with pytest.raises(InputError, match=r"got 3 pieces.*Three or more ends meet at \(500100\.0, 5000000\.0\)"):
        read_route(write(tmp_path / "branch.gpkg", branch, name=["a", "b", "c"]))


def test_a_name_or_an_attribute_chooses_one_of_several_lines(tmp_path):
    lines = [line((0, 0), (100, 0)), line((0, 50), (200, 50)), line((200, 50), (300, 50))]
    path = write(tmp_path / "road.gpkg", lines, Name=["A 1", "B 2", "B 2"], number=[1, 2, 2])
    route = read_route(path, name="B 2")
    assert (route.name, len(route.xy_m)) == ("B 2", 3)
    assert len(read_route(path, where={"number": 1}).xy_m) == 2
    with pytest.raises(InputError, match="no feature is named 'C'; it has A 1, B 2"):
        read_route(path, name="C")
    with pytest.raises(InputError, match="no feature has number = 9"):
        read_route(path, where={"number": 9})
    with pytest.raises(InputError, match="where: expected one of"):
        read_route(path, where={"size": 9})


def test_the_only_layer_with_lines_is_taken_others_must_be_named(tmp_path):
    path = write(tmp_path / "road.gpkg", [line((0, 0), (100, 0))], layer="one", kind="LineString", name=["a"])
    write(path, [shapely.Point(EAST, NORTH)], layer="signs", kind="Point", append=True, name=["a"])
    assert len(read_route(path).xy_m) == 2
    with pytest.raises(InputError, match="expected lines, feature 1 is a Point"):
        read_route(path, layer="signs")
    write(path, [line((0, 9), (100, 9))], layer="two", kind="LineString", append=True, name=["a"])
    with pytest.raises(InputError, match=r"name one with layer; it has one \(LineString\), signs \(Point\), two"):
        read_route(path)
    assert len(read_route(path, layer="two").xy_m) == 2
    with pytest.raises(InputError, match="layer: expected one of"):
        read_route(path, layer="three")


def test_calibration_points_take_the_place_of_the_files_chainage(tmp_path):
    path = write(tmp_path / "road.gpkg", [measured((500, 600, 700))], name=["a"])
    points = [CalibrationPoint(1000.0, along_m=0.0), CalibrationPoint(1202.0, along_m=200.0)]
    assert read_route(path, calibration_points=points).chainage_m[0] == pytest.approx(1000.0)
    for options in ({"start_m": 5.0}, {"reverse": True}):
        with pytest.raises(InputError, match="beside calibration points"):
            read_route(path, calibration_points=points, **options)


GPX = '<?xml version="1.0"?><gpx version="1.1"><trk><trkseg><trkpt lat="1" lon="2"/></trkseg></trk></gpx>'
VRT = '<OGRVRTDataSource><OGRVRTLayer name="a"><SrcDataSource>b.gpkg</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>'


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("road.gpx", GPX, "got a GPX file; convert it"),
        ("road.geojson", GPX, "got a GPX file"),
        ("road.csv", "time_s,lat,lon\n1,2,3\n", "got a table or log; convert it"),
        ("road.geojson", VRT, "got other XML"),
        ("road.shp", VRT, "got other XML"),
        ("road.gpkg", "", "got an empty file"),
        ("road.gpkg", "nothing", "got something else"),
        ("road.geojson", '{"type": "Topology"}', "JSON of type 'Topology'"),
        ("road.geojson", '{"type": "FeatureCollection", "fea', "cannot|not a GeoJSON"),
        ("road.geojson", "[" * 9, "got something else"),
        ("road.geojson", '{"a":' * 100_000, "not a GeoJSON file"),
    ],
)
def test_other_files_are_refused_with_a_hint(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_route(path)


def test_files_that_hold_no_usable_line_say_why(tmp_path):
    cases = {
        "empty": ([], "the layer is empty"),
        "null": ([None], "feature 1 has no geometry"),
        "point": ([{"type": "Point", "coordinates": [9, 45]}], "no layer holds lines|is a Point"),
        "swapped": ([degrees((-17.0, 145.0), (-17.1, 145.1))], "latitude and longitude were swapped"),
        "metres": ([degrees((500000, 5000000), (500100, 5000000))], "its coordinates are not"),
        "spot": ([degrees((9, 45), (9, 45))], "feature 1 has no length"),
        "long": ([degrees((0, 45), (60, 45))], "differ from metres on the ground"),
    }
    for name, (geometries, message) in cases.items():
        with pytest.raises(InputError, match=message):
            read_route(geojson(tmp_path / f"{name}.geojson", *geometries))
    (tmp_path / "nan.geojson").write_text('{"type":"LineString","coordinates":[[9,45],[NaN,45],[9,46]]}')
    with pytest.raises(InputError, match="no finite coordinates at vertex 2"):
        read_route(tmp_path / "nan.geojson")
    with pytest.raises(InputError, match="check the path"):
        read_route(Path("/nowhere.gpkg"))


def test_a_file_without_crs_or_with_a_missing_part_is_refused(tmp_path):
    path = write(tmp_path / "road.shp", [line((0, 0), (100, 0))], name=["a"], kind="LineString")
    path.with_suffix(".prj").unlink()
    with pytest.raises(InputError, match=r"does not say its CRS \(a Shapefile needs its \.prj\)"):
        read_route(path)
    path.with_suffix(".shx").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        read_route(path)


def test_a_damaged_geopackage_is_refused(tmp_path):
    path = write(tmp_path / "road.gpkg", [line((0, 0), (100, 0))], name=["a"])
    path.write_bytes(path.read_bytes()[:40_000])
    with pytest.raises(InputError, match="cannot be read"):
        read_route(path)


@pytest.mark.parametrize("name", ["a!b.geojson", "zip:x #?%20.geojson", '-q"=.geojson', "two\nlines.geojson"])
def test_odd_file_names_work(tmp_path, name):
    assert len(read_route(geojson(tmp_path / name, degrees((9, 45), (9.1, 45)))).xy_m) == 2
