"""Images: what is stored comes out as RGB uint8, whole or not at all."""

import io
import os

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import Affine, from_origin

from crackmap.calibration.errors import UnreadableImageError
from crackmap.pipeline.decoding import decode
from crackmap.pipeline.images import open_image, read_header, read_size_wh


def picture(width=40, height=24):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def write_tiff(path, bands, *, crs="EPSG:32633", transform=None, nodata=None, **options):
    count, height, width = bands.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": bands.dtype, **options}
    if transform is None:
        transform = from_origin(392_000.0, 5_820_000.0, 0.01, 0.01)
    with rasterio.open(path, "w", crs=crs, transform=transform, nodata=nodata, **profile) as dataset:
        dataset.write(bands)
    return path


def test_png_windows_are_those_of_the_picture(tmp_path):
    array = picture()
    with open_image(save(tmp_path / "a.png", array)) as source:
        assert source.size_wh_px == (40, 24)
        assert (source.read_all() == array).all()
        assert (source.read(5, 3, 10, 7) == array[3:10, 5:15]).all()
        assert source.georeference is None


def test_grey_palette_alpha_and_cmyk_become_rgb(tmp_path):
    array = picture()
    grey = array[:, :, 0]
    assert (open_image(save(tmp_path / "grey.png", grey)).read_all() == grey[:, :, None]).all()
    alpha = np.dstack([array, np.full(grey.shape, 7, np.uint8)])
    assert (open_image(save(tmp_path / "alpha.png", alpha)).read_all() == array).all()
    flat = np.zeros((8, 8, 3), np.uint8)
    flat[:4] = (200, 30, 60)
    Image.fromarray(flat).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
    assert np.abs(open_image(tmp_path / "palette.png").read_all().astype(int) - flat).max() <= 4
    Image.fromarray(flat).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    assert np.abs(open_image(tmp_path / "cmyk.jpg").read_all().astype(int) - flat).max() <= 16


def test_sixteen_bits_have_a_fixed_scale(tmp_path):
    values = np.array([[0, 257, 1000, 65535]], np.uint16)
    expected = [0, 1, 4, 255]
    assert open_image(save(tmp_path / "deep.png", values)).read_all()[0, :, 1].tolist() == expected
    write_tiff(tmp_path / "deep.tif", values[None])
    assert open_image(tmp_path / "deep.tif").read_all()[0, :, 2].tolist() == expected


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once_and_known_from_the_header(tmp_path, orientation):
    array = np.zeros((16, 32, 3), np.uint8)
    array[:8, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "turned.jpg", array, quality=100, exif=exif)
    bright = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    upright = open_image(path).read_all()
    assert read_size_wh(path) == ((32, 16) if orientation < 5 else (16, 32)) == (upright.shape[1], upright.shape[0])
    assert upright[bright[orientation]].min() > 240
    assert (upright > 127).all(axis=2).sum() == 128


@pytest.mark.parametrize(("kind", "options"), [("jpg", {}), ("jpg", {"progressive": True}), ("png", {})])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_pictures_are_refused(tmp_path, kind, options, share):
    path = save(tmp_path / f"cut.{kind}", picture(200, 200), **options)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UnreadableImageError, match=rf"^cut\.{kind}: "):
        open_image(path)


def test_the_content_decides_not_the_name(tmp_path):
    array = picture()
    save(tmp_path / "a.png", array).rename(tmp_path / "wrong.jpg")
    assert (open_image(tmp_path / "wrong.jpg").read_all() == array).all()
    write_tiff(tmp_path / "b.tif", np.moveaxis(array, 2, 0)).rename(tmp_path / "wrong.png")
    assert (open_image(tmp_path / "wrong.png").read_all() == array).all()


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty file"), (b"<html>", "not a JPEG"), (b"\xff\xd8\xff" + b"\0" * 99, "damaged"),
     (b"II*\0" + b"\xff" * 30, "."), (b"GIF89a" + b"\0" * 30, "not a JPEG")],
)  # fmt: skip
def test_other_files_are_refused_by_name_and_reason(tmp_path, content, reason):
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    for read in (open_image, read_size_wh):
        with pytest.raises(UnreadableImageError, match=rf"^x\.jpg: .*{reason}"):
            read(path)
    with pytest.raises(UnreadableImageError, match=r"absent\.jpg: No such file"):
        open_image(tmp_path / "absent.jpg")


def test_too_large_pictures_are_refused_from_the_header(tmp_path, monkeypatch):
    path = save(tmp_path / "large.png", picture(100, 100))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(UnreadableImageError, match="100 x 100 pixels"):
        decode(path, limit_px=9_999)


def test_file_names_of_any_script_are_read(tmp_path):
    folder = tmp_path / "Straße 路面"
    folder.mkdir()
    array = picture()
    assert (open_image(save(folder / "ä #1.png", array)).read_all() == array).all()
    assert (open_image(write_tiff(folder / "ä #1.tif", np.moveaxis(array, 2, 0))).read_all() == array).all()


def test_geotiff_windows_nodata_and_georeference(tmp_path):
    array = picture(300, 200)
    array[10:20, 30:40] = 9
    path = write_tiff(tmp_path / "road.tif", np.moveaxis(array, 2, 0), nodata=9, tiled=True, blockxsize=128,
                      blockysize=128, compress="deflate")  # fmt: skip
    with open_image(path) as source:
        assert source.size_wh_px == (300, 200)
        window = source.read(20, 5, 200, 100)
        assert (window[5:15, 10:20] == 0).all()
        keep = (array[5:105, 20:220] != 9).all(axis=2)
        assert (window[keep] == array[5:105, 20:220][keep]).all()
        assert source.georeference is not None
        assert source.georeference.affine == (0.01, 0.0, 392_000.0, 0.0, -0.01, 5_820_000.0)
        assert "UTM zone 33N" in source.georeference.crs_wkt


def test_bands_of_geotiffs(tmp_path):
    array = picture()
    bands = np.moveaxis(array, 2, 0)
    four = write_tiff(tmp_path / "four.tif", np.concatenate([bands, bands[:1] | 1]))
    assert (open_image(four).read_all() == array).all()
    alpha = np.full_like(bands[:1], 255)
    alpha[0, 3:5] = 0
    pixels = open_image(write_tiff(tmp_path / "rgba.tif", np.concatenate([bands, alpha]))).read_all()
    assert (pixels[3:5] == 0).all()
    assert (pixels[5:] == array[5:]).all()
    grey_alpha = write_tiff(tmp_path / "ga.tif", np.stack([bands[0], np.full_like(bands[0], 255)]), alpha="yes")
    assert (open_image(grey_alpha).read_all() == bands[0][:, :, None]).all()
    for name, wrong in (("two", bands[:2]), ("float", bands.astype(np.float32)), ("int", bands.astype(np.int16))):
        path = write_tiff(tmp_path / f"{name}.tif", wrong, photometric="minisblack")
        with pytest.raises(UnreadableImageError, match=f"{name}.tif: expected"):
            open_image(path)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_palette_tiff_has_its_colours(tmp_path):
    path = tmp_path / "p.tif"
    with rasterio.open(path, "w", driver="GTiff", count=1, height=1, width=3, dtype="uint8") as dataset:
        dataset.write(np.array([[[0, 1, 2]]], np.uint8))
        dataset.write_colormap(1, {0: (0, 0, 0, 255), 1: (255, 0, 0, 255), 2: (10, 20, 30, 255)})
    assert open_image(path).read_all().tolist() == [[[0, 0, 0], [255, 0, 0], [10, 20, 30]]]


@pytest.mark.parametrize(
    ("crs", "transform", "note"),
    [("EPSG:4326", from_origin(9.0, 45.0, 1e-7, 1e-7), "not in metres"),
     ("EPSG:2263", None, "not in metres"), (None, None, "no CRS"), (None, Affine.identity(), "")],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_georeferences_that_are_not_in_metres_are_explained(tmp_path, crs, transform, note):
    header = read_header(write_tiff(tmp_path / "x.tif", picture().transpose(2, 0, 1), crs=crs, transform=transform))
    assert header.georeference is None
    assert note in header.note
    assert bool(header.note) == bool(note)


def test_truncated_tiff_is_refused_when_its_window_is_read(tmp_path):
    path = write_tiff(tmp_path / "cut.tif", np.moveaxis(picture(400, 400), 2, 0), compress="deflate")
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(UnreadableImageError, match=r"^cut\.tif: "):
        open_image(path).read_all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_spoil_the_picture(tmp_path):
    stream = io.BytesIO()
    Image.fromarray(picture()).save(stream, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    path = tmp_path / "a.jpg"
    path.write_bytes(stream.getvalue())
    assert open_image(path).size_wh_px == read_size_wh(path) == (40, 24)
