"""What is wrong with a view of a board before any lens is known: another image size, corners in the wrong order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.board import Board, BoardView

FloatArray = NDArray[np.float64]

CLOSE_SIZE_PX = 2
"""Images that differ from the others by no more than this are used: see `screen`."""


@dataclass(frozen=True, slots=True)
class Screened:
    """Views sorted out by what can be seen without a lens; all by their number in the list given.

    Attributes:
        size_wh_px: the image size that most of them have.
        usable: views to fit, without corners that are plainly misplaced.
        refused: why a view is not used.
        notes: what is to be said about a view.
    """

    size_wh_px: tuple[int, int]
    usable: Mapping[int, BoardView]
    refused: Mapping[int, str]
    notes: Mapping[int, Sequence[str]]


def screen(views: Sequence[BoardView], board: Board) -> Screened:
    """Sorts out views of another image size and views whose corners are not in the order of the board.

    A picture that is one or two pixels larger or smaller was cut at an edge or scaled by a thousandth. Taken as cut at
    the right or lower edge its corners keep their place. If it was cut elsewhere or scaled they are off by as much as
    two pixels, nearly all of it a shift, which the pose of the board takes up; a board that this does not explain shows
    a residual above the others' and is left out for it.
    """
    usable: dict[int, BoardView] = {}
    refused: dict[int, str] = {}
    notes: dict[int, Sequence[str]] = {}
    size = _usual_size(views)
    for number, view in enumerate(views):
        unlike = _other_size(view.size_wh_px, size)
        if unlike:
            refused[number] = unlike
            continue
        reason, misplaced = _wrong_order(view, board)
        if reason:
            refused[number] = reason
            continue
        lines = []
        if view.size_wh_px != size:
            lines.append(f"{_by(view.size_wh_px)} px, others {_by(size)}: taken as cut at the right and lower edge")
        if misplaced is not None:
            lines.append(misplaced_note(view, misplaced, board))
            view = view.without([misplaced])
        usable[number] = view
        if lines:
            notes[number] = lines
    return Screened(size, usable, refused, notes)


def misplaced_note(view: BoardView, corner: int, board: Board) -> str:
    """Names a corner, by its number, so that a person finds it in the photo."""
    row, column = divmod(corner, board.corners_wh[0])
    x, y = view.xy_px[np.flatnonzero(view.corner == corner)[0]]
    return f"corner in row {row + 1}, column {column + 1}, at ({x:.0f}, {y:.0f}) px, is misplaced: left out"


def _by(size_wh_px: tuple[int, int]) -> str:
    return f"{size_wh_px[0]} x {size_wh_px[1]}"


def _usual_size(views: Sequence[BoardView]) -> tuple[int, int]:
    """The most frequent size; of several the one that comes first."""
    counts = Counter(view.size_wh_px for view in views)
    return counts.most_common(1)[0][0] if counts else (0, 0)


def _other_size(size_wh_px: tuple[int, int], usual_wh_px: tuple[int, int]) -> str:
    """Why an image of this size cannot be used; empty if it can."""
    if max(abs(a - b) for a, b in zip(size_wh_px, usual_wh_px, strict=True)) <= CLOSE_SIZE_PX:
        return ""
    if max(abs(a - b) for a, b in zip(size_wh_px, usual_wh_px[::-1], strict=True)) <= CLOSE_SIZE_PX:
        return (
            f"turned by 90 degrees ({_by(size_wh_px)} px, most have {_by(usual_wh_px)}): hold the camera as for the "
            "survey, or remove the EXIF orientation from all photos"
        )
    return f"{_by(size_wh_px)} px, most have {_by(usual_wh_px)}: calibrate each resolution on its own"


def _wrong_order(view: BoardView, board: Board) -> tuple[str, int | None]:
    """Why the corners cannot be in the order of the board (empty if they can), and the one that is plainly misplaced.

    No lens turns a square over: with x to the right and y down, the squares of a board seen from the front all turn the
    same way. All the other way is a mirrored board; one corner dragged across a line spoils the squares around it;
    anything else is not the order of the board.
    """
    corners, sense = _squares(view, board)
    turned = sense <= 0
    if not turned.any():
        return "", None
    if (sense < 0).all():
        return "its corners are in mirrored order: is the photo flipped?", None
    around, times = np.unique(corners[turned], return_counts=True)
    worst = int(around[times.argmax()])
    if times.max() == turned.sum() and not turned[~(corners == worst).any(axis=1)].any():
        # Two squares may share two corners; the one that touches fewer sound squares is misplaced.
        shared = around[times == times.max()]
        sound = [int((corners[~turned] == corner).any(axis=1).sum()) for corner in shared]
        return "", int(shared[int(np.argmin(sound))])
    return "its corners are in the wrong order, or are not those of this board", None


def _squares(view: BoardView, board: Board) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(m, 4) corner numbers of the squares seen as a whole, and (m,) 1 as printed, -1 turned over, 0 neither."""
    across, down = board.corners_wh
    xy = np.full((across * down, 2), np.nan)
    xy[view.corner] = view.xy_px
    first = np.array([row * across + column for row in range(down - 1) for column in range(across - 1)])
    corners = first[:, None] + np.array([0, 1, across + 1, across])
    corners = corners[np.isfinite(xy[corners]).all(axis=(1, 2))]
    ring = xy[corners]
    side = np.roll(ring, -1, axis=1) - ring
    after = np.roll(side, -1, axis=1)
    turns = side[..., 0] * after[..., 1] - side[..., 1] * after[..., 0]
    return corners, (turns > 0).all(axis=1).astype(np.int64) - (turns < 0).all(axis=1)
