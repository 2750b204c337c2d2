"""One labelled image: its arrays, and readers of pictures and masks that refuse what they cannot vouch for."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from crackmap.calibration.errors import InputError, UnreadableImageError, require

Mask = NDArray[np.bool_]

SEALED = "sealed crack"
"""Name among `Labels.others` of a crack that was filled."""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"})
"""Suffixes, in small letters, of files that count as pictures of a set."""

LIMIT_PX = 250_000_000
"""Greatest picture that is decoded, checked from its header: 750 MB of RGB."""

# Beside these Pillow knows some forty, one of which (EPS) starts another program.
_FORMATS = ("JPEG", "PNG", "TIFF", "BMP")

# What Pillow's plugins raise at damaged files; anything else is a fault of the program and must show.
_DECODER_ERRORS = (OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, MemoryError, struct.error,
                   Image.DecompressionBombError)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Labels:
    """One decoded image with its labels.

    Attributes:
        image: (height, width, 3) uint8 RGB.
        crack: (height, width) bool, true on crack pixels.
        weight: (height, width) float32, how far each pixel's label is to be believed, 0 to 1.
        others: (height, width) bool by name, things that are no cracks but are labelled in this set: "sealed crack",
            "joint", "cover", "patch", "pothole". A set that labels a thing names it for every image, empty or not.
        boxes_xyxy_px: (N, 4) float32 boxes of cracks, corner to corner, where the set has boxes of its own; None where
            boxes are to be derived from `crack`. Inside a box that has no mask the weight is 0.
    """

    image: NDArray[np.uint8]
    crack: Mask
    weight: NDArray[np.float32]
    others: Mapping[str, Mask] = field(default_factory=dict)
    boxes_xyxy_px: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        shape = self.image.shape[:2]
        for name, array in (("crack", self.crack), ("weight", self.weight), *self.others.items()):
            require(array.shape == shape, f"labels {name}", f"the image's rows and columns {shape}", array.shape)
        boxes = self.boxes_xyxy_px
        require(boxes is None or (boxes.ndim == 2 and boxes.shape[1] == 4), "boxes_xyxy_px", "shape (N, 4)",
                None if boxes is None else boxes.shape)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image of a set: its name and how to read it."""

    name: str
    image_path: Path
    read_labels: Callable[[NDArray[np.uint8]], Labels]

    def read(self) -> Labels:
        """The decoded image with its labels.

        Raises:
            InputError: a file cannot be read, or does not fit the image; the message names it.
        """
        return self.read_labels(read_rgb(self.image_path))


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB of a picture, turned as its EXIF orientation says.

    16-bit grey is divided by 257, a fixed scale; palettes, grey and CMYK are resolved, alpha is dropped.

    Raises:
        UnreadableImageError: it cannot be decoded to its end.
    """
    picture = _decoded(path, "image")
    if picture.mode.startswith("I;16"):
        grey = ((np.asarray(picture, np.uint32) + 128) // 257).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if picture.mode in ("I", "F"):
        raise UnreadableImageError(f"{path.name}: expected 8 or 16 bits a channel, got mode {picture.mode}; "
                                   "convert it to 8 bits")  # fmt: skip
    return np.array(picture.convert("RGB"), np.uint8)


def read_mask(path: Path, shape_hw: tuple[int, ...]) -> NDArray[np.uint8]:
    """(height, width) uint8 values of a mask: grey levels, 0 and 1 of one bit, or the numbers of palette colours.

    A mask stored in colour is taken if its channels are equal.

    Args:
        path: the mask.
        shape_hw: rows and columns of its image.

    Raises:
        UnreadableImageError: it cannot be decoded to its end, is coloured, or holds other than whole numbers 0 to 255.
        InputError: its size is not that of the image.
    """
    picture = _decoded(path, "mask")
    if picture.mode == "LA":
        picture = picture.convert("L")
    values = np.array(picture)
    if values.ndim == 3:
        if not (values[..., :3] == values[..., :1]).all():
            raise UnreadableImageError(f"{path.name}: expected one value a pixel, got colours; "
                                       "store the mask as grey levels")  # fmt: skip
        values = values[..., 0]
    # Shares of a float mask would be cut to 0, so that nothing would be left of a mask from 0 to 1.
    if values.dtype.kind == "f" and not (values == np.floor(values)).all():
        raise UnreadableImageError(f"{path.name}: expected whole numbers, got fractions or NaN; store the mask with 8 "
                                   "bits, for shares 255 where they are above 0.5 and 0 elsewhere")  # fmt: skip
    if values.min(initial=0) < 0 or values.max(initial=0) > 255:
        raise UnreadableImageError(f"{path.name}: expected values 0 to 255, got up to {values.max()}; "
                                   "store the mask with 8 bits")  # fmt: skip
    if values.shape != tuple(shape_hw):
        raise InputError(f"{path.name}: expected the image's size {shape_hw[1]} x {shape_hw[0]} px, "
                         f"got {values.shape[1]} x {values.shape[0]}; export it again at full size")  # fmt: skip
    return values.astype(np.uint8)


def _decoded(path: Path, what: str) -> Image.Image:
    try:
        with Image.open(io.BytesIO(path.read_bytes()), formats=_FORMATS) as picture:
            size = picture.size
            require(size[0] * size[1] <= LIMIT_PX, path.name, f"at most {LIMIT_PX // 10**6} Mpx", size)
            picture.load()
            return ImageOps.exif_transpose(picture)
    except InputError:
        raise
    except _DECODER_ERRORS as error:
        raise UnreadableImageError(
            f"{path.name}: not a readable {what} ({error}); remove it from the set or restore it"
        ) from error
