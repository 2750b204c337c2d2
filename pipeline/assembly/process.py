"""A child process of `children`: works off requests on a socket until the other end closes.

Run as `python -m crackmap.pipeline.assembly.process DESCRIPTOR`. Requests and answers are pickled: both are of
crackmap.
"""

from __future__ import annotations

from multiprocessing.connection import Connection
from typing import Any

from crackmap.pipeline.collecting import no_collection
from crackmap.pipeline.serving import serve_owner


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
            # Most of what a recording is made of is kept until it is done.
            with no_collection():
                answer = None if shared is None else (work(*shared, *arguments),)
        except Exception:
            # The owner tries again by itself, and sees what is wrong.
            answer = None
        connection.send(answer)


if __name__ == "__main__":
    serve_owner(serve)
