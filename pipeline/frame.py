"""One image through the stages: detect, segment, measure."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from crackmap.calibration.plane import GroundPlane
from crackmap.stages.detect.detector import Detector, DetectSettings
from crackmap.stages.measure.measure import measure
from crackmap.stages.measure.settings import MeasureSettings
from crackmap.stages.records import Crack, CrackMask, Region
from crackmap.stages.segment.segmenter import Segmenter, SegmentSettings
from crackmap.stages.tiling import PixelSource
from crackmap.stages.weights import Weights, read_weights, shipped_weights


@dataclass(frozen=True, slots=True)
class StageSettings:
    """The settings of all stages.

    Attributes:
        detect, segment, measure: of each stage.
        segment_everything: segment whole images, without the detector: the comparison for the two stages.
    """

    detect: DetectSettings = field(default_factory=DetectSettings)
    segment: SegmentSettings = field(default_factory=SegmentSettings)
    measure: MeasureSettings = field(default_factory=MeasureSettings)
    segment_everything: bool = False


@dataclass(frozen=True, slots=True)
class Stages:
    """Loaded nets with their settings.

    Attributes:
        detector: None where everything is segmented.
        segmenter: the second stage.
        settings: of all stages.
        weights: name -> sha256 of the weight files in use.
    """

    detector: Detector | None
    segmenter: Segmenter
    settings: StageSettings
    weights: dict[str, str]


@dataclass(frozen=True, slots=True)
class FrameResult:
    """What the stages found in one image, and the seconds each took."""

    regions: tuple[Region, ...]
    mask: CrackMask
    cracks: tuple[Crack, ...]
    seconds: dict[str, float]


def weights_of(stage: str, path: Path | None) -> Weights:
    """The weights of a stage: the given file, or those that come with the package."""
    return shipped_weights(stage) if path is None else read_weights(path, stage=stage)


def load_stages(
    settings: StageSettings,
    *,
    detect_weights: Path | None = None,
    segment_weights: Path | None = None,
    device: str = "auto",
) -> Stages:
    """Loads the nets.

    Raises:
        WeightsError: a weight file is missing, damaged or of another stage.
        DeviceError: the device is not there.
    """
    used: dict[str, str] = {}
    detector = None
    if not settings.segment_everything:
        weights = weights_of("detect", detect_weights)
        used["detect"] = weights.sha256
        detector = Detector.load(weights, device)
    weights = weights_of("segment", segment_weights)
    used["segment"] = weights.sha256
    return Stages(detector, Segmenter.load(weights, device), settings, used)


def process_image(source: PixelSource, stages: Stages, *, ground: GroundPlane | None) -> FrameResult:
    """Detects, segments and measures one image."""
    settings, seconds = stages.settings, {}
    start = time.perf_counter()
    regions: tuple[Region, ...] = ()
    if stages.detector is not None:
        regions = stages.detector.detect(source, settings.detect)
        seconds["detect"] = time.perf_counter() - start
    start = time.perf_counter()
    mask = stages.segmenter.segment(source, None if stages.detector is None else regions, settings.segment)
    seconds["segment"] = time.perf_counter() - start
    start = time.perf_counter()
    cracks = measure(mask, ground=ground, source=source, settings=settings.measure)
    seconds["measure"] = time.perf_counter() - start
    return FrameResult(regions, mask, cracks, seconds)
