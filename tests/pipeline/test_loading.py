"""Images through child processes: what a file does to its decoder stays there, and is said."""

import os
import signal
import struct
import time
import zlib

import numpy as np
import pytest
import rasterio
from PIL import Image

from crackmap.calibration.errors import UnreadableImageError
from crackmap.pipeline import decoding, loading
from crackmap.pipeline.loading import Loader, LoadLimits


def picture(width=60, height=40, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


@pytest.fixture(scope="module")
def loader():
    with Loader(1) as found:
        yield found


def test_pixels_and_identity_are_those_of_the_file(loader, tmp_path):
    array = picture()
    path = save(tmp_path / "a.png", array)
    with loader.open(path) as source:
        assert np.array_equal(source.read_all(), array)
        assert np.array_equal(source.read(3, 5, 20, 10), array[5:15, 3:23])
        assert source.identity.size_bytes == path.stat().st_size
        assert source.identity.mtime_ns == path.stat().st_mtime_ns
    assert loader.header(path).size_wh_px == (60, 40)


def test_names_that_are_no_text_are_read(loader, tmp_path):
    array = picture()
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe -=`'\"\n%#?!.png")
    save(tmp_path / "a.png", array).rename(odd)
    assert np.array_equal(loader.open(type(tmp_path)(odd)).read_all(), array)
    tiff = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.tif")
    save(tmp_path / "a.tif", array).rename(tiff)
    assert np.array_equal(loader.open(type(tmp_path)(tiff)).read_all(), array)


@pytest.mark.parametrize("killed_by", [signal.SIGKILL, signal.SIGSEGV])
def test_an_image_that_kills_its_decoder_is_named_and_the_next_one_is_read(tmp_path, killed_by):
    array = picture()
    good = save(tmp_path / "good.png", array)
    with Loader(1) as loader:
        loader.open(good).close()
        (child,) = (child._process for child in loader._children)
        os.kill(child.pid, killed_by)
        child.wait()
        with pytest.raises(UnreadableImageError, match=rf"good\.png: decoder_crashed: .* signal {int(killed_by)}"):
            loader.open(good)
        assert np.array_equal(loader.open(good).read_all(), array)


def test_a_decoder_that_hangs_is_stopped_and_the_next_image_is_read(tmp_path):
    # A pipe that nobody writes to: opening it waits for ever.
    os.mkfifo(tmp_path / "pipe.jpg")
    good = save(tmp_path / "good.png", picture())
    with Loader(1, limits=LoadLimits(seconds=3)) as loader:
        loader.open(good).close()
        with pytest.raises(UnreadableImageError, match=r"pipe\.jpg: .*(took longer than 3 s|not a file)"):
            loader.open(tmp_path / "pipe.jpg")
        loader.open(good).close()


def test_a_fork_reads_with_decoders_of_its_own_and_leaves_those_of_its_parent_alone(tmp_path):
    """As the workers of a torch DataLoader do, and a killed one must not leave half an answer to its parent."""
    mine, other = (save(tmp_path / f"{seed}.png", picture(900, 700, seed)) for seed in (1, 2))
    with Loader(1) as loader:
        loader.open(mine).close()
        for after_s in (0.1, 0.2, 0.4, 0.8):
            fork = os.fork()
            if fork == 0:
                while np.array_equal(loader.open(other).read_all(), picture(900, 700, 2)):
                    pass
                os._exit(1)
            until = time.monotonic() + after_s
            while time.monotonic() < until:
                assert np.array_equal(loader.open(mine).read_all(), picture(900, 700, 1))
            os.kill(fork, signal.SIGKILL)
            assert os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == -signal.SIGKILL
            assert np.array_equal(loader.open(mine).read_all(), picture(900, 700, 1))


def test_an_answer_to_another_question_is_no_picture(tmp_path):
    path = save(tmp_path / "a.png", picture())
    with Loader(1) as loader:
        loader.open(path).close()
        (child,) = loader._children
        child._connection.send_bytes(b'{"do": "read", "number": 7}')
        with pytest.raises(UnreadableImageError, match="decoder_crashed"):
            loader.open(path)
        assert np.array_equal(loader.open(path).read_all(), picture())


def test_images_come_in_the_order_asked_for_whatever_is_wrong_with_some(tmp_path):
    paths = [save(tmp_path / f"{n}.png", picture(seed=n)) for n in range(9)]
    paths[4].write_bytes(b"no picture")
    with Loader(3) as loader:
        found = list(loader.ahead(paths))
    assert [isinstance(source, UnreadableImageError) for source in found] == [n == 4 for n in range(9)]
    for n in (0, 3, 8):
        assert np.array_equal(found[n].read_all(), picture(seed=n))


def test_no_child_outlives_its_loader(tmp_path):
    path = save(tmp_path / "a.png", picture())
    with Loader(2) as loader:
        list(loader.ahead([path, path, path]))
        processes = [child._process for child in loader._children]
        assert processes
    assert all(process.poll() is not None for process in processes)


@pytest.fixture
def small_whole(monkeypatch):
    """Pictures of more than 1000 px count as large; decoded in this process, so that the limit is known there."""
    monkeypatch.setattr(decoding, "WHOLE_PX", 1000)
    monkeypatch.setattr(decoding, "STRIP_ROWS", 7)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "options"), [("png", {}), ("jpg", {"subsampling": 0, "quality": 95})])
def test_large_pictures_are_unpacked_upright_and_equal_to_small_ones(tmp_path, monkeypatch, kind, options, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"a.{kind}", picture(61, 43), exif=exif, **options)
    whole = decoding.decode(path)
    monkeypatch.setattr(decoding, "WHOLE_PX", 1000)
    monkeypatch.setattr(decoding, "STRIP_ROWS", 7)
    unpacked = decoding.decode(path, scratch_folder=tmp_path)
    assert unpacked.header == whole.header and unpacked.pixels is None
    rows = np.fromfile(unpacked.scratch, np.uint8).reshape(whole.pixels.shape)
    # Of JPEG, two libraries round as they like; where colour is stored at half resolution they differ more.
    assert np.abs(rows.astype(int) - whole.pixels).max() <= (2 if kind == "jpg" else 0)
    source = loading._Unpacked(unpacked.header, unpacked.identity, unpacked.scratch)
    assert not unpacked.scratch.exists()
    assert np.array_equal(source.read(5, 3, 20, 30), rows[3:33, 5:25])
    source.close()


@pytest.mark.parametrize("kind", ["png", "jpg"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_large_pictures_that_are_cut_off_are_refused(tmp_path, small_whole, kind, share):
    path = save(tmp_path / f"cut.{kind}", picture(200, 200))
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(UnreadableImageError, match=rf"^cut\.{kind}: "):
        decoding.decode(path, scratch_folder=tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_a_large_png_with_a_wrong_check_sum_is_refused(tmp_path, small_whole):
    path = save(tmp_path / "a.png", picture(200, 200))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 8
    path.write_bytes(content)
    with pytest.raises(UnreadableImageError, match=r"^a\.png: damaged"):
        decoding.decode(path, scratch_folder=tmp_path)


def test_a_picture_of_more_pixels_than_allowed_is_refused_before_it_is_decoded(tmp_path):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    # 60,000 x 60,000 px in some kilobytes.
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(100_000))) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(bomb)
    with Loader(1, limits=LoadLimits(seconds=20)) as loader:
        assert loader.header(tmp_path / "bomb.png").size_wh_px == (60_000, 60_000)
        with pytest.raises(UnreadableImageError, match=r"bomb\.png: 60000 x 60000 pixels .* --max-mpx"):
            loader.open(tmp_path / "bomb.png")


def test_large_tiffs_are_read_by_windows_and_their_child_comes_back(tmp_path, monkeypatch):
    size = 8192
    path = tmp_path / "large.tif"
    options = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "zlevel": 1}
    with rasterio.open(path, "w", driver="GTiff", width=size, height=size, count=1, dtype="uint8", **options) as file:
        file.write(np.full((1, 256, 256), 9, np.uint8), window=rasterio.windows.Window(4096, 4096, 256, 256))
    with Loader(1) as loader:
        for _ in range(2):
            with loader.open(path) as source:
                assert source.size_wh_px == (size, size)
                window = source.read(4090, 4090, 10, 10)
                assert (window[6:, 6:] == 9).all() and not window[:6].any()


def test_a_vrt_under_another_name_reads_no_other_file(loader, tmp_path):
    secret = save(tmp_path / "secret.tif", picture())
    vrt = (
        f'<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{secret}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    for name in ("a.jpg", "a.tif"):
        (tmp_path / name).write_text(vrt)
        with pytest.raises(UnreadableImageError, match="not a JPEG, PNG or TIFF"):
            loader.open(tmp_path / name)
