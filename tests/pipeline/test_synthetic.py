"""Synthetic surveys: what is drawn is what the truth says, at the place the calibration says."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import geopandas as gpd
import numpy as np
import pytest
import shapely

from crackmap.calibration.errors import InputError
from crackmap.pipeline.survey import read_survey
from crackmap.pipeline.synthetic import KINDS, RoadTruth, SyntheticSettings, TrueCrack, read_truth, write_survey
from crackmap.pipeline.synthetic.cracks import draw_cracks
from crackmap.pipeline.synthetic.frames import make_road, plan_pass, render_frame
from crackmap.pipeline.synthetic.settings import camera_of
from crackmap.pipeline.synthetic.strokes import seen, strokes_of
from crackmap.pipeline.synthetic.write import _unit_noise

SMALL = SyntheticSettings(frames=3, size_wh_px=(320, 240), gsd_mm=4.0, seed=3)
FORWARD = SyntheticSettings(frames=3, camera="forward", size_wh_px=(640, 480), focal_px=550.0, pitch_deg=24.0, seed=3)
CAMERAS = {"downward": SMALL, "unequal": replace(SMALL, gsd_mm=(3.0, 5.0)), "forward": FORWARD}


@pytest.fixture(scope="module")
def long_road() -> RoadTruth:
    settings = SyntheticSettings(frames=60, seed=1)
    return draw_cracks(settings, camera_of(settings))


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", CAMERAS)
@pytest.mark.parametrize("azimuth_deg", [0.0, 35.0, 90.0])
def test_the_mask_covers_the_length_times_the_width_of_a_crack_on_the_road(name: str, azimuth_deg: float) -> None:
    camera = camera_of(CAMERAS[name])
    angle = np.deg2rad(azimuth_deg)
    reach = np.array([np.sin(angle), np.cos(angle)]) * 0.12
    centre = np.array([0.03, (camera.near_m + camera.far_m) / 2])
    width_m = 0.02
    line = np.array([centre - reach, centre, centre + reach])
    window = seen(strokes_of([(line, np.full(3, width_m), np.ones(3))]), camera.plane, (0.0, 0.0), (0.0, 9.0))
    assert window is not None
    y, x = np.mgrid[window.rows, window.columns] + 0.5
    pixels = np.column_stack([x.ravel(), y.ravel()])
    area_m2 = np.abs(np.linalg.det(camera.plane.jacobian_mm(pixels))) / 1e6
    # The ground area of a pixel is taken in its middle; the perspective leaves 0.1 % of rounding.
    assert window.covered.ravel() @ area_m2 == pytest.approx(0.24 * width_m, rel=1e-6 if name != "forward" else 2e-3)


def test_nothing_behind_the_camera_is_drawn() -> None:
    camera = camera_of(FORWARD)
    behind = np.array([[-0.5, -6.0], [0.5, 1.0]])
    assert seen(strokes_of([(behind, np.full(2, 0.05), np.ones(2))]), camera.plane, (0.0, 0.0), (-30.0, 30.0)) is None
    through = np.array([[0.0, -20.0], [0.0, camera.far_m]])
    window = seen(strokes_of([(through, np.full(2, 0.05), np.ones(2))]), camera.plane, (0.0, 0.0), (-30.0, 30.0))
    assert window is not None
    columns = np.arange(640)[window.columns]
    assert (np.abs(columns + 0.5 - 320) < 20).all()
    assert window.rows.stop == 480
    # One unbroken line from its far end to the lower edge of the image.
    assert (window.covered.sum(axis=1)[1:] > 1).all()


@pytest.mark.parametrize("name", CAMERAS)
def test_overlapping_frames_show_a_crack_at_the_same_place_on_the_road(name: str) -> None:
    settings = replace(CAMERAS[name], cracks_per_10m=0.0, distractors=False)
    camera = camera_of(settings)
    middle = (camera.near_m + camera.far_m) / 2
    settings = replace(settings, step_m=0.3 * (camera.far_m - camera.near_m))
    camera = camera_of(settings)
    place = np.array([0.07, middle - camera.near_m])
    mark = TrueCrack("T001", "straight", "G001", place + [[-0.04, 0.0], [0.04, 0.0]], np.full(2, 30.0))
    road = make_road(settings, camera, replace(draw_cracks(settings, camera), cracks=(mark,)))
    drive = plan_pass(settings, camera, 1)
    for index in (0, 1):
        _, mask = render_frame(road, drive, index)
        y, x = np.nonzero(mask)
        pixels = np.column_stack([x, y]) + 0.5
        area = np.abs(np.linalg.det(camera.plane.jacobian_mm(pixels))) * mask[y, x]
        found = area @ camera.plane.to_ground_xy_m(pixels) / area.sum() + drive.vehicle_xy_m(index, camera.step_m)
        assert found == pytest.approx(place, abs=5e-4)


def test_overlapping_frames_show_the_same_surface() -> None:
    settings = replace(SMALL, step_m=0.4, noise_levels=0.0)
    camera = camera_of(settings)
    road = make_road(settings, camera, draw_cracks(settings, camera))
    drive = plan_pass(settings, camera, 1)
    (first, _), (second, _) = (render_frame(road, drive, index) for index in (0, 1))
    # 0.4 m are 100 rows; near the edge the optics see what the other frame does not show.
    difference = first[4:136].astype(int) - second[104:236].astype(int)
    assert np.abs(difference).max() <= 2


@pytest.mark.parametrize("settings", [SMALL, FORWARD], ids=["downward", "forward"])
def test_the_same_seed_gives_the_same_bytes_and_another_one_another_road(
    settings: SyntheticSettings, tmp_path: Path
) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_survey(tmp_path / name, replace(settings, seed=seed))
    first, again, other = (files_of(tmp_path / name) for name in "abc")
    assert first == again
    assert first["truth.json"] != other["truth.json"]
    assert {Path(name).stem for name in first if name.startswith("images")} == {
        Path(name).stem for name in first if name.startswith("masks")
    }


def test_a_second_pass_drives_the_same_road_differently(tmp_path: Path) -> None:
    settings = replace(SMALL, gnss_noise_m=0.02)
    write_survey(tmp_path / "both", settings, passes=2)
    write_survey(tmp_path / "second", settings, only_pass=2)
    one, two = files_of(tmp_path / "both" / "pass1"), files_of(tmp_path / "both" / "pass2")
    assert one["truth.json"] == two["truth.json"] and one["truth.gpkg"] == two["truth.gpkg"]
    assert one["gnss.csv"] != two["gnss.csv"]
    assert not set(one) & {name for name in two if name.startswith("images")}
    assert files_of(tmp_path / "second") == two


def test_later_passes_see_cracks_that_have_grown_by_what_is_stated_and_the_first_is_as_before(tmp_path: Path) -> None:
    settings = SyntheticSettings(frames=12, size_wh_px=(640, 480), gsd_mm=4.0, cracks_per_10m=8, seed=2)
    grows = replace(settings, grow_share=0.5, grow_length_percent=25, grow_width_mm=2.0, grow_new_share=0.2)
    write_survey(tmp_path / "plain", settings)
    write_survey(tmp_path / "grows", grows, passes=2)
    assert files_of(tmp_path / "grows" / "pass1") == files_of(tmp_path / "plain")
    before, after = (read_truth(tmp_path / "grows" / name) for name in ("pass1", "pass2"))
    old = {crack.crack_id: crack for crack in before.cracks}
    assert [crack.crack_id for crack in after.cracks][: len(old)] == list(old) and len(after.cracks) > len(old)
    wider = [crack.mean_width_mm - old[crack.crack_id].mean_width_mm for crack in after.cracks if crack.crack_id in old]
    assert 0.2 < np.mean([value > 1.0 for value in wider]) < 0.9
    grown = [c.length_m / old[c.crack_id].length_m - 1 for c in after.cracks if c.crack_id in old]
    assert max(grown) == pytest.approx(0.25, abs=1e-3) and min(grown) >= 0
    for crack in after.cracks:
        if crack.crack_id in old:
            assert {tuple(point) for point in old[crack.crack_id].road_xy_m.tolist()} <= {
                tuple(point) for point in crack.road_xy_m.tolist()
            }


def test_the_truth_is_read_back_as_it_was_drawn_and_the_map_shows_the_same(tmp_path: Path) -> None:
    settings = SyntheticSettings(frames=4, size_wh_px=(800, 600), gsd_mm=4.0, cracks_per_10m=8, seed=2)
    truth = write_survey(tmp_path, settings)
    assert json.dumps(repr(read_truth(tmp_path))) == json.dumps(repr(truth))
    for one, other in zip(read_truth(tmp_path / "truth.json").cracks, truth.cracks, strict=True):
        assert np.array_equal(one.road_xy_m, other.road_xy_m) and np.array_equal(one.width_mm, other.width_mm)
    cracks = gpd.read_file(tmp_path / "truth.gpkg", layer="cracks")
    networks = gpd.read_file(tmp_path / "truth.gpkg", layer="networks")
    assert cracks.crs.to_epsg() == truth.epsg
    assert list(cracks["crack_id"]) == [crack.crack_id for crack in truth.cracks]
    for row, crack in zip(cracks.itertuples(), truth.cracks, strict=True):
        assert np.array_equal(shapely.get_coordinates(row.geometry), truth.to_map_xy(crack.road_xy_m))
        assert json.loads(row.width_mm) == crack.width_mm.tolist()
        assert row.length_m == pytest.approx(crack.length_m)
    assert [row.geometry.area for row in networks.itertuples()] == pytest.approx([n.area_m2 for n in truth.networks])


def test_a_file_that_is_no_truth_is_refused(tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text("[]")
    with pytest.raises(InputError, match=r"truth\.json"):
        read_truth(tmp_path)
    with pytest.raises(InputError, match="crackmap synth"):
        read_truth(tmp_path / "none.json")


def test_every_kind_and_every_width_class_occurs(long_road: RoadTruth) -> None:
    assert {crack.kind for crack in long_road.cracks} == set(KINDS)
    width_px = np.array([crack.mean_width_mm / 2.0 for crack in long_road.cracks if crack.kind != "network"])
    classes, _ = np.histogram(width_px, [1, 2, 3, 5, 10, 20])
    assert (classes >= 3).all()
    assert width_px.max() < 20
    assert all(0.35 <= crack.depth <= 0.8 for crack in long_road.cracks)


def test_systems_keep_apart_and_branches_start_in_a_vertex_of_their_crack(long_road: RoadTruth) -> None:
    systems: dict[str, list[TrueCrack]] = {}
    for crack in long_road.cracks:
        systems.setdefault(crack.group, []).append(crack)
    shapes = [shapely.MultiLineString([crack.road_xy_m for crack in system]) for system in systems.values()]
    tree = shapely.STRtree(shapes)
    one, other = tree.query(shapes, predicate="dwithin", distance=0.2)
    assert (one == other).all()
    branches = [crack for crack in long_road.cracks if crack.kind == "branch"]
    assert len(branches) > 5
    for branch in branches:
        parent = {tuple(point) for point in systems[branch.group][0].road_xy_m.tolist()}
        assert parent & {tuple(point) for point in branch.road_xy_m.tolist()}


def test_the_cells_of_a_network_fill_its_outline(long_road: RoadTruth) -> None:
    assert long_road.networks
    for network in long_road.networks:
        lines = [shapely.LineString(crack.road_xy_m) for crack in long_road.cracks if crack.group == network.group]
        cells = shapely.get_parts(shapely.polygonize(lines))
        assert len(cells) == network.cell_count >= 3
        assert sum(cell.area for cell in cells) == pytest.approx(network.area_m2)


def test_a_survey_takes_the_place_of_an_earlier_one_and_of_nothing_else(tmp_path: Path) -> None:
    write_survey(tmp_path, replace(SMALL, frames=5))
    write_survey(tmp_path, replace(SMALL, step_m=0.3))
    assert len(list((tmp_path / "images").iterdir())) == len(list((tmp_path / "masks").iterdir())) == 3
    (tmp_path / "images" / "holiday.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="holiday"):
        write_survey(tmp_path, SMALL)


@pytest.mark.parametrize("name", CAMERAS)
def test_the_survey_reads_back_with_its_exact_calibration_and_place(name: str, tmp_path: Path) -> None:
    settings = CAMERAS[name]
    truth = write_survey(tmp_path, settings)
    camera = camera_of(settings)
    survey = read_survey(tmp_path)
    assert len(survey.frames) == settings.frames and not survey.skipped
    points = np.array([[0.2, camera.near_m + 0.1], [-0.3, camera.far_m - 0.1]])
    for index, frame in enumerate(survey.frames):
        assert frame.ground is not None
        assert frame.ground.to_pixel_xy(points) == pytest.approx(camera.plane.to_pixel_xy(points), abs=1e-6)
        on_road = points + plan_pass(settings, camera, 1).vehicle_xy_m(index, camera.step_m)
        assert frame.placement.to_output_xy(points) == pytest.approx(truth.to_map_xy(on_road), abs=2e-4)


@pytest.mark.parametrize("settings", [SMALL, FORWARD], ids=["downward", "forward"])
def test_photographs_serve_as_background(settings: SyntheticSettings, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name, level in (("a", 90), ("b", 130)):
        picture = np.full((150, 200, 3), level, np.uint8)
        (tmp_path / "photos" / f"{name}.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    settings = replace(settings, background=tmp_path / "photos", noise_levels=0.0, cracks_per_10m=0.0)
    write_survey(tmp_path / "out", settings)
    for path in sorted((tmp_path / "out" / "images").iterdir()):
        levels = cv2.imread(str(path))
        assert levels.min() >= 87 and levels.max() <= 133


def test_a_background_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="background"):
        write_survey(tmp_path / "out", replace(SMALL, background=tmp_path))


@pytest.mark.parametrize(
    "wrong", [{"kinds": ("zigzag",)}, {"frames": 1}, {"jpeg_quality": 0}, {"step_m": 50.0}, {"gnss_noise_m": -1.0}]
)
def test_settings_that_cannot_be_drawn_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        camera_of(replace(SMALL, **wrong))  # type: ignore[arg-type]


def test_the_noise_of_fixes_is_as_stated_half_of_it_white() -> None:
    noise = _unit_noise(np.random.default_rng(0), 100_000)
    assert noise.std(axis=0) == pytest.approx([1.0, 1.0], rel=0.05)
    white = np.diff(noise, axis=0).std(axis=0) / np.sqrt(2)
    assert white == pytest.approx([np.sqrt(0.5)] * 2, rel=0.05)
