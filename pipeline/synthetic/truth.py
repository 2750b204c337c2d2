"""The cracks of a synthetic road: exact lines in road metres, written without loss and read back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import shapely

from crackmap.calibration.errors import InputError, require
from crackmap.pipeline.products.publish import publish_bytes, publishing
from crackmap.pipeline.products.vectors import fixed_date
from crackmap.pipeline.records import Placement
from crackmap.stages.records import FloatArray

EPSG = 32633
ORIGIN_XY_M = (320_000.0, 5_820_000.0)
"""Start of the road. There UTM is true to scale within three millionths, so that a map metre is a road metre."""


@dataclass(frozen=True, slots=True)
class TrueCrack:
    """One drawn crack.

    Attributes:
        crack_id: «T001».
        kind: "straight", "arc", "fractal", "branch" or "network".
        group: cracks that touch share it: a crack and its branches, or the edges of a network.
        road_xy_m: (N, 2) vertices: metres right of the middle of the road, metres along it.
        width_mm: (N,) full width at each vertex; linear between them.
        depth: share of the road's brightness that the crack takes away, on average.
    """

    crack_id: str
    kind: str
    group: str
    road_xy_m: FloatArray
    width_mm: FloatArray
    depth: float = 0.6

    def __post_init__(self) -> None:
        require(len(self.road_xy_m) >= 2, "road_xy_m", "two vertices or more", len(self.road_xy_m))
        require(len(self.road_xy_m) == len(self.width_mm), "width_mm", "one width a vertex", len(self.width_mm))

    @property
    def length_m(self) -> float:
        """Length along the vertices."""
        return float(np.hypot(*np.diff(self.road_xy_m, axis=0).T).sum())

    @property
    def mean_width_mm(self) -> float:
        """Mean width along the line."""
        steps = np.hypot(*np.diff(self.road_xy_m, axis=0).T)
        return float(np.sum(steps * (self.width_mm[1:] + self.width_mm[:-1]) / 2) / steps.sum())


@dataclass(frozen=True, slots=True)
class TrueNetwork:
    """One drawn alligator pattern.

    Attributes:
        group: that of its cracks.
        outline_xy_m: (N, 2) its outer border along the centrelines, road metres, not closed.
        cell_count: number of its cells.
    """

    group: str
    outline_xy_m: FloatArray
    cell_count: int

    @property
    def area_m2(self) -> float:
        """Area inside the outline."""
        return float(shapely.Polygon(self.outline_xy_m).area)


@dataclass(frozen=True, slots=True)
class RoadTruth:
    """All that is known of a synthetic road.

    Attributes:
        length_m: of the road that the survey answers for.
        cracks: along the road, systems together.
        networks: along the road.
        placement: road coordinates to map coordinates.
        epsg: of the map coordinates.
    """

    length_m: float
    cracks: tuple[TrueCrack, ...]
    networks: tuple[TrueNetwork, ...]
    placement: Placement
    epsg: int = EPSG

    def to_map_xy(self, road_xy_m: FloatArray) -> FloatArray:
        """(N, 2) map coordinates of (N, 2) road coordinates."""
        return self.placement.to_output_xy(road_xy_m)


def write_truth(folder: Path, truth: RoadTruth) -> None:
    """Writes truth.json, without loss, and truth.gpkg with the layers cracks and networks.

    Raises:
        StorageError: a file cannot be written.
    """
    publish_bytes(folder / "truth.json", (_json_of(truth) + "\n").encode())
    lines = [shapely.LineString(truth.to_map_xy(crack.road_xy_m)) for crack in truth.cracks]
    areas = [shapely.Polygon(truth.to_map_xy(network.outline_xy_m)) for network in truth.networks]
    layers = {
        "cracks": (_crack_columns(truth), lines, "LineString"),
        "networks": (
            {
                "group": [network.group for network in truth.networks],
                "cell_count": np.array([network.cell_count for network in truth.networks], np.int64),
                "area_m2": np.array([network.area_m2 for network in truth.networks], np.float64),
            },
            areas,
            "Polygon",
        ),
    }
    with publishing(folder / "truth.gpkg") as temporary, fixed_date():
        for name, (columns, shapes, geometry_type) in layers.items():
            frame = gpd.GeoDataFrame(columns, geometry=gpd.GeoSeries(shapes), crs=f"EPSG:{truth.epsg}")
            pyogrio.write_dataframe(
                frame, temporary, layer=name, driver="GPKG", geometry_type=geometry_type,
                dataset_options={"VERSION": "1.3"},
            )  # fmt: skip


def read_truth(path: Path) -> RoadTruth:
    """The truth of a synthetic survey.

    Args:
        path: its truth.json, or the survey folder that holds it.

    Raises:
        InputError: no such file, or not written by `write_truth`.
    """
    file = path / "truth.json" if path.is_dir() else path
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return _truth_of(stored)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); crackmap synth writes it") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{file}: not the truth of a synthetic survey ({error!r}); draw it again") from error


def _truth_of(stored: dict[str, Any]) -> RoadTruth:
    cracks = [
        TrueCrack(
            row["crack_id"], row["kind"], row["group"],
            np.asarray(row["road_xy_m"], np.float64), np.asarray(row["width_mm"], np.float64), float(row["depth"]),
        )
        for row in stored["cracks"]
    ]  # fmt: skip
    networks = [
        TrueNetwork(row["group"], np.asarray(row["outline_xy_m"], np.float64), int(row["cell_count"]))
        for row in stored["networks"]
    ]
    x, y = stored["origin_xy_m"]
    placement = Placement((float(x), float(y)), float(stored["azimuth_deg"]))
    return RoadTruth(float(stored["length_m"]), tuple(cracks), tuple(networks), placement, int(stored["epsg"]))


def _json_of(truth: RoadTruth) -> str:
    """One line a crack and a network: Python writes the shortest digits that read back as the same number."""
    head = {
        "length_m": truth.length_m,
        "epsg": truth.epsg,
        "origin_xy_m": list(truth.placement.origin_xy),
        "azimuth_deg": truth.placement.azimuth_deg,
    }
    cracks = [
        {
            "crack_id": crack.crack_id,
            "kind": crack.kind,
            "group": crack.group,
            "length_m": round(crack.length_m, 6),
            "mean_width_mm": round(crack.mean_width_mm, 4),
            "depth": crack.depth,
            "road_xy_m": crack.road_xy_m.tolist(),
            "width_mm": crack.width_mm.tolist(),
        }
        for crack in truth.cracks
    ]
    networks = [
        {
            "group": network.group,
            "cell_count": network.cell_count,
            "area_m2": round(network.area_m2, 6),
            "outline_xy_m": network.outline_xy_m.tolist(),
        }
        for network in truth.networks
    ]
    listed = [f'"{name}": {json.dumps(value)}' for name, value in head.items()]
    for name, rows in (("cracks", cracks), ("networks", networks)):
        listed.append(
            f'"{name}": [' + ",\n".join("\n" * (not at) + json.dumps(row) for at, row in enumerate(rows)) + "]"
        )
    return "{" + ",\n".join(listed) + "}"


def _crack_columns(truth: RoadTruth) -> dict[str, Any]:
    cracks = truth.cracks
    return {
        "crack_id": [crack.crack_id for crack in cracks],
        "kind": [crack.kind for crack in cracks],
        "group": [crack.group for crack in cracks],
        "length_m": np.array([crack.length_m for crack in cracks], np.float64),
        "mean_width_mm": np.array([crack.mean_width_mm for crack in cracks], np.float64),
        "max_width_mm": np.array([crack.width_mm.max() for crack in cracks], np.float64),
        "width_mm": [json.dumps(crack.width_mm.tolist()) for crack in cracks],
    }
