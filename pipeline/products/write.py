"""All products of a survey, each a pure function of its result, each published whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from crackmap.calibration.errors import CrackmapError, StorageError
from crackmap.pipeline.products.cracks import write_cracks
from crackmap.pipeline.products.dictionary import NAME as DICTIONARY
from crackmap.pipeline.products.dictionary import write_dictionary
from crackmap.pipeline.products.masks import MASKS_FOLDER
from crackmap.pipeline.products.notes import all_notes
from crackmap.pipeline.products.profile_tables import csv_name, write_profile_tables
from crackmap.pipeline.products.publish import publish_bytes, publishing, remove_strays, sha256_of
from crackmap.pipeline.products.report import write_report
from crackmap.pipeline.products.shapefile import FOLDER as SHAPEFILES
from crackmap.pipeline.products.shapefile import remove_shapefiles, write_shapefiles
from crackmap.pipeline.products.strip_images import STRIPS_FOLDER, strip_name
from crackmap.pipeline.products.strip_overlays import overlay_name
from crackmap.pipeline.products.tables import (
    write_patterns_csv,
    write_sections_csv,
    write_skipped_csv,
)
from crackmap.pipeline.products.vectors import meaning
from crackmap.pipeline.profiles import ProfileTable
from crackmap.pipeline.records import STATUSES, CoordinateKind
from crackmap.pipeline.report_pictures import FramePicture
from crackmap.pipeline.survey_result import SurveyResult

FORMAT = 1
"""Version of run.json."""

TIMINGS_NAME = "timings.json"

SUCCESS_NAME = "_SUCCESS.json"
"""Written last: all products are in place and belong together. Gone while they are being written."""


def write_products(
    result: SurveyResult,
    out: Path,
    *,
    run_info: Mapping[str, Any],
    pictures: Sequence[FramePicture] = (),
    seconds: Mapping[str, float] | None = None,
    profiles: Sequence[ProfileTable] = (),
    shapefile: bool = False,
    processes: int = 1,
) -> None:
    """Writes every product of `result` to `out`; run.json, which lists the others, and _SUCCESS.json come last.

    Masks are written frame by frame during the run (`masks.write_mask_cog`), strips before (`strip_images`): both are
    only listed here.

    Args:
        result: cracks, sections and outcomes in their final order.
        out: the output folder; made if absent. The caller holds its lock.
        run_info: what is needed to repeat the run (versions, weights, command, settings).
        pictures: of frames for the report, the worst first.
        seconds: that each stage took: the only product that differs between equal runs.
        profiles: what standards say of the sections.
        shapefile: write the layers as Shapefiles as well.
        processes: that help where there are many cracks. No byte depends on them.

    Raises:
        StorageError: a product could not be written; those before it are complete.
    """
    _check_counts(result)
    remove_strays(out)
    remove_strays(out / MASKS_FOLDER)
    mark_unfinished(out)
    before = _profile_tables_before(out)
    # What stands for older products must not outlive them.
    _remove(out / "run.json")
    write_cracks(out, result, profiles, processes=processes)
    if shapefile:
        write_shapefiles(out, result, profiles)
    else:
        remove_shapefiles(out)
    write_patterns_csv(out / "patterns.csv", result.networks)
    write_sections_csv(out / "sections.csv", result.sections)
    write_profile_tables(out, result.sections, profiles, before=before)
    write_dictionary(out, profiles)
    if result.output.kind is not CoordinateKind.MAP:
        _remove(out / "cracks.geojson")
    if next(result.outcomes.lost(), None) is not None:
        write_skipped_csv(out / "skipped.csv", result.outcomes)
    else:
        _remove(out / "skipped.csv")
    write_report(out / "report.html", result, run_info=run_info, pictures=pictures, profiles=profiles)
    _publish_json(out / TIMINGS_NAME, {"seconds": dict(seconds or {})})
    _write_run_json(out, result, run_info, profiles, shapefile=shapefile)
    _publish_json(out / SUCCESS_NAME, {"format": FORMAT, "run.json": {"sha256": sha256_of(out / "run.json")}})


def mark_unfinished(out: Path) -> None:
    """Takes _SUCCESS.json away: from now on the products are behind the journal.

    Raises:
        StorageError: it could not be removed.
    """
    _remove(out / SUCCESS_NAME)


def _profile_tables_before(out: Path) -> frozenset[str]:
    """Names of the tables of profiles that run.json lists; none where there is none that can be read."""
    try:
        # A line at a time: it lists the masks as well, of which there may be a million.
        with (out / "run.json").open(encoding="utf-8") as file:
            return frozenset(json.loads(found[1]) for line in file if (found := _PROFILE_TABLE.fullmatch(line)))
    except (OSError, ValueError):
        return frozenset()


_PROFILE_TABLE = re.compile(r'\s*"path": ("sections_[^"/]+\.csv"),?\s*')
"""The line of a profile's table in run.json."""


def _check_counts(result: SurveyResult) -> None:
    """Every frame found must have become one thing, and only one."""
    keys: set[str] = set()
    twice = []
    for key in result.outcomes.keys:
        if key in keys:
            twice.append(key)
        keys.add(key)
    if twice:
        raise CrackmapError(
            f"outcomes: expected each frame once, got {', '.join(twice[:3])} more than once; "
            "this is a fault of crackmap: please report it with run.json"
        )


def _write_run_json(
    out: Path, result: SurveyResult, run_info: Mapping[str, Any], profiles: Sequence[ProfileTable], *, shapefile: bool
) -> None:
    status = result.outcomes.status_counts
    content = {
        "format": FORMAT,
        "run": dict(run_info),
        "coordinates": {
            "kind": result.output.kind.value,
            "unit": result.output.unit,
            "mean": meaning(result.output),
            "crs_wkt": result.output.crs_wkt,
        },
        "counts": {
            "found": len(result.outcomes),
            **{name: status[name] for name in STATUSES},
            "cracks": len(result.cracks),
            "patterns": len(result.networks),
            "sections": len(result.sections),
        },
        "notes": list(all_notes(result)),
        "profiles": {item.name: item.profile.model_dump(mode="json", by_alias=True) for item in profiles},
        "products": [],
    }
    before, after = _as_json(content).split(_NO_PRODUCTS)
    # Written as it comes, or the masks of a million frames would lie in memory three times.
    with publishing(out / "run.json") as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f'{before}\n  "products": [')
        for number, item in enumerate(_inventory(out, result, profiles, shapefile=shapefile)):
            file.write((",\n" if number else "\n") + item)
        file.write(f"\n  ]{after}\n")


_PRODUCT = """\
    {
      "bytes": %d,
      "path": %s,
      "sha256": "%s"
    }"""

_NO_PRODUCTS = '\n  "products": []'
"""Once in run.json before the products are put in: in a text the quotes would be escaped, and lower down the indent is
another."""


def _as_json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, sort_keys=True, default=str)


def _publish_json(path: Path, content: Mapping[str, Any]) -> None:
    publish_bytes(path, f"{_as_json(content)}\n".encode())


def _inventory(out: Path, result: SurveyResult, profiles: Sequence[ProfileTable], *, shapefile: bool) -> Iterator[str]:
    """Yields path, size and sha256 of every product but run.json, in order of path, as run.json has them."""
    names = ["crackmap.gpkg", "cracks.csv", "patterns.csv", "sections.csv", "cracks.parquet", "cracks.geojson",
             "skipped.csv", "report.html", DICTIONARY]  # fmt: skip
    names += [csv_name(profile) for profile in profiles]
    names += [f"{MASKS_FOLDER}/{name}" for name in result.outcomes.mask_names]
    strips = [strip_name(section) for section in result.sections]
    names += [f"{STRIPS_FOLDER}/{name}" for strip in strips for name in (strip, overlay_name(strip))]
    if shapefile:
        names += [str(path.relative_to(out)) for path in (out / SHAPEFILES).iterdir()]
    try:
        names.sort()
        for name, following in zip_longest(names, islice(names, 1, None)):
            path = out / name
            if name != following and path.is_file():
                yield _PRODUCT % (path.stat().st_size, json.dumps(name), sha256_of(path))
    except OSError as error:
        raise StorageError(f"{out}: a product could not be read back ({error}); run the same command again") from error


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path}: could not be removed ({error}); check that the folder is writable") from error
