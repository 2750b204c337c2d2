"""Checks of configurations that come from a command line or from a file, where a value can be of any type."""

from __future__ import annotations

import math
from dataclasses import fields
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from crackmap.calibration.errors import require

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

WIDEST = 2048
"""Most channels of a layer. Beyond it a wrong number fills the memory before the net can be refused."""

_WORDS: dict[Any, str] = {
    bool: "true or false", int: "a whole number", float: "a finite number", str: "text", NoneType: "nothing",
}  # fmt: skip


def check_types(record: DataclassInstance) -> None:
    """Refuses a dataclass of which a value is not what its annotation says; a whole number does for a float.

    Known are bool, int, float, str, None, unions and tuples of these.

    Raises:
        InputError: naming the field, what it takes and what it got.
    """
    kinds = get_type_hints(type(record))
    for field in fields(record):
        value, kind = getattr(record, field.name), kinds[field.name]
        require(_fits(value, kind), field.name, _in_words(kind), value)


def check_channels(least: int = 1, **channels: int) -> None:
    """Refuses numbers of channels outside `least` to WIDEST.

    Raises:
        InputError: naming the field.
    """
    for name, number in channels.items():
        require(least <= number <= WIDEST, name, f"{least} to {WIDEST}", number)


def _fits(value: object, kind: Any) -> bool:
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and _all_fit(value, get_args(kind))
    if get_args(kind):
        return any(_fits(value, one) for one in get_args(kind))
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    # To Python true and false are whole numbers.
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _all_fit(values: tuple[object, ...], kinds: tuple[Any, ...]) -> bool:
    if kinds[1:] == (...,):
        return all(_fits(value, kinds[0]) for value in values)
    return len(values) == len(kinds) and all(map(_fits, values, kinds))


def _in_words(kind: Any) -> str:
    inner = get_args(kind)
    if get_origin(kind) is not tuple:
        return " or ".join(map(_in_words, inner)) if inner else _WORDS[kind]
    number = "" if inner[1:] == (...,) else f" of {len(inner)}"
    # All configurations have tuples of one kind.
    return f"a list{number}, each entry {_in_words(inner[0])}"
