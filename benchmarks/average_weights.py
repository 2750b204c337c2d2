"""Averages two trainings of the same net, weight by weight.

python -m benchmarks.average_weights step2/segment.safetensors step3/segment.safetensors 0.5 segment.safetensors

A net that was trained on from another keeps more of what both know when the two are averaged (Wortsman et al., ICML
2022).
The number is the share of the second.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from crackmap.calibration.errors import require
from crackmap.stages.weights import read_weights


def average(first: Path, second: Path, share: float, out: Path) -> None:
    """Writes the average of two weight files, half precision, with the header of the first.

    Raises:
        InputError: two different nets, or a share outside 0 to 1.
        WeightsError: one of them is not a weight file.
    """
    require(0 <= share <= 1, "share", "0 to 1", share)
    one, other = read_weights(first), read_weights(second)
    same = (one.stage, one.net, dict(one.config)) == (other.stage, other.net, dict(other.config))
    require(same, "second", f"the net of the first, {one.net} {dict(one.config)}", f"{other.net} {dict(other.config)}")
    tensors = {
        key: torch.lerp(value, other.tensors[key], share).half() if value.is_floating_point() else value
        for key, value in one.tensors.items()
    }
    with safe_open(str(first), framework="pt") as file:
        save_file(tensors, str(out), metadata=file.metadata())


if __name__ == "__main__":
    average(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4]))
