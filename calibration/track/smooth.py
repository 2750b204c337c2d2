"""The smoother: the most probable way through fixes and speeds, with its uncertainty.

The vehicle is a point whose velocity wanders (white acceleration noise of density q on both axes). Given fixes with
normal errors, the most probable way is that of a Kalman filter and a Rauch-Tung-Striebel smoother; it is computed here
in the information form, one block-tridiagonal system, which gives the same answer. Between nodes the way is the cubic
through positions and velocities at both ends, which is the mean of the same model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from crackmap.calibration.track.records import FloatArray

Q_M2_S3 = 4.0
"""Density of the acceleration noise: a road vehicle changes its acceleration by about 1.4 m/s2 (braking, bends, street
corners) and keeps it for about a second; q = 2 * 1.4**2 * 1 s. Larger follows corners more closely and smooths less."""

SHORTEST_STEP_S = 1e-3
"""Steps in time below this are taken as this: the precision of log times, and the system stays well conditioned."""

LEAST_SCATTER_M = 0.01
"""No receiver on a moving vehicle repeats better than this (carrier phase solution)."""

SLOW_M_S = 0.3
"""Below this the direction of a velocity says little; a measured speed then binds both axes to standing."""

HUBER = 3.0
"""A fix that lies more than this many sigma off counts less, in proportion (Huber 1964)."""

PASSES = 4
"""The direction of the speeds and the weights come from the pass before; after four, nothing moves by a millimetre."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """What is known at the nodes of one run.

    Attributes:
        time_s: (N,) strictly ascending.
        xy_m: (N, 2) fixes, NaN where a node has none.
        sigma_m: (N,) their scatter.
        speed_m_s: (N,) measured speeds in grid metres, NaN where a node has none.
        u_speed_m_s: (N,) their uncertainty.
    """

    time_s: FloatArray
    xy_m: FloatArray
    sigma_m: FloatArray
    speed_m_s: FloatArray
    u_speed_m_s: FloatArray


@dataclass(frozen=True, slots=True)
class Smoothed:
    """The way through the nodes of one run.

    Attributes:
        xy_m, velocity_m_s: (N, 2).
        u_xy_m, u_velocity_m_s: (N,) 1 sigma of either component.
    """

    xy_m: FloatArray
    velocity_m_s: FloatArray
    u_xy_m: FloatArray
    u_velocity_m_s: FloatArray


def smooth(nodes: Nodes, q_m2_s3: float = Q_M2_S3) -> Smoothed:
    """The most probable way through the nodes of one run.

    Args:
        nodes: two or more nodes, at least two of them with a fix.
        q_m2_s3: density of the acceleration noise.
    """
    origin = np.nanmean(nodes.xy_m, axis=0)
    fixes = nodes.xy_m - origin
    forward, links, joint = _motion(nodes.time_s, q_m2_s3)
    weight = np.ones(len(fixes))
    velocity = None
    for _ in range(PASSES):
        blocks, right = _information(nodes, fixes, weight, velocity)
        blocks[:-1] += joint
        blocks[1:] += links
        state, spread = _solve(blocks, forward, right)
        velocity = state[:, 2:]
        with np.errstate(invalid="ignore", divide="ignore"):
            off = np.hypot(*(state[:, :2] - fixes).T) / nodes.sigma_m
            weight = np.where(off > HUBER, HUBER / off, 1.0)
    variance = np.stack([spread[:, i, i] for i in range(4)], axis=1)
    return Smoothed(
        state[:, :2] + origin,
        state[:, 2:],
        np.sqrt(np.maximum(variance[:, :2].mean(axis=1), 0.0)),
        np.sqrt(np.maximum(variance[:, 2:].mean(axis=1), 0.0)),
    )


def scatter_m(time_s: FloatArray, xy_m: FloatArray) -> float:
    """Scatter of the fixes from one to the next, 1 sigma of either coordinate.

    Each fix is held against the cubic through its two neighbours on both sides; the median of what is left, over the
    length of the cubic's weights, is free of outliers and of any motion with steady change of acceleration. What a
    receiver is off by for seconds does not show.
    """
    if len(time_s) < 7:
        return 0.5
    near = np.stack([time_s[i : len(time_s) - 4 + i] - time_s[2:-2] for i in (0, 1, 3, 4)], axis=1)
    share = np.ones_like(near)
    for i in range(4):
        for j in range(4):
            if i != j:
                share[:, i] *= near[:, j] / (near[:, j] - near[:, i])
    around = np.stack([xy_m[i : len(xy_m) - 4 + i] for i in (0, 1, 3, 4)], axis=1)
    left = xy_m[2:-2] - (share[:, :, None] * around).sum(axis=1)
    scaled = np.abs(left) / np.sqrt(1.0 + (share**2).sum(axis=1))[:, None]
    # 0.6745 sigma is the median of a normal error without sign.
    return max(float(np.median(scaled)) / 0.6745, LEAST_SCATTER_M)


def between(smoothed: Smoothed, time_s: FloatArray, at_s: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Positions (N, 2) and velocities (N, 2) at times; beyond the ends straight on."""
    left = np.clip(np.searchsorted(time_s, at_s, side="right") - 1, 0, len(time_s) - 2)
    step = (time_s[left + 1] - time_s[left])[:, None]
    inside = np.clip(at_s, time_s[0], time_s[-1])
    s = (inside - time_s[left])[:, None] / step
    p0, p1 = smoothed.xy_m[left], smoothed.xy_m[left + 1]
    v0, v1 = smoothed.velocity_m_s[left] * step, smoothed.velocity_m_s[left + 1] * step
    chord = p1 - p0
    # Cubic Hermite written from p0, so that map coordinates of 1e6 m lose no digits.
    place = p0 + s * v0 + s**2 * (3 * chord - 2 * v0 - v1) + s**3 * (v0 + v1 - 2 * chord)
    velocity = (v0 + 2 * s * (3 * chord - 2 * v0 - v1) + 3 * s**2 * (v0 + v1 - 2 * chord)) / step
    return place + velocity * (at_s - inside)[:, None], velocity


def spread_between_m(time_s: FloatArray, u_m: FloatArray, at_s: FloatArray, q_m2_s3: float = Q_M2_S3) -> FloatArray:
    """(N,) 1 sigma at times: that of the nodes around, and what the model wanders between them or beyond the ends."""
    left = np.clip(np.searchsorted(time_s, at_s, side="right") - 1, 0, len(time_s) - 2)
    step = time_s[left + 1] - time_s[left]
    since = np.clip(at_s - time_s[left], 0.0, step)
    # Variance of an integrated Brownian motion that is held with its slope at both ends.
    bridge = q_m2_s3 * since**3 * (step - since) ** 3 / (3.0 * step**3)
    beyond = np.maximum(np.maximum(time_s[0] - at_s, at_s - time_s[-1]), 0.0)
    known = np.interp(at_s, time_s, u_m)
    return np.asarray(np.sqrt(known**2 + bridge + q_m2_s3 * beyond**3 / 3.0), np.float64)


def _motion(time_s: FloatArray, q: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Blocks (N - 1, 4, 4) of the motion: beside the diagonal, and on it for the later and for the earlier node."""
    step = np.maximum(np.diff(time_s), SHORTEST_STEP_S)
    inverse = np.empty((len(step), 2, 2))
    inverse[:, 0, 0], inverse[:, 1, 1] = 12.0 / step**3, 4.0 / step
    inverse[:, 0, 1] = inverse[:, 1, 0] = -6.0 / step**2
    inverse /= q
    move = np.tile(np.eye(2), (len(step), 1, 1))
    move[:, 0, 1] = step
    beside = -np.swapaxes(move, 1, 2) @ inverse
    both = (beside, inverse, -beside @ move)
    forward, later, earlier = (np.einsum("nij,kl->nikjl", block, np.eye(2)).reshape(-1, 4, 4) for block in both)
    return forward, later, earlier


def _information(
    nodes: Nodes, fixes: FloatArray, weight: FloatArray, velocity: FloatArray | None
) -> tuple[FloatArray, FloatArray]:
    """Blocks (N, 4, 4) and right side (N, 4) of fixes and speeds; the order is x, y, vx, vy."""
    count = len(fixes)
    blocks, right = np.zeros((count, 4, 4)), np.zeros((count, 4))
    # A car at 100 m/s is possible at every node: keeps the system regular, says nothing.
    blocks[:, [2, 3], [2, 3]] = 1e-4 / count
    seen = np.flatnonzero(np.isfinite(fixes[:, 0]))
    trust = weight[seen] / nodes.sigma_m[seen] ** 2
    for axis in (0, 1):
        blocks[seen, axis, axis] += trust
        right[seen, axis] += trust * fixes[seen, axis]
    if velocity is None:
        return blocks, right
    fast = np.hypot(*velocity.T)
    measured = np.isfinite(nodes.speed_m_s)
    standing = np.flatnonzero(measured & (nodes.speed_m_s < SLOW_M_S))
    along = np.flatnonzero(measured & (nodes.speed_m_s >= SLOW_M_S) & (fast > SLOW_M_S))
    for axis in (2, 3):
        blocks[standing, axis, axis] += nodes.u_speed_m_s[standing] ** -2.0
    heading = velocity[along] / fast[along, None]
    trust = nodes.u_speed_m_s[along] ** -2.0
    blocks[along, 2:, 2:] += trust[:, None, None] * heading[:, :, None] * heading[:, None, :]
    right[along, 2:] += (trust * nodes.speed_m_s[along])[:, None] * heading
    return blocks, right


def _solve(blocks: FloatArray, beside: FloatArray, right: FloatArray) -> tuple[FloatArray, FloatArray]:
    """States (N, 4) and covariances (N, 4, 4) of a symmetric block-tridiagonal system."""
    count = len(blocks)
    inverse, gain, load = np.empty_like(blocks), np.empty_like(beside), right.copy()
    block = blocks[0]
    for index in range(count):
        inverse[index] = np.linalg.inv(block)
        if index + 1 < count:
            gain[index] = inverse[index] @ beside[index]
            block = blocks[index + 1] - beside[index].T @ gain[index]
            block = 0.5 * (block + block.T)
            load[index + 1] -= gain[index].T @ load[index]
    state, spread = np.empty_like(right), np.empty_like(blocks)
    state[-1], spread[-1] = inverse[-1] @ load[-1], inverse[-1]
    for index in range(count - 2, -1, -1):
        state[index] = inverse[index] @ load[index] - gain[index] @ state[index + 1]
        spread[index] = inverse[index] + gain[index] @ spread[index + 1] @ gain[index].T
    return state, spread


def heading_of(velocity_m_s: FloatArray, u_velocity_m_s: FloatArray, before_deg: float) -> FloatArray:
    """(N,) azimuth at the nodes, degrees clockwise from grid north, continuous (not wrapped to 360).

    A vehicle counts as moving where its speed is above SLOW_M_S and three times its uncertainty; elsewhere it keeps
    the heading it had, at the start the one it will have, and without any `before_deg`.
    """
    speed = np.hypot(*velocity_m_s.T)
    moving = np.flatnonzero(speed > np.maximum(SLOW_M_S, 3.0 * u_velocity_m_s))
    if not len(moving):
        return np.full(len(speed), before_deg)
    azimuth = np.unwrap(np.arctan2(velocity_m_s[moving, 0], velocity_m_s[moving, 1]))
    latest = np.maximum(np.searchsorted(moving, np.arange(len(speed)), side="right") - 1, 0)
    held = np.degrees(azimuth[latest])
    if moving[0] > 0 and not math.isnan(before_deg):
        held[: moving[0]] = before_deg + 360.0 * round((held[0] - before_deg) / 360.0)
    return np.asarray(held, np.float64)
