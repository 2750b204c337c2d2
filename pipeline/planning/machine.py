"""What this machine has: memory, room on its disks, and what the program and its child processes take of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

from crackmap.pipeline.repeating import Repeating

EVERY_S = 0.1
"""A net's largest arrays live longer than this."""

CGROUPS = Path("/sys/fs/cgroup")


def free_bytes(folder: Path) -> int:
    """Room on the file system of a folder, or of the nearest one above it that exists."""
    return shutil.disk_usage(existing(folder)).free


def existing(folder: Path) -> Path:
    """A folder, or the nearest one above it that exists."""
    path = folder.absolute()
    while not path.exists():
        path = path.parent
    return path


def memory_bytes() -> int | None:
    """Memory that this process may use: the machine's, or less where a container says so; None if nothing tells."""
    limits = []
    with contextlib.suppress(OSError, ValueError):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(OSError):
        limits += cgroup_limits(Path("/proc/self/cgroup").read_text("utf-8"), CGROUPS)
    return min(limits, default=None)


def cgroup_limits(own: str, root: Path) -> list[int]:
    """The memory limits that hold for a process, bytes.

    Args:
        own: /proc/self/cgroup.
        root: where control groups are mounted (docs.kernel.org/admin-guide/cgroup-v2.html, and v1 beside it).
    """
    found = []
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            top, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        below = top / path.lstrip("/")
        # Inside a container the path may be that of the host, and only the top is there.
        for folder in (below, *below.parents):
            with contextlib.suppress(OSError, ValueError):
                found.append(int((folder / name).read_text("ascii")))
            if folder == top:
                break
    return found


def process_age_s() -> float | None:
    """Seconds since this process was started; None where the system does not tell (proc_pid_stat(5), field 22)."""
    try:
        after_name = Path("/proc/self/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        started_s = int(after_name[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started_s
    except (OSError, ValueError, IndexError, AttributeError):
        return None


class PeakMemory(Repeating):
    """Watches what this process and all below it hold at the same time; a context manager.

    Attributes:
        start_bytes: when it began, shared pages counted once; None where the system does not tell.
        peak_bytes: the most since.
    """

    def __init__(self) -> None:
        super().__init__(EVERY_S, self._look, "memory")
        self.start_bytes = self.peak_bytes = _now_bytes()

    def close(self) -> None:
        """Looks a last time."""
        super().close()
        self._look()

    def _look(self) -> None:
        now = _now_bytes()
        if now is not None:
            self.peak_bytes = max(now, self.peak_bytes or 0)


def _now_bytes() -> int | None:
    return sum(_held_bytes(process) for process in _family(os.getpid())) or None


def _family(process: int) -> list[int]:
    """A process and all that descend from it."""
    found = [process]
    for parent in found:
        # One that has just ended has no file any more.
        with contextlib.suppress(OSError):
            for tasks in Path(f"/proc/{parent}/task").glob("*/children"):
                found += map(int, tasks.read_text("ascii").split())
    return found


def _held_bytes(process: int) -> int:
    """Proportional set size: memory, what it shares with others divided by their number."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
