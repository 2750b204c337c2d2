"""The errors of crackmap: one root, and one leaf per kind of fault that has its own exit code.

Every message says what was expected, what was found, and the next step. Leaves also inherit the standard
class a caller would guess, so that `except ValueError` works in a script.
"""

from __future__ import annotations


class CrackmapError(Exception):
    """Root of all errors that crackmap raises on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class InputError(CrackmapError, ValueError):
    """Input or configuration that cannot be used as it is: exit code 4."""

    exit_code = 4


class UnreadableImageError(InputError):
    """One image that cannot be decoded; in a survey its frame is skipped and named, and the run goes on."""


class CalibrationError(InputError):
    """A calibration that cannot be computed or does not belong to the image at hand."""


class OutputLockedError(CrackmapError, RuntimeError):
    """The output folder is in use, or holds the results of another run: exit code 5."""

    exit_code = 5


class StorageError(CrackmapError, OSError):
    """An output could not be written (full disk, missing permission): exit code 6."""

    exit_code = 6


class WeightsError(CrackmapError, ValueError):
    """A weight file that is missing, damaged, of the wrong hash or of another net: exit code 7."""

    exit_code = 7


class DeviceError(CrackmapError, RuntimeError):
    """The computing device asked for is not there or failed: exit code 8."""

    exit_code = 8


class DeviceMemoryError(DeviceError):
    """The device has not enough memory for one window; a survey goes on with this frame on the CPU."""


def require(condition: bool, field: str, expected: str, got: object) -> None:
    """Raises InputError «field: expected ..., got ...» unless `condition` holds."""
    if not condition:
        raise InputError(f"{field}: expected {expected}, got {got!r}")
