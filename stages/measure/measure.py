"""The entry of the measurement: a crack mask in, measured cracks out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import CalibrationError
from crackmap.calibration.plane import GroundPlane
from crackmap.stages.measure.centreline import MeasuredLine, centrelines_of
from crackmap.stages.measure.graph import graph_of
from crackmap.stages.measure.metric import crack_of, is_crack, trusted_parts
from crackmap.stages.measure.profile import ProbabilityField
from crackmap.stages.measure.pruning import simplify
from crackmap.stages.measure.settings import MeasureSettings
from crackmap.stages.measure.skeleton import skeleton_of
from crackmap.stages.measure.strands import strands_of
from crackmap.stages.records import Crack, CrackMask

_DEFAULTS = MeasureSettings()


def measure(mask: CrackMask, *, ground: GroundPlane | None, settings: MeasureSettings = _DEFAULTS) -> tuple[Crack, ...]:
    """The cracks of one image.

    Args:
        mask: the crack probabilities. Memory follows the area it covers, not the image.
        ground: what a pixel is on the road; None leaves the metric fields of the cracks empty. Where it is not
            trusted (GroundPlane.trusted) nothing is returned.
        settings: what counts as a crack.

    Returns:
        Cracks in order of their upper end, from top to bottom and left to right; the same whatever blocks the mask
        is kept in.

    Raises:
        CalibrationError: the ground plane belongs to an image of another size.
    """
    if ground is not None and tuple(ground.size_wh_px) != tuple(mask.size_wh_px):
        raise CalibrationError(
            f"ground.size_wh_px: expected the image's {mask.size_wh_px}, got {ground.size_wh_px}; "
            "use the calibration of the camera that took this image"
        )
    cracks = []
    for x0, y0, window in mask.islands():
        for line in _lines(window, x0, y0, mask.size_wh_px, settings):
            for part in trusted_parts(line, ground):
                if is_crack(part, settings):
                    cracks.append(crack_of(part, ground=ground, size_wh_px=mask.size_wh_px))
    return tuple(sorted(cracks, key=_place))


def measure_dense(
    probability: NDArray[np.floating] | NDArray[np.bool_],
    *,
    ground: GroundPlane | None,
    settings: MeasureSettings = _DEFAULTS,
) -> tuple[Crack, ...]:
    """The cracks of a dense (height, width) array of probabilities or of a binary mask; NaN counts as no crack."""
    return measure(CrackMask.from_dense(np.asarray(probability, np.float32)), ground=ground, settings=settings)


def _lines(
    window: NDArray[np.uint8], x0: int, y0: int, size_wh_px: tuple[int, int], settings: MeasureSettings
) -> list[MeasuredLine]:
    skeleton = skeleton_of(window, settings)
    graph = graph_of(skeleton)
    simplify(graph, settings)
    field = ProbabilityField.from_window(window, x0_px=x0, y0_px=y0, size_wh_px=size_wh_px)
    return centrelines_of(strands_of(graph, settings.straight_deg), field, skeleton.half_width_px, settings)


def _place(crack: Crack) -> tuple[float, ...]:
    # Both ends and the middle, to tell apart cracks that start at one junction.
    line = crack.centreline_xy_px
    return tuple(np.round(line[[0, -1, len(line) // 2]][:, ::-1], 6).ravel().tolist())
