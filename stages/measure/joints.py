"""Joints and saw cuts: what a crack never is, ruler-straight and of even width."""

from __future__ import annotations

import numpy as np

from crackmap.calibration.lens import Lens
from crackmap.stages.measure.widths import ReadLine
from crackmap.stages.polyline import arc_length

_LEAST_LENGTH_PX = 200.0
"""Shorter pieces of a crack may well be straight."""

_STRAIGHT_PX = 0.4
"""Standard deviation across the straight line through it. Drawn joints stay below 0.3 px, jagged cracks above 2 px."""

_EVEN = 0.07
"""Standard deviation of the width over the width, noise taken off. Sawn joints keep within a few per cent; the widths
of cracks vary by a tenth and more, and narrow towards the tips."""

_LEAST_WIDTH_PX = 2.0
"""Of narrower lines nobody can tell whether they are even."""

_NARROWED = 0.85
_END_PX = 12.0
"""A crack narrows towards its tip: an end of which the last 12 px are this much narrower than the rest, or more, is no
joint's."""


def is_joint(read: ReadLine, lens: Lens | None = None) -> bool:
    """Whether the picture shows a line as straight and as even as only a saw or a paver leaves it.

    A width that changes evenly along the line is even, too: so it looks in perspective. A lens bends joints: where
    it is known the line is straightened first, else they count as cracks.
    """
    xy, width = read.line.xy_px, read.line.width_px
    if lens is not None:
        xy = lens.undistorted_xy(xy)
    if read.line.closed or arc_length(xy)[-1] < _LEAST_LENGTH_PX or not read.grey.all():
        return False
    offset = xy - xy.mean(axis=0)
    _, _, axes = np.linalg.svd(offset, full_matrices=False)
    along, across = offset @ axes[0], offset @ axes[1]
    mean_px = float(width.mean())
    if mean_px < _LEAST_WIDTH_PX or float(across.std()) > _STRAIGHT_PX:
        return False
    even = np.polyval(np.polyfit(along, width, 1), along)
    ends = (arc_length(xy) <= _END_PX, arc_length(xy[::-1])[::-1] <= _END_PX)
    share = width / np.maximum(even, 1e-9)
    if any(free and share[end].mean() < _NARROWED for free, end in zip(read.line.free, ends, strict=True)):
        return False
    rest = width - even
    noise = float(np.mean(np.square(read.vertex_noise_px)))
    return bool(rest.var() - noise <= (_EVEN * mean_px) ** 2)
