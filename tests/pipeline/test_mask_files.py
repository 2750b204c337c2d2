"""Masks are sound rasters: a crack lies in them where its line lies, at every zoom."""

from __future__ import annotations

import re

import numpy as np
import pytest
import rasterio
from drawn_surveys import HOSTILE, MAP, ROAD, SHEET

from crackmap.calibration.plane import GroundLimits, GroundPlane
from crackmap.pipeline.products.masks import mask_name, write_mask_cog
from crackmap.pipeline.records import Frame, Placement
from crackmap.stages.records import CrackMask


def oblique() -> GroundPlane:
    """2 m above the road, 20 degrees down; 1280 x 960 px."""
    a, focal = np.deg2rad(20.0), 900.0
    rotation = np.array([[1.0, 0, 0], [0, -np.sin(a), -np.cos(a)], [0, np.cos(a), -np.sin(a)]])
    intrinsics = np.array([[focal, 0, 640], [0, focal, 480], [0, 0, 1]])
    shift = -rotation @ np.array([0.0, 0.0, 2.0])
    homography = np.linalg.inv(intrinsics @ np.column_stack([rotation[:, 0], rotation[:, 1], shift]))
    homography *= np.sign((homography @ [640, 960, 1.0])[2])
    return GroundPlane(homography, (1280, 960), GroundLimits(lateral_m=(-2.0, 2.0)))


def dotted(size, dots) -> CrackMask:
    probability = np.zeros((size[1], size[0]))
    for x, y in dots:
        probability[y - 4 : y + 5, x - 4 : x + 5] = 1.0
    return CrackMask.from_dense(probability)


PLACED = Placement((512345.5, 6712345.25), 123.0)


@pytest.mark.parametrize(
    ("ground", "strip", "dots"),
    [
        (GroundPlane.from_gsd(gsd_mm=2.0, size_wh_px=(1280, 960)), None, [(100, 50), (700, 480), (1200, 900)]),
        (GroundPlane.from_gsd(gsd_mm=(1.0, 3.0), size_wh_px=(1280, 960)), (0.2, 2.0), [(640, 480), (20, 900)]),
        (oblique(), (3.0, 7.0), [(640, 500), (400, 600), (900, 480)]),
        (None, None, [(100, 50), (700, 480)]),
    ],
    ids=["square pixels", "line scan", "perspective", "no scale"],
)
def test_a_mask_lies_where_its_lines_lie(tmp_path, ground, strip, dots):
    frame = Frame("a.jpg", "a.jpg", (1280, 960), "R", PLACED, 0.0, ground, strip)
    write_mask_cog(tmp_path / "m.tif", dotted((1280, 960), dots), frame=frame, output=MAP)
    centres = np.array(dots) + 0.5
    local = ground.to_ground_xy_m(centres) if ground else centres * [1, -1] + [0, 960]
    expected = PLACED.to_output_xy(local)
    with rasterio.open(tmp_path / "m.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (file.count, file.dtypes[0], file.nodata) == (1, "uint8", None)
        assert file.crs == rasterio.crs.CRS.from_epsg(32722)
        values = file.read(1)
        for x, y in expected:
            column, row, _ = np.linalg.inv(np.reshape(file.transform, (3, 3))) @ [x, y, 1.0]
            window = values[max(0, int(row) - 40) : int(row) + 40, max(0, int(column) - 40) : int(column) + 40]
            assert values[int(row), int(column)] == 255
            rows, columns = np.nonzero(window > 127)
            middle = (columns.mean() + 0.5 + max(0, int(column) - 40), rows.mean() + 0.5 + max(0, int(row) - 40))
            assert np.hypot(middle[0] - column, middle[1] - row) < 1.0


def test_a_perspective_mask_covers_the_strip_at_its_finest_pixel_size(tmp_path):
    ground = oblique()
    frame = Frame("a.jpg", "a.jpg", (1280, 960), "R", Placement((0.0, 0.0)), 0.0, ground, (3.0, 7.0))
    write_mask_cog(tmp_path / "m.tif", dotted((1280, 960), [(640, 500)]), frame=frame, output=ROAD)
    with rasterio.open(tmp_path / "m.tif") as file:
        np.testing.assert_allclose(file.bounds, [-2.0, 3.0, 2.0, 7.0], atol=file.res[0])
        finest = ground.gsd_mm(ground.to_pixel_xy([[0.0, 3.0]])).min() / 1e3
        assert file.res[0] == pytest.approx(finest, rel=0.01)
        assert max(file.shape) <= 4096


def test_overviews_keep_a_thin_crack_visible(tmp_path):
    probability = np.zeros((4096, 4096), np.float32)
    probability[:, 2000:2002] = 1.0
    frame = Frame("a.tif", "a.tif", (4096, 4096), "R", Placement((0.0, 0.0)))
    write_mask_cog(tmp_path / "m.tif", CrackMask.from_dense(probability), frame=frame, output=SHEET)
    with rasterio.open(tmp_path / "m.tif") as file:
        assert file.overviews(1) == [2, 4, 8]
        assert file.read(1, out_shape=(512, 512)).max() > 100


def test_a_mask_without_cracks_and_one_nobody_sees_are_valid_files(tmp_path):
    empty = CrackMask((1280, 960), {}, 0)
    for number, strip in enumerate([(3.0, 7.0), (900.0, 990.0)]):
        frame = Frame("a.jpg", "a.jpg", (1280, 960), "R", Placement((0.0, 0.0)), 0.0, oblique(), strip)
        write_mask_cog(tmp_path / f"{number}.tif", empty, frame=frame, output=ROAD)
        with rasterio.open(tmp_path / f"{number}.tif") as file:
            assert not file.read(1).any()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.tif", "1.tif"]


def test_mask_names_are_safe_and_differ_with_the_key():
    keys = [*HOSTILE, "a/b.jpg", "a_b.jpg", "a/b.png", "x" * 255 + ".jpg", "../../etc/passwd", "日本.jpg"]
    names = [mask_name(key) for key in keys]
    assert len({name.lower() for name in names}) == len(keys)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,120}\.tif", name) for name in names)
