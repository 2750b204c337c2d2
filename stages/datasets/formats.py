"""The formats of users' own sets, and the name FORMAT:PATH[:OPTION=VALUE...] that picks one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from crackmap.calibration.errors import InputError, require
from crackmap.stages.datasets.coco import list_coco
from crackmap.stages.datasets.labelme import list_labelme
from crackmap.stages.datasets.labels import LabelledImage
from crackmap.stages.datasets.own import Source
from crackmap.stages.datasets.pairs import list_pairs, list_synth
from crackmap.stages.datasets.voc import list_voc

FORMATS: Mapping[str, Callable[[Source], list[LabelledImage]]] = {
    "pairs": list_pairs,
    "coco": list_coco,
    "labelme": list_labelme,
    "voc": list_voc,
    "synth": list_synth,
}
"""Readers of users' own sets by the name of their format."""

_OPTION = re.compile(r":([a-z_]+)=([^:]*)$")


def parse_source(name: str) -> Source:
    """The source that «FORMAT:PATH» or «FORMAT:PATH:OPTION=VALUE:...» names.

    Raises:
        InputError: unknown format, no path, or an option twice.
    """
    kind, _, rest = name.partition(":")
    require(kind in FORMATS, "data set format", ", ".join(FORMATS), kind)
    options: dict[str, str] = {}
    while (found := _OPTION.search(rest)) is not None:
        require(found[1] not in options, f"{name}: option {found[1]}", "to be given once", found[2])
        options[found[1]] = found[2]
        rest = rest[: found.start()]
    if not rest:
        raise InputError(f"data set {name!r}: expected a path after {kind}:, got none")
    return Source(name, kind, Path(rest), dict(sorted(options.items())))
