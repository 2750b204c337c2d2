"""Curves of the measures as PNG files; the same numbers give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from crackmap.stages.metrics import SegmentationScores
from crackmap.stages.metrics_detection import LENGTH_WANTED, DetectionScores
from crackmap.stages.metrics_reliability import SPOKEN, Reliability

_DPI = 110


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot: its points, how it is named in the legend, and matplotlib's format of it."""

    x: Sequence[float]
    y: Sequence[float]
    name: str = ""
    style: str = "-"


def draw_lines(
    path: Path, lines: Sequence[Line], *, title: str, x_label: str, y_label: str, limits: bool = True
) -> None:
    """Writes one pair of axes with lines, both from 0 to 1 if `limits`."""
    figure, axes = _figure(title, x_label, y_label)
    for line in lines:
        axes.plot(line.x, line.y, line.style, label=line.name or None)
    if limits:
        axes.set(xlim=(0, 1), ylim=(0, 1.005))
    if any(line.name for line in lines):
        axes.legend(loc="best", frameon=False)
    save(figure, path)


def draw_precision_recall(path: Path, scores: SegmentationScores, *, title: str) -> None:
    """Precision over recall at each tolerance, with the point of probability 0.5 marked."""
    lines = []
    for tolerance, curve in scores.curve.items():
        name = "strict" if tolerance == 0 else f"within {tolerance} px"
        lines.append(Line([r for _, _, r in curve], [p for _, p, _ in curve], name))
        half = scores.at_half[tolerance]
        lines.append(Line([half.recall], [half.precision], style="ko"))
    draw_lines(path, lines, title=f"{title}\n(dots: probability 0.5)", x_label="recall", y_label="precision")


def draw_reliability(path: Path, found: Reliability, *, title: str) -> None:
    """Share of crack over stated probability; beneath it how many pixels each bin holds."""
    figure = Figure(figsize=(5.2, 5.6), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    axes.plot([0, 1], [0, 1], "k:", label="as stated")
    known = found.pixels > 0
    axes.plot(found.stated[known], found.found[known], "o-", label="found")
    axes.set(ylabel="share that is crack", xlim=(0, 1), ylim=(0, 1),
             title=f"{title}\nerror {found.error:.4f}, of p >= {SPOKEN}: {found.spoken_error:.3f}")  # fmt: skip
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", frameon=False)
    edges = np.linspace(0, 1, len(found.pixels) + 1)
    counts.bar(edges[:-1], np.maximum(found.pixels, 0), width=np.diff(edges), align="edge", edgecolor="white")
    counts.set(xlabel="probability", ylabel="pixels", yscale="log")
    save(figure, path)


def draw_length_over_area(path: Path, curve: Sequence[DetectionScores], *, title: str, score: float) -> None:
    """Share of crack length over share of area as the score falls, for cells passed on and for the plain boxes."""
    figure, axes = _figure(title, "share of the image area passed on", "share of the crack length inside")
    axes.plot([point.area_share for point in curve], [point.length_share for point in curve], label="cells")
    axes.plot([1 - point.reduction for point in curve], [point.length_share_boxes for point in curve], label="boxes")
    used = min(curve, key=lambda point: abs(point.score - score))
    axes.plot([used.area_share], [used.length_share], "ko", label=f"score {used.score:g}")
    axes.axhline(LENGTH_WANTED, color="grey", linestyle=":", linewidth=1)
    axes.set(xlim=(0, 1), ylim=(0, 1.005))
    axes.legend(loc="lower right", frameon=False)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG without the version of the program, which would change the bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})


def _figure(title: str, x_label: str, y_label: str) -> tuple[Figure, Any]:
    # Not pyplot: it keeps figures open and picks a window system.
    figure = Figure(figsize=(5.6, 4.6), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    axes.grid(alpha=0.3)
    return figure, axes
