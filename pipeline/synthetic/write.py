"""Synthetic surveys on the disk: images, masks, GNSS track, survey.toml and truth."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from pyproj import Transformer

from crackmap.calibration.errors import InputError, StorageError, require
from crackmap.pipeline.synthetic.cracks import draw_cracks
from crackmap.pipeline.synthetic.frames import Pass, Road, encoded, make_road, plan_pass, render_frame
from crackmap.pipeline.synthetic.growth import grown
from crackmap.pipeline.synthetic.settings import SyntheticSettings, camera_of, survey_toml
from crackmap.pipeline.synthetic.truth import RoadTruth, write_truth
from crackmap.stages.records import FloatArray

START_TIME_S = 1_790_000_000.0
SPEED_M_S = 10.0
GNSS_RATE_HZ = 10.0
GNSS_DRIFT_S = 30.0
"""Correlation time of the slow part of the noise: satellites and atmosphere change over tens of seconds."""

PASS_APART_S = 3600.0

Progress = Callable[[int, int, str], None]


def write_survey(
    out: Path,
    settings: SyntheticSettings,
    *,
    passes: int = 1,
    only_pass: int | None = None,
    progress: Progress | None = None,
) -> RoadTruth:
    """Writes images/, masks/, gnss.csv, survey.toml, truth.json and truth.gpkg.

    Args:
        out: the survey folder; with several passes, each has a folder pass1, pass2, ... in it.
        settings: what is drawn; with the seed they decide every byte.
        passes: number of drives over the same road with the same cracks.
        only_pass: the one pass to write, straight into `out`; it is the same as among several.
        progress: is told (done, total, name) after every image.

    Returns:
        The truth of the first pass written. All passes share it, but where `settings` let cracks grow.

    Raises:
        InputError: settings that cannot be drawn, or `out` holds images of another kind.
        StorageError: `out` cannot be written.
    """
    require(passes >= 1, "passes", "1 or more", passes)
    require(only_pass is None or only_pass >= 1, "only_pass", "1 or more", only_pass)
    camera = camera_of(settings)
    truth = draw_cracks(settings, camera)
    later = grown(truth, settings, camera)
    road = make_road(settings, camera, truth)
    grown_road = road if later is truth else make_road(settings, camera, truth, later)
    numbers = [only_pass] if only_pass is not None else list(range(1, passes + 1))
    drives = [plan_pass(settings, camera, number) for number in numbers]
    total, done = sum(drive.frames for drive in drives), 0
    for drive in drives:
        folder = out / f"pass{drive.number}" if len(drives) > 1 else out
        seen_road, seen_truth = (road, truth) if drive.number == 1 else (grown_road, later)
        try:
            _write_head(folder, seen_road, drive, seen_truth)
            for index in range(drive.frames):
                name = _write_frame(folder, seen_road, drive, index)
                done += 1
                if progress is not None:
                    progress(done, total, name)
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error
    return truth if numbers[0] == 1 else later


def _write_head(folder: Path, road: Road, drive: Pass, truth: RoadTruth) -> None:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        _clear(folder / name)
    (folder / "survey.toml").write_text(survey_toml(road.settings, road.camera), encoding="utf-8")
    _write_track(folder / "gnss.csv", road, drive, truth)
    write_truth(folder, truth)


def _clear(folder: Path) -> None:
    """Removes what an earlier synthetic survey left there: its frames would be read as part of this one.

    Raises:
        InputError: other files lie there.
    """
    old = sorted(folder.iterdir())
    foreign = [path.name for path in old if not re.fullmatch(r"\d{5,}_t\d+\.\d+\.(jpg|png)", path.name)]
    if foreign:
        raise InputError(
            f"{folder}: expected an empty folder or a synthetic survey, found {foreign[0]}; choose another"
        )
    for path in old:
        path.unlink()


def _write_frame(folder: Path, road: Road, drive: Pass, index: int) -> str:
    """Writes an image and its mask; returns their common stem."""
    picture, mask = render_frame(road, drive, index)
    time_s = START_TIME_S + PASS_APART_S * (drive.number - 1) + index * road.camera.step_m / SPEED_M_S
    # A millisecond would be a centimetre of road.
    stem = f"{index:05d}_t{time_s:.6f}"
    quality = [cv2.IMWRITE_JPEG_QUALITY, road.settings.jpeg_quality]
    (folder / "images" / f"{stem}.jpg").write_bytes(encoded(picture, ".jpg", quality))
    # Masks are nearly all zero: the quickest setting is within a few per cent of the smallest file.
    fast = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    (folder / "masks" / f"{stem}.png").write_bytes(encoded(mask, ".png", fast))
    return stem


def _write_track(path: Path, road: Road, drive: Pass, truth: RoadTruth) -> None:
    """10 Hz fixes from 3 s before the first frame to 3 s after the last."""
    settings = road.settings
    rng = np.random.default_rng((settings.seed, 9, drive.number))
    driven_s = (drive.frames - 1) * road.camera.step_m / SPEED_M_S
    seconds = np.arange(-3.0, driven_s + 3.0 + 1e-9, 1 / GNSS_RATE_HZ)
    local = np.column_stack([np.full_like(seconds, drive.offset_m), drive.start_m + seconds * SPEED_M_S])
    xy = truth.to_map_xy(local) + settings.gnss_noise_m * _unit_noise(rng, len(seconds))
    lon, lat = Transformer.from_crs(truth.epsg, 4326, always_xy=True).transform(xy[:, 0], xy[:, 1])
    start_s = START_TIME_S + PASS_APART_S * (drive.number - 1)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("time_s", "longitude_deg", "latitude_deg"))
        for row in zip(start_s + seconds, lon, lat, strict=True):
            writer.writerow((f"{row[0]:.3f}", f"{row[1]:.10f}", f"{row[2]:.10f}"))


def _unit_noise(rng: np.random.Generator, count: int) -> FloatArray:
    """(count, 2) noise of unit variance: half of it white, half a first-order process of GNSS_DRIFT_S."""
    white, pushes = rng.standard_normal((2, count, 2))
    keep = float(np.exp(-1.0 / (GNSS_RATE_HZ * GNSS_DRIFT_S)))
    slow = np.empty((count, 2))
    slow[0] = pushes[0]
    for index in range(1, count):
        slow[index] = keep * slow[index - 1] + np.sqrt(1 - keep**2) * pushes[index]
    return np.asarray((white + slow) * np.sqrt(0.5), np.float64)
