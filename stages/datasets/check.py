"""A data set looked through before it is trusted: what is in it, and what is wrong with it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import InputError, require
from crackmap.stages.datasets.formats import parse_source
from crackmap.stages.datasets.labels import LabelledImage, Labels, read_rgb
from crackmap.stages.datasets.near_duplicates import near_duplicates, thumbnail
from crackmap.stages.datasets.public import DATA_SETS
from crackmap.stages.datasets.sources import SPLITS, load_split

UNSTATED = "not stated: put a LICENSE file into the folder"
"""Licence of a user's set without one."""

Progress = Callable[[int, int, str], None]

PROBLEMS_SHOWN = 20
"""Problems of a set in a table, and as many warnings."""

_LICENCE_NAMES = ("license", "licence", "license.txt", "licence.txt", "license.md", "licence.md", "copying")


@dataclass(frozen=True, slots=True)
class SetSummary:
    """What a look through one split of a set found.

    Attributes:
        name: the set, as named.
        split: "train", "val", "test" or "all".
        images: their number, unreadable ones included.
        smallest_wh_px, largest_wh_px: size of the image with the fewest and the most pixels; None if none is readable.
        crack_share: share of crack among the pixels whose label counts (weight above 0).
        unknown_share: share of pixels whose label does not count.
        crack_free: number of images without any crack.
        others: share of pixels of each thing labelled beside cracks, by name.
        boxes: number of boxes of the set's own; None where boxes come from masks.
        licence: one line.
        may_train_shipped_weights: whether it lets weights trained on the set be distributed; None if not known here.
        problems: a sentence for each, in the order of the images.
        warnings: a sentence for each photograph that seems to be in two splits; worth a look, not certain.
    """

    name: str
    split: str
    images: int
    smallest_wh_px: tuple[int, int] | None
    largest_wh_px: tuple[int, int] | None
    crack_share: float
    unknown_share: float
    crack_free: int
    others: dict[str, float]
    boxes: int | None
    licence: str
    may_train_shipped_weights: bool | None
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(slots=True)
class _Totals:
    sizes_wh_px: list[tuple[int, int]] = field(default_factory=list)
    crack_px: int = 0
    unknown_px: int = 0
    crack_free: int = 0
    others_px: dict[str, int] = field(default_factory=dict)
    boxes: int | None = None

    def add(self, labels: Labels) -> None:
        height, width = labels.crack.shape
        self.sizes_wh_px.append((width, height))
        known = labels.weight > 0
        self.crack_px += int(np.count_nonzero(labels.crack & known))
        self.unknown_px += int(np.count_nonzero(~known))
        own = labels.boxes_xyxy_px
        self.crack_free += not labels.crack.any() and (own is None or not len(own))
        for name, mask in labels.others.items():
            self.others_px[name] = self.others_px.get(name, 0) + int(np.count_nonzero(mask))
        if own is not None:
            self.boxes = (self.boxes or 0) + len(own)


def check_set(name: str, split: str, data: Path | None, *, progress: Progress | None = None) -> SetSummary:
    """Reads every image of one split with its labels, and compares the pictures with those of the other splits.

    Args:
        name: a public set or FORMAT:PATH.
        split: "train", "val", "test" or "all"; with "all" the three are compared with one another.
        data: the data folder; not needed for FORMAT:PATH.
        progress: is told (done, total, name) after every image.

    Raises:
        InputError: the set as a whole cannot be read. What is wrong with single images is listed in the summary.
    """
    require(split in SPLITS, "split", ", ".join(SPLITS), split)
    images = load_split(name, split, data)
    totals = _Totals()
    problems: list[str] = []
    thumbnails: dict[Path, NDArray[np.uint8]] = {}
    for done, image in enumerate(images, 1):
        try:
            labels = image.read()
            totals.add(labels)
            thumbnails[image.image_path] = thumbnail(labels.image)
        except (InputError, OSError) as error:
            problems.append(f"{image.name}: {error}")
        if progress is not None:
            progress(done, len(images), image.name)
    problems += _duplicates(name, split, images, data)
    licence, may_ship = _licence(name)
    sizes = sorted(totals.sizes_wh_px, key=lambda size: (size[0] * size[1], size))
    pixels = sum(width * height for width, height in sizes)
    return SetSummary(
        name=name,
        split=split,
        images=len(images),
        smallest_wh_px=sizes[0] if sizes else None,
        largest_wh_px=sizes[-1] if sizes else None,
        crack_share=totals.crack_px / max(pixels - totals.unknown_px, 1),
        unknown_share=totals.unknown_px / max(pixels, 1),
        crack_free=totals.crack_free,
        others={other: count / max(pixels, 1) for other, count in sorted(totals.others_px.items())},
        boxes=totals.boxes,
        licence=licence,
        may_train_shipped_weights=may_ship,
        problems=tuple(problems),
        warnings=tuple(_near_duplicates(name, split, data, thumbnails)),
    )


def _duplicates(name: str, split: str, images: Sequence[LabelledImage], data: Path | None) -> list[str]:
    """A sentence for each of the images whose file, byte by byte, occurs before in it or anywhere in another split."""
    elsewhere = {
        image.image_path: (image, part) for part in SPLITS[:3] if part != split for image in _part(name, part, data)
    }
    if split == "all":
        places = [elsewhere.get(image.image_path, (image, split)) for image in images]
    else:
        places = [*elsewhere.values(), *((image, split) for image in images)]
    first: dict[bytes, tuple[str, str]] = {}
    found = []
    for image, part in places:
        try:
            key = hashlib.sha256(image.image_path.read_bytes()).digest()
        except OSError:
            continue
        if key not in first:
            first[key] = image.name, part
        elif split in ("all", part):
            twin, where = first[key]
            found.append(f"{image.name} ({part}) is the same file as {twin} ({where}); keep one of them")
    return found


def _near_duplicates(name: str, split: str, data: Path | None, thumbnails: dict[Path, NDArray[np.uint8]]) -> list[str]:
    """A sentence for each photograph that seems to be in two splits, other than as the same file."""
    seen: dict[str, list[LabelledImage]] = {}
    for part in SPLITS[:3]:
        images = _part(name, part, data)
        for image in images:
            if image.image_path not in thumbnails:
                with suppress(InputError, OSError):
                    thumbnails[image.image_path] = thumbnail(read_rgb(image.image_path))
        seen[part] = [image for image in images if image.image_path in thumbnails]
    found = []
    for part, other in (("val", "train"), ("test", "train"), ("test", "val")):
        if split not in ("all", part, other):
            continue
        left, right = ([thumbnails[image.image_path] for image in seen[place]] for place in (part, other))
        for row, column in near_duplicates(left, right):
            one, twin = seen[part][row], seen[other][column]
            if one.image_path.read_bytes() != twin.image_path.read_bytes():
                found.append(f"{one.name} ({part}) looks like the same photograph as {twin.name} ({other}); "
                             "if it is, keep one of them")  # fmt: skip
    return found


def _part(name: str, part: str, data: Path | None) -> list[LabelledImage]:
    """The images of a split, which may be empty."""
    try:
        return load_split(name, part, data)
    except InputError:
        return []


def _licence(name: str) -> tuple[str, bool | None]:
    if name in DATA_SETS:
        return DATA_SETS[name].licence, DATA_SETS[name].may_train_shipped_weights
    source = parse_source(name)
    if source.format == "synth":
        return "drawn by crackmap: yours", None
    folder = source.folder
    for path in sorted(folder.iterdir()):
        if path.name.lower() in _LICENCE_NAMES and path.is_file():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            return next((line.strip()[:80] for line in lines if line.strip()), UNSTATED), None
    return UNSTATED, None


def summary_table(summaries: Sequence[SetSummary]) -> str:
    """One line a set, and below it what else it labels, its licence, its problems and warnings."""
    lines = [" split  images                size, px  crack %  unknown %  crack-free    boxes  set"]
    for row in summaries:
        sizes = [f"{size[0]}x{size[1]}" for size in (row.smallest_wh_px, row.largest_wh_px) if size is not None]
        size = "-".join(dict.fromkeys(sizes)) or "-"
        boxes = "-" if row.boxes is None else str(row.boxes)
        lines.append(
            f" {row.split:<6} {row.images:>6} {size:>23} {100 * row.crack_share:8.2f} "
            f"{100 * row.unknown_share:10.2f} {row.crack_free:>11} {boxes:>8}  {row.name}"
        )
        others = ", ".join(f"{name} {100 * share:.2f} %" for name, share in row.others.items())
        lines.append(f"  also labelled: {others or 'nothing'}; licence: {row.licence}")
        for kind, found in (("problem", row.problems), ("warning", row.warnings)):
            lines += [f"  {kind}: {sentence}" for sentence in found[:PROBLEMS_SHOWN]]
            if len(found) > PROBLEMS_SHOWN:
                lines.append(f"  and {len(found) - PROBLEMS_SHOWN} more {kind}s; --json lists all")
    return "\n".join(lines)
