"""Statistics as standards ask for them, each standard a TOML file in this folder."""

from crackmap.pipeline.profiles.load import (
    common_length_m,
    load_profile,
    load_profiles,
    profile_names,
    profiles_text,
)
from crackmap.pipeline.profiles.table import PLACE_COLUMNS, Column, ProfileTable, profile_table

__all__ = [
    "PLACE_COLUMNS",
    "Column",
    "ProfileTable",
    "common_length_m",
    "load_profile",
    "load_profiles",
    "profile_names",
    "profile_table",
    "profiles_text",
]
