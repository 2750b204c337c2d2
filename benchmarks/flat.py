"""Does a megapixel cost the same in small and large images, and in short and long surveys?

python -m benchmarks.flat OUT ROAD

ROAD is a drawn survey (`crackmap synth ROAD`), from whose photographs images of other sizes are put together. Seconds
are those of the frames by the clock, after a first run in which the engine prepares for the shapes; products left out.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import tempfile
from pathlib import Path

import cv2
import numpy as np

from crackmap.pipeline.frame import StageSettings
from crackmap.pipeline.loading import LoadLimits
from crackmap.pipeline.nets import load_stages
from crackmap.pipeline.run import RunOptions, RunSettings, run_survey
from crackmap.pipeline.survey import read_survey
from crackmap.stages.processors import cpu_count

SIZES = ((816, 612, 120), (1920, 1440, 24), (5760, 4320, 4), (11520, 8640, 1))
"""Width, height, images."""

COUNTS = (100, 1000, 10_000)
"""Frames of 0.1 Mpx."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("road", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    pictures = [cv2.imread(str(path)) for path in sorted((options.road / "images").glob("*.jpg"))]
    settings = RunSettings(StageSettings(), strips=False)
    stages = load_stages(settings.stages, streams=cpu_count())

    def seconds_per_mpx(folder: Path) -> float:
        survey = read_survey(folder, gsd_mm=2.0)
        with tempfile.TemporaryDirectory() as out:
            chosen = RunOptions(workers=cpu_count(), limits=LoadLimits())
            summary = run_survey(survey, Path(out), stages, settings, options=chosen)
        return summary.wall_s["frames"] / (summary.pixels / 1e6)

    for width, height, count in SIZES:
        folder = drawn(options.out / f"{width}x{height}", pictures, (width, height), count)
        seconds_per_mpx(folder)
        found = statistics.median(seconds_per_mpx(folder) for _ in range(options.repeats))
        print(f"{count} images of {width * height / 1e6:.1f} Mpx: {found:.4f} s/Mpx", flush=True)
    for count in COUNTS:
        folder = drawn(options.out / f"{count}", pictures, (384, 288), count)
        found = seconds_per_mpx(folder)
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{count} images of 0.1 Mpx: {found:.4f} s/Mpx, peak {peak_mb:.0f} MB", flush=True)


def drawn(folder: Path, pictures: list[np.ndarray], size_wh: tuple[int, int], count: int) -> Path:
    """Images of a size, of pieces of the photographs."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    width, height = size_wh
    for number in range(count):
        image = np.zeros((height, width, 3), np.uint8)
        for y in range(0, height, 1440):
            for x in range(0, width, 1920):
                part = image[y : y + 1440, x : x + 1920]
                picture = pictures[int(rng.integers(len(pictures)))]
                top, left = (
                    int(rng.integers(a - b + 1)) for a, b in zip(picture.shape[:2], part.shape[:2], strict=True)
                )
                part[:] = picture[top : top + part.shape[0], left : left + part.shape[1]]
        # No two are the same file.
        image[0, :4, 0] = np.frombuffer(number.to_bytes(4, "big"), np.uint8)
        cv2.imwrite(str(folder / f"{number:05d}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 92])
    return folder


if __name__ == "__main__":
    main()
