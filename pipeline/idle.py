"""Keys of survey.toml that are set and have no effect: passed over in silence, one costs a night of computing."""

from __future__ import annotations

from collections.abc import Mapping

from crackmap.pipeline.config import CameraConfig, GroundConfig, PositionConfig, SurveyConfig

_TRACK = frozenset({"columns", "antenna_m", "accuracy_m", "crs", "max_gap_s", "max_gap_m", "max_bridge_s",
                    "max_speed_kmh", "odometer", "track", "time_offset_s"})  # fmt: skip

POSITION_KEYS: Mapping[str, frozenset[str]] = {
    "none": frozenset(),
    "chainage": frozenset({"chainage_scale", "crs"}),
    "counter": frozenset({"chainage_scale", "crs", "step_m"}),
    "track": _TRACK | {"time_scale"},
    "distance": _TRACK | {"distance_scale", "distance_offset_m"},
    "exif": _TRACK - {"track", "columns", "odometer", "max_bridge_s", "time_offset_s"},
}
"""What each source of position reads, beside `source`."""

_LENS = frozenset({"calibration", "focal_px", "roll_deg", "scale_uncertainty_percent"})

GROUND_KEYS: Mapping[str, frozenset[str]] = {
    "none": frozenset(),
    "file": frozenset({"calibration", "scale_uncertainty_percent"}),
    "gsd": frozenset({"gsd_mm", "scale_uncertainty_percent"}),
    "points": frozenset({"points_px", "points_m", "calibration", "scale_uncertainty_percent"}),
    "lane": _LENS | {"lane_width_m", "mask_replace"},
    "mount": _LENS | {"height_m", "pitch_deg", "yaw_deg", "position_m"},
}
"""What each method reads, beside `method`."""


def idle_keys(config: SurveyConfig) -> tuple[str, ...]:
    """A sentence for every key that is set and not read, in the order of the file's tables."""
    notes = _idle("position", config.position, "source", POSITION_KEYS[config.position.source])
    grounds = {"ground": config.ground} | {f"cameras.{name}.ground": c.ground for name, c in _cameras(config)}
    for name, ground in grounds.items():
        notes += _idle(name, ground, "method", GROUND_KEYS[ground.method])
    return (*notes, *_idle_route(config))


def _idle_route(config: SurveyConfig) -> list[str]:
    source, route = config.position.source, config.route
    by_chainage = source in ("chainage", "counter")
    if route.file is None:
        idle = route.model_fields_set - ({"direction"} if by_chainage else set())
        notes = [f"[route] {key} has no effect without file" for key in sorted(idle)]
        if by_chainage and "crs" in config.position.model_fields_set:
            notes.append(f'[position] crs has no effect with source = "{source}" and no [route] file')
        return notes
    if source == "none":
        return ['[route] file has no effect with [position] source = "none"']
    key = "max_offset_m" if by_chainage else "offset_m"
    return [f'[route] {key} has no effect with source = "{source}"'] if key in route.model_fields_set else []


def _cameras(config: SurveyConfig) -> list[tuple[str, CameraConfig]]:
    return sorted(config.cameras.items())


def _idle(name: str, table: PositionConfig | GroundConfig, switch: str, read: frozenset[str]) -> list[str]:
    idle = sorted(table.model_fields_set - read - {switch})
    return [f'[{name}] {key} has no effect with {switch} = "{getattr(table, switch)}"' for key in idle]
