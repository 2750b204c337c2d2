"""What a run leaves behind, judged by other people's programs, from a folder that cannot be written as well."""

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import geopandas as gpd
import pyogrio
import pytest
import rasterio
from faults import harness
from geojson_pydantic import FeatureCollection
from rio_cogeo.cogeo import cog_validate

from crackmap.pipeline.synthetic import SyntheticSettings, write_survey

LAYERS = ("cracks", "patterns", "sections", "frames", "crackmap_info", "layer_styles")


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a drawn drive on a track: the products of a map."""
    folder = tmp_path_factory.mktemp("products")
    write_survey(folder / "survey", SyntheticSettings(frames=5, seed=3, size_wh_px=(640, 480)))
    assert harness.run(folder / "survey", folder / "out") == 0
    return folder / "out"


@pytest.fixture(scope="module")
def read_only(products: Path) -> Iterator[Path]:
    """The same products where nothing can be written."""
    view = products.with_name("read-only")
    view.mkdir()
    if subprocess.run(["mount", "--bind", str(products), str(view)], check=False).returncode != 0:
        shutil.copytree(products, view, dirs_exist_ok=True)
        for path in (*view.rglob("*"), view):
            path.chmod(0o555 if path.is_dir() else 0o444)
        yield view
        return
    subprocess.run(["mount", "-o", "remount,ro,bind", str(view)], check=True)
    yield view
    subprocess.run(["umount", str(view)], check=True)


def test_masks_and_strips_are_cloud_optimised(products):
    rasters = sorted(products.rglob("*.tif"))
    found = {path.name: cog_validate(path, strict=True)[:2] for path in rasters}
    assert len(rasters) >= 6 and all(verdict == (True, []) for verdict in found.values()), found
    print(f"figure: {len(rasters)} COGs valid")


def test_the_geopackage_is_sound_and_needs_no_side_file(products):
    with closing(sqlite3.connect(products / "crackmap.gpkg")) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert file.execute("PRAGMA foreign_key_check").fetchall() == []
        assert file.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert file.execute("PRAGMA application_id").fetchone() == (0x47504B47,)
    assert not list(products.glob("crackmap.gpkg?*"))


def test_geojson_is_as_rfc_7946_has_it(products):
    text = (products / "cracks.geojson").read_text(encoding="utf-8")
    read = FeatureCollection.model_validate_json(text)
    plain = json.loads(text)
    # Section 4: no crs; 3.1.1 and 5: longitude before latitude, in degrees.
    assert "crs" not in plain and len(read.features) == len(plain["features"]) > 0
    for feature in read.features:
        assert feature.geometry is not None
        for longitude, latitude in feature.geometry.coordinates:
            assert -180 <= longitude <= 180 and -90 <= latitude <= 90
    cracks = gpd.read_file(products / "crackmap.gpkg", layer="cracks")
    assert gpd.read_file(products / "cracks.geojson").to_crs(cracks.crs).geom_equals_exact(cracks, 1e-3).all()


def test_everything_can_be_read_where_nothing_can_be_written(read_only):
    gpkg = read_only / "crackmap.gpkg"
    assert set(LAYERS) == {name for name, _ in pyogrio.list_layers(gpkg)}
    cracks = gpd.read_file(gpkg, layer="cracks")
    assert len(cracks) == len(gpd.read_parquet(read_only / "cracks.parquet")) > 0
    assert cracks.geometry.geom_equals_exact(gpd.read_parquet(read_only / "cracks.parquet").geometry, 0).all()
    for path in read_only.rglob("*.tif"):
        with rasterio.open(path) as raster:
            assert raster.read().size


def test_ogrinfo_and_gdalinfo_take_them_without_a_word(read_only):
    if shutil.which("ogrinfo") is None:
        pytest.skip("GDAL's programs are not installed (Debian: gdal-bin)")
    rasters = sorted(read_only.rglob("*.tif"))
    for arguments in (
        *(["ogrinfo", "-ro", "-al", "-so", str(read_only / "crackmap.gpkg"), name] for name in LAYERS),
        ["ogrinfo", "-ro", "-al", "-so", str(read_only / "cracks.geojson")],
        *(["gdalinfo", "--config", "GDAL_PAM_ENABLED", "NO", "-stats", str(path)] for path in rasters[:3]),
    ):
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), arguments
