"""Random training crops: real labels and rendered cracks, mixed at a stated ratio.

Crop `i` of a training run depends on (seed, i) alone, not on the number of loader workers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from crackmap.calibration.errors import require
from crackmap.stages.datasets.labels import SEALED, Labels, Mask
from crackmap.stages.datasets.sources import check_name, load_split
from crackmap.stages.render.scene import render_crop, through_jpeg
from crackmap.stages.render.surface import add_shadow, procedural_road

RENDERED = "rendered"
"""Name of the rendered share in a mixture."""

SEGMENT_MIXTURE: Mapping[str, float] = {RENDERED: 0.32, "cracksc": 0.20, "paveseg": 0.24, "dnit": 0.24}
"""Share of each source in a training batch of the segmenter."""

DETECT_MIXTURE: Mapping[str, float] = {RENDERED: 0.25, "cracksc": 0.10, "paveseg": 0.30, "dnit": 0.35}
"""Share of each source in a training batch of the detector: it must above all know survey frames."""


CLASSES = ("crack", SEALED)
"""What a crop is labelled with, in the order of its channels."""

SCALES = (0.65, 1.7)
"""Least and greatest enlargement of a real crop."""

MARKS = 4000
"""Places kept of each image to centre crops on."""

SEEN_SHARE = 0.3
"""Boxes of which a crop shows less are no aim for the detector."""

CRACKED, LIKE_CRACKS = 0, 1

CRACK_SEEN = 0.3
"""From this coverage on a resized label is taken to be drawn there."""

CORE_PX = 3.0
"""Deeper inside than this a label is crack whatever the width of the crack."""

Marked = tuple[Labels, NDArray[np.float64]]
"""An image, and (N, 2) places in it to centre crops on."""


def check_mixture(mixture: Mapping[str, float]) -> None:
    """Refuses a mixture with an unknown source or a share that is not above 0.

    Raises:
        InputError: naming the source and what is known.
    """
    for name, share in mixture.items():
        if name != RENDERED:
            check_name(name)
        require(share > 0, f"mixture {name}", "a share above 0", share)


@dataclass(frozen=True, slots=True)
class Crop:
    """One augmented crop.

    Attributes:
        image: (side, side, 3) uint8 RGB.
        target: (classes, side, side) float32, share of each pixel covered by each of CLASSES.
        weight: (classes, side, side) float32, trust in each pixel's label; 0 where the set does not say.
        boxes_xyxy_px: (N, 4) float64 boxes of a set that was labelled with boxes; None: they follow from `target`.
    """

    image: NDArray[np.uint8]
    target: NDArray[np.float32]
    weight: NDArray[np.float32]
    boxes_xyxy_px: NDArray[np.float64] | None = None


class CropSource:
    """Draws crops of `side_px` from a mixture of data sets, all decoded once and held in memory."""

    def __init__(
        self,
        data: Path | None,
        mixture: Mapping[str, float],
        *,
        side_px: int,
        scales: tuple[float, float] = SCALES,
        split: str = "train",
        unsure_edge_px: float = 0.0,
    ) -> None:
        check_mixture(mixture)
        self.side_px, self._scales, self._unsure_edge_px = side_px, scales, unsure_edge_px
        self._names = list(mixture)
        self._shares = np.array([mixture[name] for name in self._names], float) / sum(mixture.values())
        self._images = {
            name: [image.read() for image in load_split(name, split, data)] for name in mixture if name != RENDERED
        }
        self._marked = {
            name: (_marked(images, lambda labels: labels.crack), _marked(images, _like_cracks))
            for name, images in self._images.items()
        }

    def draw(self, rng: np.random.Generator) -> Crop:
        """One random crop, augmented."""
        name = self._names[int(rng.choice(len(self._names), p=self._shares))]
        crop = self._rendered(rng) if name == RENDERED else self._real(rng, name)
        return augment(rng, crop)

    def _real(self, rng: np.random.Generator, name: str) -> Crop:
        # Elsewhere a road has hardly any pixel of a crack, or of what looks like one, to learn from.
        wanted = self._marked[name][CRACKED if rng.random() < 0.75 else LIKE_CRACKS]
        if wanted and rng.random() < 0.75:
            labels, marks = wanted[int(rng.integers(len(wanted)))]
            centre = marks[int(rng.integers(len(marks)))]
        else:
            labels = self._images[name][int(rng.integers(len(self._images[name])))]
            centre = rng.uniform(0, 1, 2) * labels.crack.shape[::-1]
        crop = _window(rng, labels, centre, self.side_px, self._scales)
        if self._unsure_edge_px > 0:
            crop.weight[0] *= sure_of_crack(crop.target[0], self._unsure_edge_px)
        return crop

    def _rendered(self, rng: np.random.Generator) -> Crop:
        window = self._crack_free(rng)
        size = (self.side_px, self.side_px)
        background = procedural_road(rng, size) if window is None else window.image.astype(np.float32)
        image, crack, sealed = render_crop(rng, background)
        target = np.stack([crack, sealed])
        # What is drawn is known; of the rest, what the set says of the window.
        known = np.ones_like(target) if window is None else np.maximum(window.weight, (target > 0).any(axis=0))
        return Crop(image, target, known.astype(np.float32))

    def _crack_free(self, rng: np.random.Generator) -> Crop | None:
        """A mostly trusted window of a real image without any mark; None where three tries find none."""
        if not self._images or rng.random() < 0.15:
            return None
        names = [name for name in self._names if name != RENDERED]
        for _ in range(3):
            images = self._images[names[int(rng.integers(len(names)))]]
            labels = images[int(rng.integers(len(images)))]
            crop = _window(rng, labels, rng.uniform(0, 1, 2) * labels.crack.shape[::-1], self.side_px, self._scales)
            if not crop.target.any() and crop.weight[0].mean() > 0.9:
                return crop
        return None


def _marks(mask: Mask) -> NDArray[np.float64]:
    """(N, 2) x, y of some pixels of a mask, evenly taken, at most MARKS of them."""
    flat = np.flatnonzero(mask)
    flat = flat[:: max(len(flat) // MARKS, 1)]
    return np.column_stack([flat % mask.shape[1], flat // mask.shape[1]]).astype(np.float64)


def _marked(images: Sequence[Labels], select: Callable[[Labels], Mask]) -> list[Marked]:
    found = [(labels, _marks(select(labels))) for labels in images]
    return [(labels, marks) for labels, marks in found if len(marks)]


def _window(
    rng: np.random.Generator,
    labels: Labels,
    centre_xy: NDArray[np.float64],
    side_px: int,
    scales: tuple[float, float],
) -> Crop:
    """A side_px window around (about) `centre_xy` at a random scale."""
    scale = float(np.exp(rng.uniform(*np.log(scales))))
    taken = int(min(side_px / scale, *labels.crack.shape))
    shift = rng.uniform(-0.35, 0.35, 2) * taken
    limit = np.array(labels.crack.shape[::-1]) - taken
    x, y = np.clip(np.round(centre_xy + shift - taken / 2), 0, limit).astype(int)
    window = np.s_[y : y + taken, x : x + taken]

    def resized(array: NDArray[np.generic]) -> NDArray[np.float32]:
        shrinks = taken > side_px
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(np.ascontiguousarray(array), (side_px, side_px), interpolation=method))

    crack = resized(labels.crack[window].astype(np.float32))
    weight = resized(labels.weight[window])
    sealed = labels.others.get(SEALED)
    if sealed is None:
        # A crack is not sealed; what the rest of the picture shows is not said.
        target, weights = np.stack([crack, np.zeros_like(crack)]), np.stack([weight, weight * crack])
    else:
        target = np.stack([crack, resized(sealed[window].astype(np.float32))])
        weights = np.stack([weight, (weight > 0).astype(np.float32)])
    boxes = labels.boxes_xyxy_px
    seen = None if boxes is None else _kept((boxes - np.array([x, y, x, y])) * (side_px / taken), side_px)
    return Crop(resized(labels.image[window]).astype(np.uint8), target, weights, seen)


def sure_of_crack(crack: NDArray[np.float32], edge_px: float) -> NDArray[np.bool_]:
    """Where a label drawn by hand is to be believed, if its line is right but its width is not.

    That is along the middle line of the label and deep inside it, and further away from it than `edge_px`.

    Args:
        crack: (H, W) coverage of the label, 0 to 1.
        edge_px: outside the label nothing is believed up to this distance.
    """
    inside = (crack > CRACK_SEEN).astype(np.uint8)
    if not inside.any():
        return np.ones(crack.shape, bool)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    middle = depth >= cv2.dilate(depth, np.ones((5, 5), np.uint8)) - 0.6
    core = (inside > 0) & (middle | (depth > CORE_PX))
    away = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3) > edge_px
    return np.asarray(core | away)


def _kept(boxes_xyxy_px: NDArray[np.float64], side_px: int) -> NDArray[np.float64]:
    """(M, 4) what the crop shows of the boxes (N, 4), without those of which it shows little."""
    seen = np.clip(boxes_xyxy_px, 0, side_px)
    share = np.prod(seen[:, 2:] - seen[:, :2], axis=1) / np.prod(boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2], axis=1)
    return np.asarray(seen[share > SEEN_SHARE], np.float64)


def _like_cracks(labels: Labels) -> Mask:
    nothing = np.zeros(labels.crack.shape, bool)
    return np.asarray(np.logical_or.reduce([nothing, *labels.others.values()]), bool)


def augment(rng: np.random.Generator, crop: Crop) -> Crop:
    """Quarter turns, mirror, shadow, grey, exposure and contrast, blur, noise, JPEG."""
    turns, mirror = int(rng.integers(4)), rng.random() < 0.5

    def turned(array: NDArray[np.generic], axes: tuple[int, int]) -> NDArray[np.generic]:
        result = np.rot90(array, turns, axes)
        return np.ascontiguousarray(np.flip(result, axes[1]) if mirror else result)

    image = turned(crop.image, (0, 1)).astype(np.float32)
    if rng.random() < 0.12:
        add_shadow(rng, image)
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
    target, weight = (turned(array, (1, 2)).astype(np.float32) for array in (crop.target, crop.weight))
    boxes = crop.boxes_xyxy_px
    return Crop(picture, target, weight, None if boxes is None else _turned_boxes(boxes, turns, mirror, len(picture)))


def _turned_boxes(boxes_xyxy_px: NDArray[np.float64], turns: int, mirror: bool, side_px: int) -> NDArray[np.float64]:
    """Boxes (N, 4) of a square picture after as many quarter turns against the clock, and a mirror left to right."""
    corners = boxes_xyxy_px.reshape(-1, 2, 2)
    for _ in range(turns):
        corners = np.stack([corners[..., 1], side_px - corners[..., 0]], axis=-1)
    if mirror:
        corners = np.stack([side_px - corners[..., 0], corners[..., 1]], axis=-1)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


class CropDataset(Dataset[dict[str, torch.Tensor]]):
    """`length` crops of a source as tensors: image (3, S, S) uint8, target and weight (classes, S, S) float32."""

    def __init__(self, source: CropSource, *, length: int, seed: int, start: int = 0) -> None:
        self._source, self._length, self._seed, self._start = source, length, seed, start

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        cv2.setNumThreads(0)
        crop = self._source.draw(np.random.default_rng((self._seed, self._start + index)))
        return {
            "image": torch.from_numpy(crop.image).permute(2, 0, 1).contiguous(),
            "target": torch.from_numpy(crop.target),
            "weight": torch.from_numpy(crop.weight),
        }
