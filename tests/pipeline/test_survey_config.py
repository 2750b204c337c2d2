"""survey.toml: defaults, presets, and messages that name the key and the remedy."""

import re

import pytest

from crackmap.calibration.errors import InputError
from crackmap.pipeline.config import (
    CameraConfig,
    FramesConfig,
    GroundConfig,
    PositionConfig,
    SurveyConfig,
    load_survey_config,
    preset_names,
)
from crackmap.pipeline.idle import GROUND_KEYS, POSITION_KEYS, idle_keys


def load(tmp_path, text):
    (tmp_path / "survey.toml").write_text(text, encoding="utf-8")
    return load_survey_config(tmp_path)


def test_without_a_file_the_defaults_hold(tmp_path):
    config = load_survey_config(tmp_path)
    assert config == SurveyConfig()
    assert config.position.source == "none"
    assert config.ground.method == "none"


def test_all_keys_are_read(tmp_path):
    config = load(
        tmp_path,
        """
        [frames]
        include = ["*.jpg"]
        exclude = ["thumbs/*"]
        pattern = '_t(?P<time_s>[0-9.]+)\\.jpg$'
        [position]
        source = "track"
        track = "gnss.csv"
        columns = { lat = "y" }
        max_gap_s = 1
        [ground]
        method = "gsd"
        gsd_mm = [1.0, 2]
        [limits]
        lateral_m = [-2, 2]
        """,
    )
    assert config.ground.gsd_mm == (1.0, 2.0)
    assert config.position.columns.lat == "y"
    assert config.limits.lateral_m == (-2.0, 2.0)
    assert config.frames.groups == {"time_s"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[grond]\n", "grond: unknown key (did you mean 'ground'?); known are: frames, position, ground, limits"),
        ("[ground]\nlane_width = 3.6\n", "[ground] lane_width: unknown key (did you mean 'lane_width_m'?)"),
        ("[position.columns]\nlatitude = 'y'\n", "[position.columns] latitude: unknown key (did you mean 'lat'?)"),
        ("[ground]\nmethod = 'gsd'\n", '[ground] gsd_mm is missing: method = "gsd" needs it, e.g. gsd_mm = 1.0'),
        (
            "[ground]\nmethod = 'lane'\nlane_width_m = 3.6\nfocal_px = 1000\n",
            '[ground] mask_replace is missing: method = "lane" needs it, e.g. mask_replace = ["_RAW.jpg", "_LANE.png"]',
        ),
        ("[position]\nsource = 'track'\n", '[position] track is missing: source = "track" needs it, e.g. track = "gn'),
        ("[position]\nsource = 'chainage'\n", "needs a group (?P<chainage_m>...) in [frames] pattern"),
        ("[ground]\nmethod = 'magic'\n", "[ground] method: input should be 'none', 'file', 'gsd', 'points', 'lane' or"),
        ("[ground]\nmethod = 'gsd'\ngsd_mm = -1\n", "[ground] gsd_mm: input should be greater than 0, got -1"),
        ("[position]\nmax_gap_s = 'two'\n", "[position] max_gap_s: input should be a valid number"),
        ("[position]\nmax_gap_s = inf\n", "[position] max_gap_s: input should be a finite number"),
        ("[limits]\nlateral_m = [2, -2]\n", "[limits] lateral_m: expected left below right, got [2.0, -2.0]"),
        ("[frames]\npattern = '(?P<x'\n", "[frames] pattern: not a regular expression"),
        ("[frames]\npattern = '(?P<chainage>x)'\n", "unknown group 'chainage' (did you mean 'chainage_m'?)"),
        ("[frames]\ninclude = []\n", "[frames] include: "),
        ("frames = 3\n", "[frames]: "),
        ("[frames\n", "not TOML: "),
    ],
)
def test_mistakes_are_named_with_table_key_and_remedy(tmp_path, text, message):
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        load(tmp_path, text)
    assert str(raised.value).startswith("survey.toml: ")
    assert "\n" not in str(raised.value)
    assert "pydantic" not in str(raised.value)


def test_every_key_is_documented():
    tables = [field.default_factory for field in SurveyConfig.model_fields.values()]
    for table in [SurveyConfig, CameraConfig, *(table for table in tables if table is not dict)]:
        for name, field in table.model_fields.items():
            assert field.description, (table, name)


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_valid(tmp_path, name):
    assert load_survey_config(tmp_path, name).frames.pattern


def test_dnit_names_are_understood(tmp_path):
    frames: FramesConfig = load_survey_config(tmp_path, "dnit").frames
    match = re.search(frames.pattern or "", "080BDF0070/1081349_DF_080_080BDF0070_00023_RAW.jpg")
    assert match is not None
    assert match.groupdict() == {"sequence": "1081349", "recording": "080BDF0070", "chainage_m": "00023"}


def test_a_survey_file_may_lie_elsewhere_and_unknown_ones_are_named(tmp_path):
    path = tmp_path / "other.toml"
    path.write_text("[ground]\nmethod = 'gsd'\ngsd_mm = 2\n", encoding="utf-8")
    assert load_survey_config(tmp_path / "nowhere", str(path)).ground.gsd_mm == 2.0
    with pytest.raises(InputError, match=r"'dnitt': no such file, and no such preset \(did you mean 'dnit'\?\)"):
        load_survey_config(tmp_path, "dnitt")


def test_keys_without_effect_are_named(tmp_path):
    text = """
[position]
source = "chainage"
antenna_m = [0.0, 1.0]
[frames]
pattern = '(?P<chainage_m>[0-9]+)'
[ground]
method = "gsd"
gsd_mm = 1.0
lane_width_m = 3.6
[route]
start_m = 5.0
"""
    (tmp_path / "survey.toml").write_text(text, encoding="utf-8")
    assert idle_keys(load_survey_config(tmp_path)) == (
        '[position] antenna_m has no effect with source = "chainage"',
        '[ground] lane_width_m has no effect with method = "gsd"',
        "[route] start_m has no effect without file",
    )


def test_every_key_is_read_by_some_source_or_method():
    assert frozenset().union(*POSITION_KEYS.values()) == set(PositionConfig.model_fields) - {"source"}
    assert frozenset().union(*GROUND_KEYS.values()) == set(GroundConfig.model_fields) - {"method"}


@pytest.mark.parametrize("name", preset_names())
def test_presets_hold_no_key_without_effect(tmp_path, name):
    assert idle_keys(load_survey_config(tmp_path, name)) == ()
