"""Frames worked on side by side by the real nets: the numbers do not know of each other."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crackmap.calibration.errors import CrackmapError, InputError, OutputLockedError
from crackmap.pipeline import executor
from crackmap.pipeline.frame import StageSettings
from crackmap.pipeline.measurers import Measurers
from crackmap.pipeline.nets import load_stages
from crackmap.pipeline.run import RunOptions, RunSettings, RunSummary, run_survey
from crackmap.pipeline.survey import read_survey
from crackmap.pipeline.synthetic import SyntheticSettings, write_survey
from crackmap.stages.measure.cutouts import Cutouts
from crackmap.stages.measure.measure import measure
from crackmap.stages.measure.settings import MeasureSettings
from crackmap.stages.records import CrackMask
from crackmap.stages.tiling import ArraySource

SETTINGS = RunSettings(StageSettings(), section_length_m=5.0, strips=False)


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synth") / "road"
    write_survey(folder, SyntheticSettings(frames=5, size_wh_px=(480, 360), gsd_mm=4.0, cracks_per_10m=30.0, seed=5))
    return folder


def mapped(survey: Path, out: Path, workers: int, engine: str = "auto") -> RunSummary:
    stages = load_stages(SETTINGS.stages, device="cpu", engine=engine, streams=workers)
    return run_survey(read_survey(survey), out, stages, SETTINGS, options=RunOptions(workers=workers))


@pytest.mark.parametrize("engine", ["auto", "pytorch"])
def test_masks_and_cracks_do_not_depend_on_the_number_of_workers(survey: Path, tmp_path: Path, engine: str) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    summary = mapped(survey, alone, 1, engine)
    mapped(survey, together, 3, engine)
    assert summary.result.cracks
    files = [path.relative_to(alone) for path in sorted((alone / "masks").iterdir())] + [Path("cracks.csv")]
    for file in files:
        assert (alone / file).read_bytes() == (together / file).read_bytes(), file


def test_cracks_measured_in_processes_are_the_same_also_when_one_dies(
    survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    mapped(survey, here, 2)
    monkeypatch.setattr(executor, "MANY_FRAMES", 1)
    started = []

    class Frail(Measurers):
        def __init__(self, count: int) -> None:
            super().__init__(count)
            started.extend(self._children)
            self._children[0].stop()

    monkeypatch.setattr(executor, "Measurers", Frail)
    mapped(survey, elsewhere, 2)
    assert len(started) == 2
    assert (here / "cracks.csv").read_bytes() == (elsewhere / "cracks.csv").read_bytes()


def test_measurers_that_are_closed_start_nothing_anew() -> None:
    mask = CrackMask.from_dense(np.zeros((64, 64), bool))
    with Measurers(1) as measurers:
        measurers.close()
        with pytest.raises(CrackmapError, match="was stopped"):
            measurers.measure(mask, ground=None, source=Cutouts((64, 64), ()), settings=MeasureSettings())


def test_cutouts_hold_what_measuring_reads_and_nothing_else() -> None:
    rng = np.random.default_rng(2)
    probability = np.zeros((900, 1400))
    probability[100:104, 60:240] = 1.0
    probability[700:703, 1100:1399] = 1.0
    image = rng.integers(100, 140, (900, 1400, 3), dtype=np.uint8)
    image[probability > 0] = 40
    mask = CrackMask.from_dense(probability)
    whole = ArraySource(image)
    parts = Cutouts.around(mask, whole)
    assert sum(pixels.size for _, _, pixels in parts.parts) < image.size / 3
    ours, theirs = (measure(mask, ground=None, source=source) for source in (parts, whole))
    assert len(ours) == 2
    assert [crack.length_px for crack in ours] == [crack.length_px for crack in theirs]
    assert all((a.width_px == b.width_px).all() for a, b in zip(ours, theirs, strict=True))
    with pytest.raises(InputError, match="no cutout"):
        parts.read(500, 400, 10, 10)


def test_a_run_says_where_its_time_went(survey: Path, tmp_path: Path) -> None:
    summary = mapped(survey, tmp_path / "out", 2)
    assert {"decode", "detect", "segment", "measure", "write"} <= summary.seconds.keys()
    assert set(summary.wall_s) == {"frames", "products"}
    assert summary.pixels == 5 * 480 * 360


def test_a_run_does_not_go_on_with_another_engine(survey: Path, tmp_path: Path) -> None:
    mapped(survey, tmp_path / "out", 2, "pytorch")
    stages = replace(load_stages(SETTINGS.stages, device="cpu", engine="pytorch"), engine="another one")
    with pytest.raises(OutputLockedError, match="engine differ"):
        run_survey(read_survey(survey), tmp_path / "out", stages, SETTINGS)
