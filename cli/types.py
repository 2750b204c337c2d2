"""What users write for an option, parsed into values; every message shows an example."""

from __future__ import annotations

import json
from typing import Any

import click

MOST_EDGES = 4
"""Limits of width classes: as many as there are colours to tell the classes apart."""

MOST_MACHINES = 100_000
"""More are a slip of the finger."""


class GsdType(click.ParamType):  # type: ignore[type-arg] # generic in recent click only
    """«2.0», or «2.0,5.0» for different pixel sizes along an image row and along a column."""

    name = "mm_per_px"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | tuple[float, float]:
        """The pixel size, or the pair, in millimetres."""
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        try:
            numbers = tuple(float(part) for part in value.split(","))
        except ValueError:
            self.fail(f"expected a number such as 1.0, or two such as 2.0,5.0, got {value!r}", param, ctx)
        if len(numbers) > 2 or any(not 0 < number < 1e5 for number in numbers):
            self.fail(f"expected one or two numbers above 0, got {value!r}", param, ctx)
        return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


class CountsType(click.ParamType):  # type: ignore[type-arg] # generic in recent click only
    """«1,10,100»."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The numbers in the order given, each once."""
        if not isinstance(value, str):
            return tuple(value)
        parts = [part.strip() for part in value.split(",")]
        if not all(part.isascii() and part.isdigit() and 1 <= int(part) <= MOST_MACHINES for part in parts):
            self.fail(f"expected numbers from 1 to {MOST_MACHINES} such as 1,10,100, got {value!r}", param, ctx)
        return tuple(dict.fromkeys(map(int, parts)))


class SizeType(click.ParamType):  # type: ignore[type-arg] # generic in recent click only
    """«1600x1200»."""

    name = "wxh"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Width and height in pixels."""
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        width, _, height = value.lower().partition("x")
        if not (width.isdigit() and height.isdigit() and 16 <= int(width) <= 30_000 and 16 <= int(height) <= 30_000):
            self.fail(f"expected width and height from 16 to 30000 such as 1600x1200, got {value!r}", param, ctx)
        return int(width), int(height)


class EdgesType(click.ParamType):  # type: ignore[type-arg] # generic in recent click only
    """«3,10,20»: ascending numbers above 0, as many as there are colours to tell them apart."""

    name = "widths"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """The limits between the classes."""
        if not isinstance(value, str):
            return tuple(value)
        try:
            edges = tuple(float(part) for part in value.split(","))
        except ValueError:
            self.fail(f"expected numbers such as 3,10,20, got {value!r}", param, ctx)
        ascending = all(a < b for a, b in zip((0.0, *edges), edges, strict=False))
        if not ascending or len(edges) > MOST_EDGES or edges[-1] >= 1e5:
            self.fail(
                f"expected one to {MOST_EDGES} ascending numbers above 0, such as 3,10,20, got {value!r}", param, ctx
            )
        return edges


class NumbersType(click.ParamType):  # type: ignore[type-arg] # generic in recent click only
    """«LEFT,RIGHT»: numbers separated by commas."""

    name = "numbers"

    def __init__(self, least: int, most: int, example: str) -> None:
        self._least, self._most, self._example = least, most, example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """The numbers."""
        if not isinstance(value, str):
            return tuple(value)
        try:
            numbers = tuple(float(part) for part in value.split(","))
        except ValueError:
            numbers = ()
        if not self._least <= len(numbers) <= self._most or not all(abs(number) < 1e5 for number in numbers):
            self.fail(f"expected numbers such as {self._example}, got {value!r}", param, ctx)
        return numbers


class LengthType(click.ParamType):  # type: ignore[type-arg] # generic in recent click only
    """«100mm», «10cm» or «0.1m» as millimetres."""

    name = "length"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Millimetres."""
        if not isinstance(value, str):
            return float(value)
        text, millimetres = value.strip(), 0.0
        unit = next((unit for unit in ("mm", "cm", "m") if text.endswith(unit)), None)
        if unit is not None and text.removesuffix(unit).strip().replace(".", "", 1).isdecimal():
            millimetres = float(text.removesuffix(unit)) * {"mm": 1.0, "cm": 10.0, "m": 1000.0}[unit]
        if not 0 < millimetres < 1e5:
            self.fail(f"expected a length with its unit such as 100mm, got {value!r}", param, ctx)
        return millimetres


class BoardType(click.ParamType):  # type: ignore[type-arg] # generic in recent click only
    """«9x6»: inner corners of a chessboard."""

    name = "wxh"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Corners in a row, and rows."""
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        across, _, down = value.lower().partition("x")
        if not (across.isdecimal() and down.isdecimal() and 3 <= int(across) <= 99 and 3 <= int(down) <= 99):
            self.fail(f"expected inner corners such as 9x6, at least 3 each way, got {value!r}", param, ctx)
        return int(across), int(down)


class MixtureType(click.ParamType):  # type: ignore[type-arg] # generic in recent click only
    """«rendered=0.4,dnit=0.6»."""

    name = "shares"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, float]:
        """Source -> share."""
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        try:
            pairs = [part.rsplit("=", 1) for part in value.split(",")]
            return {name.strip(): float(share) for name, share in pairs}
        except ValueError:
            self.fail(f"expected shares such as rendered=0.4,dnit=0.6, got {value!r}", param, ctx)


class AssignmentType(click.ParamType):  # type: ignore[type-arg] # generic in recent click only
    """«patience=3», «branches=[[1,1],[3,6]]», «loss=dice»."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """The key, and the value as JSON, or as text where it is not; lists are tuples."""
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        key, equals, text = value.partition("=")
        if not equals or not key.strip():
            self.fail(f"expected KEY=VALUE such as patience=3, got {value!r}", param, ctx)
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = text
        return key.strip(), _tuples(parsed)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
