"""Routes: place to chainage and offset and back, drives, calibration points."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod, Transformer

from crackmap.calibration.errors import InputError
from crackmap.calibration.route import (
    CalibrationPoint,
    Located,
    calibrated,
    lane_at,
    leaves,
    make_route,
    read_calibration_points,
    travel_direction,
)

ORIGIN = np.array([500_000.0, 5_000_000.0])
UTM = "EPSG:32632"
SCALE = 0.9996
"""Grid metres per metre on the ground on the middle meridian of a UTM zone."""


def route_of(xy, **options):
    return make_route(np.asarray(xy, float) + ORIGIN, UTM, **options)


def arc(radius_m=100.0, step_m=0.5, turn=1.0):
    """A half circle; `turn` 1 to the left, -1 to the right, and the place at an angle and a right-hand offset."""
    angle = np.linspace(0.0, np.pi, round(np.pi * radius_m / step_m) + 1)

    def place(angle_rad, offset_m):
        reach = radius_m + turn * np.asarray(offset_m)
        return np.column_stack([turn * reach * np.cos(angle_rad), reach * np.sin(angle_rad)])

    return place(angle, 0.0), place


def hairpin(leg_m=300.0, gap_m=8.0):
    x, angle = np.arange(0.0, leg_m + 0.5), np.linspace(-np.pi / 2, np.pi / 2, 13)[1:-1]
    bend = np.column_stack([leg_m + gap_m / 2 * np.cos(angle), gap_m / 2 * (1 + np.sin(angle))])
    return np.concatenate([np.column_stack([x, 0 * x]), bend, np.column_stack([x[::-1], 0 * x + gap_m])])


def figure_of_eight():
    t = np.linspace(0.04, 2 * np.pi - 0.04, 800)
    return np.column_stack([200 * np.sin(t), 100 * np.sin(2 * t)])


@pytest.mark.parametrize("azimuth_deg", [0.0, 30.0, 135.0, 270.0])
def test_on_a_straight_line_chainage_and_offset_are_exact(azimuth_deg):
    angle = np.deg2rad(azimuth_deg)
    ahead, right = np.array([np.sin(angle), np.cos(angle)]), np.array([np.cos(angle), -np.sin(angle)])
    vertices = np.outer([0.0, 7.0, 50.0, 400.0], ahead)
    route = route_of(vertices, chainage_m=[1000.0, 1007.0, 1050.0, 1400.0])
    along, offset = np.array([0.0, 3.0, 7.0, 123.4, 400.0]), np.array([0.0, 5.0, -3.5, 20.0, 1.0])
    found = route.locate(np.outer(along, ahead) + np.outer(offset, right) + ORIGIN)
    assert np.allclose(found.chainage_m, 1000.0 + along, atol=1e-6)
    assert np.allclose(found.offset_m, offset, atol=1e-6)
    assert np.allclose(found.distance_m, np.abs(offset), atol=1e-6)
    assert not found.beyond.any()
    assert np.allclose((route.azimuth_at(1000.0 + along) - azimuth_deg + 180) % 360 - 180, 0.0, atol=1e-5)


@pytest.mark.parametrize("turn", [1.0, -1.0])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_on_an_arc_the_closed_form_is_met_within_a_millimetre(turn, transposed, reverse):
    radius, offset = 100.0, np.linspace(-15.0, 15.0, 2000)
    angle = np.linspace(0.01, np.pi - 0.01, 2000)
    vertices, place = arc(radius, turn=turn)
    xy = place(angle, offset)
    chainage = radius * angle
    if transposed:
        vertices, xy, offset = vertices[:, ::-1], xy[:, ::-1], -offset
    if reverse:
        offset, chainage = -offset, radius * np.pi - chainage
    route = route_of(vertices, reverse=reverse)
    found = route.locate(xy + ORIGIN)
    assert np.abs(found.chainage_m * SCALE - chainage).max() < 1e-3 + 1e-6 * radius * np.pi
    assert np.abs(found.offset_m - offset).max() < 1e-3
    assert not found.beyond.any()


@pytest.mark.parametrize("turn", [1.0, -1.0])
def test_the_direction_on_an_arc_is_its_tangent(turn):
    vertices, _ = arc(turn=turn)
    route = route_of(vertices)
    angle = np.linspace(0.06, np.pi - 0.06, 500)
    expected = -np.rad2deg(angle) * turn
    found = route.azimuth_at(100.0 * angle / SCALE)
    assert np.abs((found - expected + 180) % 360 - 180).max() < 0.01


@settings(max_examples=150)
@given(
    turns=st.lists(st.floats(-0.6, 0.6), min_size=1, max_size=12),
    steps=st.lists(st.floats(20.0, 200.0), min_size=13, max_size=13),
    shares=st.lists(st.floats(0.0, 1.0), min_size=20, max_size=20),
    offset=st.floats(-6.0, 6.0),
    start=st.floats(-1e5, 1e5),
    falling=st.booleans(),
)
def test_point_and_locate_are_inverse_to_each_other(turns, steps, shares, offset, start, falling):
    # Turns that add up to less than 90 degrees: such a line cannot come near itself.
    heading = np.cumsum([0.0, *turns])
    heading *= 0.7 / max(0.7, np.ptp(heading))
    lengths = np.array(steps[: len(heading)])
    steps_xy = lengths[:, None] * np.column_stack([np.cos(heading), np.sin(heading)])
    vertices = np.concatenate([[[0.0, 0.0]], np.cumsum(steps_xy, axis=0)])
    rise = np.concatenate([[0.0], np.cumsum(lengths)]) * (-1 if falling else 1)
    route = route_of(vertices, chainage_m=start + rise)
    low, high = route.extent_m
    chainage = low + np.array(shares) * (high - low)
    found = route.locate(route.point_at(chainage, offset))
    assert np.allclose(found.chainage_m, chainage, atol=1e-6)
    assert np.allclose(found.offset_m, offset, atol=1e-6)


def test_right_of_rising_chainage_is_positive_also_where_chainage_falls_along_the_line():
    line = [[0.0, 0.0], [0.0, 100.0]]
    east = ORIGIN + [3.0, 50.0]
    assert route_of(line).locate(east).offset_m == pytest.approx([3.0])
    assert route_of(line, chainage_m=[100.0, 0.0]).locate(east).offset_m == pytest.approx([-3.0])
    assert route_of(line, chainage_m=[100.0, 0.0]).azimuth_at(50.0) == pytest.approx([180.0])


def test_a_vehicle_is_placed_in_both_directions_of_travel():
    route = route_of([[0.0, 0.0], [0.0, 100.0]], chainage_m=[0.0, 100.0])
    xy, azimuth = route.frame_at([40.0], 2.0)
    assert np.allclose(xy - ORIGIN, [[2.0, 40.0]])
    assert azimuth == pytest.approx([0.0], abs=1e-6)
    xy, azimuth = route.frame_at([40.0], 2.0, direction=-1)
    assert np.allclose(xy - ORIGIN, [[2.0, 40.0]])
    assert azimuth == pytest.approx([180.0])


def test_passing_a_corner_at_an_offset_chainage_never_jumps_or_stands():
    route = route_of([[0.0, 0.0], [100.0, 0.0], [100.0, 100.0]], chainage_m=[0.0, 100.0, 200.0])
    for offset in (-4.0, 4.0):
        chainage = np.linspace(80.0, 120.0, 401)
        found = route.locate(route.point_at(chainage, offset)).chainage_m
        assert np.allclose(np.diff(found), 0.1, atol=1e-6)


def test_points_beyond_the_ends_are_flagged_and_go_straight_on():
    route = route_of([[0.0, 0.0], [0.0, 100.0]], chainage_m=[0.0, 100.0])
    found = route.locate(np.array([[3.0, -4.0], [0.0, 0.0], [0.0, 100.0], [-3.0, 104.0], [np.nan, 0.0]]) + ORIGIN)
    assert found.beyond.tolist() == [True, False, False, True, False]
    assert np.allclose(found.chainage_m, [-4.0, 0.0, 100.0, 104.0, np.nan], equal_nan=True)
    assert np.allclose(found.offset_m, [3.0, 0.0, 0.0, -3.0, np.nan], equal_nan=True)
    assert np.allclose(found.distance_m, [5.0, 0.0, 0.0, 5.0, np.nan], equal_nan=True)
    assert np.allclose(route.point_at(-4.0, 3.0) - ORIGIN, [[3.0, -4.0]])


def test_nothing_lies_beyond_the_ends_of_a_ring():
    angle = np.linspace(0.0, 2 * np.pi, 361)
    ring = 50.0 * np.column_stack([np.cos(angle), np.sin(angle)])
    ring[-1] = ring[0]
    found = route_of(ring).locate(ORIGIN + [[52.0, 0.01], [52.0, -0.01], [48.0, 0.0]])
    assert not found.beyond.any()
    assert np.allclose(found.offset_m, [2.0, 2.0, -2.0], atol=0.01)


@pytest.mark.parametrize(
    ("lon", "lat", "epsg"),
    [((5.9, 6.1), (45.0, 45.1), 32631), ((179.9, 180.1), (-17.0, -17.1), 32760), ((20.0, 21.0), (83.95, 84.05), 32633)],
    ids=["zone edge", "antimeridian", "84 degrees north"],
)
def test_chainage_is_the_length_on_the_ellipsoid(lon, lat, epsg):
    lons, lats = np.linspace(*lon, 200), np.linspace(*lat, 200)
    lons = (lons + 180.0) % 360.0 - 180.0
    xy = np.column_stack(Transformer.from_crs("EPSG:4326", epsg, always_xy=True).transform(lons, lats))
    route = make_route(xy, f"EPSG:{epsg}", start_m=500.0)
    length = Geod(ellps="WGS84").line_length(lons, lats)
    assert route.extent_m == pytest.approx((500.0, 500.0 + length), abs=1e-5)
    middle = route.locate(route.point_at(500.0 + length / 2, 3.0))
    assert middle.chainage_m == pytest.approx([500.0 + length / 2], abs=1e-5)


def test_a_crs_that_does_not_measure_the_road_is_refused():
    xy = np.array([[0.0, 8_000_000.0], [1000.0, 8_000_000.0]])
    with pytest.raises(InputError, match=r"Pseudo-Mercator differ from metres on the ground by 4\d"):
        make_route(xy, "EPSG:3857")
    with pytest.raises(InputError, match="projected CRS in metres"):
        make_route([[9.0, 45.0], [9.1, 45.0]], "EPSG:4326")
    with pytest.raises(InputError, match="not known"):
        make_route(xy, "EPSG:999999")


def test_lines_that_are_none_are_refused():
    with pytest.raises(InputError, match="3 vertices on one spot"):
        route_of([[1.0, 1.0]] * 3)
    with pytest.raises(InputError, match="vertex 1 has no finite"):
        route_of([[1.0, 1.0], [np.nan, 2.0]])
    with pytest.raises(InputError, match=r"5\.000 is followed by 5\.000"):
        route_of([[0.0, 0.0], [0.0, 5.0], [0.0, 9.0]], chainage_m=[0.0, 5.0, 5.0])
    with pytest.raises(InputError, match="reverse"):
        route_of([[0.0, 0.0], [0.0, 5.0]], chainage_m=[0.0, 5.0], reverse=True)
    with pytest.raises(InputError, match=r"shape \(N, 2\)"):
        route_of([[0.0, 0.0], [0.0, 5.0]]).locate([[1.0, 2.0, 3.0]])


def test_repeated_vertices_change_nothing():
    plain = route_of([[0.0, 0.0], [0.0, 50.0], [30.0, 90.0]])
    doubled = route_of([[0.0, 0.0], [0.0, 0.0], [0.0, 50.0], [0.0, 50.0001], [30.0, 90.0]])
    assert np.allclose(plain.chainage_m, doubled.chainage_m)
    assert np.allclose(plain.xy_m, doubled.xy_m)


@pytest.mark.parametrize("spacing_m", [2.0, 10.0])
@pytest.mark.parametrize("odometer", [False, True])
@pytest.mark.parametrize("line", [hairpin(), figure_of_eight()], ids=["hairpin", "figure of eight"])
def test_a_drive_does_not_jump_where_the_line_comes_near_itself(line, odometer, spacing_m):
    route = route_of(line)
    chainage = np.arange(5.0, route.extent_m[1] - 5.0, spacing_m)
    for seed in range(5):
        noise = np.random.default_rng(seed).normal(0.0, 3.0, (len(chainage), 2))
        xy = route.point_at(chainage) + noise
        found = route.follow(xy, travelled_m=chainage if odometer else None)
        # Five sigma of the noise along the line; the legs of the hairpin are up to 600 m of chainage apart.
        assert np.abs(found.chainage_m - chainage).max() < 15.0
        back = route.follow(xy[::-1])
        assert np.abs(back.chainage_m[::-1] - chainage).max() < 15.0
        assert travel_direction(found.chainage_m).direction == 1
        assert travel_direction(back.chainage_m).direction == -1


def test_the_nearest_place_alone_would_jump_on_the_hairpin():
    route = route_of(hairpin())
    chainage = np.arange(5.0, route.extent_m[1] - 5.0, 5.0)
    xy = route.point_at(chainage) + np.random.default_rng(1).normal(0.0, 3.0, (len(chainage), 2))
    assert np.abs(route.locate(xy).chainage_m - chainage).max() > 100.0
    assert np.abs(route.locate(xy, near_chainage_m=chainage + 10.0).chainage_m - chainage).max() < 20.0


def test_positions_without_a_place_are_passed_over_when_following():
    route = route_of(hairpin())
    chainage = np.arange(5.0, 600.0, 5.0)
    xy = route.point_at(chainage)
    xy[[0, 40, 41]] = np.nan
    found = route.follow(xy)
    assert np.flatnonzero(np.isnan(found.chainage_m)).tolist() == [0, 40, 41]
    known = np.isfinite(found.chainage_m)
    assert np.allclose(found.chainage_m[known], chainage[known], atol=1e-6)
    assert len(route.follow(np.empty((0, 2)))) == 0
    assert np.isnan(route.follow([[np.nan, np.nan]]).distance_m).all()


def test_a_vehicle_that_leaves_and_returns_elsewhere_is_followed_there():
    route = route_of([[0.0, 0.0], [2000.0, 0.0]], chainage_m=[0.0, 2000.0])
    x = np.concatenate([np.arange(0.0, 500.0, 10.0), np.full(60, 500.0), np.arange(500.0, 1500.0, 50.0)])
    y = np.concatenate([np.zeros(50), np.arange(0.0, 600.0, 10.0), np.full(20, 600.0)])
    after = np.column_stack([np.arange(1500.0, 1900.0, 10.0), np.zeros(40)])
    found = route.follow(np.concatenate([np.column_stack([x, y]), after]) + ORIGIN)
    assert np.allclose(found.chainage_m[-40:], np.arange(1500.0, 1900.0, 10.0), atol=1e-6)
    (away,) = leaves(found)
    assert (away.first, away.last, away.spike) == (53, 129, False)
    assert "off the route from chainage 500 m on: up to 600 m to its left, where 25 m are allowed" in away.reason


def located(distance, beyond=None):
    distance = np.asarray(distance, float)
    flags = np.zeros(len(distance), bool) if beyond is None else np.asarray(beyond)
    return Located(np.arange(len(distance)) * 10.0, distance, np.abs(distance), flags)


def test_single_positions_off_the_route_are_spikes_and_longer_ones_stretches():
    found = leaves(located([30, 0, 0, 60, 0, 40, np.nan, 40, 0, 0, -30]))
    assert [(leave.first, leave.last, leave.spike) for leave in found] == [
        (0, 0, False), (3, 3, True), (5, 7, False), (10, 10, False)
    ]  # fmt: skip
    assert "bad fix" in found[1].reason
    assert "to its left" in found[3].reason
    assert leaves(located([1, 2, 3])) == ()


def test_beyond_an_end_is_off_the_route():
    (leave,) = leaves(located([1, 1, 5, 9], [False, False, True, True]))
    assert (leave.first, leave.last) == (2, 3)
    assert leave.reason == "beyond the end of the route, up to 9 m from it (2 positions)"


def test_the_direction_of_travel_sees_turns_but_not_noise():
    rng = np.random.default_rng(3)
    up = np.arange(0.0, 500.0, 5.0)
    assert travel_direction(up + rng.normal(0, 3, len(up))) == travel_direction(up)
    assert travel_direction(up).direction == 1
    assert travel_direction(up[::-1]).direction == -1
    both = travel_direction(np.concatenate([up, up[::-1], [np.nan], up]))
    assert both.direction == 0
    assert both.turns == (99, 199)
    assert travel_direction([5.0, 6.0, 4.0]).direction == 0
    assert travel_direction([]).turns == ()


def test_lanes_are_counted_outwards_and_know_their_direction():
    lane, direction = lane_at([0.5, 3.6, -0.1, -8.0, np.nan], lane_width_m=3.5)
    assert lane.tolist() == [1, 2, -1, -3, 0]
    assert direction.tolist() == [1, 1, -1, -1, 0]
    assert lane_at(1.0, traffic="left")[1].tolist() == [-1]


LINE = np.array([[0.0, 0.0], [0.0, 500.0], [0.0, 2000.0]])


def posts(*pairs):
    return [CalibrationPoint(chainage, along_m=along, name=f"post {chainage:g}") for chainage, along in pairs]


def test_chainage_is_linear_between_calibration_points_and_goes_on_with_the_neighbours_scale():
    route = calibrated(route_of(LINE), posts((1010.0, 1000.0), (100.0, 110.0), (1505.0, 1500.0)))
    at = np.array([0.0, 110.0, 555.0, 1000.0, 1250.0, 1500.0, 1600.0])
    found = route.locate(np.column_stack([0 * at, at * SCALE]) + ORIGIN).chainage_m
    slope = 910.0 / 890.0
    expected = [100.0 - 110.0 * slope, 100.0, 555.0, 1010.0, 1257.5, 1505.0, 1505.0 + 100.0 * 0.99]
    assert np.allclose(found, expected, atol=0.002)


def test_posts_beside_the_line_count_where_they_stand_and_may_fall():
    points = [
        CalibrationPoint(500.0, xy_m=(500_010.0, 5_000_000.0 + 1500.0 * SCALE)),
        CalibrationPoint(1000.0, xy_m=(499_990.0, 5_000_000.0 + 1000.0 * SCALE)),
    ]
    route = calibrated(route_of(LINE), points)
    assert route.chainage_m[0] == pytest.approx(2000.0, abs=0.01)
    assert (np.diff(route.chainage_m) < 0).all()
    # Driving north is against rising chainage there: the east lies on its left.
    assert route.locate(ORIGIN + [3.0, 1000.0]).offset_m == pytest.approx([-3.0])


def test_one_calibration_point_moves_the_chainage():
    lon, lat = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(500_000.0, 5_000_000.0 + 1000 * SCALE)
    route = calibrated(route_of(LINE), [CalibrationPoint(12_000.0, lonlat_deg=(lon, lat))])
    assert route.extent_m == pytest.approx((11_000.0, 11_000.0 + route_of(LINE).extent_m[1]), abs=0.002)


def test_calibration_points_that_do_not_fit_are_named():
    line = route_of(LINE)
    with pytest.raises(InputError, match=r"at chainage 7 m: 80\.0 m from the line"):
        calibrated(line, [CalibrationPoint(7.0, xy_m=(500_080.0, 5_000_300.0))])
    with pytest.raises(InputError, match="post 200 and calibration point post 300 are out of order"):
        calibrated(line, posts((100, 100), (200, 200), (300, 150), (400, 400)))
    with pytest.raises(InputError, match=r"post 900: 500\.0 m of chainage since .* post 400, but 600\.0 m of line"):
        calibrated(line, posts((100, 100), (400, 400), (900, 1000)))
    with pytest.raises(InputError, match="one chainage"):
        calibrated(line, posts((100, 100), (100, 200)))
    with pytest.raises(InputError, match=r"9000\.0 m along the line, which is 2000\.8 m long"):
        calibrated(line, posts((100, 9000.0)))
    with pytest.raises(InputError, match="one of lonlat_deg, xy_m and along_m"):
        CalibrationPoint(5.0)
    with pytest.raises(InputError, match="swapped"):
        CalibrationPoint(5.0, lonlat_deg=(45.0, 120.0))


def table(tmp_path, text):
    path = tmp_path / "posts.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_calibration_points_are_read_with_decimal_commas_and_as_degrees(tmp_path):
    points = read_calibration_points(table(tmp_path, "name;chainage_m;distance_m\nkm 1;1000,5;990,25\n;2000;1990\n"))
    assert points == (
        CalibrationPoint(1000.5, along_m=990.25, name="km 1"), CalibrationPoint(2000.0, along_m=1990.0)
    )  # fmt: skip
    points = read_calibration_points(table(tmp_path, "chainage,lat,lon\n5,45.5,9.25\n"))
    assert points == (CalibrationPoint(5.0, lonlat_deg=(9.25, 45.5)),)
    points = read_calibration_points(table(tmp_path, "chainage_m,X,Y\n5,1,2\n"))
    assert points == (CalibrationPoint(5.0, xy_m=(1.0, 2.0)),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("km,lat,lon\n1,2,3\n", "no column chainage_m; it has km, lat, lon"),
        ("chainage_m,lat\n1,2\n", "expected columns lat and lon, x and y, or distance_m"),
        ("chainage_m,distance_m\n", "one or more rows"),
        ("chainage_m,distance_m\n1,2\n3,\n", "row 3 has no number for distance_m"),
        ("chainage_m,lat,lon\n1,120,45\n", "swap the columns lat and lon"),
        ("", "empty"),
    ],
)
def test_tables_of_calibration_points_that_cannot_be_used(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_calibration_points(table(tmp_path, text))


def test_many_points_are_located_on_a_fine_line():
    along = np.linspace(0.0, 20_000.0, 10_001)
    route = route_of(np.column_stack([along, 300.0 * np.sin(along / 400.0)]))
    chainage = np.linspace(*route.extent_m, 100_000)
    found = route.locate(route.point_at(chainage, 3.0))
    assert np.abs(found.chainage_m - chainage).max() < 1e-5
    assert np.abs(found.offset_m - 3.0).max() < 1e-5
