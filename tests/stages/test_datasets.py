"""Sets of users' own in every format, drawn so that the right mask is known, and bad ones, each with its reason."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from crackmap.calibration.errors import InputError, UnreadableImageError
from crackmap.cli.main import cli
from crackmap.stages.datasets.check import check_set
from crackmap.stages.datasets.crops import check_mixture
from crackmap.stages.datasets.drawn import decode_runs, filled
from crackmap.stages.datasets.formats import parse_source
from crackmap.stages.datasets.labels import read_rgb
from crackmap.stages.datasets.own import hash_split
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


def corners(x0: float, y0: float, x1: float, y1: float) -> list[list[float]]:
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def flat(points: list[list[float]]) -> list[float]:
    return [number for point in points for number in point]


# Names and splits


def test_a_name_holds_format_path_and_options() -> None:
    source = parse_source("pairs:C:/my road:crack=30+60:ignore=150")
    assert (source.format, str(source.path)) == ("pairs", "C:/my road")
    assert source.options == {"crack": "30+60", "ignore": "150"}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("dnitt", "expected one of dnit, .*FORMAT:PATH"),
        ("zip:road", "format: expected pairs, coco"),
        ("pairs:", "expected a path"),
        ("pairs:a:crack=1:crack=2", "given once"),
    ],
)
def test_a_wrong_name_is_refused_before_any_file_is_read(name: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_mixture({"rendered": 0.5, name: 0.5})


def test_a_mixture_takes_own_sets_beside_public_ones() -> None:
    check_mixture({"rendered": 0.4, "dnit": 0.3, "pairs:/my/folder": 0.3})


def test_the_split_of_an_image_depends_on_its_name_alone_and_is_80_10_10() -> None:
    splits = [hash_split(f"frame_{n:05d}") for n in range(20_000)]
    for split, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
        assert abs(splits.count(split) / len(splits) - share) < 0.01
    # Pinned: another release must not move images from test to train.
    assert [hash_split(name) for name in ("road/0", "road/25", "road/6")] == ["train", "val", "test"]


def pairs(folder: Path, count: int = 1, value: int = 255) -> np.ndarray:
    crack = rectangle(5, 10, 50, 13)
    for n in range(count):
        image = ROAD.copy()
        image[0, 0] = n
        png(folder / "images" / f"{n:03d}.png", image)
        png(folder / "masks" / f"{n:03d}.png", crack.astype(np.uint8) * value)
    return crack


def test_the_three_splits_part_the_set(tmp_path: Path) -> None:
    pairs(tmp_path, 80)
    name = f"pairs:{tmp_path}"
    parts = [{image.name for image in load_split(name, split, None)} for split in ("train", "val", "test")]
    assert sum(len(part) for part in parts) == 80
    assert set.union(*parts) == {image.name for image in load_split(name, "all", None)}


def test_split_csv_goes_first_and_leaves_out_what_it_does_not_name(tmp_path: Path) -> None:
    pairs(tmp_path, 3)
    (tmp_path / "split.csv").write_text("image,split\n002.png,train\n000,test\n", encoding="utf-8")
    names = {
        split: [i.name for i in load_split(f"pairs:{tmp_path}", split, None)] for split in ("train", "test", "all")
    }
    assert names == {"train": ["002"], "test": ["000"], "all": ["000", "002"]}
    with pytest.raises(InputError, match="no image in split 'val'"):
        load_split(f"pairs:{tmp_path}", "val", None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image,split\n009,train\n", "no image '009'"),
        ("image,split\n000,training\n", "expected train, val or test, got 'training'"),
        ("name,part\n000,train\n", "columns image and split"),
        ("image,split\n000.png,train\n000,test\n", "000: expected one split; take one of its rows away"),
    ],
)
def test_a_wrong_split_csv_is_refused(tmp_path: Path, text: str, says: str) -> None:
    pairs(tmp_path)
    (tmp_path / "split.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=says):
        load_split(f"pairs:{tmp_path}", "all", None)


def test_split_csv_may_name_an_image_without_its_folders_where_that_is_clear(tmp_path: Path) -> None:
    for place in ("images/north/a", "images/north/b", "images/south/b"):
        png(tmp_path / f"{place}.png", ROAD)
        png(tmp_path / f"{place.replace('images', 'masks')}.png", rectangle(0, 0, 9, 2).astype(np.uint8))
    (tmp_path / "split.csv").write_text("image,split\na,test\nsouth/b,test\n", encoding="utf-8")
    assert [image.name for image in load_split(f"pairs:{tmp_path}", "test", None)] == ["north/a", "south/b"]
    (tmp_path / "split.csv").write_text("image,split\nb,test\n", encoding="utf-8")
    with pytest.raises(InputError, match="no image 'b'"):
        load_split(f"pairs:{tmp_path}", "test", None)


# Pairs of image and mask


@pytest.mark.parametrize("value", [1, 255])
def test_pairs_are_read_from_two_folders(tmp_path: Path, value: int) -> None:
    crack = pairs(tmp_path, value=value)
    labels = only(f"pairs:{tmp_path}")
    assert np.array_equal(labels.crack, crack) and (labels.weight == 1).all() and labels.boxes_xyxy_px is None


def test_pairs_are_read_side_by_side(tmp_path: Path) -> None:
    png(tmp_path / "a.jpg", ROAD)
    png(tmp_path / "a_mask.png", rectangle(0, 0, 9, 2).astype(np.uint8))
    assert only(f"pairs:{tmp_path}").crack.sum() == 18


def test_mask_values_mean_what_the_options_say(tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[0:2], mask[4:6], mask[10:13], mask[20:25], mask[30] = 30, 60, 150, 90, 7
    png(tmp_path / "images" / "a.png", ROAD)
    png(tmp_path / "masks" / "a.png", mask)
    labels = only(f"pairs:{tmp_path}:crack=30+60:ignore=150:sealed_crack=90:nothing=7")
    assert np.array_equal(labels.crack, (mask == 30) | (mask == 60))
    assert np.array_equal(labels.weight == 0, mask == 150)
    assert np.array_equal(labels.others["sealed crack"], mask == 90) and list(labels.others) == ["sealed crack"]
    with pytest.raises(InputError, match=r"value 7 has no meaning.*nothing=7"):
        only(f"pairs:{tmp_path}:crack=30+60:ignore=150:sealed_crack=90")


def test_dark_cracks_on_a_white_mask_are_taken_when_said_so(tmp_path: Path) -> None:
    png(tmp_path / "images" / "a.png", ROAD)
    png(tmp_path / "masks" / "a.png", 255 - rectangle(3, 3, 30, 5).astype(np.uint8) * 255)
    with pytest.raises(InputError, match=r"98 % of the mask is crack.*crack=dark"):
        only(f"pairs:{tmp_path}")
    assert np.array_equal(only(f"pairs:{tmp_path}:crack=dark").crack, rectangle(3, 3, 30, 5))


def shares(path: Path) -> None:
    """A mask of 0 and 0.9 in the place of `path`."""
    Image.fromarray(np.where(rectangle(5, 10, 50, 13), 0.9, 0).astype(np.float32)).save(path.with_suffix(".tif"))
    path.unlink()


def bad_pairs() -> dict[str, tuple[Callable[[Path], object], str]]:
    many = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint8)
    colours = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colours[0, :, 0] = 255
    return {
        "three values": (lambda f: png(f / "masks" / "000.png", many), "expected 0 and one other value, got 0, 1, 2"),
        "other size": (lambda f: png(f / "masks" / "000.png", many[:20]), "image's size 60 x 40 px, got 60 x 20"),
        "colours": (lambda f: png(f / "masks" / "000.png", colours), "one value a pixel, got colours"),
        "no mask": (lambda f: png(f / "images" / "b.png", ROAD), "b has no mask"),
        "no image": (lambda f: png(f / "masks" / "c.png", many), "c has no image"),
        "two images": (lambda f: png(f / "images" / "000.jpg", ROAD), r"000\.jpg and 000\.png stand for the same name"),
        "two masks": (lambda f: png(f / "masks" / "000_mask.png", many), r"000\.png and 000_mask\.png stand for"),
        "shares": (
            lambda f: shares(f / "masks" / "000.png"),
            "whole numbers, got fractions.*255 where they are above 0.5",
        ),
        "not a mask": (lambda f: (f / "masks" / "000.png").write_text("x"), "not a readable mask"),
        "not an image": (lambda f: (f / "images" / "000.png").write_bytes(b""), "not a readable image"),
    }


@pytest.mark.parametrize("case", bad_pairs())
def test_a_bad_pair_is_refused_with_its_reason(tmp_path: Path, case: str) -> None:
    spoil, says = bad_pairs()[case]
    pairs(tmp_path)
    spoil(tmp_path)
    with pytest.raises(InputError, match=says):
        only(f"pairs:{tmp_path}")


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("crak=1", "option: expected crack, ignore"),
        ("ignore=1", "crack=VALUE among them"),
        ("crack=300", "mask values 0 to 255"),
        ("crack=1:joint=1", "values with one meaning"),
        ("crack=dark:joint=1", "crack=dark alone"),
    ],
)
def test_a_wrong_option_is_refused(tmp_path: Path, option: str, says: str) -> None:
    pairs(tmp_path)
    with pytest.raises(InputError, match=says):
        load_split(f"pairs:{tmp_path}:{option}", "all", None)


def test_a_float_mask_of_whole_numbers_is_taken(tmp_path: Path) -> None:
    crack = pairs(tmp_path)
    (tmp_path / "masks" / "000.png").unlink()
    Image.fromarray(crack.astype(np.float32)).save(tmp_path / "masks" / "000.tif")
    assert np.array_equal(only(f"pairs:{tmp_path}").crack, crack)


def test_half_a_jpeg_is_not_an_image(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    png(path, np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(UnreadableImageError, match=r"a\.jpg"):
        read_rgb(path)


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


# Synthetic surveys, and the look through a set


def test_a_drawn_survey_is_crack_where_half_a_pixel_is_covered(tmp_path: Path) -> None:
    coverage = np.zeros((HEIGHT, WIDTH), np.uint8)
    coverage[5], coverage[6], coverage[7] = 127, 128, 255
    for drive in ("pass1", "pass2"):
        png(tmp_path / drive / "images" / "00000_t1.000000.jpg", ROAD)
        png(tmp_path / drive / "masks" / "00000_t1.000000.png", coverage)
    images = load_split(f"synth:{tmp_path}", "all", None)
    assert [image.name for image in images] == ["pass1/00000_t1.000000", "pass2/00000_t1.000000"]
    assert np.array_equal(images[0].read().crack, rectangle(0, 6, WIDTH, 8))


def test_a_folder_that_is_no_drawn_survey_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder written by crackmap synth"):
        load_split(f"synth:{tmp_path}", "all", None)


def test_the_look_through_counts_pixels_and_finds_what_is_wrong(tmp_path: Path) -> None:
    pairs(tmp_path, 4)
    # One picture twice, once to train on and once to test on; and one that is damaged.
    (tmp_path / "images" / "003.png").write_bytes((tmp_path / "images" / "000.png").read_bytes())
    (tmp_path / "images" / "002.png").write_bytes(b"no picture")
    (tmp_path / "split.csv").write_text("image,split\n000,train\n001,train\n002,test\n003,test\n", encoding="utf-8")
    (tmp_path / "LICENSE").write_text("\nCC BY 4.0\nlong text\n", encoding="utf-8")
    summary = check_set(f"pairs:{tmp_path}", "test", None)
    assert summary.images == 2 and summary.smallest_wh_px == summary.largest_wh_px == (WIDTH, HEIGHT)
    assert summary.crack_share == pytest.approx(45 * 3 / (WIDTH * HEIGHT)) and summary.crack_free == 0
    assert summary.licence == "CC BY 4.0" and summary.may_train_shipped_weights is None
    unreadable, twin = summary.problems
    assert unreadable.startswith("002: 002.png: not a readable image")
    assert twin == "003 (test) is the same file as 000 (train); keep one of them"
    whole = check_set(f"pairs:{tmp_path}", "all", None)
    assert twin in whole.problems and len(whole.problems) == 2


def test_a_photograph_that_is_in_two_splits_is_warned_of(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    photographs = [cv2.GaussianBlur(rng.integers(0, 255, (140, 200, 3), dtype=np.uint8), (0, 0), 3) for _ in range(3)]
    moved = cv2.resize(photographs[0][4:, 6:], None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    for name, image in (("a", photographs[0][:-4, :-6]), ("b", photographs[1]), ("c", moved), ("d", photographs[2])):
        png(tmp_path / "images" / f"{name}.png", image)
        png(tmp_path / "masks" / f"{name}.png", np.eye(*image.shape[:2], dtype=np.uint8))
    (tmp_path / "split.csv").write_text("image,split\na,train\nb,train\nc,val\nd,test\n", encoding="utf-8")
    for split, count in (("all", 1), ("val", 1), ("train", 1), ("test", 0)):
        summary = check_set(f"pairs:{tmp_path}", split, None)
        assert len(summary.warnings) == count and summary.problems == ()
    found = CliRunner().invoke(cli, ["datasets", f"pairs:{tmp_path}"], standalone_mode=False)
    assert found.return_value == 0
    assert "warning: c (val) looks like the same photograph as a (train)" in found.output


def test_the_val_split_of_cracksc_leaves_out_photographs_of_its_train_split(tmp_path: Path) -> None:
    for name in ("131", "144", "150", "245"):
        png(tmp_path / "cracksc" / "images" / f"{name}.jpg", ROAD)
    rows = "image,split\n131,train\n144,val\n150,val\n245,val\n"
    (tmp_path / "cracksc" / "split.csv").write_text(rows, encoding="utf-8")
    assert [image.name for image in load_split("cracksc", "val", tmp_path)] == ["150"]
    assert [image.name for image in load_split("cracksc", "train", tmp_path)] == ["131"]


def test_the_command_prints_what_it_found_and_returns_4_if_something_is_wrong(tmp_path: Path) -> None:
    pairs(tmp_path / "good", 2)
    good = CliRunner().invoke(cli, ["datasets", f"pairs:{tmp_path / 'good'}", "--json"], standalone_mode=False)
    assert good.return_value == 0
    (row,) = json.loads(good.stdout)
    assert row["images"] == 2 and row["problems"] == []
    pairs(tmp_path / "bad", 2)
    png(tmp_path / "bad" / "masks" / "001.png", np.zeros((3, 3), np.uint8))
    bad = CliRunner().invoke(cli, ["datasets", f"pairs:{tmp_path / 'bad'}"], standalone_mode=False)
    assert bad.return_value == 4 and "problem: 001: 001.png: expected the image's size 60 x 40 px" in bad.output
