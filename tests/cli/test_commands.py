"""The real command line, end to end, on drawn images with stand-in nets that need no training."""

import csv
import json
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pyogrio
import pytest
import torch
from click.testing import CliRunner, Result

from crackmap.calibration.errors import CrackmapError
from crackmap.cli.main import COMMANDS, cli
from crackmap.pipeline import nets as nets_module
from crackmap.pipeline.frame import Stages
from crackmap.stages.records import Region
from crackmap.stages.segment.segmenter import Segmenter


class DarkIsCrack(torch.nn.Module):
    """A one-layer segmenter: pixels much darker than the road are crack."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (90 - images.mean(dim=1, keepdim=True)) / 4


class DarkRegions:
    """A detector that proposes cells with dark pixels."""

    def detect(self, source, settings, within=None):  # type: ignore[no-untyped-def]
        image = source.read(0, 0, *source.size_wh_px)[..., 0]
        ys, xs = np.nonzero(image < 90)
        cells = sorted({(y // 64, x // 64) for y, x in zip(ys.tolist(), xs.tolist(), strict=True)})
        return tuple(Region((x * 64.0, y * 64.0, x * 64.0 + 64, y * 64.0 + 64), 0.9) for y, x in cells)


@pytest.fixture(autouse=True)
def stand_in_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(settings, **_):  # type: ignore[no-untyped-def]
        detector = None if settings.segment_everything else DarkRegions()
        segmenter = Segmenter(DarkIsCrack(), torch.device("cpu"))  # type: ignore[arg-type]
        return Stages(detector, segmenter, settings, {"segment": "stand-in"})  # type: ignore[arg-type]

    monkeypatch.setattr(nets_module, "load_stages", load)


def invoke(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args], catch_exceptions=True)


def draw(path: Path, *, rows: tuple[int, ...] = (200,)) -> None:
    """A 600 x 400 road with cracks of 6 x 500 px across it; no two of different names are the same file."""
    image = np.full((400, 600, 3), 160, np.uint8)
    image[0, :4, 0] = np.frombuffer(zlib.crc32(path.name.encode()).to_bytes(4, "big"), np.uint8) // 8 + 150
    for row in rows:
        image[row : row + 6, 50:550] = 40
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_help_loads_none_of_the_libraries_that_take_long() -> None:
    shown = "import sys; from crackmap.cli.main import cli; cli.main(['--help'], standalone_mode=False); " \
            "print(*sys.modules)"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, check=True, text=True)
    assert "crackmap demo" in done.stdout
    assert not {"torch", "numpy", "cv2", "rasterio", "pandas", "shapely"} & set(done.stdout.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    result = invoke(name, "--help")
    assert result.exit_code == 0, result.output
    assert len(result.output.splitlines()) > 4


def test_run_measures_photos_with_a_pixel_size(tmp_path: Path) -> None:
    draw(tmp_path / "photos" / "a.png")
    draw(tmp_path / "photos" / "b.png", rows=(100, 300))
    result = invoke("run", tmp_path / "photos", "-o", tmp_path / "out", "--gsd", "2.0")
    assert result.exit_code == 0, result.output
    cracks = rows_of(tmp_path / "out" / "cracks.csv")
    assert len(cracks) == 3
    for crack in cracks:
        assert float(crack["length_m"]) == pytest.approx(1.0, rel=0.03)
        assert float(crack["mean_w_mm"]) == pytest.approx(12.0, abs=0.6)
        assert float(crack["orient_deg"]) == pytest.approx(90.0, abs=1)


def test_run_shows_where_the_time_went_when_asked(tmp_path: Path) -> None:
    draw(tmp_path / "photos" / "a.png")
    result = invoke("run", tmp_path / "photos", "-o", tmp_path / "out", "--gsd", "1.0", "--profile")
    assert result.exit_code == 0, result.output
    table = {line.split()[0]: line for line in result.output.splitlines() if line}
    assert {"decode", "detect", "segment", "measure", "write"} <= table.keys()
    assert "Mpx/s" in result.output and "Nets: stand-ins" in result.output


def test_run_without_a_scale_stays_in_pixels_and_says_so(tmp_path: Path) -> None:
    draw(tmp_path / "photos" / "a.png")
    result = invoke("run", tmp_path / "photos", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    (crack,) = rows_of(tmp_path / "out" / "cracks.csv")
    assert crack["length_m"] == ""
    assert float(crack["length_px"]) == pytest.approx(500, rel=0.03)
    assert "pixel" in result.output


def test_an_unreadable_image_is_skipped_and_named_and_the_others_are_measured(tmp_path: Path) -> None:
    draw(tmp_path / "photos" / "a.png")
    draw(tmp_path / "photos" / "b.png")
    whole = (tmp_path / "photos" / "b.png").read_bytes()
    (tmp_path / "photos" / "b.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "photos" / "c.jpg").write_bytes(b"not an image")
    arguments = ["run", str(tmp_path / "photos"), "-o", str(tmp_path / "out"), "--gsd", "1.0"]
    # Not standalone, as `main` calls it: then what a command returns is the exit code.
    result = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert result.return_value == 3
    assert "Skipped b.png" in result.output and "Skipped c.jpg" in result.output
    assert len(rows_of(tmp_path / "out" / "cracks.csv")) == 1
    assert {row["key"] for row in rows_of(tmp_path / "out" / "skipped.csv")} == {"b.png", "c.jpg"}


def test_a_second_run_keeps_what_is_done_and_gives_the_same_products(tmp_path: Path) -> None:
    for name in "abc":
        draw(tmp_path / "photos" / f"{name}.png")
    arguments = ("run", tmp_path / "photos", "-o", tmp_path / "out", "--gsd", "1.0")
    assert invoke(*arguments).exit_code == 0
    before = (tmp_path / "out" / "cracks.csv").read_bytes()
    draw(tmp_path / "photos" / "d.png")
    assert "3 frames were done before" in invoke(*arguments).output
    after = (tmp_path / "out" / "cracks.csv").read_text(encoding="utf-8")
    assert len(after.splitlines()) == len(before.splitlines()) + 1


def test_another_configuration_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    draw(tmp_path / "photos" / "a.png")
    assert invoke("run", tmp_path / "photos", "-o", tmp_path / "out", "--gsd", "1.0").exit_code == 0
    result = invoke("run", tmp_path / "photos", "-o", tmp_path / "out", "--gsd", "2.0")
    assert isinstance(result.exception, CrackmapError) and result.exception.exit_code == 5
    assert "--rerun-changed" in str(result.exception)
    again = invoke("run", tmp_path / "photos", "-o", tmp_path / "out", "--gsd", "2.0", "--rerun-changed")
    assert again.exit_code == 0
    (crack,) = rows_of(tmp_path / "out" / "cracks.csv")
    assert float(crack["length_m"]) == pytest.approx(1.0, rel=0.03)


def test_a_frame_whose_mask_is_gone_is_done_again(tmp_path: Path) -> None:
    for name in "ab":
        draw(tmp_path / "photos" / f"{name}.png")
    arguments = ("run", tmp_path / "photos", "-o", tmp_path / "out", "--gsd", "1.0")
    assert invoke(*arguments).exit_code == 0
    lost, *_ = sorted((tmp_path / "out" / "masks").iterdir())
    lost.unlink()
    assert "1 frames were done before" in invoke(*arguments).output
    assert lost.is_file()


def test_sections_refuse_a_survey_that_is_described_differently_now(tmp_path: Path) -> None:
    draw(tmp_path / "photos" / "a.png")
    description = tmp_path / "photos" / "survey.toml"
    description.write_text('[ground]\nmethod = "gsd"\ngsd_mm = 1.0\n')
    assert invoke("run", tmp_path / "photos", "-o", tmp_path / "out").exit_code == 0
    description.write_text('[ground]\nmethod = "gsd"\ngsd_mm = 2.0\n')
    result = invoke("sections", tmp_path / "out", "--length", "50")
    assert isinstance(result.exception, CrackmapError) and result.exception.exit_code == 5


def test_another_survey_does_not_take_over_an_output_folder(tmp_path: Path) -> None:
    for survey in ("one", "two"):
        draw(tmp_path / survey / "a.png")
    assert invoke("run", tmp_path / "one", "-o", tmp_path / "out", "--gsd", "1.0").exit_code == 0
    result = invoke("run", tmp_path / "two", "-o", tmp_path / "out", "--gsd", "1.0")
    assert isinstance(result.exception, CrackmapError) and result.exception.exit_code == 5


@pytest.mark.parametrize("length", ["0", "-5", "nan"])
def test_an_impossible_section_length_is_wrong_usage(tmp_path: Path, length: str) -> None:
    draw(tmp_path / "a.png")
    arguments = ("run", tmp_path / "a.png", "-o", tmp_path / "out", "--gsd", "1", "--section", length)
    assert invoke(*arguments).exit_code == 2


def test_a_folder_without_images_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    result = invoke("run", tmp_path, "-o", tmp_path / "out")
    assert isinstance(result.exception, CrackmapError) and result.exception.exit_code == 4
    assert "image" in str(result.exception)


def test_sections_are_computed_again_without_the_nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(tmp_path / "photos" / "a.png")
    assert invoke("run", tmp_path / "photos", "-o", tmp_path / "out", "--gsd", "1.0").exit_code == 0
    monkeypatch.setattr(nets_module, "load_stages", None)
    result = invoke("sections", tmp_path / "out", "--length", "50")
    assert result.exit_code == 0, result.output


def test_measure_prints_a_table_and_json(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    table = invoke("measure", tmp_path / "a.png", "--gsd", "2.0")
    assert "a.png: 1 crack\n" in table.output and "mean width mm" in table.output
    report = json.loads(invoke("measure", tmp_path / "a.png", "--json").output)
    (crack,) = report[0]["cracks"]
    assert crack["length_px"] == pytest.approx(500, rel=0.03)
    assert "length_m" not in crack


def test_measure_takes_a_mask_with_pixels_of_two_sizes(tmp_path: Path) -> None:
    mask = np.zeros((400, 600), np.uint8)
    mask[50:350, 300:306] = 255
    (tmp_path / "mask.png").write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    report = json.loads(invoke("measure", "--masks-only", tmp_path / "mask.png", "--gsd", "2.0,5.0", "--json").output)
    (crack,) = report[0]["cracks"]
    assert crack["length_m"] == pytest.approx(1.5, rel=0.03)
    assert crack["mean_width_mm"] == pytest.approx(12.0, abs=0.8)


def test_measure_takes_what_segment_wrote_beside_the_image(tmp_path: Path) -> None:
    draw(tmp_path / "photos" / "a.png")
    assert invoke("segment", tmp_path / "photos", "-o", tmp_path / "masks").exit_code == 0
    result = invoke("measure", tmp_path / "photos", "--mask", tmp_path / "masks", "--gsd", "2.0", "--width-classes",
                    "3,10,20", "-o", tmp_path / "out", "--json")  # fmt: skip
    assert result.exit_code == 0, result.output
    (report,) = json.loads(result.output)
    assert report["totals"]["length_m"] == pytest.approx(1.0, rel=0.03)
    assert [round(item["length_m"], 1) for item in report["width_classes"]] == [0.0, 0.0, 1.0, 0.0]
    assert (tmp_path / "out" / "a_cracks.jpg").is_file()


@pytest.mark.parametrize("edges", ["", "a", "3,2", "0,1", "-1", "1,2,3,4,5", "nan", "1,inf"])
def test_impossible_width_classes_are_wrong_usage(tmp_path: Path, edges: str) -> None:
    draw(tmp_path / "a.png")
    assert invoke("measure", tmp_path / "a.png", "--masks-only", "--width-classes", edges).exit_code == 2


def test_a_mask_beside_images_that_are_masks_is_wrong_usage(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    result = invoke("measure", tmp_path / "a.png", "--masks-only", "--mask", tmp_path / "a.png")
    assert result.exit_code == 2 and "choose one" in result.output


def test_segment_writes_masks_in_the_pixels_of_the_image(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    result = invoke("segment", tmp_path / "a.png", "-o", tmp_path / "masks")
    assert result.exit_code == 0, result.output
    mask = cv2.imdecode(np.fromfile(tmp_path / "masks" / "a_crack.png", np.uint8), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (400, 600)
    assert (mask[202, 100:500] > 250).all()
    assert not mask[:100].any()


@pytest.mark.parametrize("camera", ["downward", "forward"])
def test_synth_draws_a_survey_that_run_measures(tmp_path: Path, camera: str) -> None:
    drawn = invoke("synth", tmp_path / "road", "--camera", camera, "--frames", 3, "--size", "480x360", "--plain",
                   "--cracks", 10, "--seed", 1)  # fmt: skip
    assert drawn.exit_code == 0, drawn.output
    assert "crackmap run" in drawn.output
    for folder in ("images", "masks"):
        assert len(list((tmp_path / "road" / folder).iterdir())) == 3
    result = invoke("run", tmp_path / "road", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output


def test_synth_writes_several_passes_into_folders_of_their_own(tmp_path: Path) -> None:
    result = invoke("synth", tmp_path, "--frames", 2, "--size", "160x120", "--passes", 2, "--kinds", "arc,branch")
    assert result.exit_code == 0, result.output
    first, second = ((tmp_path / name / "truth.json").read_bytes() for name in ("pass1", "pass2"))
    assert first == second


def test_compare_finds_what_has_grown_between_two_passes_and_writes_it(tmp_path: Path) -> None:
    drawn = invoke("synth", tmp_path, "--frames", 12, "--size", "640x480", "--gsd", 3, "--plain", "--passes", 2,
                   "--kinds", "arc,fractal", "--cracks", 12, "--seed", 5,
                   "--grow-length", 40, "--grow-new", 0.2)  # fmt: skip
    assert drawn.exit_code == 0, drawn.output
    for number in (1, 2):
        survey, out = tmp_path / f"pass{number}", tmp_path / f"out{number}"
        done = invoke("run", survey, "-o", out, "--segment-everything", "--no-strips")
        assert done.exit_code == 0, done.output
    result = invoke("compare", tmp_path / "out1", tmp_path / "out2", "-o", tmp_path / "change", "--length", 5)
    assert result.exit_code == 0, result.output
    assert "crack length +" in result.output and "new" in result.output
    assert {path.name for path in (tmp_path / "change").iterdir()} == {
        "compare.gpkg",
        "changes.csv",
        "change_sections.csv",
        "compare.json",
    }
    changes, sections = (rows_of(tmp_path / "change" / name) for name in ("changes.csv", "change_sections.csv"))
    report = json.loads((tmp_path / "change" / "compare.json").read_text(encoding="utf-8"))
    for status in ("new", "longer", "unchanged"):
        count = sum(row["status"] == status for row in changes)
        assert count == report["total"]["counts"][status] == sum(int(row[status]) for row in sections)
    assert {name for name, *_ in pyogrio.list_layers(tmp_path / "change" / "compare.gpkg")} == {
        "changes",
        "sections",
        "layer_styles",
    }
    before = (tmp_path / "change" / "compare.gpkg").read_bytes()
    again = invoke("compare", tmp_path / "out1", tmp_path / "out2", "-o", tmp_path / "change", "--length", 5, "--json")
    assert json.loads(again.output)["total"] == report["total"]
    assert (tmp_path / "change" / "compare.gpkg").read_bytes() == before
    for wrong in ((tmp_path / "out1", tmp_path / "out1"), (tmp_path / "out1", tmp_path / "pass2")):
        refused = invoke("compare", *wrong, "-o", tmp_path / "change")
        assert isinstance(refused.exception, CrackmapError) and refused.exception.exit_code == 4
    refused = invoke("compare", tmp_path / "out1", tmp_path / "out2", "-o", tmp_path / "out2")
    assert isinstance(refused.exception, CrackmapError) and "folder of its own" in str(refused.exception)


@pytest.mark.parametrize(
    "wrong",
    [
        ("--kinds", "zigzag"),
        ("--size", "wide"),
        ("--camera", "forward", "--gsd", "2"),
        ("--passes", "2", "--pass", "1"),
        ("--jpeg", "0"),
    ],
)
def test_synth_refuses_what_cannot_be_drawn(tmp_path: Path, wrong: tuple[str, ...]) -> None:
    assert invoke("synth", tmp_path / "road", *wrong).exit_code == 2


@pytest.mark.parametrize("gsd", ["0", "-1", "abc", "1,2,3"])
def test_an_impossible_pixel_size_is_wrong_usage(tmp_path: Path, gsd: str) -> None:
    draw(tmp_path / "a.png")
    assert invoke("run", tmp_path / "a.png", "-o", tmp_path / "out", "--gsd", gsd).exit_code == 2


def test_errors_leave_the_process_with_their_exit_code_and_no_traceback(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "crackmap.cli.main", "run", str(tmp_path), "-o", str(tmp_path / "out")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert done.stderr.startswith("Error: ") and "Traceback" not in done.stderr


def test_a_wrong_weight_file_is_exit_code_7(tmp_path: Path) -> None:
    draw(tmp_path / "photos" / "a.png")
    (tmp_path / "w.safetensors").write_bytes(b"x" * 100)
    arguments = ["run", str(tmp_path / "photos"), "-o", str(tmp_path / "out"), "--segment-everything",
                 "--segment-weights", str(tmp_path / "w.safetensors")]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "crackmap.cli.main", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 7
    assert "w.safetensors" in done.stderr


def test_evaluate_measure_prints_errors_by_width_and_json() -> None:
    result = invoke("evaluate", "measure", "--frames", "2", "--gsd", "4", "--seed", "2", "--mask", "exact")
    assert result.exit_code == 0, result.output
    assert "5-10 px" in result.output and "missed" in result.output
    same = invoke("evaluate", "measure", "--frames", "2", "--gsd", "4", "--seed", "2", "--mask", "exact", "--json")
    numbers = json.loads(same.stdout)
    assert abs(numbers["measured_m"] / numbers["true_m"] - 1) < 0.05
    assert numbers["all"]["cracks"] == len(numbers["cracks"])


def test_evaluate_survey_compares_runs_with_the_truth_and_each_other(tmp_path: Path) -> None:
    road = tmp_path / "road"
    drawn = invoke("synth", road, "--frames", "4", "--size", "600x400", "--gsd", "4", "--passes", "2", "--plain",
                   "--kinds", "arc", "--cracks", "12")  # fmt: skip
    assert drawn.exit_code == 0, drawn.output
    outs = [tmp_path / name for name in ("one", "two")]
    for number, out in enumerate(outs, start=1):
        assert invoke("run", road / f"pass{number}", "-o", out).exit_code == 0
    result = invoke("evaluate", "survey", road / "pass1", *outs, "--json")
    assert result.exit_code == 0, result.output
    numbers = json.loads(result.stdout)
    first = numbers["runs"][str(outs[0])]["sections"][0]
    assert first["true_m"] > 1
    assert first["measured_m"] == pytest.approx(first["true_m"], rel=0.3)
    assert str(outs[1]) in numbers["repeatability"]
    assert "repeatability" in invoke("evaluate", "survey", road / "pass1", *outs).output


def test_evaluate_survey_needs_the_truth_of_a_synthetic_survey(tmp_path: Path) -> None:
    draw(tmp_path / "photos" / "a.png")
    assert invoke("run", tmp_path / "photos", "-o", tmp_path / "out", "--gsd", "2.0").exit_code == 0
    result = invoke("evaluate", "survey", tmp_path / "photos", tmp_path / "out")
    assert isinstance(result.exception, CrackmapError)
    assert "crackmap synth" in str(result.exception)
