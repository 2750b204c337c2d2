"""The nets by name: what they are, how they are trained, and what their authors published.

A preset is data. Every net can be listed, trained, scored and run under its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from crackmap.calibration.errors import InputError
from crackmap.stages.datasets.crops import CLASSES, DETECT_MIXTURE, RENDERED, SEGMENT_MIXTURE
from crackmap.stages.datasets.patch_source import Augmentation
from crackmap.stages.detect.retinanet import LIGHT as LIGHT_RETINANET
from crackmap.stages.detect.retinanet import PUBLISHED as PUBLISHED_RETINANET
from crackmap.stages.detect.retinanet import RetinaNetConfig
from crackmap.stages.screen.classifier import PUBLISHED_MOBILENETV2, PUBLISHED_RESNET50, ScreenConfig
from crackmap.stages.segment.cracknet import CrackNetConfig
from crackmap.stages.segment.crackseg import PUBLISHED as PUBLISHED_CRACKSEG
from crackmap.stages.segment.crackseg import CrackSegConfig
from crackmap.stages.segment.nets import SegmentConfig
from crackmap.stages.segment.peers import PeerConfig
from crackmap.stages.training.loop import TrainingConfig

NetConfig = RetinaNetConfig | SegmentConfig | ScreenConfig


@dataclass(frozen=True, slots=True)
class Preset:
    """A net with its training.

    Attributes:
        name: under which it is listed.
        stage: "detect", "segment" or "screen".
        about: one line.
        net: the shape of the net.
        training: how it is trained by default.
        mixture: on what; shares of the sources.
        published: what its authors report, and on which data; "" for the project's own.
        source: who published it.
        augmentation: of the patches of a screen stage.
    """

    name: str
    stage: str
    about: str
    net: NetConfig
    training: TrainingConfig
    mixture: Mapping[str, float] = field(default_factory=dict)
    published: str = ""
    source: str = ""
    augmentation: Augmentation | None = None


_LIGHT = TrainingConfig(steps=3600, batch=8, side_px=320, learning_rate=1.3e-3)
# Labels drawn by hand say where a crack is, not how wide; and a false crack is dearer than a missed one.
_SHARP = replace(_LIGHT, unsure_edge_px=2.0, loss="entropy+tversky")
_PAPER_2 = TrainingConfig(
    steps=40_000, batch=8, side_px=256, learning_rate=1e-4, weight_decay=5e-4, optimiser="adam", schedule="constant",
    ema_decay=0.0, loss="entropy",
)  # fmt: skip
_SONG = "Song, Jia, Zhu, Jia, Gao, Journal of Advanced Transportation 2020, 6412562"
_POLAT = "Polat, Colak, Kilic, Road Surface Crack Detection Using Deep Learning in Smart Cities, 2025"
_REAL_PATCHES: Mapping[str, float] = {"dnit": 0.6, "paveseg": 0.35, "cracksc": 0.05}

_ALL = (
    Preset(
        "retinanet-light", "detect", "the default detector: MobileNetV2 behind a wide stem, boxes that hug the crack",
        LIGHT_RETINANET, TrainingConfig(steps=2000, batch=12, side_px=384), DETECT_MIXTURE,
    ),
    Preset(
        "retinanet", "detect", "ResNet-50, P3..P7, anchors 32 to 512, 256 channels, full resolution",
        PUBLISHED_RETINANET,
        TrainingConfig(steps=4000, batch=1, side_px=320, learning_rate=1e-5, optimiser="adam", schedule="plateau",
                       ema_decay=0.0, validation_crops=20),
        {"cfd": 1.0},
        "CFD: precision of boxes 98.92 %, crack pixels outside 1.22 %, data reduction 72.12 %",
        "road crack detection with RetinaNet on CrackForest",
    ),
    Preset(
        "retinanet-close", "detect", "the light detector at full resolution, for close-ups such as CFD",
        RetinaNetConfig(scale=1.0, longest_box_px=40, smallest_box_px=24, smallest_anchor_px=20),
        TrainingConfig(steps=900, batch=8, side_px=320, scales=(0.8, 1.25)), {"cfd": 1.0},
    ),
    Preset(
        "crackseg-light", "segment", "the default segmenter: MobileNetV2, refined at half resolution",
        CrackSegConfig(classes=CLASSES), _SHARP, SEGMENT_MIXTURE,
    ),
    Preset(
        "crackseg-lite0", "segment", "the light CrackSeg on EfficientNet-lite0",
        CrackSegConfig(encoder="timm-tf_efficientnet_lite0", classes=CLASSES), _SHARP, SEGMENT_MIXTURE,
    ),
    Preset(
        "crackseg", "segment", "CrackSeg as published, ResNet-50", PUBLISHED_CRACKSEG, _PAPER_2, SEGMENT_MIXTURE,
        "CrackDataset (2,416 images): precision 98.00, recall 97.85, F 97.92, mIoU 71.82 %", _SONG,
    ),
    Preset(
        "crackseg-resnet101", "segment", "CrackSeg as published, ResNet-101",
        replace(PUBLISHED_CRACKSEG, encoder="resnet101"), _PAPER_2, SEGMENT_MIXTURE,
        "CrackDataset (2,416 images): precision 98.00, recall 97.85, F 97.92, mIoU 73.53 %", _SONG,
    ),
    Preset(
        "cracknet", "segment", "CrackNet as published: U-shape on ResNet-101, grey", CrackNetConfig(),
        TrainingConfig(steps=62_500, batch=4, side_px=448, learning_rate=1e-3, optimiser="sgd", schedule="constant",
                       ema_decay=0.0, loss="entropy"),
        SEGMENT_MIXTURE, "own concrete images, two samples: precision 0.9452 / 0.9569, recall 0.9525 / 0.9655",
        "concrete crack segmentation on an end-to-end ResNet-101 model",
    ),
    Preset(
        "cracknet-light", "segment", "CrackNet on MobileNetV2", CrackNetConfig("mobilenet_v2"), _LIGHT, SEGMENT_MIXTURE,
    ),
    *(
        Preset(
            f"{architecture}-light", "segment",
            f"{title} of segmentation-models-pytorch on MobileNetV2, to be compared with",
            PeerConfig(architecture, classes=CLASSES), _LIGHT, SEGMENT_MIXTURE,
        )
        for architecture, title in (("unet", "U-Net"), ("pspnet", "PSPNet"), ("deeplabv3plus", "DeepLabV3+"))
    ),
    Preset(
        "screen-light", "screen", "MobileNetV2, all of it trained; meant to start from the encoder of the segmenter",
        ScreenConfig(),
        TrainingConfig(steps=1500, batch=32, side_px=224, learning_rate=4e-4, weight_decay=1e-2, ema_decay=0.98),
        {RENDERED: 0.2, "dnit": 0.45, "paveseg": 0.3, "cracksc": 0.05}, augmentation=Augmentation(),
    ),
    # 50 epochs at most, of 200 steps.
    Preset(
        "screen-mobilenetv2", "screen", "as published with MobileNetV2: a frozen encoder, one sigmoid, Dice loss",
        PUBLISHED_MOBILENETV2,
        TrainingConfig(steps=10_000, batch=32, side_px=224, learning_rate=1e-4, weight_decay=0.0, optimiser="adam",
                       schedule="plateau", ema_decay=0.0, loss="dice", validation_crops=512, patience=5),
        _REAL_PATCHES, 
        "Surface Crack Detection (40,000 patches): precision 99.82, recall 99.65, F1 99.72, accuracy 99.73 %", _POLAT,
        Augmentation(False, 20.0, 0.2, 0.2, 0.0, 0.0, False),
    ),
    # But for the schedule as published: at a constant rate the paper's validation swings. The best weights on the
    # held-back patches are kept, by loss.
    Preset(
        "screen-resnet50", "screen", "as published with ResNet-50: all of it trained, two outputs",
        PUBLISHED_RESNET50,
        TrainingConfig(steps=4000, batch=32, side_px=224, learning_rate=1e-4, weight_decay=1e-4, optimiser="adam",
                       ema_decay=0.0, validation_crops=512),
        _REAL_PATCHES, 
        "SDNET2018 (56,000 patches): precision 90.63, recall 62.76, F1 74.16, accuracy 62.88 %, AUC 0.6889",
        "ResNet-50 transfer learning for concrete cracks on SDNET2018, with Grad-CAM",
        Augmentation(False, 10.0, 0.0, 0.2, 0.2, 0.1, False),
    ),
)  # fmt: skip

PRESETS: Mapping[str, Preset] = {preset.name: preset for preset in _ALL}
"""All presets, in the order in which they are listed."""

DEFAULTS = {"detect": "retinanet-light", "segment": "crackseg-light"}
"""Stage -> the preset whose weights come with the package."""


def preset_called(name: str, *, stage: str | None = None) -> Preset:
    """The preset of a name.

    Raises:
        InputError: there is none, or it is of another stage.
    """
    known = [preset.name for preset in PRESETS.values() if stage in (None, preset.stage)]
    if name not in known:
        what = "preset" if stage is None else f"preset of the {stage} stage"
        raise InputError(f"{what}: expected one of {', '.join(known)}, got {name!r}; `crackmap models list` shows them")
    return PRESETS[name]
