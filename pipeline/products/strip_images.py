"""The road surface of each section as seen from above: one Cloud Optimized GeoTIFF that lies where the lines lie.

Every frame fills the strip of road it answers for, so the picture shows the same pixels that were measured. It is
turned so that the road runs up the picture; its transform says how it lies on the map. It is painted in bands across
the road, several at a time, so memory does not grow with the section.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Self

import cv2
import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import Affine
from rasterio.windows import Window

from crackmap.calibration.errors import StorageError, UnreadableImageError
from crackmap.pipeline.assembly.store import portions
from crackmap.pipeline.decoding import WHOLE_PX
from crackmap.pipeline.images import ImageSource, open_image
from crackmap.pipeline.products.masks import COG_ENVIRONMENT, TILE_PX, mask_name
from crackmap.pipeline.products.publish import TEMPORARY_PREFIX, publishing, remove_strays
from crackmap.pipeline.products.rectified import Box, composed, in_picture, placed, places_px, remapped
from crackmap.pipeline.products.strip_grid import SEAM_M, StripGrid, box_of_frame, section_y_m, strip_grid
from crackmap.pipeline.products.strip_overlays import overlay_name, write_overlay
from crackmap.pipeline.records import Frame, Section
from crackmap.pipeline.survey_result import SurveyResult
from crackmap.stages.processors import cpu_count
from crackmap.stages.tiling import ArraySource, PixelSource

STRIPS_FOLDER = "strips"

BAND_PX = TILE_PX
"""Rows that are painted at a time: a row of tiles of the file."""

_PLAIN = {"driver": "GTiff", "count": 4, "dtype": "uint8", "tiled": True, "blockxsize": TILE_PX, "blockysize": TILE_PX,
          "photometric": "RGB", "alpha": "yes", "sparse_ok": True, "bigtiff": "IF_SAFER"}  # fmt: skip
_COG = {"driver": "COG", "compress": "JPEG", "quality": 88, "blocksize": TILE_PX, "overviews": "AUTO",
        "overview_resampling": "AVERAGE", "bigtiff": "IF_SAFER", "num_threads": "ALL_CPUS"}  # fmt: skip


def strip_name(section: Section) -> str:
    """File name below strips/ of a section."""
    # What follows the last dot of a name would be taken for a suffix.
    return mask_name(f"{section.section_id}.")


def write_section_strips(result: SurveyResult, out: Path, *, wanted: bool, pixel_mm: float | None = None) -> None:
    """Writes strips/ of an output folder anew, and removes pictures of sections that are no more.

    `pixel_mm` is the ground size of a pixel; by default that of the frames.

    Raises:
        StorageError: a file could not be written or removed.
    """
    folder = out / STRIPS_FOLDER
    names = write_strips(folder, result, pixel_mm) if wanted else ()
    remove_strays(folder)
    try:
        for old in sorted(folder.glob("*.tif")):
            if old.name not in names:
                old.unlink()
    except OSError as error:
        raise StorageError(f"{folder}: an old strip could not be removed ({error}); remove the folder") from error


def write_strips(folder: Path, result: SurveyResult, pixel_mm: float | None = None) -> tuple[str, ...]:
    """Writes one image per section that has a chainage and frames in it, and one of its cracks, into `folder`.

    Returns:
        The names of the files written, in order of the sections.

    Raises:
        StorageError: a file could not be written.
    """
    names = []
    crs = CRS.from_wkt(result.output.crs_wkt)
    frames_of, cracks_of = _frames_by_section(result), _cracks_by_section(result)
    sections = [section for section in result.sections if frames_of.get(section.section_id)]
    with _Opened() as opened, ThreadPoolExecutor(cpu_count(), thread_name_prefix="strip") as pool:
        for section, following in zip_longest(sections, sections[1:]):
            frames = [result.outcomes[place].frame for place in frames_of[section.section_id]]
            grid = strip_grid(section, frames, pixel_mm)
            if grid is not None:
                bands = _bands(section, frames, grid)
                after = frames_of[following.section_id] if following else ()
                later = {result.outcomes[place].frame.key for place in after}
                painted = _painted(bands, opened, pool, later=later)
                _write(folder / strip_name(section), section, grid, crs, painted)
                name = strip_name(section)
                cracks = [result.cracks[number] for number in cracks_of.get(section.section_id, ())]
                write_overlay(folder / overlay_name(name), cracks, grid, crs)
                names += [name, overlay_name(name)]
    return tuple(names)


def _frames_by_section(result: SurveyResult) -> dict[str, array[int]]:
    """Section id -> the places of the measured frames whose strips reach into it, in the order of the survey."""
    found: dict[str, array[int]] = {}
    sections: dict[str, list[tuple[float, float, str]]] = {}
    for section in result.sections:
        if section.from_m is not None and section.to_m is not None:
            found[section.section_id] = array("q")
            sections.setdefault(section.recording, []).append((section.from_m, section.to_m, section.section_id))
    starts = {recording: sorted(items) for recording, items in sections.items()}
    for place, outcome in enumerate(result.outcomes):
        frame = outcome.frame
        if outcome.lost or frame.ground is None or frame.chainage_m is None or frame.owns_y_m is None:
            continue
        low, high = sorted(frame.chainage_at(y) for y in frame.owns_y_m)
        items = starts.get(frame.recording, [])
        first = max(bisect_right(items, low, key=lambda item: item[0]) - 1, 0)
        for start, end, section_id in items[first:]:
            if start >= high:
                break
            if end > low < high:
                found[section_id].append(place)
    return found


def _cracks_by_section(result: SurveyResult) -> dict[str, list[int]]:
    """Section id -> the numbers of the cracks that reach into it, in their order."""
    roads: dict[str, list[tuple[float, float, str]]] = {}
    for section in result.sections:
        if section.from_m is not None and section.to_m is not None:
            roads.setdefault(section.recording, []).append((section.from_m, section.to_m, section.section_id))
    found: dict[str, list[int]] = {}
    before = 0
    for part in portions(result.cracks):
        places = zip(part.plain["recording"], part["chainage_from_m"].tolist(), part["chainage_to_m"].tolist(),
                     strict=True)  # fmt: skip
        for number, (recording, low, high) in enumerate(places, start=before):
            if low != low or high != high:
                continue
            items = roads.get(recording, [])
            first = max(bisect_right(items, low, key=lambda item: item[0]) - 1, 0)
            for start, end, section_id in items[first:]:
                if start > high:
                    break
                if end > low:
                    found.setdefault(section_id, []).append(number)
        before += len(part)
    return found


class _Opened:
    """The pictures that are being painted from. Safe to use from several threads."""

    def __init__(self) -> None:
        self._pictures: dict[str, tuple[ImageSource, PixelSource]] = {}
        self._lock = threading.Lock()

    def picture(self, frame: Frame) -> PixelSource:
        """The picture of a frame, in memory; one too large for that by windows.

        Raises:
            UnreadableImageError: it cannot be read.
        """
        with self._lock:
            if frame.key not in self._pictures:
                pixels = frame.size_wh_px[0] * frame.size_wh_px[1]
                source = open_image(frame.path, limit_px=pixels)
                small = pixels <= WHOLE_PX
                self._pictures[frame.key] = source, ArraySource(source.read_all()) if small else _InTurn(source)
            return self._pictures[frame.key][1]

    def close_but(self, keys: Collection[str]) -> None:
        """Closes all pictures but these."""
        with self._lock:
            for key in [key for key in self._pictures if key not in keys]:
                self._pictures.pop(key)[0].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_but(())


class _InTurn:
    """A picture that one thread reads at a time."""

    def __init__(self, source: ImageSource) -> None:
        self._source, self._lock = source, threading.Lock()

    @property
    def size_wh_px(self) -> tuple[int, int]:
        return self._source.size_wh_px

    def read(self, x0: int, y0: int, width: int, height: int) -> NDArray[np.uint8]:
        with self._lock:
            return self._source.read(x0, y0, width, height)


@dataclass(frozen=True, slots=True)
class _Band:
    """Some rows of a strip image, and what fills them.

    Attributes:
        rows: first one, and the one after the last.
        parts: the frames that reach into it, in the order of the survey, each with its pixels of the strip image.
    """

    section: Section
    grid: StripGrid
    rows: tuple[int, int]
    parts: tuple[tuple[Frame, Box], ...]


def _bands(section: Section, frames: Sequence[Frame], grid: StripGrid) -> list[_Band]:
    """The rows that any frame reaches into."""
    boxes = [(frame, box) for frame in frames if (box := box_of_frame(frame, section, grid)) is not None]
    bands = []
    for top in range(0, grid.size_wh[1], BAND_PX):
        bottom = min(top + BAND_PX, grid.size_wh[1])
        parts = tuple(
            (frame, (left, max(first, top), right, min(last, bottom)))
            for frame, (left, first, right, last) in boxes
            if first < bottom and last > top
        )
        if parts:
            bands.append(_Band(section, grid, (top, bottom), parts))
    return bands


def _painted(
    bands: Sequence[_Band], opened: _Opened, pool: ThreadPoolExecutor, *, later: Collection[str]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """First row and (height, width, 4) RGBA of each band; `later` are the frames that are needed after the last."""
    waiting: deque[Future[NDArray[np.uint8]]] = deque()
    begun = 0
    try:
        for number, band in enumerate(bands):
            while begun < len(bands) and len(waiting) <= cpu_count():
                waiting.append(pool.submit(_paint, bands[begun], opened))
                begun += 1
            yield band.rows[0], waiting.popleft().result()
            needed = {frame.key for other in bands[number + 1 : begun + 1] for frame, _ in other.parts}
            opened.close_but(needed.union(later))
    finally:
        for future in waiting:
            future.cancel()


def _write(
    path: Path, section: Section, grid: StripGrid, crs: CRS, painted: Iterator[tuple[int, NDArray[np.uint8]]]
) -> None:
    width, height = grid.size_wh
    with publishing(path) as temporary:
        plain = temporary.with_name(f"{temporary.name}{TEMPORARY_PREFIX}.tif")
        with rasterio.Env(**COG_ENVIRONMENT):
            placement = {"width": width, "height": height, "crs": crs, "transform": grid.transform}
            with rasterio.open(plain, "w", **placement, **_PLAIN) as file:
                for top, band in painted:
                    file.write(band.transpose(2, 0, 1), window=Window(0, top, width, band.shape[0]))
                file.update_tags(
                    AREA_OR_POINT="Area", section=section.section_id, pixel_mm=f"{1e3 * grid.pixel_m:.6g}",
                )  # fmt: skip
            rasterio.shutil.copy(plain, temporary, **_COG)


def _paint(band: _Band, opened: _Opened) -> NDArray[np.uint8]:
    """The (height, width, 4) RGBA of a band: each frame's strip; beyond its strip it only fills what is empty."""
    top, bottom = band.rows
    image = np.zeros((bottom - top, band.grid.size_wh[0], 4), np.uint8)
    for frame, (left, first, right, last) in band.parts:
        try:
            picture = opened.picture(frame)
            for x0 in range(left, right, TILE_PX):
                box = (x0, first, min(x0 + TILE_PX, right), last)
                _paint_block(image[first - top : last - top, x0 : box[2]], box, frame, band, picture)
        except UnreadableImageError:
            # The file was there when it was measured and is gone: the strip stays empty, the numbers stand.
            continue
    return image


def _paint_block(image: NDArray[np.uint8], box: Box, frame: Frame, band: _Band, picture: PixelSource) -> None:
    """Paints a frame's part of a block (height, width, 4), which is the box (left, top, right, bottom) of the strip."""
    if frame.ground is None or frame.owns_y_m is None:
        return
    to_ground = composed(~placed(frame, Affine.identity()), band.grid.transform)
    places = places_px(frame.ground, to_ground, box)
    shown = in_picture(*places, frame.size_wh_px)
    x_m, y_m = _ground_m(to_ground, box)
    if frame.ground.limits.lateral_m is not None:
        left, right = frame.ground.limits.lateral_m
        shown &= (x_m >= left) & (x_m <= right)
    (low, high), (start, end) = frame.owns_y_m, section_y_m(frame, band.section)
    shown &= (y_m >= start) & (y_m < end)
    own = (y_m >= low) & (y_m < high)
    beside = (y_m >= low - SEAM_M) & (y_m < high + SEAM_M) & (image[..., 3] == 0)
    chosen = (shown & (own | beside)).astype(np.uint8)
    if chosen.any():
        colours = cv2.cvtColor(remapped(picture, *places, shown), cv2.COLOR_RGB2RGBA)
        # In place: a copy would leave the strip as it was.
        cv2.copyTo(colours, chosen, image)


def _ground_m(to_ground: Affine, box: Box) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(height, width) ground x and y of the centres of the pixels in a box."""
    a, b, c, d, e, f = (float(number) for number in tuple(to_ground)[:6])
    x, y = np.arange(box[0], box[2]) + 0.5, (np.arange(box[1], box[3]) + 0.5)[:, None]
    return a * x + b * y + c, d * x + e * y + f
