"""The size of an ordinary JPEG or PNG, from the first bytes of its file.

A survey has a million images, and all that is asked of most of them before the run is their size. What is ordinary is
read here in microseconds; whatever is not (other markers, damage, a header beyond the first bytes) gets no answer, and
Pillow is asked, whose answer these functions must agree with.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from pathlib import Path

FIRST_BYTES = 1 << 15

_PNG = b"\x89PNG\r\n\x1a\n"

# Chunks before the pixels that say nothing about size or orientation.
_PNG_PASSED = frozenset((b"gAMA", b"sRGB", b"pHYs", b"cHRM", b"sBIT", b"PLTE", b"tRNS", b"bKGD", b"tIME"))
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}

_SOS, _APP1, _APP2 = 0xDA, 0xE1, 0xE2
_SOF = frozenset((0xC0, 0xC1, 0xC2))
_JPEG_PASSED = frozenset((0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0))) - {_APP1, _APP2}

_ORIENTATION, _SHORT = 0x0112, 3
_EXIF_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
"""Of a value, by its type."""


def ordinary_size_wh(path: Path | str) -> tuple[int, int] | None:
    """Width and height in pixels after EXIF rotation; None where the file is not an ordinary JPEG or PNG."""
    try:
        # A pipe would be waited on for ever without O_NONBLOCK.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        start = os.read(descriptor, FIRST_BYTES)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return size_wh_of(start)


def size_wh_of(start: bytes) -> tuple[int, int] | None:
    """As `ordinary_size_wh`, of the first bytes of a file."""
    try:
        if start.startswith(_PNG):
            return _png_size(start)
        if start.startswith(b"\xff\xd8\xff"):
            return _jpeg_size(start)
    except (struct.error, IndexError, ValueError):
        # The header goes on beyond the bytes at hand, or is damaged.
        return None
    return None


def _png_size(start: bytes) -> tuple[int, int] | None:
    length, kind, width, height, depth, colour = struct.unpack_from(">I4sIIBB", start, 8)
    packing, filtering, interlace = start[26:29]
    if (length, kind, packing, filtering) != (13, b"IHDR", 0, 0) or interlace > 1:
        return None
    if depth not in _PNG_DEPTHS.get(colour, ()) or not width or not height:
        return None
    place = 8
    while kind != b"IDAT":
        (checksum,) = struct.unpack_from(">I", start, place + 8 + length)
        if zlib.crc32(start[place + 4 : place + 8 + length]) != checksum:
            return None
        place += 12 + length
        length, kind = struct.unpack_from(">I4s", start, place)
        if kind != b"IDAT" and kind not in _PNG_PASSED:
            return None
    return width, height


def _jpeg_size(start: bytes) -> tuple[int, int] | None:
    place, orientation = 2, None
    size: tuple[int, int] | None = None
    while True:
        before, marker, length = struct.unpack_from(">BBH", start, place)
        if before != 0xFF or length < 2 or place + 2 + length > len(start):
            return None
        content = start[place + 4 : place + 2 + length]
        if marker == _SOS:
            return (size[1], size[0]) if size and orientation in (5, 6, 7, 8) else size
        if marker in _SOF:
            depth, height, width, layers = struct.unpack_from(">BHHB", content)
            if size is not None or depth != 8 or layers not in (1, 3, 4) or not width or not height:
                return None
            size = width, height
        elif marker == _APP1 and content.startswith(b"Exif\0\0"):
            if orientation is not None:
                return None
            orientation = _orientation(content[6:])
            if orientation is None:
                return None
        elif marker == _APP2 and not content.startswith(b"ICC_PROFILE\0"):
            # Several pictures in one file.
            return None
        elif marker not in _JPEG_PASSED and marker not in (_APP1, _APP2):
            return None
        place += 2 + length


def _orientation(exif: bytes) -> int | None:
    """1 to 8 from a TIFF header all of whose entries are in order; None where one is not."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return None
    (first,) = struct.unpack_from(f"{order}I", exif, 4)
    (count,) = struct.unpack_from(f"{order}H", exif, first)
    struct.unpack_from(f"{order}I", exif, first + 2 + 12 * count)
    found: int | None = None
    for number in range(count):
        place = first + 2 + 12 * number
        tag, kind, values, elsewhere = struct.unpack_from(f"{order}HHII", exif, place)
        length = _EXIF_BYTES.get(kind, 1 << 32) * values
        if length > 4 and elsewhere + length > len(exif):
            return None
        if tag == _ORIENTATION:
            if found is not None or (kind, values) != (_SHORT, 1):
                return None
            (found,) = struct.unpack_from(f"{order}H", exif, place + 8)
    return 1 if found is None else found
