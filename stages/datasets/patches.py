"""Patches for classifiers: read from folders named after their class, or cut from images with pixel labels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import InputError, require
from crackmap.stages.datasets.labels import IMAGE_SUFFIXES, LabelledImage, Labels, Mask, read_rgb
from crackmap.stages.measure.skeleton import thin

CRACKED_NAMES = frozenset({"cd", "cp", "cw", "positive", "crack", "cracks", "cracked", "withcrack", "yes"})
"""Names, in small letters without spaces and dashes, of folders with cracked patches."""

INTACT_NAMES = frozenset(
    {"ud", "up", "uw", "negative", "nocrack", "nocracks", "noncrack", "noncracked", "notcracked", "uncracked",
     "withoutcrack", "intact", "no"}
)  # fmt: skip
"""The same of folders with patches without cracks."""

INNER_SHARE = 0.75
"""Side of the inner part over that of the patch: a crack that only grazes the border shows too little to be learned."""

LEAST_LINE_SHARE = 0.25
"""Pixels of crack centreline in the inner part of a positive patch, at least, over the side of the patch."""

CLEAR_SHARE = 0.125
"""A negative patch is clear of cracks up to this share of its side beyond its border: labels miss their crack a bit."""

LEAST_TRUST = 0.9
"""Least mean weight of the labels in a negative patch: in it nobody may have left a crack out."""

_GRID = 28
"""Places tried along one side of a patch."""


@dataclass(frozen=True, slots=True)
class Patch:
    """One square patch.

    Attributes:
        image: (side, side, 3) uint8 RGB.
        cracked: whether it shows a crack.
        crack: (side, side) bool, its crack pixels; None where the set does not say which they are.
        origin: the image or file it comes from.
    """

    image: NDArray[np.uint8]
    cracked: bool
    crack: Mask | None
    origin: str


@dataclass(frozen=True, slots=True)
class PatchFile:
    """One picture out of a folder named after its class.

    Attributes:
        path: the file.
        cracked: what the folder's name says.
        group: the folders above that one, such as "D" (bridge deck), "P" or "W" of SDNET2018; "" if none.
    """

    path: Path
    cracked: bool
    group: str

    def read(self, side_px: int) -> Patch:
        """The picture at `side_px` x `side_px`; what is not square is squeezed.

        Raises:
            UnreadableImageError: it cannot be decoded.
        """
        image = read_rgb(self.path)
        if image.shape[:2] != (side_px, side_px):
            method = cv2.INTER_AREA if min(image.shape[:2]) > side_px else cv2.INTER_LINEAR
            image = np.asarray(cv2.resize(image, (side_px, side_px), interpolation=method), np.uint8)
        return Patch(image, self.cracked, None, self.path.name)


def read_patch_folders(folder: Path) -> list[PatchFile]:
    """All pictures below `folder`, in order of their paths; the folder that holds a picture names its class.

    SDNET2018 (D/CD, D/UD, P/CP, P/UP, W/CW, W/UW), "Surface Crack Detection" (Positive, Negative), and any two folders
    called crack and no_crack or alike; case, spaces and dashes do not matter.

    Raises:
        InputError: no such folder, a folder of pictures with another name, or one class only.
    """
    if not folder.is_dir():
        raise InputError(f"patch folder: expected an existing folder, got {str(folder)!r}")
    files: list[PatchFile] = []
    for parent, folders, names in os.walk(folder):
        folders.sort()
        pictures = sorted(name for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES)
        if not pictures:
            continue
        where = Path(parent)
        cracked = _class_of(where)
        group = where.parent.relative_to(folder).as_posix() if where != folder else "."
        files += [PatchFile(where / name, cracked, "" if group == "." else group) for name in pictures]
    found = {file.cracked for file in files}
    if found != {True, False}:
        got = {True: "cracked patches only", False: "patches without cracks only"}[found.pop()] if found else "none"
        raise InputError(f"{folder}: expected pictures in folders of both classes, such as crack/ and no_crack/ "
                         f"or Positive/ and Negative/, got {got}")  # fmt: skip
    return files


def _class_of(folder: Path) -> bool:
    name = "".join(letter for letter in folder.name.lower() if letter.isalnum())
    require(name in CRACKED_NAMES | INTACT_NAMES, f"patch folder {folder.name}",
            "a name that says the class: crack or no_crack, Positive or Negative, CD or UD; rename it or move it away",
            folder.name)  # fmt: skip
    return name in CRACKED_NAMES


def split_patches(files: Sequence[PatchFile]) -> dict[str, list[PatchFile]]:
    """80, 10 and 10 % of every class of every group as "train", "val" and "test", in the given order.

    As the papers split these sets. Patches of one photograph may lie in several parts. A file's place follows from the
    hashes of the paths alone, below the folder of the set: no seed may move a patch from "train" to "test".
    """
    strata: dict[tuple[str, bool], list[int]] = {}
    for index, file in enumerate(files):
        strata.setdefault((file.group, file.cracked), []).append(index)
    parts: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for key in sorted(strata):
        shuffled = sorted(strata[key], key=lambda index: (_hash_of(files[index]), index))
        held = round(0.1 * len(shuffled))
        parts["val"] += shuffled[:held]
        parts["test"] += shuffled[held : 2 * held]
        parts["train"] += shuffled[2 * held :]
    return {name: [files[index] for index in sorted(indices)] for name, indices in parts.items()}


def _hash_of(file: PatchFile) -> bytes:
    name = f"{file.group}/{file.path.parent.name}/{file.path.name}"
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()


def cut_patches(images: Sequence[LabelledImage], *, side_px: int, per_image: int, seed: int) -> list[Patch]:
    """Patches with and without a crack, as many of each, in the order of the images.

    Positive: at least LEAST_LINE_SHARE of the side as crack centreline in the inner part. Negative: no crack, pothole
    or box of a crack in the patch nor close around it, and trusted labels. What is neither is not cut. Two patches of
    one class of an image overlap by less than half along x or along y. What an image yields depends on the seed, its
    place in `images` and its labels alone; which of the larger class are left out depends on all.

    Args:
        images: of one split, so that no image serves two.
        side_px: side of a patch; smaller images yield none.
        per_image: at most this many of an image, half of each class.
        seed: of the choice.

    Raises:
        InputError: one class is not to be had.
    """
    require(side_px >= 16, "side_px", "16 or more", side_px)
    require(per_image >= 2, "per_image", "2 or more", per_image)
    patches: list[Patch] = []
    for number, image in enumerate(images):
        labels = image.read()
        if min(labels.crack.shape) < side_px:
            continue
        rng = np.random.default_rng((seed, number))
        places, positive, negative = _candidates(labels, side_px)
        for cracked, allowed in ((True, positive), (False, negative)):
            for x, y in _apart(rng, places[allowed], side_px, per_image // 2):
                window = np.s_[y : y + side_px, x : x + side_px]
                crack = labels.crack[window].copy()
                patches.append(Patch(labels.image[window].copy(), cracked, crack, image.name))
    return _balanced(patches, seed)


def _balanced(patches: list[Patch], seed: int) -> list[Patch]:
    by_class = {
        cracked: [i for i, patch in enumerate(patches) if patch.cracked is cracked] for cracked in (True, False)
    }
    count = min(len(indices) for indices in by_class.values())
    if count == 0:
        missing = "a crack" if not by_class[True] else "no crack"
        raise InputError(f"patches: no image yields a patch with {missing}; use smaller patches or more images")
    rng = np.random.default_rng(seed)
    kept = [
        index for cracked in (True, False) for index in rng.choice(by_class[cracked], count, replace=False).tolist()
    ]
    return [patches[index] for index in sorted(kept)]


def _candidates(labels: Labels, side_px: int) -> tuple[NDArray[np.int64], Mask, Mask]:
    """(N, 2) x, y of top-left corners on a grid, and which of them make a positive and a negative patch."""
    height, width = labels.crack.shape
    step = max(side_px // _GRID, 1)
    x, y = np.meshgrid(np.arange(0, width - side_px + 1, step), np.arange(0, height - side_px + 1, step))
    places = np.column_stack([x.ravel(), y.ravel()])
    inset, clear = round(side_px * (1 - INNER_SHARE) / 2), round(side_px * CLEAR_SHARE)
    line = _sums(thin(labels.crack), places + inset, side_px - 2 * inset)
    doubtful = labels.crack | (labels.weight == 0) | labels.others.get("pothole", np.zeros((height, width), bool))
    trust = _sums(labels.weight, places, side_px) / side_px**2
    positive = line >= LEAST_LINE_SHARE * side_px
    negative = (_sums(doubtful, places - clear, side_px + 2 * clear) == 0) & (trust >= LEAST_TRUST)
    return places, positive, negative


def _sums(values: NDArray[np.generic], corners_xy: NDArray[np.int64], side_px: int) -> NDArray[np.float64]:
    """(N,) sums over squares with these top-left corners, as far as they lie in the image."""
    table = cv2.integral(values.astype(np.float32), sdepth=cv2.CV_64F)
    limit = np.array(values.shape[::-1])
    (x0, y0), (x1, y1) = np.clip(corners_xy, 0, limit).T, np.clip(corners_xy + side_px, 0, limit).T
    return np.asarray(table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0], np.float64)


def _apart(rng: np.random.Generator, places: NDArray[np.int64], side_px: int, count: int) -> list[tuple[int, int]]:
    """At most `count` of the places in random order, none closer than half a side in both x and y to another."""
    chosen: list[tuple[int, int]] = []
    for x, y in places[rng.permutation(len(places))].tolist():
        if len(chosen) == count:
            break
        if all(max(abs(x - a), abs(y - b)) >= side_px / 2 for a, b in chosen):
            chosen.append((x, y))
    return chosen
