"""The nets of the stages: which weights, and on what they compute."""

from __future__ import annotations

from pathlib import Path

from crackmap.calibration.errors import WeightsError
from crackmap.pipeline.frame import Stages, StageSettings
from crackmap.stages.detect.detector import Detector
from crackmap.stages.screen.screener import Screener
from crackmap.stages.segment.segmenter import Segmenter
from crackmap.stages.weights import Weights, read_weights, shipped_weights


def weights_of(stage: str, path: Path | None) -> Weights:
    """The weights of a stage: the given file, or those that come with the package.

    Raises:
        WeightsError: a weight file is missing, damaged or of another stage.
    """
    if stage == "screen" and path is None:
        raise WeightsError("no weights of the screen stage come with crackmap; train them with `crackmap train screen` "
                           "and give the file as --screen-weights")  # fmt: skip
    return shipped_weights(stage) if path is None else read_weights(path, stage=stage)


def load_stages(
    settings: StageSettings,
    *,
    detect_weights: Path | None = None,
    segment_weights: Path | None = None,
    screen_weights: Path | None = None,
    device: str = "auto",
    engine: str = "auto",
    streams: int = 1,
) -> Stages:
    """Loads the nets.

    Weight files that are not given are those that come with the package. `device` is taken as `choose_device` does,
    `engine` and `streams`, the images that are worked on at a time, as `choose_engine` does.

    Raises:
        WeightsError: a weight file is missing, damaged or of another stage.
        DeviceError: the device or the engine is not there.
    """
    used: dict[str, str] = {}
    detector = None
    if not settings.segment_everything:
        weights = weights_of("detect", detect_weights)
        used["detect"] = weights.sha256
        detector = Detector.load(weights, device, engine=engine, streams=streams)
    weights = weights_of("segment", segment_weights)
    used["segment"] = weights.sha256
    segmenter = Segmenter.load(weights, device, engine=engine, streams=streams)
    screener = None
    if settings.screen is not None:
        weights = weights_of("screen", screen_weights)
        used["screen"] = weights.sha256
        screener = Screener.load(weights, device, engine=engine, streams=streams)
    return Stages(detector, segmenter, settings, used, screener, segmenter.engine.name if segmenter.engine else "")
