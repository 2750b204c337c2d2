"""The child process that measures: answers requests on a socket until the other end closes.

Run as `python -m crackmap.pipeline.measure_process DESCRIPTOR`. Requests and answers are pickled: both are of crackmap.
"""

from __future__ import annotations

from multiprocessing.connection import Connection

import cv2

from crackmap.pipeline.serving import serve_owner
from crackmap.stages.measure.measure import measure


def serve(connection: Connection) -> None:
    """Answers (mask, ground, picture, settings) with the cracks, or with None where that fails, one after the other.

    Raises:
        EOFError: the other end is closed.
    """
    while True:
        mask, ground, source, settings = connection.recv()
        try:
            cracks = measure(mask, ground=ground, source=source, settings=settings)
        except Exception:
            # The owner tries again by itself, and sees what is wrong.
            cracks = None
        connection.send(cracks)


if __name__ == "__main__":
    # As many of these processes run as there are processors.
    cv2.setNumThreads(1)
    serve_owner(serve)
