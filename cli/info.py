"""crackmap info: what is installed here."""

from __future__ import annotations

import click

from crackmap.cli.console import echo

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "segmentation-models-pytorch", "opencv-python", "numpy",
            "shapely", "rasterio", "pyproj", "pyogrio")  # fmt: skip


@click.command()
def command() -> None:
    """Versions, devices and weights: paste this into a bug report."""
    import platform
    from importlib.metadata import version

    import torch

    from crackmap.stages.weights import shipped_weights

    echo(f"crackmap {version('crackmap')}, Python {platform.python_version()}, {platform.platform()}")
    for name in PACKAGES:
        echo(f"  {name} {version(name)}")
    echo(f"CPU threads: {torch.get_num_threads()}")
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    echo(f"GPUs: {', '.join(gpus) or 'none'}")
    for stage in ("detect", "segment"):
        weights = shipped_weights(stage)
        echo(f"Weights of {stage}: {weights.name}, {weights.net}, sha256 {weights.sha256[:16]}")
