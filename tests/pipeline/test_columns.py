"""The columns of cracks: how far numbers can be trusted stands beside them, and every column is explained."""

import csv
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np

from crackmap.pipeline.outcome_table import Outcomes
from crackmap.pipeline.products.crack_rows import CRACK_FIELDS
from crackmap.pipeline.products.rows import FRAME_FIELDS, PATTERN_FIELDS, SECTION_FIELDS
from crackmap.pipeline.products.write import write_products
from crackmap.pipeline.profiles import profile_names
from crackmap.pipeline.profiles.model import Profile
from crackmap.pipeline.records import CoordinateKind, OutputFrame, RoadCrack
from crackmap.pipeline.survey_result import SurveyResult

ROAD = OutputFrame(
    CoordinateKind.ROAD,
    'ENGCRS["crackmap road",EDATUM["route"],CS[Cartesian,2],AXIS["x",unspecified,ORDER[1]],'
    'AXIS["y",unspecified,ORDER[2]],LENGTHUNIT["metre",1]]',
)
PLAIN = RoadCrack(
    "C000001", np.array([[0.0, 1.0], [0.5, 3.0]]), np.array([2.0, 2.0]), 1030.8, 14.0, 0.8, False, ("a.jpg",), "R1",
    np.array([4.0, 4.0]), 2.06, 1.0, 3.0, 0.25, (2.0, 2.0), np.array([1.0, 3.0]), np.array([0.0, 0.5]), gap_m=0.0,
)  # fmt: skip
FULL = replace(
    PLAIN, crack_id="C000002", u_length_m=0.01234, u_width_mm=0.4321, u_length_px=3.0, u_width_px=0.1,
    grey_share=0.75, gap_m=0.05, saturated=True, below_resolution=True,
)  # fmt: skip


def products(out: Path, *cracks: RoadCrack) -> tuple[list[dict[str, str]], str]:
    write_products(SurveyResult(ROAD, Outcomes.of(()), cracks, ()), out, run_info={})
    with (out / "cracks.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file)), (out / "report.html").read_text("utf-8")


def test_uncertainties_and_flags_are_columns_and_empty_where_unknown(tmp_path):
    (plain, full), _ = products(tmp_path, PLAIN, FULL)
    columns = [
        "u_length_m",
        "u_mean_w_mm",
        "u_length_px",
        "u_mean_w_px",
        "grey_share",
        "gap_m",
        "saturated",
        "below_res",
    ]
    assert [float(full[name]) for name in columns] == [0.0123, 0.432, 3.0, 0.1, 0.75, 0.05, 1, 1]
    assert [plain[name] for name in columns] == ["", "", "", "", "0.0", "0.0", "0", "0"]


def test_the_report_says_what_uncertainties_and_flags_mean_where_there_are_any(tmp_path):
    _, html = products(tmp_path / "full", PLAIN, FULL)
    assert "standard uncertainties" in html
    assert "1 crack is less than a pixel wide" in html and "1 crack lies" in html
    _, html = products(tmp_path / "plain", PLAIN)
    assert not any(text in html for text in ("standard uncertainties", "less than a pixel wide", "plain black"))


def test_every_column_is_explained():
    text = (Path(__file__).parents[2] / "docs" / "columns.md").read_text("utf-8")
    names = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", "".join(names))) == {field.name for field in CRACK_FIELDS}


def test_every_other_column_is_explained_in_outputs():
    text = (Path(__file__).parents[2] / "docs" / "outputs.md").read_text("utf-8")
    named = {name for line in text.splitlines() if line.startswith("| `")
             for name in re.findall(r"`(\w+)`", line.split("|")[1])}  # fmt: skip
    columns = {field.name for fields in (SECTION_FIELDS, PATTERN_FIELDS, FRAME_FIELDS) for field in fields}
    assert columns <= named


def test_the_profile_of_the_documents_is_one():
    text = (Path(__file__).parents[2] / "docs" / "profiles.md").read_text("utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert Profile.model_validate(tomllib.loads(example)).grade is not None
    for name in profile_names():
        assert f"| `{name}` |" in text
