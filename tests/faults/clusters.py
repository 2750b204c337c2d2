"""Ray clusters of several nodes on this machine, nets that fail once, and processes to kill."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from faults import harness

from crackmap.calibration.errors import CrackmapError
from crackmap.pipeline.cluster.crew import ClusterSettings, Crew
from crackmap.pipeline.frame import Stages
from crackmap.pipeline.journal import JOURNAL_NAME
from crackmap.pipeline.run import RunOptions, run_survey
from crackmap.pipeline.storage.staging import working_copy
from crackmap.pipeline.storage.urls import is_url, location
from crackmap.pipeline.survey import read_survey

TESTS = Path(__file__).parent.parent

FAULTS = ("exits", "leaves", "hangs")
"""A file of this name in the folder of faults makes the next frame end its worker, or keep it for ever."""

COUNTED = "begun"

HANGS_S = 600.0
"""What does not get on for so long hangs: on a busy machine a worker takes minutes to start."""


def faulty_stand_ins(folder: Path, slow_s: float = 0.0) -> Stages:
    """Stand-in nets that take `slow_s`, and commit each fault once for each file in `folder`; «poison» marks a frame
    that always does: the one whose picture is smaller than the others."""
    stages = harness.stand_ins()
    real = stages.segmenter.segment_classes

    def segment_classes(source, regions, settings):  # type: ignore[no-untyped-def]
        _count(folder)
        for name in FAULTS:
            if _taken(folder / name):
                _commit(name)
        if source.size_wh_px[0] < 100:
            os._exit(1)
        time.sleep(slow_s)
        return real(source, regions, settings)

    return replace(stages, segmenter=SimpleNamespace(segment_classes=segment_classes))


def _count(folder: Path) -> None:
    """A line for each frame that is begun; what many processes add at once is added whole."""
    descriptor = os.open(folder / COUNTED, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, b"\n")
    os.close(descriptor)


def begun(folder: Path) -> int:
    """How often a frame was begun, over all runs with this folder of faults."""
    return (folder / COUNTED).stat().st_size


def _taken(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _commit(name: str) -> None:
    if name == "exits":
        os._exit(1)
    if name == "leaves":
        sys.exit(1)
    time.sleep(3600)


@contextlib.contextmanager
def cluster(folder: Path, nodes: int = 2, processors: int = 2) -> Iterator[list[str]]:
    """Nodes with addresses of their own on the loopback; yields the address of the first, and ends all of them.

    It is started by `ray start`, as on machines of their own, and belongs to this process and its children.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = 20000 + free.getsockname()[1] % 10000
    environment = {
        "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_worker_niceness": "0", "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
        "TMPDIR": "/tmp", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
    }  # fmt: skip
    before = dict(os.environ)
    os.environ.update(environment)
    head = f"127.0.0.2:{port}"
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--num-cpus", str(processors),
           "--object-store-memory", "100000000"]  # fmt: skip
    try:
        _start([*ray, "--head", "--port", str(port), "--node-ip-address", "127.0.0.2", "--include-dashboard=false",
                "--temp-dir", str(folder)])  # fmt: skip
        for number in range(1, nodes):
            _start([*ray, "--address", head, "--node-ip-address", f"127.0.0.{2 + number}"])
        yield [head]
    finally:
        # Agents of a node that was killed, and workers, have another command line than they were started with.
        for process in {*_processes_of(str(port)), *_processes_of(environment["RAY_AUTH_TOKEN"], "environ")}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
        os.environ.clear()
        os.environ.update(before)


def _start(command: list[str]) -> None:
    subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _processes_of(text: str, where: str = "cmdline") -> list[int]:
    """Processes of Ray with a text in their command line, or in the `environ` that they were started with."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                if b"ray" in (folder / "cmdline").read_bytes() and text.encode() in (folder / where).read_bytes():
                    found.append(int(folder.name))
    return found


def node_process(number: int) -> int:
    """The process that is node `number` (0 is the head)."""
    for process in _processes_of(f"127.0.0.{2 + number}"):
        with contextlib.suppress(OSError):
            if (Path("/proc") / str(process) / "comm").read_text().strip() == "raylet":
                return process
    raise AssertionError(f"node {number} is not there")


def workers(address: str) -> list[int]:
    """Processes of workers of a cluster that have been given to a run."""
    nodes = set(_processes_of(address))
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent in nodes and (folder / "cmdline").read_bytes().startswith(b"ray::Worker"):
                found.append(int(folder.name))
    return found


def rows_in(out: Path) -> int:
    """Rows that the journal of a run has by now."""
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"{(out / JOURNAL_NAME).as_uri()}?mode=ro", uri=True)) as journal,
    ):
        return int(journal.execute("SELECT count(*) FROM frames").fetchone()[0])
    return 0


def kill_workers(run: subprocess.Popen[str], out: Path, address: str, count: int, *, seed: int) -> None:
    """Kills so many workers of a run at random moments, each after the journal has grown since the one before.

    Raises:
        AssertionError: the run ended before, or hangs.
    """
    rng, hit = random.Random(seed), 0
    while hit < count:
        rows, end = rows_in(out), time.monotonic() + HANGS_S
        while (hit and rows_in(out) == rows) or not workers(address):
            assert run.poll() is None, f"the run ended after {hit} of {count} kills: {ended(run)}"
            assert time.monotonic() < end, f"no worker or no row for {HANGS_S:.0f} s after {hit} of {count} kills"
            time.sleep(0.05)
        time.sleep(rng.uniform(0.0, 1.0))
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.kill(rng.choice(workers(address)), signal.SIGKILL)
            hit += 1


def interrupt(
    start: Callable[[], subprocess.Popen[str]], out: Path, address: str, *, kills: int, seed: int,
    between: Callable[[], object] = lambda: None,
) -> None:  # fmt: skip
    """A run of whose workers so many are killed, then its driver; gone on with, and one of its nodes is killed."""
    run = start()
    kill_workers(run, out, address, kills, seed=seed)
    assert run.poll() is None
    run.kill()
    run.communicate()
    between()
    run = start()
    before, end = rows_in(out), time.monotonic() + HANGS_S
    while rows_in(out) == before and time.monotonic() < end:
        time.sleep(0.1)
    os.kill(node_process(1), signal.SIGKILL)
    code, said = ended(run)
    assert code == 0, said


def driver(
    survey: Path | str, out: Path | str, faults: Path, address: str | None, *, slow_s: float = 0.0,
    strips: bool = True, cwd: Path | None = None, **settings: object,
) -> subprocess.Popen[str]:  # fmt: skip
    """A run on a cluster in a program of its own; standard error has its warnings, the exit code is a run's."""
    asked = json.dumps([str(survey), str(out), str(faults), slow_s, strips, {"address": address, **settings}])
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "faults.clusters", asked], env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd,
    )  # fmt: skip


def ended(process: subprocess.Popen[str], limit_s: float = HANGS_S) -> tuple[int, str]:
    """Exit code and warnings of a driver, which has nothing to say on standard output, nor has Ray.

    Raises:
        AssertionError: something was said there.
        TimeoutExpired: it is still there after `limit_s`.
    """
    try:
        printed, said = process.communicate(timeout=limit_s)
    finally:
        process.kill()
    assert printed == "", printed
    return process.returncode, said


def main() -> int:
    """The program of a driver."""
    survey, out, faults, slow_s, strips, settings = json.loads(sys.argv[1])
    described = {"gsd_mm": 1.0} if is_url(survey) else harness.described(Path(survey))

    def warn(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        with (
            working_copy(location(out)) as place,
            Crew(partial(faulty_stand_ins, Path(faults), slow_s), ClusterSettings(**settings), warn) as crew,
        ):
            found = read_survey(location(survey), **described)  # type: ignore[arg-type]
            used = replace(harness.SETTINGS if found.source["gsd_mm"] else harness.LONG, strips=strips)
            summary = run_survey(found, place.folder, crew, used, options=RunOptions(bucket=place.bucket),
                                 progress=place.checked(lambda *_: None), command="crackmap run")  # fmt: skip
    except CrackmapError as error:
        warn(f"error: {error}")
        return error.exit_code
    return 3 if summary.skipped else 0


if __name__ == "__main__":
    # Workers find these functions by the name of the module.
    from faults import clusters

    raise SystemExit(clusters.main())
