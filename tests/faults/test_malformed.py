"""Thousands of damaged images: none ends the program, none hangs, and none that is cut off passes as a whole one."""

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from faults.malformed import good_files, malformed

from crackmap.calibration.errors import UnreadableImageError
from crackmap.pipeline.loading import CRASHED, Loader

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

LONGEST_S = 30.0


def loaded(folder: Path, count: int, *, seed: int) -> Counter[str]:
    """How many passed, were refused, or ended their decoder."""
    found: Counter[str] = Counter()
    with Loader(1) as loader:
        for file in malformed(count, seed=seed):
            path = folder / file.name
            path.write_bytes(file.content)
            start = time.monotonic()
            try:
                with loader.open(path) as source:
                    pixels = source.read_all()
                assert pixels.dtype == np.uint8 and pixels.shape[2] == 3
                assert not file.truncated, f"{file.name} passed as a whole picture"
                found["passed"] += 1
            except UnreadableImageError as error:
                assert str(error).startswith(f"{file.name}: ")
                found["decoder ended" if CRASHED in str(error) else "refused"] += 1
            assert time.monotonic() - start < LONGEST_S, file.name
            path.unlink()
        whole = folder / "whole.png"
        whole.write_bytes(good_files(np.random.default_rng(seed))["rgb.png"])
        loader.open(whole).close()
    return found


def test_damaged_images_are_refused_or_read_and_none_that_is_cut_off_passes(tmp_path):
    found = loaded(tmp_path, 405, seed=3)
    assert found.total() == 405 and found["refused"] > 200


@pytest.mark.slow
def test_five_thousand_damaged_images_are_refused_or_read_and_none_that_is_cut_off_passes(tmp_path):
    found = loaded(tmp_path, 5000, seed=4)
    assert found.total() == 5000 and found["refused"] > 2500 and found["decoder ended"] == 0
