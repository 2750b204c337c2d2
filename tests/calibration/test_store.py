"""Calibration files come back as they were written; damaged ones say what is wrong and what to do."""

from pathlib import Path

import numpy as np
import pytest

from crackmap.calibration.errors import CalibrationError, StorageError
from crackmap.calibration.lens import Lens
from crackmap.calibration.mount import Mount, plane_from_mount
from crackmap.calibration.plane import GroundLimits
from crackmap.calibration.store import Calibration, LensUncertainty, read_calibration, write_calibration

SIZE = (1280, 720)
LENS = Lens("pinhole", (1150.0, 1160.0), (643.2, 360.7), (-0.25, 0.09, 0.0007, -0.0004, -0.01), SIZE)


def test_a_calibration_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    plane = plane_from_mount(Mount(2.3, 40.0, 1.0), size_wh_px=SIZE, lens=LENS, limits=GroundLimits(36.0, (-2, 2), 9.0))
    uncertainty = LensUncertainty((1.5, 1.4), (2.0, 2.1), (0.01, 0.02, 0.001, 0.001, 0.03))
    made = {"command": 'crackmap "calibrate" \\ plane\n', "residual_px": [0.1, 0.2], "boards": ["ä.jpg"], "used": 3}
    write_calibration(tmp_path / "deep" / "c.toml", Calibration(SIZE, LENS, uncertainty, plane, made))
    back = read_calibration(tmp_path / "deep" / "c.toml")
    assert (back.size_wh_px, back.lens, back.lens_uncertainty, back.made) == (SIZE, LENS, uncertainty, made)
    assert back.plane is not None
    assert np.array_equal(back.plane.ground_from_pixel, plane.ground_from_pixel)
    assert (back.plane.limits, back.plane.lens) == (plane.limits, LENS)


def test_a_lens_alone_and_a_plane_alone_are_calibrations(tmp_path: Path) -> None:
    write_calibration(tmp_path / "lens.toml", Calibration(SIZE, LENS))
    assert read_calibration(tmp_path / "lens.toml").plane is None
    plane = plane_from_mount(Mount(2.3, 40.0), size_wh_px=SIZE, focal_px=1000.0)
    write_calibration(tmp_path / "plane.toml", Calibration(SIZE, plane=plane))
    assert read_calibration(tmp_path / "plane.toml").lens is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format = 1", "format = 2", r"expected a calibration file of format = 1, got 2; make it with"),
        ("format = 1\n", "", r"expected a calibration file of format = 1, got None"),
        ("[lens]", "[lense]", r"lense: extra inputs are not permitted"),
        ("1150.0", "-1150.0", r"lens\.focal_xy_px\.0: input should be greater than 0"),
        ("[lens]", "[lens", r"cannot be read as a calibration file"),
        ("1280", "inf", r"size_wh_px\.0"),
    ],
)
def test_damaged_files_say_what_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "c.toml"
    write_calibration(path, Calibration(SIZE, LENS))
    path.write_text(path.read_text("utf-8").replace(old, new, 1), "utf-8")
    with pytest.raises(CalibrationError, match=rf"c\.toml: .*{message}"):
        read_calibration(path)


def test_a_file_that_is_not_there_and_one_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="make one with `crackmap calibrate`"):
        read_calibration(tmp_path / "none.toml")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        write_calibration(tmp_path / "file" / "c.toml", Calibration(SIZE, LENS))
