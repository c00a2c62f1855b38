"""race replay: a saved schedule, played again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.cli import output as out
from harness.cli.failure import FOUND, INCONCLUSIVE, OK
from harness.cli.options import store_options, stores_of


@click.command("replay")
@click.argument("file", type=click.Path(path_type=Path))
@store_options
@click.option("--exit-zero", is_flag=True, help="Exit 0 where it would be 1.")
def command(file: Path, exit_zero: bool, **options: Any) -> int:
    """Play the schedule in FILE again: race explore ... --save FILE wrote it.

    Exit 1: it still breaks. 0: it no longer does. 3: the program does other things now, and the schedule does not fit.
    """  # fmt: skip
    from harness.gate.replaying import replay
    from harness.report.interleaving import draw

    played = replay(file, stores_of(options))
    if played.outcome == "misfit":
        click.echo(f"  INCONCLUSIVE  {played.why}")
        return INCONCLUSIVE
    if played.outcome == "fixed":
        click.echo(f"  FIXED     it no longer happens: {played.says}")
        return OK
    click.echo(f"  VIOLATED  {played.says}\n")
    click.echo("\n".join(draw({**(played.drawn or {}), "fits": True}, paint=out.paint(), note="as it was scheduled")))
    return OK if exit_zero else FOUND
