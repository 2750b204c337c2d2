"""What a synthetic survey is made of, and the camera that sees it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from crackmap.calibration.errors import require
from crackmap.calibration.plane import GroundLimits, GroundPlane
from crackmap.pipeline.footprint import visible_y_m

KINDS = ("straight", "arc", "fractal", "branch", "network")
"""What can be drawn: lines, lines with side branches, and alligator patterns."""

COARSEST_MM = 12.0
"""Trust limit of the forward camera: at a greater pixel most cracks are narrower than one."""

DOWNWARD_WH_PX = (1600, 1200)
FORWARD_WH_PX = (1280, 960)


@dataclass(frozen=True, slots=True)
class SyntheticSettings:
    """What is drawn.

    Attributes:
        frames: number of images of the first pass.
        camera: "downward" or "forward".
        gsd_mm: ground length of a pixel of the downward camera, or of a step along a row and along a column.
        size_wh_px: size of an image; by default 1600 x 1200 downward, 1280 x 960 forward.
        focal_px: focal length of the forward camera over its pixel size.
        height_m: of the forward camera above the road.
        pitch_deg: how far the forward camera looks down.
        step_m: distance between images; by default 2 m, less where an image shows less road than that.
        azimuth_deg: direction of travel, clockwise from grid north.
        cracks_per_10m: cracks on 10 m of road; a crack with its branches, or a network, counts as one.
        kinds: which of KINDS.
        width_px: range of widths in pixels of the nearest road, even by their logarithm; as widths vary along a crack,
            the default fills the classes from 1 to 20 px.
        depth: range of the share of the road's brightness that a crack takes away.
        distractors: whether paint, joints, sealed cracks, patches, stains and shadows are drawn.
        background: folder of crack-free images in place of the drawn surface and its distractors.
        gnss_noise_m: standard deviation of each coordinate of a fix, metres: half of its variance is white, half
            varies over half a minute.
        blur_px: sigma of the optics.
        noise_levels: sigma of the sensor noise, grey levels.
        jpeg_quality: 1 to 100.
        grow_share: share of the crack systems that have grown in all passes after the first.
        grow_length_percent: how much longer their cracks are then, at their free tips.
        grow_width_mm: how much wider, less at tapered tips.
        grow_new_share: systems that have opened since the first pass, as a share of those it saw.
        seed: same seed, same survey.
    """

    frames: int = 24
    camera: Literal["downward", "forward"] = "downward"
    gsd_mm: float | tuple[float, float] = 2.0
    size_wh_px: tuple[int, int] | None = None
    focal_px: float = 1100.0
    height_m: float = 2.2
    pitch_deg: float = 18.0
    step_m: float | None = None
    azimuth_deg: float = 60.0
    cracks_per_10m: float = 4.0
    kinds: tuple[str, ...] = KINDS
    width_px: tuple[float, float] = (1.15, 19.0)
    depth: tuple[float, float] = (0.35, 0.8)
    distractors: bool = True
    background: Path | None = None
    gnss_noise_m: float = 0.0
    blur_px: float = 0.6
    noise_levels: float = 2.0
    jpeg_quality: int = 92
    grow_share: float = 0.3
    grow_length_percent: float = 0.0
    grow_width_mm: float = 0.0
    grow_new_share: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.frames >= 2, "frames", "2 or more", self.frames)
        require(self.camera in ("downward", "forward"), "camera", "downward or forward", self.camera)
        require(len(self.kinds) > 0, "kinds", f"one or more of {', '.join(KINDS)}", self.kinds)
        for kind in self.kinds:
            require(kind in KINDS, "kinds", f"only {', '.join(KINDS)}", kind)
        require(self.cracks_per_10m >= 0, "cracks_per_10m", "0 or more", self.cracks_per_10m)
        require(0 < self.width_px[0] <= self.width_px[1], "width_px", "a range above 0", self.width_px)
        require(0 < self.depth[0] <= self.depth[1] <= 0.9, "depth", "a range between 0 and 0.9", self.depth)
        require(self.gnss_noise_m >= 0, "gnss_noise_m", "0 or more", self.gnss_noise_m)
        require(self.blur_px >= 0, "blur_px", "0 or more", self.blur_px)
        require(self.noise_levels >= 0, "noise_levels", "0 or more", self.noise_levels)
        require(1 <= self.jpeg_quality <= 100, "jpeg_quality", "1 to 100", self.jpeg_quality)
        require(0 <= self.grow_share <= 1, "grow_share", "0 to 1", self.grow_share)
        for name in ("grow_length_percent", "grow_width_mm", "grow_new_share"):
            require(0 <= getattr(self, name) < np.inf, name, "0 or more", getattr(self, name))
        require(self.seed >= 0, "seed", "0 or more", self.seed)

    @property
    def grows(self) -> bool:
        """Whether anything changes after the first pass."""
        changes = self.grow_length_percent > 0 or self.grow_width_mm > 0
        return (self.grow_share > 0 and changes) or self.grow_new_share > 0


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera above a road, and how a survey is driven with it.

    Attributes:
        plane: its exact ground plane.
        near_m, far_m: the road ahead that it is trusted with.
        step_m: distance between images.
        pixel_mm: ground length of a pixel, across and along, in the middle of the trusted road.
        nearest_mm: side of a square of the area that a pixel covers on the nearest road.
        half_width_m: cracks lie within this distance of the vehicle's path.
    """

    plane: GroundPlane
    near_m: float
    far_m: float
    step_m: float
    pixel_mm: tuple[float, float]
    nearest_mm: float
    half_width_m: float


def camera_of(settings: SyntheticSettings) -> Camera:
    """The camera that `settings` describe.

    Raises:
        InputError: the images are further apart than they show road, so that road would be missing.
        CalibrationError: the camera sees no road that can be trusted.
    """
    if settings.camera == "downward":
        plane = GroundPlane.from_gsd(gsd_mm=settings.gsd_mm, size_wh_px=settings.size_wh_px or DOWNWARD_WH_PX)
    else:
        plane = pinhole_plane(
            focal_px=settings.focal_px,
            height_m=settings.height_m,
            pitch_deg=settings.pitch_deg,
            size_wh_px=settings.size_wh_px or FORWARD_WH_PX,
        )
    near, far = visible_y_m(plane)
    # The nearest road of a downward camera is -0.0 after rounding up.
    near += 0.0
    step = settings.step_m if settings.step_m is not None else min(2.0, 0.85 * (far - near))
    require(0 < step <= far - near + 1e-9, "step_m", f"at most the {far - near:.2f} m of road an image shows", step)
    width, height = plane.size_wh_px
    middle = plane.gsd_mm(plane.to_pixel_xy([[0.0, (near + far) / 2]]))[0]
    nearest_mm = float(np.sqrt(plane.gsd_mm([[width / 2, height]])[0].prod()))
    corners = np.array([[0.0, height], [width, height]], np.float64)
    left, right = plane.to_ground_xy_m(corners)[:, 0].tolist()
    half_width = min((right - left) / 2 - min(0.2, 0.15 * (right - left)), 1.7)
    return Camera(plane, near, far, step, (float(middle[0]), float(middle[1])), nearest_mm, half_width)


def pinhole_plane(*, focal_px: float, height_m: float, pitch_deg: float, size_wh_px: tuple[int, int]) -> GroundPlane:
    """The ground plane of a pinhole camera without roll, its principal point in the middle of the image.

    A road point x to the right of and y ahead of the camera's foot has the camera coordinates
    (x, h cos(pitch) - y sin(pitch), h sin(pitch) + y cos(pitch)): right, down and forward.
    """
    require(focal_px > 0, "focal_px", "pixels above 0", focal_px)
    require(height_m > 0, "height_m", "metres above 0", height_m)
    require(0 < pitch_deg < 90, "pitch_deg", "degrees between 0 and 90", pitch_deg)
    sine, cosine = np.sin(np.deg2rad(pitch_deg)), np.cos(np.deg2rad(pitch_deg))
    camera_from_ground = np.array([[1.0, 0.0, 0.0], [0.0, -sine, height_m * cosine], [0.0, cosine, height_m * sine]])
    centre = np.array(size_wh_px) / 2
    pixel_from_camera = np.array([[focal_px, 0.0, centre[0]], [0.0, focal_px, centre[1]], [0.0, 0.0, 1.0]])
    ground_from_pixel = np.linalg.inv(pixel_from_camera @ camera_from_ground)
    return GroundPlane(np.asarray(ground_from_pixel, np.float64), size_wh_px, GroundLimits(COARSEST_MM))


def survey_toml(settings: SyntheticSettings, camera: Camera) -> str:
    """The description by which the survey is read again, with the exact calibration of its camera."""
    if settings.camera == "downward":
        gsd = settings.gsd_mm if isinstance(settings.gsd_mm, (int, float)) else list(settings.gsd_mm)
        view = "a camera that looks straight down, image-up is the direction of travel"
        ground = f'[ground]\nmethod = "gsd"\ngsd_mm = {gsd}\n'
    else:
        width, height = camera.plane.size_wh_px
        far_row = float(np.ceil(camera.plane.to_pixel_xy([[0.0, camera.far_m]])[0, 1]))
        pixels = [[x, y] for y in (far_row, float(height)) for x in (0.0, width / 2, float(width))]
        points = camera.plane.to_ground_xy_m(np.array(pixels, np.float64)).tolist()
        view = "a camera that looks ahead, without lens distortion"
        ground = f'[ground]\nmethod = "points"\npoints_px = {pixels}\npoints_m = {points}\n'
        ground += f"\n[limits]\ncoarsest_gsd_mm = {COARSEST_MM}\n"
    return (
        f"# A synthetic survey: {view}.\n"
        "[frames]\n"
        'include = ["images/*.jpg"]\n'
        "pattern = '_t(?P<time_s>[0-9]+\\.[0-9]+)\\.jpg$'\n\n"
        "[position]\n"
        'source = "track"\ntrack = "gnss.csv"\n\n' + ground
    )
