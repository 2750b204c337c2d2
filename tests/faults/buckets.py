"""A real S3 server on this machine's own address, and a way to it that can be made to fail."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from faults.harness import NOT_COMPARED
from moto.server import ThreadedMotoServer

from crackmap.pipeline.journal import JOURNAL_NAME

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "wordless-secret", "AWS_REGION": "us-east-1"}


@contextmanager
def served() -> Iterator[str]:
    """The address of a server with one bucket, «roads»."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    try:
        client(address).create_bucket(Bucket="roads")
        yield address
    finally:
        server.stop()


def client(address: str) -> Any:
    """Of boto3, past all that is tested."""
    return boto3.client(
        "s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="reader",
        aws_secret_access_key="wordless-secret", config=Config(s3={"addressing_style": "path"}),
    )  # fmt: skip


def fill(address: str, folder: Path, prefix: str) -> None:
    """Puts all files below a folder under a prefix."""
    s3 = client(address)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            s3.put_object(Bucket="roads", Key=f"{prefix}/{path.relative_to(folder).as_posix()}", Body=path.read_bytes())


def objects(address: str, prefix: str) -> dict[str, bytes]:
    """Key below a prefix -> content, of all objects."""
    s3 = client(address)
    found: dict[str, bytes] = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket="roads", Prefix=f"{prefix}/"):
        for item in page.get("Contents", ()):
            key = item["Key"]
            found[key.removeprefix(f"{prefix}/")] = s3.get_object(Bucket="roads", Key=key)["Body"].read()
    return found


def tree(address: str, prefix: str) -> dict[str, str]:
    """As `harness.tree`, of the objects below a prefix."""
    there = objects(address, prefix)
    found = {name: hashlib.sha256(body).hexdigest() for name, body in there.items()
             if name.rpartition("/")[2] not in NOT_COMPARED}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, JOURNAL_NAME)
        path.write_bytes(there[JOURNAL_NAME])
        with closing(sqlite3.connect(path)) as journal:
            assert journal.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            columns = [row[1] for row in journal.execute("PRAGMA table_info(frames)") if row[1] != "seconds"]
            rows = journal.execute(f"SELECT {', '.join(columns)} FROM frames ORDER BY key").fetchall()
    return {**found, "journal": hashlib.sha256(repr(rows).encode()).hexdigest()}


Fault = Callable[[socket.socket, bytes], bool]
"""Gets the connection of the one who asks and the answer's bytes so far; True where it has dealt with it."""


class Proxy:
    """Passes HTTP on, one request a connection, and answers otherwise where `fault` says so.

    Attributes:
        fault: called with the number of a request (from 1) and its first line; what it returns is done to the answer:
            None (nothing), "reset" (in the middle of the body), "short" (the body ends early), "stall" (half of it,
            then nothing), "slow" (a byte now and then), or a status such as "503 SlowDown", which is answered instead.
        asked: first lines of all requests.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.removeprefix("http://").partition(":")
        self._server = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.fault: Callable[[int, str], str | None] = lambda number, line: None
        self.asked: list[str] = []
        self._count = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._ended.set()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, there: socket.socket) -> None:
        with there, suppress(OSError, ValueError):
            head, body = _message(there)
            line = head.split(b"\r\n", 1)[0].decode("latin-1")
            with self._lock:
                self._count += 1
                self.asked.append(line)
                number = self._count
            what = self.fault(number, line)
            if what is not None and what[0].isdigit():
                status, _, code = what.partition(" ")
                xml = b"" if line.startswith("HEAD") else f"<Error><Code>{code}</Code></Error>".encode()
                there.sendall(
                    f"HTTP/1.1 {status} X\r\nContent-Length: {len(xml)}\r\nConnection: close\r\n\r\n".encode() + xml
                )
                return
            with socket.create_connection(self._server) as server:
                lines = [
                    text for text in head.split(b"\r\n") if not text.lower().startswith((b"connection:", b"expect:"))
                ]
                server.sendall(b"\r\n".join([*lines, b"Connection: close", b"", b""]) + body)
                answer = b"".join(iter(lambda: server.recv(1 << 16), b""))
            self._answer(there, answer, what)

    def _answer(self, there: socket.socket, answer: bytes, what: str | None) -> None:
        if what is None:
            there.sendall(answer)
            return
        start = answer.index(b"\r\n\r\n") + 4
        half = answer[: start + (len(answer) - start) // 2]
        there.sendall(half)
        if what == "reset":
            there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        elif what == "stall":
            self._ended.wait(60)
        elif what == "slow":
            for byte in answer[len(half) :]:
                there.sendall(bytes([byte]))
                if self._ended.wait(0.2):
                    return


def _message(connection: socket.socket) -> tuple[bytes, bytes]:
    """Head and body of a request."""
    content = b""
    while b"\r\n\r\n" not in content:
        content += _more(connection)
    head, _, body = content.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
    if fields.get(b"expect", b"").strip() == b"100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    while len(body) < int(fields.get(b"content-length", b"0")):
        body += _more(connection)
    return head, body


def _more(connection: socket.socket) -> bytes:
    content = connection.recv(1 << 16)
    if not content:
        raise ValueError("closed")
    return content


def credentials(monkeypatch: Any, address: str, cache: Path) -> None:
    """The environment in which a bucket is reached, and nothing else of this machine is asked for rights."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": address, "CRACKMAP_CACHE": str(cache),
                        "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null",
                        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)


def until(holds: Callable[[], bool], limit_s: float = 20.0) -> None:
    """Waits until something holds."""
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)
