"""The screen stage: the nets with random weights, windows that are left, heat, scores. No trained weights needed."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from crackmap.calibration.errors import InputError, WeightsError
from crackmap.stages.datasets.patch_source import Augmentation, augmented
from crackmap.stages.detect.detector import Detector
from crackmap.stages.detect.retinanet import RetinaNetConfig, build_retinanet
from crackmap.stages.explain import detector_heat, grad_cam, heat_share_on_crack, raw_heat
from crackmap.stages.metrics_classes import roc_points, score_classes
from crackmap.stages.presets import PRESETS
from crackmap.stages.screen.classifier import PUBLISHED_MOBILENETV2, PUBLISHED_RESNET50, ScreenConfig, ScreenNet
from crackmap.stages.screen.patches import even_patches, windows_to_detect
from crackmap.stages.screen.screener import NET, Screener
from crackmap.stages.tiling import ArraySource, Window
from crackmap.stages.training.loop import TrainingConfig
from crackmap.stages.training.run import TrainingRun, from_json, train
from crackmap.stages.training.screen import dice_loss, screen_loss, screen_task
from crackmap.stages.training.start import start_encoder
from crackmap.stages.weights import read_weights, save_weights, shipped_weights


def test_both_published_nets_give_one_logit_a_patch() -> None:
    for config in (PUBLISHED_MOBILENETV2, PUBLISHED_RESNET50):
        net = ScreenNet(config).eval()
        with torch.inference_mode():
            assert net(torch.zeros(2, 3, 64, 64)).shape == (2,)


def test_the_logit_of_two_outputs_has_the_probability_of_their_softmax() -> None:
    torch.manual_seed(0)
    net = ScreenNet(ScreenConfig(head="softmax", pool="mean")).eval()
    features = torch.randn(5, net.head.in_features)
    expected = torch.softmax(net.head(features), dim=1)[:, 1]
    assert torch.allclose(torch.sigmoid(net.logits(features)), expected, atol=1e-6)


def test_a_frozen_encoder_learns_nothing_and_keeps_its_statistics() -> None:
    net = ScreenNet(PUBLISHED_MOBILENETV2).train()
    assert [name for name, value in net.named_parameters() if value.requires_grad] == ["head.weight", "head.bias"]
    before = {name: value.clone() for name, value in net.encoder.named_buffers()}
    net(torch.rand(2, 3, 64, 64) * 255)
    assert all(torch.equal(value, before[name]) for name, value in net.encoder.named_buffers())


def test_the_last_blocks_are_those_of_the_papers() -> None:
    mobilenet, resnet = ScreenNet(PUBLISHED_MOBILENETV2), ScreenNet(PUBLISHED_RESNET50)
    assert mobilenet.last_block is mobilenet.encoder.features[-1]
    assert resnet.last_block is resnet.encoder.layer4
    assert resnet.sharp_block is resnet.encoder.layer3


@pytest.mark.parametrize(("field", "value"), [("encoder", "vgg"), ("head", "x"), ("pool", "sum"), ("scale", 0.0)])
def test_a_wrong_setting_is_named(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        replace(ScreenConfig(), **{field: value})  # type: ignore[arg-type]


def test_patches_cover_the_image_and_keep_their_side() -> None:
    for size in ((1024, 630), (224, 224), (225, 1000)):
        covered = np.zeros(size[::-1], bool)
        for patch in even_patches(size, patch_px=224):
            assert (patch.width, patch.height) == (224, 224)
            assert patch.x1 <= size[0] and patch.y1 <= size[1]
            covered[patch.y0 : patch.y1, patch.x0 : patch.x1] = True
        assert covered.all()
    assert even_patches((100, 300), patch_px=224) == [Window(0, 0, 100, 224), Window(0, 76, 100, 224)]


def test_tiles_shrink_to_their_cracked_patches_and_vanish_without() -> None:
    tiles = [Window(0, 0, 1000, 1000), Window(900, 0, 1000, 1000)]
    patches = [Window(0, 0, 200, 200), Window(400, 600, 200, 200), Window(700, 600, 150, 200)]

    def left(*cracked: bool) -> list[Window]:
        return windows_to_detect(tiles, patches, np.array(cracked), margin_px=50)

    assert left(False, False, False) == []
    assert left(True, False, False) == [Window(0, 0, 250, 250)]
    assert left(False, True, True) == [Window(350, 550, 550, 300)]
    assert windows_to_detect(tiles, [Window(850, 0, 200, 200)], np.array([True]), margin_px=10) == [
        Window(840, 0, 160, 210), Window(900, 0, 160, 210),
    ]  # fmt: skip


class Darkness(nn.Module):
    """A stand-in classifier: dark patches are cracked."""

    config = ScreenConfig()

    def forward(self, images: Tensor) -> Tensor:
        return (100 - images.mean(dim=(1, 2, 3))) / 5


def test_scores_belong_to_their_patches_whatever_the_batch() -> None:
    image = np.full((300, 500, 3), 200, np.uint8)
    image[:, 250:] = 20
    screener = Screener(Darkness(), torch.device("cpu"))  # type: ignore[arg-type]
    patches = screener.patches((500, 300))
    scores = screener.scores(ArraySource(image), patches, batch=4)
    middles = np.array([patch.x0 + patch.width / 2 for patch in patches])
    assert (scores[middles < 200] < 0.01).all() and (scores[middles > 320] > 0.99).all()
    assert np.allclose(scores, screener.scores(ArraySource(image), patches, batch=1), atol=1e-3)
    assert screener.scores(ArraySource(image), []).shape == (0,)


def test_an_image_smaller_than_a_patch_is_mirrored_on() -> None:
    screener = Screener(Darkness(), torch.device("cpu"))  # type: ignore[arg-type]
    seen = screener.seen(np.arange(50 * 60 * 3, dtype=np.uint8).reshape(50, 60, 3))
    assert seen.shape == (224, 224, 3)
    assert np.array_equal(seen[50], seen[49]) and np.array_equal(seen[:, 60], seen[:, 59])


def test_weights_come_back_and_other_nets_are_refused(tmp_path: Path) -> None:
    net = ScreenNet(ScreenConfig())
    save_weights(tmp_path / "s.safetensors", net, stage="screen", net=NET, config=net.config)
    assert Screener.load(read_weights(tmp_path / "s.safetensors", stage="screen"), "cpu").net.config == net.config
    save_weights(tmp_path / "o.safetensors", net, stage="screen", net="other", config=net.config)
    with pytest.raises(WeightsError, match="expected a screen net"):
        Screener.load(read_weights(tmp_path / "o.safetensors"), "cpu")


class Bright(nn.Module):
    """Two channels at half size: how bright, how dark; the answer is brightness alone."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Conv2d(3, 2, 2, stride=2)
        nn.init.constant_(self.maps.weight[0], 1 / 12)
        nn.init.constant_(self.maps.weight[1], -1 / 12)
        nn.init.zeros_(self.maps.bias)

    def forward(self, images: Tensor) -> Tensor:
        # In place, as activations of real nets are.
        return torch.relu_(self.maps(images)[:, 0]).sum(dim=(1, 2))


def test_heat_lies_where_the_answer_comes_from() -> None:
    image = np.zeros((16, 24, 3), np.uint8)
    image[4:8, 12:20] = 200
    net = Bright()
    heat = grad_cam(net, net.maps, image)
    assert heat.shape == (16, 24) and heat.max() == 1
    assert np.unravel_index(heat.argmax(), heat.shape)[0] in range(4, 8)
    assert heat[:, :10].max() == 0 and heat[10:].max() == 0
    assert grad_cam(net, net.maps, np.zeros_like(image)).max() == 0


def test_local_heat_adds_up_to_the_score_of_a_linear_answer() -> None:
    net, image = Bright(), np.zeros((16, 24, 3), np.uint8)
    image[4:8, 12:20] = 120
    # Resizing by 2 keeps the sum times 4.
    score = float(net(torch.from_numpy(image).permute(2, 0, 1)[None].float()).detach())
    assert raw_heat(net, net.maps, image, local=True).sum() == pytest.approx(4 * score, rel=1e-4)


def test_heat_needs_no_gradient_of_the_encoder() -> None:
    torch.manual_seed(0)
    net = ScreenNet(PUBLISHED_MOBILENETV2).eval()
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    assert grad_cam(net, net.last_block, image).shape == (64, 64)


def test_the_heat_of_the_detector_has_the_size_of_the_picture() -> None:
    torch.manual_seed(0)
    detector = Detector(build_retinanet(RetinaNetConfig()).eval(), RetinaNetConfig(), torch.device("cpu"))
    heat = detector_heat(detector, np.random.default_rng(0).integers(0, 255, (130, 210, 3), dtype=np.uint8))
    assert heat.shape == (130, 210) and heat.min() >= 0 and np.isfinite(heat).all()


def test_the_heat_lies_on_the_line_in_a_picture_of_odd_size() -> None:
    detector = Detector.load(shipped_weights("detect"), "cpu")
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(110 + rng.normal(0, 8, (582, 700)).astype(np.float32), (0, 0), 0.7)
    columns = np.arange(40, 660)
    rows = 494 + np.round(4 * np.sin(columns / 15)).astype(int)
    for shift in (-1, 0, 1):
        image[rows + shift, columns] -= 60
    heat = detector_heat(detector, np.repeat(np.clip(image, 0, 255).astype(np.uint8)[..., None], 3, axis=2))
    assert abs(int(heat.sum(axis=1).argmax()) - 494) < 16


def test_share_of_heat_and_its_ratio_to_chance() -> None:
    crack = np.zeros((10, 10), bool)
    crack[:2] = True
    assert heat_share_on_crack(np.ones((10, 10), np.float32), crack) == pytest.approx((0.2, 1.0))
    assert heat_share_on_crack(crack.astype(np.float32), crack) == pytest.approx((1.0, 5.0))
    assert heat_share_on_crack(np.zeros((10, 10), np.float32), crack) == (0.0, 0.0)
    with pytest.raises(InputError, match="crack"):
        heat_share_on_crack(np.ones((10, 10), np.float32), np.zeros((10, 10), bool))


def test_scores_of_a_small_set_by_hand() -> None:
    positive = np.array([True, True, False, True, False])
    scores = score_classes(np.array([0.9, 0.8, 0.7, 0.4, 0.1]), positive)
    counts = (scores.true_positive, scores.false_positive, scores.false_negative, scores.true_negative)
    assert counts == (2, 1, 1, 1)
    assert (scores.accuracy, scores.precision, scores.recall) == pytest.approx((3 / 5, 2 / 3, 2 / 3))
    assert scores.f1 == pytest.approx(2 / 3)
    # Of 6 pairs 5 are in order.
    assert scores.auc == pytest.approx(5 / 6)


def test_auc_is_the_chance_of_the_right_order_with_ties_half() -> None:
    rng = np.random.default_rng(0)
    probabilities, positive = rng.integers(0, 12, 200) / 11, rng.random(200) < 0.4
    a, b = probabilities[positive][:, None], probabilities[~positive][None]
    assert score_classes(probabilities, positive).auc == pytest.approx((a > b).mean() + (a == b).mean() / 2)
    roc = roc_points(probabilities, positive)
    assert len(roc) == 13 and roc[0].tolist() == [0, 0] and roc[-1].tolist() == [1, 1]
    assert (np.diff(roc, axis=0) >= 0).all()


def test_one_class_alone_has_no_roc() -> None:
    with pytest.raises(InputError, match="positive items"):
        score_classes(np.array([0.1, 0.2]), np.array([True, True]))


def test_dice_loss_is_0_for_sure_right_answers_and_1_for_wrong_ones() -> None:
    target = torch.tensor([1.0, 0.0] * 200)
    sure = 40 * (2 * target - 1)
    assert float(dice_loss(sure, target)) == pytest.approx(0, abs=1e-3)
    assert float(dice_loss(-sure, target)) == pytest.approx(1, abs=5e-3)
    with pytest.raises(InputError, match="loss"):
        screen_loss("hinge", sure, target)


def test_without_change_augmentation_only_mirrors() -> None:
    image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    still = Augmentation(False, 0.0, 0.0, 0.0, 0.0, 0.0, False)
    results = {augmented(np.random.default_rng(seed), image, still).tobytes() for seed in range(12)}
    assert results == {image.tobytes(), np.ascontiguousarray(image[:, ::-1]).tobytes()}


def class_folders(folder: Path) -> Mapping[str, float]:
    """Sixty tiny patches: dark lines and none."""
    rng = np.random.default_rng(0)
    for number in range(60):
        image = rng.integers(120, 180, (32, 32, 3), dtype=np.uint8)
        if number % 2:
            image[:, 10:16] = 10
        path = folder / ("Positive" if number % 2 else "Negative") / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return {f"patches:{folder}": 1.0}


SMALL_RUN = TrainingConfig(steps=2, batch=4, side_px=32, ema_decay=0.0, workers=0, validation_crops=4)


@pytest.mark.parametrize("frozen", [False, True])
def test_training_on_class_folders_writes_weights_and_its_record(tmp_path: Path, frozen: bool) -> None:
    mixture = class_folders(tmp_path / "patches")
    net = ScreenConfig(side_px=32, frozen_encoder=frozen)
    start = tmp_path / "start.safetensors"
    save_weights(start, ScreenNet(net), stage="screen", net=NET, config=net, trained_on=["dnit"])
    run = TrainingRun(net, SMALL_RUN, mixture, start=start, augmentation=Augmentation(zoom=0.1))
    path = train(run, data=None, out=tmp_path / "out")
    weights = read_weights(path, stage="screen")
    assert Screener.load(weights, "cpu").net.config == net
    assert weights.trained_on == ("dnit", *mixture)
    assert from_json(tmp_path / "out" / "training.json") == run


def test_a_sample_depends_on_its_number_and_the_seed_alone(tmp_path: Path) -> None:
    mixture = {**class_folders(tmp_path), "rendered": 0.5}
    task = screen_task(ScreenNet(ScreenConfig(side_px=32)), replace(SMALL_RUN, validation_crops=0), None, mixture,
                       Augmentation())  # fmt: skip
    whole, part = task.samples(0, 8), task.samples(4, 4)
    for index in range(4):
        assert torch.equal(whole[4 + index]["image"], part[index]["image"])
    assert [float(whole[index]["cracked"]) for index in range(4)] == [0, 1, 0, 1]


def test_the_encoder_starts_from_that_of_another_stage(tmp_path: Path) -> None:
    torch.manual_seed(0)
    detector = build_retinanet(RetinaNetConfig())
    path = tmp_path / "d.safetensors"
    save_weights(path, detector, stage="detect", net="retinanet", config=RetinaNetConfig(), trained_on=["dnit"])
    net = ScreenNet(ScreenConfig())
    assert start_encoder(net.encoder, path) == {"dnit"}
    given = detector.backbone.encoder.state_dict()["features.0.0.weight"]
    assert torch.allclose(net.encoder.state_dict()["features.0.0.weight"], given, atol=1e-3)
    with pytest.raises(InputError, match="same encoder"):
        start_encoder(ScreenNet(PUBLISHED_RESNET50).encoder, path)


def test_the_published_presets_keep_the_published_recipe() -> None:
    mobilenet, resnet = PRESETS["screen-mobilenetv2"], PRESETS["screen-resnet50"]
    assert mobilenet.net.frozen_encoder and mobilenet.training.loss == "dice"
    assert (mobilenet.training.optimiser, mobilenet.training.learning_rate) == ("adam", 1e-4)
    assert mobilenet.augmentation.rotation_deg == 20 and resnet.augmentation.rotation_deg == 10
    assert (resnet.net.head, resnet.training.weight_decay, resnet.training.batch) == ("softmax", 1e-4, 32)
