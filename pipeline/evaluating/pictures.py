"""Pictures of results beside their truth: right green, false red, missed blue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import InputError, StorageError
from crackmap.stages.metrics import near
from crackmap.stages.metrics_detection import ScoreMap, pixel_box
from crackmap.stages.records import Region

Mask = NDArray[np.bool_]
Rgb = NDArray[np.uint8]

TOLERANCE_PX = 5
"""Pixels this close to the truth are drawn as right."""

RIGHT_RGB, FALSE_RGB, MISSED_RGB = (60, 200, 60), (235, 60, 60), (30, 120, 255)

_GAP_PX, _CAPTION_PX = 6, 24


def judged(rgb: Rgb, predicted: Mask, true: Mask) -> Rgb:
    """The darkened (height, width, 3) picture with right, false and missed pixels at TOLERANCE_PX."""
    canvas = _dark(rgb)
    close = near(true, TOLERANCE_PX)
    canvas[predicted & close] = RIGHT_RGB
    canvas[predicted & ~close] = FALSE_RGB
    canvas[true & ~near(predicted, TOLERANCE_PX)] = MISSED_RGB
    return canvas


def judged_regions(rgb: Rgb, regions: Sequence[Region], true: Mask) -> Rgb:
    """The darkened picture: crack inside boxes green, crack outside blue, boxes that hold no crack red."""
    canvas = _dark(rgb)
    inside = np.zeros(true.shape, bool)
    for region in regions:
        x0, y0, x1, y1 = pixel_box(region)
        inside[y0:y1, x0:x1] = True
        if not true[y0:y1, x0:x1].any():
            cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), FALSE_RGB, 1)
    thick = near(true, 1)
    canvas[thick & inside] = RIGHT_RGB
    canvas[thick & ~inside] = MISSED_RGB
    return canvas


def boxed(rgb: Rgb, regions: Sequence[Region]) -> Rgb:
    """The picture with the boxes drawn in."""
    canvas = rgb.copy()
    for region in regions:
        x0, y0, x1, y1 = pixel_box(region)
        cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), (250, 190, 40), 1)
    return canvas


def heat(rgb: Rgb, scores: ScoreMap) -> Rgb:
    """The picture in grey under a colour map of the scores, the highest of the picture the warmest."""
    top = max(float(scores.max()), 1e-6)
    colour = cv2.applyColorMap(np.asarray(scores / top * 255, np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None]
    share = np.where(scores > 0, 0.65, 0.0)[..., None]
    return np.asarray(grey * (1 - share) + colour * share, np.uint8)


def drawn_mask(mask: Mask) -> Rgb:
    """White on black."""
    return np.repeat(np.where(mask, 255, 0).astype(np.uint8)[..., None], 3, axis=2)


def panels(pictures: Sequence[tuple[str, Rgb]], *, columns: int) -> Rgb:
    """Captioned pictures of one size, row by row."""
    height, width = pictures[0][1].shape[:2]
    rows = -(-len(pictures) // columns)
    canvas = np.full(
        (rows * (height + _CAPTION_PX + _GAP_PX) - _GAP_PX, columns * (width + _GAP_PX) - _GAP_PX, 3), 255, np.uint8
    )
    for number, (caption, picture) in enumerate(pictures):
        y = number // columns * (height + _CAPTION_PX + _GAP_PX)
        x = number % columns * (width + _GAP_PX)
        cv2.putText(canvas, caption, (x + 4, y + 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        canvas[y + _CAPTION_PX : y + _CAPTION_PX + height, x : x + width] = picture
    return canvas


def write_png(folder: Path, name: str, rgb: Rgb) -> None:
    """Writes an RGB picture to `name`.png in `folder`; `name` may hold folders, separated by "/".

    Raises:
        InputError: `name` would lead out of the folder: names of images come from files of strangers.
        StorageError: it cannot be written.
    """
    # Read as on Windows, both kinds of slash divide it, and a leading one or a drive is its anchor.
    place = PureWindowsPath(name)
    if place.anchor or ".." in place.parts:
        raise InputError(f"picture {name!r}: the name leads out of {folder}; rename the image in its data set")
    path = folder / f"{name}.png"
    _, encoded = cv2.imencode(".png", rgb[..., ::-1])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); choose another --pictures") from error


def _dark(rgb: Rgb) -> Rgb:
    return np.asarray(rgb * 0.5, np.uint8)
