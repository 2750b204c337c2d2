"""What is done again and again beside the work, until a `with` ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Self

from crackmap.pipeline.closing import Closing


class Repeating(Closing):
    """A thread that does something every so many seconds."""

    def __init__(self, every_s: float, do: Callable[[], None], name: str) -> None:
        """`do` is called for the first time when `every_s` have passed, and must not raise; `name` is the thread's."""
        self._every_s, self._do = every_s, do
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return super().__enter__()

    def close(self) -> None:
        """Ends it; what it is at is done to its end."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _repeat(self) -> None:
        while not self._ended.wait(self._every_s):
            self._do()
