"""COCO JSON: polygons, run lengths and boxes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import InputError, require
from crackmap.stages.datasets.drawn import Drawn, FloatArray, draw_labels, has_own_boxes, pixel_meanings
from crackmap.stages.datasets.jsonfiles import check_size, listed, points_of, read_object, size_of, text_of
from crackmap.stages.datasets.labels import LabelledImage, Labels
from crackmap.stages.datasets.meanings import MEANING_OPTIONS, meanings_of
from crackmap.stages.datasets.own import Source, pictures_of, without_suffix


def list_coco(source: Source) -> list[LabelledImage]:
    """The images of a COCO file, in the order of their names; those without annotations show no crack.

    An image is named after the place of its picture below the folder of pictures, never after what the file says: that
    may be a path of another machine, or lead out of any folder that results are written to.

    Raises:
        InputError: the file, an image in it or a category cannot be used.
    """
    source.refuse_options("images", *MEANING_OPTIONS)
    stored, where = read_object(source.path), source.path.name
    rows = {row.get("id"): row for row in listed(stored, "images", where)}
    things = things_by_image(stored, set(rows), source, where)
    every = [thing for found in things.values() for thing in found]
    others, own_boxes = pixel_meanings(every), has_own_boxes(every)
    pictures = pictures_of(source)

    def entry(row: dict[str, Any]) -> LabelledImage:
        said = text_of(row, "file_name", f"{where}: image {row.get('id')}")
        stated, found = size_of(row, "width", "height"), things.get(row.get("id"), [])
        name, picture = pictures.find(said, where)

        def labels(image: NDArray[np.uint8]) -> Labels:
            check_size(stated, image.shape[:2], f"{where}: {said}")
            for thing in found:
                _check_runs(thing, image.shape[:2], f"{where}: {said}")
            return draw_labels(image, found, others=others, own_boxes=own_boxes)

        return LabelledImage(without_suffix(name), picture, labels)

    images = sorted((entry(row) for row in rows.values()), key=lambda image: image.name)
    for one, following in pairwise(images):
        require(one.name != following.name, f"{where}: images",
                "each picture listed once, and no two with one name but for the suffix", one.name)  # fmt: skip
    return images


def things_by_image(stored: dict[str, Any], image_ids: set[Any], source: Source, where: str) -> dict[Any, list[Drawn]]:
    """What is labelled in each image, by its id.

    Args:
        stored: the whole file.
        image_ids: of its images.
        source: says what the names of categories mean.
        where: the name of the file, for messages.

    Raises:
        InputError: an annotation or a category cannot be used.
    """
    categories = {
        row.get("id"): text_of(row, "name", f"{where}: category") for row in listed(stored, "categories", where)
    }
    annotations = listed(stored, "annotations", where)
    for row in annotations:
        label = f"{where}: annotation {row.get('id')}"
        category, image = row.get("category_id"), row.get("image_id")
        require(category in categories, f"{label}: category_id", "the id of a category", category)
        require(image in image_ids, f"{label}: image_id", "the id of an image", image)
    meanings = meanings_of((categories[row["category_id"]] for row in annotations), source)
    things: dict[Any, list[Drawn]] = {}
    for row in annotations:
        meaning = meanings[categories[row["category_id"]]]
        things.setdefault(row["image_id"], []).append(_thing(row, meaning, f"{where}: annotation {row.get('id')}"))
    return things


def _thing(row: dict[str, Any], meaning: str, where: str) -> Drawn:
    segmentation = row.get("segmentation")
    if isinstance(segmentation, dict):
        counts = segmentation.get("counts")
        if not isinstance(counts, list) or not all(isinstance(count, int) for count in counts):
            raise InputError(f"{where}: expected run lengths as a list of whole numbers; write compressed ones out "
                             "with pycocotools, or export polygons")  # fmt: skip
        size = segmentation.get("size")
        if not isinstance(size, list) or len(size) != 2 or not all(isinstance(side, int) for side in size):
            raise InputError(f"{where}: expected run lengths with size [height, width], got {size!r}; "
                             "export them again")  # fmt: skip
        return Drawn(meaning, counts=tuple(counts), counts_hw=(size[0], size[1]))
    if segmentation:
        require(isinstance(segmentation, list), f"{where}: segmentation", "polygons or run lengths", segmentation)
        return Drawn(meaning, tuple((_polygon(part, where),) for part in segmentation))
    corner, size = points_of(row.get("bbox", []), f"{where}: bbox (x, y, width, height)", 2)[:2]
    require(bool((size >= 0).all()), f"{where}: bbox", "a width and height of 0 or more", size.tolist())
    x, y, width, height = (float(value) for value in (*corner, *size))
    return Drawn(meaning, box_xyxy_px=(x, y, x + width, y + height))


def _check_runs(thing: Drawn, shape_hw: tuple[int, ...], where: str) -> None:
    """Refuses run lengths of another size, above all width and height in the wrong order: their sum would fit."""
    if thing.counts_hw is not None and thing.counts_hw != tuple(shape_hw):
        raise InputError(f"{where}: run lengths of size {list(thing.counts_hw)}, where size is [height, width]; "
                         f"the image has {list(shape_hw)}; export them again")  # fmt: skip


def _polygon(values: Any, where: str) -> FloatArray:
    return points_of(values, f"{where}: polygon", 3)
