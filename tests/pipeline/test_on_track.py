"""Frames find their place on a track by time, by distance or by their own EXIF, and say why where they do not."""

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD
from pyproj import Transformer

from crackmap.calibration.errors import InputError
from crackmap.pipeline.listing import natural_key
from crackmap.pipeline.survey import Survey, read_survey

ORIGIN, AZIMUTH = np.array([392_000.0, 5_820_000.0]), 30.0
AHEAD = np.array([np.sin(np.radians(AZIMUTH)), np.cos(np.radians(AZIMUTH))])
RIGHT = np.array([AHEAD[1], -AHEAD[0]])


def speed_m_s(time_s: np.ndarray) -> np.ndarray:
    return 12.0 + 5.0 * np.sin(time_s / 3.0)


def travelled_m(time_s: np.ndarray) -> np.ndarray:
    return 12.0 * time_s + 15.0 * (1.0 - np.cos(time_s / 3.0))


def at(distance_m: np.ndarray, *, right_m: float = 0.0) -> np.ndarray:
    return ORIGIN + np.asarray(distance_m)[:, None] * AHEAD + right_m * RIGHT


def lon_lat(xy: np.ndarray) -> np.ndarray:
    return np.column_stack(Transformer.from_crs(32633, 4326, always_xy=True).transform(*xy.T))


def write(folder: Path, names: list[str], survey: str, *, delay_s: float = 0.0, right_m: float = 0.0, gap=(0.0, 0.0)):
    """A minute at 10 fixes a second whose clock is `delay_s` late, an odometer on the clock of the frames, images."""
    time = np.arange(0.0, 60.05, 0.1)
    degrees = lon_lat(at(travelled_m(time), right_m=right_m))
    track = pd.DataFrame({"time_s": time + delay_s, "lat_deg": degrees[:, 1], "lon_deg": degrees[:, 0]})
    track = track[(track.time_s <= gap[0]) | (track.time_s >= gap[1])]
    track.to_csv(folder / "gnss.csv", index=False)
    fine = np.arange(-1.0, 61.0, 0.02)
    pd.DataFrame({"time_s": fine, "speed_m_s": 1.02 * speed_m_s(fine)}).to_csv(folder / "odometer.csv", index=False)
    for name in names:
        Image.new("RGB", (64, 48), (90, 90, 90)).save(folder / name)
    (folder / "survey.toml").write_text(survey + '[ground]\nmethod = "gsd"\ngsd_mm = 50.0\n', encoding="utf-8")


def by_time(extra: str = "") -> str:
    frames = "[frames]\npattern = '_(?P<time_s>[0-9.]+)\\.jpg$'\n"
    return f"{frames}[position]\nsource = 'track'\ntrack = 'gnss.csv'\n{extra}"


def places(survey: Survey) -> np.ndarray:
    frames = sorted(survey.frames, key=lambda frame: natural_key(frame.key))
    return np.array([frame.placement.origin_xy for frame in frames])


TIMES = np.array([11.0, 24.5, 38.2])
NAMES = [f"f_{time:.1f}.jpg" for time in TIMES]


def test_the_delay_of_the_receiver_is_estimated_from_the_odometer_and_said(tmp_path: Path) -> None:
    write(tmp_path, NAMES, by_time('time_offset_s = "estimate"\nodometer = "odometer.csv"\n'), delay_s=0.30)
    survey = read_survey(tmp_path)
    assert np.abs(places(survey) - at(travelled_m(TIMES))).max() < 0.05
    (note,) = [note for note in survey.notes if "track time less frame time" in note]
    assert "+0.30" in note
    assert "0.98" in note


def test_a_given_offset_and_the_antenna_are_taken_off(tmp_path: Path) -> None:
    write(tmp_path, NAMES, by_time("time_offset_s = 0.3\nantenna_m = [0.5, -1.0]\n"), delay_s=0.30, right_m=0.5)
    # The antenna sits 1 m behind the origin and 0.5 m to the right of it.
    assert np.abs(places(read_survey(tmp_path)) - at(travelled_m(TIMES) + 1.0)).max() < 0.02


@pytest.mark.parametrize("bridged", [False, True])
def test_a_gap_is_bridged_by_the_odometer_or_leaves_no_position(tmp_path: Path, bridged: bool) -> None:
    odometer = 'odometer = "odometer.csv"\n' if bridged else ""
    write(tmp_path, NAMES, by_time(odometer), gap=(22.0, 27.0))
    survey = read_survey(tmp_path)
    if bridged:
        assert not survey.unplaced
        assert np.abs(places(survey) - at(travelled_m(TIMES))).max() < 0.2
    else:
        (frame,), (reason,) = survey.unplaced, survey.unplaced_why
        assert frame.key == "f_24.5.jpg"
        assert reason == "no_position: 2.5 s from the nearest fix"


def test_accuracy_is_given_where_it_is_known_and_left_open_where_not(tmp_path: Path) -> None:
    write(tmp_path, NAMES, by_time())
    assert [frame.u_xy_m for frame in read_survey(tmp_path).frames] == [None] * 3
    write(tmp_path, NAMES, by_time("accuracy_m = 0.5\n"))
    assert [frame.u_xy_m for frame in read_survey(tmp_path).frames] == pytest.approx([0.5] * 3, rel=0.1)


def test_frames_are_matched_by_distance(tmp_path: Path) -> None:
    names = [f"f_{distance:.3f}.jpg" for distance in (0.1, 0.25, 0.4)]
    text = "[frames]\npattern = '_(?P<distance_m>[0-9.]+)\\.jpg$'\n[position]\nsource = 'distance'\n"
    write(tmp_path, names, text + "track = 'gnss.csv'\ndistance_scale = 1000.0\ndistance_offset_m = 20.0\n")
    # Distance is measured on the ground, 0.02 % longer here than on the grid.
    expected = at(np.array([120.0, 270.0, 420.0]))
    assert np.abs(places(read_survey(tmp_path)) - expected).max() < 0.2


def with_exif(path: Path, lon: float, lat: float, time_s: float) -> None:
    exif = Image.Exif()
    gps = exif.get_ifd(IFD.GPSInfo)
    gps[GPS.GPSLatitudeRef], gps[GPS.GPSLongitudeRef] = "N", "E"
    gps[GPS.GPSLatitude] = (Fraction(round(lat * 1e9), 10**9), 0, 0)
    gps[GPS.GPSLongitude] = (Fraction(round(lon * 1e9), 10**9), 0, 0)
    gps[GPS.GPSDateStamp] = "2026:05:04"
    gps[GPS.GPSTimeStamp] = (12, 0, Fraction(round(time_s * 1000), 1000))
    Image.new("RGB", (64, 48), (90, 90, 90)).save(path, exif=exif)


def test_frames_are_placed_by_their_own_exif(tmp_path: Path) -> None:
    times = np.arange(0.0, 8.0)
    for time, (lon, lat) in zip(times, lon_lat(at(travelled_m(times))), strict=True):
        with_exif(tmp_path / f"p{time:.0f}.jpg", lon, lat, time)
    Image.new("RGB", (64, 48), (90, 90, 90)).save(tmp_path / "without.jpg")
    text = '[position]\nsource = "exif"\n[ground]\nmethod = "gsd"\ngsd_mm = 50.0\n'
    (tmp_path / "survey.toml").write_text(text, encoding="utf-8")
    survey = read_survey(tmp_path)
    assert np.abs(places(survey) - at(travelled_m(times))).max() < 0.3
    assert (*survey.unplaced.keys, *survey.unplaced_why) == ("without.jpg", "no_position: no time")
    assert survey.frames[0].placement.azimuth_deg == pytest.approx(AZIMUTH, abs=1.0)


def test_images_without_any_position_are_refused_with_the_remedy(tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), (90, 90, 90)).save(tmp_path / "a.jpg")
    text = '[position]\nsource = "exif"\n[ground]\nmethod = "gsd"\ngsd_mm = 50.0\n'
    (tmp_path / "survey.toml").write_text(text, encoding="utf-8")
    with pytest.raises(
        InputError,
        match=r"two or more images with a GPS position and time, got 0 of 1 \(0 have a position\); give a track",
    ):
        read_survey(tmp_path)


def test_frames_on_another_clock_are_refused_with_what_lies_between(tmp_path: Path) -> None:
    write(tmp_path, [f"f_{7200 + time:.1f}.jpg" for time in TIMES], by_time())
    with pytest.raises(InputError, match=r"no frame falls on the track, which lasts from 0\.000 to 60\.000 s"):
        read_survey(tmp_path)


def test_files_outside_the_survey_folder_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "survey").mkdir()
    write(tmp_path / "survey", NAMES, by_time().replace("gnss.csv", "../gnss.csv"))
    os.replace(tmp_path / "survey" / "gnss.csv", tmp_path / "gnss.csv")  # noqa: PTH105
    with pytest.raises(InputError, match=r"\.\./gnss\.csv: survey\.toml may name files in the survey folder only"):
        read_survey(tmp_path / "survey")
