"""What child processes have in common: they answer requests on a socket until the other end closes."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection


def serve_owner(serve: Callable[[Connection], None]) -> None:
    """Serves the socket whose descriptor is the argument of the command line.

    An interrupt is for the owner, who ends this process by closing its end.

    Args:
        serve: answers requests; it ends by EOFError where the other end is closed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with (
        Connection(int(sys.argv[1])) as connection,
        contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError),
    ):
        serve(connection)
