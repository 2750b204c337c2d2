"""The picture of the cracks over a strip image: in place, as wide as measured, in the colours of the report."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.transform import Affine
from rio_cogeo.cogeo import cog_validate

from crackmap.pipeline.products.strip_grid import StripGrid
from crackmap.pipeline.products.strip_overlays import overlay_name, write_overlay
from crackmap.pipeline.records import RoadCrack

CRS_M = CRS.from_epsg(32722)


def crack(xy, width_mm: float, **flags) -> RoadCrack:
    line = np.asarray(xy, float)
    widths = np.full(len(line), width_mm)
    length = float(np.hypot(*np.diff(line, axis=0).T).sum())
    return RoadCrack("C", line, widths, length * 100, 0.0, 0.9, False, ("a",), "R", widths, length, **flags)


@pytest.mark.parametrize("turn_deg", [0.0, 30.0, 90.0])
def test_a_crack_covers_its_own_area_in_the_colour_of_its_width(tmp_path, turn_deg):
    pixel = 0.01
    to_map = Affine.translation(500.0, 900.0) * Affine.rotation(turn_deg) * Affine.scale(pixel, -pixel)
    grid = StripGrid(to_map, (600, 1500), pixel)
    along = [to_map * (300, 100), to_map * (300, 1300)]
    seal = [to_map * (100, 700), to_map * (200, 700)]
    write_overlay(tmp_path / "o.tif", [crack(along, 40.0), crack(seal, 1.0, sealed=True)], grid, CRS_M)
    assert cog_validate(tmp_path / "o.tif", quiet=True)[0]
    with rasterio.open(tmp_path / "o.tif") as file:
        values, colours = file.read(1), file.colormap(1)
        assert file.nodata == 0 and file.transform.almost_equals(to_map)
    # 12 m of 40 mm are 1200 times 4 pixels; 1 m of a sealed crack at the least width of 2.
    assert np.count_nonzero(values == 5) == pytest.approx(4800, rel=0.02)
    assert np.count_nonzero(values == 6) == pytest.approx(200, rel=0.1)
    assert values[700, 300] == 5 and values[700, 150] == 6 and values[50, 300] == 0
    assert colours[5][:3] == (0x3F, 0x2A, 0x8C)


def test_nothing_is_drawn_where_there_is_nothing(tmp_path):
    grid = StripGrid(Affine.scale(0.01, -0.01), (700, 600), 0.01)
    write_overlay(tmp_path / overlay_name("a.tif"), [], grid, CRS_M)
    with rasterio.open(tmp_path / "a-cracks.tif") as file:
        assert not file.read(1).any() and file.shape == (600, 700)
