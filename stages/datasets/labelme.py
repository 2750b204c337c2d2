"""Labelme JSON: one file an image, with polygons, lines, rectangles and circles."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from crackmap.calibration.errors import InputError, require
from crackmap.calibration.files import is_no_file
from crackmap.stages.datasets.drawn import Drawn, FloatArray, draw_labels, has_own_boxes, pixel_meanings
from crackmap.stages.datasets.jsonfiles import check_size, listed, points_of, read_object, size_of, text_of
from crackmap.stages.datasets.labels import LabelledImage, Labels
from crackmap.stages.datasets.meanings import MEANING_OPTIONS, meanings_of
from crackmap.stages.datasets.own import Source, pictures_of

LINE_WIDTH_PX = 3.0
"""Width that a line is drawn with unless the option `width` says another."""

_SHAPES = ("polygon", "linestrip", "line", "rectangle", "circle")


def list_labelme(source: Source) -> list[LabelledImage]:
    """The images that a folder of Labelme files labels, by the path of the file; images without a file are left out.

    Raises:
        InputError: a file, its image or a label cannot be used.
    """
    source.refuse_options("images", "width", *MEANING_OPTIONS)
    pictures, width_px = pictures_of(source), source.number("width", LINE_WIDTH_PX)
    files = files_below(source.folder, ".json")
    require(len(files) > 0, source.text, "Labelme files (.json)", "none")
    stored = {path: read_object(path) for path in files}
    shapes = {path: listed(content, "shapes", path.name) for path, content in stored.items()}
    names = {text_of(shape, "label", path.name) for path, found in shapes.items() for shape in found}
    meanings = meanings_of(names, source)
    things = {
        path: [thing_of_shape(shape, meanings[shape["label"]], width_px, path.name) for shape in found]
        for path, found in shapes.items()
    }
    every = [thing for found in things.values() for thing in found]
    others, own_boxes = pixel_meanings(every), has_own_boxes(every)

    def entry(path: Path) -> LabelledImage:
        stated = size_of(stored[path], "imageWidth", "imageHeight")
        _, picture = pictures.find(text_of(stored[path], "imagePath", path.name), path.name)

        def labels(image: NDArray[np.uint8]) -> Labels:
            check_size(stated, image.shape[:2], path.name)
            return draw_labels(image, things[path], others=others, own_boxes=own_boxes)

        return LabelledImage(path.relative_to(source.folder).with_suffix("").as_posix(), picture, labels)

    return [entry(path) for path in files]


def files_below(folder: Path, suffix: str) -> list[Path]:
    """The files in `folder` and the folders in it that end in `suffix`, by path."""
    return sorted(
        Path(parent) / name
        for parent, _, names in os.walk(folder)
        for name in names
        if Path(name).suffix.lower() == suffix and not is_no_file(Path(parent) / name)
    )


def thing_of_shape(shape: dict[str, Any], meaning: str, width_px: float, where: str) -> Drawn:
    """A Labelme shape that means `meaning`; lines are as wide as `width_px`.

    Raises:
        InputError: it is of a kind that marks no place on the road, or its points are none.
    """
    kind, label = shape.get("shape_type", "polygon"), f"{where}: {shape['label']}"
    if kind not in _SHAPES:
        raise InputError(f"{label}: expected a shape out of {', '.join(_SHAPES)}, got {kind!r}; draw it again as one")
    points = points_of(shape.get("points", []), label, 3 if kind == "polygon" else 2)
    if kind == "polygon":
        return Drawn(meaning, ((points,),))
    if kind == "rectangle":
        (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        return Drawn(meaning, box_xyxy_px=(x0, y0, x1, y1))
    if kind == "circle":
        return Drawn(meaning, (_rings(shapely.Point(points[0]).buffer(float(np.hypot(*(points[1] - points[0]))))),))
    return Drawn(meaning, (_rings(shapely.LineString(points).buffer(width_px / 2)),))


def _rings(shape: shapely.Polygon) -> tuple[FloatArray, ...]:
    return tuple(np.asarray(ring.coords, np.float64) for ring in (shape.exterior, *shape.interiors))
