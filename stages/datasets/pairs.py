"""Folders of images with a mask each, and synthetic surveys, whose masks are exact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import InputError, require
from crackmap.stages.datasets.labels import LabelledImage, Labels, Mask, read_mask
from crackmap.stages.datasets.meanings import CRACK, IGNORE, MEANING_OPTIONS, NOTHING
from crackmap.stages.datasets.own import Source, pictures_below, without_suffix

DARK, BRIGHT = "dark", "bright"
"""What the option `crack` may say beside mask values: cracks are below 128, or from 128 on."""

MASK_ENDINGS = ("_mask", "-mask", "_label", "_gt")
"""What the name of a mask may add to that of its image."""

MOST_CRACK = 0.5
"""A mask with a greater share of crack has its polarity reversed: no road looks like that."""


def list_pairs(source: Source) -> list[LabelledImage]:
    """The images of images/ with their masks in masks/, or of one folder where NAME_mask lies beside NAME.

    Raises:
        InputError: an image without a mask or a mask without an image, two files of one name, or an option that says
            nothing.
    """
    source.refuse_options(*MEANING_OPTIONS)
    values = _values(source)
    folder = source.path
    if (folder / "images").is_dir() and (folder / "masks").is_dir():
        pictures = _by_name(pictures_below(folder / "images"), without_suffix, f"{source.text}: image")
        masks = _by_name(pictures_below(folder / "masks"), _image_of, f"{source.text}: mask")
    else:
        everything = pictures_below(folder)
        beside = {name for name in everything if _image_of(name) != without_suffix(name)}
        images = {name: path for name, path in everything.items() if name not in beside}
        pictures = _by_name(images, without_suffix, f"{source.text}: image")
        masks = _by_name({name: everything[name] for name in sorted(beside)}, _image_of, f"{source.text}: mask")
    if not pictures or not masks:
        raise InputError(f"{source.text}: expected folders images/ and masks/, or NAME.jpg beside NAME_mask.png, found "
                         f"{len(pictures)} images and {len(masks)} masks")  # fmt: skip
    for name in sorted(set(pictures) ^ set(masks)):
        lacks = "image" if name in masks else "mask"
        raise InputError(f"{source.text}: {name} has no {lacks}; add it, or take the other file away")

    def entry(name: str) -> LabelledImage:
        def labels(image: NDArray[np.uint8]) -> Labels:
            return _labels(image, read_mask(masks[name], image.shape[:2]), values, masks[name].name)

        return LabelledImage(name, pictures[name], labels)

    return [entry(name) for name in sorted(pictures)]


def _by_name(files: Mapping[str, Path], name_of: Callable[[str], str], where: str) -> dict[str, Path]:
    """The files by the name that `name_of` their path gives, which no two may share."""
    said: dict[str, str] = {}
    for relative in files:
        name = name_of(relative)
        if name in said:
            raise InputError(
                f"{where}: {said[name]} and {relative} stand for the same name; take one away or rename it"
            )
        said[name] = relative
    return {name: files[relative] for name, relative in said.items()}


def list_synth(source: Source) -> list[LabelledImage]:
    """The frames of a survey that `crackmap synth` wrote, of one pass or several; at least half covered is crack.

    Raises:
        InputError: it is none.
    """
    source.refuse_options()
    passes = [source.path] if (source.path / "truth.json").is_file() else sorted(source.path.glob("pass*"))
    found: list[LabelledImage] = []
    for folder in passes:
        masks = pictures_below(folder / "masks")
        prefix = "" if folder == source.path else f"{folder.name}/"
        for name, path in pictures_below(folder / "images").items():
            mask = masks.get(f"{without_suffix(name)}.png")
            if mask is None:
                raise InputError(f"{source.text}: {prefix}{name} has no mask; draw the survey again")
            found.append(LabelledImage(prefix + without_suffix(name), path, _CoverageMask(mask)))
    require(len(found) > 0, source.text, "a folder written by crackmap synth, with truth.json, images/ and masks/",
            "none")  # fmt: skip
    return found


class _CoverageMask:
    """Labels from a mask of coverage times 255."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, image: NDArray[np.uint8]) -> Labels:
        crack = read_mask(self._path, image.shape[:2]) >= 128
        return Labels(image, crack, np.ones(crack.shape, np.float32))


def _image_of(mask_name: str) -> str:
    name = without_suffix(mask_name)
    for ending in MASK_ENDINGS:
        if PurePosixPath(name).name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def _values(source: Source) -> Mapping[int, str] | str:
    """Meaning by mask value; or DARK, BRIGHT; or "" where the masks are to speak for themselves."""
    if not source.options:
        return ""
    crack = source.options.get("crack", "")
    if crack in (DARK, BRIGHT):
        require(len(source.options) == 1, f"{source.text}: options", f"crack={crack} alone", sorted(source.options))
        return crack
    require(crack != "", f"{source.text}: options", "crack=VALUE among them", sorted(source.options))
    values: dict[int, str] = {}
    for option, text in source.options.items():
        for part in text.split("+"):
            good = part.isascii() and part.isdigit() and int(part) <= 255
            require(good, f"{source.text}: {option}", "mask values 0 to 255 joined by +, such as 30+60", part)
            require(int(part) not in values, f"{source.text}: {option}", "values with one meaning", part)
            values[int(part)] = option.replace("_", " ")
    return values


def _labels(image: NDArray[np.uint8], mask: NDArray[np.uint8], values: Mapping[int, str] | str, where: str) -> Labels:
    unknown, others = np.zeros(mask.shape, bool), dict[str, Mask]()
    if isinstance(values, str):
        crack = _two_valued(mask, values, where)
    else:
        strange = sorted(set(np.unique(mask).tolist()) - set(values) - {0})
        if strange:
            raise InputError(
                f"{where}: value {strange[0]} has no meaning; give it one, e.g. the option nothing={strange[0]}"
            )
        crack, unknown = _where(mask, values, CRACK), _where(mask, values, IGNORE)
        others = {name: _where(mask, values, name) for name in sorted({*values.values()} - {CRACK, IGNORE, NOTHING})}
    share = float(crack.mean())
    if share > MOST_CRACK:
        remedy = "crack=bright" if values == DARK else "crack=dark"
        raise InputError(f"{where}: {100 * share:.0f} % of the mask is crack; where cracks are the other value, "
                         f"say so with the option {remedy}")  # fmt: skip
    return Labels(image, crack, (~unknown).astype(np.float32), others)


def _where(mask: NDArray[np.uint8], values: Mapping[int, str], meaning: str) -> Mask:
    return np.isin(mask, [value for value, name in values.items() if name == meaning])


def _two_valued(mask: NDArray[np.uint8], rule: str, where: str) -> Mask:
    if rule:
        return mask < 128 if rule == DARK else mask >= 128
    found = np.unique(mask).tolist()
    if len(found) > 2 or 0 not in found:
        shown = ", ".join(str(value) for value in found[:8]) + (", ..." if len(found) > 8 else "")
        raise InputError(f"{where}: expected 0 and one other value, got {shown}; say what they mean with options, e.g. "
                         "crack=255 or crack=30+60:ignore=150, or crack=bright for a mask stored as JPEG")  # fmt: skip
    return mask > 0
