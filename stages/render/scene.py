"""A rendered picture of cracked road: cracks painted on a surface, seen through a camera."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.stages.render import shapes, surface
from crackmap.stages.render.paths import CrackPath, branches, crack_network, random_crack
from crackmap.stages.render.stroke import coverage_of, outline

WIDTHS_PX = (0.8, 20.0)
"""Narrowest and widest drawn crack."""

FILLED_BELOW_PX = 8.0
"""Wider cracks are open and dark."""

SEALED_SHARE = 0.18
"""How often a training crop shows a sealed crack, and then another one."""


def random_cracks(rng: np.random.Generator, size_wh_px: tuple[int, int]) -> list[CrackPath]:
    """None, one or a few cracks with branches, or an alligator patch: the mix that training crops show."""
    draw = rng.random()
    if draw < 0.18:
        return []
    width_px = float(np.exp(rng.uniform(np.log(WIDTHS_PX[0]), np.log(WIDTHS_PX[1]))))
    if draw < 0.34:
        cell = rng.uniform(14, 60)
        return crack_network(rng, size_wh_px, cell_px=cell, width_px=min(width_px, cell / 6))
    cracks: list[CrackPath] = []
    for _ in range(int(rng.integers(1, 4 if width_px < 9 else 3))):
        width = width_px * rng.uniform(0.6, 1.3)
        wanders = rng.random() < 0.5
        crack = random_crack(rng, size_wh_px, width_px=width) if wanders else regular_crack(rng, size_wh_px, width)
        cracks += [crack, *branches(rng, crack, int(rng.integers(0, 4)))]
    return cracks


def regular_crack(rng: np.random.Generator, size_wh_px: tuple[int, int], width_px: float) -> CrackPath:
    """A straight, bent or fractal crack with tapered tips; one of them at least may lie in the picture."""
    side = float(max(size_wh_px))
    length = max(side * rng.uniform(0.25, 1.0), 6 * width_px)
    spacing = max(8.0, 1.2 * width_px)
    draw = rng.random()
    if draw < 0.35:
        line = shapes.straight_line(length, spacing)
    elif draw < 0.6:
        line = shapes.arc_line(length, length * rng.uniform(0.45, 1.6), spacing)
    else:
        line = shapes.fractal_line(rng, length, spacing, roughness=rng.uniform(0.05, 0.16))
    line = shapes.turned(line - line.mean(axis=0), rng.uniform(0, 2 * np.pi), np.zeros(2))
    line = line + rng.uniform(0.0, 1.0, 2) * size_wh_px
    return CrackPath(line, shapes.tapered_width(rng, line, width_px))


def coverage(cracks: Sequence[CrackPath], size_wh_px: tuple[int, int]) -> NDArray[np.float32]:
    """(height, width) share of each pixel that any of the cracks covers, 0 to 1."""
    return coverage_of([outline(crack.xy_px, crack.width_px) for crack in cracks], size_wh_px)


def paint_cracks(
    rng: np.random.Generator, image: surface.FloatImage, covered: NDArray[np.float32], widest_px: float
) -> None:
    """Darkens `image` in place where cracks are: uneven depth, and now and then a faint bright lip.

    Wide cracks are deep, and so dark; a broad pale band is sealant or a stain.
    """
    height, width = covered.shape
    darkness = rng.uniform(0.15 + 0.25 * np.clip((widest_px - 5) / 10, 0, 1), 0.8)
    uneven = 1 + 0.25 * surface.value_noise(rng, (width, height), rng.uniform(3, 20))
    if rng.random() < 0.3:
        lip = cv2.GaussianBlur(covered, (0, 0), 1.5) * (1 - covered)
        image *= 1 + (lip * rng.uniform(0.05, 0.3))[..., None]
    depth = np.clip(covered * darkness * uneven, 0, 0.95)
    if widest_px < FILLED_BELOW_PX and rng.random() < 0.08:
        # Sand, efflorescence, moss: a filled crack is paler than the road, or of another colour.
        filling = rng.uniform(0.85, 1.6) * image.mean() * np.array([1.0, rng.uniform(0.8, 1.0), rng.uniform(0.5, 1.0)])
        image += (depth * 0.8)[..., None] * (filling.astype(np.float32) - image)
        return
    image *= 1 - depth[..., None] * rng.uniform(0.85, 1.0, 3).astype(np.float32)


def photograph(rng: np.random.Generator, image: surface.FloatImage) -> NDArray[np.uint8]:
    """What the camera makes of it: blur, sensor noise, exposure, JPEG. (height, width, 3) uint8."""
    seen = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.1))
    seen = seen * rng.uniform(0.8, 1.2) + rng.normal(0, 6)
    seen += rng.standard_normal(seen.shape[:2], dtype=np.float32)[..., None] * rng.uniform(0, 5)
    picture = np.clip(seen, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        picture = through_jpeg(picture, quality=int(rng.integers(55, 96)))
    return np.ascontiguousarray(picture)


def through_jpeg(picture: NDArray[np.uint8], *, quality: int) -> NDArray[np.uint8]:
    """The (height, width, 3) picture after JPEG compression."""
    _, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


def render_crop(
    rng: np.random.Generator, background: surface.FloatImage
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """A training crop on `background` (changed in place) and its labels.

    Returns:
        The picture (height, width, 3) uint8, and the coverage (height, width), 0 to 1, by cracks and by sealed cracks.
    """
    height, width = background.shape[:2]
    for add, share in surface.DISTRACTORS:
        if rng.random() < share:
            add(rng, background)
    sealed = np.zeros((height, width), np.float32)
    while rng.random() < SEALED_SHARE:
        sealed = np.maximum(sealed, surface.add_sealed_crack(rng, background))
    cracks = random_cracks(rng, (width, height))
    covered = coverage(cracks, (width, height))
    paint_cracks(rng, background, covered, max((float(crack.width_px.max()) for crack in cracks), default=0.0))
    return photograph(rng, background), covered, sealed * (1 - covered)
