"""Ways to measure a crack mask: ours, and what others do with a skeleton and a distance transform."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import skan
from numpy.typing import NDArray
from skimage.morphology import skeletonize

from crackmap.stages.measure.measure import measure_dense
from crackmap.stages.render.stroke import FloatArray

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a way says about one mask.

    Attributes:
        length_px: of all it found; None where the way has no length of its own.
        xy_px: (n, 2) points at which it gives a width, from the top-left corner of the top-left pixel.
        width_px: (n,) those widths.
        orientation_deg: 0 up, 90 to the right, clockwise, in [0, 180); None where the way has none.
        u_length_px, u_width_px: standard uncertainties of length and mean width, where it found one crack and has them.
    """

    length_px: float | None
    xy_px: FloatArray
    width_px: FloatArray
    orientation_deg: float | None
    u_length_px: float | None = None
    u_width_px: float | None = None


Way = Callable[[Mask], Measured]


def ours(probability: NDArray[np.float32] | Mask, image: NDArray[np.uint8] | None = None) -> Measured:
    """crackmap, from a binary mask or from probabilities, with the picture where there is one."""
    cracks = measure_dense(probability, ground=None, image=image)
    if not cracks:
        return Measured(0.0, np.empty((0, 2)), np.empty(0), None)
    longest = max(cracks, key=lambda crack: crack.length_px)
    return Measured(
        sum(crack.length_px for crack in cracks),
        np.concatenate([crack.centreline_xy_px for crack in cracks]),
        np.concatenate([crack.width_px for crack in cracks]),
        longest.orientation_deg,
        longest.u_length_px if len(cracks) == 1 else None,
        longest.u_width_px if len(cracks) == 1 else None,
    )


def with_skan(mask: Mask) -> Measured:
    """skan's branches of the scikit-image skeleton; width = 2 x distance transform along them.

    The direction is that of the ends of its longest branch.
    """
    thin = skeletonize(mask)
    skeleton = skan.Skeleton(np.where(thin, 2.0 * _distance(mask), 0.0))
    table = skan.summarize(skeleton, separator="_")
    longest = table.loc[table.branch_distance.idxmax()]
    step = np.array([longest.coord_src_1 - longest.coord_dst_1, longest.coord_dst_0 - longest.coord_src_0])
    rows, columns = skeleton.coordinates.T
    return Measured(
        float(table.branch_distance.sum()),
        np.column_stack([columns, rows]) + 0.5,
        np.asarray(skeleton.pixel_values, float),
        math.degrees(math.atan2(step[0], step[1])) % 180.0,
    )


def skeleton_pixels(mask: Mask) -> Measured:
    """scikit-image skeleton: its number of pixels is the length, 2 x distance transform the width."""
    thin = skeletonize(mask)
    points, width = _points(thin, mask)
    return Measured(float(thin.sum()), points, width, _principal_deg(points))


def skeleton_chain(mask: Mask) -> Measured:
    """As `skeleton_pixels`, but steps to diagonal neighbours count sqrt(2)."""
    thin = skeletonize(mask)
    points, width = _points(thin, mask)
    return Measured(_chain_length(thin), points, width, _principal_deg(points))


def area_over_length(mask: Mask) -> Measured:
    """One width for the whole mask: its area over the chain length of its skeleton."""
    thin = skeletonize(mask)
    length = _chain_length(thin)
    rows, columns = np.nonzero(thin)
    points = np.column_stack([columns, rows]) + 0.5
    return Measured(None, points, np.full(len(points), mask.sum() / max(length, 1.0)), None)


RIVALS: dict[str, Way] = {
    "skan": with_skan,
    "skeleton, pixel count": skeleton_pixels,
    "skeleton, chain length": skeleton_chain,
    "area / length": area_over_length,
}


def _distance(mask: Mask) -> NDArray[np.float32]:
    """Exact distance to the nearest pixel outside. OpenCV's, which is several times as fast as SciPy's."""
    return np.asarray(cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)


def _points(thin: Mask, mask: Mask) -> tuple[FloatArray, FloatArray]:
    rows, columns = np.nonzero(thin)
    return np.column_stack([columns, rows]) + 0.5, 2.0 * _distance(mask)[rows, columns].astype(float)


def _chain_length(thin: Mask) -> float:
    """Steps between neighbours; a diagonal one only where no way around over a corner pixel is in the skeleton."""
    down, right = thin[1:] & thin[:-1], thin[:, 1:] & thin[:, :-1]
    a, b, c, d = thin[:-1, :-1], thin[:-1, 1:], thin[1:, :-1], thin[1:, 1:]
    diagonal = (a & d & ~b & ~c).sum() + (b & c & ~a & ~d).sum()
    return float(down.sum() + right.sum() + math.sqrt(2.0) * diagonal)


def _principal_deg(points: FloatArray) -> float | None:
    if len(points) < 2:
        return None
    x, y = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][0]
    return math.degrees(math.atan2(x, -y)) % 180.0
