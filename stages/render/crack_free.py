"""Drawn road surfaces without a crack, by the name of what they show instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from crackmap.stages.render import surface
from crackmap.stages.render.scene import photograph

PLAIN = "plain road"

Add = Callable[[np.random.Generator, surface.FloatImage], object]


def crack_free_kinds() -> Mapping[str, Add | None]:
    """What can be drawn, by name, in a fixed order; None draws nothing more than the road."""
    kinds: dict[str, Add | None] = {PLAIN: None}
    for add, _ in surface.DISTRACTORS:
        kinds[add.__name__.removeprefix("add_").replace("_", " ")] = add
    kinds["sealed crack"] = surface.add_sealed_crack
    return kinds


def crack_free_surface(kind: str, *, side_px: int, seed: int, number: int) -> NDArray[np.uint8]:
    """(side, side, 3) RGB picture number `number` of a kind; each depends on its arguments alone."""
    kinds = crack_free_kinds()
    # The kind's name is part of the seed, not its place in the list, so that new kinds change no picture of the others.
    rng = np.random.default_rng((seed, number, *kind.encode()))
    image = surface.procedural_road(rng, (side_px, side_px))
    add = kinds[kind]
    if add is not None:
        add(rng, image)
    return photograph(rng, image)
