"""The journal keeps every number of a crack."""

import json
import sqlite3
from dataclasses import asdict, fields

import numpy as np

from crackmap.pipeline.journal import JOURNAL_NAME, JournalRow, open_journal
from crackmap.stages.records import Crack

LINE = np.array([[1.5, 2.25], [4.0, 8.5], [9.75, 20.125]])
FULL = Crack(
    LINE, np.array([1.0, 2.0, 1.5]), 19.5, 12.5, 0.75, True, LINE / 1e3, np.array([2.0, 4.0, 3.0]), 0.039, (2.0, 2.5),
    u_length_px=1.5, u_length_m=0.003, u_width_px=0.125, u_width_mm=0.25, grey_share=0.5, gap_px=3.5, saturated=True,
    below_resolution=True, joint=True, sealed=True,
)  # fmt: skip
PLAIN = Crack(LINE, np.array([1.0, 2.0, 1.5]), 19.5, 12.5, 0.75, False)


def row(*cracks: Crack) -> JournalRow:
    return JournalRow(
        "a.jpg",
        10,
        20,
        "input",
        "hash",
        "ok",
        "",
        0.5,
        "a.tif",
        30,
        "mask",
        {"measure": 0.25},
        ("cpu",),
        len(cracks),
        sum(crack.length_px for crack in cracks),
        cracks,
    )


def same(one: Crack, other: Crack) -> bool:
    a, b = asdict(one), asdict(other)
    return all(np.array_equal(a[name], b[name]) and type(a[name]) is type(b[name]) for name in a)


def test_every_field_of_a_crack_comes_back_with_its_type(tmp_path):
    optional = [field.name for field in fields(Crack)][6:]
    # Or a field that is lost would come back as its default and pass.
    assert all(not np.array_equal(getattr(FULL, name), getattr(PLAIN, name)) for name in optional)
    with open_journal(tmp_path) as journal:
        journal.write(row(FULL, PLAIN))
        read = journal.cracks("a.jpg")
    assert len(read) == 2
    assert same(read[0], FULL) and same(read[1], PLAIN)
    assert read[0].saturated is True and read[1].u_width_mm is None


def test_numbers_of_numpy_are_kept_as_plain_ones(tmp_path):
    crack = Crack(
        LINE, np.array([1.0, 2.0, 1.5]), np.float64(19.5), 12.5, 0.75, np.bool_(True), u_width_px=np.float32(0.5)
    )
    with open_journal(tmp_path) as journal:
        journal.write(row(crack))
        read = journal.cracks("a.jpg")
    assert read[0].touches_border is True
    assert read[0].u_width_px == 0.5


def test_a_row_from_before_a_field_was_added_is_read_with_its_default(tmp_path):
    with open_journal(tmp_path) as journal:
        journal.write(row(FULL))
    optional = [field.name for field in fields(Crack)][10:]
    with sqlite3.connect(tmp_path / JOURNAL_NAME) as connection:
        (text,) = connection.execute("SELECT cracks FROM frames").fetchone()
        (item,) = json.loads(text)
        for name in optional:
            del item[name]
        connection.execute("UPDATE frames SET cracks = ?", (json.dumps([item]),))
    with open_journal(tmp_path) as journal:
        read = journal.cracks("a.jpg")
    assert read[0].u_length_m is None and read[0].saturated is False
    np.testing.assert_array_equal(read[0].width_mm, FULL.width_mm)
