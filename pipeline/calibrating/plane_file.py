"""The calibration file that `crackmap calibrate plane` writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from crackmap.calibration.store import Calibration, write_calibration
from crackmap.pipeline.calibrating.plane import PlaneMade
from crackmap.pipeline.calibrating.plane_report import plane_numbers


def write_plane(
    path: Path, made: PlaneMade, *, camera: Calibration | None = None, scale_percent: float | None = None
) -> dict[str, Any]:
    """Writes a plane, with the lens it was made with, and returns the numbers about it.

    Args:
        path: file to write.
        made: the plane.
        camera: the calibration whose lens it has; its uncertainties and notes are kept.
        scale_percent: standard uncertainty of lengths; by default that of `made`.

    Raises:
        StorageError: the file cannot be written.
    """
    if scale_percent is not None:
        made = replace(made, plane=replace(made.plane, u_scale=scale_percent / 100))
    plane = made.plane
    numbers = {
        "method": made.method,
        "file": str(path),
        "focal_px": made.focal_px if plane.lens is None else None,
        "found": list(made.found),
        **plane_numbers(plane, made.mount()),
    }
    notes = {f"lens_{name}": value for name, value in (camera.made if camera else {}).items()}
    notes |= {"command": "crackmap calibrate plane", "method": made.method, **made.numbers}
    if plane.lens is None and made.focal_px is not None:
        notes["focal_px"] = made.focal_px
    if made.found:
        notes["found"] = list(made.found)
    uncertainty = camera.lens_uncertainty if camera else None
    write_calibration(path, Calibration(plane.size_wh_px, plane.lens, uncertainty, plane, notes))
    return numbers
