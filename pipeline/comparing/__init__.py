"""One road surveyed twice: which cracks have grown, opened or gone.

Read in the order of the data: `records` (what is asked for and what comes out), `places` (cracks as points, the road
that was seen), `registration` (one survey laid onto the other), `matching` (points beside each other, groups of lines),
`faint` (what a survey shows and did not measure), `units` and `growth` (differences, their uncertainty, which are
real), `changes` and `tally` (crack by crack, section by section), `compare` (all of it in turn), `products` (files).
"""

from crackmap.pipeline.comparing.compare import compare_results, compare_surveys
from crackmap.pipeline.comparing.records import STATUSES, Change, CompareSettings, Comparison, SectionChange

__all__ = [
    "STATUSES", "Change", "CompareSettings", "Comparison", "SectionChange", "compare_results", "compare_surveys",
]  # fmt: skip
