"""The report in a real browser: it asks for nothing, says nothing on the console, and does what it says."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_surveys import HOSTILE, MAP, ROAD, survey

from crackmap.pipeline.products.write import write_products
from crackmap.pipeline.profiles import load_profile, profile_table
from crackmap.pipeline.report_pictures import FramePicture

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)")


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as runner:
        browser = runner.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def written(folder: Path, output, names=()) -> Path:  # type: ignore[no-untyped-def]
    """A report of a drawn survey, with a picture for every frame that has cracks."""
    on_map = {"origin": (500000.0, 6700000.0), "azimuth": 30.0} if output is MAP else {}
    result = survey(output, names=names, **on_map)
    _, webp = cv2.imencode(".webp", np.full((80, 48, 3), 120, np.uint8))
    _, mask = cv2.imencode(".png", np.zeros((80, 48), np.uint8))
    pictures = [
        FramePicture(outcome.frame.key, webp.tobytes(), (48, 80), 48 / 900, (), mask.tobytes())
        for outcome in result.outcomes if outcome.crack_count
    ]  # fmt: skip
    profiles = [profile_table(*load_profile("hpms"), result)]
    write_products(result, folder, run_info={"command": "x"}, pictures=pictures, profiles=profiles)
    return folder / "report.html"


@pytest.fixture
def opened(browser):  # type: ignore[no-untyped-def]
    """Opens a report; at the end nothing was asked for or complained of."""
    said: list[str] = []
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(("file:", "data:")) else said.append(request.url))
    page.on("dialog", lambda dialog: said.append("a dialog opened"))

    def open_it(path: Path):  # type: ignore[no-untyped-def]
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_it
    context.close()
    assert said == []


def column(page, table: str, number: int) -> list[str]:  # type: ignore[no-untyped-def]
    return page.locator(f"#{table} tbody tr:not([hidden]) td:nth-child({number})").all_text_contents()


def test_tables_sort_by_number_in_both_directions_and_filter(opened, tmp_path):
    page = opened(written(tmp_path, ROAD))
    page.click("#crack-table th:nth-child(2) button")
    down = [float(text) for text in column(page, "crack-table", 2)]
    page.click("#crack-table th:nth-child(2) button")
    up = [float(text) for text in column(page, "crack-table", 2)]
    assert down == sorted(down, reverse=True) and up == sorted(up) and len(set(up)) > 3
    assert page.get_attribute("#crack-table th:nth-child(2)", "aria-sort") == "ascending"
    page.fill("#crack-table-filter", "C000003")
    assert column(page, "crack-table", 1) == ["C000003"]
    assert page.inner_text("#crack-table-filter + output") == "1 rows"


def test_a_crack_picked_by_mouse_or_keyboard_shows_its_picture_and_numbers(opened, tmp_path):
    page = opened(written(tmp_path, ROAD))
    line = page.locator("polyline[data-crack]").first
    wanted = line.get_attribute("data-crack")
    line.dispatch_event("click")
    assert page.inner_text("#crack h2") == f"Crack {wanted}"
    assert page.locator("#crack img").evaluate("image => image.naturalWidth") == 48
    assert "Length" in page.inner_text("#crack dl") and "mm" in page.inner_text("#crack dl")
    assert page.locator("#crack polyline.picked").get_attribute("points")
    page.keyboard.press("Escape")
    assert not page.locator("#crack").evaluate("dialog => dialog.open")
    button = page.locator("#crack-table tbody button").first
    button.focus()
    page.keyboard.press("Enter")
    assert page.inner_text("#crack h2") == f"Crack {button.inner_text()}"


def test_the_map_zooms_and_a_click_on_it_shows_a_crack(opened, tmp_path):
    page = opened(written(tmp_path, MAP))
    page.locator("#map-place").scroll_into_view_if_needed()
    page.wait_for_selector("#map-place[data-ready]")
    page.wait_for_timeout(500)

    def span() -> float:
        return float(page.evaluate("crackmapPlot.x_range.end - crackmapPlot.x_range.start"))

    before = span()
    box = page.locator("#map-place").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -400)
    page.wait_for_function("before => crackmapPlot.x_range.end - crackmapPlot.x_range.start < 0.9 * before", arg=before)
    assert page.evaluate(
        "() => { const source = crackmapPlot.renderers.at(-1).data_source; source.selected.indices = [0];"
        " return document.getElementById('crack').open; }"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_and_paper_have_readable_text(opened, tmp_path, scheme):
    page = opened(written(tmp_path, ROAD))
    page.emulate_media(color_scheme=scheme)
    colours = page.evaluate("() => { const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]; }")
    levels = [sum(int(part) for part in colour[4:-1].split(",")[:3]) for colour in colours]
    assert abs(levels[0] - levels[1]) > 400
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()


def test_hostile_file_names_do_nothing(opened, tmp_path):
    names = [*HOSTILE[:4], "</script><script>document.title='x'</script>.jpg", "<!--<script>.jpg"]
    page = opened(written(tmp_path, ROAD, names))
    for line in page.locator("polyline[data-crack]").all()[:12]:
        line.dispatch_event("click")
        page.keyboard.press("Escape")
    assert page.title() == "Crack survey report"


def test_an_empty_survey_opens(opened, tmp_path):
    from crackmap.pipeline.outcome_table import Outcomes
    from crackmap.pipeline.survey_result import SurveyResult

    write_products(SurveyResult(MAP, Outcomes.of(()), (), ()), tmp_path, run_info={})
    assert "Crack survey report" in opened(tmp_path / "report.html").inner_text("h1")
