"""What a reader of the products must know beside the numbers: the notes of the run, and those its records call for."""

from __future__ import annotations

import numpy as np
import shapely

from crackmap.pipeline.survey_result import SurveyResult

SHARED_LEAST = 1e-4
"""Rasters overlap from this share of the smaller one on; tiles that only touch share less, by rounding."""

RASTER_NOTE = (
    "georeferenced rasters have no direction of travel: orientation is the azimuth from grid north, clockwise; area is "
    "the rectangle of the raster, pixels without data included; there are no lengths along the road"
)

OVERLAP_NOTE = "rasters overlap: what lies in two of them is counted twice"


def all_notes(result: SurveyResult) -> tuple[str, ...]:
    """The notes of `result`, what a person corrected, and for georeferenced rasters what their numbers mean."""
    corrected = result.outcomes.corrected_count
    notes = result.notes
    if corrected:
        notes += (f"the cracks of {corrected} of {len(result.outcomes)} frames were corrected by a person (column "
                  "source of the layer frames); run.json says from which files",)  # fmt: skip
    if not result.of_rasters:
        return notes
    return (*notes, RASTER_NOTE, *((OVERLAP_NOTE,) if _rasters_overlap(result) else ()))


def _rasters_overlap(result: SurveyResult) -> bool:
    measured = [o.footprint_xy for o in result.outcomes if not o.lost and len(o.footprint_xy) >= 3]
    outlines = np.array([shapely.Polygon(outline) for outline in measured], dtype=object)
    if len(outlines) < 2:
        return False
    first, second = shapely.STRtree(outlines).query(outlines, predicate="intersects")
    once = first < second
    one, other = outlines[first[once]], outlines[second[once]]
    shared = shapely.area(shapely.intersection(one, other))
    return bool((shared > SHARED_LEAST * np.minimum(shapely.area(one), shapely.area(other))).any())
