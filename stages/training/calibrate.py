"""Calibration of a trained segmenter: the last step before its weights are used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crackmap.calibration.errors import InputError, StorageError, require
from crackmap.stages.datasets.sources import load_split
from crackmap.stages.segment.calibrate import fit_classes, logit_counts
from crackmap.stages.segment.nets import segment_config
from crackmap.stages.segment.segmenter import Segmenter
from crackmap.stages.weights import read_weights, save_weights


def calibrate_weights(
    weights_path: Path,
    *,
    sets: Sequence[str],
    split: str,
    data: Path | None,
    tolerance_px: float,
    device: str,
    out: Path,
    keep_decision: bool = False,
) -> dict[str, tuple[float, float]]:
    """Fits scale and offset of the logits of each class and writes the weights with them to `out`.

    A calibration that the weights already have is replaced. The sets join those that the weights have learnt from.
    Classes of which no image of the sets shows a pixel stay as they are.

    Args:
        weights_path: weights of a segmenter.
        sets: names of data sets, each of which counts the same.
        split: of all of them; one that was not trained on.
        data: folder of the public sets.
        tolerance_px: how far labels may lie from the crack (`logit_counts`).
        device: where to compute.
        out: the weight file to write.
        keep_decision: fit the scale alone (`fit_calibration`).

    Returns:
        class -> scale and offset.

    Raises:
        InputError: no set, an unknown one, or one without a crack.
        WeightsError: no weights of a segmenter.
        StorageError: `out` cannot be written.
    """
    require(len(sets) > 0, "sets", "one data set or more", list(sets))
    weights = read_weights(weights_path, stage="segment")
    segmenter = Segmenter.load(weights, device)
    counts = [
        logit_counts(segmenter, (image.read() for image in load_split(name, split, data)), tolerance_px=tolerance_px)
        for name in sets
    ]
    fitted = fit_classes(counts, keep_decision=keep_decision)
    if not fitted:
        raise InputError(f"calibration: no labelled crack in {', '.join(sets)} ({split}); give another --split or set")
    try:
        save_weights(
            out, segmenter.net, stage=weights.stage, net=weights.net, trained_on=sorted({*weights.trained_on, *sets}),
            config=segment_config(weights.net, weights.config), calibration={**weights.calibration, **fitted},
        )  # fmt: skip
    except OSError as error:
        raise StorageError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    return fitted
