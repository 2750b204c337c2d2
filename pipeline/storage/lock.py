"""One run at a time on an output in a bucket: an object that says who works there, and when it last said so."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import time
import uuid
from typing import Any, Self

from crackmap.calibration.errors import CrackmapError, OutputLockedError
from crackmap.pipeline.repeating import Repeating
from crackmap.pipeline.storage.bucket import HASTE, Store, open_store
from crackmap.pipeline.storage.urls import BucketUrl

NAME = ".lock"

RENEW_S = 60.0

STALE_S = 600.0
"""Who has not renewed his lock for so long has lost it."""

_held: set[str] = set()
"""Owners that live in this process."""


class BucketLock(Repeating):
    """Held from the beginning to the end of a `with`, and renewed by a thread.

    It is lost where it could not be renewed for STALE_S, or another run has taken it: then nothing more may be written.
    """

    def __init__(self, url: BucketUrl) -> None:
        super().__init__(RENEW_S, self._keep, "bucket lock")
        self._url, self._key = url, url.key(NAME)
        self._store: Store = open_store(url)
        self._owner, self._etag = uuid.uuid4().hex, ""
        self._renewed = 0.0
        self._lost = False
        self._renewing = threading.Lock()

    def check(self) -> None:
        """Ends a run whose lock is lost.

        Raises:
            OutputLockedError: it is.
        """
        if self._lost or time.monotonic() - self._renewed > STALE_S - RENEW_S:
            raise OutputLockedError(f"{self._url}: its lock could not be renewed, and another run may be writing "
                                    "there; run the same command again when the network is back")  # fmt: skip

    def __enter__(self) -> Self:
        etag = self._store.put_bytes(self._key, self._said(), absent=True) or self._taken_over()
        self._etag, self._renewed = etag, time.monotonic()
        _held.add(self._owner)
        return super().__enter__()

    def close(self) -> None:
        """Gives it back."""
        super().close()
        _held.discard(self._owner)
        # Where it cannot be removed it goes stale by itself; what was done is not lost for it.
        with contextlib.suppress(CrackmapError):
            store = open_store(self._url, patience=HASTE)
            found = store.read(self._key)
            if found is not None and _owner_of(found[1]) == self._owner:
                store.remove(self._key)

    def _said(self) -> bytes:
        facts = {"owner": self._owner, "host": platform.node(), "pid": os.getpid(), "renewed": round(time.time())}
        return json.dumps(facts, sort_keys=True).encode()

    def _taken_over(self) -> str:
        """The ETag of the lock, where nobody holds it any more.

        Raises:
            OutputLockedError: somebody does.
        """
        found = self._store.read(self._key)
        if found is None:
            etag = self._store.put_bytes(self._key, self._said(), absent=True)
        elif _owner_of(found[1]) == self._owner:
            # The server's answer to our first request was lost.
            return found[0].etag
        elif is_stale(found[1], found[2]):
            etag = self._store.put_bytes(self._key, self._said(), over=found[0].etag)
        else:
            etag = None
        if etag is None:
            raise OutputLockedError(
                f"{self._url}: another crackmap run is writing there{_described(found[1] if found else b'')}; wait for "
                f"it or choose another -o. If its machine is gone, the lock can be taken {STALE_S / 60:.0f} min after "
                "it was last renewed"
            )
        return etag

    def confirm(self) -> None:
        """Renews it at once, and ends a run whose lock is lost: before what must not be done twice.

        Raises:
            OutputLockedError: it is lost.
            InputError, StorageError: the server does not say.
        """
        self._renew(self._store)
        self.check()

    def _keep(self) -> None:
        # Where it fails, `check` says so when it has lasted too long.
        with contextlib.suppress(CrackmapError):
            if not self._lost:
                self._renew(open_store(self._url, patience=HASTE))

    def _renew(self, store: Store) -> None:
        with self._renewing:
            etag = store.put_bytes(self._key, self._said(), over=self._etag)
            if etag is None:
                found = store.read(self._key)
                if found is None or _owner_of(found[1]) != self._owner:
                    self._lost = True
                    return
                # The server's answer to an earlier request was lost.
                etag = found[0].etag
            self._etag, self._renewed = etag, time.monotonic()


def is_held(url: BucketUrl) -> bool:
    """Whether a run works on an output now."""
    found = open_store(url).read(url.key(NAME))
    return found is not None and not is_stale(found[1], found[2])


def is_stale(content: bytes, age_s: float) -> bool:
    """Whether nobody holds a lock any more: not renewed for too long, or its process on this machine has ended."""
    if age_s > STALE_S:
        return True
    said = _facts(content)
    if said.get("host") != platform.node() or not isinstance(pid := said.get("pid"), int) or pid <= 0:
        return False
    if pid == os.getpid():
        # A container that starts again has the number of the one before.
        return said.get("owner") not in _held
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _facts(content: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(content)
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _owner_of(content: bytes) -> str:
    return str(_facts(content).get("owner", ""))


def _described(content: bytes) -> str:
    said = _facts(content)
    host, pid = str(said.get("host", ""))[:60], said.get("pid")
    return f" (on {host!a}, process {pid})" if host and isinstance(pid, int) else ""
