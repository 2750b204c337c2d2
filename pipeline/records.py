"""The records of a survey: frames in, cracks on the road and section statistics out."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

import numpy as np

from crackmap.calibration.errors import require
from crackmap.calibration.plane import GroundPlane
from crackmap.stages.records import FloatArray

CHANGED = "changed_during_run"
"""Begins the reason of a frame whose file was written to while it was worked on."""


class CoordinateKind(StrEnum):
    """What the output coordinates mean."""

    MAP = "map"
    """A real CRS, metres."""
    ROAD = "road"
    """Local engineering CRS: x = offset to the right of the route line, y = chainage, metres."""
    SHEET = "sheet"
    """Images laid out one above the other, because no position is known; metres, or pixels without a scale."""


@dataclass(frozen=True, slots=True)
class OutputFrame:
    """The coordinate system of all products of a run.

    Attributes:
        kind: what the coordinates mean.
        crs_wkt: WKT of the CRS: a projected one for MAP, an engineering CRS otherwise.
        unit: "m", or "px" on a sheet without a ground scale.
    """

    kind: CoordinateKind
    crs_wkt: str
    unit: str = "m"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one frame lies: ground (vehicle) metres, or flipped pixels, to output coordinates.

    x_out = x0 + cos(a) x + sin(a) y, y_out = y0 - sin(a) x + cos(a) y, with a = azimuth of travel from output y.

    Attributes:
        origin_xy: output coordinates of the ground point under the camera.
        azimuth_deg: direction of travel, clockwise from the output y axis (north in MAP).
    """

    origin_xy: tuple[float, float]
    azimuth_deg: float = 0.0

    def to_output_xy(self, xy: FloatArray) -> FloatArray:
        """(N, 2) output coordinates of (N, 2) ground points (x right of travel, y ahead)."""
        return np.asarray(xy @ _rotation(self.azimuth_deg).T + np.asarray(self.origin_xy), float)


@lru_cache(maxsize=4096)
def _rotation(azimuth_deg: float) -> FloatArray:
    """(2, 2) from ground to output axes: the same for all cracks of a frame, of which there are many."""
    angle = np.deg2rad(azimuth_deg)
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


@dataclass(frozen=True, slots=True)
class Frame:
    """One survey image.

    Attributes:
        key: path relative to the survey folder, with forward slashes: the frame's identity in all outputs.
        file: where the file is, as text: a survey has a million of them.
        size_wh_px: image size after EXIF rotation.
        recording: frames of one recording are of one drive along one route.
        chainage_m: of the vehicle's origin, along the drive; in a `SurveyResult` along the route; None if unknown.
        placement: where it lies in output coordinates.
        ground: the ground plane of its camera, None if nothing says how large a pixel is.
        owns_y_m: the strip of road (ground y, from and to, metres ahead) this frame answers for; None = all it sees.
        time_s: seconds of the clock in the names, None if unknown.
        camera: which of the vehicle's cameras took it, empty if there is one; strips and joins stay within one.
        chainage_scale: metres of chainage per metre ahead: 1 along the drive; below 0 where the route runs the other
            way, and beside 1 in bends, which the vehicle drives on a longer or shorter line than the route's.
        u_xy_m: standard uncertainty of its position, metres; None if unknown.
        lane: as the name says, or empty.
        offset_m: of the vehicle's origin, to the right of the route line; 0 without a route.
    """

    key: str
    file: str
    size_wh_px: tuple[int, int]
    recording: str
    placement: Placement
    chainage_m: float | None = None
    ground: GroundPlane | None = None
    owns_y_m: tuple[float, float] | None = None
    time_s: float | None = None
    camera: str = ""
    chainage_scale: float = 1.0
    u_xy_m: float | None = None
    lane: str = ""
    offset_m: float = 0.0

    @property
    def path(self) -> Path:
        """Where the file is."""
        return Path(self.file)

    @property
    def stream(self) -> tuple[str, str]:
        """Recording and camera: frames that follow each other along the road."""
        return self.recording, self.camera

    def chainage_at(self, y_m: float) -> float:
        """Chainage of the road `y_m` ahead of the vehicle's origin; without a known chainage the distance itself."""
        return (self.chainage_m or 0.0) + self.chainage_scale * y_m


@dataclass(frozen=True, slots=True)
class RoadCrack:
    """One crack of the road, after cutting to strips and joining across frames. One row of the `cracks` layer.

    Metric numbers are None together where the ground scale is unknown; chainage and offset where the position is.

    Attributes:
        crack_id: stable name, «C000001» in the order of frames and position.
        line_xy: (N, 2) vertices in output coordinates.
        width_px, width_mm: (N,) width at each vertex.
        length_px, length_m: length along the line.
        orientation_deg: against the direction of travel, [0, 180), 0 along, 90 across.
        confidence: mean crack probability along the line.
        chainage_from_m, chainage_to_m: least and greatest chainage of its vertices.
        offset_m: mean offset to the right of the route line (or of the vehicle's path).
        touches_border: it leaves the picture, so the true crack is longer.
        frame_keys: the frames it was seen in.
        gsd_mm: median pixel size across (row) and along (column), millimetres.
        chainage_at_m: (N,) chainage of each vertex, metres.
        offset_at_m: (N,) offset of each vertex to the right of the route line (or of the vehicle's path), metres.
        u_length_px, u_length_m, u_width_px, u_width_mm: standard uncertainties of length and mean width; None where
            nothing estimated them. `merge` says how those of its pieces come together.
        grey_share: share of the length whose width was read in the picture itself, not from the crack probability.
        gap_px, gap_m: length of bridged gaps, inside frames and at seams; part of the length.
        saturated: some of it lies where the picture is black or white, so its edges cannot be located there.
        joint: most of it is ruler-straight and of even width: a joint or saw cut, which sections do not count as crack.
        sealed: a sealed crack, which sections do not count as crack either; its width is that of the seal.
        below_resolution: in one of its frames it is, or may be, narrower than a pixel: an order of magnitude.
        pattern_id: the pattern in which at least half of it lies, «P0001»; empty if there is none.
        u_xy_m: standard uncertainty of the position of the vehicle it was seen from, the greatest of its frames;
            None if unknown.
    """

    crack_id: str
    line_xy: FloatArray
    width_px: FloatArray
    length_px: float
    orientation_deg: float
    confidence: float
    touches_border: bool
    frame_keys: tuple[str, ...]
    recording: str
    width_mm: FloatArray | None = None
    length_m: float | None = None
    chainage_from_m: float | None = None
    chainage_to_m: float | None = None
    offset_m: float | None = None
    gsd_mm: tuple[float, float] | None = None
    chainage_at_m: FloatArray | None = None
    offset_at_m: FloatArray | None = None
    u_length_px: float | None = None
    u_length_m: float | None = None
    u_width_px: float | None = None
    u_width_mm: float | None = None
    grey_share: float = 0.0
    gap_px: float = 0.0
    gap_m: float | None = None
    saturated: bool = False
    below_resolution: bool = False
    joint: bool = False
    sealed: bool = False
    pattern_id: str = ""
    u_xy_m: float | None = None

    def __post_init__(self) -> None:
        count = len(self.line_xy)
        require(self.line_xy.shape == (count, 2) and count >= 2, "line_xy", "shape (N >= 2, 2)", self.line_xy.shape)
        require(
            (self.width_mm is None) == (self.length_m is None),
            "width_mm, length_m",
            "both or neither",
            (self.width_mm, self.length_m),
        )
        for name in ("width_px", "width_mm", "chainage_at_m", "offset_at_m"):
            values: FloatArray | None = getattr(self, name)
            require(
                values is None or values.shape == (count,),
                name,
                f"shape ({count},)",
                None if values is None else values.shape,
            )

    @property
    def open(self) -> bool:
        """Whether it is a crack, neither a joint nor sealed."""
        return not (self.joint or self.sealed)

    @property
    def chainage_m(self) -> float | None:
        """Chainage of its middle, metres."""
        if self.chainage_from_m is None or self.chainage_to_m is None:
            return None
        return (self.chainage_from_m + self.chainage_to_m) / 2


@dataclass(frozen=True, slots=True)
class RoadNetwork:
    """A pattern: cracks that enclose cells side by side. One row of the `patterns` layer and of patterns.csv.

    Attributes:
        pattern_id: stable name, «P0001» in the order of its first crack.
        kind: "alligator" or "block", by the mean size of its cells.
        recording: the recording it belongs to.
        outline_xy: (N, 2) closed ring around its cells, output coordinates.
        holes_xy: rings inside it, around what is too large for a cell.
        cell_count: number of cells.
        area_m2: area of the outline without its holes.
        mean_cell_m: side of the square whose area is the mean of the cells.
        crack_length_m: length of crack in the outline and on it.
        mean_width_mm: of those lines, weighted by length.
        confidence: mean crack probability of the cracks, weighted by their length in the pattern.
        chainage_from_m, chainage_to_m: least and greatest chainage of the lines in it; None if unknown.
    """

    pattern_id: str
    kind: str
    recording: str
    outline_xy: FloatArray
    holes_xy: tuple[FloatArray, ...]
    cell_count: int
    area_m2: float
    mean_cell_m: float
    crack_length_m: float
    mean_width_mm: float
    confidence: float
    chainage_from_m: float | None = None
    chainage_to_m: float | None = None

    def __post_init__(self) -> None:
        require(
            self.outline_xy.ndim == 2 and self.outline_xy.shape[1] == 2 and len(self.outline_xy) >= 4,
            "outline_xy",
            "a closed ring of shape (N >= 4, 2)",
            self.outline_xy.shape,
        )
        require(self.cell_count >= 1, "cell_count", "1 or more", self.cell_count)


STATUSES = {
    "ok": "measured, with cracks",
    "no_crack": "measured, without a crack",
    "no_position": "measured, but nobody knows where it lies: on no map and in no section",
    "duplicate": "the same file as an earlier frame",
    "skipped": "could not be used",
    "failed": "an error of crackmap",
}
"""What may become of a frame: every frame found becomes exactly one of these."""


@dataclass(frozen=True, slots=True)
class FrameOutcome:
    """What became of one frame. One row of the `frames` layer.

    Attributes:
        frame: the frame.
        status: one of STATUSES.
        reason: why it is lost, one sentence; empty otherwise.
        footprint_xy: (4, 2) outline of what was measured, output coordinates (the owned strip, or the image).
        segmented_share: share of the image the segmenter looked at.
        crack_count: cracks found in it before joining, sealed ones apart.
        mask_name: file name below masks/, empty if there is none.
        source: who said what its cracks are, "nets" or "corrected" (by a person); empty if it was not measured.
    """

    frame: Frame
    status: str
    reason: str = ""
    footprint_xy: FloatArray = field(default_factory=lambda: np.empty((0, 2)))
    segmented_share: float = 0.0
    crack_count: int = 0
    mask_name: str = ""
    source: str = ""

    @property
    def lost(self) -> bool:
        """Whether it is missing on the map and in the statistics."""
        return self.status not in ("ok", "no_crack")


@dataclass(frozen=True, slots=True)
class Section:
    """Statistics of one stretch of road. One row of the `sections` layer and of sections.csv.

    Attributes:
        section_id: «080BDF0070:0-100».
        recording: the recording it belongs to.
        from_m, to_m: chainage; None where no chainage is known and the section is one image.
        outline_xy: (N, 2) polygon in output coordinates; (0, 2) where no frame reaches into the section.
        covered_m, missing_m: length of road measured, and length that no frame shows; None for a georeferenced raster,
            which has no direction of travel.
        invalid_m, invalid_why: length whose frames could not be used, and how much of it went by which status of a
            frame («3.0 m skipped, 1.0 m duplicate»).
        area_m2: measured road area; of a raster its whole rectangle, pixels without data included.
        joint_length_m, sealed_length_m: length of joints and saw cuts, and of sealed cracks, inside the section; no
            part of the numbers of cracks.
        crack_count: cracks with their middle in the section.
        crack_length_m: length of crack inside the section (a crack that crosses the boundary is shared out).
        u_crack_length_m: standard uncertainty of that length, of the cracks that were found; None if that of one is
            unknown. The parts are added plainly: one camera took them all.
        crack_area_m2: integral of width along those lines.
        mean_width_mm, max_width_mm: of those lines, weighted by length; None without cracks.
        longitudinal_m, transverse_m, other_m: length within 20 degrees of along, of across, and neither; None for a
            georeferenced raster.
        pattern_area_m2: area of the patterns (alligator and block) inside its outline.
        direction: "with" or "against" increasing chainage, as the vehicle drove; empty for a raster.
        lane: as the names of its frames say, or empty.
    """

    section_id: str
    recording: str
    from_m: float | None
    to_m: float | None
    outline_xy: FloatArray
    covered_m: float | None
    missing_m: float | None
    invalid_m: float | None
    invalid_why: str
    area_m2: float
    crack_count: int
    crack_length_m: float
    crack_area_m2: float
    mean_width_mm: float | None
    max_width_mm: float | None
    longitudinal_m: float | None
    transverse_m: float | None
    other_m: float | None
    pattern_area_m2: float = 0.0
    joint_length_m: float = 0.0
    sealed_length_m: float = 0.0
    u_crack_length_m: float | None = None
    direction: str = ""
    lane: str = ""

    @property
    def covered_percent(self) -> float | None:
        """Share of its length that was measured; None where it has none."""
        if self.covered_m is None or self.missing_m is None or self.invalid_m is None:
            return None
        length = self.covered_m + self.missing_m + self.invalid_m
        return 100.0 * self.covered_m / length if length > 0 else None
