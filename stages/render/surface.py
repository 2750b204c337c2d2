"""Road surfaces and what lies on them: texture, joints, grooves, sealant, paint, shadow. None of it is a crack."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.stages.render.paths import random_crack, smooth_noise
from crackmap.stages.render.stroke import draw_coverage
from crackmap.stages.render.texture import asphalt_tile

FloatImage = NDArray[np.float32]
"""(height, width, 3) RGB from 0 to 255."""

COVER_RADII_PX = (14, 220)
"""Radius of drawn covers: 0.9 m across at 2 mm per pixel."""


def value_noise(rng: np.random.Generator, size_wh_px: tuple[int, int], scale_px: float) -> NDArray[np.float32]:
    """(height, width) smooth random field of about zero mean and unit variance with features of `scale_px`."""
    width, height = size_wh_px
    coarse_shape = (max(int(height / scale_px) + 3, 3), max(int(width / scale_px) + 3, 3))
    coarse = rng.standard_normal(coarse_shape, dtype=np.float32)
    full = cv2.resize(coarse, None, fx=scale_px, fy=scale_px, interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(full[:height, :width])


def procedural_road(rng: np.random.Generator, size_wh_px: tuple[int, int]) -> FloatImage:
    """An asphalt or concrete surface: base tone, unevenness, and aggregate or plain grain."""
    width, height = size_wh_px
    tone = rng.uniform(75, 185)
    grey = np.full((height, width), tone, np.float32)
    grey += value_noise(rng, size_wh_px, rng.uniform(60, 200)) * rng.uniform(1, 7)
    if rng.random() < 0.4:
        pixel_mm = float(rng.uniform(0.8, 4.0))
        grey += asphalt_tile(rng, size_wh_px, (pixel_mm, pixel_mm))
    else:
        grey += _plain_grain(rng, (height, width))
    tint = 1 + rng.normal(0, 0.015, 3).astype(np.float32)
    return np.asarray(np.clip(grey[..., None] * tint, 0, 255), np.float32)


def _plain_grain(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    grain = rng.standard_normal(shape, dtype=np.float32)
    total = np.zeros(shape, np.float32)
    for sigma, strength in ((rng.uniform(0.5, 0.9), rng.uniform(2, 9)), (rng.uniform(1.0, 2.5), rng.uniform(1, 8))):
        blurred = cv2.GaussianBlur(grain, (0, 0), sigma)
        total += blurred * np.float32(strength / max(float(blurred.std()), 1e-6))
    return total


def add_joint(rng: np.random.Generator, image: FloatImage) -> None:
    """A dark joint or saw cut right through the picture, along or across: even width, ruler-straight.

    A crack may be as straight; what tells it from a joint is that it narrows, varies and ends.
    """
    height, width = image.shape[:2]
    angle = rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.06)
    centre = rng.uniform(0, 1, 2) * (width, height)
    reach = np.array([np.cos(angle), np.sin(angle)]) * (width + height)
    mask = draw_coverage(np.array([centre - reach, centre + reach]), np.full(2, rng.uniform(1, 8)), (width, height))
    image *= 1 - (mask * rng.uniform(0.15, 0.6))[..., None]


def add_grooves(rng: np.random.Generator, image: FloatImage) -> None:
    """Periodic grooves at any angle and pitch: whole ones (tined concrete), or broken in a soft patch (ravelling)."""
    height, width = image.shape[:2]
    angle, pitch = rng.uniform(0, np.pi), rng.uniform(4, 32)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    phase = (x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / pitch)
    phase += value_noise(rng, (width, height), rng.uniform(20, 80)) * rng.uniform(0.1, 1.2)
    wave = np.clip(np.cos(phase) - rng.uniform(0.2, 0.8), 0, None)
    whole = 2.0 if rng.random() < 0.35 else 0.0
    broken = np.clip(value_noise(rng, (width, height), rng.uniform(8, 40)) + rng.uniform(-0.3, 1.0) + whole, 0, 1)
    patch = np.clip(value_noise(rng, (width, height), 120) * 2 + rng.uniform(0.2, 1.5), 0, 1)
    image *= 1 - (wave * broken * patch * rng.uniform(0.1, 0.5))[..., None]


def add_specks(rng: np.random.Generator, image: FloatImage) -> None:
    """Clouds of dark specks: open pores and exposed aggregate."""
    height, width = image.shape[:2]
    fine = value_noise(rng, (width, height), rng.uniform(2, 5))
    cloud = np.clip(value_noise(rng, (width, height), rng.uniform(40, 120)) + rng.uniform(-0.2, 0.8), 0, 1)
    specks = np.clip(fine - rng.uniform(0.6, 1.4), 0, 1) * cloud
    image *= 1 - np.clip(specks * rng.uniform(0.4, 1.2), 0, 0.8)[..., None]


def add_sealed_crack(rng: np.random.Generator, image: FloatImage) -> NDArray[np.float32]:
    """A smooth, soft-edged band of sealant along a crack's course; returns its coverage (height, width), 0 to 1.

    Sealant covers the texture and has one tone; its band is poured by hand, so its width varies slowly.
    """
    height, width = image.shape[:2]
    path = random_crack(rng, (width, height), width_px=1.0)
    band_px = float(np.exp(rng.uniform(np.log(5), np.log(34))))
    varying = np.exp(rng.uniform(0.03, 0.2) * smooth_noise(rng, len(path.xy_px), 6))
    band = draw_coverage(path.xy_px, band_px * varying, (width, height))
    soft = cv2.GaussianBlur(band, (0, 0), rng.uniform(0.6, 2.0))
    surroundings = float(image.mean())
    tone = surroundings * (rng.uniform(0.25, 0.75) if rng.random() < 0.85 else rng.uniform(1.15, 1.5))
    image += (soft * rng.uniform(0.65, 0.97))[..., None] * (tone - image)
    return band


def add_leaves(rng: np.random.Generator, image: FloatImage) -> None:
    """Leaves and litter: small ellipses of other colours, with a shadow on one side."""
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(1, 14))):
        centre, long_px = rng.uniform(0, 1, 2) * (width, height), rng.uniform(3, 14)
        axes, angle = (long_px, long_px * rng.uniform(0.2, 0.6)), rng.uniform(0, 180)
        mask = np.zeros((height, width), np.float32)
        for offset, tone in ((rng.uniform(1, 2.5, 2), 0.5), (np.zeros(2), None)):
            mask[:] = 0
            box = ((centre + offset).tolist(), (2 * axes[0], 2 * axes[1]), angle)
            cv2.ellipse(mask, box, 1.0, -1, cv2.LINE_AA)
            colour = image * tone if tone else rng.uniform(60, 230) * np.array([1.0, rng.uniform(0.6, 1), 0.5])
            image += mask[..., None] * (colour.astype(np.float32) - image)


def add_cover(rng: np.random.Generator, image: FloatImage) -> None:
    """The cover of a manhole or a drain: a disc or box with a gap around it and a pattern; a crop may show a part."""
    height, width = image.shape[:2]
    centre, radius = rng.uniform(0.1, 0.9, 2) * (width, height), np.exp(rng.uniform(*np.log(COVER_RADII_PX)))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    turn, flat = rng.uniform(0, np.pi), rng.uniform(0.4, 1.0)
    u = (x - centre[0]) * np.cos(turn) + (y - centre[1]) * np.sin(turn)
    v = ((y - centre[1]) * np.cos(turn) - (x - centre[0]) * np.sin(turn)) / flat
    distance = np.hypot(u, v) if rng.random() < 0.6 else np.maximum(np.abs(u), np.abs(v))
    inside = np.clip(radius - distance + 0.5, 0, 1)
    pitch = rng.uniform(4, 12)
    pattern = np.cos(u * 2 * np.pi / pitch) * (np.cos(v * 2 * np.pi / pitch) if rng.random() < 0.6 else 1.0)
    tone = image.mean() * rng.uniform(0.5, 1.15) + pattern * rng.uniform(2, 22)
    image += (inside * rng.uniform(0.7, 1.0))[..., None] * (tone[..., None] - image)
    gap = np.clip(rng.uniform(0.8, 2.5) - np.abs(distance - radius), 0, 1)
    image *= 1 - (gap * rng.uniform(0.2, 0.7))[..., None]


def add_wheel_path(rng: np.random.Generator, image: FloatImage) -> None:
    """A polished or oily band: another tone, less texture, soft borders."""
    height, width = image.shape[:2]
    angle, half = rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.3), rng.uniform(20, 120)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    across = (x - rng.uniform(0, width)) * np.cos(angle) + (y - rng.uniform(0, height)) * np.sin(angle)
    band = np.exp(-0.5 * (across / half) ** 4)[..., None]
    smooth = cv2.GaussianBlur(image, (0, 0), rng.uniform(1.0, 2.5))
    image += band * (rng.uniform(0.75, 1.25) * (image + rng.uniform(0.2, 0.9) * (smooth - image)) - image)


def add_aggregate(rng: np.random.Generator, image: FloatImage) -> None:
    """Exposed aggregate: stones of several pixels with dark gaps between them."""
    height, width = image.shape[:2]
    pixel_mm = float(rng.uniform(0.5, 2.0))
    stones = asphalt_tile(rng, (width, height), (pixel_mm, pixel_mm))
    image += (stones * rng.uniform(0.6, 2.0))[..., None]


def add_paint(rng: np.random.Generator, image: FloatImage) -> None:
    """A straight paint stripe with worn spots, white or yellow."""
    height, width = image.shape[:2]
    angle, centre = rng.uniform(0, np.pi), rng.uniform(0, 1, 2) * (width, height)
    reach = np.array([np.cos(angle), np.sin(angle)]) * (width + height)
    ends = np.array([centre - reach, centre + reach])
    stripe = draw_coverage(ends, np.full(2, rng.uniform(10, 60)), (width, height))
    wear = np.clip(value_noise(rng, (width, height), rng.uniform(2, 9)) + rng.uniform(0.2, 2.5), 0, 1)
    colour = np.array([235, 235, 230] if rng.random() < 0.6 else [220, 175, 70], np.float32) * rng.uniform(0.7, 1.05)
    image += (stripe * wear * rng.uniform(0.6, 1))[..., None] * (colour - image)


def add_shadow(rng: np.random.Generator, image: FloatImage) -> None:
    """A soft shadow with an irregular edge (trees, the vehicle, a kerb)."""
    height, width = image.shape[:2]
    field = value_noise(rng, (width, height), rng.uniform(50, 200))
    edge = rng.uniform(0.05, 0.6)
    shade = np.clip((field - rng.uniform(-0.6, 0.8)) / edge, 0, 1)
    image *= 1 - (shade * rng.uniform(0.2, 0.65))[..., None]


def add_patch_edge(rng: np.random.Generator, image: FloatImage) -> None:
    """A repaired rectangle of another tone: its border is an edge, not a crack."""
    height, width = image.shape[:2]
    centre, size = rng.uniform(0, 1, 2) * (width, height), rng.uniform(0.2, 0.9, 2) * (width, height)
    corners = cv2.boxPoints((centre.tolist(), size.tolist(), float(rng.normal(0, 12))))
    corners += smooth_noise(rng, 8, 1).reshape(4, 2) * 3
    mask = np.zeros((height, width), np.float32)
    cv2.fillPoly(mask, [np.round(corners * 16).astype(np.int32)], 1.0, lineType=cv2.LINE_AA, shift=4)
    mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 1.5))
    image *= 1 - (mask * rng.uniform(-0.2, 0.35))[..., None]
    if rng.random() < 0.6:
        seam = np.clip(1 - np.abs(mask - 0.5) * rng.uniform(2, 4), 0, 1)
        image *= 1 - (seam * rng.uniform(0.1, 0.5))[..., None]


DISTRACTORS = (
    (add_grooves, 0.28),
    (add_specks, 0.25),
    (add_aggregate, 0.12),
    (add_wheel_path, 0.12),
    (add_joint, 0.20),
    (add_patch_edge, 0.22),
    (add_paint, 0.12),
    (add_cover, 0.18),
    (add_leaves, 0.08),
    (add_shadow, 0.25),
)
"""What is drawn on a training crop without a label, and how often. Grooves and specks cured most false alarms."""
