"""crackmap view: the report on this machine's own address."""

from __future__ import annotations

from pathlib import Path

import click

from crackmap.cli.console import echo
from crackmap.cli.options import existing_path


@click.command()
@click.argument("out", type=existing_path(file=False))
@click.option("--port", default=0, show_default="any that is free", type=click.IntRange(0, 65535), help="Port to use.")
@click.option("--browser/--no-browser", default=True, show_default=True, help="Open the page in the browser.")
def command(out: Path, port: int, browser: bool) -> None:
    """Show the report of OUT, the output of a run, with every frame at full size.

    The page is served on 127.0.0.1: only this machine reaches it. Ctrl-C ends it.
    """
    import webbrowser

    from crackmap.pipeline.viewing import ReportServer

    with ReportServer(out, port) as server:
        echo(f"Report of {out}: {server.url} (Ctrl-C ends it)")
        if browser:
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            echo("Ended.")
