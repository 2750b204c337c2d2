"""Profiles from files: those that come with the package, and a user's own."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from crackmap.calibration.errors import InputError
from crackmap.calibration.files import read_toml
from crackmap.pipeline.profiles.model import Profile


def profile_names() -> tuple[str, ...]:
    """Names of the profiles that come with the package, sorted."""
    folder = resources.files("crackmap.pipeline.profiles")
    return tuple(sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml")))


def load_profile(wanted: str, *, lane_width_m: float | None = None) -> tuple[str, Profile]:
    """A profile and its name.

    Args:
        wanted: the name of one that comes with the package, or the path of a file.
        lane_width_m: in place of the profile's own lane.

    Raises:
        InputError: no such profile, not TOML, an unknown or missing key, or a wrong value.
    """
    if wanted in profile_names():
        text = (resources.files("crackmap.pipeline.profiles") / f"{wanted}.toml").read_text("utf-8")
        table = tomllib.loads(text)
    elif Path(wanted).suffix == ".toml":
        if Path(wanted).stem in profile_names():
            raise InputError(
                f"profile {wanted}: its results would be called like those of {Path(wanted).stem}, which comes with "
                "crackmap; call your file otherwise"
            )
        try:
            table = read_toml(Path(wanted))
        except InputError as error:
            raise InputError(f"{wanted}: {error}; docs/profiles.md shows how a profile is written") from error
    else:
        near = difflib.get_close_matches(wanted, profile_names(), 1, cutoff=0.5)
        raise InputError(
            f"profile {wanted!r}: no such profile{f' (did you mean {near[0]!r}?)' if near else ''}; there are: "
            f"{', '.join(profile_names())}; or give a file NAME.toml of your own"
        )
    if lane_width_m is not None and isinstance(table.get("lane", {}), dict):
        table = {**table, "lane": {**table.get("lane", {}), "width_m": lane_width_m}}
    return Path(wanted).stem, _parsed(wanted, table)


def load_profiles(wanted: Sequence[str], *, lane_width_m: float | None = None) -> tuple[tuple[str, Profile], ...]:
    """Profiles with their names, see `load_profile`; the width of the lane goes to those that have a lane.

    Raises:
        InputError: as `load_profile`; two have the same name; none has a lane that a width could be given to.
    """
    found: list[tuple[str, Profile]] = []
    for name in dict.fromkeys(wanted):
        stem, profile = load_profile(name)
        if lane_width_m is not None and profile.lane.width_m is not None:
            stem, profile = load_profile(name, lane_width_m=lane_width_m)
        if stem in [other for other, _ in found]:
            raise InputError(f"profile {name}: another one is called {stem} as well; call one file otherwise")
        found.append((stem, profile))
    if lane_width_m is not None and not any(profile.lane.width_m is not None for _, profile in found):
        raise InputError(
            "--lane-width: none of these profiles has a lane; leave it out, or give a profile that has one"
        )
    return tuple(found)


def common_length_m(profiles: Sequence[tuple[str, Profile]]) -> float:
    """The section length that profiles ask for; 100 m where there is none.

    Raises:
        InputError: they ask for different lengths.
    """
    lengths = {name: profile.section.length_m for name, profile in profiles}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {length:g} m" for name, length in lengths.items())
        raise InputError(f"profiles ask for sections of different lengths ({said}); give --length, or one at a time")
    return next(iter(lengths.values()), 100.0)


def _parsed(name: str, table: dict[str, Any]) -> Profile:
    try:
        return Profile.model_validate(table)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        message = str(first["msg"]).removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            known = _keys(first["loc"][:-1])
            near = difflib.get_close_matches(str(first["loc"][-1]), known, 1, cutoff=0.5)
            message = f"unknown key{f' (did you mean {near[0]!r}?)' if near else ''}; known are: {', '.join(known)}"
        raise InputError(f"profile {name}: {place}: {message}" if place else f"profile {name}: {message}") from error


def _keys(place: tuple[int | str, ...]) -> list[str]:
    """The keys of the table at a place of the file."""
    model: type[BaseModel] = Profile
    for part in place:
        for key, info in model.model_fields.items():
            if part in (key, info.alias):
                inner = _models(info.annotation)
                model = inner[0] if inner else model
    return [info.alias or key for key, info in model.model_fields.items()]


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models inside a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models(part)]


def profiles_text() -> str:
    """The profiles that come with the package: title, source, and what is unconfirmed in each."""
    lines = []
    for name in profile_names():
        _, profile = load_profile(name)
        lines += [f"{name}: {profile.title}", f"  source: {profile.source}"]
        lines += [f"  not graded: {text}" for text in profile.not_graded]
        lines += [f"  unconfirmed: {key}: {text}" for key, text in profile.unconfirmed.items()]
    return "\n".join(lines)
