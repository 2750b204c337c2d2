"""Frames in columns are the frames they were made of, however they are looked at."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackmap.calibration.plane import GroundPlane
from crackmap.pipeline.decoding import ImageHeader
from crackmap.pipeline.frame_table import Joined, Picked, frames_of, keys_of
from crackmap.pipeline.identity import frame_hasher, with_rows
from crackmap.pipeline.listing import Entry, _by_globs, _matches
from crackmap.pipeline.records import CoordinateKind, Frame, OutputFrame, Placement

PLANE = GroundPlane.from_gsd(gsd_mm=2.0, size_wh_px=(100, 50))
HEADER = ImageHeader((100, 50))


def entry(key: str, recording: str = "R", *, time_s: float | None = None, camera: str = "", file: str = "") -> Entry:
    return Entry(key, Path("/survey"), file or key, HEADER, recording, None, time_s, "", camera, "2")


def made(count: int = 2500) -> tuple[Frame, ...]:
    """Frames of several recordings and cameras, with and without ground, time and place along the drive."""
    return tuple(
        Frame(
            f"{number}.jpg", f"/survey/{number}.jpg", (100, 50), f"R{number // 400}",
            Placement((float(number), -0.5 * number), number % 360.0),
            None if number % 7 == 0 else 1.5 * number, PLANE if number % 3 else None, None,
            None if number % 5 == 0 else 0.1 * number, "", 1.0, None if number % 11 == 0 else 0.25, "2",
        )
        for number in range(count)
    )  # fmt: skip


def columns_of(frames: tuple[Frame, ...]):
    entries = [entry(frame.key, frame.recording, time_s=frame.time_s) for frame in frames]
    return frames_of(
        entries,
        [frame.ground for frame in frames],
        np.array([frame.placement.origin_xy for frame in frames]),
        np.array([frame.placement.azimuth_deg for frame in frames]),
        np.array([np.nan if frame.chainage_m is None else frame.chainage_m for frame in frames]),
        np.array([np.nan if frame.u_xy_m is None else frame.u_xy_m for frame in frames]),
    )


def test_columns_give_back_the_frames_they_were_made_of_in_every_way_of_looking() -> None:
    frames = made()
    columns = columns_of(frames)
    assert tuple(columns) == frames and len(columns) == len(frames)
    assert [columns[place] for place in (0, 1024, -1)] == [frames[0], frames[1024], frames[-1]]
    assert tuple(columns[5:2000:7]) == frames[5:2000:7] and tuple(columns[::-1][:3]) == frames[::-1][:3]
    assert columns[3].ground is columns[3].ground
    assert list(columns.keys) == [frame.key for frame in frames]
    strips = np.column_stack([np.arange(2500.0), np.arange(2500.0) + 1])
    strips[4] = np.nan
    owned = columns.with_strips(strips)
    assert owned[3].owns_y_m == (3.0, 4.0) and owned[4].owns_y_m is None and columns[3].owns_y_m is None


def test_a_place_beyond_the_frames_is_refused_as_lists_do() -> None:
    columns = columns_of(made(3))
    for place in (3, -4):
        with pytest.raises(IndexError):
            columns[place]
    assert len(columns[3:]) == 0 and not list(columns[3:])


def test_picked_and_joined_frames_are_views_of_their_parts() -> None:
    frames = made(30)
    columns = columns_of(frames)
    joined = Joined(columns, frames[:4], ())
    assert tuple(joined) == (*frames, *frames[:4])
    assert [joined[place] for place in (29, 30, 33, -1)] == [frames[29], frames[0], frames[3], frames[3]]
    assert keys_of(joined) == [frame.key for frame in (*frames, *frames[:4])]
    picked = Picked(joined, [2, 31, 5])
    assert tuple(picked) == (frames[2], frames[1], frames[5]) and picked[-1] == frames[5]
    assert keys_of(picked) == keys_of(tuple(picked)) == ["2.jpg", "1.jpg", "5.jpg"]


def test_a_name_that_is_no_text_keeps_its_file() -> None:
    file = b"\xff.jpg".decode("utf-8", "surrogateescape")
    (frame,) = frames_of([entry("\\xff.jpg", file=file)], [None], np.zeros((1, 2)))
    assert frame.key == "\\xff.jpg" and frame.file == f"/survey/{file}"


def test_frames_go_by_recording_as_they_come_then_camera_then_drive_and_equal_ones_keep_their_order() -> None:
    given = [("b", "y", 2.0), ("b", "x", 9.0), ("a", "", 1.0), ("b", "x", 3.0), ("b", "x", 3.0), ("a", "", math.nan)]
    entries = [entry(f"{place}", name, camera=camera) for place, (name, camera, _) in enumerate(given)]
    frames = frames_of(entries, [None] * 6, np.zeros((6, 2)), chainage_m=np.array([drive for *_, drive in given]))
    ordered = frames.along_the_drive()
    assert list(ordered.keys) == ["3", "4", "1", "0", "5", "2"]
    assert [(stream, part.start, part.stop) for stream, part in ordered.streams()] == [
        (("b", "x"), 0, 3), (("b", "y"), 3, 4), (("a", ""), 4, 6)
    ]  # fmt: skip
    assert [(name, part.start, part.stop) for name, part in ordered.recordings()] == [("b", 0, 4), ("a", 4, 6)]


def test_every_key_finds_its_row_and_rows_of_no_key_are_read_to_their_end() -> None:
    rows = iter([SimpleNamespace(key=key) for key in ("a", "b", "c", "z1", "z2")])
    keys = ["c", "bb", "a"]
    assert [(keys[place], row and row.key) for place, row in with_rows(keys, rows)] == [
        ("a", "a"), ("bb", None), ("c", "c")
    ]  # fmt: skip
    assert next(rows, None) is None


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.none() | st.tuples(finite, finite), st.tuples(finite, finite), finite, st.none() | finite)
def test_what_decides_a_frame_is_hashed_as_json_writes_it(owns, origin, azimuth, drive) -> None:
    frame = Frame("k", "k", (40, 30), "R", Placement(origin, azimuth), drive, None, owns)
    survey = SimpleNamespace(output=OutputFrame(CoordinateKind.ROAD, "WKT"))
    hashed = frame_hasher(survey, SimpleNamespace(fact=lambda name: {"a": 1}))(frame)
    facts = [None, owns, {"origin_xy": origin, "azimuth_deg": azimuth}, drive, (40, 30)]
    assert hashed == hashlib.sha256((json.dumps({"a": 1}) + "WKT" + json.dumps(facts)).encode()).hexdigest()


globs = st.text("*?[]a.A1/", max_size=6)


@given(st.lists(globs, max_size=4), st.text("aA.1[]/", min_size=1, max_size=8))
def test_many_names_are_matched_as_one_is(patterns, key) -> None:
    assert bool(_by_globs(tuple(patterns))(key)) == _matches(key, tuple(patterns))
