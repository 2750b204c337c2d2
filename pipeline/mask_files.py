"""Crack masks from files: what their values mean, and which mask belongs to which image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import InputError
from crackmap.pipeline.images import open_image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")

MASK_ENDING = "_crack"
"""`crackmap segment` writes the mask of a.jpg as a_crack.png."""

COLOURED_STEP = 24
"""Channels further apart than this are a colour; JPEG alone moves them by less."""

COLOURED_SHARE = 0.001


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A mask as it was read.

    Attributes:
        probability: (height, width) uint8, crack probability * 255.
        notes: what was assumed about its values, in sentences for the user.
    """

    probability: NDArray[np.uint8]
    notes: tuple[str, ...]


def read_mask(path: Path) -> MaskFile:
    """The crack probability a mask file stands for: its grey value / 255, white = crack.

    A mask that holds only 0 and 1 counts 1 as crack. Whatever else might be a misunderstanding is in the notes.

    Raises:
        UnreadableImageError: it is missing, damaged, or not a JPEG, PNG or TIFF.
    """
    with open_image(path) as source:
        return mask_of(source.read_all())


def mask_of(pixels: NDArray[np.uint8]) -> MaskFile:
    """As `read_mask`, of the (height, width, 3) RGB pixels of the file."""
    notes = []
    spread = pixels.max(axis=2) - pixels.min(axis=2)
    grey = pixels[..., 0]
    if (spread > COLOURED_STEP).mean() > COLOURED_SHARE:
        grey = np.rint(pixels.mean(axis=2, dtype=np.float32)).astype(np.uint8)
        notes.append("the mask is a colour picture: its brightness is taken as the crack probability")
    greatest = int(grey.max())
    if greatest == 1:
        grey = grey * np.uint8(255)
        notes.append("the mask holds only 0 and 1: 1 is taken as crack")
    elif greatest == 0:
        notes.append("the mask is black: nothing in it is marked as crack (white = crack; 16-bit values count as "
                     "value / 257)")  # fmt: skip
    elif greatest < 128:
        notes.append(f"the mask reaches only {greatest} of 255, a probability below 0.5: nothing in it counts as "
                     "crack; for class numbers, write the crack class as 255 and all else as 0")  # fmt: skip
    if (grey >= 128).mean() > 0.5:
        notes.append("more than half of the mask is crack: where black is crack, invert it first")
    return MaskFile(np.ascontiguousarray(grey), tuple(notes))


def masks_of_images(images: Sequence[Path], mask: Path) -> list[Path]:
    """The mask of each image, in their order.

    Args:
        images: the images.
        mask: a file, for one image; or a folder, in which the mask of «a.jpg» is «a.*» or «a_crack.*».

    Raises:
        InputError: one mask for several images, or an image whose mask is missing or not unique.
    """
    if not mask.is_dir():
        if len(images) != 1:
            raise InputError(f"--mask {mask}: one mask for {len(images)} images; give a folder with a mask for each")
        return [mask]
    by_stem: dict[str, list[Path]] = {}
    for item in sorted(mask.iterdir()):
        if item.suffix.lower() in IMAGE_SUFFIXES and item.is_file():
            by_stem.setdefault(item.stem, []).append(item)
    pairs = []
    for image in images:
        found = by_stem.get(image.stem + MASK_ENDING, []) + by_stem.get(image.stem, [])
        # An image in the folder of masks is no mask of itself.
        found = [item for item in found if item.resolve() != image.resolve()]
        if len(found) != 1:
            names = ", ".join(item.name for item in found) or "none"
            raise InputError(
                f"{image}: expected one mask in {mask}, {image.stem}{MASK_ENDING}.png or {image.stem}.png, got {names}"
            )
        pairs.append(found[0])
    return pairs
