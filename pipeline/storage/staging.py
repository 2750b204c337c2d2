"""The output of a run that belongs in a bucket: worked on in a folder of this machine, brought there as it is finished.

Masks go when their frame is finished, snapshots of the journal now and then, all other products at the end;
_SUCCESS.json goes first and comes last, as in a folder. Whoever goes on elsewhere starts from the last snapshot.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from crackmap.calibration.errors import CrackmapError, InputError
from crackmap.calibration.files import cache_folder
from crackmap.pipeline.journal import JOURNAL_NAME, LOCK_NAME, open_journal
from crackmap.pipeline.products.publish import TEMPORARY_PREFIX, publish_bytes, storing
from crackmap.pipeline.products.write import SUCCESS_NAME
from crackmap.pipeline.status import RunStatus, run_status
from crackmap.pipeline.storage.bucket import HASTE, Item, Store, etag_of, open_store
from crackmap.pipeline.storage.lock import BucketLock, is_held
from crackmap.pipeline.storage.refusals import endpoint_url
from crackmap.pipeline.storage.remote import AT_A_TIME, RemoteOut, wanted_masks
from crackmap.pipeline.storage.shadow import FOLDER
from crackmap.pipeline.storage.urls import BucketUrl, Location, key_problem

SNAPSHOT_S = 60.0
"""From one snapshot of the journal to the next; longer where making one takes more than a twentieth of it."""

MEMORY_NAME = "bucket.json"
"""Beside the folder that is worked in: which bucket it belongs to, and which journal there is its own."""

RUN_NAME = "run.json"


_NO_RUN = f"holds no crackmap run (no {JOURNAL_NAME}); give the -o of `crackmap run`"


@dataclass(frozen=True, slots=True)
class WorkingCopy:
    """Where a run writes.

    Attributes:
        folder: the output folder, or the one that stands for it.
        bucket: gets masks, where the output belongs in a bucket.
        check: to be called now and then; raises OutputLockedError where the run must not go on.
    """

    folder: Path
    bucket: RemoteOut | None = None
    check: Callable[[], None] = lambda: None

    def checked(self, progress: Callable[[int, int, str], None]) -> Callable[[int, int, str], None]:
        """The same, which calls `check` first."""

        def told(done: int, total: int, key: str) -> None:
            self.check()
            progress(done, total, key)

        return told


@contextmanager
def working_copy(out: Location, *, work: Path | None = None, begun: bool = False) -> Iterator[WorkingCopy]:
    """The folder to work in for an output; at the end of the block everything is where it belongs.

    A folder is itself. For a prefix in a bucket its lock is held until the block ends; what an interrupted run left, on
    this machine or in the bucket, is there; if the block ends early, the journal is still put.

    Args:
        out: the output.
        work: folder to work in for a bucket; by default one in the cache.
        begun: whether there must be a run in a bucket already.

    Raises:
        OutputLockedError: another run works on it.
        InputError, StorageError: the bucket cannot be read or written, or the folder is that of another output.
    """
    if not isinstance(out, BucketUrl):
        if work is not None:
            raise InputError(f"--work {work}: is for an output in a bucket; {out} is worked on where it is")
        yield WorkingCopy(out)
        return
    with BucketLock(out) as lock:
        staging = _Staging(out, work or _default_work(out))
        staging.begin()
        if begun and not (staging.folder / JOURNAL_NAME).exists():
            raise InputError(f"{out}: {_NO_RUN}")
        marked = False

        def check() -> None:
            nonlocal marked
            lock.check()
            if not marked:
                marked = True
                staging.mark_unfinished()

        try:
            with staging.snapshots(lock):
                yield WorkingCopy(staging.folder, RemoteOut(out), check)
        except BaseException:
            with contextlib.suppress(CrackmapError):
                lock.check()
                staging.put_journal(open_store(out, patience=HASTE))
            raise
        lock.confirm()
        staging.finish()


def bucket_status(url: BucketUrl) -> RunStatus:
    """How far a run in a bucket is, by its last snapshot.

    Raises:
        InputError: there is none, or it cannot be read.
        StorageError: the bucket does not answer.
    """
    store = open_store(url)
    journal = store.look(url.key(JOURNAL_NAME))
    running = is_held(url)
    if journal is None:
        raise InputError(f"{url}: {'a run has just begun there; ask again in a minute' if running else _NO_RUN}")
    with TemporaryDirectory(prefix="crackmap-") as folder:
        store.fetch(journal, Path(folder, JOURNAL_NAME))
        if store.look(url.key(SUCCESS_NAME)) is not None:
            Path(folder, SUCCESS_NAME).touch()
        return replace(run_status(Path(folder)), running=running)


def _default_work(url: BucketUrl) -> Path:
    said = json.dumps([endpoint_url(), str(url)])
    digest = hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return cache_folder().absolute() / FOLDER / f"out-{digest}"


class _Staging:
    """The folder of this machine that stands for an output in a bucket. Whoever uses it holds the bucket's lock."""

    def __init__(self, url: BucketUrl, work: Path) -> None:
        self._url, self._work, self._store = url, work, open_store(url)
        self.folder = work / url.name
        self._putting = threading.Lock()

    def begin(self) -> None:
        """Brings the folder to where the bucket is, if another machine went on there; else it stays as it is."""
        mine, there = self._remembered(), self._store.look(self._url.key(JOURNAL_NAME))
        if not (self._work / MEMORY_NAME).exists():
            self._remember("")
        if (there.etag if there else "") != mine:
            with storing(self.folder):
                shutil.rmtree(self.folder, ignore_errors=not self.folder.exists())
        journal = self.folder / JOURNAL_NAME
        if there is not None and not journal.exists():
            with storing(journal):
                self.folder.mkdir(parents=True, exist_ok=True)
                new = self.folder / f"{TEMPORARY_PREFIX}journal"
            self._store.fetch(there, new)
            new.replace(journal)
        self._remember(there.etag if there else "")
        if journal.exists():
            self._fetch_masks()

    def mark_unfinished(self) -> None:
        """Takes _SUCCESS.json away: from now on the objects are behind the run."""
        self._store.remove(self._url.key(SUCCESS_NAME))

    @contextmanager
    def snapshots(self, lock: BucketLock) -> Iterator[None]:
        """Puts the journal now and then, until the block ends."""
        ended = threading.Event()

        def work() -> None:
            pause = SNAPSHOT_S
            while not ended.wait(pause):
                start = time.monotonic()
                # The next one makes up for one that fails.
                with contextlib.suppress(CrackmapError):
                    lock.check()
                    self.put_journal(open_store(self._url, patience=HASTE))
                pause = max(SNAPSHOT_S, 20 * (time.monotonic() - start))

        thread = threading.Thread(target=work, name="snapshots", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def put_journal(self, store: Store) -> None:
        """Puts the journal as it is now, if it is another one than the bucket's.

        Raises:
            InputError, StorageError: it could not be read, or not be put.
        """
        journal = self.folder / JOURNAL_NAME
        with self._putting:
            if not journal.exists():
                return
            copy = self._work / "snapshot.sqlite"
            with storing(copy):
                copy.unlink(missing_ok=True)
                uri = f"{journal.resolve().as_uri()}?mode=ro"
                with (
                    closing(sqlite3.connect(uri, uri=True, timeout=60.0)) as source,
                    closing(sqlite3.connect(copy)) as new,
                ):
                    source.backup(new)
                    # As one file: what it is made from has its last rows in another.
                    new.execute("PRAGMA journal_mode=DELETE")
                if etag_of(copy) != self._remembered():
                    self._remember(store.put(copy, self._url.key(JOURNAL_NAME)).etag)
                copy.unlink()

    def finish(self) -> None:
        """Puts every product that is another one than the bucket's, and removes those that are no more.

        Raises:
            InputError, StorageError: one could not be put.
        """
        if not (self.folder / SUCCESS_NAME).exists():
            self.put_journal(self._store)
            return
        self.mark_unfinished()
        prefix = self._url.key("")
        there = {item.key.removeprefix(prefix): item for item in self._store.list(prefix)}
        files = _products(self.folder)
        self._remove_former(files, there)
        last = {RUN_NAME, SUCCESS_NAME}
        with ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="put") as pool:
            try:
                for _ in pool.map(lambda name: self._put(name, there.get(name)), sorted(files - last)):
                    pass
            finally:
                pool.shutdown(cancel_futures=True)
        self._put(RUN_NAME, None)
        self.put_journal(self._store)
        self._put(SUCCESS_NAME, None)

    def _put(self, name: str, there: Item | None) -> None:
        path = self.folder / name
        with storing(path):
            same = there is not None and there.size_bytes == path.stat().st_size and there.etag == etag_of(path)
            if not same:
                self._store.put(path, self._url.key(name))

    def _remove_former(self, files: set[str], there: dict[str, Item]) -> None:
        """Removes what the bucket's run.json lists and this run has not: nothing else that lies there is ours."""
        if RUN_NAME not in there:
            return
        found = self._store.read(self._url.key(RUN_NAME))
        try:
            listed = {str(item["path"]) for item in json.loads(found[1])["products"]} if found else set()
        except (ValueError, LookupError, TypeError):
            return
        for name in sorted(listed - files):
            if name in there and not key_problem(name):
                self._store.remove(self._url.key(name))
        # What stands for older products must not outlive them.
        self._store.remove(self._url.key(RUN_NAME))

    def _fetch_masks(self) -> None:
        with open_journal(self.folder) as journal:
            # One that cannot be had is missing: its frame is done again.
            RemoteOut(self._url).fetch_masks(wanted_masks(journal.rows()), self.folder)

    def _remembered(self) -> str:
        """ETag of the journal in the bucket that this folder is at, or ahead of; empty for none.

        Raises:
            InputError: the folder belongs to another output.
        """
        path = self._work / MEMORY_NAME
        try:
            said = json.loads(path.read_text("utf-8"))
            mine = said["url"] == str(self._url) and said["server"] == endpoint_url()
            etag = str(said["journal"])
        except FileNotFoundError:
            if self._work.is_dir() and any(self._work.iterdir()):
                raise InputError(f"{self._work}: holds other files; give --work a folder that is empty, or was used "
                                 f"for {self._url} before") from None  # fmt: skip
            return ""
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise InputError(f"{path}: cannot be read ({error}); remove {self._work}") from error
        if not mine:
            raise InputError(f"{self._work}: was used for another output; give --work another folder")
        return etag

    def _remember(self, etag: str) -> None:
        facts = {"url": str(self._url), "server": endpoint_url(), "journal": etag}
        publish_bytes(self._work / MEMORY_NAME, json.dumps(facts, sort_keys=True).encode())


def _products(folder: Path) -> set[str]:
    """Paths below an output folder of all that belongs in the bucket, the journal aside."""
    own = {LOCK_NAME, JOURNAL_NAME, f"{JOURNAL_NAME}-wal", f"{JOURNAL_NAME}-shm", f"{JOURNAL_NAME}-journal"}
    found = set()
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        hidden = any(part.startswith(TEMPORARY_PREFIX) for part in name.parts)
        if path.is_file() and not hidden and str(name) not in own:
            found.add(PurePosixPath(name).as_posix())
    return found
