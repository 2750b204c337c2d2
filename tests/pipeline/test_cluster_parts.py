"""Parts of running on a cluster that need no Ray."""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from faults import harness
from hypothesis import given
from hypothesis import strategies as st

from crackmap.calibration.errors import DeviceError, InputError, WeightsError
from crackmap.pipeline.cluster import crew, session
from crackmap.pipeline.cluster.crew import ClusterSettings, Crew
from crackmap.pipeline.cluster.fingerprint import Fingerprint, fingerprint
from crackmap.pipeline.cluster.queue import MOST_LOSSES, TaskQueue
from crackmap.pipeline.cluster.scratch import PREFIX, Scratch
from crackmap.pipeline.cluster.shares import Node, Shares, shares
from crackmap.pipeline.cluster.worker import TOKEN_NAME, Introduction, Place, Setup, Worker
from crackmap.pipeline.executor import Job
from crackmap.pipeline.frame_rows import Task
from crackmap.pipeline.loading import LoadLimits
from crackmap.pipeline.survey import read_survey

nodes = st.lists(st.builds(Node, st.integers(1, 64).map(float), st.integers(0, 8).map(float)), min_size=1, max_size=6)


def test_without_graphics_cards_there_is_a_worker_for_each_processor():
    assert shares([Node(2.0, 0.0), Node(8.0, 0.0)]) == Shares(10, 1, 0.0)


def test_with_graphics_cards_there_is_a_worker_for_each_and_it_gets_its_share_of_the_processors():
    assert shares([Node(16.0, 2.0), Node(8.0, 1.0)]) == Shares(3, 8, 1.0)


def test_fewer_workers_get_more_processors_but_never_those_of_two_machines():
    assert shares([Node(8.0, 0.0), Node(8.0, 0.0)], workers=3) == Shares(3, 4, 0.0)
    assert shares([Node(8.0, 0.0), Node(8.0, 0.0)], workers=1) == Shares(1, 8, 0.0)


def test_two_workers_share_a_card_when_asked_to():
    assert shares([Node(16.0, 1.0)], gpus_per_worker=0.5) == Shares(2, 8, 0.5)


def test_more_workers_than_there_is_room_for_wait_for_machines_that_join():
    assert shares([Node(2.0, 0.0)], workers=100) == Shares(100, 1, 0.0)


@given(nodes, st.integers(1, 40))
def test_workers_that_fit_with_one_processor_each_fit_with_what_they_get(machines, workers):
    found = shares(machines, workers=workers, gpus_per_worker=0.0)
    room = sum(int(node.processors // found.processors) for node in machines)
    assert found.processors == 1 or room >= workers
    more = sum(int(node.processors // (found.processors + 1)) for node in machines)
    assert more < workers


def test_what_differs_between_machines_is_named():
    here = Fingerprint("1.0", "ab" * 32, "3.11", ("numpy 2.3.1", "torch 2.11"))
    there = Fingerprint("1.0", "cd" * 32, "3.12", ("numpy 2.3.2",))
    assert here.differences(here) == []
    assert here.differences(there) == [
        f"code {'cd' * 8} instead of {'ab' * 8}", "python 3.12 instead of 3.11", "numpy 2.3.2 instead of 2.3.1",
        "torch missing instead of torch 2.11".replace("torch 2.11", "2.11"),
    ]  # fmt: skip


def test_the_code_is_known_by_its_content():
    assert fingerprint() == fingerprint() and len(fingerprint().code) == 64


def tasks(folder: Path, count: int) -> list[Task]:
    frames = read_survey(harness.draw_survey(folder, count), gsd_mm=1.0).frames
    return [Task(frame, "hash", True) for frame in frames]


def test_a_lost_frame_goes_to_a_worker_that_does_nothing_else_and_is_given_up_in_the_end(tmp_path):
    first, second = tasks(tmp_path / "s", 2)
    queue = TaskQueue(iter([first, second]))
    assert queue.next(alone=True) is first
    assert queue.again(first)
    assert queue.next(alone=False) is second
    assert queue.next(alone=False) is None and queue
    for _ in range(MOST_LOSSES - 2):
        assert queue.next(alone=True) is first
        assert queue.again(first)
    assert queue.next(alone=True) is first
    assert not queue.again(first) and not queue


class Clock:
    """Time that passes only while somebody waits."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class Ray:
    """What of Ray a crew needs; the first `healthy` workers introduce themselves, all others end before.

    Attributes:
        starts: when workers were started.
    """

    exceptions = SimpleNamespace(RayError=LookupError)

    def __init__(self, clock: Clock, healthy: int) -> None:
        self._clock, self._healthy = clock, healthy
        self.starts: list[float] = []

    def nodes(self):  # type: ignore[no-untyped-def]
        return [{"Alive": True, "Resources": {"CPU": 4.0}}]

    def remote(self, kind):  # type: ignore[no-untyped-def]
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._start))

    def _start(self, setup):  # type: ignore[no-untyped-def]
        self.starts.append(self._clock.now_s)
        number = len(self.starts)
        return SimpleNamespace(introduce=SimpleNamespace(remote=lambda: number),
                               leave=SimpleNamespace(remote=lambda: number),
                               row=SimpleNamespace(remote=lambda place, task: task.frame.key))  # fmt: skip

    def wait(self, asked, *, num_returns, timeout, **_):  # type: ignore[no-untyped-def]
        if not asked:
            self._clock.sleep(timeout)
        return asked, []

    def get(self, number):  # type: ignore[no-untyped-def]
        if number > self._healthy:
            raise LookupError("a page of it\nThe machine is gone.")
        return Introduction(f"m{number}", fingerprint(), {}, "torch", "AVX2")

    def kill(self, handle, *, no_restart):  # type: ignore[no-untyped-def]
        pass


def crew_on(ray: Ray, clock: Clock, monkeypatch, **settings: int) -> tuple[Crew, list[str]]:  # type: ignore[no-untyped-def]
    """A crew on a stand-in of Ray, and what it warns of."""
    monkeypatch.setattr(crew, "ray_session", lambda address: nullcontext(ray))
    monkeypatch.setattr(crew, "time", clock)
    said: list[str] = []
    return Crew(harness.stand_ins, ClusterSettings(**settings), said.append), said  # type: ignore[arg-type]


def test_workers_that_end_before_they_have_their_nets_are_started_again_ever_later_and_given_up(monkeypatch):
    clock = Clock()
    ray = Ray(clock, healthy=0)
    alone, _ = crew_on(ray, clock, monkeypatch, workers=1)
    with pytest.raises(DeviceError, match=r"5 in a row\): The machine is gone\.; is crackmap installed"), alone:
        pass
    assert ray.starts == [0.0, 1.0, 3.0, 7.0, 15.0]


def test_where_others_work_they_are_told_of_now_and_then_and_end_nothing(monkeypatch):
    clock = Clock()
    ray = Ray(clock, healthy=1)
    some, said = crew_on(ray, clock, monkeypatch, workers=2)
    with some:
        for _ in range(700):
            some._hire()
            some._take(some._ended(1.0), TaskQueue(iter(())))
    waits = [after - before for before, after in pairwise(ray.starts[1:])]
    assert waits[:6] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0] and set(waits[6:]) == {60.0}
    assert [text.split("(")[1].split(" ")[0] for text in said] == ["1", "2", "4", "8", "16"]
    assert all("The run goes on" in text for text in said)


def worker(**more: object) -> Worker:
    setup = {"load": harness.stand_ins, "processors": 1, "at_hand": 1, "umask": 0o022, **more}
    return Worker(Setup(**setup))  # type: ignore[arg-type]


def place(survey, out: Path, token: str) -> Place:  # type: ignore[no-untyped-def]
    return Place(out, token, survey.root, survey.output, LoadLimits())


@pytest.fixture(autouse=True)
def processors(monkeypatch, tmp_path_factory):
    from crackmap.pipeline.cluster import worker as module

    # Of the test's own process nothing is taken, and of this machine's temporary files none are removed.
    monkeypatch.setattr(module, "limit_processors", lambda most: None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))


def test_a_worker_that_does_not_see_the_output_folder_says_so(tmp_path):
    survey = read_survey(harness.draw_survey(tmp_path / "s", 1), gsd_mm=1.0)
    for content in (None, "another run"):
        out = tmp_path / f"out-{content}"
        out.mkdir()
        if content is not None:
            (out / TOKEN_NAME).write_text(content)
        one = worker()
        one.introduce()
        said = one.row(place(survey, out, "token"), Task(survey.frames[0], "hash", True))
        assert isinstance(said, DeviceError) and "does not see the output folder" in str(said)


def test_a_worker_that_does_not_see_the_survey_says_so_and_skips_nothing(tmp_path):
    survey = read_survey(harness.draw_survey(tmp_path / "s", 1), gsd_mm=1.0)
    (tmp_path / TOKEN_NAME).write_text("token")
    (tmp_path / "s").rename(tmp_path / "elsewhere")
    one = worker()
    one.introduce()
    said = one.row(place(survey, tmp_path, "token"), Task(survey.frames[0], "hash", True))
    assert isinstance(said, DeviceError) and "does not see the survey folder" in str(said)


def test_what_a_worker_is_given_says_where_it_is_wherever_the_worker_was_started(tmp_path, monkeypatch):
    harness.draw_survey(tmp_path / "s", 1)
    monkeypatch.chdir(tmp_path)
    survey = read_survey(Path("s"), gsd_mm=1.0)
    (task,) = Job(survey, Path("out"), lambda frame: "hash").tasks(survey.frames)
    (tmp_path / TOKEN_NAME).write_text("token")
    monkeypatch.chdir("/")
    one = worker()
    one.introduce()
    said = one.row(place(survey, tmp_path, "token"), task)
    assert not isinstance(said, Exception) and said.status == "ok"


def test_a_worker_whose_run_has_ended_writes_no_mask_over_that_of_the_next(tmp_path):
    survey = read_survey(harness.draw_survey(tmp_path / "s", 1), gsd_mm=1.0)
    token = tmp_path / TOKEN_NAME
    token.write_text("token")
    stages = harness.stand_ins()
    real = stages.segmenter.segment_classes

    def ends_the_run(source, regions, settings):  # type: ignore[no-untyped-def]
        token.write_text("of the next run")
        return real(source, regions, settings)

    one = worker(load=lambda: replace(stages, segmenter=SimpleNamespace(segment_classes=ends_the_run)))
    one.introduce()
    said = one.row(place(survey, tmp_path, "token"), Task(survey.frames[0], "hash", True))
    assert isinstance(said, DeviceError) and not [*tmp_path.rglob("*.tif")]


def test_a_small_frame_behind_a_large_one_has_its_time_after_it(tmp_path, monkeypatch):
    clock = Clock()
    ray = Ray(clock, healthy=1)
    one, said = crew_on(ray, clock, monkeypatch, workers=1)
    small, large = tasks(tmp_path / "s", 2)
    large = replace(large, frame=replace(large.frame, size_wh_px=(10_000, 10_000)))
    todo = TaskQueue(iter([large, small]))
    with one:
        one._hand_out(None, todo)  # type: ignore[arg-type]
        (member,) = one._members
        assert len(member.at_hand) == 2
        clock.sleep(3599.0)
        assert one._end_hanging(todo) == [] and one.lost == 0
        clock.sleep(2.0)
        one._end_hanging(todo)
    assert one.lost == 1 and f"no progress with {large.frame.key} for 3600 s" in said[0]


def test_an_image_that_is_gone_is_skipped_as_in_one_process_and_costs_no_worker(tmp_path):
    survey = read_survey(harness.draw_survey(tmp_path / "s", 2), gsd_mm=1.0)
    (tmp_path / TOKEN_NAME).write_text("token")
    survey.frames[0].path.unlink()
    one = worker()
    one.introduce()
    said = one.row(place(survey, tmp_path, "token"), Task(survey.frames[0], "hash", True))
    assert not isinstance(said, Exception) and said.status == "skipped" and said.key == survey.frames[0].key


def test_what_a_killed_worker_leaves_goes_with_the_next_and_what_living_ones_use_stays(tmp_path, monkeypatch):
    def works() -> int:
        its = Scratch()
        (its.folder / "unpacked").write_bytes(b"rows")
        time.sleep(60.0)
        return 0

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"{PREFIX}of-nobody").symlink_to(tmp_path.parent)
    child = harness.in_child(works)
    end = time.monotonic() + 30.0
    while not [*tmp_path.glob("*/unpacked")] and time.monotonic() < end:
        time.sleep(0.01)
    (taken,) = (path.parent for path in tmp_path.glob("*/unpacked"))
    one = Scratch()
    assert taken.is_dir() and one.folder.is_dir()
    harness.waited(child, kill_after_s=0.0)
    another = Scratch()
    assert not taken.exists() and one.folder.is_dir() and another.folder.is_dir()
    one.remove()
    another.remove()
    assert [path.name for path in tmp_path.iterdir()] == [f"{PREFIX}of-nobody"] and tmp_path.parent.is_dir()


def test_a_worker_that_cannot_load_its_nets_says_why(tmp_path):
    def load():  # type: ignore[no-untyped-def]
        raise WeightsError("segment.safetensors: not there")

    said = worker(load=load).introduce()
    assert isinstance(said, WeightsError) and f"({os.getpid()}): segment.safetensors: not there" in str(said)


def test_without_ray_its_executor_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DeviceError, match=r"pip install 'crackmap\[ray\]'"), session.ray_session(None):
        pass


def test_an_address_where_nobody_listens_is_refused_at_once():
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'crackmap[ray]'")
    with pytest.raises(DeviceError, match=r"no cluster answers at 127\.0\.0\.1:1 "), session.ray_session("127.0.0.1:1"):
        pass


def test_nothing_but_a_run_on_a_cluster_imports_ray():
    code = "import sys, crackmap.cli.main, crackmap.cli.run, crackmap.pipeline.run; print('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


@pytest.mark.parametrize(
    "wrong", [{"workers": 0}, {"gpus_per_worker": -1.0}, {"gpus_per_worker": 1.5}, {"frame_s": 0.0}]
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InputError):
        ClusterSettings(**wrong)
