"""race replay: a saved schedule, played again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from harness.cli import output as out
from harness.cli.failure import FOUND, INCONCLUSIVE, OK
from harness.cli.options import command_line, store_options, stores_of


@click.command("replay")
@click.argument("file", type=click.Path(path_type=Path))
@store_options
@click.option("--exit-zero", is_flag=True, help="Exit 0 where it would be 1.")
@click.pass_context
def command(context: click.Context, /, file: Path, exit_zero: bool, **options: Any) -> int:
    """Play the schedule in FILE again: race explore ... --save FILE wrote it.

    Exit 1: it still breaks. 0: it no longer does. 3: the program does other things now, and the schedule does not fit.
    """  # fmt: skip
    from harness.gate.replaying import replay
    from harness.report import replay_screen

    began = time.monotonic()
    played = replay(file, stores_of(options))
    outcome: str = played.outcome
    says = played.says
    match played.outcome:
        case "violated":
            code = OK if exit_zero else FOUND
        case "fixed":
            says, code = f"it no longer happens: {played.says}", OK
        case "misfit":
            outcome, says, code = "inconclusive", played.why, INCONCLUSIVE
    what = f"{played.cell.scenario} under {played.cell.strategy}"
    again, took_s = command_line(context, None), time.monotonic() - began
    click.echo(replay_screen(outcome, says, what, played.drawn, again, code, took_s, out.paint()), nl=False, color=True)
    return code
