"""Tracks from files: tables, GPX, NMEA, EXIF; what is dropped and where a track is cut."""

import os
from functools import reduce
from operator import xor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base
from PIL.TiffImagePlugin import IFDRational

from crackmap.calibration.errors import InputError
from crackmap.calibration.track import CleanSettings, exif_fix, read_odometer, read_track, smooth_track

DATA = Path(os.environ.get("CRACKMAP_DATA", Path(__file__).parents[3] / "shared" / "data"))


def needs(folder):
    return pytest.mark.skipif(not (DATA / folder).is_dir(), reason=f"no {folder}: set CRACKMAP_DATA")


def write(tmp_path, text, name="track"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def table(tmp_path, rows, header="time_s,lat,lon"):
    return write(tmp_path, "\n".join([header, *(",".join(str(cell) for cell in row) for row in rows)]))


def northwards(count=40, step=1.0, speed=10.0, start=0.0):
    """Rows of a vehicle that drives north."""
    time = np.arange(count) * step
    return [(start + t, 45.0 + speed * t / 111_131.7, 9.0) for t in time.tolist()]


# Tables


def test_optional_columns_tabs_and_decimal_commas_are_read(tmp_path):
    text = "Time\tlat\tlon\tspeed_kmh\tAlt\thdop\tdistance_m\n"
    text += "0\t45,1\t9,1\t36\t100,5\t2\t7\n1\t45,1001\t9,1\t72\t\t2\t18\n"
    track = read_track(write(tmp_path, text))
    assert np.allclose(track.speed_m_s, [10.0, 20.0])
    assert np.allclose(track.alt_m, [100.5, np.nan], equal_nan=True)
    assert np.allclose(track.accuracy_m, 2 * 3.0 / np.sqrt(2))
    assert track.distance_m.tolist() == [7.0, 18.0]
    assert any("unit of HDOP" in text for text in track.report.sentences())


def test_stated_accuracy_goes_before_hdop_and_names_may_be_given(tmp_path):
    text = "t;breite;lon;acc;hdop;v\n0;45,1;9,1;0,5;2;3\n1;45,1;9,1;0;2;4\n"
    track = read_track(write(tmp_path, text), columns={"lat": "Breite", "accuracy": "acc", "speed": "v"})
    assert np.allclose(track.accuracy_m, [0.5, np.nan], equal_nan=True)
    assert track.speed_m_s.tolist() == [3.0, 4.0]
    with pytest.raises(InputError, match="columns: expected time, lat"):
        read_track(write(tmp_path, text), columns={"latitude": "Breite"})


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"", "empty; export the track again"),
        (b" \n\n", "empty"),
        (b"\xff\xd8\xff\xe0rubbish", "expected CSV, GPX or NMEA, got a picture"),
        (b"<?xml version='1.0'?><kml></kml>", "KML; export as GPX"),
        (b"\x00\x01\x80\x81", "cannot be read as a text table"),
        (b"time,lat,lon\nx,45,9\ny,45,9\n", "none of 2 fixes has a time"),
        (b"lat,lon\n45,9\n45,9\n", "no column 'time'"),
        (b"time,lat,lon\n1,5,45,1,9,2\n2,5,45,1,9,2\n", "decimal commas need"),
    ],
)
def test_files_without_a_track_say_what_to_do(tmp_path, content, hint):
    with pytest.raises(InputError, match=hint):
        read_track(write(tmp_path, content))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent.*check the path"):
        read_track(tmp_path / "absent")


# Cleaning


def test_single_outliers_and_small_clusters_are_dropped(tmp_path):
    rows = northwards()
    for bad in (7, 20, 21, 22):
        rows[bad] = (rows[bad][0], rows[bad][1] + 0.1, 9.0)
    track = read_track(table(tmp_path, rows))
    assert sorted(set(range(40)) - set(track.time_s.tolist())) == [7, 20, 21, 22]
    assert track.stretches.max() == 0
    assert track.report.dropped["faster than a vehicle both ways"] == 4


def test_outliers_at_both_ends_are_dropped(tmp_path):
    rows = northwards()
    for bad in (0, 39):
        rows[bad] = (rows[bad][0], 46.0, 9.0)
    track = read_track(table(tmp_path, rows))
    assert track.time_s.tolist() == list(range(1, 39))
    assert track.stretches.max() == 0


def test_a_change_of_place_is_a_cut_and_loses_no_fix(tmp_path):
    rows = [(t, lat + (0.1 if t >= 20 else 0.0), lon) for t, lat, lon in northwards()]
    track = read_track(table(tmp_path, rows))
    assert len(track.time_s) == 40
    assert np.flatnonzero(np.diff(track.stretches)).tolist() == [19]
    assert any("the place jumps 1 times" in note for note in track.report.notes)
    assert smooth_track(track).gaps == ((19.0, 20.0),)


def test_the_speed_limit_can_be_set(tmp_path):
    rows = northwards(speed=70.0)
    with pytest.raises(InputError):
        smooth_track(read_track(table(tmp_path, rows)))
    assert len(read_track(table(tmp_path, rows), settings=CleanSettings(max_speed_kmh=300.0)).time_s) == 40


def test_a_clock_that_restarts_is_a_cut(tmp_path):
    rows = northwards(30) + [(t, lat + 0.003, lon) for t, lat, lon in northwards(30, start=5.0)]
    track = read_track(table(tmp_path, rows))
    assert track.stretches.tolist() == [0] * 30 + [1] * 30
    assert track.time_s[30] == 5.0
    assert any("clock goes back 1 times" in note for note in track.report.notes)


def test_fixes_out_of_order_are_sorted_where_the_time_goes_on(tmp_path):
    rows = northwards(30)
    late = rows[:10] + rows[12:20] + rows[10:12] + rows[20:]
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(30)]
    for order in (late, shuffled):
        track = read_track(table(tmp_path, order))
        assert track.time_s.tolist() == list(range(30))
        assert track.stretches.max() == 0


def test_of_equal_times_the_first_is_kept(tmp_path):
    rows = northwards(10)
    rows.insert(5, (4.0, 45.9, 9.0))
    track = read_track(table(tmp_path, rows))
    assert track.lat_deg[4] == rows[4][1]
    assert track.report.dropped["the time of another fix"] == 1


# GPX


def gpx(points, version="1.1", extra=""):
    space = f"http://www.topografix.com/GPX/{version.replace('.', '/')}"
    head = f'<?xml version="1.0"?><gpx version="{version}" xmlns="{space}">'
    return f"{head}{extra}<trk><trkseg>{points}</trkseg></trk></gpx>"


def point(second, lat=45.0, inner=""):
    return f'<trkpt lat="{lat}" lon="9.5"><ele>12.5</ele><time>2026-05-01T10:00:{second:02d}Z</time>{inner}</trkpt>'


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_gpx_points_with_speed_height_and_hdop_are_read(tmp_path, version):
    inner = "<hdop>1.5</hdop>" + (
        "<speed>4.5</speed>" if version == "1.0" else '<extensions><x xmlns="u:v"><speed>4.5</speed></x></extensions>'
    )
    extra = '<wpt lat="1" lon="1"/><rte><rtept lat="2" lon="2"/></rte>'
    text = gpx(point(0, inner=inner) + "</trkseg><trkseg>" + point(1, 45.0001, inner), version, extra)
    track = read_track(write(tmp_path, text))
    assert track.lat_deg.tolist() == [45.0, 45.0001]
    assert track.time_s[0] == 1777629600.0
    assert track.speed_m_s.tolist() == [4.5, 4.5]
    assert track.alt_m[0] == 12.5
    assert track.stretches.tolist() == [0, 1]
    assert "1 wpt outside tracks, not used" in track.report.sentences()


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (gpx('<trkpt lat="1" lon="2"/><trkpt lat="1" lon="2.1"/>'), "2 of 2 track points have no time.*match by dist"),
        (gpx("", extra='<wpt lat="1" lon="1"/>'), "only routes or way points"),
        ("<gpx><trk>", "not a GPX file that can be read"),
        ("<html></html>", "got other XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><gpx>&b;</gpx>', "not a GPX file that can be read"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><gpx/>', "not a GPX file that can be read"),
    ],
)
def test_gpx_that_is_no_track_says_what_to_do(tmp_path, text, hint):
    with pytest.raises(InputError, match=hint):
        read_track(write(tmp_path, text))


# NMEA


def sentence(body):
    return f"${body}*{reduce(xor, body.encode()):02X}\r\n"


def gga(time, minutes=30.0, quality=1, talker="GP"):
    return sentence(f"{talker}GGA,{time},45{minutes:09.6f},N,00915.000000,W,{quality},08,1.0,200.5,M,48.5,M,,")


def rmc(time, date="010526", status="A", minutes=30.0):
    return sentence(f"GNRMC,{time},{status},45{minutes:09.6f},N,00915.000000,W,019.438,,{date},,,A")


def test_degrees_and_minutes_are_exact_for_every_talker(tmp_path):
    talkers = ("GP", "GN", "GL", "GA", "GB", "IN")
    text = "".join(gga(f"1000{i:02d}.50", 30.0 + i * 0.001234, talker=talker) for i, talker in enumerate(talkers))
    track = read_track(write(tmp_path, text))
    assert np.allclose(track.lat_deg, 45 + (30 + np.arange(6) * 0.001234) / 60, rtol=0, atol=1e-9)
    assert (track.lon_deg == -9.25).all()
    assert track.time_s.tolist() == [36000.5 + i for i in range(6)]
    assert any("no date in the log" in note for note in track.report.notes)


def test_gga_rmc_and_gst_of_one_moment_are_one_fix(tmp_path):
    text = "".join(
        rmc(f"10000{i}.00", minutes=20.0) + gga(f"10000{i}.00", 30.0 + 1e-4 * i)
        + sentence(f"GNGST,10000{i}.00,9,9,9,9,0.3,0.4,0.9")
        for i in range(3)
    )  # fmt: skip
    track = read_track(write(tmp_path, text))
    assert len(track.time_s) == 3
    assert np.allclose(track.lat_deg[0], 45.5)
    assert np.allclose(track.speed_m_s, 10.0, atol=1e-3)
    assert np.allclose(track.accuracy_m, 0.5 / np.sqrt(2))
    assert track.time_s[0] == 1777629600.0


def test_gns_and_zda_give_position_and_date(tmp_path):
    body = "GNGNS,10000{},4530.000000,N,00915.000000,W,{},08,1.0,200.5,48.5,,"
    text = sentence("GPZDA,100000.00,01,05,2026,00,00") + "".join(
        sentence(body.format(f"{i}.00", "NNNN" if i == 2 else "AANN")) for i in range(4)
    )
    track = read_track(write(tmp_path, text))
    assert track.time_s.tolist() == [1777629600.0, 1777629601.0, 1777629603.0]
    assert track.report.dropped["the receiver calls it invalid"] == 1


def test_rubbish_vendor_lines_and_bad_checksums_are_counted_and_not_used(tmp_path):
    broken = gga("100001.00").replace("4530", "4630")
    text = b"\xb5b\x01\x07\x00\n" + b"\x80\x01" + gga("100000.00").encode() + sentence("PUBX,00,1").encode()
    text += broken.encode() + b"$GPGGA,100002.00,4530.0\r\n" + gga("100003.00").encode() + sentence("GPGSV,1").encode()
    track = read_track(write(tmp_path, text))
    assert track.time_s.tolist() == [36000.0, 36003.0]
    assert (track.lat_deg == 45.5).all()
    counted = track.report.counted
    assert counted["sentences with a bad checksum"] == 1
    assert counted["sentences with no checksum"] == 1
    assert counted["vendor sentences"] == counted["other sentences"] == counted["lines without a sentence"] == 1


def test_invalid_fixes_are_dropped_whichever_sentence_says_so(tmp_path):
    text = gga("100000.00") + gga("100001.00", quality=0) + rmc("100002.00", status="V") + gga("100002.00")
    text += sentence("GPGGA,100003.00,,,,,0,,,,M,,M,,") + gga("100004.00", quality=8) + rmc("100005.00")
    track = read_track(write(tmp_path, text))
    assert (track.time_s % 86400).tolist() == [36000.0, 36005.0]
    assert track.report.dropped["the receiver calls it invalid"] == 4


@pytest.mark.parametrize("first_dated", [0, 2, 4, None])
def test_midnight_is_passed_with_and_without_dates(tmp_path, first_dated):
    moments = ["235958.00", "235959.00", "000000.00", "000001.00", "000002.00"]
    text = ""
    for number, moment in enumerate(moments):
        text += gga(moment)
        if first_dated is not None and number >= first_dated:
            text += rmc(moment, "300426" if number < 2 else "010526")
    track = read_track(write(tmp_path, text))
    day = 0.0 if first_dated is None else 1777507200.0
    assert (track.time_s - day).tolist() == [86398.0, 86399.0, 86400.0, 86401.0, 86402.0]


def test_logs_without_any_checksum_are_used(tmp_path):
    text = "".join(gga(f"10000{i}.00").partition("*")[0] + "\r\n" for i in range(3))
    assert len(read_track(write(tmp_path, text)).time_s) == 3


def test_minutes_of_60_or_missing_sides_are_no_position(tmp_path):
    text = gga("100000.00") + gga("100001.00", 60.0) + gga("100002.00").replace(",N,", ",,")
    with pytest.raises(InputError, match="two or more fixes, got 1"):
        read_track(write(tmp_path, text))


@needs("tracks")
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("gpx/cerknicko-without-times.gpx", "291 of 296 track points have no time"),
        ("nmea/pygpsdata-nmea4.log", "two or more fixes, got 1"),
        ("nmea/pygpsdata-nmeabadck.log", "2 sentences with a bad checksum"),
        ("nmea/septentriox5_nmea.log", "no position in this NMEA log .*4 vendor sentences"),
        ("nmea/trimble_nmea.log", "no position in this NMEA log .*19 vendor sentences"),
    ],
)
def test_real_logs_without_a_track_say_why(name, hint):
    with pytest.raises(InputError, match=hint):
        read_track(DATA / "tracks" / name)


@needs("tracks")
def test_real_logs_with_a_track_are_read():
    car = read_track(DATA / "tracks" / "gpx" / "around-visnjan-with-car.gpx")
    assert len(car.time_s) == 104
    trajectory = smooth_track(car)
    # The logger writes a fix each second in bends and waits up to 49 s on straight road.
    assert len(trajectory.gaps) == 14
    mixed = read_track(DATA / "tracks" / "nmea" / "pygpsdata-mixed.log")
    assert (mixed.time_s == [38473.0, 38474.0]).all()
    assert np.allclose(mixed.lat_deg[0], 53 + 27.03557 / 60, rtol=0, atol=1e-9)
    assert mixed.report.counted["lines without a sentence"] > 0


# EXIF


def photo(gps=None, camera=None):
    exif = Image.Exif()
    exif.get_ifd(IFD.GPSInfo).update(
        {GPS.GPSLatitudeRef: "S", GPS.GPSLatitude: (10.0, 30.0, 36.0), GPS.GPSLongitudeRef: "E",
         GPS.GPSLongitude: (9.0, 15.0, 0.0), **(gps or {})}
    )  # fmt: skip
    exif.get_ifd(IFD.Exif).update(camera or {})
    return exif


def test_exif_position_gps_time_accuracy_and_direction_are_read():
    fix = exif_fix(
        photo(
            {GPS.GPSDateStamp: "2026:05:01", GPS.GPSTimeStamp: (10.0, 0.0, 1.5), GPS.GPSHPositioningError: 3.03,
             GPS.GPSImgDirection: 123.25, GPS.GPSImgDirectionRef: "M"}
        )
    )  # fmt: skip
    assert (fix.lat_deg, fix.lon_deg) == (pytest.approx(-10.51), 9.25)
    assert (fix.time_s, fix.clock) == (1777629601.5, "GPS (UTC)")
    assert fix.accuracy_m == pytest.approx(2.0)
    assert (fix.azimuth_deg, fix.magnetic) == (123.25, True)


def test_the_clock_of_the_camera_is_used_without_gps_time_and_says_so():
    camera = {Base.DateTimeOriginal: "2026:05:01 12:00:01", Base.SubsecTimeOriginal: "25"}
    zoned = exif_fix(photo({GPS.GPSDOP: 2.0}, {**camera, Base.OffsetTimeOriginal: "+02:00"}))
    assert (zoned.time_s, zoned.clock) == (1777629601.25, "camera, zone +02:00")
    assert zoned.accuracy_m == pytest.approx(2 * 3.0 / np.sqrt(2))
    unzoned = exif_fix(photo(None, camera))
    assert (unzoned.time_s, unzoned.clock) == (1777636801.25, "camera, zone unknown")


@pytest.mark.parametrize(
    "gps",
    [
        {GPS.GPSLatitudeRef: ""}, {GPS.GPSLongitudeRef: "X"}, {GPS.GPSLatitude: (10.0, 30.0)}, {GPS.GPSLatitude: 10.5},
        {GPS.GPSLatitude: (IFDRational(1, 0), 0.0, 0.0)}, {GPS.GPSLatitude: (91.0, 0.0, 0.0)},
        {GPS.GPSLatitude: (1.0, 60.0, 0.0)}, {GPS.GPSLatitude: (0.0, 0.0, 0.0), GPS.GPSLongitude: (0.0, 0.0, 0.0)},
        {GPS.GPSLatitude: ("a", "b", "c")}, {GPS.GPSLongitude: b"\x00"}, {GPS.GPSStatus: "V"},
        {GPS.GPSLatitude: (float("nan"), 0.0, 0.0)},
    ],
)  # fmt: skip
def test_exif_positions_that_make_no_sense_are_none(gps):
    assert exif_fix(photo(gps)) is None


@pytest.mark.parametrize(
    "gps",
    [
        {GPS.GPSDateStamp: "rubbish", GPS.GPSTimeStamp: (1.0, 2.0, 3.0)}, {GPS.GPSTimeStamp: (IFDRational(1, 0), 0, 0)},
        {GPS.GPSDateStamp: "2026:05:01", GPS.GPSTimeStamp: (25.0, 0.0, 0.0)},
        {GPS.GPSHPositioningError: IFDRational(0, 0)},
        {GPS.GPSImgDirection: IFDRational(5, 0), GPS.GPSDOP: -1.0},
    ],
)  # fmt: skip
def test_exif_extras_that_make_no_sense_are_left_out(gps):
    fix = exif_fix(photo(gps, {Base.DateTimeOriginal: "0000:00:00 00:00:00"}))
    assert np.isnan([fix.time_s, fix.accuracy_m, fix.azimuth_deg]).all()
    assert fix.clock == ""


def test_no_exif_is_no_fix():
    assert exif_fix(Image.Exif()) is None


@needs("exif")
def test_real_photos_have_a_position_and_no_time():
    for path in sorted((DATA / "exif").glob("*.jpg")):
        with Image.open(path) as image:
            fix = exif_fix(image.getexif())
        assert (fix.lat_deg, fix.lon_deg) == (pytest.approx(55.6983, abs=1e-4), pytest.approx(13.1951, abs=1e-4))
        assert np.isnan(fix.time_s)


# Odometers


def test_odometers_from_speed_kmh_and_distance_agree(tmp_path):
    time = np.arange(0.0, 10.0, 0.5)
    texts = {"speed_m_s": 10.0 + 0 * time, "speed_kmh": 36.0 + 0 * time, "distance_m": 700.0 + 10.0 * time}
    for name, values in texts.items():
        rows = [f"{t},{value}" for t, value in zip(time, values, strict=True)]
        odometer = read_odometer(write(tmp_path, "\n".join([f"time_s,{name}", *rows, "x,1", "3,9"])))
        assert np.allclose(odometer.speed_m_s, 10.0)
        assert np.allclose(odometer.distance_at([1.25, 9.0]), [12.5, 90.0])
        assert np.isnan(odometer.distance_at([-0.1, 9.6])).all()
        assert odometer.dropped == 2


def test_odometers_without_a_usable_column_or_reading_say_so(tmp_path):
    with pytest.raises(InputError, match="speed_m_s, speed_kmh or distance_m, got time, rpm"):
        read_odometer(write(tmp_path, "time,rpm\n0,1\n1,1\n"))
    with pytest.raises(InputError, match="two or more readings, got 1"):
        read_odometer(write(tmp_path, "time,speed\n0,1\n1,x\n"))
