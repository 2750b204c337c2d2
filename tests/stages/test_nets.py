"""The nets with random weights: shapes, seams, files. No trained weights needed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from crackmap.calibration.errors import DeviceError, WeightsError
from crackmap.stages.detect.detector import Detector
from crackmap.stages.detect.retinanet import RetinaNetConfig, build_retinanet
from crackmap.stages.detect.settings import DetectSettings
from crackmap.stages.records import Region
from crackmap.stages.runtime import choose_device
from crackmap.stages.segment import crackseg
from crackmap.stages.segment.segmenter import Segmenter
from crackmap.stages.segment.settings import SegmentSettings
from crackmap.stages.tiling import ArraySource
from crackmap.stages.weights import read_weights, save_weights

SEAM_TOLERANCE = 4
"""Of 255: what bfloat16 rounding may change in a probability when the window around a pixel changes."""


class LocalMean(torch.nn.Module):
    """A stand-in segmenter with a known receptive field of 9 px: dark surroundings become crack."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        grey = images.mean(dim=1, keepdim=True)
        return 8 - torch.nn.functional.avg_pool2d(grey, 9, stride=1, padding=4, count_include_pad=False) / 8


@pytest.fixture
def picture() -> ArraySource:
    image = np.full((611, 733, 3), 150, np.uint8)
    rng = np.random.default_rng(0)
    image -= rng.integers(0, 40, image.shape[:2], dtype=np.uint8)[..., None]
    image[:, 300:312] = 20
    return ArraySource(image)


def stand_in() -> Segmenter:
    return Segmenter(LocalMean(), torch.device("cpu"))  # type: ignore[arg-type]


@pytest.mark.parametrize("longest_px", [192, 256, 512])
def test_the_mask_does_not_depend_on_the_window_beyond_the_seam_tolerance(
    picture: ArraySource, longest_px: int
) -> None:
    whole = stand_in().segment(picture, None, SegmentSettings()).dense()
    tiled = stand_in().segment(picture, None, SegmentSettings(longest_px=longest_px)).dense()
    assert np.abs(tiled.astype(int) - whole.astype(int)).max() <= SEAM_TOLERANCE


def test_inside_regions_the_mask_is_that_of_the_whole_image_and_empty_elsewhere(picture: ArraySource) -> None:
    whole = stand_in().segment(picture, None, SegmentSettings()).dense()
    region = Region((290.0, 100.0, 320.0, 400.0), 0.9)
    mask = stand_in().segment(picture, [region], SegmentSettings(margin_px=0))
    inside = np.zeros(whole.shape, bool)
    inside[96:416, 288:320] = True
    assert np.abs(mask.dense()[inside].astype(int) - whole[inside].astype(int)).max() <= SEAM_TOLERANCE
    assert not mask.dense()[~inside].any()
    assert mask.segmented_px == inside.sum()


def test_no_region_means_no_work_and_an_empty_mask(picture: ArraySource) -> None:
    mask = stand_in().segment(picture, [], SegmentSettings())
    assert mask.segmented_px == 0 and not mask.blocks


@pytest.mark.parametrize("shape", [(1, 1), (20, 700), (255, 257)])
def test_every_image_shape_is_segmented_at_full_size(shape: tuple[int, int]) -> None:
    source = ArraySource(np.zeros((*shape, 3), np.uint8))
    assert stand_in().segment(source, None, SegmentSettings()).dense().shape == shape


@pytest.mark.parametrize("config", [crackseg.CrackSegConfig(), crackseg.CrackSegConfig(refine_channels=0)])
def test_crackseg_gives_one_logit_a_pixel(config: crackseg.CrackSegConfig) -> None:
    net = crackseg.CrackSeg(config).eval()
    with torch.inference_mode():
        assert net(torch.zeros(2, 3, 64, 96)).shape == (2, 1, 64, 96)


def test_the_published_crackseg_keeps_block4_at_a_sixteenth() -> None:
    net = crackseg.CrackSeg(crackseg.PUBLISHED).eval()
    with torch.inference_mode():
        features = net.encoder(torch.zeros(1, 3, 64, 64))
        assert features[5].shape[-2:] == features[4].shape[-2:] == (4, 4)
        assert net(torch.zeros(1, 3, 64, 64)).shape == (1, 1, 64, 64)


def test_weights_come_back_from_their_file(tmp_path: Path) -> None:
    config = crackseg.CrackSegConfig(decoder_convolutions=1)
    net = crackseg.CrackSeg(config).eval()
    sha256 = save_weights(tmp_path / "w.safetensors", net, stage="segment", net="crackseg", config=config)
    loaded = Segmenter.load(read_weights(tmp_path / "w.safetensors", stage="segment", sha256=sha256), "cpu")
    assert loaded.net.config == config
    for (name, a), b in zip(net.state_dict().items(), loaded.net.state_dict().values(), strict=True):
        assert torch.allclose(a.half().float() if a.is_floating_point() else a, b), name


def test_a_weight_file_of_another_kind_is_refused_with_the_reason(tmp_path: Path) -> None:
    config = RetinaNetConfig()
    path = tmp_path / "detect.safetensors"
    save_weights(path, build_retinanet(config), stage="detect", net="retinanet", config=config)
    with pytest.raises(WeightsError, match="expected weights of the segment stage, got detect"):
        read_weights(path, stage="segment")
    with pytest.raises(WeightsError, match="sha256"):
        read_weights(path, sha256="0" * 64)
    (tmp_path / "bad").write_bytes(b"PK\x03\x04 not weights")
    with pytest.raises(WeightsError, match="not a safetensors file"):
        read_weights(tmp_path / "bad")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_weights(tmp_path / "missing")


def test_the_detector_answers_in_pixels_of_the_image(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = RetinaNetConfig()
    save_weights(tmp_path / "d.safetensors", build_retinanet(config), stage="detect", net="retinanet", config=config)
    detector = Detector.load(read_weights(tmp_path / "d.safetensors"), "cpu")
    detector.net.score_thresh = 0.0
    image = ArraySource(np.random.default_rng(0).integers(0, 255, (300, 500, 3), dtype=np.uint8))
    regions = detector.detect(image, DetectSettings(score=0.05))
    for region in regions:
        x0, y0, x1, y1 = region.box_xyxy_px
        assert 0 <= x0 < x1 <= 500 and 0 <= y0 < y1 <= 300


@pytest.mark.parametrize("name", ["tpu9", "cuda:7"])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(DeviceError, match="device"):
        choose_device(name)


def test_a_detector_sees_an_image_at_its_own_size_in_training_and_in_use() -> None:
    net = build_retinanet(RetinaNetConfig())
    image = torch.zeros(3, 96, 160)
    for trains in (True, False):
        seen, _ = net.train(trains).transform([image])
        assert seen.tensors.shape == (1, 3, 96, 160)


def test_regions_grow_inside_the_image() -> None:
    torch.manual_seed(0)
    detector = Detector(build_retinanet(RetinaNetConfig()).eval(), RetinaNetConfig(), torch.device("cpu"))
    detector.net.score_thresh = 0.0
    torch.nn.init.zeros_(detector.net.head.classification_head.cls_logits.bias)
    source = ArraySource(np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8))
    plain = detector.detect(source, DetectSettings())
    grown = detector.detect(source, DetectSettings(grow_px=5.0))
    assert len(plain) == len(grown) > 0
    for before, after in zip(plain, grown, strict=True):
        x0, y0, x1, y1 = before.box_xyxy_px
        assert after.box_xyxy_px == pytest.approx((max(x0 - 5, 0), max(y0 - 5, 0), min(x1 + 5, 128), min(y1 + 5, 96)))


def test_a_net_sees_the_road_go_on_beyond_the_edge_of_the_image() -> None:
    class LeftNeighbour(torch.nn.Module):
        """Logit: the pixel 8 to the left, 0 where there is none."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.pad(images[:, :1], (8, 0))[..., :-8] - 128

    image = np.full((192, 192, 3), 255, np.uint8)
    segmenter = Segmenter(LeftNeighbour(), torch.device("cpu"))
    assert (segmenter.segment(ArraySource(image), None, SegmentSettings()).dense() == 255).all()
