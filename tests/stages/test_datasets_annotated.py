"""Sets labelled by outlines, run lengths and boxes (COCO, Labelme, VOC), drawn so that the right mask is known."""

import json
from pathlib import Path

import numpy as np
import pytest
from dataset_files import HEIGHT, ROAD, WIDTH, only, png, rectangle
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from crackmap.calibration.errors import InputError
from crackmap.stages.datasets.drawn import decode_runs, filled
from crackmap.stages.datasets.sources import load_split


def corners(x0: float, y0: float, x1: float, y1: float) -> list[list[float]]:
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def flat(points: list[list[float]]) -> list[float]:
    return [number for point in points for number in point]


# Outlines and run lengths


def test_an_outline_covers_the_pixels_whose_centre_it_holds() -> None:
    assert np.array_equal(filled([np.array(corners(5, 10, 50, 13))], (HEIGHT, WIDTH)), rectangle(5, 10, 50, 13))
    # From 5.6 to 8.4 the centres 6.5 and 7.5 lie inside; a band thinner than a pixel between centres holds none.
    assert np.array_equal(filled([np.array(corners(5.6, 10.4, 8.4, 12.6))], (HEIGHT, WIDTH)), rectangle(6, 10, 8, 13))
    assert not filled([np.array(corners(5, 10.6, 50, 11.4))], (HEIGHT, WIDTH)).any()


def test_an_outline_with_a_hole_that_reaches_out_of_the_image_is_cut_there() -> None:
    rings = [np.array(corners(-10, -10, 20, 20)), np.array(corners(5, 5, 10, 10))]
    assert np.array_equal(filled(rings, (HEIGHT, WIDTH)), rectangle(0, 0, 20, 20) & ~rectangle(5, 5, 10, 10))


def test_a_slanted_outline_has_the_area_of_its_triangle() -> None:
    triangle = np.array([[2.3, 1.1], [55.2, 20.7], [10.9, 38.4]])
    (x0, y0), (x1, y1) = triangle[1] - triangle[0], triangle[2] - triangle[0]
    assert filled([triangle], (HEIGHT, WIDTH)).sum() == pytest.approx(abs(x0 * y1 - x1 * y0) / 2, rel=0.02)


def runs_of(mask: np.ndarray) -> list[int]:
    flat = mask.flatten(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat]).astype(int)))
    return np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_run_lengths_give_the_mask_back(mask: np.ndarray) -> None:
    assert np.array_equal(decode_runs(runs_of(mask), mask.shape), mask)


@pytest.mark.parametrize("counts", [[5], [4, -1, 6], [3, 7]])
def test_run_lengths_that_do_not_fit_are_refused(counts: list[int]) -> None:
    with pytest.raises(InputError, match="run lengths"):
        decode_runs(counts, (3, 3))


# COCO


def coco(folder: Path, annotations: list[dict], names: tuple[str, ...] = ("crack", "joint"), **image: object) -> str:
    png(folder / "images" / "a.png", ROAD)
    stored = {
        "images": [{"id": 7, "file_name": "images/a.png", "width": WIDTH, "height": HEIGHT, **image}],
        "categories": [{"id": n + 1, "name": name} for n, name in enumerate(names)],
        "annotations": [{"id": n, "image_id": 7, "category_id": 1, **row} for n, row in enumerate(annotations)],
    }
    (folder / "ann.json").write_text(json.dumps(stored), encoding="utf-8")
    return f"coco:{folder / 'ann.json'}"


def test_coco_polygons_and_run_lengths_are_one_mask_each(tmp_path: Path) -> None:
    runs = {"size": [HEIGHT, WIDTH], "counts": runs_of(rectangle(30, 20, 33, 39))}
    rows = [
        {"segmentation": [flat(corners(5, 10, 50, 13)), flat(corners(1, 30, 9, 31))]},
        {"segmentation": runs},
        {"segmentation": [flat(corners(0, 0, 60, 4))], "category_id": 2},
    ]
    labels = only(coco(tmp_path, rows))
    expected = rectangle(5, 10, 50, 13) | rectangle(1, 30, 9, 31) | rectangle(30, 20, 33, 39)
    assert np.array_equal(labels.crack, expected) and (labels.weight == 1).all()
    assert np.array_equal(labels.others["joint"], rectangle(0, 0, 60, 4)) and labels.boxes_xyxy_px is None


def test_a_coco_box_without_an_outline_leaves_its_pixels_unknown(tmp_path: Path) -> None:
    labels = only(coco(tmp_path, [{"bbox": [5, 6, 20, 10]}, {"bbox": [50, 30, 30, 30]}]))
    assert labels.boxes_xyxy_px is not None
    assert labels.boxes_xyxy_px.tolist() == [[5, 6, 25, 16], [50, 30, 60, 40]]
    assert not labels.crack.any()
    assert np.array_equal(labels.weight == 0, rectangle(5, 6, 25, 16) | rectangle(50, 30, 60, 40))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"segmentation": {"counts": "52203", "size": [40, 60]}}, "run lengths as a list.*pycocotools"),
        ({"segmentation": {"counts": [2400]}}, r"run lengths with size \[height, width\], got None"),
        ({"segmentation": [[1, 2, 3, 4]]}, "polygon: expected 3 points or more, got 2"),
        ({"segmentation": [[1, 2, 3, float("nan"), 5, 6]]}, "finite numbers"),
        ({"segmentation": [["a", 2, 3, 4, 5, 6]]}, "pairs of numbers"),
        ({"bbox": [1, 2, -3, 4]}, "width and height of 0 or more"),
        ({"bbox": []}, "bbox .*expected 2 points"),
        ({"bbox": [0, 0, 1, 1], "category_id": 9}, "category_id: expected the id of a category, got 9"),
        ({"bbox": [0, 0, 1, 1], "image_id": 9}, "image_id: expected the id of an image, got 9"),
    ],
)
def test_a_bad_coco_annotation_is_named(tmp_path: Path, row: dict, says: str) -> None:
    with pytest.raises(InputError, match=f"annotation 0.*{says}"):
        load_split(coco(tmp_path, [row]), "all", None)


def test_a_category_nobody_knows_is_asked_for_and_can_be_given(tmp_path: Path) -> None:
    name = coco(tmp_path, [{"segmentation": [flat(corners(5, 10, 50, 13))]}], names=("Fissure A",))
    with pytest.raises(InputError, match=r"'Fissure A' means; say so.*crack=fissurea"):
        load_split(name, "all", None)
    assert np.array_equal(only(f"{name}:crack=fissurea").crack, rectangle(5, 10, 50, 13))


@pytest.mark.parametrize("said", ["/etc/passwd", "../../secret.png", "nowhere.png", "a\0b.png"])
def test_a_picture_outside_the_folder_is_never_opened(tmp_path: Path, said: str) -> None:
    png(tmp_path / "secret.png", ROAD)
    with pytest.raises(InputError, match="no picture"):
        load_split(coco(tmp_path / "set" / "in", [], file_name=said), "all", None)


@pytest.mark.parametrize("said", ["/abs/elsewhere/a.png", "../../a.png", "C:\\data\\a.png", "a.png"])
def test_a_coco_image_is_named_after_its_place_in_the_folder(tmp_path: Path, said: str) -> None:
    (image,) = load_split(coco(tmp_path / "set", [], file_name=said), "all", None)
    assert (image.name, image.image_path) == ("images/a", tmp_path / "set" / "images" / "a.png")


def test_coco_images_elsewhere_are_named_after_their_place_there(tmp_path: Path) -> None:
    png(tmp_path / "pictures" / "north" / "a.png", ROAD)
    name = coco(tmp_path / "set", [], file_name="../pictures/north/a.png")
    (image,) = load_split(f"{name}:images={tmp_path / 'pictures'}", "all", None)
    assert image.name == "north/a"


def test_coco_run_lengths_with_width_before_height_are_refused(tmp_path: Path) -> None:
    runs = {"size": [WIDTH, HEIGHT], "counts": runs_of(rectangle(30, 20, 33, 39).T)}
    with pytest.raises(InputError, match=r"size \[60, 40\], where size is \[height, width\]; the image has \[40, 60\]"):
        only(coco(tmp_path, [{"segmentation": runs}]))


def test_coco_labels_of_a_shrunk_image_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="drawn on an image of 120 x 80 px, the file has 60 x 40 px"):
        only(coco(tmp_path, [], width=120, height=80))


@pytest.mark.parametrize("text", ["", "[1]", '{"images": 3}', "{" * 50])
def test_what_is_not_coco_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "ann.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"ann\.json"):
        load_split(f"coco:{tmp_path / 'ann.json'}", "all", None)


# Labelme


def labelme(folder: Path, *shapes: tuple[str, str, list[list[float]]], stem: str = "a") -> str:
    png(folder / f"{stem}.png", ROAD)
    stored = {
        "imagePath": f"..\\elsewhere\\{stem}.png",
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
        "shapes": [{"label": label, "shape_type": kind, "points": points} for label, kind, points in shapes],
    }
    (folder / f"{stem}.json").write_text(json.dumps(stored), encoding="utf-8")
    return f"labelme:{folder}"


def test_labelme_outlines_and_lines_are_drawn_at_their_width(tmp_path: Path) -> None:
    name = labelme(
        tmp_path,
        ("Crack", "polygon", corners(5, 10, 50, 13)),
        ("transverse_crack", "linestrip", [[10, 30], [30, 30], [50, 30]]),
        ("sealed crack", "polygon", corners(0, 0, 60, 4)),
    )
    labels = only(f"{name}:width=4")
    # The round ends of the line hold the pixels next to them whose centres lie within 2 px.
    line = labels.crack & ~rectangle(5, 10, 50, 13)
    assert np.array_equal(line[:, 10:50], rectangle(10, 28, 50, 32)[:, 10:50]) and line[:, :8].sum() == 0
    assert np.array_equal(labels.others["sealed crack"], rectangle(0, 0, 60, 4))
    assert only(name).crack[20:, 20].sum() == 3


def test_an_image_without_a_joint_says_so_where_another_has_one(tmp_path: Path) -> None:
    labelme(tmp_path, ("joint", "polygon", corners(0, 0, 60, 4)), stem="a")
    name = labelme(tmp_path, ("crack", "polygon", corners(0, 9, 60, 12)), stem="b")
    _, second = load_split(name, "all", None)
    assert not second.read().others["joint"].any()


def test_a_labelme_rectangle_is_a_box_and_outlines_beside_it_have_boxes_too(tmp_path: Path) -> None:
    name = labelme(tmp_path, ("crack", "rectangle", [[30, 20], [20, 10]]), ("crack", "polygon", corners(1, 2, 9, 4)))
    labels = only(name)
    assert labels.boxes_xyxy_px is not None and labels.boxes_xyxy_px.tolist() == [[20, 10, 30, 20], [1, 2, 9, 4]]
    assert np.array_equal(labels.weight == 0, rectangle(20, 10, 30, 20))


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        (("crack", "point", [[1.0, 2.0]]), "expected a shape out of polygon.*got 'point'"),
        (("crack", "polygon", [[1.0, 2.0]]), "expected 3 points or more"),
        (("seam 7", "polygon", corners(0, 0, 5, 5)), "label 'seam 7' means"),
    ],
)
def test_a_bad_labelme_shape_is_named(tmp_path: Path, shape: tuple, says: str) -> None:
    with pytest.raises(InputError, match=says):
        load_split(labelme(tmp_path, shape), "all", None)


# Pascal VOC


def voc(folder: Path, objects: str, head: str = "") -> str:
    png(folder / "JPEGImages" / "a.jpg", ROAD)
    (folder / "Annotations").mkdir(exist_ok=True)
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    text = f"{head}<annotation><filename>a.jpg</filename>{size}{objects}</annotation>"
    (folder / "Annotations" / "a.xml").write_text(text, encoding="utf-8")
    return f"voc:{folder}"


def voc_object(name: str, *box: object) -> str:
    edges = "".join(f"<{tag}>{edge}</{tag}>" for tag, edge in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{name}</name><bndbox>{edges}</bndbox></object>"


def test_voc_boxes_of_cracks_and_of_other_things(tmp_path: Path) -> None:
    objects = voc_object("D00", 5, 6, 25, 16) + voc_object("D20", 40, 20, 50.5, 30) + voc_object("D50", 0, 0, 9, 9)
    labels = only(voc(tmp_path, objects))
    assert labels.boxes_xyxy_px is not None
    assert labels.boxes_xyxy_px.tolist() == [[5, 6, 25, 16], [40, 20, 50.5, 30]]
    assert np.array_equal(labels.weight == 0, rectangle(5, 6, 25, 16) | rectangle(40, 20, 51, 30))
    assert not labels.crack.any() and labels.others == {}


def test_a_voc_image_without_cracks_has_no_box(tmp_path: Path) -> None:
    labels = only(voc(tmp_path, ""))
    assert labels.boxes_xyxy_px is not None and labels.boxes_xyxy_px.shape == (0, 4) and (labels.weight == 1).all()


@pytest.mark.parametrize(
    ("objects", "head", "says"),
    [
        (voc_object("D00", 25, 6, 5, 16), "", "xmin <= xmax"),
        (voc_object("D00", "left", 6, 5, 16), "", "xmin: expected a number, got 'left'"),
        ("<object><name>D00</name></object>", "", "object without a bndbox"),
        ("<object/>", "", "element name with a text"),
        ("<object>", "", "not a plain XML file"),
        ("", '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>', "not a plain XML file"),
    ],
)
def test_a_bad_voc_file_is_named(tmp_path: Path, objects: str, head: str, says: str) -> None:
    with pytest.raises(InputError, match=rf"a\.xml.*{says}"):
        load_split(voc(tmp_path, objects, head), "all", None)
