"""Finished products read back: tables, widths, masks and a picture, for notebooks and scripts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError

from crackmap.calibration.errors import InputError
from crackmap.pipeline.journal import JOURNAL_NAME
from crackmap.pipeline.products.masks import MASKS_FOLDER
from crackmap.pipeline.products.publish import sha256_of
from crackmap.pipeline.products.write import FORMAT, SUCCESS_NAME
from crackmap.stages.records import FloatArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAYERS = ("cracks", "patterns", "sections", "frames")

GEOPACKAGE = "crackmap.gpkg"

AGAIN = "the same `crackmap run` writes them again, without doing finished frames anew"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Results:
    """The results of one finished run, as `crackmap.pipeline.open_results` returns them.

    The columns are those of the GeoPackage and of the CSV files, described in columns.md. A number that is not known
    is NaN. Lines and outlines are in the coordinates of the run, which `run["coordinates"]["mean"]` puts in a sentence.

    Attributes:
        out: the output folder.
        run: run.json: versions, weights, settings, counts, notes, products with their hashes.
        cracks: one row per crack, lines. Joints are among them (`joint` 1); sections do not count those.
        patterns: one row per alligator or block pattern, polygons.
        sections: one row per section of road, polygons; without geometry where no frame shows it.
        frames: one row per image found, with what became of it; without geometry where it has no place.
        verify: whether masks are compared with their hashes.
    """

    out: Path
    run: dict[str, Any]
    cracks: gpd.GeoDataFrame
    patterns: gpd.GeoDataFrame
    sections: gpd.GeoDataFrame
    frames: gpd.GeoDataFrame
    verify: bool = True

    def __repr__(self) -> str:
        parts = [f"{len(getattr(self, name))} {name}" for name in LAYERS]
        return f"Results('{self.out}': {', '.join(parts)}; {self.run['coordinates']['mean']})"

    @property
    def metric(self) -> bool:
        """Whether lengths and widths are known in metres and millimetres; pixels are known in any case."""
        return bool(self.run["coordinates"]["unit"] == "m")

    def widths_mm(self, crack_id: str) -> FloatArray:
        """(N,) width at every vertex of a crack's line, mm, in the order of its vertices.

        Raises:
            InputError: there is no such crack, or no ground scale is known.
        """
        text = self._crack(crack_id)["widths_mm"]
        if pd.isna(text):
            raise InputError(f"{crack_id}: its ground scale is not known; profile({crack_id!r}).width_px is in pixels")
        return np.array(json.loads(text), np.float64)

    def profile(self, crack_id: str) -> pd.DataFrame:
        """The width of a crack along its line, one row per vertex.

        Columns: `along_m` and `along_px`, distance along the line from its first vertex, which ends at the length of
        the crack; `width_mm` and `width_px`; `x` and `y` in the coordinates of the run. Metric ones are NaN without a
        ground scale.

        Raises:
            InputError: there is no such crack.
        """
        crack = self._crack(crack_id)
        xy = shapely.get_coordinates(crack["geometry"])
        # The map's metres, or those of a sheet, stretch a little against the road's: lengths are the road's.
        share = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(xy, axis=0).T))])
        share /= share[-1]
        known = not pd.isna(crack["widths_mm"])
        return pd.DataFrame({
            "along_m": share * crack["length_m"],
            "width_mm": self.widths_mm(crack_id) if known else np.full(len(xy), np.nan),
            "along_px": share * crack["length_px"],
            "width_px": np.array(json.loads(crack["widths_px"]), np.float64),
            "x": xy[:, 0],
            "y": xy[:, 1],
        })  # fmt: skip

    def mask(self, frame_key: str) -> Path:
        """The crack probability of a frame: a Cloud Optimized GeoTIFF of uint8, probability times 255.

        It lies where the lines of `cracks` lie; `rasterio.open` reads it.

        Args:
            frame_key: the column `key` of `frames`.

        Raises:
            InputError: there is no such frame, it has no mask, or the file is not the one of this run.
        """
        rows = self.frames[self.frames["key"] == frame_key]
        if rows.empty:
            raise InputError(f"{frame_key!r}: no frame of this run; `frames.key` lists them, as «folder/name.jpg»")
        frame = rows.iloc[0]
        if not frame["mask"]:
            why = f": {frame['reason']}" if frame["reason"] else ""
            raise InputError(f"{frame_key!r}: has no mask, its status is {frame['status']}{why}")
        name = f"{MASKS_FOLDER}/{frame['mask']}"
        _check(self.out, name, self.run, verify=self.verify)
        return self.out / name

    def plot(
        self, *, along: tuple[float, float] | None = None, recording: str | None = None, width_in: float = 11.0
    ) -> Figure:
        """Draws cracks in the colours of their width, as report and QGIS do, over what was measured, to scale.

        Road that no image shows stays white; outlines of sections span such gaps.

        Where only chainage is known, chainage runs to the right, as the vehicle does with increasing chainage, and the
        road is broken into rows, recording by recording. Images without a position lie in columns.

        Args:
            along: chainage from and to, metres: draws this stretch, with all that lies in the window.
            recording: draws this recording alone.
            width_in: width of the figure, inches.

        Returns:
            A figure that a notebook shows by itself, and `savefig` writes.

        Raises:
            InputError: nothing to draw there, no chainage is known, or the road is too long for one figure.
        """
        from crackmap.pipeline.results_plot import draw

        return draw(self, along=along, recording=recording, width_in=width_in)

    def _crack(self, crack_id: str) -> Any:
        rows = self.cracks[self.cracks["crack_id"] == crack_id]
        if rows.empty:
            raise InputError(f"{crack_id!r}: no crack of this run; `cracks.crack_id` lists them, as «C000001»")
        return rows.iloc[0]


def read_results(out: Path, *, verify: bool = True) -> Results:
    """As `crackmap.pipeline.open_results`.

    Raises:
        InputError: `out` holds no finished run, or its files do not belong together.
    """
    success = _success(out)
    run = _run_json(out, success)
    _check(out, GEOPACKAGE, run, verify=verify)
    try:
        layers = {name: pyogrio.read_dataframe(out / GEOPACKAGE, layer=name) for name in LAYERS}
    except (DataSourceError, DataLayerError) as error:
        raise InputError(f"{out / GEOPACKAGE}: cannot be read ({error}); {AGAIN}") from error
    if _success(out) != success:
        raise InputError(f"{out}: its products were written anew while they were read; open them again")
    return Results(out, run, **layers, verify=verify)


def _success(out: Path) -> bytes:
    """What stands for finished products that belong together."""
    try:
        return (out / SUCCESS_NAME).read_bytes()
    except OSError as error:
        if not out.is_dir():
            raise InputError(f"{out}: no such folder; give the -o folder of `crackmap run`") from error
        if not (out / JOURNAL_NAME).exists():
            raise InputError(
                f"{out}: holds no finished crackmap run (no {SUCCESS_NAME}); give the -o folder of `crackmap run`"
            ) from error
        raise InputError(
            f"{out}: its run is not finished: it is at work, or was interrupted. `crackmap status {out}` says which "
            "and how far it is; the same `crackmap run` goes on where it was"
        ) from error


def _run_json(out: Path, success: bytes) -> dict[str, Any]:
    try:
        promised = json.loads(success)["run.json"]["sha256"]
        if sha256_of(out / "run.json") != promised:
            raise InputError(f"{out}: run.json is not the one that {SUCCESS_NAME} stands for; {AGAIN}")
        run = json.loads((out / "run.json").read_bytes())
        if run["format"] != FORMAT:
            raise InputError(
                f"{out}: expected products of format {FORMAT}, got {run['format']}; open them with the version of "
                f"crackmap that wrote them, {run['run'].get('crackmap', 'unknown')}"
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{out}: {SUCCESS_NAME} or run.json cannot be read ({error}); {AGAIN}") from error
    return dict(run)


def _check(out: Path, name: str, run: dict[str, Any], *, verify: bool) -> None:
    """Raises InputError unless a product is there and, with `verify`, the one that run.json lists."""
    promised = {item["path"]: item["sha256"] for item in run["products"]}.get(name)
    if promised is None or not (out / name).is_file():
        raise InputError(f"{out / name}: expected as a product of this run, not there; {AGAIN}")
    if verify and sha256_of(out / name) != promised:
        raise InputError(
            f"{out / name}: is not what the run wrote: it was edited (a GeoPackage is also changed when QGIS opens it "
            f"for writing), or a run is at work on the folder. {AGAIN[0].upper()}{AGAIN[1:]}; "
            "open_results(..., verify=False) takes it as it is"
        )
