"""`crackmap compare` on drawn roads whose growth is known: the figures of docs/compare.md.

python -m benchmarks.compare OUT --seeds 10,11,12

For each seed and camera three drives are drawn and run with the nets that come with crackmap: one, a second over the
same road, and one over the road with grown and new cracks. What lies in OUT already is not drawn or run again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

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
    beside = [truth.beside(change) for change in compared]
    widening, false = [], 0
    for change, cracks in zip(compared, beside, strict=True):
        width = truth.widening_mm(cracks)
        if width is not None and change.widening_mm is not None and change.u_widening_mm:
            widening.append((change.widening_mm - width) / change.u_widening_mm)
        if change.status in CALLED:
            false += not (truth.growth_m(cracks) > 0.02 or (width or 0.0) > 0.2)
    growth, grows = length_errors(compared, beside, truth)
    return Score(grown, len(compared), len(called), growth, grows, np.array(widening), false)


def length_errors(
    changes: Sequence[Change], beside: Sequence[frozenset[int]], truth: Truth
) -> tuple[np.ndarray, np.ndarray]:
    """(measured - drawn) / uncertainty of cracks, each with all the changes beside it; and which of them grew.

    A drawn crack that was found in parts which do not touch is several changes: their growth adds up to its own.
    """
    count = len(changes)
    rows = [index for index, cracks in enumerate(beside) for _ in cracks]
    columns = [count + crack for cracks in beside for crack in cracks]
    size = count + len(truth.after.cracks)
    _, label = connected_components(coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(size, size)))
    errors, grows = [], []
    for number in np.unique(label[:count]):
        chosen = [change for change, of in zip(changes, label[:count], strict=True) if of == number]
        if not any(change.matched_m > 0 for change in chosen):
            continue
        drawn = truth.growth_m(np.flatnonzero(label[count:] == number).tolist())
        measured = sum(change.growth_m or 0.0 for change in chosen)
        # What stands alone and is not called new or gone is chance, as in the sections.
        u = [abs(c.growth_m or 0.0) if c.status == "faint" else c.u_growth_m or 0.0 for c in chosen]
        errors.append((measured - drawn) / np.hypot.reduce(u))
        grows.append(drawn > 0.05)
    return np.array(errors), np.array(grows, bool)


class Truth:
    """What was drawn beside the lines of a change."""

    def __init__(self, before: RoadTruth, after: RoadTruth) -> None:
        self.before = {crack.crack_id: crack for crack in before.cracks}
        self.after = after
        self.tree = shapely.STRtree([shapely.LineString(after.to_map_xy(crack.road_xy_m)) for crack in after.cracks])

    def beside(self, change: Change) -> frozenset[int]:
        """Numbers of the drawn cracks that share at least half of a line of the change, or of their own length."""
        found: set[int] = set()
        for line in map(shapely.LineString, (*change.lines_a_xy, *change.lines_b_xy)):
            for index in self.tree.query(line, predicate="dwithin", distance=NEAR_M).tolist():
                crack = self.tree.geometries[index]
                if line.buffer(NEAR_M).intersection(crack).length > 0.5 * min(line.length, crack.length):
                    found.add(index)
        return frozenset(found)

    def growth_m(self, cracks: Iterable[int]) -> float:
        """Drawn growth in length; of a new crack all of it."""
        chosen = [self.after.cracks[index] for index in cracks]
        old = [self.before[crack.crack_id] for crack in chosen if crack.crack_id in self.before]
        return sum(crack.length_m for crack in chosen) - sum(crack.length_m for crack in old)

    def widening_mm(self, cracks: Iterable[int]) -> float | None:
        """Drawn mean widening of the cracks that both drives saw; None without any."""
        pairs = [(self.before.get(self.after.cracks[i].crack_id), self.after.cracks[i]) for i in sorted(cracks)]
        known = [(old, new) for old, new in pairs if old is not None]
        if not known:
            return None
        return float(
            np.average([mean_widening_mm(*pair) for pair in known], weights=[old.length_m for old, _ in known])
        )


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
