"""What profiles say of the sections: a CSV file and a layer for each."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd

from crackmap.calibration.errors import StorageError
from crackmap.pipeline.products.publish import publish_bytes
from crackmap.pipeline.products.rows import SECTION_FIELDS, Value, plain_rows, printable, table
from crackmap.pipeline.products.tables import safe_cell
from crackmap.pipeline.profiles import PLACE_COLUMNS, ProfileTable
from crackmap.pipeline.records import Section

PLACE_FIELDS = tuple(field for field in SECTION_FIELDS if field.name in PLACE_COLUMNS)
"""Columns that stand before the numbers of every profile: where the section is, and what of it was measured."""


def csv_name(profile: ProfileTable) -> str:
    """«sections_hpms.csv»."""
    return f"sections_{profile.name}.csv"


def layer_name(profile: ProfileTable) -> str:
    """«sections_hpms»."""
    return f"sections_{profile.name}"


def write_profile_tables(
    out: Path, sections: Sequence[Section], profiles: Sequence[ProfileTable], *, before: Collection[str] = ()
) -> None:
    """Writes the CSV file of each profile, and removes those of others that were products `before`.

    Raises:
        StorageError: a file cannot be written or removed.
    """
    wanted = {csv_name(profile) for profile in profiles}
    for name in sorted(before):
        if name.startswith("sections_") and name.endswith(".csv") and "/" not in name and name not in wanted:
            stale = out / name
            try:
                stale.unlink(missing_ok=True)
            except OSError as error:
                raise StorageError(f"{stale}: could not be removed ({error.strerror}); remove it by hand") from error
    for profile in profiles:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([field.name for field in PLACE_FIELDS] + [column.name for column in profile.columns])
        writer.writerows([safe_cell(value) for value in row] for row in profile_rows(sections, profile))
        publish_bytes(out / csv_name(profile), text.getvalue().encode("utf-8"))


def profile_rows(sections: Sequence[Section], profile: ProfileTable) -> list[tuple[Value, ...]]:
    """Place and numbers of every section, rounded."""
    places = plain_rows(PLACE_FIELDS, table(PLACE_FIELDS, sections))
    return [(*place, *rounded(row, profile)) for place, row in zip(places, profile.rows, strict=True)]


def rounded(row: Sequence[float | str | None], profile: ProfileTable) -> tuple[Value, ...]:
    """The numbers of a row as they are written."""
    return tuple(
        round(value, column.digits or 0) if isinstance(value, float) else printable(value) if value else value
        for column, value in zip(profile.columns, row, strict=True)
    )


def profile_layer(frame: gpd.GeoDataFrame, profile: ProfileTable) -> gpd.GeoDataFrame:
    """The sections with the numbers of a profile; `frame` is the layer of sections."""
    layer = frame[[field.name for field in PLACE_FIELDS] + [frame.geometry.name]].copy()
    rows = [rounded(row, profile) for row in profile.rows]
    for number, column in enumerate(profile.columns):
        values = [row[number] for row in rows]
        layer[column.name] = (
            pd.Series(values, dtype=object)
            if column.digits is None
            else np.array([np.nan if value is None else value for value in values], np.float64)
        )
    return layer
