"""Calibration files: one TOML per camera, with its lens, its ground plane, and how they came about.

format = 1
size_wh_px = [1280, 720]

[lens]
model = "pinhole"
focal_xy_px = [1157.8, 1152.9]
centre_xy_px = [665.4, 386.6]                # from the top-left corner
distortion = [-0.2469, -0.0220, -0.0012, 0.0000, 0.0033]
u_focal_xy_px = [3.1, 3.0]                   # standard uncertainties, where they are known
u_centre_xy_px = [2.6, 2.9]
u_distortion = [0.004, 0.03, 0.0002, 0.0002, 0.07]

[plane]
ground_from_pixel = [[...], [...], [...]]    # of pixels with the lens distortion taken away
u_scale_percent = 1.0

[limits]
coarsest_gsd_mm = 36.0
lateral_m = [-2.2, 2.2]
farthest_m = 10.5

[made]                                       # how it was made: free text and numbers, for people
command = "crackmap calibrate ..."
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crackmap.calibration.errors import CalibrationError, InputError, StorageError
from crackmap.calibration.files import read_toml
from crackmap.calibration.lens import Lens
from crackmap.calibration.plane import GroundLimits, GroundPlane

FORMAT = 1

Made = Mapping[str, str | float | int | bool | Sequence[str] | Sequence[float]]
"""Notes about how a calibration was made, in the order they are written."""


@dataclass(frozen=True, slots=True)
class LensUncertainty:
    """Standard uncertainties of a lens, in the order and unit of its parameters."""

    focal_xy_px: tuple[float, float]
    centre_xy_px: tuple[float, float]
    distortion: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is known of one camera.

    Attributes:
        size_wh_px: the image size all of it belongs to.
        lens: None where it is not calibrated (then the plane is one of pixels as taken).
        lens_uncertainty: None where it is not known.
        plane: its ground plane, with the lens and the limits; None where only the lens is calibrated.
        made: how it was made.
    """

    size_wh_px: tuple[int, int]
    lens: Lens | None = None
    lens_uncertainty: LensUncertainty | None = None
    plane: GroundPlane | None = None
    made: Made = field(default_factory=dict)


Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Pair = tuple[Finite, Finite]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _LensTable(_Table):
    model: Literal["pinhole", "fisheye"]
    focal_xy_px: tuple[Positive, Positive]
    centre_xy_px: Pair
    distortion: tuple[Finite, ...] = ()
    u_focal_xy_px: Pair | None = None
    u_centre_xy_px: Pair | None = None
    u_distortion: tuple[Finite, ...] | None = None


class _PlaneTable(_Table):
    ground_from_pixel: tuple[
        tuple[Finite, Finite, Finite], tuple[Finite, Finite, Finite], tuple[Finite, Finite, Finite]
    ]
    u_scale_percent: Annotated[float, Field(ge=0, lt=100)] = 0.0


class _LimitsTable(_Table):
    coarsest_gsd_mm: Positive = 50.0
    lateral_m: Pair | None = None
    farthest_m: Positive | None = None
    nearest_m: Positive | None = None


class _File(_Table):
    format: int
    size_wh_px: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
    lens: _LensTable | None = None
    plane: _PlaneTable | None = None
    limits: _LimitsTable | None = None
    made: dict[str, Any] = {}


def read_calibration(path: Path) -> Calibration:
    """Reads a calibration file.

    Raises:
        CalibrationError: it is missing, not TOML, of a newer format, has an unknown key or a wrong value.
    """
    try:
        table = read_toml(path)
    except InputError as error:
        raise CalibrationError(
            f"{path.name}: cannot be read as a calibration file ({error}); make one with `crackmap calibrate`"
        ) from error
    if table.get("format") != FORMAT:
        raise CalibrationError(
            f"{path.name}: expected a calibration file of format = {FORMAT}, got {table.get('format')!r}; "
            "make it with `crackmap calibrate` of this version"
        )
    try:
        return _calibration(_File.model_validate(table))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise CalibrationError(f"{path.name}: {place}: {str(first['msg']).lower()}, got {first['input']!r}") from error
    except ValueError as error:
        raise CalibrationError(f"{path.name}: {error}") from error


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Writes a calibration file, numbers in full precision.

    Raises:
        StorageError: it cannot be written.
    """
    parts = [f"format = {FORMAT}\nsize_wh_px = {_toml(calibration.size_wh_px)}\n"]
    lens, plane = calibration.lens, calibration.plane
    if lens is not None:
        table: dict[str, Any] = {
            "model": lens.model,
            "focal_xy_px": lens.focal_xy_px,
            "centre_xy_px": lens.centre_xy_px,
            "distortion": lens.distortion,
        }
        u = calibration.lens_uncertainty
        if u is not None:
            table |= {"u_focal_xy_px": u.focal_xy_px, "u_centre_xy_px": u.centre_xy_px, "u_distortion": u.distortion}
        parts.append(_table("lens", table))
    if plane is not None:
        homography = plane.ground_from_pixel.tolist()
        parts.append(_table("plane", {"ground_from_pixel": homography, "u_scale_percent": 100 * plane.u_scale}))
        limits = {
            "coarsest_gsd_mm": plane.limits.coarsest_gsd_mm,
            "lateral_m": plane.limits.lateral_m,
            "farthest_m": plane.limits.farthest_m,
            "nearest_m": plane.limits.nearest_m,
        }
        parts.append(_table("limits", {key: value for key, value in limits.items() if value is not None}))
    if calibration.made:
        parts.append(_table("made", calibration.made))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(parts), "utf-8")
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); choose another --out") from error


def _calibration(file: _File) -> Calibration:
    size, lens, uncertainty, plane = file.size_wh_px, None, None, None
    if file.lens is not None:
        table = file.lens
        lens = Lens(table.model, table.focal_xy_px, table.centre_xy_px, table.distortion, size)
        if table.u_focal_xy_px is not None and table.u_centre_xy_px is not None:
            uncertainty = LensUncertainty(table.u_focal_xy_px, table.u_centre_xy_px, table.u_distortion or ())
    if file.plane is not None:
        limits = file.limits or _LimitsTable()
        plane = GroundPlane(
            np.array(file.plane.ground_from_pixel, np.float64),
            size,
            GroundLimits(limits.coarsest_gsd_mm, limits.lateral_m, limits.farthest_m, limits.nearest_m),
            file.plane.u_scale_percent / 100,
            lens,
        )
    return Calibration(size, lens, uncertainty, plane, file.made)


def _table(name: str, values: Mapping[str, Any]) -> str:
    return f"[{name}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float, np.integer, np.floating)):
        number = float(value)
        if isinstance(value, (int, np.integer)):
            return str(int(value))
        return repr(number) if math.isfinite(number) else str(number)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(item) for item in value)}]"
    # Bytes of a file name that are no text become backslash escapes: TOML has none for them.
    text = str(value).encode("utf-8", "backslashreplace").decode().replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in text) + '"'
