"""A thousand generated tracks: whatever a log holds, no wrong place comes out of it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS, Geod

from crackmap.calibration.errors import InputError
from crackmap.calibration.track import SmoothSettings, project_track, read_track, smooth_track
from crackmap.calibration.track.project import to_degrees, to_metres

GEOD = Geod(ellps="WGS84")
STARTS = [(9.0, 45.0), (5.9999, 45.0), (179.9995, 10.0), (-179.9995, -65.0), (30.0, 83.9995), (30.0, -79.9995),
          (100.0, 89.9995), (-50.0, -89.9995), (0.0005, 0.0005), (11.9995, 60.0)]  # fmt: skip


def way(start, azimuth_deg, speed_m_s, turn_deg_s, count, step_s):
    """Times, longitudes and latitudes of a vehicle that drives straight or in an even bend, on the ellipsoid."""
    time = np.arange(count) * step_s
    turn = math.radians(turn_deg_s)
    if turn == 0:
        ahead, aside = speed_m_s * time, 0.0 * time
    else:
        ahead, aside = speed_m_s / turn * np.sin(turn * time), speed_m_s / turn * (1 - np.cos(turn * time))
    bearing = azimuth_deg + np.degrees(np.arctan2(aside, ahead))
    lon, lat, _ = GEOD.fwd(np.full(count, start[0]), np.full(count, start[1]), bearing, np.hypot(ahead, aside))
    return time, np.asarray(lon), np.asarray(lat)


driven = st.tuples(
    st.sampled_from(STARTS), st.floats(0, 360), st.floats(0, 35), st.sampled_from([0.0, 0.0, -8.0, 15.0]),
    st.integers(20, 40), st.sampled_from([0.1, 0.5, 1.0]),
)  # fmt: skip


def write(folder, time, lat, lon, order=None):
    rows = [f"{t!r},{a!r},{o!r}" for t, a, o in zip(time.tolist(), lat.tolist(), lon.tolist(), strict=True)]
    path = folder / "track.csv"
    path.write_text("\n".join(["time_s,lat,lon", *(rows if order is None else [rows[i] for i in order])]))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tracks")


@settings(max_examples=300, derandomize=True)
@given(driven, st.floats(0, 1))
def test_clean_tracks_are_right_to_a_tenth_of_a_metre_anywhere(folder, drawn, share):
    time, lon, lat = way(*drawn)
    trajectory = smooth_track(read_track(write(folder, time, lat, lon)))
    fine_time, fine_lon, fine_lat = way(*drawn[:4], 100 * (len(time) - 1) + 1, drawn[5] / 100)
    drawn_at = [0, round(share * (len(fine_time) - 1)), -1]
    poses = trajectory.poses_at(fine_time[drawn_at])
    truth = to_metres(CRS.from_wkt(trajectory.crs_wkt), fine_lon[drawn_at], fine_lat[drawn_at])
    assert np.isfinite(poses.xy_m).all()
    assert np.hypot(*(poses.xy_m - truth).T).max() <= 0.1
    assert (np.diff(poses.travelled_m) >= -1e-6).all()
    u = poses.u_xy_m
    assert (np.isfinite(u) & (u > 0)).all()


faults = st.lists(
    st.tuples(
        st.sampled_from(["gap", "nan", "zero", "range", "jump", "move", "repeat", "back", "shuffle"]),
        st.integers(0, 39),
        st.integers(1, 12),
    ),
    min_size=1,
    max_size=4,
)


def spoilt(time, lon, lat, wrong):
    """The fixes with faults, in the order of the file."""
    time, lon, lat = time.copy(), lon.copy(), lat.copy()
    order = np.arange(len(time))
    for kind, place, length in wrong:
        part = slice(place % len(time), place % len(time) + length)
        if kind == "gap":
            time[part.start :] += length
        elif kind in ("nan", "zero", "range"):
            lat[part] = {"nan": np.nan, "zero": 0.0, "range": 95.0}[kind]
            lon[part] = 0.0 if kind == "zero" else lon[part]
        elif kind == "jump":
            lat[part] = np.clip(lat[part] + 0.5, -90, 90)
        elif kind == "move":
            lon[part.start :] = (lon[part.start :] + 1.5 + 180.0) % 360.0 - 180.0
        elif kind == "repeat":
            time[part] = time[part.start]
        elif kind == "back":
            time[part.start :] -= 3.0 * length
        else:
            order[part] = order[part][::-1]
    return time, lon, lat, order


@settings(max_examples=600, derandomize=True)
@given(driven, faults, st.lists(st.floats(-60, 120), min_size=5, max_size=20))
def test_spoilt_tracks_give_places_in_range_none_in_a_gap_or_a_clear_error(folder, drawn, wrong, at):
    time, lon, lat, order = spoilt(*way(*drawn), wrong)
    try:
        track = read_track(write(folder, time, lat, lon, order))
        trajectory = smooth_track(track)
    except InputError as error:
        assert len(str(error)) > 40
        return
    inside = [start + (end - start) * share for start, end in trajectory.gaps for share in (1e-6, 0.1, 0.5, 1 - 1e-6)]
    poses = trajectory.poses_at([*at, *inside])
    assert not poses.known[len(at) :].any()
    assert np.isnan(poses.xy_m[len(at) :]).all()
    start, end = trajectory.span_s
    outside = (np.array(at) < start - 0.251) | (np.array(at) > end + 0.251)
    assert np.isnan(poses.xy_m[: len(at)][outside]).all()
    known = np.isfinite(poses.xy_m[:, 0])
    degrees = to_degrees(CRS.from_wkt(trajectory.crs_wkt), poses.xy_m[known])
    assert (np.abs(degrees[0]) <= 180).all() and (np.abs(degrees[1]) <= 90).all()
    # Every place lies near a fix: no place is invented between or beyond them.
    plain = project_track(track).xy_m
    away = np.hypot(*(poses.xy_m[known][:, None] - plain[None]).T)
    assert not known.any() or away.min(axis=0).max() < 60.0


@settings(max_examples=100, derandomize=True)
@given(st.tuples(st.sampled_from([100.0, -150.0, 179.9995]), st.floats(-60, 60)), st.floats(0, 360), st.integers(0, 9))
def test_swapped_tracks_are_refused_with_the_remedy(folder, start, azimuth_deg, broken):
    time, lon, lat = way(start, azimuth_deg, 10.0, 0.0, 30, 1.0)
    lat[:broken] = np.nan
    with pytest.raises(InputError, match=r"swapped; write columns = \{ lat = 'lon', lon = 'lat' \}"):
        read_track(write(folder, time, lon, lat))


def test_a_bridged_gap_is_no_declared_gap_and_settings_move_the_limit(folder):
    time, lon, lat = way((9.0, 45.0), 0.0, 10.0, 0.0, 40, 1.0)
    kept = (time < 10) | (time > 14)
    path = write(folder, time[kept], lat[kept], lon[kept])
    assert smooth_track(read_track(path)).gaps == ((9.0, 15.0),)
    assert smooth_track(read_track(path), settings=SmoothSettings(max_gap_s=6.0, max_gap_m=60.5)).gaps == ()
