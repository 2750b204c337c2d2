"""Single images from the command line: one stage at a time, no survey."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import InputError, StorageError, UnreadableImageError
from crackmap.calibration.plane import GroundPlane
from crackmap.pipeline.frame import Stages, process_image, segment_image
from crackmap.pipeline.images import open_image
from crackmap.pipeline.labels import labelled_jpeg
from crackmap.pipeline.mask_files import IMAGE_SUFFIXES, mask_of, masks_of_images, read_mask
from crackmap.pipeline.nets import weights_of
from crackmap.pipeline.pictures import overlay_jpeg
from crackmap.pipeline.single_report import Report, image_report
from crackmap.stages.detect.detector import Detector
from crackmap.stages.detect.settings import DetectSettings
from crackmap.stages.measure.measure import measure_dense
from crackmap.stages.regions import area_share, cells_of_regions
from crackmap.stages.segment.settings import SegmentSettings
from crackmap.stages.tiling import ArraySource

LONGEST_NAME = 255
"""Of a file, in bytes, on all common file systems."""


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
        refuse_same_names(paths)
    detector = Detector.load(weights_of("detect", weights), device)
    margin_px = SegmentSettings().margin_px
    reports: list[dict[str, Any]] = []
    failed: list[str] = []
    for path, source in readable_images(paths, failed):
        regions = detector.detect(source, settings)
        cells = cells_of_regions(regions, source.size_wh_px, margin_px=margin_px)
        boxes = [
            {"box_xyxy_px": [round(value, 1) for value in region.box_xyxy_px], "score": round(region.score, 4)}
            for region in regions
        ]
        share = round(area_share(cells, source.size_wh_px), 4)
        reports.append({"image": str(path), "area_share": share, "regions": boxes})
        if out is not None:
            write_file(output_path(out, path, "_regions.jpg"), overlay_jpeg(source, (), regions))
    return reports, failed


def segment_images(paths: Sequence[Path], stages: Stages, *, out: Path, failed: list[str]) -> Iterator[str]:
    """Writes a mask per image and yields a line about each; reasons for skipped images are added to `failed`.

    Raises:
        InputError: two masks would have the same name.
    """
    refuse_same_names(paths)
    for path, source in readable_images(paths, failed):
        masks = segment_image(source, stages)
        written = [output_path(out, path, f"_{name.replace(' ', '_')}.png") for name in masks]
        for target, mask in zip(written, masks.values(), strict=True):
            write_file(target, cv2.imencode(".png", mask.dense())[1].tobytes())
        share = 100 * next(iter(masks.values())).segmented_share
        yield f"{path}: {share:.1f} % of the image segmented -> {', '.join(map(str, written))}"


def measure_images(
    paths: Sequence[Path],
    stages: Stages | None,
    *,
    gsd_mm: float | tuple[float, float] | None,
    out: Path | None,
    mask: Path | None = None,
    width_edges: Sequence[float] = (),
) -> tuple[list[Report], list[str]]:
    """Cracks of each image as plain values, and the reasons why images were skipped.

    Args:
        paths: the images; without `stages` and `mask` they are crack masks themselves, white = crack.
        stages: loaded nets, which find the cracks.
        gsd_mm: ground length of a pixel; None: all numbers are in pixels.
        out: folder for pictures with the measured lines, labelled.
        mask: the mask of the image, or a folder with the mask of each: no net is used, widths are read in the image.
        width_edges: limits between width classes, mm (px without `gsd_mm`).

    Raises:
        InputError: two pictures to be written to `out` would have the same name; a mask is missing, or differs from
            its image in size.
    """
    if out is not None:
        refuse_same_names(paths)
    masks = dict(zip(paths, masks_of_images(paths, mask), strict=True)) if mask is not None else {}
    reports: list[Report] = []
    failed: list[str] = []
    for path, source in readable_images(paths, failed):
        ground = None if gsd_mm is None else GroundPlane.from_gsd(gsd_mm=gsd_mm, size_wh_px=source.size_wh_px)
        notes: tuple[str, ...] = ()
        if stages is not None:
            cracks = process_image(source, stages, ground=ground).cracks
        elif masks:
            try:
                given = read_mask(masks[path])
            except UnreadableImageError as error:
                failed.append(f"{path}: its mask {error}")
                continue
            _require_same_size(path, source.size_wh_px, masks[path], given.probability)
            notes = given.notes
            cracks = measure_dense(given.probability / np.float32(255), ground=ground, image=source.image)
        else:
            given = mask_of(source.image)
            notes = given.notes
            cracks = measure_dense(given.probability / np.float32(255), ground=ground)
            source = ArraySource(np.repeat(given.probability[..., None], 3, axis=2))
        beside = str(masks[path]) if masks else None
        reports.append(image_report(str(path), cracks, size_wh_px=source.size_wh_px, gsd_mm=gsd_mm, mask=beside,
                                    notes=notes, width_edges=width_edges))  # fmt: skip
        if out is not None:
            picture = labelled_jpeg(source, cracks, width_edges=width_edges)
            write_file(output_path(out, path, "_cracks.jpg"), picture)
    return reports, failed


def _require_same_size(path: Path, size_wh_px: tuple[int, int], mask: Path, probability: NDArray[np.uint8]) -> None:
    height, width = probability.shape
    if (width, height) != size_wh_px:
        raise InputError(
            f"{path} has {size_wh_px[0]} x {size_wh_px[1]} pixels and its mask {mask} {width} x {height}; "
            "give the mask made from this image, or scale the mask to the image's size (nearest neighbour)"
        )


def readable_images(paths: Sequence[Path], failed: list[str]) -> Iterator[tuple[Path, ArraySource]]:
    """Each image that can be decoded; why the others cannot is added to `failed`."""
    for path in paths:
        try:
            yield path, ArraySource(open_image(path).read_all())
        except UnreadableImageError as error:
            failed.append(str(error))


def refuse_same_names(paths: Sequence[Path]) -> None:
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


def output_path(out: Path, image: Path, ending: str) -> Path:
    """Where in `out` that lies which is made of an image: its name without suffix, and the ending.

    Of a name that is too long with the ending only the beginning is kept, with a hash of the whole.
    """
    name = os.fsencode(image.stem)
    room = LONGEST_NAME - len(os.fsencode(ending))
    if len(name) > room:
        digest = hashlib.sha256(name).hexdigest()[:10]
        # The cut may go through a letter, of which nothing is kept then.
        name = name[: room - 11].decode("utf-8", "ignore").encode() + f"-{digest}".encode()
    return out / (os.fsdecode(name) + ending)


def write_file(path: Path, content: bytes) -> None:
    """Writes a file, and its folder if it is missing.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); choose another --out") from error
