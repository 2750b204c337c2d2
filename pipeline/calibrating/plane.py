"""Road planes for `crackmap calibrate plane`: files and frames in, a ground plane and what is to be said of it out."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.board import Board, find_board
from crackmap.calibration.errors import CalibrationError, InputError, UnreadableImageError
from crackmap.calibration.fit import LaneView, fit_lane_view, plane_from_lane
from crackmap.calibration.lane_lines import find_lane_lines
from crackmap.calibration.lens import Lens
from crackmap.calibration.motion import MotionFit, consecutive_pairs, focal_from_motion
from crackmap.calibration.mount import Mount, mount_of_plane, plane_from_mount
from crackmap.calibration.plane import GroundLimits, GroundPlane
from crackmap.calibration.points import PointsFit, fit_board, fit_points, implied_focal_px
from crackmap.calibration.profile import gsd_profile
from crackmap.calibration.store import Calibration, read_calibration
from crackmap.pipeline.calibrating.plane_report import said_of_motion
from crackmap.pipeline.images import open_image, read_header

MOST_FRAMES = 120
"""Frames that lane lines are sought in: the median moves by less than a pixel when more are added."""

MOST_PAIRS = 120
"""Pairs that motion is measured on: their median is known to 1 to 2 % where single steps vary by a fifth."""

CACHED_PX = 400_000_000
"""Grey frames are kept up to this many pixels together."""

LANE_PERCENT = 3.0
"""Lanes of one class of road differ by a decimetre or so."""

GSD_PERCENT = 1.0
"""A pixel size measured once with a tape in the picture."""

HEIGHT_M, ANGLE_DEG = 0.01, 0.3
"""Standard uncertainty of a mounting height measured with a tape, and of an angle by a spirit level."""

Progress = Callable[[], None]


@dataclass(frozen=True, slots=True)
class PlaneMade:
    """A road plane and how it came about.

    Attributes:
        plane: with its uncertainty of scale.
        method: in a few words.
        found: what was found on the way, sentences for the user.
        focal_px: of a camera without a lens calibration: as given, found, or implied by the points; None otherwise.
        numbers: the same for files: name -> value.
    """

    plane: GroundPlane
    method: str
    found: tuple[str, ...] = ()
    focal_px: float | None = None
    numbers: dict[str, float | str] = field(default_factory=dict)

    def mount(self) -> Mount | None:
        """Height and angles of the camera; None where nothing tells them."""
        if self.plane.is_affine or (self.plane.lens is None and self.focal_px is None):
            return None
        return mount_of_plane(self.plane, focal_px=None if self.plane.lens is not None else self.focal_px)


def read_lens(path: Path) -> Calibration:
    """A calibration file that has a lens.

    Raises:
        CalibrationError: it cannot be read, or has none.
    """
    calibration = read_calibration(path)
    if calibration.lens is None:
        raise CalibrationError(f"{path.name}: it holds no lens; make one with `crackmap calibrate camera`")
    return calibration


def frame_size_wh(path: Path, lens: Lens | None = None) -> tuple[int, int]:
    """The size of a frame.

    Raises:
        InputError: the frame is a georeferenced raster, which needs no calibration.
        CalibrationError: the lens is of another image size.
    """
    header = read_header(path)
    if header.georeference is not None:
        raise InputError(
            f"{path.name}: it is georeferenced and carries its own plane; no calibration is needed, run "
            "`crackmap run` on its folder"
        )
    return checked_size(header.size_wh_px, lens, path.name)


def checked_size(size_wh_px: tuple[int, int], lens: Lens | None, name: str) -> tuple[int, int]:
    """The size, if the lens is for it.

    Raises:
        CalibrationError: the lens is of another image size.
    """
    if lens is not None and lens.size_wh_px != size_wh_px:
        raise CalibrationError(
            f"{name}: {size_wh_px[0]}x{size_wh_px[1]} px, but the lens calibration is for "
            f"{lens.size_wh_px[0]}x{lens.size_wh_px[1]} px; calibrate the lens at the size of the survey"
        )
    return size_wh_px


def read_points(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, 2) pixels and (N, 2) metres of a table with the columns x_px, y_px, x_m, y_m; `;` and decimal commas too.

    Raises:
        InputError: a column is missing, or a cell is not a number; names the line.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name}: cannot be read as a table ({error}); save it as CSV in UTF-8") from error
    head = text.split("\n", 1)[0]
    separator = ";" if ";" in head else "\t" if "\t" in head else ","
    reader = csv.DictReader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    names = ("x_px", "y_px", "x_m", "y_m")
    columns = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
    missing = [name for name in names if name not in columns]
    if missing:
        raise InputError(
            f"{path.name}: expected the columns {', '.join(names)}, got {head.strip()!r}; {missing[0]} is missing"
        )
    rows = []
    try:
        for row in reader:
            cells = [str(row[columns[name]] or "").strip() for name in names]
            if any(cells):
                rows.append(_numbers(cells, f"{path.name}, line {reader.line_num}"))
    except csv.Error as error:
        raise InputError(f"{path.name}: not a table ({error}); save it as CSV in UTF-8") from error
    table = np.asarray(rows, np.float64).reshape(-1, 4)
    return table[:, :2], table[:, 2:]


def _numbers(cells: Sequence[str], where: str) -> list[float]:
    try:
        numbers = [float(cell.replace(",", ".")) for cell in cells]
    except ValueError:
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise InputError(f"{where}: expected four numbers, got {cells}")
    return numbers


def from_points(path: Path, size_wh_px: tuple[int, int], limits: GroundLimits, lens: Lens | None) -> PlaneMade:
    """The plane through the points of a table.

    Raises:
        InputError: the table cannot be read, or its points fix no plane.
    """
    pixels, metres = read_points(path)
    fit = fit_points(pixels, metres, size_wh_px=size_wh_px, limits=limits, lens=lens)
    return of_points_fit(fit, f"{len(pixels)} points")


def of_points_fit(fit: PointsFit, method: str) -> PlaneMade:
    """What there is to say of a fit to points."""
    px, mm = (np.linalg.norm(residual, axis=1) for residual in (fit.residual_px, fit.residual_mm))
    found = []
    if len(px) == 4:
        found.append("four points are met exactly, so nothing shows a mistake in them: measure six or more")
    else:
        worst = int(px.argmax())
        found.append(
            f"residuals: {np.sqrt((px**2).mean()):.2f} px and {np.sqrt((mm**2).mean()):.1f} mm (root mean square), "
            f"largest {px[worst]:.2f} px, {mm[worst]:.1f} mm at point {worst + 1}"
        )
    if fit.outlier is not None:
        found.append(
            f"warning: point {fit.outlier + 1} lies {fit.outlier_px:.1f} px from where the others put it; measure it "
            "again or leave it out"
        )
    numbers: dict[str, float | str] = {"points": len(px), "rms_residual_px": float(np.sqrt((px**2).mean()))}
    focal_px = None if fit.plane.lens is not None else implied_focal_px(fit.plane)
    return PlaneMade(fit.plane, method, tuple(found), focal_px, numbers)


def from_board(
    frame: Path,
    *,
    corners_wh: tuple[int, int],
    square_mm: float,
    centre_m: tuple[float, float],
    turn_deg: float,
    limits: GroundLimits,
    lens: Lens | None,
) -> PlaneMade:
    """The plane of the road on which a chessboard lies (see `fit_board`).

    Raises:
        CalibrationError: no board is found.
    """
    size = frame_size_wh(frame, lens)
    with open_image(frame) as source:
        grey = np.asarray(np.rint(source.read_all().mean(axis=2, dtype=np.float32)), np.uint8)
    corners = _board_corners(grey, Board(corners_wh, square_mm))
    if corners is None:
        raise CalibrationError(
            f"{frame.name}: no board of {corners_wh[0]}x{corners_wh[1]} inner corners found; count the corners between "
            "the squares, not the squares, show the whole board with a white rim, or use --points"
        )
    fit = fit_board(
        corners, corners_wh=corners_wh, square_mm=square_mm, centre_m=centre_m, turn_deg=turn_deg, size_wh_px=size,
        limits=limits, lens=lens,
    )  # fmt: skip
    made = of_points_fit(fit, "board on the road")
    reach = max(corners_wh) * square_mm / 1e3
    note = f"the board is {reach:.2f} m long: far beyond it the plane is an extrapolation, look at it with check"
    return replace(made, found=(*made.found, note))


def from_mount(
    mount: Mount, size_wh_px: tuple[int, int], limits: GroundLimits, lens: Lens | None, focal_px: float | None
) -> PlaneMade:
    """The plane of a camera of known height and angles; its uncertainty from HEIGHT_M and ANGLE_DEG.

    Raises:
        CalibrationError: the camera sees no road.
    """

    def made(height_m: float, pitch_deg: float) -> GroundPlane:
        changed = replace(mount, height_m=height_m, pitch_deg=pitch_deg)
        return plane_from_mount(changed, size_wh_px=size_wh_px, lens=lens, focal_px=focal_px, limits=limits)

    plane = made(mount.height_m, mount.pitch_deg)
    rows = gsd_profile(plane).near_middle_far()
    spread = HEIGHT_M / mount.height_m
    if rows:
        pixel = [(size_wh_px[0] / 2, rows[1] + 0.5)]
        tilted = made(mount.height_m, mount.pitch_deg - ANGLE_DEG)
        sizes = [np.sqrt(abs(np.linalg.det(each.jacobian_mm(pixel)[0]))) for each in (plane, tilted)]
        spread = float(np.hypot(spread, sizes[1] / sizes[0] - 1.0))
    plane = replace(plane, u_scale=min(spread, 0.99))
    return PlaneMade(plane, "height and angles", (), focal_px, {"height_m": mount.height_m})


def from_gsd(
    gsd_mm: float | tuple[float, float], size_wh_px: tuple[int, int], limits: GroundLimits | None
) -> PlaneMade:
    """The plane of a camera that looks straight down."""
    plane = GroundPlane.from_gsd(gsd_mm=gsd_mm, size_wh_px=size_wh_px, limits=limits)
    return PlaneMade(replace(plane, u_scale=GSD_PERCENT / 100), "pixel size")


def from_lane(
    frames: Sequence[Path],
    *,
    lane_width_m: float,
    limits: GroundLimits,
    lens: Lens | None = None,
    focal_px: float | None = None,
    step_m: float | None = None,
    roll_deg: float = 0.0,
    mask_of: Callable[[Path], Path] | None = None,
    progress: Progress | None = None,
) -> PlaneMade:
    """The plane of a camera that looks along a lane of known width.

    Args:
        frames: of one recording, in the order taken.
        lane_width_m: between the inner edges of its lines, or between the edges of the masks.
        limits: where the plane is trusted.
        lens: of the camera; or
        focal_px: its focal length; or
        step_m: the distance between consecutive frames, from which the focal length is found.
        roll_deg: of the camera.
        mask_of: the lane mask of a frame; by default the lines are found in the frames.
        progress: called for each frame read.

    Raises:
        CalibrationError: no lines found, no clear motion, or frames of different sizes.
    """
    size = frame_size_wh(frames[0], lens)
    chosen = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, MOST_FRAMES).round().astype(int))]
    if mask_of is None:
        view = find_lane_lines(_pictures(chosen, size, progress), lens=lens)
    else:
        masks = (pixels[..., 0] > 127 for pixels in _pictures([mask_of(path) for path in chosen], size, progress))
        view = fit_lane_view(masks, lens=lens)
    spread = LANE_PERCENT / 100
    found = [_said_of(view, "masks" if mask_of is not None else "frames")]
    numbers: dict[str, float | str] = {"lane_width_m": lane_width_m, "frames_used": view.used, "frames": view.seen}
    method = "lane width"
    if lens is None and focal_px is None:
        motion = motion_of_lane(frames, view, lane_width_m=lane_width_m, step_m=step_m or 0.0, roll_deg=roll_deg)
        # The lane scales the road across, the motion scales it along.
        spread = float(np.hypot(spread, motion.check_uncertainty))
        focal_px, method = motion.value, "lane width, focal length from motion"
        numbers |= {"u_focal_px": round(motion.uncertainty, 1), "motion_over_step": round(motion.check, 4)}
        found += said_of_motion(motion, 1.0, "focal length", "px")
    plane = plane_from_lane(
        view, lane_width_m=lane_width_m, focal_px=focal_px, size_wh_px=size, limits=limits, lens=lens, roll_deg=roll_deg
    )
    return PlaneMade(replace(plane, u_scale=min(spread, 0.99)), method, tuple(found), focal_px, numbers)


def motion_of_lane(
    frames: Sequence[Path],
    view: LaneView,
    *,
    lane_width_m: float,
    step_m: float,
    trial_focal_px: float | None = None,
    roll_deg: float = 0.0,
) -> MotionFit:
    """The focal length from the motion between consecutive frames.

    Raises:
        CalibrationError: too few pairs match clearly.
    """
    pairs, grey_of = pairs_of(frames, view.size_wh_px)
    return focal_from_motion(
        view, pairs, grey_of, lane_width_m=lane_width_m, step_m=step_m, trial_focal_px=trial_focal_px,
        roll_deg=roll_deg,
    )  # fmt: skip


def pairs_of(
    frames: Sequence[Path], size_wh_px: tuple[int, int]
) -> tuple[list[tuple[int, int]], Callable[[int], NDArray[np.uint8]]]:
    """Up to MOST_PAIRS pairs of consecutive frames, evenly chosen, and how to read the grey frame of an index.

    Raises:
        CalibrationError: fewer than two frames.
    """
    if len(frames) < 2:
        raise CalibrationError("motion: one frame alone shows none; give consecutive frames of one recording")
    pairs = consecutive_pairs([path.name for path in frames])
    chosen = [pairs[i] for i in np.unique(np.linspace(0, len(pairs) - 1, MOST_PAIRS).round().astype(int))]

    @lru_cache(maxsize=max(CACHED_PX // (size_wh_px[0] * size_wh_px[1]), 4))
    def grey_of(index: int) -> NDArray[np.uint8]:
        pixels = _picture(frames[index], size_wh_px)
        return np.asarray(np.rint(pixels.mean(axis=2, dtype=np.float32)), np.uint8)

    return chosen, grey_of


def _board_corners(grey: NDArray[np.uint8], board: Board) -> NDArray[np.float64] | None:
    """(N, 2) inner corners of a chessboard, row by row; None if there is none.

    A board that lies on the road is seen at a low angle, its squares a few pixels high: it is sought in the picture as
    it is and in an enlarged one.
    """
    for scale in (1, 2, 3):
        sought = grey if scale == 1 else cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        view = find_board(np.asarray(sought, np.uint8), board)
        if view is not None:
            return np.asarray(view.xy_px / scale, np.float64)
    return None


def _said_of(view: LaneView, kind: str) -> str:
    x, y = view.vanishing_point_xy_px
    return (
        f"lane lines in {view.used} of {view.seen} {kind}: vanishing point ({x:.0f} +- {view.spread_px[0]:.0f}, "
        f"{y:.0f} +- {view.spread_px[1]:.0f}) px"
    )


def _pictures(
    paths: Sequence[Path], size_wh_px: tuple[int, int], progress: Progress | None
) -> Iterator[NDArray[np.uint8]]:
    """Yields those that can be read: one frame more or less does not matter; that none can is an error of the fit."""
    for path in paths:
        try:
            yield _picture(path, size_wh_px)
        except UnreadableImageError:
            continue
        finally:
            if progress is not None:
                progress()


def _picture(path: Path, size_wh_px: tuple[int, int]) -> NDArray[np.uint8]:
    with open_image(path) as source:
        if source.size_wh_px != size_wh_px:
            raise CalibrationError(
                f"{path.name}: expected {size_wh_px[0]}x{size_wh_px[1]} px like the first frame, got "
                f"{source.size_wh_px[0]}x{source.size_wh_px[1]}; give frames of one camera"
            )
        return source.read_all()
