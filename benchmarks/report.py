"""How long the report takes to open in Chromium, how large it is, and the pictures of it in the documents.

python -m benchmarks.report OUT --data DATA              # both surveys, median of 5 openings
python -m benchmarks.report OUT --data DATA --images docs/images

OUT keeps surveys and runs, so that a second call measures at once. A page is open when its script has run to its end.
"""

from __future__ import annotations

import argparse
import io
import shutil
import statistics
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from benchmarks.throughput import dnit_survey
from crackmap.pipeline.nets import load_stages
from crackmap.pipeline.run import RunOptions, RunSettings, run_survey
from crackmap.pipeline.survey import read_survey
from crackmap.pipeline.synthetic import SyntheticSettings, write_survey
from crackmap.stages.processors import cpu_count

ROAD = SyntheticSettings(
    frames=1000, gsd_mm=4.5, size_wh_px=(900, 1200), step_m=5.0, cracks_per_10m=1.5, gnss_noise_m=0.02, seed=5
)
"""5 km of road."""

WIDTH_PX = 1200

OPENINGS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=Path, help="folder to write the pictures of the reports to")
    options = parser.parse_args()
    if not (options.out / "road" / "survey.toml").exists():
        write_survey(options.out / "road", ROAD)
    surveys = {"dnit": (dnit_survey(options.out / "dnit", options.data), "dnit"), "road": (options.out / "road", None)}
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as runner:
        browser = runner.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, (folder, preset) in surveys.items():
            report = mapped(folder, preset, options.out / f"{name}-run")
            seconds = [opened_s(browser, report) for _ in range(OPENINGS)]
            size_mb = report.stat().st_size / 1e6
            print(f"{name}: {size_mb:.1f} MB, open after {statistics.median(seconds):.2f} s", flush=True)
            if options.images:
                pictures(browser, report, options.images, name)
        browser.close()


def mapped(folder: Path, preset: str | None, out: Path) -> Path:
    """The report of a survey; frames that are done are not done again, the report is written anew."""
    settings = RunSettings(strips=False)
    survey = read_survey(folder, survey=preset)
    stages = load_stages(settings.stages, streams=cpu_count())
    run_survey(survey, out, stages, settings, options=RunOptions(workers=cpu_count()))
    return out / "report.html"


def opened_s(browser: Browser, report: Path) -> float:
    """Seconds until a page that was not open before is there."""
    context = browser.new_context(viewport={"width": WIDTH_PX, "height": 900})
    page = context.new_page()
    start = time.perf_counter()
    page.goto(report.resolve().as_uri(), wait_until="commit")
    page.wait_for_selector("html[data-ready]", state="attached")
    seconds = time.perf_counter() - start
    context.close()
    return seconds


def pictures(browser: Browser, report: Path, folder: Path, name: str) -> None:
    """The head of the page, and what a picked crack shows."""
    page = browser.new_page(viewport={"width": WIDTH_PX, "height": 1100})
    page.goto(report.resolve().as_uri())
    page.wait_for_timeout(2500)
    saved(page.screenshot(), folder / f"report-{name}.png")
    page.set_viewport_size({"width": WIDTH_PX, "height": 700})
    page.locator("#crack-table tbody button").first.click()
    page.wait_for_timeout(500)
    saved(page.locator("#crack").screenshot(), folder / f"report-{name}-crack.png")
    page.close()


def saved(png: bytes, path: Path) -> None:
    """In all colours: of fewer, those that are rare, as of thin cracks in the legend, become others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.open(io.BytesIO(png)).convert("RGB").save(path, optimize=True)


if __name__ == "__main__":
    main()
