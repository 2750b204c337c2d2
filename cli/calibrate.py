"""crackmap calibrate: the commands that say where a pixel lies on the road."""

from __future__ import annotations

import click

from crackmap.cli.group import LazyGroup

MODULES = {
    "camera": "crackmap.cli.calibrate_camera",
    "plane": "crackmap.cli.calibrate_plane",
    "check": "crackmap.cli.calibrate_check",
}


@click.group(cls=LazyGroup, modules=MODULES)
def command() -> None:
    """Where a pixel lies on the road: lens, then road plane, then a look at both.

    \b
    crackmap calibrate camera PHOTOS --board 9x6 --square 25mm -o camera.toml
    crackmap calibrate plane --lens camera.toml --points points.csv --frame IMAGE -o front.toml
    crackmap calibrate check front.toml IMAGE -o check

    Then name the file in survey.toml: [ground] method = "file", calibration = "front.toml".
    """
