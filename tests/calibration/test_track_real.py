"""The real vehicle minute: positions of its video frames against the fused reference, which only scores."""

import os
from pathlib import Path

import numpy as np
import pytest

from crackmap.calibration.track import (
    Track,
    estimate_delay,
    project_track,
    read_odometer,
    read_track,
    smooth_track,
)

DATA = Path(os.environ.get("CRACKMAP_DATA", Path(__file__).parents[3] / "shared" / "data")) / "tracks"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no real tracks: set CRACKMAP_DATA")


@pytest.fixture(scope="module")
def minute():
    table = np.genfromtxt(DATA / "reference.csv", delimiter=",", names=True)
    truth = project_track(Track(table["time_s"], table["lon_deg"], table["lat_deg"])).xy_m
    return read_track(DATA / "gnss.csv"), read_odometer(DATA / "odometer.csv"), table["time_s"], truth


def part_of(track, kept):
    return Track(track.time_s[kept], track.lon_deg[kept], track.lat_deg[kept], track.speed_m_s[kept])


def errors(poses, truth):
    return np.hypot(*(poses.xy_m - truth).T)


def test_plain_interpolation_is_off_by_a_metre_and_a_half(minute):
    track, _, frame_s, truth = minute
    plain = project_track(track).at(frame_s)[0]
    assert np.median(np.hypot(*(plain - truth).T)) == pytest.approx(1.45, abs=0.02)


def test_delay_from_the_data_brings_the_median_below_60_cm_and_95_percent_below_85_cm(minute):
    track, odometer, frame_s, truth = minute
    delay = estimate_delay(track, odometer)
    assert delay.seconds == pytest.approx(0.1, abs=3 * delay.u_seconds)
    assert delay.u_seconds < 0.03
    poses = smooth_track(track).poses_at(frame_s + delay.seconds)
    assert poses.known.all()
    assert np.median(errors(poses, truth)) <= 0.60
    assert np.percentile(errors(poses, truth), 95) <= 0.85


def test_one_fix_each_second_is_as_good_within_ten_percent(minute):
    track, odometer, frame_s, truth = minute
    second = np.floor(track.time_s - track.time_s[0] + 1e-6)
    slow = part_of(track, np.concatenate([[True], np.diff(second) > 0]))
    result = []
    for one in (track, slow):
        poses = smooth_track(one).poses_at(frame_s + estimate_delay(one, odometer).seconds)
        result.append(np.percentile(errors(poses, truth)[poses.known], [50, 95]))
        assert poses.known.mean() > 0.98
    assert (result[1] <= 1.1 * result[0]).all()


def test_whichever_fix_of_a_second_is_kept_the_way_is_as_good_within_ten_percent(minute):
    track, odometer, frame_s, truth = minute
    # One delay for all: a minute of single fixes gives it to 10 to 20 ms only, which would hide the way itself.
    at = frame_s + estimate_delay(track, odometer).seconds
    full = np.percentile(errors(smooth_track(track).poses_at(at), truth), [50, 95])
    for first in range(10):
        places = np.searchsorted(track.time_s, track.time_s[0] + first / 10 + np.arange(59.0))
        poses = smooth_track(part_of(track, np.unique(places[places < len(track.time_s)]))).poses_at(at)
        assert (np.percentile(errors(poses, truth)[poses.known], [50, 95]) <= 1.1 * full).all()


@pytest.mark.parametrize("start_s", [5.0, 15.0, 25.0, 35.0, 45.0, 52.0])
def test_a_gap_of_5_s_is_bridged_by_the_odometer_and_unknown_without(minute, start_s):
    track, odometer, frame_s, truth = minute
    gappy = part_of(track, (track.time_s <= start_s) | (track.time_s >= start_s + 5.0))
    delay = estimate_delay(gappy, odometer)
    at = frame_s + delay.seconds
    (gap,) = smooth_track(gappy).gaps
    inside = (at > gap[0]) & (at < gap[1])
    without = smooth_track(gappy).poses_at(at)
    assert inside.sum() >= 95
    assert not without.known[inside].any()
    assert all(without.reason[index].startswith("no_position") for index in np.flatnonzero(inside))
    bridged = smooth_track(gappy, odometer=odometer.on_track(delay.seconds, delay.scale)).poses_at(at)
    assert bridged.known[inside].all()
    assert errors(bridged, truth)[inside].max() <= 2.0
    assert bridged.u_xy_m[inside].max() > 3 * np.median(bridged.u_xy_m[~inside])


def test_the_receivers_speed_lags_more_than_its_positions(minute):
    track, odometer, _, _ = minute
    doppler = estimate_delay(track, odometer, source="doppler")
    assert doppler.seconds - estimate_delay(track, odometer).seconds > 3 * doppler.u_seconds
