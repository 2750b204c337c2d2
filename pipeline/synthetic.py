"""A synthetic survey whose cracks are known exactly: images, GNSS track, survey.toml and truth.

A vehicle with a downward camera drives a straight road in the east of UTM zone 33 N. Cracks are drawn as vectors in
road metres, so length and width are known without looking at a pixel.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from crackmap.calibration.errors import StorageError, require
from crackmap.pipeline.records import Placement
from crackmap.stages.render import surface
from crackmap.stages.render.paths import CrackPath, FloatArray, smooth_noise
from crackmap.stages.render.scene import coverage

EPSG = 32633
ORIGIN_XY_M = (392_000.0, 5_820_000.0)
START_TIME_S = 1_790_000_000.0
SPEED_M_S = 10.0
GNSS_RATE_HZ = 10.0
SURVEY_TOML = """\
# A synthetic survey: a camera that looks straight down, image-up is the direction of travel.
[frames]
include = ["images/*.jpg"]
pattern = '_t(?P<time_s>[0-9]+\\.[0-9]+)\\.jpg$'

[position]
source = "track"
track = "gnss.csv"

[ground]
method = "gsd"
gsd_mm = {gsd_mm}
"""


@dataclass(frozen=True, slots=True)
class SyntheticSettings:
    """What is drawn.

    Attributes:
        frames: number of images.
        gsd_mm: ground length of a pixel.
        size_wh_px: size of an image.
        step_m: distance between images; below the image's length on the road, so that images overlap.
        azimuth_deg: direction of travel.
        cracks_per_10m: mean number of cracks on 10 m of road.
        gnss_noise_m: standard deviation of each fix, along and across.
        seed: same seed, same survey.
    """

    frames: int = 24
    gsd_mm: float = 2.0
    size_wh_px: tuple[int, int] = (1600, 1200)
    step_m: float = 2.0
    azimuth_deg: float = 60.0
    cracks_per_10m: float = 4.0
    gnss_noise_m: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.frames >= 2, "frames", "2 or more", self.frames)
        require(
            0 < self.step_m <= self.view_m[1], "step_m", f"at most the image length {self.view_m[1]} m", self.step_m
        )

    @property
    def view_m(self) -> tuple[float, float]:
        """Width and length of road in one image."""
        return self.size_wh_px[0] * self.gsd_mm / 1e3, self.size_wh_px[1] * self.gsd_mm / 1e3

    @property
    def length_m(self) -> float:
        """Length of road that the frames answer for."""
        return self.frames * self.step_m


@dataclass(frozen=True, slots=True)
class TrueCrack:
    """One drawn crack.

    Attributes:
        crack_id: «T001».
        road_xy_m: (N, 2) vertices: metres right of the vehicle's path, metres along it.
        width_mm: (N,) full width at each vertex.
    """

    crack_id: str
    road_xy_m: FloatArray
    width_mm: FloatArray

    @property
    def length_m(self) -> float:
        """Length along the vertices."""
        return float(np.hypot(*np.diff(self.road_xy_m, axis=0).T).sum())

    @property
    def mean_width_mm(self) -> float:
        """Mean width along the line."""
        steps = np.hypot(*np.diff(self.road_xy_m, axis=0).T)
        return float(np.sum(steps * (self.width_mm[1:] + self.width_mm[:-1]) / 2) / steps.sum())


def write_survey(out: Path, settings: SyntheticSettings) -> tuple[TrueCrack, ...]:
    """Writes images/, gnss.csv, survey.toml and truth.json into `out`; returns the truth.

    Raises:
        StorageError: `out` cannot be written.
    """
    truth = draw_cracks(settings)
    try:
        (out / "images").mkdir(parents=True, exist_ok=True)
        (out / "survey.toml").write_text(SURVEY_TOML.format(gsd_mm=settings.gsd_mm), encoding="utf-8")
        _write_track(out / "gnss.csv", settings)
        _write_truth(out / "truth.json", truth)
        texture = _road_texture(settings)
        for index in range(settings.frames):
            image = _render_frame(index, truth, texture, settings)
            _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
            name = f"{index:05d}_t{_time_s(index * settings.step_m):.3f}.jpg"
            (out / "images" / name).write_bytes(encoded.tobytes())
    except OSError as error:
        raise StorageError(f"{out}: cannot be written ({error.strerror}); choose another folder") from error
    return truth


def draw_cracks(settings: SyntheticSettings) -> tuple[TrueCrack, ...]:
    """The cracks of the road: longitudinal, transverse and oblique, none within 0.25 m of another."""
    rng = np.random.default_rng((settings.seed, 1))
    half_width = settings.view_m[0] / 2 - 0.15
    wanted = round(settings.length_m / 10 * settings.cracks_per_10m)
    cracks: list[TrueCrack] = []
    for _ in range(wanted * 20):
        if len(cracks) == wanted:
            break
        start = rng.uniform((-half_width, 0.3), (half_width, settings.length_m - 0.3))
        direction = np.deg2rad(rng.choice([0.0, 90.0, rng.uniform(20, 70), rng.uniform(110, 160)]))
        crack = _crack_from(rng, start, float(direction), f"T{len(cracks) + 1:03d}")
        x, y = crack.road_xy_m.T
        inside = np.abs(x).max() < half_width and y.min() > 0.2 and y.max() < settings.length_m - 0.2
        if inside and all(_apart(crack, other) for other in cracks):
            cracks.append(crack)
    return tuple(cracks)


def _crack_from(rng: np.random.Generator, start: FloatArray, direction: float, name: str) -> TrueCrack:
    step = 0.02
    count = int(rng.uniform(0.6, 2.6) / step)
    wander = np.cumsum(smooth_noise(rng, count, 6)) * 0.05
    angle = direction + wander + rng.standard_normal(count) * 0.3
    xy = start + np.vstack([np.zeros(2), np.cumsum(step * np.column_stack([np.sin(angle), np.cos(angle)]), axis=0)])
    width = rng.uniform(5.0, 14.0) * np.exp(0.12 * smooth_noise(rng, len(xy), 12))
    return TrueCrack(name, xy, width)


def _apart(a: TrueCrack, b: TrueCrack) -> bool:
    difference = a.road_xy_m[::4, None] - b.road_xy_m[None, ::4]
    return bool(np.hypot(*difference.transpose(2, 0, 1)).min() > 0.25)


def _road_texture(settings: SyntheticSettings) -> surface.FloatImage:
    """One long strip of road surface; frames cut their part out, so that overlapping images agree."""
    width, height = settings.size_wh_px
    rows = int(np.ceil(settings.length_m * 1e3 / settings.gsd_mm)) + height
    rng = np.random.default_rng((settings.seed, 2))
    parts = [surface.procedural_road(np.random.default_rng((settings.seed, 3)), (width, 2048))]
    grain = parts[0]
    strip = np.vstack([grain if index % 2 == 0 else grain[::-1] for index in range(-(-rows // 2048))])[:rows]
    unevenness = surface.value_noise(rng, (width, rows), 150.0) * np.float32(4)
    return np.asarray(strip + unevenness[..., None], np.float32)


def _render_frame(
    index: int, truth: tuple[TrueCrack, ...], texture: surface.FloatImage, settings: SyntheticSettings
) -> NDArray[np.uint8]:
    width, height = settings.size_wh_px
    near_m = index * settings.step_m
    bottom = len(texture) - round(near_m * 1e3 / settings.gsd_mm)
    image = texture[bottom - height : bottom].copy()
    paths = []
    for crack in truth:
        x = crack.road_xy_m[:, 0] * 1e3 / settings.gsd_mm + width / 2
        y = height - (crack.road_xy_m[:, 1] - near_m) * 1e3 / settings.gsd_mm
        if y.max() > -50 and y.min() < height + 50:
            paths.append(CrackPath(np.column_stack([x, y]), crack.width_mm / settings.gsd_mm))
    covered = coverage(paths, (width, height))
    rng = np.random.default_rng((settings.seed, 4, index))
    image *= 1 - (covered * np.float32(0.6))[..., None]
    seen = cv2.GaussianBlur(image, (0, 0), 0.6)
    seen += rng.standard_normal((height, width), dtype=np.float32)[..., None] * np.float32(2.0)
    return np.asarray(np.clip(seen, 0, 255), np.uint8)


def _time_s(distance_m: float) -> float:
    return START_TIME_S + distance_m / SPEED_M_S


def _write_track(path: Path, settings: SyntheticSettings) -> None:
    """10 Hz fixes from 3 s before the first frame to 3 s after the last."""
    rng = np.random.default_rng((settings.seed, 5))
    seconds = np.arange(-3.0, settings.length_m / SPEED_M_S + 3.0, 1 / GNSS_RATE_HZ)
    along = seconds * SPEED_M_S
    local = np.column_stack([np.zeros_like(along), along]) + rng.normal(0, settings.gnss_noise_m, (len(along), 2))
    xy = to_map_xy(local, settings)
    lon, lat = Transformer.from_crs(EPSG, 4326, always_xy=True).transform(xy[:, 0], xy[:, 1])
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("time_s", "longitude_deg", "latitude_deg"))
        for row in zip(START_TIME_S + seconds, lon, lat, strict=True):
            writer.writerow((f"{row[0]:.3f}", f"{row[1]:.9f}", f"{row[2]:.9f}"))


def to_map_xy(road_xy_m: FloatArray, settings: SyntheticSettings) -> FloatArray:
    """(N, 2) UTM coordinates of road coordinates."""
    return Placement(ORIGIN_XY_M, settings.azimuth_deg).to_output_xy(road_xy_m)


def _write_truth(path: Path, truth: tuple[TrueCrack, ...]) -> None:
    rows = [
        {
            "crack_id": crack.crack_id,
            "length_m": round(crack.length_m, 4),
            "mean_width_mm": round(crack.mean_width_mm, 3),
            "road_xy_m": np.round(crack.road_xy_m, 4).tolist(),
            "width_mm": np.round(crack.width_mm, 3).tolist(),
        }
        for crack in truth
    ]
    path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
