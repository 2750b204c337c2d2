"""The road surface of each section as seen from above: one Cloud Optimized GeoTIFF that lies where the lines lie.

Every frame fills the strip of road it answers for, so the picture shows the same pixels that were measured. It is
turned so that the road runs up the picture; its transform says how it lies on the map.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import Affine
from rasterio.windows import Window

from crackmap.calibration.errors import StorageError, UnreadableImageError
from crackmap.pipeline.decoding import WHOLE_PX
from crackmap.pipeline.footprint import visible_polygon_m
from crackmap.pipeline.images import ImageSource, open_image
from crackmap.pipeline.products.masks import CACHE_MB, TILE_PX, mask_name
from crackmap.pipeline.products.publish import TEMPORARY_PREFIX, publishing, remove_strays
from crackmap.pipeline.products.rectified import (
    Readable,
    applied,
    composed,
    ground_of_target,
    in_picture,
    placed,
    places_px,
    resampled,
)
from crackmap.pipeline.records import Frame, Section, SurveyResult
from crackmap.stages.records import FloatArray
from crackmap.stages.tiling import ArraySource, PixelSource

STRIPS_FOLDER = "strips"

MOST_PX = 300_000_000
"""Greatest strip image; a section that would need more gets coarser pixels."""

SEAM_M = 0.10
"""How far a frame's picture reaches beyond its strip where no other has anything: in bends strips gape by a wedge."""

_PLAIN = {"driver": "GTiff", "count": 4, "dtype": "uint8", "tiled": True, "blockxsize": TILE_PX, "blockysize": TILE_PX,
          "photometric": "RGB", "alpha": "yes", "sparse_ok": True, "bigtiff": "IF_SAFER"}  # fmt: skip
_COG = {"driver": "COG", "compress": "JPEG", "quality": 88, "blocksize": TILE_PX, "overviews": "AUTO",
        "overview_resampling": "AVERAGE", "bigtiff": "IF_SAFER", "num_threads": "ALL_CPUS"}  # fmt: skip

Reader = Callable[[Frame], Readable]


@dataclass(frozen=True, slots=True)
class StripGrid:
    """The pixels of a strip image.

    Attributes:
        transform: output coordinates of pixel corners (column, row).
        size_wh: columns across and rows along the road, the first row farthest along the drive.
        pixel_m: ground size of a pixel.
    """

    transform: Affine
    size_wh: tuple[int, int]
    pixel_m: float


def strip_name(section: Section) -> str:
    """File name below strips/ of a section."""
    # What follows the last dot of a name would be taken for a suffix.
    return mask_name(f"{section.section_id}.")


def write_section_strips(result: SurveyResult, out: Path, *, wanted: bool) -> None:
    """Writes strips/ of an output folder anew, and removes pictures of sections that are no more.

    Raises:
        StorageError: a file could not be written or removed.
    """
    folder = out / STRIPS_FOLDER
    with _Opened() as opened:
        names = write_strips(folder, result, read=opened.picture) if wanted else ()
    remove_strays(folder)
    try:
        for old in sorted(folder.glob("*.tif")):
            if old.name not in names:
                old.unlink()
    except OSError as error:
        raise StorageError(f"{folder}: an old strip could not be removed ({error}); remove the folder") from error


class _Opened:
    """The pictures last read, two at most: neighbouring sections share a frame at their boundary."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[ImageSource, PixelSource]] = {}

    def picture(self, frame: Frame) -> PixelSource:
        """The picture of a frame, in memory; one too large for that by windows."""
        if frame.key not in self._last:
            while len(self._last) > 1:
                self._last.pop(next(iter(self._last)))[0].close()
            pixels = frame.size_wh_px[0] * frame.size_wh_px[1]
            source = open_image(frame.path, limit_px=pixels)
            self._last[frame.key] = source, ArraySource(source.read_all()) if pixels <= WHOLE_PX else source
        return self._last[frame.key][1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for source, _picture in self._last.values():
            source.close()


def write_strips(folder: Path, result: SurveyResult, *, read: Reader, pixel_mm: float | None = None) -> tuple[str, ...]:
    """Writes one image per section that has a chainage and frames in it.

    Args:
        folder: strips/ of the output folder.
        result: of the run.
        read: opens the picture of a frame, as large as the frame says.
        pixel_mm: ground size of a pixel; by default that of the frames in the middle of their strips.

    Returns:
        The names of the files written, in order of the sections.

    Raises:
        StorageError: a file could not be written.
    """
    names = []
    crs = CRS.from_wkt(result.output.crs_wkt)
    frames_of = _frames_by_section(result)
    for section in result.sections:
        frames = frames_of.get(section.section_id, [])
        grid = _grid(section, frames, pixel_mm)
        if grid is not None:
            _write(folder / strip_name(section), section, frames, grid, crs, read)
            names.append(strip_name(section))
    return tuple(names)


def _frames_by_section(result: SurveyResult) -> dict[str, list[Frame]]:
    """Section id -> the measured frames whose strips reach into it, in the order of the survey."""
    found: dict[str, list[Frame]] = {}
    sections: dict[str, list[tuple[float, float, str]]] = {}
    for section in result.sections:
        if section.from_m is not None and section.to_m is not None:
            found[section.section_id] = []
            sections.setdefault(section.recording, []).append((section.from_m, section.to_m, section.section_id))
    starts = {recording: sorted(items) for recording, items in sections.items()}
    for frame in (outcome.frame for outcome in result.outcomes if outcome.status in ("ok", "no_crack")):
        if frame.ground is None or frame.chainage_m is None or frame.owns_y_m is None:
            continue
        low, high = sorted(frame.chainage_at(y) for y in frame.owns_y_m)
        items = starts.get(frame.recording, [])
        first = max(bisect_right(items, low, key=lambda item: item[0]) - 1, 0)
        for start, end, section_id in items[first:]:
            if start >= high:
                break
            if end > low < high:
                found[section_id].append(frame)
    return found


def _grid(section: Section, frames: Sequence[Frame], pixel_mm: float | None) -> StripGrid | None:
    """The pixels that hold the strips of all frames; None if none of them shows any road."""
    polygons = [(frame, visible_polygon_m(frame)) for frame in frames]
    polygons = [(frame, polygon) for frame, polygon in polygons if len(polygon)]
    if not polygons or section.from_m is None:
        return None
    azimuths = np.deg2rad([frame.placement.azimuth_deg for frame, _ in polygons])
    turn = float(np.arctan2(np.sin(azimuths).sum(), np.cos(azimuths).sum()))
    # Columns: to the right of travel; rows: backwards.
    across, ahead = np.array([np.cos(turn), -np.sin(turn)]), np.array([np.sin(turn), np.cos(turn)])
    corners = np.concatenate(
        [frame.placement.to_output_xy(_inside(frame, polygon, section)) for frame, polygon in polygons]
    )
    origin = corners[0]
    x, y = (corners - origin) @ across, (corners - origin) @ ahead
    pixel_m = pixel_mm / 1e3 if pixel_mm else float(np.median([_middle_pixel_m(f, polygon) for f, polygon in polygons]))
    width_m, length_m = float(np.ptp(x)), float(np.ptp(y))
    pixel_m = max(pixel_m, float(np.sqrt(width_m * length_m / MOST_PX)))
    size = (max(1, int(np.ceil(width_m / pixel_m))), max(1, int(np.ceil(length_m / pixel_m))))
    x0, y0 = origin + x.min() * across + y.max() * ahead
    step_x, step_y = across * pixel_m, -ahead * pixel_m
    transform = Affine(step_x[0], step_y[0], x0, step_x[1], step_y[1], y0)
    return StripGrid(transform, size, pixel_m)


def _inside(frame: Frame, polygon: FloatArray, section: Section) -> FloatArray:
    """The polygon with its y cut to the section."""
    return np.column_stack([polygon[:, 0], np.clip(polygon[:, 1], *_section_y_m(frame, section))])


def _section_y_m(frame: Frame, section: Section) -> tuple[float, float]:
    """Ground y of a frame between which its section lies."""
    bounds = (section.from_m or 0.0, section.to_m or 0.0)
    low, high = sorted((bound - frame.chainage_at(0.0)) / frame.chainage_scale for bound in bounds)
    return low, high


def _middle_pixel_m(frame: Frame, polygon: FloatArray) -> float:
    if frame.ground is None:
        return 1.0
    middle = frame.ground.to_pixel_xy([(polygon.min(axis=0) + polygon.max(axis=0)) / 2])
    pixel_mm = float(np.sqrt(frame.ground.gsd_mm(middle)[0].prod()))
    return pixel_mm / 1e3 if np.isfinite(pixel_mm) else 1.0


def _write(path: Path, section: Section, frames: Sequence[Frame], grid: StripGrid, crs: CRS, read: Reader) -> None:
    width, height = grid.size_wh
    with publishing(path) as temporary:
        plain = temporary.with_name(f"{temporary.name}{TEMPORARY_PREFIX}.tif")
        with rasterio.Env(GDAL_CACHEMAX=CACHE_MB):
            with rasterio.open(
                plain, "w+", width=width, height=height, crs=crs, transform=grid.transform, **_PLAIN
            ) as file:
                for frame in frames:
                    _paint(file, frame, section, grid, read)
                file.update_tags(
                    AREA_OR_POINT="Area", section=section.section_id, pixel_mm=f"{1e3 * grid.pixel_m:.6g}",
                )  # fmt: skip
            rasterio.shutil.copy(plain, temporary, **_COG)


def _paint(file: Any, frame: Frame, section: Section, grid: StripGrid, read: Reader) -> None:
    """Puts a frame's strip into the picture; beyond its strip it only fills what is still empty."""
    polygon = visible_polygon_m(frame)
    if not len(polygon):
        return
    shown = polygon + np.where(polygon[:, 1:] > polygon[:, 1].mean(), SEAM_M, -SEAM_M) * [0.0, 1.0]
    corners = applied(~grid.transform, frame.placement.to_output_xy(_inside(frame, shown, section)))
    left, top = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0).tolist()
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)).astype(int), grid.size_wh).tolist()
    if left >= right or top >= bottom:
        return
    try:
        source = read(frame)
        # Tile by tile of the file.
        for y0 in range(top - top % TILE_PX, bottom, TILE_PX):
            for x0 in range(left - left % TILE_PX, right, TILE_PX):
                width, height = grid.size_wh
                window = Window(x0, y0, min(TILE_PX, width - x0), min(TILE_PX, height - y0))
                _paint_block(file, window, frame, section, grid, source)
    except UnreadableImageError:
        # The file was there when it was measured and is gone: the strip stays empty, the numbers stand.
        return


def _paint_block(file: Any, window: Window, frame: Frame, section: Section, grid: StripGrid, source: Readable) -> None:
    if frame.ground is None or frame.owns_y_m is None:
        return
    size = (window.width, window.height)
    to_section = composed(grid.transform, Affine.translation(window.col_off, window.row_off))
    to_ground = composed(~placed(frame, Affine.identity()), to_section)
    xy_m = ground_of_target(to_ground, (0, 0, *size)).reshape(window.height, window.width, 2)
    places = places_px(frame.ground, to_ground, (0, 0, *size))
    seen, y = in_picture(*places, frame.size_wh_px), xy_m[..., 1]
    if frame.ground.limits.lateral_m is not None:
        left, right = frame.ground.limits.lateral_m
        seen &= (xy_m[..., 0] >= left) & (xy_m[..., 0] <= right)
    (low, high), bounds = frame.owns_y_m, _section_y_m(frame, section)
    seen &= (y >= bounds[0]) & (y < bounds[1])
    there: NDArray[np.uint8] = file.read(window=window)
    own = seen & (y >= low) & (y < high)
    chosen = own | (seen & (y >= low - SEAM_M) & (y < high + SEAM_M) & (there[3] == 0))
    if not chosen.any():
        return
    picture = resampled(source, frame.ground, to_ground, size)
    for band in range(3):
        np.copyto(there[band], picture[..., band], where=chosen)
    there[3][chosen] = 255
    file.write(there, window=window)
