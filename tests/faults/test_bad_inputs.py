"""Every kind of bad input among 200 good frames: each is named with its reason; the good ones are as without them."""

import os
import sqlite3
import struct
import zlib
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from faults import harness
from PIL import Image
from rasterio.io import MemoryFile

from crackmap.calibration.errors import InputError
from crackmap.pipeline.checking import check_survey
from crackmap.pipeline.journal import JOURNAL_NAME
from crackmap.pipeline.run import RunOptions, run_survey
from crackmap.pipeline.status import run_status
from crackmap.pipeline.survey import read_survey

GOOD = 200

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def tiff(count: int, dtype: str) -> bytes:
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", width=30, height=20, count=count, dtype=dtype) as dataset:
            dataset.write(np.ones((count, 20, 30), dtype))
        return bytes(memory.read())


def bomb() -> bytes:
    """A PNG of 40,000 x 40,000 px in a few kilobytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(9000))) + chunk(b"IEND", b"")


def bad_files(good: bytes) -> dict[str, tuple[bytes, str]]:
    """Name -> content, and what its reason says."""
    return {
        "cut.png": (good[: len(good) // 2], "truncated"),
        "empty.jpg": (b"", "empty file"),
        "text.jpg": (b"<html>no picture</html>", "not a JPEG, PNG or TIFF"),
        "float.tif": (tiff(1, "float32"), "expected 8 or 16 bits"),
        "two_bands.tif": (tiff(2, "uint8"), "expected one band"),
        "bomb.png": (bomb(), "--max-mpx"),
        "other.jpg": (b'<VRTDataset rasterXSize="9" rasterYSize="9"></VRTDataset>', "not a JPEG, PNG or TIFF"),
        "wrong_size.jpg": (b"\xff\xd8\xff\xe0" + bytes(60), "damaged"),
    }


def odd_but_good(folder: Path) -> list[str]:
    """Pictures in unusual clothes, and their keys."""
    rng = np.random.default_rng(5)
    array = rng.integers(120, 180, (120, 160, 3), dtype=np.uint8)
    image = Image.fromarray(array)
    image.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(array[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    image.convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "palette.png")
    Image.fromarray(np.dstack([array, array[..., :1]])).save(folder / "alpha.png")
    names = ["cmyk.jpg", "deep.png", "palette.png", "alpha.png"]
    for number, name in enumerate(("=1+1.png", "-rf.png", "%#?! `'\".png", "<img onerror=x>.png", "line\nbreak.png",
                                   "ä" * 120 + ".png")):  # fmt: skip
        array[0, 0] = number
        Image.fromarray(array).save(folder / "plain.png")
        (folder / "plain.png").rename(folder / name)
        names.append(name)
    array[0, 0] = 99
    Image.fromarray(array).save(folder / "plain.png")
    (folder / "plain.png").rename(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.png"))
    return [*names, "\\xff\\xfe.png"]


def rows(out: Path) -> dict[str, tuple[object, ...]]:
    """What was found in each frame, by key."""
    with closing(sqlite3.connect(out / JOURNAL_NAME)) as journal:
        found = journal.execute("SELECT key, status, reason, cracks, mask_sha256 FROM frames").fetchall()
    return {row[0]: row[1:] for row in found}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    folder = tmp_path_factory.mktemp("mixed")
    survey = harness.draw_survey(folder / "survey", GOOD)
    assert harness.run(survey, folder / "before") == 0
    for name, (content, _) in bad_files((survey / "0000.png").read_bytes()).items():
        (survey / name).write_bytes(content)
    (survey / "copy.png").write_bytes((survey / "0007.png").read_bytes())
    (survey / "loop").symlink_to(survey)
    odd = odd_but_good(survey)
    return folder, survey, odd


def test_bad_input_is_named_and_good_frames_are_as_without_it(mixed):
    folder, survey, odd = mixed
    assert harness.run(survey, folder / "out") == 3
    before, after = rows(folder / "before"), rows(folder / "out")
    assert len(before) == GOOD
    # On the sheet that frames without a position are laid out on, masks lie elsewhere with more frames before them.
    assert {key: after[key][:3] for key in before} == {key: row[:3] for key, row in before.items()}
    assert all(after[name][0] in ("ok", "no_crack") for name in odd)
    found = read_survey(survey, gsd_mm=1.0)
    status = run_status(folder / "out")
    assert status.finished and not status.running and status.unusable == len(found.skipped) > 0
    lost = dict(status.lost) | dict(found.skipped)
    bad = bad_files(b"x")
    assert set(lost) == set(bad)
    for name, (_, says) in bad.items():
        assert says in lost[name], f"{name}: {lost[name]}"
    table = (folder / "out" / "skipped.csv").read_text(encoding="utf-8")
    assert "copy.png,duplicate,the same file as 0007.png" in table
    assert all(name in table for name in bad)
    assert any("1 links are not followed" in note for note in found.notes)


def test_check_names_beforehand_what_a_run_loses(mixed):
    _, survey, _ = mixed
    findings = {finding.key: finding for finding in check_survey(read_survey(survey, gsd_mm=1.0))}
    assert set(findings) == {*bad_files(b"x"), "copy.png"}
    assert findings["copy.png"].status == "duplicate"


def test_too_many_unreadable_images_stop_the_run_before_the_nets(tmp_path):
    survey = harness.draw_survey(tmp_path / "survey", 30)
    for number in range(10):
        (survey / f"bad{number}.jpg").write_bytes(b"no picture")
    assert harness.run(survey, tmp_path / "out") == 4
    assert harness.run(survey, tmp_path / "out", most_unreadable=0.5) == 3


def test_strict_stops_at_the_first_image_that_cannot_be_used(tmp_path):
    survey = harness.draw_survey(tmp_path / "survey", 3)
    content = (survey / "0001.png").read_bytes()
    (survey / "0001.png").write_bytes(content[: len(content) // 2])
    assert harness.run(survey, tmp_path / "out", strict=True) == 4
    assert harness.run(survey, tmp_path / "out") == 3
    (survey / "0001.png").write_bytes(content)
    assert harness.run(survey, tmp_path / "out", strict=True) == 0


def test_verify_finds_what_size_and_time_do_not_tell(tmp_path):
    survey = harness.draw_survey(tmp_path / "survey", 2)
    assert harness.run(survey, tmp_path / "out") == 0
    expected = harness.tree(tmp_path / "out")
    (mask, _) = sorted((tmp_path / "out" / "masks").iterdir())
    content = bytearray(mask.read_bytes())
    content[-1] ^= 1
    mask.write_bytes(content)
    assert harness.run(survey, tmp_path / "out") == 0
    assert harness.tree(tmp_path / "out") != expected
    assert harness.run(survey, tmp_path / "out", verify=True) == 0
    assert harness.tree(tmp_path / "out") == expected


def test_names_that_are_one_on_other_file_systems_are_refused(tmp_path):
    survey = harness.draw_survey(tmp_path / "survey", 2)
    (survey / "a.png").write_bytes((survey / "0000.png").read_bytes())
    (survey / "A.png").write_bytes((survey / "0001.png").read_bytes())
    assert harness.run(survey, tmp_path / "out") == 4


def test_images_without_a_scale_are_refused_where_a_calibration_is_required(tmp_path):
    harness.draw_survey(tmp_path / "survey", 2)
    said = "2 of 2 images have no ground scale, the first 0000.png: give --gsd"
    with pytest.raises(InputError, match=said):
        run_survey(
            read_survey(tmp_path / "survey"), tmp_path / "out", harness.stand_ins(), harness.SETTINGS,
            options=RunOptions(require_calibration=True),
        )  # fmt: skip
    assert harness.run(tmp_path / "survey", tmp_path / "out", require_calibration=True) == 0
