from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from crackmap.calibration.errors import InputError
from crackmap.stages.datasets.sources import Labels
from crackmap.stages.segment.calibrate import fit_calibration, fit_classes, logit_counts
from crackmap.stages.segment.crackseg import CrackSeg, CrackSegConfig
from crackmap.stages.segment.segmenter import Segmenter
from crackmap.stages.training.calibrate import calibrate_weights
from crackmap.stages.weights import read_weights, save_weights


class DarkIsCrack(torch.nn.Module):
    """Logit 4 on black pixels, -4 on white ones, linear between."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 4 - images.mean(dim=1, keepdim=True) * (8 / 255)


def stand_in() -> Segmenter:
    return Segmenter(DarkIsCrack(), torch.device("cpu"))  # type: ignore[arg-type]


def labelled(grey: np.ndarray, crack: np.ndarray) -> Labels:
    return Labels(np.repeat(grey[..., None], 3, axis=2), crack, np.ones(crack.shape, np.float32))


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (0.4, -1.5), (2.5, 0.7)])
def test_the_fit_finds_the_line_that_made_the_labels(scale: float, offset: float) -> None:
    logit = np.linspace(-6, 6, 2001)
    share = 1 / (1 + np.exp(-(scale * logit + offset)))
    fitted = fit_calibration(logit, share)
    assert (fitted.scale, fitted.offset) == (pytest.approx(scale, rel=1e-5), pytest.approx(offset, abs=1e-5))


def test_the_mean_probability_is_the_share_of_crack() -> None:
    rng = np.random.default_rng(0)
    label = rng.random(5000) < 0.03
    logit = rng.normal(0, 2, 5000) + 3 * label
    weight = rng.uniform(0.1, 1, 5000)
    probability = fit_calibration(logit, label, weight)(logit)
    assert weight @ probability == pytest.approx(weight @ label, rel=1e-6)


def test_one_class_alone_and_inverted_logits_are_refused() -> None:
    with pytest.raises(InputError, match="both classes"):
        fit_calibration(np.zeros(4), np.zeros(4))
    with pytest.raises(InputError, match="contrary"):
        fit_calibration(np.array([-1.0, -2.0, 1.0, 2.0, -1.0, 1.0]), np.array([1, 1, 0, 0, 0, 1]))


def test_within_the_tolerance_a_shifted_label_takes_the_nets_line_for_its_own() -> None:
    grey = np.full((64, 64), 255, np.uint8)
    grey[30] = 0
    crack = np.zeros((64, 64), bool)
    crack[32] = True
    strict = logit_counts(stand_in(), [labelled(grey, crack)], tolerance_px=0)["crack"]
    tolerant = logit_counts(stand_in(), [labelled(grey, crack)], tolerance_px=2)["crack"]
    black = strict.sum(axis=1) > 0
    assert strict[black].tolist() == [[64 * 62, 64], [64, 0]]
    # Four rows beside the label are left out; the label's own row sees the dark one two rows away.
    assert tolerant[black].tolist() == [[64 * 59, 0], [0, 64]]


def test_each_set_counts_the_same_whatever_its_size() -> None:
    rng = np.random.default_rng(1)
    small, large = (rng.random((641, 2)) * (5, 1) for _ in range(2))
    small[:, 1] *= np.linspace(0, 1, 641)
    large[:, 1] *= np.linspace(0, 1, 641)
    once = fit_classes([{"crack": small}, {"crack": large}])["crack"]
    often = fit_classes([{"crack": small}, {"crack": 100 * large}])["crack"]
    assert once == pytest.approx(often)


def test_calibrated_weights_carry_their_line_and_the_segmenter_applies_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = CrackSegConfig(decoder_convolutions=1)
    save_weights(tmp_path / "raw.safetensors", CrackSeg(config), stage="segment", net="crackseg", config=config)
    raw = Segmenter.load(read_weights(tmp_path / "raw.safetensors"), "cpu")
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 255, (96, 96), dtype=np.uint8)
    with torch.inference_mode():
        batch = torch.from_numpy(grey)[None, None].expand(1, 3, -1, -1).float()
        logits = raw.net(batch)[0, 0].numpy()
    crack = logits + rng.normal(0, logits.std(), logits.shape) > np.quantile(logits, 0.9)
    folder = tmp_path / "set"
    for name, array in (("images", grey), ("masks", crack.astype(np.uint8) * 255)):
        (folder / name).mkdir(parents=True)
        cv2.imwrite(str(folder / name / "one.png"), array)
    fitted = calibrate_weights(
        tmp_path / "raw.safetensors", sets=[f"pairs:{folder}"], split="all", data=None, tolerance_px=0,
        device="cpu", out=tmp_path / "calibrated.safetensors",
    )  # fmt: skip
    loaded = Segmenter.load(read_weights(tmp_path / "calibrated.safetensors"), "cpu")
    assert dict(loaded.calibration) == fitted
    scale, offset = fitted["crack"]
    stated = 1 / (1 + np.exp(-(scale * logits + offset)))
    assert stated.mean() == pytest.approx(crack.mean(), abs=0.01)


def test_the_scale_alone_can_be_fitted() -> None:
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 4, 20_000)
    label = rng.random(20_000) < 1 / (1 + np.exp(-0.5 * logit))
    fitted = fit_calibration(logit, label, keep_decision=True)
    assert fitted.offset == 0 and fitted.scale == pytest.approx(0.5, abs=0.02)
