"""Progress on stderr: only on a terminal, only while something runs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.burst import Progress

_ROOM, _NARROWEST = 3, 40


@contextmanager
def shown(title: str, *, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Something to tell progress to. It draws a bar with an estimate, or nothing at all."""
    if quiet or not sys.stderr.isatty():
        yield _nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(compact=True),
    )
    # Room for the terminal's own ^C: on a full line it would begin another, and the bar would stay on the screen.
    console = Console(stderr=True, width=max(_NARROWEST, shutil.get_terminal_size().columns - _ROOM))
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"{title}: starting", total=None, figures="")
        whole: dict[str, float] = {}

        def tell(progress: Progress) -> None:
            if progress.unit == "turns" or "turns" not in whole:
                whole[progress.unit] = progress.total
                done, total = (progress.done, progress.total) if progress.total else (progress.share, 1.0)
                bar.update(task, completed=done, total=total)
            broken = f", {progress.broken:,} broken" if progress.broken else ""
            of = f" of {progress.total:,.0f}" if progress.total else ""
            figures = f"{progress.done:,.0f}{of} {progress.unit}{broken}"
            bar.update(task, description=f"{title}: {progress.what}", figures=figures)

        yield tell


def _nothing(_progress: Progress) -> None:
    pass
