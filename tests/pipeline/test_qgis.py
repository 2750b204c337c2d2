"""The GeoPackage in QGIS itself, where it is installed: every layer opens drawn by the style stored beside it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from drawn_surveys import MAP, ROAD, survey

from crackmap.pipeline.products.write import write_products
from crackmap.pipeline.profiles import load_profile, profile_table

PYTHON = "/usr/bin/python3"
"""QGIS has its bindings in the Python of the system."""

OPEN = """
import json, sys
from qgis.core import QgsApplication, QgsVectorLayer
app = QgsApplication([], False)
app.initQgis()
found = {}
for name in sys.argv[2:]:
    layer = QgsVectorLayer(f"{sys.argv[1]}|layername={name}", name, "ogr")
    _, styled = layer.loadDefaultStyle()
    renderer = layer.renderer()
    legend = [item.label() for item in renderer.legendSymbolItems()]
    found[name] = [layer.isValid(), bool(styled), renderer.type(), legend, layer.featureCount()]
print("FOUND" + json.dumps(found))
"""


def in_qgis(path: Path, *layers: str) -> dict[str, list[object]]:
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    environment.pop("PYTHONPATH", None)
    command = [PYTHON, "-c", OPEN, str(path), *layers]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    if "FOUND" not in done.stdout:
        pytest.skip("QGIS is not installed (apt-get install python3-qgis)")
    return dict(json.loads(done.stdout.partition("FOUND")[2]))


@pytest.mark.parametrize("output", [MAP, ROAD])
def test_every_layer_opens_in_qgis_drawn_by_its_own_style(tmp_path, output):
    result = survey(output)
    tables = [profile_table(*load_profile(name), result) for name in ("hpms", "plain")]
    write_products(result, tmp_path, run_info={}, profiles=tables)
    found = in_qgis(
        tmp_path / "crackmap.gpkg", "cracks", "patterns", "sections", "frames", "sections_hpms", "sections_plain"
    )
    assert all(valid and styled for valid, styled, *_ in found.values())
    kinds = {name: values[2] for name, values in found.items()}
    assert kinds == {
        "cracks": "RuleRenderer", "patterns": "categorizedSymbol", "sections": "graduatedSymbol",
        "frames": "categorizedSymbol", "sections_hpms": "categorizedSymbol", "sections_plain": "graduatedSymbol",
    }  # fmt: skip
    assert found["cracks"][3] == [
        "under 3 mm",
        "3 to 6 mm",
        "6 to 10 mm",
        "10 to 20 mm",
        "20 mm and wider",
        "sealed",
        "joint",
    ]
    assert found["sections_hpms"][3] == ["good", "fair", "poor"]
    assert found["cracks"][4] == len(result.cracks)
