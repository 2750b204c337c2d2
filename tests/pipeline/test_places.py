"""Cracks, masks and strips of drawn roads lie where they were drawn, whatever camera saw them from whatever side."""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
import torch
from pyproj import Transformer
from rasterio.transform import Affine

from crackmap.calibration.errors import OutputLockedError
from crackmap.calibration.lens import Lens
from crackmap.calibration.mount import Mount, plane_from_mount
from crackmap.calibration.plane import GroundLimits, GroundPlane
from crackmap.calibration.store import Calibration, write_calibration
from crackmap.pipeline.along import frames_along_route
from crackmap.pipeline.footprint import area, footprint, visible_polygon_m
from crackmap.pipeline.frame import Stages, StageSettings
from crackmap.pipeline.records import FrameOutcome, Placement
from crackmap.pipeline.run import RunSettings, RunSummary, rebuild, run_survey
from crackmap.pipeline.sections import make_sections
from crackmap.pipeline.survey import read_survey
from crackmap.pipeline.synthetic import SyntheticSettings, write_survey
from crackmap.stages.segment.segmenter import Segmenter

SIZE = (480, 360)
EPSG, ORIGIN, AZIMUTH = 32633, (392_000.0, 5_820_000.0), 30.0
SPEED_M_S, STEP_M, FRAMES = 10.0, 2.0, 4
LENS = Lens("pinhole", (500.0, 510.0), (246.3, 175.9), (-0.22, 0.07, 0.001, -0.0008, 0.0), SIZE)
FISHEYE = Lens("fisheye", (260.0, 262.0), (243.0, 181.0), (0.03, -0.012, 0.002, 0.0), SIZE)
LIMITS = GroundLimits(40.0, (-1.4, 1.4), 7.0)

# On the road: x to the right of the vehicle's path, y along it, metres.
WAVE = np.column_stack([0.5 * np.sin(np.linspace(0, 5, 60)), np.linspace(-8.0, 16.0, 60)])
CRACKS = {"along": WAVE, "across": np.array([[-1.1, 5.0], [-0.75, 5.1]])}
WIDTH_M = 0.05


class DarkIsCrack(torch.nn.Module):
    """A one-layer segmenter: pixels much darker than the road are crack."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (100 - images.mean(dim=1, keepdim=True)) / 4


def to_map(xy_road: np.ndarray) -> np.ndarray:
    return Placement(ORIGIN, AZIMUTH).to_output_xy(np.asarray(xy_road, float))


class View:
    """What a camera sees from anywhere on the road."""

    def __init__(self, plane: GroundPlane) -> None:
        x, y = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
        xy_px = np.column_stack([x.ravel(), y.ravel()])
        ground = plane.to_ground_xy_m(xy_px)
        self.road = np.isfinite(ground).all(axis=1)
        # Only where a crack may be: the rest need not be asked.
        self.seen = self.road & (np.abs(ground[:, 0] + 0.25) < 1.1)
        self.ground = ground[self.seen]
        self.pixel_m = np.sqrt(np.abs(np.linalg.det(plane.jacobian_mm(xy_px[self.seen])))) / 1e3

    def photograph(self, vehicle_y_m: float) -> np.ndarray:
        """Dark lines of WIDTH_M on a grey road, edges as soft as a pixel, white sky."""
        grey = np.where(self.road, 160.0, 240.0)
        points = shapely.points(self.ground + [0.0, vehicle_y_m])
        cracks = shapely.MultiLineString(list(CRACKS.values()))
        shapely.prepare(cracks)
        near = shapely.dwithin(cracks, points, 0.1)
        off = shapely.distance(points[near], cracks)
        covered = np.zeros(len(points))
        covered[near] = np.clip((WIDTH_M / 2 - off) / self.pixel_m[near] + 0.5, 0.0, 1.0)
        grey[self.seen] -= 120.0 * covered
        return np.repeat(grey.reshape(SIZE[1], SIZE[0], 1).round().astype(np.uint8), 3, axis=2)


@dataclass(frozen=True)
class Vehicle:
    """Cameras by name, each with its plane; the empty name for one camera."""

    cameras: dict[str, GroundPlane]

    def drive(self, folder: Path, *, extra: str = "", drawn: bool = True) -> Path:
        """Writes the survey: images (grey ones if nobody looks at them), track and survey.toml."""
        times = np.arange(-10, 10 * (FRAMES * STEP_M / SPEED_M_S + 2)) / 10
        xy = to_map(np.column_stack([np.zeros_like(times), SPEED_M_S * times]))
        lon, lat = Transformer.from_crs(EPSG, 4326, always_xy=True).transform(*xy.T)
        folder.mkdir(parents=True, exist_ok=True)
        pd.DataFrame({"time_s": times, "lat_deg": lat, "lon_deg": lon}).to_csv(folder / "gnss.csv", index=False)
        tables = []
        for name, plane in self.cameras.items():
            write_calibration(folder / f"cam{name}.toml", Calibration(SIZE, plane.lens, None, plane))
            (folder / f"images{name}").mkdir()
            view = View(plane) if drawn else None
            for index in range(FRAMES):
                image = view.photograph(index * STEP_M) if view else np.full((SIZE[1], SIZE[0], 3), 160, np.uint8)
                path = folder / f"images{name}" / f"f_t{index * STEP_M / SPEED_M_S:.3f}.png"
                path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
            ground = f'method = "file"\ncalibration = "cam{name}.toml"\n'
            tables.append(
                f'[cameras.{name}]\nmatch = ["images{name}/*"]\n[cameras.{name}.ground]\n{ground}' if name
                else f"[ground]\n{ground}"
            )  # fmt: skip
        (folder / "survey.toml").write_text(
            f"[frames]\npattern = '_t(?P<time_s>[0-9.]+)\\.png$'\n"
            f'[position]\nsource = "track"\ntrack = "gnss.csv"\n{extra}\n' + "\n".join(tables),
            encoding="utf-8",
        )
        return folder

    def map(self, folder: Path, *, extra: str = "") -> tuple[Path, RunSummary]:
        """Drives and maps; returns the output folder."""
        survey = read_survey(self.drive(folder / "survey", extra=extra))
        settings = RunSettings(StageSettings(segment_everything=True), section_length_m=5.0)
        stages = Stages(None, Segmenter(DarkIsCrack(), torch.device("cpu")), settings.stages, {})
        return folder / "out", run_survey(survey, folder / "out", stages, settings)


def camera(pitch=40.0, roll=0.0, yaw=0.0, *, lens=LENS, at=(0.0, 0.0), limits=LIMITS, height=2.2) -> GroundPlane:
    return plane_from_mount(Mount(height, pitch, roll, yaw, at), size_wh_px=SIZE, lens=lens, limits=limits)


def transposed(plane: GroundPlane) -> GroundPlane:
    """The same camera turned to portrait, without a lens: pixel axes swapped, and one mirrored by the swap."""
    swap = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    return GroundPlane(plane.ground_from_pixel @ swap, SIZE, plane.limits)


CAMERAS = {
    "forward, lens and roll": camera(roll=6.0),
    "forward, fisheye": camera(pitch=50.0, lens=FISHEYE),
    "looking back": camera(yaw=180.0, at=(0.0, -0.5)),
    "straight down": camera(pitch=90.0, height=4.0),
    "yawed": camera(yaw=9.0, at=(-0.3, 0.4)),
    "portrait": transposed(plane_from_mount(Mount(2.2, 45.0), size_wh_px=SIZE[::-1], focal_px=500.0, limits=LIMITS)),
    "unequal pixels": GroundPlane.from_gsd(gsd_mm=(6.0, 9.0), size_wh_px=SIZE),
}


@pytest.mark.parametrize("name", CAMERAS)
def test_cracks_masks_and_strips_lie_where_the_cracks_were_drawn(tmp_path: Path, name: str) -> None:
    out, summary = Vehicle({"": CAMERAS[name]}).map(tmp_path)
    truth = shapely.MultiLineString([to_map(line) for line in CRACKS.values()])
    cracks = gpd.read_file(out / "crackmap.gpkg", layer="cracks")
    assert cracks.crs.to_epsg() == EPSG
    pixel_m = cracks[["gsd_row_mm", "gsd_col_mm"]].max(axis=1).max() / 1e3
    vertices = np.concatenate([np.array(line.coords) for line in cracks.geometry])
    off = shapely.distance(shapely.points(vertices), truth)
    assert np.quantile(off, 0.95) < pixel_m
    assert off.max() < WIDTH_M
    # Every crack is found over the whole road that was driven and seen, once.
    seen = shapely.union_all([shapely.Polygon(o.footprint_xy) for o in summary.result.outcomes])
    expected = truth.intersection(seen).length
    assert cracks.length_m.sum() == pytest.approx(expected, rel=0.03, abs=0.05)
    for folder in ("masks", "strips"):
        share, farthest = shown(out / folder, vertices, truth)
        assert share > 0.97
        # Bilinear pictures spread an edge by a pixel of the photograph.
        assert farthest < WIDTH_M / 2 + pixel_m


def applied(affine: Affine, xy: np.ndarray) -> np.ndarray:
    a, b, c, d, e, f = tuple(affine)[:6]
    return np.array([a * xy[:, 0] + b * xy[:, 1] + c, d * xy[:, 0] + e * xy[:, 1] + f])


def shown(folder: Path, vertices: np.ndarray, truth: shapely.Geometry) -> tuple[float, float]:
    """Share of the vertices of cracks at which some raster shows crack within one of its pixels; and how far from the
    true lines a raster shows crack at most, metres."""
    found, farthest = np.zeros(len(vertices), bool), 0.0
    for path in sorted(folder.glob("*.tif")):
        with rasterio.open(path) as dataset:
            band, valid, transform = dataset.read(1), dataset.dataset_mask() > 0, dataset.transform
        likely = band > 127 if folder.name == "masks" else (band < 100) & valid
        column, row = applied(~transform, vertices).astype(int)
        inside = (column >= 0) & (row >= 0) & (column < band.shape[1]) & (row < band.shape[0])
        near = cv2.dilate(likely.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        found[inside] |= near[row[inside], column[inside]]
        rows, columns = np.nonzero(likely)
        places = applied(transform, np.column_stack([columns + 0.5, rows + 0.5])).T
        farthest = max(farthest, shapely.distance(shapely.points(places), truth).max(initial=0.0))
    return float(found.mean()), farthest


def test_two_cameras_side_by_side_share_the_road_and_count_each_crack_once(tmp_path: Path) -> None:
    halves = {
        "left": camera(pitch=90.0, height=3.0, at=(-0.8, 0.0), limits=GroundLimits(40.0, (-1.6, 0.3))),
        "right": camera(pitch=90.0, height=3.0, at=(0.8, 0.0), limits=GroundLimits(40.0, (0.0, 1.6))),
    }
    (tmp_path / "survey").mkdir()
    out, summary = Vehicle(halves).map(tmp_path, extra="")
    assert any("overlap by 0.30 m: divided at +0.15 m" in note for note in summary.result.notes)
    seen = shapely.union_all([shapely.Polygon(o.footprint_xy) for o in summary.result.outcomes])
    truth = shapely.MultiLineString([to_map(line) for line in CRACKS.values()]).intersection(seen)
    cracks = gpd.read_file(out / "crackmap.gpkg", layer="cracks")
    assert cracks.length_m.sum() == pytest.approx(truth.length, rel=0.03)
    frames = gpd.read_file(out / "crackmap.gpkg", layer="frames")
    assert (set(frames.camera), set(frames.recording)) == ({"left", "right"}, {"survey"})
    # Side by side they cover the road once, and all of it.
    sections = summary.result.sections
    assert sum(section.missing_m for section in sections) == pytest.approx(0.0, abs=1e-6)
    assert sum(section.covered_m for section in sections) == pytest.approx(FRAMES * STEP_M, rel=0.01)
    assert sum(section.area_m2 for section in sections) == pytest.approx(seen.area, rel=0.01)


def test_a_camera_without_a_ground_plane_is_measured_and_lies_on_no_map(tmp_path: Path) -> None:
    folder = Vehicle({"front": camera(), "rear": camera(yaw=180.0)}).drive(tmp_path / "survey", drawn=False)
    text = (folder / "survey.toml").read_text()
    head, _, _ = text.partition("[cameras.rear.ground]")
    (folder / "survey.toml").write_text(head)
    survey = read_survey(folder)
    assert {frame.camera for frame in survey.frames} == {"front"}
    assert {frame.camera for frame in survey.unplaced} == {"rear"}
    assert any("camera rear: no ground scale" in note for note in survey.notes)


def test_one_camera_by_name_sees_as_much_road_as_one_without(tmp_path: Path) -> None:
    free = camera(limits=GroundLimits(40.0))
    outlines = [
        [shapely.Polygon(footprint(frame)).area for frame in read_survey(vehicle.drive(folder, drawn=False)).frames]
        for vehicle, folder in ((Vehicle({"": free}), tmp_path / "a"), (Vehicle({"front": free}), tmp_path / "b"))
    ]
    assert outlines[0] == pytest.approx(outlines[1])


def test_a_pixel_size_for_all_of_several_cameras_is_refused(tmp_path: Path) -> None:
    folder = Vehicle({"left": camera(), "right": camera()}).drive(tmp_path / "survey", drawn=False)
    with pytest.raises(ValueError, match="--gsd: the survey has several cameras"):
        read_survey(folder, gsd_mm=1.0)


def test_products_are_not_written_again_from_frames_that_lie_elsewhere_now(tmp_path: Path) -> None:
    out, _ = Vehicle({"": camera()}).map(tmp_path)
    before = (out / "cracks.csv").read_bytes()
    rebuild(out, RunSettings(section_length_m=7.0))
    track = pd.read_csv(tmp_path / "survey" / "gnss.csv")
    track.lat_deg += 1e-6
    track.to_csv(tmp_path / "survey" / "gnss.csv", index=False)
    with pytest.raises(OutputLockedError, match=r"a file that survey\.toml names, is another now"):
        rebuild(out, RunSettings(section_length_m=5.0))
    assert (out / "cracks.csv").read_bytes() == before


def test_a_jump_of_the_place_starts_another_recording(tmp_path: Path) -> None:
    folder = Vehicle({"": camera()}).drive(tmp_path / "survey", drawn=False)
    track = pd.read_csv(folder / "gnss.csv")
    track.loc[track.time_s > 0.3, "lat_deg"] += 0.03
    track.to_csv(folder / "gnss.csv", index=False)
    survey = read_survey(folder)
    assert [frame.recording for frame in survey.frames] == ["images", "images", "images#2", "images#2"]
    assert any("images: the place jumps at images/f_t0.400.png" in note for note in survey.notes)


def test_kilometre_posts_stretch_chainage_and_no_road(tmp_path: Path) -> None:
    write_route(tmp_path / "survey")
    posts = pd.DataFrame({"chainage_m": [1000.0, 1062.4], "distance_m": [0.0, 60.0]})
    posts.to_csv(tmp_path / "survey" / "posts.csv", index=False)
    route = '[route]\nfile = "route.geojson"\ncalibration_points = "posts.csv"\noffset_m = 0.5\n'
    folder = Vehicle({"": camera()}).drive(tmp_path / "survey", drawn=False)
    for index, path in enumerate(sorted((folder / "images").iterdir())):
        # The path runs 0.5 m to the right of the line, which begins 20 m before the first frame.
        path.rename(path.with_name(f"c{1000.0 + 1.04 * (20.0 + index * STEP_M):.3f}.png"))
    text = (folder / "survey.toml").read_text().partition("[ground]")[2]
    frames = "[frames]\npattern = 'c(?P<chainage_m>[0-9.]+)\\.png$'\n[position]\nsource = 'chainage'\n"
    (folder / "survey.toml").write_text(f"{frames}{route}[ground]{text}")
    survey = read_survey(folder)
    outlines = [shapely.Polygon(footprint(frame)) for frame in survey.frames]
    assert shapely.union_all(outlines).area == pytest.approx(sum(outline.area for outline in outlines), rel=1e-6)
    place = np.array([frame.placement.origin_xy for frame in survey.frames])
    assert place == pytest.approx(to_map([(0.0, index * STEP_M) for index in range(FRAMES)]), abs=0.02)
    outcomes = [FrameOutcome(frame, "no_crack") for frame in frames_along_route(survey.frames, survey.routing)]
    sections = make_sections(outcomes, (), length_m=5.0)
    measured = sum(area(visible_polygon_m(frame)) for frame in survey.frames)
    assert sum(section.area_m2 for section in sections) == pytest.approx(measured, rel=1e-3)
    assert sum(section.covered_m for section in sections) == pytest.approx(1.04 * FRAMES * STEP_M, rel=0.02)


def test_a_second_camera_on_the_same_road_is_refused(tmp_path: Path) -> None:
    vehicle = Vehicle({"front": camera(), "rear": camera(yaw=180.0)})
    with pytest.raises(ValueError, match=r"cameras front and rear see the same road .* count twice"):
        read_survey(vehicle.drive(tmp_path / "survey", drawn=False))


def write_route(folder: Path, *, reverse: bool = False) -> None:
    line = to_map(np.array([[-0.5, -20.0], [-0.5, 40.0]]))
    coordinates = np.column_stack(Transformer.from_crs(EPSG, 4326, always_xy=True).transform(*line.T)).tolist()
    feature = {
        "type": "Feature",
        "properties": {"name": "B1"},
        "geometry": {"type": "LineString", "coordinates": coordinates[::-1] if reverse else coordinates},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "route.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))


@pytest.mark.parametrize("reverse", [False, True])
def test_chainage_and_offset_count_along_the_route_whichever_way_it_was_driven(tmp_path: Path, reverse: bool) -> None:
    write_route(tmp_path / "survey", reverse=reverse)
    route = '[route]\nfile = "route.geojson"\nstart_m = 1000.0\n'
    out, summary = Vehicle({"": camera()}).map(tmp_path, extra=route)
    (across,) = [
        crack
        for crack in summary.result.cracks
        if crack.orientation_deg > 45 and abs((crack.length_m or 0) - 0.36) < 0.1
    ]
    # The line begins 20 m before the first frame and runs 0.5 m left of the path; the crack lies around (-0.925, 5.05).
    place = (1035.0 - 0.05, 0.425) if reverse else (1025.05, -0.425)
    assert (across.chainage_m, across.offset_m) == (
        pytest.approx(place[0], abs=0.02),
        pytest.approx(place[1], abs=0.02),
    )
    sections = [section for section in summary.result.sections if section.covered_m]
    assert {section.direction for section in sections} == {"against" if reverse else "with"}
    # Strips tile the route: what is covered is the road that all frames own together.
    owned = sum(frame.owns_y_m[1] - frame.owns_y_m[0] for frame in read_survey(tmp_path / "survey").frames)
    assert sum(section.covered_m for section in sections) == pytest.approx(owned, abs=0.02)
    total = sum(section.crack_length_m for section in sections)
    assert total == pytest.approx(sum(crack.length_m for crack in summary.result.cracks if not crack.joint), rel=1e-6)
    assert (out / "strips").exists()


def test_frames_off_the_route_are_cut_off_and_named(tmp_path: Path) -> None:
    write_route(tmp_path / "survey")
    route = '[route]\nfile = "route.geojson"\nmax_offset_m = 0.2\n'
    with pytest.raises(ValueError, match=r"no frame is on the route; the first, .*off the route"):
        read_survey(Vehicle({"": camera()}).drive(tmp_path / "survey", extra=route, drawn=False))


def test_frames_in_a_gap_of_the_track_are_measured_but_lie_on_no_map(tmp_path: Path) -> None:
    folder = Vehicle({"": camera()}).drive(tmp_path / "survey", extra="max_gap_s = 0.25\n")
    track = pd.read_csv(folder / "gnss.csv")
    track[(track.time_s < 0.15) | (track.time_s > 0.45)].to_csv(folder / "gnss.csv", index=False)
    survey = read_survey(folder)
    assert [frame.key for frame in survey.unplaced] == ["images/f_t0.200.png", "images/f_t0.400.png"]
    settings = RunSettings(StageSettings(segment_everything=True))
    stages = Stages(None, Segmenter(DarkIsCrack(), torch.device("cpu")), settings.stages, {})
    summary = run_survey(survey, tmp_path / "out", stages, settings)
    lost = {o.frame.key: o for o in summary.result.outcomes if o.status == "no_position"}
    assert len(lost) == 2
    assert all(o.reason.startswith("no_position: ") and o.crack_count > 0 for o in lost.values())
    assert not any(set(crack.frame_keys) & set(lost) for crack in summary.result.cracks)
    with rasterio.open(tmp_path / "out" / "masks" / next(iter(lost.values())).mask_name) as mask:
        assert (mask.width, mask.height) == SIZE
        assert mask.read(1).max() > 127
    # The road they showed is missing in the section, not covered.
    (section,) = summary.result.sections
    assert section.missing_m > 0.5


@pytest.mark.parametrize("kind", ["downward", "forward"])
def test_cracks_masks_and_strips_of_a_synthetic_survey_lie_on_its_truth(tmp_path: Path, kind: str) -> None:
    drawn = SyntheticSettings(
        frames=6, camera=kind, size_wh_px=(640, 480), cracks_per_10m=15, kinds=("arc", "fractal"), width_px=(3.0, 8.0),
        depth=(0.7, 0.8), distractors=False, noise_levels=0.5, seed=5,
    )  # fmt: skip
    truth = write_survey(tmp_path / "survey", drawn)
    settings = RunSettings(StageSettings(segment_everything=True))
    stages = Stages(None, Segmenter(DarkIsCrack(), torch.device("cpu")), settings.stages, {})
    summary = run_survey(read_survey(tmp_path / "survey"), tmp_path / "out", stages, settings)
    cracks = gpd.read_file(tmp_path / "out" / "crackmap.gpkg", layer="cracks")
    assert len(cracks) >= 4
    lines = shapely.MultiLineString([truth.to_map_xy(crack.road_xy_m) for crack in truth.cracks])
    assert cracks.crs.to_epsg() == truth.epsg
    pixel_m = cracks[["gsd_row_mm", "gsd_col_mm"]].max(axis=1).max() / 1e3
    vertices = np.concatenate([np.array(line.coords) for line in cracks.geometry])
    off = shapely.distance(shapely.points(vertices), lines)
    # The line of a crack is where its outline's middle is seen: at corners of a fractal it cuts by part of a pixel.
    assert np.quantile(off, 0.9) < pixel_m
    assert summary.result.cracks
    for folder in ("masks", "strips"):
        # What is dark elsewhere, such as stones, is no crack and says nothing.
        assert shown(tmp_path / "out" / folder, vertices, lines)[0] > 0.97
