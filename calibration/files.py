"""Files of strangers: opened only where they are files, and read only where their size makes sense; own ones kept."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

from crackmap.calibration.errors import InputError

MOST_TOML_BYTES = 1_000_000
"""A description of a survey has some kilobytes; reading TOML of 50 MB takes minutes."""


def is_no_file(path: Path) -> bool:
    """Whether a path leads to a pipe, socket, device or folder, which a read may wait on for ever.

    What is missing, or may not be looked at, is left to whoever opens it.
    """
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        InputError: saying why it cannot be read, without the name of the file.
    """
    if is_no_file(path):
        raise InputError("it is no file")
    try:
        with path.open("rb") as file:
            content = file.read(MOST_TOML_BYTES + 1)
        if len(content) > MOST_TOML_BYTES:
            raise InputError(f"it is larger than {MOST_TOML_BYTES // 10**6} MB")
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read as UTF-8 text: {error}") from error
    try:
        table = tomllib.loads(text)
        _check_integers(table)
    except RecursionError as error:
        raise InputError("not TOML: its tables or lists are nested too deeply") from error
    # Beside its own error tomllib passes on that of a number with too many digits.
    except ValueError as error:
        raise InputError(f"not TOML: {error}") from error
    return table


def _check_integers(value: Any) -> None:
    """Refuses whole numbers beyond those of TOML, which Python reads in hexadecimal and then cannot write."""
    if isinstance(value, int) and value.bit_length() > 64:
        raise ValueError("a whole number of more than 64 bits")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_integers(item)


def cache_folder() -> Path:
    """Where what can be made again is kept: $CRACKMAP_CACHE, else crackmap in the user's cache folder."""
    given = os.environ.get("CRACKMAP_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crackmap"
