"""Pixels of survey images: one set of rules for every format, and no half-read picture passes as a whole one.

The content of a file decides what it is, not its name: JPEG, PNG, or TIFF (GeoTIFF, BigTIFF). Whatever is stored comes
out as RGB uint8: grey is repeated, 16-bit values are divided by 257 (a fixed scale, never stretched to the contents of
one picture; of 16-bit colour PNG Pillow keeps the high byte, at most one level off), palettes and CMYK are resolved,
alpha is dropped, and where a TIFF holds no data (its nodata value, its mask, alpha 0) it is black. The EXIF orientation
is applied once, here.
"""

from __future__ import annotations

import io
import struct
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from crackmap.calibration.errors import UnreadableImageError
from crackmap.calibration.track.exif import Fix, exif_fix

RgbArray = NDArray[np.uint8]

LIMIT_PX = 250_000_000
"""Greatest picture that is decoded as a whole (750 MB of RGB); checked from the header. TIFFs are read by windows."""

# Pillow's own limit is 90 Mpx; and a host program may have told it to pass truncated pictures.
Image.MAX_IMAGE_PIXELS = LIMIT_PX
ImageFile.LOAD_TRUNCATED_IMAGES = False

# What Pillow's plugins and GDAL raise at damaged files; anything else is a fault of the program and must show.
_DECODER_ERRORS = (
    OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError, struct.error,
    RasterioError,
)  # fmt: skip
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Georeference:
    """Where a raster lies.

    Attributes:
        affine: a, b, c, d, e, f: map x = a x + b y + c, map y = d x + e y + f, of pixel corners, metres.
        crs_wkt: its projected CRS in metres.
    """

    affine: tuple[float, float, float, float, float, float]
    crs_wkt: str


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What is known of an image before its pixels are read.

    Attributes:
        size_wh_px: width and height after EXIF rotation.
        georeference: of a TIFF in a projected CRS in metres, else None.
        note: why a georeference that is there cannot be used; empty otherwise.
    """

    size_wh_px: tuple[int, int]
    georeference: Georeference | None = None
    note: str = ""


class ImageSource(ABC):
    """An image that is open for reading by windows; a context manager. Made by `open_image`.

    Attributes:
        header: size and georeference.
    """

    def __init__(self, header: ImageHeader) -> None:
        self.header = header

    @property
    def size_wh_px(self) -> tuple[int, int]:
        """Width and height after EXIF rotation."""
        return self.header.size_wh_px

    @property
    def georeference(self) -> Georeference | None:
        """Of a TIFF in a projected CRS in metres, else None."""
        return self.header.georeference

    @abstractmethod
    def read(self, x0: int, y0: int, width: int, height: int) -> RgbArray:
        """The (height, width, 3) RGB uint8 window whose top-left pixel is (x0, y0); it lies inside the image.

        Raises:
            UnreadableImageError: the window cannot be decoded.
        """

    def read_all(self) -> RgbArray:
        """The whole (height, width, 3) RGB uint8 picture.

        Raises:
            UnreadableImageError: it cannot be decoded, or has more than LIMIT_PX pixels.
        """
        return self.read(0, 0, *self.size_wh_px)

    @abstractmethod
    def close(self) -> None:
        """Closes the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Decoded(ImageSource):
    """A JPEG or PNG, decoded as a whole."""

    def __init__(self, header: ImageHeader, pixels: RgbArray) -> None:
        super().__init__(header)
        self._pixels = pixels

    def read(self, x0: int, y0: int, width: int, height: int) -> RgbArray:
        return self._pixels[y0 : y0 + height, x0 : x0 + width]

    def close(self) -> None:
        """The file was closed when it had been decoded."""


class _Raster(ImageSource):
    """A TIFF, read by windows."""

    def __init__(self, header: ImageHeader, dataset: Any, name: str) -> None:
        super().__init__(header)
        self._dataset, self._name = dataset, name
        self._bands = [1] if dataset.count < 3 else [1, 2, 3]
        self._palette = _palette(dataset)

    def read(self, x0: int, y0: int, width: int, height: int) -> RgbArray:
        if width * height > LIMIT_PX:
            raise UnreadableImageError(f"{self._name}: {width} x {height} pixels are too many to read at once")
        window = Window(x0, y0, width, height)
        with _failures(self._name):
            bands = self._dataset.read(self._bands, window=window)
            valid = self._dataset.dataset_mask(window=window)
        stored = _to_uint8(np.moveaxis(bands, 0, -1)) if self._palette is None else self._palette[bands[0]]
        result = np.repeat(stored, 3, axis=2) if stored.shape[2] == 1 else np.ascontiguousarray(stored)
        result[valid == 0] = 0
        return result

    def close(self) -> None:
        self._dataset.close()


def read_header(path: Path) -> ImageHeader:
    """Size and georeference, without decoding any pixel.

    Raises:
        UnreadableImageError: the file is missing, not a JPEG, PNG or TIFF, damaged, or of a kind not supported.
    """
    if _is_tiff(path):
        with _open_tiff(path) as dataset:
            return _tiff_header(dataset)
    with _failures(path.name), path.open("rb") as file, Image.open(file, formats=("JPEG", "PNG")) as image:
        return ImageHeader(_upright_size(image))


def read_fix(path: Path) -> Fix | None:
    """The position in the EXIF block of a JPEG, PNG or TIFF; None where there is none that makes sense."""
    try:
        with path.open("rb") as file, Image.open(file, formats=("JPEG", "PNG", "TIFF")) as image:
            return exif_fix(image.getexif())
    except (*_DECODER_ERRORS, Image.DecompressionBombError):
        # Whether the picture can be read is told elsewhere.
        return None


def read_size_wh(path: Path) -> tuple[int, int]:
    """Width and height in pixels after EXIF rotation, from the header.

    Raises:
        UnreadableImageError: as `read_header`.
    """
    return read_header(path).size_wh_px


def open_image(path: Path) -> ImageSource:
    """Opens an image for reading; close it, or use it in a `with`.

    Raises:
        UnreadableImageError: as `read_header`, and if a JPEG or PNG is truncated or has more than LIMIT_PX pixels.
    """
    if _is_tiff(path):
        dataset = _open_tiff(path)
        return _Raster(_tiff_header(dataset), dataset, path.name)
    with _failures(path.name):
        stored = path.read_bytes()
        with Image.open(io.BytesIO(stored), formats=("JPEG", "PNG")) as image:
            width, height = size = _upright_size(image)
            if width * height > LIMIT_PX:
                raise UnreadableImageError(
                    f"{path.name}: {width} x {height} pixels are more than {LIMIT_PX // 10**6} million; "
                    "store it as a tiled TIFF, which is read by windows"
                )
            orientation = _orientation(image)
            image.load()
            upright = image.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else image
            return _Decoded(ImageHeader(size), _rgb(upright))


@contextmanager
def _failures(name: str) -> Iterator[None]:
    """Turns whatever a decoder raises at a damaged file into an UnreadableImageError that names it."""
    try:
        yield
    except UnreadableImageError:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(f"{name}: more than {LIMIT_PX // 10**6} million pixels") from error
    except _DECODER_ERRORS as error:
        raise UnreadableImageError(f"{name}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """One line without the machine's paths."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    if "cannot identify image" in text:
        return "damaged, or not an image"
    return text or type(error).__name__


def _is_tiff(path: Path) -> bool:
    with _failures(path.name):
        with path.open("rb") as file:
            start = file.read(8)
        if not start:
            raise UnreadableImageError(f"{path.name}: empty file")
        if not start.startswith((_JPEG, _PNG, *_TIFF)):
            raise UnreadableImageError(f"{path.name}: not a JPEG, PNG or TIFF")
    return start.startswith(_TIFF)


def _upright_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (height, width) if _orientation(image) in (5, 6, 7, 8) else (width, height)


def _orientation(image: Image.Image) -> int:
    """1 to 8; only from an EXIF block before the pixels, so that header and picture agree."""
    if "exif" not in image.info:
        return 1
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (SyntaxError, ValueError, TypeError, LookupError, OSError):
        # A damaged EXIF block does not spoil the picture.
        return 1


def _rgb(image: Image.Image) -> RgbArray:
    if image.mode.startswith("I"):
        grey = _to_uint8(np.asarray(image).astype(np.uint16))
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.array(image.convert("RGB"), np.uint8)


def _to_uint8(pixels: NDArray[Any]) -> RgbArray:
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _open_tiff(path: Path) -> Any:
    """The open dataset, if it is one whose pixels can be read."""
    with _failures(path.name), warnings.catch_warnings():
        # Most survey images have no map coordinates: nothing to warn of.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        dataset = rasterio.open(path.resolve(), driver="GTiff")
    alpha_second = dataset.count == 2 and dataset.colorinterp[1] == ColorInterp.alpha
    kinds = set(dataset.dtypes)
    blocks = max(height * width for height, width in dataset.block_shapes)
    problem = ""
    if dataset.count == 2 and not alpha_second:
        problem = "expected one band (grey) or three (RGB), got two"
    elif len(kinds) > 1 or not kinds <= {"uint8", "uint16"}:
        problem = f"expected 8 or 16 bits without sign, got {', '.join(sorted(kinds))}"
    elif blocks > LIMIT_PX:
        problem = "stored as one block too large to decode; write it tiled, e.g. with gdal_translate -of COG"
    if problem:
        dataset.close()
        raise UnreadableImageError(f"{path.name}: {problem}")
    return dataset


def _tiff_header(dataset: Any) -> ImageHeader:
    size = (dataset.width, dataset.height)
    crs, transform = dataset.crs, dataset.transform
    if transform.is_identity or transform.is_degenerate:
        return ImageHeader(size)
    if crs is None:
        return ImageHeader(size, None, "it has map coordinates but no CRS; assign one, e.g. with gdal_edit -a_srs")
    if not crs.is_projected or abs(crs.linear_units_factor[1] - 1.0) > 1e-9:
        return ImageHeader(
            size, None, "its CRS is not in metres; warp it to a projected one, e.g. gdalwarp -t_srs with the UTM zone"
        )
    a, b, c, d, e, f = (float(number) for number in tuple(transform)[:6])
    return ImageHeader(size, Georeference((a, b, c, d, e, f), crs.to_wkt()))


def _palette(dataset: Any) -> RgbArray | None:
    """(256, 3) colours of a palette image, None for any other."""
    if dataset.count != 1 or dataset.colorinterp[0] != ColorInterp.palette or dataset.dtypes[0] != "uint8":
        return None
    colours = dataset.colormap(1)
    return np.array([colours.get(value, (0, 0, 0, 255))[:3] for value in range(256)], np.uint8)
