"""The ground plane of a camera whose height and angles are known, and the height and angles of a known plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import CalibrationError, require
from crackmap.calibration.lens import Lens
from crackmap.calibration.plane import GroundLimits, GroundPlane

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Mount:
    """How a camera is mounted on its vehicle.

    Attributes:
        height_m: of the camera above the road.
        pitch_deg: how far it looks down: 0 at the horizon, 90 straight down.
        roll_deg: how far it is turned clockwise about its optical axis, as seen from behind it: the right end of the
            horizon then stands higher in the picture than the left.
        yaw_deg: how far it is turned to the right of the direction of travel: 180 looks back.
        position_m: of the camera in the vehicle frame: to the right, and ahead of the origin.
    """

    height_m: float
    pitch_deg: float
    roll_deg: float = 0.0
    yaw_deg: float = 0.0
    position_m: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        require(self.height_m > 0, "height_m", "metres above 0", self.height_m)
        require(-90 < self.pitch_deg <= 90, "pitch_deg", "degrees, at most 90 (straight down)", self.pitch_deg)


def plane_from_mount(
    mount: Mount,
    *,
    size_wh_px: tuple[int, int],
    lens: Lens | None = None,
    focal_px: float | None = None,
    limits: GroundLimits | None = None,
) -> GroundPlane:
    """The ground plane of a level road seen by a camera of known mounting.

    Args:
        mount: height, angles and place of the camera.
        size_wh_px: image width and height.
        lens: of the camera.
        focal_px: focal length over the pixel size, for a camera without a lens calibration: no distortion, the
            principal point in the middle.
        limits: where the plane is trusted.

    Raises:
        InputError: neither lens nor focal length is given, or both.
        CalibrationError: no pixel of the image sees the road.
    """
    require((lens is None) != (focal_px is None), "lens, focal_px", "one of the two", (lens, focal_px))
    pixel_from_ground = intrinsics(size_wh_px, lens=lens, focal_px=focal_px) @ camera_from_ground(mount)
    homography = np.asarray(np.linalg.inv(pixel_from_ground), np.float64)
    plane = GroundPlane(homography, size_wh_px, limits or GroundLimits(), lens=lens)
    width, height = size_wh_px
    edge = [(x, y) for x in (0, width / 2, width) for y in (0, height / 2, height)]
    if not np.isfinite(plane.to_ground_xy_m(edge)).any():
        raise CalibrationError(
            f"mounting: with a pitch of {mount.pitch_deg:g} degrees the camera sees nothing of the road; pitch counts "
            "downwards from the horizon"
        )
    return plane


def intrinsics(size_wh_px: tuple[int, int], *, lens: Lens | None = None, focal_px: float | None = None) -> FloatArray:
    """(3, 3) matrix of the ideal camera: of the lens, or with the principal point in the middle of the image."""
    width, height = size_wh_px
    fx, fy = lens.focal_xy_px if lens is not None else (focal_px or 1.0, focal_px or 1.0)
    cx, cy = lens.centre_xy_px if lens is not None else (width / 2, height / 2)
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def camera_from_ground(mount: Mount) -> FloatArray:
    """(3, 3) from ground (x, y, 1) to camera coordinates: right, down and forward of the camera, metres."""
    axes = _axes(mount)
    centre = np.array([*mount.position_m, mount.height_m])
    return np.column_stack([axes[:, 0], axes[:, 1], -axes @ centre])


def mount_of_plane(plane: GroundPlane, *, focal_px: float | None = None) -> Mount:
    """The height and angles a ground plane implies, the inverse of `plane_from_mount`.

    A homography from pixels of a camera with known inner parameters to the plane z = 0 is K [r1 r2 t] up to a factor
    (Zhang, 2000); r1 and r2 are made orthonormal in the least-squares sense.

    Args:
        plane: any plane that is not affine.
        focal_px: needed where the plane has no lens.

    Raises:
        CalibrationError: the plane has no perspective, so that nothing tells the height.
    """
    if plane.is_affine:
        raise CalibrationError("ground plane: it has no perspective, so it tells no camera height and no angles")
    require((plane.lens is None) != (focal_px is None), "focal_px", "a lens in the plane, or a focal length", focal_px)
    matrix = intrinsics(plane.size_wh_px, lens=plane.lens, focal_px=focal_px)
    columns = np.linalg.inv(matrix) @ np.linalg.inv(plane.ground_from_pixel)
    columns /= np.sqrt(np.linalg.norm(columns[:, 0]) * np.linalg.norm(columns[:, 1]))
    u, _, v = np.linalg.svd(columns[:, :2], full_matrices=False)
    right, ahead = (u @ v).T
    axes = np.column_stack([right, ahead, np.cross(right, ahead)])
    x, y, height = (-axes.T @ columns[:, 2]).tolist()
    if height <= 0:
        raise CalibrationError(
            "ground plane: the road would lie above the camera; left and right, or x and y, seem exchanged: "
            "pixels count from the top-left corner, x to the right and y down; metres to the right and ahead"
        )
    forward, side, down = axes[2], axes[0], axes[1]
    pitch = float(np.degrees(np.arcsin(np.clip(-forward[2], -1.0, 1.0))))
    # Looking straight down, the top of the image takes the part of the horizon.
    heading = forward if pitch < 89.9 else -down
    yaw = float(np.degrees(np.arctan2(heading[0], heading[1])))
    level = Mount(1.0, min(pitch, 90.0), 0.0, yaw)
    level_axes = _axes(level)
    roll = float(np.degrees(np.arctan2(side @ level_axes[1], side @ level_axes[0])))
    return Mount(height, min(pitch, 90.0), roll, yaw, (x, y))


def _axes(mount: Mount) -> FloatArray:
    """(3, 3) rows: the camera's right, down and forward in ground coordinates (x right of travel, y ahead, z up)."""
    pitch, roll, yaw = np.deg2rad([mount.pitch_deg, mount.roll_deg, mount.yaw_deg])
    ahead = np.array([np.sin(yaw), np.cos(yaw), 0.0])
    level = np.array([np.cos(yaw), -np.sin(yaw), 0.0])
    below = np.array([0.0, 0.0, -1.0])
    forward = np.cos(pitch) * ahead + np.sin(pitch) * below
    down = np.cos(pitch) * below - np.sin(pitch) * ahead
    return np.array([np.cos(roll) * level + np.sin(roll) * down, np.cos(roll) * down - np.sin(roll) * level, forward])
