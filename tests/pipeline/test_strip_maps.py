"""Strip maps: a page for each section, and what is said where there is nothing to draw."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from drawn_surveys import HOSTILE, MAP, ROAD, SHEET, survey

from crackmap.calibration.errors import InputError
from crackmap.pipeline.products.strip_maps import _row_m, write_strip_maps


def test_a_pdf_has_a_page_for_each_section_and_equal_results_are_equal_bytes(tmp_path):
    result = survey(ROAD)
    assert write_strip_maps(tmp_path / "a.pdf", result) == len(result.sections) == 2
    write_strip_maps(tmp_path / "b.pdf", survey(ROAD))
    content = (tmp_path / "a.pdf").read_bytes()
    assert content.startswith(b"%PDF") and content.count(b"/Type /Page ") == 2
    assert content == (tmp_path / "b.pdf").read_bytes()


def test_a_folder_gets_a_picture_of_each_section_with_its_cracks(tmp_path):
    result = survey(MAP, origin=(500000.0, 6700000.0), azimuth=30.0)
    name = result.sections[0].section_id
    assert write_strip_maps(tmp_path / "pages", result, only=[name]) == 1
    (page,) = (tmp_path / "pages").iterdir()
    with_cracks = cv2.imread(str(page)).astype(int)
    write_strip_maps(tmp_path / "bare", replace(result, cracks=()), only=[name])
    without = cv2.imread(str(next((tmp_path / "bare").iterdir()))).astype(int)
    assert np.abs(with_cracks - without).any(axis=2).mean() > 0.001


@pytest.mark.parametrize(("length_m", "width_m"), [(100, 4), (20, 4), (1000, 4), (100, 12), (7.3, 3)])
def test_rows_fit_on_the_page_to_scale(length_m, width_m):
    row_m = _row_m(length_m, width_m)
    rows = np.ceil(length_m / row_m - 1e-9)
    assert rows == 1 or rows * (width_m / row_m * 10.9 + 0.4) <= 5.0


def test_hostile_names_are_names_of_files_below_the_folder(tmp_path):
    result = survey(ROAD, names=HOSTILE, frames=6)
    sections = tuple(
        replace(section, section_id=f"../{name}") for section, name in zip(result.sections, HOSTILE, strict=False)
    )
    write_strip_maps(tmp_path / "pages", replace(result, sections=sections))
    assert len(list((tmp_path / "pages").iterdir())) == len(sections)
    assert [path.name for path in tmp_path.iterdir()] == ["pages"]


def test_without_chainage_or_with_an_unknown_name_there_is_nothing_to_draw(tmp_path):
    with pytest.raises(InputError, match="need a chainage"):
        write_strip_maps(tmp_path / "a.pdf", survey(SHEET))
    with pytest.raises(InputError, match="not in this survey"):
        write_strip_maps(tmp_path / "a.pdf", survey(ROAD), only=["x"])
    assert not list(tmp_path.iterdir())
