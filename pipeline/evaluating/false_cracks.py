"""Metres of crack found where there is none, per 100 m of lane: by the whole path that `crackmap run` takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import InputError, require
from crackmap.calibration.plane import GroundPlane
from crackmap.pipeline.evaluating.pictures import Rgb, panels, write_png
from crackmap.pipeline.frame import Stages, process_image
from crackmap.pipeline.survey import read_survey
from crackmap.stages.datasets.sources import Labels, load_split
from crackmap.stages.metrics_bootstrap import Interval, interval, resampled_sums
from crackmap.stages.polyline import resampled
from crackmap.stages.records import Crack
from crackmap.stages.render.crack_free import crack_free_kinds, crack_free_surface
from crackmap.stages.tiling import ArraySource

Mask = NDArray[np.bool_]
Progress = Callable[[int, int, str], None]

LANE_WIDTH_M = 3.6
"""Area over this is length of lane."""

DRAWN_GSD_MM = 2.0
"""Ground length of a pixel of a drawn surface, unless another is asked for."""

WINDOW_PX = 128
"""Side of the windows that pictures are cut into; a window counts if nothing is labelled in it or near it."""

NEAR_PX = 32
"""How far a window keeps from every label: a crack goes on a little where its label ends."""

LANE_LABELS = ("dnit",)
"""Sets in which only the lane is labelled: elsewhere nothing says that there is no crack."""

SURVEY_PRESETS: Mapping[str, str] = {"dnit": "dnit"}
"""Sets whose pictures are frames of a survey that a preset describes, with the ground plane of each."""

_LINE_STEP_PX = 1.0


@dataclass(frozen=True, slots=True)
class FalseLength:
    """What was found on crack-free road of one picture.

    Attributes:
        kind: what the picture shows.
        picture: its name.
        area_m2: crack-free road in it.
        crack_m: length found there as crack.
        joint_m: length found there as joint, which sections do not count as crack.
    """

    kind: str
    picture: str
    area_m2: float
    crack_m: float
    joint_m: float


@dataclass(frozen=True, slots=True)
class FalseScores:
    """Length found per 100 m of lane on one kind of crack-free road.

    Attributes:
        kind: what the road shows.
        pictures: how many.
        lane_m: length of lane their crack-free area is worth.
        crack_per_100m: metres of false crack per 100 m of lane.
        interval: its 95 % interval, over pictures.
        joint_per_100m: metres taken for a joint per 100 m of lane.
    """

    kind: str
    pictures: int
    lane_m: float
    crack_per_100m: float
    interval: Interval
    joint_per_100m: float


def false_on_drawn_roads(
    stages: Stages,
    *,
    count: int,
    side_px: int,
    gsd_mm: float,
    seed: int,
    kinds: Sequence[str] | None = None,
    pictures: Path | None = None,
    progress: Progress | None = None,
) -> list[FalseLength]:
    """False lengths on `count` drawn surfaces of each kind, of `side_px` a side and `gsd_mm` a pixel.

    Raises:
        InputError: an unknown kind, or a number out of range.
        StorageError: a picture cannot be written.
    """
    require(count >= 1, "count", "1 or more", count)
    known = tuple(crack_free_kinds())
    for kind in kinds or ():
        require(kind in known, "kind", f"one of {', '.join(known)}", kind)
    ground = GroundPlane.from_gsd(gsd_mm=gsd_mm, size_wh_px=(side_px, side_px))
    everywhere = np.ones((side_px, side_px), bool)
    listed = [(kind, number) for kind in kinds or known for number in range(count)]
    found = []
    for done, (kind, number) in enumerate(listed, start=1):
        name = f"{kind.replace(' ', '_')}_{number:02d}"
        rgb = crack_free_surface(kind, side_px=side_px, seed=seed, number=number)
        found.append(_false_length(kind, name, rgb, everywhere, ground, stages, pictures))
        if progress is not None:
            progress(done, len(listed), name)
    return found


def false_on_set(
    stages: Stages,
    *,
    data_set: str,
    split: str,
    data: Path | None,
    gsd_mm: float | None = None,
    pictures: Path | None = None,
    progress: Progress | None = None,
) -> list[FalseLength]:
    """False lengths in the crack-free windows of a labelled split.

    The nets see whole pictures, as in a run; what lies in the windows is counted. Cracks that the labels leave out are
    counted as false, so the figure is an upper bound.

    Args:
        stages: the loaded stages.
        data_set: name of the set.
        split: "train", "val", "test" or "all" of it.
        data: folder of the public sets.
        gsd_mm: ground length of a pixel; None: the ground plane of the set's survey preset.
        pictures: folder for the pictures with something false in them.
        progress: told (done, total, name) after every image.

    Raises:
        InputError: no such set or split, or no pixel size where the set has no preset.
        StorageError: a picture cannot be written.
    """
    planes = _planes(data_set, data) if gsd_mm is None else {}
    found = []
    listed = load_split(data_set, split, data)
    for done, image in enumerate(listed, start=1):
        labels = image.read()
        size = (labels.image.shape[1], labels.image.shape[0])
        # A frame of the survey without a plane is skipped by a run, too.
        ground = planes.get(image.image_path.resolve())
        if gsd_mm is not None:
            ground = GroundPlane.from_gsd(gsd_mm=gsd_mm, size_wh_px=size)
        free = crack_free_windows(labels, lane_only=data_set in LANE_LABELS)
        if ground is not None and free.any():
            found.append(_false_length(f"{data_set} {split}", image.name, labels.image, free, ground, stages, pictures))
        if progress is not None:
            progress(done, len(listed), image.name)
    return found


def crack_free_windows(labels: Labels, *, lane_only: bool) -> Mask:
    """(height, width) pixels of the windows in which, and NEAR_PX around which, nothing is labelled.

    Args:
        labels: of one picture.
        lane_only: pixels with a label weight below 1 say nothing, as outside the lane of DNIT.
    """
    marked = np.logical_or.reduce([labels.crack, labels.weight == 0, *labels.others.values()])
    reach = 2 * NEAR_PX + 1
    near = cv2.dilate(marked.astype(np.uint8), np.ones((reach, reach), np.uint8)).astype(bool)
    road = labels.weight >= 1 if lane_only else np.ones(marked.shape, bool)
    free = np.zeros(marked.shape, bool)
    for y in range(0, marked.shape[0], WINDOW_PX):
        for x in range(0, marked.shape[1], WINDOW_PX):
            window = np.s_[y : y + WINDOW_PX, x : x + WINDOW_PX]
            if not near[window].any():
                free[window] = road[window]
    return free


def _planes(data_set: str, data: Path | None) -> dict[Path, GroundPlane]:
    """Ground planes of a set's pictures by their paths."""
    if data_set not in SURVEY_PRESETS:
        raise InputError(f"data set {data_set}: nothing says how large its pixels are; give --gsd MM_PER_PX")
    if data is None:
        raise InputError("data folder: expected one, got none; give --data FOLDER")
    survey = read_survey(data / data_set, survey=SURVEY_PRESETS[data_set])
    return {frame.path.resolve(): frame.ground for frame in survey.measurable if frame.ground is not None}


def _false_length(
    kind: str, name: str, rgb: Rgb, free: Mask, ground: GroundPlane, stages: Stages, pictures: Path | None
) -> FalseLength:
    cracks = process_image(ArraySource(rgb), stages, ground=ground).cracks
    lengths = [length_inside_m(crack, free) for crack in cracks]
    crack_m = sum(length for crack, length in zip(cracks, lengths, strict=True) if crack.open)
    joint_m = sum(length for crack, length in zip(cracks, lengths, strict=True) if crack.joint)
    if pictures is not None and crack_m + joint_m > 0:
        canvas = (rgb * np.where(free, 1.0, 0.45)[..., None]).astype(np.uint8)
        for crack, length in zip(cracks, lengths, strict=True):
            points = np.round(crack.centreline_xy_px * 16 - 8).astype(np.int32)
            counted = (70, 130, 255) if crack.joint else (235, 60, 60)
            colour = (150, 150, 150) if length == 0 or crack.sealed else counted
            cv2.polylines(canvas, [points], False, colour, 2, cv2.LINE_AA, 4)
        caption = f"false crack {crack_m:.2f} m (red), joint {joint_m:.2f} m (blue); dark and grey: not counted"
        write_png(pictures, name, panels((("image", rgb), (caption, canvas)), columns=2))
    return FalseLength(kind, name, road_area_m2(ground, free), crack_m, joint_m)


def length_inside_m(crack: Crack, free: Mask) -> float:
    """Length on the ground of the part of a crack that runs through pixels of `free`, metres."""
    if crack.centreline_xy_m is None or crack.length_m is None:
        raise InputError("crack: expected a length in metres, got none; give a ground plane")
    points = resampled(np.column_stack([crack.centreline_xy_px, crack.centreline_xy_m]), _LINE_STEP_PX)
    x, y = np.clip(points[:, :2].astype(int), 0, np.array(free.shape[::-1]) - 1).T
    inside = free[y, x]
    steps = np.hypot(*np.diff(points[:, 2:], axis=0).T)
    return float((steps * (inside[1:] + inside[:-1].astype(float)) / 2).sum())


def road_area_m2(ground: GroundPlane, free: Mask) -> float:
    """Area on the ground of the pixels of `free` that the ground plane is trusted for."""
    rows, columns = np.nonzero(free)
    centres = np.column_stack([columns, rows]) + 0.5
    centres = centres[ground.trusted(centres)]
    return float(np.abs(np.linalg.det(ground.jacobian_mm(centres))).sum()) * 1e-6


def score_false_lengths(found: Iterable[FalseLength]) -> list[FalseScores]:
    """Metres per 100 m of lane for each kind, in the order they come."""
    by_kind: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for item in found:
        by_kind[item.kind].append((item.area_m2 / LANE_WIDTH_M / 100, item.crack_m, item.joint_m))
    result = []
    for kind, rows in by_kind.items():
        table = np.array(rows)
        hundreds, crack_m, joint_m = table.sum(axis=0)
        if hundreds > 0:
            sums = resampled_sums(table[table[:, 0] > 0])
            ends = interval(sums[:, 1] / sums[:, 0])
            result.append(FalseScores(kind, len(rows), 100 * float(hundreds), float(crack_m / hundreds), ends,
                                      float(joint_m / hundreds)))  # fmt: skip
    return result


def false_report(found: Sequence[FalseLength], scores: Sequence[FalseScores]) -> dict[str, Any]:
    """The scores as plain values, ready for JSON."""
    return {
        "lane_width_m": LANE_WIDTH_M,
        "kinds": [
            {
                "kind": item.kind, "pictures": item.pictures, "lane_m": item.lane_m,
                "false_crack_m_per_100m": item.crack_per_100m, "interval_95": item.interval,
                "joint_m_per_100m": item.joint_per_100m,
            }
            for item in scores
        ],
        "pictures": [
            {
                "kind": item.kind, "picture": item.picture, "area_m2": item.area_m2, "crack_m": item.crack_m,
                "joint_m": item.joint_m,
            }
            for item in found
        ],
    }  # fmt: skip


def false_table(scores: Sequence[FalseScores]) -> str:
    """The scores as a table for the terminal."""
    lines = ["crack-free road      pictures   lane m   false crack m / 100 m  [95 %]           joint m / 100 m"]
    for item in scores:
        low, high = item.interval
        lines.append(
            f"{item.kind:<20} {item.pictures:8d} {item.lane_m:8.1f} {item.crack_per_100m:24.2f}"
            f"  [{low:.2f}, {high:.2f}] {item.joint_per_100m:16.2f}"
        )
    return "\n".join(lines)
