"""What `crackmap calibrate plane` and `check` say about a road plane."""

from __future__ import annotations

from typing import Any

import numpy as np

from crackmap.calibration.motion import MotionFit
from crackmap.calibration.mount import Mount
from crackmap.calibration.plane import GroundPlane
from crackmap.calibration.profile import GsdProfile, gsd_profile


def plane_numbers(plane: GroundPlane, mount: Mount | None) -> dict[str, Any]:
    """Everything worth printing, as plain values: sizes in mm, distances in m, angles in degrees."""
    profile = gsd_profile(plane)
    rows = profile.near_middle_far()
    return {
        "size_wh_px": list(plane.size_wh_px),
        "scale_uncertainty_percent": round(100 * plane.u_scale, 2),
        "horizon_row_px": None if profile.horizon_px is None else round(profile.horizon_px, 1),
        "lateral_m": None if profile.lateral_m is None else [round(x, 2) for x in profile.lateral_m],
        "camera": None if mount is None else _camera(mount),
        "gsd": [_gsd(profile, place, row) for place, row in zip(("near", "middle", "far"), rows, strict=bool(rows))],
    }


def plane_table(numbers: dict[str, Any]) -> list[str]:
    """Lines of `plane_numbers` for people."""
    lines = []
    camera = numbers["camera"]
    if camera is not None:
        lines.append(
            f"camera {camera['height_m']:.2f} m above the road, pitch {camera['pitch_deg']:.2f}, roll "
            f"{camera['roll_deg']:.2f}, yaw {camera['yaw_deg']:.2f} degrees"
        )
    horizon = numbers["horizon_row_px"]
    lines.append("no horizon" if horizon is None else f"horizon at row {horizon:.0f} px (middle column)")
    lines.append(f"scale uncertain by {numbers['scale_uncertainty_percent']:g} %")
    if not numbers["gsd"]:
        return [
            *lines,
            "no row of the image lies within the limits: check --coarsest, --nearest, --farthest, --lateral",
        ]
    left, right = numbers["lateral_m"]
    lines += [f"valid from {left:.2f} to {right:.2f} m beside the camera, and ahead:"]
    lines.append(f"{'':8}{'row':>6}{'ahead m':>10}{'mm along':>11}{'mm across':>12}")
    lines += [
        f"{row['place']:<8}{row['row_px']:>6.0f}{row['ahead_m']:>10.2f}{row['along_mm']:>11.2f}{row['across_mm']:>12.2f}"
        for row in numbers["gsd"]
    ]
    return lines


def said_of_motion(motion: MotionFit, factor: float, what: str, unit: str) -> list[str]:
    """Sentences about a motion fit; `factor` turns its value into `unit`."""
    digits = 0 if unit == "px" else 3
    value, uncertainty = motion.value * factor, motion.uncertainty * factor
    said = [
        f"{what} from the motion of one half of {motion.clear} clear pairs (of {motion.seen}): "
        f"{value:.{digits}f} +- {uncertainty:.{digits}f} {unit}".rstrip(),
        f"motion over step in the other half: {motion.check:.3f} +- {motion.check_uncertainty:.3f} (median)",
    ]
    if unit == "px":
        said.append(
            "neither shows a wrong lane width: both halves share it, and the focal length makes up for it, 1 % for 1 %"
        )
    return said


def _camera(mount: Mount) -> dict[str, float]:
    angles = {"pitch_deg": mount.pitch_deg, "roll_deg": mount.roll_deg, "yaw_deg": mount.yaw_deg}
    right, ahead = mount.position_m
    values = {"height_m": mount.height_m, **angles, "right_m": right, "ahead_m": ahead}
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return {name: round(value, 3) + 0.0 for name, value in values.items()}


def _gsd(profile: GsdProfile, place: str, row: int) -> dict[str, Any]:
    values = {
        "row_px": profile.row_px[row],
        "ahead_m": profile.ahead_m[row],
        "along_mm": profile.along_mm[row],
        "across_mm": profile.across_mm[row],
    }
    return {"place": place, **{name: float(np.round(value, 3)) for name, value in values.items()}}
