"""Calibration boards: chessboards and ChArUco boards, and their corners in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import require
from crackmap.calibration.frames import centre_from_corner_xy, corner_from_centre_xy

FloatArray = NDArray[np.float64]

LONGEST_SEARCH_PX = 2000
"""Boards are searched for in a picture no larger than this, and refined in the whole one."""

LEAST_CORNERS = 8
"""Of a ChArUco board that is only partly seen: a pose takes six unknowns, and eight corners leave ten to check it."""


@dataclass(frozen=True, slots=True)
class Board:
    """A flat board with a regular pattern.

    Attributes:
        corners_wh: inner corners along a row and along a column; a chessboard of 10 x 7 squares has 9 x 6.
        square_mm: side of a square.
        marker_mm: side of the markers of a ChArUco board; None for a plain chessboard.
        dictionary: OpenCV's name of its markers, such as DICT_5X5_100; None for a plain chessboard.
    """

    corners_wh: tuple[int, int]
    square_mm: float
    marker_mm: float | None = None
    dictionary: str | None = None

    def __post_init__(self) -> None:
        # OpenCV's search for chessboards starts at three corners a side.
        require(min(self.corners_wh) >= 3 and max(self.corners_wh) <= 100, "board", "3 to 100 inner corners a side",
                self.corners_wh)  # fmt: skip
        require(0 < self.square_mm < 1e5, "square_mm", "millimetres above 0", self.square_mm)
        require((self.marker_mm is None) == (self.dictionary is None), "ChArUco board",
                "both a dictionary and the size of the markers", (self.dictionary, self.marker_mm))  # fmt: skip
        if self.marker_mm is not None and self.dictionary is not None:
            require(0 < self.marker_mm < self.square_mm, "marker_mm", "less than the square", self.marker_mm)
            require(self.dictionary in dictionaries(), "dictionary", f"one of {', '.join(dictionaries())}",
                    self.dictionary)  # fmt: skip
            markers = (self.corners_wh[0] + 1) * (self.corners_wh[1] + 1) // 2
            held = len(_dictionary(self.dictionary).bytesList)
            require(held >= markers, "dictionary", f"one of at least {markers} markers", f"{self.dictionary} ({held})")

    @property
    def corner_count(self) -> int:
        """How many inner corners it has."""
        return self.corners_wh[0] * self.corners_wh[1]

    @property
    def corners_xy_mm(self) -> FloatArray:
        """(N, 2) places of the corners on the board, row by row."""
        across, down = self.corners_wh
        rows, columns = np.divmod(np.arange(across * down), across)
        return np.asarray(np.column_stack([columns, rows]) * self.square_mm, np.float64)

    @property
    def has_direction(self) -> bool:
        """Whether its corners keep their numbers when it is turned round: not a chessboard that looks the same then."""
        return self.marker_mm is not None or sum(self.corners_wh) % 2 == 1


@dataclass(frozen=True, slots=True)
class BoardView:
    """A board in a picture.

    Attributes:
        name: of the picture.
        size_wh_px: of the picture.
        corner: (n,) numbers of the corners that were found, row by row, ascending.
        xy_px: (n, 2) where they are.
    """

    name: str
    size_wh_px: tuple[int, int]
    corner: NDArray[np.int64]
    xy_px: FloatArray

    def __post_init__(self) -> None:
        require(self.xy_px.shape == (len(self.corner), 2), "xy_px", f"shape ({len(self.corner)}, 2)", self.xy_px.shape)
        require(bool(np.isfinite(self.xy_px).all()), "xy_px", "finite numbers", self.name)

    def without(self, corners: Sequence[int]) -> BoardView:
        """The same view without some corners, by their number."""
        keep = ~np.isin(self.corner, np.asarray(corners))
        return BoardView(self.name, self.size_wh_px, self.corner[keep], self.xy_px[keep])


def dictionaries() -> tuple[str, ...]:
    """The names of the marker dictionaries that OpenCV has."""
    return tuple(sorted(name for name in dir(cv2.aruco) if name.startswith("DICT_")))


def find_board(grey: NDArray[np.uint8], board: Board, name: str = "") -> BoardView | None:
    """The corners of a board in a (height, width) grey picture; None if it is not found.

    A chessboard must be seen as a whole, a ChArUco board with at least LEAST_CORNERS corners in two directions.
    Chessboard corners are those of Duda and Frese (2018, OpenCV's findChessboardCornersSB) as they come: on real photos
    (`python -m benchmarks.camera`) and on blurred drawn ones cornerSubPix makes them worse, on sharp drawn ones better.
    """
    require(grey.ndim == 2 and grey.dtype == np.uint8, "picture", "grey, 8 bits", (grey.shape, grey.dtype))
    found = _chessboard(grey, board) if board.marker_mm is None else _charuco(grey, board)
    if found is None:
        return None
    number, xy = found
    order = np.argsort(number)
    size = (grey.shape[1], grey.shape[0])
    return BoardView(name, size, number[order], corner_from_centre_xy(xy[order]))


def other_sizes(grey: NDArray[np.uint8], board: Board) -> tuple[tuple[int, int], ...]:
    """Which boards of one corner more or fewer, along a row or a column, are found in the picture instead.

    The largest first; empty for ChArUco boards, whose parts are found whatever the size.
    """
    if board.marker_mm is not None:
        return ()
    small = _shrunk(grey, 1000)[0]
    across, down = board.corners_wh
    tried = [(across + i, down + j) for i, j in product((1, 0, -1), repeat=2) if (i or j)]
    tried = sorted((size for size in tried if min(size) >= 3), key=lambda size: -size[0] * size[1])
    return tuple(size for size in tried if cv2.findChessboardCornersSB(small, size)[0])


def _shrunk(grey: NDArray[np.uint8], longest_px: int) -> tuple[NDArray[np.uint8], float]:
    """The picture with no side above `longest_px`, and the factor."""
    scale = min(1.0, longest_px / max(grey.shape))
    if scale == 1.0:
        return grey, 1.0
    size = (round(grey.shape[1] * scale), round(grey.shape[0] * scale))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8), scale


def _chessboard(grey: NDArray[np.uint8], board: Board) -> tuple[NDArray[np.int64], FloatArray] | None:
    small, scale = _shrunk(grey, LONGEST_SEARCH_PX)
    found, corners = _searched(small, board.corners_wh)
    if not found:
        return None
    across, down = board.corners_wh
    xy = corners
    if scale < 1.0:
        # Shrinking keeps the edges of a picture where they are, so corner-based places scale exactly.
        factor = np.array([grey.shape[1] / small.shape[1], grey.shape[0] / small.shape[0]])
        xy = centre_from_corner_xy(corner_from_centre_xy(xy) * factor)
        xy = _refined(grey, xy, _spacing(xy.reshape(down, across, 2)) / 4)
    grid = xy.reshape(down, across, 2)
    if board.has_direction and not _starts_dark(grey, grid):
        # As on OpenCV's own boards: corner 0 belongs to a dark corner of the board.
        grid = grid[::-1, ::-1]
    return np.arange(across * down), np.ascontiguousarray(grid.reshape(-1, 2))


def _searched(grey: NDArray[np.uint8], corners_wh: tuple[int, int]) -> tuple[bool, FloatArray]:
    """Corners (N, 2) counted from pixel centres, by one detector after the other, the most exact first."""
    for flags in (0, cv2.CALIB_CB_EXHAUSTIVE | cv2.CALIB_CB_NORMALIZE_IMAGE):
        found, corners = cv2.findChessboardCornersSB(grey, corners_wh, flags=flags)
        if found:
            return True, np.asarray(corners, np.float64).reshape(-1, 2)
    found, corners = cv2.findChessboardCorners(
        grey, corners_wh, flags=cv2.CALIB_CB_ADAPTIVE_THRESH | cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_FAST_CHECK
    )
    if not found:
        return False, np.zeros((0, 2))
    xy = np.asarray(corners, np.float64).reshape(-1, 2)
    return True, _refined(grey, xy, _spacing(xy.reshape(corners_wh[1], corners_wh[0], 2)) / 4)


def _spacing(grid: FloatArray) -> float:
    """The shortest side of a square in a (rows, columns, 2) grid of corners."""
    steps = [np.linalg.norm(np.diff(grid, axis=axis), axis=2).min() for axis in (0, 1)]
    return float(min(steps))


def _refined(grey: NDArray[np.uint8], xy: FloatArray, reach_px: float) -> FloatArray:
    """Corners (N, 2) moved to the saddle of brightness within `reach_px`, in which nothing else may lie."""
    half = int(np.clip(reach_px, 2, 15))
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 1e-3)
    start = np.ascontiguousarray(xy[:, None, :], np.float32)
    moved = cv2.cornerSubPix(grey, start, (half, half), (-1, -1), criteria)
    return np.asarray(moved, np.float64).reshape(-1, 2)


def _starts_dark(grey: NDArray[np.uint8], grid: FloatArray) -> bool:
    """Whether the first inner square of a (rows, columns, 2) grid is of the dark kind."""
    middles = (grid[:-1, :-1] + grid[1:, :-1] + grid[:-1, 1:] + grid[1:, 1:]) / 4
    column, row = np.moveaxis(np.round(middles).astype(int), 2, 0)
    values = grey[np.clip(row, 0, grey.shape[0] - 1), np.clip(column, 0, grey.shape[1] - 1)].astype(float)
    even = np.add.outer(np.arange(values.shape[0]), np.arange(values.shape[1])) % 2 == 0
    return bool(values[even].mean() < values[~even].mean())


def _dictionary(name: str) -> Any:
    return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, name))


def _charuco(grey: NDArray[np.uint8], board: Board) -> tuple[NDArray[np.int64], FloatArray] | None:
    """The corners by either of the two layouts that OpenCV has printed (before 4.6 boards began with a marker)."""
    best: tuple[NDArray[np.int64], FloatArray] | None = None
    for legacy in (False, True):
        squares = (board.corners_wh[0] + 1, board.corners_wh[1] + 1)
        drawn = cv2.aruco.CharucoBoard(
            squares, board.square_mm, board.marker_mm or 0.0, _dictionary(board.dictionary or "")
        )
        drawn.setLegacyPattern(legacy)
        corners, number, _, _ = cv2.aruco.CharucoDetector(drawn).detectBoard(grey)
        if number is None or len(number) < LEAST_CORNERS:
            continue
        ids = np.asarray(number, np.int64).ravel()
        if min(len(np.unique(ids // board.corners_wh[0])), len(np.unique(ids % board.corners_wh[0]))) < 2:
            continue
        if best is None or len(ids) > len(best[0]):
            best = ids, np.asarray(corners, np.float64).reshape(-1, 2)
    if best is None:
        return None
    # The detector's own refinement ends 0.1 to 0.3 px off on drawn boards; this one, which sees no marker,
    # 0.03 to 0.05 px.
    apart = np.linalg.norm(best[1][:, None] - best[1], axis=2)
    spacing_px = float(apart[apart > 0].min(initial=np.inf))
    return best[0], _refined(grey, best[1], spacing_px * (1 - (board.marker_mm or 0.0) / board.square_mm) / 2)
