"""Survey images: their headers, the positions in them and their pixels.

Pixels, and headers of TIFFs, come from supervised child processes (`loading.py`); the headers of JPEG and PNG, of which
a survey has very many, are read here: ordinary ones by `headers.py`, all others by Pillow's Python code.
"""

from __future__ import annotations

import atexit
from functools import cache, lru_cache
from pathlib import Path

from PIL import Image

from crackmap.calibration.errors import UnreadableImageError
from crackmap.calibration.files import is_no_file
from crackmap.calibration.track.exif import Fix, exif_fix
from crackmap.pipeline import decoding
from crackmap.pipeline.decoding import DECODER_ERRORS, LIMIT_PX, Georeference, ImageHeader, RgbArray
from crackmap.pipeline.headers import ordinary_size_wh
from crackmap.pipeline.loading import ImageSource, Loader

__all__ = [
    "LIMIT_PX", "Georeference", "ImageHeader", "ImageSource", "RgbArray", "open_image", "read_fix", "read_header",
    "read_size_wh",
]  # fmt: skip


def read_header(place: Path | str) -> ImageHeader:
    """Size and georeference, without decoding any pixel. A path of text is opened in half the time.

    Raises:
        UnreadableImageError: the file is missing, not a JPEG, PNG or TIFF, damaged, or of a kind not supported.
    """
    size_wh_px = ordinary_size_wh(place)
    if size_wh_px is not None:
        return _header_of(size_wh_px)
    path = Path(place)
    _require_file(path)
    if decoding.is_tiff(path):
        return _shared_loader().header(path)
    return decoding.read_header(path)


@lru_cache(maxsize=64)
def _header_of(size_wh_px: tuple[int, int]) -> ImageHeader:
    """One for all images of a size: a survey has a million of them."""
    return ImageHeader(size_wh_px)


def read_fix(path: Path) -> Fix | None:
    """The position in the EXIF block of a JPEG, PNG or TIFF; None where there is none that makes sense."""
    try:
        with path.open("rb") as file, Image.open(file, formats=("JPEG", "PNG", "TIFF")) as image:
            return exif_fix(image.getexif())
    except (*DECODER_ERRORS, Image.DecompressionBombError):
        # Whether the picture can be read is told elsewhere.
        return None


def read_size_wh(path: Path) -> tuple[int, int]:
    """Width and height in pixels after EXIF rotation, from the header.

    Raises:
        UnreadableImageError: as `read_header`.
    """
    return read_header(path).size_wh_px


def open_image(path: Path, *, limit_px: int = LIMIT_PX) -> ImageSource:
    """Opens an image for reading; close it, or use it in a `with`.

    Args:
        path: of the file.
        limit_px: greatest number of pixels of a JPEG or PNG.

    Raises:
        UnreadableImageError: as `read_header`, and if it is truncated, or a JPEG or PNG of more pixels than allowed.
    """
    _require_file(path)
    return _shared_loader().open(path, limit_px=limit_px)


def _require_file(path: Path) -> None:
    """Refuses what only looks like an image: opening a pipe waits for ever, and a device never ends."""
    if is_no_file(path):
        raise UnreadableImageError(f"{path.name}: not a file, but a pipe, socket, device or folder")


@cache
def _shared_loader() -> Loader:
    """The loader of whoever reads an image now and then; a run has its own."""
    loader = Loader()
    atexit.register(loader.close)
    return loader
