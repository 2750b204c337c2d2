"""What each engine and precision finds: F1, crack length and area on labelled frames, everything segmented.

python -m benchmarks.engines --data DATA
"""

from __future__ import annotations

import argparse
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from crackmap.pipeline.frame import StageSettings, find_mask
from crackmap.pipeline.nets import load_stages
from crackmap.stages import openvino_engine, runtime
from crackmap.stages.datasets.sources import load_split
from crackmap.stages.measure.measure import measure
from crackmap.stages.metrics import Counts, count_pixels
from crackmap.stages.tiling import ArraySource

TOLERANCE_PX = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="val")
    options = parser.parse_args()
    samples = [image.read() for image in load_split("dnit", options.split, options.data)]
    print(f"DNIT {options.split}, {len(samples)} frames\n")
    print("| engine | F1 5 px | crack length, px | cracks | crack area, px |\n" + "|---" * 5 + "|", flush=True)
    for engine in ("pytorch", "openvino"):
        with (
            mock.patch.object(runtime, "precision_of", return_value=torch.float32),
            mock.patch.object(openvino_engine, "precision", return_value="f32"),
        ):
            print(row(engine, samples), flush=True)
        print(row(engine, samples), flush=True)


def row(engine: str, samples: list) -> str:
    """What an engine finds, as a line of the table."""
    stages = load_stages(StageSettings(segment_everything=True), device="cpu", engine=engine)
    counts, length, cracks, area = np.zeros(4, np.int64), 0.0, 0, 0
    for sample in samples:
        source = ArraySource(sample.image)
        mask = find_mask(source, stages).mask
        found = mask.dense() > 127
        right = count_pixels(found, sample.crack, tolerance_px=TOLERANCE_PX)
        counts += (right.right, right.predicted, right.found, right.true)
        lines = measure(mask, ground=None, source=source)
        length, cracks, area = length + sum(line.length_px for line in lines), cracks + len(lines), area + found.sum()
    return f"| {stages.engine} | {Counts(*counts.tolist()).f1:.4f} | {length:.0f} | {cracks} | {area} |"


if __name__ == "__main__":
    main()
