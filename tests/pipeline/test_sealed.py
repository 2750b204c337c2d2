"""Sealed cracks are measured and mapped by themselves, and no number of cracks holds them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from crackmap.calibration.plane import GroundPlane
from crackmap.pipeline.assembly.columns import CrackColumns
from crackmap.pipeline.frame import Stages, StageSettings, find_mask, measure_mask
from crackmap.pipeline.merge import MergeSettings, merge_cracks
from crackmap.pipeline.networks import find_patterns
from crackmap.pipeline.records import Frame, FrameOutcome, Placement
from crackmap.pipeline.sections import footprint, make_sections
from crackmap.stages.records import Crack, CrackMask
from crackmap.stages.segment.settings import CRACK, SEALED
from crackmap.stages.tiling import ArraySource

SIZE = (600, 400)
GROUND = GroundPlane.from_gsd(gsd_mm=2.0, size_wh_px=SIZE)
PICTURE = ArraySource(np.full((400, 600, 3), 150, np.uint8))


def stages(crack: np.ndarray, sealed: np.ndarray) -> Stages:
    """Nets that find these probabilities in every picture."""
    masks = {CRACK: CrackMask.from_dense(crack), SEALED: CrackMask.from_dense(sealed)}
    segmenter = SimpleNamespace(segment_classes=lambda source, regions, settings: masks)
    return Stages(None, segmenter, StageSettings(segment_everything=True), {})  # type: ignore[arg-type]


def found(crack: np.ndarray, sealed: np.ndarray) -> tuple[Crack, ...]:
    nets = stages(crack, sealed)
    return measure_mask(PICTURE, find_mask(PICTURE, nets), nets, ground=GROUND)


def band(row: int, height: int, probability: float = 1.0) -> np.ndarray:
    mask = np.zeros((400, 600))
    mask[row : row + height, 50:550] = probability
    return mask


def test_a_seal_is_measured_in_the_mask_as_wide_as_it_is_there():
    (line,) = found(band(0, 0), band(200, 20))
    assert line.sealed and not line.joint and not line.open
    assert line.grey_share == 0.0
    assert line.length_m == pytest.approx(1.0, rel=0.03)
    assert line.width_mm.mean() == pytest.approx(40.0, rel=0.05)


def test_what_is_a_crack_rather_is_not_sealed():
    crack, sealed = band(100, 4, 0.9), band(100, 4, 0.8) + band(300, 12)
    kinds = [line.sealed for line in found(crack, sealed)]
    assert kinds.count(True) == 1


def test_each_pixel_is_measured_as_one_thing_only():
    (line,) = found(band(200, 20, 0.6), band(200, 20, 0.9))
    assert line.sealed and line.length_m == pytest.approx(1.0, rel=0.03)


def test_a_crack_that_opened_in_a_seal_is_a_crack_and_the_seal_stays_one():
    lines = found(band(198, 4, 0.95), band(190, 20, 0.9))
    assert [(line.sealed, round(line.length_m)) for line in lines] == [(False, 1), (True, 1)]
    assert lines[1].width_mm.mean() == pytest.approx(40.0, rel=0.1)


def test_nothing_sealed_costs_nothing():
    nets = stages(band(100, 4), band(300, 12, 0.2))
    assert find_mask(PICTURE, nets).sealed is None


def road(lines: dict[int, list[tuple[float, float, float, bool]]]) -> tuple[list[Frame], dict[str, list[Crack]]]:
    """Frames 5 m apart; lines along the road: x, from y, to y in metres ahead, and whether they are sealed."""
    frames, cracks = [], {}
    for number, of_frame in lines.items():
        key = f"{number}.jpg"
        ground = GroundPlane.from_gsd(gsd_mm=2.0, size_wh_px=(1000, 3000))
        frames.append(Frame(key, None, (1000, 3000), "R", Placement((0.0, 5.0 * number)), 5.0 * number, ground, (0, 5)))  # type: ignore[arg-type]
        cracks[key] = []
        for x, low, high, sealed in of_frame:
            xy = np.column_stack([np.full(20, x), np.linspace(low, high, 20)])
            cracks[key].append(Crack(
                ground.to_pixel_xy(xy), np.full(20, 3.0), (high - low) * 500, 0.0, 0.9, False, xy, np.full(20, 6.0),
                high - low, (2.0, 2.0), sealed=sealed,
            ))  # fmt: skip
    return frames, cracks


def test_sealed_and_open_lines_that_meet_at_a_seam_stay_two():
    frames, of = road(
        {0: [(0.0, 1.0, 5.0, True), (0.5, 1.0, 5.0, True)], 1: [(0.0, 0, 3.0, False), (0.5, 0, 3.0, True)]}
    )
    merged = tuple(merge_cracks(frames, lambda frame: of[frame.key], settings=MergeSettings()).cracks())
    assert sorted((round(crack.length_m, 3), crack.sealed) for crack in merged) == [(3, False), (4, True), (7, True)]


def test_sections_hold_sealed_length_apart():
    frames, of = road({0: [(0.0, 1.0, 4.0, True), (0.5, 1.0, 3.0, False)]})
    merged = tuple(merge_cracks(frames, lambda frame: of[frame.key], settings=MergeSettings()).cracks())
    (section,) = make_sections([FrameOutcome(frame, "ok", "", footprint(frame)) for frame in frames], merged)
    assert (section.crack_count, section.joint_length_m) == (1, 0.0)
    assert (section.crack_length_m, section.sealed_length_m) == pytest.approx((2.0, 3.0))


def test_sealed_lines_make_no_pattern():
    grid = [(x / 5, 0.0, 1.0, False) for x in range(6)]
    frames, of = road({0: grid})
    merged = tuple(merge_cracks(frames, lambda frame: of[frame.key], settings=MergeSettings()).cracks())
    across = [replace(c, line_xy=c.line_xy[:, ::-1], chainage_at_m=c.line_xy[:, 0].copy()) for c in merged]
    lines = [*merged, *across]
    assert len(find_patterns(CrackColumns.of(lines))[1]) == 1
    assert find_patterns(CrackColumns.of([replace(crack, sealed=True) for crack in lines]))[1] == ()
