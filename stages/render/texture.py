"""Endless road texture: tiles that repeat without a seam, looked up through a camera."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
GreyImage = NDArray[np.float32]
"""(height, width) luminance, or a deviation of it, in grey levels."""

_FINE_MM, _PORE_MM, _STONE_MM = 1.3, 2.2, 8.0
"""Sigma of fine grain and of pores; mean distance of stones: the aggregate of a surface course is 4 to 16 mm."""


def asphalt_tile(rng: np.random.Generator, size_wh_px: tuple[int, int], pixel_mm: tuple[float, float]) -> GreyImage:
    """A repeating tile of the deviations from the tone of an asphalt surface, about 15 levels at 2 mm a pixel.

    Stones are bright and sharp, the binder between them is dark: the deviations are skewed as on photographs.
    """
    width, height = size_wh_px
    contrast = rng.uniform(0.8, 1.7)
    fine = _blurred_noise(rng, (width, height), _FINE_MM, pixel_mm)
    pores = np.minimum(_blurred_noise(rng, (width, height), _PORE_MM, pixel_mm) + np.float32(1.5), 0)
    deviation = fine * 7 + pores * 15 + _stones(rng, (width, height), pixel_mm) * 13
    deviation *= np.float32(contrast)
    return np.asarray(deviation - deviation.mean(), np.float32)


def _stones(rng: np.random.Generator, size_wh_px: tuple[int, int], pixel_mm: tuple[float, float]) -> GreyImage:
    """Repeating stones of their own tones in a dark binder: each pixel asks the nearest of scattered centres."""
    finest = min(pixel_mm)
    size = [round(count * mm / finest) for count, mm in zip(size_wh_px, pixel_mm, strict=True)]
    pad = int(np.ceil(3 * _STONE_MM / finest)) + 1
    free = np.ones((size[1], size[0]), np.uint8)
    count = max(round(size[0] * size[1] * min((finest / _STONE_MM) ** 2, 0.5)), 1)
    free[rng.integers(0, size[1], count), rng.integers(0, size[0], count)] = 0
    padded = np.pad(free, pad, mode="wrap")
    distance, label = cv2.distanceTransformWithLabels(padded, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    # A stone at the seam has a copy with a label of its own on the other side: its place in the tile names both.
    rows, columns = np.nonzero(padded == 0)
    _, stone = np.unique((rows - pad) % size[1] * size[0] + (columns - pad) % size[0], return_inverse=True)
    name = np.zeros(int(label.max()) + 1, np.intp)
    name[label[rows, columns]] = stone
    distance, label = distance[pad:-pad, pad:-pad], label[pad:-pad, pad:-pad]
    tone = rng.normal(0.5, 0.9, stone.max() + 1).astype(np.float32)[name]
    radius = (rng.uniform(0.25, 0.6, stone.max() + 1) * _STONE_MM / finest).astype(np.float32)[name]
    inside = np.clip((radius[label] - distance) + np.float32(0.5), 0, 1)
    seen = inside * (tone[label] + np.float32(0.7)) - np.float32(0.7)
    if size != list(size_wh_px):
        seen = cv2.resize(seen, size_wh_px, interpolation=cv2.INTER_AREA)
    # Where a pixel is as large as a stone, it shows the mean of several.
    return np.asarray(seen * np.float32(min(1.0, _STONE_MM / (2.0 * finest))), np.float32)


def _blurred_noise(
    rng: np.random.Generator, size_wh_px: tuple[int, int], sigma_mm: float, pixel_mm: tuple[float, float]
) -> GreyImage:
    """Repeating noise with grains of sigma_mm; of unit variance, less where a pixel averages over many grains."""
    width, height = size_wh_px
    sigma = [sigma_mm / size for size in pixel_mm]
    pad = int(np.ceil(4 * max(sigma))) + 1
    noise = np.pad(rng.standard_normal((height, width), dtype=np.float32), pad, mode="wrap")
    if max(sigma) > 0.3:
        noise = cv2.GaussianBlur(noise, (0, 0), max(sigma[0], 0.05), sigmaY=max(sigma[1], 0.05))
    inner = noise[pad:-pad, pad:-pad]
    averaged = float(np.prod([min(1.0, 2.5 * value) for value in sigma]))
    return np.asarray(inner * np.float32(averaged / max(float(inner.std()), 1e-6)), np.float32)


def blotch_tile(rng: np.random.Generator, size_wh_px: tuple[int, int], scale_px: int) -> GreyImage:
    """A repeating smooth field of zero mean and unit variance; `scale_px` divides width and height."""
    width, height = size_wh_px
    coarse = np.pad(rng.standard_normal((height // scale_px, width // scale_px), dtype=np.float32), 2, mode="wrap")
    full = cv2.resize(coarse, None, fx=scale_px, fy=scale_px, interpolation=cv2.INTER_CUBIC)
    inner = full[2 * scale_px : 2 * scale_px + height, 2 * scale_px : 2 * scale_px + width]
    return np.asarray((inner - inner.mean()) / max(float(inner.std()), 1e-6), np.float32)


def window(tile: GreyImage, x0: int, y0: int, size_wh_px: tuple[int, int]) -> GreyImage:
    """A copy of (height, width) of the endless plane that `tile` repeats on, from column x0 and row y0 on."""
    width, height = size_wh_px
    result = np.empty((height, width), tile.dtype)
    for rows, from_y in _pieces(y0, height, tile.shape[0]):
        for columns, from_x in _pieces(x0, width, tile.shape[1]):
            taken = (
                slice(from_y, from_y + rows.stop - rows.start),
                slice(from_x, from_x + columns.stop - columns.start),
            )
            result[rows, columns] = tile[taken]
    return result


def _pieces(start: int, count: int, period: int) -> list[tuple[slice, int]]:
    """Slices of 0 to count, each with the place in the period at which it starts."""
    result, done = [], 0
    while done < count:
        place = (start + done) % period
        length = min(period - place, count - done)
        result.append((slice(done, done + length), place))
        done += length
    return result


def through_camera(
    tile: GreyImage, tile_from_pixel: FloatArray, size_wh_px: tuple[int, int], *, rows: tuple[int, int] | None = None
) -> GreyImage:
    """What a camera sees of an endless plane that `tile` repeats on.

    Args:
        tile: (h, w), the content of one period.
        tile_from_pixel: (3, 3) homography from image pixels to tile pixels, both from their top-left corners.
        size_wh_px: image width and height.
        rows: first row and the one after the last, if not all are wanted.

    Returns:
        (rows, width) float32, bilinear.
    """
    width, height = size_wh_px
    first, last = rows or (0, height)
    # OpenCV counts from pixel centres, in the tile as in the image.
    to_corner = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5 + first], [0.0, 0.0, 1.0]])
    to_centre = np.array([[1.0, 0.0, -0.5], [0.0, 1.0, -0.5], [0.0, 0.0, 1.0]])
    matrix = to_centre @ tile_from_pixel @ to_corner
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    if not matrix[2, :2].any():
        affine = matrix[:2] / matrix[2, 2]
        seen = cv2.warpAffine(tile, affine, (width, last - first), flags=flags, borderMode=cv2.BORDER_WRAP)
    else:
        seen = cv2.warpPerspective(tile, matrix, (width, last - first), flags=flags, borderMode=cv2.BORDER_WRAP)
    return np.asarray(seen, np.float32)
