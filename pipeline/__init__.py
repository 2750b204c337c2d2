"""Where pixels come from and where results go: survey, run, merge, sections, products."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crackmap.pipeline.results import Results

__all__ = ["open_results"]


def open_results(out: str | Path, *, verify: bool = True) -> Results:
    """Opens the results of a finished run for pandas, GeoPandas and Matplotlib. Nothing is written, no lock is taken.

    Args:
        out: the `-o` folder of `crackmap run`.
        verify: compare the GeoPackage, and masks when they are asked for, with the hashes the run left behind. False
            takes them as they are, for instance a GeoPackage that was edited in QGIS.

    Returns:
        Cracks, patterns, sections and frames as GeoDataFrames, and what run.json says.

    Raises:
        InputError: `out` holds no finished run, or its files do not belong together; the message says which, and what
            to do.
    """
    # GeoPandas takes a second to import; whoever imports another module of this package does not pay for it.
    from crackmap.pipeline.results import read_results

    return read_results(Path(out), verify=verify)
