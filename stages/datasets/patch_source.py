"""Patches of road, with and without cracks, to train and score the screen stage on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from crackmap.calibration.errors import require
from crackmap.stages.datasets.crops import RENDERED
from crackmap.stages.datasets.patches import Patch, PatchFile, cut_patches, read_patch_folders, split_patches
from crackmap.stages.datasets.sources import load_split
from crackmap.stages.render.scene import render_crop, through_jpeg
from crackmap.stages.render.surface import procedural_road
from crackmap.stages.screen.classifier import ScreenConfig

PATCH_FOLDERS = "patches:"
"""In front of a folder whose sub-folders are named after the class of the patches in them."""

PER_IMAGE: Mapping[str, int] = {"dnit": 6, "paveseg": 24, "cracksc": 6}
"""Patches cut from an image of the sets, at most; OTHER_PER_IMAGE from those of other sets."""
OTHER_PER_IMAGE = 8

RENDERED_CRACK_PX = 56
"""A rendered patch counts as cracked from this many crack pixels on, and as free of cracks without any."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What is done to a training patch.

    Attributes:
        flip_vertical: mirror top and bottom too, besides left and right.
        rotation_deg: turned by up to this, either way.
        zoom: enlarged or shrunk by up to this share.
        brightness: multiplied by 1 +- up to this.
        contrast: of the deviation from the mean, likewise.
        colour: of each channel, likewise.
        blur_jpeg: blur, noise and JPEG now and then, as the other stages see them.
    """

    flip_vertical: bool = True
    rotation_deg: float = 20.0
    zoom: float = 0.25
    brightness: float = 0.3
    contrast: float = 0.35
    colour: float = 0.06
    blur_jpeg: bool = True


MOBILENETV2_AUGMENTATION = Augmentation(False, 20.0, 0.2, 0.2, 0.0, 0.0, False)
"""As published with MobileNetV2; the strength of the change of brightness is not given."""

RESNET50_AUGMENTATION = Augmentation(False, 10.0, 0.0, 0.2, 0.2, 0.1, False)
"""As published with ResNet-50; the strength of the colour jitter is not given."""


def screen_patches(
    name: str, split: str, data: Path | None, *, patch_px: int, seed: int = 0, per_image: int | None = None
) -> list[Patch | PatchFile]:
    """The patches of one split of a set, as many cracked as not if they are cut from its images.

    Args:
        name: a data set, or `patches:FOLDER` for patches in folders named after their class.
        split: "train", "val" or "test".
        data: the folder of the public sets.
        patch_px: side of a patch cut from an image.
        seed: of the choice among the patches of an image; what belongs to a split does not depend on it.
        per_image: patches cut from an image, at most; None: PER_IMAGE.

    Raises:
        InputError: the set or split is not there, or has patches of one class only.
    """
    if name.startswith(PATCH_FOLDERS):
        parts = split_patches(read_patch_folders(Path(name.removeprefix(PATCH_FOLDERS))))
        require(split in parts, "split", f"one of {', '.join(parts)}", split)
        both = {item.cracked for item in parts[split]} == {True, False}
        require(both, f"{name} {split}", "patches of both classes; put 10 or more of each there", len(parts[split]))
        return list(parts[split])
    number = per_image or PER_IMAGE.get(name, OTHER_PER_IMAGE)
    return list(cut_patches(load_split(name, split, data), side_px=patch_px, per_image=number, seed=seed))


def read_patch(item: Patch | PatchFile, side_px: int) -> Patch:
    """The patch at the size the net sees."""
    if isinstance(item, PatchFile):
        return item.read(side_px)
    if item.image.shape[:2] == (side_px, side_px):
        return item
    method = cv2.INTER_AREA if len(item.image) > side_px else cv2.INTER_LINEAR
    image = np.asarray(cv2.resize(item.image, (side_px, side_px), interpolation=method), np.uint8)
    crack = item.crack
    if crack is not None:
        crack = cv2.resize(crack.astype(np.uint8), (side_px, side_px), interpolation=cv2.INTER_NEAREST) > 0
    return Patch(image, item.cracked, crack, item.origin)


class PatchSource:
    """Draws patches from a mixture of sets; patches cut from images are held in memory, files are read when drawn."""

    def __init__(
        self, data: Path | None, mixture: Mapping[str, float], net: ScreenConfig, *, split: str = "train", seed: int = 0
    ) -> None:
        self.side_px = net.side_px
        self._names = list(mixture)
        self._shares = np.array([mixture[name] for name in self._names], float) / sum(mixture.values())
        self._by_class: dict[tuple[str, bool], list[Patch | PatchFile]] = {}
        self.patches = 0
        for name in self._names:
            if name == RENDERED:
                continue
            found = screen_patches(name, split, data, patch_px=net.patch_px, seed=seed)
            self.patches += len(found)
            for cracked in (False, True):
                self._by_class[name, cracked] = [item for item in found if item.cracked is cracked]

    def draw(self, rng: np.random.Generator, *, cracked: bool) -> NDArray[np.uint8]:
        """One patch, (side, side, 3), with or without a crack."""
        name = self._names[int(rng.choice(len(self._names), p=self._shares))]
        if name == RENDERED:
            return rendered_patch(rng, self.side_px, cracked=cracked)
        items = self._by_class[name, cracked]
        return read_patch(items[int(rng.integers(len(items)))], self.side_px).image


class PatchDataset(Dataset[dict[str, Tensor]]):
    """`length` patches as tensors: image (3, S, S) uint8 and cracked, 0 or 1; every other one is cracked.

    Patch `i` depends on (seed, start + i) alone.
    """

    def __init__(
        self, source: PatchSource, augmentation: Augmentation | None, *, length: int, seed: int, start: int = 0
    ) -> None:
        self._source, self._augmentation = source, augmentation
        self._length, self._seed, self._start = length, seed, start

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        cv2.setNumThreads(0)
        rng = np.random.default_rng((self._seed, self._start + index))
        cracked = bool((self._start + index) % 2)
        image = self._source.draw(rng, cracked=cracked)
        if self._augmentation is not None:
            image = augmented(rng, image, self._augmentation)
        tensor = torch.from_numpy(image).permute(2, 0, 1).contiguous()
        return {"image": tensor, "cracked": torch.tensor(float(cracked))}


def rendered_patch(rng: np.random.Generator, side_px: int, *, cracked: bool) -> NDArray[np.uint8]:
    """A drawn (side, side, 3) patch of road with cracks, or with nothing but what is not a crack."""
    while True:
        image, crack, _ = render_crop(rng, procedural_road(rng, (side_px, side_px)))
        if (crack > 0.4).sum() >= RENDERED_CRACK_PX if cracked else not crack.any():
            return image


def augmented(rng: np.random.Generator, image: NDArray[np.uint8], how: Augmentation) -> NDArray[np.uint8]:
    """The (S, S, 3) patch turned, zoomed, mirrored, and changed in light."""
    side = len(image)
    factor = float(np.exp(rng.uniform(-1, 1) * np.log1p(how.zoom)))
    turn = cv2.getRotationMatrix2D(((side - 1) / 2,) * 2, rng.uniform(-1, 1) * how.rotation_deg, factor)
    picture = cv2.warpAffine(image, turn, (side, side), borderMode=cv2.BORDER_REFLECT_101).astype(np.float32)
    if rng.random() < 0.5:
        picture = picture[:, ::-1]
    if how.flip_vertical and rng.random() < 0.5:
        picture = picture[::-1]
    mean = picture.mean()
    picture = (picture - mean) * (1 + how.contrast * rng.uniform(-1, 1)) + mean
    picture = picture * (1 + how.brightness * rng.uniform(-1, 1))
    picture = picture * (1 + how.colour * rng.uniform(-1, 1, 3)).astype(np.float32)
    if how.blur_jpeg and rng.random() < 0.2:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.0))
    if how.blur_jpeg and rng.random() < 0.2:
        picture = picture + rng.standard_normal((side, side, 1), dtype=np.float32) * rng.uniform(1, 7)
    result = np.ascontiguousarray(np.clip(picture, 0, 255).astype(np.uint8))
    if how.blur_jpeg and rng.random() < 0.2:
        result = through_jpeg(result, quality=int(rng.integers(40, 95)))
    return result
