"""Single images: outputs never overwrite each other."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crackmap.calibration.errors import InputError
from crackmap.pipeline.frame import Stages
from crackmap.pipeline.single import detect_images, measure_images, segment_images
from crackmap.stages.detect.detector import DetectSettings


def mask(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((40, 60), np.uint8)
    pixels[18:22, 5:55] = 255
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize(("first", "second"), [("cam1/1.png", "cam2/1.png"), ("a.png", "a.tif"), ("A.png", "b/a.png")])
def test_images_whose_outputs_would_have_one_name_are_refused_before_anything_is_written(tmp_path, first, second):
    paths = [mask(tmp_path / "other.png"), mask(tmp_path / first), mask(tmp_path / second)]
    out = tmp_path / "out"
    message = f"{first} and .*{second}: their outputs would have the same name .* own --out"
    with pytest.raises(InputError, match=message):
        measure_images(paths, None, gsd_mm=None, out=out)
    with pytest.raises(InputError, match=message):
        detect_images(paths, settings=DetectSettings(), weights=tmp_path / "none.pt", device="cpu", out=out)
    with pytest.raises(InputError, match=message):
        # Refused before the nets are used: none is needed here.
        list(segment_images(paths, Stages.__new__(Stages), out=out, failed=[]))
    assert not out.exists()


def test_without_an_output_folder_equal_names_are_no_matter(tmp_path):
    paths = [mask(tmp_path / "cam1" / "1.png"), mask(tmp_path / "cam2" / "1.png")]
    reports, failed = measure_images(paths, None, gsd_mm=None, out=None)
    assert [report["image"] for report in reports] == [str(path) for path in paths]
    assert failed == []


def test_an_image_given_twice_is_no_clash(tmp_path):
    path = mask(tmp_path / "a.png")
    out = tmp_path / "out"
    out.mkdir()
    reports, _ = measure_images([path, out / ".." / "a.png"], None, gsd_mm=1.0, out=out)
    assert len(reports) == 2
    assert (out / "a_cracks.jpg").is_file()
