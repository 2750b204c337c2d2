"""crackmap info: what is installed here."""

from __future__ import annotations

import click

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "segmentation-models-pytorch", "opencv-python", "numpy",
            "shapely", "rasterio", "pyproj", "pyogrio")  # fmt: skip


@click.command()
def command() -> None:
    """Versions, devices and weights: paste this into a bug report."""
    import platform
    from importlib.metadata import version

    import torch

    from crackmap.stages.weights import shipped_weights

    click.echo(f"crackmap {version('crackmap')}, Python {platform.python_version()}, {platform.platform()}")
    for name in PACKAGES:
        click.echo(f"  {name} {version(name)}")
    click.echo(f"CPU threads: {torch.get_num_threads()}")
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    click.echo(f"GPUs: {', '.join(gpus) or 'none'}")
    for stage in ("detect", "segment"):
        weights = shipped_weights(stage)
        click.echo(f"Weights of {stage}: {weights.name}, {weights.net}, sha256 {weights.sha256[:16]}")
