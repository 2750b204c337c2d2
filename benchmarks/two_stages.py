"""Do two stages cost less than one? Detect + segment against segmenting everything, on the same frames, interleaved.

python -m benchmarks.two_stages --data ../shared/data --frames 20
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from crackmap.pipeline.frame import StageSettings, load_stages, process_image
from crackmap.stages.datasets.sources import load_split
from crackmap.stages.tiling import ArraySource


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()

    images = load_split("dnit", "test", arguments.data)
    chosen = [ArraySource(image.read().image) for image in images[:: max(len(images) // arguments.frames, 1)]]
    ways = {
        "two stages": load_stages(StageSettings()),
        "segment everything": load_stages(StageSettings(segment_everything=True)),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    stages_s: dict[str, list[float]] = {"detect": [], "segment": []}
    length_px, shares = dict.fromkeys(ways, 0.0), []
    for repeat in range(arguments.repeats + 1):
        for way, stages in ways.items():
            start = time.perf_counter()
            results = [process_image(source, stages, ground=None) for source in chosen]
            elapsed = time.perf_counter() - start
            if repeat == 0:  # the first round warms caches and fixes the lengths
                length_px[way] = sum(crack.length_px for result in results for crack in result.cracks)
                shares = shares or [result.mask.segmented_share for result in results]
                continue
            nets = sum(r.seconds.get("detect", 0.0) + r.seconds["segment"] for r in results)
            seconds[way].append(nets)
            if way == "two stages":
                for name in stages_s:
                    stages_s[name].append(sum(r.seconds[name] for r in results))
            print(f"{way:<20} {elapsed:6.2f} s, nets {nets:6.2f} s", flush=True)
    two, one = (statistics.median(seconds[way]) for way in ways)
    detect = statistics.median(stages_s["detect"])
    print(f"share of area passed on            {statistics.mean(shares):.3f}")
    print(f"nets: two stages / everything      {two / one:.3f}  (detector alone {detect / one:.3f})")
    print(f"crack length: two / everything     {length_px['two stages'] / length_px['segment everything']:.3f}")


if __name__ == "__main__":
    main()
