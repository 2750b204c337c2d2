"""Single images: what a mask means, what is reported, and outputs that never overwrite each other."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from crackmap.calibration.errors import InputError
from crackmap.pipeline.frame import Stages
from crackmap.pipeline.labels import labelled_jpeg
from crackmap.pipeline.mask_files import mask_of, masks_of_images
from crackmap.pipeline.single import detect_images, measure_images, segment_images
from crackmap.pipeline.single_report import image_report, measure_table
from crackmap.stages.detect.settings import DetectSettings
from crackmap.stages.records import Crack
from crackmap.stages.tiling import ArraySource


def mask(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((40, 60), np.uint8)
    pixels[18:22, 5:55] = 255
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize(("first", "second"), [("cam1/1.png", "cam2/1.png"), ("a.png", "a.tif"), ("A.png", "b/a.png")])
def test_images_whose_outputs_would_have_one_name_are_refused_before_anything_is_written(tmp_path, first, second):
    paths = [mask(tmp_path / "other.png"), mask(tmp_path / first), mask(tmp_path / second)]
    out = tmp_path / "out"
    message = f"{first} and .*{second}: their outputs would have the same name .* own --out"
    with pytest.raises(InputError, match=message):
        measure_images(paths, None, gsd_mm=None, out=out)
    with pytest.raises(InputError, match=message):
        detect_images(paths, settings=DetectSettings(), weights=tmp_path / "none.pt", device="cpu", out=out)
    with pytest.raises(InputError, match=message):
        # Refused before the nets are used: none is needed here.
        list(segment_images(paths, Stages.__new__(Stages), out=out, failed=[]))
    assert not out.exists()


def test_without_an_output_folder_equal_names_are_no_matter(tmp_path):
    paths = [mask(tmp_path / "cam1" / "1.png"), mask(tmp_path / "cam2" / "1.png")]
    reports, failed = measure_images(paths, None, gsd_mm=None, out=None)
    assert [report["image"] for report in reports] == [str(path) for path in paths]
    assert failed == []


def test_an_image_given_twice_is_no_clash(tmp_path):
    path = mask(tmp_path / "a.png")
    out = tmp_path / "out"
    out.mkdir()
    reports, _ = measure_images([path, out / ".." / "a.png"], None, gsd_mm=1.0, out=out)
    assert len(reports) == 2
    assert (out / "a_cracks.jpg").is_file()


def crack(**more: object) -> Crack:
    """A taper from 1 to 5 px over 400 px; with a scale of 2 mm, 2 to 10 mm over 0.8 m."""
    line, width = np.array([[50.0, 50.0], [450.0, 50.0]]), np.array([1.0, 5.0])
    metric = {"centreline_xy_m": line * 2e-3, "width_mm": width * 2, "length_m": 0.8, "gsd_mm": (2.0, 2.0)}
    numbers = {"u_length_px": 1.5, "u_length_m": 0.004, "u_width_px": 0.1, "u_width_mm": 0.25, "grey_share": 0.6}
    return replace(Crack(line, width, 400.0, 90.0, 0.9, False, **metric, **numbers), **more)


def report_of(*cracks: Crack, gsd_mm: float | None = 2.0, edges: tuple[float, ...] = ()) -> dict:
    return image_report("a.png", cracks, size_wh_px=(500, 100), gsd_mm=gsd_mm, width_edges=edges)


def test_every_number_stands_in_the_report_with_its_uncertainty_and_the_report_is_json():
    report = json.loads(json.dumps(report_of(crack()), allow_nan=False))
    (one,) = report["cracks"]
    assert (one["length_m"], one["u_length_m"], one["mean_width_mm"], one["u_mean_width_mm"]) == (0.8, 0.004, 6.0, 0.25)
    assert (one["length_px"], one["u_length_px"], one["mean_width_px"], one["u_mean_width_px"]) == (400, 1.5, 3.0, 0.1)
    assert (one["widths_px"], one["widths_mm"]) == ([1.0, 5.0], [2.0, 10.0])
    assert report["totals"] == {"cracks": 1, "length_m": 0.8, "u_length_m": 0.004, "mean_width_mm": 6.0}


def test_the_total_is_unsure_by_the_sum_and_has_no_uncertainty_where_one_crack_has_none():
    assert report_of(crack(), crack())["totals"]["u_length_m"] == pytest.approx(0.008)
    assert report_of(crack(), crack(u_length_m=None))["totals"]["u_length_m"] is None
    assert report_of()["totals"] == {"cracks": 0, "length_m": 0, "u_length_m": None, "mean_width_mm": None}


def test_length_by_width_class_adds_up_to_the_length():
    classes = report_of(crack(), edges=(4.0, 8.0))["width_classes"]
    assert [item["length_m"] for item in classes] == pytest.approx([0.2, 0.4, 0.2])
    assert [(item["from_mm"], item["to_mm"]) for item in classes] == [(0.0, 4.0), (4.0, 8.0), (8.0, None)]
    pixels = crack(centreline_xy_m=None, width_mm=None, length_m=None, gsd_mm=None)
    classes = report_of(pixels, gsd_mm=None, edges=(3.0,))["width_classes"]
    assert [item["length_px"] for item in classes] == pytest.approx([200.0, 200.0])


def test_the_table_says_in_words_what_is_wrong_with_a_crack():
    flagged = crack(touches_border=True, saturated=True, below_resolution=True, gap_px=20.0, grey_share=0.0)
    table = measure_table([report_of(crack(), flagged, edges=(4.0,))])
    assert "0.800 ± 0.004" in table and "6.00 ± 0.25" in table and "1.600 ± 0.008" in table
    assert "leaves the image, black or white in the image: edges not seen, under 1 px wide" in table
    assert "40 mm of gaps joined" in table
    first, second = (line for line in table.splitlines() if line.strip().startswith(("1 ", "2 ")))
    assert "image 60 %" in first and "mask" in second and first.split("image 60 %")[1].strip() == ""
    assert "4 mm and wider" in table and "standard uncertainty" in table


def rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def test_a_mask_of_0_and_1_is_not_empty_and_says_how_it_was_taken():
    grey = np.zeros((10, 20))
    grey[4:6] = 1
    read = mask_of(rgb(grey))
    np.testing.assert_array_equal(read.probability, grey * 255)
    assert "1 is taken as crack" in read.notes[0]


def test_grey_values_are_probabilities_and_a_plain_mask_needs_no_note():
    grey = np.tile(np.arange(0, 250, 25), (5, 1))
    read = mask_of(rgb(grey))
    np.testing.assert_array_equal(read.probability, grey)
    assert read.notes == ()


@pytest.mark.parametrize(
    ("pixels", "note"),
    [
        (rgb(np.zeros((4, 4))), "black"),
        (rgb(np.full((4, 4), 3)), "class numbers"),
        (rgb(np.full((4, 4), 255)), "invert"),
        (np.tile(np.array([200, 60, 60], np.uint8), (4, 4, 1)), "colour"),
    ],
)
def test_a_mask_that_may_be_misunderstood_carries_a_note(pixels, note):
    assert any(note in text for text in mask_of(pixels).notes)


def test_a_mask_beside_an_image_is_measured_with_that_image(tmp_path):
    photo = np.full((40, 60), 150, np.uint8)
    photo[18:22, 5:55] = 60
    Image.fromarray(photo).save(tmp_path / "a.png")
    given = mask(tmp_path / "masks" / "a_crack.png")
    (report,), failed = measure_images([tmp_path / "a.png"], None, gsd_mm=None, out=None, mask=given)
    assert failed == [] and report["mask"] == str(given)
    assert report["cracks"][0]["mean_width_px"] == pytest.approx(4.0, abs=0.3)
    (same,), _ = measure_images([tmp_path / "a.png"], None, gsd_mm=None, out=None, mask=tmp_path / "masks")
    assert same == report


def test_a_mask_of_another_size_is_refused_with_both_sizes(tmp_path):
    Image.fromarray(np.full((80, 120), 150, np.uint8)).save(tmp_path / "a.png")
    given = mask(tmp_path / "m.png")
    with pytest.raises(InputError, match=r"120 x 80 pixels and its mask .*m.png 60 x 40; give the mask made from"):
        measure_images([tmp_path / "a.png"], None, gsd_mm=None, out=None, mask=given)


def test_an_unreadable_mask_skips_its_image_and_names_both(tmp_path):
    image = mask(tmp_path / "a.png")
    (tmp_path / "m.png").write_bytes(b"no image")
    reports, failed = measure_images([image], None, gsd_mm=None, out=None, mask=tmp_path / "m.png")
    assert reports == [] and "a.png: its mask m.png" in failed[0]


def test_masks_are_found_by_name_and_a_missing_or_double_one_is_refused(tmp_path):
    masks = tmp_path / "masks"
    a, b = mask(masks / "a_crack.png"), mask(masks / "b.png")
    images = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    assert masks_of_images(images, masks) == [a, b]
    with pytest.raises(InputError, match="one mask for 2 images"):
        masks_of_images(images, a)
    with pytest.raises(InputError, match=r"c.jpg: expected one mask .* got none"):
        masks_of_images([tmp_path / "c.jpg"], masks)
    mask(masks / "a.png")
    with pytest.raises(InputError, match=r"got a_crack.png, a.png"):
        masks_of_images(images, masks)


@pytest.mark.parametrize("size", [(500, 100), (2000, 1000)])
def test_labels_change_the_picture_beside_the_crack_and_an_image_without_cracks_stays_as_it_is(size):
    image = np.full((size[1], size[0], 3), 128, np.uint8)

    def picture(*cracks: Crack) -> np.ndarray:
        return cv2.imdecode(np.frombuffer(labelled_jpeg(ArraySource(image), cracks), np.uint8), cv2.IMREAD_COLOR)

    plain, drawn = picture(), picture(crack())
    assert plain.shape == drawn.shape and max(plain.shape) == max(size[0], 960)
    assert np.abs(plain.astype(int) - 128).max() <= 2
    # A legend of five lines and a label with text; the image itself is not written to.
    assert (np.abs(drawn.astype(int) - 128).max(axis=2) > 40).mean() > 0.005
    assert (image == 128).all()


def test_labels_of_a_crowded_picture_do_not_hide_it():
    rng = np.random.default_rng(1)
    cracks = []
    for _ in range(150):
        line = rng.uniform(0, 900, (1, 2)) + np.cumsum(rng.uniform(-8, 8, (20, 2)) + rng.uniform(-4, 4, 2), axis=0)
        length = float(np.hypot(*np.diff(line, axis=0).T).sum())
        cracks.append(Crack(line, rng.uniform(1, 9, 20), length, 0.0, 0.9, False))
    image = np.full((1000, 1000, 3), 128, np.uint8)
    drawn = cv2.imdecode(np.frombuffer(labelled_jpeg(ArraySource(image), cracks), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert (drawn < 90).mean() < 0.4
