"""What corrected files of strangers may not do, and how names in them are understood."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing

import cv2
import numpy as np
import pytest
from faults import harness
from reviewing import correct_one, draw, edit, exported, invoke, run, xml

from crackmap.calibration.errors import InputError
from crackmap.pipeline.journal import JOURNAL_NAME
from crackmap.pipeline.review.areas import mask_image
from crackmap.pipeline.review.exporting import export_frames
from crackmap.pipeline.review.importing import import_corrections
from crackmap.pipeline.review.names import FrameNames, export_stem
from crackmap.pipeline.review.reading import read_corrected
from crackmap.pipeline.survey import read_survey


def coco(**changes: object) -> str:
    image = {"id": 1, "file_name": "a.png", "width": 320, "height": 240}
    shape = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[40, 60, 280, 60, 280, 66]]}
    content = {"images": [{**image, **changes.pop("image", {})}], "categories": [{"id": 1, "name": "crack"}],  # type: ignore[dict-item]
               "annotations": [{**shape, **changes.pop("shape", {})}], **changes}  # type: ignore[dict-item]  # fmt: skip
    return json.dumps(content)


def shape_of(points: str) -> str:
    return xml(f'<polygon label="crack" points="{points}"/>')


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'
HOSTILE = {
    "empty.json": ("", "not JSON"),
    "empty.xml": ("", "not a plain XML"),
    "latin.json": ('{"shapes": "é"}'.encode("latin-1"), "not JSON"),
    "list.json": ("[]", "a JSON object"),
    "deep.json": ("[" * 100_000, "not JSON"),
    "frame.json": (coco(image={"file_name": "z.png"}), "no frame of this run"),
    "trick.json": (coco(image={"file_name": "../../a.png"}), "leads out"),
    "absolute.json": (coco(image={"file_name": "/etc/a.png"}), "leads out"),
    "drive.json": (coco(image={"file_name": "C:\\a.png"}), "leads out"),
    "size.json": (coco(image={"width": 240, "height": 320}), "240 x 320 px"),
    "nosize.json": (coco(image={"width": None}), "no stated size"),
    "nan.json": (coco(shape={"segmentation": [[40, 60, 280, float("nan"), 280, 66]]}), "finite"),
    "huge.json": (coco(shape={"segmentation": [[40, 60, 1e300, 60, 280, 66]]}), "finite"),
    "infinite.json": (coco(shape={"segmentation": [[40, 60, 280, 60, 280, 66]]}).replace("280", "1e999"), "finite"),
    "outside.json": (coco(shape={"segmentation": [[40, 60, 323, 60, 280, 66]]}), "outside"),
    "odd.json": (coco(shape={"segmentation": [[40, 60, 280]]}), "pairs of numbers"),
    "texts.json": (coco(shape={"segmentation": [["a", "b", "c", "d", "e", "f"]]}), "pairs of numbers"),
    "box.json": (coco(shape={"segmentation": [], "bbox": [1, 2, 30, 40]}), "is a box"),
    "runs.json": (coco(shape={"segmentation": {"counts": [1, 2], "size": [240, 320]}}), "a sum of"),
    "turned.json": (coco(shape={"segmentation": {"counts": [76800], "size": [320, 240]}}), "run lengths"),
    "class.json": (coco(categories=[{"id": 1, "name": "fissure"}]), "crack, sealed_crack or joint"),
    "area.json": (coco(categories=[{"id": 1, "name": "alligator"}]), "marks an area"),
    "noname.json": (coco(categories=[{"id": 1}]), "crack, sealed_crack or joint"),
    "ids.json": (coco(image={"id": [1]}), "ids that are numbers"),
    "whose.json": (coco(shape={"image_id": 7}), "id of an image"),
    "full.json": (coco(shape={"segmentation": [[0, 0, 320, 0, 320, 240, 0, 240]]}), "marked as crack"),
    "bomb.xml": (xml("", head=BOMB), "not a plain XML"),
    "outer.xml": (xml("", head='<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'), "not a plain XML"),
    "other.xml": ("<annotation/>", "CVAT for images"),
    "video.xml": ("<annotations><track/></annotations>", "tracks of a video"),
    "frame.xml": (xml("", name="z.png"), "no frame of this run"),
    "trick.xml": (xml("", name="../a.png"), "leads out"),
    "size.xml": (xml("", size='width="9" height="9"'), "9 x 9 px"),
    "nosize.xml": (xml("", size=""), "whole number"),
    "nan.xml": (shape_of("1,1;nan,3;5,5"), "finite"),
    "outside.xml": (shape_of("1,1;5000,3;5,5"), "outside"),
    "words.xml": (shape_of("a,b;c,d"), "pairs of numbers"),
    "box.xml": (xml('<box label="crack" xtl="1" ytl="1" xbr="9" ybr="9"/>'), "polygon, a polyline or a mask"),
    "runs.xml": (xml('<mask label="crack" rle="1,2" left="0" top="0" width="9" height="9"/>'), "runs of 0 or more"),
    "vast.xml": (xml('<mask label="crack" rle="1" left="0" top="0" width="99999999" height="99999999"/>'), "runs of"),
    "beyond.xml": (xml('<mask label="crack" rle="0,81" left="319" top="0" width="9" height="9"/>'), "outside"),
    "nothing.xml": ("<annotations/>", "holds no corrected frame"),
    "twice.xml": (xml('</image><image name="a.png" width="320" height="240">'), "corrected twice"),
    "notes.txt": ("", "of no known format"),
    "broken.png": (b"\x89PNG\r\n\x1a\n", "no frame of this run"),
    "a.png": (b"\x89PNG\r\n\x1a\n", "save the mask again"),
    "b_mask.png": (cv2.imencode(".png", np.zeros((9, 9), np.uint8))[1].tobytes(), "9 x 9 px"),
    "b_crack.png": (
        cv2.imencode(".png", np.arange(240, dtype=np.uint8)[:, None].repeat(320, 1))[1].tobytes(),
        "values",
    ),
    "b.png": (cv2.imencode(".png", np.full((240, 320, 3), (9, 90, 200), np.uint8))[1].tobytes(), "colours"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_cannot_be_used_is_refused_with_the_reason_and_nothing_is_written(finished, tmp_path, name):
    content, message = HOSTILE[name]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = harness.tree(finished / "out")
    with pytest.raises(InputError, match=message) as refused:
        import_corrections(finished / "out", path)
    assert name.partition(".")[0] in str(refused.value)
    assert len(str(refused.value)) < 400
    assert harness.tree(finished / "out") == before


@pytest.mark.parametrize(
    "shape",
    [
        {"label": "crack", "points": [[9, 9], [9, 9]], "shape_type": "circle"},
        {"label": "crack", "points": [[9, 9], [1e200, -1e200]], "shape_type": "circle"},
        {"label": "crack", "points": [[1e308, 9], [-1e308, 9]], "shape_type": "linestrip"},
        {"label": "crack", "points": [[9, 9], [9, 9]], "shape_type": "linestrip"},
        {"label": "crack", "points": [[9, 9], [90, 90]], "shape_type": "rectangle"},
        {"label": "crack", "points": [[9, 9]], "shape_type": "point"},
        {"label": "crack", "points": [[9, 9]] * 3},
        {"label": "crack\x1b[31m\ud800", "points": [[9, 9]] * 3},
        {"label": 7, "points": [[9, 9]] * 3},
        {"label": "crack", "points": {"x": 1}},
    ],
)  # fmt: skip
def test_shapes_of_labelme_that_are_none_are_refused_or_measure_nothing(finished, tmp_path, shape):
    path = tmp_path / "a.json"
    head = {"imagePath": "a.png", "imageWidth": 320, "imageHeight": 240}
    path.write_text(json.dumps({**head, "shapes": [shape]}))
    frames = {frame.key: frame for frame in read_survey(finished / "photos", gsd_mm=1.0).measurable}
    try:
        _, (reading,) = read_corrected(path, "auto", frames)
    except InputError as error:
        assert "a.json" in str(error) and len(str(error)) < 400
    else:
        assert not mask_image(reading.areas, (320, 240)).any() or shape["shape_type"] == "linestrip"


def test_outlines_in_a_journal_that_are_none_are_refused(out):
    correct_one(out)
    for areas in (
        "5",
        "[5]",
        "[[]]",
        '[["crack"]]',
        '[["crack", [[1, 2]]]]',
        '[["crack", [[1, NaN], [3, 4], [5, 6]]]]',
    ):
        with closing(sqlite3.connect(out / JOURNAL_NAME)) as journal, journal:
            journal.execute("UPDATE corrections SET areas = ?", (areas,))
        with pytest.raises(InputError, match="journal"):
            export_frames(out, out.parent / "x", "coco", ["corrected"])


def test_one_wrong_frame_among_good_ones_changes_nothing(out):
    folder = exported(out, "labelme")
    edit(folder, "a.png", lambda content: content["shapes"].pop())
    edit(folder, "drive/d.png", lambda content: content["shapes"][0]["points"].append([9999, 1]))
    before = harness.tree(out)
    assert isinstance(invoke("import", out, folder).exception, InputError)
    assert harness.tree(out) == before


def test_an_image_that_changed_since_the_run_is_refused(finished, tmp_path):
    photos = shutil.copytree(finished / "photos", tmp_path / "photos")
    assert run(photos, tmp_path / "out") == 0
    folder = exported(tmp_path / "out", "labelme", "a.png")
    edit(folder, "a.png", lambda content: content["shapes"].pop())
    draw(photos / "a.png", (30,))
    result = invoke("import", tmp_path / "out", folder)
    assert isinstance(result.exception, InputError) and "has changed" in str(result.exception)
    result = invoke("export", tmp_path / "out", "-o", tmp_path / "again", "--format", "coco", "--frames", "a.png")
    assert isinstance(result.exception, InputError) and "has changed" in str(result.exception)


def test_names_are_understood_in_every_way_that_is_not_ambiguous():
    names = FrameNames(["one/a.jpg", "two/a.jpg", "b.png"])
    assert names.find("one/a.jpg", "x") == "one/a.jpg"
    assert names.find(f"images/{export_stem('two/a.jpg')}.jpg", "x") == "two/a.jpg"
    assert names.find("anywhere\\b.png", "x") == "b.png"
    assert names.find("../images/b.png", "x", parents=True) == "b.png"
    with pytest.raises(InputError, match=r"may be one/a\.jpg or two/a\.jpg"):
        names.find("a.jpg", "x")
