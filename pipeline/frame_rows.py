"""One frame of a survey, from its picture to its row of the journal, wherever it is worked on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from crackmap.calibration.errors import CrackmapError, DeviceMemoryError, UnreadableImageError
from crackmap.pipeline.frame import FoundMask, Stages, find_mask, measure_mask, saturated_share, sealed_cracks
from crackmap.pipeline.identity import file_identity
from crackmap.pipeline.journal import JournalRow
from crackmap.pipeline.loading import ImageSource
from crackmap.pipeline.measurers import Measurers
from crackmap.pipeline.placing import PIXELS
from crackmap.pipeline.products.masks import MASKS_FOLDER, mask_name, write_mask_cog
from crackmap.pipeline.products.publish import sha256_of
from crackmap.pipeline.records import CHANGED, Frame, OutputFrame
from crackmap.pipeline.storage.remote import RemoteImage, RemoteOut
from crackmap.stages.measure.cutouts import Cutouts
from crackmap.stages.records import Crack, CrackMask
from crackmap.stages.regions import cells_of_regions, packed_cells

SATURATED = "saturated"
"""Begins the reason of a frame of which too much is taken for crack to measure any of it."""

MOST_SENT_PX = 60_000_000
"""Of a picture of which more is cracked the parts are not copied to another process, but measured here."""


@dataclass(frozen=True, slots=True)
class Task:
    """A frame that is to be done.

    Attributes:
        frame: the frame.
        frame_hash: of all that decides its numbers.
        located: whether it lies on the map; else its mask is written in pixels.
        remote: its image, if that lies in a bucket; for machines that do not have the placeholder.
    """

    frame: Frame
    frame_hash: str
    located: bool
    remote: RemoteImage | None = None


@dataclass(frozen=True, slots=True)
class Bench:
    """Where frames are worked on.

    Attributes:
        out: the output folder, whose lock the run holds.
        output: the coordinate system of the products.
        stages: loaded nets.
        nets: how many frames they look at side by side.
        measurers: measure.
        bucket: gets every mask, if `out` stands for a prefix there.
        check: called before a mask is written; raises DeviceError where the run that asked for it has ended.
    """

    out: Path
    output: OutputFrame
    stages: Stages
    nets: threading.Semaphore
    measurers: Measurers = field(default_factory=lambda: Measurers(0))
    bucket: RemoteOut | None = None
    check: Callable[[], None] = lambda: None


def frame_row(bench: Bench, task: Task, source: ImageSource | UnreadableImageError) -> JournalRow:
    """Takes a frame through the stages; its mask file is in place. One that cannot be used becomes a row that says why.

    Args:
        bench: where.
        task: the frame.
        source: its picture, which is closed at the end, or what is wrong with it.

    Raises:
        StorageError: the mask file cannot be written.
    """
    if isinstance(source, UnreadableImageError):
        return _skipped(task, str(source))
    with source:
        try:
            with bench.nets:
                found = _found(bench.stages, source)
            return _measured(bench, task, source, found)
        except (UnreadableImageError, DeviceMemoryError) as error:
            return _skipped(task, str(error), source)
        except CrackmapError:
            raise
        except Exception as error:
            reason = f"internal error: {type(error).__name__}: {error}; please report it with the image"
            return failed_row(task, reason, source)


def _found(stages: Stages, source: ImageSource) -> FoundMask:
    """What the nets find; on the CPU where the device has no room for a single window."""
    try:
        return find_mask(source, stages)
    except DeviceMemoryError:
        return replace(find_mask(source, stages.on_cpu()), flags=("cpu",))


def _measured(bench: Bench, task: Task, source: ImageSource, found: FoundMask) -> JournalRow:
    frame = task.frame
    share = saturated_share(found.mask, bench.stages.settings.measure)
    if share is not None:
        return _skipped(task, f"{SATURATED}: {share:.0%} of it is taken for crack: it shows no road surface, "
                        "or weights or pixel size do not fit it", source)  # fmt: skip
    cracks = _cracks(bench, frame, source, found)
    if file_identity(frame.file) != (source.identity.size_bytes, source.identity.mtime_ns):
        return _skipped(task, f"{CHANGED}: its file was written to; run the same command again", source)
    bench.check()
    start = time.perf_counter()
    name = mask_name(frame.key)
    path = bench.out / MASKS_FOLDER / name
    write_frame_mask(path, found.mask, frame, output=bench.output, located=task.located)
    size, digest = path.stat().st_size, sha256_of(path)
    if bench.bucket is not None:
        bench.bucket.put_mask(path)
    unsealed = [crack for crack in cracks if not crack.sealed]
    return JournalRow(
        frame.key, source.identity.size_bytes, source.identity.mtime_ns, source.identity.sha256,
        task.frame_hash, "ok" if unsealed else "no_crack", "", found.mask.segmented_share, name, size, digest,
        {"decode": source.decode_s, **found.seconds, "write": time.perf_counter() - start}, found.flags,
        len(unsealed), sum(crack.length_px for crack in unsealed), cracks, looked=_looked(bench.stages, source, found),
    )  # fmt: skip


def write_frame_mask(path: Path, mask: CrackMask, frame: Frame, *, output: OutputFrame, located: bool) -> None:
    """Writes the mask of a frame where its lines lie; in pixels where nobody knows its place.

    Raises:
        StorageError: the file could not be written.
    """
    write_mask_cog(
        path, mask, frame=frame if located else replace(frame, ground=None), output=output if located else PIXELS
    )


def _looked(stages: Stages, source: ImageSource, found: FoundMask) -> str:
    """Where the segmenter was sent; empty for everywhere."""
    if stages.settings.segment_everything:
        return ""
    margin_px = stages.settings.segment.margin_px
    return packed_cells(cells_of_regions(found.regions, source.size_wh_px, margin_px=margin_px))


def _cracks(bench: Bench, frame: Frame, source: ImageSource, found: FoundMask) -> tuple[Crack, ...]:
    """The cracks of a frame; closes its picture where it is not needed any more."""
    stages = bench.stages
    sent_px = sum(window.size for _, _, window in found.mask.islands()) if bench.measurers else 0
    if not 0 < sent_px <= MOST_SENT_PX:
        return measure_mask(source, found, stages, ground=frame.ground)
    start = time.perf_counter()
    parts = Cutouts.around(found.mask, source)
    source.close()
    cracks = bench.measurers.measure(found.mask, ground=frame.ground, source=parts, settings=stages.settings.measure)
    cracks += sealed_cracks(found, stages, ground=frame.ground)
    found.seconds["measure"] = time.perf_counter() - start
    return cracks


def _skipped(task: Task, reason: str, source: ImageSource | None = None) -> JournalRow:
    frame = task.frame
    reason = reason.removeprefix(f"{frame.path.name}: ")
    if source is not None:
        size, mtime, digest = source.identity.size_bytes, source.identity.mtime_ns, source.identity.sha256
    else:
        (size, mtime), digest = _identity_of_lost(frame.path), ""
    return JournalRow(frame.key, size, mtime, digest, task.frame_hash, "skipped", reason)


def _identity_of_lost(path: Path) -> tuple[int, int]:
    """Size and time of a file that could not be read; zeros where it is gone."""
    try:
        return file_identity(path)
    except OSError:
        return 0, 0


def failed_row(task: Task, reason: str, source: ImageSource | None = None) -> JournalRow:
    """The row of a frame at which crackmap itself failed: one frame must not cost the survey, nor be passed over."""
    return replace(_skipped(task, reason, source), status="failed")
