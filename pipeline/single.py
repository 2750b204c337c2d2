"""Single images from the command line: one stage at a time, no survey."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from crackmap.calibration.errors import InputError, StorageError, UnreadableImageError
from crackmap.calibration.plane import GroundPlane
from crackmap.pipeline.frame import Stages, process_image, weights_of
from crackmap.pipeline.images import open_image
from crackmap.pipeline.pictures import overlay_jpeg
from crackmap.stages.detect.detector import Detector, DetectSettings
from crackmap.stages.measure.measure import measure_dense
from crackmap.stages.records import Crack
from crackmap.stages.regions import area_share, cells_of_regions
from crackmap.stages.segment.segmenter import SegmentSettings
from crackmap.stages.tiling import ArraySource

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")


def image_paths(paths: Sequence[Path]) -> list[Path]:
    """The files given, and the images below the folders given, in name order.

    Raises:
        InputError: a folder without images.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        below = sorted(item for item in path.rglob("*") if item.suffix.lower() in IMAGE_SUFFIXES and item.is_file())
        if not below:
            raise InputError(f"{path}: no image below this folder (looked for {', '.join(IMAGE_SUFFIXES)})")
        found += below
    return found


def detect_images(
    paths: Sequence[Path], *, settings: DetectSettings, weights: Path | None, device: str, out: Path | None
) -> tuple[list[dict[str, Any]], list[str]]:
    """Regions of each image as plain values, and the reasons why images were skipped.

    Raises:
        InputError: two pictures to be written to `out` would have the same name.
    """
    if out is not None:
        _refuse_same_names(paths)
    detector = Detector.load(weights_of("detect", weights), device)
    margin_px = SegmentSettings().margin_px
    reports: list[dict[str, Any]] = []
    failed: list[str] = []
    for path, source in _readable(paths, failed):
        regions = detector.detect(source, settings)
        cells = cells_of_regions(regions, source.size_wh_px, margin_px=margin_px)
        boxes = [
            {"box_xyxy_px": [round(value, 1) for value in region.box_xyxy_px], "score": round(region.score, 4)}
            for region in regions
        ]
        share = round(area_share(cells, source.size_wh_px), 4)
        reports.append({"image": str(path), "area_share": share, "regions": boxes})
        if out is not None:
            _write(out / f"{path.stem}_regions.jpg", overlay_jpeg(source, (), regions))
    return reports, failed


def segment_images(paths: Sequence[Path], stages: Stages, *, out: Path, failed: list[str]) -> Iterator[str]:
    """Writes a mask per image and yields a line about each; reasons for skipped images are added to `failed`.

    Raises:
        InputError: two masks would have the same name.
    """
    _refuse_same_names(paths)
    for path, source in _readable(paths, failed):
        result = process_image(source, stages, ground=None)
        target = out / f"{path.stem}_crack.png"
        _write(target, cv2.imencode(".png", result.mask.dense())[1].tobytes())
        yield f"{path}: {100 * result.mask.segmented_share:.1f} % of the image segmented -> {target}"


def measure_images(
    paths: Sequence[Path],
    stages: Stages | None,
    *,
    gsd_mm: float | tuple[float, float] | None,
    out: Path | None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Cracks of each image as plain values; without `stages` the images are masks, white = crack.

    Raises:
        InputError: two pictures to be written to `out` would have the same name.
    """
    if out is not None:
        _refuse_same_names(paths)
    reports: list[dict[str, Any]] = []
    failed: list[str] = []
    for path, source in _readable(paths, failed):
        ground = None if gsd_mm is None else GroundPlane.from_gsd(gsd_mm=gsd_mm, size_wh_px=source.size_wh_px)
        if stages is None:
            cracks = measure_dense(source.image[..., 0] / np.float32(255), ground=ground)
        else:
            cracks = process_image(source, stages, ground=ground).cracks
        reports.append({"image": str(path), "cracks": [_crack_report(crack) for crack in cracks]})
        if out is not None:
            _write(out / f"{path.stem}_cracks.jpg", overlay_jpeg(source, cracks))
    return reports, failed


def _readable(paths: Sequence[Path], failed: list[str]) -> Iterator[tuple[Path, ArraySource]]:
    """Each image that can be decoded; why the others cannot is added to `failed`."""
    for path in paths:
        try:
            yield path, ArraySource(open_image(path).read_all())
        except UnreadableImageError as error:
            failed.append(str(error))


def _crack_report(crack: Crack) -> dict[str, Any]:
    report: dict[str, Any] = {
        "length_px": round(crack.length_px, 2),
        "mean_width_px": round(float(crack.width_px.mean()), 2),
        "max_width_px": round(float(crack.width_px.max()), 2),
        "orientation_deg": round(crack.orientation_deg, 1),
        "confidence": round(crack.confidence, 3),
        "touches_border": crack.touches_border,
    }
    if crack.length_m is not None and crack.width_mm is not None:
        report["length_m"] = round(crack.length_m, 4)
        report["mean_width_mm"] = round(float(crack.width_mm.mean()), 2)
        report["max_width_mm"] = round(float(crack.width_mm.max()), 2)
    report["centreline_xy_px"] = np.round(crack.centreline_xy_px, 2).tolist()
    return report


def measure_table(reports: Sequence[dict[str, Any]]) -> str:
    """A table for the terminal, in millimetres and metres where the scale is known, else in pixels."""
    lines = []
    for report in reports:
        lines.append(f"{report['image']}: {len(report['cracks'])} cracks")
        for number, crack in enumerate(report["cracks"], start=1):
            if "length_m" in crack:
                size = (f"length {crack['length_m']:8.3f} m   width mean {crack['mean_width_mm']:6.1f} mm "
                        f"max {crack['max_width_mm']:6.1f} mm")  # fmt: skip
            else:
                size = (f"length {crack['length_px']:8.1f} px   width mean {crack['mean_width_px']:5.1f} px "
                        f"max {crack['max_width_px']:5.1f} px")  # fmt: skip
            border = "   leaves the image" if crack["touches_border"] else ""
            lines.append(f"  {number:3d}  {size}   {crack['orientation_deg']:5.1f} deg{border}")
    return "\n".join(lines)


def _refuse_same_names(paths: Sequence[Path]) -> None:
    """Outputs carry the image's name without folder and suffix: two of the same name would overwrite each other."""
    seen: dict[str, Path] = {}
    for path in paths:
        # Some file systems take names that differ by case only for the same.
        other = seen.setdefault(path.stem.casefold(), path)
        if other.resolve() != path.resolve():
            raise InputError(
                f"{other} and {path}: their outputs would have the same name and overwrite each other; "
                "give them in two calls, each with its own --out (one call per folder)"
            )


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); choose another --out") from error
