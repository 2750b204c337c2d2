"""Statistics as standards ask for them, each standard a TOML file in this folder."""

from crackmap.pipeline.profiles.load import load_profile, profile_names, profiles_text
from crackmap.pipeline.profiles.table import Column, ProfileTable, profile_table

__all__ = ["Column", "ProfileTable", "load_profile", "profile_names", "profile_table", "profiles_text"]
