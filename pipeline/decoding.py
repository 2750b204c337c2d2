"""From the bytes of an image file to RGB pixels: one set of rules for every format. Runs in a child process.

Decoders are the part of the program that strangers' files reach first, and the part that is written in C: they run in
`decoder_process.py`, under limits of time and memory, and the rest of the program asks for pixels through `images.py`.
The rules are in docs/inputs.md.

The content of a file decides what it is, not its name: JPEG, PNG, or TIFF (GeoTIFF, BigTIFF). Whatever is stored comes
out as RGB uint8: grey is repeated, 16-bit values are divided by 257 (a fixed scale, never stretched to the contents of
one picture; of 16-bit colour PNG Pillow keeps the high byte, at most one level off), palettes and CMYK are resolved,
alpha is dropped, and where a TIFF holds no data (its nodata value, its mask, alpha 0) it is black. The EXIF orientation
is applied once, here.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from crackmap.calibration.errors import CrackmapError, StorageError, UnreadableImageError

RgbArray = NDArray[np.uint8]

LIMIT_PX = 250_000_000
"""Greatest JPEG or PNG that is decoded, unless more is asked for (`--max-mpx`); checked from the header."""

WHOLE_PX = 60_000_000
"""Pictures up to this size (180 MB of RGB) are decoded as a whole; of larger ones memory holds a strip or a window."""

SCRATCH_PREFIX = ".writing-unpacked-"

STRIP_ROWS = 256
"""Rows of a large JPEG or PNG that are decoded at a time."""

# A host program may have told Pillow to pass truncated pictures.
ImageFile.LOAD_TRUNCATED_IMAGES = False

# What Pillow's plugins and GDAL raise at damaged files; anything else is a fault of the program and must show.
DECODER_ERRORS = (
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


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Which content a picture was decoded from.

    Attributes:
        size_bytes, mtime_ns: of the file.
        sha256: of its content.
    """

    size_bytes: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture as it comes out of its file: as a whole, unpacked into a scratch file, or still to be read by windows.

    Attributes:
        header: size and georeference.
        identity: of the file.
        pixels: (height, width, 3) RGB uint8 of a picture of up to WHOLE_PX.
        scratch: file with the rows of a larger JPEG or PNG, RGB uint8, one after the other; the caller removes it.
        raster: a larger TIFF, open.
    """

    header: ImageHeader
    identity: FileIdentity
    pixels: RgbArray | None = None
    scratch: Path | None = None
    raster: Raster | None = None


class Raster:
    """A TIFF that is open for reading by windows."""

    def __init__(self, dataset: Any, name: str) -> None:
        self.header = _tiff_header(dataset)
        self._dataset, self._name = dataset, name
        self._bands = [1] if dataset.count < 3 else [1, 2, 3]
        self._palette = _palette(dataset)

    def read(self, x0: int, y0: int, width: int, height: int) -> RgbArray:
        """The (height, width, 3) RGB uint8 window whose top-left pixel is (x0, y0); it lies inside the image.

        Raises:
            UnreadableImageError: the window cannot be decoded, or has more than LIMIT_PX pixels.
        """
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
        """Closes the file."""
        self._dataset.close()


def read_header(path: Path) -> ImageHeader:
    """Size and georeference, without decoding any pixel.

    Raises:
        UnreadableImageError: the file is missing, not a JPEG, PNG or TIFF, damaged, or of a kind not supported.
    """
    with _failures(path.name), path.open("rb") as file:
        if _is_tiff(file, path.name):
            with _open_tiff(path.name, file.fileno()) as dataset:
                return _tiff_header(dataset)
        with _pillow(file) as image:
            return ImageHeader(_upright_size(image))


def is_tiff(path: Path) -> bool:
    """Whether the file begins as a TIFF does, not as a JPEG or PNG.

    Raises:
        UnreadableImageError: it is missing, or begins as none of them.
    """
    with _failures(path.name), path.open("rb") as file:
        return _is_tiff(file, path.name)


def decode(path: Path, *, limit_px: int = LIMIT_PX, scratch_folder: Path | None = None) -> Decoded:
    """The picture in a file.

    Args:
        path: a JPEG, PNG or TIFF.
        limit_px: more pixels than this in a JPEG or PNG are refused before anything is decoded.
        scratch_folder: where large ones are unpacked; by default the folder for temporary files.

    Raises:
        UnreadableImageError: the file is missing, damaged, truncated, too large, of a kind that is not supported, or
            was written to while it was read.
    """
    with _failures(path.name), path.open("rb") as file:
        before = os.fstat(file.fileno())
        header: ImageHeader
        found: RgbArray | Path | Raster
        if _is_tiff(file, path.name):
            header, found = _decode_tiff(path.name, file.fileno())
        else:
            header, found = _decode_picture(file, path.name, limit_px, scratch_folder)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            _discard(found)
            raise UnreadableImageError(f"{path.name}: was written to while it was read")
    identity = FileIdentity(after.st_size, after.st_mtime_ns, digest)
    if isinstance(found, Raster):
        return Decoded(header, identity, raster=found)
    if isinstance(found, Path):
        return Decoded(header, identity, scratch=found)
    return Decoded(header, identity, pixels=found)


def _decode_tiff(name: str, descriptor: int) -> tuple[ImageHeader, RgbArray | Raster]:
    raster = Raster(_open_tiff(name, descriptor), name)
    width, height = raster.header.size_wh_px
    if width * height > WHOLE_PX:
        return raster.header, raster
    try:
        return raster.header, raster.read(0, 0, width, height)
    finally:
        raster.close()


def _decode_picture(
    file: BinaryIO, name: str, limit_px: int, scratch_folder: Path | None
) -> tuple[ImageHeader, RgbArray | Path]:
    with _pillow(file) as image:
        width, height = size = _upright_size(image)
        if width * height > limit_px:
            raise UnreadableImageError(
                f"{name}: {width} x {height} pixels are more than {limit_px // 10**6} million; "
                "allow them with --max-mpx, or store it as a tiled TIFF, which is read by windows"
            )
        orientation = _orientation(image)
        interlaced = image.format == "PNG" and _check_png(file, name)
        if width * height > WHOLE_PX:
            if interlaced:
                raise UnreadableImageError(f"{name}: interlaced and too large to decode as a whole; save it without")
            return ImageHeader(size), _unpack(file, name, str(image.format), orientation, scratch_folder)
        image.load()
        upright = image.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else image
        return ImageHeader(size), _rgb(upright)


def _discard(found: RgbArray | Path | Raster) -> None:
    if isinstance(found, Raster):
        found.close()
    elif isinstance(found, Path):
        found.unlink(missing_ok=True)


@contextmanager
def _pillow(file: BinaryIO) -> Iterator[Image.Image]:
    """A JPEG or PNG, its header read. Pillow's own limit, of 90 Mpx, gives way to that of the caller."""
    kept, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(file, formats=("JPEG", "PNG")) as image:
            yield image
    finally:
        Image.MAX_IMAGE_PIXELS = kept


def _unpack(file: BinaryIO, name: str, kind: str, orientation: int, folder: Path | None) -> Path:
    """Writes the rows of a large JPEG or PNG to a scratch file, upright, and returns it.

    GDAL reads both by rows, forwards; Pillow holds the whole picture.
    """
    with _dataset(name, file.fileno(), kind) as dataset:
        if dataset.count not in (1, 3, 4) or set(dataset.dtypes) - {"uint8", "uint16"} or _is_cmyk(dataset):
            raise UnreadableImageError(f"{name}: of this size only grey and RGB pictures can be read; convert it")
        raster = Raster(dataset, name)
        width, height = dataset.width, dataset.height
        turned = orientation in (5, 6, 7, 8)
        shape = (width, height, 3) if turned else (height, width, 3)
        path = _scratch_file(3 * width * height, folder)
        try:
            with path.open("r+b") as scratch:
                mapped = mmap.mmap(scratch.fileno(), 0)
            stored = _as_stored(np.frombuffer(mapped, np.uint8).reshape(shape), orientation)
            for y0 in range(0, height, STRIP_ROWS):
                rows = min(STRIP_ROWS, height - y0)
                stored[y0 : y0 + rows] = raster.read(0, y0, width, rows)
                # What is written belongs to the file; as memory of this process it would count against its limit.
                mapped.madvise(mmap.MADV_DONTNEED)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return path


def _scratch_file(size_bytes: int, folder: Path | None) -> Path:
    """A new file whose space is there: writing to a mapped file on a full disk would end the process.

    Raises:
        StorageError: there is not enough space.
    """
    try:
        descriptor, path = tempfile.mkstemp(prefix=SCRATCH_PREFIX, dir=folder)
        try:
            # Where a system cannot reserve space (macOS), a full disk ends the child instead.
            getattr(os, "posix_fallocate", lambda file, _, size: os.truncate(file, size))(descriptor, 0, size_bytes)
        except OSError:
            Path(path).unlink()
            raise
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StorageError(
            f"{folder or tempfile.gettempdir()}: no {size_bytes / 1e9:.1f} GB to unpack a large picture "
            f"({error.strerror}); make room, then run the same command again"
        ) from error
    return Path(path)


def _as_stored(upright: RgbArray, orientation: int) -> RgbArray:
    """A view of the upright picture in which rows and columns run as they are stored under an EXIF orientation."""
    turned = np.swapaxes(upright, 0, 1) if orientation in (5, 6, 7, 8) else upright
    rows_back, columns_back = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    if orientation in (5, 6, 7, 8):
        rows_back, columns_back = orientation in (6, 7), orientation in (7, 8)
    return turned[:: -1 if rows_back else 1, :: -1 if columns_back else 1]


def _is_cmyk(dataset: Any) -> bool:
    return ColorInterp.cyan in dataset.colorinterp or ColorInterp.black in dataset.colorinterp


def _check_png(file: BinaryIO, name: str) -> bool:
    """Refuses a PNG whose chunks are cut off or fail their check sum; returns whether it is interlaced.

    Pillow passes a file without its end, and GDAL one without its second half.
    """
    place = file.tell()
    file.seek(len(_PNG))
    interlaced = False
    while True:
        head = file.read(8)
        if len(head) < 8:
            raise UnreadableImageError(f"{name}: truncated")
        length, kind = struct.unpack(">I4s", head)
        checksum, left = zlib.crc32(kind), length
        while left:
            part = file.read(min(left, 1 << 20))
            if not part:
                raise UnreadableImageError(f"{name}: truncated")
            checksum, left = zlib.crc32(part, checksum), left - len(part)
            if kind == b"IHDR":
                interlaced = len(part) == 13 and part[12] == 1
        if file.read(4) != struct.pack(">I", checksum):
            raise UnreadableImageError(f"{name}: damaged (check sum of {kind.decode('ascii', 'replace')})")
        if kind == b"IEND":
            file.seek(place)
            return interlaced


@contextmanager
def _failures(name: str) -> Iterator[None]:
    """Turns whatever a decoder raises at a damaged file into an UnreadableImageError that names it."""
    try:
        yield
    except CrackmapError:
        raise
    except DECODER_ERRORS as error:
        raise UnreadableImageError(f"{name}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """One line without the machine's paths."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    if "cannot identify image" in text:
        return "damaged, or not an image"
    return text or type(error).__name__


def _is_tiff(file: BinaryIO, name: str) -> bool:
    start = file.read(8)
    file.seek(0)
    if not start:
        raise UnreadableImageError(f"{name}: empty file")
    if not start.startswith((_JPEG, _PNG, *_TIFF)):
        raise UnreadableImageError(f"{name}: not a JPEG, PNG or TIFF")
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


def _dataset(name: str, descriptor: int, driver: str) -> Any:
    """The open file as a GDAL dataset of one driver.

    GDAL gets the descriptor instead of the name: no name can be taken for a network address or another driver's
    connection, bytes that are no text do no harm, and what is decoded is the file that was looked at.
    """
    with _failures(name), warnings.catch_warnings():
        # Most survey images have no map coordinates: nothing to warn of.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(f"/dev/fd/{descriptor}", driver=driver)


def _open_tiff(name: str, descriptor: int) -> Any:
    """The open dataset, if it is one whose pixels can be read."""
    dataset = _dataset(name, descriptor, "GTiff")
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
        raise UnreadableImageError(f"{name}: {problem}")
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
