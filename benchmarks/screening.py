"""Does the screen pay? Screen + detect against detect alone, on the same frames, interleaved.

python -m benchmarks.screening --data ../shared/data --screen-weights run/screen.safetensors --frames 20
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from crackmap.pipeline.nets import weights_of
from crackmap.stages.datasets.sources import load_split
from crackmap.stages.detect.detector import Detector
from crackmap.stages.detect.settings import DetectSettings
from crackmap.stages.measure.skeleton import thin
from crackmap.stages.regions import cells_of_regions, pixels_of_cells
from crackmap.stages.screen.patches import windows_to_detect
from crackmap.stages.screen.screener import Screener
from crackmap.stages.screen.settings import ScreenSettings
from crackmap.stages.tiling import ArraySource, Window

MARGIN_PX = 16.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--screen-weights", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threshold", type=float, default=ScreenSettings().threshold)
    arguments = parser.parse_args()

    images = load_split("dnit", arguments.split, arguments.data)
    chosen = [image.read() for image in images[:: max(len(images) // arguments.frames, 1)]]
    sources = [ArraySource(labels.image) for labels in chosen]
    detector = Detector.load(weights_of("detect", None))
    screener = Screener.load(weights_of("screen", arguments.screen_weights))
    settings = DetectSettings()

    def windows(source: ArraySource) -> list[Window]:
        patches = screener.patches(source.size_wh_px)
        cracked = screener.scores(source, patches) >= arguments.threshold
        return windows_to_detect(
            detector.tiles(source.size_wh_px, settings), patches, cracked, margin_px=ScreenSettings().margin_px
        )

    seconds: dict[str, list[float]] = {"detect": [], "screen": [], "screened": []}
    for repeat in range(arguments.repeats + 1):
        parts = dict.fromkeys(seconds, 0.0)
        shown, passed = [], {"detect": 0, "screened": 0}
        for source, labels in zip(sources, chosen, strict=True):
            times = [time.perf_counter()]
            plain = detector.detect(source, settings)
            times.append(time.perf_counter())
            left = windows(source)
            times.append(time.perf_counter())
            screened = detector.detect(source, settings, left)
            times.append(time.perf_counter())
            for name, spent in zip(seconds, np.diff(times), strict=True):
                parts[name] += float(spent)
            shown.append(sum(w.width * w.height for w in left) / np.prod(source.size_wh_px))
            for name, regions in (("detect", plain), ("screened", screened)):
                cells = cells_of_regions(regions, source.size_wh_px, margin_px=MARGIN_PX)
                passed[name] += int((thin(labels.crack) & pixels_of_cells(cells, source.size_wh_px)).sum())
        if repeat:  # the first round warms caches
            for name, spent in parts.items():
                seconds[name].append(spent)
    detect, screen, after = (statistics.median(seconds[name]) for name in seconds)
    print(f"{len(chosen)} frames of dnit {arguments.split}, threshold {arguments.threshold:g}")
    print(f"share of the image the detector is left   {np.mean(shown):.3f}")
    alone = f"(screen alone {screen / detect:.3f})"
    print(f"(screen + detect) / detect                {(screen + after) / detect:.3f}  {alone}")
    print(f"crack length passed on: screened / not    {passed['screened'] / max(passed['detect'], 1):.3f}")


if __name__ == "__main__":
    main()
