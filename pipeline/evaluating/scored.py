"""The images of a split that pixel scores can be taken on."""

from __future__ import annotations

from pathlib import Path

from crackmap.calibration.errors import InputError
from crackmap.stages.datasets.sources import LabelledImage, load_split


def scored_split(data_set: str, split: str, data: Path | None) -> list[LabelledImage]:
    """The images of a split, at least one of which has a labelled crack pixel, in their order.

    Without any, a net that finds nothing would have every score at its best. Images are read up to the first with one.

    Raises:
        InputError: no such set or split, a damaged image, or no crack pixel.
    """
    images, boxed = load_split(data_set, split, data), False
    for image in images:
        labels = image.read()
        if (labels.crack & (labels.weight > 0)).any():
            return images
        boxed |= labels.boxes_xyxy_px is not None and len(labels.boxes_xyxy_px) > 0
    if boxed:
        raise InputError(f"{data_set} {split}: cracks are labelled with boxes only, which say nothing about pixels; "
                         "score on a set with masks or outlines, or export these labels with outlines")  # fmt: skip
    raise InputError(f"{data_set} {split}: no crack pixel in this split; take another split or set, or see with "
                     "`crackmap evaluate false-cracks` what is found on road without cracks")  # fmt: skip
