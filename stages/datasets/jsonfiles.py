"""JSON files written by labelling tools: read with errors that name the file and the field."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from crackmap.calibration.errors import InputError, require
from crackmap.stages.datasets.drawn import FloatArray

MOST_PX = 1e9
"""No picture has such coordinates; far greater ones overflow where shapes are made of them."""


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    try:
        stored = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); export it again") from error
    require(isinstance(stored, dict), str(path), "a JSON object", type(stored).__name__)
    return dict(stored)


def listed(stored: dict[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    """The list of objects under `key`.

    Raises:
        InputError: there is none.
    """
    rows = stored.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{where}: expected a list of objects {key!r}; is it the format named before the colon?")
    return rows


def text_of(stored: dict[str, Any], key: str, where: str) -> str:
    """The text under `key`.

    Raises:
        InputError: there is none.
    """
    value = stored.get(key)
    require(isinstance(value, str) and value != "", f"{where}: {key}", "a text", value)
    return str(value)


def points_of(values: Any, where: str, least: int) -> FloatArray:
    """(N, 2) points from a flat list of numbers or a list of pairs.

    Raises:
        InputError: fewer than `least` points, or something that is no finite number.
    """
    try:
        points = np.asarray(values, np.float64).reshape(-1, 2)
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: expected points as pairs of numbers ({error}); correct the labels") from error
    require(len(points) >= least, where, f"{least} points or more", len(points))
    strange = points[~(np.abs(points) < MOST_PX).all(axis=1)]
    require(len(strange) == 0, where, "finite numbers below 10^9", strange[:1].tolist())
    return points


def size_of(stored: dict[str, Any], width: str, height: str) -> tuple[int, int] | None:
    """(rows, columns) that a file states of its image; None if it does not."""
    values = (stored.get(height), stored.get(width))
    if all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        return int(values[0]), int(values[1])  # type: ignore[arg-type] # checked above, one by one
    return None


def check_size(stated_hw: tuple[int, int] | None, image_hw: tuple[int, ...], where: str) -> None:
    """Refuses labels that were drawn on a picture of another size.

    Raises:
        InputError: stating both sizes.
    """
    if stated_hw is not None and stated_hw != tuple(image_hw):
        raise InputError(
            f"{where}: drawn on an image of {stated_hw[1]} x {stated_hw[0]} px, the file has {image_hw[1]} x "
            f"{image_hw[0]} px; put the original image there"
        )
