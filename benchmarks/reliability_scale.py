"""Surveys and pictures far larger than one would photograph for a test, and what they take.

A survey has links to one picture for its images and a made-up journal; a picture has a few dark lines and stand-in nets
that look for dark pixels, window by window as the real ones do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
import rasterio.shutil
import torch
from rasterio.windows import Window

from crackmap.pipeline import loading
from crackmap.pipeline.assembly.assemble import assemble
from crackmap.pipeline.assembly.children import Children
from crackmap.pipeline.assembly.kept import KeptRows
from crackmap.pipeline.frame import Stages, StageSettings
from crackmap.pipeline.frame_table import keys_of
from crackmap.pipeline.identity import frame_hasher, with_rows
from crackmap.pipeline.journal import JournalRow, open_journal
from crackmap.pipeline.loading import Loader, LoadLimits
from crackmap.pipeline.products.masks import MASKS_FOLDER, mask_name
from crackmap.pipeline.products.write import write_products
from crackmap.pipeline.run import RunOptions, RunSettings, _not_done, run_survey
from crackmap.pipeline.survey import Survey, read_survey
from crackmap.stages.detect.detector import Detector
from crackmap.stages.detect.retinanet import RetinaNetConfig
from crackmap.stages.records import Crack
from crackmap.stages.segment.segmenter import Segmenter

SIZE_WH_PX = (1000, 1000)
"""Of every image of a survey: at 5 mm a pixel, 5 m by 5 m."""

PER_RECORDING = 1000

MOST_LINKS = 50_000
"""To one file; more than 65,000 are refused by the usual file system."""

_DESCRIPTION = """
[frames]
pattern = '(?P<recording>R[0-9]+)/(?P<chainage_m>[0-9]+)'
[position]
source = "chainage"
[ground]
method = "gsd"
gsd_mm = 5.0
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a piece of work took in a process of its own.

    Attributes:
        seconds: wall time.
        cpu_s: time of all processors, of its children as well.
        memory_mb: greatest growth of the process, with the greatest of its children, or of those that worked together,
            added.
        said: what the work returned, plain JSON values.
    """

    seconds: float
    cpu_s: float
    memory_mb: float
    said: Any


def cost_of(work: str, *arguments: object) -> Cost:
    """Does the function of this module called `work` in a process of its own, with paths and numbers as arguments.

    Memory counts from what the program takes with all its libraries loaded.

    Raises:
        CalledProcessError: the work failed; its error is on standard error.
    """
    command = [sys.executable, "-W", "ignore", "-m", __name__, work, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return Cost(*json.loads(done.stdout))


def main() -> None:
    """Does the work that `cost_of` asks for."""
    works: dict[str, Callable[..., Any]] = {
        "planned": planned, "assembled": assembled, "run_picture": run_picture, "memory_slope_mb": memory_slope_mb
    }  # fmt: skip
    name, *given = sys.argv[1:]
    arguments = [int(text) if text.isdigit() else Path(text) for text in given]
    # Begins a new count of the greatest memory (proc(5), clear_refs).
    Path("/proc/self/clear_refs").write_text("5")
    largest_mb, real, real_close = 0.0, loading._Child.stop, Children.close

    def stop(child: loading._Child) -> None:
        nonlocal largest_mb
        if child._process is not None:
            largest_mb = max(largest_mb, _memory_mb("VmHWM", child._process.pid))
        real(child)

    def close(children: Children) -> None:
        nonlocal largest_mb
        running = [child._process.pid for child in children._children if child._process is not None]
        largest_mb = max(largest_mb, sum(_memory_mb("VmHWM", process) for process in running))
        real_close(children)

    loading._Child.stop = stop  # type: ignore[method-assign]
    Children.close = close  # type: ignore[method-assign]
    before, start = _memory_mb("VmRSS"), time.perf_counter()
    said = works[name](*arguments)
    seconds, used = time.perf_counter() - start, os.times()
    cpu_s = used.user + used.system + used.children_user + used.children_system
    print(json.dumps((seconds, cpu_s, _memory_mb("VmHWM") - before + largest_mb, said)))


def _memory_mb(name: str, process: int | str = "self") -> float:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def make_survey(folder: Path, frames: int) -> Survey:
    """A survey of so many images in recordings of PER_RECORDING, an image every 5 m; all have the same pixels."""
    folder.mkdir(parents=True)
    (folder / "survey.toml").write_text(_DESCRIPTION)
    picture = cv2.imencode(".png", np.full((*SIZE_WH_PX[::-1], 3), 150, np.uint8))[1].tobytes()
    for number in range(frames):
        recording, position = divmod(number, PER_RECORDING)
        first = folder / f"R{recording:04d}" / "000000.png"
        if position == 0:
            first.parent.mkdir()
            first.write_bytes(picture)
        else:
            os.link(first, first.with_name(f"{5 * position:06d}.png"))
    return read_survey(folder)


def make_journal(survey: Survey, out: Path, *, cracks_per_frame: int, seed: int = 0) -> None:
    """Fills the journal of a run of `survey` as if all its frames had been measured."""
    rng = np.random.default_rng(seed)
    masks = out / MASKS_FOLDER
    masks.mkdir(parents=True)
    with open_journal(out) as journal:
        # Made up, so nothing is lost with the power.
        journal._connection.execute("PRAGMA synchronous=OFF")
        journal.set_fact("settings", {"survey": {}})
        journal.set_fact("source", {**survey.source, "command": ""})
        hash_of = frame_hasher(survey, journal)
        for number, frame in enumerate(survey.measurable):
            stat, name = frame.path.stat(), mask_name(frame.key)
            if number % MOST_LINKS == 0:
                first = masks / name
                first.write_bytes(b"mask")
            else:
                os.link(first, masks / name)
            cracks = tuple(_cracks(rng, cracks_per_frame))
            journal.write(JournalRow(
                frame.key, stat.st_size, stat.st_mtime_ns, frame.key, hash_of(frame), "ok" if cracks else "no_crack",
                mask_name=name, mask_bytes=4, mask_sha256="", seconds={"segment": 0.1}, crack_count=len(cracks),
                crack_length_px=sum(crack.length_px for crack in cracks), cracks=cracks,
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


def planned(folder: Path, out: Path) -> int:
    """Reads a survey and its journal, as a run that goes on does; the number of frames still to do."""
    survey = read_survey(folder)
    with open_journal(out) as journal:
        return len(_not_done(survey, journal, frame_hasher(survey, journal), out / MASKS_FOLDER, verify=False))


def assembled(folder: Path, out: Path, processes: int) -> int:
    """All products from the journal, with so many processes; the number of cracks."""
    survey = read_survey(folder)
    settings = RunSettings(strips=False)
    with open_journal(out) as journal:
        rows = KeptRows.of(survey, with_rows(keys_of(survey.measurable), journal.rows()))
        result = assemble(survey, rows, journal, settings, scratch=out, processes=processes)
    write_products(result, out, run_info={}, processes=processes)
    return len(result.cracks)


def window_nets() -> Stages:
    """The real walks over tiles and windows, with dark pixels in place of what nets find."""

    def boxes(tensors: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        dark = (tensors[0].mean(dim=0) < 0.3).nonzero()
        found = torch.zeros((0, 4))
        if len(dark):
            (top, left), (bottom, right) = dark.min(dim=0).values, dark.max(dim=0).values
            found = torch.tensor([[left, top, right + 1, bottom + 1]], dtype=torch.float32)
        return [{"boxes": found, "scores": torch.ones(len(found))}]

    def logits(images: torch.Tensor) -> torch.Tensor:
        return (90.0 - images.mean(dim=1, keepdim=True)) / 4.0

    cpu = torch.device("cpu")
    detector = Detector(boxes, RetinaNetConfig(), cpu)  # type: ignore[arg-type]
    return Stages(detector, Segmenter(logits, cpu), StageSettings(), {"segment": "stand-in"})  # type: ignore[arg-type]


def draw_tiff(path: Path, side_px: int) -> None:
    """A square RGB TIFF, JPEG in tiles, with a dark line in every 4,096 rows."""
    profile = {"driver": "GTiff", "width": side_px, "height": side_px, "count": 3, "dtype": "uint8", "tiled": True,
               "blockxsize": 512, "blockysize": 512, "compress": "JPEG", "photometric": "YCBCR"}  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        for top in range(0, side_px, 512):
            height = min(512, side_px - top)
            file.write(_rows(top, height, side_px).transpose(2, 0, 1), window=Window(0, top, side_px, height))


def as_jpeg(tiff: Path, path: Path) -> None:
    """The same picture as one JPEG."""
    rasterio.shutil.copy(tiff, path, driver="JPEG", quality=80)


def _rows(top: int, height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    rows = np.full((height, width, 3), 150, np.uint8)
    for row in range(top, top + height):
        if 2000 <= row % 4096 < 2006:
            rows[row - top, 1000 : min(width - 1000, 5000)] = 40
    return rows


def run_picture(path: Path, out: Path) -> dict[str, Any]:
    """Runs one picture; counts how often it was opened and how many cracks it has."""
    opened = 0
    real = Loader.open

    def counted(self: Loader, path: Path, **more: int) -> Any:
        nonlocal opened
        opened += 1
        return real(self, path, **more)

    Loader.open = counted  # type: ignore[method-assign]
    options = RunOptions(workers=1, limits=LoadLimits(pixels=1 << 30))
    settings = RunSettings(strips=False)
    summary = run_survey(read_survey(path, gsd_mm=1.0), out, window_nets(), settings, options=options)
    return {"opened": opened, "cracks": len(summary.result.cracks), "lost": len(summary.skipped)}


def memory_slope_mb(survey: Path, out: Path, after: int) -> dict[str, float]:
    """Runs a survey of small frames; by how much memory grows from frame `after` to the last, by a straight line."""
    points: list[tuple[int, float]] = []

    def sample(done: int, total: int, key: str) -> None:
        if done > after and done % 50 == 0:
            points.append((done, _memory_mb("RssAnon")))

    settings = RunSettings(strips=False)
    summary = run_survey(read_survey(survey, gsd_mm=1.0), out, window_nets(), settings, progress=sample)
    done, memory_mb = np.array(points).T
    slope = np.polyfit(done, memory_mb, 1)[0]
    return {"grown_mb": float(slope * (done[-1] - after)), "frames": len(summary.result.outcomes),
            "cracks": len(summary.result.cracks)}  # fmt: skip


if __name__ == "__main__":
    main()
