"""Lists of sections as agencies keep them."""

from __future__ import annotations

import geopandas as gpd
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from crackmap.calibration.errors import InputError
from crackmap.pipeline.section_lists import ListedSection, read_section_list


def listed(tmp_path, text: str, name="sections.csv"):
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    return read_section_list(tmp_path / name)


@pytest.mark.parametrize("text", [
    "section_id,from_m,to_m\nA,0,120.5\nB,200,300\n",
    "Section;FROM_M;To_M\nA;0;120.5\nB;200;300\n",
    " name , from , to \nA,0,120.5\nB,200,300\n",
])  # fmt: skip
def test_common_names_and_separators_are_understood(tmp_path, text):
    assert listed(tmp_path, text) == (ListedSection("A", 0.0, 120.5), ListedSection("B", 200.0, 300.0))


def test_names_and_recordings_may_be_missing(tmp_path):
    found = listed(tmp_path, "from_m,to_m,recording\n0,10,R1\n10,20,\n")
    assert found == (ListedSection("0-10", 0.0, 10.0, "R1"), ListedSection("10-20", 10.0, 20.0))


def test_a_layer_is_read_like_a_table(tmp_path):
    rows = {"name": ["A", "B"], "from_m": [0.0, 50.0], "to_m": [50.0, 80.0]}
    layer = gpd.GeoDataFrame(rows, geometry=[shapely.box(0, 0, 1, 1)] * 2, crs=32722)
    layer.to_file(tmp_path / "s.gpkg")
    assert read_section_list(tmp_path / "s.gpkg") == (ListedSection("A", 0.0, 50.0), ListedSection("B", 50.0, 80.0))


@pytest.mark.parametrize(("text", "message"), [
    ("", "not a table"),
    ("a,b\n1,2\n", "expected a column from_m"),
    ("from_m,to_m\n", "holds no section"),
    ("from_m,to_m\n5,5\n", "expected from_m below to_m"),
    ("from_m,to_m\nx,5\n", "expected metres in from_m, got 'x'"),
    ("from_m,to_m\n0,inf\n", "expected metres in to_m"),
    ("name,from_m,to_m\nA,0,10\nB,9,20\n", "A and B overlap between 9 and 10"),
    ("name,from_m,to_m,recording\nA,0,10,R\nB,9,20,\n", "A and B overlap"),
])  # fmt: skip
def test_what_is_no_list_of_sections_says_what_is_wrong(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        listed(tmp_path, text)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv"):
        read_section_list(tmp_path / "none.csv")


@given(st.text(max_size=80))
def test_no_text_gives_anything_but_sections_or_an_input_error(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "fuzz.csv"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        found = read_section_list(path)
    except InputError:
        return
    assert all(item.from_m < item.to_m for item in found)
