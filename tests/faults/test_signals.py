"""Ctrl-C and SIGTERM: the run stops soon, says so, leaves no process behind, and goes on with the same command."""

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from faults import harness

from crackmap.calibration.errors import InputError
from crackmap.cli.main import main
from crackmap.pipeline import nets as nets_module
from crackmap.pipeline.status import run_status

STOPS_WITHIN_S = 10.0


def command(survey: Path, out: Path, *, seconds_a_frame: float) -> int:
    """The command line, with stand-in nets, in this process; its exit code."""

    def load(settings, **_):  # type: ignore[no-untyped-def]
        stages = harness.stand_ins()
        real = stages.segmenter.segment_classes

        def segment_classes(*arguments):  # type: ignore[no-untyped-def]
            time.sleep(seconds_a_frame)
            return real(*arguments)

        return replace(stages, segmenter=SimpleNamespace(segment_classes=segment_classes), settings=settings)

    # A test run in the background is told to ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nets_module.load_stages = load
    sys.argv = ["crackmap", "run", str(survey), "-o", str(out), "--gsd", "1.0"]
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 99


def done(out: Path) -> int:
    try:
        return sum(run_status(out).statuses.values())
    except InputError:
        # The journal is just being made.
        return 0


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_command_soon_and_the_same_command_goes_on(tmp_path, sent, code):
    survey, out = harness.draw_survey(tmp_path / "survey", 30), tmp_path / "out"
    child = harness.in_child(lambda: command(survey, out, seconds_a_frame=0.4))
    while done(out) < 2:
        time.sleep(0.05)
    os.kill(child, sent)
    assert harness.waited(child, limit_s=STOPS_WITHIN_S) == code
    assert 2 <= done(out) < 30
    # Decoders belong to the group of the process that started them.
    with pytest.raises(ProcessLookupError):
        os.killpg(child, 0)
    assert harness.waited(harness.in_child(lambda: command(survey, out, seconds_a_frame=0.0))) == 0
    assert done(out) == 30 and run_status(out).finished
