"""The workers of a run on a cluster: who does which frame, and what happens when one is lost.

A worker that dies or hangs is replaced, and what it was doing is done again. A frame that was at hand when a worker was
lost is tried again alone, so that it takes no other down with it; if workers are lost over it again and again it is
given up, by name. Rows come out as they are finished: the journal does not care in which order.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

from crackmap.calibration.errors import CrackmapError, DeviceError, require
from crackmap.pipeline.cluster.fingerprint import fingerprint
from crackmap.pipeline.cluster.queue import MOST_LOSSES, TaskQueue
from crackmap.pipeline.cluster.session import ray_session
from crackmap.pipeline.cluster.shares import Node, Shares, shares
from crackmap.pipeline.cluster.worker import TOKEN_NAME, Introduction, Place, Setup, Worker
from crackmap.pipeline.executor import Job
from crackmap.pipeline.frame import Stages
from crackmap.pipeline.frame_rows import Task, failed_row
from crackmap.pipeline.journal import JournalRow
from crackmap.pipeline.loading import LoadLimits
from crackmap.pipeline.products.publish import publish_bytes
from crackmap.pipeline.records import Frame

MOST_FAILED_STARTS = 5
"""Workers in a row that may end before they have their nets, where nobody is at work."""

START_PAUSE_S, MOST_START_PAUSE_S = 1.0, 60.0
"""After a worker that ended so until the next is started: twice as long each time, at most so long."""

AT_HAND, AT_HAND_GPU = 2, 4
"""Frames of a worker at a time: a graphics card is done with one before a processor has decoded the next."""

POLL_S = 1.0

LEAVE_S = 5.0
"""Workers have so long to clear up when all is done."""

Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """How a cluster is used. Nothing here changes a number.

    Attributes:
        address: of a running cluster; None: a Ray of its own on this machine.
        workers: how many; None: one for each graphics card or processor.
        gpus_per_worker: graphics cards of each; None: one where there are any.
        processors: of each worker; None: as many as leave room for all.
        start_s: a cluster on which no worker is ready after this time is given up.
        frame_s, megapixel_s: a frame may take `frame_s` and `megapixel_s` for each million pixels, then its worker
            hangs.
    """

    address: str | None = None
    workers: int | None = None
    gpus_per_worker: float | None = None
    processors: int | None = None
    start_s: float = 600.0
    frame_s: float = 600.0
    megapixel_s: float = 30.0

    def __post_init__(self) -> None:
        require(self.workers is None or self.workers >= 1, "workers", "1 or more", self.workers)
        gpus = self.gpus_per_worker
        require(gpus is None or gpus >= 0, "gpus_per_worker", "0 or more", gpus)
        require(gpus is None or gpus <= 1 or gpus == int(gpus), "gpus_per_worker", "a whole number above 1", gpus)
        require(self.start_s > 0 and self.frame_s > 0, "start_s, frame_s", "above 0", (self.start_s, self.frame_s))


@dataclass(slots=True)
class _Member:
    """A worker.

    Attributes:
        handle: Ray's.
        greeting: reference to its introduction.
        name: machine and process, once it has introduced itself.
        at_hand: reference -> frame and the moment by which it is to be done, after the ones given before it.
    """

    handle: Any
    greeting: Any
    name: str = ""
    at_hand: dict[Any, tuple[Task, float]] = field(default_factory=dict)


class Crew:
    """Workers with loaded nets; a context manager.

    Attributes:
        weights, engine: of their nets, as in `Stages`; all workers have the same.
        lost: workers that were lost on the way.
    """

    weights: Mapping[str, str]
    engine: str

    def __init__(self, load: Callable[[], Stages], settings: ClusterSettings, warn: Warn = lambda text: None) -> None:
        """A crew that starts when it is entered.

        Args:
            load: loads the nets; called in every worker, so what it is made of must be there under the same name.
            settings: of the cluster.
            warn: told of workers that are lost, and of machines that differ.
        """
        self._load, self._settings, self._warn = load, settings, warn
        self._members: list[_Member] = []
        self._first: Introduction | None = None
        self._failed_starts, self._failed_alone, self.lost = 0, 0, 0
        self._ready_at = self._hire_at = time.monotonic()
        self._processors: set[str] = set()

    def __enter__(self) -> Self:
        """Starts the workers and waits for the first.

        Raises:
            DeviceError: Ray or the cluster is not there, no worker starts, or its code is another than here.
            WeightsError: a worker cannot load its nets.
        """
        with ExitStack() as stack:
            self._ray = stack.enter_context(ray_session(self._settings.address))
            self._shares = self._share()
            self._hire()
            while self._first is None:
                self._greet(self._ended(POLL_S))
                self._check_alive()
                self._hire()
            self.weights, self.engine = self._first.weights, self._first.engine
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            leaving = [member.handle.leave.remote() for member in self._members if member.name]
            if leaving:
                self._ray.wait(leaving, num_returns=len(leaving), timeout=LEAVE_S)
        self._dismiss()
        self._stack.close()

    @property
    def workers(self) -> int:
        """How many there are to be."""
        return self._shares.workers

    def rows(self, job: Job, frames: Sequence[Frame], *, limits: LoadLimits) -> Generator[Sequence[JournalRow]]:
        """The journal rows of all frames, as they are finished, each with its mask file in place.

        Args:
            job: what the frames belong to.
            frames: what to do.
            limits: what an image may cost.

        Raises:
            DeviceError: no worker is left, or one is not like the others, or does not see the folders.
            StorageError: a mask file cannot be written.
        """
        # As the user says it: what a link is here may be a mounted volume there.
        out, token = job.out.absolute(), secrets.token_hex(16)
        place = Place(job.bucket or out, token, job.survey.root.absolute(), job.survey.output, limits)
        publish_bytes(out / TOKEN_NAME, token.encode("ascii"))
        todo = TaskQueue(job.tasks(frames))
        whole = False
        try:
            while todo or any(member.at_hand for member in self._members):
                self._hire()
                self._hand_out(place, todo)
                rows = self._take(self._ended(POLL_S), todo)
                rows += self._end_hanging(todo)
                self._check_alive()
                if rows:
                    yield rows
            whole = True
        finally:
            if not whole:
                # Nobody may write a mask any more once the run has stopped.
                self._dismiss()
            (out / TOKEN_NAME).unlink(missing_ok=True)

    def _share(self) -> Shares:
        nodes = [
            Node(node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0))
            for node in self._ray.nodes()
            if node["Alive"]
        ]
        found = shares(nodes, workers=self._settings.workers, gpus_per_worker=self._settings.gpus_per_worker)
        return replace(found, processors=self._settings.processors or found.processors)

    @property
    def _at_work(self) -> bool:
        return any(member.name for member in self._members)

    def _hire(self) -> None:
        """Replaces who was lost."""
        if time.monotonic() < self._hire_at:
            return
        setup = Setup(self._load, self._shares.processors, self._at_hand, _umask())
        options = {"num_cpus": self._shares.processors, "num_gpus": self._shares.gpus, "max_restarts": 0,
                   "max_task_retries": 0, "max_concurrency": self._at_hand}  # fmt: skip
        while len(self._members) < self._shares.workers:
            handle = self._ray.remote(Worker).options(**options).remote(setup)
            self._members.append(_Member(handle, handle.introduce.remote()))

    @property
    def _at_hand(self) -> int:
        return AT_HAND_GPU if self._shares.gpus else AT_HAND

    def _ended(self, wait_s: float) -> list[Any]:
        """References of all that has ended; waits a while for the first."""
        asked = [member.greeting for member in self._members if not member.name]
        asked += [reference for member in self._members for reference in member.at_hand]
        if not asked:
            time.sleep(wait_s)
            return []
        done, _ = self._ray.wait(asked, num_returns=1, timeout=wait_s, fetch_local=False)
        if done:
            done, _ = self._ray.wait(asked, num_returns=len(asked), timeout=0, fetch_local=False)
        return list(done)

    def _greet(self, ended: Sequence[Any]) -> None:
        """Takes up workers that have introduced themselves."""
        for member in [member for member in self._members if not member.name and member.greeting in ended]:
            try:
                said = self._ray.get(member.greeting)
            except self._ray.exceptions.RayError as error:
                self._members.remove(member)
                self._start_failed(_said(error))
                continue
            if isinstance(said, CrackmapError):
                raise said
            self._welcome(member, said)

    def _start_failed(self, reason: str) -> None:
        """Lets a while pass before the next start: a machine that dies, or has no memory left, fails at once.

        Raises:
            DeviceError: too many have failed, and nobody is at work.
        """
        self._failed_starts += 1
        self._failed_alone = 0 if self._at_work else self._failed_alone + 1
        said = (f"a worker ended before it had its nets ({self._failed_starts} in a row): {reason}; is crackmap "
                "installed on every machine, and is there memory for so many (--workers)?")  # fmt: skip
        if self._failed_alone >= MOST_FAILED_STARTS:
            raise DeviceError(said)
        # Of a machine that fails for hours the 1st, 2nd, 4th, 8th... time is told.
        if self._failed_starts.bit_count() == 1:
            self._warn(f"{said} The run goes on, and starts others")
        pause_s = START_PAUSE_S * 2.0 ** min(self._failed_starts - 1, 16)
        self._hire_at = time.monotonic() + min(pause_s, MOST_START_PAUSE_S)

    def _welcome(self, member: _Member, said: Introduction) -> None:
        differing = fingerprint().differences(said.fingerprint)
        if self._first is not None and (said.weights, said.engine) != (self._first.weights, self._first.engine):
            differing.append(f"weights or engine {said.weights} {said.engine} instead of "
                             f"{self._first.weights} {self._first.engine}")  # fmt: skip
        if differing:
            raise DeviceError(f"{said.name}: {'; '.join(differing)}: its numbers would be others; install the same "
                              "crackmap, Python and libraries on every machine")  # fmt: skip
        self._first = self._first or said
        if self._processors and said.processor not in self._processors:
            self._warn(f"{said.name} computes on {said.processor}, others on {', '.join(sorted(self._processors))}: "
                       "results of frames may differ in their last digits with the machine")  # fmt: skip
        self._processors.add(said.processor)
        member.name, self._ready_at = said.name, time.monotonic()
        self._failed_starts = self._failed_alone = 0
        self._hire_at = self._ready_at

    def _hand_out(self, place: Place, todo: TaskQueue) -> None:
        """Gives frames to whoever has a hand free, one to each in turn."""
        for given in range(self._at_hand):
            for member in self._members:
                left_alone = any(todo.losses(task) for task, _ in member.at_hand.values())
                if not member.name or len(member.at_hand) != given or left_alone:
                    continue
                task = todo.next(alone=given == 0)
                if task is not None:
                    start = max([time.monotonic(), *(end for _, end in member.at_hand.values())])
                    member.at_hand[member.handle.row.remote(place, task)] = task, start + self._limit_s(task)

    def _take(self, ended: Sequence[Any], todo: TaskQueue) -> list[JournalRow]:
        """The rows of what has ended; what was lost goes back to the queue."""
        self._greet(ended)
        rows: list[JournalRow] = []
        for member in list(self._members):
            for reference in [reference for reference in member.at_hand if reference in ended]:
                try:
                    said = self._ray.get(reference)
                except self._ray.exceptions.RayError as error:
                    rows += self._lose(member, self._why(error), todo)
                    break
                if isinstance(said, CrackmapError):
                    raise said
                del member.at_hand[reference]
                self._ready_at = time.monotonic()
                rows.append(said)
        return rows

    def _why(self, error: BaseException) -> str:
        """How a worker ended, in a few words: what Ray says of it fills a page."""
        known = self._ray.exceptions
        if isinstance(error, known.OutOfMemoryError):
            return "its machine ran out of memory: give fewer --workers"
        if isinstance(error, known.RayActorError):
            return "its process or its machine is gone"
        return _said(error)

    def _end_hanging(self, todo: TaskQueue) -> list[JournalRow]:
        """Ends workers that have been at a frame for too long."""
        rows: list[JournalRow] = []
        now = time.monotonic()
        for member in list(self._members):
            late = next((task for task, end in member.at_hand.values() if now > end), None)
            if late is not None:
                reason = f"no progress with {late.frame.key} for {self._limit_s(late):.0f} s"
                rows += self._lose(member, reason, todo)
        return rows

    def _limit_s(self, task: Task) -> float:
        """How long a frame may take."""
        width, height = task.frame.size_wh_px
        return self._settings.frame_s + self._settings.megapixel_s * width * height / 1e6

    def _lose(self, member: _Member, reason: str, todo: TaskQueue) -> list[JournalRow]:
        """Lets a worker go; the rows of frames that are given up with it."""
        self._members.remove(member)
        self._ray.kill(member.handle, no_restart=True)
        self.lost += 1
        tasks = [task for task, _ in member.at_hand.values()]
        self._warn(f"worker {member.name} was lost ({reason}); {len(tasks)} frames are done again by another")
        return [failed_row(task, f"{MOST_LOSSES} workers were lost over it, the last: {reason}")
                for task in tasks if not todo.again(task)]  # fmt: skip

    def _check_alive(self) -> None:
        """Raises DeviceError where no worker has been ready for too long."""
        waited = time.monotonic() - self._ready_at
        if self._at_work or waited <= self._settings.start_s:
            return
        share = self._shares
        raise DeviceError(f"no worker was ready in {waited:.0f} s: each needs {share.processors} processors"
                          f"{f' and {share.gpus:g} graphics cards' if share.gpus else ''}; `ray status` shows what the "
                          "cluster has free, and --workers asks for less; the same command goes on")  # fmt: skip

    def _dismiss(self) -> None:
        for member in self._members:
            self._ray.kill(member.handle, no_restart=True)
        self._members = []


def _umask() -> int:
    found = os.umask(0o077)
    os.umask(found)
    return found


def _said(error: BaseException) -> str:
    """The last line of an error of Ray that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
