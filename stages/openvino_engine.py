"""Nets computed by OpenVINO: on processors with bfloat16 about twice as fast as PyTorch.

A graph is translated once and kept, as OpenVINO's own model file, under the hash of its weights; compiled models are
kept beside it by OpenVINO itself. Either may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import sys
import tempfile
import threading
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from crackmap.calibration.files import cache_folder
from crackmap.stages.processors import cpu_count

# Importing OpenVINO counts its use in the home folder, and may report it: without this package it does neither.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402
from openvino.frontend import FrontEndManager  # noqa: E402
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder  # noqa: E402

EXAMPLE_SHAPE = (1, 64, 96, 3)
"""Of the images a graph is traced with; the translated model takes any."""


@cache
def _core() -> openvino.Core:
    return openvino.Core()


def precision() -> str:
    """What the processor computes in: "bf16" where it can, else "f32"."""
    return "bf16" if "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"


class OpenVinoEngine:
    """A compiled net. The threads that call it share its requests, of which each holds memory of its own."""

    def __init__(self, compiled: openvino.CompiledModel, streams: int = 1) -> None:
        self._compiled, self._lock = compiled, threading.Lock()
        # One is computed in each stream, and one waits for it.
        self._not_made = 2 * streams
        self._idle: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()

    @property
    def name(self) -> str:
        """Such as "openvino cpu bf16"."""
        return f"openvino cpu {precision()}"

    def __call__(self, images: NDArray[np.uint8]) -> tuple[NDArray[Any], ...]:
        """What the graph makes of (B, H, W, 3) RGB images."""
        (found,) = self.each([images])
        return found

    def each(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[tuple[NDArray[Any], ...]]:
        """What the graph makes of each batch, in order; as many are computed at a time as there are streams."""
        busy = deque[openvino.InferRequest]()
        try:
            for images in batches:
                # Who has one in work does not wait for another.
                request = self._request(wait=not busy)
                if request is None:
                    yield _finished(busy[0])
                    request = busy.popleft()
                busy.append(request)
                request.start_async([np.ascontiguousarray(images)], share_inputs=True)
            while busy:
                yield _finished(busy[0])
                self._idle.put(busy.popleft())
        finally:
            # Of a caller that stopped in the middle.
            for request in busy:
                request.wait()
                self._idle.put(request)

    def _request(self, *, wait: bool) -> openvino.InferRequest | None:
        """A request that nobody uses; None if there is none and it is not waited for."""
        with contextlib.suppress(queue.Empty):
            return self._idle.get_nowait()
        with self._lock:
            if self._not_made:
                self._not_made -= 1
                return self._compiled.create_infer_request()
        return self._idle.get() if wait else None


def _finished(request: openvino.InferRequest) -> tuple[NDArray[Any], ...]:
    request.wait()
    return tuple(np.array(tensor.data) for tensor in request.output_tensors)


@cache
def _first_inference() -> None:
    """Lets the bindings finish starting: where two threads make their first inference at once, one holds Python's lock
    and waits for the other, which waits for the lock, for ever.
    """
    numbers = openvino.opset13.parameter([1], np.float32)
    model = openvino.Model([openvino.opset13.relu(numbers)], [numbers], "first")
    request = _core().compile_model(model, "CPU").create_infer_request()
    request.start_async([np.zeros(1, np.float32)], share_inputs=True)
    _finished(request)


def openvino_engine(graph: nn.Module, *, key: str = "", streams: int = 1) -> OpenVinoEngine:
    """The engine of a graph, see `crackmap.stages.runtime.choose_engine`."""
    _first_inference()
    streams = min(streams, cpu_count())
    settings = {
        "INFERENCE_PRECISION_HINT": precision(),
        "INFERENCE_NUM_THREADS": cpu_count(),
        "NUM_STREAMS": streams,
        # Decoders and measuring threads need the processors, too.
        "ENABLE_CPU_PINNING": False,
        # Windows have some hundred shapes, and each layer is prepared for each of them. With OpenVINO's 5000 the first
        # are forgotten before they come back, which takes half of the time.
        "CPU_RUNTIME_CACHE_CAPACITY": 50_000,
    }
    if not key:
        return OpenVinoEngine(_core().compile_model(_translated(graph), "CPU", settings), streams)
    # The printed graph and its code tell a net that was built in another way from the same weights.
    parts = (key, str(graph), openvino.__version__, version("crackmap"), _code_of(graph))
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
    folder = cache_folder() / "openvino"
    kept = folder / f"{digest}.xml"
    try:
        if not kept.exists():
            _keep(_translated(graph), kept)
        return OpenVinoEngine(_core().compile_model(kept, "CPU", {**settings, "CACHE_DIR": str(folder)}), streams)
    except (OSError, RuntimeError):
        # A folder that cannot be written, or a file in it that was damaged: the net itself is at hand.
        return OpenVinoEngine(_core().compile_model(_translated(graph), "CPU", settings), streams)


def _code_of(graph: nn.Module) -> str:
    """Hash of the modules of crackmap that define a graph and the nets in it."""
    names = sorted({type(part).__module__ for part in graph.modules() if type(part).__module__.startswith("crackmap.")})
    paths = (getattr(sys.modules[name], "__file__", None) for name in names)
    return hashlib.sha256(b"".join(Path(path).read_bytes() for path in paths if path)).hexdigest()


def _translated(graph: nn.Module) -> openvino.Model:
    # Not openvino.convert_model: it reports its use to the vendor.
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        decoder = TorchScriptPythonDecoder(graph, example_input=torch.zeros(EXAMPLE_SHAPE, dtype=torch.uint8))
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
    model.reshape({model.inputs[0]: openvino.PartialShape([-1, -1, -1, 3])})
    return model


def _keep(model: openvino.Model, path: Path) -> None:
    """Writes a model so that another process finds it whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as work:
        new = Path(work) / path.name
        openvino.save_model(model, new, compress_to_fp16=False)
        # The weights first: the .xml is what is looked for.
        new.with_suffix(".bin").replace(path.with_suffix(".bin"))
        new.replace(path)
