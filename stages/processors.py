"""What this process may compute with."""

from __future__ import annotations

import os
import platform

import cv2

_most: int | None = None


def cpu_count() -> int:
    """Processors this process may use."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return allowed if _most is None else min(allowed, _most)


def limit_processors(most: int) -> None:
    """From now on this process uses at most so many: others of its kind compute on the rest of the machine."""
    global _most
    import torch

    _most = max(most, 1)
    torch.set_num_threads(_most)
    cv2.setNumThreads(_most)


def processor_kind() -> str:
    """Machine and instructions, «x86_64 AVX512»: another kind may round otherwise."""
    import torch

    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
