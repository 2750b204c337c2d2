"""Frames worked on side by side by the real nets: the numbers do not know of each other."""

from dataclasses import replace
from pathlib import Path

import pytest

from crackmap.calibration.errors import OutputLockedError
from crackmap.pipeline.frame import StageSettings, load_stages
from crackmap.pipeline.run import RunOptions, RunSettings, RunSummary, run_survey
from crackmap.pipeline.survey import read_survey
from crackmap.pipeline.synthetic import SyntheticSettings, write_survey

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
