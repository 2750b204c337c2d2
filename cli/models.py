"""crackmap models: the nets by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from crackmap.cli.console import echo
from crackmap.cli.options import json_option

if TYPE_CHECKING:
    from crackmap.stages.presets import Preset


@click.group()
def command() -> None:
    """List and show the nets that can be trained, scored and run."""


@command.command("list")
@json_option()
def list_models(as_json: bool) -> None:
    """All presets, a line each; those marked * come with weights."""
    from crackmap.stages.presets import DEFAULTS, PRESETS

    if as_json:
        rows = [{"name": item.name, "stage": item.stage, "about": item.about, "published": item.published,
                 "ships": item.name in DEFAULTS.values()} for item in PRESETS.values()]  # fmt: skip
        echo(json.dumps(rows, indent=1))
        return
    width = max(map(len, PRESETS))
    for preset in PRESETS.values():
        mark = "*" if preset.name in DEFAULTS.values() else " "
        echo(f"{mark} {preset.name:<{width}}  {preset.stage:<8} {preset.about}")
    echo("\n* its weights come with crackmap. More: crackmap models show NAME")


@command.command()
@click.argument("name")
@json_option()
def show(name: str, as_json: bool) -> None:
    """What the preset NAME is, how it is trained, and what its authors published."""
    from crackmap.stages.presets import DEFAULTS, preset_called

    preset = preset_called(name)
    report = _report(preset)
    if as_json:
        echo(json.dumps(report, indent=1))
        return
    echo(f"{preset.name} ({preset.stage}): {preset.about}")
    for title in ("source", "published"):
        if report[title]:
            echo(f"{title}: {report[title]}")
    echo(f"parameters: {report['parameters'] / 1e6:.2f} million")
    for title in ("net", "training", "mixture"):
        echo(f"{title}:")
        for key, value in report[title].items():
            echo(f"  {key} = {json.dumps(value)}")
    frozen = getattr(preset.net, "frozen_encoder", False)
    start = " --encoder-weights IMAGENET.pth" if frozen else ""
    echo(f"train:  crackmap train {preset.stage} --preset {preset.name} --data DATA{start} -o RUN")
    weights = "" if preset.name in DEFAULTS.values() else f" --{preset.stage}-weights RUN/{preset.stage}.safetensors"
    switch = " --screen" if preset.stage == "screen" else ""
    echo(f"score:  crackmap evaluate {preset.stage} --set dnit --data DATA{weights}")
    echo(f"run:    crackmap run SURVEY -o OUT{switch}{weights}")


def _report(preset: Preset) -> dict[str, Any]:
    from dataclasses import asdict

    from crackmap.stages.training.run import parameter_count

    return {**asdict(preset), "mixture": dict(preset.mixture), "parameters": parameter_count(preset.net)}
