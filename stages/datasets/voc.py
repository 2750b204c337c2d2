"""Pascal VOC: one XML file an image, with boxes."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from numpy.typing import NDArray

from crackmap.calibration.errors import InputError, require
from crackmap.stages.datasets.drawn import Drawn, draw_labels
from crackmap.stages.datasets.jsonfiles import check_size
from crackmap.stages.datasets.labelme import files_below
from crackmap.stages.datasets.labels import LabelledImage, Labels
from crackmap.stages.datasets.meanings import MEANING_OPTIONS, meanings_of
from crackmap.stages.datasets.own import Source, pictures_of


def list_voc(source: Source) -> list[LabelledImage]:
    """The images that a folder of Pascal VOC files labels with boxes, by the name of the file.

    Corners are taken as written: from tools that count pixels from 1 a box is up to one pixel off.

    Raises:
        InputError: a file, its image or a label cannot be used.
    """
    source.refuse_options("images", *MEANING_OPTIONS)
    pictures = pictures_of(source)
    files = files_below(source.folder, ".xml")
    require(len(files) > 0, source.text, "Pascal VOC files (.xml)", "none")
    roots = {path: _root(path) for path in files}
    names = {_text(item, "name", path.name) for path, root in roots.items() for item in root.iter("object")}
    meanings = meanings_of(names, source)

    def entry(path: Path) -> LabelledImage:
        root = roots[path]
        things = [_thing(item, meanings[_text(item, "name", path.name)], path.name) for item in root.iter("object")]
        size = root.find("size")
        stated = (
            None if size is None else (int(_number(size, "height", path.name)), int(_number(size, "width", path.name)))
        )

        def labels(image: NDArray[np.uint8]) -> Labels:
            check_size(stated, image.shape[:2], path.name)
            return draw_labels(image, things, others=(), own_boxes=True)

        _, picture = pictures.find(_text(root, "filename", path.name), path.name)
        return LabelledImage(path.stem, picture, labels)

    images = [entry(path) for path in files]
    require(len({image.name for image in images}) == len(images), source.text, "file names that occur once",
            "several folders with equal names; name them one by one")  # fmt: skip
    return images


def _root(path: Path) -> Element:
    try:
        root: Element = fromstring(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ParseError, ValueError, DefusedXmlException) as error:
        raise InputError(f"{path.name}: not a plain XML file ({error!r}); export it again") from error
    require(root.tag == "annotation", path.name, "Pascal VOC, whose outermost element is annotation", root.tag)
    return root


def _text(element: Element, tag: str, where: str) -> str:
    text = (element.findtext(tag) or "").strip()
    require(text != "", f"{where}: {element.tag}", f"an element {tag} with a text", "none")
    return text


def _number(element: Element, tag: str, where: str) -> float:
    text = _text(element, tag, where)
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    require(bool(np.isfinite(value)), f"{where}: {tag}", "a number", text)
    return value


def _thing(item: Element, meaning: str, where: str) -> Drawn:
    box = item.find("bndbox")
    if box is None:
        raise InputError(
            f"{where}: object without a bndbox; export it as boxes, or as Labelme or COCO if it has outlines"
        )
    x0, y0, x1, y1 = (_number(box, tag, where) for tag in ("xmin", "ymin", "xmax", "ymax"))
    require(x1 >= x0 and y1 >= y0, f"{where}: bndbox", "xmin <= xmax and ymin <= ymax", (x0, y0, x1, y1))
    return Drawn(meaning, box_xyxy_px=(x0, y0, x1, y1))
