"""How the processors of a cluster are shared among workers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Node:
    """What one machine of a cluster has for work."""

    processors: float
    gpus: float


@dataclass(frozen=True, slots=True)
class Shares:
    """Workers and what each of them gets.

    Attributes:
        workers: their number.
        processors, gpus: of each; at least one processor.
    """

    workers: int
    processors: int
    gpus: float


def shares(nodes: Sequence[Node], *, workers: int | None = None, gpus_per_worker: float | None = None) -> Shares:
    """Workers for a cluster: one for each graphics card, or without one for each processor, if nobody says how many.

    Each gets as many processors as leave room for all of them, whole ones, because a worker computes on one machine.

    Args:
        nodes: the machines as they are now.
        workers: asked for; may be more than fit, for machines that join later.
        gpus_per_worker: asked for; by default one where any machine has one.
    """
    gpus = float(any(node.gpus >= 1 for node in nodes)) if gpus_per_worker is None else gpus_per_worker
    if workers is None:
        workers = max(_room(nodes, 1, gpus), 1)
    most = int(max((node.processors for node in nodes), default=1))
    processors = next((count for count in range(most, 1, -1) if _room(nodes, count, gpus) >= workers), 1)
    return Shares(workers, processors, gpus)


def _room(nodes: Sequence[Node], processors: int, gpus: float) -> int:
    by_processors = [math.floor(node.processors / processors) for node in nodes]
    if gpus <= 0:
        return sum(by_processors)
    # Shares of a card are whole parts of one: two workers of 0.6 do not fit on one card.
    by_card = [math.floor(node.gpus) * math.floor(1 / gpus) if gpus < 1 else math.floor(node.gpus / gpus)
               for node in nodes]  # fmt: skip
    return sum(map(min, by_processors, by_card))
