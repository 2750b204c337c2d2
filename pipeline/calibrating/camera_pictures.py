"""Pictures to judge a lens by: residuals, where boards were seen, and a photo before and after straightening."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from crackmap.calibration.board import Board
from crackmap.calibration.camera import BoardResult, CameraFit
from crackmap.calibration.errors import StorageError
from crackmap.calibration.frames import centre_from_corner_xy, corner_from_centre_xy
from crackmap.calibration.lens import Lens
from crackmap.pipeline.images import open_image

FloatArray = NDArray[np.float64]

LONGEST_SIDE_PX = 1000
ARROW_SHARE = 0.05
"""The longest common residual (95 in 100) is drawn as this share of the image width."""

TILES = 16
"""Coverage is counted in this many tiles along the longer side of the image."""

_LINE_RGB, _INK = (230, 40, 60), "#303030"


def write_pictures(folder: Path, fit: CameraFit, board: Board, paths: Mapping[str, Path]) -> tuple[Path, ...]:
    """Writes residuals.png, coverage.png and straightened.jpg.

    Args:
        folder: where to; made if missing.
        fit: the lens.
        board: the board.
        paths: name of a board in the fit -> its photo.

    Raises:
        StorageError: they cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with matplotlib.rc_context({"font.size": 9, "savefig.dpi": 110}):
            _save(residual_figure(fit), folder / "residuals.png")
            _save(coverage_figure(fit), folder / "coverage.png")
        seen = most_bent(fit)
        with open_image(paths[seen.name]) as source:
            pair = straightened_pair(source.read_all(), fit.lens, rim_xy_px(seen, board))
        _, encoded = cv2.imencode(".jpg", pair[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
        (folder / "straightened.jpg").write_bytes(encoded.tobytes())
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written ({error.strerror}); choose another --pictures") from error
    return tuple(folder / name for name in ("residuals.png", "coverage.png", "straightened.jpg"))


def residual_figure(fit: CameraFit) -> Figure:
    """All residuals of the boards used in one image plane, enlarged, coloured by board."""
    width, _ = fit.lens.size_wh_px
    figure, axes = _image_axes(fit.lens)
    used = [board for board in fit.boards if board.used]
    sizes = np.concatenate([np.linalg.norm(board.residual_px, axis=1) for board in used])
    scale = ARROW_SHARE * width / max(float(np.quantile(sizes, 0.95)), 1e-9)
    colours = matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, len(used)))
    for board, colour in zip(used, colours, strict=True):
        axes.quiver(
            *board.xy_px.T, *(scale * board.residual_px).T, color=colour, angles="xy", scale_units="xy", scale=1.0,
            width=0.0015, label=f"{board.name} {board.mean_px:.2f} px",
        )  # fmt: skip
    axes.set_title(f"Residuals, {scale:.0f} times enlarged; mean {fit.mean_residual_px:.2f} px")
    figure.legend(loc="outside right center", frameon=False, fontsize=7)
    return figure


def coverage_figure(fit: CameraFit) -> Figure:
    """How many corners were seen in each part of the image, with the outlines of the boards."""
    width, height = fit.lens.size_wh_px
    figure, axes = _image_axes(fit.lens)
    used = [board.xy_px for board in fit.boards if board.used]
    tile = max(width, height) / TILES
    columns, rows = round(width / tile), round(height / tile)
    corners = np.vstack(used)
    counts, _, _ = np.histogram2d(corners[:, 1], corners[:, 0], (rows, columns), ((0, height), (0, width)))
    shown = axes.imshow(np.ma.masked_equal(counts, 0), extent=(0, width, height, 0), cmap="YlGn", vmin=0)
    for xy in used:
        outline = cv2.convexHull(xy.astype(np.float32)).reshape(-1, 2)
        axes.plot(*np.vstack([outline, outline[:1]]).T, color=_INK, linewidth=0.7)
    figure.colorbar(shown, ax=axes, label="corners in a tile", shrink=0.8)
    axes.set_title(
        f"Where corners were seen; white: nowhere. They reach {100 * fit.reach:.0f} % of the way to the corners"
    )
    return figure


def most_bent(fit: CameraFit) -> BoardResult:
    """The board used whose straight lines the lens bends most."""

    def bend(board: BoardResult) -> float:
        if not board.used:
            return -1.0
        moved = fit.lens.undistorted_xy(board.xy_px) - board.xy_px
        return float(np.nan_to_num(np.linalg.norm(moved, axis=1).max(), nan=-0.5))

    return max(fit.boards, key=bend)


def rim_xy_px(seen: BoardResult, board: Board) -> FloatArray:
    """(4, 2) the outermost corners that were seen, round the board."""
    places = board.corners_xy_mm[seen.corner]
    return seen.xy_px[[int((places @ towards).argmax()) for towards in ((-1, -1), (1, -1), (1, 1), (-1, 1))]]


def straightened_pair(rgb: NDArray[np.uint8], lens: Lens, rim_xy_px: FloatArray) -> NDArray[np.uint8]:
    """The photo above its straightened picture, both shrunk, with straight red lines between the ends of the board.

    The board's rows leave the red lines where the lens bends them and follow them once they are straightened.

    Args:
        rgb: (height, width, 3) photo.
        lens: the lens.
        rim_xy_px: (n, 2) places in the photo to be connected by straight lines in both pictures.
    """
    scale = min(1.0, LONGEST_SIDE_PX / max(lens.size_wh_px))
    size = (round(lens.size_wh_px[0] * scale), round(lens.size_wh_px[1] * scale))
    low, zoom = _view(lens)
    pixels = np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1])), axis=2)
    wanted = corner_from_centre_xy(pixels.reshape(-1, 2)) / (scale * zoom) + low
    source = centre_from_corner_xy(lens.distorted_xy(wanted)).astype(np.float32).reshape(size[1], size[0], 2)
    source = np.nan_to_num(source, nan=-1e6)
    smooth = cv2.GaussianBlur(rgb, (0, 0), 0.5 / scale) if scale < 0.7 else rgb
    after = cv2.remap(smooth, source[..., 0], source[..., 1], cv2.INTER_LINEAR)
    before = cv2.resize(rgb[: lens.size_wh_px[1], : lens.size_wh_px[0]], size, interpolation=cv2.INTER_AREA)
    for canvas, places in ((before, rim_xy_px), (after, zoom * (lens.undistorted_xy(rim_xy_px) - low))):
        line = np.round(centre_from_corner_xy(places * scale) * 16).astype(np.int32)
        cv2.polylines(canvas, [line], True, _LINE_RGB, 1, cv2.LINE_AA, 4)
    return np.vstack([before, np.full((6, size[0], 3), 255, np.uint8), after])


def _view(lens: Lens) -> tuple[FloatArray, float]:
    """Top-left corner and zoom of a picture of the ideal camera that shows what the lens shows, within limits."""
    width, height = lens.size_wh_px
    size = np.array([width, height], np.float64)
    share = np.linspace(0.0, 1.0, 33)
    rim = np.vstack([np.column_stack(pair) for pair in ((share, 0 * share), (share, 0 * share + 1),
                                                        (0 * share, share), (0 * share + 1, share))])  # fmt: skip
    ideal = lens.undistorted_xy(rim * size)
    ideal = np.clip(ideal[np.isfinite(ideal).all(axis=1)], -0.5 * size, 1.5 * size)
    low, high = ideal.min(axis=0), ideal.max(axis=0)
    zoom = float((size / (high - low)).min())
    return (low + high) / 2 - size / (2 * zoom), zoom


def _image_axes(lens: Lens) -> tuple[Figure, Any]:
    width, height = lens.size_wh_px
    figure = Figure(figsize=(9.0, 9.0 * height / width * 0.8 + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_aspect("equal")
    axes.set_xlabel("x, px")
    axes.set_ylabel("y, px")
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    # Without the version of matplotlib in it, equal pictures are equal files.
    figure.savefig(path, bbox_inches="tight", metadata={"Software": None})
