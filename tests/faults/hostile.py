"""Files made to do harm, and a watch over what is done with them: processes, sockets, files outside the output."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio

SECRET = "canary-of-4711-words"
"""Stands in the one file that nothing may read."""

DEEP = "[" * 200_000
"""What a parser that calls itself cannot end."""

ENDLESS = "(WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT sum(n) FROM t)"
"""An SQL expression that is never done."""

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn")
_watching: Place | None = None


@dataclass
class Place:
    """Where a case happens: `files` holds what strangers sent, `out` is the only folder that may change."""

    root: Path
    listener: socket.socket
    seen: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.files, self.out = self.root / "files", self.root / "out"
        self.canary = self.root / "canary"
        for folder in (self.files, self.root / "tmp", self.root / "cwd"):
            folder.mkdir()
        self.canary.write_text(f"{SECRET} = 1\n")

    @property
    def url(self) -> str:
        """An address at which somebody listens."""
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}/canary"

    def survey(self, description: str = "", **files: bytes) -> Path:
        """A survey folder of one picture, with survey.toml and other files («__» in a name stands for «.»)."""
        folder = self.files / "survey"
        folder.mkdir(exist_ok=True)
        (folder / "a_100.png").write_bytes(picture())
        if description:
            (folder / "survey.toml").write_text(description, encoding="utf-8")
        for name, content in files.items():
            (folder / name.replace("__", ".")).write_bytes(content)
        return folder

    def state(self) -> dict[str, Any]:
        """Everything below `root` but the output, without opening it."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            if not path.is_relative_to(self.out):
                facts = path.lstat()
                found[str(path)] = (facts.st_mode, facts.st_size, 0 if path.is_dir() else facts.st_mtime_ns)
        return found


@contextmanager
def watched(place: Place) -> Iterator[None]:
    """Fails where the block does more than read `files` and write `out`.

    Python tells every file it opens, process it starts and socket it connects; what C libraries do shows at the
    listener, to which every hostile address leads, and in the state of the files.
    """
    global _watching
    before, _watching = place.state(), place
    try:
        yield
    finally:
        _watching = None
    assert place.seen == []
    assert place.state() == before
    place.listener.setblocking(False)
    try:
        place.listener.accept()
    except BlockingIOError:
        return
    raise AssertionError("somebody called the address")


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if (place := _watching) is None:
        return
    reaches_out = event in ("socket.connect", "socket.bind") and isinstance(args[1], tuple)
    if reaches_out or event == "socket.getaddrinfo":
        place.seen.append(f"{event} {args[1:]}")
        raise OSError("no network here")
    if event in _STARTS or (event == "subprocess.Popen" and "crackmap.pipeline.decoder_process" not in args[1]):
        place.seen.append(f"{event} {args}")
    if event == "open" and isinstance(args[0], str | bytes | os.PathLike):
        path = Path(os.path.abspath(os.fsdecode(args[0])))  # noqa: PTH100
        writes = (args[2] or 0) & _WRITES and not {"__pycache__", "dev"} & set(path.parts)
        allowed = (place.out, Path(tempfile.gettempdir()))
        if path == place.canary or (writes and not any(map(path.is_relative_to, allowed))):
            place.seen.append(f"open {path}")


sys.addaudithook(_audit)


def picture(seed: int = 0, suffix: str = ".png") -> bytes:
    """160 x 120 px with a dark line, different for every seed."""
    image = np.random.default_rng(seed).integers(140, 170, (120, 160, 3), dtype=np.uint8)
    image[60:64, 20:140] = 40
    return bytes(cv2.imencode(suffix, image)[1].tobytes())


def tiff(path: Path, *, tags: dict[str, str] | None = None, **options: Any) -> Path:
    """A TIFF with tags of GDAL's overview domain."""
    with rasterio.open(path, "w", driver="GTiff", width=64, height=48, count=3, dtype="uint8", **options) as file:
        file.write(np.full((3, 48, 64), 100 + zlib.crc32(path.name.encode()) % 100, np.uint8))
        file.update_tags(ns="OVERVIEWS", **tags or {})
    return path


def looping_tiff(path: Path) -> None:
    """A TIFF whose first directory is followed by itself."""
    content = bytearray(tiff(path).read_bytes())
    (first,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, first)
    struct.pack_into("<I", content, first + 2 + 12 * entries, first)
    path.write_bytes(content)


def huge_block_tiff(path: Path) -> None:
    """A TIFF of 120 bytes that says it is one tile of 60,000 x 60,000 px."""
    tags = ((256, 60_000), (257, 60_000), (258, 8), (259, 1), (262, 1), (277, 1), (322, 60_000), (323, 60_000),
            (324, 8), (325, 9))  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4))


def png_of(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of that size with next to no pixels in it, and further chunks."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = b"".join(chunk(*item) for item in chunks) + chunk(b"IDAT", zlib.compress(bytes(9000)))
    return b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """A PNG with a comment of 200 MB in 200 kB."""
    return png_of(16, 16, (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200_000_000), 9)))


def vrt(path: Path, source: str) -> None:
    """A GDAL dataset that shows another one's pixels."""
    path.write_text(
        '<VRTDataset rasterXSize="64" rasterYSize="48"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{source}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )


def safetensors(header: object, data: bytes = bytes(4), *, length: int | None = None) -> bytes:
    """A weight file of a header, as JSON or as given, with a length that may be a lie."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def weights(config: object, *, stage: str = "segment", net: str = "crackseg", **more: str) -> bytes:
    """A weight file as crackmap writes it, of one tensor of one number."""
    said = config if isinstance(config, str) else json.dumps(config)
    header = {"format": "crackmap-weights-1", "stage": stage, "net": net, "config": said, **more}
    return safetensors({"__metadata__": header, "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


GPX = (
    '<?xml version="1.0"?>{0}<gpx xmlns="http://www.topografix.com/GPX/1/1" version="1.1"><trk><name>{1}</name><trkseg>'
    + "".join(
        f'<trkpt lat="52" lon="13.00{2 * n:02d}"><time>2024-01-01T00:00:{2 * n:02d}Z</time></trkpt>' for n in range(10)
    )
    + "</trkseg></trk></gpx>"
)
"""A track of 18 s from 1704067200; place for a document type and for text."""

BOMB = "<!DOCTYPE gpx [<!ENTITY a0 'ha'>{}]>".format(
    "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 12))
)
"""A billion laughs and more."""


def geojson(**more: Any) -> bytes:
    """A route of one line, with further members."""
    line = {"type": "LineString", "coordinates": [[13.0, 52.0], [13.01, 52.01]]}
    feature = {"type": "Feature", "properties": {}, "geometry": line}
    return json.dumps({"type": "FeatureCollection", **more, "features": [feature]}).encode()
