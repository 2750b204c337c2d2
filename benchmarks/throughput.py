"""From image files to results: two stages, segmenting everything, and the stock way, interleaved, on the same frames.

python -m benchmarks.throughput OUT --data DATA
python -m benchmarks.throughput OUT --data DATA --repeats 1 --frames 20 --only dnit

Each measurement runs in a process of its own. OUT keeps the drawn surveys, all figures (throughput.json) and a plot.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.throughput_ways import WAYS, machine
from crackmap.pipeline.synthetic import SyntheticSettings, write_survey

DRAWN = {"drawn, few cracks": 0.12, "drawn, more cracks": 0.55}
"""Survey -> cracks on 10 m of road."""

STOCK_FRAMES = 1
"""The stock way is slow: so many frames, in the first round."""

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--frames", type=int, default=30, help="of a drawn survey")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--only", default="", help="dnit, drawn")
    parser.add_argument("--no-stock", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    surveys = {}
    if options.data and options.only in ("", "dnit"):
        surveys["dnit test"] = (dnit_survey(options.out / "dnit", options.data), "dnit", str(options.data.resolve()))
    if options.only in ("", "drawn"):
        for name, cracks in DRAWN.items():
            surveys[name] = (drawn_survey(options.out / name.replace(", ", "-"), cracks, options.frames), "", "")
    rows: dict[str, dict[str, list[Row]]] = {name: defaultdict(list) for name in surveys}
    limits: list[dict[str, float]] = []
    for repeat in range(options.repeats):
        for name, (folder, preset, data) in surveys.items():
            limits.append(machine(sorted(folder.rglob("*.jpg"))[:10]))
            for way in WAYS:
                if way == "stock" and (options.no_stock or repeat >= 1):
                    continue
                frames = str(STOCK_FRAMES if way == "stock" else 0)
                rows[name][way].append(measured(way, str(folder), preset, options.engine, data, frames))
                print(
                    f"{repeat + 1}/{options.repeats} {name}, {way}: {rows[name][way][-1]['wall_s']:.1f} s", flush=True
                )
        (options.out / "throughput.json").write_text(json.dumps({"machine": limits, "rows": rows}, indent=1))
    print(report(rows, limits))
    plot(rows, options.out / "throughput.png")


def dnit_survey(folder: Path, data: Path) -> Path:
    """The test frames of DNIT with their lane masks, as a survey."""
    if not folder.exists():
        with (data / "dnit" / "frames.csv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
        for row in rows:
            (folder / row["recording"]).mkdir(parents=True, exist_ok=True)
            for kind in ("RAW.jpg", "LANE.png"):
                path = data / "dnit" / row["recording"] / f"{row['frame']}_{kind}"
                shutil.copy(path, folder / row["recording"])
    return folder


def drawn_survey(folder: Path, cracks_per_10m: float, frames: int) -> Path:
    """A drawn survey of downward photographs of 1920 x 1440 px, 2 mm a pixel."""
    if not (folder / "survey.toml").exists():
        write_survey(folder, SyntheticSettings(frames=frames, cracks_per_10m=cracks_per_10m, size_wh_px=(1920, 1440),
                                               seed=7))  # fmt: skip
    masks = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in sorted((folder / "masks").iterdir())]
    shown = [bool((np.asarray(mask) > 127).any()) for mask in masks]
    print(f"{folder.name}: {np.mean(shown):.0%} of {len(shown)} frames show a crack", flush=True)
    return folder


def measured(*arguments: str) -> Row:
    """What one way measures of itself."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.throughput_ways", *arguments], capture_output=True, text=True
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise SystemExit(f"{arguments}: {done.stderr[-2000:]}")
    found: Row = json.loads(lines[-1].removeprefix("RESULT "))
    return found


def median(rows: Sequence[Row], name: str) -> float:
    """Median of a figure."""
    return statistics.median(row[name] for row in rows)


def report(rows: dict[str, dict[str, list[Row]]], limits: Sequence[dict[str, float]]) -> str:
    """Tables in Markdown; ratios are medians of the ratios within a round."""
    machine_s = {name: statistics.median(limit[name] for limit in limits) for name in limits[0]}
    lines = [f"Machine: {machine_s['bf16_gflops']:.0f} GFLOP/s in bfloat16, {machine_s['f32_gflops']:.0f} in float32, "
             f"JPEG {machine_s['jpeg_mpx_s']:.0f} Mpx/s on one processor.", "",
             "| survey | way | Mpx/s | of it nets | nets, GFLOP/s | peak, MB | area segmented | seen by segmenter | "
             "F1 5 px | cracks, px |", "|" + "---|" * 10]  # fmt: skip
    for survey, ways in rows.items():
        for way, found in ways.items():
            if way == "stock":
                rate, peak_mb = median_rate(found, "wall_s"), median(found, "peak_mb")
                lines.append(f"| {survey} | stock | {rate:.2f} | | | {peak_mb:.0f} | | | | |")
                continue
            seen = found[0]["net_px"]["segmenter"] / 1e6 / found[0]["mpx"]
            speed = statistics.median(row["flop"] / row["nets_s"] / 1e9 for row in found)
            nets = statistics.median(row["nets_s"] / row["wall_s"] for row in found)
            lines.append(
                f"| {survey} | {way} | {median_rate(found, 'wall_s'):.2f} | {nets:.0%} | {speed:.0f} "
                f"| {median(found, 'peak_mb'):.0f} | {found[0]['share']:.3f} | {seen:.3f} | {found[0]['f1']:.3f} "
                f"| {found[0]['length_px']:.0f} |"
            )
    lines += ["", "| survey | two stages / everything, nets | by the clock | crack length kept | area share "
              "| two stages against stock |", "|" + "---|" * 6]  # fmt: skip
    for survey, ways in rows.items():
        two, one, old = ways["two stages"], ways["everything"], ways.get("stock", [])
        nets, clock = (statistics.median(a[key] / b[key] for a, b in zip(two, one, strict=True))
                       for key in ("nets_s", "wall_s"))  # fmt: skip
        against = f"{median_rate(two, 'wall_s') / median_rate(old, 'wall_s'):.1f}" if old else ""
        kept = two[0]["length_px"] / one[0]["length_px"]
        lines.append(f"| {survey} | {nets:.3f} | {clock:.3f} | {kept:.4f} | {two[0]['share']:.3f} | {against} |")
    return "\n".join(lines)


def median_rate(rows: Sequence[Row], name: str) -> float:
    """Median Mpx/s."""
    return statistics.median(row["mpx"] / row[name] for row in rows)


def plot(rows: dict[str, dict[str, list[Row]]], path: Path) -> None:
    """Seconds per megapixel, by stage."""
    figure, axes = plt.subplots(figsize=(8, 0.6 + 0.7 * 2 * len(rows)), layout="constrained")
    labels = [(survey, way) for survey, ways in rows.items() for way in ways if way != "stock"]
    stages = ("decode", "detect", "segment", "measure", "write")
    left = np.zeros(len(labels))
    for stage in stages:
        values = np.array([
            statistics.median(row["seconds"].get(stage, 0.0) / row["mpx"] for row in rows[survey][way])
            for survey, way in labels
        ])  # fmt: skip
        axes.barh([f"{survey}\n{way}" for survey, way in labels], values, left=left, label=stage)
        left += values
    axes.set_xlabel("seconds per megapixel in each stage, waiting for others included; frames run side by side")
    axes.legend(ncols=len(stages), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
