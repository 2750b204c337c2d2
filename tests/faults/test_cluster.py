"""Runs on Ray end byte for byte as runs in one process, whatever is lost on the way."""

import contextlib
import os
import sqlite3
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from faults import clusters, harness

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'crackmap[ray]'")

FRAMES = 12


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    return harness.draw_survey(tmp_path_factory.mktemp("survey") / "photos", FRAMES)


@pytest.fixture(scope="module")
def unbroken(survey, tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken") / "out"
    assert harness.run(survey, out) == 0
    return harness.tree(out)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    # Sockets of Ray have names of at most 107 bytes, below this folder.
    folder = Path("/tmp") / f"ray-{os.getpid()}"
    with clusters.cluster(folder) as (found,):
        yield found


@pytest.fixture
def faults(tmp_path):
    folder = tmp_path / "faults"
    folder.mkdir()
    return folder


def listening(inodes_of: set[int]) -> set[str]:
    """Addresses that these processes listen on, as in /proc/net/tcp."""
    sockets = set()
    for process in inodes_of:
        with contextlib.suppress(OSError):
            for link in Path(f"/proc/{process}/fd").iterdir():
                with contextlib.suppress(OSError):
                    sockets.add(str(link.readlink()))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found.add(fields[1].rpartition(":")[0])
    return found


def children_of(process: int) -> set[int]:
    found, todo = {process}, [process]
    while todo:
        inner = todo.pop()
        # Processes end while they are looked at, also between two files of one.
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{inner}/task").glob("*/children"):
                new = {int(item) for item in task.read_text().split()} - found
                found |= new
                todo += new
    return found


LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


def test_ray_of_its_own_gives_the_same_bytes_and_listens_to_this_machine_only(survey, unbroken, faults, tmp_path):
    out = tmp_path / "out"
    process = clusters.driver(survey, out, faults, None, workers=2, slow_s=0.3)
    seen: set[str] = set()
    end = time.monotonic() + clusters.HANGS_S
    while process.poll() is None and time.monotonic() < end:
        seen |= listening(children_of(process.pid))
        time.sleep(0.3)
    code, said = clusters.ended(process, 1.0)
    assert code == 0, said
    assert seen and seen <= LOOPBACK
    assert harness.tree(out) == unbroken


@pytest.mark.slow
@pytest.mark.parametrize(("names", "said_of_it"), [(("exits", "leaves"), "is gone"), (("hangs",), "no progress with")])
def test_workers_that_exit_or_hang_cost_nothing(address, survey, unbroken, faults, tmp_path, names, said_of_it):
    for name in names:
        (faults / name).touch()
    code, said = clusters.ended(clusters.driver(survey, tmp_path / "out", faults, address, workers=4, frame_s=20.0))
    assert code == 0, said
    assert not any((faults / name).exists() for name in names)
    assert said.count("was lost") >= len(names) and said_of_it in said
    assert harness.tree(tmp_path / "out") == unbroken


@pytest.mark.slow
def test_a_frame_that_ends_every_worker_is_given_up_by_name_and_costs_no_other(address, survey, faults, tmp_path):
    poisoned = harness.draw_survey(tmp_path / "poisoned", 4)
    cv2.imwrite(str(poisoned / "0002.png"), np.full((60, 80, 3), 150, np.uint8))
    code, said = clusters.ended(clusters.driver(poisoned, tmp_path / "out", faults, address, workers=2))
    assert code == 3, said
    with contextlib.closing(sqlite3.connect(tmp_path / "out" / "journal.sqlite")) as journal:
        rows = journal.execute("SELECT key, status, reason FROM frames ORDER BY key").fetchall()
    assert [row[1] for row in rows] == ["ok", "ok", "failed", "ok"]
    assert "4 workers were lost over it" in rows[2][2]


def interrupted(address, survey, faults, out: Path, *, kills: int, seed: int) -> int:
    """A run of whose workers so many are killed, then its driver; gone on with, and one of its nodes is killed.

    Returns how many frames were begun more than once.
    """

    def start() -> subprocess.Popen[str]:
        # Said as a user says it who has gone to the folder; workers are elsewhere.
        return clusters.driver(survey.name, os.path.relpath(out, survey.parent), faults, address, cwd=survey.parent,
                               workers=4, slow_s=0.5)  # fmt: skip

    clusters.interrupt(start, out, address, kills=kills, seed=seed, between=(faults / "exits").touch)
    return clusters.begun(faults) - clusters.rows_in(out)


def test_workers_a_driver_and_a_node_that_are_killed_cost_nothing(address, survey, unbroken, faults, tmp_path):
    interrupted(address, survey, faults, tmp_path / "out", kills=2, seed=1)
    assert harness.tree(tmp_path / "out") == unbroken


@pytest.mark.slow
def test_twenty_workers_a_driver_and_a_node_that_are_killed_cost_nothing(survey, unbroken, faults, tmp_path):
    many = harness.draw_survey(tmp_path / "many", 200)
    assert harness.run(many, tmp_path / "whole") == 0
    with clusters.cluster(Path("/tmp") / f"ray-{os.getpid()}-slow") as (address,):
        (faults / "hangs").touch()
        again = interrupted(address, many, faults, tmp_path / "out", kills=20, seed=2)
    assert harness.tree(tmp_path / "out") == harness.tree(tmp_path / "whole")
    # Two frames at hand of each of twenty workers, of the four that went with the driver, the node's two, and one more.
    assert again <= 2 * (20 + 4 + 2 + 1)
