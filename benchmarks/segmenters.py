"""CrackSeg against other nets with the same encoder, data and budget; and its own ablations.

python -m benchmarks.segmenters DATA OUT --steps 600 --encoder-weights mobilenet_v2-b0353104.pth
python -m benchmarks.segmenters DATA OUT --nets crackseg-light deeplabv3plus-light --steps 1000 --encoder-weights ...
python -m benchmarks.segmenters DATA OUT --ablations --steps 600 --encoder-weights mobilenet_v2-b0353104.pth

Every net gets the same crops in the same order. Scores: F1 of the crack class within 2 and 5 px at probability 0.5, on
whole images. A training that is in OUT already is not repeated.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from crackmap.calibration.errors import InputError
from crackmap.pipeline.evaluating.segment import evaluate_segment
from crackmap.stages.presets import preset_called
from crackmap.stages.segment.nets import SegmentConfig, build_segment_net
from crackmap.stages.segment.segmenter import Segmenter
from crackmap.stages.segment.settings import CRACK
from crackmap.stages.training.loop import RECORD, TrainingConfig
from crackmap.stages.training.run import TrainingRun, parameter_count, to_json, train
from crackmap.stages.weights import read_weights

PEERS = ("crackseg-light", "unet-light", "pspnet-light", "deeplabv3plus-light", "cracknet-light")

ABLATIONS: Mapping[str, Mapping[str, Any]] = {
    "crackseg-light": {},
    "large dilation": {"branches": ((1, 1), (3, 6), (3, 12), (3, 18))},
    "without Block3": {"fuse_block3": False},
    "without low-level features": {"low_level": ()},
    "Conv1 alone": {"low_level": ("conv1",)},
    "Block1 alone": {"low_level": ("block1",)},
    "two 3x3 convolutions": {"decoder_convolutions": 2},
    "without refinement": {"refine_channels": 0},
}

SCORED = (("dnit", "val"), ("cracksc", "val"), ("paveseg", "val"), ("cfd", "test"))
"""CFD is never trained on here: how well a net carries over."""


def main() -> None:
    options = _options()
    mixture = preset_called("crackseg-light").mixture
    training = TrainingConfig(options.steps, options.batch, options.side, learning_rate=1.3e-3, seed=options.seed)
    print(
        "| net | parameters | GFLOP a 256 px crop | "
        + " | ".join(f"{name} {split}, 2 px, 5 px" for name, split in SCORED)
        + " |"
    )
    print("|---" * (3 + len(SCORED)) + "|")
    for name, net in _nets(options.ablations).items():
        if options.nets and name not in options.nets:
            continue
        run = TrainingRun(net, training, mixture, (), options.encoder_weights)
        out = options.out / name.replace(" ", "-")
        weights, record = out / "segment.safetensors", out / RECORD
        if record.exists() and record.read_text(encoding="utf-8") != to_json(run):
            raise InputError(f"{out}: holds a training with other options; give another OUT")
        if not weights.exists():
            train(run, data=options.data, out=out, resume=(out / "last.ckpt").exists())
        scores = _scores(weights, options.data, out / "scores.json")
        cells = " | ".join(f"{two:.3f}, {five:.3f}" for two, five in scores)
        print(f"| {name} | {parameter_count(net) / 1e6:.2f} M | {_gflop(net):.2f} | {cells} |", flush=True)


def _gflop(config: SegmentConfig) -> float:
    """Multiplications and additions, 10^9, for one crop of 256 x 256 px."""
    net = build_segment_net(config).eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        net(torch.zeros(1, 3, 256, 256))
    return counter.get_total_flops() / 1e9


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--ablations", action="store_true")
    parser.add_argument("--nets", nargs="+", help="only these of them")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--encoder-weights", type=Path)
    return parser.parse_args()


def _nets(ablations: bool) -> dict[str, SegmentConfig]:
    light = preset_called("crackseg-light").net
    if ablations:
        return {name: replace(light, **change) for name, change in ABLATIONS.items()}  # type: ignore[misc]
    return {name: preset_called(name).net for name in PEERS}  # type: ignore[misc]


def _scores(weights: Path, data: Path, kept: Path) -> list[tuple[float, float]]:
    if not kept.exists():
        segmenter = Segmenter.load(read_weights(weights))
        found = [evaluate_segment(segmenter, data_set=name, split=split, data=data) for name, split in SCORED]
        at_half = [result.classes[CRACK].scores.at_half for result in found]
        kept.write_text(json.dumps([[counts[2].f1, counts[5].f1] for counts in at_half]), encoding="utf-8")
    return [(two, five) for two, five in json.loads(kept.read_text(encoding="utf-8"))]


if __name__ == "__main__":
    main()
