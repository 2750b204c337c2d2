"""crackmap synth: a synthetic survey with exact truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from crackmap.cli.console import echo
from crackmap.cli.options import existing_path
from crackmap.cli.progress import frame_progress
from crackmap.cli.types import GsdType, SizeType

KIND_NAMES = "straight,arc,fractal,branch,network"


@click.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--frames", default=24, show_default=True, type=click.IntRange(2, 1_000_000), help="Number of images.")
@click.option("--camera", type=click.Choice(["downward", "forward"]), default="downward", show_default=True,
              help="Straight down, or a pinhole camera 2.2 m up that looks ahead and 18 degrees down.")  # fmt: skip
@click.option("--gsd", "gsd_mm", type=GsdType(),
              help="Ground length of a pixel of the downward camera in mm, 2.0 by default; «2.0,5.0» for a step along "
              "a row and one along a column.")  # fmt: skip
@click.option("--size", "size_wh_px", type=SizeType(),
              help="Pixels of an image; by default 1600x1200 downward, 1280x960 forward.")  # fmt: skip
@click.option("--cracks", "cracks_per_10m", default=4.0, show_default=True, type=click.FloatRange(0, 100),
              help="Cracks on 10 m of road; a crack with its branches, or a network, counts as one.")  # fmt: skip
@click.option("--kinds", default=KIND_NAMES, show_default=True, help="Which cracks, separated by commas.")
@click.option("--plain", is_flag=True, help="Nothing but cracks: no paint, joints, sealed cracks, stains or shadows.")
@click.option("--background", type=existing_path(file=False),
              help="Folder of crack-free road images to draw the cracks on, instead of a drawn road.")  # fmt: skip
@click.option("--passes", default=1, show_default=True, type=click.IntRange(1, 1000),
              help="Drives over the same road; more than one go to OUT/pass1, OUT/pass2, ...")  # fmt: skip
@click.option("--pass", "only_pass", type=click.IntRange(1, 1000), help="Write just this one, straight into OUT.")
@click.option("--gnss-noise", "gnss_noise_m", default=0.0, show_default=True, type=click.FloatRange(0, 100),
              help="Standard deviation of a fix, m: half of its variance from fix to fix, half slow.")  # fmt: skip
@click.option("--blur", "blur_px", default=0.6, show_default=True, type=click.FloatRange(0, 20),
              help="Sigma of the optics, pixels.")  # fmt: skip
@click.option("--noise", "noise_levels", default=2.0, show_default=True, type=click.FloatRange(0, 100),
              help="Sigma of the sensor noise, grey levels.")  # fmt: skip
@click.option("--jpeg", "jpeg_quality", default=92, show_default=True, type=click.IntRange(1, 100),
              help="JPEG quality.")  # fmt: skip
@click.option("--grow-length", "grow_length_percent", default=0.0, show_default=True, type=click.FloatRange(0, 1000),
              help="In passes after the first: growing cracks are longer by this many per cent.")  # fmt: skip
@click.option("--grow-width", "grow_width_mm", default=0.0, show_default=True, type=click.FloatRange(0, 100),
              help="... and wider by this many mm.")  # fmt: skip
@click.option("--grow-share", default=0.3, show_default=True, type=click.FloatRange(0, 1),
              help="Share of the cracks (with their branches, or networks) that grow so.")  # fmt: skip
@click.option("--grow-new", "grow_new_share", default=0.0, show_default=True, type=click.FloatRange(0, 10),
              help="New cracks in passes after the first, as a share of those there were.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Same seed, same survey.")
def command(
    out: Path,
    camera: str,
    gsd_mm: float | tuple[float, float] | None,
    kinds: str,
    plain: bool,
    passes: int,
    only_pass: int | None,
    **drawn: Any,
) -> None:
    """Draw a survey into OUT whose cracks are known exactly.

    \b
    images/       what the camera sees
    masks/        share of each pixel that cracks cover, times 255; same names
    gnss.csv      the vehicle's track
    survey.toml   how to read it, with the exact calibration
    truth.gpkg    cracks and networks on the map
    truth.json    the same without loss, for programs

    Equal settings and an equal seed give the same bytes.

    \b
    Examples:
      crackmap synth road
      crackmap synth road --camera forward --frames 50 --seed 7
      crackmap synth road --gsd 1.0,2.5 --kinds fractal,branch --plain
      crackmap synth road --passes 2 --gnss-noise 0.02
      crackmap synth road --passes 2 --grow-length 30 --grow-width 2 --grow-new 0.1
    """
    from crackmap.pipeline.synthetic import SyntheticSettings, write_survey

    if camera == "forward" and gsd_mm is not None:
        raise click.UsageError("--gsd belongs to --camera downward; the pixels of a forward camera grow with distance")
    if passes > 1 and only_pass is not None:
        raise click.UsageError("give --passes N for several drives, or --pass K for one of them, not both")
    names = tuple(dict.fromkeys(part.strip() for part in kinds.split(",") if part.strip()))
    unknown = [name for name in names if name not in KIND_NAMES.split(",")]
    if unknown or not names:
        raise click.BadParameter(f"expected some of {KIND_NAMES}, got {kinds!r}", param_hint="--kinds")
    settings = SyntheticSettings(
        camera="forward" if camera == "forward" else "downward",
        gsd_mm=2.0 if gsd_mm is None else gsd_mm, kinds=names, distractors=not plain, **drawn,
    )  # fmt: skip
    with frame_progress("Drawing", settings.frames * passes) as progress:
        truth = write_survey(out, settings, passes=passes, only_pass=only_pass, progress=progress)
    first = out / "pass1" if passes > 1 else out
    metres = sum(crack.length_m for crack in truth.cracks)
    echo(
        f"{out}: {truth.length_m:.0f} m of road, {len(truth.cracks)} cracks of {metres:.1f} m together, "
        f"{len(truth.networks)} networks. Map it: crackmap run {first} -o {first}-result"
    )
