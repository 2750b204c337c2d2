"""What tests of data sets draw and read: one road, and masks of rectangles on it."""

from pathlib import Path

import cv2
import numpy as np

from crackmap.stages.datasets.sources import Labels, load_split

HEIGHT, WIDTH = 40, 60
ROAD = np.full((HEIGHT, WIDTH, 3), 150, np.uint8)


def png(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, array)[1].tobytes())


def rectangle(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def only(name: str) -> Labels:
    (image,) = load_split(name, "all", None)
    return image.read()
