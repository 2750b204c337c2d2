"""A folder of this machine for one process, which a later one removes where that was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "crackmap-worker-"


class Scratch:
    """A folder that nobody else uses, among those for temporary files. What killed processes left there goes first.

    Attributes:
        folder: it.
    """

    folder: Path

    def __init__(self) -> None:
        """Makes the folder, and holds its lock as long as the process lives, whatever its number is then.

        Raises:
            OSError: there is no room for temporary files.
        """
        remove_left_over()
        while True:
            self._made = tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)
            self.folder = Path(self._made.name)
            # Where a file system has no locks nobody takes it for a leftover.
            self._held = _locked(self.folder, wait=True)
            # Else somebody may have, before it was locked.
            if self.folder.exists():
                return
            self._made.cleanup()

    def remove(self) -> None:
        """Removes the folder with all that is in it."""
        self._made.cleanup()


def remove_left_over() -> None:
    """Removes the folders of processes that are gone; what cannot be removed stays."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        held = _locked(folder, wait=False)
        if held is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)


def _locked(folder: Path, *, wait: bool) -> int | None:
    """The descriptor of a folder of this user that is now locked; None where it cannot be, or another has it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        if os.fstat(descriptor).st_uid == os.geteuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
    os.close(descriptor)
    return None
