"""The lens of a camera from photos of a board: files in, a calibration file and pictures out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.adjustment import Model
from crackmap.calibration.board import Board, BoardView, find_board, other_sizes
from crackmap.calibration.camera import LEAST_BOARDS, BoardResult, CameraFit, calibrate_camera
from crackmap.calibration.errors import CalibrationError, UnreadableImageError
from crackmap.calibration.store import Calibration, Made, write_calibration
from crackmap.pipeline.calibrating.camera_pictures import write_pictures
from crackmap.pipeline.images import open_image

MOST_SIZE_TRIALS = 4
"""Photos in which other sizes of the board are tried when it is found in too few."""

NOT_FOUND = "board not found: blurred, in glare, in the dark or partly hidden?"

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class CameraMade:
    """A calibrated lens and what became of every photo.

    Attributes:
        fit: the lens.
        boards: every photo, in the order given, also those without a board.
        command: the options that repeat it.
        pictures: what was drawn.
    """

    fit: CameraFit
    boards: tuple[BoardResult, ...]
    command: str
    pictures: tuple[Path, ...] = ()


def calibrate_photos(
    paths: Sequence[Path], board: Board, *, out: Path, model: Model = "pinhole", coefficients: int | None = None,
    bent: bool = False, pictures: Path | None = None, progress: Progress | None = None,
) -> CameraMade:  # fmt: skip
    """Finds the board in each photo, fits the lens, writes the calibration file and, if wanted, pictures.

    Args:
        paths: the photos.
        board: what is in them.
        out: the calibration file.
        model: as in `calibrate_camera`.
        coefficients: as in `calibrate_camera`.
        bent: as in `calibrate_camera`.
        pictures: folder for pictures of residuals, coverage and one straightened photo.
        progress: told (done, of, name) after each photo.

    Raises:
        CalibrationError: no board is found, or the views do not determine a lens.
        StorageError: an output cannot be written.
    """
    by_name = _named(paths)
    views, missing = _views(by_name, board, progress)
    fit = calibrate_camera(views, board, model, coefficients=coefficients, bent=bent)
    fitted = {result.name: result for result in fit.boards}
    boards = tuple(fitted.get(name) or BoardResult(name, False, missing[name]) for name in by_name)
    command = _command(board, fit, model, bent)
    made = CameraMade(fit, boards, command)
    write_calibration(out, Calibration(fit.lens.size_wh_px, fit.lens, fit.uncertainty, made=_notes(made)))
    if pictures is None:
        return made
    drawn = write_pictures(pictures, fit, board, by_name)
    return CameraMade(fit, boards, command, drawn)


def read_grey(path: Path) -> NDArray[np.uint8]:
    """(height, width) brightness of a picture.

    Raises:
        UnreadableImageError: it cannot be decoded.
    """
    with open_image(path) as source:
        return np.asarray(cv2.cvtColor(source.read_all(), cv2.COLOR_RGB2GRAY), np.uint8)


def _named(paths: Sequence[Path]) -> dict[str, Path]:
    """Each photo once, by its file name, with the folder where two are equal."""
    once = list(dict.fromkeys(paths))
    counts = Counter(path.name for path in once)
    return {path.name if counts[path.name] == 1 else path.as_posix(): path for path in once}


def _views(
    by_name: Mapping[str, Path], board: Board, progress: Progress | None
) -> tuple[list[BoardView], dict[str, str]]:
    """The boards found, and why there is none in the other photos."""
    views: list[BoardView] = []
    missing: dict[str, str] = {}
    for number, (name, path) in enumerate(by_name.items(), 1):
        try:
            view = find_board(read_grey(path), board, name)
        except UnreadableImageError as error:
            missing[name] = f"unreadable: {error}"
        else:
            if view is None:
                missing[name] = NOT_FOUND
            else:
                views.append(view)
        if progress is not None:
            progress(number, len(by_name), name)
    without = {name: by_name[name] for name, reason in missing.items() if reason == NOT_FOUND}
    if len(views) < LEAST_BOARDS:
        raise CalibrationError(_too_few(len(views), len(by_name), without, missing, board))
    return views, missing | {name: _why_not_found(path, board) for name, path in without.items()}


def _why_not_found(path: Path, board: Board) -> str:
    """A board that is cut off shows as a smaller one."""
    sizes = other_sizes(read_grey(path), board)
    if not sizes:
        return NOT_FOUND
    across, down = sizes[0]
    if across <= board.corners_wh[0] and down <= board.corners_wh[1]:
        return f"board not found: cut off or hidden, only {across}x{down} of its corners are seen"
    return f"board not found, but one of {across}x{down}: another board?"


def _too_few(found: int, photos: int, without: Mapping[str, Path], missing: Mapping[str, str], board: Board) -> str:
    """What to say when the board is found in fewer photos than a lens needs."""
    size = "x".join(map(str, board.corners_wh))
    unreadable = [f"{name}: {reason}" for name, reason in missing.items() if reason.startswith("unreadable")]
    more = f". {'; '.join(unreadable)}" if unreadable else ""
    tried = list(without.values())[:MOST_SIZE_TRIALS]
    sizes = Counter(other for path in tried for other in other_sizes(read_grey(path), board)[:1])
    if sizes:
        (across, down), times = sizes.most_common(1)[0]
        return (
            f"a board of {size} inner corners was found in {found} of {photos} photos, but one of {across}x{down} in "
            f"{times} of {len(tried)} tried: is it --board {across}x{down}? Inner corners are "
            f"counted where squares touch, not the squares{more}"
        )
    kind = "ChArUco board" if board.marker_mm is not None else "chessboard"
    remedy = (
        "check --charuco, --board and the printed markers"
        if board.marker_mm is not None
        else "check --board, which counts inner corners; show the whole board with a white rim, sharp and evenly lit"
    )
    return (
        f"a {kind} of {size} inner corners was found in {found} of {photos} photos, expected {LEAST_BOARDS} or more; "
        f"{remedy}{more}"
    )


def _command(board: Board, fit: CameraFit, model: Model, bent: bool) -> str:
    charuco = f" --charuco {board.dictionary} --marker {board.marker_mm:g}mm" if board.marker_mm is not None else ""
    return (
        f"crackmap calibrate camera PHOTOS --board {board.corners_wh[0]}x{board.corners_wh[1]} --square "
        f"{board.square_mm:g}mm{charuco} --model {model} --coefficients {len(fit.lens.distortion)}"
        f"{' --bent-board' if bent else ''}"
    )


def _notes(made: CameraMade) -> Made:
    """The part [made] of the file: no date, so that equal photos give equal files."""
    fit = made.fit
    notes: dict[str, str | float | int | bool | Sequence[str] | Sequence[float]] = {
        "command": made.command,
        "boards_used": [result.name for result in made.boards if result.used],
        "boards_left_out": [f"{result.name}: {result.reason}" for result in made.boards if not result.used],
        "notes": [f"{result.name}: {note}" for result in made.boards for note in result.notes],
        "mean_residual_px": round(fit.mean_residual_px, 4),
        "rms_px": round(fit.rms_px, 4),
        "reach_percent": round(100 * fit.reach, 1),
        "u_seen_px": round(fit.seen_u_px, 3),
    }
    if fit.image_corner_u_px is not None:
        notes["u_image_corner_px"] = round(fit.image_corner_u_px, 3)
    if fit.relief_mm is not None:
        notes["board_relief_mm"] = round(fit.relief_mm, 3)
    if fit.warnings:
        notes["warnings"] = list(fit.warnings)
    return notes
