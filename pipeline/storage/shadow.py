"""A survey in a bucket as a folder of its names.

Every object has a placeholder in a folder of the cache: a file of its name, size and time without content, which takes
no room. What is read of headers is filled in, files that the survey's description names are fetched whole. Listing,
headers and the identity of files then work as for any folder; whoever wants pixels gets them by `real_file`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from crackmap.calibration.errors import InputError, StorageError, UnreadableImageError
from crackmap.calibration.files import cache_folder
from crackmap.pipeline.records import CHANGED
from crackmap.pipeline.storage.bucket import Item, Store, open_store
from crackmap.pipeline.storage.heads import head_pieces
from crackmap.pipeline.storage.refusals import ChangedObjectError, endpoint_url
from crackmap.pipeline.storage.urls import BucketUrl, key_problem

FOLDER = "buckets"
"""Of the cache."""

HEADS_AT_A_TIME = 16

LOCK_S = 900.0
"""Another process that lists the same survey is waited for so long."""

MOST_NAMED_BYTES = 4 << 30
"""A track, calibration or route is smaller."""

HOLE, HEAD, WHOLE = 0, 1, 2
"""What a placeholder holds of its object."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    name TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, etag TEXT NOT NULL,
    holds INTEGER NOT NULL) WITHOUT ROWID;
"""

_SIDE_FILES = (".shp", ".dbf", ".shx", ".prj", ".cpg")
"""Of a Shapefile."""


@dataclass(frozen=True, slots=True)
class Shadow:
    """The placeholders of one survey.

    Attributes:
        url: of the prefix, which stands for the survey folder.
        base: its folder in the cache.
        single: the name of the one image it was made for; empty for a whole survey.
    """

    url: BucketUrl
    base: Path
    single: str = ""

    @property
    def root(self) -> Path:
        """The folder that stands for the survey folder, called as the prefix is."""
        return self.base / "files" / self.url.name

    @property
    def source(self) -> Path:
        """The folder, or the one image."""
        return self.root / self.single if self.single else self.root

    def item(self, name: str) -> Item | None:
        """An object as it was listed, by its path below the survey folder."""
        with closing(_index(self.base)) as index:
            row = index.execute("SELECT size, mtime_ns, etag FROM objects WHERE name = ?", (name,)).fetchone()
        return None if row is None else Item(self.url.key(name), *row)


def shadow_of(url: BucketUrl, *, single: bool = False) -> Shadow:
    """Where the placeholders of a survey are, or would be; nothing is asked of the server."""
    folder, name = (url.parent, url.name) if single else (url, "")
    said = json.dumps([endpoint_url(), str(folder), name])
    digest = hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return Shadow(folder, _cache() / f"survey-{digest}", name)


def listed(url: BucketUrl) -> Shadow:
    """The placeholders of a survey, as the bucket is now: a folder of images, or one image.

    Raises:
        InputError: no such bucket or prefix, no right to list it, or a key that cannot be the name of a file.
        StorageError: the server does not answer, or the cache cannot be written.
    """
    store = open_store(url)
    one = store.look(url.prefix) if url.prefix else None
    shadow = shadow_of(url, single=one is not None)
    with _locked(shadow.base):
        _store_origin(shadow)
        _refresh(shadow, _files(shadow, store))
    fetch_named(shadow, ("survey.toml",))
    return shadow


def fetch_named(shadow: Shadow, names: Iterable[str]) -> None:
    """Fetches files that a survey's description names, as a whole, where they are there and not fetched yet.

    Raises:
        InputError, StorageError: one cannot be had.
    """
    with _locked(shadow.base), closing(_index(shadow.base)) as index:
        store = open_store(shadow.url)
        for name in dict.fromkeys(_with_side_files(names)):
            chosen = "SELECT size, mtime_ns, etag FROM objects WHERE name = ? AND holds < ?"
            row = index.execute(chosen, (name, WHOLE)).fetchone()
            if row is None:
                continue
            if row[0] > MOST_NAMED_BYTES:
                raise InputError(f"{shadow.url}/{name}: {row[0]} bytes are too many for a file that survey.toml names")
            _fetched(store, Item(shadow.url.key(name), *row), shadow.root / name)
            with index:
                index.execute("UPDATE objects SET holds = ? WHERE name = ?", (WHOLE, name))


def fetch_heads(paths: Iterable[Path]) -> None:
    """Fills in what headers are read from, where files are placeholders and it is not there yet; several at a time.

    Raises:
        InputError, StorageError: it cannot be had.
    """
    by_base: dict[Path, list[str]] = {}
    for path in paths:
        base = _base_of(path)
        if base is None:
            # The files of a survey are placeholders all, or none.
            return
        by_base.setdefault(base, []).append(_name_of(path, base))
    for base, names in by_base.items():
        shadow = _shadow_at(base)
        with _locked(base), closing(_index(base)) as index:
            empty = {row[0] for row in index.execute("SELECT name FROM objects WHERE holds = ?", (HOLE,))}
            _fill(shadow, [name for name in names if name in empty], index)


def is_placeholder(path: Path) -> bool:
    """Whether a file stands for an object in a bucket."""
    return _base_of(path) is not None


def item_of(path: Path) -> tuple[BucketUrl, Item]:
    """The object that a placeholder stands for, as it was listed.

    Raises:
        UnreadableImageError: there is none.
    """
    base = _base_of(path)
    shadow = None if base is None else _shadow_at(base)
    item = None if base is None or shadow is None else shadow.item(_name_of(path, base))
    if shadow is None or item is None:
        raise UnreadableImageError(f"{path.name}: stands for no object of a bucket")
    return shadow.url, item


@contextmanager
def real_file(path: Path, scratch: Path | None = None) -> Iterator[Path]:
    """The file itself; where it is a placeholder, the object, fetched into a folder of its own that is removed again.

    It has the name, size and time of the placeholder.

    Args:
        path: of a file.
        scratch: folder to fetch to; by default the one for temporary files.

    Raises:
        UnreadableImageError: the object is another one than was listed, or gone.
        InputError, StorageError: it cannot be had, or not be written.
    """
    if not is_placeholder(path):
        yield path
        return
    url, item = item_of(path)
    with fetched(url, item, path.name, scratch) as file:
        yield file


@contextmanager
def fetched(url: BucketUrl, item: Item, name: str, scratch: Path | None) -> Iterator[Path]:
    """An object as a file of a name, in a folder of its own that is removed again; as `real_file`."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=".writing-fetched-", dir=scratch))
    except OSError as error:
        raise StorageError(f"{scratch or tempfile.gettempdir()}: cannot be written ({error.strerror})") from error
    try:
        file = folder / name
        try:
            open_store(url).fetch(item, file)
        except ChangedObjectError as error:
            raise UnreadableImageError(f"{CHANGED}: its object was replaced or removed after it was listed; run the "
                                       "same command again") from error  # fmt: skip
        os.utime(file, ns=(item.mtime_ns, item.mtime_ns))
        yield file
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _cache() -> Path:
    return cache_folder().absolute() / FOLDER


def _base_of(path: Path) -> Path | None:
    """The shadow's folder in the cache that a path lies in."""
    cache = f"{_cache()}{os.sep}"
    within = os.fspath(path).removeprefix(cache)
    if not path.is_absolute() or within == os.fspath(path) or not within.startswith("survey-"):
        return None
    return Path(cache, within.split(os.sep, 1)[0])


def _name_of(path: Path, base: Path) -> str:
    """Path below the survey folder."""
    return PurePosixPath(*path.relative_to(base / "files").parts[1:]).as_posix()


def _store_origin(shadow: Shadow) -> None:
    facts = {"bucket": shadow.url.bucket, "prefix": shadow.url.prefix, "single": shadow.single}
    (shadow.base / "origin.json").write_text(json.dumps(facts), encoding="utf-8")


def _shadow_at(base: Path) -> Shadow:
    try:
        facts = json.loads((base / "origin.json").read_text("utf-8"))
        return Shadow(BucketUrl(facts["bucket"], facts["prefix"]), base, facts["single"])
    except (OSError, ValueError, LookupError) as error:
        raise StorageError(f"{base}: this part of the cache is damaged ({error}); remove it") from error


@contextmanager
def _locked(base: Path) -> Iterator[None]:
    """One process at a time fills a shadow."""
    try:
        base.mkdir(parents=True, exist_ok=True)
        lock = (base / "lock").open("w")
    except OSError as error:
        raise StorageError(f"{base}: cannot be written ({error.strerror}); set CRACKMAP_CACHE to a folder that can") \
            from error  # fmt: skip
    with lock:
        end = time.monotonic() + LOCK_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > end:
                    raise StorageError(f"{base}: another crackmap has been listing this survey for {LOCK_S / 60:.0f} "
                                       "min; end it first") from error  # fmt: skip
                time.sleep(0.1)
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"{base}: the cache cannot be written or read ({error}); make room there, or set "
                               "CRACKMAP_CACHE to another folder") from error  # fmt: skip


def _index(base: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(base / "index.sqlite", timeout=60.0)
    connection.executescript(_SCHEMA)
    return connection


def _files(shadow: Shadow, store: Store) -> Iterator[tuple[str, Item]]:
    """Name below the survey folder and object, of all that a listing of a folder would see.

    Raises:
        InputError: a key cannot be the name of a file, or there is none.
    """
    prefix = f"{shadow.url.prefix}/" if shadow.url.prefix else ""
    count = 0
    for item in store.list(prefix, deep=not shadow.single):
        name = item.key.removeprefix(prefix)
        count += 1
        # An empty object «folder/» is how consoles draw folders.
        if not name or name.endswith("/"):
            continue
        if problem := key_problem(name):
            raise InputError(f"s3://{shadow.url.bucket}/{item.key!r}: this key cannot be the name of a file "
                             f"({problem}); rename the object")  # fmt: skip
        if any(part.startswith(".") for part in name.split("/")):
            continue
        yield name, item
    if not count:
        raise InputError(f"{shadow.url}: no object there; check the prefix (large and small letters count)")


def _refresh(shadow: Shadow, files: Iterable[tuple[str, Item]]) -> None:
    """Makes placeholders for what is new or has changed, and removes those of what is gone."""
    with closing(_index(shadow.base)) as index:
        known = {row[0]: row[1:] for row in index.execute("SELECT name, size, mtime_ns, etag FROM objects")}
        fresh = [
            (name, item)
            for name, item in files
            if known.pop(name, None) != (item.size_bytes, item.mtime_ns, item.etag)
            or not _in_place(shadow.root / name, item)
        ]
        # Known before it lies there: a file that lies there and is not in the index could not be fetched.
        with index:
            rows = ((name, item.size_bytes, item.mtime_ns, item.etag, HOLE) for name, item in fresh)
            index.executemany("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)", rows)
        for name in known:
            (shadow.root / name).unlink(missing_ok=True)
        for name, item in fresh:
            _make_placeholder(shadow.root / name, item, shadow)
        with index:
            index.executemany("DELETE FROM objects WHERE name = ?", ((name,) for name in known))
    shadow.root.mkdir(parents=True, exist_ok=True)


def _in_place(path: Path, item: Item) -> bool:
    try:
        stat = path.stat()
    except OSError:
        return False
    return (stat.st_size, stat.st_mtime_ns) == (item.size_bytes, item.mtime_ns)


def _make_placeholder(path: Path, item: Item, shadow: Shadow) -> None:
    temporary = path.with_name(".new")
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.truncate(item.size_bytes)
        os.utime(temporary, ns=(item.mtime_ns, item.mtime_ns))
        temporary.replace(path)
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise _clash(path, shadow) from error


def _clash(path: Path, shadow: Shadow) -> InputError:
    name = path.relative_to(shadow.root).as_posix()
    return InputError(f"{shadow.url}: {name!r} is an object, and a folder of other objects: no file system holds both; "
                      "rename one")  # fmt: skip


def _fill(shadow: Shadow, names: list[str], index: sqlite3.Connection) -> None:
    store = open_store(shadow.url)

    def filled(name: str) -> str:
        item = shadow.item(name)
        if item is not None:
            _fill_one(store, item, shadow.root / name)
        return name

    with ThreadPoolExecutor(HEADS_AT_A_TIME, thread_name_prefix="heads") as pool:
        try:
            for count, name in enumerate(pool.map(filled, names), start=1):
                index.execute("UPDATE objects SET holds = ? WHERE name = ? AND holds = ?", (HEAD, name, HOLE))
                if count % 1000 == 0:
                    index.commit()
        finally:
            pool.shutdown(cancel_futures=True)
            index.commit()


def _fill_one(store: Store, item: Item, path: Path) -> None:
    """The header of one placeholder."""
    pieces = head_pieces(lambda start, length: store.read_range(item, start, length))
    with path.open("r+b") as file:
        for start, content in pieces.items():
            file.seek(start)
            file.write(content)
    os.utime(path, ns=(item.mtime_ns, item.mtime_ns))


def _fetched(store: Store, item: Item, path: Path) -> None:
    temporary = path.with_name(".new")
    store.fetch(item, temporary)
    os.utime(temporary, ns=(item.mtime_ns, item.mtime_ns))
    temporary.replace(path)


def _with_side_files(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        parts = [part for part in name.split("/") if part != "."]
        if not name or key_problem("/".join(parts)):
            continue
        path = PurePosixPath(*parts)
        yield path.as_posix()
        if path.suffix.lower() == ".shp":
            yield from (path.with_suffix(suffix).as_posix() for suffix in _SIDE_FILES)
