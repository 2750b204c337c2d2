"""What a training starts from: ImageNet weights, the encoder of another stage, or an earlier training."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from crackmap.calibration.errors import InputError
from crackmap.stages.weights import Weights, read_weights


def start_encoder(encoder: nn.Module, path: Path) -> set[str]:
    """Fills an encoder with ImageNet weights (.pth), or with the same encoder of any stage (.safetensors).

    Returns:
        The sets the other stage was trained on, whose licences its weights carry.

    Raises:
        InputError: they cannot be read, or do not fit the encoder.
    """
    if path.suffix != ".safetensors":
        load_encoder(encoder, path)
        return set()
    mark, weights = "encoder.", read_weights(path)
    given = {key[key.index(mark) + len(mark) :]: value for key, value in weights.tensors.items() if mark in key}
    try:
        encoder.load_state_dict({key: value for key, value in given.items() if key in encoder.state_dict()})
    except RuntimeError as error:
        raise InputError(f"{path.name}: its encoder is another one; give weights with the same encoder, "
                         "or ImageNet's") from error  # fmt: skip
    return set(weights.trained_on)


def load_encoder(encoder: nn.Module, path: Path) -> None:
    """Loads ImageNet weights into an encoder; classifier weights in the file are ignored.

    Raises:
        InputError: the file is not a plain weight file, or does not fit the encoder.
    """
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        own = encoder.state_dict()
        fitting = {key: value for key, value in state.items() if key in own}
        missing = [key for key in own if key not in fitting and not key.endswith("num_batches_tracked")]
        if missing:
            raise InputError(f"{path.name}: lacks {len(missing)} tensors of the encoder, first {missing[0]!r}; "
                             "give weights of the same architecture")  # fmt: skip
        nn.Module.load_state_dict(encoder, fitting, strict=False)
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path.name}: cannot be read as encoder weights ({error})") from error


def start_from(net: nn.Module, weights: Weights) -> None:
    """Fills a net with the weights of an earlier training of the same net, or of one that told fewer classes apart.

    Raises:
        InputError: they do not fit.
    """
    own, given = net.state_dict(), dict(weights.tensors)
    for key, value in given.items():
        # Logits of further classes stand behind those of the first ones.
        if key in own and value.ndim and own[key].shape[1:] == value.shape[1:] and len(own[key]) > len(value):
            given[key] = torch.cat([value, own[key][len(value) :]])
    try:
        net.load_state_dict(given)
    except RuntimeError as error:
        raise InputError(f"{weights.name}: weights of another net cannot be started from ({error})") from error
