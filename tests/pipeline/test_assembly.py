"""Cracks put together recording by recording: the same bytes in any number of processes, and little of it in memory."""

from __future__ import annotations

import operator
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_surveys import ROAD, survey
from hypothesis import given, settings
from hypothesis import strategies as st

from crackmap.calibration.errors import CrackmapError, StorageError
from crackmap.pipeline.along import Drive, Routing
from crackmap.pipeline.assembly import assemble as assembling
from crackmap.pipeline.assembly.children import Children
from crackmap.pipeline.assembly.columns import CrackColumns
from crackmap.pipeline.assembly.kept import KeptRows
from crackmap.pipeline.assembly.store import StoredCracks, portions
from crackmap.pipeline.identity import with_rows
from crackmap.pipeline.journal import JournalRow, open_journal
from crackmap.pipeline.polyline import weighted_quantile
from crackmap.pipeline.products import charts, cracks
from crackmap.pipeline.products.crack_rows import crack_table, mean_widths
from crackmap.pipeline.products.rows import mean_width
from crackmap.pipeline.products.totals import crack_totals, whole_length
from crackmap.pipeline.products.write import write_products
from crackmap.pipeline.records import RoadCrack
from crackmap.pipeline.run import RunSettings
from crackmap.pipeline.section_lists import ListedSection
from crackmap.pipeline.survey import Survey, read_survey
from crackmap.pipeline.survey_result import SurveyResult
from crackmap.stages.polyline import vertex_weights
from crackmap.stages.records import Crack

RECORDINGS, FRAMES = ("R2", "R0", "R1"), 6

DESCRIPTION = """
[frames]
pattern = '(?P<recording>R[0-9]+)/(?P<chainage_m>[0-9]+)'
[position]
source = "chainage"
[ground]
method = "gsd"
gsd_mm = 10.0
"""


def metric_crack(line_px: np.ndarray, *, sealed: bool = False) -> Crack:
    """Of a frame of 400 x 500 px, 10 mm each."""
    line = np.asarray(line_px, float)
    ground = np.column_stack([(line[:, 0] - 200) * 0.01, (500 - line[:, 1]) * 0.01])
    width = np.linspace(1.0, 2.0, len(line))
    length = float(np.hypot(*np.diff(line, axis=0).T).sum())
    return Crack(line, width, length, 10.0, 0.8, False, ground, 10.0 * width, 0.01 * length, (10.0, 10.0), 1.0, 0.01,
                 0.2, 2.0, sealed=sealed)  # fmt: skip


def cracks_of_frame(rng: np.random.Generator) -> tuple[Crack, ...]:
    """A line through the whole frame, a net, and some lines of any length."""
    through = metric_crack(np.column_stack([np.full(51, 60.0), np.linspace(500, 0, 51)]))
    net = [metric_crack([(100 + 20 * k, 100), (100 + 20 * k, 160)]) for k in range(4)]
    net += [metric_crack([(95, 100 + 20 * k), (165, 100 + 20 * k)]) for k in range(4)]
    lines = rng.uniform((200, 0), (400, 500), (3, 7, 2))
    return (through, *net, *(metric_crack(line, sealed=number == 0) for number, line in enumerate(lines)))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Survey, Path]:
    """A survey of three recordings, and the folder of its journal."""
    folder, out = tmp_path_factory.mktemp("survey"), tmp_path_factory.mktemp("out")
    (folder / "survey.toml").write_text(DESCRIPTION)
    picture = cv2.imencode(".png", np.full((500, 400, 3), 150, np.uint8))[1].tobytes()
    for recording in RECORDINGS:
        (folder / recording).mkdir()
        for number in range(FRAMES):
            (folder / recording / f"{5 * number:06d}.png").write_bytes(picture)
    found, rng = read_survey(folder), np.random.default_rng(1)
    with open_journal(out) as journal:
        for frame in found.frames:
            seen = cracks_of_frame(rng)
            journal.write(JournalRow(frame.key, 1, 1, frame.key, "hash", "ok", crack_count=len(seen), cracks=seen))
    return found, out


def result_of(measured: tuple[Survey, Path], processes: int, run: RunSettings | None = None) -> SurveyResult:
    found, out = measured
    with open_journal(out) as journal:
        rows = KeptRows.of(found, with_rows(found.frames.keys, journal.rows()))
        wanted = run or RunSettings(section_length_m=10.0)
        return assembling.assemble(found, rows, journal, wanted, scratch=out, processes=processes)


def products_of(result: SurveyResult, out: Path, processes: int) -> dict[str, bytes]:
    out.mkdir()
    write_products(result, out, run_info={}, processes=processes)
    return {path.name: path.read_bytes() for path in sorted(out.iterdir()) if path.name != "timings.json"}


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few cracks are treated as many are."""
    monkeypatch.setattr(assembling, "MANY_CRACKS", 1)
    monkeypatch.setattr(cracks, "PORTION", 20)
    monkeypatch.setattr(cracks, "portions", lambda of: portions(of, 20))


class Killed(Children):
    """Children of which one is killed before the work, and all others after the first answer."""

    def map(self, *given: object) -> Iterator[object]:  # type: ignore[override]
        self._children[0].stop()
        for answer in super().map(*given):  # type: ignore[arg-type]
            yield answer
            for child in self._children:
                child.stop()


def test_products_are_the_same_bytes_in_memory_in_one_process_in_several_and_where_those_are_killed(
    measured: tuple[Survey, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cracks, "PORTION", 20)
    monkeypatch.setattr(cracks, "portions", lambda of: portions(of, 20))
    plain = result_of(measured, 2)
    assert isinstance(plain.cracks, tuple)
    assert len(plain.networks) >= len(RECORDINGS) * FRAMES
    assert {crack.recording for crack in plain.cracks} == set(RECORDINGS)
    expected = products_of(plain, tmp_path / "plain", 1)
    monkeypatch.setattr(assembling, "MANY_CRACKS", 1)
    for processes in (1, 2, 3):
        result = result_of(measured, processes)
        assert isinstance(result.cracks, StoredCracks)
        assert products_of(result, tmp_path / str(processes), 3 if processes == 3 else 1) == expected
    for module in (assembling, cracks):
        monkeypatch.setattr(module, "Children", Killed)
    assert products_of(result_of(measured, 2), tmp_path / "killed", 2) == expected
    assert not list(measured[1].glob(".writing-*"))


def test_listed_sections_and_the_route_are_those_of_a_survey_put_together_at_once(
    measured: tuple[Survey, Path], many: None
) -> None:
    found, out = measured
    drives = {name: Drive(np.array([0.0, 40.0]), np.array([140.0, 100.0]), -1) for name in RECORDINGS}
    listed = (ListedSection("north", 100.0, 120.0), ListedSection("far", 500.0, 600.0),
              ListedSection("own", 120.0, 135.0, "R1"))  # fmt: skip
    run = RunSettings(section_list=listed)
    turned = replace(found, routing=Routing(drives)), out
    one, other = result_of(turned, 1, run), result_of(turned, 3, run)
    assert [section.section_id for section in one.sections] == ["R0:north", "R1:north", "own", "R2:north", "far"]
    assert [repr(section) for section in one.sections] == [repr(section) for section in other.sections]
    assert [repr(crack) for crack in one.cracks] == [repr(crack) for crack in other.cracks]
    assert all(100.0 <= crack.chainage_from_m <= 141.0 for crack in one.cracks)


def number_of(shared: object, number: int) -> int:
    return number


def test_what_no_child_can_do_is_done_here_in_order() -> None:
    # A child cannot import this module: it ends, and leaves the work to this process.
    with Children(2) as children:
        assert list(children.map(number_of, None, ((n,) for n in range(9)))) == list(range(9))


@pytest.mark.parametrize("shared", [None, 3])
def test_a_child_does_what_it_is_asked_more_than_once(shared: object) -> None:
    with Children(1) as children:
        (child,) = children._children
        assert child.ask(operator.is_, shared, (None,)) == (shared is None,)
        assert child.ask(operator.eq, shared, (3,)) == (shared == 3,)
        assert child.ask(operator.truediv, shared, (0,)) is None
        assert child.ask(operator.eq, 4, (4,)) == (True,)


def test_what_was_being_done_when_they_were_closed_is_not_done_here() -> None:
    children = Children(1)
    children.close()
    with pytest.raises(CrackmapError, match="goes on"):
        children._do(number_of, None, (1,))


def optional(draw: st.DrawFn, value: object) -> object:
    return value if draw(st.booleans()) else None


@st.composite
def road_cracks(draw: st.DrawFn) -> RoadCrack:
    count = draw(st.integers(2, 5))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    metric, placed = draw(st.booleans()), draw(st.booleans())
    return RoadCrack(
        "", rng.normal(0, 9, (count, 2)), rng.uniform(0, 9, count), float(rng.uniform(0, 99)), 12.5, 0.5,
        draw(st.booleans()), tuple(draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3))), "R",
        rng.uniform(0, 9, count) if metric else None, float(rng.uniform(0, 9)) if metric else None,
        gsd_mm=optional(draw, (2.0, 3.0)), chainage_at_m=rng.uniform(0, 9, count) if placed else None,
        chainage_from_m=1.0 if placed else None, chainage_to_m=3.0 if placed else None,
        u_length_px=optional(draw, 0.25), joint=draw(st.booleans()), sealed=draw(st.booleans()),
        u_xy_m=optional(draw, float("nan")),
    )  # fmt: skip


def stored(chunks: list[list[RoadCrack]], folder: Path) -> tuple[StoredCracks, tuple[RoadCrack, ...]]:
    """The same cracks in a file and in memory."""
    found, plain = StoredCracks(folder), []
    for chunk in chunks:
        found.append(CrackColumns.of(chunk).to_bytes(), len(chunk), patterns_before=len(plain))
        first = len(plain)
        plain += [replace(crack, crack_id=f"C{n:06d}") for n, crack in enumerate(chunk, first + 1)]
    return found, tuple(plain)


def same(one: RoadCrack, other: RoadCrack) -> bool:
    return all(repr(getattr(one, field.name)) == repr(getattr(other, field.name)) for field in fields(RoadCrack))


@settings(max_examples=40)
@given(st.lists(st.lists(road_cracks(), max_size=4), max_size=4), st.data())
def test_stored_cracks_are_a_tuple(chunks: list[list[RoadCrack]], data: st.DataObject) -> None:
    found, plain = stored(chunks, Path(tempfile.gettempdir()))
    assert len(found) == len(plain)
    assert all(map(same, found, plain)) and all(map(same, reversed(found), reversed(plain)))
    ends = st.none() | st.integers(-20, 20)
    chosen = slice(data.draw(ends), data.draw(ends), data.draw(st.none() | st.sampled_from([-3, -1, 1, 2])))
    assert len(found[chosen]) == len(plain[chosen]) and all(map(same, found[chosen], plain[chosen]))
    for number in range(-len(plain), len(plain)):
        assert same(found[number], plain[number])
    for beyond in (len(plain), -len(plain) - 1):
        with pytest.raises(IndexError):
            found[beyond]
    size = data.draw(st.integers(1, 5))
    parts = list(portions(found, size))
    assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert all(map(same, [crack for part in parts for crack in part.cracks()], plain))
    for part, other in zip(parts, portions(plain, size), strict=True):
        assert part.to_bytes() == other.to_bytes() or len(part) > 0


def test_one_chunk_is_in_memory_at_a_time_and_what_was_taken_from_it_keeps_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = list(survey(ROAD).cracks)[:12]
    found, _ = stored([lines[start : start + 3] for start in range(0, 12, 3)], tmp_path)
    alive: list[weakref.ref[np.ndarray]] = []
    loads = 0
    real = CrackColumns.from_bytes

    def counted(content: bytes) -> CrackColumns:
        nonlocal loads
        loads += 1
        assert not any(reference() is not None for reference in alive)
        columns = real(content)
        alive.append(weakref.ref(columns["line_xy"]))
        return columns

    monkeypatch.setattr(CrackColumns, "from_bytes", counted)
    kept = [crack for crack in found if crack.length_px > 0]
    assert (len(kept), loads) == (12, 4)
    assert [len(part) for part in found.portions(5)] == [5, 5, 2]
    assert loads == 4 + 4
    assert len(charts.longest(found).all) == 12


def test_a_full_disk_is_said_with_the_folder(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="gone"):
        StoredCracks(tmp_path / "gone")


@settings(max_examples=40)
@given(st.lists(road_cracks(), max_size=12))
def test_columns_and_sums_are_those_of_the_single_cracks(lines: list[RoadCrack]) -> None:
    columns = CrackColumns.of(lines)
    table = crack_table(columns)
    for name in ("width_mm", "width_px"):
        expected = [mean_width(crack.line_xy, getattr(crack, name)) for crack in lines]
        np.testing.assert_allclose(mean_widths(columns, name), np.array(expected, float), rtol=1e-12)
    quantiles = [
        np.nan if crack.width_mm is None else weighted_quantile(crack.width_mm, vertex_weights(crack.line_xy), 0.95)
        for crack in lines
    ]
    np.testing.assert_allclose(table["p95_w_mm"], np.array(quantiles).round(2))
    totals, opened = crack_totals(lines), [crack for crack in lines if crack.open]
    assert totals.count == len(opened)
    assert totals.length_px == pytest.approx(sum(crack.length_px for crack in opened))
    assert totals.length_m == pytest.approx(sum(crack.length_m or 0.0 for crack in opened))
    metres, pixels = whole_length(lines)
    assert (metres is None) == all(crack.length_m is None for crack in lines)
    assert pixels == pytest.approx(sum(crack.length_px for crack in lines))


@settings(max_examples=60)
@given(st.lists(road_cracks(), min_size=1, max_size=12))
def test_the_width_below_which_98_percent_lie_is_that_of_all_segments_sorted(lines: list[RoadCrack]) -> None:
    widths, lengths = [np.empty(0)], [np.empty(0)]
    for crack in lines:
        if crack.open:
            widths.append((crack.width_px[:-1] + crack.width_px[1:]) / 2)
            lengths.append(np.hypot(*np.diff(crack.line_xy, axis=0).T))
    width, length = np.concatenate(widths), np.concatenate(lengths)
    order = np.argsort(width)
    reached = np.cumsum(length[order])
    expected = float(width[order][np.searchsorted(reached, 0.98 * reached[-1])]) if len(width) else None
    assert charts._widest(lines, "width_px") == expected
