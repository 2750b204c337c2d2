"""A person corrects a run: out, changed, back in, kept, taken back; and what files of strangers may not do."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import sqlite3
import zlib
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from faults import harness

from crackmap.calibration.errors import InputError
from crackmap.cli.main import cli
from crackmap.pipeline import frame as frame_module
from crackmap.pipeline.frame import StageSettings
from crackmap.pipeline.journal import JOURNAL_NAME, Journal, open_journal
from crackmap.pipeline.review.areas import mask_image
from crackmap.pipeline.review.exporting import export_frames
from crackmap.pipeline.review.importing import import_corrections, undo_corrections
from crackmap.pipeline.review.names import FrameNames, export_stem
from crackmap.pipeline.review.reading import read_corrected
from crackmap.pipeline.run import RunOptions, RunSettings, run_survey
from crackmap.pipeline.survey import read_survey
from crackmap.stages.datasets.check import check_set

FORMATS = ("labelme", "cvat", "coco", "pairs")


@pytest.fixture(autouse=True)
def stand_in_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_module, "load_stages", lambda *_, **__: harness.stand_ins())


def run(photos: Path, out: Path, *, verify: bool = False) -> int:
    """A run with stand-in nets, in which a pixel is a millimetre; pictures of sections are not made."""
    survey = read_survey(photos, gsd_mm=1.0)
    settings = RunSettings(StageSettings(), section_length_m=0.5, strips=False)
    summary = run_survey(survey, out, harness.stand_ins(), settings, options=RunOptions(verify=verify), command="run")
    return 3 if summary.skipped else 0


def invoke(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def draw(path: Path, rows: tuple[int, ...], faint: tuple[int, ...] = ()) -> None:
    """A road of 320 x 240 px with cracks of 6 x 240 px; the faint ones the stand-in nets do not find."""
    rng = np.random.default_rng(zlib.crc32(path.name.encode()))
    image = rng.integers(155, 161, (240, 320, 1), dtype=np.uint8).repeat(3, axis=2)
    for row in rows:
        image[row : row + 6, 40:280] -= 110
    for row in faint:
        image[row : row + 6, 40:280] -= 8
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a survey of four frames and the run of it: two cracks, one, none, and a faint one."""
    folder = tmp_path_factory.mktemp("review")
    for name, rows, faint in (("a", (60, 160), ()), ("b", (100,), ()), ("drive/c", (), ()), ("drive/d", (60,), (160,))):
        draw(folder / "photos" / f"{name}.png", rows, faint)
    assert run(folder / "photos", folder / "out") == 0
    return folder


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished / "out", tmp_path / "out")


def exported(out: Path, kind: str, *frames: str) -> Path:
    folder = out.parent / f"review-{kind}"
    chosen = [part for frame in frames or ("all",) for part in ("--frames", frame)]
    result = invoke("export", out, "-o", folder, "--format", kind, *chosen)
    assert result.exit_code == 0, result.output
    return folder


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "cracks.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def by_frame(out: Path) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for row in rows_of(out):
        found.setdefault(row["frames"], []).append(row)
    return found


def labelme(folder: Path, key: str) -> tuple[Path, dict]:
    path = folder / f"{export_stem(key)}.json"
    return path, json.loads(path.read_text(encoding="utf-8"))


def edit(folder: Path, key: str, change) -> None:  # type: ignore[no-untyped-def]
    path, content = labelme(folder, key)
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def polygon(label: str, x0: float, y0: float, x1: float, y1: float) -> dict:
    return {"label": label, "points": [[x0, y0], [x1, y0], [x1, y1], [x0, y1]], "shape_type": "polygon"}


def frames_layer(out: Path) -> dict[str, tuple[str, str, int]]:
    with closing(sqlite3.connect(out / "crackmap.gpkg")) as package:
        rows = package.execute("SELECT key, status, source, crack_count FROM frames").fetchall()
    return {key: (status, source, count) for key, status, source, count in rows}


@pytest.mark.parametrize("kind", FORMATS)
def test_nothing_corrected_changes_nothing(out, kind):
    before = harness.tree(out)
    result = invoke("import", out, exported(out, kind))
    assert result.exit_code == 0, result.output
    assert "0 frames corrected, 4 as they were" in result.output
    assert harness.tree(out) == before


def test_outlines_as_they_were_measure_as_the_nets_did(out):
    before = by_frame(out)
    # Of all formats: their pixels are the same, as the test above shows.
    result = invoke("import", out, exported(out, "labelme"), "--unchanged-too")
    assert "4 frames corrected" in result.output
    after = by_frame(out)
    assert {key: len(rows) for key, rows in after.items()} == {"a.png": 2, "b.png": 1, "drive/d.png": 1}
    for key, rows in after.items():
        for old, new in zip(before[key], rows, strict=True):
            assert float(new["length_m"]) == pytest.approx(float(old["length_m"]), rel=0.02)
            assert float(new["mean_w_mm"]) == pytest.approx(float(old["mean_w_mm"]), abs=0.1)
            assert new["confidence"] == "1.0"


def test_images_are_copies_and_nothing_leads_out_of_the_folder(finished, out):
    for kind in FORMATS:
        folder = exported(out, kind)
        assert not any(path.is_symlink() for path in folder.rglob("*"))
        for key in ("a.png", "drive/c.png"):
            (copy,) = (path for path in folder.rglob(f"{export_stem(key)}.png") if path.parent.name != "masks")
            assert copy.read_bytes() == (finished / "photos" / key).read_bytes()
            assert copy.stat().st_nlink == 1


def test_a_deleted_outline_takes_its_crack_away_and_other_frames_stay(out):
    before = by_frame(out)
    folder = exported(out, "labelme")
    edit(folder, "a.png", lambda content: content["shapes"].pop(1))
    result = invoke("import", out, folder, "--by", "A. Person")
    assert "a.png: 2 cracks" in result.output and "1 frames corrected, 3 as they were" in result.output
    after = by_frame(out)
    (left,) = after.pop("a.png")
    assert float(left["length_m"]) == pytest.approx(0.24, rel=0.03)
    same = {key: [{**row, "crack_id": ""} for row in rows] for key, rows in before.items() if key != "a.png"}
    assert {key: [{**row, "crack_id": ""} for row in rows] for key, rows in after.items()} == same
    assert frames_layer(out)["a.png"] == ("ok", "corrected", 1)
    assert frames_layer(out)["b.png"] == ("ok", "nets", 1)


def test_an_added_outline_has_the_length_it_is_drawn_with_and_the_width_of_the_picture(out):
    folder = exported(out, "labelme")
    # Drawn by hand: 2 px too wide on either side.
    edit(folder, "drive/d.png", lambda content: content["shapes"].append(polygon("crack", 40, 158, 280, 168)))
    assert invoke("import", out, folder).exit_code == 0
    _, added = by_frame(out)["drive/d.png"]
    assert float(added["length_m"]) == pytest.approx(0.240, rel=0.03)
    assert float(added["mean_w_mm"]) == pytest.approx(6.0, abs=0.5)
    assert float(added["grey_share"]) > 0.9


def test_a_line_of_labelme_is_enough(out):
    folder = exported(out, "labelme")
    line = {"label": "crack", "points": [[40, 163], [280, 163]], "shape_type": "linestrip"}
    edit(folder, "drive/d.png", lambda content: content["shapes"].append(line))
    assert invoke("import", out, folder).exit_code == 0
    assert float(by_frame(out)["drive/d.png"][1]["mean_w_mm"]) == pytest.approx(6.0, abs=0.5)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_frame_without_outlines_has_no_crack(finished, out, kind):
    folder = exported(out, kind, "b.png")
    if kind == "labelme":
        edit(folder, "b.png", lambda content: content["shapes"].clear())
    elif kind == "coco":
        path = folder / "annotations.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": []}))
    elif kind == "cvat":
        path = folder / "annotations.xml"
        lines = path.read_text(encoding="utf-8").splitlines()
        path.write_text("\n".join(line for line in lines if "<polygon" not in line), encoding="utf-8")
    else:
        (mask,) = (folder / "masks").iterdir()
        mask.write_bytes(cv2.imencode(".png", np.zeros((240, 320), np.uint8))[1].tobytes())
    frames = {frame.key: frame for frame in read_survey(finished / "photos", gsd_mm=1.0).measurable}
    assert [(one.key, one.areas) for one in read_corrected(folder, "auto", frames)[1]] == [("b.png", ())]
    if kind == "coco":
        assert invoke("import", out, folder).exit_code == 0
        assert frames_layer(out)["b.png"] == ("no_crack", "corrected", 0)
        assert "b.png" not in by_frame(out)


def test_the_class_that_a_person_gives_stands(out):
    folder = exported(out, "labelme")

    def rename(content: dict) -> None:
        content["shapes"][0]["label"], content["shapes"][1]["label"] = "sealed_crack", "joint"

    edit(folder, "a.png", rename)
    assert invoke("import", out, folder).exit_code == 0
    kinds = sorted((row["joint"], row["sealed"]) for row in by_frame(out)["a.png"])
    assert kinds == [("0", "1"), ("1", "0")]


def test_other_things_are_left_out_and_said(out):
    folder = exported(out, "labelme")
    edit(folder, "a.png", lambda content: content["shapes"].append(polygon("pothole", 5, 5, 30, 30)))
    result = invoke("import", out, folder)
    assert "Left out, as no crack: 1 x pothole" in result.output and "0 frames corrected" in result.output


def test_an_outline_that_gives_no_line_is_said(out):
    folder = exported(out, "labelme")
    edit(folder, "b.png", lambda content: content["shapes"].append(polygon("crack", 5, 5, 12, 12)))
    result = invoke("import", out, folder)
    assert "b.png: no line could be measured in 1 outlines" in result.output


def correct_one(out: Path) -> Path:
    folder = exported(out, "labelme", "a.png")
    edit(folder, "a.png", lambda content: content["shapes"].pop(1))
    assert invoke("import", out, folder, "--by", "A. Person").exit_code == 0
    return folder


def test_a_later_run_keeps_corrections_byte_for_byte(finished, out):
    correct_one(out)
    before = harness.tree(out)
    assert run(finished / "photos", out, verify=True) == 0
    assert harness.tree(out) == before


def test_a_run_says_that_it_keeps_them(finished, tmp_path):
    arguments = ("run", finished / "photos", "-o", tmp_path / "out", "--gsd", "1", "--no-strips")
    assert invoke(*arguments).exit_code == 0
    correct_one(tmp_path / "out")
    assert "1 frames are as a person corrected them" in invoke(*arguments).output
    assert invoke("sections", tmp_path / "out", "--length", "2").exit_code == 0
    assert len(by_frame(tmp_path / "out")["a.png"]) == 1
    assert json.loads((tmp_path / "out" / "run.json").read_text())["run"]["section_length_m"] == 2.0


def test_undo_brings_everything_back_byte_for_byte(out):
    before = harness.tree(out)
    correct_one(out)
    assert harness.tree(out) != before
    assert invoke("import", out, "--undo", "a.png").exit_code == 0
    assert harness.tree(out) == before


def test_undo_takes_back_the_frames_that_are_named_and_no_other(out):
    folder = exported(out, "labelme")
    for key in ("a.png", "b.png"):
        edit(folder, key, lambda content: content["shapes"].pop())
    assert invoke("import", out, folder).exit_code == 0
    assert invoke("import", out, "--undo", "b.png").exit_code == 0
    assert {key: said[1] for key, said in frames_layer(out).items()}["a.png"] == "corrected"
    with pytest.raises(InputError, match=r"'b\.png' was not corrected"):
        undo_corrections(out, ["b.png"])


def test_what_was_corrected_is_told_with_file_hash_and_person(out):
    folder = correct_one(out)
    (told,) = json.loads((out / "run.json").read_text(encoding="utf-8"))["run"]["corrections"]
    path, _ = labelme(folder, "a.png")
    assert (told["key"], told["by"], told["file"]) == ("a.png", "A. Person", path.name)
    assert told["sha256"] == harness.hashlib.sha256(path.read_bytes()).hexdigest()
    assert told["time"].endswith("+00:00")


def test_a_second_correction_replaces_the_first_and_leaves_no_file(out):
    correct_one(out)
    folder = out.parent / "again"
    assert invoke("export", out, "-o", folder, "--format", "labelme", "--frames", "corrected").exit_code == 0
    _, content = labelme(folder, "a.png")
    assert len(content["shapes"]) == 1
    edit(folder, "a.png", lambda content: content["shapes"].clear())
    assert invoke("import", out, folder).exit_code == 0
    assert len(list((out / "masks").glob("*-corrected-*.tif"))) == 1
    assert frames_layer(out)["a.png"][0] == "no_crack"


def test_another_geometry_measures_corrections_anew(finished, out):
    folder = exported(out, "labelme", "a.png")
    edit(folder, "a.png", lambda content: content["shapes"].pop(1))
    assert invoke("import", out, folder).exit_code == 0
    arguments = ("run", finished / "photos", "-o", out, "--gsd", "2", "--no-strips")
    assert invoke(*arguments).exit_code == 5 or "differ" in str(invoke(*arguments).exception)
    assert invoke(*arguments, "--rerun-changed").exit_code == 0
    (left,) = by_frame(out)["a.png"]
    assert float(left["length_m"]) == pytest.approx(0.48, rel=0.03)
    assert frames_layer(out)["a.png"][1] == "corrected"


def test_a_correction_rests_while_the_image_is_another_and_is_said(finished, tmp_path):
    photos = shutil.copytree(finished / "photos", tmp_path / "photos")
    assert run(photos, tmp_path / "out") == 0
    correct_one(tmp_path / "out")
    whole = (photos / "a.png").read_bytes()
    draw(photos / "a.png", (30,))
    assert run(photos, tmp_path / "out") == 0
    assert frames_layer(tmp_path / "out")["a.png"] == ("ok", "nets", 1)
    notes = json.loads((tmp_path / "out" / "run.json").read_text())["notes"]
    assert any("the correction of a.png rests" in note for note in notes)
    (photos / "a.png").write_bytes(whole)
    assert run(photos, tmp_path / "out") == 0
    assert frames_layer(tmp_path / "out")["a.png"] == ("ok", "corrected", 1)


def test_corrected_frames_are_training_data_without_conversion(out):
    correct_one(out)
    folder = out.parent / "mine"
    result = invoke("export", out, "-o", folder, "--format", "pairs", "--frames", "corrected")
    name = f"pairs:{folder}"
    assert name in result.output
    summary = check_set(name, "all", None)
    assert (summary.images, summary.problems, summary.crack_free) == (1, (), 0)
    assert summary.crack_share == pytest.approx(240 * 6 / (320 * 240), rel=0.1)


def test_pairs_with_other_classes_say_how_training_names_them(out):
    folder = exported(out, "labelme", "a.png")
    edit(folder, "a.png", lambda content: content["shapes"][0].update(label="sealed_crack"))
    assert invoke("import", out, folder).exit_code == 0
    result = invoke("export", out, "-o", out.parent / "mine", "--format", "pairs", "--frames", "a.png")
    (name,) = (word for word in result.output.split() if word.startswith("pairs:"))
    summary = check_set(name, "all", None)
    assert summary.problems == () and summary.others["sealed crack"] > 0


def test_frames_are_chosen_by_length_list_and_key(out, tmp_path):
    (tmp_path / "list.txt").write_text("drive/c.png\n\nb.png\n")
    for chosen, count in (("worst:1", 1), ("worst:50", 3), ("all", 4), (str(tmp_path / "list.txt"), 2), ("b.png", 1)):
        folder = tmp_path / str(count) / chosen.replace("/", "_").replace(":", "_")
        folder.parent.mkdir(exist_ok=True)
        assert invoke("export", out, "-o", folder, "--format", "labelme", "--frames", chosen).exit_code == 0
        assert len(list(folder.glob("*.json"))) == count


@pytest.mark.parametrize(
    ("chosen", "message"), [("e.png", "no frame that was measured"), ("worst:0", "worst:50"), ("corrected", "no such")]
)
def test_frames_that_are_not_there_are_refused(out, tmp_path, chosen, message):
    result = invoke("export", out, "-o", tmp_path / "review", "--format", "labelme", "--frames", chosen)
    assert isinstance(result.exception, InputError) and message in str(result.exception)
    assert not (tmp_path / "review").exists() and not list(tmp_path.glob(".exporting-*"))


def test_a_folder_with_corrections_in_it_is_never_overwritten(finished, out):
    folder = exported(out, "labelme")
    result = invoke("export", out, "-o", folder, "--format", "labelme")
    assert isinstance(result.exception, InputError) and "not empty" in str(result.exception)
    result = invoke("export", out, "-o", finished / "photos" / "review", "--format", "labelme")
    assert isinstance(result.exception, InputError) and "survey folder" in str(result.exception)


def coco(**changes: object) -> str:
    image = {"id": 1, "file_name": "a.png", "width": 320, "height": 240}
    shape = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[40, 60, 280, 60, 280, 66]]}
    content = {"images": [{**image, **changes.pop("image", {})}], "categories": [{"id": 1, "name": "crack"}],  # type: ignore[dict-item]
               "annotations": [{**shape, **changes.pop("shape", {})}], **changes}  # type: ignore[dict-item]  # fmt: skip
    return json.dumps(content)


def xml(inside: str, *, name: str = "a.png", size: str = 'width="320" height="240"', head: str = "") -> str:
    return f'{head}<annotations><image id="0" name="{name}" {size}>{inside}</image></annotations>'


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


def test_painted_masks_and_lines_of_cvat_are_read(out, tmp_path):
    window = np.zeros((10, 250), bool)
    window[2:8, 5:245] = True
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[2], window.ravel(), [2]]).astype(int))))
    shapes = f'<mask label="crack" rle="{", ".join(map(str, runs))}" left="35" top="158" width="250" height="10"/>' \
             '<polyline label="crack" points="40,63;280,63"/>'  # fmt: skip
    path = tmp_path / "annotations.xml"
    path.write_text(xml(shapes, name="subset/d.png"), encoding="utf-8")
    assert invoke("import", out, path).exit_code == 0
    rows = by_frame(out)["drive/d.png"]
    assert [float(row["length_m"]) for row in rows] == pytest.approx([0.24, 0.24], rel=0.03)
    assert [float(row["mean_w_mm"]) for row in rows] == pytest.approx([6.0, 6.0], abs=0.5)


def test_names_are_understood_in_every_way_that_is_not_ambiguous():
    names = FrameNames(["one/a.jpg", "two/a.jpg", "b.png"])
    assert names.find("one/a.jpg", "x") == "one/a.jpg"
    assert names.find(f"images/{export_stem('two/a.jpg')}.jpg", "x") == "two/a.jpg"
    assert names.find("anywhere\\b.png", "x") == "b.png"
    assert names.find("../images/b.png", "x", parents=True) == "b.png"
    with pytest.raises(InputError, match=r"may be one/a\.jpg or two/a\.jpg"):
        names.find("a.jpg", "x")


def killed_import(out: Path, folder: Path, number: int) -> int:
    """Imports with a kill before the write with this number that another process could see."""

    def work() -> int:
        left = number

        def count() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        for owner, names in ((os, ("fsync", "replace", "unlink")), (Journal, ("correct", "set_fact"))):
            for name in names:
                real = getattr(owner, name)

                def counted(*args, _real=real, **kwargs):  # type: ignore[no-untyped-def]
                    count()
                    return _real(*args, **kwargs)

                setattr(owner, name, counted)
        import_corrections(out, folder)
        return 0

    return harness.waited(harness.in_child(work))


def ends_of_killed_imports(finished: Path, out: Path, tmp_path: Path, numbers: Iterable[int]) -> set[int]:
    """Which ends imports come to that are killed before these writes: 0 nothing of it, 1 all of it."""
    folder = exported(out, "labelme")
    for key in ("a.png", "b.png"):
        edit(folder, key, lambda content: content["shapes"].pop())
    whole = shutil.copytree(out, tmp_path / "whole")
    import_corrections(whole, folder)
    ends = [harness.tree(out), harness.tree(whole)]
    reached = set()
    for number in numbers:
        tried = shutil.copytree(out, tmp_path / f"killed-{number}")
        code = killed_import(tried, folder, number)
        assert code in (0, -signal.SIGKILL)
        assert run(finished / "photos", tried) == 0
        reached.add(ends.index(harness.tree(tried)))
        with open_journal(tried) as journal:
            assert len(list(journal.corrections())) in (0, 2)
        if code == 0:
            break
    assert code == 0
    return reached


def test_an_import_that_is_killed_leaves_all_of_it_or_nothing(finished, out, tmp_path):
    assert ends_of_killed_imports(finished, out, tmp_path, (5, 9, 1000)) == {0, 1}


@pytest.mark.slow
def test_an_import_that_is_killed_anywhere_leaves_all_of_it_or_nothing(finished, out, tmp_path):
    assert ends_of_killed_imports(finished, out, tmp_path, range(1, 1000)) == {0, 1}


def test_a_journal_of_an_older_version_is_refused_with_the_remedy(out):
    with closing(sqlite3.connect(out / JOURNAL_NAME)) as journal:
        journal.execute("PRAGMA user_version = 3")
    for command in (("status", out), ("export", out, "-o", out.parent / "x", "--format", "coco")):
        result = invoke(*command)
        assert isinstance(result.exception, InputError) and "another version of crackmap" in str(result.exception)
