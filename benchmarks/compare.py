"""`crackmap compare` on drawn roads whose growth is known: the figures of docs/compare.md.

python -m benchmarks.compare OUT --seeds 10,11,12

For each seed and camera three drives are drawn and run with the nets that come with crackmap: one, a second over the
same road, and one over the road with grown and new cracks. What lies in OUT already is not drawn or run again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely

from crackmap.pipeline.comparing import Change, CompareSettings, Comparison, compare_surveys
from crackmap.pipeline.synthetic import RoadTruth, TrueCrack, read_truth

NOISE = ("--frames", "100", "--gnss-noise", "0.02")
GROWTH = ("--grow-length", "30", "--grow-width", "2", "--grow-new", "0.1")
NEAR_M = 0.06
CALLED = ("new", "gone", "longer_wider", "longer", "wider", "less")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", default="10,11,12")
    parser.add_argument("--cameras", default="downward,forward")
    options = parser.parse_args()
    print("camera seed  drives      called changed      length A, B            growth            drawn    widening")
    scores = []
    for camera in options.cameras.split(","):
        for seed in options.seeds.split(","):
            scores += one_road(options.out, camera, seed)
    print(summary(scores))


@dataclass(frozen=True, slots=True)
class Score:
    """Errors of the changes of one comparison over their uncertainties, and whether those changed were found.

    `growth`, `widening`: (measured - drawn) / stated uncertainty of each group; `really`: whether its drawn length
    grew.
    `false`: groups that are called changed, beside which nothing has changed in the drawing.
    """

    grown: bool
    compared: int
    called: int
    growth: np.ndarray
    really: np.ndarray
    widening: np.ndarray
    false: int


def one_road(out: Path, camera: str, seed: str) -> list[Score]:
    name = f"{camera}-{seed}"
    drives = {
        "1": ("--pass", "1"), "2": ("--pass", "2"), "grown": ("--pass", "2", *GROWTH),
    }  # fmt: skip
    for drive, options in drives.items():
        survey, result = out / f"{name}-{drive}", out / f"{name}-{drive}-run"
        if not (result / "_SUCCESS.json").exists():
            crackmap("synth", survey, *NOISE, "--camera", camera, "--seed", seed, *options)
            crackmap("run", survey, "-o", result, "--no-strips")
    before = read_truth(out / f"{name}-1")
    scores = []
    for drive in ("2", "grown"):
        found = compare_surveys(out / f"{name}-1-run", out / f"{name}-{drive}-run", CompareSettings())
        after = read_truth(out / f"{name}-{drive}")
        score = score_of(found, before, after, grown=drive == "grown")
        total = found.total
        drawn = true_growth_m(before, after, found)
        print(
            f"{camera:9}{seed:>3}  1, {drive:6} {score.called:4} of {score.compared:4} ({score.false} false)"
            f"{total.length_a_m:9.1f} {total.length_b_m:8.1f} m  {total.growth_m:+6.1f} ± {total.u_growth_m:4.1f} m"
            f" {drawn:+7.1f} m   {total.widening_mm or 0:+5.2f} ± {total.u_widening_mm or 0:4.2f} mm  {total.verdict}",
            flush=True,
        )
        scores.append(score)
    return scores


def crackmap(*arguments: object) -> None:
    command = [sys.executable, "-m", "crackmap.cli.main", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def score_of(found: Comparison, before: RoadTruth, after: RoadTruth, *, grown: bool) -> Score:
    compared = [change for change in found.changes if change.status != "not_comparable"]
    called = [change for change in compared if change.status in CALLED]
    truth = Truth(before, after)
    growth, widening, grows, false = [], [], [], 0
    for change in compared:
        length, width = truth.of(change)
        if length is not None and change.growth_m is not None and change.u_growth_m and change.matched_m > 0:
            growth.append((change.growth_m - length) / change.u_growth_m)
            grows.append(length > 0.05)
        if width is not None and change.widening_mm is not None and change.u_widening_mm:
            widening.append((change.widening_mm - width) / change.u_widening_mm)
        really = (length or 0.0) > 0.02 or (width or 0.0) > 0.2
        false += change.status in CALLED and not really
    return Score(grown, len(compared), len(called), np.array(growth), np.array(grows, bool), np.array(widening), false)


class Truth:
    """What was drawn beside the lines of a change."""

    def __init__(self, before: RoadTruth, after: RoadTruth) -> None:
        self.before = {crack.crack_id: crack for crack in before.cracks}
        self.after = after
        self.tree = shapely.STRtree([shapely.LineString(after.to_map_xy(crack.road_xy_m)) for crack in after.cracks])

    def of(self, change: Change) -> tuple[float | None, float | None]:
        """Drawn growth of the cracks beside a change, metres, and of their mean width, mm; None without any.

        Of the length of a new crack all is growth. Widths are compared where both drives have the crack.
        """
        lines = [shapely.LineString(line) for line in (*change.lines_a_xy, *change.lines_b_xy)]
        beside: set[int] = set()
        for line in lines:
            for index in self.tree.query(line, predicate="dwithin", distance=NEAR_M).tolist():
                shared = line.buffer(NEAR_M).intersection(self.tree.geometries[index]).length
                if shared > 0.5 * min(line.length, self.tree.geometries[index].length):
                    beside.add(index)
        if not beside:
            return None, None
        length, widths, weights = 0.0, [], []
        for index in sorted(beside):
            new = self.after.cracks[index]
            old = self.before.get(new.crack_id)
            length += new.length_m - (old.length_m if old else 0.0)
            if old:
                widths.append(mean_widening_mm(old, new))
                weights.append(old.length_m)
        return length, float(np.average(widths, weights=weights)) if widths else None


def mean_widening_mm(old: TrueCrack, new: TrueCrack) -> float:
    start = int(np.flatnonzero((new.road_xy_m == old.road_xy_m[0]).all(axis=1))[0])
    steps = np.hypot(*np.diff(old.road_xy_m, axis=0).T)
    wider = new.width_mm[start : start + len(old.width_mm)] - old.width_mm
    return float((steps * (wider[1:] + wider[:-1]) / 2).sum() / steps.sum())


def true_growth_m(before: RoadTruth, after: RoadTruth, found: Comparison) -> float:
    """Drawn growth on the sections, where both drives saw them."""
    area = shapely.union_all([shapely.Polygon(row.outline_xy) for row in found.sections if len(row.outline_xy)])

    def inside(truth: RoadTruth) -> float:
        lines = [shapely.LineString(truth.to_map_xy(crack.road_xy_m)) for crack in truth.cracks]
        return float(shapely.length(shapely.intersection(lines, area)).sum())

    share = found.total.common_m2 / max(area.area, 1e-9)
    return (inside(after) - inside(before)) * min(share, 1.0)


def summary(scores: Sequence[Score]) -> str:
    lines = []
    for grown in (False, True):
        chosen = [score for score in scores if score.grown is grown]
        growth, widening = (
            np.concatenate([getattr(score, name) for score in chosen]) for name in ("growth", "widening")
        )
        really = np.concatenate([score.really for score in chosen])
        called, compared = sum(score.called for score in chosen), sum(score.compared for score in chosen)
        false = sum(score.false for score in chosen)
        lines.append(
            f"{'grown' if grown else 'unchanged'}: {called} of {compared} cracks called changed ({false} false); "
            f"true growth within 2 u: length {np.mean(np.abs(growth) <= 2):.1%} of {len(growth)}"
            + (f" (of {really.sum()} that grew {np.mean(np.abs(growth[really]) <= 2):.1%})" if really.any() else "")
            + ", "
            f"width {np.mean(np.abs(widening) <= 2):.1%} of {len(widening)}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
