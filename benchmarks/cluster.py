"""What a second worker brings, what the one driver can take, and from both what bounds 10 and 100 workers.

    python -m benchmarks.cluster OUT SURVEY [--preset dnit] [--frames 60]

Workers are those of a Ray on this machine, one processor each. All ratios are of one run of this command.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from crackmap.pipeline.cluster.crew import ClusterSettings, Crew
from crackmap.pipeline.frame import StageSettings
from crackmap.pipeline.journal import JournalRow, open_journal
from crackmap.pipeline.nets import load_stages
from crackmap.pipeline.run import RunOptions, RunSettings, run_survey
from crackmap.pipeline.survey import Survey, read_survey

GROUPS = (1, 4, 16, 64)
"""Rows that go into one transaction: as many as are ready when the driver looks."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the model is made of, measured here.

    Attributes:
        frame_s: of one worker, each frame.
        gain: rate of two workers over that of one, on the processors of this machine.
        start_s: from the command to the first worker with its nets.
        rows_s: rows that the driver writes durably in a second, in groups of the last size.
        row_kb, image_kb, mask_kb: of a frame: sent to the driver, read from storage, written to it.
    """

    frame_s: float
    gain: float
    start_s: float
    rows_s: float
    row_kb: float
    image_kb: float
    mask_kb: float


def hours(inputs: Inputs, frames: int, workers: int, *, storage_mb_s: float) -> tuple[float, str]:
    """Hours for so many frames without assembly, and what bounds them.

    Every part goes on beside the others, so the slowest decides: workers, the driver's journal, the storage.
    """
    parts = {
        "workers": frames * inputs.frame_s / workers,
        "driver": frames / inputs.rows_s,
        "storage": frames * (inputs.image_kb + inputs.mask_kb) / 1e3 / storage_mb_s,
    }
    name = max(parts, key=lambda part: parts[part])
    return (inputs.start_s + parts[name]) / 3600, name


def first_frames(survey: Survey, count: int) -> Survey:
    """A survey of its first frames only."""
    return replace(survey, frames=survey.frames.take(np.arange(count)), skipped=(), unplaced=(), unplaced_why=())


def timed_run(survey: Survey, out: Path, workers: int) -> tuple[float, float]:
    """Seconds until the first worker was ready, and a frame takes when all are: of the second half, by the clock."""
    shutil.rmtree(out, ignore_errors=True)
    load = partial(load_stages, StageSettings())
    start = time.perf_counter()
    with Crew(load, ClusterSettings(workers=workers, processors=1)) as crew:
        ready = time.perf_counter()
        done_at: list[float] = []
        run_survey(
            survey, out, crew, RunSettings(strips=False), options=RunOptions(),
            progress=lambda done, total, key: done_at.append(time.perf_counter()),
        )  # fmt: skip
    half = len(done_at) // 2
    return ready - start, (done_at[-1] - done_at[half - 1]) / (len(done_at) - half)


def driver_rates(out: Path, row: JournalRow) -> dict[int, float]:
    """Durable rows a second, by the number that is written at once."""
    rates = {}
    for group in GROUPS:
        shutil.rmtree(out, ignore_errors=True)
        with open_journal(out) as journal:
            start = time.perf_counter()
            for first in range(0, 640, group):
                journal.write(*(replace(row, key=f"{first + number:06d}") for number in range(group)))
            rates[group] = 640 / (time.perf_counter() - start)
    return rates


def typical_row(out: Path) -> JournalRow:
    """Of the frames of a run that were measured, the one with the middle number of cracks, with its cracks."""
    with open_journal(out) as journal:
        rows = sorted(journal.rows(), key=lambda row: (row.crack_count, row.key))
        row = rows[len(rows) // 2]
        return replace(row, cracks=journal.cracks(row.key), looked=journal.looked(row.key))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and prints the inputs and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("survey", type=Path)
    parser.add_argument("--preset")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--repeat", type=int, default=3)
    chosen = parser.parse_args(arguments)
    survey = first_frames(read_survey(chosen.survey, survey=chosen.preset), chosen.frames)
    times: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for _ in range(chosen.repeat):
        for workers, found in times.items():
            found.append(timed_run(survey, chosen.out / "run", workers))
            print(f"{workers} workers: ready after {found[-1][0]:.1f} s, {found[-1][1]:.3f} s a frame", flush=True)
    gain = statistics.median(one[1] / two[1] for one, two in zip(*times.values(), strict=True))
    row = typical_row(chosen.out / "run")
    rates = driver_rates(chosen.out / "driver", row)
    masks = [path.stat().st_size for path in (chosen.out / "run" / "masks").iterdir()]
    inputs = Inputs(
        frame_s=statistics.median(frame_s for _, frame_s in times[1]),
        gain=gain,
        start_s=statistics.median(ready for ready, _ in times[1]),
        rows_s=rates[GROUPS[-1]],
        row_kb=len(json.dumps([asdict(crack) for crack in row.cracks], default=np.ndarray.tolist)) / 1e3,
        image_kb=statistics.mean(frame.path.stat().st_size for frame in survey.frames) / 1e3,
        mask_kb=statistics.mean(masks) / 1e3,
    )
    print(json.dumps(asdict(inputs), indent=2))
    print("rows/s by group:", {group: round(rate) for group, rate in rates.items()})
    for workers in (1, 10, 100, 1000):
        spent, bound = hours(inputs, 1_000_000, workers, storage_mb_s=100.0)
        print(f"{workers:5d} workers: 1,000,000 frames in {spent:8.1f} h, bound by {bound}")


if __name__ == "__main__":
    main()
