"""Tracks: reading tables, projection, interpolation."""

import os
from pathlib import Path

import numpy as np
import pytest
from pyproj import Geod

from crackmap.calibration.errors import InputError
from crackmap.calibration.track import ProjectedTrack, Track, project_track, read_track_csv


def straight(azimuth_deg=30.0, speed=10.0, count=101, step=0.1):
    """A projected track with closed-form position."""
    time = np.arange(count) * step
    angle = np.deg2rad(azimuth_deg)
    xy = np.outer(speed * time, [np.sin(angle), np.cos(angle)]) + [500_000.0, 4_000_000.0]
    return ProjectedTrack(time, xy, speed * time, "")


@pytest.mark.parametrize("azimuth_deg", [0.0, 30.0, 135.0, 270.0, 359.5])
def test_position_heading_and_chainage_on_a_straight_line_are_exact(azimuth_deg):
    times = [0.0, 3.33, 7.77, 10.0, 10.5]
    xy, azimuth, chainage = straight(azimuth_deg).at(times)
    angle = np.deg2rad(azimuth_deg)
    expected = np.outer(10.0 * np.array(times), [np.sin(angle), np.cos(angle)]) + [500_000.0, 4_000_000.0]
    assert np.allclose(xy, expected, atol=1e-6)
    assert np.allclose((azimuth - azimuth_deg + 180) % 360 - 180, 0.0, atol=1e-5)
    assert np.allclose(chainage, 10.0 * np.array(times), atol=1e-6)


def test_heading_on_a_circle_is_its_tangent():
    time = np.arange(0.0, 20.0, 0.1)
    radius, speed = 100.0, 10.0
    angle = speed * time / radius
    xy = radius * np.column_stack([1.0 - np.cos(angle), np.sin(angle)])
    _, azimuth, _ = ProjectedTrack(time, xy, speed * time, "").at([5.05, 12.34])
    assert np.allclose(azimuth, np.rad2deg(speed * np.array([5.05, 12.34]) / radius), atol=0.05)


def test_nothing_is_known_far_from_every_fix():
    track = straight(count=11, step=1.0)
    holes = ProjectedTrack(np.delete(track.time_s, [4, 5, 6]), np.delete(track.xy_m, [4, 5, 6], 0),
                           np.delete(track.chainage_m, [4, 5, 6]), "")  # fmt: skip
    xy, azimuth, chainage = holes.at([-1.1, -0.9, 3.9, 5.0, 6.5, 10.9, 11.1, np.nan], max_gap_s=1.0)
    known = np.isfinite(chainage)
    assert known.tolist() == [False, True, True, False, True, True, False, False]
    assert (np.isfinite(xy).all(axis=1) == known).all()
    assert (np.isfinite(azimuth) == known).all()


def test_standing_vehicle_keeps_its_heading_and_gains_no_chainage():
    rng = np.random.default_rng(1)
    moving = np.arange(0.0, 10.0, 0.1)
    lat = np.concatenate([45.0 + 1e-4 * moving, np.full(300, 45.0 + 1e-3) + rng.normal(0, 1e-7, 300)])
    lon = np.full(400, 9.0) + rng.normal(0, 1e-8, 400)
    track = project_track(Track(np.arange(400) * 0.1, lon, lat))
    _, azimuth, chainage = track.at([5.0, 20.0, 35.0])
    assert chainage[2] - chainage[1] < 1.0
    assert np.abs((azimuth + 180) % 360 - 180).max() < 3.0


def test_a_vehicle_that_never_moved_has_no_heading():
    track = project_track(Track(np.array([0.0, 1.0, 2.0]), np.full(3, 9.0), np.full(3, 45.0)))
    assert np.isnan(track.at([1.0])[1]).all()


@pytest.mark.parametrize(
    ("lon", "lat", "epsg"), [(9.0, 45.0, "UTM zone 32N"), (-47.9, -15.8, "UTM zone 23S"), (180.0, 1.0, "UTM zone 60N")]
)
def test_zone_is_that_of_the_first_fix_and_chainage_is_true_to_ground(lon, lat, epsg):
    lons, lats = lon - np.linspace(0.0, 0.01, 50), lat + np.linspace(0.0, 0.01, 50)
    track = project_track(Track(np.arange(50.0), lons, lats))
    assert epsg in track.crs_wkt
    length = Geod(ellps="WGS84").line_length(lons, lats)
    assert track.chainage_m[-1] == pytest.approx(length, abs=1e-6)


def write(tmp_path, text):
    path = tmp_path / "gnss.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_bad_rows_are_dropped_and_counted_and_times_sorted(tmp_path):
    text = "time_s,lat_deg,lon_deg\n2,45.2,9.2\n1,45.1,9.1\n,45,9\n3,nan,9\n4,0,0\n5,95,9\n6,45\n1,46,9\n\n"
    track = read_track_csv(write(tmp_path, text))
    assert track.time_s.tolist() == [1.0, 2.0]
    assert track.lat_deg.tolist() == [45.1, 45.2]
    assert track.dropped == 6


def test_semicolons_decimal_commas_and_iso_times_are_understood(tmp_path):
    text = "Zeit;Breite;Länge\n2026-05-01T10:00:00Z;45,5;9,25\n2026-05-01T10:00:01,5+00:00;45,6;9,35\n"
    track = read_track_csv(write(tmp_path, text), columns={"time": "zeit", "lat": "Breite", "lon": "Länge"})
    assert np.diff(track.time_s).tolist() == [1.5]
    assert track.lon_deg.tolist() == [9.25, 9.35]


def test_swapped_latitude_and_longitude_are_named(tmp_path):
    path = write(tmp_path, "time,lat,lon\n0,-122.4,37.7\n1,-122.5,37.8\n")
    with pytest.raises(InputError, match=r"swapped; write columns = \{ lat = 'lon', lon = 'lat' \}"):
        read_track_csv(path)


def test_missing_columns_and_too_few_fixes_say_what_to_do(tmp_path):
    with pytest.raises(InputError, match=r"no column 'lat'; it has time, y, x\. Name"):
        read_track_csv(write(tmp_path, "time,y,x\n0,45,9\n"))
    with pytest.raises(InputError, match="no column 'north'"):
        read_track_csv(write(tmp_path, "time,y,x\n0,45,9\n"), columns={"lat": "north"})
    with pytest.raises(InputError, match="two or more fixes, got 1 in 1 rows"):
        read_track_csv(write(tmp_path, "time,lat,lon\n0,45,9\n"))
    with pytest.raises(InputError, match="empty"):
        read_track_csv(write(tmp_path, ""))
    with pytest.raises(InputError, match="cannot be read"):
        read_track_csv(tmp_path / "absent.csv")


def test_real_receiver_agrees_with_the_fused_pose():
    data = Path(os.environ.get("CRACKMAP_DATA", Path(__file__).parents[3] / "shared" / "data")) / "tracks"
    if not data.is_dir():
        pytest.skip("no real data: set CRACKMAP_DATA")
    truth = np.genfromtxt(data / "reference.csv", delimiter=",", names=True)
    reference = project_track(read_track_csv(data / "reference.csv"))
    xy, azimuth, chainage = project_track(read_track_csv(data / "gnss.csv")).at(reference.time_s)
    # The receiver's own offset is about 1.5 m; grid north differs from true north by 0.3 degrees here.
    assert np.hypot(*(xy - reference.xy_m).T).max() < 3.0
    turn = (azimuth - truth["heading_deg"] + 180.0) % 360.0 - 180.0
    assert np.percentile(np.abs(turn), 95) < 1.0
    assert chainage[-1] - chainage[0] == pytest.approx(reference.chainage_m[-1], rel=0.005)
