"""The calibration file that `crackmap calibrate plane` writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from crackmap.calibration.errors import CalibrationError
from crackmap.calibration.store import Calibration, write_calibration
from crackmap.pipeline.calibrating.plane import PlaneMade
from crackmap.pipeline.calibrating.plane_report import plane_numbers

MOST_SCALE = 0.2
"""A plane whose lengths are uncertain by more than this measures nothing: some of what it was made from is wrong."""

HIGHEST_M = 30.0
"""No survey vehicle carries a camera higher."""


def write_plane(
    path: Path,
    made: PlaneMade,
    *,
    camera: Calibration | None = None,
    scale_percent: float | None = None,
    command: str = "crackmap calibrate plane",
) -> dict[str, Any]:
    """Writes a plane, with the lens it was made with, and returns the numbers about it.

    Args:
        path: file to write.
        made: the plane.
        camera: the calibration whose lens it has; its uncertainties and notes are kept.
        scale_percent: standard uncertainty of lengths; by default that of `made`.
        command: kept in the file.

    Raises:
        CalibrationError: no camera on a vehicle sees a road this way.
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
    _refuse_impossible(made, bool(numbers["gsd"]))
    notes = {f"lens_{name}": value for name, value in (camera.made if camera else {}).items()}
    notes |= {"command": command, "method": made.method, **made.numbers}
    if plane.lens is None and made.focal_px is not None:
        notes["focal_px"] = made.focal_px
    if made.found:
        notes["found"] = list(made.found)
    uncertainty = camera.lens_uncertainty if camera else None
    write_calibration(path, Calibration(plane.size_wh_px, plane.lens, uncertainty, plane, notes))
    return numbers


def _refuse_impossible(made: PlaneMade, sees_road: bool) -> None:
    """Raises CalibrationError for a plane that only mistakes make: a wrong number is worse than no number."""
    mount, found = made.mount(), "; ".join(made.found)
    if made.plane.u_scale > MOST_SCALE:
        raise CalibrationError(
            f"{made.method}: they do not fit one another, lengths would be uncertain by {made.plane.u_scale:.0%} "
            f"({found}); two of them may be exchanged, or pixels and metres be in each other's columns"
        )
    if mount is not None and (mount.height_m > HIGHEST_M or abs(mount.roll_deg) > 135):
        raise CalibrationError(
            f"{made.method}: the camera would stand {mount.height_m:.2f} m above the road, rolled by "
            f"{mount.roll_deg:.0f} degrees; metres are expected, not centimetres or millimetres, to the right and ahead"
        )
    if not sees_road:
        raise CalibrationError(
            f"{made.method}: no row of the image lies within the limits, so nothing could be measured; check "
            "the numbers, and --coarsest, --nearest, --farthest and --lateral"
        )
