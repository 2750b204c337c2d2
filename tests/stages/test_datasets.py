"""Users' own sets: their names and splits, masks in folders, drawn surveys; bad ones, each with its reason."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from dataset_files import HEIGHT, ROAD, WIDTH, only, png, rectangle
from PIL import Image

from crackmap.calibration.errors import InputError, UnreadableImageError
from crackmap.cli.main import cli
from crackmap.stages.datasets.check import check_set
from crackmap.stages.datasets.crops import check_mixture
from crackmap.stages.datasets.formats import parse_source
from crackmap.stages.datasets.labels import read_rgb
from crackmap.stages.datasets.own import hash_split
from crackmap.stages.datasets.sources import load_split

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
    mixture = {"rendered": 0.4, "dnit": 0.3, "pairs:/my/folder": 0.3}
    check_mixture(mixture)
    with pytest.raises(InputError, match="nowhere"):
        check_mixture({**mixture, "nowhere": 0.3})


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
