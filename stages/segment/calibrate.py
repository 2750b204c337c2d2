"""Probabilities that are what they say: scale and offset of a net's logits, fitted on held-back images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from crackmap.calibration.errors import InputError, require
from crackmap.stages.datasets.sources import Labels
from crackmap.stages.runtime import inference
from crackmap.stages.segment.segmenter import Segmenter
from crackmap.stages.segment.settings import CRACK
from crackmap.stages.tiling import ArraySource, even_tiles

LOGIT_LIMIT, LOGIT_STEP = 16.0, 0.05
"""Logits are counted in steps up to this size: e^-16 is one pixel in nine million."""

LOGITS = np.arange(-LOGIT_LIMIT, LOGIT_LIMIT + LOGIT_STEP / 2, LOGIT_STEP)
"""Logit of each step."""

_TILE_PX, _OVERLAP_PX, _NET_MULTIPLE = 640, 64, 32


@dataclass(frozen=True, slots=True)
class Calibration:
    """probability = sigmoid(scale * logit + offset)."""

    scale: float
    offset: float

    def __call__(self, logit: NDArray[np.floating]) -> NDArray[np.float64]:
        """Probabilities of logits of any shape."""
        return np.asarray(1 / (1 + np.exp(-(self.scale * logit.astype(np.float64) + self.offset))), np.float64)


def fit_calibration(
    logit: NDArray[np.floating],
    label: NDArray[np.generic],
    weight: NDArray[np.floating] | None = None,
    *,
    keep_decision: bool = False,
) -> Calibration:
    """The scale and offset with the least cross-entropy (Platt, "Probabilistic outputs for support vector machines",
    1999), by Newton's method; the mean probability then equals the mean label, so that areas are unbiased.

    Args:
        logit: (N,) of the net.
        label: (N,) 0 to 1: bool, or the share that is crack.
        weight: (N,) trust in each; 1 if not given.
        keep_decision: leave the offset at 0, so that the same pixels have 0.5 and more (temperature scaling, Guo et
            al., ICML 2017); areas are not unbiased then.

    Raises:
        InputError: shapes differ, only one class has weight, or the logits rank crack below background.
    """
    trust = np.ones(len(logit)) if weight is None else np.asarray(weight, np.float64)
    z, y = logit.astype(np.float64), label.astype(np.float64)
    require(z.shape == y.shape == trust.shape, "label, weight", f"shape {z.shape}", (y.shape, trust.shape))
    positive, total = float(trust @ y), float(trust.sum())
    require(0 < positive < total, "label", "pixels of both classes", f"{positive:g} of {total:g} crack")
    centre = float(trust @ z) / total
    spread = max(float(np.sqrt(trust @ (z - centre) ** 2 / total)), 1e-9)
    if keep_decision:
        centre, shift = 0.0, 0.0
        (slope,) = _newton(z[:, None] / spread, y, trust / total, start=np.array([0.0]))
    else:
        design = np.column_stack([(z - centre) / spread, np.ones(len(z))])
        slope, shift = _newton(design, y, trust / total, start=np.array([0.0, np.log(positive / (total - positive))]))
    if slope <= 0:
        raise InputError("calibration: expected crack pixels to have the higher logits, got the contrary; "
                         "check that weights and labels belong together")  # fmt: skip
    return Calibration(slope / spread, shift - slope * centre / spread)


def _newton(
    design: NDArray[np.float64], label: NDArray[np.float64], weight: NDArray[np.float64], *, start: NDArray[np.float64]
) -> list[float]:
    """Minimum of the convex cross-entropy; steps are halved until it falls, and a tiny ridge keeps it bounded."""
    ridge = 1e-9 * np.eye(len(start))

    def loss(at: NDArray[np.float64]) -> float:
        value = design @ at
        return float(weight @ (np.logaddexp(0, value) - label * value) + 0.5 * at @ ridge @ at)

    best, lowest = start, loss(start)
    for _ in range(100):
        probability = 1 / (1 + np.exp(-(design @ best)))
        gradient = design.T @ (weight * (probability - label)) + ridge @ best
        hessian = design.T @ (design * (weight * probability * (1 - probability))[:, None]) + ridge
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while (value := loss(best - size * step)) > lowest and size > 1e-6:
            size /= 2
        if lowest - value <= 1e-14 * max(lowest, 1e-300):
            break
        best, lowest = best - size * step, value
    return [float(value) for value in best]


def logit_counts(
    segmenter: Segmenter, images: Iterable[Labels], *, tolerance_px: float
) -> dict[str, NDArray[np.float64]]:
    """Weight of pixels off and on the truth by logit, summed over images, for each class the labels know.

    With a tolerance, a true pixel counts with the highest logit within it, and pixels off the truth but within it are
    left out: what a hand-drawn line misses by a pixel or two says nothing about the net.

    Returns:
        class -> (len(LOGITS), 2), in the order off, on; only classes of the net with a label in some image.
    """
    counts: dict[str, NDArray[np.float64]] = {}
    for labels in images:
        known = {name: mask for name, mask in _truths(labels).items() if name in segmenter.classes}
        for tile in even_tiles(ArraySource(labels.image).size_wh_px, tile_px=_TILE_PX, overlap_px=_OVERLAP_PX):
            window = np.s_[tile.y0 : tile.y0 + tile.height, tile.x0 : tile.x0 + tile.width]
            logits = _logits(segmenter, labels.image[window])
            height, width = logits.shape[1:]
            for name, true in known.items():
                own = counts.setdefault(name, np.zeros((len(LOGITS), 2)))
                own += _counted(logits[segmenter.classes.index(name)], true[window][:height, :width],
                                labels.weight[window][:height, :width], tolerance_px)  # fmt: skip
    return counts


def fit_classes(
    counts: Sequence[dict[str, NDArray[np.float64]]], *, keep_decision: bool = False
) -> dict[str, tuple[float, float]]:
    """Scale and offset of each class from the counts of several data sets, each of which counts the same.

    Raises:
        InputError: as `fit_calibration`.
    """
    result = {}
    for name in dict.fromkeys(name for of_set in counts for name in of_set):
        tables = [of_set[name] / of_set[name].sum() for of_set in counts if name in of_set and of_set[name].any()]
        total = np.sum(tables, axis=0)
        if not total[:, 1].any():
            continue
        fitted = fit_calibration(np.tile(LOGITS, 2), np.repeat([0.0, 1.0], len(LOGITS)), total.T.ravel(),
                                 keep_decision=keep_decision)  # fmt: skip
        result[name] = (fitted.scale, fitted.offset)
    return result


def _truths(labels: Labels) -> dict[str, NDArray[np.bool_]]:
    return {CRACK: labels.crack, **labels.others}


def _logits(segmenter: Segmenter, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(classes, height, width) logits before any calibration; sides cut down to what the net takes."""
    height, width = (max(side // _NET_MULTIPLE, 1) * _NET_MULTIPLE for side in image.shape[:2])
    padded = np.pad(image, ((0, max(height - image.shape[0], 0)), (0, max(width - image.shape[1], 0)), (0, 0)), "edge")
    tensor = torch.from_numpy(np.ascontiguousarray(padded[:height, :width])).to(segmenter.device)
    with inference(segmenter.device):
        batch = tensor.permute(2, 0, 1)[None].float().contiguous(memory_format=torch.channels_last)
        logits = segmenter.net(batch)[0].float().cpu().numpy()
    return np.asarray(logits[:, : image.shape[0], : image.shape[1]], np.float32)


def _counted(
    logit: NDArray[np.float32], true: NDArray[np.bool_], weight: NDArray[np.float32], tolerance_px: float
) -> NDArray[np.float64]:
    """(len(LOGITS), 2) weight by logit and label."""
    if tolerance_px > 0 and true.any():
        reach = int(np.ceil(tolerance_px))
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        disc = (np.hypot(x, y) <= tolerance_px).astype(np.uint8)
        beside = cv2.dilate(true.astype(np.uint8), disc).astype(bool) & ~true
        logit = np.where(true, cv2.dilate(logit, disc), logit)
        weight = np.where(beside, np.float32(0), weight)
    place = np.rint((np.clip(logit, -LOGIT_LIMIT, LOGIT_LIMIT) + LOGIT_LIMIT) / LOGIT_STEP).astype(np.int64)
    table = np.bincount((place * 2 + true).ravel(), weight.ravel(), 2 * len(LOGITS))
    return np.asarray(table.reshape(-1, 2), np.float64)
