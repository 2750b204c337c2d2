"""How far a run in an output folder is, read without disturbing it."""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from crackmap.calibration.errors import InputError
from crackmap.pipeline.journal import JOURNAL_NAME, LOCK_NAME, Journal, check_tables
from crackmap.pipeline.products.write import SUCCESS_NAME


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How far a run is.

    Attributes:
        running: a process works on it now.
        finished: all products are in place and belong together.
        frames: to be measured; None before the survey was read.
        statuses: frames of each status so far.
        lost: key and reason of those that were skipped or failed, in order of key.
        unusable: images that never became frames (name or header); `crackmap check` names them.
        command: the command that made it, or that runs; empty if not known.
    """

    running: bool
    finished: bool
    frames: int | None
    statuses: Mapping[str, int]
    lost: tuple[tuple[str, str], ...]
    unusable: int
    command: str


def run_status(out: Path) -> RunStatus:
    """The status of the run in `out`; nothing is written.

    Raises:
        InputError: there is none, or its journal cannot be read.
    """
    with journal_as_it_is(out) as journal:
        rows = list(journal.rows()) if journal is not None else []
        plan = (journal.fact("plan") if journal is not None else None) or {}
    return RunStatus(
        running=_is_locked(out / LOCK_NAME),
        finished=(out / SUCCESS_NAME).exists(),
        frames=plan.get("frames"),
        statuses=dict(sorted(Counter(row.status for row in rows).items())),
        lost=tuple((row.key, row.reason) for row in rows if row.status not in ("ok", "no_crack")),
        unusable=plan.get("skipped", 0),
        command=plan.get("command", ""),
    )


@contextlib.contextmanager
def journal_as_it_is(out: Path) -> Iterator[Journal | None]:
    """The journal of an output folder, only for reading and without its lock; None where a run has only just begun.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    path = out / JOURNAL_NAME
    if not path.exists():
        raise InputError(f"{out}: holds no crackmap run (no {JOURNAL_NAME}); give the -o folder of `crackmap run`")
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            # A run that has begun this very moment has no tables yet.
            begun = connection.execute("SELECT 1 FROM sqlite_master").fetchone() is not None
            if begun:
                check_tables(connection)
            yield Journal(connection) if begun else None
    except sqlite3.DatabaseError as error:
        raise InputError(f"{path}: cannot be read as a journal ({error}); was it made by this version?") from error


def _is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
