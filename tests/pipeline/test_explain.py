"""Screening in the pipeline, heat pictures and the scores of the classifier, with stand-in nets."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from crackmap.calibration.errors import InputError, WeightsError
from crackmap.cli.main import cli
from crackmap.pipeline.evaluating.screen import evaluate_screen, screen_report, screen_table
from crackmap.pipeline.explain import screen_images, screener_picture_heat, tinted_patches
from crackmap.pipeline.frame import Stages, StageSettings, process_image
from crackmap.pipeline.nets import load_stages, weights_of
from crackmap.stages.detect.detector import Detector
from crackmap.stages.detect.settings import DetectSettings
from crackmap.stages.records import Region
from crackmap.stages.screen import screener as screener_module
from crackmap.stages.screen.classifier import ScreenConfig
from crackmap.stages.screen.screener import Screener
from crackmap.stages.screen.settings import ScreenSettings
from crackmap.stages.segment.segmenter import Segmenter
from crackmap.stages.tiling import ArraySource, PixelSource, Window


class DarkIsCrack(nn.Module):
    """A segmenter of one layer: what is much darker than the road is crack."""

    def forward(self, images: Tensor) -> Tensor:
        return (90 - images.mean(dim=1, keepdim=True)) / 4


class DarkPatches(nn.Module):
    """A classifier with one feature map: patches with dark pixels are cracked."""

    config = ScreenConfig()

    def __init__(self) -> None:
        super().__init__()
        self.last_block = self.sharp_block = nn.Conv2d(3, 1, 8, stride=8)
        nn.init.constant_(self.last_block.weight, -1 / 192)
        nn.init.constant_(self.last_block.bias, 140.0)

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(self.last_block(images)).amax(dim=(1, 2, 3)) - 10


class WatchedDetector:
    """Proposes each window it is shown as one region, and remembers them."""

    def __init__(self) -> None:
        self.seen: list[Window] = []

    def tiles(self, size_wh_px: tuple[int, int], settings: DetectSettings) -> list[Window]:
        return Detector.tiles(self, size_wh_px, settings)  # type: ignore[arg-type]

    def detect(
        self, source: PixelSource, settings: DetectSettings, within: list[Window] | None = None
    ) -> tuple[Region, ...]:
        self.seen = self.tiles(source.size_wh_px, settings) if within is None else within
        return tuple(Region((float(w.x0), float(w.y0), float(w.x1), float(w.y1)), 0.9) for w in self.seen)


def dark_screener() -> Screener:
    return Screener(DarkPatches().eval(), torch.device("cpu"))  # type: ignore[arg-type]


def stages(screen: ScreenSettings | None) -> Stages:
    segmenter = Segmenter(DarkIsCrack(), torch.device("cpu"))  # type: ignore[arg-type]
    screener = dark_screener() if screen else None
    return Stages(WatchedDetector(), segmenter, StageSettings(screen=screen), {}, screener)  # type: ignore[arg-type]


def road(*, crack: bool) -> ArraySource:
    """1344 x 896 of even road; with `crack` a dark line in the patch in the third column, second row."""
    image = np.full((896, 1344, 3), 160, np.uint8)
    if crack:
        image[300:308, 480:640] = 20
    return ArraySource(image)


def test_screening_leaves_the_detector_the_cracked_patches_and_changes_no_crack() -> None:
    screened, plain = stages(ScreenSettings(margin_px=32)), stages(None)
    result, expected = (process_image(road(crack=True), item, ground=None) for item in (screened, plain))
    assert screened.detector.seen == [Window(416, 192, 288, 288)]  # type: ignore[union-attr]
    assert plain.detector.seen == [Window(0, 0, 1344, 896)]  # type: ignore[union-attr]
    assert [crack.length_px for crack in result.cracks] == [crack.length_px for crack in expected.cracks]
    assert len(result.cracks) == 1
    assert "screen" in result.seconds and "screen" not in expected.seconds


def test_road_without_cracks_is_neither_detected_nor_segmented() -> None:
    screened = stages(ScreenSettings())
    result = process_image(road(crack=False), screened, ground=None)
    assert screened.detector.seen == [] and result.mask.segmented_px == 0  # type: ignore[union-attr]


def test_screening_without_weights_names_the_remedy() -> None:
    with pytest.raises(WeightsError, match="crackmap train screen"):
        weights_of("screen", None)
    with pytest.raises(WeightsError, match="--screen-weights"):
        load_stages(StageSettings(screen=ScreenSettings()), device="cpu")


def test_screening_without_a_detector_is_refused() -> None:
    with pytest.raises(InputError, match="segment-everything"):
        StageSettings(screen=ScreenSettings(), segment_everything=True)


@pytest.fixture
def stand_in_classifier(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file that passes for the weights of DarkPatches."""
    monkeypatch.setattr("crackmap.pipeline.nets.read_weights", lambda path, stage: None)
    monkeypatch.setattr(screener_module.Screener, "load", classmethod(lambda cls, weights, device: dark_screener()))
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"")
    return path


def write(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", image[..., ::-1])[1].tobytes())
    return path


def test_screen_reports_each_patch_and_the_image_as_its_worst(tmp_path: Path, stand_in_classifier: Path) -> None:
    photo = write(tmp_path / "in" / "a.png", road(crack=True).image)
    (tmp_path / "in" / "b.png").write_bytes(b"no picture")
    reports, failed = screen_images([photo, tmp_path / "in" / "b.png"], settings=ScreenSettings(),
                                    weights=stand_in_classifier, device="cpu", out=tmp_path / "out")  # fmt: skip
    (report,) = reports
    cracked = [patch["box_xyxy_px"] for patch in report["patches"] if patch["probability"] > 0.5]
    assert cracked == [[448, 224, 672, 448]]
    assert report["probability"] == max(patch["probability"] for patch in report["patches"]) > 0.99
    assert report["cracked_patches"] == 1 and len(report["patches"]) == 24
    assert len(failed) == 1 and "b.png" in failed[0]
    assert (tmp_path / "out" / "a_patches.jpg").stat().st_size > 1000


def test_the_command_line_screens_and_explains(tmp_path: Path, stand_in_classifier: Path) -> None:
    photo = write(tmp_path / "in" / "a.png", road(crack=True).image)
    given = ["--screen-weights", str(stand_in_classifier), "--device", "cpu"]
    done = CliRunner().invoke(cli, ["screen", str(photo), "--json", *given])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)[0]["cracked_patches"] == 1
    done = CliRunner().invoke(cli, ["explain", str(photo), "-o", str(tmp_path / "heat"), "--what", "screen", *given])
    assert done.exit_code == 0, done.output
    picture = cv2.imread(str(tmp_path / "heat" / "a_heat_screen.jpg"))
    assert picture.shape == (896, 2 * 1344, 3)
    wrong = CliRunner().invoke(cli, ["explain", str(photo), "-o", str(tmp_path), *given])
    assert wrong.exit_code == 2 and "--what detect takes --detect-weights" in wrong.output


def test_heat_over_a_picture_lies_on_its_crack() -> None:
    heat = screener_picture_heat(dark_screener(), road(crack=True))
    assert heat.shape == (896, 1344) and heat.max() == pytest.approx(1, abs=0.01)
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    assert 292 <= y < 316 and 472 <= x < 648
    assert heat[:224].max() < 0.01


def test_only_patches_from_the_threshold_on_are_tinted() -> None:
    image = np.full((100, 200, 3), 100, np.uint8)
    windows = [Window(0, 0, 100, 100), Window(100, 0, 100, 100)]
    tinted = tinted_patches(image, windows, np.array([0.1, 0.9]), threshold=0.5)
    assert (tinted[50, 50] == 100).all()
    assert tinted[50, 150, 0] > 150 and tinted[50, 150, 1] < 80


def test_scores_over_class_folders_and_their_pictures(tmp_path: Path) -> None:
    for number in range(40):
        image = np.full((64, 64, 3), 160, np.uint8)
        if number % 2:
            image[24:40] = 20
        write(tmp_path / "set" / ("Positive" if number % 2 else "Negative") / f"{number:02}.png", image)
    found = evaluate_screen(dark_screener(), data_sets=[f"patches:{tmp_path / 'set'}"], split="test", data=None,
                            pictures=tmp_path / "pictures")  # fmt: skip
    assert (found.scores.true_positive, found.scores.true_negative) == (2, 2)
    assert found.scores.auc == 1 and found.heat == {}
    assert screen_report(found)["f1"] == 1 and "AUC" in screen_table(found)
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {"confusion.png", "roc.png", "right.png"}


def test_heat_scores_need_the_crack_pixels_of_a_set(tmp_path: Path) -> None:
    image = np.full((480, 480, 3), 160, np.uint8)
    image[100:108, 20:220] = 20
    mask = np.where(image < 90, 255, 0).astype(np.uint8)
    for number in range(2):
        write(tmp_path / "cracksc" / "images" / f"{number}.png", image)
        write(tmp_path / "cracksc" / "masks" / f"{number}.png", mask)
    (tmp_path / "cracksc" / "split.csv").write_text("image,split\n0,test\n1,test\n")
    found = evaluate_screen(dark_screener(), data_sets=["cracksc"], split="test", data=tmp_path)
    assert found.scores.f1 == 1
    assert found.heat["last"].share > 0.95 and found.heat["sharp"].ratio > 3
