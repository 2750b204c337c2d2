"""Where labelled images come from: a public set below the data folder, or any set of the user's own.

A set is named by one word, or by FORMAT:PATH with options («pairs:/my/folder:crack=30»), everywhere in the same way.
"""

from __future__ import annotations

import os
from pathlib import Path

from crackmap.calibration.errors import InputError, require
from crackmap.stages.datasets.formats import FORMATS, parse_source
from crackmap.stages.datasets.labels import LabelledImage, Labels, Mask
from crackmap.stages.datasets.own import in_split
from crackmap.stages.datasets.public import DATA_SETS, DataSet

__all__ = ["DATA_SETS", "DATA_VARIABLE", "SPLITS", "DataSet", "LabelledImage", "Labels", "Mask", "check_name",
           "data_folder", "load_split"]  # fmt: skip

DATA_VARIABLE = "CRACKMAP_DATA"
"""Environment variable that names the data folder where no path is given."""

SPLITS = ("train", "val", "test", "all")
"""What can be asked for of a set."""


def data_folder(data: Path | None = None) -> Path:
    """The data folder: `data`, else $CRACKMAP_DATA.

    Raises:
        InputError: neither names an existing folder.
    """
    chosen = data or Path(os.environ.get(DATA_VARIABLE, ""))
    if str(chosen) in ("", ".") or not chosen.is_dir():
        raise InputError(f"data folder: expected an existing folder, got {str(chosen)!r}; "
                         f"give --data FOLDER or set {DATA_VARIABLE}")  # fmt: skip
    return chosen


def check_name(name: str) -> None:
    """Refuses a name of a set that is neither public nor FORMAT:PATH; no file is looked at.

    Raises:
        InputError: saying what is known.
    """
    if name in DATA_SETS:
        return
    if ":" not in name:
        raise InputError(
            f"data set: expected one of {', '.join(DATA_SETS)}, or FORMAT:PATH with {', '.join(FORMATS)} as format, "
            f"got {name!r}"
        )
    parse_source(name)


def load_split(name: str, split: str, data: Path | None) -> list[LabelledImage]:
    """The images of one split ("train", "val", "test", or "all") of the set called `name`, in a fixed order.

    Args:
        name: a public set, or FORMAT:PATH.
        split: a user's set is split by its split.csv or, without one, by the names of the images (`own.in_split`).
        data: the data folder with the public sets, by default $CRACKMAP_DATA; not needed for FORMAT:PATH.

    Raises:
        InputError: unknown set, missing folder, a damaged file of labels, or an empty split.
    """
    check_name(name)
    require(split in SPLITS, "split", ", ".join(SPLITS), split)
    if name in DATA_SETS:
        folder = data_folder(data) / name
        if not folder.is_dir():
            raise InputError(f"data set {name}: expected a folder {folder}; give the folder above it as --data")
        images = DATA_SETS[name].list_images(folder, split)
    else:
        source = parse_source(name)
        images = in_split(FORMATS[source.format](source), split, source.folder)
    if not images:
        raise InputError(f"data set {name}: no image in split {split!r}; take another, or say in its csv file "
                         "which images belong to it")  # fmt: skip
    return images
