"""Images through supervised child processes: whatever a file does to a decoder, the run goes on.

A child that takes too long is ended, one that dies is replaced, and the image that did it is named. Requests and
answers are in `decoder_process.py`, the rules of formats in `decoding.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from abc import abstractmethod
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from crackmap.calibration.errors import CrackmapError, StorageError, UnreadableImageError, require
from crackmap.pipeline.closing import Closing
from crackmap.pipeline.decoder_process import READY
from crackmap.pipeline.decoding import LIMIT_PX, FileIdentity, Georeference, ImageHeader, RgbArray
from crackmap.pipeline.storage.shadow import real_file

START_S = 120.0
"""A child that is not ready after this time does not start at all."""

PIXELS_PER_S = 1e7
"""A slow machine decodes so many."""

CRASHED = "decoder_crashed"
"""Begins the reason of an image that ended its decoder."""

CLOSED = "the image was closed before it was read to its end"

_ENVIRONMENT = {
    # No side files, no other drivers: a picture is what is in its file.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_SKIP": "VRT,DERIVED",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE",
    "GDAL_CACHEMAX": "64",
    "GDAL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True)
class LoadLimits:
    """What a picture may cost.

    Attributes:
        pixels: of a JPEG or PNG.
        seconds: for one request; large files get `seconds_per_mb` more for each 10^6 bytes, and pictures a second for
            each PIXELS_PER_S that they may have beyond LIMIT_PX.
        memory_bytes: address space of a child.
    """

    pixels: int = LIMIT_PX
    seconds: float = 30.0
    seconds_per_mb: float = 0.5
    memory_bytes: int = 4 << 30

    def __post_init__(self) -> None:
        require(self.pixels > 0, "pixels", "above 0", self.pixels)
        require(self.seconds > 0, "seconds", "above 0", self.seconds)


class ImageSource(Closing):
    """An image that is open for reading by windows; a context manager. Made by `Loader.open`.

    Attributes:
        header: size and georeference.
        identity: of the file it was read from.
        decode_s: what it took to open it, seconds.
    """

    def __init__(self, header: ImageHeader, identity: FileIdentity) -> None:
        self.header, self.identity, self.decode_s = header, identity, 0.0

    @property
    def size_wh_px(self) -> tuple[int, int]:
        """Width and height after EXIF rotation."""
        return self.header.size_wh_px

    @property
    def georeference(self) -> Georeference | None:
        """Of a TIFF in a projected CRS in metres, else None."""
        return self.header.georeference

    @abstractmethod
    def read(self, x0: int, y0: int, width: int, height: int) -> RgbArray:
        """The (height, width, 3) RGB uint8 window whose top-left pixel is (x0, y0); it lies inside the image.

        Raises:
            UnreadableImageError: the window cannot be decoded.
        """

    def read_all(self) -> RgbArray:
        """The whole (height, width, 3) RGB uint8 picture.

        Raises:
            UnreadableImageError: it cannot be decoded, or has more than LIMIT_PX pixels.
        """
        return self.read(0, 0, *self.size_wh_px)

    def close(self) -> None:
        """Gives back what it holds; it cannot be read any more."""


class _Whole(ImageSource):
    """A picture in memory."""

    def __init__(self, header: ImageHeader, identity: FileIdentity, pixels: RgbArray) -> None:
        super().__init__(header, identity)
        self._pixels: RgbArray | None = pixels

    def read(self, x0: int, y0: int, width: int, height: int) -> RgbArray:
        if self._pixels is None:
            raise UnreadableImageError(CLOSED)
        return self._pixels[y0 : y0 + height, x0 : x0 + width]

    def close(self) -> None:
        self._pixels = None


class _Unpacked(ImageSource):
    """A picture in a scratch file that has no name any more: it is gone with the process, however that ends."""

    def __init__(self, header: ImageHeader, identity: FileIdentity, scratch: Path) -> None:
        super().__init__(header, identity)
        self._descriptor = os.open(scratch, os.O_RDONLY)
        scratch.unlink()

    def read(self, x0: int, y0: int, width: int, height: int) -> RgbArray:
        if self._descriptor < 0:
            raise UnreadableImageError(CLOSED)
        result = np.empty((height, width, 3), np.uint8)
        row_bytes = 3 * self.size_wh_px[0]
        for row in range(height):
            start = (y0 + row) * row_bytes + 3 * x0
            result[row] = np.frombuffer(os.pread(self._descriptor, 3 * width, start), np.uint8).reshape(width, 3)
        return result

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class _Windows(ImageSource):
    """A large TIFF that a child holds open."""

    def __init__(self, header: ImageHeader, identity: FileIdentity, name: str, child: _Child, loader: Loader) -> None:
        super().__init__(header, identity)
        self._name, self._child, self._loader, self._closed = name, child, loader, False

    def read(self, x0: int, y0: int, width: int, height: int) -> RgbArray:
        request = {"do": "read", "window": [x0, y0, width, height]}
        _, pixels = self._child.ask(request, self._name, self._loader.limits.seconds)
        if pixels is None:
            raise UnreadableImageError(f"{self._name}: its decoder gave no pixels back")
        return pixels.reshape(height, width, 3)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loader.give_back(self._child)


class _Child:
    """One decoder process, started when it is first asked, and again after it has died."""

    def __init__(self, limits: LoadLimits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._asked = 0

    def ask(self, request: dict[str, Any], name: str, seconds: float) -> tuple[dict[str, Any], RgbArray | None]:
        """Its answer: facts, and pixels as a flat array where there are any.

        Raises:
            UnreadableImageError: it says so, takes longer than `seconds`, or dies of it.
            StorageError: there is no room to unpack a large picture, or the system starts no more processes.
        """
        connection = self._started()
        self._asked += 1
        try:
            connection.send_bytes(json.dumps({**request, "number": self._asked}).encode())
            if not connection.poll(seconds):
                self.stop()
                raise UnreadableImageError(f"{name}: {CRASHED}: took longer than {seconds:.0f} s and was stopped")
            facts = json.loads(connection.recv_bytes())
            if facts["number"] != self._asked:
                self.stop()
                raise UnreadableImageError(f"{name}: {CRASHED}: its decoder answered another request")
            pixels = None
            if facts["bytes"] is not None:
                pixels = np.empty(facts["bytes"], np.uint8)
                connection.recv_bytes_into(pixels.data)
        except (EOFError, OSError) as error:
            ended = self._ended()
            raise UnreadableImageError(f"{name}: {CRASHED}: the process that decoded it {ended}") from error
        if "storage" in facts:
            raise StorageError(facts["storage"])
        if "unreadable" in facts:
            raise UnreadableImageError(_named(facts["unreadable"], name))
        return facts, pixels

    def stop(self) -> None:
        """Ends it, whatever it does."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._connection = None

    def forget(self) -> None:
        """Lets go of it without ending it: another process owns it."""
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None

    def _started(self) -> Connection:
        if self._connection is None:
            try:
                self._connection = self._start()
            except OSError as error:
                raise StorageError(f"no process can be started to decode images ({error.strerror}); close other "
                                   "programs or raise the limits (ulimit -n, ulimit -u)") from error  # fmt: skip
        return self._connection

    def _start(self) -> Connection:
        ours, theirs = socket.socketpair()
        with theirs:
            arguments = [str(theirs.fileno()), str(self._limits.memory_bytes)]
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "crackmap.pipeline.decoder_process", *arguments],
                    pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL, env={**os.environ, **_ENVIRONMENT},
                )  # fmt: skip
            except OSError:
                ours.close()
                raise
        connection = Connection(ours.detach())
        try:
            ready = connection.poll(START_S) and connection.recv_bytes() == READY
        except (EOFError, OSError):
            ready = False
        if not ready:
            connection.close()
            raise CrackmapError(f"the process that decodes images does not start ({self._ended()}); `python -m "
                                "crackmap.pipeline.decoder_process 0 0` shows why: install crackmap again")  # fmt: skip
        return connection

    def _ended(self) -> str:
        code = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(timeout=5)
        self.stop()
        return "was lost" if code is None else f"ended with signal {-code}" if code < 0 else f"ended with code {code}"


class Loader(Closing):
    """Reads images through `workers` child processes; a context manager.

    Attributes:
        limits: what a picture may cost.
    """

    def __init__(self, workers: int = 1, *, limits: LoadLimits | None = None, scratch: Path | None = None) -> None:
        """A loader; no child is started before it is needed.

        Args:
            workers: images that are decoded at a time.
            limits: what a picture may cost.
            scratch: folder that large pictures are unpacked into; by default the one for temporary files.
        """
        require(workers >= 1, "workers", "1 or more", workers)
        self.limits, self._workers, self._scratch = limits or LoadLimits(), workers, scratch
        self._idle: list[_Child] = []
        self._children: set[_Child] = set()
        self._lock = threading.Lock()
        _loaders.add(self)

    def header(self, path: Path) -> ImageHeader:
        """Size and georeference of an image.

        Raises:
            UnreadableImageError: it has none that can be read.
        """
        facts, _, child = self._ask({"do": "header"}, path)
        self.give_back(child)
        return _header(facts["header"])

    def open(self, path: Path, *, limit_px: int | None = None) -> ImageSource:
        """An image, for reading by windows; close it, or use it in a `with`.

        Args:
            path: of the file.
            limit_px: greatest number of pixels of a JPEG or PNG; by default that of `limits`.

        Raises:
            UnreadableImageError: it is missing, damaged, truncated, too large, or of a kind that is not supported.
            InputError, StorageError: it stands for an object in a bucket that cannot be had.
        """
        request: dict[str, Any] = {"do": "open", "limit_px": limit_px or self.limits.pixels}
        request["scratch_folder"] = str(self._scratch) if self._scratch else None
        # Once it is open it needs no name any more.
        with real_file(path, self._scratch) as file:
            facts, pixels, child = self._ask(request, file)
        header, identity = _header(facts["header"]), FileIdentity(**facts["identity"])
        if facts["raster"]:
            return _Windows(header, identity, path.name, child, self)
        self.give_back(child)
        if pixels is None:
            return _Unpacked(header, identity, Path(facts["scratch"]))
        width, height = header.size_wh_px
        return _Whole(header, identity, pixels.reshape(height, width, 3))

    def ahead(self, paths: Iterable[Path]) -> Generator[ImageSource | UnreadableImageError]:
        """The images of `paths` in order, each open, or what is wrong with it; as many as workers are read ahead."""
        with ThreadPoolExecutor(self._workers, thread_name_prefix="decode") as pool:
            waiting: deque[Future[ImageSource | UnreadableImageError]] = deque()
            try:
                for path in paths:
                    waiting.append(pool.submit(self.attempt, path))
                    if len(waiting) > self._workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    if not future.cancel() and isinstance(left := future.result(), ImageSource):
                        left.close()

    def give_back(self, child: _Child) -> None:
        """Takes a child back that an image held."""
        with self._lock:
            if child in self._children and len(self._idle) < self._workers:
                self._idle.append(child)
                return
            self._children.discard(child)
        child.stop()

    def close(self) -> None:
        """Ends all children, those too that an image still holds."""
        with self._lock:
            children, self._idle, self._children = self._children, [], set()
        for child in children:
            child.stop()

    def forget_children(self) -> None:
        """Starts afresh in a fork of its process; the children stay with the other one."""
        self._lock = threading.Lock()
        for child in self._children:
            child.forget()
        self._children, self._idle = set(), []

    def attempt(self, path: Path) -> ImageSource | UnreadableImageError:
        """An open image that knows what it took to open it, or what is wrong with it."""
        start = time.perf_counter()
        try:
            source = self.open(path)
        except UnreadableImageError as error:
            return error
        source.decode_s = time.perf_counter() - start
        return source

    def _take(self) -> _Child:
        """An idle child; a new one where large images hold all of them, so that none waits for another."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
            child = _Child(self.limits)
            self._children.add(child)
            return child

    def _ask(self, request: dict[str, Any], path: Path) -> tuple[dict[str, Any], RgbArray | None, _Child]:
        child = self._take()
        # Who allows larger pictures allows them more time.
        more_px = max(request.get("limit_px", 0) - LIMIT_PX, 0)
        seconds = self.limits.seconds + self.limits.seconds_per_mb * _size_bytes(path) / 1e6 + more_px / PIXELS_PER_S
        try:
            facts, pixels = child.ask({**request, "path": str(path.absolute())}, path.name, seconds)
        except BaseException:
            self.give_back(child)
            raise
        return facts, pixels, child


_loaders: weakref.WeakSet[Loader] = weakref.WeakSet()


def _forget_children() -> None:
    for loader in list(_loaders):
        loader.forget_children()


# Two processes on one socket would read each other's answers: the workers of a torch DataLoader are such forks.
os.register_at_fork(after_in_child=_forget_children)


def _size_bytes(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def _header(facts: dict[str, Any]) -> ImageHeader:
    place = facts["georeference"]
    reference = None if place is None else Georeference(tuple(place["affine"]), place["crs_wkt"])
    return ImageHeader((facts["size_wh_px"][0], facts["size_wh_px"][1]), reference, facts["note"])


def _named(message: str, name: str) -> str:
    return message if message.startswith(name) else f"{name}: {message}"
