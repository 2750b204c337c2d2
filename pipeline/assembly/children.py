"""Work in child processes, for what is Python and would wait for itself in threads.

The work is a function of a module and its arguments are sent to it. What a child cannot do, or dies of, is done here
instead, so that nothing depends on the children but time. They are started anew, not forked: a fork of a process with
the threads of PyTorch or OpenVINO may stop for ever. Their environment is that of the program: with another number of
threads BLAS may add up a long line in another order.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from crackmap.calibration.errors import CrackmapError
from crackmap.pipeline.closing import Closing

AHEAD = 1
"""Answers that may wait beside those at hand: more would fill the memory where they are written more slowly."""

Answer = TypeVar("Answer")


class Children(Closing):
    """Some processes that wait for work; a context manager."""

    def __init__(self, count: int) -> None:
        """Starts them; with none, all work is done by who asks for it."""
        self._children = [_Child() for _ in range(count)]
        self._idle: queue.LifoQueue[_Child] = queue.LifoQueue()
        for child in self._children:
            self._idle.put(child)
        self._closed = threading.Event()
        self._threads = ThreadPoolExecutor(max(count, 1), thread_name_prefix="assembly")

    def __len__(self) -> int:
        return len(self._children)

    def map(
        self, work: Callable[..., Answer], shared: object, requests: Iterable[tuple[object, ...]]
    ) -> Iterator[Answer]:
        """Yields `work(shared, *request)` of each request, in their order; few requests are taken ahead.

        Args:
            work: a function of a module, which depends on its arguments alone.
            shared: sent once to each child.
            requests: the other arguments.
        """
        if not self._children:
            for request in requests:
                yield work(shared, *request)
            return
        waiting: deque[Future[Answer]] = deque()
        try:
            for request in requests:
                waiting.append(self._threads.submit(self._do, work, shared, request))
                if len(waiting) >= len(self._children) + AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def _do(self, work: Callable[..., Answer], shared: object, request: tuple[object, ...]) -> Answer:
        child = self._idle.get()
        try:
            answer = child.ask(work, shared, request)
        finally:
            self._idle.put(child)
        if answer is None and self._closed.is_set():
            raise CrackmapError("the products were not finished; the same command goes on with them")
        return answer[0] if answer is not None else work(shared, *request)

    def close(self) -> None:
        """Ends all of them; what they were at is not done here."""
        self._closed.set()
        for child in self._children:
            child.stop()
        self._threads.shutdown(cancel_futures=True)


class _Child:
    """One process; once it has failed it is not asked any more."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        # Not what anybody could have told it, None included.
        self._told: object = self
        ours, theirs = socket.socketpair()
        with theirs, contextlib.suppress(OSError):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "crackmap.pipeline.assembly.process", str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
        self._connection: Connection | None = Connection(ours.detach())

    def ask(self, work: Callable[..., Any], shared: object, request: tuple[object, ...]) -> tuple[Any] | None:
        """What the work returns; None where it could not be done."""
        connection = self._connection
        if connection is None:
            return None
        try:
            connection.send((work, None if self._told is shared else (shared,), request))
            self._told = shared
            answer: tuple[Any] | None = connection.recv()
        except (EOFError, OSError):
            self._connection = None
            return None
        return answer

    def stop(self) -> None:
        """Ends it, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
