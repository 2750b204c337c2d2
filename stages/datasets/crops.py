"""Random training crops: real labels and rendered cracks, mixed at a stated ratio.

Crop `i` of a training run depends on (seed, i) alone, not on the number of loader workers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from crackmap.calibration.errors import require
from crackmap.stages.datasets.sources import DATA_SETS, Labels, load_split
from crackmap.stages.render.scene import render_crop, through_jpeg
from crackmap.stages.render.surface import FloatImage, procedural_road

RENDERED = "rendered"
"""Name of the rendered share in a mixture."""

SEGMENT_MIXTURE: Mapping[str, float] = {RENDERED: 0.45, "cracksc": 0.20, "paveseg": 0.15, "dnit": 0.20}
"""Share of each source in a training batch of the segmenter."""

DETECT_MIXTURE: Mapping[str, float] = {RENDERED: 0.35, "cracksc": 0.10, "paveseg": 0.15, "dnit": 0.40}
"""Share of each source in a training batch of the detector: it must above all know survey frames."""


def check_mixture(mixture: Mapping[str, float]) -> None:
    """Refuses a mixture with an unknown source or a share that is not above 0.

    Raises:
        InputError: naming the source and what is known.
    """
    known = (RENDERED, *DATA_SETS)
    for name, share in mixture.items():
        require(name in known, "mixture", f"sources out of {', '.join(known)}", name)
        require(share > 0, f"mixture {name}", "a share above 0", share)


@dataclass(frozen=True, slots=True)
class Crop:
    """One augmented crop.

    Attributes:
        image: (side, side, 3) uint8 RGB.
        crack: (side, side) float32, share of each pixel covered by crack.
        weight: (side, side) float32, trust in each pixel's label.
    """

    image: NDArray[np.uint8]
    crack: NDArray[np.float32]
    weight: NDArray[np.float32]


class CropSource:
    """Draws crops of `side_px` from a mixture of data sets, all decoded once and held in memory."""

    def __init__(self, data: Path, mixture: Mapping[str, float], *, side_px: int, split: str = "train") -> None:
        check_mixture(mixture)
        self.side_px = side_px
        self._names = list(mixture)
        self._shares = np.array([mixture[name] for name in self._names], float) / sum(mixture.values())
        self._images = {
            name: [image.read() for image in load_split(name, split, data)] for name in mixture if name != RENDERED
        }
        self._cracked = {
            name: [i for i, labels in enumerate(images) if labels.crack.any()] for name, images in self._images.items()
        }

    def draw(self, rng: np.random.Generator) -> Crop:
        """One random crop, augmented."""
        name = self._names[int(rng.choice(len(self._names), p=self._shares))]
        crop = self._rendered(rng) if name == RENDERED else self._real(rng, name)
        return augment(rng, crop)

    def _real(self, rng: np.random.Generator, name: str) -> Crop:
        # Two crops in three are centred on a crack: elsewhere a road has hardly any crack pixel to learn from.
        cracked = self._cracked[name]
        if cracked and rng.random() < 0.67:
            labels = self._images[name][cracked[int(rng.integers(len(cracked)))]]
            centre = _random_crack_pixel(rng, labels)
        else:
            labels = self._images[name][int(rng.integers(len(self._images[name])))]
            centre = rng.uniform(0, 1, 2) * labels.crack.shape[::-1]
        return _window(rng, labels, centre, self.side_px)

    def _rendered(self, rng: np.random.Generator) -> Crop:
        background = self._crack_free(rng)
        if background is None:
            background = procedural_road(rng, (self.side_px, self.side_px))
        image, covered = render_crop(rng, background)
        return Crop(image, covered, np.ones(covered.shape, np.float32))

    def _crack_free(self, rng: np.random.Generator) -> FloatImage | None:
        """A crack-free, fully trusted window of a real image; None where three tries find none."""
        if not self._images or rng.random() < 0.15:
            return None
        names = [name for name in self._names if name != RENDERED]
        for _ in range(3):
            images = self._images[names[int(rng.integers(len(names)))]]
            labels = images[int(rng.integers(len(images)))]
            crop = _window(rng, labels, rng.uniform(0, 1, 2) * labels.crack.shape[::-1], self.side_px)
            if not crop.crack.any() and crop.weight.mean() > 0.9:
                return crop.image.astype(np.float32)
        return None


def _random_crack_pixel(rng: np.random.Generator, labels: Labels) -> NDArray[np.float64]:
    flat = np.flatnonzero(labels.crack)
    y, x = divmod(int(flat[int(rng.integers(len(flat)))]), labels.crack.shape[1])
    return np.array([x, y], float)


def _window(rng: np.random.Generator, labels: Labels, centre_xy: NDArray[np.float64], side_px: int) -> Crop:
    """A side_px window around (about) `centre_xy` at a random scale, reflected where it leaves the image."""
    scale = float(np.exp(rng.uniform(np.log(0.7), np.log(1.5))))
    taken = int(min(side_px / scale, *labels.crack.shape))
    shift = rng.uniform(-0.35, 0.35, 2) * taken
    limit = np.array(labels.crack.shape[::-1]) - taken
    x, y = np.clip(np.round(centre_xy + shift - taken / 2), 0, limit).astype(int)
    window = np.s_[y : y + taken, x : x + taken]

    def resized(array: NDArray[np.generic]) -> NDArray[np.float32]:
        shrinks = taken > side_px
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(np.ascontiguousarray(array), (side_px, side_px), interpolation=method))

    return Crop(
        resized(labels.image[window]).astype(np.uint8),
        resized(labels.crack[window].astype(np.float32)),
        resized(labels.weight[window]),
    )


def augment(rng: np.random.Generator, crop: Crop) -> Crop:
    """Quarter turns, mirror, grey, exposure and contrast, shadow, blur, noise, JPEG."""
    turns, mirror = int(rng.integers(4)), rng.random() < 0.5

    def turned(array: NDArray[np.generic]) -> NDArray[np.generic]:
        result = np.rot90(array, turns)
        return np.ascontiguousarray(result[:, ::-1] if mirror else result)

    image = turned(crop.image).astype(np.float32)
    if rng.random() < 0.5:
        image[:] = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    mean = image.mean()
    image = (image - mean) * rng.uniform(0.6, 1.45) + mean + rng.normal(0, 22)
    image *= rng.normal(1, 0.04, 3).astype(np.float32)
    if rng.random() < 0.25:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.2))
    if rng.random() < 0.3:
        image += rng.standard_normal(image.shape[:2], dtype=np.float32)[..., None] * rng.uniform(1, 9)
    picture = np.clip(image, 0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        picture = through_jpeg(picture, quality=int(rng.integers(40, 95)))
    return Crop(picture, turned(crop.crack).astype(np.float32), turned(crop.weight).astype(np.float32))


class CropDataset(Dataset[dict[str, torch.Tensor]]):
    """`length` crops of a source as tensors: image (3, S, S) uint8, crack and weight (1, S, S) float32."""

    def __init__(self, source: CropSource, *, length: int, seed: int, start: int = 0) -> None:
        self._source, self._length, self._seed, self._start = source, length, seed, start

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        cv2.setNumThreads(0)
        crop = self._source.draw(np.random.default_rng((self._seed, self._start + index)))
        return {
            "image": torch.from_numpy(crop.image).permute(2, 0, 1).contiguous(),
            "crack": torch.from_numpy(crop.crack)[None],
            "weight": torch.from_numpy(crop.weight)[None],
        }
