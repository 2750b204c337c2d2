"""Options of commands that can compute on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from crackmap.cli.options import Decorator, together

if TYPE_CHECKING:
    from crackmap.pipeline.cluster.crew import ClusterSettings


def cluster_options() -> Decorator:
    """--executor, --address and --gpus-per-worker."""
    options = (
        click.option("--executor", type=click.Choice(["local", "ray"]), default="local", show_default=True,
                     help="Who takes frames through the stages: this process, or workers that Ray starts on this "
                     "machine or on a cluster (pip install 'crackmap[ray]'). Results do not depend on it."),
        click.option("--address", metavar="ADDRESS", help="Of a running Ray cluster: auto (this machine is part of it),"
                     " 10.0.0.5:6379, ray://10.0.0.5:10001. Without it Ray starts on this machine, out of reach of "
                     "others. SURVEY, OUT and weight files must lie on storage that all machines share."),
        click.option("--gpus-per-worker", type=click.FloatRange(min=0), metavar="N",
                     help="Graphics cards of each worker; 0.5 puts two on one. By default 1 where there are any."),
    )  # fmt: skip
    return together(*options)


def cluster_settings(
    executor: str, address: str | None, workers: int, gpus_per_worker: float | None
) -> ClusterSettings | None:
    """What the options ask for; None for this process.

    Raises:
        click.UsageError: options of a cluster without one.
    """
    from crackmap.pipeline.cluster.crew import ClusterSettings

    if executor == "local":
        for name, value in (("--address", address), ("--gpus-per-worker", gpus_per_worker)):
            if value is not None:
                raise click.UsageError(f"{name} is for a cluster: give --executor ray")
        return None
    given = click.get_current_context().get_parameter_source("workers")
    asked = None if given is click.core.ParameterSource.DEFAULT else workers
    return ClusterSettings(address=address, workers=asked, gpus_per_worker=gpus_per_worker)
