"""The survey that a person corrects, and a copy of its run for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from faults import harness
from reviewing import draw, run

from crackmap.pipeline import nets as nets_module


@pytest.fixture(autouse=True)
def stand_in_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nets_module, "load_stages", lambda *_, **__: harness.stand_ins())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a survey of four frames and the run of it: two cracks, one, none, and a faint one."""
    folder = tmp_path_factory.mktemp("review")
    for name, rows, faint in (("a", (60, 160), ()), ("b", (100,), ()), ("drive/c", (), ()), ("drive/d", (60,), (160,))):
        draw(folder / "photos" / f"{name}.png", rows, faint)
    assert run(folder / "photos", folder / "out") == 0
    return folder


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished / "out", tmp_path / "out")
