"""The nets that can segment, by the name that stands in a weight file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crackmap.calibration.errors import WeightsError
from crackmap.stages.segment.cracknet import CrackNet, CrackNetConfig
from crackmap.stages.segment.crackseg import CrackSeg, CrackSegConfig
from crackmap.stages.segment.peers import PeerConfig, PeerNet
from crackmap.stages.weights import nested_tuples

SegmentConfig = CrackSegConfig | CrackNetConfig | PeerConfig
SegmentNet = CrackSeg | CrackNet | PeerNet

CONFIGS: Mapping[str, type[SegmentConfig]] = {
    "crackseg": CrackSegConfig,
    "cracknet": CrackNetConfig,
    "peer": PeerConfig,
}


def name_of(config: SegmentConfig) -> str:
    """The name under which nets of this configuration are kept."""
    return next(name for name, kind in CONFIGS.items() if isinstance(config, kind))


def build_segment_net(config: SegmentConfig) -> SegmentNet:
    """The net of a configuration, with random weights.

    Its forward turns RGB images (B, 3, H, W) from 0 to 255, H and W multiples of 32, into logits (B, classes, H, W).
    """
    if isinstance(config, CrackNetConfig):
        return CrackNet(config)
    return PeerNet(config) if isinstance(config, PeerConfig) else CrackSeg(config)


def segment_config(net: str, fields: Mapping[str, Any]) -> SegmentConfig:
    """The configuration that a weight file or the record of a training holds.

    Raises:
        WeightsError: no net that segments, or fields that this version does not know.
        InputError: a value that cannot be meant.
    """
    if net not in CONFIGS:
        raise WeightsError(f"weights: expected a net out of {', '.join(CONFIGS)}, got {net!r}")
    try:
        return CONFIGS[net](**{key: nested_tuples(value) for key, value in fields.items()})
    except TypeError as error:
        raise WeightsError(f"weights: a {net} of another version ({error}); train it again with this one") from error
