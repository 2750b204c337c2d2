"""Files appear whole or not at all: written under another name in the same folder, then renamed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from pyogrio.errors import DataLayerError, DataSourceError
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from crackmap.calibration.errors import CrackmapError, StorageError

TEMPORARY_PREFIX = ".writing-"
"""Every file that is not finished begins so; `remove_strays` takes away what a killed run left."""


@contextlib.contextmanager
def publishing(path: Path) -> Iterator[Path]:
    """A path to write to in place of `path`; what was written there replaces `path` when the block ends well.

    The file is on the disk before it gets its name. If the block fails, `path` stays as it was.

    Raises:
        StorageError: the folder cannot be made, or the file not be written; the message names path and remedy.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{_digest(platform.node() + path.name)}{path.suffix}")
    try:
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove(temporary)
            yield temporary
            _sync(temporary, os.O_RDWR)
            os.replace(temporary, path)  # noqa: PTH105
            _sync(path.parent, os.O_RDONLY)
    finally:
        _remove(temporary)


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """What goes wrong inside, where a part of `path` is written, names it.

    Raises:
        StorageError: in place of any error of the system or of a library that writes.
    """
    try:
        yield
    # CPLE_BaseError is what rasterio lets through when a COG copy runs out of space; it has no public name.
    except (OSError, DataSourceError, DataLayerError, sqlite3.Error, RasterioError, CPLE_BaseError) as error:
        if isinstance(error, CrackmapError):
            raise
        raise StorageError(
            f"{path}: could not be written ({_reason(error)}); check that the folder is writable and the disk "
            "not full, then run the same command again: finished frames are kept"
        ) from error


def publish_bytes(path: Path, content: bytes) -> None:
    """Writes a whole file at once.

    Raises:
        StorageError: it could not be written.
    """
    with publishing(path) as temporary:
        temporary.write_bytes(content)


def sha256_of(path: Path) -> str:
    """Hash of a file's content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_strays(folder: Path) -> None:
    """Removes what killed runs left unfinished in `folder`; only for the one process that holds its lock.

    Raises:
        StorageError: a left-over cannot be removed.
    """
    for stray in sorted(folder.glob(f"{TEMPORARY_PREFIX}*")):
        try:
            shutil.rmtree(stray) if stray.is_dir() and not stray.is_symlink() else stray.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{stray}: could not be removed ({_reason(error)}); remove it by hand") from error


def _remove(temporary: Path) -> None:
    """The file and what GDAL puts beside one while it writes (journal, overview)."""
    with contextlib.suppress(OSError):
        for leftover in temporary.parent.glob(f"{temporary.name}*"):
            leftover.unlink(missing_ok=True)


def _digest(name: str) -> str:
    """Tells apart what threads and machines write at the same time, in a length every file system takes."""
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:12]


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
