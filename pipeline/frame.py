"""One image through the stages: detect, segment, measure."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from crackmap.calibration.errors import require
from crackmap.calibration.plane import GroundPlane
from crackmap.stages.detect.settings import DetectSettings
from crackmap.stages.measure.measure import measure
from crackmap.stages.measure.settings import MeasureSettings
from crackmap.stages.records import BLOCK_PX, Crack, CrackMask, Region
from crackmap.stages.screen.patches import windows_to_detect
from crackmap.stages.screen.settings import ScreenSettings
from crackmap.stages.segment.settings import CRACK, SEALED, SegmentSettings
from crackmap.stages.tiling import PixelSource, Window

if TYPE_CHECKING:
    # PyTorch takes seconds to import; who only measures, or asks what was found, does not pay for it.
    from crackmap.stages.detect.detector import Detector
    from crackmap.stages.screen.screener import Screener
    from crackmap.stages.segment.segmenter import Segmenter

SATURATED_SHARE = 1 / 3
"""An image of which more is taken for crack shows no road, or the weights do not fit it: its lines would be noise.

Alligator cracks with cells of 10 cm, 3 px wide on pixels of 10 mm, take 0.5 of their own area, and never fill an image.
"""


CORE_PX = 16
"""A crack up to this wide that has opened in a seal does not cut it in two."""


@dataclass(frozen=True, slots=True)
class StageSettings:
    """The settings of all stages.

    Attributes:
        detect, segment, measure: of each stage.
        segment_everything: segment whole images, without the detector: the comparison for the two stages.
        screen: of the patch classifier in front of the detector; None: the detector sees everything.
    """

    detect: DetectSettings = field(default_factory=DetectSettings)
    segment: SegmentSettings = field(default_factory=SegmentSettings)
    measure: MeasureSettings = field(default_factory=MeasureSettings)
    segment_everything: bool = False
    screen: ScreenSettings | None = None

    def __post_init__(self) -> None:
        without_detector = self.screen is not None and self.segment_everything
        require(not without_detector, "settings", "screening, which spares the detector work, or everything segmented "
                "without the detector; leave --screen or --segment-everything out", "both")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stages:
    """Loaded nets with their settings.

    Attributes:
        detector: None where everything is segmented.
        segmenter: the second stage.
        settings: of all stages.
        weights: name -> sha256 of the weight files in use.
        screener: None without screening.
        engine: what computes the nets, by name: another one may round otherwise.
    """

    detector: Detector | None
    segmenter: Segmenter
    settings: StageSettings
    weights: dict[str, str]
    screener: Screener | None = None
    engine: str = ""

    def on_cpu(self) -> Stages:
        """The same nets on the CPU; those of a graphics card stay where they are."""
        return replace(
            self,
            detector=self.detector and self.detector.on_cpu(),
            segmenter=self.segmenter.on_cpu(),
            screener=self.screener and self.screener.on_cpu(),
        )


@dataclass(frozen=True, slots=True)
class FoundMask:
    """What the nets found in one image.

    Attributes:
        regions: of the detector; none where everything was segmented.
        mask: crack probabilities; none where a sealed crack is surer.
        seconds: that each stage took.
        flags: what was out of the ordinary: "cpu", the device had no room for it.
        sealed: probabilities of sealed cracks, where they are above those of cracks; None if the weights do not know
            them or there are none.
    """

    regions: tuple[Region, ...]
    mask: CrackMask
    seconds: dict[str, float]
    flags: tuple[str, ...] = ()
    sealed: CrackMask | None = None


@dataclass(frozen=True, slots=True)
class FrameResult:
    """What the stages found in one image, and the seconds each took."""

    regions: tuple[Region, ...]
    mask: CrackMask
    cracks: tuple[Crack, ...]
    seconds: dict[str, float]


def process_image(source: PixelSource, stages: Stages, *, ground: GroundPlane | None) -> FrameResult:
    """Screens if asked to, detects, segments and measures one image."""
    found = find_mask(source, stages)
    cracks = measure_mask(source, found, stages, ground=ground)
    return FrameResult(found.regions, found.mask, cracks, found.seconds)


def find_mask(source: PixelSource, stages: Stages) -> FoundMask:
    """Screens if asked to, detects and segments one image.

    Raises:
        DeviceMemoryError: the device has no room for a single window of it.
    """
    seconds: dict[str, float] = {}
    regions = _regions(source, stages, seconds)
    start = time.perf_counter()
    masks = stages.segmenter.segment_classes(source, regions, stages.settings.segment)
    mask, sealed = _apart(masks, stages.settings.measure)
    seconds["segment"] = time.perf_counter() - start
    return FoundMask(regions or (), mask, seconds, sealed=sealed)


def measure_mask(
    source: PixelSource, found: FoundMask, stages: Stages, *, ground: GroundPlane | None
) -> tuple[Crack, ...]:
    """The cracks of one image, sealed ones last; adds the seconds that took to those of `found`."""
    start = time.perf_counter()
    cracks = measure(found.mask, ground=ground, source=source, settings=stages.settings.measure)
    cracks += sealed_cracks(found, stages, ground=ground)
    found.seconds["measure"] = time.perf_counter() - start
    return cracks


def sealed_cracks(found: FoundMask, stages: Stages, *, ground: GroundPlane | None) -> tuple[Crack, ...]:
    """The sealed cracks of one image.

    A seal is a band, not a valley in the picture: its width is read in the mask.
    """
    if found.sealed is None:
        return ()
    lines = measure(found.sealed, ground=ground, settings=stages.settings.measure)
    return tuple(replace(line, sealed=True, joint=False) for line in lines)


def _apart(masks: Mapping[str, CrackMask], settings: MeasureSettings) -> tuple[CrackMask, CrackMask | None]:
    """The masks of cracks and of sealed cracks, each pixel in the one that is surer; None where nothing is sealed.

    A crack that has opened in a seal is a crack, and the seal around it stays one band.
    """
    crack, sealed = masks[CRACK], masks.get(SEALED)
    level = round(255.0 * settings.threshold)
    if sealed is None or not any((block >= level).any() for block in sealed.blocks.values()):
        return crack, None
    cracks, seals = dict(crack.blocks), {}
    for row, column in sealed.blocks:
        place = column * BLOCK_PX - CORE_PX, row * BLOCK_PX - CORE_PX
        size = BLOCK_PX + 2 * CORE_PX
        c, s = crack.read(*place, size, size), sealed.read(*place, size, size)
        surer = s > c
        kernel = np.ones((CORE_PX, CORE_PX), np.uint8)
        band = cv2.morphologyEx(surer.astype(np.uint8), cv2.MORPH_CLOSE, kernel).astype(bool) & (surer | (s >= level))
        inside = slice(CORE_PX, -CORE_PX), slice(CORE_PX, -CORE_PX)
        seals[row, column] = np.where(band, s, np.uint8(0))[inside]
        if (row, column) in cracks:
            cracks[row, column] = np.where(surer, np.uint8(0), c)[inside]
    if not any((block >= level).any() for block in seals.values()):
        return crack, None
    return replace(crack, blocks=cracks), replace(sealed, blocks=seals)


def saturated_share(mask: CrackMask, settings: MeasureSettings) -> float | None:
    """The share of an image that is taken for crack, 0 to 1, where that is more than SATURATED_SHARE; else None."""
    level = round(255.0 * settings.threshold)
    width, height = mask.size_wh_px
    share = sum(int(np.count_nonzero(block >= level)) for block in mask.blocks.values()) / (width * height)
    return share if share > SATURATED_SHARE else None


def segment_image(source: PixelSource, stages: Stages) -> dict[str, CrackMask]:
    """The mask of every class that the segmenter tells apart, "crack" first."""
    return stages.segmenter.segment_classes(source, _regions(source, stages, {}), stages.settings.segment)


def _regions(source: PixelSource, stages: Stages, seconds: dict[str, float]) -> tuple[Region, ...] | None:
    """What is to be segmented, None for everything; adds the seconds of the stages that say so."""
    if stages.detector is None:
        return None
    windows: list[Window] | None = None
    if stages.screener is not None:
        start = time.perf_counter()
        windows = _screened(source, stages.detector, stages.screener, stages.settings)
        seconds["screen"] = time.perf_counter() - start
    start = time.perf_counter()
    regions = stages.detector.detect(source, stages.settings.detect, windows)
    seconds["detect"] = time.perf_counter() - start
    return regions


def _screened(source: PixelSource, detector: Detector, screener: Screener, settings: StageSettings) -> list[Window]:
    """The windows the detector need look at."""
    screen = settings.screen or ScreenSettings()
    patches = screener.patches(source.size_wh_px)
    cracked = screener.scores(source, patches, batch=screen.batch) >= screen.threshold
    tiles = detector.tiles(source.size_wh_px, settings.detect)
    return windows_to_detect(tiles, patches, cracked, margin_px=screen.margin_px)
