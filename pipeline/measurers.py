"""Measuring in child processes: it is Python, of which one process computes only one thing at a time.

What a child cannot do, or dies of, is measured here instead, so that nothing depends on them but time.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import subprocess
import sys
import threading
from multiprocessing.connection import Connection

from crackmap.calibration.errors import CrackmapError
from crackmap.calibration.plane import GroundPlane
from crackmap.pipeline.closing import Closing
from crackmap.stages.measure.cutouts import Cutouts
from crackmap.stages.measure.measure import measure
from crackmap.stages.measure.settings import MeasureSettings
from crackmap.stages.records import Crack, CrackMask

_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class Measurers(Closing):
    """Measures through `count` child processes; a context manager. Safe to use from several threads."""

    def __init__(self, count: int) -> None:
        """Starts the children; with none, everything is measured in the thread that asks."""
        self._closed = threading.Event()
        self._children = [_Child() for _ in range(count)]
        self._idle: queue.LifoQueue[_Child] = queue.LifoQueue()
        for child in self._children:
            self._idle.put(child)

    def __bool__(self) -> bool:
        return bool(self._children)

    def measure(
        self, mask: CrackMask, *, ground: GroundPlane | None, source: Cutouts, settings: MeasureSettings
    ) -> tuple[Crack, ...]:
        """As `crackmap.stages.measure.measure`.

        Raises:
            CrackmapError: this was closed meanwhile.
        """
        if self._children:
            child = self._idle.get()
            try:
                found = None if self._closed.is_set() else child.ask((mask, ground, source, settings))
            finally:
                self._idle.put(child)
            if found is not None:
                return found
            if self._closed.is_set():
                raise CrackmapError("the run was stopped; the same command goes on with it")
        return measure(mask, ground=ground, source=source, settings=settings)

    def close(self) -> None:
        """Ends all children."""
        self._closed.set()
        for child in self._children:
            child.stop()


class _Child:
    """One process; once it has failed it is not asked any more."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        ours, theirs = socket.socketpair()
        with theirs, contextlib.suppress(OSError):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "crackmap.pipeline.measure_process", str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, env={**os.environ, **_ENVIRONMENT},
            )  # fmt: skip
        self._connection: Connection | None = Connection(ours.detach())

    def ask(self, request: tuple[object, ...]) -> tuple[Crack, ...] | None:
        """The cracks; None where it could not say."""
        connection = self._connection
        if connection is None:
            return None
        try:
            connection.send(request)
            found: tuple[Crack, ...] | None = connection.recv()
        except (EOFError, OSError):
            self._connection = None
            return None
        return found

    def stop(self) -> None:
        """Ends it, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
