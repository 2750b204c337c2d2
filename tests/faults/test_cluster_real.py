"""The shipped nets on real frames, on a cluster that is taken apart. Skipped, saying so, where the data is not at hand.

pytest -n 0 -m slow tests/faults/test_cluster_real.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from faults import clusters, harness

from crackmap.pipeline.cluster.crew import ClusterSettings, Crew
from crackmap.pipeline.frame import StageSettings
from crackmap.pipeline.nets import load_stages
from crackmap.pipeline.run import RunOptions, RunSettings, run_survey
from crackmap.pipeline.survey import read_survey
from crackmap.stages.measure.settings import MeasureSettings

DATA = Path(os.environ.get("CRACKMAP_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
TEST_RECORDING = DATA / "dnit" / "080BDF0070"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not TEST_RECORDING.is_dir(), reason="needs the dnit data set: set CRACKMAP_DATA to the folder that holds it"
    ),
]


def run_here_or_there(survey: Path, out: Path, address: str) -> None:
    """A run with the shipped nets: in this process if there is no address, else on that cluster."""
    found = read_survey(survey, survey="dnit")
    settings = RunSettings(StageSettings(measure=MeasureSettings(gamma=found.config.image.gamma)))
    load = partial(load_stages, settings.stages)
    if not address:
        run_survey(found, out, load(streams=2), settings, options=RunOptions(workers=2))
        return
    with Crew(load, ClusterSettings(address=address, workers=4), partial(print, file=sys.stderr)) as crew:
        run_survey(found, out, crew, settings)


def started(survey: Path, out: Path, address: str = "") -> subprocess.Popen[str]:
    path = os.pathsep.join([str(clusters.TESTS), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "faults.test_cluster_real", survey, out, address],
        env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_twenty_kills_a_driver_and_a_node_change_no_byte_of_real_frames(tmp_path: Path) -> None:
    survey = tmp_path / TEST_RECORDING.name
    survey.mkdir()
    for raw in sorted(TEST_RECORDING.glob("*_RAW.jpg"))[:80]:
        for name in (raw, raw.with_name(raw.name.replace("RAW.jpg", "LANE.png"))):
            shutil.copy(name, survey)
    code, said = clusters.ended(started(survey, tmp_path / "here"), 600.0)
    assert code == 0, said
    with clusters.cluster(Path("/tmp") / f"ray-{os.getpid()}-real") as (address,):
        there = tmp_path / "there"
        clusters.interrupt(lambda: started(survey, there, address), there, address, kills=20, seed=3)
    assert harness.tree(there) == harness.tree(tmp_path / "here")


if __name__ == "__main__":
    # Workers find these functions by the name of the module.
    from faults import test_cluster_real

    test_cluster_real.run_here_or_there(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
