"""How good is a lens from real photos? crackmap against the plain OpenCV recipe, and against straight lines of a road.

OMP_NUM_THREADS=1 python -m benchmarks.camera --data DATA     the chessboards and the road photo in DATA/chessboards
python -m benchmarks.camera --draw FOLDER                     20 drawn photos of a board by a known lens, as an exercise
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.board import Board, BoardView, find_board
from crackmap.calibration.camera import CameraFit, calibrate_camera
from crackmap.calibration.frames import centre_from_corner_xy, corner_from_centre_xy
from crackmap.calibration.lens import Lens
from crackmap.calibration.straightness import largest_deviation_px, trace_line
from crackmap.pipeline.calibrating.camera import read_grey
from crackmap.pipeline.synthetic.boards import board_corners_xy_px, draw_board

FloatArray = NDArray[np.float64]

BOARD = Board((9, 6), 25.0)
LINES = {
    "yellow lane line": ((280, 664), (610, 439), (25, 5)),
    "white edge line": ((1275, 484), (800, 440), (8, 3)),
    "joint across the road": ((410, 599.5), (870, 598.5), (4, 4)),
}
"""Straight lines of road_straight1.jpg: two ends, and the reach of the tracer at either."""

DRAWN_LENS = Lens("pinhole", (900.0, 902.0), (645.0, 356.0), (-0.27, 0.09, 0.0006, -0.0004, -0.01), (1280, 720))


def plain_opencv(greys: dict[str, NDArray[np.uint8]]) -> tuple[list[str], float, float, FloatArray]:
    """The recipe of the tutorials with its defaults: names of the boards, mean residual, rms and focal lengths, px."""
    places = np.column_stack([BOARD.corners_xy_mm, np.zeros(BOARD.corner_count)]).astype(np.float32)
    found = {}
    for name, grey in greys.items():
        ok, corners = cv2.findChessboardCorners(grey, BOARD.corners_wh)
        if ok:
            criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-3)
            found[name] = cv2.cornerSubPix(grey, corners.reshape(-1, 1, 2), (11, 11), (-1, -1), criteria)
    size = next(iter(greys.values())).shape[::-1]
    rms, matrix, distortion, turns, shifts = cv2.calibrateCamera(
        [places] * len(found), list(found.values()), size, None, None
    )
    residuals = [
        np.linalg.norm(
            cv2.projectPoints(places, *pose, matrix, distortion)[0].reshape(-1, 2) - xy.reshape(-1, 2), axis=1
        )
        for xy, *pose in zip(found.values(), turns, shifts, strict=True)
    ]
    return list(found), float(np.mean(residuals)), float(rms), np.diag(matrix)[:2]


def compare(folder: Path) -> None:
    """Prints the residuals of both ways on the same boards, and the straightness of the road's lines."""
    paths = sorted(folder.glob("calibration*.jpg"), key=lambda path: int(path.stem.removeprefix("calibration")))
    greys = {path.name: read_grey(path) for path in paths}
    names, mean_px, rms_px, focal = plain_opencv(greys)
    print(f"boards both ways are compared on ({len(names)}): {', '.join(names)}")
    print(f"{'':34}boards   mean     rms   focal length")
    print(f"{'plain OpenCV, defaults':34}{len(names):6d} {mean_px:6.3f}  {rms_px:6.3f}   {focal[0]:.1f} {focal[1]:.1f}")
    views = {name: view for name, grey in greys.items() if (view := find_board(grey, BOARD, name)) is not None}
    same = [views[name] for name in names]
    fits = {
        "crackmap, the same boards": calibrate_camera(same, BOARD),
        "crackmap, all it finds": calibrate_camera(list(views.values()), BOARD),
        "crackmap, all, --bent-board": calibrate_camera(list(views.values()), BOARD, bent=True),
    }
    fits["crackmap, all, --coefficients 8"] = calibrate_camera(list(views.values()), BOARD, coefficients=8)
    for name, fit in fits.items():
        used = sum(board.used for board in fit.boards)
        fx, fy = fit.lens.focal_xy_px
        print(f"{name:34}{used:6d} {fit.mean_residual_px:6.3f}  {fit.rms_px:6.3f}   {fx:.1f} {fy:.1f}")
    _corner_ways(greys, same)
    _lines(read_grey(folder / "road_straight1.jpg"), fits)


def _corner_ways(greys: dict[str, NDArray[np.uint8]], views: Sequence[BoardView]) -> None:
    """The same boards with corners moved by cornerSubPix after the detector."""
    for half in (3, 5, 11):
        moved = []
        for view in views:
            start = np.ascontiguousarray(centre_from_corner_xy(view.xy_px)[:, None], np.float32)
            criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 1e-3)
            xy = cv2.cornerSubPix(greys[view.name], start, (half, half), (-1, -1), criteria).reshape(-1, 2)
            moved.append(BoardView(view.name, view.size_wh_px, view.corner, corner_from_centre_xy(xy)))
        fit = calibrate_camera(moved, BOARD)
        name = f"same boards, cornerSubPix {half} after"
        print(f"{name:34}{len(moved):6d} {fit.mean_residual_px:6.3f}  {fit.rms_px:6.3f}")


def _lines(grey: NDArray[np.uint8], fits: dict[str, CameraFit]) -> None:
    print("\nlargest deviation from a straight line, px: in any 200 px / over the whole line / rms of the whole line")
    for line, (start, end, reach) in LINES.items():
        points = trace_line(grey, (start, end), reach_px=reach)
        print(f"{line} ({len(points)} points)\n  {'as taken':32}{_straightness(points)}")
        for name, fit in fits.items():
            print(f"  {name:32}{_straightness(fit.lens.undistorted_xy(points))}")


def _straightness(points: FloatArray) -> str:
    middle = points - points.mean(axis=0)
    off = middle @ np.linalg.svd(middle, full_matrices=False)[2][1]
    return f"{largest_deviation_px(points):6.2f}{np.abs(off).max():8.2f}{np.sqrt(np.mean(off**2)):8.2f}"


def draw_photos(folder: Path, count: int = 20) -> None:
    """Writes photos of a board wholly in the picture, tilted up to 40 degrees, all over the image."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    middle = np.append(BOARD.corners_xy_mm.mean(axis=0), 0.0)
    rim = Board((13, 10), BOARD.square_mm)
    width, height = DRAWN_LENS.size_wh_px
    drawn = 0
    while drawn < count:
        towards, tilt = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(5, 40))
        turn = np.array([tilt * np.cos(towards), tilt * np.sin(towards), rng.uniform(-0.3, 0.3)])
        at = DRAWN_LENS.undistorted_xy([[rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height]])[0]
        ray = np.append((at - DRAWN_LENS.centre_xy_px) / DRAWN_LENS.focal_xy_px, 1.0)
        rotation = cv2.Rodrigues(turn)[0]
        shift = rng.uniform(380, 800) * ray / np.linalg.norm(ray) - rotation @ middle
        # The rim of the board lies two squares outside its corners.
        xy = board_corners_xy_px(
            rim, DRAWN_LENS, turn, shift - rotation @ [2 * BOARD.square_mm, 2 * BOARD.square_mm, 0]
        )
        if not ((xy > 2) & (xy < np.array([width, height]) - 2)).all():
            continue
        photo = draw_board(BOARD, DRAWN_LENS, turn, shift, seed=drawn)
        (folder / f"board{drawn:02d}.jpg").write_bytes(cv2.imencode(".jpg", photo)[1].tobytes())
        drawn += 1


def main() -> None:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("CRACKMAP_DATA"))
    parser.add_argument("--draw", type=Path)
    options = parser.parse_args()
    if options.draw is not None:
        draw_photos(options.draw)
    elif options.data is None:
        parser.error("--data, or the variable CRACKMAP_DATA, names the folder that holds chessboards/")
    else:
        compare(Path(options.data) / "chessboards")


if __name__ == "__main__":
    main()
