"""A disk that is full, read-only or failing: exit 6, nothing damaged in place, and a run that goes on afterwards."""

import errno
import os
import subprocess
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
import rasterio
from faults import harness

FAULTS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EMFILE)


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return harness.draw_survey(tmp_path_factory.mktemp("survey") / "photos", 4)


@pytest.fixture(scope="module")
def unbroken(survey: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("unbroken") / "out"
    assert harness.run(survey, out) == 0
    return harness.tree(out)


def failing(number: int, fault: int) -> None:
    """From the `number`-th write on, in this process, every write to the output fails."""
    left = number

    def wrap(owner: Any, name: str, error: Exception) -> None:
        real = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left <= 0:
                raise error
            return real(*args, **kwargs)

        setattr(owner, name, counted)

    for name in ("fsync", "replace"):
        wrap(os, name, OSError(fault, os.strerror(fault)))


def nothing_damaged(out: Path) -> None:
    """Every product that is there can be read to its end by the field's own tools."""
    for path in out.rglob("*.tif"):
        with rasterio.open(path) as dataset:
            dataset.read()
    for name in ("crackmap.gpkg", "cracks.parquet"):
        path = out / name
        if path.exists():
            assert len(gpd.read_parquet(path) if name.endswith("parquet") else gpd.read_file(path, layer="frames"))
    assert not (out / "_SUCCESS.json").exists() or (out / "run.json").exists()


def stops_and_recovers(survey: Path, unbroken: dict[str, str], folder: Path, *, start: int, step: int) -> int:
    """A fault at write `start`, `start + step`, ... until none is left to fail; returns the number of faults."""
    number, faults = start, 0
    while True:
        out = folder / str(number)
        fault = FAULTS[faults % len(FAULTS)]

        def work(number: int = number, fault: int = fault, out: Path = out) -> int:
            failing(number, fault)
            return harness.run(survey, out)

        code = harness.waited(harness.in_child(work))
        if code == 0:
            return faults
        assert code == 6, f"{errno.errorcode[fault]} at write {number}: exit {code}"
        faults += 1
        if out.exists():
            nothing_damaged(out)
        assert harness.run(survey, out) == 0
        assert harness.tree(out) == unbroken, f"{errno.errorcode[fault]} at write {number}"
        number += step


def test_a_disk_that_fails_at_some_writes_is_exit_6_and_the_run_goes_on(survey, unbroken, tmp_path):
    assert stops_and_recovers(survey, unbroken, tmp_path, start=2, step=11) >= 4


@pytest.mark.slow
def test_a_disk_that_fails_at_any_write_is_exit_6_and_the_run_goes_on(survey, unbroken, tmp_path):
    assert stops_and_recovers(survey, unbroken, tmp_path, start=1, step=1) > 30


def test_a_full_disk_of_3_mb_is_exit_6_and_the_run_goes_on_elsewhere(survey, unbroken, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(small)], check=False)
    if mounted.returncode != 0:
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        for left_kb in (4, 60, 120, 200, 280):
            (small / "filling").write_bytes(bytes((3 * 1024 - left_kb) * 1024))
            assert harness.waited(harness.in_child(lambda: harness.run(survey, small / "out"))) == 6
            nothing_damaged(small / "out")
        (small / "filling").unlink()
        assert harness.waited(harness.in_child(lambda: harness.run(survey, small / "out"))) == 0
        assert harness.tree(small / "out") == unbroken
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_an_output_folder_that_cannot_be_written_is_exit_6(survey, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert harness.run(survey, tmp_path / "file" / "out") == 6
