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
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from crackmap.calibration.errors import CrackmapError, DeviceMemoryError, UnreadableImageError
from crackmap.pipeline.frame import FoundMask, Stages, find_mask, measure_mask, saturated_share, sealed_cracks
from crackmap.pipeline.identity import file_identity
from crackmap.pipeline.journal import JournalRow
from crackmap.pipeline.loading import ImageSource, Loader
from crackmap.pipeline.measurers import Measurers
from crackmap.pipeline.placing import PIXELS
from crackmap.pipeline.products.masks import MASKS_FOLDER, mask_name, write_mask_cog
from crackmap.pipeline.products.publish import sha256_of
from crackmap.pipeline.records import Frame
from crackmap.pipeline.survey import Survey
from crackmap.stages.measure.cutouts import Cutouts
from crackmap.stages.records import Crack, CrackMask
from crackmap.stages.regions import cells_of_regions, packed_cells

CHANGED = "changed_during_run"
"""Begins the reason of a frame whose file was written to while it was worked on."""

SATURATED = "saturated"
"""Begins the reason of a frame of which too much is taken for crack to measure any of it."""

MANY_FRAMES = 32
"""From so many on it pays to start processes that measure; each takes a second."""

MOST_SENT_PX = 60_000_000
"""Of a picture of which more is cracked the parts are not copied to another process, but measured here."""

STUCK_S = 600.0
"""After so long without progress the frame at hand is named."""


@dataclass(frozen=True, slots=True)
class Job:
    """What the executor works on.

    Attributes:
        survey: where the frames are from.
        out: the output folder; the caller holds its lock.
        stages: loaded nets.
        hashes: of all that decides a frame's numbers, by key.
    """

    survey: Survey
    out: Path
    stages: Stages
    hashes: Mapping[str, str]


def finished_rows(
    job: Job, frames: Sequence[Frame], loader: Loader, *, workers: int, warn: Callable[[str], None] = lambda text: None
) -> Generator[JournalRow]:
    """The journal row of each frame, in order, its mask file in place.

    A frame that cannot be used becomes a row that says why. If the caller stops, what was begun is given up.

    Args:
        job: what the frames belong to.
        frames: what to do.
        loader: decodes; its number of workers says how far ahead.
        workers: frames that are worked on at a time.
        warn: told which frame is stuck.

    Raises:
        StorageError: a mask file cannot be written.
    """
    measurers = Measurers(workers if workers > 1 and len(frames) >= MANY_FRAMES else 0)
    # While some frames are measured elsewhere, as many others are looked at.
    at_hand = 2 * workers if measurers else workers
    work = _Work(job, measurers, threading.BoundedSemaphore(workers))
    pool = ThreadPoolExecutor(at_hand, thread_name_prefix="frame")
    waiting: deque[tuple[str, Future[JournalRow]]] = deque()
    begun: deque[ImageSource] = deque(maxlen=at_hand + workers + 1)
    sources = loader.ahead([frame.path for frame in frames])
    stopped = True
    try:
        with _Watchdog(warn) as watchdog:

            def oldest() -> JournalRow:
                key, future = waiting.popleft()
                watchdog.begin(key)
                return future.result()

            for frame, source in zip(frames, sources, strict=True):
                watchdog.begin(frame.key)
                if isinstance(source, ImageSource):
                    begun.append(source)
                waiting.append((frame.key, pool.submit(_row, work, frame, source)))
                if len(waiting) > at_hand:
                    yield oldest()
            while waiting:
                yield oldest()
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


@dataclass(frozen=True, slots=True)
class _Work:
    """What all frames share.

    Attributes:
        measurers: measure.
        nets: one at a time for each worker.
    """

    job: Job
    measurers: Measurers
    nets: threading.BoundedSemaphore


def _row(work: _Work, frame: Frame, source: ImageSource | UnreadableImageError) -> JournalRow:
    """Takes a frame through the stages."""
    if isinstance(source, UnreadableImageError):
        return _skipped(work.job, frame, str(source))
    with source:
        try:
            with work.nets:
                found = _found(work.job.stages, source)
            return _measured(work, frame, source, found)
        except (UnreadableImageError, DeviceMemoryError) as error:
            return _skipped(work.job, frame, str(error), source)
        except CrackmapError:
            raise
        except Exception as error:
            return _failed(work.job, frame, error, source)


def _found(stages: Stages, source: ImageSource) -> FoundMask:
    """What the nets find; on the CPU where the device has no room for a single window."""
    try:
        return find_mask(source, stages)
    except DeviceMemoryError:
        return replace(find_mask(source, stages.on_cpu()), flags=("cpu",))


def _measured(work: _Work, frame: Frame, source: ImageSource, found: FoundMask) -> JournalRow:
    job = work.job
    share = saturated_share(found.mask, job.stages.settings.measure)
    if share is not None:
        return _skipped(job, frame, f"{SATURATED}: {share:.0%} of it is taken for crack: it shows no road surface, "
                        "or weights or pixel size do not fit it", source)  # fmt: skip
    cracks = _cracks(work, frame, source, found)
    if file_identity(frame.path) != (source.identity.size_bytes, source.identity.mtime_ns):
        return _skipped(job, frame, f"{CHANGED}: its file was written to; run the same command again", source)
    start = time.perf_counter()
    name = mask_name(frame.key)
    path = job.out / MASKS_FOLDER / name
    write_frame_mask(path, found.mask, frame, job.survey)
    size, digest = path.stat().st_size, sha256_of(path)
    unsealed = [crack for crack in cracks if not crack.sealed]
    return JournalRow(
        frame.key, source.identity.size_bytes, source.identity.mtime_ns, source.identity.sha256,
        job.hashes[frame.key], "ok" if unsealed else "no_crack", "", found.mask.segmented_share, name, size, digest,
        {"decode": source.decode_s, **found.seconds, "write": time.perf_counter() - start}, found.flags,
        len(unsealed), sum(crack.length_px for crack in unsealed), cracks, looked=_looked(job.stages, source, found),
    )  # fmt: skip


def write_frame_mask(path: Path, mask: CrackMask, frame: Frame, survey: Survey) -> None:
    """Writes the mask of a frame where its lines lie; in pixels where nobody knows its place.

    Raises:
        StorageError: the file could not be written.
    """
    located = frame.key not in survey.unplaced_keys
    write_mask_cog(
        path, mask, frame=frame if located else replace(frame, ground=None),
        output=survey.output if located else PIXELS,
    )  # fmt: skip


def _looked(stages: Stages, source: ImageSource, found: FoundMask) -> str:
    """Where the segmenter was sent; empty for everywhere."""
    if stages.settings.segment_everything:
        return ""
    margin_px = stages.settings.segment.margin_px
    return packed_cells(cells_of_regions(found.regions, source.size_wh_px, margin_px=margin_px))


def _cracks(work: _Work, frame: Frame, source: ImageSource, found: FoundMask) -> tuple[Crack, ...]:
    """The cracks of a frame; closes its picture where it is not needed any more."""
    stages = work.job.stages
    sent_px = sum(window.size for _, _, window in found.mask.islands()) if work.measurers else 0
    if not 0 < sent_px <= MOST_SENT_PX:
        return measure_mask(source, found, stages, ground=frame.ground)
    start = time.perf_counter()
    parts = Cutouts.around(found.mask, source)
    source.close()
    cracks = work.measurers.measure(found.mask, ground=frame.ground, source=parts, settings=stages.settings.measure)
    cracks += sealed_cracks(found, stages, ground=frame.ground)
    found.seconds["measure"] = time.perf_counter() - start
    return cracks


def _skipped(job: Job, frame: Frame, reason: str, source: ImageSource | None = None) -> JournalRow:
    reason = reason.removeprefix(f"{frame.path.name}: ")
    if source is not None:
        size, mtime, digest = source.identity.size_bytes, source.identity.mtime_ns, source.identity.sha256
    else:
        (size, mtime), digest = file_identity(frame.path), ""
    return JournalRow(frame.key, size, mtime, digest, job.hashes[frame.key], "skipped", reason)


def _failed(job: Job, frame: Frame, error: Exception, source: ImageSource) -> JournalRow:
    """The row of a frame at which crackmap itself failed: one frame must not cost the survey, nor be passed over."""
    reason = f"internal error: {type(error).__name__}: {error}; please report it with the image"
    return replace(_skipped(job, frame, reason, source), status="failed")


class _Watchdog:
    """Names the frame at hand every time that STUCK_S have passed since it was begun."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn, self._key, self._since = warn, "the first image", time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def begin(self, key: str) -> None:
        """Says what is worked on now."""
        self._key, self._since = key, time.monotonic()

    def _watch(self) -> None:
        said = 0
        while not self._ended.wait(min(STUCK_S / 10, 5.0)):
            passed = int((time.monotonic() - self._since) / STUCK_S)
            if passed > said:
                self._warn(f"{self._key}: no progress for {passed * STUCK_S / 60:.0f} min; Ctrl-C stops the run, and "
                           "the same command goes on with it")  # fmt: skip
            said = passed

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
