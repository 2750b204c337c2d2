"""The parts of an image file that its header is read from, without the rest of it."""

from __future__ import annotations

import struct
from collections.abc import Callable

FIRST_BYTES = 16 << 10
"""Read at first: headers of most JPEG and PNG files end in it."""

MOST_BYTES = 64 << 20
"""More than this belongs to no header."""

MOST_DIRECTORIES = 512
"""Of one TIFF: pages, overviews and masks."""

ReadRange = Callable[[int, int], bytes]
"""Bytes from a start, of a length; fewer where the file ends."""

Pieces = dict[int, bytes]
"""Start -> bytes there."""

_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Of the types of a TIFF's values (TIFF 6.0, section 2; BigTIFF adds 16 to 18)."""

_DIRECTORY_TAGS = (330, 34665, 34853)
"""Of a TIFF, whose values are places of further directories: SubIFDs, EXIF, GPS."""


def head_pieces(read: ReadRange) -> Pieces:
    """What a decoder reads of a JPEG, PNG or TIFF before it reads pixels; of any other file its first bytes.

    A file that is damaged gives what was found up to there: who decodes the pieces says what is wrong.
    """
    first = read(0, FIRST_BYTES)
    if first.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return {0: first, **_tiff(first, read)}
    if first.startswith(b"\xff\xd8\xff"):
        return {0: _up_to(first, read, _after_segment, 2)}
    if first.startswith(b"\x89PNG\r\n\x1a\n"):
        return {0: _up_to(first, read, _after_chunk, 8)}
    return {0: first}


def _up_to(content: bytes, read: ReadRange, after: Callable[[bytes, int], tuple[int, bool]], place: int) -> bytes:
    """The content up to the end of its header, which `after` walks through part by part."""
    while place < MOST_BYTES:
        while len(content) < place + 16 and len(content) < MOST_BYTES:
            more = read(len(content), place + FIRST_BYTES - len(content))
            if not more:
                return content
            content += more
        place, ended = after(content, place)
        if ended:
            break
    return content[:place]


def _after_segment(content: bytes, place: int) -> tuple[int, bool]:
    """Place behind a JPEG's segment, and whether pixels follow (ITU T.81, B.1.1)."""
    if content[place] != 0xFF:
        return len(content), True
    marker = content[place + 1]
    if marker == 0xFF:
        return place + 1, False
    if 0xD0 <= marker <= 0xD9:
        return place + 2, False
    length = int.from_bytes(content[place + 2 : place + 4], "big")
    if marker == 0xDA or length < 2:
        return min(place + 2 + length, len(content)), True
    return place + 2 + length, False


def _after_chunk(content: bytes, place: int) -> tuple[int, bool]:
    """Place behind a PNG's chunk, and whether pixels follow."""
    length, kind = struct.unpack_from(">I4s", content, place)
    if kind in (b"IDAT", b"IEND"):
        return place + 12, True
    return place + 12 + length, False


def _tiff(first: bytes, read: ReadRange) -> Pieces:
    """Every directory of a TIFF, and the values that lie outside of it."""
    order, big = "<" if first[:2] == b"II" else ">", first[2:4] in (b"+\0", b"\0+")
    word, count_form, entry_form = ("Q", "Q", "HHQ8s") if big else ("I", "H", "HHI4s")
    pieces: Pieces = {}

    def numbers(form: str, start: int) -> tuple[int, ...]:
        size = struct.calcsize(order + form)
        pieces[start] = content = read(start, size).ljust(size, b"\0")
        return struct.unpack(order + form, content)

    waiting = [struct.unpack_from(order + word, first.ljust(16, b"\0"), 8 if big else 4)[0]]
    done: set[int] = {0}
    budget = MOST_BYTES
    while waiting and len(done) <= MOST_DIRECTORIES:
        start = waiting.pop(0)
        if start in done:
            continue
        done.add(start)
        (count,) = numbers(count_form, start)
        start += struct.calcsize(order + count_form)
        entries = numbers((entry_form + " ") * min(count, 4096) + word, start)
        waiting.append(entries[-1])
        for tag, kind, values, inside in zip(*(entries[part:-1:4] for part in range(4)), strict=True):
            length = _VALUE_BYTES.get(kind, 0) * values
            if length > len(inside):
                place = struct.unpack(order + word, inside)[0]
                if length > budget:
                    continue
                budget -= length
                pieces[place] = inside = read(place, length)
            if tag in _DIRECTORY_TAGS and kind in (4, 13, 16, 18):
                each = "Q" if kind in (16, 18) else "I"
                many = min(values, MOST_DIRECTORIES, len(inside) // struct.calcsize(each))
                waiting += struct.unpack_from(f"{order}{many}{each}", inside)
    return pieces
