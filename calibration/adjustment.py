"""The least-squares fit behind a camera calibration: lens, pose of every board and, if wanted, the bend of the board.

Both lens models and bent boards go one way: Gauss-Newton steps damped after Levenberg and Marquardt, with the poses
eliminated board by board (Schur complement), so that the normal equations stay as small as the lens. OpenCV gives the
derivatives of its projections; its own solvers know neither partial boards together with a bend, nor an uncertainty for
fisheyes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from crackmap.calibration.errors import CalibrationError

FloatArray = NDArray[np.float64]
Model = Literal["pinhole", "fisheye"]

FOCAL_GUESSES = 0.25 * 2.0 ** np.arange(0.0, 5.0, 0.5)
"""First guesses of the focal length, in image widths: from 126 degrees of view to 7."""

WIDEST_GUESS_RAD = np.deg2rad(75.0)
MOST_STEPS = 200
SETTLED = 1e-12
"""A step that lowers the sum of squares by a smaller share than this is the last."""


@dataclass(frozen=True, slots=True)
class Sight:
    """One board as seen.

    Attributes:
        board_xy_mm: (n, 2) places of its corners on the board.
        xy_px: (n, 2) where they are in the picture.
    """

    board_xy_mm: FloatArray
    xy_px: FloatArray


@dataclass(frozen=True, slots=True)
class Adjusted:
    """A fit.

    Attributes:
        lens: (4 + k,) focal x, y, centre x, y, distortion.
        bend_mm: (7,) weights of `bend_basis`; zeros for a flat board.
        poses: (boards, 6) rotation vector and translation in mm, from the board to the camera.
        residual_px: seen minus computed, (n, 2) for each board.
        covariance: (4 + k, 4 + k) of the lens; zeros for what was held.
        clustering: how many times larger than for independent corners the scatter between boards is (variance ratio);
            already part of the covariance.
    """

    lens: FloatArray
    bend_mm: FloatArray
    poses: FloatArray
    residual_px: tuple[FloatArray, ...]
    covariance: FloatArray
    clustering: float


@dataclass(frozen=True, slots=True)
class _Problem:
    model: Model
    sights: tuple[Sight, ...]
    free: NDArray[np.int64]  # of the lens and then the bend
    middle_mm: FloatArray
    half_mm: float


@dataclass(frozen=True, slots=True)
class _Normal:
    """The normal equations with the poses eliminated."""

    cost: float
    matrix: FloatArray  # (f, f)
    right: FloatArray  # (boards, f) share of each board in the right-hand side
    pose_inverse: FloatArray  # (boards, 6, 6)
    mixed: FloatArray  # (boards, 6, f)
    pose_right: FloatArray  # (boards, 6)


def adjust(
    sights: Sequence[Sight], size_wh_px: tuple[int, int], model: Model, *, coefficients: int, bend: bool = False
) -> Adjusted:
    """The lens, the poses and the bend that leave the least squares of residuals.

    Args:
        sights: three boards or more.
        size_wh_px: of the pictures; gives the first guess of the principal point.
        model: the lens model.
        coefficients: how many of the distortion coefficients are fitted, in the order of `Lens.distortion`.
        bend: also fit the shape of the board, the same in all pictures.

    Raises:
        CalibrationError: the fit does not settle at a camera.
    """
    count = 8 if model == "pinhole" else 4
    corners = np.vstack([sight.board_xy_mm for sight in sights])
    middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
    free = [*range(4 + coefficients), *(range(4 + count, 11 + count) if bend else ())]
    problem = _Problem(model, tuple(sights), np.array(free), middle, float(np.ptp(corners, axis=0).max()) / 2)
    values, poses = _first_guess(problem, size_wh_px, count)
    # The bend joins once the rest fits: a wrong focal length would otherwise be taken for a bent board.
    if bend:
        flat = _Problem(model, problem.sights, np.arange(4 + coefficients), middle, problem.half_mm)
        values, poses = _descend(flat, values, poses)
    values, poses = _descend(problem, values, poses)
    residuals = tuple(_linear(problem, k, values, poses[k])[0].reshape(-1, 2) for k in range(len(sights)))
    covariance, clustering = _covariance(problem, _normal(problem, values, poses), len(values))
    kept = 4 + coefficients
    return Adjusted(
        values[:kept], values[4 + count :], poses, residuals, covariance[:kept, :kept], clustering
    )  # fmt: skip


def bend_basis(board_xy_mm: FloatArray, middle_mm: FloatArray, half_mm: float) -> FloatArray:
    """(n, 7) the quadratic and cubic shapes of a bent board at its points; what is linear belongs to the pose."""
    x, y = ((board_xy_mm - middle_mm) / half_mm).T
    return np.column_stack([x * x, x * y, y * y, x**3, x * x * y, x * y * y, y**3])


def _first_guess(problem: _Problem, size_wh_px: tuple[int, int], count: int) -> tuple[FloatArray, FloatArray]:
    """The best of a few focal lengths without distortion, with the poses that go with it."""
    best: tuple[float, FloatArray, FloatArray] | None = None
    for share in FOCAL_GUESSES:
        values = np.zeros(4 + count + 7)
        values[:2], values[2:4] = share * max(size_wh_px), np.asarray(size_wh_px) / 2
        poses = [_pose_guess(problem.model, sight, values) for sight in problem.sights]
        if any(pose is None for pose in poses):
            continue
        stacked = np.array(poses, np.float64)
        cost = sum(
            float(np.square(_linear(problem, k, values, pose)[0]).sum()) for k, pose in enumerate(stacked)
        )  # fmt: skip
        if np.isfinite(cost) and (best is None or cost < best[0]):
            best = cost, values, stacked
    if best is None:
        raise CalibrationError("camera: no pose of the boards explains the pictures; check --board and --model")
    return best[1], best[2]


def _pose_guess(model: Model, sight: Sight, values: FloatArray) -> FloatArray | None:
    rays = (sight.xy_px - values[2:4]) / values[:2]
    if model == "fisheye":
        angle = np.linalg.norm(rays, axis=1)
        near = angle < WIDEST_GUESS_RAD
        if near.sum() < 6:
            return None
        board = sight.board_xy_mm[near]
        rays = rays[near] * (np.tan(angle[near]) / np.maximum(angle[near], 1e-9))[:, None]
    else:
        board = sight.board_xy_mm
    flat = np.column_stack([board, np.zeros(len(board))])
    found, turn, shift = cv2.solvePnP(flat, rays[:, None, :], np.eye(3), None, flags=cv2.SOLVEPNP_IPPE)
    pose = np.concatenate([np.ravel(turn), np.ravel(shift)]).astype(np.float64)
    return pose if found and np.isfinite(pose).all() else None


def _linear(
    problem: _Problem, number: int, values: FloatArray, pose: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Residual (2 n,) of one board and its derivatives by what is free (2 n, f) and by the pose (2 n, 6)."""
    sight = problem.sights[number]
    basis = bend_basis(sight.board_xy_mm, problem.middle_mm, problem.half_mm)
    points = np.column_stack([sight.board_xy_mm, basis @ values[-7:]])
    matrix = np.array([[values[0], 0.0, values[2]], [0.0, values[1], values[3]], [0.0, 0.0, 1.0]])
    turn, shift, distortion = pose[:3, None], pose[3:, None], values[4:-7]
    if problem.model == "pinhole":
        seen, slope = cv2.projectPoints(points, turn, shift, matrix, distortion)
        by_pose, by_lens = slope[:, :6], slope[:, 6 : 10 + len(distortion)]
    else:
        seen, slope = cv2.fisheye.projectPoints(points[:, None, :], turn, shift, matrix, distortion)
        by_pose, by_lens = slope[:, 8:14], slope[:, :8]
    normal = cv2.Rodrigues(turn)[0][:, 2]
    by_bend = np.repeat(basis, 2, axis=0) * (by_pose[:, 3:] @ normal)[:, None]
    by_free = np.hstack([by_lens, by_bend])[:, problem.free]
    return (sight.xy_px - seen.reshape(-1, 2)).ravel(), by_free, by_pose


def _normal(problem: _Problem, values: FloatArray, poses: FloatArray, damping: float = 0.0) -> _Normal:
    boards, free = len(poses), len(problem.free)
    cost, matrix = 0.0, np.zeros((free, free))
    right, mixed = np.zeros((boards, free)), np.zeros((boards, 6, free))
    inverse, pose_right = np.zeros((boards, 6, 6)), np.zeros((boards, 6))
    for k, pose in enumerate(poses):
        rest, by_free, by_pose = _linear(problem, k, values, pose)
        cost += float(rest @ rest)
        square = by_pose.T @ by_pose
        inverse[k] = np.linalg.inv(square + damping * np.diag(np.diag(square)))
        mixed[k], pose_right[k] = by_pose.T @ by_free, by_pose.T @ rest
        own = by_free.T @ by_free
        matrix += own + damping * np.diag(np.diag(own)) - mixed[k].T @ inverse[k] @ mixed[k]
        right[k] = by_free.T @ rest - mixed[k].T @ inverse[k] @ pose_right[k]
    return _Normal(cost, matrix, right, inverse, mixed, pose_right)


def _descend(problem: _Problem, values: FloatArray, poses: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Levenberg-Marquardt from a first guess."""
    damping = 1e-2
    cost = _cost(problem, values, poses)
    for _ in range(MOST_STEPS):
        better = None
        while damping < 1e10:
            try:
                better = _step(problem, values, poses, damping)
            except np.linalg.LinAlgError:
                better = None
            if better is not None and better[0] <= cost:
                break
            better, damping = None, damping * 8.0
        if better is None:
            break
        gain, (cost, values, poses) = cost - better[0], better
        damping = max(damping / 6.0, 1e-12)
        if gain <= SETTLED * cost:
            break
    if not np.isfinite(cost) or min(values[:2]) <= 0:
        raise CalibrationError(
            "camera: the fit does not settle; photograph the board from more sides, tilted 20 to 45 degrees"
        )
    return values, poses


def _step(
    problem: _Problem, values: FloatArray, poses: FloatArray, damping: float
) -> tuple[float, FloatArray, FloatArray]:
    normal = _normal(problem, values, poses, damping)
    scale = 1.0 / np.sqrt(np.maximum(np.diag(normal.matrix), 1e-30))
    by_free = scale * np.linalg.solve(normal.matrix * scale[:, None] * scale, scale * normal.right.sum(axis=0))
    moved = values.copy()
    moved[problem.free] += by_free
    by_pose = np.einsum("kij,kj->ki", normal.pose_inverse, normal.pose_right - normal.mixed @ by_free)
    turned = poses + by_pose
    return _cost(problem, moved, turned), moved, turned


def _cost(problem: _Problem, values: FloatArray, poses: FloatArray) -> float:
    if min(values[:2]) <= 0 or (poses[:, 5] <= 0).any():
        return np.inf
    with np.errstate(all="ignore"):
        cost = sum(float(np.square(_linear(problem, k, values, pose)[0]).sum()) for k, pose in enumerate(poses))
    return cost if np.isfinite(cost) else np.inf


def _covariance(problem: _Problem, normal: _Normal, count: int) -> tuple[FloatArray, float]:
    """Covariance of all values, and the variance ratio between boards that is part of it.

    Corners of one board err together where the board is not flat or its picture is blurred. Then the boards pull at the
    lens more than independent corners would: by trace(M^-1 sum g g') / (f s^2), g the pull of a board, f free values;
    1 in the mean for independent corners. The covariance grows by that ratio where it is above 1 (after Birge, 1932).
    """
    boards, free = normal.right.shape
    seen = 2 * sum(len(sight.xy_px) for sight in problem.sights)
    variance = normal.cost / max(seen - free - 6 * boards, 1)
    scale = 1.0 / np.sqrt(np.maximum(np.diag(normal.matrix), 1e-30))
    inverse = np.linalg.pinv(normal.matrix * scale[:, None] * scale, hermitian=True) * scale[:, None] * scale
    pull = float(np.einsum("ki,ij,kj->", normal.right, inverse, normal.right)) * boards / max(boards - 1, 1)
    clustering = pull / (free * variance) if variance > 0 else 1.0
    result = np.zeros((count, count))
    result[np.ix_(problem.free, problem.free)] = inverse * variance * max(clustering, 1.0)
    return result, clustering
