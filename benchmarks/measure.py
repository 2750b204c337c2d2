"""How right and how fast is the measurement? crackmap against skan, scikit-image and area / length, on the same masks.

OMP_NUM_THREADS=1 python -m benchmarks.measure   accuracy, time against the others, growth of time
python -m benchmarks.measure --worst 5           and the cases each way is worst at
python -m benchmarks.measure --json              every number, every case
python -m benchmarks.measure --plot growth.png   a picture of how time grows
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from benchmarks.measure_cases import WIDTH_EDGES_PX, Case, cases, crack_field, picture_of
from benchmarks.measure_ways import RIVALS, FloatArray, Measured, ours
from crackmap.stages.measure.measure import measure_dense

CLASSES = tuple(pairwise(WIDTH_EDGES_PX))
SHARE = 0.02
AREAS_MPX = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
SHARES = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08)
REPEATS = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """The errors of one way at one crack.

    Attributes:
        kind, name: the crack.
        length_pct: error of the length, % of the true one; None where the way has no length.
        orientation_deg: error of the direction, for straight cracks, without sign.
        width_px: class number -> (mean error, mean error without sign) of the widths at its points.
        length_in_u, width_in_u: error of the length and of the mean width over their standard uncertainty; None where
            there is none, as for a crack that was found in pieces.
    """

    kind: str
    name: str
    length_pct: float | None
    orientation_deg: float | None
    width_px: dict[int, tuple[float, float]]
    length_in_u: float | None = None
    width_in_u: float | None = None


def outcome(case: Case, measured: Measured) -> Outcome:
    """Compares what was measured with the vectors of the crack."""
    length = None if measured.length_px is None else 100.0 * (measured.length_px / case.length_px - 1.0)
    angle = None
    if case.straight_deg is not None and measured.orientation_deg is not None:
        apart = abs(measured.orientation_deg - case.straight_deg) % 180.0
        angle = min(apart, 180.0 - apart)
    widths = {}
    if len(measured.xy_px):
        true = case.width_at(measured.xy_px)
        error = measured.width_px - true
        for number, (low, high) in enumerate(CLASSES):
            inside = (true >= low) & (true < high)
            if inside.any():
                widths[number] = float(error[inside].mean()), float(np.abs(error[inside]).mean())
    in_u: tuple[float | None, float | None] = (None, None)
    if measured.u_length_px and measured.u_width_px and measured.length_px is not None:
        mean = _mean_along(measured.xy_px, measured.width_px) - _mean_along(case.xy_px, case.width_px)
        in_u = (measured.length_px - case.length_px) / measured.u_length_px, mean / measured.u_width_px
    return Outcome(case.kind, case.name, length, angle, widths, *in_u)


def _mean_along(xy: FloatArray, values: FloatArray) -> float:
    """Mean of values that run evenly between the vertices of a line, by length."""
    steps = np.hypot(*np.diff(xy, axis=0).T)
    return float(steps @ (values[:-1] + values[1:]) / 2 / steps.sum())


def run_cases() -> dict[str, list[Outcome]]:
    """Every way on every case: first those that share the binary masks, then ours with more to go by."""
    outcomes: dict[str, list[Outcome]] = {}
    for seed, case in enumerate(cases()):
        coverage = case.coverage()
        binary, image = coverage >= 0.5, picture_of(coverage, seed)
        measured = {"crackmap": ours(binary)}
        measured |= {name: way(binary) for name, way in RIVALS.items()}
        measured["crackmap, soft coverage"] = ours(coverage)
        measured["crackmap, picture and mask"] = ours(binary, image)
        measured["crackmap, picture and mask 1 px too fat"] = ours(_fat(case), image)
        for way, result in measured.items():
            outcomes.setdefault(way, []).append(outcome(case, result))
    return outcomes


def _fat(case: Case) -> NDArray[np.bool_]:
    """The mask as networks draw it: half a pixel wider on either side."""
    return Case(case.kind, case.name, case.xy_px, case.width_px + 1.0, case.size_wh_px).coverage() >= 0.5


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the accuracy table; None where the way has no such number."""

    way: str
    length_mean_pct: float | None
    length_p95_pct: float | None
    width_bias_px: tuple[float, ...]
    width_mae_px: tuple[float, ...]
    orientation_mean_deg: float | None


def summary(way: str, outcomes: Sequence[Outcome]) -> Row:
    """Every case counts the same, however many points it has."""
    lengths = [abs(item.length_pct) for item in outcomes if item.length_pct is not None]
    angles = [item.orientation_deg for item in outcomes if item.orientation_deg is not None]
    widths = [[item.width_px[n] for item in outcomes if n in item.width_px] for n in range(len(CLASSES))]
    return Row(
        way,
        statistics.mean(lengths) if lengths else None,
        float(np.percentile(lengths, 95)) if lengths else None,
        tuple(statistics.mean(bias for bias, _ in column) for column in widths),
        tuple(statistics.mean(mae for _, mae in column) for column in widths),
        statistics.mean(angles) if angles else None,
    )


def accuracy_table(rows: Sequence[Row]) -> str:
    """Markdown: length, width per class as bias / mean absolute error, direction."""
    heads = [f"width {low:g}-{high:g} px" for low, high in CLASSES]
    lines = [
        f"| way | length, mean | length, p95 | {' | '.join(heads)} | direction |",
        "|---" * (4 + len(CLASSES)) + "|",
    ]
    for row in rows:
        widths = [f"{b:+.2f} / {m:.2f}" for b, m in zip(row.width_bias_px, row.width_mae_px, strict=True)]
        lines.append(f"| {row.way} | {_text(row.length_mean_pct, ' %')} | {_text(row.length_p95_pct, ' %')} | "
                     f"{' | '.join(widths)} | {_text(row.orientation_mean_deg, ' deg')} |")  # fmt: skip
    return "\n".join(lines)


def _text(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value:.2f}{unit}"


def kinds_table(outcomes: dict[str, list[Outcome]]) -> str:
    """Markdown: mean length error, with its sign and without, by kind of crack."""
    kinds = list(dict.fromkeys(item.kind for items in outcomes.values() for item in items))
    lines = [f"| way | {' | '.join(kinds)} |", "|---" * (1 + len(kinds)) + "|"]
    for way, items in outcomes.items():
        cells = []
        for kind in kinds:
            errors = [item.length_pct for item in items if item.kind == kind and item.length_pct is not None]
            cells.append(
                f"{statistics.mean(errors):+.2f} / {statistics.mean(map(abs, errors)):.2f} %" if errors else "–"
            )
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


def trust_table(outcomes: dict[str, list[Outcome]]) -> str:
    """Markdown: share of cracks whose true length, and true mean width, lies within two standard uncertainties."""
    kinds = list(dict.fromkeys(item.kind for items in outcomes.values() for item in items))
    lines = [f"| way | {' | '.join(kinds)} |", "|---" * (1 + len(kinds)) + "|"]
    for way, items in outcomes.items():
        if not any(item.length_in_u is not None for item in items):
            continue
        cells = []
        for kind in kinds:
            both = [(item.length_in_u, item.width_in_u) for item in items
                    if item.kind == kind and item.length_in_u is not None and item.width_in_u is not None]  # fmt: skip
            shares = [100 * statistics.mean(abs(pair[n]) <= 2 for pair in both) for n in (0, 1)] if both else []
            cells.append(f"{shares[0]:.0f} / {shares[1]:.0f} % of {len(both)}" if shares else "–")
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


def worst_cases(items: Sequence[Outcome], count: int) -> str:
    """The cases with the greatest errors of length, width and direction."""
    measures: dict[str, Callable[[Outcome], float | None]] = {
        "length, %": lambda item: item.length_pct,
        "width, px": lambda item: max((bias for bias, _ in item.width_px.values()), key=abs, default=None),
        "direction, deg": lambda item: item.orientation_deg,
    }
    lines = []
    for name, measure in measures.items():
        errors = [(value, item) for item in items if (value := measure(item)) is not None]
        worst = sorted(errors, key=lambda pair: -abs(pair[0]))[:count]
        lines += [f"  {name:<14} {value:+7.2f}   {item.kind}, {item.name}" for value, item in worst]
    return "\n".join(lines)


def seconds_of(actions: dict[str, Callable[[], object]], repeats: int = REPEATS) -> dict[str, float]:
    """Median seconds of each action; taken in turns, so that a busy machine slows all of them alike."""
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for repeat in range(repeats + 1):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            if repeat:  # the first round warms caches and compiles
                taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in taken.items()}


def time_of_ways() -> dict[str, float]:
    """Milliseconds per Mpx of each way on 2000 x 2000 pixels, 2 % of them crack."""
    mask = crack_field((2000, 2000), SHARE, 1)
    actions: dict[str, Callable[[], object]] = {"crackmap": lambda: measure_dense(mask, ground=None)}
    actions |= {name: partial(way, mask) for name, way in RIVALS.items()}
    return {name: 1e3 * seconds / (mask.size / 1e6) for name, seconds in seconds_of(actions).items()}


@dataclass(frozen=True, slots=True)
class Growth:
    """Time for one mask."""

    area_mpx: float
    share: float
    crack_px: int
    seconds: float


def growth() -> list[Growth]:
    """Time against area at 2 % crack pixels, then against the share of crack pixels at 4 Mpx."""
    points = []
    for area, share in [(area, SHARE) for area in AREAS_MPX] + [(4.0, share) for share in SHARES]:
        side = round((area * 1e6) ** 0.5)
        mask = crack_field((side, side), share, 2)
        took = seconds_of({"": partial(measure_dense, mask, ground=None)}, repeats=3)[""]
        points.append(Growth(mask.size / 1e6, share, int(mask.sum()), took))
    return points


def growth_table(points: Sequence[Growth]) -> str:
    """Markdown: ns per crack pixel and Mpx/s."""
    lines = ["| Mpx | crack pixels | s | ns per crack pixel | Mpx/s |", "|---|---|---|---|---|"]
    lines += [f"| {p.area_mpx:.1f} | {100 * p.share:g} % = {p.crack_px} | {p.seconds:.3f} | "
              f"{1e9 * p.seconds / p.crack_px:.0f} | {p.area_mpx / p.seconds:.1f} |" for p in points]  # fmt: skip
    return "\n".join(lines)


def plot(points: Sequence[Growth], path: Path) -> None:
    """Seconds against crack pixels, both axes logarithmic: linear growth is a straight line at 45 degrees."""
    figure, axis = plt.subplots(figsize=(6.0, 4.2), layout="constrained")
    count = len(AREAS_MPX)
    for part, label, mark in ((points[:count], "0.5 to 32 Mpx, 2 % crack", "o-"),
                              (points[count:], "4 Mpx, 0.25 to 8 % crack", "s-")):  # fmt: skip
        axis.loglog([p.crack_px for p in part], [p.seconds for p in part], mark, label=label)
    first = points[0]
    ends = np.array([first.crack_px, points[count - 1].crack_px])
    axis.loglog(ends, first.seconds * ends / first.crack_px, ":", color="grey", label="linear from the smallest")
    axis.set_xlabel("crack pixels")
    axis.set_ylabel("seconds, one thread")
    axis.grid(True, which="both", alpha=0.3)
    axis.legend()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print every number and every case as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="save a picture of how time grows")
    parser.add_argument("--worst", type=int, default=0, metavar="N", help="print the N worst cases of each way")
    parser.add_argument("--only", choices=("accuracy", "time", "growth"), help="one part of the benchmark")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)

    wanted = (arguments.only,) if arguments.only else ("accuracy", "time", "growth")
    outcomes = run_cases() if "accuracy" in wanted else {}
    rows = [summary(way, items) for way, items in outcomes.items()]
    times = time_of_ways() if "time" in wanted else {}
    points = growth() if "growth" in wanted else []
    if arguments.plot is not None and points:
        plot(points, arguments.plot)
    if arguments.json:
        report = {"accuracy": [asdict(row) for row in rows], "ms_per_mpx": times, "growth": [asdict(p) for p in points],
                  "cases": {way: [asdict(item) for item in items] for way, items in outcomes.items()}}  # fmt: skip
        print(json.dumps(report, indent=1))
        return
    if outcomes:
        print(f"{len(cases())} drawn cracks; width as bias / mean absolute error, pixels\n\n{accuracy_table(rows)}\n")
        print(f"length error by kind of crack: mean with sign / without\n\n{kinds_table(outcomes)}\n")
        print(f"true length / true mean width within 2 u, should be 95 %\n\n{trust_table(outcomes)}\n")
    for way, items in outcomes.items() if arguments.worst else ():
        print(f"{way}: worst cases\n{worst_cases(items, arguments.worst)}\n")
    for way, took in times.items():
        print(f"{way:<26} {took:7.1f} ms per Mpx   {took / times['crackmap']:5.2f} x the time of crackmap")
    if points:
        print(f"\n{growth_table(points)}")


if __name__ == "__main__":
    main()
