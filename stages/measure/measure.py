"""The entry of the measurement: a crack mask in, measured cracks out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import CalibrationError, InputError
from crackmap.calibration.plane import GroundPlane
from crackmap.stages.measure.centreline import MeasuredLine, centrelines_of
from crackmap.stages.measure.graph import graph_of
from crackmap.stages.measure.joining import joined
from crackmap.stages.measure.metric import crack_of, is_crack, trusted_parts
from crackmap.stages.measure.picture import GreyWindow
from crackmap.stages.measure.profile import ProbabilityField
from crackmap.stages.measure.pruning import simplify
from crackmap.stages.measure.settings import MeasureSettings
from crackmap.stages.measure.skeleton import skeleton_of
from crackmap.stages.measure.strands import strands_of
from crackmap.stages.measure.valley import point_spread
from crackmap.stages.measure.widths import LineProfiles, ReadLine, line_profiles, read_in_mask, read_in_picture, settled
from crackmap.stages.records import Crack, CrackMask
from crackmap.stages.tiling import ArraySource, PixelSource

_DEFAULTS = MeasureSettings()

_SPREAD_VERTICES = 3000
"""About this many vertices tell the point spread of a picture; of more, every second line serves, or every third..."""


def measure(
    mask: CrackMask,
    *,
    ground: GroundPlane | None,
    source: PixelSource | None = None,
    settings: MeasureSettings = _DEFAULTS,
) -> tuple[Crack, ...]:
    """The cracks of one image.

    Args:
        mask: the crack probabilities. Memory follows the area it covers, not the image.
        ground: what a pixel is on the road; None leaves the metric fields of the cracks empty. Where it is not
            trusted (GroundPlane.trusted) nothing is returned.
        source: the picture the probabilities were made from: widths are read in it where the contrast allows, and
            from the probabilities elsewhere. None: from the probabilities throughout.
        settings: what counts as a crack.

    Returns:
        Cracks in order of their upper end, from top to bottom and left to right; the same whatever blocks the mask
        is kept in.

    Raises:
        CalibrationError: the ground plane belongs to an image of another size.
        InputError: the picture has another size than the mask.
    """
    if source is not None and tuple(source.size_wh_px) != tuple(mask.size_wh_px):
        raise InputError(
            f"mask and image differ in size: {mask.size_wh_px} and {source.size_wh_px} px; "
            "give the image the mask was made from, or the mask alone"
        )
    if ground is not None and tuple(ground.size_wh_px) != tuple(mask.size_wh_px):
        raise CalibrationError(
            f"ground.size_wh_px: expected the image's {mask.size_wh_px}, got {ground.size_wh_px}; "
            "use the calibration of the camera that took this image"
        )
    binary = _is_binary(mask)
    found = [_lines(x0, y0, window, mask.size_wh_px, settings) for x0, y0, window in mask.islands()]
    if source is None:
        reads = [read_in_mask(line, binary=binary) for lines in found for line in lines]
    else:
        reads = _read(found, mask, source, settings, binary=binary)
    parts = [part for read in reads for part in trusted_parts(read, ground) if is_crack(part, settings)]
    return tuple(sorted((crack_of(part, ground=ground, size_wh_px=mask.size_wh_px) for part in parts), key=_place))


def measure_dense(
    probability: NDArray[np.floating] | NDArray[np.bool_],
    *,
    ground: GroundPlane | None,
    image: NDArray[np.uint8] | None = None,
    settings: MeasureSettings = _DEFAULTS,
) -> tuple[Crack, ...]:
    """The cracks of a dense (height, width) array of probabilities or of a binary mask; NaN counts as no crack.

    `image` is the (height, width, 3) RGB picture, if it is there; otherwise see `measure`.
    """
    mask = CrackMask.from_dense(probability)
    source = None if image is None else ArraySource(image)
    return measure(mask, ground=ground, source=source, settings=settings)


def _lines(
    x0: int, y0: int, window: NDArray[np.uint8], size_wh_px: tuple[int, int], settings: MeasureSettings
) -> list[MeasuredLine]:
    skeleton = skeleton_of(window, settings)
    graph = graph_of(skeleton)
    simplify(graph, settings)
    field = ProbabilityField.from_window(window, x0_px=x0, y0_px=y0, size_wh_px=size_wh_px)
    lines = centrelines_of(strands_of(graph, settings.straight_deg), field, skeleton.half_width_px, settings)
    return joined(lines, field, settings)


def _read(
    found: Sequence[Sequence[MeasuredLine]], mask: CrackMask, source: PixelSource, settings: MeasureSettings, *,
    binary: bool,
) -> list[ReadLine]:  # fmt: skip
    """All lines with their widths read in the picture; the islands are gone through anew, to hold one at a time."""

    def islands() -> Iterator[tuple[Sequence[MeasuredLine], GreyWindow, ProbabilityField]]:
        for lines, (x0, y0, window) in zip(found, mask.islands(), strict=True):
            if lines:
                field = ProbabilityField.from_window(window, x0_px=x0, y0_px=y0, size_wh_px=mask.size_wh_px)
                yield lines, GreyWindow.around(source, field, settings.gamma), field

    total = sum(len(line.xy_px) for lines in found for line in lines)
    every, passed = max(total // _SPREAD_VERTICES, 1), 0
    samples: list[LineProfiles] = []
    for lines, picture, field in islands():
        chosen = lines[-passed % every :: every]
        passed += len(lines)
        if chosen:
            samples += line_profiles(chosen, picture, field)
    spread = point_spread([group.profiles for group in samples])
    if every == 1 and len(found) == 1:
        # All lines were looked at; in most pictures.
        return settled(read_in_picture(found[0], samples, spread, binary=binary))
    return settled([
        read for lines, picture, field in islands()
        for read in read_in_picture(lines, line_profiles(lines, picture, field), spread, binary=binary)
    ])  # fmt: skip


def _is_binary(mask: CrackMask) -> bool:
    """Whether hardly any pixel of the mask has a value in between."""
    between = sum(int(np.count_nonzero((block > 12) & (block < 243))) for block in mask.blocks.values())
    return between < 0.02 * sum(int(np.count_nonzero(block)) for block in mask.blocks.values())


def _place(crack: Crack) -> tuple[float, ...]:
    # Both ends and the middle, to tell apart cracks that start at one junction.
    line = crack.centreline_xy_px
    return tuple(np.round(line[[0, -1, len(line) // 2]][:, ::-1], 6).ravel().tolist())
