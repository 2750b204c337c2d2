"""Sizes read from first bytes are those that Pillow reads, or none."""

import contextlib
import io
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crackmap.calibration.errors import UnreadableImageError
from crackmap.pipeline import decoding
from crackmap.pipeline.headers import FIRST_BYTES, ordinary_size_wh, size_wh_of


def image(kind: str, mode: str = "RGB", size=(37, 21), **options) -> bytes:  # type: ignore[no-untyped-def]
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int, *, big: bool = False) -> bytes:
    found = Image.Exif()
    found.endian = ">" if big else "<"
    found[0x010F] = "maker"
    found[0x0112] = orientation
    return found.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("big", [True, False])
def test_an_ordinary_photograph_is_upright_as_pillow_has_it(tmp_path, orientation, big):
    path = tmp_path / "a.jpg"
    path.write_bytes(image("JPEG", exif=exif(orientation, big=big), comment=b"said", progressive=orientation % 2 == 0))
    assert ordinary_size_wh(path) == decoding.read_header(path).size_wh_px
    assert ordinary_size_wh(path) == ((37, 21) if orientation < 5 else (21, 37))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P", "I;16"])
def test_an_ordinary_png_of_any_mode_has_its_size(mode):
    assert size_wh_of(image("PNG", mode)) == (37, 21)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_an_ordinary_jpeg_of_any_mode_has_its_size(mode):
    assert size_wh_of(image("JPEG", mode)) == (37, 21)


def test_what_is_out_of_the_ordinary_is_left_to_pillow():
    assert size_wh_of(image("PNG", exif=exif(6))) is None
    assert size_wh_of(image("TIFF")) is None
    assert size_wh_of(b"") is None
    assert size_wh_of(image("JPEG", exif=exif(1) + bytes(60_000))[:FIRST_BYTES]) is None


def test_a_pipe_is_not_waited_on(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    assert ordinary_size_wh(tmp_path / "a.jpg") is None


PICTURES = [image("PNG"), image("JPEG", exif=exif(6)), image("PNG", "P"), image("JPEG", "L", progressive=True)]


@settings(max_examples=300)
@given(
    st.sampled_from(PICTURES), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
    st.integers(0, 700),
)  # fmt: skip
def test_a_damaged_header_gives_what_pillow_gives_or_nothing_or_is_refused_by_it(tmp_path_factory, whole, flips, cut):
    damaged = bytearray(whole[: len(whole) - cut if cut < 300 else len(whole)])
    for place, value in flips:
        if place < len(damaged):
            damaged[place] = value
    found = size_wh_of(bytes(damaged))
    if found is None:
        return
    path = tmp_path_factory.getbasetemp() / "damaged.img"
    path.write_bytes(damaged)
    # What Pillow refuses is refused when it is decoded.
    with contextlib.suppress(UnreadableImageError):
        assert decoding.read_header(path).size_wh_px == found
