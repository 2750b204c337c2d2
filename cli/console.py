"""What commands print: text of files and their names, without what a terminal would obey."""

from __future__ import annotations

from typing import Any

import click

_OBEYED = (
    *(code for code in range(0x20) if chr(code) not in "\t\n"), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F,
    *range(0x2028, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000),
)  # fmt: skip
"""Control characters, signs that turn the direction of writing, and bytes of names that are no text."""

_ESCAPES = {
    code: f"\\x{code & 0xFF:02x}" if code < 0x100 or 0xDC80 <= code < 0xDD00 else f"\\u{code:04x}" for code in _OBEYED
}


def echo(message: Any = "", *, err: bool = False) -> None:
    """As click.echo, with control characters but line breaks and tabs written as escapes such as «\\x1b»."""
    click.echo(str(message).translate(_ESCAPES), err=err)


def one_line(text: str) -> str:
    """A name of a file or a reason as it is printed: line breaks and tabs are escapes too."""
    return text.translate({**_ESCAPES, ord("\t"): "\\t", ord("\n"): "\\n"})
