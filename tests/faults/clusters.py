"""Ray clusters of several nodes on this machine, nets that fail once, and processes to kill."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from faults import harness

from crackmap.calibration.errors import CrackmapError
from crackmap.pipeline.cluster.crew import ClusterSettings, Crew
from crackmap.pipeline.frame import Stages
from crackmap.pipeline.run import RunOptions, run_survey
from crackmap.pipeline.survey import read_survey

TESTS = Path(__file__).parent.parent

FAULTS = ("exits", "leaves", "hangs")
"""A file of this name in the folder of faults makes the next frame end its worker, or keep it for ever."""


def faulty_stand_ins(folder: Path, slow_s: float = 0.0) -> Stages:
    """Stand-in nets that take `slow_s`, and commit each fault once for each file in `folder`; «poison» marks a frame
    that always does: the one whose picture is smaller than the others."""
    stages = harness.stand_ins()
    real = stages.segmenter.segment_classes

    def segment_classes(source, regions, settings):  # type: ignore[no-untyped-def]
        for name in FAULTS:
            if _taken(folder / name):
                _commit(name)
        if source.size_wh_px[0] < 100:
            os._exit(1)
        time.sleep(slow_s)
        return real(source, regions, settings)

    return replace(stages, segmenter=SimpleNamespace(segment_classes=segment_classes))


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
        for process in _processes_of(str(port)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        os.environ.clear()
        os.environ.update(before)


def _start(command: list[str]) -> None:
    subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _processes_of(text: str) -> list[int]:
    """Processes with a text in their command line or, as workers change theirs, in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                line = (folder / "cmdline").read_bytes()
                if b"ray" in line and text.encode() in line:
                    found.append(int(folder.name))
    return found


def node_process(number: int) -> int:
    """The process that is node `number` (0 is the head)."""
    for process in _processes_of(f"127.0.0.{2 + number}"):
        if (Path("/proc") / str(process) / "comm").read_text().strip() == "raylet":
            return process
    raise AssertionError(f"node {number} is not there")


def workers() -> list[int]:
    """Processes of workers that have been given to a run."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if (folder / "cmdline").read_bytes().startswith(b"ray::Worker"):
                found.append(int(folder.name))
    return found


def kill_workers(count: int, *, seed: int, until_s: float = 240.0) -> int:
    """Kills so many workers, one after the other as they turn up, at random moments; how many it hit."""
    rng = random.Random(seed)
    hit, end = 0, time.monotonic() + until_s
    while hit < count and time.monotonic() < end:
        time.sleep(rng.uniform(0.2, 1.0))
        if there := workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(there), signal.SIGKILL)
                hit += 1
    return hit


def driver(
    survey: Path, out: Path, faults: Path, address: str | None, *, slow_s: float = 0.0, **settings: object
) -> subprocess.Popen[str]:
    """A run on a cluster in a program of its own; standard error has its warnings, the exit code is a run's."""
    asked = json.dumps([str(survey), str(out), str(faults), slow_s, {"address": address, **settings}])
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "faults.clusters", asked], env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str], limit_s: float = 240.0) -> tuple[int, str]:
    """Exit code and warnings of a driver.

    Raises:
        TimeoutExpired: it is still there after `limit_s`.
    """
    try:
        said = process.communicate(timeout=limit_s)[1]
    finally:
        process.kill()
    return process.returncode, said


def main() -> int:
    """The program of a driver."""
    survey, out, faults, slow_s, settings = json.loads(sys.argv[1])

    def warn(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        with Crew(partial(faulty_stand_ins, Path(faults), slow_s), ClusterSettings(**settings), warn) as crew:
            found = read_survey(Path(survey), **harness.described(Path(survey)))  # type: ignore[arg-type]
            used = harness.SETTINGS if found.source["gsd_mm"] else harness.LONG
            summary = run_survey(found, Path(out), crew, used, options=RunOptions(), command="crackmap run")
    except CrackmapError as error:
        warn(f"error: {error}")
        return error.exit_code
    return 3 if summary.skipped else 0


if __name__ == "__main__":
    # Workers find these functions by the name of the module.
    from faults import clusters

    raise SystemExit(clusters.main())
