"""Weight files: safetensors with the net's configuration inside, and a pinned hash for those that ship."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from crackmap.calibration.errors import WeightsError

FORMAT = "crackmap-weights-1"


@dataclass(frozen=True, slots=True)
class Weights:
    """The content of a weight file.

    Attributes:
        stage: "detect" or "segment".
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
    """Writes the module's weights in half precision and returns the file's sha256; arguments as in Weights."""
    tensors = {
        key: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for key, value in module.state_dict().items()
    }
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


def read_weights(path: Path, *, stage: str | None = None, sha256: str | None = None) -> Weights:
    """Reads a weight file, after checking its hash if one is pinned.

    Raises:
        WeightsError: missing, damaged, of another hash, not written by crackmap, or of another stage.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"weights {path}: cannot be read ({error.strerror}); check the path") from error
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise WeightsError(f"weights {path.name}: expected sha256 {sha256[:12]}…, got {found[:12]}…: "
                           "the file is damaged or was replaced; install the package again")  # fmt: skip
    try:
        tensors = {key: value.float() if value.is_floating_point() else value
                   for key, value in load_safetensors(content).items()}  # fmt: skip
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})
    except (SafetensorError, ValueError) as error:
        raise WeightsError(f"weights {path.name}: not a safetensors file ({error}); give a file that "
                           "`crackmap train` wrote") from error  # fmt: skip
    if header.get("format") != FORMAT:
        raise WeightsError(f"weights {path.name}: expected format {FORMAT!r} in its header, got "
                           f"{header.get('format')!r}; give a file that `crackmap train` wrote")  # fmt: skip
    if stage is not None and header["stage"] != stage:
        raise WeightsError(f"weights {path.name}: expected weights of the {stage} stage, got {header['stage']}; "
                           f"did you mean --{header['stage']}-weights?")  # fmt: skip
    calibration = {name: (float(scale), float(offset))
                   for name, (scale, offset) in json.loads(header.get("calibration", "{}")).items()}  # fmt: skip
    trained_on = tuple(json.loads(header.get("trained_on", "[]")))
    return Weights(
        header["stage"], header["net"], json.loads(header["config"]), tensors, found, path.name, calibration, trained_on
    )


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
