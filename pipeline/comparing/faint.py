"""Where a survey shows something along a line that it did not measure: crack probability in its masks, or a joint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
import shapely
from rasterio.errors import RasterioError
from rasterio.windows import Window

from crackmap.pipeline.comparing.places import SeenRoad
from crackmap.pipeline.comparing.records import BoolArray, IntArray, Samples
from crackmap.pipeline.products.masks import MASKS_FOLDER
from crackmap.stages.records import FloatArray

SOUND_PROBABILITY = 0.1
"""Below this a mask shows nothing: beside cracks, 99 of 100 places of sound road stay below 0.075
(docs/measurement.md, «Joining»)."""

STEP_M = 0.005
"""Distance of the places across the line at which a mask is read."""

BLOCK_PX = 1024
"""A mask is read in windows of this side: that of a raster may be larger than memory."""


def probability_beside(
    road: SeenRoad, out: Path, xy: FloatArray, course: FloatArray, reach_m: float
) -> tuple[FloatArray, int]:
    """Greatest crack probability that a survey shows across each point of a line.

    Args:
        road: what the survey saw, in its own coordinates.
        out: its output folder.
        xy: (N, 2) points in the same coordinates.
        course: (N, 2) directions of the line there.
        reach_m: how far to either side.

    Returns:
        (N,) probability, 0 where nothing was segmented, NaN where the mask is missing; the number of missing masks.
    """
    greatest, missing = np.full(len(xy), np.nan), 0
    points, frames = road.tree.query(shapely.points(xy), predicate="intersects")
    count = max(int(np.ceil(reach_m / STEP_M)), 1)
    across = np.column_stack([-course[:, 1], course[:, 0]])
    steps = np.linspace(-reach_m, reach_m, 2 * count + 1)
    for frame in np.unique(frames).tolist():
        own = points[frames == frame]
        places = xy[own][:, None] + steps[None, :, None] * across[own][:, None]
        try:
            found = _read(out / MASKS_FOLDER / road.outcomes[frame].mask_name, places.reshape(-1, 2))
        except (RasterioError, OSError):
            missing += 1
            continue
        greatest[own] = np.fmax(greatest[own], found.reshape(len(own), -1).max(axis=1) / 255.0)
    return greatest, missing


def _read(path: Path, xy: FloatArray) -> FloatArray:
    """(N,) value of the pixel under each point; 0 outside."""
    with rasterio.open(path) as file:
        a, b, c, d, e, f = tuple(~file.transform)[:6]
        places = xy @ np.array([[a, d], [b, e]]) + [c, f]
        pixel = np.floor(places).astype(np.int64)
        inside = ((pixel >= 0) & (pixel < (file.width, file.height))).all(axis=1)
        value = np.zeros(len(xy))
        block = pixel // BLOCK_PX
        for x, y in np.unique(block[inside], axis=0).tolist():
            chosen = inside & (block == (x, y)).all(axis=1)
            low, high = pixel[chosen].min(axis=0), pixel[chosen].max(axis=0) + 1
            window = file.read(1, window=Window(*low.tolist(), *(high - low).tolist()))
            value[chosen] = window[pixel[chosen, 1] - low[1], pixel[chosen, 0] - low[0]]
    return value


def beside_joints(joints: Sequence[FloatArray], xy: FloatArray, reach_m: float) -> BoolArray:
    """(N,) whether a joint (its line, in the same coordinates) lies within reach of each point."""
    near = np.zeros(len(xy), bool)
    if joints:
        tree = shapely.STRtree([shapely.LineString(line) for line in joints])
        near[tree.query(shapely.points(xy), predicate="dwithin", distance=reach_m)[0]] = True
    return near


def lone(samples: Samples, partner: IntArray, usable: BoolArray) -> IntArray:
    """Numbers of the points on road that both saw which have no line of the other survey beside them."""
    return np.flatnonzero(usable & (partner < 0) & np.isfinite(samples.xy).all(axis=1))
