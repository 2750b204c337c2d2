"""What goes wrong in one frame stays in that frame, and is said."""

import os
import time
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from faults import harness

from crackmap.calibration.errors import DeviceMemoryError
from crackmap.pipeline import executor
from crackmap.pipeline.frame import Stages
from crackmap.pipeline.run import RunOptions, run_survey
from crackmap.pipeline.status import run_status
from crackmap.pipeline.survey import read_survey
from crackmap.stages.runtime import in_batches

FRAMES = 3


@pytest.fixture
def survey(tmp_path):
    return harness.draw_survey(tmp_path / "survey", FRAMES)


def stages_that(before_segmenting):  # type: ignore[no-untyped-def]
    """Stand-in nets that call a function with the number of the frame before they segment it."""
    stages, seen = harness.stand_ins(), iter(range(99))
    real = stages.segmenter.segment_classes

    def segment_classes(source, regions, settings):  # type: ignore[no-untyped-def]
        before_segmenting(next(seen))
        return real(source, regions, settings)

    return replace(stages, segmenter=SimpleNamespace(segment_classes=segment_classes))


def run(survey, out, stages: Stages, **more: object):  # type: ignore[no-untyped-def]
    found = read_survey(survey, gsd_mm=1.0)
    return run_survey(found, out, stages, harness.SETTINGS, options=RunOptions(workers=1), **more)  # type: ignore[arg-type]


def test_an_error_of_the_program_costs_one_frame_and_is_named(survey, tmp_path):
    def fails(number: int) -> None:
        if number == 1:
            raise ZeroDivisionError("a fault")

    summary = run(survey, tmp_path / "out", stages_that(fails))
    assert [outcome.status for outcome in summary.result.outcomes] == ["ok", "failed", "ok"]
    assert run_status(tmp_path / "out").lost == (
        ("0001.png", "internal error: ZeroDivisionError: a fault; please report it with the image"),
    )
    assert harness.run(survey, tmp_path / "out") == 0


def test_an_image_that_is_written_to_during_the_run_is_done_again(survey, tmp_path):
    def touches(number: int) -> None:
        if number == 2:
            os.utime(survey / "0002.png", (1.0, 1.0))

    summary = run(survey, tmp_path / "out", stages_that(touches))
    (lost,) = summary.skipped
    assert lost.frame.key == "0002.png" and lost.reason.startswith("changed_during_run")
    assert harness.run(survey, tmp_path / "out") == 0


def test_a_frame_that_does_not_get_on_is_named(survey, tmp_path, monkeypatch):
    monkeypatch.setattr(executor, "STUCK_S", 0.3)
    said: list[str] = []
    run(survey, tmp_path / "out", stages_that(lambda number: time.sleep(1.0 * (number == 1))), warn=said.append)
    assert any(text.startswith("0001.png: no progress for") for text in said)


def test_a_frame_that_the_device_has_no_room_for_is_done_on_the_cpu_and_marked(survey, tmp_path):
    full = SimpleNamespace(on_cpu=lambda: harness.stand_ins().segmenter)

    def no_room(source, regions, settings):  # type: ignore[no-untyped-def]
        raise DeviceMemoryError("no room")

    full.segment_classes = no_room
    detector = SimpleNamespace(detect=harness.stand_ins().detector.detect)
    detector.on_cpu = lambda: detector
    stages = replace(harness.stand_ins(), detector=detector, segmenter=full)
    summary = run(survey, tmp_path / "out", stages)
    assert [outcome.status for outcome in summary.result.outcomes] == ["ok"] * FRAMES
    assert harness.flags(tmp_path / "out") == [["cpu"]] * FRAMES


@pytest.mark.parametrize("room", [1, 2, 3, 5, 8, 20])
def test_batches_shrink_until_the_device_has_room_and_keep_their_order(room):
    def compute(items):  # type: ignore[no-untyped-def]
        if len(items) > room:
            raise torch.OutOfMemoryError
        return [item * item for item in items]

    assert list(in_batches(range(20), compute, batch=8)) == [(n, n * n) for n in range(20)]


def test_a_device_without_room_for_one_window_says_so():
    def compute(items):  # type: ignore[no-untyped-def]
        raise torch.OutOfMemoryError

    with pytest.raises(DeviceMemoryError, match="--device cpu"):
        list(in_batches([1, 2], compute, batch=2))


def test_a_picture_that_is_crack_all_over_is_named_and_not_measured(survey, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (400, 400), dtype=np.uint8)
    cv2.imwrite(str(survey / "9999.png"), cv2.resize(noise, (1600, 1600), interpolation=cv2.INTER_CUBIC))
    summary = run(survey, tmp_path / "out", harness.stand_ins())
    (lost,) = summary.skipped
    assert lost.frame.key == "9999.png" and lost.reason.startswith("saturated: ")
    assert len(summary.result.cracks) == FRAMES
