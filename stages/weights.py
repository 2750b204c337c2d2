"""Weight files: safetensors with the net's configuration inside, and a pinned hash for those that ship."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from textwrap import shorten
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from crackmap.calibration.errors import WeightsError
from crackmap.calibration.files import is_no_file

FORMAT = "crackmap-weights-1"

STRANGE = (SafetensorError, LookupError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError)
"""What reading a file that others made, and building the net it describes, can end with."""

Config = TypeVar("Config")
Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Weights:
    """The content of a weight file.

    Attributes:
        stage: "detect", "segment" or "screen".
        net: name of the architecture.
        config: fields of the net's configuration.
        tensors: state dictionary, float32.
        sha256: hash of the file.
        name: file name.
        calibration: class -> scale and offset of its logits, so that probabilities are what they say.
        trained_on: the data sets, with which the licence of the weights goes.
    """

    stage: str
    net: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    sha256: str
    name: str
    calibration: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    trained_on: tuple[str, ...] = ()


def save_weights(
    path: Path,
    module: nn.Module,
    *,
    stage: str,
    net: str,
    config: object,
    calibration: Mapping[str, tuple[float, float]] | None = None,
    trained_on: Sequence[str] = (),
) -> str:
    """Writes the module's weights and returns the file's sha256; arguments as in Weights.

    They are written in half precision, but for tensors with values too large for it.

    Raises:
        WeightsError: values that are not finite: the training diverged.
    """
    tensors = {key: _small(value).contiguous().cpu() for key, value in module.state_dict().items()}
    _check_finite(path.name, tensors, calibration or {})
    header = {
        "format": FORMAT,
        "stage": stage,
        "net": net,
        "config": json.dumps(asdict(config)),  # type: ignore[call-overload]
        "calibration": json.dumps(dict(calibration or {})),
        "trained_on": json.dumps(list(trained_on)),
    }
    content = save_safetensors(tensors, metadata=header)
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _small(tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    return half if torch.isfinite(half).all() else tensor.float()


def read_weights(path: Path, *, stage: str | None = None, sha256: str | None = None) -> Weights:
    """Reads a weight file, after checking its hash if one is pinned.

    Raises:
        WeightsError: missing, damaged, of another hash, not written by crackmap, of another stage, or with values that
            are not finite.
    """
    if is_no_file(path):
        raise WeightsError(f"weights {path}: not a file; check the path")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"weights {path}: cannot be read ({error.strerror}); check the path") from error
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise WeightsError(f"weights {path.name}: expected sha256 {sha256[:12]}…, got {found[:12]}…: "
                           "the file is damaged or was replaced; install the package again")  # fmt: skip
    with _as_weights_error(path.name, "not a safetensors file"):
        tensors = {key: value.float() if value.is_floating_point() else value
                   for key, value in load_safetensors(content).items()}  # fmt: skip
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__") or {}
    if header.get("format") != FORMAT:
        raise WeightsError(f"weights {path.name}: expected format {FORMAT!r} in its header, got "
                           f"{header.get('format')!r}; give a file that `crackmap train` wrote")  # fmt: skip
    with _as_weights_error(path.name, "a damaged header"):
        weights = _with_header(header, tensors, found, path.name)
    if stage is not None and weights.stage != stage:
        raise WeightsError(f"weights {path.name}: expected weights of the {stage} stage, got {weights.stage}; "
                           f"did you mean --{weights.stage}-weights?")  # fmt: skip
    _check_finite(path.name, tensors, weights.calibration)
    return weights


def _with_header(header: Mapping[str, str], tensors: Mapping[str, Tensor], sha256: str, name: str) -> Weights:
    """The content of a file; raises whatever a wrong header makes of it."""
    config, trained_on = json.loads(header["config"]), json.loads(header.get("trained_on", "[]"))
    if not isinstance(config, dict) or not isinstance(trained_on, list):
        raise TypeError("expected a table as config and a list as trained_on")
    if not all(isinstance(item, str) for item in trained_on):
        raise TypeError("expected names of sets in trained_on")
    calibration = {key: (float(scale), float(offset))
                   for key, (scale, offset) in json.loads(header.get("calibration", "{}")).items()}  # fmt: skip
    return Weights(header["stage"], header["net"], config, tensors, sha256, name, calibration, tuple(trained_on))


@contextmanager
def _as_weights_error(name: str, fault: str) -> Iterator[None]:
    """Turns what the content of a strange file can raise into the error that names the file and the remedy."""
    try:
        yield
    except STRANGE as error:
        reason = shorten(f"no {error}" if isinstance(error, KeyError) else str(error), 300)
        raise WeightsError(f"weights {name}: {fault} ({reason}); give a file that `crackmap train` wrote "
                           "with this version") from error  # fmt: skip


def _check_finite(name: str, tensors: Mapping[str, Tensor], calibration: Mapping[str, tuple[float, float]]) -> None:
    wrong = [key for key, value in tensors.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if wrong:
        raise WeightsError(f"weights {name}: {len(wrong)} of {len(tensors)} tensors hold values that are not finite, "
                           f"first {wrong[0]!r}; train again with a lower --rate")  # fmt: skip
    for key, (scale, offset) in calibration.items():
        if not (0 < scale < math.inf and math.isfinite(offset)):
            raise WeightsError(f"weights {name}: expected a calibration of {key!r} with a scale above 0 and a finite "
                               f"offset, got {scale} and {offset}; calibrate the trained weights again")  # fmt: skip


def net_from(
    weights: Weights, configure: Callable[[Mapping[str, Any]], Config], build: Callable[[Config], Net]
) -> tuple[Config, Net]:
    """The configuration and the net of a weight file, filled.

    Args:
        weights: of a file.
        configure: makes the configuration from its fields.
        build: makes the net from it.

    Raises:
        WeightsError: the configuration is none of this version, no net can be built from it, or the tensors do not fit.
    """
    with _as_weights_error(weights.name, f"no {weights.net} of this version"):
        config = configure({key: nested_tuples(value) for key, value in weights.config.items()})
        net = build(config)
    load_into(net, weights)
    return config, net


def load_into(module: nn.Module, weights: Weights) -> None:
    """Fills a net with weights.

    Raises:
        WeightsError: they do not fit the net.
    """
    try:
        module.load_state_dict(dict(weights.tensors))
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise WeightsError(f"weights {weights.name}: do not fit the net they name ({first})") from error


def shipped_weights(stage: str) -> Weights:
    """The weights that come with the package, hash checked.

    Raises:
        WeightsError: missing or changed.
    """
    folder = Path(str(files("crackmap.stages"))) / "shipped"
    try:
        pins = json.loads((folder / "pins.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError("the weights that come with crackmap are missing; install the package again") from error
    return read_weights(folder / pins[stage]["file"], stage=stage, sha256=pins[stage]["sha256"])


def nested_tuples(value: Any) -> Any:
    """JSON lists as the tuples that frozen configurations hold."""
    return tuple(nested_tuples(item) for item in value) if isinstance(value, list) else value
