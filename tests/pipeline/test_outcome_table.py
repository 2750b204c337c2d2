"""Outcomes in columns are the outcomes they were made of, and rows kept in columns say what the rows say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackmap.calibration.plane import GroundPlane
from crackmap.pipeline.along import LEAST_SCALE, Drive, Routing, frames_along_route
from crackmap.pipeline.assembly.kept import KeptRows, copies, picture_of
from crackmap.pipeline.frame_table import Joined, in_columns
from crackmap.pipeline.journal import CORRECTED, JournalRow
from crackmap.pipeline.outcome_table import SOURCE_NAMES, STATUS_NAMES, Outcomes
from crackmap.pipeline.records import Frame, FrameOutcome, Placement

PLANE = GroundPlane.from_gsd(gsd_mm=2.0, size_wh_px=(100, 50))


def made(count: int = 2500) -> list[FrameOutcome]:
    """Outcomes of every status, with and without outline, mask and reason."""
    outline = np.array([(0.0, 0.0), (1.0, 0.0), (1.0, 2.0), (0.0, 2.0)])
    return [
        FrameOutcome(
            Frame(f"{n}.jpg", f"/survey/{n}.jpg", (100, 50), f"R{n % 3}", Placement((float(n), 0.5))),
            STATUS_NAMES[n % len(STATUS_NAMES)], "why" if n % 4 == 0 else "",
            np.empty((0, 2)) if n % 5 == 0 else outline + n, n / 2500, n % 9, f"m{n}-å.tif" if n % 2 else "",
            SOURCE_NAMES[n % 3],
        )
        for n in range(count)
    ]  # fmt: skip


def plain(outcome: FrameOutcome) -> tuple[object, ...]:
    values = (outcome.status, outcome.reason, outcome.segmented_share, outcome.crack_count, outcome.mask_name)
    return (outcome.frame, outcome.footprint_xy.tolist(), *values, outcome.source)


def test_columns_give_back_the_outcomes_they_were_made_of_in_every_way_of_looking() -> None:
    outcomes = made()
    columns, expected = Outcomes.of(outcomes), list(map(plain, outcomes))
    assert list(map(plain, columns)) == expected and len(columns) == len(outcomes)
    assert [plain(columns[place]) for place in (0, 1024, -1)] == [expected[0], expected[1024], expected[-1]]
    assert list(map(plain, columns[1000:1100:7])) == expected[1000:1100:7]
    assert list(map(plain, columns[-3:])) == expected[-3:] and columns[3:1] == ()
    for place in (2500, -2501):
        with pytest.raises(IndexError):
            columns[place]


def test_what_is_asked_of_columns_is_what_is_asked_of_their_outcomes() -> None:
    outcomes = made(100)
    columns = Outcomes.of(outcomes)
    assert columns.status_counts == Counter(one.status for one in outcomes)
    assert list(map(plain, columns.lost())) == [plain(one) for one in outcomes if one.lost]
    assert {one.status for one in columns.lost()} == set(STATUS_NAMES) - {"ok", "no_crack"}
    assert {name: places.tolist() for name, places in columns.places_by_recording.items()} == {
        f"R{rest}": list(range(rest, 100, 3)) for rest in range(3)
    }
    assert columns.corrected_count == sum(one.source == CORRECTED for one in outcomes) > 0
    assert columns.mask_names == [one.mask_name for one in outcomes if one.mask_name]
    assert list(columns.keys) == [one.frame.key for one in outcomes]
    some = columns.of_keys({"3.jpg", "70.jpg", "x"})
    assert {key: plain(one) for key, one in some.items()} == {f"{n}.jpg": plain(outcomes[n]) for n in (3, 70)}
    for places in ((), (4,), range(20, 60), (2, 3, 5, 8)):
        assert list(map(plain, columns.at(places))) == [plain(outcomes[place]) for place in places]


def test_stretches_of_frames_in_several_parts_are_the_frames_and_their_recordings() -> None:
    frames = [one.frame for one in made(30)]
    joined = Joined(in_columns(frames[:12]), frames[12:15], in_columns(frames[15:]))
    for start, stop in ((0, 30), (3, 9), (10, 17), (12, 15), (29, 30), (14, 14)):
        assert list(joined[start:stop]) == frames[start:stop]
    assert [(name, place) for name, places in joined.recordings() for place in places] == [
        (frame.recording, place) for place, frame in enumerate(frames)
    ]


def test_an_outline_that_is_handed_out_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        Outcomes.of(made(2))[1].footprint_xy[0] = 0.0


def test_kept_rows_hold_what_rows_say_and_nothing_where_there_is_none(tmp_path: Path) -> None:
    image = tmp_path / "a.jpg"
    image.write_bytes(b"12345")
    stat = image.stat()
    rows = [
        JournalRow("a.jpg", 5, stat.st_mtime_ns, "ab", "h", "ok", "", 0.25, "a.tif", seconds={"detect": 1.0},
                   crack_count=3, crack_length_px=40.5),
        JournalRow("b.jpg", 5, 7, "", "h", "skipped", "damaged", seconds={"detect": 0.5, "decode": 2.0}),
    ]  # fmt: skip
    survey = SimpleNamespace(measurable=("a", "b", "c"), skipped=(("d", "why"),))
    kept = KeptRows.of(survey, [(2, None), (1, rows[0]), (0, rows[1])])
    assert kept.known.tolist() == [True, True, False, False]
    assert [STATUS_NAMES[number] for number in kept.status[:2]] == ["skipped", "ok"]
    assert kept.reasons == {0: "damaged"} and kept.seconds == {"detect": 1.5, "decode": 2.0}
    assert kept.mask_names.tolist() == ["", "a.tif", "", ""] and kept.crack_length_px.tolist() == [0, 40.5, 0, 0]
    assert kept.pictures.tolist() == [b"", picture_of("ab").rstrip(b"\0"), b"", b""]
    assert kept.is_of_file(1, str(image)) and not kept.is_of_file(0, str(image))
    assert not kept.is_of_file(1, str(tmp_path / "gone.jpg"))


@given(st.lists(st.sampled_from(["", "a", "b", "c" * 64]), max_size=12))
def test_each_file_is_a_copy_of_the_first_one_that_is_the_same(hashes: list[str]) -> None:
    expected = {
        place: hashes.index(text) for place, text in enumerate(hashes) if text and hashes.index(text) != place
    }  # fmt: skip
    assert copies(map(picture_of, hashes)) == expected


def test_columns_of_frames_are_the_frames() -> None:
    frames = [
        Frame("a/1.jpg", "/survey/a/1.JPG", (100, 50), "a", Placement((1.0, 2.0), 30.0), 5.0, PLANE, (0.5, 1.5), 7.0,
              "left", -1.25, 0.1, "2", 0.75),
        Frame("b.jpg", "/other/b.jpg", (10, 5), "b", Placement((0.0, 0.0))),
    ]  # fmt: skip
    assert list(in_columns(frames)) == frames and len(in_columns([])) == 0


@pytest.mark.parametrize("direction", [1, -1])
def test_edges_of_strips_that_meet_on_the_drive_have_one_chainage_on_the_route(direction: int) -> None:
    # Kilometre posts: 10 m driven are 10.4 m of chainage, then 9.6 m.
    posts = np.array([100.0, 110.4, 120.0])
    drive = Drive(np.array([0.0, 10.0, 20.0]), posts if direction > 0 else posts[::-1], direction)
    places = np.arange(0.0, 20.0, 2.0)
    nowhere = Placement((0.0, 0.0))
    beside = [Frame("a", "/a", (0, 0), "other", nowhere, 3.0), Frame("b", "/b", (0, 0), "R", nowhere)]
    driven = [Frame(f"{m}", f"/{m}", (100, 50), "R", nowhere, m, PLANE, (1.0, 3.0)) for m in places.tolist()]
    frames = in_columns([*driven, *beside])
    routed = frames_along_route(frames, Routing({"R": drive}))
    for place, frame in enumerate(list(routed)[: len(places)]):
        edges = [frame.chainage_at(y) for y in (1.0, 3.0)]
        assert edges == pytest.approx(drive.to_chainage_m(places[place] + np.array([1.0, 3.0])), abs=1e-9)
        assert np.sign(frame.chainage_scale) == direction
    assert list(routed)[-2:] == beside
    assert frames_along_route(frames, None) is frames


def test_a_frame_without_a_strip_has_the_chainage_of_the_metre_around_it() -> None:
    drive = Drive(np.array([0.0, 10.0]), np.array([100.0, 110.4]), 1)
    frame = Frame("a", "/a", (100, 50), "R", Placement((0.0, 0.0)), 4.0, PLANE)
    (routed,) = frames_along_route(in_columns([frame]), Routing({"R": drive}))
    assert (routed.chainage_m, routed.chainage_scale) == pytest.approx((100.0 + 1.04 * 4.0, 1.04))


@pytest.mark.parametrize("direction", [1, -1])
def test_where_the_route_does_not_get_on_there_is_a_way_back_from_chainage_to_the_picture(direction: int) -> None:
    drive = Drive(np.array([0.0, 10.0]), np.array([100.0, 100.0]), direction)
    frame = Frame("a", "/a", (100, 50), "R", Placement((0.0, 0.0)), 2.0, PLANE, (1.0, 3.0))
    (routed,) = frames_along_route(in_columns([frame]), Routing({"R": drive}))
    assert routed.chainage_scale == pytest.approx(direction * LEAST_SCALE)
    assert routed.chainage_at(1.0) == pytest.approx(100.0)
