"""The tutorial notebook runs from its first cell to its last, and is committed without what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "tutorial.ipynb"


def test_the_notebook_is_committed_without_outputs() -> None:
    for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None


def test_the_notebook_runs_in_an_empty_folder_and_shows_tables_and_pictures(tmp_path: Path) -> None:
    why = "the tutorial is run by nbclient and ipykernel: pip install '.[test]'"
    nbclient = pytest.importorskip("nbclient", reason=why)
    nbformat = pytest.importorskip("nbformat", reason=why)
    pytest.importorskip("ipykernel", reason=why)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    shown = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in data for data in shown) == 2
    assert sum("text/html" in data for data in shown) >= 3
    wide = gpd.read_file(tmp_path / "crackmap-tutorial" / "wide.gpkg")
    cracks = gpd.read_file(tmp_path / "crackmap-tutorial" / "result" / "crackmap.gpkg", layer="cracks")
    assert wide.crs == cracks.crs and 0 < len(wide) < len(cracks)
    assert wide["mean_w_mm"].min() > 3
