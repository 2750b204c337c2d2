"""The child process that decodes: answers requests on a socket until the other end closes.

Run as `python -m crackmap.pipeline.decoder_process DESCRIPTOR MEMORY_BYTES`. A request is one JSON object, an answer
one JSON object and, where it says so, the pixels: nothing that comes back can carry code.

It dies with its owner (the socket closes), leaves Ctrl-C to it, and may not use more memory than it was given.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from crackmap.calibration.errors import StorageError, UnreadableImageError
from crackmap.pipeline.decoding import Decoded, Raster, decode, read_header

READY = b"ready"
"""What the child says first."""


def main() -> None:
    """Serves until the owner is gone."""
    descriptor, memory_bytes = int(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ValueError, OSError):
        # Some systems know no such limit.
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    with Connection(descriptor) as connection, contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send_bytes(READY)
        serve(connection)


def serve(connection: Connection) -> None:
    """Answers requests one after the other; at most one raster is open at a time.

    Raises:
        EOFError: the other end is closed.
    """
    raster: Raster | None = None
    while True:
        request = json.loads(connection.recv_bytes())
        facts: dict[str, Any] = {}
        pixels = None
        try:
            if request["do"] == "read":
                if raster is None:
                    raise UnreadableImageError("no raster is open")
                pixels = raster.read(*request["window"]).tobytes()
            else:
                if raster is not None:
                    raster.close()
                    raster = None
                facts, pixels, raster = _opened(request)
        except StorageError as error:
            facts = {"storage": str(error)}
        except UnreadableImageError as error:
            facts = {"unreadable": str(error)}
        except MemoryError:
            facts = {"unreadable": "needs more memory than a picture may"}
        _answer(connection, {**facts, "number": request["number"]}, pixels)


def _opened(request: dict[str, Any]) -> tuple[dict[str, Any], bytes | None, Raster | None]:
    """Facts and pixels for a request of a header or a picture, and the raster where it is to be read by windows."""
    path = Path(os.fsdecode(request["path"].encode("utf-8", "surrogateescape")))
    if request["do"] == "header":
        return {"header": asdict(read_header(path))}, None, None
    folder = request["scratch_folder"]
    found = decode(path, limit_px=request["limit_px"], scratch_folder=Path(folder) if folder else None)
    return (*_described(found), found.raster)


def _described(found: Decoded) -> tuple[dict[str, Any], bytes | None]:
    facts = {
        "header": asdict(found.header),
        "identity": asdict(found.identity),
        "scratch": str(found.scratch) if found.scratch else None,
        "raster": found.raster is not None,
    }
    return facts, None if found.pixels is None else found.pixels.tobytes()


def _answer(connection: Connection, facts: dict[str, Any], pixels: bytes | None = None) -> None:
    connection.send_bytes(json.dumps({**facts, "bytes": None if pixels is None else len(pixels)}).encode())
    if pixels is not None:
        connection.send_bytes(pixels)


if __name__ == "__main__":
    main()
