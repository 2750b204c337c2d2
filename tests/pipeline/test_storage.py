"""Surveys and results in a bucket: what a folder of names stands for, and what is refused."""

import io
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import click
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from faults import harness
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin
from rasterio.transform import from_origin

from crackmap.calibration.errors import CrackmapError, InputError, OutputLockedError, UnreadableImageError
from crackmap.cli.main import cli
from crackmap.pipeline import decoding
from crackmap.pipeline import nets as nets_module
from crackmap.pipeline.images import open_image, read_fix
from crackmap.pipeline.records import CHANGED
from crackmap.pipeline.storage.heads import head_pieces
from crackmap.pipeline.storage.urls import BucketUrl, is_url, key_problem, location
from crackmap.pipeline.survey import read_survey


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    pytest.importorskip("moto", reason="needs moto[server], an S3 server for tests")
    pytest.importorskip("boto3", reason="needs the extra s3")
    from faults import buckets

    with buckets.served() as found:
        yield found


@pytest.fixture
def cache(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of this test, in an environment that leads to the server."""
    from faults import buckets

    buckets.credentials(monkeypatch, address, tmp_path / "cache")
    return tmp_path / "cache"


def put(address: str, key: str, content: bytes) -> None:
    from faults import buckets

    buckets.client(address).put_object(Bucket="roads", Key=key, Body=content)


def drawn(seed: int = 0, size_wh: tuple[int, int] = (160, 120)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (size_wh[1], size_wh[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    drawn().save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


def test_urls_are_told_from_paths_and_name_what_a_folder_would():
    assert not is_url("/data/a") and not is_url("s3:/a/b") and not is_url("photos://".removesuffix("//"))
    assert location("/data/a") == Path("/data/a")
    url = location("s3://roads/2026/a7/")
    assert url == BucketUrl("roads", "2026/a7")
    assert isinstance(url, BucketUrl) and url.name == "a7" and str(url / "out") == "s3://roads/2026/a7/out"
    assert BucketUrl("roads").name == "roads"


@pytest.mark.parametrize(
    "text", ["http://host/a", "https://host/a", "gs://b/a", "file:///etc", "hdfs://x/y", "az://c/p"]
)
def test_other_kinds_of_url_are_refused_by_name(text):
    with pytest.raises(InputError, match=r"s3://BUCKET/PREFIX"):
        location(text)


@pytest.mark.parametrize(
    "text",
    [
        "s3://",
        "s3:///a",
        "s3://u:wordless@b/a",
        "s3://b:9000/a",
        "s3://b/../a",
        "s3://b//a",
        "s3://b/a\0",
        "s3://b/./a",
    ],
)
def test_a_url_that_names_no_bucket_or_a_prefix_no_folder_has_is_refused(text):
    with pytest.raises(InputError) as error:
        location(text)
    assert "wordless" not in str(error.value)


@given(st.text(max_size=60))
def test_a_key_that_is_accepted_stays_below_its_folder(key):
    if key and not key_problem(key):
        path = Path("/folder/of/survey", key)
        assert path.resolve().is_relative_to("/folder/of/survey") and path.as_posix() == f"/folder/of/survey/{key}"


def patched(content: bytes) -> bytes:
    """What a decoder sees where only the pieces of a header are there."""
    seen = bytearray(len(content))
    for start, piece in head_pieces(lambda start, length: content[start : start + length]).items():
        seen[start : start + len(piece)] = piece
    return bytes(seen)


GPS = {1: "S", 2: (12.0, 30.0, 0.0), 3: "W", 4: (48.0, 0.0, 36.0)}


def exif() -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = 6
    found.get_ifd(0x8825).update(GPS)
    return found


def tiff_tags() -> TiffImagePlugin.ImageFileDirectory_v2:
    found = TiffImagePlugin.ImageFileDirectory_v2()
    found[0x8825] = GPS
    return found


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {}), ("JPEG", {"exif": exif()}), ("JPEG", {"progressive": True, "icc_profile": bytes(200_000)}),
     ("JPEG", {"comment": b"\xff\xd8" * 9000}), ("PNG", {}), ("PNG", {"exif": exif()}),
     ("PNG", {"icc_profile": np.random.default_rng(1).bytes(90_000)}), ("TIFF", {}),
     ("TIFF", {"tiffinfo": tiff_tags()}), ("TIFF", {"big_tiff": True})],
)  # fmt: skip
def test_the_pieces_of_a_header_say_what_the_whole_file_does(kind, options, tmp_path):
    content = encoded(kind, **options)
    whole, part = tmp_path / "whole", tmp_path / "part"
    whole.write_bytes(content)
    part.write_bytes(patched(content))
    assert decoding.read_header(part) == decoding.read_header(whole)
    assert read_fix(part) == read_fix(whole)
    assert (read_fix(whole) is not None) == bool({"exif", "tiffinfo"} & set(options))


@pytest.mark.parametrize("driver", ["GTiff", "COG"])
@pytest.mark.parametrize("options", [{"BIGTIFF": "YES"}, {"BIGTIFF": "NO", "ENDIANNESS": "BIG"}, {}])
def test_the_pieces_of_a_raster_hold_its_place_and_are_a_small_part_of_it(driver, options, tmp_path):
    if driver == "COG":
        options = {key: value for key, value in options.items() if key != "ENDIANNESS"}
    pixels = np.random.default_rng(0).integers(0, 255, (3, 900, 1100), dtype=np.uint8)
    with rasterio.open(tmp_path / "a.tif", "w", driver=driver, width=1100, height=900, count=3, dtype="uint8",
                       crs="EPSG:32722", transform=from_origin(5e5, 8e6, 0.01, 0.01), **options) as file:  # fmt: skip
        file.write(pixels)
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "b.tif").write_bytes(patched(content))
    expected = decoding.read_header(tmp_path / "a.tif")
    assert expected.georeference is not None
    assert decoding.read_header(tmp_path / "b.tif") == expected
    assert (
        sum(map(len, head_pieces(lambda start, length: content[start : start + length]).values())) < len(content) / 20
    )


@settings(max_examples=200)
@given(
    st.sampled_from(["JPEG", "PNG", "TIFF"]), st.integers(0, 400), st.binary(min_size=1, max_size=8), st.integers(0, 40)
)
def test_damaged_headers_end(kind, place, noise, cut):
    content = bytearray(encoded(kind))
    content[place : place + len(noise)] = noise
    content = content[: len(content) - 900 * cut]
    asked = []

    def read(start: int, length: int) -> bytes:
        asked.append((start, length))
        return bytes(content[start : start + length]) if start >= 0 and length >= 0 else b""

    head_pieces(read)
    assert len(asked) < 5000


@pytest.fixture
def survey(address: str, cache: Path, tmp_path: Path) -> BucketUrl:
    """Three photographs, one of them no image, a description that names a calibration, and a note."""
    for number in range(2):
        put(address, f"{tmp_path.name}/day 1/{number}.jpg", encoded("JPEG", quality=50 + number))
    put(address, f"{tmp_path.name}/day 1/2.jpg", b"no image")
    put(address, f"{tmp_path.name}/day 1/", b"")
    put(address, f"{tmp_path.name}/.hidden/3.jpg", encoded("JPEG"))
    put(address, f"{tmp_path.name}/survey.toml", b'[ground]\nmethod = "gsd"\ngsd_mm = 2.0\n')
    return BucketUrl("roads", tmp_path.name)


def test_a_survey_in_a_bucket_reads_as_the_same_folder_does(survey, address, tmp_path):
    folder = tmp_path / "local" / tmp_path.name
    (folder / "day 1").mkdir(parents=True)
    for number in range(2):
        (folder / "day 1" / f"{number}.jpg").write_bytes(encoded("JPEG", quality=50 + number))
    (folder / "day 1" / "2.jpg").write_bytes(b"no image")
    (folder / "survey.toml").write_text('[ground]\nmethod = "gsd"\ngsd_mm = 2.0\n')
    there, here = read_survey(survey), read_survey(folder)
    assert [(one.key, one.size_wh_px, one.recording, one.placement) for one in there.frames] \
        == [(one.key, one.size_wh_px, one.recording, one.placement) for one in here.frames]  # fmt: skip
    assert (there.skipped, there.notes, there.name, there.config) == (here.skipped, here.notes, here.name, here.config)
    assert there.source["path"] == str(survey)
    assert there.remote is not None and here.remote is None


def test_placeholders_take_no_room_and_pictures_are_fetched_when_they_are_opened(survey, address, cache):
    put(address, f"{survey.prefix}/large.png", encoded("PNG") + bytes(30_000_000))
    found = read_survey(survey)
    placeholders = [path for path in cache.rglob("*") if path.is_file() and "files" in path.parts]
    assert sum(path.stat().st_size for path in placeholders) > 30_000_000
    assert sum(path.stat().st_blocks * 512 for path in placeholders) < 200_000
    with open_image(found.frames[0].path) as source:
        assert source.read_all().shape == (120, 160, 3)
        stat = found.frames[0].path.stat()
        assert (source.identity.size_bytes, source.identity.mtime_ns) == (stat.st_size, stat.st_mtime_ns)


def test_a_large_raster_is_read_by_windows_after_its_file_is_gone(address, cache, tmp_path):
    side = 7800
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", width=side, height=side, count=1, dtype="uint8",
                       compress="DEFLATE", tiled=True, sparse_ok=True, crs="EPSG:32722",
                       transform=from_origin(5e5, 8e6, 0.01, 0.01)) as file:  # fmt: skip
        file.write(np.full((16, 16), 77, np.uint8), 1, window=rasterio.windows.Window(7000, 7000, 16, 16))
    put(address, f"{tmp_path.name}/a.tif", (tmp_path / "a.tif").read_bytes())
    (frame,) = read_survey(BucketUrl("roads", tmp_path.name)).frames
    assert side * side > decoding.WHOLE_PX and frame.ground is not None
    with open_image(frame.path) as source:
        assert (source.read(7000, 7000, 16, 16) == 77).all()
        assert not source.read(0, 0, 16, 16).any()


def test_masks_that_other_machines_made_are_brought_and_others_in_their_place_are_refused(address, cache, tmp_path):
    from crackmap.pipeline.storage.remote import Mask, RemoteOut

    out = pickle.loads(pickle.dumps(RemoteOut(BucketUrl("roads", tmp_path.name))))
    for name, content in (("a.tif", b"a mask"), ("b.tif", b"b mask")):
        (tmp_path / name).write_bytes(content)
        out.put_mask(tmp_path / name)
    wanted = [Mask("a.tif", 6, sha256(b"a mask").hexdigest()), Mask("b.tif", 6, sha256(b"B mask").hexdigest()),
              Mask("c.tif", 6, "")]  # fmt: skip
    (tmp_path / "out" / "masks").mkdir(parents=True)
    (tmp_path / "out" / "masks" / "a.tif").write_bytes(b"A mask")
    assert out.fetch_masks(wanted, tmp_path / "out") == ["b.tif", "c.tif"]
    assert [path.name for path in (tmp_path / "out" / "masks").iterdir()] == ["a.tif"]
    assert (tmp_path / "out" / "masks" / "a.tif").read_bytes() == b"a mask"


def test_a_second_start_asks_for_what_has_changed_alone(survey, address, monkeypatch):
    from crackmap.pipeline.storage.bucket import Store

    read_survey(survey)
    asked = []
    real = Store.read_range
    monkeypatch.setattr(
        Store, "read_range", lambda store, item, *span: asked.append(item.key) or real(store, item, *span)
    )
    read_survey(survey)
    assert not asked
    put(address, f"{survey.prefix}/day 1/1.jpg", encoded("JPEG", quality=90))
    from faults import buckets

    buckets.client(address).delete_object(Bucket="roads", Key=f"{survey.prefix}/day 1/0.jpg")
    found = read_survey(survey)
    assert set(asked) == {f"{survey.prefix}/day 1/1.jpg"}
    assert [frame.key for frame in found.frames] == ["day 1/1.jpg"]


def test_a_picture_is_fetched_on_a_machine_that_has_nothing_of_the_one_that_listed_it(survey, address, tmp_path, cache):
    found = read_survey(survey)
    frame, content = found.frames[0], encoded("JPEG", quality=50)
    assert found.remote is not None
    images, image = pickle.loads(pickle.dumps((found.remote, found.remote.image(frame))))
    expected = frame.path.stat().st_mtime_ns
    cache.rename(tmp_path / "gone")
    for fetched in (image.fetched(tmp_path), images.fetched(frame, tmp_path)):
        with fetched as path:
            assert (path.name, path.read_bytes(), path.stat().st_mtime_ns) == ("0.jpg", content, expected)
        assert not path.exists()
    put(address, image.item.key, content[::-1])
    with pytest.raises(UnreadableImageError, match=f"^{CHANGED}"), image.fetched(tmp_path):
        pass


def test_a_single_image_is_a_survey_with_the_description_beside_it(survey):
    found = read_survey(survey / "day 1/0.jpg")
    assert [frame.key for frame in found.frames] == ["0.jpg"] and found.name == "0"
    assert found.source["path"] == f"{survey}/day 1/0.jpg"


@pytest.mark.parametrize(
    ("keys", "says"),
    [(("a/../b.jpg",), "cannot be the name of a file"), (("a//b.jpg",), "cannot be the name of a file"),
     (("a.jpg", "A.jpg"), "one name on other file systems"), (("a.jpg", "a.jpg/b.jpg"), "no file system holds both"),
     (("x" * 300 + ".jpg",), "longer than names of files"), (("a.txt",), "no image found")],
)  # fmt: skip
def test_keys_that_no_folder_could_hold_are_refused(keys, says, address, cache, tmp_path):
    for key in keys:
        put(address, f"{tmp_path.name}/{key}", encoded("JPEG"))
    with pytest.raises(InputError, match=says):
        read_survey(BucketUrl("roads", tmp_path.name))
    assert not [path for path in tmp_path.rglob("*.jpg") if "files" not in path.parts]


def test_files_that_the_description_names_are_fetched_and_lane_masks_are_read(address, cache, tmp_path):
    from faults import buckets

    data = Path(os.environ.get("CRACKMAP_DATA", ""))
    if not (data / "dnit").is_dir():
        pytest.skip("needs the data set dnit below CRACKMAP_DATA")
    folder = harness.real_survey(tmp_path / "photos", data, 3)
    buckets.fill(address, folder, f"{tmp_path.name}/photos")
    there = read_survey(BucketUrl("roads", f"{tmp_path.name}/photos"), survey="dnit")
    here = read_survey(folder, survey="dnit")
    for one, other in zip(there.frames, here.frames, strict=True):
        assert one.ground is not None and other.ground is not None
        assert np.array_equal(one.ground.ground_from_pixel, other.ground.ground_from_pixel)


def test_a_track_that_the_description_names_is_read(address, cache, tmp_path):
    toml = b"""[frames]
pattern = '(?P<time_s>\\d+)\\.jpg$'
[position]
source = "track"
track = "gps/track.csv"
[ground]
method = "gsd"
gsd_mm = 2.0
"""
    lines = [f"{second},{-12.5 + second * 5e-5:.6f},-48.0" for second in range(12)]
    put(address, f"{tmp_path.name}/survey.toml", toml)
    put(address, f"{tmp_path.name}/gps/track.csv", ("time_s,lat,lon\n" + "\n".join(lines)).encode())
    for second in (3, 4, 5):
        put(address, f"{tmp_path.name}/{second}.jpg", encoded("JPEG", quality=40 + second))
    found = read_survey(BucketUrl("roads", tmp_path.name))
    assert len(found.frames) == 3 and found.output.kind.value == "map"


def invoke(*args: object, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    monkeypatch.setattr(nets_module, "load_stages", lambda *_, **__: harness.stand_ins())
    result = CliRunner().invoke(cli, [str(arg) for arg in args], standalone_mode=False)
    if isinstance(result.exception, CrackmapError | click.ClickException):
        return result.exception.exit_code, str(result.exception)
    assert result.exception is None, result.output
    return int(result.return_value or 0), result.output


def test_the_commands_run_check_status_and_sections_work_on_buckets(survey, address, cache, monkeypatch):
    from faults import buckets

    out = f"{survey}/out"
    code, text = invoke("check", survey, monkeypatch=monkeypatch)
    assert code == 3 and "skipped  day 1/2.jpg" in text
    code, text = invoke("status", out, monkeypatch=monkeypatch)
    assert code == 4 and "holds no crackmap run" in text
    code, text = invoke("run", survey, "-o", out, "--no-strips", monkeypatch=monkeypatch)
    assert code == 3 and f"{out}/report.html" in text
    # The output lies in the survey: its masks are no frames.
    code, text = invoke("run", survey, "-o", out, "--no-strips", "--shapefile", monkeypatch=monkeypatch)
    assert code == 3 and "2 frames were done before" in text
    code, text = invoke("status", out, monkeypatch=monkeypatch)
    assert code == 0 and "finished: 2 of 2 frames" in text
    assert any(name.endswith(".shp") for name in buckets.objects(address, f"{survey.prefix}/out"))
    cache.rename(cache.with_name("gone"))
    code, text = invoke("sections", out, "--length", "20", "--no-strips", monkeypatch=monkeypatch)
    assert code == 0 and f"{out}/sections.csv" in text
    assert not any(name.endswith(".shp") for name in buckets.objects(address, f"{survey.prefix}/out"))
    code, text = invoke("view", out, monkeypatch=monkeypatch)
    assert code == 2 and "copy it here first" in text


def test_a_lock_of_another_machine_holds_until_it_is_ten_minutes_old(address, cache, tmp_path, monkeypatch):
    from crackmap.pipeline.storage import lock

    url = BucketUrl("roads", tmp_path.name)
    put(address, f"{tmp_path.name}/.lock", b'{"host": "elsewhere\\u001b[2J", "owner": "x", "pid": 1}')
    with pytest.raises(OutputLockedError, match=r"'elsewhere\\x1b\[2J'"), lock.BucketLock(url):
        pass
    monkeypatch.setattr(lock, "STALE_S", -1.0)
    with lock.BucketLock(url):
        pass
    assert not lock.is_held(url)


def test_a_lock_that_another_run_has_taken_ends_this_one(address, cache, tmp_path, monkeypatch):
    from faults import buckets

    from crackmap.pipeline.storage import lock

    monkeypatch.setattr(lock, "RENEW_S", 0.05)
    with lock.BucketLock(BucketUrl("roads", tmp_path.name)) as held:
        held.check()
        put(address, f"{tmp_path.name}/.lock", b'{"host": "elsewhere", "owner": "x", "pid": 1}')
        buckets.until(lambda: held._lost)
        with pytest.raises(OutputLockedError, match="its lock"):
            held.check()
    assert b"elsewhere" in buckets.objects(address, tmp_path.name)[".lock"]


def test_a_folder_needs_no_extra_and_a_bucket_without_it_says_how_to_get_it(tmp_path):
    folder = harness.draw_survey(tmp_path / "photos", 2)
    code = f"""
import sys
sys.modules["boto3"] = sys.modules["botocore"] = None
from pathlib import Path
import crackmap.cli.run, crackmap.pipeline.run, crackmap.pipeline.storage.staging
from crackmap.pipeline.images import open_image
from crackmap.pipeline.storage.urls import location
from crackmap.pipeline.survey import read_survey

found = read_survey(Path({str(folder)!r}), gsd_mm=1.0)
open_image(found.frames[0].path).close()
try:
    read_survey(location("s3://roads/survey"))
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "InputError" in done.stdout and "pip install 'crackmap[s3]'" in done.stdout
