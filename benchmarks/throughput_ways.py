"""One way from image files to results, measured in a process of its own; started by benchmarks/throughput.py."""

from __future__ import annotations

import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from crackmap.pipeline.frame import Stages, StageSettings, find_mask
from crackmap.pipeline.images import open_image
from crackmap.pipeline.nets import load_stages
from crackmap.pipeline.run import RunOptions, RunSettings, run_survey
from crackmap.pipeline.survey import Survey, read_survey
from crackmap.stages.datasets.sources import load_split
from crackmap.stages.metrics import Counts, count_pixels
from crackmap.stages.processors import cpu_count
from crackmap.stages.runtime import Engine
from crackmap.stages.tiling import ArraySource, PixelSource

WAYS = ("two stages", "everything", "stock")

TOLERANCE_PX = 5

FLOP_SIDE_PX = 256


def main(way: str, survey_path: str, preset: str, engine: str, data: str, frames: str) -> None:
    """Prints what was measured as JSON."""
    survey = read_survey(Path(survey_path), survey=preset or None)
    limited = survey.measurable[: int(frames)] if int(frames) else survey.measurable
    images = [ArraySource(open_image(frame.path).read_all()) for frame in limited]
    mpx = sum(image.size_wh_px[0] * image.size_wh_px[1] for image in images) / 1e6
    found: dict[str, Any] = {"mpx": mpx, "frames": len(images)}
    if way == "stock":
        found |= stock(images)
    else:
        found |= ours(survey, [frame.path for frame in limited], images, way, engine, Path(data) if data else None)
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("RESULT " + json.dumps(found))


@dataclass
class Counting:
    """An engine that counts what it is given."""

    engine: Engine
    pixels: int = 0
    calls: int = 0

    @property
    def name(self) -> str:
        return self.engine.name

    def __call__(self, images: NDArray[np.uint8]) -> tuple[NDArray[Any], ...]:
        (found,) = self.each([images])
        return found

    def each(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[tuple[NDArray[Any], ...]]:
        return self.engine.each(map(self._counted, batches))

    def _counted(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.pixels += images.shape[0] * images.shape[1] * images.shape[2]
        self.calls += len(images)
        return images


def ours(
    survey: Survey, paths: Sequence[Path], images: Sequence[PixelSource], way: str, engine: str, data: Path | None
) -> dict[str, Any]:
    """The nets alone on pictures in memory, then everything from files to products."""
    settings = StageSettings(segment_everything=way == "everything")
    workers = cpu_count()
    stages = load_stages(settings, engine=engine, streams=workers)
    stages, counters = counted(stages)
    with ThreadPoolExecutor(workers) as pool:
        # The first time an engine sees a shape it prepares for it.
        masks = list(pool.map(lambda image: find_mask(image, stages), images))
        for counter in counters.values():
            counter.pixels = counter.calls = 0
        start = time.perf_counter()
        list(pool.map(lambda image: find_mask(image, stages), images))
        nets_s = time.perf_counter() - start
    net_px = {name: counter.pixels for name, counter in counters.items()}
    calls = {name: counter.calls for name, counter in counters.items()}
    flop = sum(net_px[name] * flop_per_px(stages, name) for name in net_px)
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        summary = run_survey(survey, Path(out), stages, RunSettings(settings), options=RunOptions(workers=workers))
        wall_s = time.perf_counter() - start
    return {
        "engine": stages.engine, "nets_s": nets_s, "net_px": net_px, "windows": calls, "flop": flop, "wall_s": wall_s,
        "frames_s": summary.wall_s["frames"], "products_s": summary.wall_s["products"], "seconds": summary.seconds,
        "length_px": sum(crack.length_px for crack in summary.result.cracks), "cracks": len(summary.result.cracks),
        "share": float(np.mean([found.mask.segmented_share for found in masks])),
        "f1": f1([found.mask.dense() > 127 for found in masks], paths, data),
    }  # fmt: skip


def counted(stages: Stages) -> tuple[Stages, dict[str, Counting]]:
    """The stages with engines that count."""
    counters: dict[str, Counting] = {}
    changed: dict[str, Any] = {}
    for name in ("detector", "segmenter"):
        net = getattr(stages, name)
        if net is not None and net.engine is not None:
            counters[name] = Counting(net.engine)
            changed[name] = replace(net, engine=counters[name])
    return replace(stages, **changed), counters


def flop_per_px(stages: Stages, name: str) -> float:
    """Floating-point operations that a net does for a pixel it sees."""
    from crackmap.stages.detect.retinanet import DetectGraph
    from crackmap.stages.segment.segmenter import SegmentGraph

    net = getattr(stages, name).net
    graph = DetectGraph(net) if name == "detector" else SegmentGraph(net, stages.segmenter.classes, {})
    pixels = torch.zeros((1, FLOP_SIDE_PX, FLOP_SIDE_PX, 3), dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        graph(pixels)
    return float(counter.get_total_flops()) / FLOP_SIDE_PX**2


def f1(masks: Sequence[NDArray[np.bool_]], paths: Sequence[Path], data: Path | None) -> float:
    """F1 of crack pixels with 5 px tolerance, against labels of DNIT or the masks of a drawn survey."""
    labelled = {image.image_path.name: image for image in load_split("dnit", "test", data)} if data else {}
    total = np.zeros(4, np.int64)
    for mask, path in zip(masks, paths, strict=True):
        if data:
            true = labelled[path.name].read().crack
        else:
            coverage = cv2.imread(str(path.parents[1] / "masks" / f"{path.stem}.png"), cv2.IMREAD_GRAYSCALE)
            true = np.asarray(coverage) > 127
        counts = count_pixels(mask, true, tolerance_px=TOLERANCE_PX)
        total += (counts.right, counts.predicted, counts.found, counts.true)
    return Counts(*total.tolist()).f1


def stock(images: Sequence[PixelSource]) -> dict[str, Any]:
    """torchvision's RetinaNet over sahi's slices, then DeepLabV3+ over the whole image, in float32, as examples do.

    With random weights: it is the time that is compared. No box passes the threshold, which spares it their merging.
    """
    import segmentation_models_pytorch as smp
    from sahi.models.torchvision import TorchVisionDetectionModel
    from sahi.predict import get_sliced_prediction
    from torchvision.models.detection import retinanet_resnet50_fpn

    detector = TorchVisionDetectionModel(
        model=retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=2), device="cpu",
        confidence_threshold=0.5, category_mapping={"0": "road", "1": "crack"},
    )  # fmt: skip
    segmenter = smp.DeepLabV3Plus("resnet50", encoder_weights=None, classes=1).eval()

    def one(image: PixelSource) -> None:
        pixels = image.read(0, 0, *image.size_wh_px)
        with torch.inference_mode():
            get_sliced_prediction(pixels, detector, slice_height=512, slice_width=512, overlap_height_ratio=0.2,
                                  overlap_width_ratio=0.2, verbose=0)  # fmt: skip
            height, width = (side // 16 * 16 for side in pixels.shape[:2])
            tensor = torch.from_numpy(pixels[:height, :width].copy()).permute(2, 0, 1)[None].float() / 255
            torch.sigmoid(segmenter(tensor)).gt(0.5)

    one(images[0])
    start = time.perf_counter()
    for image in images:
        one(image)
    wall_s = time.perf_counter() - start
    return {"wall_s": wall_s, "nets_s": wall_s}


def machine(images: Sequence[Path]) -> dict[str, float]:
    """Matrix products in bfloat16 and float32, GFLOP/s, and JPEG decoding on one processor, Mpx/s."""
    found = {}
    for name, dtype in (("bf16", torch.bfloat16), ("f32", torch.float32)):
        a = torch.randn(2048, 2048).to(dtype)
        seconds = median_of(lambda a=a: a @ a)
        found[f"{name}_gflops"] = 2 * 2048**3 / seconds / 1e9
    content = [path.read_bytes() for path in images]
    sizes = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape for data in content]
    cv2.setNumThreads(1)
    start = time.perf_counter()
    for data in content:
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    found["jpeg_mpx_s"] = sum(h * w for h, w, _ in sizes) / 1e6 / (time.perf_counter() - start)
    return found


def median_of(work: Callable[[], Any], repeats: int = 7) -> float:
    """Median seconds."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    main(*sys.argv[1:])
