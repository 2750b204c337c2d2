"""All scores of the nets on the public sets, as the tables of docs/results.md.

python -m benchmarks.results DATA OUT
python -m benchmarks.results DATA OUT --segment-weights run/segment.safetensors --detect-weights run/detect.safetensors

Without weights: those that come with crackmap. JSON and pictures of each evaluation stay in OUT; one that is there
already is not repeated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

SEGMENT_SETS = (("dnit", "test"), ("cracksc", "val"), ("paveseg", "val"), ("cfd", "test"))
DETECT_SETS = (("dnit", "test"), ("paveseg", "val"), ("cracksc", "val"), ("cfd", "test"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--segment-weights", type=Path)
    parser.add_argument("--detect-weights", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    segment = _given("--segment-weights", options.segment_weights)
    detect = _given("--detect-weights", options.detect_weights)
    segmented = {
        f"{name} {split}": _evaluation(options, "segment", segment, name, split) for name, split in SEGMENT_SETS
    }
    print(_segment_tables(segmented), flush=True)
    detected = {f"{name} {split}": _evaluation(options, "detect", detect, name, split) for name, split in DETECT_SETS}
    print(_detect_table(detected), flush=True)
    widths = _kept(options.out / "widths.json", ["widths", *segment])
    print(_widths_table(widths), flush=True)
    drawn = _kept(options.out / "false_drawn.json", ["false-cracks", *segment, *detect])
    real = _kept(
        options.out / "false_dnit.json",
        ["false-cracks", "--set", "dnit", "--split", "val", "--data", str(options.data), *segment, *detect],
    )
    print(_false_table({"drawn": drawn, "dnit val": real}))


def _given(name: str, path: Path | None) -> list[str]:
    return [] if path is None else [name, str(path)]


def _evaluation(options: argparse.Namespace, stage: str, weights: list[str], name: str, split: str) -> Any:
    pictures = options.out / f"{stage}_{name}_{split}"
    command = [
        stage,
        "--set",
        name,
        "--split",
        split,
        "--data",
        str(options.data),
        "--pictures",
        str(pictures),
        *weights,
    ]
    return _kept(pictures.with_suffix(".json"), command)


def _kept(path: Path, command: Sequence[str]) -> Any:
    if not path.exists():
        whole = [sys.executable, "-m", "crackmap.cli.main", "evaluate", *command, "--json"]
        path.write_bytes(subprocess.run(whole, check=True, stdout=subprocess.PIPE).stdout)
    return json.loads(path.read_text(encoding="utf-8"))


def _rows(title: str, rows: Iterable[Sequence[str]]) -> str:
    columns = title.split(" | ")
    lines = [f"| {title} |", "|---" * len(columns) + "|", *("| " + " | ".join(row) + " |" for row in rows)]
    return "\n".join(lines) + "\n"


def _interval(item: Mapping[str, Any], name: str) -> str:
    low, high = item["interval_95"][name]
    return f"{low:.3f}-{high:.3f}"


def _segment_tables(found: Mapping[str, Any]) -> str:
    rows, others = [], []
    for name, report in found.items():
        for class_name, item in report["classes"].items():
            at, best = item["at_0.5"], item["best_f1_one_threshold"]["5px"]
            cells = [f"{at['0px']['f1']:.3f}"]
            for tolerance in ("2px", "5px"):
                scores = at[tolerance]
                cells.append(f"{scores['f1']:.3f} ({_interval(item, 'f1_' + tolerance)}; P {scores['precision']:.3f}, "
                             f"R {scores['recall']:.3f})")  # fmt: skip
            paper = item["paper_style"]["mean_iou"]
            rows.append([name, class_name, *cells, f"{best['f1']:.3f} at {best['threshold']:.2f}",
                         f"{item['cl_iou_4px']:.3f}", f"{item['calibration_error']['from_0.05']:.3f}",
                         f"{paper:.3f}"])  # fmt: skip
        for other, item in report["called_crack"].items():
            if item["pixels"]:
                low, high = item["interval_95"]
                others.append([name, other, f"{100 * item['share']:.1f} % ({100 * low:.1f}-{100 * high:.1f})",
                               str(item["images"])])  # fmt: skip
    return (
        _rows("set | class | strict F1 | F1 2 px (95 %; P, R) | F1 5 px (95 %; P, R) | best F1 5 px | clIoU 4 px | "
              "calibration error | mean IoU, road too", rows)
        + "\n" + _rows("set | what it is | called crack (95 %) | images", others)
    )  # fmt: skip


def _detect_table(found: Mapping[str, Any]) -> str:
    rows = []
    for name, report in found.items():
        at, least = report["at_score"], report["least_area_for_length_wanted"]
        wanted = "not reached" if least is None else f"{least['area_share']:.3f} at {least['score']:g}"
        values = [f"{at[key]:.3f} ({_interval(report, key)})" for key in
                  ("precision", "segmentation_error", "reduction", "length_share", "area_share")]  # fmt: skip
        rows.append([name, f"{at['score']:g}", *values, wanted])
    return _rows("set | score | Pr (95 %) | Es | reduction | length passed on | area passed on | area for 98 %", rows)


def _widths_table(found: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for item in found:
        low, high = item["area_bias_interval_px"]
        rows.append([f"{item['limits_px'][0]:g}-{item['limits_px'][1]:g}", f"{item['found_share']:.3f}",
                     f"{item['area_bias_px']:+.2f} ({low:+.2f} to {high:+.2f})", f"{item['area_mae_px']:.2f}",
                     f"{item['mask_bias_px']:+.2f}"])  # fmt: skip
    return _rows("true width, px | found | bias, area (95 %) | MAE | bias, mask", rows)


def _false_table(found: Mapping[str, Any]) -> str:
    rows = []
    for name, report in found.items():
        for item in report["kinds"]:
            low, high = item["interval_95"]
            rows.append([name, item["kind"], f"{item['lane_m']:.0f}", f"{item['false_crack_m_per_100m']:.2f} "
                         f"({low:.2f}-{high:.2f})", f"{item['joint_m_per_100m']:.2f}"])  # fmt: skip
    return _rows("road | kind | lane, m | false crack, m per 100 m (95 %) | joint, m per 100 m", rows)


if __name__ == "__main__":
    main()
