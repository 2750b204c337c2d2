"""The report of a run on this machine's own address, with every frame at full size: `crackmap view`."""

from __future__ import annotations

import html
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import cv2

from crackmap.calibration.errors import CrackmapError, InputError
from crackmap.pipeline.identity import file_identity
from crackmap.pipeline.images import open_image
from crackmap.pipeline.products.write import SUCCESS_NAME
from crackmap.pipeline.status import journal_as_it_is
from crackmap.pipeline.storage.shadow import listed
from crackmap.pipeline.storage.urls import BucketUrl, location
from crackmap.stages.records import Crack

ADDRESS = "127.0.0.1"
"""Nobody but this machine: the pictures of a survey show people and number plates."""

LONGEST_SIDE_PX = 8192
"""Larger frames are shown smaller: browsers refuse larger ones."""

JPEG_QUALITY = 92

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'none'"


class ReportServer(ThreadingHTTPServer):
    """Serves the report of one finished run; a context manager."""

    daemon_threads = True

    def __init__(self, out: Path, port: int = 0) -> None:
        """Opens the port; 0: any that is free.

        Raises:
            InputError: `out` holds no finished run, or the port is in use.
        """
        if not (out / SUCCESS_NAME).exists():
            raise InputError(
                f"{out}: holds no finished run; give the -o folder of `crackmap run`, or run the same command again"
            )
        self.out = out
        with journal_as_it_is(out) as journal:
            source = None if journal is None else journal.fact("source")
            rows = () if journal is None else journal.rows()
            self.files = {row.key: (row.input_bytes, row.input_mtime_ns) for row in rows}
        place = location(source["path"]) if source else out
        self.root = listed(place).source if isinstance(place, BucketUrl) else place
        # One frame is decoded at a time: a click must not fill the memory.
        self.decoding = threading.Lock()
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            raise InputError(f"port {port}: cannot be opened ({error.strerror}); give another --port") from error

    @property
    def url(self) -> str:
        """Where the report is."""
        return f"http://{ADDRESS}:{self.server_address[1]}/"

    def path_of(self, key: str) -> Path | None:
        """The file of a frame of this run; None for any other name."""
        if key not in self.files:
            return None
        return self.root if self.root.is_file() else self.root / key


class _Handler(BaseHTTPRequestHandler):
    server: ReportServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answers: the report, a frame's page, a frame's picture."""
        # A page elsewhere whose name leads here must not read a survey (DNS rebinding).
        host = (self.headers.get("Host") or "").rpartition(":")[0]
        if host not in (ADDRESS, "localhost"):
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"only for this machine")
            return
        asked = urlsplit(self.path)
        key = parse_qs(asked.query).get("key", [""])[0]
        if asked.path == "/":
            self._report()
        elif asked.path in ("/frame", "/image") and key in self.server.files:
            self._frame(key) if asked.path == "/frame" else self._image(key)
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"no such page or frame")

    def _report(self) -> None:
        try:
            page = (self.server.out / "report.html").read_text("utf-8")
        except OSError:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"report.html is gone: crackmap sections writes it again")
            return
        served = page.replace("<html ", '<html data-served="1" ', 1)
        # The page carries a policy of its own, which names its scripts.
        self._send(HTTPStatus.OK, "text/html; charset=utf-8", served.encode("utf-8"), policy=None)

    def _frame(self, key: str) -> None:
        cracks = [crack for crack in self._cracks(key) if crack.open]
        with self.server.decoding, open_image(self._path(key)) as source:
            width, height = source.size_wh_px
        lines = "".join(f'<polyline points="{_points(crack)}"/>' for crack in cracks)
        page = _FRAME_PAGE.format(
            key=html.escape(key), source=html.escape(f"image?key={quote(key)}"), width=width, height=height,
            lines=lines, count=len(cracks), changed=self._changed(key),
        )  # fmt: skip
        self._send(HTTPStatus.OK, "text/html; charset=utf-8", page.encode("utf-8"))

    def _image(self, key: str) -> None:
        """The picture, decoded and encoded anew: no byte of a stranger's file reaches the browser."""
        with self.server.decoding, open_image(self._path(key)) as source:
            image = source.read(0, 0, *source.size_wh_px)
        scale = LONGEST_SIDE_PX / max(image.shape[:2])
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        _, jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        self._send(HTTPStatus.OK, "image/jpeg", jpeg.tobytes())

    def _changed(self, key: str) -> str:
        same = file_identity(self._path(key)) == self.server.files[key]
        return "" if same else "this file has changed since it was measured: the lines are those of the earlier one"

    def _path(self, key: str) -> Path:
        path = self.server.path_of(key)
        if path is None:
            raise InputError(f"{key}: no frame of this run")
        return path

    def _cracks(self, key: str) -> tuple[Crack, ...]:
        with journal_as_it_is(self.server.out) as journal:
            return () if journal is None else journal.cracks(key)

    def handle_one_request(self) -> None:
        """As the standard one; what goes wrong with a frame is said to the browser."""
        try:
            super().handle_one_request()
        except CrackmapError as error:
            self._send(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", str(error).encode("utf-8", "replace"))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _send(self, status: HTTPStatus, kind: str, content: bytes, *, policy: str | None = _POLICY) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        if policy is not None:
            self.send_header("Content-Security-Policy", policy)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: the terminal belongs to the command."""


def _points(crack: Crack) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in crack.centreline_xy_px)


_FRAME_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{key}</title><style>
body {{ margin:0; background:#14181e; color:#e4e8ee; font:14px system-ui,sans-serif; }}
header {{ padding:10px 16px; display:flex; gap:24px; flex-wrap:wrap; }}
.stack {{ position:relative; width:{width}px; max-width:none; }}
img {{ display:block; width:100%; height:auto; }}
svg {{ position:absolute; inset:0; width:100%; height:100%; }}
polyline {{ fill:none; stroke:#ff5c7c; stroke-width:1.5; vector-effect:non-scaling-stroke; }}
#lines:not(:checked) ~ .stack svg {{ display:none; }}
#fit:checked ~ .stack {{ width:100%; }}
label {{ cursor:pointer; }}
</style></head><body>
<header><b>{key}</b><span>{count} cracks, {width} × {height} px</span><span>{changed}</span></header>
<input type="checkbox" id="lines" checked> <label for="lines">measured lines</label>
<input type="checkbox" id="fit" checked> <label for="fit">fit to the window</label>
<div class="stack"><img src="{source}" alt="Photograph"><svg viewBox="0 0 {width} {height}">{lines}</svg></div>
</body></html>
"""
