"""A person corrects a run: out, changed, back in, kept, taken back."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing

import cv2
import numpy as np
import pytest
from faults import harness
from reviewing import (
    FORMATS,
    by_frame,
    correct_one,
    draw,
    edit,
    exported,
    frames_layer,
    invoke,
    labelme,
    polygon,
    run,
    xml,
)

from crackmap.calibration.errors import InputError
from crackmap.pipeline.journal import JOURNAL_NAME
from crackmap.pipeline.review.importing import undo_corrections
from crackmap.pipeline.review.names import export_stem
from crackmap.pipeline.review.reading import read_corrected
from crackmap.pipeline.survey import read_survey
from crackmap.stages.datasets.check import check_set


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


def test_a_journal_of_an_older_version_is_refused_with_the_remedy(out):
    with closing(sqlite3.connect(out / JOURNAL_NAME)) as journal:
        journal.execute("PRAGMA user_version = 3")
    for command in (("status", out), ("export", out, "-o", out.parent / "x", "--format", "coco")):
        result = invoke(*command)
        assert isinstance(result.exception, InputError) and "another version of crackmap" in str(result.exception)
