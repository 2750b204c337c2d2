"""survey.toml: what a survey folder holds and how it is to be read.

Every key, its default and its unit is documented at its field. An unknown key is an error that names the nearest known
one, because a misspelt key that is silently passed over costs a night of computing.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from crackmap.calibration.errors import InputError
from crackmap.calibration.files import read_toml

SURVEY_FILE = "survey.toml"

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
PATTERN_GROUPS = ("recording", "chainage_m", "time_s", "sequence", "distance_m", "camera", "lane")
"""Named groups that a frame pattern may have."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FramesConfig(_Table):
    """[frames]: which files are frames, and what their names say."""

    include: tuple[str, ...] = Field(
        ("*.jpg", "*.jpeg", "*.png", "*.tif", "*.tiff"),
        min_length=1,
        description="globs of image files, case aside; one without «/» is matched against the file name, "
        "one with it against the path below the survey folder",
    )
    exclude: tuple[str, ...] = Field((), description="globs of files to leave out, in the same way")
    pattern: str | None = Field(
        None,
        description="regular expression searched in the path below the survey folder; its named groups recording, "
        "chainage_m, time_s, sequence, distance_m (odometer), camera and lane say what the name holds. Files it is not "
        "found in are skipped. "
        "Without a recording group each folder is a recording",
        examples=[r"(?P<recording>[0-9A-Z]+)_(?P<chainage_m>\d+)\.jpg$"],
    )

    @field_validator("pattern")
    @classmethod
    def _check_pattern(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            groups = re.compile(value).groupindex
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}; in TOML write it in 'single quotes'") from error
        for group in groups:
            if group not in PATTERN_GROUPS:
                raise ValueError(f"unknown group {group!r}{_nearest(group, PATTERN_GROUPS)}")
        return value

    @property
    def groups(self) -> frozenset[str]:
        """The named groups of the pattern."""
        return frozenset(re.compile(self.pattern).groupindex) if self.pattern else frozenset()


class ColumnsConfig(_Table):
    """[position.columns]: names of the columns of a CSV track, where they are not common ones."""

    time: str | None = Field(None, description="seconds, or ISO 8601 times", examples=["time_s"])
    lat: str | None = Field(None, description="latitude, degrees, WGS 84", examples=["lat_deg"])
    lon: str | None = Field(None, description="longitude, degrees, WGS 84", examples=["lon_deg"])
    speed: str | None = Field(None, description="speed, metres per second", examples=["speed_m_s"])
    accuracy: str | None = Field(None, description="standard deviation of a fix, metres", examples=["accuracy_m"])
    distance: str | None = Field(None, description="odometer reading, metres", examples=["distance_m"])


class PositionConfig(_Table):
    """[position]: where the frames lie. Georeferenced rasters need nothing here."""

    source: Literal["none", "chainage", "counter", "track", "distance", "exif"] = Field(
        "none",
        description="chainage: from the pattern's group chainage_m; counter: from its group sequence, a counter that "
        "ticks every step_m metres, starting at the first image's chainage_m if the pattern has that group; "
        "track: by the group time_s from a track; distance: by the group distance_m, an odometer reading, from a "
        "track; exif: from the GPS block of each image",
    )
    step_m: Positive | None = Field(None, description="metres from one count to the next", examples=[5.0])
    chainage_scale: Positive = Field(1.0, description="metres per unit of the group chainage_m: 1000 for kilometres")
    time_scale: Positive = Field(1.0, description="seconds per unit of the group time_s: 0.001 for milliseconds")
    time_offset_s: Finite | Literal["estimate"] = Field(
        0.0,
        description='track time less frame time, seconds; "estimate": the delay of the receiver against the odometer, '
        "whose clock is that of the frames",
    )
    distance_scale: Positive = Field(1.0, description="metres per unit of the group distance_m: 1000 for kilometres")
    distance_offset_m: Finite = Field(
        0.0, description="distance along the track, or in its distance column, less distance_m of a frame, metres"
    )
    track: str | None = Field(
        None, description="CSV, GPX or NMEA file, relative to the survey folder", examples=["gnss.csv"]
    )
    odometer: str | None = Field(
        None,
        description="CSV file with columns time_s and speed_m_s or distance_m: bridges gaps of the track",
        examples=["odometer.csv"],
    )
    columns: ColumnsConfig = Field(default_factory=ColumnsConfig, description="names of the track's columns")
    antenna_m: tuple[Finite, Finite] = Field(
        (0.0, 0.0), description="place of the GNSS antenna on the vehicle: [to the right, ahead] of its origin, metres"
    )
    accuracy_m: Positive | None = Field(
        None,
        description="standard deviation of either coordinate of a fix as a whole, where the track states none, metres; "
        "without it the accuracy of positions is left open",
        examples=[0.5],
    )
    crs: str | None = Field(
        None,
        description="projected CRS of the products, in metres; by default the UTM zone of the first fix",
        examples=["EPSG:25833"],
    )
    max_gap_s: Positive = Field(2.0, description="fixes farther apart than this leave a gap, seconds")
    max_gap_m: Positive = Field(50.0, description="fixes farther apart than this leave a gap, metres")
    max_bridge_s: Positive = Field(30.0, description="longest gap that the odometer bridges, seconds")
    max_speed_kmh: Positive = Field(200.0, description="a fix that implies more than this is dropped, km/h")

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        needs = {"track": ("track",), "distance": ("track",), "counter": ("step_m",)}
        if self.time_offset_s == "estimate":
            _need(self, "position", ("odometer",), 'time_offset_s = "estimate"')
        _need(self, "position", needs.get(self.source, ()), f'source = "{self.source}"')
        return self


class GroundConfig(_Table):
    """[ground]: how large a pixel is on the road. Georeferenced rasters need nothing here."""

    method: Literal["none", "file", "gsd", "points", "lane", "mount"] = Field(
        "none",
        description="file: a calibration made by `crackmap calibrate plane`; gsd: a camera that looks straight down; "
        "points: four or more points measured on the road; lane: a forward camera, from lane masks, once per "
        "recording; mount: known height and angles",
    )
    calibration: str | None = Field(
        None,
        description="calibration file, relative to the survey folder; with another method than file its lens is used",
        examples=["front.toml"],
    )
    gsd_mm: Positive | tuple[Positive, Positive] | None = Field(
        None, description="millimetres per pixel, or [along a row, along a column]", examples=[1.0]
    )
    points_px: tuple[tuple[Finite, Finite], ...] | None = Field(
        None,
        description="image points [x, y], from the top-left corner",
        examples=[[[300, 400], [700, 400], [900, 600], [100, 600]]],
    )
    points_m: tuple[tuple[Finite, Finite], ...] | None = Field(
        None,
        description="the same points on the road: [to the right, ahead], metres",
        examples=[[[-1.8, 9.0], [1.8, 9.0], [1.8, 4.0], [-1.8, 4.0]]],
    )
    lane_width_m: Positive | None = Field(
        None, description="width between the edges of the lane masks, metres", examples=[3.6]
    )
    focal_px: Positive | None = Field(
        None,
        description="focal length of the camera over its pixel size; not needed beside a calibration file with a lens",
        examples=[1290.0],
    )
    height_m: Positive | None = Field(None, description="height of the camera above the road, metres", examples=[2.2])
    pitch_deg: Finite | None = Field(
        None, description="how far it looks down: 0 at the horizon, 90 straight down", examples=[30.0]
    )
    roll_deg: Finite = Field(0.0, description="turned clockwise about its optical axis, as seen from behind it")
    yaw_deg: Finite = Field(0.0, description="turned to the right of the direction of travel; 180 looks back")
    position_m: tuple[Finite, Finite] = Field(
        (0.0, 0.0), description="place of the camera on the vehicle: [to the right, ahead] of its origin, metres"
    )
    mask_replace: tuple[str, str] | None = Field(
        None,
        description="[end of an image's name, end of its lane mask's name]: the mask lies beside the image",
        examples=[["_RAW.jpg", "_LANE.png"]],
    )

    scale_uncertainty_percent: Annotated[float, Field(ge=0, lt=100, allow_inf_nan=False)] | None = Field(
        None,
        description="standard uncertainty of lengths on the road that the method leaves, per cent; part of the "
        "uncertainty of every crack. By default 3 for lane (lane widths of one class of road scatter by a decimetre), "
        "0 for the others: they are taken as exact",
        examples=[1.0],
    )

    @field_validator("mask_replace")
    @classmethod
    def _check_endings(cls, value: tuple[str, str] | None) -> tuple[str, str] | None:
        if value is not None and (not value[0] or any(set(ending) & set("/\\\0") for ending in value)):
            raise ValueError("expected two ends of file names, without a folder")
        return value

    @model_validator(mode="after")
    def _check_method(self) -> Self:
        needs = {
            "none": (),
            "file": ("calibration",),
            "gsd": ("gsd_mm",),
            "points": ("points_px", "points_m"),
            "lane": ("lane_width_m", "mask_replace"),
            "mount": ("height_m", "pitch_deg"),
        }
        _need(self, "ground", needs[self.method], f'method = "{self.method}"')
        if self.method in ("lane", "mount") and self.calibration is None:
            _need(self, "ground", ("focal_px",), f'method = "{self.method}" without a calibration file')
        return self


class LimitsConfig(_Table):
    """[limits]: where in the image measurements are trusted."""

    coarsest_gsd_mm: Positive | None = Field(
        None,
        description="no measurement where a pixel step covers more ground than this, millimetres; by default 50, "
        "or twice the pixel of a downward camera or raster",
    )
    lateral_m: tuple[Finite, Finite] | None = Field(
        None, description="leftmost and rightmost ground x that counts as road, metres from the vehicle's origin"
    )
    farthest_m: Positive | None = Field(None, description="greatest distance ahead, or behind, that counts, metres")
    nearest_m: Positive | None = Field(
        None, description="least distance that counts, metres: before it the bonnet or the vehicle's shadow is seen"
    )

    @field_validator("lateral_m")
    @classmethod
    def _check_lateral(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not value[0] < value[1]:
            raise ValueError(f"expected left below right, got {list(value)}")
        return value


class CameraConfig(_Table):
    """[cameras.NAME]: one of several cameras of the vehicle."""

    match: tuple[str, ...] = Field(
        (),
        description="globs of its images, as in [frames] include; not needed where the pattern has a group camera",
        examples=[["left/*"]],
    )
    ground: GroundConfig = Field(default_factory=GroundConfig, description="as [ground], for this camera")
    limits: LimitsConfig = Field(default_factory=LimitsConfig, description="as [limits], for this camera")


class RouteConfig(_Table):
    """[route]: the line along which chainage and offset are counted."""

    file: str | None = Field(
        None,
        description="GeoPackage, GeoJSON or Shapefile with the line, relative to the survey folder",
        examples=["route.gpkg"],
    )
    layer: str | None = Field(None, description="layer of the file, where it has several")
    name: str | None = Field(None, description="which line of the file: the value of its column name or ref")
    start_m: Finite = Field(0.0, description="chainage of the start of the line, metres")
    reverse: bool = Field(False, description="chainage grows against the direction the line is drawn in")
    calibration_points: str | None = Field(
        None,
        description="CSV with columns chainage_m and lat, lon (or x, y, or distance_m): kilometre posts",
        examples=["posts.csv"],
    )
    max_offset_m: Positive = Field(25.0, description="frames farther than this from the line are cut off, metres")
    offset_m: Finite = Field(
        0.0, description="offset of the vehicle's path to the right of the line, where only chainage is known, metres"
    )
    direction: Literal["auto", "with", "against"] = Field(
        "auto",
        description="direction of travel against chainage; auto: as the track, or the order of the frames, says",
    )


class ImageConfig(_Table):
    """[image]: what the grey values of the pictures mean."""

    gamma: Annotated[float, Field(ge=0.3, le=4.0)] = Field(
        1.0,
        description="exponent that makes grey values linear in light: 1 for industrial cameras, about 2.2 for pictures "
        "in sRGB; widths of dark cracks read about 0.2 px thin if it is wrong",
    )


class SurveyConfig(_Table):
    """The whole of survey.toml; every table may be left out."""

    frames: FramesConfig = Field(default_factory=FramesConfig, description="which files are frames")
    position: PositionConfig = Field(default_factory=PositionConfig, description="where they lie")
    ground: GroundConfig = Field(default_factory=GroundConfig, description="how large a pixel is on the road")
    limits: LimitsConfig = Field(default_factory=LimitsConfig, description="where measurements are trusted")
    cameras: dict[str, CameraConfig] = Field(default_factory=dict, description="several cameras, each with its own")
    route: RouteConfig = Field(default_factory=RouteConfig, description="the line chainage is counted along")
    image: ImageConfig = Field(default_factory=ImageConfig, description="what the grey values mean")

    @model_validator(mode="after")
    def _check_cameras(self) -> Self:
        if self.cameras and (self.ground != GroundConfig() or self.limits != LimitsConfig()):
            raise ValueError(
                "[ground] and [limits] stand beside [cameras]: give them per camera, as [cameras.NAME.ground] and "
                "[cameras.NAME.limits]"
            )
        for name, camera in self.cameras.items():
            if not camera.match and "camera" not in self.frames.groups:
                raise ValueError(
                    f'[cameras.{name}] match is missing: say which images are its, e.g. match = ["{name}/*"], or give '
                    "[frames] pattern a group (?P<camera>...)"
                )
        return self

    @model_validator(mode="after")
    def _check_groups(self) -> Self:
        wanted = {"chainage": "chainage_m", "counter": "sequence", "track": "time_s", "distance": "distance_m"}.get(
            self.position.source
        )
        if wanted is not None and wanted not in self.frames.groups:
            raise ValueError(
                f'[position] source = "{self.position.source}" needs a group (?P<{wanted}>...) in [frames] pattern, '
                f"e.g. pattern = '(?P<{wanted}>\\d+)\\.jpg$'"
            )
        return self


def named_files(config: SurveyConfig) -> tuple[str, ...]:
    """The files that decide where frames lie and how large a pixel is, as survey.toml names them, sorted.

    Not the route: it only enters when results are put together.
    """
    position, grounds = config.position, [config.ground, *(camera.ground for camera in config.cameras.values())]
    by_track = position.source in ("track", "distance")
    named = [position.track, position.odometer] if by_track else []
    named += [ground.calibration for ground in grounds if ground.method in ("file", "points", "lane", "mount")]
    return tuple(sorted({name for name in named if name is not None}))


def preset_names() -> tuple[str, ...]:
    """Names of the surveys that come with the package, sorted."""
    folder = resources.files("crackmap.pipeline") / "presets"
    return tuple(sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml")))


def load_survey_config(folder: Path, survey: str | None = None) -> SurveyConfig:
    """Reads the description of a survey.

    Args:
        folder: the survey folder.
        survey: None: survey.toml in the folder if there is one, else the defaults; the path of a file; or the name of
            a preset.

    Raises:
        InputError: no such file or preset, not TOML, an unknown or missing key, or a wrong value.
    """
    if survey is None:
        path = folder / SURVEY_FILE
        return _read(path) if path.exists() else SurveyConfig()
    if survey in preset_names():
        preset = resources.files("crackmap.pipeline") / "presets" / f"{survey}.toml"
        return _parse(f"preset {survey}", tomllib.loads(preset.read_text("utf-8")))
    if Path(survey).is_file():
        return _read(Path(survey))
    raise InputError(
        f"survey {survey!r}: no such file, and no such preset{_nearest(survey, preset_names())}; "
        f"presets are: {', '.join(preset_names())}"
    )


def _need(table: _Table, name: str, keys: tuple[str, ...], because: str) -> None:
    for key in keys:
        if getattr(table, key) is None:
            example = (type(table).model_fields[key].examples or ["..."])[0]
            raise ValueError(f"[{name}] {key} is missing: {because} needs it, e.g. {key} = {_toml(example)}")


def _read(path: Path) -> SurveyConfig:
    try:
        table = read_toml(path)
    except InputError as error:
        raise InputError(f"{path.name}: {error}; docs/survey.md shows how it is written") from error
    return _parse(path.name, table)


def _parse(name: str, table: dict[str, Any]) -> SurveyConfig:
    try:
        return SurveyConfig.model_validate(table)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(f"{name}: {_explain(first)}") from error


def _explain(error: Any) -> str:
    """One pydantic error as a sentence that names table, key and remedy."""
    message = str(error["msg"]).removeprefix("Value error, ")
    place = tuple(part for part in error["loc"] if isinstance(part, str))
    if error["type"] == "extra_forbidden":
        known = tuple(_model_at(place[:-1]).model_fields)
        table = f"[{'.'.join(place[:-1])}] " if place[:-1] else ""
        return f"{table}{place[-1]}: unknown key{_nearest(place[-1], known)}; known are: {', '.join(known)}"
    if message.startswith("["):
        return message
    # Behind the key pydantic names the branch of a union, such as «float»: no help to a reader of TOML.
    first = 3 if place[:1] == ("cameras",) and len(place) > 3 else 1
    table, key = ".".join(place[:first]), (place[first:] + ("",))[0]
    where = f"[{table}] {key}: " if key else f"[{table}]: " if table else ""
    got = "" if error["type"] == "value_error" else f", got {_toml(error['input'])}"
    return f"{where}{message[:1].lower()}{message[1:]}{got}"


def _model_at(place: tuple[str, ...]) -> type[BaseModel]:
    model: type[BaseModel] = SurveyConfig
    for part in place:
        if part not in model.model_fields:
            # The name of a camera: its table is the one found last.
            continue
        inner = CameraConfig if part == "cameras" else model.model_fields[part].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return model


def _nearest(word: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, known, 1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return str(value)
