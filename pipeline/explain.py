"""Where the nets look: patches of an image with their probability, and heat over the picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.pipeline.nets import weights_of
from crackmap.pipeline.single import output_path, readable_images, refuse_same_names, write_file
from crackmap.stages.detect.detector import Detector
from crackmap.stages.detect.settings import DetectSettings
from crackmap.stages.explain import Heat, detector_heat, grad_cam, normalised
from crackmap.stages.screen.screener import Screener
from crackmap.stages.screen.settings import ScreenSettings
from crackmap.stages.tiling import ArraySource, Window

Rgb = NDArray[np.uint8]
What = Literal["detect", "screen"]

HEAT_SHARE = 0.55
"""How strongly the hottest place covers the picture."""

HEAT_BLUR_PX = 12.0
"""The detector's finest features lie 16 px apart, and each sees a good deal more."""

TINT_RGB = (230, 40, 60)
TINT_SHARE = 0.45


def screen_images(
    paths: Sequence[Path], *, settings: ScreenSettings, weights: Path | None, device: str, out: Path | None
) -> tuple[list[dict[str, Any]], list[str]]:
    """Probability of a crack in each image and each of its patches, and the reasons why images were skipped.

    An image's probability is that of its most suspicious patch. Pictures with tinted patches go to `out` if given.

    Raises:
        InputError: two pictures to be written to `out` would have the same name.
        WeightsError: no weights, or unfit ones.
    """
    if out is not None:
        refuse_same_names(paths)
    screener = Screener.load(weights_of("screen", weights), device)
    reports: list[dict[str, Any]] = []
    failed: list[str] = []
    for path, source in readable_images(paths, failed):
        windows = screener.patches(source.size_wh_px)
        scores = screener.scores(source, windows, batch=settings.batch)
        patches = [
            {"box_xyxy_px": [w.x0, w.y0, w.x1, w.y1], "probability": round(float(score), 4)}
            for w, score in zip(windows, scores, strict=True)
        ]
        reports.append({
            "image": str(path), "probability": round(float(scores.max()), 4), "threshold": settings.threshold,
            "cracked_patches": int((scores >= settings.threshold).sum()), "patches": patches,
        })  # fmt: skip
        if out is not None:
            tinted = tinted_patches(source.image, windows, scores, threshold=settings.threshold)
            write_file(output_path(out, path, "_patches.jpg"), _jpeg(tinted))
    return reports, failed


def tinted_patches(image: Rgb, windows: Sequence[Window], scores: NDArray[np.float64], *, threshold: float) -> Rgb:
    """A copy of the image: patches from `threshold` on red, the more the likelier; each with its probability in %."""
    strength = np.zeros(image.shape[:2], np.float32)
    for window, score in zip(windows, scores, strict=True):
        part = strength[window.y0 : window.y1, window.x0 : window.x1]
        np.maximum(part, score if score >= threshold else 0.0, out=part)
    share = (TINT_SHARE * strength)[..., None]
    canvas = np.asarray(image * (1 - share) + np.array(TINT_RGB) * share, np.uint8)
    for window, score in zip(windows, scores, strict=True):
        cv2.rectangle(canvas, (window.x0, window.y0), (window.x1 - 1, window.y1 - 1), (255, 255, 255), 1)
        corner = (window.x0 + 5, window.y0 + 20)
        for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            cv2.putText(canvas, f"{100 * score:.0f}", corner, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, width, cv2.LINE_AA)
    return canvas


def explain_images(
    paths: Sequence[Path], *, what: What, weights: Path | None, device: str, out: Path
) -> tuple[list[Path], list[str]]:
    """Writes each image beside its heat map, STEM_heat_WHAT.jpg; the files, and why images were skipped.

    Args:
        paths: the images.
        what: "detect": what speaks for the best scores of the detector; "screen": for cracks, by the classifier.
        weights: of that stage; None: those that come with crackmap.
        device: where to compute.
        out: folder of the pictures.

    Raises:
        InputError: two pictures would have the same name.
        WeightsError: no weights, or unfit ones.
        StorageError: a picture cannot be written.
    """
    refuse_same_names(paths)
    given = weights_of(what, weights)
    net = Detector.load(given, device) if what == "detect" else Screener.load(given, device)
    written: list[Path] = []
    failed: list[str] = []
    for path, source in readable_images(paths, failed):
        heat = detector_picture_heat(net, source) if isinstance(net, Detector) else screener_picture_heat(net, source)
        target = output_path(out, path, f"_heat_{what}.jpg")
        write_file(target, _jpeg(beside_heat(source.image, heat)))
        written.append(target)
    return written, failed


def detector_picture_heat(detector: Detector, source: ArraySource) -> Heat:
    """(H, W) heat of the detector over all tiles of a picture, 0 to 1; where tiles overlap the stronger."""
    heat = np.zeros(source.image.shape[:2], np.float32)
    for tile in detector.tiles(source.size_wh_px, DetectSettings()):
        part = heat[tile.y0 : tile.y1, tile.x0 : tile.x1]
        np.maximum(part, detector_heat(detector, source.read(tile.x0, tile.y0, tile.width, tile.height)), out=part)
    return normalised(np.asarray(cv2.GaussianBlur(heat, (0, 0), HEAT_BLUR_PX), np.float32))


def screener_picture_heat(screener: Screener, source: ArraySource) -> Heat:
    """(H, W) heat of the classifier over all patches of a picture, each scaled by its probability, 0 to 1."""
    heat = np.zeros(source.image.shape[:2], np.float32)
    windows = screener.patches(source.size_wh_px)
    scores = screener.scores(source, windows)
    for window, score in zip(windows, scores, strict=True):
        seen = screener.seen(source.read(window.x0, window.y0, window.width, window.height))
        patch_px = screener.net.config.patch_px
        found = cv2.resize(grad_cam(screener.net, screener.net.sharp_block, seen), (patch_px, patch_px))
        part = heat[window.y0 : window.y1, window.x0 : window.x1]
        np.maximum(part, found[: window.height, : window.width] * np.float32(score), out=part)
    return heat


def beside_heat(image: Rgb, heat: Heat) -> Rgb:
    """The image, and beside it the image under its heat (H, W), 0 to 1."""
    return np.hstack([image, under_heat(image, heat)])


def under_heat(image: Rgb, heat: Heat) -> Rgb:
    """The image in grey under a colour map of the heat."""
    colour = cv2.applyColorMap(np.asarray(np.clip(heat, 0, 1) * 255, np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    share = (HEAT_SHARE * np.sqrt(np.clip(heat, 0, 1)))[..., None]
    return np.asarray(grey * (1 - share) + colour * share, np.uint8)


def _jpeg(image: Rgb) -> bytes:
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return encoded.tobytes()
