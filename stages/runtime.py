"""Where the nets compute: device, precision, one place for both stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch

from crackmap.calibration.errors import DeviceError, DeviceMemoryError

Item = TypeVar("Item")
Result = TypeVar("Result")


def choose_device(name: str = "auto") -> torch.device:
    """The device called `name`: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1".

    Raises:
        DeviceError: unknown, or not on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"device: expected auto, cpu, cuda or cuda:N, got {name!r}") from error
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise DeviceError(f"device {name!r} is not on this machine; leave --device out or give --device cpu")
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"device: expected auto, cpu, cuda or cuda:N, got {name!r}")
    return device


@contextmanager
def inference(device: torch.device) -> Iterator[None]:
    """No gradients, and bfloat16 where the device computes faster in it."""
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
        yield


def in_batches(
    items: Sequence[Item], compute: Callable[[Sequence[Item]], Sequence[Result]], *, batch: int
) -> Iterator[tuple[Item, Result]]:
    """Each item with its result, in order, computed `batch` at a time, or fewer where the device has no room for them.

    Raises:
        DeviceMemoryError: there is no room for a single one.
    """
    first = 0
    while first < len(items):
        taken = items[first : first + batch]
        try:
            results = compute(taken)
        except torch.OutOfMemoryError as error:
            if len(taken) == 1:
                raise DeviceMemoryError("the device has not enough memory for one window; close what else uses it, "
                                        "or give --device cpu") from error  # fmt: skip
            batch = max(len(taken) // 2, 1)
            torch.cuda.empty_cache()
            continue
        yield from zip(taken, results, strict=True)
        first += len(taken)
