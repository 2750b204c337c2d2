"""A child process of `children`: works off requests on a socket until the other end closes.

Run as `python -m crackmap.pipeline.assembly.process DESCRIPTOR`. Requests and answers are pickled: both are of
crackmap.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any


def main() -> None:
    """Serves until the owner is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with (
        Connection(int(sys.argv[1])) as connection,
        contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError),
    ):
        serve(connection)


def serve(connection: Connection) -> None:
    """Answers (work, (shared,) or None for that of the last request, arguments) with (what the work returned,) or None.

    Raises:
        EOFError: the other end is closed.
    """
    shared: tuple[Any] | None = None
    while True:
        work, newly, arguments = connection.recv()
        shared = newly or shared
        try:
            answer = None if shared is None else (work(*shared, *arguments),)
        except Exception:
            # The owner tries again by itself, and sees what is wrong.
            answer = None
        connection.send(answer)


if __name__ == "__main__":
    main()
