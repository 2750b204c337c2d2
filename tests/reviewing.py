"""A small survey that a person corrects: how it is run, exported and looked at again."""

from __future__ import annotations

import csv
import json
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
from click.testing import CliRunner, Result
from faults import harness

from crackmap.cli.main import cli
from crackmap.pipeline.frame import StageSettings
from crackmap.pipeline.review.names import export_stem
from crackmap.pipeline.run import RunOptions, RunSettings, run_survey
from crackmap.pipeline.survey import read_survey

FORMATS = ("labelme", "cvat", "coco", "pairs")


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


def correct_one(out: Path) -> Path:
    folder = exported(out, "labelme", "a.png")
    edit(folder, "a.png", lambda content: content["shapes"].pop(1))
    assert invoke("import", out, folder, "--by", "A. Person").exit_code == 0
    return folder


def xml(inside: str, *, name: str = "a.png", size: str = 'width="320" height="240"', head: str = "") -> str:
    return f'{head}<annotations><image id="0" name="{name}" {size}>{inside}</image></annotations>'
