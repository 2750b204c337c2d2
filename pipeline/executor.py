"""Frames through the stages on one machine.

    decoders (processes) -> nets (threads) -> measuring (processes) -> mask files (threads) -> journal (this thread)

Nets compute outside of Python, and measuring in processes of its own, so that one frame is measured while another is
looked at. A bounded number of frames is at hand, so memory does not grow with the survey. Rows come out in the order of
the frames, whatever was finished first.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from crackmap.calibration.errors import StorageError
from crackmap.pipeline.frame import Stages
from crackmap.pipeline.frame_rows import Bench, Task, frame_row
from crackmap.pipeline.journal import Journal, JournalRow
from crackmap.pipeline.loading import ImageSource, Loader
from crackmap.pipeline.measurers import Measurers
from crackmap.pipeline.products.masks import mask_name
from crackmap.pipeline.records import Frame
from crackmap.pipeline.repeating import Repeating
from crackmap.pipeline.storage.remote import RemoteOut, wanted_masks
from crackmap.pipeline.survey import Survey

MANY_FRAMES = 32
"""From so many on it pays to start processes that measure; each takes a second."""

STUCK_S = 600.0
"""After so long without progress the frame at hand is named."""


@dataclass(frozen=True, slots=True)
class Job:
    """What the executor works on.

    Attributes:
        survey: where the frames are from.
        out: the output folder; the caller holds its lock.
        hash_of: hashes all that decides a frame's numbers.
        bucket: gets every mask, if `out` stands for a prefix there.
    """

    survey: Survey
    out: Path
    hash_of: Callable[[Frame], str]
    bucket: RemoteOut | None = None

    def tasks(self, frames: Sequence[Frame]) -> Iterator[Task]:
        """What is to be done, in the order of the frames."""
        unplaced = self.survey.unplaced_keys
        images = self.survey.remote
        for frame in frames:
            remote = None if images is None else images.image(frame)
            # Workers of a cluster work in another folder than this process.
            there = replace(frame, file=str(frame.path.absolute()))
            yield Task(there, self.hash_of(frame), frame.key not in unplaced, remote)

    def bring_masks(self, journal: Journal) -> None:
        """Brings masks that lie in the bucket alone, because other machines made them, to the output folder.

        To be called when all frames are done: then every row of a frame of the survey is as the frame is now.

        Raises:
            InputError: the bucket cannot be read.
            StorageError: it has another mask than its frame's row names, or the folder cannot be written.
        """
        if self.bucket is None:
            return
        lost = set(self.bucket.fetch_masks(wanted_masks(journal.rows()), self.out))
        # Rows of frames that left the survey need no mask any more, and that of a correction is drawn again.
        names = (mask_name(frame.key) for frame in self.survey.measurable) if lost else ()
        if wrong := [name for name in names if name in lost]:
            raise StorageError(f"{self.bucket.url}: {len(wrong)} masks are not those of this run, the first "
                               f"masks/{wrong[0]}; does something else write there? Run the command again")  # fmt: skip


def finished_rows(
    job: Job, frames: Sequence[Frame], stages: Stages, loader: Loader, *, workers: int,
    warn: Callable[[str], None] = lambda text: None,
) -> Generator[Sequence[JournalRow]]:  # fmt: skip
    """The journal row of each frame, in order, its mask file in place.

    A frame that cannot be used becomes a row that says why. If the caller stops, what was begun is given up.

    Args:
        job: what the frames belong to.
        frames: what to do.
        stages: loaded nets.
        loader: decodes; its number of workers says how far ahead.
        workers: frames that are worked on at a time.
        warn: told which frame is stuck.

    Raises:
        StorageError: a mask file cannot be written.
    """
    measurers = Measurers(workers if workers > 1 and len(frames) >= MANY_FRAMES else 0)
    # While some frames are measured elsewhere, as many others are looked at.
    at_hand = 2 * workers if measurers else workers
    bench = Bench(job.out, job.survey.output, stages, threading.BoundedSemaphore(workers), measurers, job.bucket)
    pool = ThreadPoolExecutor(at_hand, thread_name_prefix="frame")
    waiting: deque[tuple[str, Future[JournalRow]]] = deque()
    begun: deque[ImageSource] = deque(maxlen=at_hand + workers + 1)
    sources = loader.ahead(frame.path for frame in frames)
    stopped = True
    try:
        with _Watchdog(warn) as watchdog:

            def oldest() -> JournalRow:
                key, future = waiting.popleft()
                watchdog.begin(key)
                return future.result()

            for task, source in zip(job.tasks(frames), sources, strict=True):
                watchdog.begin(task.frame.key)
                if isinstance(source, ImageSource):
                    begun.append(source)
                waiting.append((task.frame.key, pool.submit(frame_row, bench, task, source)))
                if len(waiting) > at_hand:
                    yield [oldest()]
            while waiting:
                yield [oldest()]
        stopped = False
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        if stopped:
            # Or a decoder that hangs would be waited for, and a large image looked at to its end.
            loader.close()
            measurers.close()
            for source in begun:
                source.close()
        sources.close()
        pool.shutdown(wait=True)
        measurers.close()


class _Watchdog(Repeating):
    """Names the frame at hand every time that STUCK_S have passed since it was begun."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        super().__init__(min(STUCK_S / 10, 5.0), self._look, "watchdog")
        self._warn, self._key, self._since = warn, "the first image", time.monotonic()
        self._said = 0

    def begin(self, key: str) -> None:
        """Says what is worked on now."""
        self._key, self._since = key, time.monotonic()

    def _look(self) -> None:
        passed = int((time.monotonic() - self._since) / STUCK_S)
        if passed > self._said:
            self._warn(f"{self._key}: no progress for {passed * STUCK_S / 60:.0f} min; Ctrl-C stops the run, and "
                       "the same command goes on with it")  # fmt: skip
        self._said = passed
