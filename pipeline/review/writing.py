"""Frames with their outlines, written as tools read them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from crackmap.pipeline.review.areas import CLASSES, MASK_VALUES, Area, mask_image, one_ring
from crackmap.pipeline.review.cvat import write_cvat

NAMES = {meaning: meaning.replace(" ", "_") for meaning in CLASSES}
"""Classes as tools show them."""


@dataclass(frozen=True, slots=True)
class Exported:
    """One frame of a folder for review.

    Attributes:
        name: of its image there.
        size_wh_px: of the image.
        areas: its outlines.
    """

    name: str
    size_wh_px: tuple[int, int]
    areas: tuple[Area, ...]


def _labelme(folder: Path, frames: Sequence[Exported]) -> None:
    for frame in frames:
        shapes = [
            {"label": NAMES[area.meaning], "points": one_ring(area).tolist(), "group_id": None, "description": "",
             "shape_type": "polygon", "flags": {}}
            for area in frame.areas
        ]  # fmt: skip
        content: dict[str, Any] = {
            "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": frame.name, "imageData": None,
            "imageHeight": frame.size_wh_px[1], "imageWidth": frame.size_wh_px[0],
        }  # fmt: skip
        _write_json((folder / frame.name).with_suffix(".json"), content)
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in NAMES.values()), encoding="utf-8")


def _coco(folder: Path, frames: Sequence[Exported]) -> None:
    ids = {meaning: number for number, meaning in enumerate(CLASSES, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, frame in enumerate(frames, start=1):
        width, height = frame.size_wh_px
        images.append({"id": number, "file_name": frame.name, "width": width, "height": height})
        for area in frame.areas:
            annotations.append({"id": len(annotations) + 1, "image_id": number, "category_id": ids[area.meaning],
                                "iscrowd": 0, **_coco_shape(area)})  # fmt: skip
    categories = [{"id": number, "name": NAMES[meaning], "supercategory": ""} for meaning, number in ids.items()]
    _write_json(folder / "annotations.json", {
        "info": {"description": "crackmap export"}, "licenses": [], "categories": categories, "images": images,
        "annotations": annotations,
    })  # fmt: skip


def _coco_shape(area: Area) -> dict[str, Any]:
    ring = one_ring(area)
    (x0, y0), (x1, y1) = ring.min(axis=0).tolist(), ring.max(axis=0).tolist()
    following = np.roll(ring, -1, axis=0)
    twice = float((ring[:, 0] * following[:, 1] - following[:, 0] * ring[:, 1]).sum())
    box = [round(value, 2) for value in (x0, y0, x1 - x0, y1 - y0)]
    return {"segmentation": [ring.ravel().tolist()], "bbox": box, "area": round(abs(twice) / 2, 2)}


def _cvat(folder: Path, frames: Sequence[Exported]) -> None:
    images = [
        (frame.name, frame.size_wh_px, [(NAMES[area.meaning], one_ring(area)) for area in frame.areas])
        for frame in frames
    ]
    (folder / "annotations.xml").write_bytes(write_cvat(images, list(NAMES.values())))
    labels = [{"name": name, "type": "any", "attributes": []} for name in NAMES.values()]
    (folder / "labels.json").write_text(json.dumps(labels, indent=2) + "\n", encoding="utf-8")


def _pairs(folder: Path, frames: Sequence[Exported]) -> None:
    masks = folder / "masks"
    masks.mkdir()
    for frame in frames:
        encoded = cv2.imencode(".png", mask_image(frame.areas, frame.size_wh_px))[1]
        (masks / frame.name).with_suffix(".png").write_bytes(encoded.tobytes())


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


WRITERS: Mapping[str, Callable[[Path, Sequence[Exported]], None]] = {
    "labelme": _labelme, "cvat": _cvat, "coco": _coco, "pairs": _pairs,
}  # fmt: skip
"""Writers by the name of their format."""


def images_folder(folder: Path, kind: str) -> Path:
    """Where in a folder for review its images lie: Labelme's beside their files, the others' in a folder."""
    return folder if kind == "labelme" else folder / "images"


def training_name(folder: Path, frames: Sequence[Exported]) -> str:
    """What `crackmap datasets` and `crackmap train` are to be given for a folder of pairs."""
    found = {area.meaning for frame in frames for area in frame.areas}
    if found <= {CLASSES[0]}:
        return f"pairs:{folder}"
    return f"pairs:{folder}" + "".join(f":{NAMES[meaning]}={MASK_VALUES[meaning]}" for meaning in CLASSES)
