"""Where the time of a run went, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crackmap.cli.console import echo

if TYPE_CHECKING:
    from crackmap.pipeline.run import RunSummary

ABOUT = {
    "decode": "reading and decoding images, in processes of their own",
    "screen": "patch classifier",
    "detect": "detector",
    "segment": "segmenter",
    "measure": "lines, lengths, widths",
    "write": "mask files",
}


def print_profile(summary: RunSummary, *, workers: int, engine: str) -> None:
    """The seconds of each stage, added up over workers, and those of the clock."""
    total = sum(summary.seconds.values()) or 1.0
    echo(f"\n{'stage':<10}{'seconds':>10}{'share':>8}")
    for name, about in ABOUT.items():
        if name in summary.seconds:
            seconds = summary.seconds[name]
            echo(f"{name:<10}{seconds:>10.1f}{seconds / total:>8.0%}  {about}")
    frames_s, products_s = summary.wall_s.get("frames", 0.0), summary.wall_s.get("products", 0.0)
    rate = f", {summary.pixels / 1e6 / frames_s:.1f} Mpx/s" if summary.pixels and frames_s else ""
    echo(f"Stages are added up over {workers} workers, earlier parts of an interrupted run included.")
    echo(f"By the clock: frames {frames_s:.1f} s{rate}; map, tables, pictures and report {products_s:.1f} s. "
         f"Nets: {engine or 'stand-ins'}.")  # fmt: skip
