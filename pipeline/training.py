"""A training, and the curves it leaves behind."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from crackmap.stages.training.run import TrainingRun, train

SMOOTHED_OVER = 15
"""Logged values in a running mean of the loss: single batches scatter."""


def train_and_draw(run: TrainingRun, *, data: Path | None, out: Path, resume: bool = False) -> Path:
    """Trains a net, draws its loss to out/curves.png and returns the path of its weights; arguments as of `train`."""
    path = train(run, data=data, out=out, resume=resume)
    # One log for each time that the training was taken up.
    logs = sorted(out.glob("logs*/metrics.csv"), key=lambda log: int(log.parent.name.removeprefix("logs")))
    draw_curves(pd.concat(map(pd.read_csv, logs)), out / "curves.png")
    return path


def draw_curves(table: pd.DataFrame, picture: Path) -> None:
    """Draws each logged loss (a column) over the steps (a column); those of held-back crops dashed."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name in sorted(set(table.columns) - {"epoch", "step"}):
        values = table[["step", name]].dropna()
        if name.startswith("validation_"):
            axes.plot(values["step"], values[name], "--o", label=name, markersize=3)
        else:
            smooth = values[name].rolling(SMOOTHED_OVER, min_periods=1).mean()
            axes.plot(values["step"], smooth, label=name)
    axes.set(xlabel="optimiser step", ylabel="loss", title=f"running mean over {SMOOTHED_OVER} logged batches")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(picture, dpi=110)
