"""Surveys far larger than one would photograph for a test: planned, resumed and put together from a made-up journal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from crackmap.pipeline.identity import frame_hashes
from crackmap.pipeline.journal import JournalRow, open_journal
from crackmap.pipeline.products.masks import MASKS_FOLDER
from crackmap.pipeline.survey import Survey, read_survey
from crackmap.stages.records import Crack

SIZE_WH_PX = (1000, 1000)
"""Of every image: at 5 mm a pixel, 5 m by 5 m."""

_DESCRIPTION = """
[frames]
pattern = '(?P<recording>R[0-9]+)/(?P<chainage_m>[0-9]+)'
[position]
source = "chainage"
[ground]
method = "gsd"
gsd_mm = 5.0
"""


def make_survey(folder: Path, frames: int) -> Survey:
    """A survey of so many images in recordings of 1,000, an image every 5 m; all are links to one file."""
    folder.mkdir(parents=True)
    (folder / "survey.toml").write_text(_DESCRIPTION)
    picture = folder.parent / "picture.png"
    picture.write_bytes(cv2.imencode(".png", np.full((*SIZE_WH_PX[::-1], 3), 150, np.uint8))[1].tobytes())
    for number in range(frames):
        recording, position = divmod(number, 1000)
        if position == 0:
            (folder / f"R{recording:04d}").mkdir()
        os.link(picture, folder / f"R{recording:04d}" / f"{5 * position:06d}.png")
    return read_survey(folder)


def make_journal(survey: Survey, out: Path, *, cracks_per_frame: int, seed: int = 0) -> None:
    """Fills the journal of a run of `survey` as if all its frames had been measured."""
    rng = np.random.default_rng(seed)
    (out / MASKS_FOLDER).mkdir(parents=True)
    (out / MASKS_FOLDER / "mask.tif").write_bytes(b"mask")
    with open_journal(out) as journal:
        # Made up, so nothing is lost with the power.
        journal._connection.execute("PRAGMA synchronous=OFF")
        journal.set_fact("settings", {"survey": "made up"})
        journal.set_fact("source", {**survey.source, "command": ""})
        hashes = frame_hashes(survey, journal)
        for frame in survey.measurable:
            stat = frame.path.stat()
            cracks = tuple(_cracks(rng, cracks_per_frame))
            journal.write(JournalRow(
                frame.key, stat.st_size, stat.st_mtime_ns, frame.key, hashes[frame.key], "ok" if cracks else "no_crack",
                mask_name="mask.tif", mask_bytes=4, mask_sha256="", seconds={"segment": 0.1},
                crack_count=len(cracks), crack_length_px=sum(crack.length_px for crack in cracks), cracks=cracks,
            ))  # fmt: skip


def _cracks(rng: np.random.Generator, count: int) -> Iterator[Crack]:
    """Lines of about a metre, of which some cross the seam to the next frame."""
    for _ in range(count):
        start, direction = rng.uniform(0, 1000, 2), rng.uniform(0, 2 * np.pi)
        turns = direction + np.cumsum(rng.normal(0, 0.2, 12))
        line = np.clip(start + np.cumsum(20 * np.column_stack([np.cos(turns), np.sin(turns)]), axis=0), 0, 1000)
        if np.any(np.hypot(*np.diff(line, axis=0).T) < 1.0):
            line = np.column_stack([np.full(12, 500.0), np.linspace(300, 520, 12)])
        length = float(np.hypot(*np.diff(line, axis=0).T).sum())
        ground = np.column_stack([(line[:, 0] - 500) * 0.005, (1000 - line[:, 1]) * 0.005])
        width = rng.uniform(1, 3, 12)
        yield Crack(
            line.round(2), width, length, float(np.degrees(direction) % 180), 0.8, bool((line == 1000).any()),
            ground, 5.0 * width, 0.005 * length, (5.0, 5.0), 1.0, 0.005, 0.2, 1.0,
        )  # fmt: skip
