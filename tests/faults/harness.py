"""Runs of a small survey in processes that can be killed, and what they leave behind, compared byte by byte.

The process is a fork with stand-in nets, which need no torch: a run takes a second or two, and a hundred kills fit
into a test. Decoding, measuring, journal and products are the real ones.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from crackmap.calibration.errors import CrackmapError
from crackmap.pipeline.frame import Stages, StageSettings
from crackmap.pipeline.journal import JOURNAL_NAME, Journal
from crackmap.pipeline.run import RunOptions, RunSettings, run_survey
from crackmap.pipeline.survey import read_survey
from crackmap.stages.records import CrackMask, Region
from crackmap.stages.segment.settings import CRACK

NOT_COMPARED = {"timings.json", ".lock", JOURNAL_NAME, f"{JOURNAL_NAME}-wal", f"{JOURNAL_NAME}-shm"}
"""What differs between equal runs, or is the journal, whose rows are compared instead."""

SETTINGS = RunSettings(StageSettings(), section_length_m=0.5)
"""Of drawn photographs, which show a few centimetres of road."""

LONG = RunSettings(StageSettings(), section_length_m=100.0)


def draw_survey(folder: Path, count: int, *, seed: int = 0) -> Path:
    """`count` photographs of 160 x 120 px with a dark line each, one millimetre a pixel."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number in range(count):
        image = rng.integers(140, 170, (120, 160, 3), dtype=np.uint8)
        row = int(rng.integers(20, 100))
        image[row : row + 4, 20:140] = 40
        (folder / f"{number:04d}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return folder


def real_survey(folder: Path, data: Path, count: int) -> Path:
    """`count` test frames of one recording of the federal highways, with their lane masks."""
    with (data / "dnit" / "frames.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    recording = rows[0]["recording"]
    folder.mkdir(parents=True)
    images = (data / "dnit" / recording).glob("*_RAW.jpg")
    for image in sorted(images, key=lambda path: int(path.name.split("_")[0]))[:count]:
        for path in (image, image.with_name(image.name.replace("_RAW.jpg", "_LANE.png"))):
            shutil.copy(path, folder)
    return folder


def stand_ins() -> Stages:
    """Nets that take for a crack what is darker than its surroundings."""

    def segment_classes(source, regions, settings):  # type: ignore[no-untyped-def]
        grey = cv2.cvtColor(source.read(0, 0, *source.size_wh_px), cv2.COLOR_RGB2GRAY).astype(np.float32)
        darker = cv2.GaussianBlur(grey, (0, 0), 6.0) - cv2.GaussianBlur(grey, (0, 0), 1.0)
        return {CRACK: CrackMask.from_dense((darker > 9.0).astype(np.float32))}

    def detect(source, settings, within=None):  # type: ignore[no-untyped-def]
        width, height = source.size_wh_px
        return (Region((0.0, 0.0, float(width), float(height)), 0.9),)

    nets = SimpleNamespace(detect=detect), SimpleNamespace(segment_classes=segment_classes)
    return Stages(*nets, StageSettings(), {"segment": "stand-in"})  # type: ignore[arg-type]


def run(survey: Path, out: Path, *, workers: int = 2, **options: object) -> int:
    """Runs in this process; returns the exit code that the command line would.

    A survey without a description of its own, or lane masks, is taken for one of a millimetre a pixel.
    """
    try:
        found = read_survey(survey, **described(survey))  # type: ignore[arg-type]
        chosen = RunOptions(workers=workers, **options)  # type: ignore[arg-type]
        settings = SETTINGS if found.source["gsd_mm"] else LONG
        summary = run_survey(found, out, stand_ins(), settings, options=chosen, command="crackmap run")
    except CrackmapError as error:
        return error.exit_code
    return 3 if summary.skipped else 0


def described(survey: Path) -> dict[str, object]:
    """The description that a survey of these tests is read by."""
    if any(survey.glob("*_LANE.png")):
        return {"survey": "dnit"}
    return {} if (survey / "survey.toml").exists() else {"gsd_mm": 1.0}


def in_child(work: Callable[[], int]) -> int:
    """Starts `work` in a fork of this process; returns its process id."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        # A group of its own, so that its decoders can be ended with it.
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (1, 2):
            os.dup2(null, stream)
        code = work()
    finally:
        os._exit(code)


def waited(child: int, *, kill_after_s: float | None = None, limit_s: float = 60.0) -> int:
    """Exit code of a child, or minus the signal that ended it; killed after a time, if one is given.

    Raises:
        AssertionError: it is still there after `limit_s`.
    """
    start = time.monotonic()
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        passed = time.monotonic() - start
        if kill_after_s is not None and passed >= kill_after_s:
            os.kill(child, signal.SIGKILL)
            kill_after_s = None
        assert passed < limit_s, f"the run hung for {limit_s:.0f} s"
        time.sleep(0.002)


def tree(out: Path) -> dict[str, str]:
    """Path -> hash of every file below an output folder but NOT_COMPARED, and the journal's rows but their seconds."""
    found = {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in NOT_COMPARED
    }
    with closing(sqlite3.connect(out / JOURNAL_NAME)) as journal:
        assert journal.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        columns = [row[1] for row in journal.execute("PRAGMA table_info(frames)") if row[1] != "seconds"]
        rows = journal.execute(f"SELECT {', '.join(columns)} FROM frames ORDER BY key").fetchall()
    return {**found, "journal": hashlib.sha256(repr(rows).encode()).hexdigest()}


def flags(out: Path) -> list[list[str]]:
    """What was out of the ordinary in each frame, by key."""
    with closing(sqlite3.connect(out / JOURNAL_NAME)) as journal:
        return [json.loads(row[0]) for row in journal.execute("SELECT flags FROM frames ORDER BY key")]


def killed_before(number: int, work: Callable[[], int]) -> int:
    """Does `work` in a child that is killed before its write with this number that another process could see.

    Returns:
        Its exit code, or minus the signal that ended it.
    """

    def counted_work() -> int:
        left = number

        def before(owner: Any, name: str) -> None:
            real = getattr(owner, name)

            def counted(*args: Any, **kwargs: Any) -> Any:
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **kwargs)

            setattr(owner, name, counted)

        for name in ("fsync", "replace", "unlink"):
            before(os, name)
        for name in ("write", "correct", "set_fact"):
            before(Journal, name)
        return work()

    return waited(in_child(counted_work))
