import json

import pytest
from click.testing import CliRunner

from crackmap.cli.main import cli


def test_false_cracks_prints_a_row_for_each_kind_and_json() -> None:
    arguments = ["evaluate", "false-cracks", "--kind", "paint", "--kind", "joint", "--count", "1", "--side", "96"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    assert "paint" in result.output and "joint" in result.output
    report = json.loads(CliRunner().invoke(cli, [*arguments, "--json"]).stdout)
    assert [row["kind"] for row in report["kinds"]] == ["paint", "joint"]
    # 96 px of 2 mm a side over a lane of 3.6 m.
    assert report["kinds"][0]["lane_m"] == pytest.approx((96 * 0.002) ** 2 / 3.6)


def test_kinds_are_of_drawn_surfaces_only() -> None:
    result = CliRunner().invoke(cli, ["evaluate", "false-cracks", "--set", "dnit", "--kind", "paint"])
    assert result.exit_code == 2 and "--kind" in result.output


@pytest.mark.parametrize("name", ["segment", "detect", "false-cracks", "widths"])
def test_evaluations_explain_themselves(name: str) -> None:
    result = CliRunner().invoke(cli, ["evaluate", name, "--help"])
    assert result.exit_code == 0 and "--pictures" in result.output
