"""A drawn survey with cracks, as products are made from it."""

from __future__ import annotations

import numpy as np
from pyproj import CRS

from crackmap.calibration.plane import GroundPlane
from crackmap.pipeline.merge import MergeSettings, merge_cracks
from crackmap.pipeline.outcome_table import Outcomes
from crackmap.pipeline.records import CoordinateKind, Frame, FrameOutcome, OutputFrame, Placement
from crackmap.pipeline.sections import footprint, make_sections
from crackmap.pipeline.survey_result import SurveyResult
from crackmap.stages.records import Crack

ENGINEERING = (
    'ENGCRS["{}",EDATUM["route"],CS[Cartesian,2],AXIS["x",unspecified,ORDER[1]],'
    'AXIS["y",unspecified,ORDER[2]],LENGTHUNIT["metre",1]]'
)
ROAD = OutputFrame(CoordinateKind.ROAD, ENGINEERING.format("crackmap road"))
SHEET = OutputFrame(CoordinateKind.SHEET, ENGINEERING.format("crackmap sheet"), "px")
MAP = OutputFrame(CoordinateKind.MAP, CRS.from_epsg(32722).to_wkt())
HOSTILE = [
    '=cmd|"/c calc"!A1.jpg',
    '<img src=x onerror="alert(1)">.jpg',
    "a'b\"c,;\nd.jpg",
    "@x\t.jpg",
    "nüß\udcff.jpg",
]


def survey(output: OutputFrame, *, names=(), frames=30, origin=(0.0, 0.0), azimuth=0.0) -> SurveyResult:
    """Frames 5 m apart over one recording, with drawn cracks; the last frame is skipped."""
    rng = np.random.default_rng(3)
    ground = None if output.unit == "px" else GroundPlane.from_gsd(gsd_mm=4.0, size_wh_px=(900, 1500))
    a = np.deg2rad(azimuth)
    per_frame, status = [], []
    for i in range(frames):
        along = 5.0 * i
        key = names[i] if i < len(names) else f"R1/{i:04d}.jpg"
        at = (origin[0] + along * np.sin(a), origin[1] + along * np.cos(a))
        road = output.kind is not CoordinateKind.SHEET
        frame = Frame(key, key, (900, 1500), "R1", Placement(at, azimuth), along if road else None, ground,
                      (0.5, 5.5) if ground else None)  # fmt: skip
        cracks = [drawn_crack(frame, rng) for _ in range(int(rng.integers(0, 4)))]
        skipped = i == frames - 1
        status.append((frame, "skipped" if skipped else "ok" if cracks else "no_crack"))
        per_frame.append((frame, () if skipped else tuple(cracks)))
    of = {frame.key: cracks for frame, cracks in per_frame}
    merged = merge_cracks([f for f, _ in per_frame], lambda frame: of[frame.key], settings=MergeSettings())
    cracks = tuple(merged.cracks())
    outcomes = [
        FrameOutcome(f, s, "unreadable: <b>cut off</b>" if s == "skipped" else "", footprint(f), 0.25, len(c))
        for (f, s), (_, c) in zip(status, per_frame, strict=True)
    ]
    sections = make_sections(outcomes, cracks)
    return SurveyResult(output, Outcomes.of(outcomes), cracks, sections, ("positions: none <i>known</i>",))


def drawn_crack(frame: Frame, rng: np.random.Generator) -> Crack:
    start = rng.uniform((50, 200), (850, 1400))
    steps = rng.normal(0, 18, (25, 2)) + rng.uniform(-16, 16, 2)
    px = np.clip(start + np.cumsum(steps, axis=0), 1, (899, 1499))
    widths = np.abs(rng.normal(rng.uniform(1, 4), 0.5, 25)) + 0.2
    length_px = float(np.hypot(*np.diff(px, axis=0).T).sum())
    if frame.ground is None:
        return Crack(px, widths, length_px, 10.0, 0.7, False)
    xy = frame.ground.to_ground_xy_m(px)
    return Crack(px, widths, length_px, 10.0, 0.7, False, xy, widths * 4, length_px * 4e-3, (4.0, 4.0))
