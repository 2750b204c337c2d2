"""Survey folders: which frames are found, in which order, where they lie, what each owns."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from pyproj import Transformer
from rasterio.transform import Affine, from_origin

from crackmap.calibration.errors import CalibrationError, InputError
from crackmap.calibration.plane import GroundLimits, GroundPlane
from crackmap.pipeline.footprint import visible_y_m
from crackmap.pipeline.grounds import find_grounds
from crackmap.pipeline.listing import natural_key
from crackmap.pipeline.records import CoordinateKind, Frame, Placement
from crackmap.pipeline.survey import read_survey

POINTS = """
[ground]
method = "points"
points_px = [[20, 20], [44, 20], [60, 44], [4, 44]]
points_m = [[-1.8, 10.0], [1.8, 10.0], [1.8, 4.0], [-1.8, 4.0]]
[limits]
coarsest_gsd_mm = 2000
farthest_m = 11.0
"""
CHAINAGE = """
[frames]
include = ["*.jpg"]
pattern = '(?P<recording>[a-z]+)_(?P<chainage_m>[0-9]+)\\.jpg$'
[position]
source = "chainage"
"""
COUNTER = CHAINAGE.replace("(?P<chainage_m>", "(?P<sequence>[0-9]+)_(?P<chainage_m>").replace(
    'source = "chainage"', 'source = "counter"\nstep_m = 5.0'
)


def image(path: Path, size=(64, 48)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 90, 90)).save(path)
    return path


def describe(folder: Path, text: str) -> Path:
    (folder / "survey.toml").write_text(text, encoding="utf-8")
    return folder


def raster(path: Path, *, crs="EPSG:32633", origin=(392_000.25, 5_820_000.5), gsd=0.01) -> Path:
    transform = from_origin(*origin, gsd, gsd) if crs else Affine.identity()
    profile = {"driver": "GTiff", "width": 30, "height": 20, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", crs=crs, transform=transform, **profile) as dataset:
        dataset.write(np.full((3, 20, 30), 80, np.uint8))
    return path


def keys(survey):
    return [frame.key for frame in survey.frames]


def owned_chainage(frame: Frame) -> tuple[float, float]:
    assert frame.owns_y_m is not None
    assert frame.chainage_m is not None
    return frame.chainage_m + frame.owns_y_m[0], frame.chainage_m + frame.owns_y_m[1]


def corners_out(frame: Frame):
    width, height = frame.size_wh_px
    corners = np.array([(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)])
    local = corners * [1, -1] + [0, height] if frame.ground is None else frame.ground.to_ground_xy_m(corners)
    return frame.placement.to_output_xy(local)


def test_names_are_ordered_naturally_and_keys_have_forward_slashes(tmp_path):
    for name in ("b/img10.jpg", "b/img9.JPG", "a2/x.png", "a10/x.png"):
        image(tmp_path / name)
    (tmp_path / ".cache").mkdir()
    image(tmp_path / ".cache" / "thumb.jpg")
    survey = read_survey(tmp_path)
    assert keys(survey) == ["a2/x.png", "a10/x.png", "b/img9.JPG", "b/img10.jpg"]
    assert [frame.recording for frame in survey.frames] == ["a2", "a10", "b", "b"]
    assert survey.name == tmp_path.name


def test_natural_order_takes_digits_of_any_script():
    names = ["a1²2", "a1²10", "a²", "٣", "9"]
    assert sorted(names, key=natural_key) == ["9", "a1²2", "a1²10", "a²", "٣"]


def test_products_of_an_earlier_run_inside_the_folder_are_no_frames(tmp_path):
    image(tmp_path / "a.jpg")
    image(tmp_path / "out" / "masks" / "a.jpg")
    (tmp_path / "out" / "journal.sqlite").touch()
    assert keys(read_survey(tmp_path)) == ["a.jpg"]


def test_products_of_an_earlier_run_in_the_folder_itself_are_no_frames(tmp_path):
    for name in ("a.jpg", "masks/a.png", "strips/a.png", "day/masks/b.jpg"):
        image(tmp_path / name)
    assert set(keys(read_survey(tmp_path))) == {"a.jpg", "day/masks/b.jpg", "masks/a.png", "strips/a.png"}
    (tmp_path / "journal.sqlite").touch()
    assert set(keys(read_survey(tmp_path))) == {"a.jpg", "day/masks/b.jpg"}


def test_a_folder_with_the_name_of_a_journal_is_none(tmp_path):
    for name in ("a.jpg", "sub/b.jpg", "masks/c.jpg"):
        image(tmp_path / name)
    for folder in (tmp_path, tmp_path / "sub"):
        (folder / "journal.sqlite").mkdir()
    assert set(keys(read_survey(tmp_path))) == {"a.jpg", "sub/b.jpg", "masks/c.jpg"}


@pytest.mark.parametrize("follow_links", [False, True])
def test_links_that_lead_to_each_other_stop_no_survey(tmp_path, follow_links):
    image(tmp_path / "a.jpg")
    (tmp_path / "one").symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(tmp_path / "one")
    assert keys(read_survey(tmp_path, follow_links=follow_links)) == ["a.jpg"]


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    image(tmp_path / "a.jpg")
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refusing(path):
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(InputError, match=r"closed: this folder cannot be read \(Permission denied\).*or move it out"):
        read_survey(tmp_path)


def test_include_and_exclude_choose_by_name_or_path(tmp_path):
    for name in ("a_RAW.jpg", "a_LANE.png", "old/b_RAW.jpg"):
        image(tmp_path / name)
    describe(tmp_path, '[frames]\ninclude = ["*_raw.jpg"]\nexclude = ["old/*"]\n')
    assert keys(read_survey(tmp_path)) == ["a_RAW.jpg"]


def test_an_empty_folder_says_what_was_looked_for_and_what_is_there(tmp_path):
    (tmp_path / "video.mp4").touch()
    (tmp_path / "notes").touch()
    (tmp_path / "more.mp4").touch()
    with pytest.raises(InputError, match=r"no image found; looked for \*.jpg, .*; the folder holds 2 x .mp4, 1 x no s"):
        read_survey(tmp_path)
    with pytest.raises(InputError, match="no such folder or image"):
        read_survey(tmp_path / "absent")


def test_bad_images_are_named_and_do_not_stop_the_survey(tmp_path):
    image(tmp_path / "good_10.jpg")
    (tmp_path / "bad_20.jpg").write_bytes(b"not an image")
    image(tmp_path / "unnamed.jpg")
    describe(tmp_path, CHAINAGE + POINTS)
    survey = read_survey(tmp_path)
    assert keys(survey) == ["good_10.jpg"]
    assert survey.skipped == (
        ("bad_20.jpg", "not a JPEG, PNG or TIFF"),
        ("unnamed.jpg", "its name does not fit [frames] pattern"),
    )
    unplaced = survey.unplaced_frame("bad_20.jpg")
    assert (unplaced.recording, unplaced.chainage_m) == ("bad", 20.0)
    assert survey.unplaced_frame("unnamed.jpg").chainage_m is None


def test_only_bad_images_are_an_error(tmp_path):
    (tmp_path / "bad.jpg").touch()
    with pytest.raises(InputError, match=r"none of 1 images can be used; the first, bad.jpg: empty file"):
        read_survey(tmp_path)


def test_sheet_in_pixels_has_images_one_above_the_other(tmp_path):
    image(tmp_path / "1.jpg", (60, 40))
    image(tmp_path / "2.jpg", (30, 20))
    survey = read_survey(tmp_path)
    assert (survey.output.kind, survey.output.unit) == (CoordinateKind.SHEET, "px")
    top, bottom = (corners_out(frame) for frame in survey.frames)
    assert top.min(axis=0).tolist() == [0.0, -40.0]
    assert top.max(axis=0).tolist() == [60.0, 0.0]
    assert bottom.min(axis=0).tolist() == [0.0, -64.0]
    assert bottom.max(axis=0).tolist() == [30.0, -44.0]
    assert any("no ground scale" in note and "--gsd" in note for note in survey.notes)
    assert any("no position known" in note for note in survey.notes)


def test_sheet_with_a_scale_is_in_metres(tmp_path):
    image(tmp_path / "1.jpg", (60, 40))
    image(tmp_path / "2.jpg", (60, 40))
    survey = read_survey(tmp_path, gsd_mm=(10.0, 20.0))
    assert (survey.output.kind, survey.output.unit) == (CoordinateKind.SHEET, "m")
    top, bottom = (corners_out(frame) for frame in survey.frames)
    assert np.allclose([top.min(axis=0), top.max(axis=0)], [[0.0, -0.8], [0.6, 0.0]])
    assert np.allclose([bottom.min(axis=0), bottom.max(axis=0)], [[0.0, -1.68], [0.6, -0.88]])
    assert survey.source["gsd_mm"] == [10.0, 20.0]
    assert all(frame.owns_y_m is None for frame in survey.frames)


def test_strips_tile_the_road_where_frames_are_dense(tmp_path):
    for chainage in (100, 105, 109, 115, 120):
        image(tmp_path / f"a_{chainage}.jpg")
    survey = read_survey(describe(tmp_path, CHAINAGE + POINTS))
    assert survey.output.kind == CoordinateKind.ROAD
    strips = [owned_chainage(frame) for frame in survey.frames]
    assert [low for low, _ in strips[1:]] == pytest.approx([high for _, high in strips[:-1]], abs=1e-9)
    assert strips[-1][1] - strips[-1][0] == pytest.approx(5.0)
    assert survey.frames[0].placement == Placement((0.0, 100.0))


def test_a_strip_ends_where_its_frame_sees_no_more(tmp_path):
    for chainage in (100, 105, 110, 150, 155):
        image(tmp_path / f"a_{chainage}.jpg")
    survey = read_survey(describe(tmp_path, CHAINAGE + POINTS))
    lows, highs = zip(*(owned_chainage(frame) for frame in survey.frames), strict=True)
    assert highs[2] == pytest.approx(121.0, abs=1e-3)
    assert lows[3] > 150.0


def test_frames_at_one_place_own_the_road_once(tmp_path):
    for name in ("a_100.jpg", "a_0100.jpg", "a_105.jpg"):
        image(tmp_path / name)
    survey = read_survey(describe(tmp_path, CHAINAGE + POINTS))
    owned = sum(high - low for low, high in (owned_chainage(frame) for frame in survey.frames))
    assert owned == pytest.approx(10.0)


def test_recordings_are_kept_apart(tmp_path):
    for name in ("b_5.jpg", "a_100.jpg", "a_95.jpg", "b_10.jpg"):
        image(tmp_path / name)
    survey = read_survey(describe(tmp_path, CHAINAGE + POINTS))
    assert keys(survey) == ["a_95.jpg", "a_100.jpg", "b_5.jpg", "b_10.jpg"]
    assert [frame.placement.origin_xy for frame in survey.frames] == [(0, 95), (0, 100), (50, 5), (50, 10)]
    assert any("side by side" in note for note in survey.notes)


def test_images_that_cannot_be_read_keep_the_counted_chainage_and_move_no_other(tmp_path):
    for name in ("a_8_102.jpg", "a_9_104.jpg", "a_11_108.jpg"):
        image(tmp_path / name)
    for name in ("a_7_100.jpg", "a_10_106.jpg"):
        (tmp_path / name).write_bytes(b"not an image")
    image(tmp_path / "a_12_110.jpg", (65, 48))
    survey = read_survey(describe(tmp_path, COUNTER + POINTS))
    assert {frame.key: frame.chainage_m for frame in survey.frames} == {
        "a_8_102.jpg": 105.0,
        "a_9_104.jpg": 110.0,
        "a_11_108.jpg": 120.0,
    }
    skipped = {key: survey.unplaced_frame(key) for key, _ in survey.skipped}
    assert {key: frame.chainage_m for key, frame in skipped.items()} == {
        "a_7_100.jpg": 100.0,
        "a_10_106.jpg": 115.0,
        "a_12_110.jpg": 125.0,
    }
    assert skipped["a_10_106.jpg"].placement == Placement((0.0, 115.0))


def test_without_a_position_source_the_chainage_in_names_only_orders(tmp_path):
    for name in ("a_100.jpg", "a_95.jpg"):
        image(tmp_path / name)
    (tmp_path / "a_105.jpg").write_bytes(b"not an image")
    survey = read_survey(describe(tmp_path, CHAINAGE.replace('"chainage"', '"none"')))
    assert [(frame.key, frame.chainage_m) for frame in survey.frames] == [("a_95.jpg", None), ("a_100.jpg", None)]
    assert survey.unplaced_frame("a_105.jpg").chainage_m is None


def test_images_without_a_chainage_in_their_names_are_skipped_by_name(tmp_path):
    for name in ("a_100.jpg", "a_105.jpg", "a_.jpg"):
        image(tmp_path / name)
    text = CHAINAGE.replace("(?P<chainage_m>[0-9]+)", "(?P<chainage_m>[0-9]+)?")
    survey = read_survey(describe(tmp_path, text + POINTS))
    assert keys(survey) == ["a_100.jpg", "a_105.jpg"]
    assert survey.skipped == (("a_.jpg", "no chainage in its name"),)
    assert survey.unplaced_frame("a_.jpg").chainage_m is None
    for key in keys(survey):
        (tmp_path / key).unlink()
    with pytest.raises(InputError, match=r"a_.jpg: no chainage in its name, nor in that of any other image; check"):
        read_survey(tmp_path)


def blind_where(recordings, monkeypatch):
    """Makes the planes of these recordings trust only ground beside their image."""

    def found(entries, ground, limits, **given):
        grounds = find_grounds(entries, ground, limits, **given)
        for view, plane in list(grounds.planes.items()):
            if view[0] in recordings:
                beside = replace(plane.limits, lateral_m=(50.0, 51.0))
                grounds.planes[view] = GroundPlane(plane.ground_from_pixel, plane.size_wh_px, beside)
        return grounds

    monkeypatch.setattr("crackmap.pipeline.survey.find_grounds", found)


@pytest.mark.parametrize("source", ["chainage", "none"])
def test_a_recording_without_visible_road_is_skipped_by_name(tmp_path, monkeypatch, source):
    for name in ("a_100.jpg", "b_5.jpg", "b_10.jpg", "c_20.jpg"):
        image(tmp_path / name)
    describe(tmp_path, CHAINAGE.replace('"chainage"', f'"{source}"') + POINTS)
    blind_where({"b"}, monkeypatch)
    survey = read_survey(tmp_path)
    assert keys(survey) == ["a_100.jpg", "c_20.jpg"]
    assert [key for key, _ in survey.skipped] == ["b_5.jpg", "b_10.jpg"]
    for _, reason in survey.skipped:
        assert reason.startswith("no visible road for b: ground plane: nothing at the near edge of the image")
    blind_where({"a", "b", "c"}, monkeypatch)
    with pytest.raises(CalibrationError, match=r"4 images cannot be placed; the first, a_100.jpg: no visible road for"):
        read_survey(tmp_path)


def test_a_counter_gives_the_chainage_from_the_first_image_on(tmp_path):
    for name in ("a_7_100.jpg", "a_8_102.jpg", "a_10_106.jpg", "b_3_20.jpg"):
        image(tmp_path / name)
    survey = read_survey(describe(tmp_path, COUNTER + POINTS))
    assert [frame.chainage_m for frame in survey.frames] == [100.0, 105.0, 115.0, 20.0]
    assert owned_chainage(survey.frames[0])[1] == pytest.approx(owned_chainage(survey.frames[1])[0])


def test_chainage_without_a_scale_falls_back_to_a_sheet_and_says_so(tmp_path):
    image(tmp_path / "a_100.jpg")
    survey = read_survey(describe(tmp_path, CHAINAGE))
    assert survey.output.unit == "px"
    assert survey.frames[0].chainage_m == 100.0
    assert any(note.startswith("no ground scale: images are laid out on a sheet") for note in survey.notes)


def test_images_of_another_size_do_not_get_a_plane_that_is_not_theirs(tmp_path):
    for chainage in (100, 105):
        image(tmp_path / f"a_{chainage}.jpg")
    image(tmp_path / "a_110.jpg", (65, 48))
    survey = read_survey(describe(tmp_path, CHAINAGE + POINTS))
    assert survey.skipped == (("a_110.jpg", "its size (65, 48) differs from (64, 48) of the other frames of a"),)


def test_lane_method_without_masks_names_what_it_looks_for(tmp_path):
    image(tmp_path / "a_100.jpg")
    lane = '[ground]\nmethod = "lane"\nlane_width_m = 3.6\nfocal_px = 100\nmask_replace = [".jpg", "_LANE.png"]\n'
    with pytest.raises(CalibrationError, match=r"no lane mask found; .*'_LANE\.png' beside"):
        read_survey(describe(tmp_path, CHAINAGE + lane))


def track_survey(tmp_path, times, gsd_mm=50.0):
    lon, lat = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True).transform(
        392_000.0 + 6.0 * np.arange(11), 5_820_000.0 + 8.0 * np.arange(11)
    )
    rows = [f"{second},{y:.10f},{x:.10f}" for second, (x, y) in enumerate(zip(lon, lat, strict=True))]
    (tmp_path / "gnss.csv").write_text("\n".join(["time_s,lat_deg,lon_deg", *rows]), encoding="utf-8")
    for time in times:
        image(tmp_path / f"f_t{time:.3f}.jpg")
    return describe(
        tmp_path,
        "[frames]\npattern = '_t(?P<time_s>[0-9.]+)\\.jpg$'\n[position]\nsource = 'track'\ntrack = 'gnss.csv'\n"
        f"[ground]\nmethod = 'gsd'\ngsd_mm = {gsd_mm}\n",
    )


def test_track_places_frames_on_the_map_along_the_direction_of_travel(tmp_path):
    survey = read_survey(track_survey(tmp_path, [2.0, 2.2, 2.4, 20.0]))
    assert survey.output.kind == CoordinateKind.MAP
    assert "UTM zone 33N" in survey.output.crs_wkt
    assert survey.skipped == ()
    (lost,), (reason,) = survey.unplaced, survey.unplaced_why
    assert (lost.key, lost.chainage_m) == ("f_t20.000.jpg", None)
    assert reason == "no_position: 10.0 s from the nearest fix"
    first = survey.frames[0]
    assert np.allclose(first.placement.origin_xy, (392_012.0, 5_820_016.0), atol=1e-3)
    assert first.placement.azimuth_deg == pytest.approx(np.degrees(np.arctan2(6, 8)), abs=1e-3)
    # The point 1 m ahead lies 1 m along (0.6, 0.8).
    ahead = first.placement.to_output_xy(np.array([[0.0, 1.0]]))[0] - first.placement.origin_xy
    assert np.allclose(ahead, (0.6, 0.8), atol=1e-4)


def test_downward_strips_tile_the_track(tmp_path):
    survey = read_survey(track_survey(tmp_path, [2.0, 2.2, 2.4, 4.0]))
    strips = [frame.owns_y_m for frame in survey.frames]
    # 10 m/s (on the ellipsoid, 0.03 % from the grid), images 48 px of 50 mm = 2.4 m long.
    assert [low for low, _ in strips] == [0.0] * 4
    assert [high for _, high in strips] == pytest.approx([2.0, 2.0, 2.4, 2.0], abs=2e-3)


def test_no_frame_on_the_track_is_an_error_that_shows_both_clocks(tmp_path):
    with pytest.raises(InputError, match=r"from 0\.000 to 10\.000 s, the frames from 99\.000 to 99\.000 s"):
        read_survey(track_survey(tmp_path, [99.0]))


def test_georeferenced_rasters_lie_where_they_say(tmp_path):
    raster(tmp_path / "a.tif")
    raster(tmp_path / "b.tif", origin=(392_000.25, 5_820_010.5), gsd=0.02)
    raster(tmp_path / "plain.tif", crs=None)
    survey = read_survey(tmp_path, gsd_mm=1.0)
    assert survey.output.kind == CoordinateKind.MAP
    assert np.allclose(corners_out(survey.frames[0])[0], (392_000.25, 5_820_000.5), atol=1e-6)
    assert np.allclose(corners_out(survey.frames[1])[2], (392_000.85, 5_820_010.1), atol=1e-6)
    assert [key for key, _ in survey.skipped] == ["plain.tif"]
    assert any("carry their own scale" in note for note in survey.notes)
    assert len(read_survey(tmp_path / "a.tif").frames) == 1


def test_rasters_of_different_crs_are_refused(tmp_path):
    raster(tmp_path / "a.tif")
    raster(tmp_path / "b.tif", crs="EPSG:32632")
    with pytest.raises(InputError, match=r"b.tif: expected the CRS of a.tif"):
        read_survey(tmp_path)


def test_one_image_is_a_survey(tmp_path):
    image(tmp_path / "a.jpg")
    image(tmp_path / "b.jpg")
    survey = read_survey(tmp_path / "b.jpg", gsd_mm=1.0)
    assert keys(survey) == ["b.jpg"]
    assert (survey.name, survey.root) == ("b", tmp_path)


def test_reading_again_by_its_source_gives_the_same_survey(tmp_path):
    for chainage in (100, 105):
        image(tmp_path / f"a_{chainage}.jpg")
    (tmp_path / "other.toml").write_text(CHAINAGE + POINTS, encoding="utf-8")
    survey = read_survey(tmp_path, survey=str(tmp_path / "other.toml"))
    source = survey.source
    again = read_survey(Path(source["path"]), survey=source["survey"], gsd_mm=source["gsd_mm"])
    assert [(f.key, f.owns_y_m, f.placement) for f in again.frames] == [
        (f.key, f.owns_y_m, f.placement) for f in survey.frames
    ]


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_every_output_crs_is_taken_by_gdal_and_by_a_geopackage(tmp_path, kind):
    geopandas = pytest.importorskip("geopandas")
    shapely = pytest.importorskip("shapely")
    image(tmp_path / "a_100.jpg")
    if kind == 2:
        describe(tmp_path, CHAINAGE + POINTS)
    wkt = read_survey(tmp_path, gsd_mm=1.0 if kind == 1 else None).output.crs_wkt
    with rasterio.open(
        tmp_path / "x.tif", "w", driver="COG", width=8, height=8, count=1, dtype="uint8", crs=wkt,
        transform=from_origin(0, 8, 1, 1),
    ) as dataset:  # fmt: skip
        dataset.write(np.zeros((1, 8, 8), np.uint8))
    with rasterio.open(tmp_path / "x.tif") as dataset:
        assert wkt.split('"')[1] in dataset.crs.to_wkt()
    table = geopandas.GeoDataFrame({"n": [1]}, geometry=[shapely.LineString([(0, 0), (1, 2)])], crs=wkt)
    table.to_file(tmp_path / "x.gpkg", layer="cracks", driver="GPKG", engine="pyogrio")
    again = geopandas.read_file(tmp_path / "x.gpkg", engine="pyogrio")
    assert again.crs.type_name == "Engineering CRS"
    assert again.crs.name == table.crs.name
    assert again.geometry.iloc[0].equals(table.geometry.iloc[0])


def test_visible_road_of_a_downward_camera_is_its_image():
    plane = GroundPlane.from_gsd(gsd_mm=1.5, size_wh_px=(1000, 800))
    assert visible_y_m(plane) == pytest.approx((0.0, 1.2), abs=1e-5)
    blind = GroundPlane(plane.ground_from_pixel, (1000, 800), GroundLimits(coarsest_gsd_mm=0.1))
    with pytest.raises(CalibrationError, match="trust limits"):
        visible_y_m(blind)


def real_data() -> Path:
    data = Path(os.environ.get("CRACKMAP_DATA", Path(__file__).parents[3] / "shared" / "data")) / "dnit"
    if not data.is_dir():
        pytest.skip("no real data: set CRACKMAP_DATA")
    return data


def test_real_highway_recording_has_a_plausible_ground_plane():
    survey = read_survey(real_data() / "290RS294095", survey="dnit")
    assert len(survey.frames) == 300
    assert survey.skipped == ()
    plane = survey.frames[0].ground
    assert plane is not None
    # A pixel across the lane at 5 m, and the camera's height of about 2.7 m behind it.
    assert plane.gsd_mm(plane.to_pixel_xy([(0.0, 5.0)]))[0, 0] == pytest.approx(4.2, abs=0.3)
    assert 3.5 < visible_y_m(plane)[0] < 4.8
    dense = [b for a, b in zip(survey.frames, survey.frames[1:], strict=False) if b.chainage_m - a.chainage_m == 5.0]
    assert len(dense) > 150
    for first, second in zip(survey.frames, survey.frames[1:], strict=False):
        assert owned_chainage(first)[1] <= owned_chainage(second)[0] + 1e-9
