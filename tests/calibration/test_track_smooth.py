"""The smoothed track: drawn ways with known places, headings and gaps."""

import numpy as np
import pytest
from pyproj import CRS, Geod

from crackmap.calibration.errors import CalibrationError, InputError
from crackmap.calibration.track import (
    LeverArm,
    SmoothSettings,
    Track,
    estimate_delay,
    project_track,
    require_overlap,
    smooth_track,
)
from crackmap.calibration.track.odometer import odometer_from_distance, odometer_from_speed
from crackmap.calibration.track.project import to_degrees, to_metres, zone_epsg

UTM = CRS.from_epsg(32632)
ORIGIN_M = np.array([500_000.0, 5_000_000.0])


def drawn(time, xy, **columns):
    lon, lat = to_degrees(UTM, np.asarray(xy) + ORIGIN_M)
    return Track(np.asarray(time, float), lon, lat, **columns)


def straight(time, speed=10.0):
    return drawn(time, np.outer(speed * np.asarray(time), [0.0, 1.0]))


def circle(noise_m, radius=15.0, speed=8.0, seed=3):
    """Fixes on a circle driven clockwise from its western point, and the truth as a function of time."""
    time = np.arange(0.0, 40.0, 0.1)

    def truth(at):
        angle = speed * np.asarray(at) / radius
        return radius * np.column_stack([-np.cos(angle), np.sin(angle)]), np.degrees(angle)

    noise = np.random.default_rng(seed).normal(0.0, noise_m, (len(time), 2))
    return drawn(time, truth(time)[0] + noise), truth


def turn(a, b):
    return (np.asarray(a) - b + 180.0) % 360.0 - 180.0


@pytest.mark.parametrize(
    ("noise_m", "radius_m", "place_m", "heading_deg"), [(0.02, 0.01, 0.04, 1.0), (1.0, 0.25, 0.75, 8.0)]
)
def test_a_circle_of_15_m_keeps_its_radius_and_its_heading(noise_m, radius_m, place_m, heading_deg):
    track, truth = circle(noise_m)
    at = np.arange(2.0, 38.0, 0.033)
    poses = smooth_track(track, crs="EPSG:32632").poses_at(at)
    xy, azimuth = truth(at)
    found = poses.xy_m - ORIGIN_M
    assert abs(np.hypot(*found.T).mean() - 15.0) < radius_m
    assert np.percentile(np.hypot(*(found - xy).T), 95) < place_m
    assert np.percentile(np.abs(turn(poses.azimuth_deg, azimuth)), 95) < heading_deg


def test_stated_uncertainty_holds_for_independent_noise():
    off = []
    for seed in range(5):
        track, truth = circle(0.5, seed=seed)
        poses = smooth_track(track, crs="EPSG:32632").poses_at(track.time_s)
        # The scatter itself is carried as what the receiver may be off by as a whole, so u is on the safe side.
        off.append((poses.xy_m - ORIGIN_M - truth(track.time_s)[0]) / poses.u_xy_m[:, None])
    assert 0.2 < np.std(np.concatenate(off)) < 1.0


def test_positions_between_fixes_of_a_clean_straight_track_are_exact():
    trajectory = smooth_track(straight(np.arange(0.0, 20.0, 1.0)), crs="EPSG:32632")
    at = np.array([0.0, 3.21, 11.5, 19.0])
    poses = trajectory.poses_at(at)
    assert poses.known.all()
    assert np.allclose(poses.xy_m - ORIGIN_M, np.outer(10.0 * at, [0, 1]), atol=1e-3)
    assert np.allclose(turn(poses.azimuth_deg, 0.0), 0.0, atol=0.01)
    assert np.allclose(poses.travelled_m, 10.0 * at / 0.9996, atol=2e-3)


def test_standing_vehicle_keeps_its_heading_and_gains_no_chainage():
    time = np.arange(0.0, 60.0, 0.1)
    way = 10.0 * np.clip(time, 0, 20) + 10.0 * np.clip(time - 40, 0, 20)
    noise = np.random.default_rng(1).normal(0, 0.3, (len(time), 2))
    poses = smooth_track(drawn(time, np.outer(way, [1, 0]) + noise), crs="EPSG:32632").poses_at([10, 25, 30, 38, 50])
    assert np.abs(turn(poses.azimuth_deg, 90.0)).max() < 8.0
    assert poses.travelled_m[3] - poses.travelled_m[1] < 1.5
    assert poses.travelled_m[4] - poses.travelled_m[0] == pytest.approx(200.0 / 0.9996, rel=0.005)


def test_a_vehicle_that_never_moved_has_a_place_but_no_heading():
    noise = np.random.default_rng(2).normal(0, 0.02, (100, 2))
    poses = smooth_track(drawn(np.arange(100) * 0.1, noise), crs="EPSG:32632").poses_at([5.0])
    assert np.isfinite(poses.xy_m).all()
    assert np.isnan(poses.azimuth_deg[0])
    assert poses.reason[0].startswith("no_heading")


def test_nothing_is_known_inside_a_gap_or_beyond_the_tolerance():
    time = np.concatenate([np.arange(0.0, 10.05, 0.1), np.arange(13.0, 20.05, 0.1)])
    trajectory = smooth_track(straight(time), settings=SmoothSettings(tolerance_s=0.2))
    assert np.allclose(trajectory.gaps, [(10.0, 13.0)])
    at = [-0.3, -0.1, 10.0, 10.001, 11.0, 12.999, 13.0, 20.1, 20.3, np.nan]
    poses = trajectory.poses_at(at)
    assert poses.known.tolist() == [False, True, True, False, False, False, True, True, False, False]
    assert poses.reason[4] == "no_position: 1.0 s from the nearest fix"
    assert poses.reason[9] == "no_position: no time"
    assert np.isnan(poses.xy_m[~poses.known]).all()


def test_fixes_more_than_50_m_apart_are_a_gap_whatever_the_time():
    time = np.arange(0.0, 10.0, 1.0)
    way = 20.0 * time + np.where(time > 4.5, 32.0, 0.0)
    trajectory = smooth_track(drawn(time, np.outer(way, [0, 1])))
    assert trajectory.gaps == ((4.0, 5.0),)


def test_sparse_tracks_name_the_settings_and_work_with_them():
    track = straight(np.arange(0.0, 100.0, 5.0))
    with pytest.raises(InputError, match=r"fixes come each 5 s and 50 m \(median\).*raise these settings"):
        smooth_track(track)
    poses = smooth_track(track, settings=SmoothSettings(max_gap_s=6.0, max_gap_m=60.0)).poses_at([47.5])
    assert poses.known.all()


def bent(time):
    """A way with a bend and changing speed: place, speed and azimuth."""
    fine = np.arange(0.0, time[-1] + 0.01, 0.001)
    speed = 12.0 + 4.0 * np.sin(2 * np.pi * fine / 20.0)
    azimuth = 0.9 * np.sin(2 * np.pi * fine / 40.0)
    step = 0.001 * speed[:, None] * np.column_stack([np.sin(azimuth), np.cos(azimuth)])
    xy = np.cumsum(step, axis=0)
    return np.column_stack([np.interp(time, fine, xy[:, i]) for i in (0, 1)]), np.interp(time, fine, speed)


@pytest.mark.parametrize("gap_s", [5.0, 12.0])
def test_the_odometer_bridges_a_gap_with_growing_uncertainty(gap_s):
    time = np.arange(0.0, 60.0, 0.1)
    xy, speed = bent(time)
    lost = (time > 22.0) & (time < 22.0 + gap_s)
    odometer = odometer_from_speed(time, speed)
    track = drawn(time[~lost], xy[~lost])
    trajectory = smooth_track(track, crs="EPSG:32632", odometer=odometer)
    assert trajectory.bridged == 1
    poses = trajectory.poses_at(time)
    error = np.hypot(*(poses.xy_m - ORIGIN_M - xy).T)
    assert poses.known.all()
    assert error[lost].max() < 0.05 * gap_s**2
    assert (error[lost] < 3 * poses.u_xy_m[lost]).all()
    assert poses.u_xy_m[lost].max() > 5 * poses.u_xy_m[~lost].max()
    without = smooth_track(track, crs="EPSG:32632").poses_at(time)
    assert not without.known[lost].any()


def test_gaps_that_are_too_long_or_contradict_the_odometer_are_not_bridged():
    time = np.arange(0.0, 60.0, 0.1)
    kept = (time <= 20.0) | (time >= 30.0)
    track = straight(time[kept])
    true = odometer_from_speed(time, np.full(len(time), 10.0))
    assert smooth_track(track, odometer=true).bridged == 1
    assert smooth_track(track, odometer=true, settings=SmoothSettings(max_bridge_s=5.0)).bridged == 0
    assert smooth_track(track, odometer=odometer_from_speed(time, np.full(len(time), 5.0))).bridged == 0
    assert smooth_track(track, odometer=odometer_from_speed(time[kept], np.full(kept.sum(), 10.0))).bridged == 0


@pytest.mark.parametrize(("right_m", "ahead_m"), [(0.0, 2.0), (1.5, 0.0), (-0.7, 1.2)])
def test_lever_arm_gives_the_origin_of_the_vehicle_on_a_circle(right_m, ahead_m):
    track, truth = circle(0.0)
    at = np.array([10.0, 20.3, 31.7])
    trajectory = smooth_track(track, crs="EPSG:32632")
    poses = trajectory.poses_at(at, lever_arm=LeverArm(right_m, ahead_m))
    xy, azimuth = truth(at)
    angle = np.radians(azimuth)
    ahead, right = np.column_stack([np.sin(angle), np.cos(angle)]), np.column_stack([np.cos(angle), -np.sin(angle)])
    assert np.allclose(poses.xy_m - ORIGIN_M, xy - ahead_m * ahead - right_m * right, atol=0.02)


def test_matching_by_distance_finds_the_same_places_as_by_time():
    time = np.arange(0.0, 30.0, 0.1)
    counter = 1000.0 + 10.0 * time
    track = drawn(time, np.outer(10.0 * time, [0, 1]), distance_m=counter)
    trajectory = smooth_track(track, crs="EPSG:32632")
    travelled = trajectory.poses_at_distance([0.0, 123.4, 400.0], offset_m=5.0)
    assert np.allclose(travelled.xy_m[:2, 1] - ORIGIN_M[1], np.array([5.0, 128.4]) * 0.9996, atol=2e-3)
    assert travelled.reason[2].startswith("no_position: 405.0 m is not on the track")
    counted = trajectory.poses_at_distance([1100.0], by="counter")
    assert np.allclose(counted.xy_m - ORIGIN_M, [[0.0, 100.0]], atol=2e-3)
    with pytest.raises(InputError, match="no distance counter"):
        smooth_track(straight(time)).poses_at_distance([1.0], by="counter")


def test_times_of_a_clock_that_restarts_are_ambiguous_and_the_rest_is_known():
    time = np.concatenate([np.arange(0.0, 20.0, 0.1), np.arange(10.0, 40.0, 0.1)])
    xy = np.outer(np.arange(len(time)), [0.0, 1.0])
    stretch = np.repeat([0, 1], [200, 300])
    trajectory = smooth_track(drawn(time, xy, stretch=stretch), crs="EPSG:32632")
    poses = trajectory.poses_at([5.0, 15.0, 30.0])
    assert poses.known.tolist() == [True, False, True]
    assert "the clock restarts" in poses.reason[1]
    assert np.allclose(poses.xy_m[[0, 2], 1] - ORIGIN_M[1], [50.0, 400.0], atol=0.01)


@pytest.mark.parametrize("delay_s", [-0.63, 0.0, 0.104, 1.2])
@pytest.mark.parametrize("step_s", [0.1, 1.0])
def test_delay_and_scale_of_the_odometer_are_found_to_the_millisecond_on_clean_data(delay_s, step_s):
    fine = np.arange(0.0, 90.0, 0.02)
    xy, speed = bent(fine)
    odometer = odometer_from_speed(fine, speed / 1.02)
    time = np.arange(0.5, 88.0, step_s)
    track = drawn(time + delay_s, np.column_stack([np.interp(time, fine, xy[:, i]) for i in (0, 1)]))
    delay = estimate_delay(track, odometer)
    assert delay.seconds == pytest.approx(delay_s, abs=0.005)
    assert delay.scale == pytest.approx(1.02, rel=0.001)


def test_delay_lies_within_its_uncertainty_for_noisy_positions():
    fine = np.arange(0.0, 120.0, 0.02)
    xy, speed = bent(fine)
    time = np.arange(0.5, 118.0, 0.1)
    off = []
    for seed in range(6):
        noise = np.random.default_rng(seed).normal(0, 0.3, (len(time), 2))
        track = drawn(time + 0.2, np.column_stack([np.interp(time, fine, xy[:, i]) for i in (0, 1)]) + noise)
        delay = estimate_delay(track, odometer_from_speed(fine, speed))
        off.append((delay.seconds - 0.2) / delay.u_seconds)
        assert delay.u_seconds < 0.1
    assert np.sqrt(np.mean(np.square(off))) < 2.0


def test_doppler_speed_gives_its_own_delay():
    fine = np.arange(0.0, 90.0, 0.02)
    xy, speed = bent(fine)
    time = np.arange(1.0, 88.0, 0.1)
    place = np.column_stack([np.interp(time, fine, xy[:, i]) for i in (0, 1)])
    track = drawn(time, place, speed_m_s=np.interp(time - 0.15, fine, speed))
    odometer = odometer_from_speed(fine, speed)
    assert estimate_delay(track, odometer, source="doppler").seconds == pytest.approx(0.15, abs=0.005)
    assert estimate_delay(track, odometer).seconds == pytest.approx(0.0, abs=0.005)


def test_delay_is_refused_where_it_cannot_be_seen():
    time = np.arange(0.0, 60.0, 0.1)
    steady = odometer_from_speed(time, np.full(len(time), 10.0))
    noise = np.random.default_rng(0).normal(0, 0.1, (len(time), 2))
    track = drawn(time, np.outer(10.0 * time, [0, 1]) + noise)
    with pytest.raises(CalibrationError, match=r"give time_offset_s"):
        estimate_delay(track, steady)
    with pytest.raises(CalibrationError, match="count from the same moment"):
        estimate_delay(track, steady.on_track(1000.0))
    with pytest.raises(CalibrationError, match="no speed of the receiver"):
        estimate_delay(track, steady, source="doppler")


def test_a_ticking_counter_gives_the_speed():
    time = np.arange(0.0, 20.0, 0.1)
    odometer = odometer_from_distance(time, np.floor(10.0 * time / 0.5) * 0.5)
    assert np.abs(odometer.speed_m_s[10:-10] - 10.0).max() < 0.6


@pytest.mark.parametrize(
    ("lon", "lat", "epsg"),
    [(9.0, 45.0, 32632), (-47.9, -15.8, 32723), (180.0, 1.0, 32660), (5.0, 60.0, 32632), (2.9, 60.0, 32631),
     (20.0, 78.0, 32633), (8.9, 78.0, 32631), (0.0, 84.0, 32661), (0.0, 83.99, 32631), (10.0, -80.1, 32761)],
)  # fmt: skip
def test_zones_follow_utm_with_norway_svalbard_and_the_poles(lon, lat, epsg):
    assert zone_epsg(lon, lat) == epsg


@pytest.mark.parametrize(
    ("lon", "lat"),
    [(6.0, 45.0), (180.0, 10.0), (180.0, -17.0), (-180.0, 65.0), (12.0, 84.0), (30.0, -80.0), (0.0, 89.99)],
)
def test_no_jump_across_a_zone_edge_180_degrees_84_north_or_the_pole(lon, lat):
    geod = Geod(ellps="WGS84")
    along = np.linspace(-2000.0, 2000.0, 401)
    ends = geod.fwd(np.full(401, lon), np.full(401, lat), np.where(along < 0, 235.0, 55.0), np.abs(along))
    poses = smooth_track(Track(np.arange(401) * 0.5, np.asarray(ends[0]), np.asarray(ends[1]))).poses_at(
        [0.0, 100, 200]
    )
    assert poses.known.all()
    assert np.diff(poses.travelled_m) == pytest.approx(2000.0, rel=1e-4)
    assert np.hypot(*np.diff(poses.xy_m, axis=0).T) == pytest.approx(2000.0, rel=0.007)


def test_crs_must_be_projected_in_metres_and_cover_the_track():
    track = straight(np.arange(0.0, 10.0, 1.0))
    assert "33N" in smooth_track(track, crs="EPSG:25833").crs_wkt
    with pytest.raises(InputError, match="projected CRS in metres"):
        smooth_track(track, crs="EPSG:4326")
    with pytest.raises(InputError, match="not known"):
        smooth_track(track, crs="EPSG:99999999")
    with pytest.raises(InputError, match=r"scale of .* off by 4.*split the survey"):
        smooth_track(track, crs="EPSG:3857")
    far = Track(np.arange(3.0), np.array([9.0, 12.0, 20.0]), np.full(3, 45.0))
    with pytest.raises(InputError, match="split the survey there, or name a projected CRS"):
        project_track(far)


@pytest.mark.parametrize(
    ("frame_s", "hint"),
    [
        (lambda t: t + 7200.0, "differ by -2 h: set time_offset_s = -7200"),
        (lambda t: t - 19800.0, "differ by 5.5 h: set time_offset_s = 19800"),
        (lambda t: t * 1e3, "milliseconds: set time_scale = 0.001"),
        (lambda t: t + 18.0, "GPS time and UTC: set time_offset_s = -18"),
        (lambda t: t - 315964800.0 + 18.0, "count from 1980"),
        (lambda t: t % 86400.0, "seconds of the day"),
        (lambda t: t + 12345.6, "check [position] time_scale"),
    ],
)
def test_frames_beside_the_track_are_explained(frame_s, hint):
    track = straight(1_777_629_600.0 + np.arange(0.0, 12.0, 0.1))
    with pytest.raises(InputError, match="no frame falls on the track") as caught:
        require_overlap(frame_s(track.time_s[20:100]), track)
    assert hint in str(caught.value)
    require_overlap(track.time_s[20:100] - 4.0, track)


def test_frames_without_times_are_named():
    with pytest.raises(InputError, match="none has a time"):
        require_overlap([np.nan], straight([0.0, 1.0]))


def test_projection_and_its_inverse_agree():
    xy = ORIGIN_M + np.random.default_rng(0).uniform(-1e4, 1e4, (50, 2))
    assert np.allclose(to_metres(UTM, *to_degrees(UTM, xy)), xy, atol=1e-6)
