"""crackmap demo: the first thing to try."""

from __future__ import annotations

from pathlib import Path

import click

from crackmap.cli.console import echo
from crackmap.cli.options import device_option, weights_options
from crackmap.cli.progress import frame_progress


@click.command()
@click.option("--out", "-o", default=Path("crackmap-demo"), show_default=True, type=click.Path(path_type=Path),
              help="Folder for the synthetic survey and its results.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Another seed, another road.")
@weights_options()
@device_option()
def command(out: Path, seed: int, detect_weights: Path | None, segment_weights: Path | None, device: str) -> int:
    """Make a small synthetic survey with known cracks, map it, and compare.

    Takes about a minute on two cores. Nothing is downloaded.
    """
    from crackmap.cli.run import print_summary
    from crackmap.pipeline.demo import compare, comparison_table
    from crackmap.pipeline.nets import load_stages
    from crackmap.pipeline.run import RunOptions, RunSettings, run_survey
    from crackmap.pipeline.survey import read_survey
    from crackmap.pipeline.synthetic import SyntheticSettings, write_survey

    # Single lines on a bare road: each true crack then has one measured line beside it in the table. No ruler-straight
    # ones, which are hard to tell from joints.
    synthetic = SyntheticSettings(kinds=("arc", "fractal"), width_px=(1.5, 8.0), distractors=False, seed=seed)
    with frame_progress("Drawing the road", synthetic.frames) as progress:
        truth = write_survey(out / "survey", synthetic, progress=progress)
    survey = read_survey(out / "survey")
    settings = RunSettings()
    stages = load_stages(settings.stages, detect_weights=detect_weights, segment_weights=segment_weights, device=device)
    with frame_progress("Finding cracks", len(survey.frames)) as progress:
        summary = run_survey(
            survey, out / "result", stages, settings,
            progress=progress, options=RunOptions(rerun_changed=True), command="crackmap demo",
        )  # fmt: skip
    rows, false_m = compare(truth, summary.result.cracks)
    echo(comparison_table(rows, false_m))
    print_summary(summary, out / "result")
    return 3 if summary.skipped else 0
