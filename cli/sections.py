"""crackmap sections: section statistics again, without the nets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from crackmap.cli.console import echo
from crackmap.cli.options import existing_path, work_option

if TYPE_CHECKING:
    from crackmap.pipeline.storage.urls import Location


@click.command()
@click.argument("out", type=existing_path(file=False, bucket=True), required=False)
@work_option()
@click.option("--length", "section_length_m", type=click.FloatRange(min=1.0, max=100_000.0),
              help="Section length in metres; by default that of the profile, or 100.")  # fmt: skip
@click.option("--list", "list_path", type=existing_path(folder=False),
              help="Your own sections in place of a length: CSV or GeoPackage with from_m and to_m, and section_id and "
              "recording if you like.")  # fmt: skip
@click.option("--profile", "wanted", multiple=True, metavar="NAME|FILE.toml",
              help="Count by this standard as well, into sections_NAME.csv and a layer; may be repeated.")  # fmt: skip
@click.option("--lane-width", "lane_width_m", type=click.FloatRange(min=1.0, max=30.0), metavar="M",
              help="Width of the lane, in place of the profile's.")  # fmt: skip
@click.option("--lane-centre", "lane_centre_m", default=0.0, show_default=True, metavar="M",
              type=click.FloatRange(min=-20.0, max=20.0),
              help="Where the middle of the lane lies, to the right of the vehicle's path.")  # fmt: skip
@click.option("--strips/--no-strips", default=True, show_default=True,
              help="Write the road surface of each section, seen from above, to OUT/strips.")  # fmt: skip
@click.option("--strip-pixel", "strip_pixel_mm", type=click.FloatRange(min=0.1, max=1000.0), metavar="MM",
              help="Ground size of a pixel of those pictures; by default that of the frames.")  # fmt: skip
@click.option("--shapefile", is_flag=True, help="Write the layers as Shapefiles as well, with short names.")
@click.option("--profiles", "show_profiles", is_flag=True, help="List the profiles, with what is unconfirmed in each.")
def command(
    out: Location | None, work: Path | None, section_length_m: float | None, list_path: Path | None,
    wanted: tuple[str, ...], lane_width_m: float | None, lane_centre_m: float,
    strips: bool, strip_pixel_mm: float | None, shapefile: bool,
    show_profiles: bool,
) -> None:  # fmt: skip
    """Compute the statistics of OUT, the output of a run, for other sections or by a standard.

    All products in OUT, which may be s3://BUCKET/PREFIX, are written again from its journal; images are not analysed
    again.

    \b
    Examples:
      crackmap sections OUT --length 20
      crackmap sections OUT --profile hpms --profile zeb --length 100 --lane-width 3.5
      crackmap sections OUT --list network.csv --profile agency.toml
      crackmap sections --profiles
    """
    from crackmap.pipeline.profiles import common_length_m, load_profiles, profiles_text

    if show_profiles:
        echo(profiles_text())
        return
    if out is None:
        raise click.UsageError("give OUT, the folder that `crackmap run -o OUT` wrote, or --profiles alone")
    if list_path is not None and section_length_m is not None:
        raise click.UsageError("--length makes sections of one length, --list takes yours: choose one")
    from crackmap.pipeline.run import RunSettings, rebuild
    from crackmap.pipeline.section_lists import read_section_list
    from crackmap.pipeline.storage.staging import working_copy

    profiles = load_profiles(wanted, lane_width_m=lane_width_m)
    if section_length_m is None and list_path is None:
        section_length_m = common_length_m(profiles)
    settings = RunSettings(
        section_length_m=section_length_m or 100.0, strips=strips,
        section_list=None if list_path is None else read_section_list(list_path),
        profiles=profiles, lane_centre_m=lane_centre_m, shapefile=shapefile, strip_pixel_mm=strip_pixel_mm,
    )  # fmt: skip
    with working_copy(out, work=work, begun=True) as place:
        result = rebuild(place.folder, settings)
    echo(f"{len(result.sections)} sections: {out / 'sections.csv'}")
    for name, profile in profiles:
        echo(f"{profile.title}: {out / f'sections_{name}.csv'}")
        if profile.unconfirmed:
            echo(f"  unconfirmed: {', '.join(profile.unconfirmed)} (see --profiles, and the report)")
