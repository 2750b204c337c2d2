"""Lenses from boards: exact corners of known cameras, spoilt in every way that photos are."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from crackmap.calibration.adjustment import Sight, adjust, bend_basis
from crackmap.calibration.board import Board, BoardView
from crackmap.calibration.camera import CameraFit, calibrate_camera
from crackmap.calibration.errors import CalibrationError, InputError
from crackmap.calibration.lens import Lens

BOARD = Board((9, 6), 25.0)
SIZE = (1280, 960)
PINHOLE = Lens("pinhole", (1000.0, 1004.0), (650.0, 470.0), (-0.28, 0.10, 0.0008, -0.0006, -0.015), SIZE)
FISHEYE = Lens("fisheye", (620.0, 623.0), (645.0, 476.0), (-0.03, 0.004, -0.002, 0.0003), SIZE)


def views(lens: Lens, *, count: int = 16, noise_px: float = 0.1, seed: int = 0, tilt_deg: float = 40.0,
          relief_mm: float = 0.0) -> list[BoardView]:  # fmt: skip
    """Boards wholly in the picture, at even random places of it, tilted by up to `tilt_deg`."""
    rng = np.random.default_rng(seed)
    flat = BOARD.corners_xy_mm - BOARD.corners_xy_mm.mean(axis=0)
    places = np.column_stack([flat, relief_mm * (flat[:, 0] / flat[:, 0].max()) ** 2])
    found: list[BoardView] = []
    while len(found) < count:
        tilt, towards, spin = np.deg2rad(rng.uniform(0, tilt_deg)), rng.uniform(0, 2 * np.pi), rng.uniform(-0.3, 0.3)
        turn = cv2.Rodrigues(tilt * np.array([np.cos(towards), np.sin(towards), 0.0]))[0]
        turn = turn @ cv2.Rodrigues(np.array([0.0, 0.0, spin]))[0]
        middle = lens.undistorted_xy(rng.uniform(0.1, 0.9, 2) * SIZE)[0]
        ray = np.append((middle - lens.centre_xy_px) / lens.focal_xy_px, 1.0)
        seen = places @ turn.T + rng.uniform(200, 450) * ray / np.linalg.norm(ray)
        xy = lens.distorted_xy(seen[:, :2] / seen[:, 2:] * lens.focal_xy_px + lens.centre_xy_px)
        if (seen[:, 2] > 0).all() and ((xy > 0) & (xy < SIZE)).all():
            xy = xy + rng.normal(0.0, noise_px, xy.shape)
            found.append(BoardView(f"photo{len(found)}", SIZE, np.arange(BOARD.corner_count), xy))
    return found


def moved(view: BoardView, corner: int, by_px: tuple[float, float]) -> BoardView:
    xy = view.xy_px.copy()
    xy[corner] += by_px
    return replace(view, xy_px=xy)


def values(lens: Lens) -> np.ndarray:
    return np.array([*lens.focal_xy_px, *lens.centre_xy_px, *lens.distortion])


def spread(fit: CameraFit) -> np.ndarray:
    u = fit.uncertainty
    return np.array([*u.focal_xy_px, *u.centre_xy_px, *u.distortion])


@pytest.mark.parametrize("lens", [PINHOLE, FISHEYE], ids=["pinhole", "fisheye"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_known_lens_is_found_within_its_uncertainty(lens: Lens, seed: int) -> None:
    fit = calibrate_camera(views(lens, seed=seed), BOARD, lens.model)
    assert np.abs((values(fit.lens) - values(lens)) / spread(fit)).max() < 3
    assert np.abs(np.divide(fit.lens.focal_xy_px, lens.focal_xy_px) - 1).max() < 1e-3
    assert fit.mean_residual_px == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.05)
    assert all(board.used and not board.notes for board in fit.boards)


@pytest.mark.parametrize("lens", [PINHOLE, FISHEYE], ids=["pinhole", "fisheye"])
def test_exact_corners_give_the_exact_lens(lens: Lens) -> None:
    fit = calibrate_camera(views(lens, noise_px=0.0), BOARD, lens.model)
    assert values(fit.lens) == pytest.approx(values(lens), rel=1e-5, abs=1e-6)
    assert fit.rms_px < 1e-6


def test_the_fit_is_that_of_opencv() -> None:
    seen = views(PINHOLE)
    ours = adjust([Sight(BOARD.corners_xy_mm, view.xy_px) for view in seen], SIZE, "pinhole", coefficients=5)
    flat = np.column_stack([BOARD.corners_xy_mm, np.zeros(BOARD.corner_count)]).astype(np.float32)
    # Shifted by half a pixel, as OpenCV counts.
    pixels = [(view.xy_px - 0.5).astype(np.float32)[:, None] for view in seen]
    _, matrix, distortion, _, _, spread_, *_ = cv2.calibrateCameraExtended([flat] * len(seen), pixels, SIZE, None, None)
    theirs = np.array([matrix[0, 0], matrix[1, 1], matrix[0, 2] + 0.5, matrix[1, 2] + 0.5, *np.ravel(distortion)])
    u = np.sqrt(np.diag(ours.covariance))
    assert np.abs((ours.lens - theirs) / u).max() < 0.01
    assert u / np.sqrt(max(ours.clustering, 1.0)) == pytest.approx(np.ravel(spread_)[:9], rel=0.02)


def test_stated_uncertainties_are_those_of_repeated_calibrations() -> None:
    scores = []
    for seed in range(20):
        fit = calibrate_camera(views(PINHOLE, seed=100 + seed, count=10), BOARD)
        scores.append((values(fit.lens) - values(PINHOLE)) / spread(fit))
    assert 0.7 < np.sqrt(np.mean(np.square(scores))) < 1.2
    # Of normal errors 0.3 % lie beyond three standard deviations.
    assert np.mean(np.abs(scores) > 3) < 0.02


def test_boards_whose_corners_err_together_raise_the_uncertainty() -> None:
    flat, bent = (calibrate_camera(views(PINHOLE, relief_mm=relief), BOARD) for relief in (0.0, 1.5))
    assert flat.clustering < 2 < bent.clustering
    assert (spread(bent) > 2 * spread(flat)).all()


def test_a_bent_board_is_told_and_its_shape_found() -> None:
    seen = views(PINHOLE, relief_mm=1.5)
    taken_as_flat = calibrate_camera(seen, BOARD)
    assert any("not flat" in warning and "--bent-board" in warning for warning in taken_as_flat.warnings)
    fit = calibrate_camera(seen, BOARD, bent=True)
    assert fit.relief_mm == pytest.approx(1.5, rel=0.05)
    assert np.abs((values(fit.lens) - values(PINHOLE)) / spread(fit)).max() < 3
    assert not any("flat" in warning for warning in calibrate_camera(views(PINHOLE), BOARD).warnings)


def test_the_bend_holds_no_plane() -> None:
    places = BOARD.corners_xy_mm
    assert bend_basis(places, places.mean(axis=0), 100.0).shape == (54, 7)
    with pytest.raises(InputError, match="upside down"):
        calibrate_camera([], Board((8, 6), 25.0), bent=True)


@pytest.mark.parametrize("by_px", [(3.0, -2.0), (60.0, 80.0)], ids=["near", "over a line"])
def test_a_misplaced_corner_is_named_and_left_out(by_px: tuple[float, float]) -> None:
    seen = views(PINHOLE)
    seen[4] = moved(seen[4], 3 * 9 + 6, by_px)
    fit = calibrate_camera(seen, BOARD)
    x, y = seen[4].xy_px[33]
    assert fit.boards[4].used
    assert fit.boards[4].notes == (
        f"corner in row 4, column 7, at ({x:.0f}, {y:.0f}) px, is misplaced: left out",
    )  # fmt: skip
    assert not any(board.notes for number, board in enumerate(fit.boards) if number != 4)
    assert np.abs((values(fit.lens) - values(PINHOLE)) / spread(fit)).max() < 3


def test_a_blurred_board_is_left_out_and_named() -> None:
    seen = views(PINHOLE)
    rng = np.random.default_rng(9)
    seen[7] = replace(seen[7], xy_px=seen[7].xy_px + rng.normal(0, 1.5, (54, 2)))
    fit = calibrate_camera(seen, BOARD)
    assert [board.name for board in fit.boards if not board.used] == ["photo7"]
    assert "mean residual" in fit.boards[7].reason and fit.boards[7].mean_px > 1
    assert np.abs(np.divide(fit.lens.focal_xy_px, PINHOLE.focal_xy_px) - 1).max() < 1e-3


def test_no_more_than_a_third_of_the_boards_is_left_out() -> None:
    seen = views(PINHOLE, count=9)
    rng = np.random.default_rng(9)
    for number in range(4):
        seen[number] = replace(seen[number], xy_px=seen[number].xy_px + rng.normal(0, 4.0 + number, (54, 2)))
    assert sum(board.used for board in calibrate_camera(seen, BOARD).boards) >= 6


def test_mirrored_and_shuffled_corners_are_refused_by_name() -> None:
    seen = views(PINHOLE)
    grid = seen[1].xy_px.reshape(6, 9, 2)
    seen[1] = replace(seen[1], xy_px=grid[:, ::-1].reshape(-1, 2).copy())
    swapped = seen[2].xy_px.reshape(6, 9, 2).copy()
    swapped[[1, 4]] = swapped[[4, 1]]
    seen[2] = replace(seen[2], xy_px=swapped.reshape(-1, 2))
    by_columns = seen[3].xy_px.reshape(6, 9, 2).transpose(1, 0, 2).reshape(-1, 2)
    seen[3] = replace(seen[3], xy_px=by_columns.copy())
    fit = calibrate_camera(seen, BOARD)
    assert {number: board.reason for number, board in enumerate(fit.boards) if not board.used} == {
        1: "its corners are in mirrored order: is the photo flipped?",
        2: "its corners are in the wrong order, or are not those of this board",
        3: "its corners are in the wrong order, or are not those of this board",
    }
    assert fit.mean_residual_px < 0.15


def test_a_board_that_is_turned_round_is_the_same_board() -> None:
    seen = views(PINHOLE)
    turned = [replace(view, xy_px=view.xy_px[::-1].copy()) if n % 2 else view for n, view in enumerate(seen)]
    assert values(calibrate_camera(turned, BOARD).lens) == pytest.approx(values(calibrate_camera(seen, BOARD).lens))


def test_image_sizes_are_judged_by_name() -> None:
    seen = views(PINHOLE)
    for number, size in ((0, (1281, 961)), (1, (960, 1280)), (2, (1920, 1440))):
        seen[number] = replace(seen[number], size_wh_px=size)
    fit = calibrate_camera(seen, BOARD)
    assert fit.lens.size_wh_px == SIZE
    assert fit.boards[0].used and "1281 x 961" in fit.boards[0].notes[0]
    assert not fit.boards[1].used and "turned by 90 degrees" in fit.boards[1].reason
    assert not fit.boards[2].used and "each resolution on its own" in fit.boards[2].reason


def test_parts_of_boards_are_enough() -> None:
    rng = np.random.default_rng(1)
    parts = [view.without(rng.choice(54, 30, replace=False).tolist()) for view in views(PINHOLE, count=20)]
    fit = calibrate_camera(parts, BOARD)
    assert np.abs((values(fit.lens) - values(PINHOLE)) / spread(fit)).max() < 3


def test_fewer_than_three_boards_are_refused() -> None:
    seen = views(PINHOLE, count=3)
    assert len(calibrate_camera(seen, BOARD, coefficients=2).boards) == 3
    seen[0] = replace(seen[0], xy_px=seen[0].xy_px.reshape(6, 9, 2)[:, ::-1].reshape(-1, 2).copy())
    with pytest.raises(CalibrationError, match=r"3 or more photos.*got 2.*photo0: its corners are in mirrored"):
        calibrate_camera(seen, BOARD)
    with pytest.raises(CalibrationError, match="got 0"):
        calibrate_camera([], BOARD)


@pytest.mark.parametrize("noise_px", [0.0, 0.1, 0.5])
def test_boards_parallel_to_the_image_are_refused(noise_px: float) -> None:
    undistorted = replace(PINHOLE, distortion=())
    seen = views(undistorted, tilt_deg=0.0, noise_px=noise_px, count=8)
    with pytest.raises(CalibrationError, match=r"do not fix the focal length.*tilted 20 to 45 degrees"):
        calibrate_camera(seen, BOARD)


def test_parts_of_the_image_without_a_board_are_named() -> None:
    left = [view for view in views(PINHOLE, count=80) if view.xy_px[:, 0].max() < 840 and view.xy_px[:, 1].min() > 330]
    warnings = " ".join(calibrate_camera(left, BOARD, coefficients=2).warnings)
    assert "top left, top, top right, right, bottom right." in warnings
    covered = calibrate_camera(views(PINHOLE, count=40), BOARD)
    assert covered.warnings == ()
    assert covered.reach > 0.9 and covered.image_corner_u_px is not None
    assert covered.seen_u_px <= covered.image_corner_u_px < 1.0


def test_few_tilts_are_warned_of() -> None:
    seen = views(PINHOLE, tilt_deg=12.0, count=20)
    assert any("0 of 20 boards are tilted" in warning for warning in calibrate_camera(seen, BOARD).warnings)


def test_the_uncertainty_of_image_corners_is_that_of_repeated_calibrations() -> None:
    ends = np.array([[0.0, 0.0], [1280.0, 960.0]])
    fits = [calibrate_camera(views(PINHOLE, seed=200 + k, count=12), BOARD) for k in range(16)]
    rays = [(fit.lens.undistorted_xy(ends) - fit.lens.centre_xy_px) / fit.lens.focal_xy_px * 1000 for fit in fits]
    scatter = np.sqrt(np.square(np.std(rays, axis=0)).sum(axis=1)).max()
    stated = np.median([fit.image_corner_u_px for fit in fits])
    assert 0.5 < scatter / stated < 1.5


def test_options_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"coefficients of a fisheye lens: expected one of \(4, 3, 2, 1\), got 5"):
        calibrate_camera([], BOARD, "fisheye", coefficients=5)
    with pytest.raises(InputError, match="lens model: expected pinhole or fisheye"):
        calibrate_camera([], BOARD, "spherical")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="inner corners"):
        Board((9, 2), 25.0)
    with pytest.raises(InputError, match="dictionary"):
        Board((9, 6), 25.0, 18.0, "DICT_9X9")
    with pytest.raises(InputError, match="at least 35 markers"):
        Board((9, 6), 25.0, 18.0, "DICT_APRILTAG_16h5")
    with pytest.raises(InputError, match="less than the square"):
        Board((9, 6), 25.0, 30.0, "DICT_5X5_100")
    with pytest.raises(InputError, match="both a dictionary and the size"):
        Board((9, 6), 25.0, 18.0)
