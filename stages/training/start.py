"""What a training starts from: ImageNet weights, the encoder of another stage, or an earlier training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten

import torch
from torch import Tensor, nn

from crackmap.calibration.errors import InputError, require
from crackmap.stages.weights import Weights, read_weights

REMEDY = "give ImageNet weights (a plain state dictionary of PyTorch), or weights that crackmap wrote as .safetensors"


UNKNOWN = "unknown"
"""Among the sets that weights have learnt from: those of a file that does not say. They are never shipped."""


def origin(weights: Weights) -> set[str]:
    """The sets that weights have learnt from, whose licences they carry."""
    return set(weights.trained_on) or {UNKNOWN}


def start_encoder(encoder: nn.Module, path: Path) -> set[str]:
    """Fills an encoder with ImageNet weights (.pth), or with the same encoder of any stage (.safetensors).

    Returns:
        The sets the other stage was trained on, whose licences its weights carry.

    Raises:
        InputError: they cannot be read, or do not fit the encoder.
        WeightsError: a .safetensors file that crackmap did not write.
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
    return origin(weights)


def load_encoder(encoder: nn.Module, path: Path) -> None:
    """Loads ImageNet weights into an encoder; classifier weights in the file are ignored.

    Raises:
        InputError: the file is not a plain weight file, or does not fit the encoder.
    """
    own, state = encoder.state_dict(), _state_of(path)
    fitting = {key: value for key, value in state.items() if key in own}
    missing = [key for key in own if key not in fitting and not key.endswith("num_batches_tracked")]
    if missing:
        raise InputError(f"{path.name}: lacks {len(missing)} tensors of the encoder, first {missing[0]!r}; "
                         "give weights of the same architecture")  # fmt: skip
    try:
        nn.Module.load_state_dict(encoder, fitting, strict=False)
    except RuntimeError as error:
        raise InputError(f"{path.name}: its tensors do not fit the encoder ({error}); give weights of the same "
                         "architecture") from error  # fmt: skip


def _state_of(path: Path) -> Mapping[str, Tensor]:
    """The finite tensors of a state dictionary."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except Exception as error:
        # On bytes that are no pickle the unpickler fails in whatever way they lead to.
        raise InputError(f"{path.name}: cannot be read as encoder weights; {REMEDY}") from error
    require(isinstance(state, Mapping), path.name, f"a table of tensors; {REMEDY}", type(state).__name__)
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    wrong = [key for key, value in tensors.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    require(not wrong, path.name, "finite values; get the file again", wrong[:1])
    return tensors


def start_from(net: nn.Module, weights: Weights) -> None:
    """Fills a net with the weights of an earlier training of the same net, or of one that told fewer classes apart.

    Raises:
        InputError: they do not fit.
    """
    own, given = net.state_dict(), dict(weights.tensors)
    for key, value in given.items():
        # Logits of further classes stand behind those of the first ones.
        place = own.get(key)
        if place is not None and value.ndim and place.ndim == value.ndim and place.shape[1:] == value.shape[1:]:
            given[key] = torch.cat([value, place[len(value) :]])
    try:
        net.load_state_dict(given)
    except RuntimeError as error:
        raise InputError(f"{weights.name}: weights of another net cannot be started from "
                         f"({shorten(str(error), 300)}); give weights of the same net") from error  # fmt: skip
