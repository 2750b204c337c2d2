"""Makes weight files the ones that ship: copies them and pins their hashes.

python -m benchmarks.pin_weights detect/detect.safetensors step2/segment.safetensors
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from crackmap.calibration.errors import require
from crackmap.stages.datasets.crops import RENDERED
from crackmap.stages.datasets.public import DATA_SETS
from crackmap.stages.weights import Weights, read_weights

FOLDER = Path(__file__).resolve().parents[1] / "stages" / "shipped"


def refuse_unshippable(weights: Weights) -> None:
    """Raises InputError if the weights have learnt from a set whose licence does not let them be given away."""
    for name in weights.trained_on:
        allowed = name == RENDERED or (name in DATA_SETS and DATA_SETS[name].may_train_shipped_weights)
        require(allowed, f"weights {weights.name}, trained_on", "sets that may train weights to be shipped", name)
    require(bool(weights.trained_on), f"weights {weights.name}, trained_on", "the sets it has learnt from", "none")


def main() -> None:
    pins = FOLDER / "pins.json"
    known = json.loads(pins.read_text(encoding="utf-8")) if pins.exists() else {}
    for path in map(Path, sys.argv[1:]):
        weights = read_weights(path)
        refuse_unshippable(weights)
        name = f"{weights.stage}.safetensors"
        (FOLDER / name).write_bytes(path.read_bytes())
        known[weights.stage] = {"file": name, "sha256": weights.sha256}
    pins.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
