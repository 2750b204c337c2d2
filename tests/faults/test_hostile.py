"""Files made to do harm, given to the real command line: each is refused with its reason, or harmless.

Nothing else happens: no other process, no connection, no file read or written but those that belong to the command
(`hostile.py`).
"""

from __future__ import annotations

import csv
import html
import io
import json
import os
import pickle
import re
import shutil
import socket
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from faults import harness, hostile
from faults.hostile import DEEP, ENDLESS, Place, picture, png_of, safetensors, tiff, watched, weights
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from crackmap.calibration.errors import InputError, WeightsError
from crackmap.cli.progress import frame_progress
from crackmap.pipeline.journal import JOURNAL_NAME
from crackmap.stages.training.loop import _read_checkpoint
from crackmap.stages.weights import read_weights

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

REPORT_SCRIPT = files("crackmap.pipeline.products").joinpath("report.js").read_text("utf-8")


def header_of(**tensor: object) -> bytes:
    return safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **tensor}})


def pickled(place: Place) -> bytes:
    return pickle.dumps({"state_dict": hostile.Payload(place.root / "touched")})


def zipped(place: Place) -> bytes:
    torch.save({"state_dict": hostile.Payload(place.root / "touched")}, place.root / "tmp" / "made.pt")
    content = (place.root / "tmp" / "made.pt").read_bytes()
    (place.root / "tmp" / "made.pt").unlink()
    return content


WIDE = {"reduce_channels": 10**9, "branch_channels": 10**9}
WEIGHTS: dict[str, tuple[str, Callable[[Place], bytes] | bytes, str]] = {
    "pickle as .pt": ("w.pt", pickled, "not a safetensors file"),
    "zip of pickles as .pt": ("w.pt", zipped, "not a safetensors file"),
    "zip of pickles as .ckpt": ("w.ckpt", zipped, "not a safetensors file"),
    "pickle named .safetensors": ("w.safetensors", pickled, "not a safetensors file"),
    "zip named .safetensors": ("w.safetensors", zipped, "not a safetensors file"),
    "header longer than the file": ("w.safetensors", safetensors(b"{}", length=10**6), "not a safetensors file"),
    "header of 2^63 bytes": ("w.safetensors", safetensors(b"{}", length=1 << 63), "not a safetensors file"),
    "header is no JSON": ("w.safetensors", safetensors(b"import os; os.system('id')"), "not a safetensors file"),
    "header nested deeply": ("w.safetensors", safetensors(b'{"a":' + DEEP.encode()), "not a safetensors file"),
    "tensor beyond the file": ("w.safetensors", header_of(data_offsets=[0, 10**12]), "not a safetensors file"),
    "tensor of 2^62 numbers": ("w.safetensors", header_of(shape=[1 << 31, 1 << 31]), "not a safetensors file"),
    "tensors that overlap": ("w.safetensors", safetensors({
        name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in "ab"}), "not a safetensors file"),
    "configuration nested deeply": ("w.safetensors", weights(DEEP), "a damaged header"),
    "configuration is code": ("w.safetensors", weights("__import__('os').system('id')"), "a damaged header"),
    "layers of 10^9 channels": ("w.safetensors", weights(WIDE), "expected 1 to 2048"),
    "encoder from an address": ("w.safetensors", weights({"encoder": "tu-hf-hub:evil/net"}), "never an address"),
    "encoder from a folder": ("w.safetensors", weights({"encoder": "tu-local-dir:/"}), "never an address"),
    "peer's encoder from an address": ("w.safetensors", weights({"encoder": "tu-hf-hub:a/b"}, net="peer"), "never an"),
    "class that leads out of the folder": ("w.safetensors", weights({"classes": ["crack", "/../../x"]}), "names of"),
    "net that is a module": ("w.safetensors", weights({}, net="os.system"), "expected one of crackseg"),
}  # fmt: skip


@pytest.mark.parametrize("deed", ["process", "connection", "look-up", "write", "read", "C library"])
def test_the_watch_sees_what_must_not_happen(place, deed):
    deeds: dict[str, Callable[[], object]] = {
        "process": lambda: subprocess.run(["true"]),
        "connection": lambda: socket.create_connection(place.listener.getsockname()[:2]),
        "look-up": lambda: socket.getaddrinfo("localhost", "https"),
        "write": lambda: (place.root / "cwd" / "x").write_text("x"),
        "read": place.canary.read_text,
        "C library": lambda: sqlite3.connect(place.root / "cwd" / "x").close(),
    }
    with pytest.raises(AssertionError), watched(place), suppress(OSError):
        deeds[deed]()


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_are_refused(place, crackmap, case, monkeypatch):
    monkeypatch.undo()
    monkeypatch.chdir(place.root / "cwd")
    name, made, says = WEIGHTS[case]
    path = place.files / name
    path.write_bytes(made(place) if callable(made) else made)
    (place.files / "a.png").write_bytes(picture())
    code, printed = crackmap("segment", place.files / "a.png", "-o", place.out, "--segment-weights", path)
    assert (code, says in printed) == (7, True), printed


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_weights_that_are_no_file_are_refused(place, crackmap, kind, monkeypatch):
    monkeypatch.undo()
    monkeypatch.chdir(place.root / "cwd")
    path = place.files / "w.safetensors"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    (place.files / "a.png").write_bytes(picture())
    code, printed = crackmap("segment", place.files / "a.png", "-o", place.out, "--segment-weights", path)
    assert (code, "not a file" in printed) == (7, True), printed


@pytest.mark.parametrize("path", ["https://127.0.0.1/w.safetensors", "/vsicurl/{url}", "s3://bucket/w", "."])
def test_addresses_and_folders_are_no_files_to_any_option(place, crackmap, path):
    given = path.format(url=place.url)
    (place.files / "a.png").write_bytes(picture())
    code, printed = crackmap("segment", place.files / "a.png", "-o", place.out, "--segment-weights", given)
    assert (code, "Invalid value for '--segment-weights'" in printed) == (2, True), printed
    if path != ".":
        of_buckets = (("check", given), ("sections", given)) if not path.startswith("s3://") else ()
        for command in (*of_buckets, ("measure", given), ("calibrate", "check", given, given)):
            assert crackmap(*command)[0] == 2


def test_shipped_weights_of_another_hash_are_refused(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(weights({}))
    with pytest.raises(WeightsError, match="expected sha256 000000000000…, got"):
        read_weights(tmp_path / "w.safetensors", sha256="0" * 64)


def test_a_training_goes_on_from_no_checkpoint_that_holds_code(tmp_path):
    torch.save({"state_dict": hostile.Payload(tmp_path / "touched")}, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match="cannot be read"):
        _read_checkpoint(tmp_path / "last.ckpt")
    assert not (tmp_path / "touched").exists()


def side_files(place: Place, path: Path) -> None:
    tiff(path)
    hostile.vrt(path.with_suffix(".vrt"), str(place.canary))
    path.with_suffix(".tfw").write_text("1e308\n" * 6)
    for ending in (".aux.xml", ".ovr", ".msk"):
        hostile.vrt(path.with_name(path.name + ending), f"/vsicurl/{place.url}")


def odd_exif(path: Path) -> None:
    image = Image.frombytes("RGB", (16, 16), os.urandom(768))
    exif = Image.Exif()
    exif[0x0112] = 4711
    parts = (IFDRational(4711, 3),) * 3
    exif.get_ifd(0x8825).update({1: "N", 2: parts, 3: "\x1b", 4: parts, 29: "9999:99:99"})
    image.save(path, exif=exif)
    content, marked = path.read_bytes(), struct.pack(">II", 4711, 3)
    assert content.count(marked) == 6
    path.write_bytes(content.replace(marked, struct.pack(">II", 1, 0)))


def listening(path: Path) -> None:
    # Names of sockets are short, and tmp_path is not.
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def overviews(place: Place, path: Path) -> None:
    tiff(path, tags={"OVERVIEW_FILE": f"/vsicurl/{place.url}", "MASK_FILE": str(place.canary)})


NO_IMAGE = "not a JPEG, PNG or TIFF"
IMAGES: dict[str, tuple[Callable[[Place, Path], object], str]] = {
    "vrt.jpg": (lambda place, path: hostile.vrt(path, str(place.canary)), NO_IMAGE),
    "vrt.tif": (lambda place, path: hostile.vrt(path, f"/vsicurl/{place.url}"), NO_IMAGE),
    "side files.tif": (side_files, ""),
    "overviews elsewhere.tif": (overviews, ""),
    "GTIFF_DIR:1:x.tif": (lambda _, path: tiff(path), ""),
    "http:__127.0.0.1_x.tif": (lambda _, path: tiff(path, compress="deflate"), ""),
    "NETCDF:x.png": (lambda _, path: path.write_bytes(picture(1)), ""),
    "pdf.png": (lambda _, path: path.write_bytes(b"%PDF-1.7\n/OpenAction << /S /Launch >>"), NO_IMAGE),
    "svg.png": (lambda place, path: path.write_text(f"<svg><image href='{place.url}'/></svg>"), NO_IMAGE),
    "gif.jpg": (lambda _, path: path.write_bytes(b"GIF89a" + bytes(40)), NO_IMAGE),
    "eps.jpg": (lambda _, path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n(touch) run"), NO_IMAGE),
    "3600 Mpx.png": (lambda _, path: path.write_bytes(png_of(60_000, 60_000)), "--max-mpx"),
    "comment of 200 MB.png": (lambda _, path: path.write_bytes(hostile.text_bomb()), "Decompressed data too large"),
    "one block.tif": (lambda _, path: hostile.huge_block_tiff(path), "one block too large"),
    "loop.tif": (lambda _, path: hostile.looping_tiff(path), ""),
    "pipe.jpg": (lambda _, path: os.mkfifo(path), "not a file, but a pipe"),
    "socket.jpg": (lambda _, path: listening(path), "not a file, but a pipe"),
    "exif.jpg": (lambda _, path: odd_exif(path), ""),
}


def test_images_are_refused_or_read_without_anything_beside_them(place, crackmap):
    survey = place.files / "survey"
    survey.mkdir()
    for name, (make, _) in IMAGES.items():
        make(place, survey / name)
    code, printed = crackmap("check", survey, "--json")
    found = json.loads(printed[printed.index("{\n") : printed.rindex("}") + 1])
    reasons = {finding["key"]: finding["reason"] for finding in found["findings"]}
    assert (code, found["images"]) == (3, len(IMAGES))
    assert {name: says in reasons.get(name, "") for name, (_, says) in IMAGES.items()} == dict.fromkeys(IMAGES, True)
    assert set(reasons) == {name for name, (_, says) in IMAGES.items() if says}


def test_a_pipe_given_as_an_image_is_refused_at_once(place, crackmap):
    os.mkfifo(place.files / "a.jpg")
    code, printed = crackmap("measure", place.files / "a.jpg", "--masks-only")
    assert (code, "not a file, but a pipe" in printed) == (3, True), printed


@pytest.mark.parametrize("target", ["../../canary", "/dev/zero", "/dev/stdin", "."])
def test_links_out_of_a_survey_are_not_followed_and_devices_never_read(place, crackmap, target):
    (place.survey() / "link.png").symlink_to(target)
    code, printed = crackmap("check", place.files / "survey")
    assert (code, "1 links are not followed" in printed) == (0, True), printed
    if target.startswith("/dev"):
        code, printed = crackmap("check", place.files / "survey", "--follow-links")
        assert (code, "link.png: not a file" in printed) == (3, True), printed


def many_names() -> tuple[str, ...]:
    """Names of images that a spreadsheet, a browser, a terminal, a template or a file system might obey."""
    return (
        "=1+1.png", "+1.png", "-1.png", "@SUM(1).png", "\t=1.png", "\r=1.png", "\n=1.png", ' "=1.png', "'=1.png",
        "  =1.png", "a;=1.png", "\uff1d1.png", "<img src=x onerror=alert(1)>.png", "</script><script>alert(1)<b.png",
        '"onmouseover="alert(1).png', "{{7*7}}{%raw%}.png", "%s%n%x.png", "[/red][link=x].png",
        "\x1b]0;owned\x07\x1b[2J.png", "\x9b2J.png", "\u202egnp.png", "a..\\..\\x.png", "$(touch x)`touch x`.png",
        "a" * 251 + ".png", "CON.png",
    )  # fmt: skip


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A survey of such names, whose recordings are called as badly, in an output folder."""
    folder = tmp_path_factory.mktemp("names")
    survey = folder / "survey"
    for number, name in enumerate(many_names()):
        path = survey / ("=cmd|x" if number % 2 else "<b onload=x>;+1") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    (survey / "=bad\x1b]0;x\n.png").write_bytes(b"no picture")
    return survey


def test_names_are_written_so_that_nobody_obeys_them(place, crackmap, mapped):
    shutil.copytree(mapped, place.files / "survey")
    code, printed = crackmap("run", place.files / "survey", "-o", place.out, "--gsd", 1)
    assert code == 3, printed
    assert "Skipped =bad\\x1b]0;x\\n.png: not a JPEG" in printed
    cells = [cell for path in place.out.glob("*.csv") for row in csv.reader(path.open(newline="")) for cell in row]
    assert any("'=bad" in cell for cell in cells) and any(";'+1" in cell for cell in cells)
    for cell in cells:
        parts = cell.split(";") if not re.fullmatch(r"[-+0-9.e]+", cell) else []
        assert not [part for part in parts if re.match(r"""[\t\r\n]|[\s"]*[=+@-]""", part)], cell
    page = (place.out / "report.html").read_text(encoding="utf-8")
    policy = html.unescape(page)
    assert "default-src 'none'; base-uri 'none'" in policy and "img-src data:; script-src 'sha256-" in policy
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", page, re.DOTALL)
    # The page's own script, and data without a sign that could end their element.
    assert all(kind or text == REPORT_SCRIPT for kind, text in scripts)
    assert not any(sign in text for kind, text in scripts if "json" in kind for sign in "<>&")
    tags = re.findall(r"<[a-zA-Z][^<>]*>", re.sub(r"<script[^>]*>.*?</script>", "", page, flags=re.DOTALL))
    assert not [
        tag for tag in tags if re.search(r"^<(script|img(?! src=\"data:)|b on)|\son\w+=|https?:|javascript:", tag)
    ]
    assert "{{7*7}}" in page and "&lt;b onload=x&gt;" in page
    masks = {path.name for path in (place.out / "masks").iterdir()}
    assert len(masks) == len(many_names()) and all(re.fullmatch(r"[\w-]{1,100}\.tif", name) for name in masks)
    features = json.loads((place.out / "run.json").read_text())["counts"]
    assert (features["found"], features["ok"]) == (len(many_names()) + 1, len(many_names()))


def test_check_prints_names_that_no_terminal_obeys(place, crackmap, mapped):
    shutil.copytree(mapped, place.files / "survey")
    for name in ("\x1b]0;a\x07.png", "\x9b2J.png", "a\nb.png", "\u202eb.png"):
        (place.files / "survey" / name).write_bytes(b"no picture")
    (place.files / "survey" / os.fsdecode(b"\xff.png")).write_bytes(b"no picture")
    code, printed = crackmap("check", place.files / "survey")
    assert code == 3
    for name in (r"\x1b]0;a\x07.png", r"\x9b2J.png", r"a\nb.png", r"\u202eb.png", r"\xff.png"):
        assert f"skipped  {name}: not a JPEG" in printed
    code, printed = crackmap("measure", place.files / "survey", "--masks-only")
    assert code == 3 and r"\x1b]0;a\x07.png" in printed and r"\xff.png" in printed


def test_pictures_of_images_with_the_longest_names_get_shorter_ones(place, crackmap):
    for number, letter in enumerate("aä"):
        (place.files / f"{letter * (251 // len(letter.encode()))}.png").write_bytes(picture(number))
    code, printed = crackmap("measure", place.files, "--masks-only", "-o", place.out)
    assert code == 0, printed
    names = sorted(path.name for path in place.out.iterdir())
    assert [re.sub("-[0-9a-f]{10}_cracks.jpg$", "", name) for name in names] == ["a" * 233, "ä" * 116]


def test_progress_takes_names_for_no_markup(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    with frame_progress("Checking", 1) as tell:
        tell(1, 1, "[/red][link=x]\x1b]0;owned\x07.png")
    assert "[/red][link=x]\\x1b]0;owned\\x07.png" in terminal.getvalue()


@pytest.mark.parametrize("recording", ["../../x", "/etc/x", "..", "a/../../b", "=1+1", "x\x1b[2J", "r" * 200])
def test_recordings_and_cameras_lead_nowhere_by_their_names(place, crackmap, recording):
    survey = place.survey(
        "[frames]\npattern = '^(?P<recording>.+)_(?P<chainage_m>[0-9]+)'\n[position]\nsource='chainage'"
    )
    path = survey / f"{recording}_1.png"
    inside = path.resolve().is_relative_to(survey) and "/" not in recording
    if inside:
        path.write_bytes(picture(1))
    else:
        (survey / "survey.toml").write_text(f"""[frames]\npattern = '(?P<recording>)a_(?P<chainage_m>[0-9]+)'
[position]\nsource='chainage'\n[cameras."{recording}"]\nmatch = ["*"]\n[cameras."{recording}".ground]
method = "gsd"\ngsd_mm = 1.0""")
    code, printed = crackmap("run", survey, "-o", place.out, *(["--gsd", 1] if inside else []))
    assert code == 0, printed
    for folder in ("masks", "strips"):
        assert all(re.fullmatch(r"[\w-]{1,100}\.tif", path.name) for path in (place.out / folder).iterdir())


STRANGE = "not a crackmap journal"
JOURNALS: dict[str, tuple[tuple[str, ...], str]] = {
    "trigger": (("CREATE TRIGGER t AFTER INSERT ON run BEGIN DELETE FROM frames; END",), STRANGE),
    "view in place of a table": (("ALTER TABLE frames RENAME TO f", "CREATE VIEW frames AS SELECT * FROM f"), STRANGE),
    "view without end": (("DROP TABLE run", f"CREATE VIEW run AS SELECT 'source' name, {ENDLESS} value"), STRANGE),
    "tables of another program": (("DROP TABLE frames", "CREATE TABLE frames (a)"), STRANGE),
    "another version": (("PRAGMA user_version = 4711",), "another version of crackmap"),
    "mask outside the folder": (("UPDATE frames SET mask_name = '../../canary'",), "mask_name: expected a name below"),
    "absolute mask": (("UPDATE frames SET mask_name = '/etc/hostname'",), "mask_name: expected a name below"),
    "text for a number": (("UPDATE frames SET crack_count = 'many'",), "crack_count: expected a number"),
    "bytes for a key": (("UPDATE frames SET key = x'ff00' WHERE key = '0000.png'",), "key: expected text"),
    "number for JSON": (("UPDATE frames SET seconds = 5",), "damaged, or not written by crackmap"),
    "cracks nested deeply": ((f"UPDATE frames SET cracks = '{DEEP}'",), "damaged, or not written by crackmap"),
    "cracks that are none": (("""UPDATE frames SET status = 'ok', cracks = '[{"a": 1}]'""",), "damaged, or not"),
    "source that is no table": (("UPDATE run SET value = '7' WHERE name = 'source'",), "source: expected a table"),
    "survey elsewhere": (
        ("UPDATE run SET value = json_replace(value, '$.path', '/proc') WHERE name = 'source'",),
        "/proc",
    ),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    assert harness.run(harness.draw_survey(folder / "survey", 2), folder / "out") == 0
    return folder / "out"


@pytest.mark.parametrize("case", JOURNALS)
def test_journals_are_refused(place, crackmap, finished, case):
    statements, says = JOURNALS[case]
    shutil.copytree(finished, place.out)
    with closing(sqlite3.connect(place.out / JOURNAL_NAME)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    code, printed = crackmap("sections", place.out)
    assert (code, says in printed) == (4, True), printed
    assert crackmap("status", place.out)[0] in (0, 4)


def test_a_journal_that_is_no_database_is_refused(place, crackmap):
    place.out.mkdir()
    (place.out / JOURNAL_NAME).write_bytes(b"SQLite format 3\0" + os.urandom(5000))
    for command in ("sections", "status"):
        code, printed = crackmap(command, place.out)
        assert code == 4 and ("journal" in printed), printed
