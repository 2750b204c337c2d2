"""One process of a cluster that takes frames through the stages. It knows nothing of Ray, which calls it."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from crackmap.calibration.errors import CrackmapError, DeviceError, UnreadableImageError
from crackmap.pipeline.cluster.fingerprint import Fingerprint, fingerprint
from crackmap.pipeline.cluster.scratch import Scratch
from crackmap.pipeline.frame import Stages
from crackmap.pipeline.frame_rows import Bench, Task, frame_row
from crackmap.pipeline.journal import JournalRow
from crackmap.pipeline.loading import ImageSource, Loader, LoadLimits
from crackmap.pipeline.products.masks import MASKS_FOLDER
from crackmap.pipeline.products.publish import TEMPORARY_PREFIX
from crackmap.pipeline.records import OutputFrame
from crackmap.pipeline.storage.remote import RemoteImage, RemoteOut
from crackmap.stages.processors import limit_processors, processor_kind

TOKEN_NAME = f"{TEMPORARY_PREFIX}cluster"
"""In the output folder: a word by which a worker knows that it writes to the folder that is meant."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker starts with.

    Attributes:
        load: loads the nets.
        processors: how many it may compute with.
        at_hand: frames that are worked on at a time: one is decoded or measured while the nets look at another.
        umask: of the files it writes.
    """

    load: Callable[[], Stages]
    processors: int
    at_hand: int
    umask: int


@dataclass(frozen=True, slots=True)
class Introduction:
    """What a worker says of itself.

    Attributes:
        name: machine and process.
        fingerprint: of its code.
        weights, engine: of its nets, as in `Stages`.
        processor: what it computes with.
    """

    name: str
    fingerprint: Fingerprint
    weights: dict[str, str]
    engine: str
    processor: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where the frames of a job are and their results go, as every worker must see it.

    Attributes:
        out: the output folder, or the bucket that a folder of the driver stands for.
        token: content of TOKEN_NAME there.
        root: the survey folder; where it is in a bucket, each task says where its image is.
        output: the coordinate system of the products.
        limits: what an image may cost.
    """

    out: Path | RemoteOut
    token: str
    root: Path
    output: OutputFrame
    limits: LoadLimits


class Worker:
    """Holds the nets and does one task after the other, at most `Setup.at_hand` side by side.

    What goes wrong on purpose is returned, not raised: an error that crosses machines as an exception loses its kind.
    """

    def __init__(self, setup: Setup) -> None:
        """Cheap, so that it cannot fail: the nets are loaded when it is asked to introduce itself."""
        os.umask(setup.umask)
        limit_processors(setup.processors)
        self._setup, self._lock = setup, threading.Lock()
        self._stages: Stages | None = None
        self._name = f"{platform.node()} ({os.getpid()})"
        # Of this machine: what is large is not unpacked over the network.
        self._scratch = Scratch()
        self._bench: tuple[Place, Bench, Loader] | None = None

    def introduce(self) -> Introduction | CrackmapError:
        """Loads the nets."""
        try:
            self._stages = self._setup.load()
        except CrackmapError as error:
            return self._named(error)
        return Introduction(
            self._name, fingerprint(), dict(self._stages.weights), self._stages.engine, processor_kind()
        )

    def row(self, place: Place, task: Task) -> JournalRow | CrackmapError:
        """Takes a frame through the stages; its mask file is in place."""
        try:
            bench, loader = self._bench_of(place)
            if task.remote is None:
                _check_survey(task, place.root)
                row = frame_row(bench, task, loader.attempt(task.frame.path))
            else:
                row = _remote_row(bench, loader, task, task.remote, self._scratch.folder)
            if bench.bucket is not None and row.mask_name:
                (bench.out / MASKS_FOLDER / row.mask_name).unlink(missing_ok=True)
            return row.pack()
        except CrackmapError as error:
            return self._named(error)

    def _named(self, error: CrackmapError) -> CrackmapError:
        """The same error, which says on which machine it is so."""
        return type(error)(f"{self._name}: {error}")

    def leave(self) -> None:
        """Leaves nothing behind on its machine; what comes after that is an end without ceremony."""
        self._scratch.remove()

    def _bench_of(self, place: Place) -> tuple[Bench, Loader]:
        with self._lock:
            if self._bench is None or self._bench[0] != place:
                out = place.out
                if isinstance(out, Path):
                    _check_place(out, place.token)
                if self._stages is None:
                    raise DeviceError("a worker was asked for a frame before it had its nets; please report it")
                nets = threading.Semaphore(1)
                if isinstance(out, Path):
                    check = partial(_check_place, out, place.token)
                    bench = Bench(out, place.output, self._stages, nets, check=check)
                else:
                    bench = Bench(self._scratch.folder, place.output, self._stages, nets, bucket=out)
                loader = Loader(self._setup.at_hand, limits=place.limits, scratch=self._scratch.folder)
                self._bench = place, bench, loader
            return self._bench[1:]


def _remote_row(bench: Bench, loader: Loader, task: Task, image: RemoteImage, scratch: Path) -> JournalRow:
    """As `frame_row`, of an image in a bucket, which is here as long as it is worked on."""
    with ExitStack() as stack:
        found: ImageSource | UnreadableImageError
        try:
            path = stack.enter_context(image.fetched(scratch))
            task = replace(task, frame=replace(task.frame, file=str(path)))
            found = loader.attempt(path)
        except UnreadableImageError as error:
            found = error
        return frame_row(bench, task, found)


def _check_place(out: Path, token: str) -> None:
    try:
        found = (out / TOKEN_NAME).read_text(encoding="ascii")
    except OSError:
        found = ""
    if found != token:
        raise DeviceError(f"does not see the output folder {out}: keep it on storage that all machines of the cluster "
                          "share, under the same path")  # fmt: skip


def _check_survey(task: Task, root: Path) -> None:
    """A folder that is not there would make every frame an unreadable one; a single image that is gone is one."""
    if not task.frame.path.exists() and not root.is_dir():
        raise DeviceError(f"does not see the survey folder {root}: keep it on storage that all machines of the cluster "
                          "share, under the same path")  # fmt: skip
