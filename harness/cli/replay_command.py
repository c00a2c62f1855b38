"""race replay: a saved schedule, played again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.cli import output as out
from harness.cli.explore_command import opened
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
    import uvloop

    from harness.burst.cells import bind
    from harness.burst.plan import Load
    from harness.explore import Explorer, Replay, commands, read_schedule
    from harness.report.interleaving import draw
    from harness.results.build import counterexample_document

    cell, asked, choices, data = read_schedule(file)
    bound = bind(cell, Load(processes=asked.processes))

    async def go() -> Any:
        async with opened(bound, stores_of(options)) as stores, Explorer(bound, stores, asked) as explorer:
            return await explorer.steady(Replay(choices), tuple(data.get("without", ())))

    played = uvloop.run(go())
    if played is None:
        click.echo(f"  INCONCLUSIVE  {cell.strategy} does other things now: the schedule no longer fits")
        return INCONCLUSIVE
    drawn = counterexample_document(played.explanation()) or {}
    if played.says:
        click.echo(f"  VIOLATED  {played.says}\n")
        click.echo("\n".join(draw({**drawn, "fits": True}, paint=out.paint(), note="as it was scheduled")))
        return OK if exit_zero else FOUND
    if commands(played) != data["commands"]:
        click.echo(f"  INCONCLUSIVE  {cell.strategy} sends other commands now: the schedule shows nothing about it")
        return INCONCLUSIVE
    click.echo(f"  FIXED     it no longer happens: {data['says']}")
    return OK
