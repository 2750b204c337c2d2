"""What computes the nets: PyTorch and OpenVINO give the same, whatever the shape, from as many threads as call."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from crackmap.calibration.errors import DeviceError
from crackmap.pipeline.frame import StageSettings
from crackmap.pipeline.nets import load_stages
from crackmap.stages.detect.boxes import best_boxes
from crackmap.stages.detect.detector import Detector
from crackmap.stages.detect.retinanet import DetectGraph, RetinaNetConfig, build_retinanet, padded_to_32
from crackmap.stages.detect.settings import DetectSettings
from crackmap.stages.runtime import TorchEngine, choose_engine, with_norms_folded
from crackmap.stages.segment.segmenter import Segmenter
from crackmap.stages.segment.settings import SegmentSettings
from crackmap.stages.tiling import ArraySource
from crackmap.stages.weights import shipped_weights

CPU = torch.device("cpu")


class Brightness(torch.nn.Module):
    """Two results: the mean of each image, and its darkest value."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values = images.float().flatten(1)
        return values.mean(dim=1), values.min(dim=1).values


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CRACKMAP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def drawn_road(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = rng.integers(110, 150, (height, width, 1), dtype=np.uint8).repeat(3, axis=2)
    at = (height / 2 + 30 * np.sin(np.arange(width) / 60)).astype(int)
    for offset in range(4):
        image[np.clip(at + offset, 0, height - 1), np.arange(width)] = 45
    return image


def test_an_engine_on_several_devices_gives_each_thread_one_and_the_same_results() -> None:
    engine = TorchEngine(Brightness(), CPU, CPU, CPU)
    images = np.random.default_rng(1).integers(0, 256, (20, 1, 8, 8, 3), dtype=np.uint8)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(engine, images))
    for image, (mean, least) in zip(images, found, strict=True):
        assert mean[0] == pytest.approx(image.mean(), rel=1e-2)
        assert least[0] == image.min()


def test_an_engine_that_is_not_there_is_named() -> None:
    with pytest.raises(DeviceError, match="engine: expected one of auto, pytorch, openvino"):
        choose_engine(Brightness(), CPU, "tensorrt")
    with pytest.raises(DeviceError, match="computes on the CPU"):
        choose_engine(Brightness(), torch.device("cuda"), "openvino")


def test_without_openvino_pytorch_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crackmap.stages.runtime.find_spec", lambda name: None)
    assert choose_engine(Brightness(), CPU).name.startswith("pytorch cpu")
    with pytest.raises(DeviceError, match="pip install openvino"):
        choose_engine(Brightness(), CPU, "openvino")


def test_openvino_and_pytorch_give_the_same_probabilities_on_every_shape() -> None:
    pytest.importorskip("openvino")
    weights = shipped_weights("segment")
    fast = Segmenter.load(weights, "cpu", engine="openvino")
    slow = Segmenter.load(weights, "cpu", engine="pytorch")
    assert fast.engine is not None and fast.engine.name.startswith("openvino")
    for height, width in ((96, 160), (300, 200), (257, 640)):
        source = ArraySource(drawn_road(height, width))
        masks = [net.segment(source, None, SegmentSettings()).dense().astype(int) for net in (fast, slow)]
        # Both round to bfloat16, in another order.
        assert np.abs(masks[0] - masks[1]).mean() < 1.0
        assert np.mean((masks[0] > 127) != (masks[1] > 127)) < 2e-3


def test_a_net_is_translated_once_and_a_damaged_file_of_it_is_made_anew(own_cache: Path) -> None:
    pytest.importorskip("openvino")
    source = ArraySource(drawn_road(128, 128))

    def mask() -> np.ndarray:
        return Segmenter.load(shipped_weights("segment"), "cpu", engine="openvino").segment(
            source, None, SegmentSettings()
        ).dense()  # fmt: skip

    first = mask()
    (kept,) = own_cache.rglob("*.xml")
    written = kept.stat().st_mtime_ns
    assert np.array_equal(mask(), first)
    assert kept.stat().st_mtime_ns == written
    kept.write_bytes(kept.read_bytes()[:1000])
    assert np.array_equal(mask(), first)


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CRACKMAP_CACHE", str(tmp_path / "file" / "below"))
    assert Segmenter.load(shipped_weights("segment"), "cpu", engine="openvino").engine is not None


def test_threads_of_one_engine_do_not_disturb_each_other() -> None:
    pytest.importorskip("openvino")
    segmenter = Segmenter.load(shipped_weights("segment"), "cpu", engine="openvino", streams=2)
    sources = [ArraySource(drawn_road(160, 200 + 32 * (seed % 3), seed)) for seed in range(8)]

    def mask(source: ArraySource) -> np.ndarray:
        return segmenter.segment(source, None, SegmentSettings()).dense()

    with ThreadPoolExecutor(4) as pool:
        for together, source in zip(pool.map(mask, sources), sources, strict=True):
            assert np.array_equal(together, mask(source))


def test_the_name_of_the_engine_is_kept_with_the_run() -> None:
    stages = load_stages(StageSettings(), device="cpu", engine="pytorch")
    assert stages.engine.startswith("pytorch cpu")


WIDE = RetinaNetConfig(scale=1.0, wide_stem=True, head_levels=1, channels=48, norm="batch", smallest_anchor_px=24)


@pytest.mark.parametrize("config", [RetinaNetConfig(), WIDE], ids=["three levels", "wide stem, one level"])
@pytest.mark.parametrize("size_wh", [(160, 96), (211, 130)])
def test_boxes_are_those_of_torchvision_where_each_place_has_one(
    config: RetinaNetConfig, size_wh: tuple[int, int]
) -> None:
    torch.manual_seed(3)
    net = build_retinanet(config).eval()
    with torch.no_grad():
        net.head.classification_head.cls_logits.bias.fill_(0.0)
    net.topk_candidates = net.detections_per_img = 100_000
    image = np.random.default_rng(0).integers(0, 256, (size_wh[1], size_wh[0], 3), dtype=np.uint8)
    with torch.inference_mode():
        ours = DetectGraph(net)(torch.from_numpy(padded_to_32(image))[None])
        theirs = net([torch.from_numpy(image).permute(2, 0, 1).float() / 255])[0]
    boxes, scores = best_boxes(net, size_wh, *(part.numpy() for part in ours))
    crack = theirs["labels"] == 1
    expected = {tuple(np.round(box, 1)): score for box, score in zip(theirs["boxes"][crack].numpy(),
                theirs["scores"][crack].numpy(), strict=True)}  # fmt: skip
    assert len(boxes)
    # The best box of the image is nobody's second choice.
    best = boxes[scores.argmax()]
    near = [score for box, score in expected.items() if np.abs(np.array(box) - best).max() < 0.6]
    assert near and max(near) == pytest.approx(scores.max(), abs=2e-3)
    assert (boxes >= 0).all() and (boxes[:, 2:] <= size_wh).all()


def test_a_wide_stem_starts_as_the_net_on_an_image_of_half_the_size() -> None:
    torch.manual_seed(0)
    plain, wide = build_retinanet(RetinaNetConfig()), build_retinanet(RetinaNetConfig(wide_stem=True))
    wide.backbone.encoder.load_state_dict(plain.backbone.encoder.state_dict())
    image = torch.rand(1, 3, 128, 192)
    half = torch.nn.functional.avg_pool2d(image, 2)
    with torch.inference_mode():
        small = plain.eval().backbone.encoder(half)[2][..., 2:-2, 2:-2]
        large = wide.eval().backbone.encoder(image)[2][..., 2:-2, 2:-2]
    assert torch.allclose(small, large, atol=1e-4)


def test_where_much_is_cracked_every_place_has_its_box() -> None:
    net = build_retinanet(WIDE).eval()
    with torch.no_grad():
        net.head.classification_head.cls_logits.bias.fill_(2.0)
        net.head.classification_head.cls_logits.weight.zero_()
    regions = Detector(net, WIDE, CPU).detect(ArraySource(drawn_road(960, 1200)), DetectSettings())
    # More than torchvision's thousand.
    assert len(regions) > 1500


def test_folded_norms_change_nothing_and_leave_the_net_as_it_was() -> None:
    torch.manual_seed(1)
    net = build_retinanet(WIDE).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    graph = DetectGraph(net)
    folded = with_norms_folded(graph)
    image = torch.from_numpy(drawn_road(64, 96))[None]
    with torch.inference_mode():
        for before, after in zip(graph(image), folded(image), strict=True):
            assert torch.allclose(before, after, atol=1e-4)
    counts = [sum(isinstance(part, torch.nn.BatchNorm2d) for part in whole.modules()) for whole in (graph, folded)]
    assert counts[0] > 0 and counts[1] == 0
