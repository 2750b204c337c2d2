"""`crackmap calibrate plane` and `check` end to end, on drawn frames and bad input."""

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

from crackmap.calibration.errors import CalibrationError, InputError
from crackmap.calibration.lens import Lens
from crackmap.calibration.mount import Mount, plane_from_mount
from crackmap.calibration.store import Calibration, read_calibration, write_calibration
from crackmap.cli.main import cli
from crackmap.pipeline.calibrating.plane import read_points
from crackmap.pipeline.footprint import visible_y_m

SIZE = (640, 480)
LENS = Lens("pinhole", (560.0, 556.0), (325.0, 236.0), (-0.2, 0.04, 0.001, -0.0005), SIZE)
MOUNT = Mount(1.8, 35.0, 1.0, 2.0)
DATA = Path(os.environ.get("CRACKMAP_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def run(*arguments):
    result = CliRunner().invoke(cli, ["calibrate", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def plane_json(*arguments):
    result = run("plane", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def lens_file(tmp_path):
    write_calibration(tmp_path / "camera.toml", Calibration(SIZE, LENS, made={"boards": 12}))
    return tmp_path / "camera.toml"


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "frame.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(60, 120, (SIZE[1], SIZE[0], 3), np.uint8))
    return path


def truth():
    return plane_from_mount(MOUNT, size_wh_px=SIZE, lens=LENS)


GROUND = np.array([(-1.0, 1.6), (1.0, 1.6), (0.0, 2.0), (-1.2, 3.0), (1.2, 3.0), (0.1, 4.0)])


def test_points_with_a_lens_give_the_mounting_back(tmp_path, lens_file, image):
    rows = np.column_stack([truth().to_pixel_xy(GROUND), GROUND])
    table = "x_px;y_px;x_m;y_m\n" + "\n".join(";".join(f"{v:.9f}".replace(".", ",") for v in row) for row in rows)
    (tmp_path / "points.csv").write_text(table)
    out = tmp_path / "front.toml"
    numbers = plane_json("--points", tmp_path / "points.csv", "--frame", image, "--lens", lens_file,
                         "--farthest", 6, "--lateral=-2,2", "-o", out)  # fmt: skip
    camera = numbers["camera"]
    assert [camera["height_m"], camera["pitch_deg"], camera["roll_deg"], camera["yaw_deg"]] == pytest.approx(
        [1.8, 35.0, 1.0, 2.0], abs=0.002
    )
    made = read_calibration(out)
    assert made.plane.limits.farthest_m == 6.0
    assert made.plane.limits.lateral_m == (-2.0, 2.0)
    assert np.abs(made.plane.to_ground_xy_m(truth().to_pixel_xy(GROUND)) - GROUND).max() < 1e-6
    assert made.made["lens_boards"] == 12


def test_known_mounting_and_pixel_size_go_into_the_file(tmp_path, lens_file, image):
    out = tmp_path / "front.toml"
    run(
        "plane",
        "--height",
        1.8,
        "--pitch",
        35,
        "--roll",
        1,
        "--yaw",
        2,
        "--lens",
        lens_file,
        "--frame",
        image,
        "-o",
        out,
    )
    pixels = truth().to_pixel_xy(GROUND)
    assert np.abs(read_calibration(out).plane.to_ground_xy_m(pixels) - GROUND).max() < 1e-9
    numbers = plane_json("--gsd", "1.0,2.5", "--size", "4096x2048", "--scale-uncertainty", 0.5, "-o", out)
    assert numbers["camera"] is None and numbers["horizon_row_px"] is None
    assert numbers["scale_uncertainty_percent"] == 0.5
    assert {(row["across_mm"], row["along_mm"]) for row in numbers["gsd"]} == {(1.0, 2.5)}


def test_a_board_on_the_road_gives_the_mounting_back(tmp_path, lens_file):
    x, y = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
    ground = truth().to_ground_xy_m(np.column_stack([x.ravel(), y.ravel()]))
    squares = np.nan_to_num((ground - (0.1, 2.4)) / 0.1 + (5.0, 3.5), nan=-9.0)
    inside = ((squares > 0) & (squares < (10, 7))).all(axis=1)
    dark = inside & (np.floor(squares).sum(axis=1) % 2 == 0)
    picture = np.where(dark, 30, 220).astype(np.uint8).reshape(SIZE[::-1])
    path = tmp_path / "board.png"
    cv2.imwrite(str(path), cv2.GaussianBlur(picture, (0, 0), 0.7))
    options = (
        "--square",
        "10cm",
        "--board-at",
        "0.1,2.4",
        "--frame",
        path,
        "--lens",
        lens_file,
        "-o",
        tmp_path / "f.toml",
    )
    camera = plane_json("--board", "9x6", *options)["camera"]
    assert camera["height_m"] == pytest.approx(1.8, abs=0.02)
    assert camera["pitch_deg"] == pytest.approx(35.0, abs=0.4)
    with pytest.raises(CalibrationError, match="count the corners"):
        run("plane", "--board", "11x4", *options)


def test_exactly_one_method_is_asked_for(tmp_path, image):
    out = ("-o", tmp_path / "x.toml")
    for given in ((), ("--gsd", 1, "--height", 2)):
        result = run("plane", *given, "--frame", image, *out)
        assert result.exit_code == 2
        assert all(name in result.output for name in ("--points", "--board", "--lane-width", "--height", "--gsd"))
    for wrong in (
        ("--gsd", 1),
        ("--gsd", 1, "--frame", image, "--size", "640x480"),
        ("--height", 2, "--frame", image),
        ("--lane-width", 3.6, image),
        ("--lane-width", 3.6, "--focal", 500),
        ("--board", "9x6", "--frame", image),
        ("--board", "2x2", "--frame", image),
        ("--board", "9x6", "--square", "100", "--frame", image),
        ("--gsd", 1, "--size", "640x480", "--lateral", "1"),
        ("--gsd", 1, "--size", "640x480", image),
    ):
        assert run("plane", *wrong, *out).exit_code == 2, wrong


def test_bad_input_names_the_remedy(tmp_path, lens_file, image):
    out = ("-o", tmp_path / "x.toml")
    other = tmp_path / "other.png"
    cv2.imwrite(str(other), np.zeros((100, 120, 3), np.uint8))
    with pytest.raises(CalibrationError, match="calibrate the lens at the size of the survey"):
        run("plane", "--height", 2, "--pitch", 30, "--lens", lens_file, "--frame", other, *out)
    with pytest.raises(CalibrationError, match="sees nothing of the road"):
        run("plane", "--height", 2, "--pitch", -60, "--lens", lens_file, "--frame", image, *out)
    with pytest.raises(CalibrationError, match="0 of 1 frames show both lines"):
        run("plane", "--lane-width", 3.6, "--focal", 500, image, *out)
    run("plane", "--height", 1.8, "--pitch", 35, "--lens", lens_file, "--frame", image, *out)
    with pytest.raises(CalibrationError, match="calibrate again with frames of this size"):
        run("check", tmp_path / "x.toml", other)
    with pytest.raises(CalibrationError, match="holds a lens but no plane"):
        run("check", lens_file, image)
    with pytest.raises(CalibrationError, match="one frame alone"):
        run("check", tmp_path / "x.toml", image, "--step", 1)
    geo = tmp_path / "geo.tif"
    with rasterio.open(geo, "w", driver="GTiff", width=8, height=8, count=3, dtype="uint8", crs="EPSG:32632",
                       transform=rasterio.transform.from_origin(5e5, 5e6, 0.01, 0.01)) as file:  # fmt: skip
        file.write(np.zeros((3, 8, 8), np.uint8))
    with pytest.raises(InputError, match="carries its own plane"):
        run("plane", "--gsd", 1, "--frame", geo, *out)


@pytest.mark.parametrize(
    ("spoil", "hint"),
    [
        (lambda rows: rows[:, [0, 1, 3, 2]], "seem exchanged|do not fit one another"),
        (lambda rows: rows * [1, 1, -1, 1], "seem exchanged|do not fit one another"),
        (lambda rows: rows * [1, 1, 100, 100], "metres are expected, not centimetres"),
    ],
)
def test_planes_that_only_mistakes_make_are_refused(tmp_path, lens_file, image, spoil, hint):
    rows = spoil(np.column_stack([truth().to_pixel_xy(GROUND), GROUND]))
    np.savetxt(tmp_path / "points.csv", rows, delimiter=",", header="x_px,y_px,x_m,y_m", comments="")
    options = ("--frame", image, "--lens", lens_file, "--coarsest", 10_000, "-o", tmp_path / "f.toml")
    with pytest.raises(CalibrationError, match=hint):
        run("plane", "--points", tmp_path / "points.csv", *options)
    assert not (tmp_path / "f.toml").exists()


def test_road_before_the_nearest_does_not_count(tmp_path, lens_file, image):
    out = tmp_path / "f.toml"
    mounting = ("--height", 1.8, "--pitch", 35, "--lens", lens_file, "--frame", image, "-o", out)
    run("plane", *mounting)
    assert visible_y_m(read_calibration(out).plane)[0] < 2.0
    run("plane", *mounting, "--nearest", 2.5)
    plane = read_calibration(out).plane
    assert visible_y_m(plane)[0] == pytest.approx(2.5)
    assert plane.trusted(plane.to_pixel_xy([(0.0, 2.4), (0.0, 2.6)])).tolist() == [False, True]
    with pytest.raises(CalibrationError, match="no row of the image lies within the limits"):
        run("plane", *mounting, "--nearest", 900)


def test_tables_of_points_say_what_is_wrong_with_them(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("x_m, y_m, x_px, y_px\n1,2,30.5,40\n\n3,4,50,60\n")
    pixels, metres = read_points(path)
    assert pixels.tolist() == [[30.5, 40.0], [50.0, 60.0]]
    assert metres.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    path.write_text("x_px,y_px,x_m\n1,2,3\n")
    with pytest.raises(InputError, match="y_m is missing"):
        read_points(path)
    path.write_text("x_px,y_px,x_m,y_m\n1,2,3,4\n1,2,three,4\n")
    with pytest.raises(InputError, match="line 3"):
        read_points(path)


def test_check_draws_metres_on_the_frame(tmp_path, lens_file, image):
    calibration = tmp_path / "front.toml"
    run(
        "plane",
        "--height",
        1.8,
        "--pitch",
        35,
        "--lens",
        lens_file,
        "--frame",
        image,
        "--farthest",
        4,
        "-o",
        calibration,
    )
    result = run("check", calibration, image, "-o", tmp_path / "look")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "look").iterdir()) == ["frame_grid.jpg", "frame_top.png", "gsd.png"]
    drawn, plain = cv2.imread(str(tmp_path / "look" / "frame_grid.jpg")), cv2.imread(str(image))
    plane = read_calibration(calibration).plane
    far, on_line, beside = plane.to_pixel_xy([(0.5, 4.6), (0.0, 2.55), (0.5, 2.55)]).astype(int)
    assert drawn[far[1] - 4 : far[1] + 4, far[0] - 4 : far[0] + 4].mean() < 0.6 * plain.mean()
    assert drawn[beside[1] - 2 : beside[1] + 2, beside[0] - 2 : beside[0] + 2].mean() == pytest.approx(
        plain.mean(), rel=0.2
    )
    assert drawn[on_line[1], on_line[0], 1:].min() > 150


needs_data = pytest.mark.skipif(
    not (DATA / "dnit").is_dir(), reason="needs the dnit data set: set CRACKMAP_DATA to the folder that holds it"
)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """The first 48 of a run of real frames 5 m apart, and their lane masks."""
    folder = tmp_path_factory.mktemp("290RS294095")
    frames = sorted((DATA / "dnit" / "290RS294095").glob("*_RAW.jpg"))[150:198]
    for path in frames:
        shutil.copy(path, folder)
        shutil.copy(path.with_name(path.name.replace("_RAW.jpg", "_LANE.png")), folder)
    return folder


@needs_data
def test_real_lane_and_motion_agree_with_the_chainage(recording, tmp_path):
    out = tmp_path / "front.toml"
    numbers = plane_json("--lane-width", 3.6, recording, "--masks-ending", "_RAW.jpg=_LANE.png", "--focal", 1290,
                         "--farthest", 10.5, "--coarsest", 36, "--lateral=-2.2,2.2", "-o", out)  # fmt: skip
    assert numbers["horizon_row_px"] == pytest.approx(-105, abs=15)
    assert numbers["camera"]["height_m"] == pytest.approx(2.53, rel=0.05)
    frames = sorted(recording.glob("*_RAW.jpg"))
    result = run("check", out, *frames, "--step", 5.0, "--json")
    motion = json.loads(result.stdout)["motion"]
    assert motion["quantity"] == "focal length"
    assert motion["value"] == pytest.approx(1290, rel=0.12)
    assert motion["motion_over_step"] == pytest.approx(1.0, abs=0.05)


@needs_data
def test_real_lane_lines_agree_with_the_lane_masks(recording, tmp_path):
    frames = sorted(recording.glob("*_RAW.jpg"))[::2]
    common = ("--lane-width", 3.6, "--focal", 1290, "-o", tmp_path / "x.toml")
    with_masks = plane_json(*common, "--masks-ending", "_RAW.jpg=_LANE.png", *frames)
    alone = plane_json(*common, *frames)
    assert alone["camera"]["height_m"] == pytest.approx(with_masks["camera"]["height_m"], rel=0.03)
    assert alone["horizon_row_px"] == pytest.approx(with_masks["horizon_row_px"], abs=12)
