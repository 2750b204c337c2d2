"""Where the nets compute: device, precision, one place for both stages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from crackmap.calibration.errors import DeviceError


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
