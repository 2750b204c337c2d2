"""Synthetic surveys whose cracks are known exactly: images, masks, GNSS track, survey.toml and truth.

A vehicle drives a straight road in UTM zone 33 N. Cracks are lines in road metres, so length and width are known
without looking at a pixel. Read in the order of the data: `settings` (what is asked for, the camera), `truth` (the
records and their files), `cracks` (laid on the road), `growth` (what later passes see), `objects` (what is no crack),
`surface` (the bare road), `strokes` (through the camera), `frames` (one image), `write` (the survey).
"""

from crackmap.pipeline.synthetic.settings import KINDS, SyntheticSettings
from crackmap.pipeline.synthetic.truth import RoadTruth, TrueCrack, TrueNetwork, read_truth
from crackmap.pipeline.synthetic.write import write_survey

__all__ = ["KINDS", "RoadTruth", "SyntheticSettings", "TrueCrack", "TrueNetwork", "read_truth", "write_survey"]
