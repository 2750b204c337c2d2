"""The route: a line with chainage, asked for places and answering with chainage and offset, and back."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from pyproj import CRS, Geod
from pyproj.exceptions import CRSError

from crackmap.calibration.errors import InputError, require
from crackmap.calibration.route.follow import NOISE_M, Located, choose, follow_along, gather
from crackmap.calibration.route.geometry import (
    CHUNK,
    SAME_PLACE_M,
    Cells,
    FloatArray,
    IntArray,
    checked_xy,
    finite_rows,
)
from crackmap.calibration.track.project import to_degrees

WGS84 = Geod(ellps="WGS84")

AZIMUTH_HALF_SPAN_M = 5.0
"""The direction of a route is read between the places 5 m before and behind: about a survey vehicle and its distance to
the road it looks at, and enough to even out vertices that were drawn by hand."""

LARGEST_SCALE_ERROR = 0.01
"""Metres of the CRS may differ from metres on the ground by this share: UTM and UPS stay below it, Web Mercator not."""


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A line with chainage, in metres of a projected CRS.

    Offsets are metres of that CRS to the right of rising chainage. Chainage is metres on the ground; between vertices
    it grows evenly. The lines of equal offset are the mitred parallels of the line (see `geometry`).

    Attributes:
        xy_m: (N, 2) vertices in the order in which the line was drawn.
        chainage_m: (N,) chainage of the vertices, strictly rising or strictly falling.
        crs_wkt: the projected CRS, in metres.
        name: how messages call it.
    """

    xy_m: FloatArray
    chainage_m: FloatArray
    crs_wkt: str
    name: str = "route"
    cells: Cells = field(init=False, repr=False)

    def __post_init__(self) -> None:
        count = len(self.xy_m)
        require(self.xy_m.shape == (count, 2) and count >= 2, "xy_m", "shape (N, 2) with N >= 2", self.xy_m.shape)
        require(self.chainage_m.shape == (count,), "chainage_m", f"shape ({count},)", self.chainage_m.shape)
        require(bool(np.isfinite(self.xy_m).all()), "xy_m", "finite coordinates", "others")
        steps = np.hypot(*np.diff(self.xy_m, axis=0).T)
        require(bool((steps > 0).all()), "xy_m", "vertices that differ from the one before", "equal ones")
        rise = np.diff(self.chainage_m)
        strict = bool((rise > 0).all() or (rise < 0).all())
        require(strict, "chainage_m", "strictly rising or strictly falling values", "others")
        turn = -1 if rise[0] < 0 else 1
        cells = Cells(np.ascontiguousarray(self.xy_m[::turn]), np.ascontiguousarray(self.chainage_m[::turn]))
        object.__setattr__(self, "cells", cells)

    @property
    def extent_m(self) -> tuple[float, float]:
        """Least and greatest chainage."""
        return float(self.cells.along_m[0]), float(self.cells.along_m[-1])

    def locate(self, xy_m: ArrayLike, *, near_chainage_m: ArrayLike | None = None) -> Located:
        """The place on the line that is nearest to each point.

        Args:
            xy_m: (N, 2) points in the CRS of the route.
            near_chainage_m: one chainage, or one for each point: where the line comes near itself, the place there is
                taken although another one may be nearer by some metres.

        Returns:
            Chainage, offset, distance and whether the point is beyond an end (N,). Beyond an end the line is thought
            straight on, chainage and offset count along it. Inside a bend, farther off than its radius, several places
            are as good: the nearest is taken. A point that is not finite is NaN.
        """
        xy = checked_xy(xy_m)
        near = None if near_chainage_m is None else np.asarray(near_chainage_m, np.float64)
        if near is not None:
            require(near.shape in ((), (1,), (len(xy),)), "near_chainage_m", f"1 or {len(xy)} values", near.shape)
            near = np.broadcast_to(near, (len(xy),))
        parts = [
            _locate(self.cells, xy[start : start + CHUNK], None if near is None else near[start : start + CHUNK])
            for start in range(0, len(xy), CHUNK)
        ]
        return Located.joined(parts)

    def follow(self, xy_m: ArrayLike, *, travelled_m: ArrayLike | None = None, noise_m: float = NOISE_M) -> Located:
        """Chainage and offset along a drive, without jumps where the line comes near itself.

        Of all ways to assign the positions to nearby parts of the line the most probable one is taken: positions
        scatter by `noise_m`, and chainage changes no faster than the vehicle moves. A vehicle that leaves the line and
        comes back elsewhere is followed there.

        Args:
            xy_m: (N, 2) positions in the order in which they were driven; not finite ones are NaN in the answer.
            travelled_m: (N,) distance travelled at each position, from an odometer; by default the straight distance
                from one position to the next is taken, which is good where they are much closer than bends are long.
            noise_m: 1 sigma of the positions across the line, the offset of the driven lane included.
        """
        xy = checked_xy(xy_m)
        travelled = None if travelled_m is None else np.asarray(travelled_m, np.float64)
        require(travelled is None or travelled.shape == (len(xy),), "travelled_m", f"{len(xy)} values", travelled_m)
        require(noise_m > 0, "noise_m", "metres above 0", noise_m)
        return follow_along(self.cells, xy, travelled, noise_m)

    def point_at(self, chainage_m: ArrayLike, offset_m: ArrayLike = 0.0) -> FloatArray:
        """(N, 2) the place at a chainage and an offset.

        `locate` gives the same chainage and offset back, to rounding, as long as the offset is less than the radius of
        a bend on its inside, and at corners of up to 90 degrees. Beyond the ends the line is thought straight on.
        """
        chainage, offset = np.broadcast_arrays(
            np.atleast_1d(np.asarray(chainage_m, np.float64)), np.asarray(offset_m, np.float64)
        )
        return self.cells.place(chainage, offset)

    def azimuth_at(self, chainage_m: ArrayLike) -> FloatArray:
        """(N,) direction of rising chainage, clockwise from grid north in [0, 360).

        Read over 2 x 5 m: exact on straights and arcs; within 5 m of a corner it turns evenly from leg to leg.
        """
        return self.cells.azimuth_deg(np.atleast_1d(np.asarray(chainage_m, np.float64)), AZIMUTH_HALF_SPAN_M)

    def frame_at(
        self, chainage_m: ArrayLike, offset_m: ArrayLike = 0.0, *, direction: int = 1
    ) -> tuple[FloatArray, FloatArray]:
        """Place (N, 2) and azimuth of travel (N,) of a vehicle that drives the line.

        Args:
            chainage_m: (N,) where it is.
            offset_m: to the right of rising chainage, whichever way it drives.
            direction: +1 with rising chainage, -1 against it.
        """
        require(direction in (1, -1), "direction", "+1 or -1", direction)
        azimuth = self.azimuth_at(chainage_m)
        return self.point_at(chainage_m, offset_m), azimuth if direction == 1 else np.mod(azimuth + 180.0, 360.0)


def make_route(
    xy_m: ArrayLike,
    crs: str,
    *,
    chainage_m: ArrayLike | None = None,
    start_m: float = 0.0,
    reverse: bool = False,
    name: str = "route",
) -> Route:
    """A route from the vertices of a line.

    Args:
        xy_m: (N, 2) vertices; one that repeats the last within a millimetre is left out.
        crs: projected CRS in metres.
        chainage_m: (N,) chainage of the vertices; by default from `start_m` along the line, on the ellipsoid.
        start_m: chainage of the first vertex.
        reverse: count from the other end.
        name: how messages call it.

    Raises:
        InputError: the CRS is no projected one in metres, or so far off its area that metres are not metres; the line
            has no length; its chainage does not rise or fall all along it.
    """
    chosen = metric_crs(crs)
    xy = checked_xy(xy_m)
    bad = np.flatnonzero(~finite_rows(xy))
    if len(bad):
        raise InputError(f"{name}: vertex {bad[0]} has no finite coordinates; correct the line")
    require(bool(np.isfinite(start_m)), f"{name}: start_m", "a number", start_m)
    kept = distinct(xy)
    if len(kept) < 2:
        raise InputError(f"{name}: expected a line, got {len(xy)} vertices on one spot; check the geometry")
    xy = xy[kept]
    steps = ground_steps_m(xy, chosen, name)
    if chainage_m is not None:
        require(not reverse, f"{name}: reverse", "False where the line has measures of its own", reverse)
        measures = np.asarray(chainage_m, np.float64)[kept]
        return Route(xy, _checked_measures(measures, xy, name), chosen.to_wkt(), name)
    if reverse:
        xy, steps = np.ascontiguousarray(xy[::-1]), steps[::-1]
    return Route(xy, start_m + np.concatenate([[0.0], np.cumsum(steps)]), chosen.to_wkt(), name)


def metric_crs(crs: str) -> CRS:
    """The CRS named, two-dimensional.

    Raises:
        InputError: it is unknown, not projected or not in metres.
    """
    try:
        chosen = CRS.from_user_input(crs)
    except CRSError as error:
        raise InputError(f"crs: {crs!r} is not known; write a code such as EPSG:25833") from error
    if not (chosen.is_projected and all(axis.unit_conversion_factor == 1.0 for axis in chosen.axis_info[:2])):
        raise InputError(f"crs: expected a projected CRS in metres such as EPSG:25833, got {chosen.name}")
    return chosen.to_2d()


def distinct(xy_m: FloatArray) -> IntArray:
    """Indices of vertices that do not repeat the last kept one within a millimetre."""
    kept = [0]
    for index in range(1, len(xy_m)):
        step = xy_m[index] - xy_m[kept[-1]]
        if step[0] * step[0] + step[1] * step[1] > SAME_PLACE_M * SAME_PLACE_M:
            kept.append(index)
    return np.asarray(kept, np.intp)


def ground_steps_m(xy_m: FloatArray, crs: CRS, name: str) -> FloatArray:
    """(N - 1,) lengths of the segments on the WGS 84 ellipsoid (pyproj.Geod), not in the projection.

    Raises:
        InputError: the two differ by more than 1 %: the line is outside the area of the CRS.
    """
    lon, lat = to_degrees(crs, xy_m)
    grid = np.hypot(*np.diff(xy_m, axis=0).T)
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        raise InputError(f"{name}: the line leaves the area of {crs.name}; name the CRS of the route with crs")
    steps = np.asarray(WGS84.inv(lon[:-1], lat[:-1], lon[1:], lat[1:])[2], np.float64)
    # Short segments say little about the scale: a millimetre of rounding is much of them.
    error = np.where(grid > 1.0, np.abs(steps / np.maximum(grid, 1.0) - 1.0), 0.0)
    total = abs(steps.sum() / grid.sum() - 1.0)
    worst = max(float(error.max()), float(total))
    if worst > LARGEST_SCALE_ERROR:
        raise InputError(
            f"{name}: metres of {crs.name} differ from metres on the ground by {100 * worst:.1f} % here; "
            "name a CRS made for this place, such as its UTM zone, or split the route"
        )
    return steps


def _checked_measures(chainage_m: FloatArray, xy_m: FloatArray, name: str) -> FloatArray:
    rise = np.diff(chainage_m)
    way = 1.0 if chainage_m[-1] >= chainage_m[0] else -1.0
    bad = np.flatnonzero(~(rise * way > 0))
    if len(bad):
        x, y = xy_m[bad[0] + 1]
        raise InputError(
            f"{name}: its measures neither rise nor fall all along the line: {chainage_m[bad[0]]:.3f} is followed by "
            f"{chainage_m[bad[0] + 1]:.3f} at ({x:.1f}, {y:.1f}); correct the line's measures or remove them"
        )
    return chainage_m


def _locate(cells: Cells, xy: FloatArray, near: FloatArray | None) -> Located:
    known = finite_rows(xy)
    if near is None:
        segment, distance = cells.nearest_segment(xy[known])
    else:
        candidates = gather(cells, xy[known], NOISE_M)
        segment, distance = choose(cells, candidates, near[known], NOISE_M)
    return Located.read(cells, xy, known, segment, distance)
