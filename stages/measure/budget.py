"""The error budget: standard uncertainties of a crack's length and mean width (docs/measurement.md derives them)."""

from __future__ import annotations

import numpy as np

from crackmap.stages.measure.centreline import MeasuredLine
from crackmap.stages.polyline import turning_rad
from crackmap.stages.records import FloatArray

_U_TIP_PX = 1.0
_U_TIP_WIDTHS = 0.15
"""How well the end of a crack is found, in pixels and in widths there: a square end within half a pixel, one that
tapers or is ragged within two."""

_U_JUNCTION_PX = 1.2
"""A side branch ends at the other crack's axis, which the mask of both hides within about a pixel."""

_U_TURN_PX = 0.22
"""What smoothing takes off a bent course: this much for each radian it turns."""

_U_GAP = 0.1
"""Of a bridged gap's length: the crack may not be straight in it."""


def length_uncertainty_px(line: MeasuredLine) -> float:
    """Standard uncertainty of the length of a line in the picture, pixels: its ends, its course and its gaps."""
    parts = [_U_TURN_PX * turning_rad(line.xy_px), _U_GAP * line.gap_px]
    if not line.closed:
        for free, width in zip(line.free, (line.width_px[0], line.width_px[-1]), strict=True):
            parts.append(_U_TIP_PX + _U_TIP_WIDTHS * float(width) if free else _U_JUNCTION_PX)
    return float(np.sqrt(np.square(parts).sum()))


def mean_width_uncertainty(u_common: FloatArray, noise: FloatArray, weight: FloatArray, length_px: float) -> float:
    """Standard uncertainty of the mean width, in the unit of its arguments.

    Args:
        u_common: (N,) part that all vertices share.
        noise: (N,) part over one pixel of line that neighbours do not share.
        weight: (N,) length that each vertex stands for.
        length_px: length of the line, pixels.
    """
    share = weight / weight.sum()
    return float(np.hypot(share @ u_common, np.sqrt(share @ np.square(noise) / max(length_px, 1.0))))
