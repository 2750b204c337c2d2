"""A run that is killed, wherever it is, goes on and ends byte for byte as if it had not been."""

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from faults import harness

FRAMES = 5


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return harness.draw_survey(tmp_path_factory.mktemp("survey") / "photos", FRAMES)


@pytest.fixture(scope="module")
def unbroken(survey: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("unbroken") / "out"
    assert harness.run(survey, out) == 0
    return harness.tree(out)


def killed_at_random(
    survey: Path, unbroken: dict[str, str], folder: Path, *, kills: int, seed: int, after_s: float = 2.5
) -> tuple[int, int]:
    """Runs again and again, each killed within `after_s`, until so many kills have hit; every end is compared.

    Returns the number of kills and of runs that came to their end.
    """
    rng = np.random.default_rng(seed)
    hits, trees = 0, 0
    while hits < kills:
        out = folder / str(trees)
        while (code := _attempt(survey, out, rng, after_s)) == -signal.SIGKILL:
            hits += 1
        assert code == 0
        assert harness.tree(out) == unbroken
        trees += 1
    return hits, trees


def _attempt(survey: Path, out: Path, rng: np.random.Generator, after_s: float) -> int:
    workers = int(rng.integers(1, 4))
    child = harness.in_child(lambda: harness.run(survey, out, workers=workers))
    return harness.waited(child, kill_after_s=float(rng.uniform(0.02, after_s)))


def test_runs_killed_at_random_moments_end_as_an_unbroken_one(survey, unbroken, tmp_path):
    kills, ended = killed_at_random(survey, unbroken, tmp_path, kills=5, seed=1)
    assert kills >= 5 and ended >= 1


@pytest.mark.slow
def test_runs_killed_a_hundred_times_end_as_an_unbroken_one(survey, unbroken, tmp_path):
    kills, ended = killed_at_random(survey, unbroken, tmp_path, kills=100, seed=2)
    assert kills >= 100 and ended >= 1


def crash_points(start: int, step: int) -> Iterator[int]:
    number = start
    while True:
        yield number
        number += step


def recovers_at(survey: Path, unbroken: dict[str, str], folder: Path, *, start: int, step: int) -> int:
    """Kills before write `start`, `start + step`, ... until a run ends well; every second attempt is compared."""
    for number in crash_points(start, step):
        out = folder / str(number)
        code = harness.killed_before(number, partial(harness.run, survey, out))
        if code == 0:
            assert harness.tree(out) == unbroken
            return number
        assert code == -signal.SIGKILL
        assert harness.run(survey, out) == 0
        assert harness.tree(out) == unbroken, f"killed before write {number}"
    raise AssertionError


def test_a_run_killed_before_some_of_its_writes_recovers(survey, unbroken, tmp_path):
    assert recovers_at(survey, unbroken, tmp_path, start=3, step=17) > 40


@pytest.mark.slow
def test_a_run_killed_before_any_of_its_writes_recovers(survey, unbroken, tmp_path):
    assert recovers_at(survey, unbroken, tmp_path, start=1, step=1) > 40


@pytest.mark.parametrize("workers", [1, 4])
def test_the_number_of_workers_changes_no_byte(survey, unbroken, tmp_path, workers):
    assert harness.run(survey, tmp_path / "out", workers=workers) == 0
    assert harness.tree(tmp_path / "out") == unbroken


def test_of_two_runs_on_one_folder_one_wins_and_a_kill_leaves_no_lock(survey, unbroken, tmp_path):
    out = tmp_path / "out"
    children = [harness.in_child(lambda: harness.run(survey, out)) for _ in range(2)]
    codes = sorted(harness.waited(child) for child in children)
    assert codes == [0, 5]
    assert harness.tree(out) == unbroken
    held = harness.in_child(lambda: harness.run(survey, out, verify=True))
    harness.waited(held, kill_after_s=0.1)
    assert harness.run(survey, out) == 0
