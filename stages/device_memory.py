"""What the nets took of the memory of graphics cards."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Of the card on which most was taken.

    Attributes:
        name: of the card.
        peak_bytes: taken by this process at most, since it began.
        total_bytes: that it has.
        free_bytes: that nobody uses now, what this process keeps for later not counted as free.
    """

    name: str
    peak_bytes: int
    total_bytes: int
    free_bytes: int


def device_memory() -> DeviceMemory | None:
    """The graphics card of which this process has taken most; None if it has used none."""
    import torch

    if not torch.cuda.is_available() or not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return None
    cards = [
        DeviceMemory(torch.cuda.get_device_name(card), torch.cuda.max_memory_reserved(card),
                     *reversed(torch.cuda.mem_get_info(card)))
        for card in range(torch.cuda.device_count())
    ]  # fmt: skip
    used = max(cards, key=lambda card: card.peak_bytes)
    return used if used.peak_bytes else None
