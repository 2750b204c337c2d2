"""Training of the patch classifier of the screen stage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from crackmap.calibration.errors import InputError, require
from crackmap.stages.datasets.crops import RENDERED
from crackmap.stages.datasets.patches import Patch, PatchFile, cut_patches, read_patch_folders, split_patches
from crackmap.stages.datasets.sources import load_split
from crackmap.stages.render.scene import render_crop, through_jpeg
from crackmap.stages.render.surface import procedural_road
from crackmap.stages.runtime import choose_device, inference
from crackmap.stages.screen.classifier import PUBLISHED_MOBILENETV2, PUBLISHED_RESNET50, ScreenConfig, ScreenNet
from crackmap.stages.screen.screener import NET
from crackmap.stages.training.loop import CrackModule, Task, TrainingConfig, fit, load_encoder, start_from
from crackmap.stages.weights import read_weights, save_weights

LOSSES = ("cross-entropy", "dice")

PATCH_FOLDERS = "patches:"
"""In front of a folder whose sub-folders are named after the class of the patches in them."""

PER_IMAGE: Mapping[str, int] = {"dnit": 6, "paveseg": 24, "cracksc": 6}
"""Patches cut from an image of the sets, at most; OTHER_PER_IMAGE from those of other sets."""
OTHER_PER_IMAGE = 8

COPIES = 4
"""Augmented copies of each patch whose features a frozen encoder computes once."""

RENDERED_CRACK_PX = 56
"""A rendered patch counts as cracked from this many crack pixels on, and as free of cracks without any."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What is done to a training patch.

    Attributes:
        flip_vertical: mirror top and bottom too, besides left and right.
        rotation_deg: turned by up to this, either way.
        zoom: enlarged or shrunk by up to this share.
        brightness: multiplied by 1 +- up to this.
        contrast: of the deviation from the mean, likewise.
        colour: of each channel, likewise.
        blur_jpeg: blur, noise and JPEG now and then, as the other stages see them.
    """

    flip_vertical: bool = True
    rotation_deg: float = 20.0
    zoom: float = 0.25
    brightness: float = 0.3
    contrast: float = 0.35
    colour: float = 0.06
    blur_jpeg: bool = True


MOBILENETV2_AUGMENTATION = Augmentation(False, 20.0, 0.2, 0.2, 0.0, 0.0, False)
"""As published with MobileNetV2; the strength of the change of brightness is not given."""

RESNET50_AUGMENTATION = Augmentation(False, 10.0, 0.0, 0.2, 0.2, 0.1, False)
"""As published with ResNet-50; the strength of the colour jitter is not given."""


@dataclass(frozen=True, slots=True)
class ScreenPreset:
    """A patch classifier with its training.

    Attributes:
        net: its shape.
        training: how it is trained.
        augmentation: what is done to its training patches.
        mixture: share of each source, as `PatchSource`.
    """

    net: ScreenConfig
    training: TrainingConfig
    augmentation: Augmentation
    mixture: Mapping[str, float]


MIXTURE: Mapping[str, float] = {RENDERED: 0.2, "dnit": 0.45, "paveseg": 0.3, "cracksc": 0.05}
"""By default: about as many patches of each as it yields, and drawn ones."""

_REAL: Mapping[str, float] = {"dnit": 0.6, "paveseg": 0.35, "cracksc": 0.05}

LIGHT = ScreenPreset(
    ScreenConfig(),
    TrainingConfig(steps=400, batch=32, side_px=224, learning_rate=4e-4, weight_decay=1e-2, ema_decay=0.98),
    Augmentation(),
    MIXTURE,
)
"""All of MobileNetV2 is trained; meant to start from the encoder of the segmenter."""

MOBILENETV2 = ScreenPreset(
    PUBLISHED_MOBILENETV2,
    TrainingConfig(
        steps=10_000, batch=32, side_px=224, learning_rate=1e-4, weight_decay=0.0, optimiser="adam",
        schedule="plateau", ema_decay=0.0, loss="dice", validation_crops=512, patience=5,
    ),
    MOBILENETV2_AUGMENTATION,
    _REAL,
)  # fmt: skip
"""As published with MobileNetV2; 50 epochs at most, of 200 steps."""

RESNET50 = ScreenPreset(
    PUBLISHED_RESNET50,
    TrainingConfig(
        steps=4000, batch=32, side_px=224, learning_rate=1e-4, weight_decay=1e-4, optimiser="adam",
        ema_decay=0.0, validation_crops=512,
    ),
    RESNET50_AUGMENTATION,
    _REAL,
)  # fmt: skip
"""As published with ResNet-50, but for the schedule: at a constant rate the paper's validation swings. The best
weights on the held-back patches are kept, by loss."""

SCREEN_PRESETS: Mapping[str, ScreenPreset] = {
    "screen-light": LIGHT, "screen-mobilenetv2": MOBILENETV2, "screen-resnet50": RESNET50,
}  # fmt: skip
"""The patch classifiers by name."""


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - Dice of the probabilities (B,) against 0 or 1, over the batch."""
    probability = torch.sigmoid(logits)
    return 1 - (2 * (probability * target).sum() + 1) / (probability.sum() + target.sum() + 1)


def screen_loss(name: str, logits: Tensor, target: Tensor) -> Tensor:
    """The loss called `name` ("" = cross-entropy) of logits (B,) against 0 or 1.

    Cross-entropy over two outputs is the binary one of their difference, which is the net's logit.

    Raises:
        InputError: there is none of this name.
    """
    require(name in ("", *LOSSES), "loss", f"one of {', '.join(LOSSES)}", name)
    return dice_loss(logits, target) if name == "dice" else functional.binary_cross_entropy_with_logits(logits, target)


class ScreenModule(CrackModule):
    """A patch classifier under `screen_loss`."""

    net: ScreenNet

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The loss and the share of right answers of patches, or of their features where the encoder is frozen."""
        if "features" in batch:
            logits = self.net.logits(batch["features"])
        else:
            images = batch["image"].float().contiguous(memory_format=torch.channels_last)
            logits = self.net(images)
        logits, target = logits.float(), batch["cracked"]
        right = ((logits > 0) == (target > 0.5)).float().mean()
        return {"loss": screen_loss(self.config.loss, logits, target), "accuracy": right}


def screen_patches(
    name: str, split: str, data: Path | None, *, patch_px: int, seed: int = 0, per_image: int | None = None
) -> list[Patch | PatchFile]:
    """The patches of one split of a set, as many cracked as not if they are cut from its images.

    Args:
        name: a data set, or `patches:FOLDER` for patches in folders named after their class.
        split: "train", "val" or "test".
        data: the folder of the public sets.
        patch_px: side of a patch cut from an image.
        seed: of the choice.
        per_image: patches cut from an image, at most; None: PER_IMAGE.

    Raises:
        InputError: the set or split is not there, or has patches of one class only.
    """
    if name.startswith(PATCH_FOLDERS):
        parts = split_patches(read_patch_folders(Path(name.removeprefix(PATCH_FOLDERS))), seed)
        require(split in parts, "split", f"one of {', '.join(parts)}", split)
        return list(parts[split])
    number = per_image or PER_IMAGE.get(name, OTHER_PER_IMAGE)
    return list(cut_patches(load_split(name, split, data), side_px=patch_px, per_image=number, seed=seed))


def read_patch(item: Patch | PatchFile, side_px: int) -> Patch:
    """The patch at the size the net sees."""
    if isinstance(item, PatchFile):
        return item.read(side_px)
    if item.image.shape[:2] == (side_px, side_px):
        return item
    method = cv2.INTER_AREA if len(item.image) > side_px else cv2.INTER_LINEAR
    image = np.asarray(cv2.resize(item.image, (side_px, side_px), interpolation=method), np.uint8)
    crack = item.crack
    if crack is not None:
        crack = cv2.resize(crack.astype(np.uint8), (side_px, side_px), interpolation=cv2.INTER_NEAREST) > 0
    return Patch(image, item.cracked, crack, item.origin)


class PatchSource:
    """Draws patches from a mixture of sets; patches cut from images are held in memory, files are read when drawn."""

    def __init__(
        self, data: Path | None, mixture: Mapping[str, float], net: ScreenConfig, *, split: str = "train", seed: int = 0
    ) -> None:
        self.side_px = net.side_px
        self._names = list(mixture)
        self._shares = np.array([mixture[name] for name in self._names], float) / sum(mixture.values())
        self._by_class: dict[tuple[str, bool], list[Patch | PatchFile]] = {}
        self.patches = 0
        for name in self._names:
            if name == RENDERED:
                continue
            found = screen_patches(name, split, data, patch_px=net.patch_px, seed=seed)
            self.patches += len(found)
            for cracked in (False, True):
                self._by_class[name, cracked] = [item for item in found if item.cracked is cracked]

    def draw(self, rng: np.random.Generator, *, cracked: bool) -> NDArray[np.uint8]:
        """One patch, (side, side, 3), with or without a crack."""
        name = self._names[int(rng.choice(len(self._names), p=self._shares))]
        if name == RENDERED:
            return rendered_patch(rng, self.side_px, cracked=cracked)
        items = self._by_class[name, cracked]
        return read_patch(items[int(rng.integers(len(items)))], self.side_px).image


class PatchDataset(Dataset[dict[str, Tensor]]):
    """`length` patches as tensors: image (3, S, S) uint8 and cracked, 0 or 1; every other one is cracked.

    Patch `i` depends on (seed, start + i) alone.
    """

    def __init__(
        self, source: PatchSource, augmentation: Augmentation | None, *, length: int, seed: int, start: int = 0
    ) -> None:
        self._source, self._augmentation = source, augmentation
        self._length, self._seed, self._start = length, seed, start

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        cv2.setNumThreads(0)
        rng = np.random.default_rng((self._seed, self._start + index))
        cracked = bool((self._start + index) % 2)
        image = self._source.draw(rng, cracked=cracked)
        if self._augmentation is not None:
            image = augmented(rng, image, self._augmentation)
        tensor = torch.from_numpy(image).permute(2, 0, 1).contiguous()
        return {"image": tensor, "cracked": torch.tensor(float(cracked))}


def rendered_patch(rng: np.random.Generator, side_px: int, *, cracked: bool) -> NDArray[np.uint8]:
    """A drawn (side, side, 3) patch of road with cracks, or with nothing but what is not a crack."""
    while True:
        image, crack, _ = render_crop(rng, procedural_road(rng, (side_px, side_px)))
        if (crack > 0.4).sum() >= RENDERED_CRACK_PX if cracked else not crack.any():
            return image


def augmented(rng: np.random.Generator, image: NDArray[np.uint8], how: Augmentation) -> NDArray[np.uint8]:
    """The (S, S, 3) patch turned, zoomed, mirrored, and changed in light."""
    side = len(image)
    factor = float(np.exp(rng.uniform(-1, 1) * np.log1p(how.zoom)))
    turn = cv2.getRotationMatrix2D(((side - 1) / 2,) * 2, rng.uniform(-1, 1) * how.rotation_deg, factor)
    picture = cv2.warpAffine(image, turn, (side, side), borderMode=cv2.BORDER_REFLECT_101).astype(np.float32)
    if rng.random() < 0.5:
        picture = picture[:, ::-1]
    if how.flip_vertical and rng.random() < 0.5:
        picture = picture[::-1]
    mean = picture.mean()
    picture = (picture - mean) * (1 + how.contrast * rng.uniform(-1, 1)) + mean
    picture = picture * (1 + how.brightness * rng.uniform(-1, 1))
    picture = picture * (1 + how.colour * rng.uniform(-1, 1, 3)).astype(np.float32)
    if how.blur_jpeg and rng.random() < 0.2:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.0))
    if how.blur_jpeg and rng.random() < 0.2:
        picture = picture + rng.standard_normal((side, side, 1), dtype=np.float32) * rng.uniform(1, 7)
    result = np.ascontiguousarray(np.clip(picture, 0, 255).astype(np.uint8))
    if how.blur_jpeg and rng.random() < 0.2:
        result = through_jpeg(result, quality=int(rng.integers(40, 95)))
    return result


class FeatureDataset(Dataset[dict[str, Tensor]]):
    """`length` samples out of features computed once, round and round."""

    def __init__(self, features: Tensor, cracked: Tensor, *, length: int, start: int = 0) -> None:
        self._features, self._cracked, self._length, self._start = features, cracked, length, start

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        place = (self._start + index) % len(self._features)
        return {"features": self._features[place], "cracked": self._cracked[place]}


def features_of(net: ScreenNet, samples: PatchDataset, *, batch: int) -> tuple[Tensor, Tensor]:
    """(N, width) features of all samples by the net's encoder, and (N,) whether each is cracked."""
    device = choose_device()
    net.to(device).eval()
    features, cracked = [], []
    for first in range(0, len(samples), batch):
        items = [samples[index] for index in range(first, min(first + batch, len(samples)))]
        images = torch.stack([item["image"] for item in items]).to(device)
        with inference(device):
            found = net.features(images.float().contiguous(memory_format=torch.channels_last))
        # A tensor made in inference mode cannot be trained upon; a copy made outside can.
        features.append(found.float().cpu().clone())
        cracked += [item["cracked"] for item in items]
    net.cpu().train()
    return torch.cat(features).clone(), torch.stack(cracked)


def train_screen(
    config: TrainingConfig,
    net_config: ScreenConfig,
    *,
    data: Path | None,
    out: Path,
    mixture: Mapping[str, float] = MIXTURE,
    augmentation: Augmentation | None = None,
    encoder_weights: Path | None = None,
    start: Path | None = None,
    resume: bool = False,
) -> Path:
    """Trains a patch classifier and returns the path of its weights, out/screen.safetensors.

    With a frozen encoder the features of COPIES augmented copies of each patch are computed once.

    Args:
        config: the training run; `side_px` must be the net's.
        net_config: the shape of the net.
        data: the folder of the public sets.
        out: folder of the run.
        mixture: share of each source: sets as `screen_patches` names them, and "rendered". Their "train" is trained
            on; their "val" is scored if `config.validation_crops` > 0.
        augmentation: of the training patches; None: Augmentation().
        encoder_weights: ImageNet weights of the encoder, or weights of another stage with the same encoder.
        start: weights of an earlier training of the same net to start from.
        resume: go on from the last checkpoint in `out`.

    Raises:
        InputError: data that are not there, weights that do not fit, a folder in use, nothing to resume.
    """
    augmentation = augmentation or Augmentation()
    require(config.side_px == net_config.side_px, "side_px", f"that of the net, {net_config.side_px}", config.side_px)
    require(min(mixture.values(), default=0) > 0, "mixture", "shares above 0", dict(mixture))
    screen_loss(config.loss, torch.zeros(1), torch.zeros(1))
    pl.seed_everything(config.seed, verbose=False)
    net = ScreenNet(net_config)
    trained_on = set(mixture)
    if encoder_weights is not None:
        trained_on |= start_encoder(net, encoder_weights)
    if start is not None:
        given = read_weights(start, stage="screen")
        start_from(net, given)
        trained_on |= set(given.trained_on)
    net = net.to(memory_format=torch.channels_last)
    record = {
        "stage": "screen", "net": asdict(net_config), "training": asdict(config), "mixture": dict(mixture),
        "augmentation": asdict(augmentation), "encoder_weights": _file(encoder_weights), "start": _file(start),
    }  # fmt: skip
    fit(screen_task(net, config, data, mixture, augmentation), out, resume=resume,
        record=json.dumps(record, indent=2) + "\n")  # fmt: skip
    path = out / "screen.safetensors"
    save_weights(path, net, stage="screen", net=NET, config=net_config, trained_on=sorted(trained_on))
    return path


def _file(path: Path | None) -> dict[str, str] | None:
    return None if path is None else {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def screen_task(
    net: ScreenNet, config: TrainingConfig, data: Path | None, mixture: Mapping[str, float], augmentation: Augmentation
) -> Task:
    """What `train_screen` has to learn."""
    train = PatchSource(data, mixture, net.config, seed=config.seed)

    def samples(first: int, length: int) -> PatchDataset:
        return PatchDataset(train, augmentation, length=length, seed=config.seed, start=first)

    held: PatchDataset | None = None
    if config.validation_crops:
        real = {name: share for name, share in mixture.items() if name != RENDERED}
        source = PatchSource(data, real, net.config, split="val", seed=config.seed)
        held = PatchDataset(source, None, length=config.validation_crops, seed=config.seed)
    module = ScreenModule(net, config)
    if not net.config.frozen_encoder:
        return Task(module, samples, None if held is None else lambda _: held)
    known = features_of(net, samples(0, COPIES * train.patches), batch=config.batch)
    known_held = None if held is None else features_of(net, held, batch=config.batch)
    return Task(
        module,
        lambda first, length: FeatureDataset(*known, length=length, start=first),
        None if known_held is None else lambda length: FeatureDataset(*known_held, length=length),
    )


def start_encoder(net: ScreenNet, path: Path) -> set[str]:
    """Fills the encoder with ImageNet weights (.pth), or with the encoder of another stage (.safetensors).

    Returns:
        The sets the other stage was trained on, whose licences its weights carry.

    Raises:
        InputError: they do not fit the encoder.
    """
    if path.suffix != ".safetensors":
        load_encoder(net.encoder, path)
        return set()
    mark, weights = "encoder.", read_weights(path)
    given = {key[key.index(mark) + len(mark) :]: value
             for key, value in weights.tensors.items() if mark in key}  # fmt: skip
    fitting = {key: value for key, value in given.items() if key in net.encoder.state_dict()}
    try:
        net.encoder.load_state_dict(fitting)
    except RuntimeError as error:
        raise InputError(f"{path.name}: not the weights of a {net.config.encoder} encoder; "
                         "give those of the same encoder, or ImageNet's") from error  # fmt: skip
    return set(weights.trained_on)
