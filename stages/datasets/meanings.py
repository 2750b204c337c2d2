"""What the names that people give to labels mean here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from crackmap.calibration.errors import InputError
from crackmap.stages.datasets.labels import SEALED
from crackmap.stages.datasets.own import Source

CRACK, IGNORE, NOTHING = "crack", "ignore", "nothing"
"""A crack; an area in which the labels do not say where the lines are; road without anything."""

OTHERS = (SEALED, "joint", "cover", "patch", "pothole", "paint")
"""Things that are no cracks and have a name here."""

MEANING_OPTIONS = tuple(name.replace(" ", "_") for name in (CRACK, IGNORE, NOTHING, *OTHERS))
"""Options that give a meaning to names (or mask values), joined by "+": «joint=seam+gap»."""

# D codes: the Japanese manual that RDD2022 and its forerunners follow.
_NAMES = {
    CRACK: "crack cracks cracking longitudinalcrack transversecrack diagonalcrack linearcrack obliquecrack "
           "longitudinal transverse d00 d10",
    IGNORE: "alligatorcrack alligatorcracks alligator alligatorcracking fatiguecrack blockcrack networkcrack mapcrack "
            "d20 ignore unknown",
    SEALED: "sealedcrack sealedcracks sealed crackseal sealing sealedlongitudinalcrack sealedtransversecrack",
    "joint": "joint joints constructionjoint expansionjoint d01 d11",
    "cover": "cover manhole manholecover utilitycover drain d50",
    "patch": "patch patches patching repair",
    "pothole": "pothole potholes d40",
    "paint": "paint marking lanemarking roadmarking line whiteline d43 d44",
    NOTHING: "background road pavement asphalt nothing none",
}  # fmt: skip
KNOWN_NAMES: Mapping[str, str] = {name: meaning for meaning, names in _NAMES.items() for name in names.split()}
"""Meaning by name in small letters without spaces, dashes and underscores."""


def meanings_of(names: Iterable[str], source: Source) -> dict[str, str]:
    """The meaning of each name: what the options of the source say, else what is known.

    Raises:
        InputError: names without a meaning; the message says how to give them one.
    """
    given = {
        plain(name): option.replace("_", " ")
        for option in MEANING_OPTIONS
        for name in source.options.get(option, "").split("+")
        if name
    }
    meanings: dict[str, str] = {}
    unknown: list[str] = []
    for name in sorted(set(names)):
        meaning = given.get(plain(name), KNOWN_NAMES.get(plain(name)))
        if meaning is None:
            unknown.append(name)
        else:
            meanings[name] = meaning
    if unknown:
        raise InputError(
            f"{source.text}: it is not known what the label {unknown[0]!r} means"
            + (f" (nor {', '.join(repr(name) for name in unknown[1:6])})" if unknown[1:] else "")
            + f"; say so with an option, e.g. «{source.text}:crack={plain(unknown[0])}», out of "
            + ", ".join(MEANING_OPTIONS)
        )
    return meanings


def plain(name: str) -> str:
    """A name in small letters, letters and digits only."""
    return "".join(letter for letter in name.lower() if letter.isalnum())
