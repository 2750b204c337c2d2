"""The settings of the measurement."""

from __future__ import annotations

from dataclasses import dataclass

from crackmap.calibration.errors import require


@dataclass(frozen=True, slots=True)
class MeasureSettings:
    """What counts as a crack and how finely it is drawn.

    Attributes:
        threshold: pixels with at least this crack probability belong to a crack.
        min_length_px: lines with a free end that are shorter than this are dropped.
        min_elongation: a line by itself (both ends free) must be this many times as long as it is wide; blobs are not.
        max_width_px: areas wider than this are cut out: patches, sealed fields, a segmentation that went wrong.
        fill_holes_px: holes in the mask of at most this area, pixels, are closed, else each would become a loop.
        spur_ratio: a side branch that ends free is a bump of the crack's edge, and dropped, when it is shorter than
            this many half-widths of the crack at the junction (or than `min_length_px`).
        straight_deg: two branches at a junction are one crack when their directions differ by at most this.
        smoothing_px: least standard deviation, along the line, of the smoothing that turns pixel steps into a line;
            half the width where that is more.
        vertex_spacing_px: distance between the vertices of a centreline.
        gamma: exponent that makes grey values linear in light: 1 for industrial cameras, about 2.2 for pictures in sRGB
            as consumer cameras write them. Half-covered pixels are half as bright only in linear light.
        max_step_share: a line along which the picture shows a step and no valley, for more than this share of it, is
            the edge of a patch, of paint or of a shadow, and dropped; 1 keeps them all.
        profile_floor: the width ends where the probability across the line falls below this.
        join_gap_px: greatest gap between two fragments that are joined into one crack; 0 for no joining.
        join_angle_deg: greatest angle at a joint, between the fragments and of each against the gap.
    """

    threshold: float = 0.5
    min_length_px: float = 12.0
    min_elongation: float = 2.0
    max_width_px: float = 128.0
    fill_holes_px: int = 16
    spur_ratio: float = 2.5
    straight_deg: float = 35.0
    smoothing_px: float = 3.0
    vertex_spacing_px: float = 3.0
    profile_floor: float = 0.04
    gamma: float = 1.0
    max_step_share: float = 0.5
    join_gap_px: float = 24.0
    join_angle_deg: float = 30.0

    def __post_init__(self) -> None:
        require(0.0 < self.threshold <= 1.0, "threshold", "a probability above 0 and up to 1", self.threshold)
        require(0.0 < self.profile_floor < 1.0, "profile_floor", "a probability between 0 and 1", self.profile_floor)
        require(0.0 <= self.straight_deg < 90.0, "straight_deg", "degrees in [0, 90)", self.straight_deg)
        require(0.0 < self.join_angle_deg < 90.0, "join_angle_deg", "degrees in (0, 90)", self.join_angle_deg)
        for name in ("max_width_px", "smoothing_px", "vertex_spacing_px", "gamma"):
            require(getattr(self, name) > 0, name, "a number above 0", getattr(self, name))
        for name in ("min_length_px", "min_elongation", "fill_holes_px", "spur_ratio", "join_gap_px"):
            require(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))
