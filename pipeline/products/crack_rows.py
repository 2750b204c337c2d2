"""The attributes of cracks, column by column: defined once for every format, so that rows are equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crackmap.pipeline.assembly.columns import CrackColumns
from crackmap.pipeline.polyline import lines_by_size, weights_of_lines
from crackmap.pipeline.products.rows import Field, Value, printable
from crackmap.stages.records import FloatArray


def mean_widths(cracks: CrackColumns, name: str) -> FloatArray:
    """(n,) `rows.mean_width` of every crack by its `width_mm` or `width_px`; NaN where it has none."""
    found = np.full(len(cracks), np.nan)
    for numbers, vertices in lines_by_size(cracks.ends):
        weights = weights_of_lines(cracks["line_xy"][vertices])
        found[numbers] = (cracks[name][vertices] * weights).sum(axis=1) / weights.sum(axis=1)
    return found


def _quantile(cracks: CrackColumns, name: str, share: float) -> FloatArray:
    """(n,) `weighted_quantile` of a width along every crack; NaN where it has none."""
    found = np.full(len(cracks), np.nan)
    for numbers, vertices in lines_by_size(cracks.ends):
        values, weights = cracks[name][vertices], weights_of_lines(cracks["line_xy"][vertices])
        order = np.argsort(values, axis=1, kind="stable")
        reached = np.cumsum(np.take_along_axis(weights, order, axis=1), axis=1)
        place = (reached < share * reached[:, -1:] * (1 - 1e-12)).sum(axis=1)
        found[numbers] = np.take_along_axis(values, np.take_along_axis(order, place[:, None], axis=1), axis=1)[:, 0]
    return found


def greatest_widths(cracks: CrackColumns, name: str) -> FloatArray:
    """(n,) greatest width of every crack; NaN where it has none."""
    return np.asarray(np.maximum.reduceat(cracks[name], cracks.ends[:-1]) if len(cracks) else np.empty(0))


def middle_chainages(cracks: CrackColumns) -> FloatArray:
    """(n,) `RoadCrack.chainage_m`; NaN where it is not known."""
    return np.asarray((cracks["chainage_from_m"] + cracks["chainage_to_m"]) / 2)


def _width_lists(cracks: CrackColumns, name: str) -> list[str | None]:
    """The widths at the vertices of every crack as JSON."""
    rounded = cracks[name].round(2).tolist()
    ends = cracks.ends.tolist()
    known = cracks.known[name].tolist()
    # A list of finite numbers is the same text in Python and in JSON.
    return [
        str(rounded[start:end]) if there else None for start, end, there in zip(ends[:-1], ends[1:], known, strict=True)
    ]


def _orientations(cracks: CrackColumns) -> list[float]:
    return [round(value, 1) % 180.0 for value in cracks["orientation_deg"].tolist()]


CRACK_FIELDS: tuple[Field[CrackColumns], ...] = (
    Field("crack_id", "text", lambda c: c.plain["crack_id"]),
    Field("recording", "text", lambda c: c.plain["recording"]),
    Field("length_m", "real", lambda c: c["length_m"], 3),
    Field("u_length_m", "real", lambda c: c["u_length_m"], 4),
    Field("mean_w_mm", "real", lambda c: mean_widths(c, "width_mm"), 2),
    Field("u_mean_w_mm", "real", lambda c: c["u_width_mm"], 3),
    Field("max_w_mm", "real", lambda c: greatest_widths(c, "width_mm"), 2),
    Field("p95_w_mm", "real", lambda c: _quantile(c, "width_mm", 0.95), 2),
    Field("length_px", "real", lambda c: c["length_px"], 1),
    Field("u_length_px", "real", lambda c: c["u_length_px"], 2),
    Field("mean_w_px", "real", lambda c: mean_widths(c, "width_px"), 2),
    Field("u_mean_w_px", "real", lambda c: c["u_width_px"], 3),
    Field("max_w_px", "real", lambda c: greatest_widths(c, "width_px"), 2),
    Field("orient_deg", "real", _orientations, 1),
    Field("u_pos_m", "real", lambda c: c["u_xy_m"], 3),
    Field("confidence", "real", lambda c: c["confidence"], 3),
    Field("chainage_m", "real", middle_chainages, 3),
    Field("chain_from_m", "real", lambda c: c["chainage_from_m"], 3),
    Field("chain_to_m", "real", lambda c: c["chainage_to_m"], 3),
    Field("offset_m", "real", lambda c: c["offset_m"], 3),
    Field("border", "int", lambda c: c["touches_border"]),
    Field("joint", "int", lambda c: c["joint"]),
    Field("sealed", "int", lambda c: c["sealed"]),
    Field("saturated", "int", lambda c: c["saturated"]),
    Field("below_res", "int", lambda c: c["below_resolution"]),
    Field("grey_share", "real", lambda c: c["grey_share"], 3),
    Field("gap_m", "real", lambda c: c["gap_m"], 3),
    Field("pattern_id", "text", lambda c: c.plain["pattern_id"]),
    Field("frames", "text", lambda c: [";".join(keys) for keys in c.plain["frame_keys"]]),
    Field("gsd_row_mm", "real", lambda c: c["gsd_mm"][:, 0], 3),
    Field("gsd_col_mm", "real", lambda c: c["gsd_mm"][:, 1], 3),
    Field("widths_mm", "text", lambda c: _width_lists(c, "width_mm")),
    Field("widths_px", "text", lambda c: _width_lists(c, "width_px")),
)
"""Their `read` gives the whole column."""


def crack_table(cracks: CrackColumns) -> dict[str, NDArray[Any]]:
    """(n,) arrays by the names of CRACK_FIELDS: texts (or None) as objects, rounded real numbers (or NaN), integers."""
    return {field.name: _column(field, cracks) for field in CRACK_FIELDS}


def _column(field: Field[CrackColumns], cracks: CrackColumns) -> NDArray[Any]:
    values = field.read(cracks)
    if field.kind == "text":
        texts = np.empty(len(cracks), object)
        texts[:] = [value if value is None else printable(value) for value in values]
        return texts
    if field.kind == "int":
        return np.asarray(values, np.int64)
    return np.asarray(values, np.float64).round(field.digits)


def plain_columns(table: dict[str, NDArray[Any]]) -> list[Sequence[Value]]:
    """The columns of a `crack_table` as lists, None where there is no value."""
    columns: list[Sequence[Value]] = []
    for field in CRACK_FIELDS:
        column: list[Value] = table[field.name].tolist()
        if field.kind == "real" and np.isnan(table[field.name]).any():
            column = [None if value != value else value for value in column]
        columns.append(column)
    return columns
