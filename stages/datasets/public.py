"""The public data sets the project trains and tests on, read where they lie; none of them is shipped."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import InputError
from crackmap.stages.datasets.labels import SEALED, LabelledImage, Labels, read_mask


@dataclass(frozen=True, slots=True)
class DataSet:
    """A public data set as found below the data folder.

    Attributes:
        name: its folder.
        licence: one line.
        may_train_shipped_weights: whether the licence lets weights trained on it be distributed.
        list_images: folder, split -> images in a fixed order.
    """

    name: str
    licence: str
    may_train_shipped_weights: bool
    list_images: Callable[[Path, str], list[LabelledImage]]


def _rows(path: Path, split: str) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [row for row in csv.DictReader(file) if split in ("all", row["split"])]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); docs/datasets.md says how the set is laid out"
                         ) from error  # fmt: skip


OUTSIDE_LANE_WEIGHT = 0.6
"""DNIT labels only the survey vehicle's own lane. Beside it an unlabelled crack is weak evidence of no crack, but
grass, kerbs and vehicles are strong evidence: with 0.25 the net drew cracks along them."""


def _dnit(folder: Path, split: str) -> list[LabelledImage]:
    def entry(row: dict[str, str]) -> LabelledImage:
        stem = folder / row["recording"] / row["frame"]

        def labels(image: NDArray[np.uint8]) -> Labels:
            crack, lane, pothole = (
                read_mask(stem.with_name(f"{stem.name}_{what}.png"), image.shape[:2]) > 0
                for what in ("CRACK", "LANE", "POTHOLE")
            )
            weight = np.where(lane | crack, 1.0, OUTSIDE_LANE_WEIGHT).astype(np.float32)
            return Labels(image, crack, weight, {"pothole": pothole})

        return LabelledImage(row["frame"], stem.with_name(stem.name + "_RAW.jpg"), labels)

    return [entry(row) for row in _rows(folder / "frames.csv", split)]


_PAVESEG_CRACK, _PAVESEG_ALLIGATOR = 30, 150
_PAVESEG_OTHERS = {"pothole": 60, SEALED: 90, "patch": 120, "cover": 180, "joint": 210}


def _paveseg(folder: Path, split: str) -> list[LabelledImage]:
    def entry(row: dict[str, str]) -> LabelledImage:
        def labels(image: NDArray[np.uint8]) -> Labels:
            value = read_mask(folder / "masks" / f"{row['image']}.png", image.shape[:2])
            # Alligator cracking is labelled there as an area: neither line nor background.
            weight = (value != _PAVESEG_ALLIGATOR).astype(np.float32)
            others = {name: value == number for name, number in _PAVESEG_OTHERS.items()}
            return Labels(image, value == _PAVESEG_CRACK, weight, others)

        return LabelledImage(row["image"], folder / "images" / f"{row['image']}.jpg", labels)

    return [entry(row) for row in _rows(folder / "split.csv", split)]


_CRACKSC_TWINS = frozenset({"144", "245"})
"""Images of its val split that show the photographs of 228 and 131 of its train split, saved and labelled again.
Nets have been trained on those two, so the val split goes without these."""


def _cracksc(folder: Path, split: str) -> list[LabelledImage]:
    return [image for image in _image_and_mask(folder, split) if image.name not in _CRACKSC_TWINS]


def _image_and_mask(folder: Path, split: str) -> list[LabelledImage]:
    images = {path.stem: path for path in sorted((folder / "images").iterdir())}

    def entry(name: str) -> LabelledImage:
        def labels(image: NDArray[np.uint8]) -> Labels:
            crack = read_mask(folder / "masks" / f"{name}.png", image.shape[:2]) > 127
            return Labels(image, crack, np.ones(crack.shape, np.float32))

        return LabelledImage(name, images.get(name, folder / "images" / f"{name}.jpg"), labels)

    return [entry(row["image"]) for row in _rows(folder / "split.csv", split)]


DATA_SETS = {
    item.name: item
    for item in (
        DataSet("dnit", "MIT", True, _dnit),
        DataSet("paveseg", "Apache-2.0", True, _paveseg),
        DataSet("cracksc", "MIT", True, _cracksc),
        DataSet("cfd", "research only, non-commercial", False, _image_and_mask),
    )
}
"""The sets by name."""
