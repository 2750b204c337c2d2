"""Cracks of a frame as text in the journal: JSON, so that anybody can look into it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from crackmap.stages.records import Crack

_ARRAYS = ("centreline_xy_px", "width_px", "centreline_xy_m", "width_mm")

_CRACK_FIELDS = tuple(field.name for field in fields(Crack))


def cracks_text(cracks: Sequence[Crack]) -> str:
    """The text of cracks."""
    return json.dumps([_to_json(crack) for crack in cracks], allow_nan=False)


def _to_json(crack: Crack) -> dict[str, Any]:
    return {
        name: value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        for name, value in asdict(crack).items()
    }


def _from_json(item: dict[str, Any]) -> Crack:
    # A row of an earlier version lacks newer fields: it must still be read to be found out of date and replaced.
    values = {name: item[name] for name in _CRACK_FIELDS if name in item}
    for name in _ARRAYS:
        if values.get(name) is not None:
            values[name] = np.array(values[name], float)
    if values.get("gsd_mm") is not None:
        values["gsd_mm"] = tuple(values["gsd_mm"])
    return Crack(**values)


def cracks_of_text(text: str) -> tuple[Crack, ...]:
    """The cracks that a text stands for.

    Raises:
        ValueError, TypeError, LookupError, AttributeError: it is not one that `cracks_text` made.
    """
    return tuple(map(_from_json, json.loads(text)))
