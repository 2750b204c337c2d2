"""Progress on standard error: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from crackmap.cli.console import one_line

LINE_EVERY_S = 10.0


@contextmanager
def frame_progress(title: str, total: int) -> Iterator[Callable[[int, int, str], None]]:
    """Yields a function to be told (done, total, key) after every frame."""
    if not sys.stderr.isatty():
        yield _plain_lines(title)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
               TextColumn("{task.fields[key]}", style="dim", markup=False))  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, key="")
        yield lambda done, of, key: bar.update(task, completed=done, total=of, key=one_line(key)[-40:])


def _plain_lines(title: str) -> Callable[[int, int, str], None]:
    last = time.monotonic()

    def tell(done: int, total: int, _key: str) -> None:
        nonlocal last
        if done == total or time.monotonic() - last > LINE_EVERY_S:
            last = time.monotonic()
            print(f"{title}: {done} of {total}", file=sys.stderr, flush=True)

    return tell
