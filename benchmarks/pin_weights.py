"""Makes weight files the ones that ship: copies them and pins their hashes.

python -m benchmarks.pin_weights detect/detect.safetensors step2/segment.safetensors
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from crackmap.stages.weights import read_weights

FOLDER = Path(__file__).resolve().parents[1] / "stages" / "shipped"


def main() -> None:
    pins = FOLDER / "pins.json"
    known = json.loads(pins.read_text(encoding="utf-8")) if pins.exists() else {}
    for path in map(Path, sys.argv[1:]):
        weights = read_weights(path)
        name = f"{weights.stage}.safetensors"
        (FOLDER / name).write_bytes(path.read_bytes())
        known[weights.stage] = {"file": name, "sha256": weights.sha256}
    pins.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
