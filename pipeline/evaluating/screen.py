"""Scores of the patch classifier: confusion matrix, ROC, right and wrong patches, and heat on cracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from crackmap.pipeline.evaluating.pictures import panels, write_png
from crackmap.pipeline.explain import under_heat
from crackmap.stages import plots
from crackmap.stages.datasets.patch_source import read_patch, screen_patches
from crackmap.stages.datasets.patches import Patch
from crackmap.stages.explain import grad_cam, heat_share_on_crack
from crackmap.stages.metrics import near
from crackmap.stages.metrics_classes import ClassScores, score_classes
from crackmap.stages.screen.screener import Screener

HEAT_TOLERANCE_PX = 8
"""Half a cell of a feature map at 1/16: heat this close to a crack lies on it."""

EXAMPLES = 12
"""Patches in a picture of right, false or missed ones."""

BATCH = 32


@dataclass(frozen=True, slots=True)
class HeatScores:
    """Whether Grad-CAM lies on the crack, over the cracked patches whose crack pixels are known.

    Attributes:
        patches: how many.
        share: mean share of the heat within HEAT_TOLERANCE_PX of the crack.
        chance: mean share of the area within it: what evenly spread heat would give.
        ratio: mean over the patches of share / chance of each. At most 1 / chance: patches full of cracks lower it.
    """

    patches: int
    share: float
    chance: float
    ratio: float


@dataclass(frozen=True, slots=True)
class ScreenEvaluation:
    """All scores of a classifier on a split.

    Attributes:
        scores: of its answers.
        heat: of Grad-CAM by block, "last" and "sharp" (ScreenNet); empty where no crack pixels are known.
    """

    scores: ClassScores
    heat: dict[str, HeatScores]


def evaluate_screen(
    screener: Screener,
    *,
    data_sets: Sequence[str],
    split: str,
    data: Path | None,
    threshold: float = 0.5,
    per_image: int | None = None,
    seed: int = 0,
    pictures: Path | None = None,
) -> ScreenEvaluation:
    """Scores of a classifier over the patches of one split of some sets together.

    Args:
        screener: the net.
        data_sets: as `crackmap.stages.datasets.patch_source.screen_patches` names them.
        split: "train", "val" or "test".
        data: folder of the public sets.
        threshold: from this probability on a patch counts as cracked.
        per_image: patches cut from an image, at most; None: as for the training.
        seed: of the patches.
        pictures: folder for the confusion matrix, the ROC, and right / false / missed patches.

    Raises:
        InputError: no such set or split, or patches of one class only.
        StorageError: a picture cannot be written.
    """
    config = screener.net.config
    items = [
        item
        for name in data_sets
        for item in screen_patches(name, split, data, patch_px=config.patch_px, seed=seed, per_image=per_image)
    ]
    patches = [read_patch(item, config.side_px) for item in items]
    probabilities = _probabilities(screener, patches)
    cracked = np.array([patch.cracked for patch in patches], bool)
    scores = score_classes(probabilities, cracked, threshold=threshold)
    if pictures is not None:
        title = f"{', '.join(data_sets)} {split}, {len(patches)} patches"
        _draw_curves(pictures, scores, title)
        _draw_examples(pictures, screener, patches, probabilities, threshold)
    return ScreenEvaluation(scores, _heat_scores(screener, patches))


def _probabilities(screener: Screener, patches: Sequence[Patch]) -> NDArray[np.float64]:
    batches = [patches[first : first + BATCH] for first in range(0, len(patches), BATCH)]
    return np.concatenate([screener.probabilities(np.stack([p.image for p in batch])) for batch in batches])


def _heat_scores(screener: Screener, patches: Sequence[Patch]) -> dict[str, HeatScores]:
    blocks = {"last": screener.net.last_block, "sharp": screener.net.sharp_block}
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in blocks}
    for patch in patches:
        if not patch.cracked or patch.crack is None or not patch.crack.any():
            continue
        close = near(patch.crack, HEAT_TOLERANCE_PX)
        for name, block in blocks.items():
            share, ratio = heat_share_on_crack(grad_cam(screener.net, block, patch.image), close)
            found[name].append((share, float(close.mean()), ratio))
    return {name: HeatScores(len(rows), *np.mean(rows, axis=0).tolist()) for name, rows in found.items() if rows}


def _draw_curves(folder: Path, scores: ClassScores, title: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    roc = scores.roc_fpr_tpr
    lines = [
        plots.Line(roc[:, 0].tolist(), roc[:, 1].tolist(), f"AUC {scores.auc:.4f}"),
        plots.Line([0, 1], [0, 1], "chance", "k:"),
    ]
    plots.draw_lines(
        folder / "roc.png", lines, title=title, x_label="false positive rate", y_label="true positive rate"
    )  # fmt: skip
    figure = Figure(figsize=(4.4, 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    counts = np.array([[scores.true_negative, scores.false_positive], [scores.false_negative, scores.true_positive]])
    axes.imshow(counts, cmap="Blues", vmin=0)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if count > counts.max() / 2 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=14)
    names = ["no crack", "crack"]
    axes.set(xticks=[0, 1], yticks=[0, 1], xticklabels=names, yticklabels=names,
             xlabel=f"called, from {scores.threshold:g} on", ylabel="is", title=title)  # fmt: skip
    axes.title.set_fontsize(9)
    plots.save(figure, folder / "confusion.png")


def _draw_examples(
    folder: Path, screener: Screener, patches: Sequence[Patch], probabilities: NDArray[np.float64], threshold: float
) -> None:
    """The surest right patches, and the worst false and missed ones, each beside its heat."""
    cracked = np.array([patch.cracked for patch in patches], bool)
    called = probabilities >= threshold
    kinds = {
        "right": (called & cracked, -probabilities),
        "false": (called & ~cracked, -probabilities),
        "missed": (~called & cracked, probabilities),
    }
    for name, (chosen, order) in kinds.items():
        indices = np.flatnonzero(chosen)
        indices = indices[np.argsort(order[indices], kind="stable")][:EXAMPLES]
        pairs = []
        for index in indices.tolist():
            patch = patches[index]
            heat = grad_cam(screener.net, screener.net.sharp_block, patch.image)
            pairs.append((f"{probabilities[index]:.3f}", np.hstack([patch.image, under_heat(patch.image, heat)])))
        if pairs:
            write_png(folder, name, panels(pairs, columns=3))


def screen_report(found: ScreenEvaluation) -> dict[str, Any]:
    """The scores as plain values, ready for JSON."""
    scores = found.scores
    return {
        "threshold": scores.threshold,
        **{name: getattr(scores, name) for name in ("accuracy", "precision", "recall", "f1", "auc")},
        "confusion": {
            name: getattr(scores, name)
            for name in ("true_positive", "false_positive", "false_negative", "true_negative")
        },
        "roc_fpr_tpr": scores.roc_fpr_tpr.round(5).tolist(),
        "heat": {name: asdict(heat) for name, heat in found.heat.items()},
    }  # fmt: skip


def screen_table(found: ScreenEvaluation) -> str:
    """The scores as a table for the terminal."""
    scores = found.scores
    lines = [
        "accuracy  precision  recall      F1     AUC",
        f"{scores.accuracy:8.4f} {scores.precision:10.4f} {scores.recall:7.4f} {scores.f1:7.4f} {scores.auc:7.4f}",
        "                   called crack  called free",
        f"is crack           {scores.true_positive:12d} {scores.false_negative:12d}",
        f"is free of cracks  {scores.false_positive:12d} {scores.true_negative:12d}",
    ]
    for name, heat in found.heat.items():
        lines.append(f"Grad-CAM, {name} block: {100 * heat.share:.1f} % of the heat within {HEAT_TOLERANCE_PX} px of "
                     f"the crack, {heat.ratio:.2f} times chance ({heat.patches} patches)")  # fmt: skip
    return "\n".join(lines)
