"""What a plan says of drawn surveys, where images, kilometres, seconds and bytes are known in closed form."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from faults.harness import stand_ins
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from crackmap.calibration.errors import InputError
from crackmap.pipeline.frame import StageSettings
from crackmap.pipeline.journal import open_journal
from crackmap.pipeline.planning import PlanOptions, Rates, Work, machine, make_plan, time_on
from crackmap.pipeline.planning.counting import Inventory, RecordingCount, count_survey
from crackmap.pipeline.planning.estimate import Estimate, Memory, Range, Space, estimate
from crackmap.pipeline.planning.machine import PeakMemory, cgroup_limits, existing, free_bytes, process_age_s
from crackmap.pipeline.planning.making import NO_STRIPS, ProductsSample, StripsSample
from crackmap.pipeline.planning.measuring import Sample, SampledFrame
from crackmap.pipeline.planning.plan import expected_on
from crackmap.pipeline.planning.sampling import choose_sample
from crackmap.pipeline.planning.shortages import Room, gigabytes, shortages
from crackmap.pipeline.records import Frame, FrameOutcome, Placement
from crackmap.pipeline.run import RunOptions, RunSettings, run_survey
from crackmap.pipeline.sections import make_sections
from crackmap.pipeline.survey import Survey, read_survey
from crackmap.stages.device_memory import DeviceMemory

BY_CHAINAGE = """[frames]
pattern = '(?P<recording>[A-Z]+)_(?P<chainage_m>[0-9]+)'
[position]
source = 'chainage'
[ground]
method = 'gsd'
gsd_mm = 50.0
"""
"""A picture of 160 x 120 px then shows 8 m across and 6 m along the road."""


def draw(folder: Path, chainages: dict[str, list[int]], description: str = BY_CHAINAGE) -> Path:
    """A picture at each chainage of each recording, each with one dark line."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for recording, places in chainages.items():
        for chainage in places:
            image = rng.integers(140, 170, (120, 160, 3), dtype=np.uint8)
            row = int(rng.integers(20, 100))
            image[row : row + 4, 20:140] = 40
            (folder / f"{recording}_{chainage:05d}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    if description:
        (folder / "survey.toml").write_text(description, encoding="utf-8")
    return folder


def drawn(tmp_path: Path, count: int = 12) -> Survey:
    return read_survey(draw(tmp_path / "survey", {"A": [5 * number for number in range(count)]}))


def plan_of(survey: Survey, **options):  # type: ignore[no-untyped-def]
    return make_plan(survey, stand_ins, RunSettings(StageSettings()), PlanOptions(**options))


# What there is


def test_kilometres_are_the_road_that_pictures_show(tmp_path: Path) -> None:
    survey = read_survey(draw(tmp_path / "s", {"A": list(range(0, 100, 5)), "B": [0, 5, 10, 15]}))
    there = count_survey(survey)
    assert [(item.recording, item.frames) for item in there.recordings] == [("A", 20), ("B", 4)]
    assert [item.pictured_m for item in there.recordings] == pytest.approx([100.0, 20.0])
    assert there.pictured_m == pytest.approx(120.0)
    assert there.area_m2 == pytest.approx(120.0 * 8.0)
    assert there.pixels == 24 * 160 * 120
    assert there.input_bytes == sum(path.stat().st_size for path in (tmp_path / "s").glob("*.png"))


def test_road_between_pictures_is_extent_but_not_pictured(tmp_path: Path) -> None:
    survey = read_survey(draw(tmp_path / "s", {"A": [0, 5, 10, 15, 20, 40, 45, 50]}))
    (road,) = count_survey(survey).recordings
    # The picture before the gap shows its 6 m, the others the 5 m to the next; the last as much as the one before.
    assert road.pictured_m == pytest.approx(4 * 5 + 6 + 3 * 5)
    assert road.extent_m == pytest.approx(55.0)


def test_kilometres_are_those_of_the_sections_of_a_run(tmp_path: Path) -> None:
    folder = draw(tmp_path / "s", {"A": [0, 5, 10, 20, 22, 40], "B": [3, 4, 9]})
    (folder / "A_00015.png").write_bytes(b"no picture")
    survey = read_survey(folder)
    outcomes = [FrameOutcome(frame, "ok") for frame in survey.frames]
    outcomes += [FrameOutcome(survey.unplaced_frame(key), "skipped", why) for key, why in survey.skipped]
    covered = sum(section.covered_m or 0.0 for section in make_sections(outcomes, ()))
    there = count_survey(survey)
    assert there.pictured_m == pytest.approx(covered)
    assert (there.found, there.usable, there.unreadable) == (10, 9, 1)
    assert there.skipped[0][0] == "A_00015.png"


@pytest.mark.parametrize("direction", ["with", "against"])
def test_an_image_that_cannot_be_read_lies_where_its_name_says_whichever_way_the_road_was_driven(
    direction: str, tmp_path: Path
) -> None:
    folder = draw(tmp_path / "s", {"A": [1000, 1005, 1010, 1020]}, f"{BY_CHAINAGE}[route]\ndirection = '{direction}'\n")
    (folder / "A_01015.png").write_bytes(b"no picture")
    (road,) = count_survey(read_survey(folder)).recordings
    assert road.extent_m == pytest.approx(26.0, abs=1.0)


def test_without_a_position_there_are_no_kilometres(tmp_path: Path) -> None:
    survey = read_survey(draw(tmp_path / "s", {"A": [0, 5]}, description=""))
    there = count_survey(survey)
    assert there.pictured_m is None and there.area_m2 == 0.0
    assert (there.unplaced, there.unscaled) == (2, 2)


def test_a_single_image_is_a_survey(tmp_path: Path) -> None:
    draw(tmp_path, {"A": [0]}, description="")
    there = count_survey(read_survey(tmp_path / "A_00000.png", gsd_mm=1.0))
    assert (there.found, there.usable, there.unscaled) == (1, 1, 0)


# Which frames stand for it


def frames_of(sizes: list[int]) -> list[Frame]:
    return [
        Frame(f"{recording}/{number}", f"{recording}/{number}", (10, 10 + recording), f"{recording}",
              Placement((0.0, 0.0)))
        for recording, size in enumerate(sizes)
        for number in range(size)
    ]  # fmt: skip


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12), count=st.integers(1, 60))
def test_a_sample_stands_for_the_whole_survey(sizes: list[int], count: int) -> None:
    frames = frames_of(sizes)
    chosen = choose_sample(frames, count)
    assert len({item.frame.key for item in chosen}) == len(chosen) == min(count, len(frames))
    pixels = sum(frame.size_wh_px[0] * frame.size_wh_px[1] for frame in frames)
    assert sum(item.stands_for_px for item in chosen) == pytest.approx(pixels)
    assert len({item.frame.recording for item in chosen}) == min(len(sizes), count)
    assert chosen == choose_sample(frames, count)


def test_a_sample_lies_evenly_and_gives_each_recording_its_share() -> None:
    chosen = choose_sample(frames_of([80, 16, 4]), 10)
    assert [item.frame.key for item in chosen] == [
        "0/5", "0/15", "0/25", "0/35", "0/45", "0/55", "0/65", "0/75", "1/8", "2/2"
    ]  # fmt: skip


def test_no_sample_is_no_frame() -> None:
    assert choose_sample(frames_of([3]), 0) == ()
    assert choose_sample([], 5) == ()


# How long it takes


def test_the_time_is_start_and_the_slowest_of_three_and_assembly() -> None:
    work = Work(start_s=10.0, compute_s=36_000.0, assembly_s=600.0, frames=90_000, input_bytes=360 * 10**9)
    rates = Rates(journal_rows_per_s=300.0)
    one = time_on(1, work, rates, storage_bytes_per_s=1e9)
    assert (one.bound, one.total_s) == ("compute", pytest.approx(10 + 36_000 + 600))
    ten = time_on(10, work, rates, storage_bytes_per_s=1e8)
    assert (ten.bound, ten.total_s) == ("compute", pytest.approx(10 + 3600 + 600))
    # 360 GB at 50 MB/s: two hours, however many machines wait for them.
    slow = time_on(10, work, rates, storage_bytes_per_s=5e7)
    assert (slow.bound, slow.total_s) == ("storage", pytest.approx(10 + 7200 + 600))
    many = time_on(1000, work, rates, storage_bytes_per_s=1e9)
    assert (many.compute_s, many.storage_s, many.journal_s) == pytest.approx((36.0, 360.0, 300.0))
    without = time_on(1000, work, rates)
    assert (without.bound, without.total_s) == ("journal", pytest.approx(10 + 300 + 600))
    assert without.machine_hours == pytest.approx(1000 * 910 / 3600)


def test_cracks_take_their_time_in_the_journal() -> None:
    work = Work(0.0, 1000.0, 0.0, frames=900, input_bytes=0, cracks=36_000)
    rates = Rates(journal_rows_per_s=300.0, journal_s_per_crack=5e-4)
    assert time_on(900, work, rates).journal_s == pytest.approx(3.0 + 18.0)


def test_more_machines_than_frames_help_no_more() -> None:
    work = Work(0.0, 80.0, 0.0, frames=4, input_bytes=0)
    assert time_on(4, work, Rates()).total_s == time_on(400, work, Rates()).total_s == pytest.approx(20.0)


@pytest.mark.parametrize(("machines", "rate"), [(0, None), (-1, None), (1, 0.0), (1, -5.0)])
def test_no_machine_and_no_rate_are_refused(machines: int, rate: float | None) -> None:
    with pytest.raises(InputError):
        time_on(machines, Work(0.0, 1.0, 0.0, 1, 1), Rates(), storage_bytes_per_s=rate)


# From the sample to the survey

MPX = 1_000_000
INVENTORY = Inventory(
    1000, 1000, (), 0, 0, 0, 1000 * MPX, 0, 10**9, (RecordingCount("A", 1000, 1000 * MPX, 5000.0, 5000.0, 20_000.0),)
)
NO_SPREAD = replace(
    Rates(), clock_spread=0.0, journal_row_bytes=100, tables_fixed_bytes=0, frame_bytes=1800, crack_bytes=3400
)


def sampled(seconds: list[float], *, cracks: int = 2, reason: str = "") -> tuple[SampledFrame, ...]:
    """Frames of a megapixel that stand for equal parts of INVENTORY."""
    return tuple(
        SampledFrame(f"{number}", MPX, 1000 * MPX / len(seconds),
                     {"decode": 0.1 * took, "segment": 0.6 * took, "measure": 0.3 * took}, cracks, 5000, reason)
        for number, took in enumerate(seconds)
    )  # fmt: skip


def sample_of(frames: tuple[SampledFrame, ...], **changed) -> Sample:  # type: ignore[no-untyped-def]
    products = ProductsSample(3.0, 6000 * len(frames), 10**6, len(frames), 0.1 * len(frames), 50_000 * len(frames))
    sample = Sample(
        frames, workers=2, engine="stand-in", start_s=4.0, clock_share=0.5, journal_rows=len(frames),
        journal_cracks=2 * len(frames), journal_bytes=len(frames) * (100 + 2 * 1000), products=products,
        strips=StripsSample(8.0, 10**6, 400.0, 10_000.0), start_bytes=10**9, peak_bytes=3 * 10**9, device=None,
        whole=False,
    )  # fmt: skip
    return replace(sample, **changed)


def estimate_of(sample: Sample, inventory: Inventory = INVENTORY, rates: Rates = NO_SPREAD) -> Estimate:
    found = estimate(inventory, sample, RunSettings(), begun_s=1.0, rates=rates)
    assert found is not None
    return found


def test_an_estimate_by_hand() -> None:
    found = estimate_of(sample_of(sampled([2.0] * 10)))
    assert found.work.start_s == pytest.approx(1.0 + 4.0)
    assert found.work.compute_s == pytest.approx(1000 * 2.0 * 0.5)
    assert found.parts_s["decode"] == pytest.approx(100.0) and found.parts_s["nets"] == pytest.approx(600.0)
    # 20,000 m² of road, and 8 s for 400 m²; 6 MB of pictures of 50 kB are 120, at 0.1 s each.
    assert found.parts_s["strips"] == pytest.approx(400.0)
    assert found.parts_s["pictures"] == pytest.approx(12.0)
    assert found.cracks.value == pytest.approx(2000)
    assert found.space.masks == 5000 * 1000
    assert found.space.journal == 1000 * 100 + 2000 * 1000
    assert found.space.strips == 50 * 10**6
    # Cracks of 3 kB, and 110 pictures more of 50 kB in base64.
    assert found.space.products == pytest.approx(10**6 + 4 / 3 * 110 * 50_000 + 2000 * 3000, abs=1)
    # A section of 100 m by 4 m at 10,000 px/m², four bytes each.
    assert found.space.working == 4 * 4_000_000
    assert found.memory.assembly == 3 * 10**9 + 1000 * 1800 + 2000 * 3400
    assert found.memory.each_worker == 10**9


def test_equal_frames_leave_only_the_spread_of_the_clock() -> None:
    assert estimate_of(sample_of(sampled([2.0] * 10))).spread == pytest.approx((1.0, 1.0))
    rates = replace(NO_SPREAD, clock_spread=0.1)
    assert estimate_of(sample_of(sampled([2.0] * 10)), rates=rates).spread == pytest.approx((0.9, 1.1))


def test_frames_that_differ_widen_the_range_and_more_of_them_narrow_it() -> None:
    few = estimate_of(sample_of(sampled([1.0, 3.0] * 5))).spread
    many = estimate_of(sample_of(sampled([1.0, 3.0] * 40))).spread
    assert few is not None and many is not None
    # The mean of n frames that take 1 or 3 s has the standard error 1 / sqrt(n - 1); 10 % lie beyond t of them.
    for (low, high), count in ((few, 10), (many, 80)):
        away = float(student.ppf(0.9, count - 1)) * 0.5 / np.sqrt(count - 1) * np.sqrt(1 - count / 1000)
        assert high - low == pytest.approx(2 * away, rel=0.1)
    assert few == estimate_of(sample_of(sampled([1.0, 3.0] * 5))).spread


def test_the_range_holds_in_eight_cases_of_ten() -> None:
    # Costs as skewed as those of frames are: a tenth of the frames takes a third of the time.
    costs = np.random.default_rng(4).lognormal(0.0, 0.8, 1000)
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(200):
        found = estimate_of(sample_of(sampled(rng.choice(costs, 16, replace=False).tolist())))
        assert found.spread is not None
        low, high = (factor * found.work.compute_s for factor in found.spread)
        held += low <= 0.5 * costs.sum() <= high
    assert 140 <= held <= 180


def test_of_a_handful_of_frames_no_range_is_given() -> None:
    found = estimate_of(sample_of(sampled([1.0, 3.0, 2.0])))
    assert found.spread is None and found.space.total.low is None
    on = expected_on(1, found, PlanOptions())
    assert on.total_s.low is None and on.total_s.value > 0


def test_a_sample_of_the_whole_survey_leaves_nothing_open_but_the_clock() -> None:
    whole = Inventory(3, 3, (), 0, 0, 0, 3 * MPX, 0, 10, ())
    frames = tuple(replace(frame, stands_for_px=MPX) for frame in sampled([1.0, 2.0, 6.0]))
    found = estimate_of(sample_of(frames, strips=NO_STRIPS), whole)
    assert found.spread == (1.0, 1.0)
    assert found.work.compute_s == pytest.approx(9.0 * 0.5)
    assert found.space.strips == 0


def test_images_that_cannot_be_used_say_nothing_of_time() -> None:
    lost = replace(sampled([1.0])[0], seconds={}, reason="cut off")
    found = estimate_of(sample_of((*sampled([2.0] * 9), lost)))
    assert found.work.compute_s == pytest.approx(1000 * 2.0 * 0.5)
    nothing = sample_of((lost,))
    assert estimate(INVENTORY, nothing, RunSettings(), begun_s=0.0, rates=Rates()) is None


def test_costs_are_those_of_all_machines_until_the_end() -> None:
    found = estimate_of(sample_of(sampled([2.0] * 10)), rates=replace(NO_SPREAD, clock_spread=0.1))
    on = expected_on(10, found, PlanOptions(price_per_hour=3.0, rates=NO_SPREAD))
    total_s = found.work.start_s + found.work.compute_s / 10 + found.work.assembly_s
    assert on.cost is not None and on.cost.value == pytest.approx(3.0 * 10 * total_s / 3600)
    assert on.cost.low is not None and on.cost.high is not None and on.cost.low < on.cost.value < on.cost.high


# What will be short

SPACE = Space(0, 0, 0, 40 * 10**9, 0, Range(100e9, 90e9, 120e9))
NEED = Estimate(Work(0.0, 1.0, 1.0, 1000, 0), {}, None, Range(2e6, None, None), SPACE,
                Memory(8 * 10**9, 14 * 10**9, 10**9))  # fmt: skip


def told(room: Room, *, inventory: Inventory = INVENTORY, sample: Sample | None = None) -> dict[str, tuple[str, bool]]:
    sample = sample or sample_of(sampled([1.0] * 4), workers=8)
    found = shortages(inventory, sample, NEED, room, most_unreadable=0.05)
    return {item.what: (item.text, item.certain) for item in found}


def test_where_nothing_is_short_nothing_is_said() -> None:
    assert told(Room(disk_bytes=200 * 10**9, memory_bytes=16 * 10**9)) == {}
    assert told(Room()) == {}


def test_a_disk_too_small_for_the_least_is_certain() -> None:
    text, certain = told(Room(disk_bytes=80 * 10**9))["disk"]
    assert certain and "100 GB" in text and "80 GB are free" in text and "--no-strips needs 40 GB less" in text


def test_a_disk_that_may_be_too_small_is_a_warning() -> None:
    text, certain = told(Room(disk_bytes=130 * 10**9))["disk"]
    assert not certain and "may not be enough" in text


def test_a_run_that_goes_on_needs_less_than_a_plan_knows() -> None:
    text, certain = told(Room(disk_bytes=80 * 10**9, continued=True))["disk"]
    assert not certain and "holds already" in text


def test_too_little_memory_names_the_workers_that_fit() -> None:
    text, certain = told(Room(memory_bytes=5 * 10**9))["memory"]
    assert not certain and text.endswith("--workers 5")
    text, _ = told(Room(memory_bytes=10**9), sample=sample_of(sampled([1.0]), workers=1))["memory"]
    assert "a machine with more" in text


def test_cracks_that_do_not_fit_the_memory_are_named_before_the_night() -> None:
    text, _ = told(Room(memory_bytes=10 * 10**9))["memory"]
    assert "2000000 cracks" in text and "14 GB" in text


def test_a_graphics_card_that_is_nearly_full_is_named() -> None:
    card = DeviceMemory("Card", 7_500_000_000, 8_000_000_000, 200_000_000)
    text, _ = told(Room(), sample=sample_of(sampled([1.0]), device=card))["device"]
    assert "Card" in text and "--workers" in text
    half_free = replace(card, peak_bytes=10**9, free_bytes=10**9)
    assert "device" not in told(Room(), sample=sample_of(sampled([1.0]), device=half_free))


def test_what_is_wrong_with_the_survey_is_said() -> None:
    found = told(Room(survey_on_network=True), inventory=replace(INVENTORY, unplaced=600, unscaled=3, unreadable=60))
    assert found["unreadable"][1] and "60 of 1000" in found["unreadable"][0]
    assert "--gsd" in found["scale"][0] and "600 of 1000" in found["position"][0]
    assert "--storage-mb-s" in found["network"][0]
    assert "unreadable" not in told(Room(), inventory=replace(INVENTORY, found=20, unreadable=9))


def test_sizes_are_written_as_a_person_reads_them() -> None:
    assert [gigabytes(size) for size in (2_000, 3.5e8, 1.25e9, 4e12)] == ["2 kB", "350 MB", "1.25 GB", "4 TB"]


# The machine


def test_the_least_limit_of_the_control_groups_counts(tmp_path: Path) -> None:
    for name, limit in (("", "max"), ("a", "8000"), ("a/b", "max"), ("a/b/c", "9000")):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "memory.max").write_text(f"{limit}\n")
    assert min(cgroup_limits("0::/a/b/c\n", tmp_path)) == 8000
    # Inside a container its own path is that of the host.
    (tmp_path / "memory.max").write_text("7000\n")
    assert cgroup_limits("0::/somewhere/else\n", tmp_path) == [7000]
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("6000\n")
    assert cgroup_limits("5:cpu,memory:/x\n4:cpuset:/x\n", tmp_path) == [6000]


def test_room_is_asked_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert existing(tmp_path / "a" / "b") == tmp_path
    assert free_bytes(tmp_path / "a" / "b") > 0


def test_a_process_knows_how_long_it_runs() -> None:
    age = process_age_s()
    if age is None:
        pytest.skip("the system does not tell")
    shown = f"import runpy; print(runpy.run_path({machine.__file__!r})['process_age_s']())"
    younger = float(subprocess.run([sys.executable, "-c", shown], capture_output=True, check=True, text=True).stdout)
    assert 0.0 <= younger < process_age_s()


def test_memory_of_this_process_is_seen() -> None:
    with PeakMemory() as memory:
        held = np.ones(100_000_000, np.uint8)
    if memory.start_bytes is None:
        pytest.skip("the system does not tell")
    assert memory.peak_bytes is not None and memory.peak_bytes - memory.start_bytes > 0.8 * held.nbytes


# Everything together, with stand-in nets


def test_a_sample_of_all_frames_says_what_a_run_writes(tmp_path: Path) -> None:
    survey = drawn(tmp_path, 6)
    plan = plan_of(survey, sample=6, workers=2)
    run_survey(survey, tmp_path / "out", stand_ins(), RunSettings(StageSettings()), options=RunOptions(workers=2))
    with open_journal(tmp_path / "out") as journal:
        rows = list(journal.rows())
    assert plan.sample is not None and plan.sample.whole and plan.estimate is not None
    assert plan.estimate.space.masks == sum(row.mask_bytes for row in rows)
    assert plan.estimate.cracks.value == pytest.approx(sum(row.crack_count for row in rows))
    assert all(seconds > 0 for seconds in plan.estimate.parts_s.values())
    strips = sum(path.stat().st_size for path in (tmp_path / "out" / "strips").iterdir() if "cracks" not in path.name)
    assert plan.estimate.space.strips == pytest.approx(strips, rel=0.5)


def test_a_plan_leaves_nothing_behind_and_writes_nothing_to_its_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    # So many that a run measures in processes of its own.
    survey = drawn(tmp_path, 34)
    before = sorted(survey.root.iterdir())
    plan = plan_of(survey, sample=5, workers=2, out=tmp_path / "out")
    assert plan.room.disk_bytes is not None and plan.possible
    assert not list((tmp_path / "tmp").iterdir()) and not (tmp_path / "out").exists()
    assert sorted(survey.root.iterdir()) == before


def test_a_sample_of_none_loads_no_net(tmp_path: Path) -> None:
    plan = make_plan(drawn(tmp_path), lambda: pytest.fail("loaded"), RunSettings(), PlanOptions(sample=0))
    assert plan.sample is None and plan.estimate is None and plan.expected == ()
    assert plan.inventory.usable == 12


def test_sampled_images_that_cannot_be_decoded_are_named(tmp_path: Path) -> None:
    folder = draw(tmp_path / "survey", {"A": [0, 5, 10, 15]})
    whole = (folder / "A_00005.png").read_bytes()
    (folder / "A_00005.png").write_bytes(whole[: len(whole) // 2])
    plan = plan_of(read_survey(folder), sample=4, workers=1)
    assert plan.sample is not None and len(plan.sample.usable) == 3
    (lost,) = (item for item in plan.shortages if item.what == "sample")
    assert "A_00005.png" in lost.text and plan.possible


@pytest.mark.parametrize("options", [{"sample": -1}, {"workers": 0}, {"machines": ()}, {"machines": (0,)},
                                     {"price_per_hour": -1.0}])  # fmt: skip
def test_impossible_questions_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        PlanOptions(**options)  # type: ignore[arg-type]
