"""One photograph twice, and road that only looks alike."""

import cv2
import numpy as np
import pytest

from crackmap.stages.datasets.near_duplicates import SAME, agreement, near_duplicates, thumbnail


def road(seed: int) -> np.ndarray:
    """Texture of many sizes, as a road has it."""
    rng = np.random.default_rng(seed)
    noise = [cv2.GaussianBlur(rng.standard_normal((480, 360)), (0, 0), size) * size for size in (1, 3, 8)]
    return np.repeat(np.clip(128 + 40 * sum(noise), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def as_jpeg(image: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)


CHANGES = {
    "saved with less quality": as_jpeg,
    "half the size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "brighter": lambda image: np.clip(image * 1.2 + 10, 0, 255).astype(np.uint8),
    "moved by 4 %": lambda image: np.roll(image, (19, 14), axis=(0, 1)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_among_others(change: str) -> None:
    others = [thumbnail(road(seed)) for seed in range(1, 9)]
    copy = thumbnail(CHANGES[change](road(0)))
    assert near_duplicates([copy], [*others, thumbnail(road(0))]) == [(0, 8)]
    assert near_duplicates([copy], others) == []


def test_one_camera_on_different_road_is_no_copy() -> None:
    pictures = [road(seed) // 4 + 90 for seed in (0, 1)]
    for picture in pictures:
        # Bonnet and lane lines, which stay where they are and stand out far.
        picture[400:] = 10
        cv2.line(picture, (60, 400), (160, 0), (255, 255, 255), 12)
        cv2.line(picture, (320, 400), (200, 0), (255, 255, 255), 12)
    assert agreement(*(thumbnail(picture) for picture in pictures)) < SAME / 2
    assert near_duplicates([thumbnail(pictures[0])], [thumbnail(pictures[1])]) == []


def test_pictures_without_texture_are_no_copies() -> None:
    plain = thumbnail(np.full((100, 100, 3), 90, np.uint8))
    assert near_duplicates([plain], [plain]) == [] == near_duplicates([], [plain])
