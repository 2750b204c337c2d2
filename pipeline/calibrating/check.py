"""`crackmap calibrate check`: what a calibration says of real frames, and whether their motion agrees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crackmap.calibration.errors import CalibrationError, InputError, StorageError
from crackmap.calibration.fit import view_of_plane
from crackmap.calibration.motion import MotionFit, focal_from_motion, scale_from_motion
from crackmap.calibration.mount import Mount, mount_of_plane
from crackmap.calibration.plane import GroundPlane
from crackmap.calibration.points import implied_focal_px
from crackmap.calibration.store import Calibration, read_calibration
from crackmap.pipeline.calibrating.plane import pairs_of
from crackmap.pipeline.calibrating.plane_pictures import grid_jpeg, gsd_png, top_view_png
from crackmap.pipeline.calibrating.plane_report import plane_numbers, said_of_motion
from crackmap.pipeline.images import open_image, read_size_wh

REFERENCE_LANE_M = 3.6
"""A lane by which a plane is described; any width does."""


@dataclass(frozen=True, slots=True)
class Check:
    """What a check found.

    Attributes:
        numbers: as `plane_numbers`, with `motion` where a step was given.
        sentences: what the motion says.
        pictures: files written.
    """

    numbers: dict[str, Any]
    sentences: tuple[str, ...]
    pictures: tuple[Path, ...]


def check_plane(path: Path, images: Sequence[Path], *, out: Path | None = None, step_m: float | None = None) -> Check:
    """Looks at a calibration with real frames.

    Args:
        path: calibration file with a plane.
        images: frames of the camera; with `step_m`, consecutive ones of one recording.
        out: folder for pictures of the first, the middle and the last frame; None for none.
        step_m: metres between consecutive frames.

    Raises:
        CalibrationError: the file has no plane, or a frame is of another size.
        StorageError: a picture cannot be written.
    """
    calibration = read_calibration(path)
    plane = calibration.plane
    if plane is None:
        raise CalibrationError(f"{path.name}: it holds a lens but no plane; make one with `crackmap calibrate plane`")
    for image in images:
        _check_size(image, plane, path.name)
    focal_px = _focal_of(calibration)
    mount = None
    if not plane.is_affine and (plane.lens is not None or focal_px is not None):
        mount = mount_of_plane(plane, focal_px=None if plane.lens is not None else focal_px)
    numbers, sentences = plane_numbers(plane, mount), []
    if step_m is not None:
        motion, what, unit, factor = _motion(calibration, plane, mount, images, step_m)
        calibrated = focal_px if unit == "px" else factor
        sentences = [f"{what} of the calibration: {calibrated:.4g} {unit}".rstrip()]
        sentences += said_of_motion(motion, factor, what, unit)
        numbers["motion"] = {
            "quantity": what, "unit": unit, "calibrated": calibrated,
            "value": motion.value * factor, "uncertainty": motion.uncertainty * factor,
            "motion_over_step": motion.check, "u_motion_over_step": motion.check_uncertainty,
            "clear_pairs": motion.clear, "pairs": motion.seen,
        }  # fmt: skip
    pictures = () if out is None else tuple(_pictures(plane, images, out))
    return Check(numbers, tuple(sentences), pictures)


def _check_size(image: Path, plane: GroundPlane, name: str) -> None:
    size = read_size_wh(image)
    if size != plane.size_wh_px:
        raise CalibrationError(
            f"{image.name}: {size[0]}x{size[1]} px, but {name} is for {plane.size_wh_px[0]}x{plane.size_wh_px[1]} px; "
            "calibrate again with frames of this size"
        )


def _focal_of(calibration: Calibration) -> float | None:
    """The focal length that a plane without a lens was made with, else the one it implies."""
    if calibration.plane is None or calibration.plane.lens is not None:
        return None
    stated = calibration.made.get("focal_px")
    if isinstance(stated, (int, float)) and not isinstance(stated, bool) and stated > 0:
        return float(stated)
    return implied_focal_px(calibration.plane)


def _motion(
    calibration: Calibration, plane: GroundPlane, mount: Mount | None, images: Sequence[Path], step_m: float
) -> tuple[MotionFit, str, str, float]:
    """The fit, the name and unit of its quantity, and the factor from its value to that unit.

    What is least certain is left open: the focal length where a lane gave the plane, else the camera's height.
    """
    if plane.is_affine:
        raise InputError(
            "--step: motion is looked at for cameras that look ahead; this plane has no perspective: leave --step out"
        )
    pairs, grey_of = pairs_of(images, plane.size_wh_px)
    focal_px = _focal_of(calibration)
    if plane.lens is None and focal_px is not None and str(calibration.made.get("method", "")).startswith("lane"):
        fit = focal_from_motion(
            view_of_plane(plane, lane_width_m=REFERENCE_LANE_M), pairs, grey_of, lane_width_m=REFERENCE_LANE_M,
            step_m=step_m, trial_focal_px=focal_px, roll_deg=0.0 if mount is None else mount.roll_deg,
        )  # fmt: skip
        return fit, "focal length", "px", 1.0
    fit = scale_from_motion(plane, pairs, grey_of, step_m=step_m)
    return (fit, "factor for all lengths", "", 1.0) if mount is None else (fit, "camera height", "m", mount.height_m)


def _pictures(plane: GroundPlane, images: Sequence[Path], out: Path) -> list[Path]:
    """The files written: two per frame for at most three frames, and the pixel sizes."""
    files = [(out / "gsd.png", gsd_png(plane))]
    for index in sorted({0, len(images) // 2, len(images) - 1}):
        with open_image(images[index]) as source:
            frame = source.read_all()
        files.append((out / f"{images[index].stem}_grid.jpg", grid_jpeg(frame, plane)))
        top = top_view_png(frame, plane)
        if top is not None:
            files.append((out / f"{images[index].stem}_top.png", top))
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path, content in files:
            path.write_bytes(content)
    except OSError as error:
        raise StorageError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    return [path for path, _ in files]
