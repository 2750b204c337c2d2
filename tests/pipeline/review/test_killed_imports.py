"""An import that is killed leaves all of it or nothing."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest
from faults import harness
from reviewing import edit, exported, run

from crackmap.pipeline.journal import open_journal
from crackmap.pipeline.review.importing import import_corrections


def killed_import(out: Path, folder: Path, number: int) -> int:
    """Imports with a kill before the write with this number that another process could see."""

    def work() -> int:
        import_corrections(out, folder)
        return 0

    return harness.killed_before(number, work)


def ends_of_killed_imports(finished: Path, out: Path, tmp_path: Path, numbers: Iterable[int]) -> set[int]:
    """Which ends imports come to that are killed before these writes: 0 nothing of it, 1 all of it."""
    folder = exported(out, "labelme")
    for key in ("a.png", "b.png"):
        edit(folder, key, lambda content: content["shapes"].pop())
    whole = shutil.copytree(out, tmp_path / "whole")
    import_corrections(whole, folder)
    ends = [harness.tree(out), harness.tree(whole)]
    reached = set()
    for number in numbers:
        tried = shutil.copytree(out, tmp_path / f"killed-{number}")
        code = killed_import(tried, folder, number)
        assert code in (0, -signal.SIGKILL)
        assert run(finished / "photos", tried) == 0
        reached.add(ends.index(harness.tree(tried)))
        with open_journal(tried) as journal:
            assert len(list(journal.corrections())) in (0, 2)
        if code == 0:
            break
    assert code == 0
    return reached


def test_an_import_that_is_killed_leaves_all_of_it_or_nothing(finished, out, tmp_path):
    assert ends_of_killed_imports(finished, out, tmp_path, (5, 9, 1000)) == {0, 1}


@pytest.mark.slow
def test_an_import_that_is_killed_anywhere_leaves_all_of_it_or_nothing(finished, out, tmp_path):
    assert ends_of_killed_imports(finished, out, tmp_path, range(1, 1000)) == {0, 1}
