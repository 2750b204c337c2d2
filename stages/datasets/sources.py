"""The public data sets the project trains and tests on, read where they lie; none of them is shipped.

Every set is a list of LabelledImage with the same three arrays, whatever its files look like.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import InputError

DATA_VARIABLE = "CRACKMAP_DATA"
"""Environment variable that names the data folder where no path is given."""


@dataclass(frozen=True, slots=True)
class Labels:
    """One decoded image with its labels.

    Attributes:
        image: (height, width, 3) uint8 RGB.
        crack: (height, width) bool, true on crack pixels.
        weight: (height, width) float32, how far each pixel's label is to be believed, 0 to 1.
    """

    image: NDArray[np.uint8]
    crack: NDArray[np.bool_]
    weight: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image of a set: its name and how to read it."""

    name: str
    image_path: Path
    read_labels: Callable[[NDArray[np.uint8]], tuple[NDArray[np.bool_], NDArray[np.float32]]]

    def read(self) -> Labels:
        """The decoded image with its labels."""
        image = _read_rgb(self.image_path)
        crack, weight = self.read_labels(image)
        return Labels(image, crack, weight)


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


def data_folder(data: Path | None = None) -> Path:
    """The data folder: `data`, else $CRACKMAP_DATA.

    Raises:
        InputError: neither names an existing folder.
    """
    chosen = data or Path(os.environ.get(DATA_VARIABLE, ""))
    if str(chosen) in ("", ".") or not chosen.is_dir():
        raise InputError(f"data folder: expected an existing folder, got {str(chosen)!r}; "
                         f"give --data FOLDER or set {DATA_VARIABLE}")  # fmt: skip
    return chosen


def load_split(name: str, split: str, data: Path) -> list[LabelledImage]:
    """The images of one split ("train", "val", "test", or "all") of the set called `name`.

    Raises:
        InputError: unknown set, missing folder, or an empty split.
    """
    if name not in DATA_SETS:
        raise InputError(f"data set: expected one of {', '.join(DATA_SETS)}, got {name!r}")
    folder = data / name
    if not folder.is_dir():
        raise InputError(f"data set {name}: expected a folder {folder}; give the folder above it as --data")
    images = DATA_SETS[name].list_images(folder, split)
    if not images:
        raise InputError(f"data set {name}: no image in split {split!r}; it has the splits named in its csv file")
    return images


def _read_rgb(path: Path) -> NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(f"{path.name}: not a readable image; remove it from the set or restore it")
    return np.ascontiguousarray(image[..., ::-1]).astype(np.uint8, copy=False)


def _read_grey(path: Path) -> NDArray[np.uint8]:
    mask = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if mask is None:
        raise InputError(f"{path.name}: not a readable mask; remove it from the set or restore it")
    return np.asarray(mask if mask.ndim == 2 else mask[..., 0], np.uint8)


def _rows(path: Path, split: str) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if split in ("all", row["split"])]


OUTSIDE_LANE_WEIGHT = 0.6
"""DNIT labels only the survey vehicle's own lane. Beside it an unlabelled crack is weak evidence of no crack, but
grass, kerbs and vehicles are strong evidence: with 0.25 the net drew cracks along them."""


def _dnit(folder: Path, split: str) -> list[LabelledImage]:
    def entry(row: dict[str, str]) -> LabelledImage:
        stem = folder / row["recording"] / row["frame"]

        def labels(_: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
            crack = _read_grey(stem.with_name(stem.name + "_CRACK.png")) > 0
            lane = _read_grey(stem.with_name(stem.name + "_LANE.png")) > 0
            return crack, np.where(lane | crack, 1.0, OUTSIDE_LANE_WEIGHT).astype(np.float32)

        return LabelledImage(row["frame"], stem.with_name(stem.name + "_RAW.jpg"), labels)

    return [entry(row) for row in _rows(folder / "frames.csv", split)]


_PAVESEG_CRACK, _PAVESEG_ALLIGATOR = 30, 150


def _paveseg(folder: Path, split: str) -> list[LabelledImage]:
    def entry(row: dict[str, str]) -> LabelledImage:
        def labels(_: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
            value = _read_grey(folder / "masks" / f"{row['image']}.png")
            # Alligator cracking is labelled there as an area: neither line nor background.
            return value == _PAVESEG_CRACK, (value != _PAVESEG_ALLIGATOR).astype(np.float32)

        return LabelledImage(row["image"], folder / "images" / f"{row['image']}.jpg", labels)

    return [entry(row) for row in _rows(folder / "split.csv", split)]


def _image_and_mask(folder: Path, split: str) -> list[LabelledImage]:
    images = {path.stem: path for path in sorted((folder / "images").iterdir())}
    masks = {path.stem: path for path in sorted((folder / "masks").iterdir())}

    def entry(name: str) -> LabelledImage:
        def labels(_: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
            crack = _read_grey(masks[name]) > 127
            return crack, np.ones(crack.shape, np.float32)

        return LabelledImage(name, images[name], labels)

    return [entry(row["image"]) for row in _rows(folder / "split.csv", split)]


DATA_SETS = {
    item.name: item
    for item in (
        DataSet("dnit", "MIT", True, _dnit),
        DataSet("paveseg", "Apache-2.0", True, _paveseg),
        DataSet("cracksc", "MIT", True, _image_and_mask),
        DataSet("cfd", "research only, non-commercial", False, _image_and_mask),
    )
}
"""The sets by name."""
