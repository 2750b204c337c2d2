"""The measurement on rendered frames whose cracks are known: `crackmap evaluate measure`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import require
from crackmap.calibration.plane import GroundPlane
from crackmap.pipeline.frame import Stages, process_image
from crackmap.pipeline.geometry_errors import GeometryErrors, TrueLine, geometry_errors
from crackmap.pipeline.polyline import runs
from crackmap.pipeline.synthetic.cracks import draw_cracks
from crackmap.pipeline.synthetic.frames import make_road, plan_pass, render_frame
from crackmap.pipeline.synthetic.settings import Camera, SyntheticSettings, camera_of
from crackmap.pipeline.synthetic.truth import TrueCrack
from crackmap.stages.measure.measure import measure_dense
from crackmap.stages.polyline import resampled
from crackmap.stages.records import Crack, FloatArray
from crackmap.stages.tiling import ArraySource

MASK_KINDS = ("exact", "binary", "fat", "mask-only", "nets")
"""Where the probabilities come from: the exact coverage; thresholded; thresholded and 2 px too fat; thresholded and
without the picture; the nets."""

FAT_PX = 2.0


@dataclass(frozen=True, slots=True)
class RenderedFrame:
    """One frame with what is known of it.

    Attributes:
        image: (height, width, 3) RGB.
        covered: (height, width) share of each pixel that cracks cover.
        truth: the parts of the road's cracks that lie in sight, on the ground of the frame.
        plane: its exact ground plane.
    """

    image: NDArray[np.uint8]
    covered: NDArray[np.float32]
    truth: tuple[TrueLine, ...]
    plane: GroundPlane


def rendered_frames(settings: SyntheticSettings, number: int = 1) -> Iterator[RenderedFrame]:
    """Yields the frames of pass `number` over a synthetic road."""
    camera = camera_of(settings)
    truth = draw_cracks(settings, camera)
    road = make_road(settings, camera, truth)
    drive = plan_pass(settings, camera, number)
    for index in range(drive.frames):
        picture, mask = render_frame(road, drive, index)
        vehicle = np.array(drive.vehicle_xy_m(index, camera.step_m))
        lines = [line for crack in truth.cracks for line in _in_sight(crack, vehicle, camera)]
        yield RenderedFrame(
            np.ascontiguousarray(picture[..., ::-1]),
            np.asarray(mask / np.float32(255), np.float32),
            tuple(lines),
            camera.plane,
        )


def evaluate_measure(
    settings: SyntheticSettings,
    *,
    mask_kind: str,
    stages: Stages | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> GeometryErrors:
    """The errors over all frames of a synthetic survey.

    Args:
        settings: of the survey.
        mask_kind: one of MASK_KINDS.
        stages: loaded nets; needed for "nets".
        progress: is told (done, total, name) after every frame.

    Raises:
        InputError: another mask kind, or no nets for "nets".
    """
    require(mask_kind in MASK_KINDS, "mask_kind", f"one of {', '.join(MASK_KINDS)}", mask_kind)
    require((stages is None) == (mask_kind != "nets"), "stages", "given for mask_kind nets, and only there", stages)
    errors = GeometryErrors()
    for done, frame in enumerate(rendered_frames(settings), start=1):
        errors += geometry_errors(frame.truth, _measured(frame, mask_kind, stages))
        progress(done, settings.frames, f"frame {done}")
    return errors


def _measured(frame: RenderedFrame, mask_kind: str, stages: Stages | None) -> Sequence[Crack]:
    if stages is not None:
        return process_image(ArraySource(frame.image), stages, ground=frame.plane).cracks
    probability = frame.covered
    if mask_kind != "exact":
        probability = as_drawn_by_hand(frame.covered, FAT_PX if mask_kind == "fat" else 0.0)
    image = None if mask_kind == "mask-only" else frame.image
    return measure_dense(probability, ground=frame.plane, image=image)


def as_drawn_by_hand(covered: NDArray[np.float32], fat_px: float) -> NDArray[np.float32]:
    """A binary mask of what is at least half covered, `fat_px` wider than that."""
    outside = (covered < 0.499).astype(np.uint8)
    if fat_px == 0 or outside.all():
        return (1 - outside).astype(np.float32)
    distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance <= fat_px / 2, np.float32)


def _in_sight(crack: TrueCrack, vehicle_xy_m: FloatArray, camera: Camera) -> list[TrueLine]:
    """The parts of a crack that a frame shows within its trust limits; a crack in one part may be whole."""
    local = crack.road_xy_m - vehicle_xy_m
    if local[:, 1].max() < camera.near_m - 1.0 or local[:, 1].min() > camera.far_m + 1.0:
        return []
    dense = resampled(np.column_stack([local, crack.width_mm]), camera.nearest_mm / 1e3)
    seen = _visible(dense[:, :2], camera)
    if seen.all():
        return [TrueLine(crack.crack_id, local, crack.width_mm)]
    return [
        TrueLine(crack.crack_id, dense[first : last + 1, :2], dense[first : last + 1, 2], whole=False)
        for first, last in runs(seen[1:] & seen[:-1])
    ]


def _visible(xy_m: FloatArray, camera: Camera) -> NDArray[np.bool_]:
    pixel = camera.plane.to_pixel_xy(xy_m)
    width, height = camera.plane.size_wh_px
    with np.errstate(invalid="ignore"):
        inside = (pixel >= 0).all(axis=1) & (pixel[:, 0] <= width) & (pixel[:, 1] <= height)
    inside[inside] = camera.plane.trusted(pixel[inside])
    return np.asarray(inside, bool)
