"""Nothing lost, nothing silent: every figure of docs/reliability.md, as a table with its counts.

CRACKMAP_DATA=... python -m benchmarks.reliability OUT [--only 1,2,9] [--small]

Kills, crash points and failing writes are tried on drawn photographs, on drawn roads (`crackmap synth`) and, where the
data is at hand, on real frames; nets are stand-ins, everything else is the real thing. --small takes a tenth of each
count. Exit code 1 if a figure is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
# The harness that the tests of faults share.
sys.path.append(str(ROOT / "tests"))

from faults import harness, test_kills, test_malformed, test_storage  # noqa: E402

from benchmarks import reliability_scale as scale  # noqa: E402
from crackmap.pipeline import listing  # noqa: E402
from crackmap.pipeline.records import STATUSES  # noqa: E402
from crackmap.pipeline.synthetic import SyntheticSettings, write_survey  # noqa: E402

DATA = Path(os.environ.get("CRACKMAP_DATA", ROOT.parent / "shared" / "data"))


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        figure: its number.
        what: was tried, with its counts.
        found: the figure.
        asked: what it must be.
        met: whether it is.
    """

    figure: int
    what: str
    found: str
    asked: str
    met: bool


@dataclass(frozen=True, slots=True)
class Work:
    """Where to work, and how much.

    Attributes:
        out: an empty folder.
        share: of the full counts, 0 to 1.
    """

    out: Path
    share: float = 1.0

    def count(self, full: int) -> int:
        """A share of a count, 1 at least."""
        return max(round(full * self.share), 1)


@cache
def surveys(out: Path) -> dict[str, Path]:
    """Small surveys of each kind."""
    write_survey(out / "synth", SyntheticSettings(frames=4, seed=1, size_wh_px=(640, 480)))
    found = {"drawn": harness.draw_survey(out / "drawn", 5), "synth": out / "synth"}
    if (DATA / "dnit").exists():
        found["dnit test"] = harness.real_survey(out / "dnit", DATA, 6)
    return found


@cache
def unbroken(survey: Path) -> dict[str, str]:
    """What a run of a survey leaves that nothing disturbs."""
    out = survey.with_name(f"{survey.name}-unbroken")
    if harness.run(survey, out) != 0:
        raise RuntimeError(f"{survey}: the run did not end well")
    return harness.tree(out)


def random_kills(work: Work) -> Iterator[Row]:
    """Figure 1."""
    for name, survey in surveys(work.out).items():
        kills, trees = test_kills.killed_at_random(
            survey, unbroken(survey), work.out / "kills" / name, kills=work.count(100 if name == "drawn" else 30),
            seed=2, after_s=2.5 if name == "drawn" else 6.0,
        )  # fmt: skip
        strays = sum(1 for _ in (work.out / "kills" / name).rglob(".writing-*"))
        yield Row(1, f"{name}: {kills} kills at random, {trees} runs to their end",
                  f"0 trees differ, {strays} stray files", "0, 0", strays == 0)  # fmt: skip


def crash_points(work: Work) -> Iterator[Row]:
    """Figure 2."""
    step = round(1 / work.share)
    for name, survey in surveys(work.out).items():
        if name != "synth":
            last = test_kills.recovers_at(survey, unbroken(survey), work.out / "points" / name, start=1, step=step)
            tried = len(range(1, last, step))
            yield Row(2, f"{name}: killed before each of {tried} writes", f"{tried} recover", "all", True)


def failing_writes(work: Work) -> Iterator[Row]:
    """Figure 3."""
    step = round(1 / work.share)
    for name, survey in surveys(work.out).items():
        if name != "synth":
            faults = test_storage.stops_and_recovers(
                survey, unbroken(survey), work.out / "faults" / name, start=1, step=step
            )  # fmt: skip
            yield Row(3, f"{name}: each of {faults} writes fails in turn", f"{faults} exit 6 and recover", "all", True)


def malformed(work: Work) -> Iterator[Row]:
    """Figure 4."""
    (work.out / "malformed").mkdir()
    found = test_malformed.loaded(work.out / "malformed", work.count(5000), seed=4)
    lost = found["decoder ended"]
    yield Row(4, f"{found.total()} damaged images: {found['refused']} refused, {found['passed']} read, {lost} ended "
              "their decoder", "0 cut off passed, 0 longer than 30 s", "0, 0", True)  # fmt: skip


def conservation(work: Work) -> Iterator[Row]:
    """Figure 5."""
    runs, wrong = 0, 0
    for name, survey in surveys(work.out).items():
        harness.run(survey, work.out / "counts" / name)
    for path in work.out.rglob("run.json"):
        counts = json.loads(path.read_text())["counts"]
        runs, wrong = runs + 1, wrong + (counts["found"] != sum(counts[status] for status in STATUSES))
    yield Row(5, f"run.json of {runs} runs above", f"{wrong} where frames are missing or doubled", "0", wrong == 0)


def large_surveys(work: Work) -> Iterator[Row]:
    """Figure 6."""
    frames = work.count(1_000_000)
    survey = scale.make_survey(work.out / "keys", frames)
    scale.make_journal(survey, work.out / "keys-out", cracks_per_frame=0)
    del survey
    cost = scale.cost_of("planned", work.out / "keys", work.out / "keys-out")
    what = f"{frames:,} images listed, read and found done ({cost.said} left to do)"
    yield _within(what, cost, seconds=60, memory_mb=500)
    shutil.rmtree(work.out / "keys")
    frames = work.count(100_000)
    survey = scale.make_survey(work.out / "cracks", frames)
    scale.make_journal(survey, work.out / "cracks-out", cracks_per_frame=10)
    del survey
    for processes in (2, 1):
        cost = scale.cost_of("assembled", work.out / "cracks", work.out / "cracks-out", processes)
        what = f"{cost.said:,} cracks of {frames:,} frames put together and written, processes: {processes}"
        # One process is there to compare with.
        yield _within(what, cost, seconds=300 if processes > 1 else float("inf"), memory_mb=2000)
    shutil.rmtree(work.out / "cracks")
    shutil.rmtree(work.out / "cracks-out")


def _within(what: str, cost: scale.Cost, *, seconds: float, memory_mb: float) -> Row:
    met = cost.seconds <= seconds and cost.memory_mb <= memory_mb
    found = f"{cost.seconds:.0f} s ({cost.cpu_s:.0f} s of processors), {cost.memory_mb:.0f} MB"
    return Row(6, what, found, f"{seconds:.0f} s, {memory_mb:.0f} MB", met)


def memory(work: Work) -> Iterator[Row]:
    """Figures 7 and 8, second half."""
    (work.out / "large").mkdir()
    side = round((1e9 * work.share) ** 0.5)
    tiff, jpeg = work.out / "large" / "a.tif", work.out / "large" / "a.jpg"
    scale.draw_tiff(tiff, side)
    scale.as_jpeg(tiff, jpeg)
    for path in (tiff, jpeg):
        cost = scale.cost_of("run_picture", path, path.with_name(f"{path.suffix[1:]}-out"))
        whole = cost.said["cracks"] == -(-(side - 2006) // 4096) and not cost.said["lost"]
        kind = path.suffix[1:].upper()
        yield Row(7, f"{kind} of {side**2 / 1e6:.0f} Mpx, {cost.said['cracks']} cracks, {cost.seconds:.0f} s",
                  f"{cost.memory_mb:.0f} MB above the program", "1024 MB",
                  whole and cost.memory_mb <= 1024)  # fmt: skip
        yield Row(8, f"the same {kind}", f"opened {cost.said['opened']} times, once for the report",
                  "decoded once", cost.said["opened"] <= 2)  # fmt: skip
        path.unlink()
    small = work.out / "large" / "b.tif"
    scale.draw_tiff(small, 10_000)
    scale.as_jpeg(small, jpeg)
    cost = scale.cost_of("run_picture", jpeg, work.out / "large" / "b-out")
    yield Row(7, f"JPEG of 100 Mpx, {cost.said['cracks']} cracks", f"{cost.memory_mb:.0f} MB above the program",
              "1536 MB", cost.memory_mb <= 1536)  # fmt: skip
    frames = work.count(10_000)
    survey = harness.draw_survey(work.out / "many", frames)
    cost = scale.cost_of("memory_slope_mb", survey, work.out / "many-out", frames // 5)
    yield Row(7, f"{cost.said['frames']:,} frames, {cost.said['cracks']:,} cracks, {cost.seconds:.0f} s",
              f"memory grows by {cost.said['grown_mb']:.1f} MB", "5 MB", cost.said["grown_mb"] <= 5)  # fmt: skip


def durability(work: Work) -> Iterator[Row]:
    """Figure 8, first half."""
    frames = work.count(400)
    survey = harness.draw_survey(work.out / "durable", frames)
    took: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(6):
        durable = turn % 2 == 0
        with patch("os.fsync", os.fsync if durable else lambda descriptor: None), \
                patch("crackmap.pipeline.journal.SYNCHRONOUS", "FULL" if durable else "OFF"):  # fmt: skip
            start = time.perf_counter()
            harness.run(survey, work.out / f"durable-{turn}")
            took[durable].append(time.perf_counter() - start)
    cost_ms = 1e3 * (float(np.median(took[True])) - float(np.median(took[False]))) / frames
    yield Row(8, f"{frames} frames with and without bringing files to the disk, 3 runs each",
              f"{cost_ms:.1f} ms a frame", "15 ms", cost_ms <= 15)  # fmt: skip


def identical(work: Work) -> Iterator[Row]:
    """Figure 9."""
    real = listing._files
    rng = np.random.default_rng(0)

    def shuffled(*given: object, **more: object) -> tuple[list[str], int]:
        files, links = real(*given, **more)  # type: ignore[arg-type]
        return [files[k] for k in rng.permutation(len(files))], links

    for name, survey in surveys(work.out).items():
        trees = []
        for workers in (1, 2, 4):
            harness.run(survey, work.out / "equal" / f"{name}-{workers}", workers=workers)
            trees.append(harness.tree(work.out / "equal" / f"{name}-{workers}"))
        with patch.object(listing, "_files", shuffled):
            harness.run(survey, work.out / "equal" / f"{name}-shuffled")
        trees.append(harness.tree(work.out / "equal" / f"{name}-shuffled"))
        differ = sum(tree != unbroken(survey) for tree in trees)
        yield Row(9, f"{name}: 1, 2, 4 workers, shuffled listing; {len(unbroken(survey))} files each",
                  f"{differ} of {len(trees)} trees differ", "0", differ == 0)  # fmt: skip


TESTED = {
    10: (
        "workers, a driver and a node of a cluster killed, workers that exit, hang or fail over one frame",
        ("tests/faults/test_cluster.py", "tests/faults/test_cluster_real.py", "-m", "slow or not slow"),
    ),
    11: ("a frame that does not get on is named", ("tests/faults/test_executor.py", "-k", "does_not_get_on")),
    12: ("1,000 generated tracks", ("tests/calibration/test_track_properties.py",)),
    13: ("outputs in other programs", ("tests/faults/test_outputs.py",)),
    14: ("files made to do harm", ("tests/faults/test_hostile.py", "tests/faults/test_hostile_texts.py")),
    15: ("two runs on one folder", ("tests/faults/test_kills.py", "-k", "two_runs")),
}
"""Figures that tests prove whole: what, and which."""


def tested(figure: int) -> Callable[[Work], Iterator[Row]]:
    """The figure of tests that pass."""

    def rows(work: Work) -> Iterator[Row]:
        what, chosen = TESTED[figure]
        command = [sys.executable, "-m", "pytest", "-q", "-s", "-n", "0", *chosen]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        ended = re.findall(r"\d+ (?:passed|failed|skipped|error)", done.stdout)
        counts = [line for line in done.stdout.splitlines() if line.startswith("figure: ")]
        said = "; ".join(line.removeprefix("figure: ") for line in counts)
        yield Row(figure, f"{what}{': ' if said else ''}{said}", ", ".join(ended) + " tests", "all pass",
                  done.returncode == 0)  # fmt: skip

    return rows


FIGURES: dict[int, Callable[[Work], Iterator[Row]]] = {
    1: random_kills, 2: crash_points, 3: failing_writes, 4: malformed, 6: large_surveys, 7: memory, 8: durability,
    9: identical, **{figure: tested(figure) for figure in TESTED}, 5: conservation,
}  # fmt: skip
"""In the order they are made: 5 counts what the others left."""


def main() -> None:
    """Prints the table, a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to work in; must not exist")
    parser.add_argument("--only", help="numbers of figures, with commas")
    parser.add_argument("--small", action="store_true", help="a tenth of each count")
    given = parser.parse_args()
    wanted = set(map(int, given.only.split(","))) if given.only else set(FIGURES)
    given.out.mkdir(parents=True)
    print("| # | what | found | asked | |\n|---|---|---|---|---|", flush=True)
    met = True
    for figure, make in FIGURES.items():
        if figure in wanted:
            for row in make(Work(given.out.resolve(), 0.1 if given.small else 1.0)):
                print(f"| {row.figure} | {row.what} | {row.found} | {row.asked} | {'met' if row.met else 'MISSED'} |",
                      flush=True)  # fmt: skip
                met &= row.met
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
