"""crackmap calibrate plane: from pixels to metres on the road."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from crackmap.cli.console import echo
from crackmap.cli.options import existing_path, gsd_option, json_option
from crackmap.cli.progress import frame_progress
from crackmap.cli.types import BoardType, LengthType, NumbersType, SizeType

if TYPE_CHECKING:
    from crackmap.calibration.lens import Lens
    from crackmap.calibration.plane import GroundLimits
    from crackmap.pipeline.calibrating.plane import PlaneMade

METHODS = {
    "points_file": "--points FILE (four or more points measured on the road)",
    "board": "--board 9x6 --square 100mm --board-at RIGHT,AHEAD (a chessboard on the road)",
    "lane_width_m": "--lane-width M FRAMES (a lane of known width)",
    "height_m": "--height M --pitch DEG (a known mounting)",
    "gsd_mm": "--gsd MM (a camera that looks straight down)",
}


class Request(NamedTuple):
    """The options that methods take, as given."""

    frames: tuple[Path, ...]
    points_file: Path | None
    board: tuple[int, int] | None
    square_mm: float | None
    board_at: tuple[float, ...] | None
    lane_width_m: float | None
    masks_ending: str | None
    masks: Path | None
    step_m: float | None
    height_m: float | None
    pitch_deg: float | None
    roll_deg: float
    yaw_deg: float
    at_m: tuple[float, float]
    gsd_mm: float | tuple[float, float] | None
    frame: Path | None
    size_wh_px: tuple[int, int] | None
    focal_px: float | None


@click.command()
@click.argument("frames", nargs=-1, type=existing_path())
@click.option("--points", "points_file", type=existing_path(folder=False),
              help="CSV of x_px, y_px, x_m, y_m: pixels from the top-left corner, metres right and ahead.")  # fmt: skip
@click.option("--board", type=BoardType(), help="Inner corners of a chessboard that lies on the road: 9x6.")
@click.option("--square", "square_mm", type=LengthType(), help="Side of its squares: 100mm.")
@click.option("--board-at", type=NumbersType(2, 3, "0,6.5 or 0,6.5,90"),
              help="Where its middle lies, RIGHT,AHEAD[,TURN]: metres, degrees clockwise; 0: rows across.")  # fmt: skip
@click.option("--lane-width", "lane_width_m", type=click.FloatRange(0.5, 20),
              help="Metres between the inner edges of the lane lines in FRAMES.")  # fmt: skip
@click.option("--masks-ending", help="FROM=TO: lane masks lie beside the frames, FROM at the end of a name replaced by "
              "TO: _RAW.jpg=_LANE.png.")  # fmt: skip
@click.option("--lane-masks", "masks", type=existing_path(file=False),
              help="Folder of lane masks with the names of the frames (.png).")  # fmt: skip
@click.option("--step", "step_m", type=click.FloatRange(0.1, 100),
              help="Metres between consecutive FRAMES: finds the focal length from their motion.")  # fmt: skip
@click.option("--height", "height_m", type=click.FloatRange(0.05, 100), help="Of the camera above the road, metres.")
@click.option("--pitch", "pitch_deg", type=click.FloatRange(-89, 90), help="Degrees down: 0 ahead, 90 straight down.")
@click.option("--roll", "roll_deg", default=0.0, type=click.FloatRange(-180, 180), help="Degrees clockwise.")
@click.option(
    "--yaw", "yaw_deg", default=0.0, type=click.FloatRange(-180, 180), help="Degrees to the right; 180: back."
)
@click.option("--at", "at_m", default=(0.0, 0.0), type=NumbersType(2, 2, "0.2,-1.5"),
              help="Camera place, RIGHT,AHEAD of the vehicle's origin, metres.")  # fmt: skip
@gsd_option()
@click.option("--frame", type=existing_path(folder=False), help="A frame of the survey, for its size (or the board).")
@click.option("--size", "size_wh_px", type=SizeType(), help="Size of the frames, instead of --frame.")
@click.option("--lens", "lens_file", type=existing_path(folder=False), help="From `crackmap calibrate camera`.")
@click.option("--focal", "focal_px", type=click.FloatRange(10, 1e6), help="Focal length in pixels, without --lens.")
@click.option("--lateral", type=NumbersType(2, 2, "-2.2,2.2"), help="LEFT,RIGHT: road that counts, metres.")
@click.option("--nearest", "nearest_m", type=click.FloatRange(0.01, 1000),
              help="Nearest road that counts, metres: beyond the bonnet.")  # fmt: skip
@click.option("--farthest", "farthest_m", type=click.FloatRange(0.1, 1000), help="Farthest road that counts, metres.")
@click.option("--coarsest", "coarsest_mm", type=click.FloatRange(0.01, 1e4), help="Coarsest pixel that counts, mm.")
@click.option("--scale-uncertainty", "percent", type=click.FloatRange(0, 99),
              help="Standard uncertainty of lengths, percent; by default by method, docs/calibration.md.")  # fmt: skip
@click.option(
    "--out", "-o", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write (.toml)."
)
@json_option()
def command(
    lens_file: Path | None, lateral: tuple[float, float] | None, nearest_m: float | None,
    farthest_m: float | None, coarsest_mm: float | None,
    percent: float | None, out: Path, as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Find the road plane of a camera, by exactly one method.

    \b
    crackmap calibrate plane --points points.csv --frame IMAGE --lens camera.toml -o front.toml
    crackmap calibrate plane --board 9x6 --square 100mm --board-at 0,6.5 --frame IMAGE --lens camera.toml -o front.toml
    crackmap calibrate plane --lane-width 3.6 FRAMES --step 5.0 -o front.toml
    crackmap calibrate plane --height 2.2 --pitch 30 --frame IMAGE --lens camera.toml -o front.toml
    crackmap calibrate plane --gsd 1.0,2.5 --size 4096x2048 -o down.toml
    """
    request = Request(**options)
    method = _method(request)
    if lens_file is not None and request.focal_px is not None:
        raise click.UsageError("--lens holds a focal length already: leave out --focal")
    from crackmap.calibration.plane import GroundLimits
    from crackmap.pipeline.calibrating.plane import read_lens
    from crackmap.pipeline.calibrating.plane_file import write_plane
    from crackmap.pipeline.calibrating.plane_report import plane_table

    camera = None if lens_file is None else read_lens(lens_file)
    lens = None if camera is None else camera.lens
    limits = None
    if method != "gsd_mm" or lateral or nearest_m or farthest_m or coarsest_mm:
        coarse = coarsest_mm or (_twice(request.gsd_mm) if method == "gsd_mm" else GroundLimits().coarsest_gsd_mm)
        limits = GroundLimits(coarse, lateral, farthest_m, nearest_m)
    made = (
        _MAKERS[method](request, lens, limits or GroundLimits()) if method != "gsd_mm" else _gsd(request, lens, limits)
    )
    numbers = write_plane(
        out, made, camera=camera, scale_percent=percent, command=" ".join(["crackmap", *sys.argv[1:]])
    )
    if as_json:
        echo(json.dumps(numbers, indent=1, allow_nan=False))
        return
    for line in [f"method: {made.method}", *made.found, *plane_table(numbers)]:
        echo(line)
    echo(f"Written: {out}. Look at it: crackmap calibrate check {out} IMAGE -o check")


def _method(request: Request) -> str:
    chosen = [name for name in METHODS if getattr(request, name) is not None]
    if len(chosen) != 1:
        listed = "\n  ".join(METHODS.values())
        given = "none" if not chosen else "several"
        raise click.UsageError(f"choose exactly one method ({given} given):\n  {listed}")
    if request.frames and chosen[0] != "lane_width_m":
        raise click.UsageError("FRAMES belong to --lane-width; name the frame of the other methods with --frame")
    return chosen[0]


def _size(request: Request, lens: Lens | None) -> tuple[int, int]:
    from crackmap.pipeline.calibrating.plane import checked_size, frame_size_wh

    if (request.frame is None) == (request.size_wh_px is None):
        raise click.UsageError("give the size of the survey's frames: either --frame IMAGE or --size WIDTHxHEIGHT")
    if request.frame is not None:
        return frame_size_wh(request.frame, lens)
    return checked_size(request.size_wh_px or (0, 0), lens, "--size")


def _points(request: Request, lens: Lens | None, limits: GroundLimits) -> PlaneMade:
    from crackmap.pipeline.calibrating.plane import from_points

    return from_points(request.points_file or Path(), _size(request, lens), limits, lens)


def _board(request: Request, lens: Lens | None, limits: GroundLimits) -> PlaneMade:
    from crackmap.pipeline.calibrating.plane import from_board

    at = request.board_at
    if request.frame is None or request.square_mm is None or at is None or request.board is None:
        raise click.UsageError("--board needs --square 100mm, --board-at RIGHT,AHEAD and --frame IMAGE")
    return from_board(
        request.frame, corners_wh=request.board, square_mm=request.square_mm, centre_m=(at[0], at[1]),
        turn_deg=at[2] if len(at) == 3 else 0.0, limits=limits, lens=lens,
    )  # fmt: skip


def _lane(request: Request, lens: Lens | None, limits: GroundLimits) -> PlaneMade:
    from crackmap.pipeline.calibrating.plane import MOST_FRAMES, from_lane
    from crackmap.pipeline.single import image_paths

    mask_of = _mask_of(request)
    frames = image_paths(request.frames)
    if request.masks_ending is not None:
        frames = [path for path in frames if path.name.endswith(request.masks_ending.partition("=")[0])]
    if not frames:
        raise click.UsageError("--lane-width needs FRAMES: images, or a folder, of one recording")
    known = [lens is not None, request.focal_px is not None, request.step_m is not None]
    if sum(known) != 1:
        raise click.UsageError(
            "--lane-width needs one of --lens FILE, --focal PX and --step M (focal length from motion)"
        )
    with frame_progress("Reading", min(len(frames), MOST_FRAMES)) as progress:
        done, total = 0, min(len(frames), MOST_FRAMES)

        def tell() -> None:
            nonlocal done
            done += 1
            progress(done, total, "")

        return from_lane(
            frames, lane_width_m=request.lane_width_m or 0.0, limits=limits, lens=lens, focal_px=request.focal_px,
            step_m=request.step_m, roll_deg=request.roll_deg, mask_of=mask_of, progress=tell,
        )  # fmt: skip


def _mask_of(request: Request) -> Callable[[Path], Path] | None:
    if request.masks is not None and request.masks_ending is not None:
        raise click.UsageError("--lane-masks and --masks-ending both say where masks are: choose one")
    if request.masks is not None:
        folder = request.masks
        return lambda path: folder / f"{path.stem}.png"
    if request.masks_ending is None:
        return None
    ending, equals, other = request.masks_ending.partition("=")
    if not (ending and equals and other):
        raise click.UsageError(
            f"--masks-ending: expected FROM=TO such as _RAW.jpg=_LANE.png, got {request.masks_ending!r}"
        )
    return lambda path: path.with_name(path.name.removesuffix(ending) + other)


def _mount(request: Request, lens: Lens | None, limits: GroundLimits) -> PlaneMade:
    from crackmap.calibration.mount import Mount
    from crackmap.pipeline.calibrating.plane import from_mount

    if request.pitch_deg is None or (lens is None) == (request.focal_px is None):
        raise click.UsageError("--height needs --pitch DEG, and either --lens FILE or --focal PX")
    mount = Mount(request.height_m or 0.0, request.pitch_deg, request.roll_deg, request.yaw_deg, request.at_m)
    return from_mount(mount, _size(request, lens), limits, lens, request.focal_px)


def _gsd(request: Request, lens: Lens | None, limits: GroundLimits | None) -> PlaneMade:
    from crackmap.pipeline.calibrating.plane import from_gsd

    if lens is not None:
        raise click.UsageError("--gsd takes the picture as it is; with --lens use --height and --pitch 90")
    return from_gsd(request.gsd_mm or 0.0, _size(request, lens), limits)


def _twice(gsd_mm: float | tuple[float, float] | None) -> float:
    """Twice the greater pixel size: the coarsest pixel of a downward camera, as for planes without limits."""
    return 2.0 * (max(gsd_mm) if isinstance(gsd_mm, tuple) else gsd_mm or 0.0)


_MAKERS = {"points_file": _points, "board": _board, "lane_width_m": _lane, "height_m": _mount}
