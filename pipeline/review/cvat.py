"""CVAT for images 1.1: one XML file with the shapes of every image (docs.cvat.ai/docs/other/xml_format)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.etree.ElementTree import Element, ParseError, SubElement, indent, tostring

import numpy as np
import shapely
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from crackmap.calibration.errors import InputError, require
from crackmap.pipeline.products.rows import printable
from crackmap.pipeline.review.areas import areas_of_mask
from crackmap.stages.datasets.drawn import Drawn
from crackmap.stages.datasets.jsonfiles import points_of
from crackmap.stages.datasets.labelme import LINE_WIDTH_PX
from crackmap.stages.datasets.labels import LIMIT_PX
from crackmap.stages.datasets.meanings import CRACK
from crackmap.stages.records import FloatArray

_NO_SHAPES = ("tag", "attribute")
"""Elements of an image that mark no place in it."""

Polygon = tuple[str, FloatArray]
"""Label and (N, 2) outline in pixels."""


def write_cvat(images: Sequence[tuple[str, tuple[int, int], Sequence[Polygon]]], labels: Sequence[str]) -> bytes:
    """The annotations of images, each with its name, width and height, and polygons."""
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    task = SubElement(SubElement(root, "meta"), "task")
    SubElement(task, "size").text = str(len(images))
    SubElement(task, "mode").text = "annotation"
    listed = SubElement(task, "labels")
    for name in labels:
        label = SubElement(listed, "label")
        SubElement(label, "name").text = name
        SubElement(label, "type").text = "any"
        SubElement(label, "attributes")
    for number, (name, (width, height), polygons) in enumerate(images):
        image = SubElement(root, "image", id=str(number), name=name, width=str(width), height=str(height))
        for label_name, ring in polygons:
            points = ";".join(f"{x:.2f},{y:.2f}" for x, y in ring.tolist())
            SubElement(image, "polygon", label=label_name, source="auto", occluded="0", points=points, z_order="0")
    indent(root)
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + tostring(root) + b"\n"


def read_root(content: bytes, where: str) -> Element:
    """The outermost element of a file of CVAT.

    Raises:
        InputError: it is none, or one of a video.
    """
    try:
        root: Element = fromstring(content, forbid_dtd=True)
    except (ParseError, ValueError, LookupError, DefusedXmlException) as error:
        raise InputError(f"{where}: not a plain XML file ({error!r}); export it again") from error
    require(root.tag == "annotations", where, "«CVAT for images 1.1», whose outermost element is annotations", root.tag)
    if root.find("track") is not None:
        raise InputError(f"{where}: holds the tracks of a video; export it as «CVAT for images 1.1»")
    return root


def said_time(root: Element) -> str:
    """When the file says that it was made; empty if it does not."""
    return (root.findtext("meta/dumped") or root.findtext("meta/task/updated") or "").strip()


def drawn_in(image: Element, where: str) -> list[tuple[str, Drawn]]:
    """Label and outlines of each shape in an image.

    Raises:
        InputError: a shape marks no pixels, or its points are none.
    """
    found = []
    for shape in image:
        if shape.tag in _NO_SHAPES:
            continue
        label = shape.get("label", "")
        at = f"{where}: {shape.tag} {printable(label)[:60]!r}"
        if shape.tag == "mask":
            areas = _painted(shape, at)
        elif shape.tag == "polyline":
            line = shapely.LineString(_points(shape, at, 2)).buffer(LINE_WIDTH_PX / 2)
            areas = (tuple(np.asarray(ring.coords, np.float64) for ring in (line.exterior, *line.interiors)),)
        elif shape.tag == "polygon":
            areas = ((_points(shape, at, 3),),)
        else:
            raise InputError(f"{at}: expected a polygon, a polyline or a mask; draw it again as one")
        found.append((label, Drawn(label, areas)))
    return found


def _points(shape: Element, where: str, least: int) -> FloatArray:
    return points_of([pair.split(",") for pair in shape.get("points", "").split(";")], where, least)


def _painted(shape: Element, where: str) -> tuple[tuple[FloatArray, ...], ...]:
    """The outlines of a mask: its runs go row by row through its box, first those of pixels outside."""
    left, top, width, height = (_whole(shape, name, where) for name in ("left", "top", "width", "height"))
    try:
        counts = [int(text) for text in shape.get("rle", "").split(",")]
    except ValueError as error:
        raise InputError(f"{where}: expected run lengths as whole numbers ({error}); export it again") from error
    require(0 < width * height <= LIMIT_PX and min(counts) >= 0 and sum(counts) == width * height, f"{where}: rle",
            f"runs of 0 or more that fill {width} x {height} px", sum(counts))  # fmt: skip
    window = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(height, width)
    return tuple(tuple(ring + (left, top) for ring in area.rings) for area in areas_of_mask(window, CRACK))


def _whole(element: Element, name: str, where: str) -> int:
    text = element.get(name, "")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    require(value.is_integer() and 0 <= value < 1e9, f"{where}: {name}", "a whole number of pixels", text[:40])
    return int(value)


def size_wh_of(image: Element, where: str) -> tuple[int, int]:
    """Width and height that the file states of an image.

    Raises:
        InputError: it does not.
    """
    return _whole(image, "width", where), _whole(image, "height", where)
