"""crackmap plan by its real command line, with stand-in nets."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from faults.harness import draw_survey, stand_ins

from crackmap.calibration.errors import InputError
from crackmap.cli.main import cli
from crackmap.cli.plan import _duration
from crackmap.pipeline import nets as nets_module
from crackmap.pipeline.planning import plan as plan_module


@pytest.fixture(autouse=True)
def stand_in_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nets_module, "load_stages", lambda settings, **_: stand_ins())


def invoke(*args: object) -> Result:
    # Not standalone, as `main` calls it: then what a command returns is the exit code.
    return CliRunner().invoke(cli, ["plan", *map(str, args)], standalone_mode=False)


def on_road(folder: Path, count: int) -> Path:
    """Pictures of 8 x 6 m every 5 m."""
    folder.mkdir()
    rng = np.random.default_rng(2)
    for number in range(count):
        picture = cv2.imencode(".png", rng.integers(140, 170, (120, 160, 3), dtype=np.uint8))[1]
        (folder / f"{5 * number:04d}.png").write_bytes(picture.tobytes())
    (folder / "survey.toml").write_text(
        "[frames]\npattern = '(?P<chainage_m>[0-9]+)'\n[position]\nsource = 'chainage'\n"
        "[ground]\nmethod = 'gsd'\ngsd_mm = 50.0\n"
    )
    return folder


def test_a_plan_says_what_is_there_how_long_and_what_it_costs(tmp_path: Path) -> None:
    survey = draw_survey(tmp_path / "photos", 7)
    (survey / "bad.jpg").write_bytes(b"no picture")
    result = invoke(survey, "--gsd", 1, "--sample", 5, "--workers", 1, "--on", "1,4", "--price-per-hour", 3,
                    "-o", tmp_path / "out")  # fmt: skip
    assert result.exception is None and result.return_value == 0, result.output
    assert "photos: 8 images, 7 usable, 1 skipped" in result.output and "skipped  bad.jpg: " in result.output
    assert "5 frames, 1 at a time, nets: stand-ins" in result.output
    table = {line.split()[0]: line for line in result.output.splitlines() if line}
    assert {"1", "4", "machines", "Disk:", "Memory:"} <= table.keys() and "100" not in table
    assert "cost" in table["machines"] and "are free" in table["Disk:"]
    assert "no position" in result.output and "No kilometres" in result.output


def test_json_holds_the_whole_plan_and_too_small_a_disk_is_exit_code_4(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "free_bytes", lambda folder: 1000)
    result = invoke(on_road(tmp_path / "road", 6), "--sample", 6, "--workers", 1, "--json", "-o", tmp_path / "out")
    assert result.return_value == 4 and not (tmp_path / "out").exists()
    assert "Cannot work: the run needs about" in result.stderr and "1 kB are free" in result.stderr
    plan = json.loads(result.stdout)
    assert plan["possible"] is False and plan["sample"]["whole"] is True
    assert [item["what"] for item in plan["shortages"] if item["certain"]] == ["disk"]
    assert plan["inventory"]["usable"] == 6 and plan["inventory"]["recordings"][0]["pictured_m"] == pytest.approx(30.0)
    assert [item["timing"]["machines"] for item in plan["expected"]] == [1, 10, 100]
    first = plan["expected"][0]
    terms = first["timing"]
    assert terms["total_s"] == pytest.approx(terms["start_s"] + terms[f"{terms['bound']}_s"] + terms["assembly_s"])
    assert first["cost"] is None and first["total_s"]["low"] <= first["total_s"]["value"] <= first["total_s"]["high"]


def test_counting_alone_needs_no_nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nets_module, "load_stages", None)
    result = invoke(on_road(tmp_path / "road", 20), "--sample", 0)
    assert result.return_value == 0, result.output
    (line,) = (line for line in result.output.splitlines() if line.startswith("road "))
    assert line.split() == ["road", "20", "0.4", "0.100"]
    assert "machines" not in result.output


def test_a_card_full_of_damaged_images_ends_with_exit_code_4_unless_they_may_pass(tmp_path: Path) -> None:
    survey = draw_survey(tmp_path / "photos", 5)
    for number in range(12):
        (survey / f"bad{number}.jpg").write_bytes(b"no picture")
    result = invoke(survey, "--gsd", 1, "--sample", 0)
    assert result.return_value == 4
    assert "12 of 17 images cannot be read" in result.output and "and 2 more" in result.output
    assert invoke(survey, "--gsd", 1, "--sample", 0, "--max-unreadable", 90).return_value == 0


def test_hostile_names_do_not_reach_the_terminal(tmp_path: Path) -> None:
    survey = draw_survey(tmp_path / "photos", 2)
    (survey / "a\x1b[31m\n.jpg").write_bytes(b"no picture")
    output = invoke(survey, "--sample", 0).output
    assert "\x1b" not in output and "a\\x1b[31m\\n.jpg" in output


@pytest.mark.parametrize("wrong", [
    ("--on", "0"), ("--on", "1,x"), ("--on", ""), ("--on", "1,-2"), ("--sample", "-1"), ("--sample", "many"),
    ("--storage-mb-s", "0"), ("--storage-mb-s", "nan"), ("--price-per-hour", "-1"), ("--price-per-hour", "inf"),
    ("--workers", "0"), ("--max-unreadable", "101"),
])  # fmt: skip
def test_wrong_numbers_are_wrong_usage(tmp_path: Path, wrong: tuple[str, str]) -> None:
    draw_survey(tmp_path / "photos", 1)
    assert CliRunner().invoke(cli, ["plan", str(tmp_path / "photos"), *wrong]).exit_code == 2


def test_a_folder_that_is_not_there_or_holds_no_image_is_refused(tmp_path: Path) -> None:
    assert CliRunner().invoke(cli, ["plan", str(tmp_path / "none")]).exit_code == 2
    (tmp_path / "notes.txt").write_text("nothing here")
    assert isinstance(invoke(tmp_path).exception, InputError)


@pytest.mark.parametrize(("seconds", "text"), [
    (0.5, "0.5 s"), (119, "119 s"), (150, "2.5 min"), (7200, "2 h"), (400_000, "4.63 d"), (1e9, "1.16e+04 d"),
])  # fmt: skip
def test_times_are_written_as_a_person_reads_them(seconds: float, text: str) -> None:
    assert _duration(seconds) == text
