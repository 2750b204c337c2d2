"""Damaged and malformed images, made from good ones by a seeded generator."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rasterio.io import MemoryFile


@dataclass(frozen=True, slots=True)
class Malformed:
    """One file.

    Attributes:
        name: of the file; what it was and what was done to it.
        content: its bytes.
        truncated: it ends before its picture does: it must not pass as whole.
    """

    name: str
    content: bytes
    truncated: bool = False


def picture(rng: np.random.Generator, width: int = 97, height: int = 61) -> NDArray[np.uint8]:
    """A smooth picture with noise, so that every part of its file matters."""
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(int)
    return np.clip(smooth + rng.integers(-20, 21, smooth.shape), 0, 255).astype(np.uint8)


def good_files(rng: np.random.Generator) -> dict[str, bytes]:
    """A file of every kind that is read, by name."""
    array = picture(rng)
    grey, deep = array[..., 0], array[..., 0].astype(np.uint16) * 257
    image = Image.fromarray(array)
    made = {
        "baseline.jpg": _saved(image, "JPEG"),
        "progressive.jpg": _saved(image, "JPEG", progressive=True),
        "grey.jpg": _saved(Image.fromarray(grey), "JPEG"),
        "cmyk.jpg": _saved(image.convert("CMYK"), "JPEG"),
        "exif.jpg": _saved(image, "JPEG", exif=_exif()),
        "rgb.png": _saved(image, "PNG"),
        "alpha.png": _saved(Image.fromarray(np.dstack([array, grey])), "PNG"),
        "palette.png": _saved(image.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"),
        "deep.png": _saved(Image.fromarray(deep), "PNG"),
        "one_bit.png": _saved(image.convert("1"), "PNG"),
    }
    for compress in ("none", "deflate", "lzw", "jpeg"):
        made[f"{compress}.tif"] = _tiff(array, compress)
    made["tiled.tif"] = _tiff(picture(rng, 160, 130), "deflate", tiled=True, blockxsize=64, blockysize=64)
    return made


def malformed(count: int, *, seed: int) -> Iterator[Malformed]:
    """`count` files; number i depends on the seed and i alone."""
    good = sorted(good_files(np.random.default_rng(seed)).items())
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        name, content = good[number % len(good)]
        damage = DAMAGES[number // len(good) % len(DAMAGES)]
        yield Malformed(f"{number:05d}_{damage.__name__}_{name}", damage(rng, content), damage is truncated)


def truncated(rng: np.random.Generator, content: bytes) -> bytes:
    """The beginning: any part of it, or all but the last bytes."""
    length = int(rng.integers(0, len(content)))
    return content[: length if rng.random() < 0.7 else len(content) - int(rng.integers(1, 40))]


def flipped_bits(rng: np.random.Generator, content: bytes) -> bytes:
    """A few bits anywhere."""
    return _changed(rng, content, int(rng.integers(1, 20)), 0, len(content))


def mutated_header(rng: np.random.Generator, content: bytes) -> bytes:
    """A few bytes near the beginning, where sizes, offsets and tags are."""
    return _changed(rng, content, int(rng.integers(1, 8)), 4, min(300, len(content)))


def mutated_end(rng: np.random.Generator, content: bytes) -> bytes:
    """A few bytes near the end, where a TIFF may have its tags."""
    return _changed(rng, content, int(rng.integers(1, 8)), max(len(content) - 300, 0), len(content))


def zeroed(rng: np.random.Generator, content: bytes) -> bytes:
    """A stretch of zeros, as a bad block of a card leaves it."""
    start = int(rng.integers(0, len(content)))
    end = start + int(rng.integers(1, 600))
    return content[:start] + bytes(len(content[start:end])) + content[end:]


def spliced(rng: np.random.Generator, content: bytes) -> bytes:
    """A stretch left out, or doubled."""
    start, end = sorted(rng.integers(0, len(content), 2).tolist())
    return content[:start] + content[end:] if rng.random() < 0.5 else content[:end] + content[start:]


def huge(rng: np.random.Generator, content: bytes) -> bytes:
    """Four bytes in the beginning that say a very large number."""
    place = int(rng.integers(8, min(200, len(content) - 4)))
    return content[:place] + b"\x7f\xff\xff\xff" + content[place + 4 :]


def noise(rng: np.random.Generator, content: bytes) -> bytes:
    """The first bytes of the format, and then anything."""
    return content[:8] + rng.bytes(int(rng.integers(0, 4000)))


DAMAGES = (truncated, flipped_bits, mutated_header, truncated, mutated_end, zeroed, spliced, huge, noise)


def _changed(rng: np.random.Generator, content: bytes, count: int, low: int, high: int) -> bytes:
    changed = bytearray(content)
    for place in rng.integers(low, max(high, low + 1), count).tolist():
        changed[min(place, len(changed) - 1)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a maker"
    return exif


def _tiff(array: NDArray[np.uint8], compress: str, **options: object) -> bytes:
    height, width = array.shape[:2]
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", width=width, height=height, count=3, dtype="uint8", compress=compress,
                         **options) as dataset:  # fmt: skip
            dataset.write(np.moveaxis(array, 2, 0))
        return bytes(memory.read())
